"""The optimiser on energies whose minima are known."""

import itertools

import numpy as np
import pytest

from surrogates.optimisation import LARGEST_DISPLACEMENT, LARGEST_STRAIN, MEMORY, initialise, step

REFERENCE_CELL = np.array([[3.0, 0.2, 0.0], [0.0, 4.0, 0.1], [0.3, 0.0, 5.0]])
REFERENCE_POSITIONS = np.array([[0.1, 0.2, 0.3], [1.5, 2.0, 2.5]])


def springs(positions, cell, *, stiffness=8.0, bulk=1.0):
    """Atoms on springs to places that move with the cell, and a cell that resists strain.

    E = k/2 Σ|x - x0|² + V0 b/2 |F - 1|², with x the coordinates in the frame of the reference cell and F the
    gradient.
    """
    gradient = np.linalg.solve(REFERENCE_CELL, cell).T
    volume = abs(np.linalg.det(cell))
    away = np.linalg.solve(gradient, positions.T).T - REFERENCE_POSITIONS
    strain = gradient - np.eye(3)
    reference_volume = abs(np.linalg.det(REFERENCE_CELL))
    energy = stiffness / 2 * (away**2).sum() + reference_volume * bulk / 2 * (strain**2).sum()
    forces = -stiffness * np.linalg.solve(gradient.T, away.T).T
    # dE/dF at fixed frame coordinates, turned into V S = (dE/dF) F^T.
    stress = reference_volume * bulk * strain @ gradient.T / volume
    return energy, forces, (stress + stress.T) / 2


def descend(surface, positions, cell, *, steps=200, force=1e-6):
    energy, forces, stress = surface(positions, cell)
    state = initialise(positions, cell, energy=energy, forces=forces, stress=stress)
    trace = [state]
    for _ in range(steps):
        if state.stuck or max(state.point.max_force, state.point.max_stress) < force:
            break
        energy, forces, stress = surface(*state.asks_about())
        state = step(state, energy, forces=forces, stress=stress)
        trace.append(state)
    return trace


def start(seed, size=0.1):
    rng = np.random.default_rng(seed)
    strain = rng.normal(0, size / 2, (3, 3))
    cell = REFERENCE_CELL @ (np.eye(3) + (strain + strain.T) / 2)
    return REFERENCE_POSITIONS @ (np.eye(3) + (strain + strain.T) / 2) + rng.normal(0, size, (2, 3)), cell


@pytest.mark.parametrize("seed", range(5))
def test_finds_the_minimum_of_springs(seed):
    trace = descend(springs, *start(seed))
    positions, cell = trace[-1].stands_at()
    assert trace[-1].point.energy == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(cell @ cell.T, REFERENCE_CELL @ REFERENCE_CELL.T, atol=1e-4)
    assert np.linalg.norm(positions[1] - positions[0]) == pytest.approx(
        np.linalg.norm(REFERENCE_POSITIONS[1] - REFERENCE_POSITIONS[0]), abs=1e-4
    )
    assert len(trace) < 40


def test_accepted_energies_never_rise_and_steps_are_limited():
    trace = descend(springs, *start(3, size=0.6))
    energies = [state.point.energy for state in trace]
    assert all(later <= earlier + 1e-5 for earlier, later in itertools.pairwise(energies))
    for state in trace:
        assert np.linalg.norm(state.direction[:-3], axis=1).max() <= LARGEST_DISPLACEMENT + 1e-12
        assert np.abs(state.direction[-3:]).max() <= LARGEST_STRAIN * state.frame.scale + 1e-12
        assert len(state.pairs) <= MEMORY


def test_step_changes_nothing_that_it_was_given():
    positions, cell = start(0)
    energy, forces, stress = springs(positions, cell)
    state = initialise(positions, cell, energy=energy, forces=forces, stress=stress)
    asked = [array.copy() for array in state.asks_about()]
    evaluated = springs(*asked)
    first = step(state, evaluated[0], forces=evaluated[1], stress=evaluated[2])
    second = step(state, evaluated[0], forces=evaluated[1], stress=evaluated[2])
    np.testing.assert_array_equal(first.direction, second.direction)
    for array, copy in zip(state.asks_about(), asked, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_a_rise_is_taken_back_and_a_shorter_step_tried():
    positions, cell = start(1)
    energy, forces, stress = springs(positions, cell)
    state = initialise(positions, cell, energy=energy, forces=forces, stress=stress)
    refused = step(state, energy + 5.0, forces=-forces, stress=-stress)
    assert refused.point is state.point
    assert 0.1 - 1e-12 <= refused.fraction <= 0.5


@pytest.mark.parametrize("nonsense", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_stepped_back_from(nonsense):
    wall_cell = REFERENCE_CELL * 1.02

    def holed(positions, cell):
        energy, forces, stress = springs(positions, cell)
        return (nonsense if np.linalg.det(cell) < np.linalg.det(wall_cell) else energy), forces, stress

    trace = descend(holed, REFERENCE_POSITIONS * 1.1, REFERENCE_CELL * 1.1)
    assert trace[-1].stuck
    assert np.isfinite(trace[-1].point.energy)
    assert trace[-1].point.energy < trace[0].point.energy


def test_forces_that_contradict_the_energy_get_it_stuck_where_it_started():
    def liar(positions, cell):
        energy, forces, stress = springs(positions, cell)
        return energy, -forces, -stress

    trace = descend(liar, *start(2))
    assert trace[-1].stuck
    assert trace[-1].point.energy == trace[0].point.energy
    assert len(trace) < 20


def test_noise_of_single_precision_does_not_stop_it():
    rng = np.random.default_rng(0)

    def noisy(positions, cell):
        energy, forces, stress = springs(positions, cell)
        return energy + rng.normal(0, 1e-6), forces + rng.normal(0, 1e-5, forces.shape), stress

    trace = descend(noisy, *start(4), force=1e-3)
    assert not trace[-1].stuck
    assert max(trace[-1].point.max_force, trace[-1].point.max_stress) < 1e-3


def test_atoms_alone_and_cell_alone_converge_too():
    cell_only = descend(springs, REFERENCE_POSITIONS * 1.05, REFERENCE_CELL * 1.05)
    assert cell_only[-1].point.energy == pytest.approx(0, abs=1e-9)
    atoms_only = descend(springs, REFERENCE_POSITIONS + np.array([[0.1, 0, 0], [0, -0.1, 0]]), REFERENCE_CELL)
    assert atoms_only[-1].point.energy == pytest.approx(0, abs=1e-9)


def test_gradient_is_that_of_the_energy_in_its_own_coordinates():
    positions, cell = start(5, size=0.2)
    trace = descend(springs, positions, cell, steps=3)
    state = trace[-1]
    rng = np.random.default_rng(1)
    # Along displacements that turn nothing: the surface of the test resists rotation, a crystal's does not.
    towards = rng.normal(0, 1, state.point.coordinates.shape)
    deformation = state.point.coordinates[-3:] / state.frame.scale
    symmetric = rng.normal(0, 1, (3, 3))
    towards[-3:] = (symmetric + symmetric.T) @ deformation
    ahead, behind = (state.point.coordinates + sign * 1e-5 * towards for sign in (1, -1))
    slope = (springs(*state.frame.geometry(ahead))[0] - springs(*state.frame.geometry(behind))[0]) / 2e-5
    assert np.vdot(state.point.gradient, towards) == pytest.approx(slope, rel=1e-5, abs=1e-6)
