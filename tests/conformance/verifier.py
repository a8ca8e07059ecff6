"""What every Verifier must do, as tests that any package can run on its own.

Subclass `VerifierConformance` and give it a maker of verifiers and two crystals:

    class TestMine(VerifierConformance):
        @pytest.fixture
        def make(self, tmp_path):
            return lambda: MyVerifier(level, ..., folder=tmp_path, ...)

        crystal = Crystal.from_atoms(bulk("Cu"))   # one that it can verify
        hopeless = Crystal.from_atoms(bulk("Si"))  # one that must fail, as a value

`make` is called several times in a test: each call stands for a driver started anew in the same folder.
"""

from __future__ import annotations

import json
import math
import time

import pytest

from flows.verification.verifier import VerificationResult, Verifier
from loop.crystal import Crystal


def settled(verifier: Verifier, *, number: int = 1, patience: float = 300.0) -> list[VerificationResult]:
    """The next `number` results."""
    results: list[VerificationResult] = []
    deadline = time.monotonic() + patience
    while len(results) < number:
        assert time.monotonic() < deadline, f"{len(results)} of {number} results after {patience} s"
        results += verifier.collect()
    return results


class VerifierConformance:
    """The suite. Needs the fixture `make` and the crystals `crystal` and `hopeless`."""

    crystal: Crystal
    hopeless: Crystal

    @pytest.fixture
    def make(self):
        raise NotImplementedError("give the suite its verifiers: override the fixture `make`")

    def test_has_every_part(self, make):
        verifier = make()
        assert isinstance(verifier, Verifier)
        assert isinstance(verifier.fidelity, str)
        assert verifier.fidelity
        assert isinstance(verifier.gives_energy, bool)

    def test_identity_is_json_and_the_same_in_every_driver(self, make):
        identity = make().identity(self.crystal)
        assert {"kind", "fidelity", "code_version"} <= set(identity)
        assert identity["fidelity"] == make().fidelity
        assert json.loads(json.dumps(identity)) == identity == make().identity(self.crystal)

    def test_declared_cost_is_deterministic(self, make):
        declared = make().declared_cost(self.crystal)
        assert declared["cpu_seconds"] > 0
        assert all(math.isfinite(amount) and amount >= 0 for amount in declared.values())
        assert make().declared_cost(self.crystal) == declared

    def test_settles_once(self, make):
        verifier = make()
        verifier.submit(self.crystal, request_id="once")
        verifier.submit(self.crystal, request_id="once")
        (result,) = settled(verifier)
        assert verifier.collect() == []
        assert result.request_id == "once"
        assert result.failure is None, result.failure
        assert result.crystal.composition.reduced_formula == self.crystal.composition.reduced_formula
        assert (result.energy_per_atom is not None) == verifier.gives_energy
        assert result.cost["cpu_seconds"] > 0
        assert set(verifier.declared_cost(self.crystal)) <= set(result.cost)
        assert json.loads(json.dumps(dict(result.properties), allow_nan=False)) == result.properties
        verifier.close()

    def test_answer_is_the_same_twice(self, make):
        verifier = make()
        verifier.submit(self.crystal, request_id="first")
        verifier.submit(self.crystal, request_id="second")
        first, second = sorted(settled(verifier, number=2), key=lambda r: r.request_id)
        assert first.crystal == second.crystal
        assert first.energy_per_atom == second.energy_per_atom
        verifier.close()

    def test_driver_started_anew_adopts_what_is_settled(self, make):
        first = make()
        first.submit(self.crystal, request_id="adopted")
        (result,) = settled(first)
        first.close()
        second = make()
        second.submit(self.crystal, request_id="adopted")
        assert settled(second, patience=1.0) == [result]
        second.close()

    def test_failure_is_a_value_that_is_charged_and_adopted(self, make):
        first = make()
        first.submit(self.hopeless, request_id="hopeless")
        (result,) = settled(first)
        first.close()
        assert result.failure is not None
        assert result.failure.reason
        assert result.failure.detail
        assert (result.crystal, result.energy_per_atom) == (None, None)
        assert set(first.declared_cost(self.hopeless)) <= set(result.cost)
        second = make()
        second.submit(self.hopeless, request_id="hopeless")
        assert settled(second, patience=1.0) == [result]
        second.close()

    def test_nothing_submitted_settles_nothing(self, make):
        assert make().collect() == []
