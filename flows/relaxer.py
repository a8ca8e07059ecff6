"""Screening relaxations behind the same seam as verification: one way to ask, pay and collect for both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.verification.verifier import VerificationResult
from loop.crystal import Crystal
from loop.records import Failure
from loop.spec import PotentialSpec, RelaxationSpec, as_json
from surrogates.tasks import describe_potential, relax_task, relaxation_identity

if TYPE_CHECKING:
    from surrogates.workers import WorkerPool


class Relaxer:
    """Relaxes crystals with one potential on the worker pool. Implements `Verifier`."""

    gives_energy = True

    def __init__(
        self,
        potential: PotentialSpec,
        relaxation: RelaxationSpec,
        *,
        base: Path,
        pool: Callable[[], WorkerPool],
    ) -> None:
        self._potential, self._relaxation, self._base, self._pool = potential, relaxation, base, pool
        self.description = describe_potential(potential, base=base)
        self.fidelity = self.description.fidelity
        self._identity = {
            "kind": "relaxation",
            "fidelity": self.fidelity,
            **relaxation_identity(self.description, relaxation),
        }

    def identity(self, crystal: Crystal) -> Mapping[str, Any]:  # noqa: ARG002 - the seam's signature
        """Potential, convergence criteria and code version."""
        return self._identity

    def declared_cost(self, crystal: Crystal) -> Mapping[str, float]:
        """CPU seconds expected for a crystal of this size."""
        return {"cpu_seconds": self.description.seconds_per_atom * crystal.number_of_atoms}

    def submit(self, crystal: Crystal, *, request_id: str) -> None:
        """Hand the crystal to a worker."""
        self._pool().submit(
            request_id,
            relax_task,
            as_json(self._potential),
            as_json(self._relaxation),
            crystal.to_dict(),
            str(self._base),
            timeout=self._relaxation.timeout,
        )

    def collect(self) -> list[VerificationResult]:
        """Relaxations that ended since the last call."""
        results = []
        for completed in self._pool().completed(wait=0.2):
            failure, value = completed.failure, completed.value
            if failure is None and "failure" in value:
                failure = Failure(**value["failure"])
            cost = {"cpu_seconds": completed.cpu_seconds}
            if failure is not None:
                results.append(
                    VerificationResult(
                        request_id=completed.task_id,
                        crystal=None,
                        energy_per_atom=None,
                        failure=failure,
                        cost=cost,
                    )
                )
                continue
            relaxed = dict(value)
            results.append(
                VerificationResult(
                    request_id=completed.task_id,
                    crystal=Crystal.from_dict(relaxed.pop("crystal")),
                    energy_per_atom=relaxed.pop("energy_per_atom"),
                    properties=relaxed,
                    cost=cost,
                )
            )
        return results

    def close(self) -> None:
        """Nothing of its own to end: the pool belongs to the campaign."""
