"""The Verifier seam: calculations that decide, submitted by identity and collected when they settle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from loop.crystal import Crystal
from loop.records import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationResult:
    """A settled verification, done or failed."""

    request_id: str
    crystal: Crystal | None
    """As relaxed at this level; None where it failed."""
    energy_per_atom: float | None
    """eV/atom at the level's fidelity; None where it failed or the level gives no energy."""
    properties: Mapping[str, Any] = field(default_factory=dict)
    """JSON values: steps, minimum phonon frequency (THz), band data, …"""
    failure: Failure | None = None
    cost: Mapping[str, float] = field(default_factory=dict)
    """Settled, by currency; always holds `cpu_seconds`."""


@runtime_checkable
class Verifier(Protocol):
    """One fidelity level's calculations. DFT on a cluster and a potential here look the same."""

    fidelity: str
    """Name of the energies it gives."""
    gives_energy: bool
    """Whether results carry an energy to be judged on a hull (phonons do not)."""

    def identity(self, crystal: Crystal) -> Mapping[str, Any]:
        """All that decides the result apart from the crystal, as JSON values.

        `kind`, `fidelity` and `code_version`, and every setting under a key of its own.
        """
        ...

    def declared_cost(self, crystal: Crystal) -> Mapping[str, float]:
        """What the calculation is expected to cost, by currency; deterministic."""
        ...

    def submit(self, crystal: Crystal, *, request_id: str) -> None:
        """Start the calculation, or adopt the one running or finished under this id. Returns at once."""
        ...

    def collect(self) -> list[VerificationResult]:
        """Results that settled since the last call, in no order; waits briefly. Often empty."""
        ...

    def close(self) -> None:
        """End local workers. Results already written stay collectable by `submit` of the same id."""
        ...


@runtime_checkable
class BatchVerifier(Verifier, Protocol):
    """A verifier that computes several crystals faster together than one by one.

    What a crystal becomes may depend, by rounding, on its companions. So that a campaign that was killed ends as one
    that was not, batches are cut from the whole list of requests, whatever of it is settled already, and the results
    of a batch are collected together, never in parts.
    """

    def batches(self, crystals: Sequence[Crystal]) -> list[list[int]]:
        """Indices that belong together, each in one batch, in order; a function of `crystals` alone."""
        ...

    def submit_batch(self, requests: Sequence[tuple[str, Crystal]]) -> None:
        """Start a batch of request ids and crystals. Returns at once."""
        ...
