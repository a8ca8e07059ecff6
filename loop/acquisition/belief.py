"""What is believed of the verified energies of the options: one joint normal distribution.

The options of an iteration are a finite list, so every quantity that a batch choice needs follows in closed
form from this distribution, and conditioning on one more (imagined) verification is a rank-one update. It
gives what BoTorch's `condition_on_observations` gives for the same model, which a test holds, at a fraction
of the time, and works for the constant model just as for the Gaussian process.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PRIOR_MEAN_WEIGHT: Final = 1.0
"""Observations that the prior mean of 0 counts for: half of the prior variance is systematic, half is not."""
PRIOR_SCALE_WEIGHT: Final = 4.0
"""Observations that the prior deviation counts for."""
LOCAL_SHARE: Final = 0.5
"""Share of the unsystematic variance that neighbours in feature space have in common under the constant
model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """Joint normal distribution of the options' expected verified energies above hull, with what says it."""

    mean: Floats
    """`n_options`, eV/atom."""
    covariance: Floats
    """`n_options x n_options`, of the part that the model can learn, (eV/atom)²."""
    noise: float
    """Variance of one verification about its expectation, (eV/atom)²."""
    account: Mapping[str, Any]
    """JSON values: which model speaks, on how many observations, and why."""

    @property
    def deviation(self) -> Floats:
        """`n_options`: standard deviation of the verified value, eV/atom."""
        variance = np.clip(np.diagonal(self.covariance), 0.0, None) + self.noise
        return np.asarray(np.sqrt(variance), dtype=np.float64)

    def probability_below(self, threshold: float) -> Floats:
        """`n_options`: probability that verification gives at most `threshold` (eV/atom)."""
        from scipy.special import ndtr

        return np.asarray(ndtr((threshold - self.mean) / self.deviation), dtype=np.float64)

    def given(self, index: int, value: float) -> Belief:
        """The belief after verification of option `index` gave `value` (eV/atom)."""
        gain = self.covariance[:, index] / (self.covariance[index, index] + self.noise)
        return replace(
            self,
            mean=self.mean + gain * (value - self.mean[index]),
            covariance=self.covariance - np.outer(gain, self.covariance[index]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantResidual:
    """The simple model: one mean residual and one deviation for every candidate."""

    mean: float
    """eV/atom."""
    variance: float
    """Of a residual about the mean, (eV/atom)²."""
    weight: float
    """Observations that the mean rests on, those of the prior included."""

    @property
    def predictive_variance(self) -> float:
        """Of the next residual, the mean's own uncertainty included, (eV/atom)²."""
        return self.variance * (1 + 1 / self.weight)


def fit_constant(residuals: Floats, *, prior_deviation: float) -> ConstantResidual:
    """Mean residual and deviation, shrunk towards 0 and `prior_deviation`.

    A normal model with its conjugate prior (Gelman et al., Bayesian Data Analysis, 3rd ed., section 3.3).
    Without observations the predicted residual is 0 with exactly `prior_deviation`; with many, the sample's
    own figures.

    Args:
        residuals: `n_observations`, verified minus screened, eV/atom; may be empty.
        prior_deviation: eV/atom.
    """
    n = residuals.size
    prior_variance = prior_deviation**2 / (1 + 1 / PRIOR_MEAN_WEIGHT)
    average = float(residuals.mean()) if n else 0.0
    shrinkage = n / (PRIOR_MEAN_WEIGHT + n)
    squares = float(((residuals - average) ** 2).sum()) + PRIOR_MEAN_WEIGHT * shrinkage * average**2
    return ConstantResidual(
        mean=shrinkage * average,
        variance=(PRIOR_SCALE_WEIGHT * prior_variance + squares) / (PRIOR_SCALE_WEIGHT + n),
        weight=PRIOR_MEAN_WEIGHT + n,
    )


def constant_belief(
    fitted: ConstantResidual, *, screened: Floats, inputs: Floats, account: Mapping[str, Any]
) -> Belief:
    """The constant model's belief.

    All options have the same mean residual and deviation. Errors of options that are close in feature space
    are taken to be correlated, so that a batch can tell near-duplicates from independent bets.

    Args:
        fitted: of `fit_constant`.
        screened: `n_options`, energy above hull at the screening fidelity, eV/atom.
        inputs: `n_options x n_inputs`, standardised features.
        account: JSON values for the reasons.
    """
    distances = np.linalg.norm(inputs[:, None] - inputs[None], axis=-1) / math.sqrt(max(1, inputs.shape[1]))
    # Matérn 5/2 at a length of one typical deviation per feature, the prior's shape in the Gaussian process.
    scaled = math.sqrt(5) * distances
    alike = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    return Belief(
        mean=screened + fitted.mean,
        covariance=fitted.variance * (1 / fitted.weight + LOCAL_SHARE * alike),
        noise=(1 - LOCAL_SHARE) * fitted.variance,
        account=account,
    )
