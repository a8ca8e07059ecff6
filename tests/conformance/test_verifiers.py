"""The conformance suite over every registered verifier, in the effective-medium world."""

import pytest
from ase.build import bulk

from flows.verification.dispatch import LocalDispatcher
from flows.verification.registry import VERIFIERS, load_verifier
from loop.crystal import Crystal
from loop.spec import PotentialSpec, RelaxationSpec, Thresholds, VerificationLevel
from surrogates.workers import WorkerPool
from tests.conformance.verifier import VerifierConformance


@pytest.fixture(scope="module")
def pool():
    with WorkerPool(1) as pool:
        yield pool


@pytest.fixture(params=VERIFIERS.names())
def registered(request, tmp_path, pool):
    level = VerificationLevel(
        name=f"emt-{request.param}",
        verifier=request.param,
        potential=PotentialSpec(name="emt"),
        options={"min_length": 7.0} if request.param == "phonons" else {},
        cost={"core_hours": 0.5},
    )

    def make():
        return load_verifier(
            level,
            thresholds=Thresholds(),
            relaxation=RelaxationSpec(),
            folder=tmp_path,
            dispatcher=LocalDispatcher(pool=pool),
            base=tmp_path,
        )

    return make


class TestRegistered(VerifierConformance):
    crystal = Crystal.from_atoms(bulk("Cu", "fcc", a=3.65))
    hopeless = Crystal.from_atoms(bulk("Si", "diamond", a=5.43))

    @pytest.fixture
    def make(self, registered):
        return registered


def test_the_campaigns_own_verifiers_are_registered():
    assert {"potential", "phonons"} <= set(VERIFIERS.names())
