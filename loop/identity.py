"""Whether two crystals are the same, and finding the one met before.

The answer is pymatgen's StructureMatcher's, at the tolerances that the field's benchmarks use (survey section
7.2). An index asks it only about crystals that could match: those of one reduced formula and one number of
atoms, which the matcher demands itself, whose neighbour shells are alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from math import gcd
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core.structure import Structure

from loop.cells import Cell, matched_cell
from loop.crystal import Crystal
from loop.distances import distances_within
from loop.errors import CrystalError
from loop.matching import foretell

Floats = NDArray[np.float64]
Formula = tuple[tuple[int, int], ...]

LENGTH_TOLERANCE: Final = 0.2
"""Fractional tolerance on lattice vectors' lengths."""
SITE_TOLERANCE: Final = 0.3
"""Largest displacement of an atom, in units of (volume per atom)^(1/3)."""
ANGLE_TOLERANCE: Final = 5.0
"""Tolerance on lattice angles, degrees."""

_ROUNDING: Final = 1e-9
_NEIGHBOURS: Final = 12
_RADIUS: Final = 3.2
"""Distances beyond it, in units of (volume per atom)^(1/3), count as this long."""
SHELL_THRESHOLD: Final = 0.22
"""Difference of neighbour shells beyond which the matcher is not asked.

Among 2,479 matching pairs made by straining real crystals and decorated prototypes by up to 18 % and moving
atoms by up to the site tolerance the largest difference was 0.203 (99 % lay below 0.142), among 92 matching
pairs of different prototypes 0.189, among 117 matching pairs of the Materials Project 0.140: the threshold
lost none. Of pairs of different prototypes of one formula and size that do not match it spares the matcher
half.
"""


@cache
def _matcher() -> StructureMatcher:
    return StructureMatcher(ltol=LENGTH_TOLERANCE, stol=SITE_TOLERANCE, angle_tol=ANGLE_TOLERANCE)


def same(first: Crystal, second: Crystal) -> bool:
    """Whether pymatgen's StructureMatcher finds two crystals equal, whatever their volumes."""
    return _formula(first) == _formula(second) and _matches(_reduced(first), _reduced(second))


def _matches(first: Cell, second: Cell) -> bool:
    """The matcher's answer about two reduced cells; it is asked only where that is in doubt."""
    foretold = foretell(
        first,
        second,
        length_tolerance=LENGTH_TOLERANCE,
        site_tolerance=SITE_TOLERANCE,
        angle_tolerance=ANGLE_TOLERANCE,
    )
    if foretold is not None:
        return foretold
    return bool(_matcher().fit(first.to_structure(), second.to_structure(), skip_structure_reduction=True))


def _formula(crystal: Crystal) -> Formula:
    """Atomic numbers with their amounts in smallest whole numbers."""
    counts = Counter(crystal.atomic_numbers)
    divisor = gcd(*counts.values())
    return tuple((number, count // divisor) for number, count in sorted(counts.items()))


@lru_cache(maxsize=1024)
def _reduced(crystal: Crystal) -> Cell:
    """The cell that the matcher would reduce the crystal to for every pair it compares."""
    return matched_cell(crystal.to_structure())


def shells(structure: Structure) -> Floats:
    """Mean distance from each element's atoms to their nearest 12 atoms of each element, whatever the volume.

    These are the average minimum distances of Widdowson et al. (MATCH 87, 529, 2022), resolved by pairs of
    elements, in units of (volume per atom)^(1/3): they change by at most twice as much as any atom is moved.

    Returns:
        `n_elements² x 12`, elements by atomic number.
    """
    return _shells(Cell.of(structure))


def _shells(cell: Cell) -> Floats:
    order = np.argsort(cell.atomic_numbers, kind="stable")
    numbers = cell.atomic_numbers[order]
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    counts = np.diff(starts, append=len(numbers))
    length = (cell.volume / len(numbers)) ** (1 / 3)
    distances = distances_within(cell.lattice / length, cell.coordinates[order], radius=_RADIUS)
    shells = np.empty((len(starts), len(starts), _NEIGHBOURS))
    for neighbours, (start, count) in enumerate(zip(starts, counts, strict=True)):
        found = distances[:, start : start + count].reshape(len(numbers), -1)
        nearest = np.full((len(numbers), _NEIGHBOURS), _RADIUS)
        held = min(_NEIGHBOURS, found.shape[1])
        nearest[:, :held] = np.sort(np.partition(found, held - 1, axis=1)[:, :held], axis=1)
        np.minimum(nearest, _RADIUS, out=nearest)
        shells[:, neighbours] = np.add.reduceat(nearest, starts, axis=0) / counts[:, None]
    return shells.reshape(-1, _NEIGHBOURS)


def shell_difference(first: Floats, second: Floats) -> Floats:
    """Root mean square difference of neighbour shells; broadcasts over leading axes."""
    difference: Floats = np.sqrt(((first - second) ** 2).mean(axis=(-2, -1)))
    return difference


class _Shelf:
    """Crystals of one formula and one number of atoms, in the order in which they came."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._cells: list[Cell] = []
        self._shells = np.empty((0, 0))
        self._squares = np.empty(0)

    def put(self, name: str, cell: Cell) -> None:
        shells, held = _shells(cell).ravel(), len(self._names)
        if held == len(self._shells):
            # Doubling, so that a crystal is moved a few times however many follow.
            self._shells = np.resize(self._shells, (max(8, 2 * held), len(shells)))
            self._squares = np.resize(self._squares, len(self._shells))
        self._shells[held], self._squares[held] = shells, shells @ shells
        self._names.append(name)
        self._cells.append(cell)

    def matches(self, cell: Cell) -> Iterator[str]:
        """Names of the crystals that a cell is the same as."""
        shells, held = _shells(cell).ravel(), len(self._names)
        # |a - b|² = |a|² + |b|² - 2a·b: one product instead of a copy of all shells.
        squares = self._squares[:held] + shells @ shells - 2 * (self._shells[:held] @ shells)
        for position in np.flatnonzero(squares <= len(shells) * (SHELL_THRESHOLD**2 + _ROUNDING)).tolist():
            if _matches(self._cells[position], cell):
                yield self._names[position]


class IdentityIndex:
    """Finds the first crystal that is the same as another, in the order in which they were added.

    Crystals of a formula are reduced only when a second one of that formula is asked about, so an index of
    many compositions costs little.
    """

    def __init__(self) -> None:
        self._crystals: dict[str, Crystal] = {}
        self._waiting: dict[Formula, list[str]] = {}
        self._shelves: dict[Formula, dict[int, _Shelf]] = {}

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

    def find(self, crystal: Crystal) -> str | None:
        """Name of the first crystal added that is the same, or None."""
        return next(self._matches(crystal), None)

    def find_all(self, crystal: Crystal) -> tuple[str, ...]:
        """Names of all crystals that are the same, in the order in which they were added."""
        return tuple(self._matches(crystal))

    def _matches(self, crystal: Crystal) -> Iterator[str]:
        shelves = self._shelves_of(_formula(crystal))
        if not shelves:
            return
        cell = _reduced(crystal)
        shelf = shelves.get(len(cell.coordinates))
        if shelf is not None:
            yield from shelf.matches(cell)

    def _shelves_of(self, formula: Formula) -> dict[int, _Shelf]:
        """Shelves of a formula by number of atoms, with the crystals that waited put onto them."""
        shelves = self._shelves.setdefault(formula, {})
        for name in self._waiting.pop(formula, ()):
            cell = _reduced(self._crystals[name])
            shelves.setdefault(len(cell.coordinates), _Shelf()).put(name, cell)
        return shelves


def matches_any(crystal: Crystal, phases: Mapping[str, Crystal]) -> str | None:
    """Name of the first of some known phases that a crystal is, whatever their volumes, or None."""
    return next((name for name, phase in phases.items() if same(phase, crystal)), None)
