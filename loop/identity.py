"""Whether two crystals are the same, and finding the one met before.

The answer is pymatgen's StructureMatcher's, at the tolerances that the field's benchmarks use (survey section
7.2). An index asks it only about crystals that could match: those of one reduced formula and one number of
atoms, which the matcher demands itself, whose neighbour shells are alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import gcd
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pymatgen.core.structure import Structure

from loop.crystal import Crystal
from loop.errors import CrystalError
from loop.matching.cell_stack import CellStack
from loop.matching.cells import Cell
from loop.matching.primitive import matched_cell
from loop.matching.shelf import (
    ANGLE_TOLERANCE,
    LENGTH_TOLERANCE,
    SHELL_THRESHOLD,
    SITE_TOLERANCE,
    Prepared,
    Shelf,
    equal,
)
from loop.matching.shells import shell_difference, shells_of

__all__ = [
    "ANGLE_TOLERANCE",
    "LENGTH_TOLERANCE",
    "SHELL_THRESHOLD",
    "SITE_TOLERANCE",
    "IdentityIndex",
    "matches_any",
    "same",
    "shell_difference",
    "shells",
]

Floats = NDArray[np.float64]
Formula = tuple[tuple[int, int], ...]

_BATCH: Final = 1000
"""Crystals of one formula that are prepared at once."""


def same(first: Crystal, second: Crystal) -> bool:
    """Whether pymatgen's StructureMatcher finds two crystals equal, whatever their volumes."""
    if _formula(first) != _formula(second):
        return False
    one, other = _prepared(first), _prepared(second)
    return len(one.stack.numbers) == len(other.stack.numbers) and equal(one, other)


@lru_cache(maxsize=1024)
def _prepared(crystal: Crystal) -> Prepared:
    return Prepared.of([matched_cell(crystal)])


def _formula(crystal: Crystal) -> Formula:
    """Atomic numbers with their amounts in smallest whole numbers."""
    counts = Counter(crystal.atomic_numbers)
    divisor = gcd(*counts.values())
    return tuple((number, count // divisor) for number, count in sorted(counts.items()))


def shells(structure: Structure) -> Floats:
    """Neighbour shells of one structure (see `loop.matching.shells.shells_of`), `n_elements² x 12`."""
    mean_distances: Floats = shells_of(CellStack.of([Cell.of(structure)]))[0]
    return mean_distances


class IdentityIndex:
    """Finds the first crystal that is the same as another, in the order in which they were added.

    Crystals of a formula are reduced only when a second one of that formula is asked about, so an index of
    many compositions costs little.
    """

    def __init__(self) -> None:
        self._crystals: dict[str, Crystal] = {}
        self._waiting: dict[Formula, list[str]] = {}
        self._shelves: dict[Formula, dict[int, Shelf]] = {}

    def __len__(self) -> int:
        """Crystals held."""
        return len(self._crystals)

    def __contains__(self, name: str) -> bool:
        """Whether a crystal of that name was added."""
        return name in self._crystals

    def add(self, name: str, crystal: Crystal) -> None:
        """Remember a crystal, the same as another or not.

        Raises:
            CrystalError: another crystal has that name already.
        """
        if name in self._crystals:
            if self._crystals[name] != crystal:
                raise CrystalError(
                    f"{name} already names another crystal of the index; give each its own name"
                )
            return
        self._crystals[name] = crystal
        self._waiting.setdefault(_formula(crystal), []).append(name)

    def add_distinct(self, crystals: Mapping[str, Crystal]) -> dict[str, str]:
        """Remember each crystal that is the same as none before it, held or in the order given.

        The answers are those of `find` and `add` in turn; crystals of one formula are compared many at once.

        Returns:
            For each name that of the first crystal that it is the same as: its own where it was added.

        Raises:
            CrystalError: one of the names is taken.
        """
        for name in crystals:
            if name in self._crystals:
                raise CrystalError(f"{name} already names a crystal of the index; give each its own name")
        formulas: dict[Formula, list[str]] = {}
        for name, crystal in crystals.items():
            formulas.setdefault(_formula(crystal), []).append(name)
        found = dict.fromkeys(crystals, "")
        for formula, names in formulas.items():
            shelves = self._shelves_of(formula)
            if len(names) == 1 and not shelves:
                self.add(names[0], crystals[names[0]])
                found[names[0]] = names[0]
                continue
            shelves = self._shelves.setdefault(formula, shelves)
            for some, them in _batches({name: crystals[name] for name in names}):
                found.update(zip(some, _shelf(shelves, them).sort_in(some, them), strict=True))
        self._crystals.update((name, crystals[name]) for name, first in found.items() if name == first)
        return found

    def find(self, crystal: Crystal) -> str | None:
        """Name of the first crystal added that is the same, or None."""
        shelves = self._shelves_of(_formula(crystal))
        if not shelves:
            return None
        them = _prepared(crystal)
        shelf = shelves.get(len(them.stack.numbers))
        return shelf.find(them)[0] if shelf else None

    def find_all(self, crystal: Crystal) -> tuple[str, ...]:
        """Names of all crystals that are the same, in the order in which they were added."""
        shelves = self._shelves_of(_formula(crystal))
        if not shelves:
            return ()
        them = _prepared(crystal)
        shelf = shelves.get(len(them.stack.numbers))
        return tuple(shelf.find_all(them)) if shelf else ()

    def _shelves_of(self, formula: Formula) -> dict[int, Shelf]:
        """Shelves of a formula by number of atoms, with the crystals that waited put onto them."""
        waiting = self._waiting.pop(formula, ())
        if not waiting:
            return self._shelves.get(formula, {})
        shelves = self._shelves.setdefault(formula, {})
        for names, them in _batches({name: self._crystals[name] for name in waiting}):
            _shelf(shelves, them).put(names, them)
        return shelves


def _shelf(shelves: dict[int, Shelf], them: Prepared) -> Shelf:
    """The shelf for crystals, made where there is none."""
    return shelves.setdefault(len(them.stack.numbers), Shelf(them))


def _batches(crystals: Mapping[str, Crystal]) -> Iterable[tuple[list[str], Prepared]]:
    """Crystals of one formula, with the same number of atoms in each batch, prepared together."""
    if len(crystals) == 1:
        # The one that was just asked about.
        return [([name], _prepared(crystal)) for name, crystal in crystals.items()]
    sizes: dict[int, dict[str, Cell]] = {}
    for name, crystal in crystals.items():
        cell = matched_cell(crystal)
        sizes.setdefault(len(cell.atomic_numbers), {})[name] = cell
    batches = []
    for cells in sizes.values():
        names = list(cells)
        for start in range(0, len(names), _BATCH):
            some = names[start : start + _BATCH]
            batches.append((some, Prepared.of([cells[name] for name in some])))
    return batches


def matches_any(crystal: Crystal, phases: Mapping[str, Crystal]) -> str | None:
    """Name of the first of some known phases that a crystal is, whatever their volumes, or None."""
    return next((name for name, phase in phases.items() if same(phase, crystal)), None)
