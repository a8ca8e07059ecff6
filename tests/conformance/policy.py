"""What every acquisition policy must do, as tests that any package can run on its own.

Subclass `PolicyConformance` and give it the policy:

    class TestMine(PolicyConformance):
        @pytest.fixture
        def policy(self):
            return MyPolicy({})
"""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loop.acquisition.policy import Choice, Observation, Option, Policy
from loop.errors import AcquisitionError

LENGTH = 4
"""Features of the drawn candidates."""
REPEATABLE = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)

finite = st.floats(-5, 5, allow_nan=False)
vectors = st.lists(finite, min_size=LENGTH, max_size=LENGTH).map(lambda v: np.array(v, dtype=np.float64))


@st.composite
def problems(draw):
    """Options and observations with all that a campaign can bring: duplicates, constants, outliers,
    nothing."""
    n_options, n_observations = draw(st.integers(0, 8)), draw(st.integers(0, 10))
    energies = st.floats(0, 0.3, allow_nan=False)
    options = [
        Option(
            candidate_id=f"0002-{i:04d}",
            features=draw(vectors),
            screened=draw(energies),
            cost=draw(st.floats(1e-3, 1e3)),
        )
        for i in range(n_options)
    ]
    observations = [
        Observation(
            candidate_id=f"0001-{i:04d}",
            features=draw(vectors),
            screened=draw(energies),
            verified=draw(st.floats(-0.1, 5.0)),
        )
        for i in range(n_observations)
    ]
    return options, observations


def content(choices: list[Choice]) -> list[tuple[object, ...]]:
    """The choices as values that can be compared to the last bit."""
    return [
        (
            c.candidate_id,
            c.role,
            c.rank,
            c.score,
            c.predicted_mean,
            c.predicted_deviation,
            json.dumps(dict(c.reasons)),
        )
        for c in choices
    ]


class PolicyConformance:
    """The promises of `loop.acquisition.policy.Policy`."""

    @pytest.fixture
    def policy(self) -> Policy:
        raise NotImplementedError("give the suite a fixture `policy`")

    def test_is_a_policy(self, policy):
        assert isinstance(policy, Policy)
        assert policy.name

    @REPEATABLE
    @given(
        problem=problems(),
        batch_size=st.integers(0, 10),
        budget=st.floats(0, 2e3),
        seed=st.integers(0, 2**32 - 1),
    )
    def test_keeps_its_bounds_and_says_all_of_every_option(self, policy, problem, batch_size, budget, seed):
        options, observations = problem

        def choose(opts, obs):
            rng = np.random.default_rng(seed)
            return policy.choose(opts, obs, batch_size=batch_size, budget=budget, rng=rng)

        choices = choose(options, observations)
        assert [c.candidate_id for c in choices] == [o.candidate_id for o in options]
        assert sorted(c.rank for c in choices) == list(range(1, len(options) + 1))
        assert {c.role for c in choices} <= {"chosen", "passed over"}
        chosen = [o for o, c in zip(options, choices, strict=True) if c.role == "chosen"]
        assert len(chosen) <= batch_size
        assert math.fsum(o.cost for o in chosen) <= budget * (1 + 1e-6)
        for choice in choices:
            assert all(map(math.isfinite, (choice.score, choice.predicted_mean, choice.predicted_deviation)))
            assert choice.predicted_deviation >= 0
            assert json.loads(json.dumps(dict(choice.reasons), allow_nan=False)) == dict(choice.reasons)
        by_rank = sorted(choices, key=lambda c: c.rank)
        assert all(a.score >= b.score for a, b in itertools.pairwise(by_rank))
        # The same question gives the same answer, to the last bit.
        assert content(choose(options, observations)) == content(choices)

    @REPEATABLE
    @given(problem=problems(), budget=st.floats(0, 1e3), seed=st.integers(0, 2**32 - 1))
    def test_wastes_nothing_that_it_could_use(self, policy, problem, budget, seed):
        """Where a place in the batch is left, no passed-over option could still be paid for."""
        options, observations = problem
        batch_size = 4
        rng = np.random.default_rng(seed)
        choices = policy.choose(options, observations, batch_size=batch_size, budget=budget, rng=rng)
        chosen = {c.candidate_id for c in choices if c.role == "chosen"}
        left = budget - math.fsum(o.cost for o in options if o.candidate_id in chosen)
        rest = [o.cost for o in options if o.candidate_id not in chosen]
        assert len(chosen) == min(batch_size, len(options)) or all(cost > left * (1 - 1e-6) for cost in rest)

    @REPEATABLE
    @given(problem=problems(), seed=st.integers(0, 2**32 - 1))
    def test_the_order_of_options_and_observations_does_not_matter(self, policy, problem, seed):
        options, observations = problem
        chosen = []
        for opts, obs in ((options, observations), (options[::-1], observations[::-1])):
            choices = policy.choose(opts, obs, batch_size=3, budget=1e9, rng=np.random.default_rng(seed))
            chosen.append({c.candidate_id for c in choices if c.role == "chosen"})
        assert chosen[0] == chosen[1]

    def test_does_not_change_what_it_is_given(self, policy):
        options, observations = small_problem()
        before = [o.features.copy() for o in (*options, *observations)]
        policy.choose(options, observations, batch_size=2, budget=10.0, rng=np.random.default_rng(0))
        assert all(
            np.array_equal(a, o.features) for a, o in zip(before, (*options, *observations), strict=True)
        )

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"cost": 0.0}, "cost 0.0"),
            ({"cost": math.nan}, "cost nan"),
            ({"screened": math.nan}, "not finite"),
            ({"features": np.array([0.0, math.inf, 0.0, 0.0])}, "not finite"),
            ({"features": np.zeros(LENGTH + 1)}, "one length"),
            ({"candidate_id": "0002-0001"}, "listed twice"),
        ],
    )
    def test_refuses_options_that_cannot_be_judged(self, policy, change, message):
        options, observations = small_problem()
        first = {name: getattr(options[0], name) for name in ("candidate_id", "features", "screened", "cost")}
        options = [Option(**{**first, **change}), *options[1:]]
        with pytest.raises(AcquisitionError, match=message):
            policy.choose(options, observations, batch_size=2, budget=10.0, rng=np.random.default_rng(0))

    def test_a_budget_in_debt_buys_nothing(self, policy):
        options, observations = small_problem()
        choices = policy.choose(
            options, observations, batch_size=2, budget=-3.0, rng=np.random.default_rng(0)
        )
        assert {c.role for c in choices} == {"passed over"}

    def test_refuses_a_verified_energy_that_is_not_a_number(self, policy):
        options, observations = small_problem()
        broken = Observation(
            candidate_id="0001-9999", features=np.zeros(LENGTH), screened=0.0, verified=math.nan
        )
        with pytest.raises(AcquisitionError, match="0001-9999"):
            policy.choose(
                options, [*observations, broken], batch_size=2, budget=10.0, rng=np.random.default_rng(0)
            )


def small_problem() -> tuple[list[Option], list[Observation]]:
    """Six options and ten observations without surprises."""
    rng = np.random.default_rng(5)
    options = [
        Option(candidate_id=f"0002-{i:04d}", features=rng.normal(size=LENGTH), screened=0.02 * i, cost=1.0)
        for i in range(6)
    ]
    observations = [
        Observation(
            candidate_id=f"0001-{i:04d}",
            features=rng.normal(size=LENGTH),
            screened=0.02 * i,
            verified=0.03 * i,
        )
        for i in range(10)
    ]
    return options, observations
