"""What several stages share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from flows.calculations import Outcome
from loop.ledger.tables import FailureRow

if TYPE_CHECKING:
    from flows.campaign import Campaign

Item = TypeVar("Item")


def chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """`items` in runs of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def failure_rows(campaign: Campaign, outcome: Outcome, *, stage: str, iteration: int) -> list[FailureRow]:
    """One row for each request whose calculation failed."""
    return [
        FailureRow(
            campaign_id=campaign.id,
            subject=subject,
            stage=stage,
            iteration=iteration,
            reason=calculation.failure_reason or "unknown",
            detail=calculation.failure_detail or "",
        )
        for subject, calculation in outcome.settled.items()
        if calculation.outcome == "failed"
    ]
