"""Versions of all that decides results, for the ledger."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Final

DECISIVE: Final = (
    "motherlode", "torch", "numpy", "scipy", "pymatgen", "pymatgen-core", "ase", "moyopy", "smact", "pyxtal", "chgnet",
    "sevenn", "matgl", "atomate2", "jobflow", "phonopy", "botorch", "prefect",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Version of each decisive package that is installed, of Python and of the platform."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in DECISIVE:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
