"""The report: what a person reads of a campaign, gathered from the ledger into one self-contained page."""

from __future__ import annotations

import os
from pathlib import Path

from loop.ledger.ledger import Ledger
from loop.report.building import build
from loop.report.contents import Report
from loop.report.rendering import render

__all__ = ["Report", "build", "render", "write_report"]


def write_report(ledger: Ledger, campaign_id: str, *, to: Path, base: Path) -> Path:
    """Write a campaign's report, replacing an earlier one whole or not at all.

    Args:
        ledger: where the campaign is written.
        campaign_id: which one.
        to: the HTML file.
        base: folder that relative paths in the campaign file start from.

    Returns:
        The file.

    Raises:
        LedgerError: no such campaign, or the ledger cannot be read.
    """
    html = render(build(ledger, campaign_id, folder=base))
    to.parent.mkdir(parents=True, exist_ok=True)
    unfinished = to.with_name(f".{to.name}.{os.getpid()}")
    unfinished.write_text(html, encoding="utf-8")
    unfinished.replace(to)
    return to
