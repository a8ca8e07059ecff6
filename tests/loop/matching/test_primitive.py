"""The primitive cell is pymatgen's, bit for bit, whether there is a smaller one or not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core.structure import Structure

from loop.matching.cells import Cell
from loop.matching.primitive import matched_cell, primitive_cell
from tests.loop.strategies import STRUCTURE_TYPES, random_cells, structure_type


def assert_same(cell: Cell, structure: Structure) -> None:
    expected = Cell.of(structure)
    assert np.array_equal(cell.lattice, expected.lattice)
    assert np.array_equal(cell.coordinates, expected.coordinates)
    assert np.array_equal(cell.atomic_numbers, expected.atomic_numbers)


def supercell(structure: Structure, rng: np.random.Generator, *, rattle: float) -> Structure:
    """Two to eight cells of any shape, their atoms shuffled and moved by up to so many Å along each axis."""
    shapes = (
        [2, 1, 1],
        [2, 2, 1],
        [2, 2, 2],
        [3, 1, 1],
        [[1, 1, 0], [-1, 1, 0], [0, 0, 1]],
        [[2, 1, 0], [0, 1, 0], [0, 0, 2]],
    )
    large = structure.copy()
    large.make_supercell(shapes[rng.integers(len(shapes))])
    order = rng.permutation(len(large))
    moves = rng.uniform(-rattle, rattle, (len(large), 3))
    return Structure(
        large.lattice,
        [large[i].specie for i in order],
        (large.cart_coords + moves)[order],
        coords_are_cartesian=True,
    )


@given(
    st.one_of(random_cells(max_atoms=4), st.sampled_from(STRUCTURE_TYPES).map(structure_type)),
    st.sampled_from([0.0, 0.02, 0.08, 0.12, 0.2]),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=80, deadline=None)
def test_supercells_with_their_translations_more_or_less_broken(
    structure: Structure, rattle: float, seed: int
) -> None:
    large = supercell(structure, np.random.default_rng(seed), rattle=rattle)
    assert_same(primitive_cell(Cell.of(large)), large.get_primitive_structure())
    reduced = large.get_reduced_structure(reduction_algo="niggli")
    assert_same(matched_cell(large), reduced.get_primitive_structure())


def test_supercells_become_small_without_asking_pymatgen(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    large = {name: supercell(structure_type(name), rng, rattle=0.01) for name in STRUCTURE_TYPES}
    expected = {name: len(structure.get_primitive_structure()) for name, structure in large.items()}

    def refuse(_: Structure) -> Structure:
        raise AssertionError

    monkeypatch.setattr(Structure, "get_primitive_structure", refuse)
    for name, structure in large.items():
        assert len(primitive_cell(Cell.of(structure)).atomic_numbers) == expected[name] < len(structure)


def test_a_translation_in_doubt_is_pymatgens_to_judge() -> None:
    """The second atom is off by twice the tolerance to the last digit."""
    structure = Structure(
        np.diag([10.0, 4.0, 4.0]), ["Mg"] * 2 + ["O"] * 2, [[0, 0, 0], [0.5, 0, 0], [0.1, 0, 0], [0.65, 0, 0]]
    )
    assert_same(primitive_cell(Cell.of(structure)), structure.get_primitive_structure())
