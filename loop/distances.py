"""Distances between the atoms of a periodic structure, over all images."""

from __future__ import annotations

import itertools
from functools import cache
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


def distances_within(lattice: Floats, coordinates: Floats, *, radius: float) -> Floats:
    """Distances from each atom to the images of each atom, complete up to `radius`.

    Args:
        lattice: `3 x 3`, rows are lattice vectors, Å.
        coordinates: `n_atoms x 3`, fractional.
        radius: Å.

    Returns:
        `n_atoms x n_atoms x n_images`, Å, unordered; an atom's distance of 0 to itself is set to infinity.
    """
    basis, positions = reduced_cell(lattice, coordinates)
    heights = 1 / np.linalg.norm(np.linalg.inv(basis), axis=0)
    cells = _cells_within(*(int(x) for x in np.floor(radius / heights + 0.5)))
    difference = positions[None, :] - positions[:, None]
    vectors = (difference - np.rint(difference)) @ basis
    shifts = cells @ basis
    squares = np.zeros((len(positions), len(positions), len(cells)))
    for axis in range(3):
        # One axis at a time: a third of the memory, and sums over contiguous numbers.
        component = vectors[:, :, None, axis] + shifts[:, axis]
        squares += component * component
    atoms = np.arange(len(positions))
    squares[atoms, atoms, len(cells) // 2] = np.inf
    distances: Floats = np.sqrt(squares, out=squares)
    return distances


@cache
def _cells_within(a: int, b: int, c: int) -> Floats:
    """Integer coordinates of the cells around the origin's, which stands in the middle."""
    return np.array(list(itertools.product(*(range(-x, x + 1) for x in (a, b, c)))), dtype=np.float64)
