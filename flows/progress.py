"""How far a queue of calculations has come, by declared cost: crystals differ tenfold in size and in seconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from flows.verification.verifier import Verifier
from loop.crystal import Crystal


def work_of(crystal: Crystal, by: Verifier) -> float:
    """What a calculation is expected to take: CPU seconds, or whatever its verifier declares instead."""
    declared = by.declared_cost(crystal)
    return declared.get("cpu_seconds") or sum(declared.values()) or 1.0


@dataclass(slots=True, kw_only=True)
class Queue:
    """All that a stage has to calculate, of which `compute` is given a chunk at a time. Holds no crystals."""

    total: int
    work: float
    """Declared, of all of them."""
    done: int = field(default=0, init=False)
    """In the chunks that are finished."""
    work_done: float = field(default=0.0, init=False)

    @classmethod
    def of(cls, crystals: Iterable[Crystal], *, by: Verifier) -> Queue:
        """The queue of these crystals."""
        works = [work_of(crystal, by) for crystal in crystals]
        return cls(total=len(works), work=sum(works))

    def share(self, beside: float = 0.0) -> float:
        """Part of the declared work that is done, between 0 and 1, with `beside` of it in the running chunk."""
        return min((self.work_done + beside) / self.work, 1.0) if self.work > 0 else 1.0

    def finish(self, *, count: int, work: float) -> None:
        """A chunk is over, whatever became of it."""
        self.done += count
        self.work_done += work


def remaining_seconds(*, elapsed: float, first_share: float, share: float) -> float | None:
    """Wall seconds that are left at the pace so far; None before anything was done.

    Args:
        elapsed: wall seconds since work began.
        first_share: what was settled already when it began, by an earlier process.
        share: of the work that is done now.
    """
    return elapsed * (1.0 - share) / (share - first_share) if share > first_share else None
