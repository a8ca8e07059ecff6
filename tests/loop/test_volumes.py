"""Predicted volumes, against pymatgen's predictor and real crystals."""

import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from pymatgen.core.structure_prediction.volume_predictor import DLSVolumePredictor

from loop.volumes import (
    SHORTEST_CONTACT,
    atomic_volume,
    predicted_volume,
    scaled_to_predicted_volume,
    shortest_contact,
)


def rock_salt(first, second, a=5.0):
    lattice = Lattice([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    return Structure(lattice, [first, second], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.mark.parametrize(("first", "second"), [("Na", "Cl"), ("Mg", "O"), ("Ti", "C"), ("Ni", "Sn")])
def test_agrees_with_pymatgens_predictor(first, second):
    structure = rock_salt(first, second)
    predictor = DLSVolumePredictor(min_scaling=None, max_scaling=None)
    assert predicted_volume(structure) == pytest.approx(predictor.predict(structure), rel=1e-6)


@settings(deadline=None, max_examples=30)
@given(scale=st.floats(0.5, 2.0))
def test_does_not_depend_on_the_volume_that_comes_in(scale):
    structure = rock_salt("Fe", "O", a=4.3 * scale)
    assert predicted_volume(structure) == pytest.approx(predicted_volume(rock_salt("Fe", "O")), rel=1e-9)


def test_scaling_reaches_the_predicted_volume_and_keeps_the_input():
    structure = rock_salt("Fe", "O", a=9.0)
    scaled = scaled_to_predicted_volume(structure)
    assert scaled.volume == pytest.approx(predicted_volume(structure))
    assert structure.volume == pytest.approx(9.0**3 / 4)
    assert np.allclose(scaled.frac_coords, structure.frac_coords)


@pytest.mark.parametrize(("symbol", "measured"), [("Cu", 11.81), ("Fe", 11.78), ("Si", 20.02), ("W", 15.86)])
def test_atomic_volumes_are_those_measured(symbol, measured):
    assert atomic_volume(symbol) == pytest.approx(measured, rel=0.01)


def test_elements_without_a_measured_volume_fall_back_on_radii():
    assert atomic_volume("Fm") is None
    fermium = Structure(Lattice.cubic(10), ["Fm"], [[0, 0, 0]])
    assert 15 < predicted_volume(fermium) < 60


@pytest.mark.parametrize("symbol", ["He", "Ne", "Kr", "Xe", "Es"])
def test_elements_outside_the_mined_data_get_a_finite_volume_in_compounds(symbol):
    structure = rock_salt(symbol, "F")
    assert np.isfinite(predicted_volume(structure))
    assert shortest_contact(scaled_to_predicted_volume(structure)) >= SHORTEST_CONTACT - 1e-9


def test_atoms_of_a_dimer_are_kept_apart():
    """Titanium in iodine's crystal would have pairs far too close at titanium's own volume."""
    pair = Structure(Lattice.cubic(5), ["Ti", "Ti"], [[0, 0, 0], [0.15, 0, 0]])
    assert shortest_contact(scaled_to_predicted_volume(pair)) == pytest.approx(SHORTEST_CONTACT)
    assert predicted_volume(pair) > 2 * atomic_volume("Ti")


@pytest.mark.skipif(
    "MOTHERLODE_DATA" not in os.environ, reason="MOTHERLODE_DATA names no folder of real structures"
)
def test_error_on_real_compounds_is_as_documented():
    table = pd.read_csv(Path(os.environ["MOTHERLODE_DATA"]) / "structures" / "mp_structures.csv.gz")
    ratios = []
    for cif in table[table.e_above_hull < 0.05].sample(250, random_state=1).cif:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            structure = Structure.from_str(cif, fmt="cif")
        if len(structure) <= 12 and len(structure.composition) > 1:
            ratios.append(predicted_volume(structure) / structure.volume)
    error = np.abs(np.array(ratios) - 1)
    assert len(ratios) > 60
    assert np.median(error) < 0.09
    assert np.quantile(error, 0.9) < 0.22
