"""Neighbour shells: how far from its neighbours of each element an atom is, whatever the cell and the volume."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loop.matching.cell_stack import CellStack

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

NEIGHBOURS: Final = 12
RADIUS: Final = 3.2
"""Distances beyond it, in units of (volume per atom)^(1/3), count as this long."""
_LARGEST_BLOCK: Final = 1_000_000
"""Distances held in memory at once."""


def shells_of(stack: CellStack) -> Floats:
    """Mean distance from each element's atoms to their nearest 12 atoms of each element, in every cell.

    These are the average minimum distances of Widdowson et al. (MATCH 87, 529, 2022), resolved by pairs of
    elements, in units of (volume per atom)^(1/3): they change by at most twice as much as any atom is moved.

    Returns:
        `n_cells x n_elements² x 12`, elements by atomic number.
    """
    kinds = len(stack.elements)
    shells = np.empty((len(stack), kinds * kinds, NEIGHBOURS))
    for chosen, images in _batches(stack):
        shells[chosen] = _shells(stack if len(chosen) == len(stack) else stack.part(chosen), images)
    return shells


def shell_difference(first: Floats, second: Floats) -> Floats:
    """Root mean square difference of neighbour shells; broadcasts over leading axes."""
    difference: Floats = np.sqrt(((first - second) ** 2).mean(axis=(-2, -1)))
    return difference


def _batches(stack: CellStack) -> Iterator[tuple[Indices, Floats]]:
    """Cells that need the same images, in blocks that fit into memory, with those images."""
    # Between atoms the nearest image along each axis is up to half a cell away.
    reach = np.floor(RADIUS * stack.inverse_heights + 0.5).astype(np.int64)
    if len(stack) == 1:
        reaches, group = reach, np.zeros(1, dtype=np.int64)
    else:
        reaches, group = np.unique(reach, axis=0, return_inverse=True)
    for number, (a, b, c) in enumerate(reaches.tolist()):
        images = _images(a, b, c)
        cells = np.flatnonzero(group == number)
        block = max(1, _LARGEST_BLOCK // (len(images) * len(stack.numbers) ** 2))
        for start in range(0, len(cells), block):
            yield cells[start : start + block], images


@cache
def _images(a: int, b: int, c: int) -> Floats:
    """Integer coordinates of the cells around the origin's, which stands in the middle."""
    return np.array(list(itertools.product(*(range(-x, x + 1) for x in (a, b, c)))), dtype=np.float64)


def _shells(stack: CellStack, images: Floats) -> Floats:
    """As `shells_of`, where the images hold all atoms within the radius."""
    cells, atoms = stack.coordinates.shape[:2]
    difference = stack.coordinates[:, None] - stack.coordinates[:, :, None]
    difference -= np.rint(difference)
    vectors = difference.reshape(cells, -1, 3) @ stack.lattices
    shifts = images @ stack.lattices
    squares = vectors @ (2 * shifts).transpose(0, 2, 1)
    squares += (vectors**2).sum(axis=2)[:, :, None]
    squares += (shifts**2).sum(axis=2)[:, None]
    squares = squares.reshape(cells, atoms, atoms, -1)
    own = np.arange(atoms)
    squares[:, own, own, len(images) // 2] = np.inf
    starts = [element.start for element in stack.elements]
    counts = np.array([element.stop - element.start for element in stack.elements])
    shells = np.empty((cells, len(starts), len(starts), NEIGHBOURS))
    for neighbours, element in enumerate(stack.elements):
        found = squares[:, :, element].reshape(cells, atoms, -1)
        nearest = np.full((cells, atoms, NEIGHBOURS), RADIUS)
        held = min(NEIGHBOURS, found.shape[2])
        if held < found.shape[2]:
            found = np.partition(found, held - 1, axis=2)[:, :, :held]
        # A square may fall below zero by rounding, where two atoms lie on one another.
        np.sqrt(np.sort(np.maximum(found, 0), axis=2), out=nearest[:, :, :held])
        np.minimum(nearest, RADIUS, out=nearest)
        shells[:, :, neighbours] = np.add.reduceat(nearest, starts, axis=1) / counts[:, None]
    return shells.reshape(cells, -1, NEIGHBOURS)
