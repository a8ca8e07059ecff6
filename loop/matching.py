"""A necessary condition for pymatgen's StructureMatcher to find two cells equal, many times faster than asking it.

The matcher maps one lattice onto the other in every way that its tolerances on lengths and angles allow, lays one
atom of the rarest element onto each of its kind, and asks whether every atom has one of its element nearby; only
where that holds it measures displacements (its `_strict_match`). Here the same is asked of all mappings and
translations at once, with tolerances a hair wider, so whatever fails here would fail there.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final, Self

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_MARGIN: Final = 1e-6
"""By which every tolerance is widened, relative to it: above rounding, below any effect on the time."""
_LARGEST_BLOCK: Final = 2_000_000
"""Numbers held in memory at once."""


@dataclass(frozen=True, eq=False)
class Cell:
    """A reduced cell as arrays."""

    lattice: Floats
    """`3 x 3`, rows are lattice vectors, Å."""
    coordinates: Floats
    """`n_atoms x 3`, fractional."""
    atomic_numbers: Indices
    """`n_atoms`."""

    @classmethod
    def of(cls, structure: Structure) -> Self:
        """The arrays of an ordered structure, atoms in its order."""
        return cls(
            lattice=np.array(structure.lattice.matrix),
            coordinates=np.array(structure.frac_coords),
            atomic_numbers=np.array(structure.atomic_numbers),
        )

    def to_structure(self) -> Structure:
        """The same numbers as a pymatgen structure."""
        symbols = [chemical_symbols[z] for z in self.atomic_numbers]
        return Structure(Lattice(self.lattice), symbols, self.coordinates)

    @cached_property
    def volume(self) -> float:
        """Å3."""
        return float(abs(np.linalg.det(self.lattice)))

    @cached_property
    def lengths(self) -> Floats:
        """`3`, Å."""
        lengths: Floats = np.linalg.norm(self.lattice, axis=1)
        return lengths

    @cached_property
    def angles(self) -> Floats:
        """`3`, alpha, beta, gamma, degrees."""
        angles: Floats = _angles(self.lattice[None])[0]
        return angles

    @cached_property
    def heights(self) -> Floats:
        """`3`, distances between lattice planes, Å."""
        heights: Floats = 1 / np.linalg.norm(np.linalg.inv(self.lattice), axis=0)
        return heights

    @cached_property
    def kinds(self) -> tuple[Indices, ...]:
        """Atoms of each element, those of the rarest element first; of equals the one that comes first."""
        groups: dict[int, list[int]] = {}
        for atom, number in enumerate(self.atomic_numbers.tolist()):
            groups.setdefault(number, []).append(atom)
        return tuple(np.array(atoms) for atoms in sorted(groups.values(), key=len))


def may_match(
    first: Cell, second: Cell, *, length_tolerance: float, site_tolerance: float, angle_tolerance: float
) -> bool:
    """Whether the matcher's comparison of two reduced cells, scaled to one volume, can succeed.

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
    # In the order of the second cell's rarest element, since its atoms fix the translations.
    pairs = [(by_element.get(int(second.atomic_numbers[atoms[0]])), atoms) for atoms in second.kinds]
    if any(own is None or len(own) != len(atoms) for own, atoms in pairs):
        return False
    scale = (second.volume / first.volume) ** (1 / 3)
    steps, lattices = _mappings(
        first, second, scale=scale, length_tolerance=length_tolerance, angle_tolerance=angle_tolerance
    )
    if not len(steps):
        return False
    boxes = site_tolerance * (1 + _MARGIN) * _boxes(lattices, second, atoms=len(first.coordinates))
    mapped = first.coordinates @ np.linalg.inv(steps)
    anchors = pairs[0][0]
    assert anchors is not None
    # Every mapping with every translation that lays an anchor onto the first atom of the rarest element.
    mapping, anchor = (x.ravel() for x in np.indices((len(steps), len(anchors))))
    shifts = mapped[mapping, anchors[anchor]] - second.coordinates[pairs[0][1][0]]
    for own, atoms in pairs:
        assert own is not None
        near = np.empty(len(mapping), dtype=bool)
        block = max(1, _LARGEST_BLOCK // (3 * len(own) ** 2))
        for start in range(0, len(mapping), block):
            chunk = slice(start, start + block)
            moved = second.coordinates[atoms] + shifts[chunk, None]
            difference = mapped[mapping[chunk]][:, own][:, None, :] - moved[:, :, None]
            difference -= np.rint(difference)
            inside = (np.abs(difference) <= boxes[mapping[chunk]][:, None, None]).all(axis=-1)
            near[chunk] = inside.any(axis=-1).all(axis=-1)
        mapping, shifts = mapping[near], shifts[near]
        if not len(mapping):
            return False
    return True


def _mappings(
    first: Cell, second: Cell, *, scale: float, length_tolerance: float, angle_tolerance: float
) -> tuple[Floats, Floats]:
    """Bases of the first lattice like the second's: integer steps (`n x 3 x 3`) and lattices at the second's volume."""
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


def _angles(lattices: Floats) -> Floats:
    """Alpha, beta, gamma of lattices, `n x 3`, degrees."""
    units = lattices / np.linalg.norm(lattices, axis=-1, keepdims=True)
    pairs = ((1, 2), (0, 2), (0, 1))
    cosines = np.stack([(units[:, i] * units[:, j]).sum(axis=-1) for i, j in pairs], axis=-1)
    angles: Floats = np.rad2deg(np.arccos(np.clip(cosines, -1, 1)))
    return angles


def _boxes(lattices: Floats, second: Cell, *, atoms: int) -> Floats:
    """Fractional displacements per unit of site tolerance that the matcher allows, `n x 3`.

    On the lattice with the mean lengths and angles of both a displacement of one (volume per atom)^(1/3) is this
    many planes' distances, and the matcher allows twice that.
    """
    lengths = (np.linalg.norm(lattices, axis=-1) + second.lengths) / 2
    cosines = np.cos(np.deg2rad((_angles(lattices) + second.angles) / 2))
    # Of a cell with unit edges: the Gram determinant is the squared volume, a face's area the sine of its angle.
    unit_volume = np.sqrt(1 + 2 * cosines.prod(axis=-1) - (cosines**2).sum(axis=-1))
    heights = lengths * unit_volume[:, None] / np.sqrt(1 - cosines**2)
    volume = lengths.prod(axis=-1) * unit_volume
    boxes: Floats = 2 * (volume / atoms)[:, None] ** (1 / 3) / heights
    return boxes
