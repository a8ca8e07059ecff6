"""The Niggli cell is pymatgen's, bit for bit, whatever the lattice, its basis and the noise on it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core.lattice import Lattice
from scipy.spatial.transform import Rotation

from loop.matching.niggli import Floats, _found, niggli_invariants, niggli_lattice

DATA = os.environ.get("MOTHERLODE_DATA")
CENTRINGS = (
    np.eye(3),
    np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
    np.array([[0.5, 0.5, 0], [-0.5, 0.5, 0], [0, 0, 1]]),
    np.array([[2 / 3, 1 / 3, 1 / 3], [-1 / 3, 1 / 3, 1 / 3], [-1 / 3, -2 / 3, 1 / 3]]),
)


def bravais(rng: np.random.Generator) -> Floats:
    """A lattice of some Bravais type."""
    a, b, c = rng.uniform(3, 9, 3)
    conventional = (
        Lattice.cubic(a),
        Lattice.tetragonal(a, c),
        Lattice.orthorhombic(a, b, c),
        Lattice.hexagonal(a, c),
        Lattice.monoclinic(a, b, c, rng.uniform(60, 120)),
        Lattice.from_parameters(a, b, c, *rng.uniform(65, 115, 3)),
    )[rng.integers(6)]
    return np.array(CENTRINGS[rng.integers(len(CENTRINGS))] @ conventional.matrix)


def skewed(lattice: Floats, rng: np.random.Generator) -> Floats:
    """Another basis of the lattice, of either hand."""
    steps = np.eye(3)
    for _ in range(rng.integers(4)):
        i, j = rng.permutation(3)[:2]
        steps[i] += rng.integers(-2, 3) * steps[j]
    return np.array(rng.choice([-1, 1]) * steps @ lattice)


def assert_pymatgens(lattice: Floats) -> bool:
    """Compare bits; returns whether pymatgen was not asked."""
    expected = Lattice(lattice).get_niggli_reduced_lattice().matrix
    assert np.array_equal(niggli_lattice(lattice), expected)
    return _found(lattice) is not None


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e-9, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1]))
@settings(max_examples=200, deadline=None)
def test_lattices_of_all_bravais_types_with_noise(seed: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    lattice = bravais(rng) + noise * rng.normal(size=(3, 3))
    turned = lattice @ Rotation.random(rng=rng).as_matrix()
    assert_pymatgens(skewed(turned if seed % 2 else lattice, rng))


@pytest.mark.parametrize("number", [300, pytest.param(6000, marks=pytest.mark.slow)])
def test_pymatgen_is_rarely_asked(number: int) -> None:
    rng = np.random.default_rng(3)
    alone = sum(assert_pymatgens(skewed(bravais(rng), rng)) for _ in range(number))
    assert alone > 0.95 * number


@pytest.mark.skipif(DATA is None, reason="MOTHERLODE_DATA is unset: no real structures to read")
@pytest.mark.parametrize("number", [300, pytest.param(6000, marks=pytest.mark.slow)])
def test_real_lattices(number: int) -> None:
    path = Path(str(DATA)) / "structures" / "mp_structures.csv.gz"
    cifs = pd.read_csv(path, usecols=["cif"], nrows=number).cif
    keys = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    parameters = [cifs.str.extract(rf"_cell_{key}\s+([\d.]+)")[0].astype(float) for key in keys]
    alone = [
        assert_pymatgens(np.array(Lattice.from_parameters(*row).matrix))
        for row in zip(*parameters, strict=True)
    ]
    assert np.mean(alone) > 0.9


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_invariants_of_any_basis_reduce_to_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lattice = bravais(rng)
    results = []
    for basis in (lattice, skewed(lattice, rng)):
        metric = basis @ basis.T
        found = niggli_invariants(
            (*np.diag(metric).tolist(), *(2 * metric[(1, 0, 0), (2, 2, 1)]).tolist()), 1e-6
        )
        assert found is not None
        results.append(found)
    assert np.allclose(*results, atol=1e-5)


def test_a_lattice_too_skewed_for_a_hundred_steps_has_no_invariants() -> None:
    assert niggli_invariants((1.0, 1e12, 1e12, 1e6, 0.0, 1e6), 1e-9) is None
