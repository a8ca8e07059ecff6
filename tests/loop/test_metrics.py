"""Figures of merit against closed forms, simulation and counting by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loop import metrics
from loop.metrics import HullMove, Verified
from loop.spec import Thresholds

THRESHOLDS = Thresholds()


def verified(number=0, **values):
    defaults = {
        "candidate_id": f"0001-{number:04d}",
        "iteration": 1,
        "role": "chosen",
        "screened": 0.0,
        "verified": 0.05,
    }
    return Verified(**{**defaults, **values})


@settings(deadline=None)  # the first call imports scipy.stats
@given(trials=st.integers(1, 200), share=st.floats(0, 1))
def test_wilsons_interval_solves_its_equation(trials, share):
    """At both ends the observed share is z standard errors of the *end* away (Wilson 1927)."""
    successes = round(share * trials)
    result = metrics.proportion(successes, trials)
    z = 1.959963984540054
    assert result.low <= result.estimate <= result.high
    for end in (result.low, result.high):
        if 1e-9 < end < 1 - 1e-9:
            assert abs(result.estimate - end) == pytest.approx(
                z * math.sqrt(end * (1 - end) / trials), rel=1e-6
            )


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [metrics.proportion(k, 25) for k in range(26)]
    for truth in (0.05, 0.3, 0.5, 0.9):
        drawn = rng.binomial(25, truth, size=4000)
        covered = np.mean([intervals[k].low <= truth <= intervals[k].high for k in drawn])
        assert 0.90 < covered < 0.99


def test_nothing_tried_says_nothing():
    empty = metrics.proportion(0, 0)
    assert (empty.estimate, empty.low, empty.high) == (None, 0.0, 1.0)


@pytest.mark.parametrize(("successes", "trials"), [(3, 2), (-1, 2), (0, -1)])
def test_impossible_counts_are_refused(successes, trials):
    with pytest.raises(ValueError, match="between 0 and trials"):
        metrics.proportion(successes, trials)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"verified": 0.1}, True),
        ({"verified": 0.1001}, False),
        ({"verified": -0.02}, True),
        ({"verified": None}, False),
        ({"unique": False}, False),
        ({"novel": False}, False),
        ({"phonons_asked": True, "dynamically_stable": True}, True),
        ({"phonons_asked": True, "dynamically_stable": False}, False),
        ({"phonons_asked": True, "dynamically_stable": None}, False),
        ({"phonons_asked": False, "dynamically_stable": None}, True),
    ],
)
def test_a_discovery_is_what_the_glossary_says(values, expected):
    assert metrics.is_discovery(verified(**values), THRESHOLDS) is expected


def test_sun_counts_by_hand():
    candidates = [
        verified(1, verified=0.0),
        verified(2, verified=0.0, novel=False),
        verified(3, verified=0.05, unique=False),
        verified(4, verified=0.05, phonons_asked=True, dynamically_stable=False),
        verified(5, verified=0.2),
        verified(6, verified=None),
    ]
    counts = metrics.sun_counts(candidates, THRESHOLDS)
    found = {name: getattr(counts, name).successes for name in
             ("stable", "metastable", "unique", "novel", "sun", "metastable_sun", "discoveries")}  # fmt: skip
    assert found == {
        "stable": 2, "metastable": 4, "unique": 5, "novel": 5, "sun": 1, "metastable_sun": 2,
        "discoveries": 1,
    }  # fmt: skip
    assert counts.sun.trials == 6


def test_curve_and_iterations_agree_with_the_counts():
    candidates = [
        verified(i, iteration=1 + i // 3, verified=0.05 if i % 2 else 0.5, cost={"cpu_seconds": 2.0 + i})
        for i in range(9)
    ]
    curve = metrics.discovery_curve(candidates, THRESHOLDS)
    assert [p.verifications for p in curve] == list(range(10))
    assert curve[-1].cost == pytest.approx(sum(2.0 + i for i in range(9)))
    assert [p.discoveries for p in curve] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert metrics.discoveries_per_iteration(candidates, THRESHOLDS, iterations=range(1, 5)) == [1, 2, 1, 0]


def test_cost_per_discovery():
    assert metrics.cost_per_discovery({"cpu_seconds": 90.0}, discoveries=3) == {"cpu_seconds": 30.0}
    assert metrics.cost_per_discovery({"cpu_seconds": 90.0}, discoveries=0) == {"cpu_seconds": None}


def test_enrichment_by_hand_and_its_interval_by_simulation():
    candidates = [verified(i, verified=0.0 if i < 30 else 0.5) for i in range(40)]
    candidates += [verified(100 + i, role="audit", verified=0.0 if i < 3 else 0.5) for i in range(12)]
    result = metrics.enrichment(candidates, threshold=0.1)
    assert (result.chosen.successes, result.audited.trials) == (30, 12)
    assert result.ratio == pytest.approx(3.0)
    assert result.low < 3.0 < result.high
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(300):
        good = rng.random(40) < 0.75
        audit = rng.random(40) < 0.25
        sample = [verified(i, verified=0.0 if g else 0.5) for i, g in enumerate(good)]
        sample += [verified(99 + i, role="audit", verified=0.0 if g else 0.5) for i, g in enumerate(audit)]
        interval = metrics.enrichment(sample, threshold=0.1)
        covered.append(interval.low <= 3.0 <= interval.high)
    assert np.mean(covered) > 0.9


def test_enrichment_without_an_audit_claims_nothing():
    result = metrics.enrichment([verified()], threshold=0.1)
    assert (result.ratio, result.low, result.high) == (None, 0.0, math.inf)


def test_enrichment_over_an_audit_without_finds_has_a_lower_bound_but_no_ratio():
    candidates = [verified(i) for i in range(20)] + [
        verified(50 + i, role="audit", verified=0.9) for i in range(20)
    ]
    result = metrics.enrichment(candidates, threshold=0.1)
    assert result.ratio is None
    assert result.low > 1


@given(errors=st.lists(st.floats(-1, 1), min_size=1, max_size=30))
def test_screening_error_against_numpy(errors):
    result = metrics.screening_error(
        [verified(i, screened=0.1, verified=0.1 + e) for i, e in enumerate(errors)]
    )
    assert result.n == len(errors)
    assert result.mean == pytest.approx(np.mean(errors), abs=1e-9)
    assert result.root_mean_square**2 == pytest.approx(np.var(errors) + np.mean(errors) ** 2, abs=1e-9)
    assert result.mean_absolute <= result.root_mean_square + 1e-12 <= result.largest + 2e-12


def test_failures_have_no_screening_error():
    assert metrics.screening_error([verified(verified=None)]) is None


def test_hull_moves_by_hand():
    moves = [
        HullMove(fidelity="a", iteration=1, finds=(), fell_off=()),
        HullMove(fidelity="a", iteration=2, finds=("0002-0001",), fell_off=("mp-1", "mp-2")),
        HullMove(fidelity="a", iteration=3, finds=("0002-0001",), fell_off=()),
        HullMove(fidelity="b", iteration=1, finds=(), fell_off=()),
    ]
    result = metrics.hull_moves(moves)
    assert (result["a"].versions, result["a"].finds_on_hull, result["a"].fell_off, result["a"].last_move) == (
        3,
        1,
        2,
        2,
    )
    assert result["b"].last_move is None
