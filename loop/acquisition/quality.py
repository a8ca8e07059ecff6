"""Whether the Gaussian process earns its place: its errors on candidates that it was not fitted on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loop.acquisition.belief import fit_constant
from loop.acquisition.gaussian_process import predict_held_out, standardise
from loop.acquisition.options import ModelOptions
from loop.acquisition.policy import Observation

Floats = NDArray[np.float64]

MOST_HELD_OUT: Final = 40
"""Observations that are left out at most, evenly drawn: enough to judge by, and it bounds time and memory."""
VARIANCE_FACTOR_WEIGHT: Final = 4.0
"""Observations that the prior variance factor of 1 counts for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """How well one model predicted held-out verified energies above hull."""

    mean_absolute_error: float
    """eV/atom."""
    negative_log_density: float
    """Mean negative logarithm of the predictive density at the verified value, with energies in eV/atom:
    lower is better, and a model that is wrong and sure of itself is punished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Held-out errors of the three models on the same candidates."""

    n: int
    """Candidates that were held out."""
    plain: Errors
    """The screened value as it is, with the prior deviation."""
    constant: Errors
    """The screened value plus the mean residual, with its deviation."""
    gaussian_process: Errors
    variance_factor: float
    """By which the Gaussian process's variances are multiplied, learned from its held-out errors: residuals
    have heavier tails than a normal distribution, and a fit on few of them is too sure of itself."""

    def to_json(self) -> Mapping[str, Any]:
        """As JSON values, for the ledger's model versions and for the reasons of a choice."""
        return asdict(self)


def leave_one_out(
    observations: Sequence[Observation], *, options: ModelOptions | None = None
) -> Quality | None:
    """Predict each observation from the others, every model refitted without it, hyperparameters included.

    BoTorch's `efficient_loo_cv` keeps the hyperparameters of the full fit, which saw the held-out point: with
    8 to 48 residuals of real systems its log density was 0.2 to 0.8 better than on fresh candidates, and it
    would have promoted nearly always (docs/acquisition.md). Refitting matched fresh candidates and takes
    under a second.

    Beyond `MOST_HELD_OUT` observations, only so many of them are left out, spread evenly over the candidates'
    ids.

    Returns:
        None with fewer than two observations, of which neither could be predicted from another.
    """
    options = options or ModelOptions()
    ordered = sorted(observations, key=lambda o: o.candidate_id)
    n = len(ordered)
    if n < 2:
        return None
    everything = clipped_residuals(ordered, options)
    inputs = standardise(np.stack([o.features for o in ordered]))
    unit = options.prior_deviation
    held = np.unique(np.linspace(0, n - 1, min(n, MOST_HELD_OUT)).round().astype(int)).tolist()
    constants = [fit_constant(np.delete(everything, i), prior_deviation=unit) for i in held]
    constant_mean = np.array([c.mean for c in constants])
    constant_variance = np.array([c.predictive_variance for c in constants])
    if inputs.shape[1] == 0:
        mean, variance = constant_mean, constant_variance
    else:
        mean, variance = predict_held_out(inputs, everything, held=held, unit=unit)
    residuals = everything[held]
    squares = (residuals - mean) ** 2 / variance
    weight, m = VARIANCE_FACTOR_WEIGHT, len(held)
    # Each candidate's own error stays out of the factor that it is judged with.
    without_own = (weight + squares.sum() - squares) / (weight + m - 1)
    return Quality(
        n=m,
        plain=_errors(residuals, np.zeros(m), np.full(m, unit**2)),
        constant=_errors(residuals, constant_mean, constant_variance),
        gaussian_process=_errors(residuals, mean, variance * without_own),
        variance_factor=float((weight + squares.sum()) / (weight + m)),
    )


def promote(quality: Quality) -> bool:
    """Whether the Gaussian process may decide: it must beat the plain screened value in both figures.

    The smaller error alone could come with a deviation that is far too small, and deviations are what the
    choice lives on. It need not beat the constant model, which it contains: demanding that kept it out of
    half of the iterations on real systems and cost finds (docs/acquisition.md).
    """
    process, plain = quality.gaussian_process, quality.plain
    return (
        process.mean_absolute_error < plain.mean_absolute_error
        and process.negative_log_density < plain.negative_log_density
    )


def clipped_residuals(observations: Sequence[Observation], options: ModelOptions) -> Floats:
    """`n_observations`: verified minus screened within ±`largest_residual`, eV/atom."""
    residuals = np.array([o.verified - o.screened for o in observations], dtype=np.float64)
    return np.asarray(
        np.clip(residuals, -options.largest_residual, options.largest_residual), dtype=np.float64
    )


def _errors(residuals: Floats, mean: Floats, variance: Floats) -> Errors:
    """Errors of normal predictions (all `n_observations`, eV/atom)."""
    density = 0.5 * ((residuals - mean) ** 2 / variance + np.log(2 * math.pi * variance))
    return Errors(
        mean_absolute_error=float(np.abs(residuals - mean).mean()),
        negative_log_density=float(density.mean()),
    )
