"""CHGNet's evaluator against the chgnet package, and against itself in other batches."""

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from loop.errors import PotentialError
from surrogates.potential import Batch
from tests.surrogates.chgnet.samples import (
    disturbed,
    package_evaluation,
    peculiar_crystals,
    potential,
    real_crystals,
)


def assert_agreement(structures, model, *, compiled=None):
    """Within the noise of single precision in the package: 1e-5 eV/atom, 5e-4 eV/Å, 0.005 GPa, more if strained."""
    found = potential(model, **({} if compiled is None else {"compiled": compiled})).evaluate(
        Batch.from_atoms(structures)
    )
    assert not found.refused
    energies, forces, stresses = package_evaluation(structures, model)
    counts = np.array([len(atoms) for atoms in structures])
    # Weights 0.2.0 normalise nothing: the package itself is 1.05e-5 eV/atom from double precision in MgO.
    noise = 2e-5 if model == "0.2.0" else 1e-5
    np.testing.assert_allclose(found.energy / counts, energies, rtol=0, atol=noise)
    # A force of tens of eV/Å is known to the package to seven digits of its largest terms, no better.
    np.testing.assert_allclose(found.forces, forces, rtol=2e-5, atol=5e-4)
    np.testing.assert_allclose(found.stress, stresses, rtol=2e-5, atol=3e-5)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("model", ["0.3.0", "0.2.0", "r2scan"])
def test_peculiar_crystals_agree_with_the_package(model, compiled):
    assert_agreement(list(peculiar_crystals().values()), model, compiled=compiled)


def test_real_crystals_agree_with_the_package():
    assert_agreement(real_crystals(50, largest=12, seed=1), "0.3.0")


@pytest.mark.slow
@pytest.mark.parametrize(("model", "count"), [("0.3.0", 150), ("0.2.0", 50), ("r2scan", 50)])
def test_many_and_large_real_crystals_agree_with_the_package(model, count):
    assert_agreement(real_crystals(count, largest=60, seed=2), model)


def mixture():
    return [
        disturbed(atoms, np.random.default_rng(i)) for i, atoms in enumerate(peculiar_crystals().values())
    ]


@pytest.mark.parametrize("model", ["0.3.0", "0.2.0"])
def test_a_structure_does_not_feel_its_batch(model):
    """Weights 0.2.0 are the hard case: in the package, the angles of one structure shift the bonds of all."""
    structures, calculator = mixture(), potential(model)
    order = np.random.default_rng(2).permutation(len(structures))
    together = calculator.evaluate(Batch.from_atoms([structures[i] for i in order]))
    ends = np.cumsum([len(structures[i]) for i in order])
    for place, i in enumerate(order):
        alone = calculator.evaluate(Batch.from_atoms([structures[i]]))
        atoms = slice(ends[place] - len(structures[i]), ends[place])
        assert together.energy[place] == pytest.approx(alone.energy[0], abs=3e-6 * len(structures[i]))
        np.testing.assert_allclose(together.forces[atoms], alone.forces, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(together.stress[place], alone.stress[0], rtol=1e-5, atol=1e-5)


def in_double_precision(values):
    import torch

    if isinstance(values, torch.Tensor):
        return values.double()
    if isinstance(values, tuple):
        doubled = [in_double_precision(value) for value in values]
        return type(values)(*doubled) if hasattr(values, "_fields") else tuple(doubled)
    return values


@pytest.mark.parametrize("model", ["0.3.0", "0.2.0", "r2scan"])
def test_single_precision_costs_next_to_nothing(model):
    """Against the same weights in double precision; the package itself is off by up to 1e-5 eV/atom here."""
    from surrogates.potentials.chgnet.network import Network

    batch = Batch.from_atoms(list(peculiar_crystals().values()))
    calculator = potential(model)
    weights = calculator._network.weights
    doubled = replace(
        weights, **{f.name: in_double_precision(getattr(weights, f.name)) for f in fields(weights)}
    )
    exact = Network(doubled).evaluate(batch, calculator._graph(batch))
    found = calculator.evaluate(batch)
    counts = np.bincount(batch.structure)
    np.testing.assert_allclose(found.energy / counts, exact.energy / counts, rtol=0, atol=5e-6)
    np.testing.assert_allclose(found.forces, exact.forces, rtol=1e-5, atol=2e-4)


def test_forces_and_stress_are_slopes_of_the_energy_everywhere():
    """Along random directions of all atoms and strains at once, in every peculiar crystal."""
    calculator = potential()
    rng = np.random.default_rng(8)
    step = 2e-3
    for name, atoms in peculiar_crystals().items():
        atoms = disturbed(atoms, rng, rattle=0.03, strain=0.01)  # noqa: PLW2901
        direction = rng.normal(0, 1, atoms.positions.shape)
        strain = rng.normal(0, 0.3, (3, 3))
        strain += strain.T
        stepped = []
        for sign in (1, -1):
            moved = atoms.copy()
            deformation = np.eye(3) + sign * step * strain
            moved.set_cell(atoms.cell.array @ deformation)
            moved.positions = (atoms.positions + sign * step * direction) @ deformation
            stepped.append(moved)
        here = calculator.evaluate(Batch.from_atoms([atoms]))
        energies = calculator.evaluate(Batch.from_atoms(stepped)).energy
        expected = -np.vdot(here.forces, direction) + np.vdot(here.stress[0], strain) * atoms.get_volume()
        slope = (energies[0] - energies[1]) / (2 * step)
        assert slope == pytest.approx(expected, rel=5e-3, abs=2e-2), name


def test_the_hand_of_the_cell_does_not_matter():
    """The package divides by a signed volume, so that its stress changes sign with two lattice vectors exchanged."""
    atoms = disturbed(bulk("MgO", "rocksalt", a=4.0), np.random.default_rng(1))
    other = atoms.copy()
    other.set_cell(atoms.cell.array[[1, 0, 2]])
    assert np.linalg.det(atoms.cell.array) * np.linalg.det(other.cell.array) < 0
    found = potential().evaluate(Batch.from_atoms([atoms, other]))
    np.testing.assert_allclose(found.stress[1], found.stress[0], atol=1e-6)


def test_isolated_atoms_are_refused_with_the_reason_and_disturb_nobody():
    lonely = Atoms("He2", positions=[[0, 0, 0], [10, 10, 10]], cell=np.eye(3) * 20, pbc=True)
    half = Atoms("HeN2", positions=[[0, 0, 0], [10, 10, 10], [11.1, 10, 10]], cell=np.eye(3) * 20, pbc=True)
    salt = bulk("NaCl", "rocksalt", a=5.6)
    calculator = potential()
    found = calculator.evaluate(Batch.from_atoms([salt, lonely, half, salt]))
    assert found.refused == {
        1: "2 of 2 atoms have no neighbour within 6 Å",
        2: "1 of 3 atoms have no neighbour within 6 Å",
    }
    assert np.isnan(found.energy[1:3]).all()
    assert np.isnan(found.forces[2:7]).all()
    alone = calculator.evaluate(Batch.from_atoms([salt]))
    np.testing.assert_allclose(found.energy[[0, 3]], alone.energy[0], atol=1e-5)
    nobody = calculator.evaluate(Batch.from_atoms([lonely]))
    assert set(nobody.refused) == {0}


def test_its_identity_names_the_evaluator_the_package_and_the_weights():
    version = potential().version
    assert version.startswith("motherlode evaluator 2, chgnet ")
    assert "weights 0.3.0 " in version
    # Compiled loops change no more than another processor does: what one machine settled, another need not repeat.
    assert potential(compiled=True).version == potential(compiled=False).version == version


def test_a_wrong_argument_is_refused_in_words():
    with pytest.raises(PotentialError, match="argument compiled is 'yes'; write true or false"):
        potential(compiled="yes")


def test_without_a_compiler_it_still_runs_unless_compiled_loops_are_asked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(
        PotentialError, match=r"argument compiled is true, but no C compiler.*apt install gcc"
    ):
        potential(compiled=True)
    salt = Batch.from_atoms([bulk("NaCl", "rocksalt", a=5.6)])
    expected = potential(compiled=False).evaluate(salt)
    np.testing.assert_array_equal(potential().evaluate(salt).energy, expected.energy)


def test_a_compiler_that_fails_costs_speed_and_says_so(monkeypatch, tmp_path):
    from surrogates import native

    broken = tmp_path / "broken-cc"
    broken.write_text("#!/bin/sh\necho 'out of order' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    native.library.cache_clear()
    salt = Batch.from_atoms([bulk("NaCl", "rocksalt", a=5.6)])
    with pytest.warns(
        UserWarning, match=r"half its speed: .*broken-cc cannot compile messages\.c: out of order"
    ):
        assert np.isfinite(potential().evaluate(salt).energy).all()
    with pytest.raises(PotentialError, match="out of order"):
        potential(compiled=True).evaluate(salt)


def test_weights_that_cannot_be_read_are_named(tmp_path):
    import torch

    from surrogates.potentials.chgnet.weights import read_weights

    broken = tmp_path / "weights.pth.tar"
    broken.write_bytes(b"not a checkpoint")
    with pytest.raises(PotentialError, match=r"weights\.pth\.tar cannot be read"):
        read_weights(broken)
    torch.save({"model": {"model_args": {"n_conv": 7}, "state_dict": {}}}, broken)
    with pytest.raises(PotentialError, match="n_conv is 7, not 4"):
        read_weights(broken)


def test_describing_it_loads_no_model():
    script = (
        "import json, sys; from pathlib import Path; from loop.spec import PotentialSpec\n"
        "from surrogates.registry import load_potential\n"
        "load_potential(PotentialSpec(name='chgnet'), base=Path.cwd())\n"
        "print(json.dumps(sorted({'torch', 'vesin', 'chgnet'} & set(sys.modules))))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("model", ["0.3.0", "0.2.0", "r2scan"])
def test_compiled_is_as_eager(model):
    structures = mixture()
    eager, compiled = (
        potential(model, compiled=flag).evaluate(Batch.from_atoms(structures)) for flag in (False, True)
    )
    counts = [len(atoms) for atoms in structures]
    np.testing.assert_allclose(compiled.energy / counts, eager.energy / counts, rtol=0, atol=5e-6)
    np.testing.assert_allclose(compiled.forces, eager.forces, rtol=1e-5, atol=3e-4)
    np.testing.assert_allclose(compiled.stress, eager.stress, rtol=1e-5, atol=3e-5)
