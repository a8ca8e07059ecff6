"""Structure types from files and from crystals, besides those of AFLOW."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from loop.crystal import Crystal
from loop.errors import GeneratorError, ReferencePhaseError
from loop.prototypes import Prototype
from loop.references.reading import read_structures


def read_parents(paths: tuple[str, ...], *, field: str) -> tuple[Prototype, ...]:
    """Every structure in these files and folders, as structure types, each crystal once.

    Args:
        paths: files, or folders of structure files.
        field: how messages call the option.

    Raises:
        GeneratorError: a path does not exist, holds no structures, or one of them is no ordered crystal.
    """
    found = {parent.name: parent for path in paths for parent in _read(path, field=field)}
    return tuple(found.values())


@cache
def _read(path: str, *, field: str) -> tuple[Prototype, ...]:
    try:
        sources = read_structures(Path(path).expanduser())
        return tuple(structure_type(source.name, source.crystal()) for source in sources)
    except ReferencePhaseError as error:
        raise GeneratorError(f"{field}: {error}") from error


def structure_type(name: str, crystal: Crystal) -> Prototype:
    """A crystal with its elements taken out.

    Args:
        name: how its source calls it. A part of the crystal's key is added, for names repeat between files.
        crystal: the known compound.
    """
    return Prototype(
        name=f"{name}@{crystal.key[:8]}",
        # Where an AFLOW label has the Pearson symbol, this says that the structure type is none of AFLOW's.
        aflow_label=f"{crystal.composition.anonymized_formula}_own_{crystal.space_group_number}",
        pearson_symbol="",
        strukturbericht=None,
        mineral=crystal.reduced_formula,
        original=crystal,
    )
