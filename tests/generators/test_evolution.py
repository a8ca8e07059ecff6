"""Evolution: operators keep what they must keep, and the best breed most."""

import json
from collections import Counter

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from generators.protocol import Condition
from generators.training_free import operators
from generators.training_free.compositions import covalent_volume
from generators.training_free.evolution import Evolution
from generators.training_free.population import UNVERIFIED_PENALTY, Member, best, draw_member
from loop.crystal import Crystal
from loop.errors import GeneratorError
from loop.records import Record
from loop.spec import Space

CONDITION = Condition(space=Space(chemical_systems=("Ni-Sn-Ti",), atoms=(2, 10)))
SITES = [[0, 0, 0], [0.25, 0.25, 0.25], [0.5, 0.5, 0.5]]
HALF_HEUSLER = Structure.from_spacegroup("F-43m", Lattice.cubic(5.94), ["Ti", "Ni", "Sn"], SITES)
HEUSLER = Structure.from_spacegroup("Fm-3m", Lattice.cubic(6.09), ["Ti", "Ni", "Sn"], SITES)
NITI = AseAtomsAdaptor.get_structure(bulk("NiTi", "cesiumchloride", a=3.01))
SEEDS = st.integers(0, 2**32).map(np.random.default_rng)
PARENTS = st.sampled_from([HALF_HEUSLER.get_primitive_structure(), HEUSLER.get_primitive_structure(), NITI])


def record(number, structure, energy=None, **known):
    crystal = Crystal.from_structure(structure)
    return Record(
        candidate_id=f"0001-{number:04d}",
        iteration=1,
        generator="prototypes",
        parents=(),
        details={},
        crystal=crystal,
        relaxed=crystal,
        screened_energy_above_hull=energy,
        **known,
    )


RECORDS = [record(1, HALF_HEUSLER, 0.0), record(2, HEUSLER, 0.01), record(3, NITI, 0.03)]


def counts(structure):
    return Counter(site.specie.symbol for site in structure)


def packing(structure):
    return covalent_volume(counts(structure)) / structure.volume


@settings(max_examples=40, deadline=None)
@given(PARENTS, SEEDS)
def test_strain_keeps_volume_atoms_and_fractional_coordinates(parent, rng):
    child = operators.strain(parent, deviation=0.1, rng=rng)
    assert child.volume == pytest.approx(parent.volume)
    assert counts(child) == counts(parent)
    assert np.allclose(child.frac_coords, parent.frac_coords)
    assert not np.allclose(child.lattice.parameters, parent.lattice.parameters)


def test_rattle_moves_by_the_deviation_asked_for():
    big = HEUSLER.copy().make_supercell([4, 4, 4])
    child = operators.rattle(big, deviation=0.3, rng=np.random.default_rng(0))
    moved = child.lattice.get_cartesian_coords(np.mod(child.frac_coords - big.frac_coords + 0.5, 1.0) - 0.5)
    assert np.std(moved) == pytest.approx(0.3, rel=0.05)


@settings(max_examples=40, deadline=None)
@given(PARENTS, SEEDS)
def test_permutation_keeps_the_sites_and_changes_who_sits_there(parent, rng):
    child = operators.permutation(parent, rng=rng)
    assert np.allclose(child.frac_coords, parent.frac_coords)
    assert sorted(counts(child)) == sorted(counts(parent))
    assert [s.specie.symbol for s in child] != [s.specie.symbol for s in parent]


@settings(max_examples=60, deadline=None)
@given(PARENTS, SEEDS)
def test_stoichiometry_changes_one_atom_and_keeps_the_packing(parent, rng):
    child = operators.stoichiometry(parent, ["Ni", "Sn", "Ti"], rng=rng)
    more, fewer = counts(child) - counts(parent), counts(parent) - counts(child)
    assert sum(more.values()) <= 1
    assert sum(fewer.values()) <= 1
    assert more or fewer
    assert packing(child) == pytest.approx(packing(parent))


def test_an_added_atom_finds_the_void():
    """The largest hole of half-Heusler is its empty fourth sublattice, where Heusler has more nickel."""
    parent, hole = HALF_HEUSLER.get_primitive_structure(), []
    for seed in range(60):
        child = operators.stoichiometry(parent, ["Ni"], rng=np.random.default_rng(seed))
        if len(child) == len(parent) + 1:
            hole.append(float(child.distance_matrix[-1, :-1].min()))
    ideal = 5.94 * np.sqrt(3) / 4
    assert len(hole) > 8
    assert np.mean(hole) > 0.8 * ideal
    assert max(hole) <= ideal * 1.06, "the cell grew by one nickel"


@settings(max_examples=40, deadline=None)
@given(PARENTS, PARENTS, SEEDS)
def test_heredity_takes_atoms_and_packing_from_its_parents(first, second, rng):
    child = operators.heredity(first, second, rng=rng)
    available = counts(first) + counts(second)
    assert not counts(child) - available
    low, high = sorted([packing(first), packing(second)])
    assert low - 1e-6 <= packing(child) <= high + 1e-6


def test_heredity_of_twins_can_give_the_parent_back():
    """With both parents the same and neither shifted apart, some cuts keep the composition."""
    parent = HALF_HEUSLER.get_primitive_structure()
    children = [operators.heredity(parent, parent, rng=np.random.default_rng(seed)) for seed in range(60)]
    assert any(counts(child) == counts(parent) for child in children)
    assert len({child.composition.reduced_formula for child in children}) > 3


@settings(max_examples=30, deadline=None)
@given(PARENTS, SEEDS)
def test_a_supercell_is_the_same_crystal(parent, rng):
    cell = operators.supercell(parent, largest=20, rng=rng)
    assert len(cell) in (len(parent), 2 * len(parent))
    assert Crystal.from_structure(cell).reduced_formula == Crystal.from_structure(parent).reduced_formula
    assert Crystal.from_structure(cell).number_of_atoms == Crystal.from_structure(parent).number_of_atoms
    assert len(operators.supercell(parent, largest=len(parent), rng=rng)) == len(parent)


def test_verified_leads_unverified_and_the_unstable_are_left_out():
    unverified = Member.from_record(record(1, HALF_HEUSLER, 0.0))
    verified = Member.from_record(record(2, HEUSLER, 0.3, verified_energy_above_hull=0.01))
    assert unverified.energy_above_hull == UNVERIFIED_PENALTY
    assert verified.energy_above_hull == 0.01
    assert Member.from_record(record(3, NITI, 0.0, dynamically_stable=False)) is None
    assert Member.from_record(record(4, NITI)) is None
    assert best([unverified, verified], size=1, per_formula=3) == (verified,)


def test_the_population_holds_each_phase_once_and_few_of_one_formula():
    crystal = Crystal.from_structure(HALF_HEUSLER)
    triclinic = Crystal.from_structure(
        operators.rattle(HALF_HEUSLER, deviation=0.2, rng=np.random.default_rng(0))
    )
    members = [Member(f"{i}", crystal, 0.0005 * i) for i in range(4)] + [
        Member(f"t{i}", triclinic, 0.1 * i) for i in range(6)
    ]
    kept = best(members, size=10, per_formula=3)
    assert [m.candidate_id for m in kept] == ["0", "t0", "t1"]
    assert best(members, size=0, per_formula=3) == ()


def test_parents_are_drawn_by_boltzmann_weight():
    crystal = Crystal.from_structure(NITI)
    members = (Member("low", crystal, 0.0), Member("high", crystal, 0.05 * np.log(3)))
    rng = np.random.default_rng(0)
    drawn = Counter(draw_member(members, selection_energy=0.05, rng=rng).candidate_id for _ in range(4000))
    assert drawn["low"] / drawn["high"] == pytest.approx(3.0, rel=0.12)


def test_without_a_population_it_proposes_nothing():
    assert Evolution({}).sample(5, condition=CONDITION, rng=np.random.default_rng(0)) == []
    elsewhere = Condition(space=Space(chemical_systems=("Ca-O-Ti",)))
    fitted = Evolution({}).fit(RECORDS, start=None, rng=np.random.default_rng(0))
    assert fitted.sample(5, condition=elsewhere, rng=np.random.default_rng(0)) == []


def test_children_name_their_parents_and_operations():
    fitted = Evolution({}).fit(RECORDS, start=None, rng=np.random.default_rng(0))
    proposals = fitted.sample(60, condition=CONDITION, rng=np.random.default_rng(0))
    assert len(proposals) == 60
    operations = Counter(p.details["operation"] for p in proposals)
    assert set(operations) == {"heredity", "mutation", "permutation", "stoichiometry"}
    assert {i for p in proposals for i in p.parents} == {"0001-0001", "0001-0002", "0001-0003"}
    assert all(len(p.parents) == 1 for p in proposals if p.details["operation"] != "heredity")
    assert len({Crystal.from_structure(p.structure).key for p in proposals}) == 60
    assert len({p.structure.reduced_formula for p in proposals}) > 8


def test_weights_turn_operations_off():
    options = {"operations": {"heredity": 0, "permutation": 0, "stoichiometry": 0}}
    fitted = Evolution(options).fit(RECORDS, start=None, rng=np.random.default_rng(0))
    proposals = fitted.sample(5, condition=CONDITION, rng=np.random.default_rng(0))
    assert {p.details["operation"] for p in proposals} == {"mutation"}


def test_a_child_is_proposed_once():
    """Exchanging elements of one crystal has few children; once they are proposed none is left."""
    options = {"operations": {"heredity": 0, "mutation": 0, "stoichiometry": 0}, "tries": 40}
    condition = Condition(
        space=Space(chemical_systems=("Ni-Sn-Ti",), number_of_elements=(3, 3), atoms=(3, 3))
    )
    rng = np.random.default_rng(0)
    fitted = Evolution(options).fit(RECORDS[:1], start=None, rng=rng)
    first = fitted.sample(20, condition=condition, rng=rng)
    assert 1 <= len(first) <= 6
    told = [
        Record(
            candidate_id=f"0002-{i:04d}",
            iteration=2,
            generator="evolution",
            parents=p.parents,
            details=p.details,
            crystal=Crystal.from_structure(p.structure),
        )
        for i, p in enumerate(first)
    ]
    again = fitted.fit([*RECORDS[:1], *told], start=None, rng=rng)
    assert again.sample(20, condition=condition, rng=rng) == []


def test_a_member_that_records_know_better_is_superseded():
    rng = np.random.default_rng(0)
    first = Evolution({}).fit(RECORDS, start=None, rng=rng)
    state = json.loads(json.dumps(first.state()))
    worse = [record(1, HALF_HEUSLER, 0.0, verified_energy_above_hull=0.9), *RECORDS[1:]]
    second = first.fit(worse, start=state, rng=rng)
    assert {m.candidate_id: m.energy_above_hull for m in second.population}["0001-0001"] == 0.9


def test_a_foreign_state_is_refused():
    with pytest.raises(GeneratorError, match="evolution: the state to start from is not this generator's"):
        Evolution({}).fit((), start={"population": [{"id": 1}]}, rng=np.random.default_rng(0))
