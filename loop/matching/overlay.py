"""Cells laid over one another in every way the matcher would try, and how far their atoms then are apart.

Arrays run over what is many, mappings of the lattices or ways to lay one cell over another, in their last axis.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from loop.matching.cell_stack import CellStack
from loop.matching.lattice_mappings import MARGIN, Mappings

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]

_LARGEST_BLOCK: Final = 200_000
"""Numbers held in memory at once: what a core has close by."""
_WORTH_ONE_LOOK: Final = 8192
"""Numbers up to which one look at more than is needed is cheaper than several at less."""


@dataclass(frozen=True, eq=False)
class Laid:
    """Ways to lay second cells onto first ones, by mappings whose cells are equally thin."""

    mapping: Indices
    """`n`, number of the lattice mapping."""
    shifts: Floats
    """`3 x n`, of the second cell's atoms, fractional."""
    images: Floats
    """`n_images x 3`, steps back along each axis to images that may be within reach: none but across a thin cell."""

    def part(self, chosen: Indices) -> Laid:
        """Some of the ways."""
        return Laid(self.mapping[chosen], self.shifts[:, chosen], self.images)

    def blocks(self, each: int) -> Iterator[Laid]:
        """In parts that fit a block, where every way takes so many numbers for each image."""
        block = max(1, _LARGEST_BLOCK // (each * len(self.images)))
        if len(self.mapping) <= block:
            yield self
            return
        for start in range(0, len(self.mapping), block):
            yield self.part(np.arange(start, min(start + block, len(self.mapping))))


@dataclass(frozen=True, eq=False)
class Nearest:
    """Ways in which every atom has one of its element within twice the site tolerance, and their nearest."""

    laid: Laid
    vectors: Floats
    """`3 x n_atoms x n`, from the second cell's atoms to the nearest of the first's."""
    clear: NDArray[np.bool_]
    """`n`, whether they pair the atoms beyond doubt."""
    others: Indices
    """Numbers of the ways in which some atom has none."""


@dataclass(frozen=True, eq=False)
class Overlay:
    """Pairs of cells with all mappings between their lattices, each followed by the opposites of all."""

    elements: Sequence[slice]
    """Atoms of each element in both cells; rare elements come first."""
    apart: Flags
    """`n_atoms x n_atoms`, whether atoms are of different elements."""
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
        """Put the first cells' atoms into the mappings."""
        order, elements = _rare_first(second.elements)
        coordinates = first.coordinates[0 if len(first) == 1 else maps.pair[:, None], order]
        mapped = (coordinates @ maps.inverse.transpose(2, 0, 1)).transpose(2, 1, 0)
        sites = site_tolerance * np.cbrt(maps.volumes / len(second.numbers))
        boxes = 2 * sites * maps.inverse_heights
        return cls(
            elements=elements,
            apart=second.numbers[order, None] != second.numbers[order],
            pair=np.concatenate([maps.pair, maps.pair]),
            mapped=np.concatenate([mapped, -mapped], axis=2),
            onto=np.ascontiguousarray(second.coordinates[:, order].transpose(2, 1, 0)),
            anchors=order.argsort()[second.anchors],
            means=np.concatenate([maps.means, maps.means], axis=2),
            sites=np.concatenate([sites, sites]),
            boxes=np.concatenate([boxes, boxes], axis=1),
        )

    def within_boxes(self) -> Iterator[Laid]:
        """The ways in which every atom has one of its element in its box."""
        rarest = self.elements[0].stop - self.elements[0].start
        largest = self.elements[-1].stop - self.elements[-1].start
        thin = (1.0 * (self.boxes >= 0.5 - MARGIN) + (self.boxes >= 1 - MARGIN)).T
        anywhere_thin = bool(thin.any())
        block = max(1, _LARGEST_BLOCK // (3 * rarest * largest))
        for start in range(0, len(self.pair), block):
            mapping = np.arange(start, min(start + block, len(self.pair))).repeat(rarest)
            pair = self.pair[mapping]
            anchor = self.anchors[pair]
            # Elements as rare as the rarest come first, so that an anchor's number says which atoms are of its element.
            own = anchor - anchor % rarest + np.arange(len(mapping)) % rarest
            laid = Laid(mapping, self.mapped[:, own, mapping] - self.onto[:, anchor, pair], _images(0, 0, 0))
            looked = 0
            while looked < len(self.apart):
                atoms, others = self._portion(looked, len(laid.mapping))
                boxes = self.boxes[:, None, None, laid.mapping] * (1 + MARGIN)
                near = np.logical_and.reduce(np.abs(self._differences(laid, atoms, others)) <= boxes, axis=0)
                near[self.apart[atoms, others]] = False
                laid = laid.part(near.any(axis=1).all(axis=0).nonzero()[0])
                looked = atoms.stop
            if not anywhere_thin:
                yield from laid.blocks(3 * largest**2)
                continue
            axes = thin[laid.mapping]
            for along in set(map(tuple, axes.tolist())):
                alike = Laid(laid.mapping, laid.shifts, _images(*along)).part(
                    (axes == along).all(axis=1).nonzero()[0]
                )
                yield from alike.blocks(3 * largest**2)

    def _portion(self, start: int, ways: int) -> tuple[slice, slice]:
        """Second cells' atoms from one on, as many as are worth one look, and the first's that they may go to."""
        number = len(self.apart)
        element = next(atoms for atoms in self.elements if start < atoms.stop)
        if ways * (number - start) * (number - element.start) < _WORTH_ONE_LOOK:
            return slice(start, number), slice(element.start, number)
        if ways * (element.stop - start) * (element.stop - element.start) < _WORTH_ONE_LOOK:
            return slice(start, element.stop), element
        return slice(start, start + 1), element

    def _groups(self, ways: int) -> Sequence[slice]:
        """Atoms by element, or all of them where that is no more than one look's worth."""
        number = len(self.apart)
        return (slice(0, number),) if ways * number**2 < _WORTH_ONE_LOOK else self.elements

    def nearest(self, laid: Laid) -> Nearest:
        """Each atom's nearest of its element, where every atom has one within twice the site tolerance."""
        kept = np.arange(len(laid.mapping))
        others = [kept[:0]]
        found: list[Floats] = []
        clear = np.ones(len(kept), dtype=bool)
        for atoms in self._groups(len(kept)):
            number = atoms.stop - atoms.start
            part = laid.part(kept) if found else laid
            vectors = self._vectors(part, atoms)
            squares = (vectors**2).sum(axis=0)
            squares[self.apart[atoms, atoms]] = np.inf
            reach = 4 * self.sites[part.mapping] ** 2
            limit = reach * (1 + 3 * MARGIN)
            near = (squares.min(axis=(0, 2)) < limit).all(axis=0)
            near &= (squares.min(axis=(1, 2)) < limit).all(axis=0)
            if not near.all():
                others.append(kept[~near])
                stay = near.nonzero()[0]
                if not len(stay):
                    return Nearest(laid.part(stay), np.empty((3, 1, 0)), near[stay], np.concatenate(others))
                kept, reach, clear = kept[stay], reach[stay], clear[stay]
                found = [vector[:, :, stay] for vector in found]
                vectors, squares = vectors[..., stay], squares[..., stay]
            ways, rows = np.arange(len(kept)), np.arange(number)[:, None]
            flat = squares.reshape(number, number * len(laid.images), len(kept))
            order = flat.argmin(axis=1)
            best = flat[rows, order, ways]
            found.append(vectors.reshape(3, *flat.shape)[:, rows, order, ways])
            partners = order if len(laid.images) == 1 else order // len(laid.images)
            alone = (flat <= best[:, None] + 4 * MARGIN * reach).sum(axis=1) == 1
            alone &= best < reach * (1 - 3 * MARGIN)
            alone &= np.sort(partners, axis=0) == rows
            clear &= alone.all(axis=0)
        return Nearest(laid.part(kept), np.concatenate(found, axis=1), clear, np.concatenate(others))

    def close(self, near: Nearest) -> Laid:
        """Of ways those that may fit by the sum of squares.

        Where no atom is further than the site tolerance from where a common displacement puts it, and one stays where
        it is, the displacement is no longer than the tolerance either, and the mean square at most twice its square.
        """
        squares = (near.vectors**2).sum(axis=0).mean(axis=0)
        limit = 2 * (1 + 3 * MARGIN) * self.sites[near.laid.mapping] ** 2
        return near.laid.part((squares < limit).nonzero()[0])

    def may_fit(self, laid: Laid) -> list[int]:
        """Ways in which a common displacement that may be the mean brings every atom within the tolerance of another.

        The displacements of all pairings add up to the same but for whole lattice vectors, so that few means are
        shorter than the tolerance.
        """
        number = self.mapped.shape[1]
        atoms = np.arange(number)[:, None]
        total = self.mapped[:, atoms, laid.mapping].sum(axis=1) - number * laid.shifts
        total -= self.onto[:, atoms, self.pair[laid.mapping]].sum(axis=1)
        reach = number * self.boxes[:, laid.mapping] * (0.5 + MARGIN)
        start = np.ceil(-total - reach)
        counts = (np.floor(reach - total) - start).max(axis=1).astype(np.int64) + 1
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
                near = _nearest_few(options, 4 * limit)[..., way] - means[:, None]
                stay = ((near**2).sum(axis=0).min(axis=0, initial=np.inf) < limit[way]).nonzero()[0]
                way, means = way[stay], means[:, stay]
                if not len(way):
                    return []
        return sorted(set(way.tolist()))

    def _differences(self, laid: Laid, atoms: slice, own: slice) -> Floats:
        """From second cells' atoms to first cells', `3 x n_atoms x n_own x n`, fractional, wrapped."""
        moved = self.onto[:, atoms, self.pair[laid.mapping]] + laid.shifts[:, None]
        difference: Floats = self.mapped[:, None, own, laid.mapping] - moved[:, :, None]
        difference -= np.rint(difference)
        return difference

    def _vectors(self, laid: Laid, atoms: slice) -> Floats:
        """The same between all atoms of an element on the mean lattices, to every image that matters.

        Returns:
            `3 x n_own x n_own x n_images x n`.
        """
        differences = self._differences(laid, atoms, atoms)[:, :, :, None]
        if len(laid.images) > 1:
            differences = differences - laid.images.T[:, None, None, :, None] * np.copysign(1, differences)
        return _along(self.means[:, :, laid.mapping], *differences)


def _rare_first(elements: Sequence[slice]) -> tuple[Indices, Sequence[slice]]:
    """The order in which atoms of rare elements come first, and each element's places in it."""
    ordered = sorted(elements, key=lambda atoms: atoms.stop - atoms.start)
    order = np.concatenate([np.arange(atoms.start, atoms.stop) for atoms in ordered])
    ends = [0, *np.cumsum([atoms.stop - atoms.start for atoms in ordered]).tolist()]
    return order, [slice(*own) for own in itertools.pairwise(ends)]


@cache
def _images(*thin: float) -> Floats:
    """Steps back to images within reach, where 0 means that half a cell is out of reach, 1 that a whole one is."""
    along = [((0,), (0, 1), (-1, 0, 1))[int(level)] for level in thin]
    return np.array(list(itertools.product(*along)), dtype=np.float64)


def _nearest_few(vectors: Floats, limit: Floats) -> Floats:
    """Of vectors (`3 x ... x n`) the shortest (`3 x n_few x n`), with all whose squares are below a limit (`n`)."""
    vectors = vectors.reshape(3, -1, len(limit))
    squares = (vectors**2).sum(axis=0)
    few = int((squares < limit).sum(axis=0).max())
    if few == len(squares):
        return vectors
    shortest: Floats = vectors[:, squares.argsort(axis=0)[:few], np.arange(len(limit))]
    return shortest


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
