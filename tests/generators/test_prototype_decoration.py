"""Decoration of prototypes: a finite space, walked once, the simple and the well-paid first."""

from collections import Counter

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from generators.protocol import Condition
from generators.training_free.decorations import decoration_key
from generators.training_free.prototypes import Prototypes, prior_payoff
from loop.crystal import Crystal
from loop.errors import GeneratorError
from loop.prototypes import prototypes
from loop.records import Record
from loop.spec import Space

SMALL = Condition(space=Space(chemical_systems=("Ni-Sn-Ti",), atoms=(2, 4)))
TERNARY = Condition(space=Space(chemical_systems=("Ni-Sn-Ti",), number_of_elements=(3, 3), atoms=(2, 4)))


def key(proposal):
    return decoration_key(proposal.details["prototype"], proposal.details["elements"])


def as_records(proposals, *, iteration=1, energy=None):
    return [
        Record(
            candidate_id=f"{iteration:04d}-{i:04d}",
            iteration=iteration,
            generator="prototypes",
            parents=(),
            details=p.details,
            crystal=Crystal.from_structure(p.structure),
            screened_energy_above_hull=energy(p) if energy else None,
        )
        for i, p in enumerate(proposals, start=1)
    ]


def test_the_space_is_walked_to_its_end_without_repeats():
    records, seen, generator = [], Counter(), Prototypes({})
    for iteration in range(1, 20):
        generator = generator.fit(records, start=generator.state(), rng=np.random.default_rng(0))
        proposals = generator.sample(25, condition=TERNARY, rng=np.random.default_rng(iteration))
        seen.update(map(key, proposals))
        records += as_records(proposals, iteration=iteration)
        if len(proposals) < 25:
            break
    assert max(seen.values()) == 1
    assert (
        generator.fit(records, start=None, rng=np.random.default_rng(0)).sample(
            5, condition=TERNARY, rng=np.random.default_rng(9)
        )
        == []
    )
    fitting = [t for t in prototypes() if t.number_of_elements == 3 and 2 <= t.number_of_atoms <= 4]
    everything = sum(len(list(t.assignments(("Ni", "Sn", "Ti")))) for t in fitting)
    assert 0.9 * everything <= len(seen) <= everything


def test_known_ternaries_are_among_them():
    """TiNiSn (half-Heusler) and TiNi2Sn (Heusler) come up among the ternaries of up to four atoms."""
    proposals = Prototypes({}).sample(200, condition=TERNARY, rng=np.random.default_rng(0))
    sites = [[0, 0, 0], [0.25, 0.25, 0.25], [0.5, 0.5, 0.5]]
    half = Structure.from_spacegroup("F-43m", Lattice.cubic(5.94), ["Ti", "Ni", "Sn"], sites)
    full = Structure.from_spacegroup("Fm-3m", Lattice.cubic(6.09), ["Ti", "Ni", "Sn"], sites)
    matcher = StructureMatcher()
    assert any(matcher.fit(p.structure, half) for p in proposals)
    assert any(matcher.fit(p.structure, full) for p in proposals)


def test_known_ternaries_come_early():
    """Before anything is learned, both are mostly among the first 60 of some 940 decorations."""
    condition = Condition(space=Space(chemical_systems=("Ni-Sn-Ti",)))
    wanted = {"ABC_cF12_216_b_c_a-001:Sn-Ni-Ti", "AB2C_cF16_225_a_c_b-001:Sn-Ni-Ti"}
    both = 0
    for seed in range(10):
        proposals = Prototypes({}).sample(60, condition=condition, rng=np.random.default_rng(seed))
        both += wanted <= {key(p) for p in proposals}
    assert both >= 6


def test_simple_types_are_expected_to_pay_more():
    by_name = {t.mineral: prior_payoff(t) for t in prototypes()}
    assert by_name["half-Heusler"] > by_name["Chalcopyrite"]
    assert all(0 < prior_payoff(t) < 1 for t in prototypes())


def test_prototypes_that_paid_off_lead_the_next_iteration():
    """Where only one prototype pays, its decorations come first in another chemical system."""
    ternary = {"number_of_elements": (3, 3), "atoms": (2, 5)}
    first = Condition(space=Space(chemical_systems=("Ni-Sn-Ti",), **ternary))
    other = Condition(space=Space(chemical_systems=("Co-Sb-Zr",), **ternary))
    paying = "ABC_cF12_216_b_c_a-001"
    rng = np.random.default_rng(0)
    everything = Prototypes({}).sample(500, condition=first, rng=rng)
    records = as_records(everything, energy=lambda p: 0.0 if p.details["prototype"] == paying else 1.0)
    base, fitted = (
        Prototypes({"exploration": 0.0}),
        Prototypes({"exploration": 0.0}).fit(records, start=None, rng=rng),
    )
    count = Counter()
    for seed in range(10):
        for name, generator in (("base", base), ("fitted", fitted)):
            proposals = generator.sample(4, condition=other, rng=np.random.default_rng(seed))
            count[name] += sum(p.details["prototype"] == paying for p in proposals)
    assert count["fitted"] >= 25, "of 30, for it has three decorations"
    assert count["base"] < 15


def test_what_substitution_proposed_is_not_proposed_again():
    proposals = Prototypes({}).sample(10, condition=SMALL, rng=np.random.default_rng(0))
    fitted = Prototypes({}).fit(as_records(proposals), start=None, rng=np.random.default_rng(0))
    again = fitted.sample(500, condition=SMALL, rng=np.random.default_rng(1))
    assert not {key(p) for p in again} & {key(p) for p in proposals}


def test_share_of_the_largest_systems():
    proposals = Prototypes({"largest_share": 0.5}).sample(
        80, condition=Condition(space=Space(chemical_systems=("Ni-Sn-Ti",))), rng=np.random.default_rng(0)
    )
    ternaries = sum(len(p.structure.composition) == 3 for p in proposals)
    assert 25 <= ternaries <= 55


@pytest.mark.parametrize(
    ("space", "composition", "message"),
    [
        ({"chemical_systems": ("Ni-Sn-Ti",), "atoms": (200, 300)}, None, "widen space.atoms"),
        ({"chemical_systems": ("Ni-Sn-Ti",)}, {"Ni": 11, "Ti": 1}, "ask for another composition"),
        (
            {"chemical_systems": ("Ni-Sn-Ti",)},
            {"Fe": 1, "Ti": 1},
            "lies outside the space: Fe-Ti lies in none",
        ),
    ],
)
def test_conditions_that_no_prototype_meets(space, composition, message):
    condition = Condition(space=Space(**space), composition=composition)
    with pytest.raises(GeneratorError, match=message):
        Prototypes({}).sample(1, condition=condition, rng=np.random.default_rng(0))
