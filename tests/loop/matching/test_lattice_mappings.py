"""Lattices are taken for one another as pymatgen's `find_all_mappings` and the matcher's mean lattices do."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core.lattice import Lattice

from loop.matching.cell_stack import CellStack
from loop.matching.cells import Cell
from loop.matching.lattice_mappings import mappings


def random_cell(rng: np.random.Generator) -> Cell:
    """One atom in a lattice that is now and then thin or has right angles."""
    angles = rng.uniform(65, 115, 3) if rng.random() < 0.7 else rng.choice([90.0, 120.0], 3, p=[0.9, 0.1])
    try:
        lattice = Lattice.from_parameters(*rng.uniform(2.5, 9, 3), *angles).get_niggli_reduced_lattice()
    except ValueError:
        return random_cell(rng)
    return Cell(lattice=np.array(lattice.matrix), coordinates=np.zeros((1, 3)), atomic_numbers=np.array([12]))


def distorted(cell: Cell, rng: np.random.Generator) -> Cell:
    """A cell that is not far from another."""
    lattice = cell.lattice @ (np.eye(3) + rng.uniform(-0.08, 0.08, (3, 3)))
    return Cell(lattice=lattice, coordinates=cell.coordinates, atomic_numbers=cell.atomic_numbers)


@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_all_mappings_of_all_pairs_are_found(seed: int, number: int) -> None:
    rng = np.random.default_rng(seed)
    first = [random_cell(rng) for _ in range(number)]
    second = [distorted(cell, rng) for cell in first]
    stacks = CellStack.of(first), CellStack.of(second)
    found = mappings(*stacks, length_tolerance=0.2, angle_tolerance=5.0)
    assert (np.diff(found.pair) >= 0).all()
    for pair in range(number):
        lattice, target = (Lattice(stack.lattices[pair]) for stack in stacks)
        expected = {}
        for aligned, _, steps in lattice.find_all_mappings(target, 0.2, 5.0, skip_rotation_matrix=True):
            if abs(abs(np.linalg.det(steps)) - 1) < 0.5:
                expected[tuple(steps.ravel().tolist())] = aligned
        own = np.flatnonzero(found.pair == pair)
        steps = [
            np.rint(np.linalg.inv(found.inverse[:, :, place])).astype(int).ravel() for place in own.tolist()
        ]
        assert {tuple((sign * s).tolist()) for s in steps for sign in (1, -1)} == set(expected)
        assert 2 * len(own) == len(expected)
        for place, s in zip(own.tolist(), steps, strict=True):
            parameters = np.array([expected[tuple(s.tolist())].parameters, target.parameters]).mean(axis=0)
            mean = Lattice(found.means[:, :, place])
            assert np.allclose(mean.parameters, parameters)
            assert np.isclose(mean.volume, found.volumes[place])
            heights = np.array(mean.reciprocal_lattice_crystallographic.abc)
            assert np.allclose(heights, found.inverse_heights[:, place])


def test_one_lattice_is_mapped_onto_many() -> None:
    rng = np.random.default_rng(1)
    first = random_cell(rng)
    second = CellStack.of([distorted(first, rng) for _ in range(30)])
    one, many = (
        mappings(CellStack.of([first] * number), second, length_tolerance=0.2, angle_tolerance=5.0)
        for number in (1, 30)
    )
    assert len(one.pair)
    assert np.array_equal(one.pair, many.pair)
    assert np.allclose(one.means, many.means)
