"""Report: what a person reads, written anew after every iteration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loop.ledger.tables import Row
from loop.report import write_report

if TYPE_CHECKING:
    from flows.campaign import Campaign


def report(campaign: Campaign, iteration: int) -> tuple[list[Row], dict[str, Any]]:  # noqa: ARG001 - the seam's signature
    """Write `report.html` into the campaign's folder."""
    path = write_report(campaign.ledger, campaign.id, to=campaign.folder / "report.html", base=campaign.base)
    return [], {"report": path.name}
