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

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from loop.cell_stack import CellStack
from loop.cells import Cell
from loop.lattice_mappings import MARGIN, Mappings, mappings

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_LARGEST_BLOCK: Final = 500_000
"""Numbers held in memory at once."""
_FEW: Final = 64
"""Ways up to which all are looked at at once."""
_WORTH_ONE_LOOK: Final = 4096
"""Numbers up to which all atoms are looked at rather than those that the ones before leave over."""
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
    overlay = _Overlay.of(first, second, maps, site_tolerance=tolerances.site)
    equal, unsure = np.zeros(len(second), dtype=bool), np.zeros(len(second), dtype=bool)
    doubtful = np.zeros(len(overlay.pair), dtype=bool)
    possible: list[_Laid] = []
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


def _one_of_each_first(laid: _Laid, pair: Indices) -> Iterator[_Laid]:
    """Where a pair may be laid in many ways by its symmetry, one of them first: it may be all that is needed."""
    if len(pair) <= _FEW:
        yield laid
        return
    one = np.unique(pair, return_index=True)[1]
    others = np.ones(len(pair), dtype=bool)
    others[one] = False
    yield laid.part(one)
    yield laid.part(others.nonzero()[0])


@dataclass(frozen=True, eq=False)
class _Laid:
    """Ways to lay second cells onto first ones, by mappings whose cells are equally thin."""

    mapping: Indices
    """`n`, number of the lattice mapping."""
    shifts: Floats
    """`3 x n`, of the second cell's atoms, fractional."""
    images: Floats
    """`n_images x 3`, cells that may hold an image within reach: beside the nearest one only across a thin cell."""

    def part(self, chosen: slice | NDArray[np.bool_] | Indices) -> _Laid:
        return _Laid(self.mapping[chosen], self.shifts[:, chosen], self.images)


@dataclass(frozen=True, eq=False)
class _Nearest:
    """Ways in which every atom has one of its element within twice the site tolerance, and their nearest."""

    laid: _Laid
    vectors: Floats
    """`3 x n_atoms x n`, from the second cell's atoms to the nearest of the first's."""
    clear: NDArray[np.bool_]
    """`n`, whether they pair the atoms beyond doubt."""
    others: Indices
    """Numbers of the ways in which some atom has none."""


@dataclass(frozen=True, eq=False)
class _Overlay:
    """Pairs of cells with all mappings between their lattices, each followed by the opposites of all."""

    elements: Sequence[slice]
    """Atoms of each element in both cells, those of rare elements first."""
    pair: Indices
    """`n_mappings`, number of the pair."""
    mapped: Floats
    """`3 x n_atoms x n_mappings`, fractional coordinates of the first cell's atoms in each mapping."""
    onto: Floats
    """`3 x n_atoms x n_pairs`, those of the second cell's."""
    anchors: Indices
    """`n_pairs`, the second cell's atom that is laid on the first's."""
    means: Floats
    """`3 x 3 x n_mappings`, the lattices on which displacements are measured."""
    sites: Floats
    """`n_mappings`, the site tolerance."""
    boxes: Floats
    """`3 x n_mappings`, how far the matcher looks for an atom, fractional: twice the tolerance."""

    @classmethod
    def of(cls, first: CellStack, second: CellStack, maps: Mappings, *, site_tolerance: float) -> Self:
        coordinates = first.coordinates if len(first) == 1 else first.coordinates[maps.pair]
        mapped = (coordinates @ maps.inverse.transpose(2, 0, 1)).transpose(2, 1, 0)
        sites = site_tolerance * np.cbrt(maps.volumes / len(second.numbers))
        boxes = 2 * sites * maps.inverse_heights
        return cls(
            elements=sorted(second.elements, key=lambda atoms: atoms.stop - atoms.start),
            pair=np.concatenate([maps.pair, maps.pair]),
            mapped=np.concatenate([mapped, -mapped], axis=2),
            onto=np.ascontiguousarray(second.coordinates.transpose(2, 1, 0)),
            anchors=second.anchors,
            means=np.concatenate([maps.means, maps.means], axis=2),
            sites=np.concatenate([sites, sites]),
            boxes=np.concatenate([boxes, boxes], axis=1),
        )

    def within_boxes(self) -> Iterator[_Laid]:
        """The ways in which every atom has one of its element in its box."""
        rarest = self.elements[0].stop - self.elements[0].start
        largest = self.elements[-1].stop - self.elements[-1].start
        starts = np.zeros(self.onto.shape[1], dtype=np.int64)
        for atoms in self.elements:
            starts[atoms] = atoms.start
        thick = np.array([1, 2, 4]) @ (self.boxes < 0.5 - MARGIN)
        block = max(1, _LARGEST_BLOCK // (3 * rarest * largest**2))
        for start in range(0, len(self.pair), block):
            mapping = np.arange(start, min(start + block, len(self.pair))).repeat(rarest)
            pair = self.pair[mapping]
            anchor = self.anchors[pair]
            own = starts[anchor] + np.arange(len(mapping)) % rarest
            laid = _Laid(mapping, self.mapped[:, own, mapping] - self.onto[:, anchor, pair], _images(7))
            for atoms, own_atoms in self._portions(len(mapping)):
                differences = np.abs(self._differences(laid, atoms, own_atoms))
                boxes = self.boxes[:, laid.mapping] * (1 + MARGIN)
                near = differences[0] <= boxes[0]
                near &= differences[1] <= boxes[1]
                near &= differences[2] <= boxes[2]
                laid = laid.part(near.any(axis=1).all(axis=0).nonzero()[0])
            codes = thick[laid.mapping]
            for code in set(codes.tolist()):
                alike = (codes == code).nonzero()[0]
                yield _Laid(laid.mapping[alike], laid.shifts[:, alike], _images(code))

    def _portions(self, ways: int) -> Iterator[tuple[slice, slice]]:
        """Second cells' atoms, and the first's that they may go to, in portions that are worth one look."""
        for atoms in self.elements:
            number = atoms.stop - atoms.start
            each = number if ways * number**2 < _WORTH_ONE_LOOK else 1
            for start in range(atoms.start, atoms.stop, each):
                yield slice(start, start + each), atoms

    def nearest(self, laid: _Laid) -> _Nearest:
        """Each atom's nearest of its element, where every atom has one within twice the site tolerance."""
        kept = np.arange(len(laid.mapping))
        others = [kept[:0]]
        found = np.empty((3, 0, len(kept)))
        clear = np.ones(len(kept), dtype=bool)
        for atoms in self.elements:
            number = atoms.stop - atoms.start
            part = laid.part(kept)
            vectors = self._vectors(part, atoms)
            squares = (vectors**2).sum(axis=0)
            reach = 4 * self.sites[part.mapping] ** 2
            near = squares.min(axis=(1, 2)).max(axis=0) < reach * (1 + 3 * MARGIN)
            near &= squares.min(axis=(0, 2)).max(axis=0) < reach * (1 + 3 * MARGIN)
            if not near.all():
                others.append(kept[~near])
                stay = near.nonzero()[0]
                kept, reach, clear, found = kept[stay], reach[stay], clear[stay], found[:, :, stay]
                vectors, squares = vectors[..., stay], squares[..., stay]
            ways, rows = np.arange(len(kept)), np.arange(number)[:, None]
            flat = squares.reshape(number, number * len(laid.images), len(kept))
            order = flat.argmin(axis=1)
            best = flat[rows, order, ways]
            vectors = vectors.reshape(3, *flat.shape)[:, rows, order, ways]
            found = np.concatenate([found, vectors], axis=1)
            partners = np.sort(order // len(laid.images), axis=0)
            alone = (flat <= best[:, None] + 4 * MARGIN * reach).sum(axis=1) == 1
            clear = clear & (alone & (best < reach * (1 - 3 * MARGIN)) & (partners == rows)).all(axis=0)
        return _Nearest(laid.part(kept), found, clear, np.concatenate(others))

    def close(self, near: _Nearest) -> _Laid:
        """Of ways those that may fit by the sum of squares.

        Where no atom is further than the site tolerance from where a common displacement puts it, and one stays where
        it is, the displacement is no longer than the tolerance either, and the mean square at most twice its square.
        """
        squares = (near.vectors**2).sum(axis=0).mean(axis=0)
        limit = 2 * (1 + 3 * MARGIN) * self.sites[near.laid.mapping] ** 2
        return near.laid.part((squares < limit).nonzero()[0])

    def may_fit(self, laid: _Laid) -> list[int]:
        """Ways in which a common displacement that may be the mean brings every atom within the tolerance of another.

        The displacements of all pairings add up to the same but for whole lattice vectors, so that few means are
        shorter than the tolerance.
        """
        number = self.mapped.shape[1]
        atoms = np.arange(number)[:, None]
        total = self.mapped[:, atoms, laid.mapping].sum(axis=1) - self.onto[
            :, atoms, self.pair[laid.mapping]
        ].sum(axis=1)
        total -= number * laid.shifts
        reach = number * self.boxes[:, laid.mapping] * (0.5 + MARGIN)
        start = np.ceil(-total - reach)
        counts = (np.floor(reach - total) - start).max(axis=1, initial=-1).astype(np.int64) + 1
        steps = np.indices(tuple(counts.tolist())).reshape(3, -1, 1)
        a, b, c = ((total + start)[:, None] + steps) / number
        means = _along(self.means[:, :, laid.mapping], a, b, c)
        limit = (self.sites * (1 + MARGIN))[laid.mapping] ** 2
        kept, way = ((means**2).sum(axis=0) < limit).nonzero()
        means = means[:, kept, way]
        for element in self.elements:
            vectors = self._vectors(laid, element)
            # Atom by atom, since the first few leave little over for the others.
            for options in (*vectors.swapaxes(0, 1), *vectors.transpose(2, 0, 1, 3, 4)):
                near = options.reshape(3, -1, options.shape[-1])[..., way] - means[:, None]
                stay = ((near**2).sum(axis=0).min(axis=0) < limit[way]).nonzero()[0]
                way, means = way[stay], means[:, stay]
                if not len(way):
                    return []
        return sorted(set(way.tolist()))

    def _differences(self, laid: _Laid, atoms: slice, own: slice) -> Floats:
        """From second cells' atoms to first cells', `3 x n_atoms x n_own x n`, fractional, wrapped."""
        moved = self.onto[:, atoms, self.pair[laid.mapping]] + laid.shifts[:, None]
        difference: Floats = self.mapped[:, None, own, laid.mapping] - moved[:, :, None]
        difference -= np.rint(difference)
        return difference

    def _vectors(self, laid: _Laid, atoms: slice) -> Floats:
        """The same between all atoms of an element on the mean lattices, to every image that matters.

        Returns:
            `3 x n_own x n_own x n_images x n`.
        """
        means = self.means[:, :, laid.mapping]
        vectors = _along(means, *self._differences(laid, atoms, atoms))[:, :, :, None]
        if len(laid.images) > 1:
            # The nearest image alone needs no shift.
            vectors = vectors + np.tensordot(laid.images, means, axes=1).transpose(1, 0, 2)[:, None, None]
        return vectors


@cache
def _images(thick: int) -> Floats:
    """Cells that may hold an image within reach, where the bits say along which axes the cell is thick."""
    along = [(0,) if thick >> axis & 1 else (-1, 0, 1) for axis in range(3)]
    return np.array(list(itertools.product(*along)), dtype=np.float64)


def _along(lattices: Floats, a: Floats, b: Floats, c: Floats) -> Floats:
    """Vectors (`3 x ... x n`) with fractional coordinates along lattices (`3 x 3 x n`).

    Only the third lattice vector has a third component, only the second and third have a second one.
    """
    return np.stack(
        [
            a * lattices[0, 0] + b * lattices[1, 0] + c * lattices[2, 0],
            b * lattices[1, 1] + c * lattices[2, 1],
            c * lattices[2, 2],
        ]
    )
