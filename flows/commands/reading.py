"""`motherlode status`, `report` and `export`: reading a ledger, with no lease and no worker."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows.commands.running import COPY
from loop.campaign_file import read_campaign
from loop.errors import CampaignFileError
from loop.ledger.ledger import Ledger
from loop.outcomes import counts
from loop.state import CampaignState


def open_folder(folder: Path) -> tuple[Ledger, str]:
    """The ledger of a campaign's folder and the campaign's id.

    Raises:
        CampaignFileError: the folder holds no campaign.
    """
    from flows.folder import campaign_id, ledger_url

    copy = folder / COPY
    if not copy.is_file():
        raise CampaignFileError(
            f"--folder {folder}: holds no {COPY}, so no campaign was begun here; "
            f"begin one with `motherlode run FILE --folder {folder}`"
        )
    spec = read_campaign(copy)
    url = ledger_url(spec, folder=folder)
    if spec.ledger is None and not (folder / "ledger.sqlite").is_file():
        raise CampaignFileError(
            f"--folder {folder}: its ledger.sqlite is missing; restore it, or begin anew in another folder"
        )
    return Ledger.open(url), campaign_id(spec)


def status(folder: Path, *, as_json: bool) -> None:
    """Print where the campaign stands."""
    ledger, identifier = open_folder(folder)
    with ledger:
        state = CampaignState.rebuild(ledger, identifier)
        now = counts(state, ledger.latest_spec(identifier))
    if as_json:
        print(json.dumps(now))  # noqa: T201 - the command's output
        return
    table = Table(show_header=False, box=None)
    table.add_row("campaign", f"[bold]{identifier}[/bold]")
    for name, value in now.items():
        shown = (
            ", ".join(f"{k} {v:.4g}" for k, v in value.items())
            if isinstance(value, dict)
            else f"{value:.4g}"
            if isinstance(value, float)
            else str(value)
        )
        table.add_row(name.replace("_", " "), shown)
    Console().print(table)


def report(folder: Path, *, to: Path | None) -> None:
    """Write the report."""
    from loop.report import write_report

    ledger, identifier = open_folder(folder)
    with ledger:
        path = write_report(ledger, identifier, to=to or folder / "report.html", base=folder)
    Console().print(f"Report: {path.resolve()}", soft_wrap=True)


def export(folder: Path, *, to: Path, what: str, which: str) -> None:
    """Write crystals and tables."""
    from loop.export import export as write

    ledger, identifier = open_folder(folder)
    with ledger:
        written = write(ledger, identifier, what=what, which=which, to=to)
    for path, number in written.items():
        Console().print(f"{path}: {number}", soft_wrap=True)
