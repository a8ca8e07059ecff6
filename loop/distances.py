"""Distances between the atoms of a periodic structure, over all images."""

from __future__ import annotations

import itertools
from typing import Final

import moyopy
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NEIGHBOURING_CELLS: Final[Floats] = np.array(list(itertools.product((-1, 0, 1), repeat=3)), dtype=np.float64)
_LARGEST_BLOCK: Final = 2_000_000
"""Distances held in memory at once."""


def reduced_cell(lattice: Floats, coordinates: Floats) -> tuple[Floats, Floats]:
    """The same structure in its Minkowski-reduced cell, where the nearest images lie in neighbouring cells.

    Args:
        lattice: `3 x 3`, rows are lattice vectors, Å.
        coordinates: `n_atoms x 3`, fractional.

    Returns:
        Lattice (`3 x 3`, Å) and fractional coordinates (`n_atoms x 3`).
    """
    basis, transformation = moyopy.minkowski_reduce(lattice.tolist())
    # basis = transformation.T @ lattice, so coordinates @ lattice = coordinates @ transformation.T⁻¹ @ basis
    return np.array(basis), coordinates @ np.linalg.inv(np.array(transformation, dtype=np.float64).T)


def nearest_image_distances(lattice: Floats, coordinates: Floats) -> Floats:
    """Distance from each atom to the nearest image of each atom, its own images included.

    In a Minkowski-reduced cell the vectors that bound the Voronoi cell have components in {-1, 0, 1} (Nguyen
    and Stehlé, ACM Trans. Algorithms 5, 46, 2009), so 27 cells hold the nearest image.

    Args:
        lattice: `3 x 3`, rows are lattice vectors, Å.
        coordinates: `n_atoms x 3`, fractional.

    Returns:
        `n_atoms x n_atoms`, Å; the diagonal is the shortest lattice vector.
    """
    basis, positions = reduced_cell(lattice, coordinates)
    number = len(positions)
    images = _NEIGHBOURING_CELLS @ basis
    distances = np.empty((number, number))
    block = max(1, _LARGEST_BLOCK // (27 * number))
    for start in range(0, number, block):
        difference = positions[None, :] - positions[start : start + block, None]
        vectors = (difference - np.rint(difference)) @ basis
        squares = ((vectors[:, :, None] + images) ** 2).sum(axis=-1)
        distances[start : start + block] = np.sqrt(squares.min(axis=-1))
    lengths = np.linalg.norm(images, axis=1)
    np.fill_diagonal(distances, lengths[lengths > 0].min())
    return distances
