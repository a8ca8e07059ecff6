"""Identity: always StructureMatcher's own answer, for real, rattled and decorated crystals."""

from __future__ import annotations

import os
import warnings
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from loop.crystal import Crystal
from loop.errors import CrystalError
from loop.identity import SHELL_THRESHOLD, IdentityIndex, matches_any, same, shell_difference, shells
from tests.loop.strategies import decorated_types, disguises, random_cells, structure_type

MATCHER = StructureMatcher(ltol=0.2, stol=0.3, angle_tol=5)
DATA = os.environ.get("MOTHERLODE_DATA")


def first_equal(crystal: Crystal, held: dict[str, Crystal]) -> str | None:
    """What the index must answer: the matcher asked about one after another."""
    structure = crystal.to_structure()
    return next((name for name, other in held.items() if MATCHER.fit(other.to_structure(), structure)), None)


def assert_index_agrees(crystals: list[Crystal]) -> int:
    """Compare every answer with the matcher's; returns how many were already there."""
    index, held, found = IdentityIndex(), dict[str, Crystal](), 0
    for number, crystal in enumerate(crystals):
        expected = first_equal(crystal, held)
        assert index.find(crystal) == expected
        found += expected is not None
        index.add(f"c{number}", crystal)
        held[f"c{number}"] = crystal
    assert len(index) == len(crystals)
    return found


def strained(crystal: Crystal, rng: np.random.Generator, *, strain: float, rattle: float) -> Crystal | None:
    """The crystal with other lattice lengths and angles and its atoms moved, or None."""
    structure = crystal.to_structure()
    lengths = np.array(structure.lattice.abc) * (1 + rng.uniform(-strain, strain, 3)) * rng.uniform(0.8, 1.2)
    lattice = Lattice.from_parameters(
        *lengths, *(np.array(structure.lattice.angles) + rng.uniform(-10, 10, 3) * strain)
    )
    moves = rng.normal(size=(len(structure), 3))
    moves *= rattle * rng.random((len(moves), 1)) / np.linalg.norm(moves, axis=1, keepdims=True)
    moves *= (lattice.volume / len(structure)) ** (1 / 3)
    coordinates = structure.frac_coords + moves @ np.linalg.inv(lattice.matrix)
    try:
        return Crystal.from_structure(Structure(lattice, structure.species, coordinates))
    except CrystalError:
        return None


@given(st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_disguise_at_another_volume_is_recognised(data: st.DataObject) -> None:
    structure = data.draw(st.one_of(decorated_types(), random_cells()))
    plain = Crystal.from_structure(structure)
    disguise = data.draw(disguises(structure))
    disguise.scale_lattice(disguise.volume * data.draw(st.floats(0.7, 1.5)))
    disguised = Crystal.from_structure(disguise)
    index = IdentityIndex()
    index.add("it", plain)
    assert same(plain, disguised)
    assert index.find(disguised) == "it"
    assert (
        matches_any(disguised, {"other": Crystal.from_structure(structure_type("quartz")), "it": plain})
        == "it"
    )


@given(st.data(), st.floats(0, 0.18), st.floats(0, 0.35), st.integers(0, 2**32 - 1))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
def test_strained_and_rattled_copies_are_judged_as_by_the_matcher(
    data: st.DataObject, strain: float, rattle: float, seed: int
) -> None:
    plain = Crystal.from_structure(data.draw(st.one_of(decorated_types(), random_cells())))
    other = strained(plain, np.random.default_rng(seed), strain=strain, rattle=rattle)
    if other is None:
        return
    index = IdentityIndex()
    index.add("it", plain)
    expected = MATCHER.fit(plain.to_structure(), other.to_structure())
    assert same(plain, other) == expected
    assert (index.find(other) == "it") == expected


def decorated_prototypes(formula: str, *, largest: int = 8) -> list[Crystal]:
    """AFLOW prototypes in every decoration with Ni, Sn, Ti that gives the formula."""
    crystals = []
    for entry in AFLOW_PROTOTYPE_LIBRARY:
        structure = entry["snl"].structure
        places = sorted({site.specie.symbol for site in structure})
        if len(places) > 3 or len(structure) > 2 * largest:
            continue
        for elements in permutations(("Ni", "Sn", "Ti"), len(places)):
            decorated = structure.copy()
            decorated.replace_species(dict(zip(places, elements, strict=True)))
            if decorated.composition.reduced_formula == formula:
                crystal = Crystal.from_structure(decorated)
                crystals += [crystal] * (crystal.number_of_atoms <= largest)
    return crystals


@pytest.mark.parametrize(("formula", "largest"), [("TiNiSn", 6), ("Ti3Ni", 8)])
def test_decorated_prototypes_are_judged_as_by_the_matcher(formula: str, largest: int) -> None:
    crystals = decorated_prototypes(formula, largest=largest)
    assert len(crystals) > 10
    assert_index_agrees(crystals)


@pytest.mark.slow
@pytest.mark.parametrize("formula", ["TiNi", "TiNiSn"])
def test_all_decorated_prototypes_are_judged_as_by_the_matcher(formula: str) -> None:
    crystals = decorated_prototypes(formula, largest=6 if formula == "TiNi" else 12)
    assert len(crystals) > 30
    assert assert_index_agrees(crystals) > 0


def real_polymorphs(number: int) -> list[Crystal]:
    """Real structures that share their formula with another."""
    frame = pd.read_csv(Path(str(DATA)) / "structures" / "mp_structures.csv.gz", keep_default_na=False)
    frame = frame.drop_duplicates("material_id")
    formula = frame.cif.str.extract(r"_chemical_formula_structural\s+(\S+)")[0]
    small = frame.cif.str.extract(r"_cell_volume\s+([\d.]+)")[0].astype(float) < 250
    shared = frame[small & formula.isin(formula[small].value_counts().loc[lambda n: n > 2].index)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [Crystal.from_structure(Structure.from_str(cif, fmt="cif")) for cif in shared.cif[:number]]


@pytest.mark.skipif(DATA is None, reason="MOTHERLODE_DATA is unset: no real structures to read")
@pytest.mark.parametrize("number", [60, pytest.param(200, marks=pytest.mark.slow)])
def test_real_polymorphs_are_judged_as_by_the_matcher(number: int) -> None:
    assert assert_index_agrees(real_polymorphs(number)) > 0


def test_the_first_added_wins() -> None:
    salt = Crystal.from_structure(structure_type("rocksalt"))
    swollen = structure_type("rocksalt").copy()
    swollen.scale_lattice(swollen.volume * 1.1)
    larger = Crystal.from_structure(swollen)
    assert larger.key != salt.key
    for order in ((("a", salt), ("b", larger)), (("b", larger), ("a", salt))):
        index = IdentityIndex()
        for name, crystal in order:
            index.add(name, crystal)
        assert index.find(salt) == order[0][0]
        assert index.find_all(larger) == tuple(name for name, _ in order)


def test_others_are_not_found() -> None:
    index = IdentityIndex()
    assert index.find(Crystal.from_structure(structure_type("rocksalt"))) is None
    index.add("rocksalt", Crystal.from_structure(structure_type("rocksalt")))
    for name in ("zincblende", "caesium chloride", "wurtzite", "fluorite"):
        assert index.find(Crystal.from_structure(structure_type(name))) is None
    swapped = structure_type("zincblende").copy()
    swapped.replace_species({"Li": "Be", "Be": "Li"})
    index.add("swapped", Crystal.from_structure(swapped))
    assert index.find(Crystal.from_structure(structure_type("zincblende"))) == "swapped"
    assert matches_any(Crystal.from_structure(structure_type("quartz")), {}) is None


def test_a_name_means_one_crystal() -> None:
    index = IdentityIndex()
    salt = Crystal.from_structure(structure_type("rocksalt"))
    index.add("a", salt)
    index.add("a", salt)
    assert len(index) == 1
    assert "a" in index
    with pytest.raises(CrystalError, match="a already names another crystal"):
        index.add("a", Crystal.from_structure(structure_type("quartz")))


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_neighbour_shells_know_neither_cell_nor_volume(data: st.DataObject) -> None:
    structure = data.draw(st.one_of(decorated_types(), random_cells()))
    disguise = data.draw(disguises(structure))
    disguise.scale_lattice(disguise.volume * 1.7)
    assert float(shell_difference(shells(structure), shells(disguise))) < 1e-6


@given(random_cells(), st.floats(0, 0.3), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_neighbour_shells_change_by_at_most_twice_a_move(
    structure: Structure, size: float, seed: int
) -> None:
    """The bound that makes them a prefilter: no distance changes by more than both its ends move."""
    moves = np.random.default_rng(seed).normal(size=(len(structure), 3))
    moves *= size / np.maximum(np.linalg.norm(moves, axis=1, keepdims=True), 1e-12)
    length = (structure.volume / len(structure)) ** (1 / 3)
    moved = Structure(
        structure.lattice,
        structure.species,
        structure.cart_coords + moves * length,
        coords_are_cartesian=True,
    )
    assert np.abs(shells(structure) - shells(moved)).max() <= 2 * size + 1e-9


@pytest.mark.slow
def test_the_shell_threshold_loses_no_match() -> None:
    rng = np.random.default_rng(11)
    sources = [*decorated_prototypes("TiNiSn"), *decorated_prototypes("TiNi"), *decorated_prototypes("Ti2Ni")]
    matches = 0
    for _ in range(600):
        plain = sources[rng.integers(len(sources))]
        other = strained(
            plain, rng, strain=rng.choice([0.02, 0.1, 0.18]), rattle=rng.choice([0.05, 0.15, 0.3])
        )
        if other is not None and same(plain, other):
            matches += 1
            structures = (plain.to_structure(), other.to_structure())
            assert shell_difference(*(shells(s) for s in structures)) <= SHELL_THRESHOLD
    assert matches > 200


def test_pairs_of_types_are_judged_as_by_the_matcher() -> None:
    crystals = [
        Crystal.from_structure(structure_type(n))
        for n in ("rocksalt", "zincblende", "wurtzite", "monoclinic")
    ]
    for first, second in combinations(crystals, 2):
        assert same(first, second) == MATCHER.fit(first.to_structure(), second.to_structure())


def one_by_one(crystals: dict[str, Crystal], index: IdentityIndex) -> dict[str, str]:
    """What `add_distinct` must answer."""
    found = {}
    for name, crystal in crystals.items():
        twin = index.find(crystal)
        if twin is None:
            index.add(name, crystal)
        found[name] = twin or name
    return found


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_many_are_added_at_once_as_one_by_one(seed: int) -> None:
    """Copies of a few types, more or less disturbed, onto what is held and among themselves, of several formulas."""
    rng = np.random.default_rng(seed)
    sources = [
        Crystal.from_structure(structure_type(name))
        for name in ("rocksalt", "zincblende", "wurtzite", "rutile", "fluorite", "half-Heusler")
    ]
    crystals = {}
    while len(crystals) < 40:
        source = sources[rng.integers(len(sources))]
        other = strained(source, rng, strain=rng.choice([0.01, 0.15]), rattle=rng.choice([0.05, 0.4]))
        if other is not None:
            crystals[f"c{len(crystals)}"] = other
    held = {name: crystals.pop(name) for name in ("c1", "c3", "c4", "c7")}
    indices = (IdentityIndex(), IdentityIndex())
    for index in indices:
        for name, crystal in held.items():
            index.add(name, crystal)
    assert indices[0].add_distinct(crystals) == one_by_one(crystals, indices[1])
    assert len(indices[0]) == len(indices[1])
    for crystal in crystals.values():
        assert indices[0].find_all(crystal) == indices[1].find_all(crystal)


@pytest.mark.parametrize("formula", ["TiNiSn"])
def test_decorated_prototypes_are_sorted_as_by_group_structures(formula: str) -> None:
    crystals = decorated_prototypes(formula, largest=6)
    structures = [crystal.to_structure() for crystal in crystals]
    found = IdentityIndex().add_distinct({str(number): crystal for number, crystal in enumerate(crystals)})
    places = {id(structure): str(number) for number, structure in enumerate(structures)}
    for group in MATCHER.group_structures(structures):
        members = [places[id(structure)] for structure in group]
        assert {found[member] for member in members} == {members[0]}


def test_names_that_are_taken_are_refused_before_anything_is_added() -> None:
    index = IdentityIndex()
    salt, quartz = (Crystal.from_structure(structure_type(name)) for name in ("rocksalt", "quartz"))
    index.add("a", salt)
    with pytest.raises(CrystalError, match="a already names a crystal"):
        index.add_distinct({"b": quartz, "a": salt})
    assert len(index) == 1
    assert index.add_distinct({}) == {}
    assert index.add_distinct({"b": quartz, "c": salt, "d": quartz}) == {"b": "b", "c": "a", "d": "b"}
    assert "b" in index
    assert "c" not in index
