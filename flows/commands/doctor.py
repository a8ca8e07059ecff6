"""`motherlode doctor`: what this machine can do, what is missing, and how to get it."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

from rich.console import Console
from rich.table import Table

from surrogates.native import compiler

State = Literal["ready", "missing", "optional"]

PACKAGES: Final = (
    "torch", "pymatgen", "ase", "moyopy", "smact", "pyxtal", "chgnet", "sevenn", "matgl", "atomate2",
    "jobflow", "phonopy", "botorch", "mp-api", "prefect", "fastapi", "sqlalchemy", "alembic",
)  # fmt: skip
CODES: Final = {
    "pw.x": ("Quantum ESPRESSO", "apt-get install quantum-espresso"),
    "gpaw": ("GPAW", "pip install gpaw (needs libxc, BLAS and MPI headers)"),
    "vasp_std": ("VASP", "licensed: vasp.at; then set ATOMATE2_VASP_CMD"),
    "sbatch": ("Slurm", "part of a cluster's login node"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked for."""

    group: str
    name: str
    state: State
    found: str
    mend: str = ""


def findings() -> Iterator[Finding]:
    """Everything that is looked for, in order."""
    yield from _machine()
    yield _compiler()
    yield from _packages()
    yield from _weights()
    yield from _services()
    yield from _codes()


def doctor(*, as_json: bool) -> None:
    """Print what was found; exit with 1 where something that every campaign needs is missing."""
    found = list(findings())
    if as_json:
        print(json.dumps([asdict(finding) for finding in found]))  # noqa: T201 - the command's output
    else:
        _show(found)
    if any(finding.state == "missing" for finding in found):
        sys.exit(1)


def _machine() -> Iterator[Finding]:
    version = platform.python_version()
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield Finding(
        group="machine",
        name="Python",
        state="ready" if good else "missing",
        found=version,
        mend="" if good else "use Python 3.11 to 3.13",
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding(
        group="machine",
        name="cores",
        state="ready",
        found=f"{cores} (one worker process of one thread on each)",
    )
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    yield Finding(
        group="machine",
        name="free disk here",
        state="ready" if free > 1 else "missing",
        found=f"{free:.0f} GB",
        mend="" if free > 1 else "a campaign needs about 1 GB",
    )


def _packages() -> Iterator[Finding]:
    for name in PACKAGES:
        try:
            yield Finding(group="packages", name=name, state="ready", found=metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding(
                group="packages",
                name=name,
                state="missing",
                found="not installed",
                mend="pip install -c constraints.txt -e .",
            )


def _compiler() -> Finding:
    found = compiler()
    return Finding(
        group="machine",
        name="C compiler",
        state="ready" if found else "optional",
        found=f"{found} (inner loops of CHGNet and SevenNet are compiled for this processor)"
        if found
        else "none",
        mend="" if found else "apt-get install gcc: CHGNet then runs twice as fast, SevenNet about ten times",
    )


def _weights() -> Iterator[Finding]:
    for package, pattern, what in (
        ("chgnet", "pretrained/*/*.tar", "CHGNet"),
        ("sevenn", "pretrained_potentials/**/*.pth", "SevenNet"),
    ):
        specification = importlib.util.find_spec(package)
        where = list(specification.submodule_search_locations or ()) if specification else []
        files = sorted(path for folder in where for path in Path(folder).glob(pattern))
        if files:
            yield Finding(
                group="weights",
                name=what,
                state="ready",
                found=", ".join(sorted({path.parent.name for path in files})),
            )
        else:
            yield Finding(
                group="weights",
                name=what,
                state="missing",
                found="no weights in the wheel",
                mend=f"pip install --force-reinstall {package}",
            )
    cache = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser() / "hub"
    models = (
        sorted(path.name.split("--")[-1] for path in cache.glob("models--materialyze--*"))
        if cache.is_dir()
        else []
    )
    yield Finding(
        group="weights",
        name="matgl",
        state="ready" if models else "optional",
        found=", ".join(models) or "none in the hub's cache",
        mend="" if models else "name a folder, or a hub name with network access, as potential.model",
    )


def _services() -> Iterator[Finding]:
    key = bool(os.environ.get("MP_API_KEY"))
    yield Finding(
        group="services",
        name="Materials Project key",
        state="ready" if key else "optional",
        found="MP_API_KEY is set" if key else "MP_API_KEY is not set",
        mend=""
        if key
        else "a free key from materialsproject.org/api, for references.source: materials_project",
    )
    driver = importlib.util.find_spec("psycopg") is not None
    yield Finding(
        group="services",
        name="PostgreSQL driver",
        state="ready" if driver else "optional",
        found="psycopg" if driver else "not installed",
        mend="" if driver else "pip install 'motherlode[postgresql]', for ledger: postgresql+psycopg://…",
    )
    yield _prefect(os.environ.get("PREFECT_API_URL"))


def _prefect(url: str | None) -> Finding:
    if not url:
        return Finding(
            group="services",
            name="Prefect server",
            state="optional",
            found="PREFECT_API_URL is not set: each run starts a private server",
            mend="prefect server start, to watch campaigns in a browser",
        )
    import httpx

    try:
        httpx.get(f"{url.rstrip('/')}/health", timeout=5).raise_for_status()
    except httpx.HTTPError as error:
        return Finding(
            group="services",
            name="Prefect server",
            state="missing",
            found=f"{url} does not answer ({error})",
            mend="prefect server start, or unset PREFECT_API_URL",
        )
    return Finding(group="services", name="Prefect server", state="ready", found=url)


def _codes() -> Iterator[Finding]:
    for program, (name, how) in CODES.items():
        path = shutil.which(program)
        yield Finding(
            group="external codes",
            name=name,
            state="ready" if path else "optional",
            found=path or f"{program} is not on PATH",
            mend="" if path else how,
        )


def _show(found: list[Finding]) -> None:
    marks = {
        "ready": "[green]ready[/green]",
        "missing": "[red]missing[/red]",
        "optional": "[yellow]absent[/yellow]",
    }
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("", "what", "", "found", "how to get it"):
        table.add_column(column, overflow="fold")
    group = ""
    for finding in found:
        table.add_row(
            finding.group if finding.group != group else "",
            finding.name,
            marks[finding.state],
            finding.found,
            finding.mend,
        )
        group = finding.group
    console = Console()
    console.print(table)
    missing = [finding.name for finding in found if finding.state == "missing"]
    console.print(
        f"\n[red]Missing: {', '.join(missing)}.[/red]" if missing else "\nAll that a campaign needs is here."
    )
