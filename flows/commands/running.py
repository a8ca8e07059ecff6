"""`motherlode run` and `motherlode resume`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from flows.terminal import Terminal
from loop.campaign_file import read_campaign
from loop.errors import CampaignFileError

if TYPE_CHECKING:
    from loop.spec import CampaignSpec

COPY: Final = "campaign.yaml"
BASE: Final = ".base"
"""Holds the folder that the campaign file's relative paths start from, for `resume`."""


def run(file: Path, *, folder: Path | None, prefect: bool, take_over: bool, iterations: int | None) -> None:
    """Run the campaign of a file in a folder."""
    spec = read_campaign(file)
    folder = folder or Path("campaigns") / spec.name
    base = file.resolve().parent
    _turn(
        spec, folder=folder, base=base, copy=file, prefect=prefect, take_over=take_over, iterations=iterations
    )


def resume(folder: Path, *, prefect: bool, take_over: bool, iterations: int | None) -> None:
    """Go on with the campaign of a folder."""
    copy = folder / COPY
    if not copy.is_file():
        raise CampaignFileError(
            f"--folder {folder}: holds no {COPY}, so no campaign was begun here; "
            f"begin one with `motherlode run FILE --folder {folder}`"
        )
    base = folder / BASE
    _turn(
        read_campaign(copy),
        folder=folder,
        base=Path(base.read_text()) if base.is_file() else folder.resolve(),
        copy=None,
        prefect=prefect,
        take_over=take_over,
        iterations=iterations,
    )


def _turn(
    spec: CampaignSpec,
    *,
    folder: Path,
    base: Path,
    copy: Path | None,
    prefect: bool,
    take_over: bool,
    iterations: int | None,
) -> None:
    """Open the campaign and turn it, watched by the terminal and by Prefect."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the driver's own numerics; workers set their own
    # spglib tells of tolerances that it tried in vain before it found one, from C; workers inherit this.
    os.environ.setdefault("SPGLIB_WARNING", "OFF")
    from flows.campaign import Campaign
    from flows.observer import Together
    from flows.plan import check_plan
    from flows.runner import PlainRunner, Runner
    from flows.turning import run

    console = Console()
    runner: Runner = PlainRunner()
    with Terminal(console) as terminal:
        observers: Together = Together(terminal)
        if prefect:
            from flows import prefect_runner

            prefect_runner.prepare_environment()
            prefect_runner.check_server()
            runner, observers = (
                prefect_runner.PrefectRunner(),
                Together(terminal, prefect_runner.PrefectObserver()),
            )
        with Campaign.open(
            spec, folder=folder, base=base, observer=observers, take_over=take_over
        ) as campaign:
            if copy is not None and copy.resolve() != (folder / COPY).resolve():
                shutil.copyfile(copy, folder / COPY)
                (folder / BASE).write_text(str(base))
            check_plan(campaign)
            reason = run(campaign, runner=runner, iterations=iterations)
            counts = campaign.counts()
    console.print(f"\n[bold]{spec.name}[/bold]: {reason}.")
    console.print(
        f"{counts['candidates']} candidates, {counts['relaxed']} relaxed, {counts['verified']} verified, "
        f"[bold]{counts['discoveries']} discoveries[/bold], {counts['failures']} failures."
    )
    console.print(f"Report: {(folder / 'report.html').resolve()}", soft_wrap=True)
