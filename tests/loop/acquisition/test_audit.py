"""The audit: its share over a campaign, its fairness, and the bounds that it keeps."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loop.acquisition.audit import audits_due, miss_rate, with_audit
from loop.acquisition.baselines import Greedy
from loop.errors import AcquisitionError
from tests.loop.acquisition.worlds import option


def audited(
    *,
    n_options=8,
    n_rejects=5,
    fraction=0.5,
    batch_size=4,
    budget=math.inf,
    verified=0,
    already=0,
    seed=0,
    costs=None,
):
    options = [option(i, [0.0], screened=0.01 * i, cost=(costs or {}).get(i, 1.0)) for i in range(n_options)]
    rejects = [
        option(100 + i, [0.0], screened=0.5, cost=(costs or {}).get(100 + i, 1.0)) for i in range(n_rejects)
    ]
    choices = Greedy().choose(options, [], batch_size=batch_size, budget=budget, rng=np.random.default_rng(0))
    result = with_audit(
        choices, options=options, rejects=rejects, fraction=fraction, batch_size=batch_size, budget=budget,
        verified=0, audited=0, rng=np.random.default_rng(seed),
    )  # fmt: skip
    return options, rejects, result


@given(fraction=st.floats(0, 1), sizes=st.lists(st.integers(0, 12), min_size=1, max_size=40))
def test_the_share_holds_over_a_campaign_whatever_the_batches(fraction, sizes):
    verified = done = 0
    for size in sizes:
        due = audits_due(fraction, batch_size=size, verified=verified, audited=done)
        assert 0 <= due <= size
        verified, done = verified + size, done + due
    assert abs(done - fraction * verified) <= 1 + 1e-6 * verified


def test_a_tenth_of_batches_of_six_is_one_in_ten():
    dues, verified, done = [], 0, 0
    for _ in range(20):
        dues.append(audits_due(0.1, batch_size=6, verified=verified, audited=done))
        verified, done = verified + 6, done + dues[-1]
    assert sum(dues) == 12
    assert max(dues) == 1


def test_what_was_missed_is_made_up_slowly():
    assert audits_due(0.1, batch_size=6, verified=100, audited=0) == 2


@pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan])
def test_a_share_that_is_none_is_refused(fraction):
    with pytest.raises(AcquisitionError, match="audit_fraction"):
        audits_due(fraction, batch_size=6, verified=0, audited=0)


@settings(deadline=None, max_examples=60)
@given(
    n_options=st.integers(0, 8), n_rejects=st.integers(0, 6), fraction=st.floats(0, 1),
    batch_size=st.integers(0, 8),
    budget=st.floats(0, 20), seed=st.integers(0, 99), data=st.data(),
)  # fmt: skip
def test_bounds_hold_and_every_candidate_is_accounted_for(
    n_options, n_rejects, fraction, batch_size, budget, seed, data
):
    numbers = [*range(n_options), *range(100, 100 + n_rejects)]
    costs = {i: data.draw(st.floats(0.1, 8)) for i in numbers}
    options, rejects, result = audited(
        n_options=n_options, n_rejects=n_rejects, fraction=fraction, batch_size=batch_size, budget=budget,
        seed=seed, costs=costs,
    )  # fmt: skip
    price = {o.candidate_id: o.cost for o in (*options, *rejects)}
    running = [c.candidate_id for c in result if c.role != "passed over"]
    assert len(set(running)) == len(running) <= batch_size
    assert math.fsum(price[i] for i in running) <= budget * (1 + 1e-6)
    assert [c.candidate_id for c in result[:n_options]] == [o.candidate_id for o in options]
    assert sum(c.role == "audit" for c in result) <= audits_due(
        fraction, batch_size=batch_size, verified=0, audited=0
    )
    assert all(c.role == "audit" for c in result[n_options:])
    assert len({c.rank for c in result}) == len(result)


def test_without_a_share_nothing_changes():
    options, _, result = audited(fraction=0.0)
    expected = Greedy().choose(options, [], batch_size=4, budget=math.inf, rng=np.random.default_rng(0))
    assert result == expected


def test_the_last_picks_make_room_and_say_so():
    _, _, result = audited(fraction=0.5)
    roles = {c.candidate_id: c.role for c in result}
    assert [roles[f"0002-000{i}"] for i in (0, 1)] == ["chosen", "chosen"]
    displaced = [c for c in result if c.reasons.get("displaced_by_audit")]
    assert [c.candidate_id for c in displaced] == ["0002-0002", "0002-0003"]
    assert sum(c.role == "audit" for c in result) == 2


def test_every_reject_is_equally_likely():
    drawn = Counter()
    for seed in range(600):
        _, _, result = audited(fraction=0.25, seed=seed)
        drawn.update(c.candidate_id for c in result if c.role == "audit")
    # Four passed over and five outside the window: nine rejects for 600 audits.
    assert len(drawn) == 9
    assert sum(drawn.values()) == 600
    assert max(abs(n - 600 / 9) for n in drawn.values()) < 5 * math.sqrt(600 / 9 * 8 / 9)


def test_a_full_batch_of_the_policy_does_not_starve_the_audit_of_budget():
    _, _, result = audited(fraction=0.25, batch_size=4, budget=4.0)
    assert Counter(c.role for c in result if c.role != "passed over") == {"chosen": 3, "audit": 1}


def test_without_rejects_the_batch_stays_with_the_policy():
    _, _, result = audited(n_options=3, n_rejects=0, fraction=1.0)
    assert {c.role for c in result} == {"chosen"}


def test_a_candidate_listed_twice_is_refused():
    options = [option(0, [0.0])]
    choices = Greedy().choose(options, [], batch_size=1, budget=1.0, rng=np.random.default_rng(0))
    with pytest.raises(AcquisitionError, match="listed twice"):
        with_audit(
            choices, options=options, rejects=options, fraction=0.1, batch_size=1, budget=1.0,
            verified=0, audited=0, rng=np.random.default_rng(0),
        )  # fmt: skip


def test_the_miss_rate_covers_the_true_share():
    rng = np.random.default_rng(0)
    covered = [(rate := miss_rate(list(rng.random(30) < 0.15))).low <= 0.15 <= rate.high for _ in range(500)]
    assert np.mean(covered) > 0.9
    assert miss_rate([]).high == 1.0
