"""Phases known to experiment, and the examples of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from loop.crystal import Crystal
from loop.errors import ReferencePhaseError
from loop.known import KnownPhases
from loop.prototypes import decorate, prototype
from loop.references.reading import read_structures
from loop.volumes import shortest_contact

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "known"
SPACE_GROUPS = {
    "TiNiSn": ("TiNiSn", 216, 3),
    "TiNi2Sn": ("TiNi2Sn", 225, 4),
    "NiTi-austenite": ("TiNi", 221, 2),
    "NiTi-martensite": ("TiNi", 11, 4),
    "Ni3Ti": ("TiNi3", 194, 16),
    "NiTi2": ("Ti2Ni", 227, 24),
    "Ni3Sn": ("Ni3Sn", 194, 8),
    "Ni3Sn4": ("Ni3Sn4", 12, 7),
    "Ti3Sn": ("Ti3Sn", 194, 8),
    "Ti2Sn": ("Ti2Sn", 194, 6),
    "Ti5Sn3": ("Ti5Sn3", 193, 16),
}


@pytest.fixture(scope="module")
def known():
    return KnownPhases.load(["ti-ni-sn"], base=EXAMPLES)


def decorated(name, elements):
    return Crystal.from_structure(decorate(prototype(name), elements))


def test_paths_may_hold_environment_variables(known, monkeypatch):
    monkeypatch.setenv("KNOWN_OF_MINE", str(EXAMPLES))
    assert KnownPhases.load(["$KNOWN_OF_MINE/ti-ni-sn"], base=Path("/elsewhere")) == known


def test_examples_have_the_composition_and_space_group_that_is_published(known):
    found = {
        p.name: (p.crystal.reduced_formula, p.crystal.space_group_number, p.crystal.number_of_atoms)
        for p in known.phases
    }
    assert found == SPACE_GROUPS


def test_examples_are_plausible_crystals():
    for read in read_structures(EXAMPLES / "ti-ni-sn"):
        assert 0.84 < shortest_contact(read.structure) < 1.05, read.name
        assert 11 < read.structure.volume / len(read.structure) < 20, read.name
        assert SpacegroupAnalyzer(read.structure).get_space_group_number() == SPACE_GROUPS[read.name][1]


def test_examples_cite_where_they_were_reported(known):
    for phase in known.phases:
        assert phase.citation
        assert {"journal", "year", "volume", "page", "authors"} <= set(phase.details)
    assert {p.name: p.citation for p in known.phases}["TiNiSn"] == "Metallurgical Transactions 1 (1970) 3159"


@pytest.mark.parametrize(
    ("name", "elements", "expected"),
    [
        ("ABC_cF12_216_b_c_a-001", ["Sn", "Ni", "Ti"], "TiNiSn"),
        ("ABC_cF12_216_b_c_a-001", ["Ni", "Sn", "Ti"], None),
        ("AB2C_cF16_225_a_c_b-001", ["Sn", "Ni", "Ti"], "TiNi2Sn"),
        ("AB_cP2_221_b_a-001", ["Ni", "Ti"], "NiTi-austenite"),
        ("AB_cF8_225_a_b-001", ["Ni", "Ti"], None),
        ("A3B_hP8_194_h_c-001", ["Ti", "Sn"], "Ti3Sn"),
        ("A3B_hP8_194_h_c-001", ["Ni", "Sn"], "Ni3Sn"),
        ("A3B_hP8_194_h_c-001", ["Ni", "Ti"], None),
        ("AB_cP2_221_b_a-001", ["Fe", "Ti"], None),
    ],
)
def test_finds_are_recognised_whatever_their_volume(known, name, elements, expected):
    crystal = decorated(name, elements)
    assert known.match(crystal) == expected
    swollen = crystal.to_structure()
    swollen.scale_lattice(swollen.volume * 1.3)
    assert known.match(Crystal.from_structure(swollen)) == expected


def test_a_supercell_in_another_orientation_is_recognised(known):
    structure = next(p for p in known.phases if p.name == "Ti2Sn").crystal.to_structure()
    structure.make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 2]])
    rng = np.random.default_rng(0)
    structure.translate_sites(range(len(structure)), rng.random(3))
    structure.perturb(0.02, seed=1)
    assert known.match(Crystal.from_structure(structure)) == "Ti2Sn"


def test_the_nearest_of_two_forms_wins(known):
    martensite = next(p for p in known.phases if p.name == "NiTi-martensite").crystal
    assert known.match(martensite) == "NiTi-martensite"


def test_no_phases_match_nothing():
    assert KnownPhases.load([], base=Path()).match(decorated("AB_cP2_221_b_a-001", ["Ni", "Ti"])) is None


def test_reads_entries_and_files_that_share_names(tmp_path):
    structure = Structure(Lattice.cubic(3.0), ["Ti", "Ni"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    (tmp_path / "a.json").write_text(json.dumps(structure.as_dict()))
    known = KnownPhases.load(["a.json", "a.json"], base=tmp_path)
    assert [p.name for p in known.phases] == ["a-1", "a-1 (2)"]
    assert known.phases[0].citation is None


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(ReferencePhaseError, match="nowhere: no such file or folder"):
        KnownPhases.load(["nowhere"], base=tmp_path)
