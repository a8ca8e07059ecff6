"""The rules of the house: which way imports run, what stays out of them, and what every text leaves out."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "loop": {"loop"},
    "generators": {"generators", "loop"},
    "surrogates": {"surrogates", "loop"},
    "flows": {"flows", "generators", "surrogates", "loop"},
}
HEAVY = {
    "torch", "chgnet", "matgl", "sevenn", "botorch", "gpytorch", "prefect", "atomate2", "jobflow", "mp_api",
    "pyxtal", "phonopy",
}  # fmt: skip
ONLY_IN_FLOWS = {"prefect", "atomate2", "jobflow"}
LIGHT_MODULES = [
    "loop", "loop.spec", "loop.crystal", "loop.hull", "loop.identity", "loop.ledger.ledger", "loop.state",
    "loop.acquisition.registry", "loop.acquisition.residual", "loop.report", "generators.registry",
    "surrogates.registry", "surrogates.workers", "flows.campaign", "flows.turning", "flows.command_line",
]  # fmt: skip


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """First names of everything that a module imports anywhere, type checking included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_run_one_way(package):
    ours = set(ALLOWED)
    wrong = {
        str(path.relative_to(ROOT)): imported(path) & (ours - ALLOWED[package]) for path in modules(package)
    }
    assert {path: names for path, names in wrong.items() if names} == {}


@pytest.mark.parametrize("package", ["loop", "generators", "surrogates"])
def test_only_flows_knows_prefect_and_jobflow(package):
    wrong = {str(path.relative_to(ROOT)): imported(path) & ONLY_IN_FLOWS for path in modules(package)}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_light_modules_load_nothing_heavy():
    program = "import importlib, sys\n" + "".join(
        f"importlib.import_module({name!r})\n"
        f"heavy = sorted({HEAVY!r} & set(sys.modules))\n"
        f"assert not heavy, ({name!r}, heavy)\n"
        for name in LIGHT_MODULES
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_loads_no_science():
    program = (
        "import sys\nsys.argv = ['motherlode', '--help']\nfrom flows.command_line import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "slow = {'torch', 'numpy', 'pymatgen', 'ase', 'pandas', 'sqlalchemy', 'prefect', 'pydantic'}\n"
        "heavy = sorted(slow & set(sys.modules))\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
