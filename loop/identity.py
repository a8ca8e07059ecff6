"""Whether two crystals are the same, and finding the one met before.

The answer is pymatgen's StructureMatcher's, at the tolerances that the field's benchmarks use (survey section
7.2). An index asks it only about crystals that could match: those of one reduced formula and one number of
atoms, which the matcher demands itself, whose neighbour shells are alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core.structure import Structure

from loop.crystal import Crystal
from loop.distances import distances_within
from loop.errors import CrystalError

Floats = NDArray[np.float64]

LENGTH_TOLERANCE: Final = 0.2
"""Fractional tolerance on lattice vectors' lengths."""
SITE_TOLERANCE: Final = 0.3
"""Largest displacement of an atom, in units of (volume per atom)^(1/3)."""
ANGLE_TOLERANCE: Final = 5.0
"""Tolerance on lattice angles, degrees."""

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
    return bool(_matcher().fit(first.to_structure(), second.to_structure()))


def shells(structure: Structure) -> Floats:
    """Mean distance from each element's atoms to their nearest 12 atoms of each element, whatever the volume.

    These are the average minimum distances of Widdowson et al. (MATCH 87, 529, 2022), resolved by pairs of
    elements, in units of (volume per atom)^(1/3): they change by at most twice as much as any atom is moved.

    Returns:
        `n_elements² x 12`, elements by atomic number.
    """
    length = (structure.volume / len(structure)) ** (1 / 3)
    distances = distances_within(structure.lattice.matrix / length, structure.frac_coords, radius=_RADIUS)
    numbers = np.array(structure.atomic_numbers)
    sites = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
    rows = []
    for centres in sites:
        for neighbours in sites:
            found = np.minimum(distances[np.ix_(centres, neighbours)].reshape(len(centres), -1), _RADIUS)
            padding = np.full((len(centres), _NEIGHBOURS), _RADIUS)
            rows.append(np.sort(np.hstack([found, padding]), axis=1)[:, :_NEIGHBOURS].mean(axis=0))
    return np.array(rows)


def shell_difference(first: Floats, second: Floats) -> Floats:
    """Root mean square difference of neighbour shells; broadcasts over leading axes."""
    difference: Floats = np.sqrt(((first - second) ** 2).mean(axis=(-2, -1)))
    return difference


def _reduced(crystal: Crystal) -> Structure:
    """The cell that the matcher would reduce the crystal to for every pair it compares."""
    return crystal.to_structure().get_reduced_structure(reduction_algo="niggli").get_primitive_structure()


@dataclass(slots=True)
class _Shelf:
    """Crystals of one formula and one number of atoms, in the order in which they came."""

    names: list[str] = field(default_factory=list)
    structures: list[Structure] = field(default_factory=list)
    shells: list[Floats] = field(default_factory=list)


class IdentityIndex:
    """Finds the first crystal that is the same as another, in the order in which they were added.

    Crystals of a formula are reduced only when a second one of that formula is asked about, so an index of
    many compositions costs little.
    """

    def __init__(self) -> None:
        self._crystals: dict[str, Crystal] = {}
        self._waiting: dict[str, list[str]] = {}
        self._shelves: dict[str, dict[int, _Shelf]] = {}

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
        self._waiting.setdefault(crystal.reduced_formula, []).append(name)

    def find(self, crystal: Crystal) -> str | None:
        """Name of the first crystal added that is the same, or None."""
        return next(self._matches(crystal), None)

    def find_all(self, crystal: Crystal) -> tuple[str, ...]:
        """Names of all crystals that are the same, in the order in which they were added."""
        return tuple(self._matches(crystal))

    def _matches(self, crystal: Crystal) -> Iterator[str]:
        shelves = self._shelves_of(crystal.reduced_formula)
        if not shelves:
            return
        reduced = _reduced(crystal)
        shelf = shelves.get(len(reduced))
        if shelf is None:
            return
        alike = shell_difference(np.array(shelf.shells), shells(reduced)) <= SHELL_THRESHOLD
        for position in np.flatnonzero(alike):
            if _matcher().fit(shelf.structures[position], reduced, skip_structure_reduction=True):
                yield shelf.names[position]

    def _shelves_of(self, formula: str) -> dict[int, _Shelf]:
        """Shelves of a formula by number of atoms, with the crystals that waited put onto them."""
        shelves = self._shelves.setdefault(formula, {})
        for name in self._waiting.pop(formula, ()):
            structure = _reduced(self._crystals[name])
            shelf = shelves.setdefault(len(structure), _Shelf())
            shelf.names.append(name)
            shelf.structures.append(structure)
            shelf.shells.append(shells(structure))
        return shelves


def matches_any(crystal: Crystal, phases: Mapping[str, Crystal]) -> str | None:
    """Name of the first of some known phases that a crystal is, whatever their volumes, or None."""
    formula = crystal.reduced_formula
    alike = (name for name, phase in phases.items() if phase.reduced_formula == formula)
    return next((name for name in alike if same(phases[name], crystal)), None)
