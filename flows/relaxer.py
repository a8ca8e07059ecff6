"""Screening relaxations behind the same seam as verification: one way to ask, pay and collect for both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flows.verification.verifier import VerificationResult
from loop.crystal import Crystal
from loop.records import Failure
from loop.spec import PotentialSpec, RelaxationSpec, as_json
from surrogates.early_rejection import Rule
from surrogates.tasks import describe_potential, relax_task, relaxation_identity

if TYPE_CHECKING:
    from surrogates.workers import Completed, WorkerPool

EARLY_REJECTION: Final = "early_rejection"
"""Among a calculation's settings: the rule and the ceiling that it was run under, where it was."""
BATCHES: Final = 8
"""Batches that a list of crystals is cut into at least, so that some cores do not wait for others."""
FEWEST_ATOMS: Final = 64
"""In a batch, where the list is long enough: what an evaluation costs besides its atoms is then spread thinly."""
MOST_ATOMS: Final = 512
"""In a batch: a crystal that converges is replaced by the next, and its results are lost with a killed worker."""
MOST_SECONDS: Final = 30.0
"""Declared CPU seconds of a batch at most, for potentials that are slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyRejection:
    """Which relaxations may be abandoned, and by what."""

    rule: Rule
    ceilings: Mapping[str, float]
    """Highest energy that still matters by crystal's key, eV/atom; a crystal that has none is relaxed to the end."""

    def identity(self, crystal: Crystal) -> Mapping[str, Any]:
        """What it adds to all that decides a crystal's result."""
        if crystal.key not in self.ceilings:
            return {}
        return {EARLY_REJECTION: {"rule": self.rule.version, "ceiling": self.ceilings[crystal.key]}}


class Relaxer:
    """Relaxes crystals with one potential on the worker pool, in batches. Implements `BatchVerifier`."""

    gives_energy = True

    def __init__(
        self,
        potential: PotentialSpec,
        relaxation: RelaxationSpec,
        *,
        base: Path,
        pool: Callable[[], WorkerPool],
        rejection: EarlyRejection | None = None,
    ) -> None:
        self._potential, self._relaxation, self._base, self._pool = potential, relaxation, base, pool
        self.description = describe_potential(potential, base=base)
        self.fidelity = self.description.fidelity
        self._identity = {
            "kind": "relaxation",
            "fidelity": self.fidelity,
            **relaxation_identity(self.description, relaxation),
        }
        self._running: dict[str, list[tuple[str, Crystal]]] = {}
        self._lost: dict[str, float] = {}
        self._rejection = rejection

    @property
    def teaches(self) -> Mapping[str, Any]:
        """What is the same for all its relaxations; a rule that others taught is of no use to them."""
        return self._identity

    def abandoning(self, rejection: EarlyRejection) -> Relaxer:
        """The same relaxer, but for relaxations that may be abandoned early."""
        return Relaxer(
            self._potential, self._relaxation, base=self._base, pool=self._pool, rejection=rejection
        )

    def identity(self, crystal: Crystal) -> Mapping[str, Any]:
        """Potential, convergence criteria and code version; the rule and ceiling where it may be abandoned."""
        return {**self._identity, **(self._rejection.identity(crystal) if self._rejection else {})}

    def declared_cost(self, crystal: Crystal) -> Mapping[str, float]:
        """CPU seconds expected for a crystal of this size."""
        return {"cpu_seconds": self.description.seconds_per_atom * crystal.number_of_atoms}

    def batches(self, crystals: Sequence[Crystal]) -> list[list[int]]:
        """Runs of crystals in their order, of about as many atoms each."""
        atoms = sum(crystal.number_of_atoms for crystal in crystals)
        most = min(MOST_ATOMS, MOST_SECONDS / self.description.seconds_per_atom)
        size = min(max(atoms / BATCHES, FEWEST_ATOMS), most)
        cut: list[list[int]] = []
        filled = size
        for i, crystal in enumerate(crystals):
            if filled + crystal.number_of_atoms > size:
                cut.append([])
                filled = 0
            cut[-1].append(i)
            filled += crystal.number_of_atoms
        return cut

    def submit(self, crystal: Crystal, *, request_id: str) -> None:
        """Hand one crystal to a worker."""
        self.submit_batch([(request_id, crystal)])

    def submit_batch(self, requests: Sequence[tuple[str, Crystal]]) -> None:
        """Hand crystals to a worker, to be relaxed together."""
        batch_id = requests[0][0]
        self._running[batch_id] = list(requests)
        declared = sum(self.declared_cost(crystal)["cpu_seconds"] for _, crystal in requests)
        self._pool().submit(
            batch_id,
            relax_task,
            as_json(self._potential),
            as_json(self._relaxation),
            [crystal.to_dict() for _, crystal in requests],
            str(self._base),
            *self._what_may_be_abandoned([crystal for _, crystal in requests]),
            timeout=self._relaxation.timeout + (declared if len(requests) > 1 else 0.0),
        )

    def _what_may_be_abandoned(self, crystals: Sequence[Crystal]) -> tuple[Mapping[str, Any], ...]:
        """What a worker is told of early rejection, as JSON values; nothing where there is none."""
        if self._rejection is None:
            return ()
        ceilings = self._rejection.ceilings
        rule = self._rejection.rule.to_dict()
        return ({"rule": rule, "ceilings": [ceilings.get(crystal.key) for crystal in crystals]},)

    def collect(self) -> list[VerificationResult]:
        """Relaxations that ended since the last call, whole batches of them.

        A batch that took its worker down, or took too long, is tried again crystal by crystal, so that one cannot fail
        the others; its results then come one by one.
        """
        results: list[VerificationResult] = []
        for completed in self._pool().completed(wait=0.2):
            requests = self._running.pop(completed.task_id)
            if completed.failure is not None and len(requests) > 1:
                for request in requests:
                    self._lost[request[0]] = completed.cpu_seconds / len(requests)
                    self.submit_batch([request])
                continue
            lost = self._lost.pop(completed.task_id, 0.0)
            results += _results(requests, completed, lost=lost)
        return results

    def close(self) -> None:
        """Nothing of its own to end: the pool belongs to the campaign."""


def _results(
    requests: Sequence[tuple[str, Crystal]], completed: Completed, *, lost: float
) -> list[VerificationResult]:
    """What a worker said of a batch, the CPU seconds divided by the work that each crystal was.

    Args:
        requests: the batch.
        completed: the worker's answer.
        lost: CPU seconds that the only request of the batch cost before, in a batch that failed.
    """
    seconds = completed.cpu_seconds + lost
    if completed.failure is not None:
        ((request_id, _),) = requests
        cost = {"cpu_seconds": seconds}
        return [_failed(request_id, completed.failure, cost)]
    results = []
    for (request_id, _), outcome in zip(requests, completed.value, strict=True):
        values = dict(outcome)
        cost = {"cpu_seconds": seconds * values.pop("share")}
        if "failure" in values:
            results.append(_failed(request_id, Failure(**values["failure"]), cost))
            continue
        results.append(
            VerificationResult(
                request_id=request_id,
                crystal=Crystal.from_dict(values.pop("crystal")),
                energy_per_atom=values.pop("energy_per_atom"),
                properties=values,
                cost=cost,
            )
        )
    return results


def _failed(request_id: str, failure: Failure, cost: Mapping[str, float]) -> VerificationResult:
    return VerificationResult(
        request_id=request_id, crystal=None, energy_per_atom=None, failure=failure, cost=cost
    )
