"""The guards against distances that pymatgen measures."""

import numpy as np
import pytest
from ase.build import bulk
from ase.data import covalent_radii
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from surrogates.guards import closest_pair, objection


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), n_atoms=st.integers(1, 6), skew=st.floats(0, 0.6))
def test_the_closest_pair_is_pymatgens(seed, n_atoms, skew):
    rng = np.random.default_rng(seed)
    cell = 4.0 * (np.eye(3) + skew * rng.uniform(-1, 1, (3, 3)) * (1 - np.eye(3)))
    numbers = rng.choice([8, 13, 55], n_atoms)
    fractional = rng.uniform(-1, 2, (n_atoms, 3))
    structure = Structure(Lattice(cell), numbers.tolist(), fractional)
    first, second, _, distances = structure.get_neighbor_list(8.0)
    fractions = distances / (covalent_radii[numbers[first]] + covalent_radii[numbers[second]])
    found, _ = closest_pair(numbers, fractional @ cell, cell=cell)
    assert found == pytest.approx(fractions.min(), rel=1e-6)


@pytest.mark.parametrize(
    ("scale", "reason"), [(1.0, None), (1.3, None), (1.45, "exploded"), (0.75, None), (0.66, "collapsed")]
)
def test_volumes_beyond_the_bounds_are_objected_to(scale, reason):
    atoms = bulk("Cs", "bcc", a=9.0)
    volume = atoms.get_volume()
    atoms.set_cell(atoms.cell.array * scale, scale_atoms=True)
    cell = atoms.cell.array
    found = objection(atoms.numbers, atoms.positions, cell=cell, starting_volume=volume, within=0.5)
    assert (found and found[0]) == reason


def test_real_crystals_are_not_objected_to():
    for atoms in (
        bulk("C", "diamond", a=3.57),
        bulk("LiH", "rocksalt", a=4.08),
        bulk("CsCl", "cesiumchloride", a=4.12),
        bulk("MgO", "rocksalt", a=4.21),
        bulk("BN", "zincblende", a=3.62),
        bulk("Na", "bcc", a=4.29),
    ):
        cell, volume = atoms.cell.array, atoms.get_volume()
        assert (
            objection(atoms.numbers, atoms.positions, cell=cell, starting_volume=volume, within=0.6) is None
        )
