"""Levels of the effective-medium world, and the dispatcher that runs them."""

from __future__ import annotations

import pytest

from flows.verification.dispatch import LocalDispatcher
from flows.verification.registry import load_verifier
from loop.spec import PotentialSpec, RelaxationSpec, Thresholds, VerificationLevel
from surrogates.workers import WorkerPool


@pytest.fixture(scope="session")
def pool():
    """One worker for all tests: importing atomate2 takes it seconds, once."""
    with WorkerPool(1) as pool:
        yield pool


@pytest.fixture
def dispatcher(pool):
    return LocalDispatcher(pool=pool)


@pytest.fixture
def verifier(tmp_path, dispatcher):
    """A factory of verifiers: by default one level of ASE's effective medium theory in this test's folder."""

    def make(
        kind="potential", *, dispatcher=dispatcher, folder=tmp_path, thresholds=None, relaxation=None, **level
    ):
        level = {"name": f"emt-{kind}", "verifier": kind, "potential": PotentialSpec(name="emt")} | level
        return load_verifier(
            VerificationLevel(**level),
            thresholds=thresholds or Thresholds(),
            relaxation=relaxation or RelaxationSpec(),
            folder=folder,
            dispatcher=dispatcher,
            base=folder,
        )

    return make
