"""Features: known values, and independence of how a crystal is written down."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.groups import SpaceGroup

from loop.acquisition.features import FEATURE_NAMES, _element, _symmetry_operations, features
from loop.crystal import Crystal
from loop.elements import ELEMENT_SYMBOLS
from loop.errors import AcquisitionError

CONVENTIONAL_CELL = {"P": 1, "A": 2, "B": 2, "C": 2, "I": 2, "R": 3, "F": 4}
ENERGIES = {"formation_energy": -3.0, "energy_above_hull": 0.01, "energy_per_atom": -6.0}


def rock_salt(a=4.2, first="Mg", second="O"):
    metal = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return Structure(Lattice.cubic(a), [first] * 4 + [second] * 4, [*metal, *(metal + 0.5)])


def named(structure, **energies):
    crystal = Crystal.from_structure(structure)
    return dict(zip(FEATURE_NAMES, features(crystal, **{**ENERGIES, **energies}), strict=True))


def test_known_values_of_rock_salt():
    values = named(rock_salt())
    assert values["electronegativity_mean"] == pytest.approx((1.31 + 3.44) / 2)
    assert values["electronegativity_range"] == pytest.approx(3.44 - 1.31)
    assert values["electronegativity_deviation"] == pytest.approx((3.44 - 1.31) / 2)
    assert values["valence_electrons_mean"] == pytest.approx((2 + 6) / 2)
    assert values["mixing_entropy"] == pytest.approx(math.log(2))
    assert values["anion_fraction"] == 0.5
    assert values["volume_per_atom"] == pytest.approx(4.2**3 / 8)
    assert values["number_of_atoms"] == 2
    assert values["symmetry_operations"] == 48
    assert values["shortest_bond"] == pytest.approx(2.1 / (1.41 + 0.66))
    assert (values["formation_energy"], values["screened_energy_above_hull"], values["energy_per_atom"]) == (
        -3,
        0.01,
        -6,
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    shift=st.tuples(*[st.floats(0, 1)] * 3),
    order=st.permutations(range(8)),
    matrix=st.sampled_from([np.eye(3), [[1, 1, 0], [0, 1, 0], [0, 0, 1]], [[2, 0, 0], [0, 1, 0], [0, 1, 1]]]),
)
def test_translation_order_of_atoms_and_choice_of_cell_change_nothing(shift, order, matrix):
    structure = rock_salt(first="Ni", second="Ti")
    expected = np.array(list(named(structure).values()))
    moved = Structure.from_sites([structure[i] for i in order])
    moved.translate_sites(range(8), shift, to_unit_cell=True)
    moved.make_supercell(matrix)
    assert np.array(list(named(moved).values())) == pytest.approx(expected, abs=1e-5)


def test_every_element_has_finite_values_and_raises_no_warning(recwarn):
    for symbol in sorted(ELEMENT_SYMBOLS):
        assert np.isfinite(_element(symbol)).all()
    assert [str(w.message) for w in recwarn] == []


@pytest.mark.slow
def test_symmetry_operations_of_all_space_groups_agree_with_pymatgen():
    for number in range(1, 231):
        group = SpaceGroup.from_int_number(number)
        assert _symmetry_operations(number) == group.order / CONVENTIONAL_CELL[group.symbol[0]], number


def test_an_element_has_no_spread():
    values = named(Structure(Lattice.cubic(2.87), ["Fe", "Fe"], [[0, 0, 0], [0.5, 0.5, 0.5]]))
    assert values["electronegativity_deviation"] == 0
    assert values["mixing_entropy"] == 0
    assert values["number_of_elements"] == 1


@pytest.mark.parametrize("name", ENERGIES)
def test_an_energy_that_is_not_a_number_is_refused_by_name(name):
    with pytest.raises(AcquisitionError, match=f"MgO: {name} is nan"):
        named(rock_salt(), **{name: math.nan})
