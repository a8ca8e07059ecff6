"""Report: what a person reads, written anew after every iteration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from loop.ledger.tables import FailureRow, Row
from loop.report import write_report

if TYPE_CHECKING:
    from flows.campaign import Campaign

PAGE: Final = "report.html"


def report(campaign: Campaign, iteration: int) -> tuple[list[Row], dict[str, Any]]:
    """Write the report; a page that cannot be drawn is a failure in the ledger and does not end the campaign."""
    error = write_page(campaign)
    if error is None:
        return [], {"report": PAGE}
    failure = FailureRow(
        campaign_id=campaign.id,
        subject=PAGE,
        stage="report",
        iteration=iteration,
        reason=type(error).__name__,
        detail=f"{error}; `motherlode report` writes it anew once that is mended",
    )
    return [failure], {"report": "could not be written", "reason": str(error)}


def write_page(campaign: Campaign) -> Exception | None:
    """Write `report.html` into the campaign's folder; what went wrong, if anything."""
    try:
        write_report(campaign.ledger, campaign.id, to=campaign.folder / PAGE, base=campaign.base)
    except Exception as error:  # noqa: BLE001 - handed to the caller, who records or shows it
        return error
    return None
