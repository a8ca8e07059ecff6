"""Crystals of one formula and one number of atoms, and which of them are the same, by pymatgen's StructureMatcher.

Only crystals whose neighbour shells are alike are compared, many at once; the matcher is asked where its answer is in
doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain, repeat
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pymatgen.analysis.structure_matcher import StructureMatcher

from loop.matching.cell_stack import CellStack, grown
from loop.matching.cells import Cell
from loop.matching.foretelling import Tolerances, foretell_all
from loop.matching.shells import shells_of

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

LENGTH_TOLERANCE: Final = 0.2
"""Fractional tolerance on lattice vectors' lengths."""
SITE_TOLERANCE: Final = 0.3
"""Largest displacement of an atom, in units of (volume per atom)^(1/3)."""
ANGLE_TOLERANCE: Final = 5.0
"""Tolerance on lattice angles, degrees."""

_TOLERANCES: Final = Tolerances(LENGTH_TOLERANCE, SITE_TOLERANCE, ANGLE_TOLERANCE)
_ROUNDING: Final = 1e-9
SHELL_THRESHOLD: Final = 0.22
"""Difference of neighbour shells beyond which the matcher is not asked.

Among 2,479 matching pairs made by straining real crystals and decorated prototypes by up to 18 % and moving
atoms by up to the site tolerance the largest difference was 0.203 (99 % lay below 0.142), among 92 matching
pairs of different prototypes 0.189, among 117 matching pairs of the Materials Project 0.140: the threshold
lost none. Of pairs of different prototypes of one formula and size that do not match it spares the matcher
half.
"""

_FEW: Final = 8
"""Pairs compared at once to begin with, and four times as many each time, since the first equal crystal ends it."""
_BLOCKS: Final = (8, 16, 32, 64)
"""New crystals compared with one another at once; few at first, since most may equal one of the first."""
_LARGEST_BLOCK: Final = 4_000_000
"""Numbers held in memory at once."""


class Prepared(NamedTuple):
    """Crystals of one formula and number of atoms, ready to be compared."""

    cells: Sequence[Cell]
    """Those that the matcher reduces them to for every pair it compares."""
    stack: CellStack
    shells: Floats
    """`n_crystals x n_shells`."""

    @classmethod
    def of(cls, cells: Sequence[Cell]) -> Prepared:
        """Prepare reduced cells with the same atoms."""
        stack = CellStack.of(cells)
        return cls(cells, stack, shells_of(stack).reshape(len(cells), -1))

    def part(self, chosen: Sequence[int]) -> Prepared:
        """Some of the crystals."""
        places = np.array(chosen, dtype=np.int64)
        return Prepared([self.cells[i] for i in chosen], self.stack.part(places), self.shells[places])


class Shelf:
    """Crystals of one formula and one number of atoms, in the order in which they came."""

    def __init__(self, like: Prepared) -> None:
        self._names: list[str] = []
        self._cells: list[Cell] = []
        self._stack = like.stack.part(slice(0, 0))
        self._shells = np.empty((0, like.shells.shape[1]))
        self._squares = np.empty(0)

    def put(self, names: Sequence[str], them: Prepared) -> None:
        """Add crystals, the same as others or not."""
        held = len(self._names)
        after = held + len(names)
        if after > len(self._stack):
            # Doubling, so that a crystal is moved a few times however many follow.
            room = max(8, 2 * held, after)
            self._stack, self._shells = self._stack.room(room), grown(self._shells, room)
            self._squares = grown(self._squares, room)
        self._stack.put(held, them.stack)
        self._shells[held:after] = them.shells
        self._squares[held:after] = _squares(them.shells)
        self._names += names
        self._cells += them.cells

    def find(self, them: Prepared, *, start: int = 0) -> list[str | None]:
        """Name of the first crystal, from a place on, that each of some others is the same as, or None."""
        held = slice(start, len(self._names))
        similar = _similar(them.shells, self._shells[held], self._squares[held])
        found: list[str | None] = [None] * len(similar)
        looked, few = 0, _FEW
        left = [crystal for crystal, places in enumerate(similar) if len(places)]
        while left:
            each = max(1, few // len(left))
            pairs = [
                (start + place, crystal)
                for crystal in left
                for place in similar[crystal][looked : looked + each].tolist()
            ]
            for place, crystal in self._equal(pairs, them, wanted=lambda pair: found[pair[1]] is None):
                found[crystal] = self._names[place]
            looked, few = looked + each, 4 * few
            left = [crystal for crystal in left if found[crystal] is None and len(similar[crystal]) > looked]
        return found

    def find_all(self, crystal: Prepared) -> list[str]:
        """Names of all crystals that another is the same as."""
        held = slice(0, len(self._names))
        (places,) = _similar(crystal.shells, self._shells[held], self._squares[held])
        pairs = [(place, 0) for place in places.tolist()]
        return [self._names[place] for place, _ in self._equal(pairs, crystal)]

    def sort_in(self, names: Sequence[str], them: Prepared) -> list[str]:
        """Add crystals in their order, each only if it is the same as none before it.

        Returns:
            Of each the name of the first crystal that it is the same as; its own where it was added.
        """
        found: list[str | None] = [None] * len(names)
        left, start = list(range(len(names))), 0
        for block in chain(_BLOCKS, repeat(_BLOCKS[-1])):
            if start < len(self._names):
                twins = self.find(them.part(left), start=start)
                for crystal, twin in zip(left, twins, strict=True):
                    found[crystal] = twin
                left = [crystal for crystal in left if found[crystal] is None]
            if not left:
                break
            start, few, left = len(self._names), left[:block], left[block:]
            first = _first_equal(them.part(few))
            new = [few[place] for place in sorted(set(first))]
            for crystal, place in zip(few, first, strict=True):
                found[crystal] = names[few[place]]
            self.put([names[crystal] for crystal in new], them.part(new))
        return [twin for twin in found if twin is not None]

    def _equal(
        self,
        pairs: Sequence[tuple[int, int]],
        them: Prepared,
        *,
        wanted: Callable[[tuple[int, int]], bool] = lambda _: True,
    ) -> Iterator[tuple[int, int]]:
        """Pairs of a place and another crystal that are the same; the matcher is asked only where still wanted."""
        if not pairs:
            return
        places, others = np.array(pairs).T
        answers = foretell_all(self._stack.part(places), them.stack.part(others), _TOLERANCES)
        for pair, foretold in zip(pairs, answers, strict=True):
            if foretold is not False and wanted(pair):
                place, crystal = pair
                if foretold or asked(self._cells[place], them.cells[crystal]):
                    yield pair


def equal(first: Prepared, second: Prepared) -> bool:
    """The matcher's answer about two crystals with the same atoms."""
    foretold = foretell_all(first.stack, second.stack, _TOLERANCES)[0]
    return asked(first.cells[0], second.cells[0]) if foretold is None else foretold


def asked(first: Cell, second: Cell) -> bool:
    """The matcher's answer about two reduced cells, from the matcher."""
    return bool(_matcher().fit(first.to_structure(), second.to_structure(), skip_structure_reduction=True))


@cache
def _matcher() -> StructureMatcher:
    return StructureMatcher(ltol=LENGTH_TOLERANCE, stol=SITE_TOLERANCE, angle_tol=ANGLE_TOLERANCE)


def _first_equal(them: Prepared) -> list[int]:
    """Of each crystal the place of the first that it is the same as and that is the same as none before."""
    pairs = [
        (first, second)
        for second, places in enumerate(_similar(them.shells, them.shells, _squares(them.shells)))
        for first in places.tolist()
        if first < second
    ]
    found = list(range(len(them.cells)))
    if pairs:
        own, others = np.array(pairs).T
        answers = foretell_all(them.stack.part(own), them.stack.part(others), _TOLERANCES)
        for (first, second), foretold in zip(pairs, answers, strict=True):
            if foretold is False or found[first] != first or found[second] != second:
                continue
            if foretold or asked(them.cells[first], them.cells[second]):
                found[second] = first
    return found


def _squares(shells: Floats) -> Floats:
    """Of each row the sum of squares."""
    squares: Floats = np.einsum("ij,ij->i", shells, shells)
    return squares


def _similar(shells: Floats, others: Floats, squares_of_others: Floats) -> list[Indices]:
    """For each row of shells, which of the others are similar."""
    limit = shells.shape[1] * (SHELL_THRESHOLD**2 + _ROUNDING)
    similar: list[Indices] = []
    block = max(1, _LARGEST_BLOCK // max(1, len(others)))
    for start in range(0, len(shells), block):
        rows = shells[start : start + block]
        # |a - b|² = |a|² + |b|² - 2a·b: a product of matrices instead of all differences.
        squares = _squares(rows)[:, None] + squares_of_others - 2 * (rows @ others.T)
        similar += [row.nonzero()[0] for row in squares <= limit]
    return similar
