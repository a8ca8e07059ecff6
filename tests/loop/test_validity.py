"""Validity: each reason by hand, real structures hardly ever rejected, minimum distances against pymatgen."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from loop.crystal import Crystal
from loop.elements import ELEMENT_SYMBOLS
from loop.validity import (
    REASONS,
    ValiditySettings,
    first_reason_against,
    is_charge_neutral,
    minimum_distance,
    reasons_against,
)
from tests.loop.strategies import STRUCTURE_TYPES, decorated_types, disguises, random_cells, structure_type

DATA = os.environ.get("MOTHERLODE_DATA")
SALT = Structure(Lattice.cubic(3.99).scale(44.9), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])

INVALID = {
    "overlap": Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.1, 0, 0]]),
    "too-close": Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.35, 0, 0]]),
    "too-dense": Structure(Lattice.cubic(2.2), ["Cs"], [[0, 0, 0]]),
    "too-sparse": Structure(Lattice.cubic(13), ["Na", "Cl"], [[0, 0, 0], [0.2, 0, 0]]),
    "thin-cell": Structure(
        Lattice.orthorhombic(2.6, 2.6, 70), ["Ni"] * 25, [[0, 0, i / 25] for i in range(25)]
    ),
    "not-neutral": Structure(Lattice.cubic(4.6), ["Na", "O", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0]]),
}


def words(structure: Structure | Crystal, **changes: float) -> list[str]:
    return [i.reason for i in reasons_against(structure, settings=ValiditySettings(**changes))]


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_is_found(reason: str) -> None:
    found = reasons_against(
        INVALID[reason], settings=ValiditySettings(charge_neutral=reason == "not-neutral")
    )
    assert reason in [invalidity.reason for invalidity in found]
    assert all(invalidity.detail for invalidity in found)
    assert reasons_against(INVALID[reason]) == () or reason != "not-neutral"


def test_reasons_come_in_order_and_the_first_is_first() -> None:
    bad = Structure(Lattice.cubic(2.0), ["Cs", "Cs"], [[0, 0, 0], [0.2, 0, 0]])
    found = reasons_against(bad)
    assert [i.reason for i in found] == ["overlap", "too-close", "too-dense"]
    assert first_reason_against(bad) == found[0]
    assert "Cs-Cs 0.40 Å" in found[0].detail


@pytest.mark.parametrize("name", STRUCTURE_TYPES)
def test_ordinary_structures_are_valid(name: str) -> None:
    structure = structure_type(name).copy()
    present = structure.composition.get_el_amt_dict()
    structure.replace_species({k: v for k, v in {"Li": "Mg", "Be": "O", "B": "F"}.items() if k in present})
    assert reasons_against(structure) == ()
    assert first_reason_against(Crystal.from_structure(structure)) is None


def test_the_bounds_are_where_they_are_said_to_be() -> None:
    """Na and Cl have covalent radii of 1.66 and 1.02 Å: 0.65 of the sum is 1.742 Å."""
    for distance, expected in ((1.74, ["too-close"]), (1.745, [])):
        pair = Structure(Lattice.cubic(5), ["Na", "Cl"], [[0, 0, 0], [distance / 5, 0, 0]])
        assert words(pair) == expected
    assert words(pair, covalent_fraction=0.7) == ["too-close"]
    molecule = Structure(Lattice.cubic(3.0), ["H", "H"], [[0, 0, 0], [0.74 / 3, 0, 0]])
    assert words(molecule) == []
    molecule = Structure(Lattice.cubic(3.0), ["H", "H"], [[0, 0, 0], [0.45 / 3, 0, 0]])
    assert words(molecule) == ["overlap"]


def test_an_atom_too_near_its_own_image_is_found() -> None:
    rod = Structure(Lattice.orthorhombic(1.3, 5, 5), ["Ti"], [[0, 0, 0]])
    assert "too-close" in words(rod)
    assert minimum_distance(rod) == pytest.approx(1.3)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_the_reasons_do_not_depend_on_the_cell(data: st.DataObject) -> None:
    structure = data.draw(st.one_of(decorated_types(), random_cells()))
    squeezed = structure.copy()
    squeezed.scale_lattice(structure.volume * data.draw(st.floats(0.2, 3)))
    disguise = data.draw(disguises(squeezed))
    shape = {"thin-cell"}  # The only reason that is about the cell itself.
    assert set(words(squeezed)) - shape == set(words(disguise)) - shape
    assert minimum_distance(squeezed) == pytest.approx(minimum_distance(disguise), abs=1e-6)


@given(random_cells())
@settings(max_examples=30, deadline=None)
def test_minimum_distance_is_pymatgens(structure: Structure) -> None:
    structure.make_supercell(2)
    distances = structure.distance_matrix
    assert minimum_distance(structure) == pytest.approx(distances[~np.eye(len(distances), dtype=bool)].min())


@pytest.mark.parametrize(
    ("formula", "expected", "without_exemption"),
    [
        ("NaCl", True, True),
        ("LiFePO4", True, True),
        ("BaTiO3", True, True),
        ("NaCl2", False, False),
        ("MgF3", False, False),
        ("MgZn2", True, False),
        ("Fe", True, True),
    ],
)
def test_charge_neutrality(formula: str, *, expected: bool, without_exemption: bool) -> None:
    assert is_charge_neutral(formula) is expected
    assert is_charge_neutral(formula, exempt_alloys=False) is without_exemption


def test_charge_neutrality_is_asked_for_in_either_way() -> None:
    bad = INVALID["not-neutral"]
    asked = first_reason_against(bad, charge_neutral=True)
    assert asked is not None
    assert asked.reason == "not-neutral"
    assert first_reason_against(bad) is None
    assert words(bad, charge_neutral=True) == ["not-neutral"]


def test_smact_knows_every_element() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for symbol in sorted(ELEMENT_SYMBOLS - {"O"}):
            assert is_charge_neutral(f"{symbol}2O3") in (True, False)


@pytest.mark.skipif(DATA is None, reason="MOTHERLODE_DATA is unset: no real structures to read")
@pytest.mark.parametrize("number", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_real_structures_are_hardly_ever_rejected(number: int) -> None:
    frame = pd.read_csv(Path(str(DATA)) / "structures" / "mp_structures.csv.gz", keep_default_na=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        structures = [Structure.from_str(cif, fmt="cif") for cif in frame.sample(number, random_state=1).cif]
    rejected = [structure for structure in structures if reasons_against(structure)]
    assert len(rejected) <= 0.002 * number
