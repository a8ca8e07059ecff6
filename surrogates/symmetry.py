"""A crystal's space group as an average over its operations, for relaxations that keep it.

A gradient that is averaged over the group moves equivalent atoms alike and strains the cell only in ways that the
point group allows: those are the free coordinates of the occupied Wyckoff positions and the free lattice parameters
(survey section 3.1.1, eq. 4), so the relaxation stays in the asymmetric unit's degrees of freedom.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from surrogates.potential import Floats, Integers

PRECISION: Final = 0.01
"""Å within which the start is taken to have a symmetry."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Symmetry:
    """The operations of a space group, as they act on the atoms of one cell."""

    number: int
    """Of the space group."""
    rotations: Floats
    """`n_operations x 3 x 3`, Cartesian, orthogonal, acting on column vectors."""
    images: Integers
    """`n_operations x n_atoms`: the atom that each atom is carried onto, translations of the lattice aside."""

    @property
    def degrees_of_freedom(self) -> int:
        """Independent ways to move without breaking the symmetry, rigid shifts along a polar axis included."""
        size = 3 * (self.images.shape[1] + 3)
        unit = np.eye(size).reshape(size, -1, 3)
        # The rank of a projector is its trace.
        return round(sum(float(self.project(field)[i // 3, i % 3]) for i, field in enumerate(unit)))

    def project(self, field: Floats) -> Floats:
        """The symmetric part of a gradient or step in the coordinates of `optimisation`.

        Args:
            field: `(n_atoms + 3) x 3`: vectors on the atoms, then a tensor on the cell.

        Returns:
            `(n_atoms + 3) x 3`.
        """
        n_atoms = self.images.shape[1]
        turned = np.einsum("gab,ib->gia", self.rotations, field[:n_atoms])
        vectors = np.zeros((n_atoms, 3))
        np.add.at(vectors, self.images.ravel(), turned.reshape(-1, 3))
        tensor = np.einsum("gab,bc,gdc->ad", self.rotations, field[n_atoms:], self.rotations)
        symmetric: Floats = np.concatenate([vectors, tensor]) / len(self.rotations)
        return symmetric


def symmetry_of(numbers: Integers, positions: Floats, *, cell: Floats) -> Symmetry:
    """The space group of a crystal.

    Args:
        numbers: `n_atoms`, atomic numbers.
        positions: `n_atoms x 3`, Å.
        cell: `3 x 3`, rows are lattice vectors, Å.
    """
    import moyopy

    fractional: Floats = np.linalg.solve(cell.T, positions.T).T.astype(np.float64)
    dataset = moyopy.MoyoDataset(
        moyopy.Cell(cell.tolist(), fractional.tolist(), numbers.tolist()), symprec=PRECISION
    )
    rotations = np.array(dataset.operations.rotations, dtype=np.float64)
    translations = np.array(dataset.operations.translations, dtype=np.float64)
    moved = np.einsum("gab,ib->gia", rotations, fractional) + translations[:, None]
    images = np.stack([_landing(numbers, fractional, at, cell=cell) for at in moved])
    # A rotation W of fractional coordinates is A W A^-1 of Cartesian ones, A's columns being the lattice vectors.
    cartesian = cell.T @ rotations @ np.linalg.inv(cell.T)
    return Symmetry(number=int(dataset.number), rotations=cartesian, images=images)


def _landing(numbers: Integers, fractional: Floats, moved: Floats, *, cell: Floats) -> Integers:
    """The atom, of the same element, that each moved atom lies on."""
    apart = moved[:, None] - fractional[None]
    apart -= np.round(apart)
    distances = np.linalg.norm(apart @ cell, axis=2)
    distances[numbers[:, None] != numbers[None]] = np.inf
    landing: Integers = distances.argmin(axis=1).astype(np.int64)
    return landing
