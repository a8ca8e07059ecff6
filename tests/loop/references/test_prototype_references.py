"""The reference source that needs no network."""

from pathlib import Path

import numpy as np
import pytest
from ase.data import chemical_symbols
from pymatgen.analysis.structure_matcher import StructureMatcher

from loop.errors import CampaignFileError, ReferencePhaseError
from loop.prototypes import prototype, prototypes
from loop.references.elements import DIATOMICS, MOLECULAR, element_candidates, molecular_crystal
from loop.references.prototypes import PrototypeReferences
from loop.references.source import ReferenceSource
from loop.volumes import atomic_volume


def source(**options):
    return PrototypeReferences(options, base=Path())


def test_is_a_reference_source():
    assert isinstance(source(), ReferenceSource)


def test_elements_come_first_then_binaries_and_nothing_larger():
    phases = source(max_atoms=4).entries(["Ti", "Ni", "Sn"])
    sizes = [len(phase.crystal.elements) for phase in phases]
    assert sizes == sorted(sizes)
    assert set(sizes) == {1, 2}
    systems = {phase.crystal.chemical_system for phase in phases}
    assert systems == {"Ni", "Sn", "Ti", "Ni-Sn", "Ni-Ti", "Sn-Ti"}


def test_names_are_unique_and_telling():
    names = [phase.name for phase in source(max_atoms=5).entries(["Ni", "Ti"])]
    assert len(set(names)) == len(names)
    assert {"AB_cP2_221_b_a-001 NiTi", "A_cF4_225_a-001 Ni", "AB3_cP4_221_a_c-001 TiNi3"} <= set(names)


def test_no_two_phases_start_from_the_same_crystal():
    phases = source(max_atoms=4).entries(["Ni", "Ti"])
    matcher = StructureMatcher(ltol=0.01, stol=0.02, angle_tol=0.5)
    groups = matcher.group_structures([phase.crystal.to_structure() for phase in phases])
    assert len(groups) == len(phases)


def test_same_answer_in_any_order_of_the_elements():
    first, second = source(max_atoms=3).entries(["Ti", "Ni"]), source(max_atoms=3).entries(["Ni", "Ti", "Ni"])
    assert [(p.name, p.crystal.key) for p in first] == [(p.name, p.crystal.key) for p in second]


def test_ternaries_only_when_asked():
    names = {p.name for p in source(max_atoms=3, max_elements=3).entries(["Ni", "Sn", "Ti"])}
    assert "ABC_cF12_216_b_c_a-001 SnNiTi" in names
    assert not any(
        name.startswith("ABC") for name in {p.name for p in source(max_atoms=3).entries(["Ni", "Sn", "Ti"])}
    )


def test_limit_per_system_keeps_the_structure_types_with_a_strukturbericht_symbol():
    phases = source(max_per_system=10).entries(["Ni", "Ti"])
    compounds = [phase for phase in phases if len(phase.crystal.elements) == 2]
    assert len(compounds) == 10
    assert all(phase.details["strukturbericht"] for phase in compounds)
    assert any(phase.details["strukturbericht"] == "B2" for phase in compounds)


@pytest.mark.parametrize(
    ("symbol", "label"),
    [
        ("Fe", "A_cI2_229_a-001"),
        ("Ti", "omega"),
        ("Ti", "A_hP2_194_c-001"),
        ("W", "A15"),
        ("C", "A_hP4_194_bc-001"),
        ("Mn", "A_cI58_217_ac2g-001"),
        ("S", "A_oF128_70_4h-001"),
        ("P", "A_oC8_64_f-002"),
        ("B", "A_hR12_166_2h-001"),
        ("O", "A_mC4_12_i-001"),
        ("N", "A_cP8_205_c-001"),
        ("I", "A_oC8_64_f-003"),
        ("Ga", "A_oC8_64_f-001"),
        ("U", "A_oC4_63_c-001"),
        ("Sn", "A_tI4_141_a-001"),
        ("Sn", "A_cF8_227_a-001"),
        ("Se", "A_hP3_152_a-001"),
    ],
)
def test_elements_are_offered_the_structure_they_have(symbol, label):
    assert f"{label} {symbol}" in {phase.name for phase in source(max_elements=1).entries([symbol])}


def test_every_element_is_offered_something_sensible():
    for number in range(1, 104):
        symbol = chemical_symbols[number]
        found = list(element_candidates(symbol, max_atoms=2, max_atoms_own=4))
        assert found, symbol
        measured = atomic_volume(symbol)
        for candidate in found:
            per_atom = candidate.structure.volume / len(candidate.structure)
            if measured and symbol not in DIATOMICS:
                assert per_atom < 1.51 * measured or candidate.structure_type.elements == (symbol,)


@pytest.mark.parametrize("symbol", sorted(DIATOMICS))
@pytest.mark.parametrize("name", MOLECULAR)
def test_molecules_have_their_measured_bond_and_stay_apart(symbol, name):
    crystal = molecular_crystal(prototype(name), symbol=symbol)
    neighbours = crystal.get_all_neighbors(8.0)
    nearest = np.array([sorted(other.nn_distance for other in around)[:2] for around in neighbours])
    bond = DIATOMICS[symbol].bond_length
    assert nearest[:, 0] == pytest.approx(bond, abs=1e-6)
    assert (nearest[:, 1] > 1.15 * bond).all()
    assert crystal.volume / len(crystal) == pytest.approx(DIATOMICS[symbol].volume_per_atom)


def test_alpha_oxygen_comes_back_as_it_was_measured():
    original = prototype("A_mC4_12_i-001").original.to_structure()
    assert StructureMatcher(ltol=0.02, stol=0.05).fit(
        molecular_crystal(prototype("A_mC4_12_i-001"), symbol="O"), original
    )


def test_describes_itself_with_the_library_version():
    described = source(max_atoms=6).describe()
    assert described["options"] == {
        "max_elements": 2,
        "max_atoms": 6,
        "max_atoms_of_elements": 32,
        "max_per_system": None,
    }
    assert described["pymatgen"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_atom": 8}, "references.options: unknown key 'max_atom'; did you mean 'max_atoms'"),
        ({"max_atoms": 0}, "references.options.max_atoms: found 0, expected more than 0"),
        ({"max_elements": "two"}, "references.options.max_elements: found 'two', expected a whole number"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(CampaignFileError, match=message):
        source(**options)


@pytest.mark.parametrize(
    ("system", "message"),
    [
        (["Ti", "nI"], "'nI' is not an element symbol; did you mean 'Ni'"),
        ([], "the chemical system is empty"),
    ],
)
def test_wrong_systems_are_refused(system, message):
    with pytest.raises(ReferencePhaseError, match=message):
        source().entries(system)


def test_library_structures_cover_the_defaults():
    """What docs/references.md promises of the default size limit."""
    symbols = {p.strukturbericht for p in prototypes() if p.number_of_atoms <= 8}
    assert {
        "B1",
        "B2",
        "B3",
        "B8_1",
        "C1",
        "C14",
        "C15",
        "D0_3",
        "D0_19",
        "D0_22",
        "L1_0",
        "L1_2",
        "A15",
    } - symbols == {"C14"}
