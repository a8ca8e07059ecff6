"""What pymatgen's StructureMatcher will say of two cells, many times faster than asking it, where that is certain.

The matcher maps one lattice onto the other in every way that its tolerances on lengths and angles allow, lays one
atom of the rarest element onto each of its kind, and asks whether every atom has one of its element inside a box
around it. Where that holds it pairs the atoms so that the squared distances add up to the least, takes the common
displacement out, and calls the cells equal if no atom is further away than the site tolerance.

Here the same is asked of all mappings and translations at once. Whatever misses the boxes, a hair wider, fails
there too. Where every atom's nearest is another one, and nearer by a margin than the second, the pairing is the
only best one, and what it gives counts there too. In any other case the answer is None: ask the matcher.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from loop.cells import Cell, angles_of

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_MARGIN: Final = 1e-6
"""By which every tolerance is widened, relative to it: above rounding, below any effect on the time."""
_NEIGHBOURING_CELLS: Final[Floats] = np.array(list(itertools.product((-1, 0, 1), repeat=3)), dtype=np.float64)
_CORNERS: Final[Floats] = np.array(list(itertools.product((-1, 1), repeat=3)), dtype=np.float64)
_FINEST: Final = 0.1
"""Spacing, in site tolerances, of displacements among which one that might fit is left to the matcher."""
_LARGEST_BLOCK: Final = 2_000_000
"""Numbers held in memory at once."""


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
    if len(first.coordinates) != len(second.coordinates):
        return False
    by_element = {int(first.atomic_numbers[atoms[0]]): atoms for atoms in first.kinds}
    pairs = []
    # The second cell's rarest element first, since its atoms fix the translations.
    for atoms in second.kinds:
        own = by_element.get(int(second.atomic_numbers[atoms[0]]))
        if own is None or len(own) != len(atoms):
            return False
        pairs.append((own, atoms))
    steps, lattices = _mappings(
        first, second, length_tolerance=length_tolerance, angle_tolerance=angle_tolerance
    )
    if not len(steps):
        return False
    overlay = _Overlay.of(first, second, pairs, steps=steps, lattices=lattices, site_tolerance=site_tolerance)
    doubtful: set[int] = set()
    possible: list[_Laid] = []
    for part in overlay.within_boxes().parts(8 * len(overlay.images) * len(first.coordinates) ** 2):
        moves, clear, near = overlay.nearest(part)
        moves -= moves.mean(axis=1, keepdims=True)
        furthest = np.linalg.norm(moves, axis=-1).max(axis=-1) / overlay.sites[part.mapping]
        if (clear & (furthest < 1 - _MARGIN)).any():
            return True
        doubtful.update(part.mapping[~clear | (furthest <= 1 + _MARGIN)].tolist())
        possible += [part.part(slice(way, way + 1)) for way in np.flatnonzero(near).tolist()]
    # An atom of the rarest element goes onto one of its kind, so some translation of the mapping would have to fit.
    for way in possible:
        if way.mapping[0] in doubtful and overlay.may_fit(way):
            return None
    return False


@dataclass(frozen=True, eq=False)
class _Laid:
    """Ways to lay the second cell onto the first."""

    mapping: Indices
    """`n`, number of the lattice mapping."""
    shifts: Floats
    """`n x 3`, of the second cell's atoms, fractional."""

    def part(self, chosen: slice | NDArray[np.bool_]) -> _Laid:
        return _Laid(self.mapping[chosen], self.shifts[chosen])

    def parts(self, each: int) -> Iterator[_Laid]:
        """In pieces that fit a block, where every way takes so many numbers."""
        block = max(1, _LARGEST_BLOCK // each)
        return (self.part(slice(start, start + block)) for start in range(0, len(self.mapping), block))


@dataclass(frozen=True, eq=False)
class _Overlay:
    """Two cells with all mappings between their lattices."""

    pairs: Sequence[tuple[Indices, Indices]]
    """Atoms of the first and of the second cell by element, rarest first."""
    mapped: Floats
    """`n_mappings x n_atoms x 3`, fractional coordinates of the first cell's atoms in each mapping."""
    onto: Floats
    """`n_atoms x 3`, those of the second cell's."""
    means: Floats
    """`n_mappings x 3 x 3`, the lattices on which displacements are measured, Å."""
    sites: Floats
    """`n_mappings`, the site tolerance, Å."""

    @classmethod
    def of(
        cls,
        first: Cell,
        second: Cell,
        pairs: Sequence[tuple[Indices, Indices]],
        *,
        steps: Floats,
        lattices: Floats,
        site_tolerance: float,
    ) -> Self:
        means = _mean_lattices(lattices, second)
        volumes = np.abs(np.linalg.det(means)) / len(first.coordinates)
        return cls(
            pairs=pairs,
            mapped=first.coordinates @ np.linalg.inv(steps),
            onto=second.coordinates,
            means=means,
            sites=site_tolerance * volumes ** (1 / 3),
        )

    @cached_property
    def boxes(self) -> Floats:
        """`n_mappings x 3`, how far the matcher looks for an atom, fractional: twice the tolerance."""
        boxes: Floats = 2 * self.sites[:, None] * np.linalg.norm(np.linalg.inv(self.means), axis=1)
        return boxes

    @cached_property
    def images(self) -> Floats:
        """Cells that may hold an image within reach: beside the nearest one only across a thin cell."""
        thick = (self.boxes < 0.5 - _MARGIN).all(axis=0)
        images: Floats = _NEIGHBOURING_CELLS[(_NEIGHBOURING_CELLS[:, thick] == 0).all(axis=1)]
        return images

    def within_boxes(self) -> _Laid:
        """The ways in which every atom has one of its element in its box."""
        own, atoms = self.pairs[0]
        mapping, anchor = (x.ravel() for x in np.indices((len(self.mapped), len(own))))
        laid = _Laid(mapping, self.mapped[mapping, own[anchor]] - self.onto[atoms[0]])
        for element, (own, _) in enumerate(self.pairs):
            near = [
                (
                    np.abs(self._differences(part, element))
                    <= self.boxes[part.mapping][:, None, None] * (1 + _MARGIN)
                )
                .all(axis=-1)
                .any(axis=-1)
                .all(axis=-1)
                for part in laid.parts(3 * len(own) ** 2)
            ]
            laid = laid.part(np.concatenate([np.empty(0, dtype=bool), *near]))
        return laid

    def nearest(self, laid: _Laid) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
        """Each atom's nearest.

        Returns:
            Vectors to them (`n x n_atoms x 3`, Å), where they pair the atoms beyond doubt, and where every atom of
            both cells has one within twice the site tolerance (both `n`).
        """
        reach = 2 * self.sites[laid.mapping]
        found, clear, near = (
            [],
            np.ones(len(laid.mapping), dtype=bool),
            np.ones(len(laid.mapping), dtype=bool),
        )
        for element, (own, _) in enumerate(self.pairs):
            vectors = self._vectors(laid, element)
            number, atoms = vectors.shape[:2]
            squares = (vectors**2).sum(axis=-1).reshape(number, atoms, -1)
            order = squares.argmin(axis=-1)
            best = np.take_along_axis(squares, order[..., None], axis=-1)
            found.append(
                np.take_along_axis(vectors.reshape(number, atoms, -1, 3), order[..., None, None], axis=2)[
                    :, :, 0
                ]
            )
            alone = (squares <= best + _MARGIN * reach[:, None, None] ** 2).sum(axis=-1) == 1
            inside = best[..., 0] < (reach[:, None] * (1 - _MARGIN)) ** 2
            furthest = (reach * (1 + _MARGIN)) ** 2
            taken = squares.reshape(number, atoms, len(own), -1).min(axis=(1, 3))
            near &= (best[..., 0].max(axis=-1) < furthest) & (taken.max(axis=-1) < furthest)
            partners = np.sort(order // len(self.images), axis=-1)
            clear &= (partners == np.arange(len(own))).all(axis=-1) & (alone & inside).all(axis=-1)
        return np.concatenate(found, axis=1), clear, near

    def may_fit(self, laid: _Laid) -> bool:
        """Whether some displacement below the tolerance brings every atom of both cells within it of another.

        How far the worst atom is from its nearest changes by no more than the displacement does, so a grid of
        displacements, made finer where it needs to be, shows that there is none.
        """
        site = float(self.sites[laid.mapping[0]])
        options = []
        for element, (own, atoms) in enumerate(self.pairs):
            vectors = self._vectors(laid, element)[0] / site
            options += _within_reach(vectors.reshape(len(atoms), -1, 3))
            options += _within_reach(vectors.transpose(1, 0, 2, 3).reshape(len(own), -1, 3))
        # Whatever has one atom to go to says most for its price.
        options.sort(key=len)
        step, centres = 1.0, _NEIGHBOURING_CELLS
        while step > _FINEST:
            reach = step * np.sqrt(3) / 2 + _MARGIN
            centres = centres[np.linalg.norm(centres, axis=1) < 1 + reach]
            for choice in options:
                squares = ((choice - centres[:, None]) ** 2).sum(axis=-1).min(axis=-1)
                centres = centres[squares < (1 + reach) ** 2]
                if not len(centres):
                    return False
            centres = (centres[:, None] + step / 4 * _CORNERS).reshape(-1, 3)
            step /= 2
        return True

    def _differences(self, laid: _Laid, element: int) -> Floats:
        """From the second cell's atoms of an element to the first's, `n x n x n_own x 3`, fractional, wrapped."""
        own, atoms = self.pairs[element]
        moved = self.onto[atoms] + laid.shifts[:, None]
        difference: Floats = self.mapped[:, own][laid.mapping][:, None] - moved[:, :, None]
        difference -= np.rint(difference)
        return difference

    def _vectors(self, laid: _Laid, element: int) -> Floats:
        """The same in Å to every image that matters, `n x n x n_own x n_images x 3`."""
        lattices = self.means[laid.mapping]
        inside = self._differences(laid, element) @ lattices[:, None]
        vectors: Floats = inside[:, :, :, None] + (self.images @ lattices)[:, None, None]
        return vectors


def _within_reach(vectors: Floats) -> list[Floats]:
    """Of each atom the vectors no longer than twice the site tolerance, which is their unit."""
    inside = (vectors**2).sum(axis=-1) < 4 * (1 + 10 * _MARGIN)
    return [options[chosen] for options, chosen in zip(vectors, inside, strict=True)]


def _mappings(
    first: Cell, second: Cell, *, length_tolerance: float, angle_tolerance: float
) -> tuple[Floats, Floats]:
    """Bases of the first lattice like the second's: integer steps (`n x 3 x 3`) and lattices at the second's volume."""
    scale = (second.volume / first.volume) ** (1 / 3)
    widest = 1 + length_tolerance * (1 + _MARGIN)
    reach = np.ceil(second.lengths.max() * widest / (scale * first.heights)).astype(int)
    integers = _integers(*(int(x) for x in reach))
    vectors = integers @ (scale * first.lattice)
    lengths = np.linalg.norm(vectors, axis=1)
    ratios = lengths[:, None] / second.lengths
    chosen = [np.flatnonzero((ratios[:, i] < widest) & (ratios[:, i] > 1 / widest)) for i in range(3)]
    units = [vectors[own] / lengths[own, None] for own in chosen]

    def alike(i: int, j: int, angle: float) -> NDArray[np.bool_]:
        found = np.rad2deg(np.arccos(np.clip(units[i] @ units[j].T, -1, 1)))
        near: NDArray[np.bool_] = np.abs(found - angle) <= angle_tolerance * (1 + _MARGIN)
        return near

    alpha, beta, gamma = second.angles
    triples = np.argwhere(
        alike(0, 1, gamma)[:, :, None] & alike(0, 2, beta)[:, None] & alike(1, 2, alpha)[None]
    )
    places = np.stack([chosen[i][triples[:, i]] for i in range(3)], axis=1)
    steps = integers[places]
    whole = np.abs(np.abs(np.linalg.det(steps)) - 1) < 0.5
    return steps[whole], vectors[places[whole]]


@cache
def _integers(a: int, b: int, c: int) -> Floats:
    ranges = (range(-x, x + 1) for x in (a, b, c))
    return np.array([n for n in itertools.product(*ranges) if any(n)], dtype=np.float64)


def _mean_lattices(lattices: Floats, second: Cell) -> Floats:
    """Lattices with the mean lengths and angles of each lattice and the second cell's, `n x 3 x 3`, Å."""
    lengths = (np.linalg.norm(lattices, axis=-1) + second.lengths) / 2
    cosines = np.cos(np.deg2rad((angles_of(lattices) + second.angles) / 2))
    gram = np.ones((len(lattices), 3, 3))
    for place, (i, j) in enumerate(((1, 2), (0, 2), (0, 1))):
        gram[:, i, j] = gram[:, j, i] = cosines[:, place]
    means: Floats = np.linalg.cholesky(gram) * lengths[..., None]
    return means
