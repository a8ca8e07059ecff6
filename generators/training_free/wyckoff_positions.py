"""Random orbits of a space group: which Wyckoff positions to fill, and atoms on them (survey eq. 4).

Tables and lattices are PyXtal's (Fredericks et al., Comput. Phys. Commun. 261, 107810 (2021)). Placing is
done here: PyXtal's own placement takes about 0.2 s a crystal, nearly all of it in rebuilding a table of
tolerances.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure


@dataclass(frozen=True)
class WyckoffPosition:
    """One Wyckoff position in the conventional cell."""

    letter: str
    multiplicity: int
    """Sites of an orbit in the conventional cell."""
    degrees_of_freedom: int
    """Free coordinates, 0 to 3; a position without any holds one orbit only."""
    rotations: np.ndarray
    """`multiplicity x 3 x 3`."""
    translations: np.ndarray
    """`multiplicity x 3`."""

    def orbit(self, point: np.ndarray) -> np.ndarray:
        """Fractional coordinates of the orbit through the projection of `point`, `multiplicity x 3`."""
        coordinates: np.ndarray = np.mod(self.rotations @ point + self.translations, 1.0)
        return coordinates


@dataclass(frozen=True)
class SpaceGroup:
    """A space group in its standard conventional setting."""

    number: int
    lattice_type: str
    """Crystal system as PyXtal names it; rhombohedral groups have hexagonal axes."""
    cells: int
    """Primitive cells in the conventional cell."""
    positions: tuple[WyckoffPosition, ...]
    """The general position first."""


@cache
def space_group(number: int) -> SpaceGroup:
    """The space group of that number, 1 to 230."""
    from pyxtal.symmetry import Group

    group = Group(number)
    positions = []
    for position in group:
        matrices = np.array([operation.affine_matrix for operation in position.ops])
        positions.append(
            WyckoffPosition(
                position.letter,
                position.multiplicity,
                position.get_dof(),
                matrices[:, :3, :3],
                matrices[:, :3, 3],
            )
        )
    return SpaceGroup(number, group.lattice_type, group.cellsize(), tuple(positions))


def random_lattice(group: SpaceGroup, *, volume: float, rng: np.random.Generator) -> Lattice | None:
    """A random lattice of the group's crystal system, or None where PyXtal finds none that is not too flat.

    Args:
        group: the space group.
        volume: of the conventional cell, Å3.
        rng: the stream to draw from.
    """
    from pyxtal.lattice import Lattice as RandomLattice
    from pyxtal.msg import VolumeError

    # PyXtal spawns from a Generator it is given, which no state of `rng` records; a seed of our own keeps to
    # the stream.
    seed = int(rng.integers(2**63))
    try:
        lattice = RandomLattice(group.lattice_type, volume, random_state=seed)
    except VolumeError:
        return None
    return Lattice(lattice.matrix)


def random_occupation(
    group: SpaceGroup, counts: Mapping[str, int], *, rng: np.random.Generator
) -> list[tuple[str, WyckoffPosition]] | None:
    """Random Wyckoff positions for the atoms, or None where this draw ran into a dead end.

    Half of the draws take the position of highest multiplicity that fits, as PyXtal does; otherwise all those
    that fit are equally likely. Without the first, small cells would fill up with special positions alone.

    Args:
        group: the space group.
        counts: atoms by element in the primitive cell.
        rng: the stream to draw from.
    """
    chosen: list[tuple[str, WyckoffPosition]] = []
    full: set[str] = set()
    for symbol in sorted(counts):
        missing = counts[symbol] * group.cells
        while missing:
            fitting = [p for p in group.positions if p.multiplicity <= missing and p.letter not in full]
            if not fitting:
                return None
            if rng.random() < 0.5:
                most = max(p.multiplicity for p in fitting)
                fitting = [p for p in fitting if p.multiplicity == most]
            position = fitting[int(rng.integers(len(fitting)))]
            if position.degrees_of_freedom == 0:
                full.add(position.letter)
            chosen.append((symbol, position))
            missing -= position.multiplicity
    return chosen


def random_crystal(
    group: SpaceGroup, counts: Mapping[str, int], *, volume_per_atom: float, rng: np.random.Generator
) -> Structure | None:
    """A random structure of that symmetry in its conventional cell, or None at a dead end.

    Args:
        group: the space group.
        counts: atoms by element in the primitive cell.
        volume_per_atom: Å3.
        rng: the stream to draw from.
    """
    occupation = random_occupation(group, counts, rng=rng)
    if occupation is None:
        return None
    volume = volume_per_atom * sum(counts.values()) * group.cells
    lattice = random_lattice(group, volume=volume, rng=rng)
    if lattice is None:
        return None
    symbols = [symbol for symbol, position in occupation for _ in range(position.multiplicity)]
    coordinates = np.concatenate([position.orbit(rng.random(3)) for _, position in occupation])
    return Structure(lattice, symbols, coordinates)
