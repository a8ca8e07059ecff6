"""Report: what a person reads, written anew after every iteration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loop.ledger.tables import FailureRow, Row
from loop.report import write_report

if TYPE_CHECKING:
    from flows.campaign import Campaign


def report(campaign: Campaign, iteration: int) -> tuple[list[Row], dict[str, Any]]:
    """Write `report.html` into the campaign's folder."""
    try:
        path = write_report(
            campaign.ledger, campaign.id, to=campaign.folder / "report.html", base=campaign.base
        )
    except Exception as error:  # noqa: BLE001 - a page that cannot be drawn is recorded and must not end the campaign
        failure = FailureRow(
            campaign_id=campaign.id,
            subject="report.html",
            stage="report",
            iteration=iteration,
            reason=type(error).__name__,
            detail=f"{error}; `motherlode report` writes it anew once that is mended",
        )
        return [failure], {"report": "could not be written", "reason": str(error)}
    return [], {"report": path.name}
