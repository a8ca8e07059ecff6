"""The spring model's Hessian against finite differences of the springs, and what it is for."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from loop.crystal import Crystal
from loop.spec import PotentialSpec, RelaxationSpec
from surrogates import relaxation, stiffness
from surrogates.optimisation import Frame, initialise
from surrogates.potential import Batch
from surrogates.registry import load_potential
from surrogates.stiffness import inverse_stiffness


def crystal(seed=0, symbols=("Ti", "O", "Ni", "Al"), size=0.15):
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", "fcc", a=3.9, cubic=True)
    atoms.symbols[:] = symbols
    atoms.positions += rng.normal(0, size, atoms.positions.shape)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.04, (3, 3))), scale_atoms=True)
    return atoms


def test_it_is_the_curvature_of_springs_between_neighbours():
    """Springs by ASE's neighbour list, stretched along random directions of the generalised coordinates."""
    atoms, scale = crystal(), 3.0
    frame = Frame(cell=atoms.cell.array, scale=scale)
    here = np.concatenate([atoms.positions, scale * np.eye(3)])
    i, j, images, lengths = neighbor_list("ijSd", atoms, stiffness.REACH)
    usual = covalent_radii[atoms.numbers[i]] + covalent_radii[atoms.numbers[j]]
    constants = np.minimum(
        stiffness.BOND_STIFFNESS * np.exp(-stiffness.DECAY * (lengths / usual - 1)), stiffness.STIFFEST
    )

    def vectors(coordinates):
        positions, cell = frame.geometry(coordinates)
        return positions[j] - positions[i] + images @ cell

    directions = vectors(here) / lengths[:, None]
    inverse = inverse_stiffness(atoms.numbers, atoms.positions, cell=atoms.cell.array, scale=scale)
    hessian = np.linalg.inv(inverse)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-8)
    rng = np.random.default_rng(1)
    for _ in range(4):
        towards = rng.normal(0, 1, here.shape)
        change = (vectors(here + 1e-6 * towards) - vectors(here)) / 1e-6
        along = (change * directions).sum(axis=1) ** 2
        # Every pair is in ASE's list twice.
        expected = 0.5 * np.sum(
            constants * ((1 - stiffness.SIDEWAYS) * along + stiffness.SIDEWAYS * (change**2).sum(axis=1))
        )
        expected += stiffness.LEAST * np.sum(towards**2)
        assert towards.ravel() @ hessian @ towards.ravel() == pytest.approx(expected, rel=1e-4)


def test_every_direction_is_held():
    lonely = bulk("Cs", "bcc", a=12.0)
    inverse = inverse_stiffness(lonely.numbers, lonely.positions, cell=lonely.cell.array, scale=4.0)
    np.testing.assert_allclose(inverse, np.eye(12) / stiffness.LEAST)
    crowded = bulk("Cu", "fcc", a=1.5)
    inverse = inverse_stiffness(crowded.numbers, crowded.positions, cell=crowded.cell.array, scale=2.0)
    assert (np.linalg.eigvalsh(inverse) > 0).all()
    assert np.linalg.eigvalsh(inverse).max() <= 1 / stiffness.LEAST + 1e-9


def emt():
    return load_potential(PotentialSpec(name="emt"), base=Path.cwd())


def test_first_step_goes_downhill():
    atoms = crystal(symbols=["Cu", "Au", "Cu", "Cu"])
    evaluation = emt().evaluate(Batch.from_atoms([atoms]))
    state = initialise(
        atoms.positions,
        atoms.cell.array,
        energy=float(evaluation.energy[0]),
        forces=evaluation.forces,
        stress=evaluation.stress[0],
        numbers=atoms.numbers,
    )
    assert np.vdot(state.direction, state.point.gradient) < 0


def test_springs_save_evaluations_and_end_no_higher(monkeypatch):
    """On rattled alloys, against the same relaxations without springs."""
    starts = [Crystal.from_atoms(crystal(seed, symbols=["Cu", "Au", "Cu", "Pt"])) for seed in range(16)]
    settings = RelaxationSpec(max_force=0.01, max_stress=0.1)
    with_springs = relaxation.relax(starts, emt(), settings)

    def without_numbers(*given, numbers, **named):
        return initialise(*given, **named)

    monkeypatch.setattr(relaxation, "initialise", without_numbers)
    without = relaxation.relax(starts, emt(), settings)
    pairs = [
        (a, b)
        for a, b in zip(with_springs, without, strict=True)
        if isinstance(a, relaxation.Relaxation) and isinstance(b, relaxation.Relaxation)
    ]
    assert len(pairs) >= 12
    assert np.mean([a.steps for a, _ in pairs]) < 0.9 * np.mean([b.steps for _, b in pairs])
    assert np.mean([a.energy_per_atom - b.energy_per_atom for a, b in pairs]) < 1e-3
