"""The prototype library and its decoration, against pymatgen and the textbook."""

import itertools

import pytest
from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from loop.crystal import Crystal
from loop.errors import ReferencePhaseError
from loop.prototypes import decorate, decorations, prototype, prototypes
from loop.volumes import SHORTEST_CONTACT, shortest_contact

DAMAGED = {"AB_mP4_11_e_e", "ABC_cP12_198_a_a_a", "AB2_hP24_194_ef_fgh", "sigma_tP30_136_bf2ij"}
MANY = ["Ti", "O", "Ba", "Sn", "Fe"]


def test_holds_all_of_pymatgens_library_but_four_damaged_entries():
    labels = {entry["tags"]["aflow"] for entry in AFLOW_PROTOTYPE_LIBRARY}
    assert len(AFLOW_PROTOTYPE_LIBRARY) == 288
    assert len(prototypes()) == 284
    assert labels - {p.aflow_label for p in prototypes()} == DAMAGED


def test_names_are_unique_and_small_cells_come_first():
    names = [p.name for p in prototypes()]
    assert len(set(names)) == len(names)
    sizes = [p.number_of_atoms for p in prototypes()]
    assert sizes == sorted(sizes)


def test_stoichiometry_agrees_with_the_label():
    for p in prototypes():
        letters = "".join(c for c in p.aflow_label.split("_")[0] if c.isalpha())
        assert len(letters) == p.number_of_elements
        assert p.formula(letters) == p.aflow_label.split("_")[0]


@pytest.mark.parametrize("chunk", range(4))
def test_every_prototype_decorates_to_a_valid_crystal(chunk):
    for p in prototypes()[chunk::4]:
        structure = decorate(p, MANY[: p.number_of_elements])
        crystal = Crystal.from_structure(structure)
        assert crystal.elements == set(MANY[: p.number_of_elements])
        assert shortest_contact(structure) >= SHORTEST_CONTACT - 1e-9
        # A decoration with different elements keeps the prototype's symmetry and its cell.
        assert crystal.space_group_number == p.original.space_group_number
        assert crystal.number_of_atoms == p.number_of_atoms


@pytest.mark.parametrize(
    ("name", "elements", "space_group", "lattice_parameter"),
    [
        ("AB_cF8_225_a_b-001", ["Mg", "O"], 225, 4.212),
        ("AB_cP2_221_b_a-001", ["Cs", "Cl"], 221, 4.123),
        ("AB_cF8_216_c_a-001", ["Ga", "As"], 216, 5.653),
        ("AB3_cP4_221_a_c-001", ["Al", "Ni"], 221, 3.572),
        ("AB2_cF12_225_a_c-001", ["Ca", "F"], 225, 5.463),
        ("A_cF8_227_a-001", ["Si"], 227, 5.431),
    ],
)
def test_known_compounds_come_out_near_their_measured_size(name, elements, space_group, lattice_parameter):
    structure = decorate(prototype(name), elements)
    conventional = SpacegroupAnalyzer(structure).get_conventional_standard_structure()
    assert SpacegroupAnalyzer(structure).get_space_group_number() == space_group
    assert conventional.lattice.a == pytest.approx(lattice_parameter, rel=0.08)


def test_decorating_with_the_original_elements_gives_the_original_back():
    matcher = StructureMatcher(ltol=0.01, stol=0.01, angle_tol=0.1)
    for p in prototypes()[:80]:
        assert matcher.fit(decorate(p, p.elements), p.original.to_structure()), p.name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AB_cF8_225_a_b-001", 1),  # rock salt: its two sites are the same
        ("AB_cF8_216_c_a-001", 1),  # so are zincblende's
        ("AB_hP4_194_c_a-001", 2),  # nickel arsenide's are not
        ("AB2_cF12_225_a_c-001", 2),
    ],
)
def test_exchanging_equal_sites_is_no_new_decoration(name, expected):
    assert len(list(prototype(name).assignments(["Ti", "Ni"]))) == expected


def test_half_heusler_has_three_decorations_and_full_heusler_three():
    for name in ("ABC_cF12_216_b_c_a-001", "AB2C_cF16_225_a_c_b-001"):
        assert len(list(prototype(name).assignments(["Ni", "Sn", "Ti"]))) == 3


def test_assignments_are_complete_and_distinct():
    """Brute force: an exact matcher finds as many classes of permutations as there are assignments."""
    matcher = StructureMatcher(ltol=0.01, stol=0.01, angle_tol=0.5)
    small = [p for p in prototypes() if p.number_of_atoms <= 5 and p.number_of_elements in (2, 3)]
    for p in small:
        symbols = ["Ni", "Sn", "Ti"][: p.number_of_elements]
        everything = [decorate(p, order) for order in itertools.permutations(symbols)]
        assert len(matcher.group_structures(everything)) == len(list(p.assignments(symbols))), p.name


def test_one_element_may_play_every_role():
    beta_tungsten = decorate(prototype("A3B_cP8_223_c_a-001"), ["W", "W"])
    assert Crystal.from_structure(beta_tungsten).space_group_number == 223
    assert beta_tungsten.volume / 8 == pytest.approx(15.9, rel=0.05)


def test_decorations_run_through_prototypes_then_assignments():
    pair = [prototype("AB_cP2_221_b_a-001"), prototype("AB2_cF12_225_a_c-001")]
    found = [(p.name, a) for p, a in decorations(pair, {"Ti", "Ni"})]
    assert found == [
        ("AB_cP2_221_b_a-001", ("Ni", "Ti")),
        ("AB2_cF12_225_a_c-001", ("Ni", "Ti")),
        ("AB2_cF12_225_a_c-001", ("Ti", "Ni")),
    ]


def test_wrong_names_and_numbers_of_elements_are_refused():
    with pytest.raises(ReferencePhaseError, match="'rock salt' names no prototype; names look like"):
        prototype("rock salt")
    with pytest.raises(ValueError, match="takes 2 elements, got"):
        decorate(prototype("AB_cP2_221_b_a-001"), ["Ni"])
