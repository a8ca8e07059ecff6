"""The Gaussian process that learns how far the screen is off: BoTorch's `SingleTaskGP` with its own priors.

The target is the residual, verified minus screened, in units of the prior deviation and not standardised by
its
sample: the deviation of three residuals says little, and a fixed unit lets the same priors hold from the
first observation to the hundredth. Hyperparameters are at their maximum a posteriori.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loop.errors import AcquisitionError

Floats = NDArray[np.float64]

LARGEST_INPUT: Final = 4.0
"""Standardised features are kept within this many deviations: one odd cell must not squeeze all others
together."""
PRIOR_VARIANCE: Final = 0.5
"""Prior variance of the mean residual, of the signal and of the noise, in units of the prior deviation
squared."""
FIT_SEED: Final = 0
"""Seed of the fit's retries, which alone are random; without it the same data could give other
hyperparameters."""


def standardise(features: Floats) -> Floats:
    """Features of one pool with mean 0 and deviation 1; those that do not vary are left out.

    Args:
        features: `n_rows x n_features`, the observations' and the options' together.

    Returns:
        `n_rows x n_inputs`.
    """
    deviation = features.std(axis=0)
    varies = deviation > 1e-9 * (1 + np.abs(features).max(axis=0, initial=0.0))
    scaled = (features[:, varies] - features[:, varies].mean(axis=0)) / deviation[varies]
    return np.asarray(np.clip(scaled, -LARGEST_INPUT, LARGEST_INPUT), dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianProcess:
    """A fitted Gaussian process on residuals."""

    model: Any
    """botorch's `SingleTaskGP`; its outcome is in units of `unit`."""
    unit: float
    """eV/atom."""

    def predict(self, inputs: Floats) -> tuple[Floats, Floats]:
        """The residual at `n x n_inputs` points: mean (`n`, eV/atom), covariance (`n x n`, (eV/atom)²)."""
        import torch

        with _deterministic(), torch.no_grad():
            posterior = self.model.posterior(torch.as_tensor(inputs, dtype=torch.float64))
            mean = posterior.mean.squeeze(-1).numpy()
            covariance = posterior.distribution.covariance_matrix.numpy()
        return self.unit * mean, self.unit**2 * 0.5 * (covariance + covariance.T)

    @property
    def noise(self) -> float:
        """Variance of a residual about its expectation, (eV/atom)²."""
        return float(self.model.likelihood.noise.item()) * self.unit**2

    def hyperparameters(self) -> Mapping[str, float]:
        """JSON values: mean residual, deviations of signal and noise (eV/atom), and length scale."""
        return {
            "mean_residual": self.unit * float(self.model.mean_module.constant.item()),
            "signal_deviation": self.unit * math.sqrt(float(self.model.covar_module.outputscale.item())),
            "noise_deviation": math.sqrt(self.noise),
            "length_scale": float(self.model.covar_module.base_kernel.lengthscale.item()),
        }


def fit_gaussian_process(inputs: Floats, residuals: Floats, *, unit: float) -> GaussianProcess:
    """Fit the Gaussian process. The same data give the same fit in every process.

    Args:
        inputs: `n_observations x n_inputs`, standardised.
        residuals: `n_observations`, eV/atom.
        unit: prior deviation of a residual, eV/atom.

    Raises:
        AcquisitionError: no observations, or the fit did not converge from any start.
    """
    if residuals.size == 0 or inputs.shape[1] == 0:
        raise AcquisitionError("a Gaussian process needs observations whose features vary; found none")
    with _deterministic():
        model = build_model(inputs, residuals / unit)
        _fit(model)
    return GaussianProcess(model=model, unit=unit)


def predict_held_out(
    inputs: Floats, residuals: Floats, *, held: Sequence[int], unit: float
) -> tuple[Floats, Floats]:
    """What Gaussian processes fitted without an observation say of it, hyperparameters and all.

    All of them are fitted at once, as one batched model whose members BoTorch optimises independently.

    Args:
        inputs: `n_observations x n_inputs`, standardised.
        residuals: `n_observations`, eV/atom.
        held: `n_held`, indices of the observations to leave out, one at a time.
        unit: prior deviation of a residual, eV/atom.

    Returns:
        Mean (eV/atom) and variance of the residual itself, noise included ((eV/atom)²), each `n_held`.

    Raises:
        AcquisitionError: fewer than two observations, or the fit did not converge from any start.
    """
    import torch

    n = residuals.size
    if n < 2 or inputs.shape[1] == 0:
        raise AcquisitionError("holding out an observation needs two of them whose features vary")
    others = np.array([[j for j in range(n) if j != i] for i in held])
    with _deterministic():
        model = build_model(inputs[others], residuals[others] / unit)
        _fit(model)
        with torch.no_grad():
            points = torch.as_tensor(inputs[list(held)], dtype=torch.float64).unsqueeze(-2)
            posterior = model.posterior(points, observation_noise=True)
            mean, variance = posterior.mean.flatten().numpy(), posterior.variance.flatten().numpy()
    return unit * mean, unit**2 * variance


def _fit(model: Any) -> None:
    """Move a model's hyperparameters to their maximum a posteriori."""
    from botorch.exceptions.errors import ModelFittingError
    from botorch.fit import fit_gpytorch_mll
    from gpytorch.mlls import ExactMarginalLogLikelihood

    try:
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    except ModelFittingError as error:
        number = model.train_targets.shape[-1]
        raise AcquisitionError(
            f"the Gaussian process on {number} residuals cannot be fitted: {error}"
        ) from error
    model.eval()


def build_model(inputs: Floats, targets: Floats) -> Any:
    """The model before its fit, at the modes of its priors.

    One length scale for all features: with a length scale each, as BoTorch's default has, twenty-six of them
    were fitted to the noise of a few dozen residuals (held-out z² up to 5.5 on Li-Fe-O against 2.8, at the
    same absolute error and ten times the time; docs/acquisition.md). Its prior grows with the square root of
    the number of features, as distances do (Hvarfner et al., ICML 2024).
    """
    import torch
    from botorch.models import SingleTaskGP
    from gpytorch.constraints import GreaterThan
    from gpytorch.kernels import MaternKernel, ScaleKernel
    from gpytorch.likelihoods import GaussianLikelihood
    from gpytorch.means import ConstantMean
    from gpytorch.priors import LogNormalPrior, NormalPrior

    batch = torch.Size(inputs.shape[:-2])
    length_prior = LogNormalPrior(math.log(0.5 * math.sqrt(inputs.shape[-1])), 0.5)
    signal_prior = LogNormalPrior(math.log(PRIOR_VARIANCE), 0.75)
    noise_prior = LogNormalPrior(math.log(PRIOR_VARIANCE), 0.4)

    def above(bound: float, prior: Any) -> Any:
        return GreaterThan(bound, transform=None, initial_value=prior.mode)

    kernel = MaternKernel(
        nu=2.5,
        batch_shape=batch,
        lengthscale_prior=length_prior,
        lengthscale_constraint=above(0.025, length_prior),
    )
    return SingleTaskGP(
        torch.as_tensor(inputs, dtype=torch.float64),
        torch.as_tensor(targets, dtype=torch.float64).unsqueeze(-1),
        likelihood=GaussianLikelihood(
            batch_shape=batch, noise_prior=noise_prior, noise_constraint=above(1e-4, noise_prior)
        ),
        covar_module=ScaleKernel(
            kernel,
            batch_shape=batch,
            outputscale_prior=signal_prior,
            outputscale_constraint=above(1e-4, signal_prior),
        ),
        mean_module=ConstantMean(
            batch_shape=batch, constant_prior=NormalPrior(0.0, math.sqrt(PRIOR_VARIANCE))
        ),
        # The unit is fixed by the prior, and inputs are standardised over the whole pool.
        outcome_transform=None,
        input_transform=None,
    )


@contextmanager
def _deterministic() -> Iterator[None]:
    """One thread, since sums on several round differently from run to run, and the fit's own seed."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(FIT_SEED)
            yield
    finally:
        torch.set_num_threads(before)
