"""Neighbour shells are the mean distances that pymatgen's neighbour lists give."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core.structure import Structure

from loop.matching.cell_stack import CellStack
from loop.matching.cells import Cell, niggli_cell
from loop.matching.shells import NEIGHBOURS, RADIUS, shells_of
from tests.loop.strategies import STRUCTURE_TYPES, random_cells, structure_type


def expected(structure: Structure) -> np.ndarray:
    """As `shells_of`, from a list of neighbours."""
    length = (structure.volume / len(structure)) ** (1 / 3)
    neighbours = structure.get_all_neighbors(RADIUS * length)
    numbers = np.array(structure.atomic_numbers)
    rows = []
    for centre in np.unique(numbers):
        for other in np.unique(numbers):
            distances = []
            for atom in np.flatnonzero(numbers == centre):
                around = [n.nn_distance / length for n in neighbours[atom] if numbers[n.index] == other]
                distances.append((sorted(around) + [RADIUS] * NEIGHBOURS)[:NEIGHBOURS])
            rows.append(np.mean(distances, axis=0))
    return np.array(rows)


@given(st.one_of(random_cells(), st.sampled_from(STRUCTURE_TYPES).map(structure_type)))
@settings(max_examples=60, deadline=None)
def test_they_are_mean_distances_to_neighbours(structure: Structure) -> None:
    cell = niggli_cell(Cell.of(structure))
    assert np.allclose(shells_of(CellStack.of([cell]))[0], expected(structure), atol=1e-6)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_those_of_many_cells_are_those_of_each(seed: int) -> None:
    """Cells of many shapes, so that they need different images, with their atoms in any order."""
    rng = np.random.default_rng(seed)
    cells = []
    for _ in range(12):
        numbers = rng.permutation([12, 28, 28, 8])
        lattice = np.diag(rng.uniform(2, 9, 3)) + rng.uniform(-1, 1, (3, 3))
        cells.append(Cell(lattice=lattice, coordinates=rng.random((4, 3)), atomic_numbers=numbers))
    together = shells_of(CellStack.of(cells))
    for cell, shells in zip(cells, together, strict=True):
        assert np.allclose(shells, shells_of(CellStack.of([cell]))[0], atol=1e-12)
