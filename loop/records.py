"""What learners read: the ledger's account of each candidate, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from loop.crystal import Crystal

REPRODUCIBLE: Final = frozenset(
    {
        "not-converged",
        "overlap",
        "collapsed",
        "exploded",
        "not-finite",
        "not-standardised",
        "rejected-early",
        "unknown-element",
        "correction-undecided",
    }
)
"""Reasons of failure that lie in the crystal and the potential, and not in the machine that met them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A computation that failed: a value of its own, stored in the ledger, counted and shown."""

    stage: str
    reason: str
    """A short word that can be counted: `not-converged`, `overlap`, `timeout`, `worker-died`, `not-finite`."""
    detail: str
    """One sentence for the person who looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """All that is known about one candidate at the moment a learner is fitted."""

    candidate_id: str
    iteration: int
    generator: str
    parents: tuple[str, ...]
    details: Mapping[str, Any]
    crystal: Crystal
    """As proposed."""
    relaxed: Crystal | None = None
    """As relaxed by the last stage of the screen that judged it."""
    screened_energy_above_hull: float | None = None
    """eV/atom at `screened_at`, by the latest verdict."""
    screened_at: str | None = None
    """The fidelity of the last stage of the screen that judged it."""
    verified_energy_above_hull: float | None = None
    """eV/atom at the highest verifying fidelity, by the latest verdict."""
    dynamically_stable: bool | None = None
    failure: str | None = None
    """Reason of a failure or rejection."""
    predictions: Mapping[str, float] = field(default_factory=dict)
