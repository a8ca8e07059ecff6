"""What every `Potential` must hold to, whoever wrote it.

    from tests.conformance.potential import PotentialConformance

    class TestMine(PotentialConformance):
        @pytest.fixture(scope="class")
        @classmethod
        def potential(cls): return load_potential(PotentialSpec(name="mine"), base=Path.cwd())

Two tolerances suit models in single precision; a potential in double precision sets `energy_noise` to 1e-9.
"""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.data import chemical_symbols
from scipy.spatial.transform import Rotation

from loop.errors import PotentialError
from surrogates.potential import Batch, Evaluation, Potential

PREFERRED_PAIRS = (("Mg", "O"), ("Cu", "Au"), ("Si", "C"))
FORCE_STEP = 0.005
"""Å of the finite differences of energy."""
STRAIN_STEP = 0.002


def pair_of_elements(potential: Potential) -> tuple[str, str]:
    """Two elements that the potential knows."""
    known = potential.elements
    for pair in PREFERRED_PAIRS:
        if known is None or set(pair) <= known:
            return pair
    first, second, *_ = sorted(known or ())
    return first, second


def sample_structures(potential: Potential) -> list[Atoms]:
    """Small crystals without symmetry: rattled rock salt, caesium chloride and a four-atom cell, strained."""
    first, second = pair_of_elements(potential)
    length = 4.3 if (first, second) == ("Mg", "O") else 4.0
    rock_salt = bulk(first + second, "rocksalt", a=length * (1.0 if second == "O" else 1.25))
    caesium_chloride = bulk(first + second, "cesiumchloride", a=length * (0.62 if second == "O" else 0.8))
    close_packed = bulk("Cu", "fcc", a=length, cubic=True)
    close_packed.symbols[:] = [first, second, second, first]
    rng = np.random.default_rng(7)
    samples = []
    for perfect in (rock_salt, caesium_chloride, close_packed):
        atoms = perfect.copy()
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-0.04, 0.04, (3, 3))), scale_atoms=True)
        atoms.positions += rng.uniform(-0.1, 0.1, atoms.positions.shape)
        samples.append(atoms)
    return samples


def evaluate(potential: Potential, *structures: Atoms) -> Evaluation:
    return potential.evaluate(Batch.from_atoms(structures))


class PotentialConformance:
    """Subclass it and give a fixture `potential`."""

    energy_noise = 3e-6
    """eV/atom by which equal structures may differ."""
    derivative_noise = 3e-3
    """eV/Å and eV/Å3 by which forces and stresses may differ from finite differences of the energy."""

    @pytest.fixture(scope="class")
    @classmethod
    def samples(cls, potential):
        return sample_structures(potential)

    @pytest.fixture(scope="class")
    @classmethod
    def evaluated(cls, potential, samples):
        return evaluate(potential, *samples)

    def assert_same_energy(self, found, expected, n_atoms):
        assert found == pytest.approx(
            expected, abs=self.energy_noise * n_atoms + 1e-6 * abs(expected) * (self.energy_noise > 1e-8)
        )

    def test_is_a_potential_that_describes_itself(self, potential):
        assert isinstance(potential, Potential)
        assert potential.fidelity
        assert not set(potential.fidelity) & set(" /\\")
        assert any(character.isdigit() for character in potential.version)
        assert potential.elements is None or set(pair_of_elements(potential)) <= potential.elements <= set(
            chemical_symbols
        )
        assert 0 < potential.seconds_per_atom < 100

    def test_gives_finite_arrays_of_the_right_shape(self, samples, evaluated):
        atoms = sum(map(len, samples))
        assert (evaluated.energy.shape, evaluated.forces.shape, evaluated.stress.shape) == (
            (3,),
            (atoms, 3),
            (3, 3, 3),
        )
        assert np.isfinite(evaluated.energy).all()
        assert np.isfinite(evaluated.forces).all()
        assert np.isfinite(evaluated.stress).all()
        assert not evaluated.refused
        assert evaluated.energy.dtype == evaluated.forces.dtype == evaluated.stress.dtype == np.float64
        np.testing.assert_allclose(evaluated.stress, evaluated.stress.transpose(0, 2, 1), atol=1e-12)
        assert np.abs(evaluated.forces).max() > 0.01, "the samples are rattled: there must be forces"

    def test_leaves_its_input_alone(self, potential, samples):
        batch = Batch.from_atoms(samples)
        before = [
            array.copy() for array in (batch.atomic_numbers, batch.positions, batch.cells, batch.structure)
        ]
        potential.evaluate(batch)
        for array, copy in zip(
            (batch.atomic_numbers, batch.positions, batch.cells, batch.structure), before, strict=True
        ):
            np.testing.assert_array_equal(array, copy)

    def test_one_by_one_is_as_together(self, potential, samples, evaluated):
        start = 0
        for i, atoms in enumerate(samples):
            alone = evaluate(potential, atoms)
            self.assert_same_energy(alone.energy[0], evaluated.energy[i], len(atoms))
            np.testing.assert_allclose(alone.forces, evaluated.forces[start : start + len(atoms)], atol=1e-4)
            np.testing.assert_allclose(alone.stress[0], evaluated.stress[i], atol=1e-5)
            start += len(atoms)

    def test_one_structure_twice_is_bit_for_bit_the_same(self, potential, samples):
        first, second = evaluate(potential, samples[2]), evaluate(potential, samples[2])
        assert first.energy[0] == second.energy[0]
        np.testing.assert_array_equal(first.forces, second.forces)
        np.testing.assert_array_equal(first.stress, second.stress)

    def test_order_of_atoms_does_not_matter(self, potential, samples, evaluated):
        atoms = samples[2]
        order = [2, 0, 3, 1]
        shuffled = evaluate(potential, atoms[order])
        self.assert_same_energy(shuffled.energy[0], evaluated.energy[2], len(atoms))
        np.testing.assert_allclose(shuffled.forces, evaluated.forces[-4:][order], atol=1e-4)

    def test_rotation_turns_forces_and_stress(self, potential, samples, evaluated):
        turn = Rotation.random(rng=np.random.default_rng(3)).as_matrix()
        atoms = samples[2]
        turned = Atoms(
            numbers=atoms.numbers,
            positions=atoms.positions @ turn.T,
            cell=atoms.cell.array @ turn.T,
            pbc=True,
        )
        rotated = evaluate(potential, turned)
        self.assert_same_energy(rotated.energy[0], evaluated.energy[2], len(atoms))
        np.testing.assert_allclose(rotated.forces, evaluated.forces[-4:] @ turn.T, atol=5e-4)
        np.testing.assert_allclose(rotated.stress[0], turn @ evaluated.stress[2] @ turn.T, atol=1e-4)

    def test_translation_and_images_do_not_matter(self, potential, samples, evaluated):
        atoms = samples[2].copy()
        atoms.positions += [0.37, -5.1, 2.2]
        atoms.positions[1] += atoms.cell.array[0] - 2 * atoms.cell.array[2]
        moved = evaluate(potential, atoms)
        self.assert_same_energy(moved.energy[0], evaluated.energy[2], len(atoms))
        np.testing.assert_allclose(moved.forces, evaluated.forces[-4:], atol=5e-4)

    def test_choice_of_cell_does_not_matter(self, potential, samples, evaluated):
        sheared = make_supercell(samples[2], [[1, 1, 0], [0, 1, 0], [0, -1, 1]], wrap=False)
        other = evaluate(potential, sheared)
        self.assert_same_energy(other.energy[0], evaluated.energy[2], 4)
        np.testing.assert_allclose(other.stress[0], evaluated.stress[2], atol=1e-4)

    def test_supercell_has_as_much_energy_as_its_cells(self, potential, samples, evaluated):
        double = evaluate(potential, make_supercell(samples[0], np.diag([2, 1, 1])))
        self.assert_same_energy(double.energy[0], 2 * evaluated.energy[0], 4)
        np.testing.assert_allclose(double.stress[0], evaluated.stress[0], atol=1e-4)

    def test_forces_are_minus_the_slope_of_energy(self, potential, samples, evaluated):
        atoms = samples[2]
        stepped = []
        for sign in (1, -1):
            for axis in range(3):
                moved = atoms.copy()
                moved.positions[1, axis] += sign * FORCE_STEP
                stepped.append(moved)
        energy = evaluate(potential, *stepped).energy
        slope = (energy[:3] - energy[3:]) / (2 * FORCE_STEP)
        np.testing.assert_allclose(evaluated.forces[-3], -slope, atol=self.derivative_noise)

    def test_stress_is_the_slope_of_energy_with_strain(self, potential, samples, evaluated):
        atoms = samples[2]
        components = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]
        stepped = []
        for sign in (1, -1):
            for i, j in components:
                strain = np.zeros((3, 3))
                strain[i, j] += sign * STRAIN_STEP / 2
                strain[j, i] += sign * STRAIN_STEP / 2
                strained = atoms.copy()
                strained.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
                stepped.append(strained)
        energy = evaluate(potential, *stepped).energy
        slope = (energy[:6] - energy[6:]) / (2 * STRAIN_STEP) / atoms.get_volume()
        found = np.array([evaluated.stress[2][i, j] for i, j in components])
        np.testing.assert_allclose(found, slope, atol=self.derivative_noise)

    def test_squeezed_crystal_pushes_outwards(self, potential, samples):
        squeezed = samples[0].copy()
        squeezed.set_cell(squeezed.cell.array * 0.88, scale_atoms=True)
        assert np.trace(evaluate(potential, squeezed).stress[0]) < 0

    def test_atoms_far_apart_are_refused_or_finite(self, potential, samples):
        lonely = samples[0].copy()
        lonely.set_cell(np.eye(3) * 40, scale_atoms=False)
        lonely.positions = [[0, 0, 0], [20, 20, 20]]
        evaluation = evaluate(potential, lonely, samples[1])
        assert np.isfinite(evaluation.energy[1])
        assert (0 in evaluation.refused) == (not np.isfinite(evaluation.energy[0]))

    def test_unknown_element_is_named(self, potential, samples):
        if potential.elements is None or potential.elements >= set(chemical_symbols[1:104]):
            pytest.skip("this potential knows every element, or does not say")
        foreign = "Lr" if "Lr" not in potential.elements else "He"
        atoms = samples[0].copy()
        atoms.symbols[0] = foreign
        with pytest.raises(PotentialError, match=foreign):
            evaluate(potential, atoms)
