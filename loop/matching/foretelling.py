"""What pymatgen's StructureMatcher will say of many pairs of cells at once, unasked, where that is certain.

The matcher maps one lattice onto the other in every way that its tolerances on lengths and angles allow, lays one
atom of the rarest element onto each of its kind, and asks whether every atom has one of its element inside a box
around it. Where that holds it pairs the atoms so that the squared distances add up to the least, takes the common
displacement out, and calls the cells equal if no atom is further away than the site tolerance.

Here the same is asked of all pairs, mappings and translations at once. Whatever misses the boxes, a hair wider, fails
there too. Where every atom's nearest is another one, and nearer by a margin than the second, the pairing is the
only best one, and what it gives counts there too. In any other case the answer is None: ask the matcher.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from loop.matching.cell_stack import CellStack
from loop.matching.cells import Cell
from loop.matching.lattice_mappings import MARGIN, mappings
from loop.matching.overlay import Laid, Overlay

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_FEW: Final = 64
"""Ways up to which all are looked at at once."""
_PAIRS: Final = 512
"""Pairs compared at once."""


class Tolerances(NamedTuple):
    """The matcher's."""

    length: float
    """Fractional, of lattice vectors."""
    site: float
    """Of atoms, in units of (volume per atom)^(1/3)."""
    angle: float
    """Of lattice angles, degrees."""


def foretell(
    first: Cell, second: Cell, *, length_tolerance: float, site_tolerance: float, angle_tolerance: float
) -> bool | None:
    """Whether the matcher finds two reduced cells equal, scaled to one volume; None where only it can tell.

    Args:
        first: the cell that is mapped.
        second: the cell that it is mapped onto.
        length_tolerance: fractional.
        site_tolerance: in units of (volume per atom)^(1/3).
        angle_tolerance: degrees.
    """
    if sorted(first.atomic_numbers.tolist()) != sorted(second.atomic_numbers.tolist()):
        return False
    tolerances = Tolerances(length_tolerance, site_tolerance, angle_tolerance)
    return foretell_all(CellStack.of([first]), CellStack.of([second]), tolerances)[0]


def foretell_all(first: CellStack, second: CellStack, tolerances: Tolerances) -> list[bool | None]:
    """As `foretell`, of every second cell and the first one at its place, or the only one, with the same atoms."""
    answers: list[bool | None] = []
    for start in range(0, len(second), _PAIRS):
        part = slice(start, start + _PAIRS)
        answers += _foretold(first if len(first) == 1 else first.part(part), second.part(part), tolerances)
    return answers


def _foretold(first: CellStack, second: CellStack, tolerances: Tolerances) -> list[bool | None]:
    maps = mappings(first, second, length_tolerance=tolerances.length, angle_tolerance=tolerances.angle)
    answers: list[bool | None] = [False] * len(second)
    if not len(maps.pair):
        return answers
    overlay = Overlay.of(first, second, maps, site_tolerance=tolerances.site)
    equal, unsure = np.zeros(len(second), dtype=bool), np.zeros(len(second), dtype=bool)
    doubtful = np.zeros(len(overlay.pair), dtype=bool)
    possible: list[Laid] = []
    for boxed in overlay.within_boxes():
        for laid in _one_of_each_first(boxed, overlay.pair[boxed.mapping]):
            some = laid.part((~equal[overlay.pair[laid.mapping]]).nonzero()[0])
            if not len(some.mapping):
                continue
            near = overlay.nearest(some)
            moves = near.vectors - near.vectors.mean(axis=1, keepdims=True)
            furthest = np.sqrt((moves**2).sum(axis=0).max(axis=0)) / overlay.sites[near.laid.mapping]
            equal[overlay.pair[near.laid.mapping[near.clear & (furthest < 1 - MARGIN)]]] = True
            doubtful[some.mapping[near.others]] = True
            doubtful[near.laid.mapping[~near.clear | (furthest <= 1 + MARGIN)]] = True
            possible.append(overlay.close(near))
    unsure[overlay.pair[np.isnan(overlay.sites)]] = True
    # An atom of the rarest element goes onto one of its kind, so some translation of the mapping would have to fit.
    for laid in possible:
        pair = overlay.pair[laid.mapping]
        left = (doubtful[laid.mapping] & ~equal[pair] & ~unsure[pair]).nonzero()[0]
        if len(left):
            unsure[pair[left[overlay.may_fit(laid.part(left))]]] = True
    for place in np.flatnonzero(equal | unsure).tolist():
        answers[place] = True if equal[place] else None
    return answers


def _one_of_each_first(laid: Laid, pair: Indices) -> Iterator[Laid]:
    """Where a pair may be laid in many ways by its symmetry, one of them first: it may be all that is needed."""
    if len(pair) <= _FEW:
        yield laid
        return
    one = np.unique(pair, return_index=True)[1]
    others = np.ones(len(pair), dtype=bool)
    others[one] = False
    yield laid.part(one)
    yield laid.part(others.nonzero()[0])
