"""The Lennard-Jones world against closed forms and ASE."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones as ReferenceLennardJones

from loop.crystal import Crystal
from loop.errors import PotentialError
from loop.spec import PotentialSpec, RelaxationSpec
from surrogates.potential import Batch
from surrogates.potentials.lennard_jones import WELL_DEPTH, load
from surrogates.relaxation import relax


def world(**arguments):
    return load(PotentialSpec(name="lennard_jones", arguments=arguments), base=Path.cwd())


def energy(potential, *structures):
    return potential.evaluate(Batch.from_atoms(structures)).energy


def pair(distance, symbols="Ar2"):
    return Atoms(symbols, positions=[[0, 0, 0], [distance, 0, 0]], cell=[60, 60, 60], pbc=True)


def test_pair_is_deepest_at_the_sixth_root_of_two_sigma():
    potential = world(radii={"Ar": 1.9}, well_depths={"Ar": 0.01}, cutoff=8)
    distances = np.linspace(3.5, 4.1, 601)
    energies = energy(potential, *(pair(d) for d in distances))
    assert distances[energies.argmin()] == pytest.approx(3.8, abs=2e-3)
    assert energies.min() == pytest.approx(-0.01, rel=1e-6)
    assert energy(potential, pair(3.8 / 2 ** (1 / 6)))[0] == pytest.approx(0, abs=1e-9)


def test_fcc_has_the_known_lattice_constant_and_energy():
    # Lattice sums of fcc, A12 = 12.13188 and A6 = 14.45392 (Kittel, Introduction to Solid State Physics,
    # chapter 3): nearest neighbours at (2 A12/A6)^(1/6) = 1.09017 sigma, energy -A6²/2A12 = -8.6102 depths.
    potential = world(radii={"Al": 1.9}, well_depths={"Al": 0.01}, cutoff=6)
    sigma = 3.8 / 2 ** (1 / 6)
    start = Crystal.from_atoms(bulk("Al", "fcc", a=5.6))
    (relaxed,) = relax([start], potential, RelaxationSpec(max_force=1e-4, max_stress=0.001))
    nearest = np.linalg.norm(relaxed.crystal.lattice[0])
    assert nearest / sigma == pytest.approx(1.09017, rel=1e-3)
    assert relaxed.energy_per_atom / 0.01 == pytest.approx(-8.6102, rel=0.01)
    assert relaxed.space_group_after == 225


def test_agrees_with_ase_inside_the_switch():
    # ASE cuts at rc with a shift; far inside both are the bare 12-6 potential.
    potential = world(radii={"Ar": 1.9}, well_depths={"Ar": 0.01}, cutoff=8)
    places = [[0, 0, 0], [3.7, 0.2, 0], [0.3, 3.9, 0.1], [0, 0.4, 4.2]]
    atoms = Atoms("Ar4", positions=places, cell=[80, 80, 80], pbc=True)
    atoms.calc = ReferenceLennardJones(sigma=3.8 / 2 ** (1 / 6), epsilon=0.01, rc=35)
    evaluation = potential.evaluate(Batch.from_atoms([atoms]))
    assert evaluation.energy[0] == pytest.approx(atoms.get_potential_energy(), abs=5e-7)
    np.testing.assert_allclose(evaluation.forces, atoms.get_forces(), atol=1e-8)
    np.testing.assert_allclose(evaluation.stress[0], atoms.get_stress(voigt=False), atol=1e-10)


def test_energy_and_force_end_smoothly_at_the_cutoff():
    potential = world(radii={"Ar": 1.9}, cutoff=2.5)
    end = 2.5 * 3.8 / 2 ** (1 / 6)
    at_the_end = potential.evaluate(Batch.from_atoms([pair(end - 1e-3), pair(end + 1e-3)]))
    np.testing.assert_allclose(at_the_end.energy, 0, atol=1e-10)
    np.testing.assert_allclose(at_the_end.forces, 0, atol=1e-6)


def test_unlike_atoms_attract_by_paulings_rule():
    # Pauling electronegativities: Na 0.93, Cl 3.16. Radii (Cordero 2008): 1.66, 1.02 Å.
    (deepest,) = energy(world(), pair(1.66 + 1.02, "NaCl"))
    assert deepest == pytest.approx(-(WELL_DEPTH + 0.1 * (3.16 - 0.93) ** 2), rel=1e-6)


def test_the_interaction_matrix_can_be_given():
    potential = world(pair_depths={"Ni-Al": 2.0}, pair_distances={"Al-Ni": 2.5})
    assert energy(potential, pair(2.5, "AlNi"))[0] == pytest.approx(-2.0, rel=1e-6)


def test_compounds_form_and_do_not_without_mixing():
    def formation(potential):
        settings = RelaxationSpec(max_force=1e-3, max_stress=0.05)
        crystals = [bulk("Al", "fcc", a=4.0), bulk("Ni", "fcc", a=3.5), bulk("AlNi", "cesiumchloride", a=2.9)]
        relaxed = relax([Crystal.from_atoms(atoms) for atoms in crystals], potential, settings)
        aluminium, nickel, compound = (r.energy_per_atom for r in relaxed)
        return compound - (aluminium + nickel) / 2

    assert formation(world(mixing=2.0)) < -0.1
    assert formation(world(mixing=0.0)) > 0


def test_worlds_with_other_constants_are_other_fidelities():
    assert world().fidelity == "lennard-jones"
    assert world().fidelity != world(mixing=0.2).fidelity != world(mixing=0.3).fidelity
    assert world(pair_depths={"Al-Ni": 1.0}).fidelity == world(pair_depths={"Ni-Al": 1.0}).fidelity


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"mixin": 1}, "mixin"),
        ({"radii": {"Xx": 1.0}}, "Xx"),
        ({"radii": {"Al": -1.0}}, r"radii\.Al"),
        ({"pair_depths": {"AlNi": 1.0}}, "Al-Ni"),
        ({"pair_depths": {"Al-Nix": 1.0}}, "Nix"),
        ({"cutoff": 0}, "cutoff"),
        ({"mixing": "much"}, "mixing"),
    ],
)
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises(PotentialError, match=named):
        world(**arguments)
