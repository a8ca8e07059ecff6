"""The command line: `motherlode init | check | run | resume | status | report | export | doctor`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="motherlode",
    help="Closed-loop discovery campaigns for inorganic crystals.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Folder = Annotated[Path, typer.Option("--folder", "-f", help="The campaign's folder.")]
File = Annotated[Path, typer.Argument(help="The campaign file (YAML).")]
Prefect = Annotated[
    bool,
    typer.Option(
        "--prefect/--no-prefect",
        help="Show the campaign as Prefect flow runs (on PREFECT_API_URL, or a private server).",
    ),
]
TakeOver = Annotated[
    bool,
    typer.Option(
        "--take-over", help="Take the campaign from a driver on another machine that you know to be dead."
    ),
]
Iterations = Annotated[
    int | None, typer.Option("--iterations", min=1, help="Turn at most this many iterations now.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="Where to write the campaign file.")] = Path("campaign.yaml"),
    *,
    system: Annotated[str, typer.Option("--system", help="Chemical system, e.g. Ni-Sn-Ti.")] = "Ni-Sn-Ti",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented campaign file to start from."""
    from flows.commands.files import init as command

    command(file, system=system, force=force)


@app.command()
def check(file: File) -> None:
    """Validate a campaign file; print the plan and its declared cost before anything runs."""
    from flows.commands.files import check as command

    command(file)


@app.command()
def run(
    file: File,
    *,
    folder: Annotated[
        Path | None,
        typer.Option("--folder", "-f", help="The campaign's folder; by default campaigns/<name>."),
    ] = None,
    prefect: Prefect = True,
    take_over: TakeOver = False,
    iterations: Iterations = None,
) -> None:
    """Run a campaign, or go on with it where its folder has one already."""
    from flows.commands.running import run as command

    command(file, folder=folder, prefect=prefect, take_over=take_over, iterations=iterations)


@app.command()
def resume(
    folder: Folder,
    *,
    prefect: Prefect = True,
    take_over: TakeOver = False,
    iterations: Iterations = None,
) -> None:
    """Go on with the campaign of a folder. Its campaign.yaml may meanwhile have got a larger budget."""
    from flows.commands.running import resume as command

    command(folder, prefect=prefect, take_over=take_over, iterations=iterations)


@app.command()
def status(folder: Folder, *, as_json: Json = False) -> None:
    """Say where a campaign stands."""
    from flows.commands.reading import status as command

    command(folder, as_json=as_json)


@app.command()
def report(
    folder: Folder,
    *,
    to: Annotated[Path | None, typer.Option("--to", help="Where to write the HTML file.")] = None,
) -> None:
    """Write the campaign's report: one self-contained HTML file."""
    from flows.commands.reading import report as command

    command(folder, to=to)


@app.command()
def export(
    folder: Folder,
    *,
    to: Annotated[Path, typer.Option("--to", help="Folder to write into.")],
    what: Annotated[str, typer.Option("--what", help="cif, extxyz, entries, parquet or all.")] = "all",
    which: Annotated[
        str, typer.Option("--which", help="all, verified, metastable, stable or discoveries.")
    ] = "verified",
) -> None:
    """Write crystals and tables for other programs."""
    from flows.commands.reading import export as command

    command(folder, to=to, what=what, which=which)


@app.command()
def doctor(*, as_json: Json = False) -> None:
    """Say what is installed, which weights and external codes are there, what is missing and how to get it."""
    from flows.commands.doctor import doctor as command

    command(as_json=as_json)


def main() -> None:
    """Run the command line; errors that Motherlode foresaw are printed in one line, without a traceback."""
    from loop.errors import MotherlodeError

    try:
        app(standalone_mode=True)
    except MotherlodeError as error:
        _complain(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        _complain("stopped; nothing settled is lost. Go on with: motherlode resume --folder DIR")
        sys.exit(130)


def _complain(text: str) -> None:
    print(json.dumps({"error": text}) if "--json" in sys.argv else f"motherlode: {text}", file=sys.stderr)  # noqa: T201 - the one place that prints


if __name__ == "__main__":
    main()
