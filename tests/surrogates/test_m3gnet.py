"""matgl's M3GNet in batches: its published weights are on a hub, so an untrained network stands for them."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from loop.spec import PotentialSpec
from surrogates.potential import Batch
from surrogates.potentials import loading
from surrogates.registry import load_potential

SPREAD = 1e4
"""eV: an untrained network says next to nothing, so its output is scaled up to energies of a crystal's size."""


@pytest.fixture(scope="module")
def model():
    with loading.quiet():
        import torch
        from matgl.apps.pes import Potential
        from matgl.models import M3GNet

        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = M3GNet(element_types=("Cu", "O", "Ti"), cutoff=5.0, threebody_cutoff=4.0)
        return Potential(model=network, data_std=torch.tensor(SPREAD))


def test_a_batch_is_what_matgls_calculator_says_one_by_one(model, tmp_path):
    folder = tmp_path / "M3GNet-untrained-PES"
    folder.mkdir()
    structures = [
        bulk("Cu", "fcc", a=3.6, cubic=True), bulk("TiO", "rocksalt", a=4.2), bulk("TiO", "cesiumchloride", a=2.7),
        bulk("CuO", "zincblende", a=4.6, cubic=True),
    ]  # fmt: skip
    for seed, atoms in enumerate(structures):
        atoms.rattle(0.1, seed=seed)
    with loading.quiet():
        from matgl.ext.ase import PESCalculator

        model.save(str(folder))
        calculator = PESCalculator(model, stress_unit="eV/A3", use_voigt=True)
    potential = load_potential(PotentialSpec(name="matgl", model=str(folder)), base=Path.cwd())
    assert potential.elements == {"Cu", "O", "Ti"}
    found = potential.evaluate(Batch.from_atoms(structures))
    start = 0
    for i, atoms in enumerate(structures):
        atoms.calc = calculator
        with loading.quiet():
            energy, forces, stress = (
                atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False),
            )  # fmt: skip
        assert np.abs(forces).max() > 1e-3, "forces too small to compare"
        scale = np.abs(forces).max()
        assert found.energy[i] == pytest.approx(energy, rel=1e-5)
        np.testing.assert_allclose(found.forces[start : start + len(atoms)], forces, atol=1e-4 * scale)
        np.testing.assert_allclose(found.stress[i], stress, atol=1e-4 * np.abs(stress).max())
        start += len(atoms)
