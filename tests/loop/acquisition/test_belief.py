"""The joint normal belief against BoTorch, scipy and simulation."""

import math

import numpy as np
import pytest
import torch
from botorch.acquisition.analytic import LogProbabilityOfFeasibility
from hypothesis import given, settings
from hypothesis import strategies as st

from loop.acquisition.belief import Belief, constant_belief, fit_constant
from loop.acquisition.gaussian_process import fit_gaussian_process, predict_held_out, standardise


def drawn_belief(seed=0, n=5):
    rng = np.random.default_rng(seed)
    root = rng.normal(scale=0.03, size=(n, n))
    return Belief(mean=rng.uniform(0, 0.2, n), covariance=root @ root.T, noise=4e-4, account={})


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(1)
    inputs = standardise(rng.normal(size=(40, 5)))
    residuals = 0.04 * inputs[:, 0] - 0.02 * inputs[:, 1] + rng.normal(scale=0.01, size=40)
    process = fit_gaussian_process(inputs[:25], residuals[:25], unit=0.05)
    mean, covariance = process.predict(inputs[25:])
    return (
        process,
        inputs,
        residuals,
        Belief(mean=mean, covariance=covariance, noise=process.noise, account={}),
    )


def test_conditioning_is_botorchs_condition_on_observations(fitted):
    process, inputs, residuals, belief = fitted
    points = torch.as_tensor(inputs[25:])
    model = process.model
    for index in (3, 7):
        value = float(residuals[25 + index])
        belief = belief.given(index, value)
        model = model.condition_on_observations(
            points[index : index + 1], torch.tensor([[value / process.unit]], dtype=torch.float64)
        )
    posterior = model.posterior(points)
    assert belief.mean == pytest.approx(process.unit * posterior.mean.detach().numpy().ravel(), abs=1e-7)
    expected = process.unit**2 * posterior.distribution.covariance_matrix.detach().numpy()
    assert belief.covariance == pytest.approx(expected, abs=1e-9)


def test_probability_is_botorchs_probability_of_feasibility(fitted):
    process, inputs, _, belief = fitted
    # BoTorch judges the expectation without noise; so does a belief whose noise is 0.
    noiseless = Belief(mean=belief.mean, covariance=belief.covariance, noise=0.0, account={})
    threshold = 0.01
    criterion = LogProbabilityOfFeasibility(process.model, {0: (None, threshold / process.unit)})
    with torch.no_grad():
        expected = criterion(torch.as_tensor(inputs[25:]).unsqueeze(1)).exp().numpy()
    assert noiseless.probability_below(threshold) == pytest.approx(expected, rel=1e-6)


@settings(deadline=None)
@given(seed=st.integers(0, 1000), first=st.integers(0, 4), second=st.integers(0, 4))
def test_the_order_of_conditioning_does_not_matter(seed, first, second):
    belief = drawn_belief(seed)
    one = belief.given(first, 0.1).given(second, 0.02)
    other = belief.given(second, 0.02).given(first, 0.1)
    assert one.mean == pytest.approx(other.mean, abs=1e-10)
    assert one.covariance == pytest.approx(other.covariance, abs=1e-12)


@settings(deadline=None)
@given(seed=st.integers(0, 1000), index=st.integers(0, 4))
def test_an_observation_makes_nothing_less_certain(seed, index):
    belief = drawn_belief(seed)
    assert (belief.given(index, 0.3).deviation <= belief.deviation + 1e-12).all()


def test_without_observations_the_prior_speaks():
    constant = fit_constant(np.array([]), prior_deviation=0.05)
    assert constant.mean == 0
    assert math.sqrt(constant.predictive_variance) == pytest.approx(0.05)


def test_one_observation_moves_the_mean_half_way():
    assert fit_constant(np.array([0.08]), prior_deviation=0.05).mean == pytest.approx(0.04)


def test_many_observations_speak_for_themselves():
    residuals = np.random.default_rng(0).normal(0.03, 0.02, size=5000)
    constant = fit_constant(residuals, prior_deviation=0.1)
    assert constant.mean == pytest.approx(0.03, abs=1e-3)
    assert math.sqrt(constant.predictive_variance) == pytest.approx(0.02, rel=0.1)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_the_constant_belief_is_one_mean_and_one_deviation_with_a_valid_covariance(seed):
    rng = np.random.default_rng(seed)
    constant = fit_constant(rng.normal(0.02, 0.03, size=int(rng.integers(0, 6))), prior_deviation=0.05)
    screened, inputs = rng.uniform(0, 0.2, 7), rng.normal(size=(7, 3))
    inputs[1] = inputs[0]
    belief = constant_belief(constant, screened=screened, inputs=inputs, account={})
    assert belief.mean - screened == pytest.approx(np.full(7, constant.mean))
    assert belief.deviation == pytest.approx(np.full(7, math.sqrt(constant.predictive_variance)))
    assert np.linalg.eigvalsh(belief.covariance).min() > -1e-12
    assert belief.covariance[0, 1] > belief.covariance[0, 2:].max()


def test_holding_out_in_one_batch_equals_fitting_without_each_in_turn(fitted):
    _, inputs, residuals, _ = fitted
    mean, variance = predict_held_out(inputs[:10], residuals[:10], held=[0, 4, 9], unit=0.05)
    for place, index in enumerate((0, 4, 9)):
        others = [j for j in range(10) if j != index]
        process = fit_gaussian_process(inputs[others], residuals[others], unit=0.05)
        expected, covariance = process.predict(inputs[[index]])
        assert mean[place] == pytest.approx(expected[0], abs=1e-6)
        assert variance[place] == pytest.approx(covariance[0, 0] + process.noise, rel=1e-4)


def test_standardise_leaves_out_what_does_not_vary_and_tames_outliers():
    rng = np.random.default_rng(0)
    features = np.column_stack([rng.normal(5, 2, 50), np.full(50, 3.0), rng.normal(size=50)])
    features[0, 2] = 1e6
    inputs = standardise(features)
    assert inputs.shape == (50, 2)
    assert inputs[:, 0].mean() == pytest.approx(0, abs=0.05)
    assert inputs[:, 0].std() == pytest.approx(1, abs=0.05)
    assert np.abs(inputs).max() <= 4
