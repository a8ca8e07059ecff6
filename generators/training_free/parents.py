"""Parent structures from files: what substitution starts from besides the AFLOW compounds."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

from ase.io import iread
from ase.io.formats import UnknownFileTypeError
from pymatgen.core import Structure

from loop.crystal import Crystal
from loop.errors import CrystalError, GeneratorError
from loop.prototypes import Prototype

ASE_SUFFIXES: Final = frozenset({".extxyz", ".xyz", ".db", ".traj"})
"""Read with ASE, since one file may hold many structures."""
STRUCTURE_SUFFIXES: Final = frozenset(
    {".cif", ".vasp", ".poscar", ".json", ".yaml", ".xsf", ".cssr", ".mcif"}
)
"""Read with pymatgen, one structure per file."""


def read_parents(paths: tuple[str, ...], *, field: str) -> tuple[Prototype, ...]:
    """Every structure in these files and folders, as structure types named by file.

    Args:
        paths: files, or folders that are searched for structure files (not their subfolders).
        field: how messages call the option.

    Raises:
        GeneratorError: a path does not exist, holds no structures, or a file cannot be read as an ordered
            crystal.
    """
    return tuple(parent for path in paths for parent in _read(path, field=field))


@lru_cache(maxsize=256)
def _read(path: str, *, field: str) -> tuple[Prototype, ...]:
    place = Path(path).expanduser()
    if not place.exists():
        raise GeneratorError(f"{field}: {place} does not exist; give a structure file or a folder of them")
    if place.is_dir():
        known = ASE_SUFFIXES | STRUCTURE_SUFFIXES
        files = sorted(file for file in place.iterdir() if file.suffix.lower() in known)
        if not files:
            raise GeneratorError(
                f"{field}: {place} holds no structure files; files may end in {', '.join(sorted(known))}"
            )
    else:
        files = [place]
    return tuple(parent for file in files for parent in _read_file(file, field=field))


def _read_file(file: Path, *, field: str) -> list[Prototype]:
    try:
        if file.suffix.lower() in ASE_SUFFIXES:
            crystals = [Crystal.from_atoms(atoms) for atoms in iread(file, index=":")]
        else:
            crystals = [Crystal.from_structure(Structure.from_file(file))]
    except (CrystalError, UnknownFileTypeError, ValueError, KeyError, IndexError, OSError) as error:
        raise GeneratorError(
            f"{field}: {file} cannot be read as an ordered crystal ({type(error).__name__}: {error}); "
            "mend or remove the file"
        ) from error
    if not crystals:
        raise GeneratorError(f"{field}: {file} holds no structures; remove it or give another")
    names = (
        [file.name]
        if len(crystals) == 1
        else [f"{file.name}#{number}" for number in range(1, len(crystals) + 1)]
    )
    return [_structure_type(name, crystal) for name, crystal in zip(names, crystals, strict=True)]


def _structure_type(name: str, crystal: Crystal) -> Prototype:
    formula = crystal.composition.anonymized_formula
    return Prototype(
        name=name,
        aflow_label=f"{formula}_file_{crystal.space_group_number}",
        pearson_symbol="",
        strukturbericht=None,
        mineral=crystal.reduced_formula,
        original=crystal,
    )
