import json
from functools import lru_cache

import numpy as np
import pytest
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from flows.verification.phonon_bands import (
    compact_bands,
    distances_from_gamma,
    judge,
    optical_frequencies_at_gamma,
    path_frequencies,
    thermal_properties,
)

SIDE = 3.0
"""Å."""
MASS = 10.0
SIZE = 4


@lru_cache
def simple_cubic():
    """Finding the symmetry of a supercell takes a second; its force constants are set anew by every test."""
    cell = PhonopyAtoms(symbols=["Ar"], masses=[MASS], scaled_positions=[[0, 0, 0]], cell=SIDE * np.eye(3))
    return Phonopy(cell, SIZE * np.eye(3, dtype=int), primitive_matrix=np.eye(3))


def springs(first, *, transverse=1.0, second=0.0, drift=0.0):
    """A simple cubic crystal of springs: along and across first neighbours, along second ones on the axes.

    Args:
        first: eV/Å2.
        transverse: eV/Å2.
        second: eV/Å2.
        drift: added to every self term, which breaks translational invariance as noisy forces do, eV/Å2.
    """
    phonon = simple_cubic()
    positions = np.rint(phonon.supercell.scaled_positions * SIZE).astype(int)
    index = {tuple(p): i for i, p in enumerate(positions)}
    constants = np.zeros((len(positions), len(positions), 3, 3))
    for site, i in index.items():
        for axis in range(3):
            for step, along, across in (
                (1, first, transverse),
                (-1, first, transverse),
                (2, second, 0.0),
                (-2, second, 0.0),
            ):
                neighbour = list(site)
                neighbour[axis] = (neighbour[axis] + step) % SIZE
                spring = across * np.eye(3)
                spring[axis, axis] = along
                constants[i, index[tuple(neighbour)]] -= spring
                constants[i, i] += spring
        constants[i, i] += drift * np.eye(3)
    phonon.force_constants = constants
    return phonon


def diatomic(spring, *, masses=(10.0, 30.0), drift=0.0):
    """Two simple cubic lattices, one in the other, whose atoms are held by their unlike neighbours."""
    cell = PhonopyAtoms(
        symbols=["Na", "Cl"],
        masses=masses,
        scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]],
        cell=SIDE * np.eye(3),
    )
    phonon = Phonopy(cell, 2 * np.eye(3, dtype=int), primitive_matrix=np.eye(3))
    constants = np.zeros((16, 16, 3, 3))
    kinds = np.array([0 if s == "Na" else 1 for s in phonon.supercell.symbols])
    unlike = kinds[:, None] != kinds[None, :]
    constants[unlike] = -spring * np.eye(3) / 8
    constants[np.arange(16), np.arange(16)] = (spring + drift) * np.eye(3)
    phonon.force_constants = constants
    return phonon


def frequency(eigenvalue, phonon):
    """THz, of an eigenvalue in eV/Å2/amu."""
    return np.sign(eigenvalue) * np.sqrt(abs(eigenvalue)) * phonon.unit_conversion_factor


def exact(q, *, first, transverse=1.0, second=0.0):
    """Eigenvalues of the cubic crystal of springs in closed form, eV/Å2/amu: one per polarisation."""
    waves = 2 * (1 - np.cos(2 * np.pi * np.asarray(q)))
    doubled = 2 * (1 - np.cos(4 * np.pi * np.asarray(q)))
    return np.array(
        [
            (first * waves[i] + transverse * (waves.sum() - waves[i]) + second * doubled[i]) / MASS
            for i in range(3)
        ]
    )


JUDGED = {"gamma_radius": 0.05, "q_spacing": 0.02, "threshold": -0.1}


@pytest.mark.parametrize(("first", "transverse"), [(4.0, 1.0), (1.0, 0.3)])
def test_path_agrees_with_the_closed_form(first, transverse):
    phonon = springs(first, transverse=transverse)
    for segment in path_frequencies(phonon, q_spacing=0.05):
        for q, found in zip(segment.q_points, segment.frequencies, strict=True):
            expected = np.sort(frequency(exact(q, first=first, transverse=transverse), phonon))
            assert found == pytest.approx(expected, abs=1e-3)


def test_path_of_a_simple_cubic_crystal():
    ends = {(s.start, s.end) for s in path_frequencies(springs(4.0), q_spacing=0.1)}
    assert {("Γ", "X"), ("X", "M"), ("M", "Γ"), ("Γ", "R")} <= ends


def test_stable_crystal():
    phonon = springs(4.0)
    found = judge(phonon, **JUDGED)
    assert found["dynamically_stable"]
    assert found["minimum_frequency"] > 0
    corner = exact([0.5, 0.5, 0.5], first=4.0)
    assert found["maximum_frequency"] == pytest.approx(frequency(corner.max(), phonon), abs=1e-3)


def test_soft_transverse_springs_make_an_unstable_crystal():
    phonon = springs(4.0, transverse=-0.2)
    found = judge(phonon, **JUDGED)
    assert not found["dynamically_stable"]
    softest = min(
        exact(q, first=4.0, transverse=-0.2).min() for q in np.ndindex(2, 2, 2) for q in [np.array(q) / 2]
    )
    assert found["minimum_frequency"] == pytest.approx(frequency(softest, phonon), abs=1e-3)
    assert exact(found["minimum_at"], first=4.0, transverse=-0.2).min() == pytest.approx(softest, abs=1e-3)


@pytest.mark.parametrize("threshold", [-0.1, -5.0])
def test_the_threshold_decides(threshold):
    phonon = springs(4.0, transverse=-0.05)
    lowest = judge(phonon, **JUDGED)["minimum_frequency"]
    assert -5.0 < lowest < -0.1
    assert judge(phonon, **{**JUDGED, "threshold": threshold})["dynamically_stable"] == (threshold < lowest)


def test_long_waves_are_not_judged():
    """Second neighbours that push make waves imaginary within 0.021 1/Å of Γ, and leave all others real."""
    phonon = springs(1.0, transverse=1.0, second=-0.26)
    assert judge(phonon, **JUDGED)["dynamically_stable"]
    beside = judge(phonon, gamma_radius=0.0, q_spacing=0.005, threshold=-0.1)
    assert not beside["dynamically_stable"]
    assert 0 < np.linalg.norm(beside["minimum_at"]) / SIDE < 0.0211
    # No wave of the supercell is that long: what is exact is stable.
    assert beside["minimum_frequency_commensurate"] > 0


def test_exact_wave_vectors_are_judged_however_near():
    phonon = springs(4.0, transverse=-0.2)
    found = judge(phonon, gamma_radius=9.0, q_spacing=0.02, threshold=-0.1)
    assert found["minimum_on"] == "commensurate"
    assert found["minimum_frequency"] == found["minimum_frequency_commensurate"] < -0.1
    assert not found["dynamically_stable"]


def test_exact_wave_vectors_are_judged_too():
    """At (1/4, 0, 0) the supercell of four cells is exact, whatever the interpolation."""
    phonon = springs(4.0, transverse=-0.2)
    waves = [np.array(q) / SIZE for q in np.ndindex(SIZE, SIZE, SIZE) if any(q)]
    softest = min(exact(q, first=4.0, transverse=-0.2).min() for q in waves)
    found = judge(phonon, **JUDGED)["minimum_frequency_commensurate"]
    assert found == pytest.approx(frequency(softest, phonon), abs=1e-4)


@pytest.mark.parametrize("drift", [0.0, -0.5, 0.5])
@pytest.mark.parametrize("spring", [8.0, -0.3])
def test_optical_modes_at_gamma_know_nothing_of_translations(spring, drift):
    phonon = diatomic(spring, drift=drift)
    reduced = 10.0 * 30.0 / 40.0
    # The drift holds each atom; in the optical mode it weighs with the other atom's share of the mass.
    expected = spring / reduced + drift * (30.0 / 10.0 + 10.0 / 30.0) / 40.0
    assert optical_frequencies_at_gamma(phonon) == pytest.approx(
        np.full(3, frequency(expected, phonon)), rel=1e-6
    )


def test_one_atom_has_no_optical_modes():
    assert len(optical_frequencies_at_gamma(springs(4.0))) == 0


def test_unstable_optical_mode_at_gamma_is_seen():
    found = judge(diatomic(-0.3), **JUDGED)
    assert not found["dynamically_stable"]
    assert found["minimum_on"] == "Γ"
    assert found["minimum_at"] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("shift", [[0, 0, 0], [1, 0, 0], [-1, 2, 3]])
def test_distance_from_the_nearest_image_of_gamma(shift):
    cell = np.array([[0.0, 2.0, 2.0], [2.0, 0.0, 2.0], [2.0, 2.0, 0.0]])
    q_point = np.array([0.5, 0.25, 0.75])  # W of a face-centred cubic crystal: 1/a (1, 1/2, 0)
    found = distances_from_gamma((q_point + shift)[None, :], cell=cell)
    assert found == pytest.approx(np.sqrt(1.25) / 4.0)


def test_bands_are_small_enough_for_a_ledger():
    stored = compact_bands(path_frequencies(springs(4.0), q_spacing=0.002))
    assert len(json.dumps(stored)) < 20_000
    modes = {len(row) for segment in stored for row in segment["frequencies"]}
    assert modes == {3}
    for segment in stored:
        assert len(segment["distances"]) == len(segment["frequencies"]) >= 2


def test_free_energy_agrees_with_the_sum_over_modes():
    """Harmonic oscillators in closed form: F = Σ ħω/2 + kT ln(1 - exp(-ħω/kT)), over the exact dispersion."""
    phonon = springs(4.0, transverse=2.0)
    (found,) = thermal_properties(phonon, temperatures=[300.0], q_spacing=0.02)["free_energy"]
    kt, thz = 8.617333262e-5 * 300.0, 4.135667696e-3
    axis = (np.arange(24) + 0.5) / 24
    waves = 2 * (1 - np.cos(2 * np.pi * axis))
    x, y, z = np.meshgrid(waves, waves, waves)
    energies = thz * phonon.unit_conversion_factor * np.sqrt((4.0 * x + 2.0 * y + 2.0 * z) / MASS)
    expected = 3 * np.mean(energies / 2 + kt * np.log1p(-np.exp(-energies / kt)))
    assert found == pytest.approx(expected, abs=2e-3)


def test_heat_capacity_approaches_dulong_and_petit():
    (found,) = thermal_properties(springs(4.0, transverse=2.0), temperatures=[5000.0], q_spacing=0.03)[
        "heat_capacity"
    ]
    assert found == pytest.approx(3.0, rel=0.01)
