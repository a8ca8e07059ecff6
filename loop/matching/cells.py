"""Cells as arrays, and pymatgen's Niggli cells among them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from loop.crystal import Crystal
from loop.matching.niggli import niggli_lattice

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_SAME: Final = 1e-8
_SAME_SHARE: Final = 1e-5
"""Differences up to which pymatgen takes two lattices for one: Å, and relative to the second's numbers."""


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
    def of(cls, matter: Crystal | Structure) -> Self:
        """The arrays of a crystal or an ordered structure, atoms in its order."""
        if isinstance(matter, Structure):
            lattice, coordinates = matter.lattice.matrix, matter.frac_coords
        else:
            lattice, coordinates = np.array(matter.lattice), np.array(matter.fractional_coordinates)
        return cls(
            lattice=np.array(lattice),
            coordinates=np.array(coordinates),
            atomic_numbers=np.array(matter.atomic_numbers),
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
        angles: Floats = angles_of(self.lattice[None])[0]
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


def angles_of(lattices: Floats) -> Floats:
    """Alpha, beta, gamma of lattices, `n x 3`, degrees."""
    units = lattices / np.linalg.norm(lattices, axis=-1, keepdims=True)
    pairs = ((1, 2), (0, 2), (0, 1))
    cosines = np.stack([(units[:, i] * units[:, j]).sum(axis=-1) for i, j in pairs], axis=-1)
    angles: Floats = np.rad2deg(np.arccos(np.clip(cosines, -1, 1)))
    return angles


def niggli_cell(cell: Cell) -> Cell:
    """What pymatgen's `Structure.get_reduced_structure` makes of a cell, number for number."""
    lattice = niggli_lattice(cell.lattice)
    if (np.abs(lattice - cell.lattice) <= _SAME + _SAME_SHARE * np.abs(cell.lattice)).all():
        return cell
    # Atom by atom, since a product of matrices may round otherwise than pymatgen's of a vector and a matrix.
    inverse = np.linalg.inv(lattice)
    coordinates = [np.dot(np.dot(position, cell.lattice), inverse) for position in cell.coordinates]
    return Cell(lattice=lattice, coordinates=np.mod(coordinates, 1), atomic_numbers=cell.atomic_numbers)
