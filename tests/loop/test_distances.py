"""Distances over periodic images, against pymatgen and brute force."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from loop.distances import nearest_image_distances, reduced_cell
from tests.loop.strategies import random_cells


def skewed(structure: Structure, seed: int) -> Structure:
    """The same crystal in a badly skewed basis."""
    rng = np.random.default_rng(seed)
    shear = np.eye(3, dtype=int)
    for _ in range(4):
        step = np.eye(3, dtype=int)
        i, j = rng.choice(3, 2, replace=False)
        step[i, j] = rng.integers(-2, 3)
        shear = step @ shear
    lattice = Lattice(shear @ structure.lattice.matrix)
    return Structure(lattice, structure.species, structure.cart_coords, coords_are_cartesian=True)


@given(random_cells(), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_nearest_images_whatever_the_basis(structure: Structure, seed: int) -> None:
    bad = skewed(structure, seed)
    found = nearest_image_distances(bad.lattice.matrix, bad.frac_coords)
    expected = structure.distance_matrix
    shortest = min(
        np.linalg.norm(np.array(n) @ structure.lattice.matrix)
        for n in itertools.product(range(-3, 4), repeat=3)
        if any(n)
    )
    np.fill_diagonal(expected, shortest)
    assert np.allclose(found, expected, atol=1e-8)


@given(random_cells(), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_the_reduced_cell_holds_the_same_atoms(structure: Structure, seed: int) -> None:
    bad = skewed(structure, seed)
    basis, coordinates = reduced_cell(bad.lattice.matrix, bad.frac_coords)
    assert np.allclose(coordinates @ basis, bad.frac_coords @ bad.lattice.matrix, atol=1e-8)
    assert np.isclose(abs(np.linalg.det(basis)), structure.volume)
    assert np.sort(np.linalg.norm(basis, axis=1))[0] <= min(structure.lattice.abc) + 1e-8
