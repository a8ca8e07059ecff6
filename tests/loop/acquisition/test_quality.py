"""Held-out quality and the promotion gate."""

import numpy as np
import pytest
from scipy.stats import norm

from loop.acquisition.options import ModelOptions
from loop.acquisition.quality import MOST_HELD_OUT, Errors, Quality, leave_one_out, promote
from tests.loop.acquisition.worlds import LinearWorld, observation


def test_a_learnable_residual_is_promoted():
    quality = leave_one_out(LinearWorld(seed=1).observations(20))
    assert quality.n == 20
    assert quality.gaussian_process.mean_absolute_error < 0.5 * quality.constant.mean_absolute_error
    assert promote(quality)


def test_pure_noise_is_not_promoted_more_often_than_chance():
    promoted = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        known = [
            observation(i, rng.normal(size=6), screened=0.1, verified=0.1 + rng.normal(scale=0.04))
            for i in range(16)
        ]
        promoted += promote(leave_one_out(known))
    assert promoted <= 2


def test_the_plain_figures_are_those_of_the_screen_itself():
    known = LinearWorld(seed=2).observations(12)
    residuals = np.array([o.verified - o.screened for o in known])
    quality = leave_one_out(known, options=ModelOptions(prior_deviation=0.07))
    assert quality.plain.mean_absolute_error == pytest.approx(np.abs(residuals).mean())
    assert quality.plain.negative_log_density == pytest.approx(-norm.logpdf(residuals, scale=0.07).mean())


def test_deviations_that_are_too_small_are_widened():
    """Residuals with one outlier in five are not normal: held-out errors must widen what the fit claims."""
    rng = np.random.default_rng(3)
    outlier = 0.3 * (np.arange(30) % 5 == 0)
    known = [
        observation(i, rng.normal(size=4), screened=0, verified=rng.normal(scale=0.005) + outlier[i])
        for i in range(30)
    ]
    assert leave_one_out(known).variance_factor > 1


@pytest.mark.slow
def test_held_out_errors_foretell_those_on_fresh_candidates():
    """The figures that the gate reads are honest: on average within a third of the errors on unseen data."""
    from loop.acquisition.model import believe

    told, seen = [], []
    for seed in range(5):
        world = LinearWorld(seed=seed, noise=0.02)
        known = world.observations(15)
        options, truth = world.options(60, start=100)
        belief = believe(options, known, settings=ModelOptions())
        told.append(leave_one_out(known).gaussian_process.mean_absolute_error)
        seen.append(np.abs(belief.mean - [truth[o.candidate_id] for o in options]).mean())
    assert np.mean(told) == pytest.approx(np.mean(seen), rel=1 / 3)


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_can_be_said_of_fewer_than_two(n):
    assert leave_one_out(LinearWorld().observations(n)) is None


def test_features_that_do_not_vary_leave_the_constant_model():
    known = [observation(i, [1.0, 2.0], verified=0.05 + 0.01 * i) for i in range(5)]
    quality = leave_one_out(known)
    assert quality.gaussian_process.mean_absolute_error == quality.constant.mean_absolute_error


def test_the_number_held_out_is_bounded():
    rng = np.random.default_rng(0)
    known = [
        observation(i, rng.normal(size=2), verified=0.05 + 0.01 * rng.normal())
        for i in range(MOST_HELD_OUT + 9)
    ]
    assert leave_one_out(known).n == MOST_HELD_OUT


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        ((0.02, -2.0), True),
        ((0.04, -1.2), True),  # better than the screen, though not than the constant model that it contains
        ((0.05, -2.0), False),  # no smaller an error than the screen
        ((0.02, -0.9), False),  # sure of itself, and wrong
    ],
)
def test_both_figures_must_be_better_than_the_screens(process, expected):
    figures = {"plain": (0.05, -1.0), "constant": (0.03, -1.5), "gaussian_process": process}
    errors = {k: Errors(mean_absolute_error=m, negative_log_density=d) for k, (m, d) in figures.items()}
    assert promote(Quality(n=10, variance_factor=1.0, **errors)) is expected
