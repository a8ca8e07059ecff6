"""The learned preference: its posterior is the Beta posterior, and it finds the arm that pays."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from generators.preference import Outcome, Preference, payoff
from loop.crystal import Crystal
from loop.errors import GeneratorError
from loop.records import Record

CRYSTAL = Crystal(
    lattice=((3.0, 0.0, 0.0), (0.0, 3.0, 0.0), (0.0, 0.0, 3.0)),
    fractional_coordinates=((0.0, 0.0, 0.0), (0.5, 0.5, 0.5)),
    atomic_numbers=(22, 28),
    space_group_number=221,
)


def record(**known):
    return Record(
        candidate_id="0001-0001",
        iteration=1,
        generator="prototypes",
        parents=(),
        details={},
        crystal=CRYSTAL,
        **known,
    )


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, None),
        ({"screened_energy_above_hull": 0.05}, np.exp(-1)),
        ({"screened_energy_above_hull": -0.3}, 1.0),
        ({"screened_energy_above_hull": 0.0, "verified_energy_above_hull": 0.1}, np.exp(-2)),
        ({"failure": "not-converged"}, 0.0),
        ({"failure": "duplicate"}, None),
        ({"failure": "budget"}, None),
    ],
)
def test_payoff(known, expected):
    found = payoff(record(**known))
    assert found == (None if expected is None else pytest.approx(expected))


def test_posterior_is_that_of_coin_tosses():
    outcomes = [(str(i), Outcome(("coin",), float(i < 7))) for i in range(10)]
    a, b = Preference().updated(outcomes).posterior(["coin", "other"], prior_means=[0.5, 0.25], strength=2.0)
    assert (a[0], b[0]) == (8.0, 4.0)
    assert (a[1], b[1]) == (0.5, 1.5)
    draws = (
        Preference()
        .updated(outcomes)
        .draw(["coin"] * 4000, prior_means=[0.5] * 4000, strength=2.0, rng=np.random.default_rng(0))
    )
    assert stats.kstest(draws, stats.beta(8, 4).cdf).pvalue > 0.01


def test_thompson_draws_find_the_paying_arm_and_starve_none():
    rng = np.random.default_rng(0)
    truth = {"good": 0.6, "middling": 0.3, "bad": 0.05}
    preference, counts = Preference(), dict.fromkeys(truth, 0)
    for turn in range(300):
        draws = preference.draw(list(truth), prior_means=[0.3] * 3, strength=2.0, rng=rng)
        arm = list(truth)[int(np.argmax(draws))]
        counts[arm] += 1
        preference = preference.updated([(str(turn), Outcome((arm,), float(rng.random() < truth[arm])))])
    assert counts["good"] > 200
    assert min(counts.values()) >= 3


def test_known_payoffs_are_superseded_by_known_ones_only():
    first = Preference().updated([("x", Outcome(("a",), 0.4))])
    assert first.updated([("x", Outcome(("a",), None))]).outcomes["x"].payoff == 0.4
    assert first.updated([("x", Outcome(("a",), 0.9))]).outcomes["x"].payoff == 0.9
    assert first.outcomes["x"].payoff == 0.4


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.tuples(st.lists(st.sampled_from("abc"), unique=True), st.none() | st.floats(0, 1)),
    )
)
def test_state_and_back(entries):
    preference = Preference({key: Outcome(tuple(arms), value) for key, (arms, value) in entries.items()})
    state = json.loads(json.dumps(preference.state(), sort_keys=True))
    again = Preference.from_state(state, generator="prototypes")
    assert again.outcomes == preference.outcomes
    assert again.totals == preference.totals


@pytest.mark.parametrize("state", [{"weights": []}, {"outcomes": [1]}, {"outcomes": {"x": [["a"], "much"]}}])
def test_a_foreign_state_is_refused(state):
    with pytest.raises(GeneratorError, match="prototypes: the state to start from is not this generator's"):
        Preference.from_state(state, generator="prototypes")
