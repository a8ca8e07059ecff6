"""Averages over a space group, against counted degrees of freedom and against group theory."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.spacegroup import crystal as ase_crystal

from loop.crystal import Crystal
from loop.spec import PotentialSpec, RelaxationSpec
from surrogates.registry import load_potential
from surrogates.relaxation import Relaxation, relax
from surrogates.symmetry import symmetry_of


def symmetry_and_atoms(structure):
    atoms = Crystal.from_atoms(structure).to_atoms()
    return symmetry_of(atoms.numbers, atoms.positions, cell=atoms.cell.array), atoms


RUTILE = ase_crystal(
    ["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.6, 4.6, 2.95, 90, 90, 90]
)
QUARTZ = ase_crystal(
    ["Si", "O"],
    [(0.465, 0, 1 / 3), (0.415, 0.272, 0.120)],
    spacegroup=152,
    cellpar=[4.9, 4.9, 5.4, 90, 90, 120],
)


@pytest.mark.parametrize(
    ("structure", "number", "free"),
    [
        (bulk("Cu", "fcc", a=3.6), 225, 1),  # the lattice parameter
        (bulk("NaCl", "rocksalt", a=5.6), 225, 1),
        (bulk("ZnO", "wurtzite", a=3.25, c=5.2), 186, 4),  # a, c, and z of both kinds along the polar axis
        (RUTILE, 136, 3),  # a, c, x of oxygen
        (QUARTZ, 152, 6),  # a, c, x of silicon, xyz of oxygen
    ],
    ids=["copper", "rocksalt", "wurtzite", "rutile", "quartz"],
)
def test_degrees_of_freedom_are_those_of_the_wyckoff_positions(structure, number, free):
    symmetry, _ = symmetry_and_atoms(structure)
    assert symmetry.number == number
    assert symmetry.degrees_of_freedom == free


@pytest.mark.parametrize("structure", [RUTILE, QUARTZ, bulk("ZnO", "wurtzite", a=3.25, c=5.2)])
def test_a_symmetric_step_keeps_the_space_group_and_any_other_breaks_it(structure):
    symmetry, atoms = symmetry_and_atoms(structure)
    rng = np.random.default_rng(5)
    step = rng.normal(scale=0.05, size=(len(atoms) + 3, 3))
    for field, kept in ((symmetry.project(step), True), (step, False)):
        deformation = np.eye(3) + field[-3:]
        moved = symmetry_of(
            atoms.numbers,
            (atoms.positions + field[:-3]) @ deformation.T,
            cell=atoms.cell.array @ deformation.T,
        )
        assert (moved.number == symmetry.number) is kept


def test_projecting_is_idempotent_symmetric_and_shortens():
    symmetry, atoms = symmetry_and_atoms(QUARTZ)
    rng = np.random.default_rng(6)
    first, second = rng.normal(size=(2, len(atoms) + 3, 3))
    once = symmetry.project(first)
    assert symmetry.project(once) == pytest.approx(once, abs=1e-12)
    assert np.vdot(once, second) == pytest.approx(np.vdot(first, symmetry.project(second)), abs=1e-7)
    assert np.linalg.norm(once) < np.linalg.norm(first)
    assert all(np.allclose(rotation @ rotation.T, np.eye(3)) for rotation in symmetry.rotations)
    assert all(sorted(image) == list(range(len(atoms))) for image in symmetry.images)


def settings(symmetry):
    return RelaxationSpec(max_force=0.005, max_stress=0.02, symmetry=symmetry)


def test_every_step_of_a_held_relaxation_stays_in_the_space_group():
    """Quartz in a Lennard-Jones world moves a long way, and does not leave P3_221 or P3_121."""
    start = Crystal.from_atoms(QUARTZ)
    potential = load_potential(PotentialSpec(name="lennard_jones"), base=Path.cwd())
    (outcome,) = relax([start], potential, settings("kept"))
    assert isinstance(outcome, Relaxation)
    assert outcome.space_group_before == start.space_group_number
    held = symmetry_and_atoms(outcome.crystal.to_atoms())[0]
    assert len(held.rotations) % 6 == 0, "the six operations of the start are a subgroup of what is left"
    assert outcome.gained_by_release is None


def test_a_saddle_point_is_left_when_its_space_group_is_let_go():
    """Simple cubic copper is no minimum of EMT: held it stays cubic, let go it shears towards close packing."""
    potential = load_potential(PotentialSpec(name="emt"), base=Path.cwd())
    cubic = Crystal.from_atoms(bulk("Cu", "sc", a=2.4))
    held, released, free = (
        relax([cubic], potential, settings(symmetry))[0] for symmetry in ("kept", "released", "free")
    )
    assert held.space_group_after == free.space_group_after == 221
    assert released.space_group_after != 221
    assert released.gained_by_release == pytest.approx(held.energy_per_atom - released.energy_per_atom)
    assert released.gained_by_release > 0.01
    assert relax([cubic], potential, settings("released"))[0] == released


def test_a_minimum_keeps_its_space_group_when_let_go():
    potential = load_potential(PotentialSpec(name="emt"), base=Path.cwd())
    close_packed = Crystal.from_atoms(bulk("Cu", "fcc", a=3.7))
    held, released = (relax([close_packed], potential, settings(s))[0] for s in ("kept", "released"))
    assert released.gained_by_release == 0
    assert released.crystal == held.crystal
    assert released.steps > held.steps


def test_a_crystal_without_symmetry_has_none_to_let_go():
    potential = load_potential(PotentialSpec(name="emt"), base=Path.cwd())
    atoms = bulk("Cu", "fcc", a=3.7, cubic=True)
    atoms.positions += np.random.default_rng(0).normal(scale=0.1, size=(4, 3))
    crystal = Crystal.from_atoms(atoms)
    assert crystal.space_group_number == 1
    held, released = (relax([crystal], potential, settings(s))[0] for s in ("kept", "released"))
    assert released == held
    assert released.gained_by_release is None
