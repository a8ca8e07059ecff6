"""Substitution: the data-mined probabilities are pymatgen's, and what paid off is tried sooner."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Composition, Lattice, Species, Structure
from pymatgen.core.structure_prediction.substitution_probability import SubstitutionProbability

from generators.protocol import Condition
from generators.training_free.substitution import Substitution
from generators.training_free.substitution_probability import (
    element_log_probability,
    ion_log_probability,
    likelihood,
    oxidation_states,
)
from loop.crystal import Crystal
from loop.errors import GeneratorError
from loop.records import Record
from loop.spec import Space
from loop.volumes import shortest_contact

NICKEL_TIN_TITANIUM = Condition(space=Space(chemical_systems=("Ni-Sn-Ti",), atoms=(2, 12)))
CALCIUM_TITANIUM_OXYGEN = Condition(space=Space(chemical_systems=("Ca-O-Ti",), atoms=(2, 12)))


@pytest.fixture(scope="module")
def table():
    return SubstitutionProbability()


@pytest.mark.parametrize(
    ("old", "new"),
    [(("Ca", 2), ("Sr", 2)), (("O", -2), ("S", -2)), (("Ti", 4), ("Na", 1)), (("K", 1), ("K", 1))],
)
def test_ion_probabilities_are_pymatgens(table, old, new):
    expected = table.cond_prob(Species(*new), Species(*old))
    assert math.exp(ion_log_probability(old, new)) == pytest.approx(expected, rel=1e-9)


def test_element_probabilities_sum_pymatgens_over_oxidation_states(table):
    iron = [s for s in table.species if s.symbol == "Fe"]
    cobalt = [s for s in table.species if s.symbol == "Co"]
    joint = sum(table.prob(a, b) for a, b in itertools.product(iron, cobalt))
    expected = joint / sum(table.prob(a, b) for a, b in itertools.product(iron, table.species))
    assert math.exp(element_log_probability("Fe", "Co")) == pytest.approx(expected, rel=1e-9)


def test_element_probabilities_are_normalised(table):
    elements = {s.symbol for s in table.species}
    assert sum(math.exp(element_log_probability("Ni", e)) for e in elements) == pytest.approx(1.0)


def test_neighbours_replace_one_another_more_than_strangers():
    assert element_log_probability("Zr", "Hf") > element_log_probability("Zr", "Na")
    assert element_log_probability("Xe", "Na") <= element_log_probability("Zr", "Na"), (
        "xenon is not in the table"
    )


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ({"Ca": 1, "Ti": 1, "O": 3}, {"Ca": 2, "Ti": 4, "O": -2}),
        ({"Ni": 1, "Ti": 1}, None),
        ({"Ti": 3, "O": 1}, None),
    ],
)
def test_oxidation_states_belong_to_ionic_neutral_compounds(formula, expected):
    assert oxidation_states(tuple(formula.items())) == expected


def test_likelihood_is_by_ions_where_there_are_ions(table):
    found = likelihood((("Ca", 1, "Sr"), ("O", 3, "O"), ("Ti", 1, "Zr")))
    pairs = [("Ca2+", "Sr2+"), ("O2-", "O2-"), ("Ti4+", "Zr4+")]
    product = math.prod(table.cond_prob(Species.from_str(b), Species.from_str(a)) for a, b in pairs)
    assert found == pytest.approx(product ** (1 / 3), rel=1e-9)
    alloy = likelihood((("Ni", 1, "Pd"), ("Ti", 1, "Zr")))
    expected = math.exp((element_log_probability("Ni", "Pd") + element_log_probability("Ti", "Zr")) / 2)
    assert alloy == pytest.approx(expected)


def test_a_cold_draw_proposes_real_chemistry_first():
    """In Ca-Ti-O the likeliest substitutions give compounds that exist: CaTiO3 and Ca2TiO4, not CaTi3O."""
    generator = Substitution({"temperature": 0.1, "exploration": 0.0, "largest_share": 1.0})
    proposals = generator.sample(10, condition=CALCIUM_TITANIUM_OXYGEN, rng=np.random.default_rng(0))
    neutral = [
        p for p in proposals if oxidation_states(tuple(p.structure.composition.get_el_amt_dict().items()))
    ]
    assert len(neutral) >= 8
    assert "CaTiO3" in {p.structure.reduced_formula for p in proposals}


def test_volume_follows_the_new_elements():
    proposals = Substitution({}).sample(12, condition=NICKEL_TIN_TITANIUM, rng=np.random.default_rng(1))
    for proposal in proposals:
        assert set(proposal.details["substitution"].values()) == {
            e.symbol for e in proposal.structure.composition
        }
        assert 0.69 < shortest_contact(proposal.structure) < 1.5


def test_files_of_parents(tmp_path):
    perovskite = Structure.from_spacegroup(
        "Pm-3m", Lattice.cubic(3.9), ["Sr", "V", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
    )
    perovskite.to(str(tmp_path / "srvo3.cif"))
    generator = Substitution(
        {"structures": [str(tmp_path)], "aflow": False, "exploration": 0.0, "temperature": 0.1}
    )
    proposals = generator.sample(10, condition=CALCIUM_TITANIUM_OXYGEN, rng=np.random.default_rng(0))
    assert len(proposals) < 10, "one parent has six substitutions at most"
    assert proposals[0].details["substitution"] == {"Sr": "Ca", "V": "Ti", "O": "O"}
    assert proposals[0].details["prototype"].startswith("srvo3")
    crystals = [Crystal.from_structure(p.structure) for p in proposals]
    assert {c.space_group_number for c in crystals} == {221}


def test_unusable_files_are_named(tmp_path):
    with pytest.raises(
        GeneratorError, match=r"generators.substitution.options.structures: .*missing\.cif: no such file"
    ):
        Substitution({"structures": [str(tmp_path / "missing.cif")]}).sample(
            1, condition=NICKEL_TIN_TITANIUM, rng=np.random.default_rng(0)
        )
    (tmp_path / "broken.cif").write_text("data_x\n_cell_length_a nonsense\n")
    with pytest.raises(GeneratorError, match=r"generators.substitution.options.structures: .*broken\.cif"):
        Substitution({"structures": [str(tmp_path / "broken.cif")]}).sample(
            1, condition=NICKEL_TIN_TITANIUM, rng=np.random.default_rng(0)
        )


def as_record(proposal, number, **known):
    crystal = Crystal.from_structure(proposal.structure)
    return Record(
        candidate_id=f"0001-{number:04d}",
        iteration=1,
        generator="substitution",
        parents=(),
        details=proposal.details,
        crystal=crystal,
        relaxed=crystal,
        **known,
    )


def test_parents_that_paid_off_are_tried_sooner():
    """A parent's other substitutions come up more often after it paid off than after it did not."""
    rng = np.random.default_rng(0)
    first = Substitution({}).sample(1, condition=NICKEL_TIN_TITANIUM, rng=rng)
    parent = first[0].details["prototype"]
    shares = {}
    for energy in (0.0, 0.5):
        records = [
            as_record(
                replace(first[0], details={**first[0].details, "elements": [*"xyz"[:2], str(i)]}),
                i,
                screened_energy_above_hull=energy,
            )
            for i in range(12)
        ]
        fitted = Substitution({"exploration": 0.0, "temperature": 10.0, "finds": 0}).fit(
            records, start=None, rng=rng
        )
        proposals = [
            p
            for seed in range(12)
            for p in fitted.sample(3, condition=NICKEL_TIN_TITANIUM, rng=np.random.default_rng(seed))
        ]
        shares[energy] = sum(p.details["prototype"] == parent for p in proposals)
    assert shares[0.0] > 2 * shares[0.5]


def test_finds_become_parents_in_other_systems():
    """A deep find in one chemical system is carried over to another, with its id as parent."""
    half_heusler = Structure.from_spacegroup(
        "F-43m", Lattice.cubic(5.94), ["Ti", "Ni", "Sn"], [[0, 0, 0], [0.25, 0.25, 0.25], [0.5, 0.5, 0.5]]
    )
    crystal = Crystal.from_structure(half_heusler)
    record = Record(
        candidate_id="0001-0007",
        iteration=1,
        generator="random_symmetric",
        parents=(),
        details={},
        crystal=crystal,
        relaxed=crystal,
        screened_energy_above_hull=0.0,
    )
    space = Space(chemical_systems=("Hf-Ni-Sn", "Ni-Sn-Ti"), number_of_elements=(3, 3), atoms=(3, 3))
    rng = np.random.default_rng(0)
    fitted = Substitution({"temperature": 0.05, "exploration": 0.0}).fit([record], start=None, rng=rng)
    proposals = [p for p in fitted.sample(40, condition=Condition(space=space), rng=rng) if p.parents]
    assert {p.parents for p in proposals} == {("0001-0007",)}
    formulas = [p.structure.reduced_formula for p in proposals]
    assert Composition("HfNiSn").reduced_formula in formulas
    own = [p for p in proposals if p.details["substitution"] == {"Ti": "Ti", "Ni": "Ni", "Sn": "Sn"}]
    assert own == [], "the find itself is no proposal"
