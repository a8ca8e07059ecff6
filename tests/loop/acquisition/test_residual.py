"""The policies in worlds whose truth is known."""

import math
from collections import Counter

import numpy as np
import pytest

from loop.acquisition.baselines import Greedy, Random
from loop.acquisition.model import believe
from loop.acquisition.options import ModelOptions
from loop.acquisition.policy import Option
from loop.acquisition.residual import Residual, UpperConfidenceBound
from loop.errors import CampaignFileError
from loop.spec import Thresholds
from tests.loop.acquisition.worlds import LinearWorld, observation, option


def chosen(policy, options, known=(), *, batch_size=1, budget=math.inf, seed=0):
    rng = np.random.default_rng(seed)
    choices = policy.choose(options, known, batch_size=batch_size, budget=budget, rng=rng)
    picked = [c for c in choices if c.role == "chosen"]
    return [c.candidate_id for c in sorted(picked, key=lambda c: c.reasons.get("pick", c.rank))]


def test_it_learns_a_linear_residual_and_picks_the_hidden_good_ones():
    """All options look alike to the screen; only the learned residual tells which are metastable."""
    world = LinearWorld(seed=4)
    known = world.observations(24)
    options, truth = world.options(60, start=100, screened=0.12)
    good = {i for i, v in truth.items() if v <= 0.1}
    assert 10 < len(good) < 40
    found = {name: sum(i in good for i in chosen(policy, options, known, batch_size=10)) for name, policy in
             (("residual", Residual()), ("bound", UpperConfidenceBound()), ("greedy", Greedy()))}  # fmt: skip
    assert found["residual"] >= 9
    assert found["bound"] >= 9
    assert found["greedy"] <= 7


def test_its_predictions_beat_the_plain_screened_value_and_are_calibrated():
    world = LinearWorld(seed=5, noise=0.02)
    known = world.observations(30)
    options, truth = world.options(200, start=100)
    belief = believe(options, known, settings=ModelOptions())
    verified = np.array([truth[o.candidate_id] for o in options])
    plain = np.abs([v - o.screened for v, o in zip(verified, options, strict=True)]).mean()
    assert belief.account["model"] == "gaussian process"
    assert np.abs(verified - belief.mean).mean() < 0.6 * plain
    z = (verified - belief.mean) / belief.deviation
    assert 0.5 < np.std(z) < 1.5


@pytest.mark.parametrize("n", [0, 1, 2])
def test_with_few_observations_it_says_that_the_simple_model_decides(n):
    known = [observation(i, [float(i), 0.0], screened=0.05, verified=0.13) for i in range(n)]
    options = [option(i, [0.1 * i, 1.0], screened=0.02 * i) for i in range(5)]
    choices = Residual().choose(options, known, batch_size=2, budget=9.0, rng=np.random.default_rng(0))
    reasons = choices[0].reasons
    assert reasons["model"] == ("constant residual" if n else "prior")
    assert reasons["observations"] == n
    assert "fewer than 8" in reasons["why"]
    # The mean residual of 0.08 eV/atom counts n times, the prior's 0 once.
    assert choices[0].predicted_mean == pytest.approx(0.08 * n / (n + 1))
    if n == 0:
        assert choices[0].predicted_deviation == pytest.approx(0.05)


def test_when_the_process_is_no_better_it_falls_back_and_says_so():
    rng = np.random.default_rng(11)
    known = [
        observation(i, rng.normal(size=5), screened=0.1, verified=0.1 + rng.normal(scale=0.04))
        for i in range(20)
    ]
    options = [option(i, rng.normal(size=5), screened=0.02 * i) for i in range(6)]
    choices = Residual().choose(options, known, batch_size=2, budget=9.0, rng=rng)
    reasons = choices[0].reasons
    assert reasons["model"] == "constant residual"
    assert "no better than the screened value" in reasons["why"]
    assert reasons["held_out"]["n"] == 20
    assert len({round(c.predicted_mean - o.screened, 12) for c, o in zip(choices, options, strict=True)}) == 1


@pytest.mark.parametrize("policy", [Residual(), UpperConfidenceBound(), Greedy()], ids=lambda p: p.name)
def test_of_two_equal_candidates_the_cheaper_is_chosen(policy):
    options = [
        option(0, [1.0, 0.0], cost=5.0),
        option(1, [1.0, 0.0], cost=2.0),
        option(2, [1.0, 0.0], cost=9.0),
    ]
    assert chosen(policy, options) == ["0002-0001"]


def test_a_slightly_worse_candidate_is_preferred_at_a_tenth_of_the_cost():
    options = [
        option(0, [1.0, 0.0], screened=0.05, cost=10.0),
        option(1, [0.0, 1.0], screened=0.06, cost=1.0),
    ]
    assert chosen(Residual(), options) == ["0002-0001"]
    assert chosen(Residual({"cost_exponent": 0.0}), options) == ["0002-0000"]


def test_a_cheap_candidate_without_hope_is_not_preferred():
    options = [option(0, [1.0, 0.0], screened=0.05, cost=10.0), option(1, [0.0, 1.0], screened=0.3, cost=1.0)]
    assert chosen(Residual(), options) == ["0002-0000"]


def two_clusters():
    """Five near-duplicates that look slightly better than three of another kind."""
    rng = np.random.default_rng(0)
    first = [option(i, [2.0, 2.0, 2.0] + 0.01 * rng.normal(size=3), screened=0.080) for i in range(5)]
    second = [
        option(10 + i, [-2.0, -2.0, -2.0] + 0.01 * rng.normal(size=3), screened=0.083) for i in range(3)
    ]
    return first + second


@pytest.mark.parametrize("observed", [0, 12])
def test_a_batch_does_not_bet_everything_on_one_of_two_comparable_clusters(observed):
    world = np.random.default_rng(2)
    known = []
    for i in range(observed):  # a smooth residual that says nothing of either cluster
        x = world.uniform(-1, 1, size=3)
        known.append(observation(i, x, screened=0.1, verified=0.1 + 0.02 * math.sin(3 * x[0])))
    picked = chosen(Residual(), two_clusters(), known, batch_size=4)
    kinds = Counter("second" if i >= "0002-0010" else "first" for i in picked)
    assert min(kinds["first"], kinds["second"]) >= 1
    bet = chosen(Residual({"pessimism": 0.0}), two_clusters(), known, batch_size=4)
    assert all(i < "0002-0010" for i in bet)


def test_the_budget_is_filled_with_what_fits():
    options = [
        option(i, [float(i), 0.0], screened=0.01 * i, cost=cost)
        for i, cost in enumerate((6.0, 3.0, 3.0, 0.5))
    ]
    assert chosen(Greedy(), options, batch_size=4, budget=7.0) == ["0002-0000", "0002-0003"]
    picked = chosen(Residual(), options, batch_size=4, budget=7.0)
    costs = {o.candidate_id: o.cost for o in options}
    assert sum(costs[i] for i in picked) <= 7.0


def test_thresholds_of_the_campaign_decide_what_counts():
    """With a loose threshold both are sure finds and the cheap one wins; with a strict one only the good one
    counts."""
    options = [option(0, [1.0, 0.0], screened=0.0, cost=3.0), option(1, [0.0, 1.0], screened=0.2, cost=1.0)]
    only = {"worth_stable": 0.0}
    assert chosen(Residual(only, thresholds=Thresholds(metastable=0.5)), options) == ["0002-0001"]
    assert chosen(Residual(only, thresholds=Thresholds(metastable=0.05)), options) == ["0002-0000"]


def test_stable_phases_are_worth_more_where_all_are_metastable():
    options = [option(0, [1.0, 0.0], screened=0.06), option(1, [0.0, 1.0], screened=0.0)]
    loose = Thresholds(metastable=1.0)
    assert chosen(Residual(thresholds=loose), options) == ["0002-0001"]


def test_the_bound_explores_what_it_knows_least():
    """Of equal means the confidence bound takes the uncertain one, with beta of 0 it does not care."""
    rng = np.random.default_rng(1)
    known = [
        observation(i, [x, y], screened=0.1, verified=0.1 + 0.05 * math.sin(4 * x))
        for i, (x, y) in enumerate(rng.uniform(-0.5, 0.5, size=(30, 2)))
    ]
    options = [option(0, [0.0, 0.0], screened=0.1), option(1, [0.0, 6.0], screened=0.1)]
    assert chosen(UpperConfidenceBound({"beta": 9.0}), options, known) == ["0002-0001"]


def test_one_collapsed_structure_does_not_bend_the_model():
    world = LinearWorld(seed=6)
    known = world.observations(20)
    options, _ = world.options(20, start=100)
    calm = believe(options, known, settings=ModelOptions())
    broken = believe(
        options,
        [*known, observation(999, np.zeros(6), screened=0.0, verified=40.0)],
        settings=ModelOptions(),
    )
    assert np.abs(calm.mean - broken.mean).max() < 0.3


def test_random_draws_every_option_equally_often():
    options = [option(i, [0.0]) for i in range(5)]
    counts = Counter(chosen(Random(), options, seed=s)[0] for s in range(1000))
    assert len(counts) == 5
    assert max(abs(n - 200) for n in counts.values()) < 5 * math.sqrt(1000 * 0.2 * 0.8)


@pytest.mark.parametrize(
    "policy", [Residual(), UpperConfidenceBound(), Greedy(), Random()], ids=lambda p: p.name
)
def test_no_options_give_no_choices(policy):
    assert policy.choose([], [], batch_size=3, budget=1.0, rng=np.random.default_rng(0)) == []


def test_features_of_full_length_with_few_observations_are_bearable():
    """Twenty-six features and nine observations: no error, finite answers."""
    rng = np.random.default_rng(0)
    known = [observation(i, rng.normal(size=26), verified=0.05 + 0.01 * rng.normal()) for i in range(9)]
    options = [
        Option(candidate_id=f"0002-{i:04d}", features=rng.normal(size=26), screened=0.05, cost=1.0)
        for i in range(30)
    ]
    choices = Residual().choose(options, known, batch_size=6, budget=9.0, rng=rng)
    assert sum(c.role == "chosen" for c in choices) == 6


@pytest.mark.parametrize(
    ("policy", "options", "message"),
    [
        (Residual, {"prior_deviaton": 1.0}, "did you mean 'prior_deviation'"),
        (
            Residual,
            {"prior_deviation": -1.0},
            r"acquisition\.options\.prior_deviation: .*greater than 0.*found -1\.0",
        ),
        (Residual, {"cost_exponent": 2}, r"acquisition\.options\.cost_exponent: .*found 2"),
        (Residual, {"beta": 1.0}, "no such option"),
        (UpperConfidenceBound, {"worth_stable": 1.0}, "no such option"),
        (UpperConfidenceBound, {"beta": "high"}, r"acquisition\.options\.beta: .*found 'high'"),
        (Greedy, {"beta": 1.0}, "'greedy' has no options; remove it"),
    ],
)
def test_wrong_options_are_named_with_the_mend(policy, options, message):
    with pytest.raises(CampaignFileError, match=message):
        policy(options)
