"""What every Generator must do, as tests that any package can run on its own.

Subclass `GeneratorConformance` and give it the generator:

    class TestMine(GeneratorConformance):
        @pytest.fixture
        def generator(self):
            return MyGenerator({})

The energies in the records that it fits on are drawn at random: the suite holds promises, it does not measure
quality.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Sequence
from typing import Final

import numpy as np
import pytest

from generators.conditions import standardise
from generators.protocol import Condition, Generator, Proposal
from generators.training_free.random_symmetric import RandomSymmetric
from loop.crystal import Crystal
from loop.errors import GeneratorError
from loop.records import Record
from loop.spec import Space

CONDITIONS: Final = {
    "one system": Condition(space=Space(chemical_systems=("Ni-Sn-Ti",), atoms=(2, 10))),
    "two systems": Condition(space=Space(chemical_systems=("Ni-Sn-Ti", "Al-Ni-Ti"), atoms=(2, 10))),
    "ternaries only": Condition(
        space=Space(chemical_systems=("Ni-Sn-Ti",), number_of_elements=(3, 3), atoms=(3, 8))
    ),
    "small cells": Condition(space=Space(chemical_systems=("Ni-Sn-Ti",), atoms=(1, 4))),
    "required element": Condition(
        space=Space(elements=("Ni", "Sn", "Ti", "Zr"), required_elements=("Sn",), atoms=(2, 10))
    ),
    "excluded element": Condition(
        space=Space(elements=("Ni", "Sn", "Ti", "Zr"), excluded_elements=("Ni",), atoms=(2, 10))
    ),
    "charge neutral": Condition(
        space=Space(chemical_systems=("Ca-O-Ti",), charge_neutral=True, atoms=(2, 10))
    ),
    "composition": Condition(
        space=Space(chemical_systems=("Ni-Sn-Ti",)), composition={"Ti": 1, "Ni": 2, "Sn": 1}
    ),
}
"""Conditions that can all be met, by name."""

IMPOSSIBLE: Final = {
    "element outside": Condition(space=Space(chemical_systems=("Ni-Sn-Ti",)), composition={"Ti": 1, "O": 1}),
    "too many atoms": Condition(
        space=Space(chemical_systems=("Ni-Sn-Ti",), atoms=(2, 6)), composition={"Ti": 4, "Ni": 4, "Sn": 4}
    ),
    "too few elements": Condition(
        space=Space(chemical_systems=("Ni-Sn-Ti",), number_of_elements=(3, 3)), composition={"Ti": 1, "Sn": 1}
    ),
    "no atoms": Condition(space=Space(chemical_systems=("Ni-Sn-Ti",)), composition={"Ti": 0, "Sn": 2}),
}
"""Conditions that no generator can meet, by name."""


def as_records(
    proposals: Sequence[Proposal],
    *,
    generator: str,
    rng: np.random.Generator,
    iteration: int = 1,
    first: int = 1,
) -> list[Record]:
    """Records of proposals, as if each were its own relaxation, with random energies and failures.

    Args:
        proposals: to make records of.
        generator: name of the generator that proposed them.
        rng: draws energies and failures.
        iteration: goes into the ids.
        first: ordinal of the first.
    """
    records = []
    for ordinal, proposal in enumerate(proposals, start=first):
        crystal = Crystal.from_structure(proposal.structure)
        kind, energy = rng.random(), float(rng.gamma(1.5, 0.08))
        failed = kind < 0.1
        records.append(
            Record(
                candidate_id=f"{iteration:04d}-{ordinal:04d}",
                iteration=iteration,
                generator=generator,
                parents=proposal.parents,
                details=json.loads(json.dumps(dict(proposal.details))),
                crystal=crystal,
                relaxed=None if failed else crystal,
                screened_energy_above_hull=None if failed else energy,
                verified_energy_above_hull=energy + 0.02 if kind > 0.8 else None,
                failure="not-converged" if failed else None,
            )
        )
    return records


def same(first: Sequence[Proposal], second: Sequence[Proposal]) -> bool:
    """Whether two lists of proposals are equal, structures digit for digit."""
    return [(p.structure, p.parents, p.details) for p in first] == [
        (p.structure, p.parents, p.details) for p in second
    ]


class GeneratorConformance:
    """The suite. Needs one fixture, `generator`: the generator before it has learned anything."""

    number = 4
    """Proposals asked for at a time."""
    conditions = CONDITIONS
    """What the generator must be able to meet. Narrow it for a generator that says so in its
    documentation."""

    @pytest.fixture
    def generator(self) -> Generator:
        raise NotImplementedError("give the suite its generator: override the fixture `generator`")

    @pytest.fixture
    def records(self, generator):
        """One iteration of proposals by this generator and by `random_symmetric`."""
        return self.records_for(generator, CONDITIONS["one system"])

    def records_for(self, generator, condition):
        rng = np.random.default_rng(5)
        others = RandomSymmetric({}).sample(6, condition=condition, rng=rng)
        own = generator.sample(self.number, condition=condition, rng=rng)
        records = as_records(others, generator="random_symmetric", rng=rng)
        return records + as_records(own, generator=generator.name, rng=rng, first=len(records) + 1)

    @pytest.fixture
    def fitted(self, generator, records):
        return generator.fit(records, start=None, rng=np.random.default_rng(1))

    def sample(self, generator, *, seed=3, condition="one system", n=None):
        chosen = CONDITIONS[condition] if isinstance(condition, str) else condition
        return generator.sample(
            self.number if n is None else n, condition=chosen, rng=np.random.default_rng(seed)
        )

    def test_meets_the_protocol(self, generator):
        assert isinstance(generator, Generator)
        assert generator.name
        assert generator.version

    def test_same_state_of_the_stream_gives_the_same_proposals(self, generator, fitted):
        for each in (generator, fitted):
            first = self.sample(each)
            assert same(first, self.sample(each))

    def test_advanced_stream_gives_new_proposals(self, fitted):
        rng = np.random.default_rng(3)
        first = fitted.sample(self.number, condition=CONDITIONS["one system"], rng=rng)
        second = fitted.sample(self.number, condition=CONDITIONS["one system"], rng=rng)
        assert first, "a generator fitted on judged candidates proposes something"
        assert second
        assert not same(first, second)

    def test_draws_from_no_other_randomness(self, generator, records):
        before = random.getstate(), np.random.get_state()  # noqa: NPY002
        fitted = generator.fit(records, start=None, rng=np.random.default_rng(1))
        self.sample(fitted)
        after = random.getstate(), np.random.get_state()  # noqa: NPY002
        assert before[0] == after[0], "Python's global random state was used"
        assert str(before[1]) == str(after[1])
        assert (before[1][1] == after[1][1]).all(), "numpy's global random state was used"
        random.seed(0)
        first = self.sample(fitted)
        random.seed(1)
        assert same(first, self.sample(fitted)), "proposals depend on Python's global random state"

    @pytest.mark.parametrize("condition", sorted(CONDITIONS))
    def test_proposals_meet_the_condition(self, generator, condition):
        if condition not in self.conditions:
            pytest.skip(f"{generator.name} does not claim to serve: {condition}")
        asked = CONDITIONS[condition]
        fitted = generator.fit(self.records_for(generator, asked), start=None, rng=np.random.default_rng(1))
        proposals = self.sample(fitted, condition=asked)
        assert 0 < len(proposals) <= self.number
        for proposal in proposals:
            crystal = standardise(proposal.structure, condition=asked)
            assert isinstance(crystal, Crystal), f"{proposal.structure.formula}: {crystal}"

    @pytest.mark.parametrize("condition", sorted(IMPOSSIBLE))
    def test_impossible_condition_is_refused(self, generator, fitted, condition):
        for each in (generator, fitted):
            with pytest.raises(GeneratorError, match=r"composition: .*; "):
                self.sample(each, condition=IMPOSSIBLE[condition])

    def test_no_proposals_are_given_where_none_are_asked_for(self, fitted):
        assert self.sample(fitted, n=0) == []

    def test_provenance_is_json_and_names_known_candidates(self, fitted, records):
        ids = {record.candidate_id for record in records}
        for proposal in self.sample(fitted):
            details = dict(proposal.details)
            assert json.loads(json.dumps(details, allow_nan=False)) == details
            assert isinstance(proposal.parents, tuple)
            assert set(proposal.parents) <= ids

    def test_fit_changes_neither_the_generator_nor_the_records(self, generator, records):
        state, proposals, kept = (
            copy.deepcopy(dict(generator.state())),
            self.sample(generator),
            copy.deepcopy(records),
        )
        generator.fit(records, start=None, rng=np.random.default_rng(1))
        assert dict(generator.state()) == state
        assert same(self.sample(generator), proposals)
        assert records == kept

    def test_sampling_changes_nothing(self, fitted):
        before = copy.deepcopy(dict(fitted.state()))
        self.sample(fitted)
        assert dict(fitted.state()) == before

    def test_state_survives_the_ledger(self, generator, fitted):
        state = json.loads(json.dumps(dict(fitted.state()), allow_nan=False, sort_keys=True))
        restored = generator.fit((), start=state, rng=np.random.default_rng(1))
        assert json.loads(json.dumps(dict(restored.state()))) == state
        assert same(self.sample(restored), self.sample(fitted))

    def test_fitting_twice_on_the_same_records_is_fitting_once(self, generator, fitted, records):
        again = generator.fit(records, start=fitted.state(), rng=np.random.default_rng(1))
        assert dict(again.state()) == dict(fitted.state())
        assert same(self.sample(again), self.sample(fitted))
