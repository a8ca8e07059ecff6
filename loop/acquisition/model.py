"""Which model speaks about the options, given what has been verified."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from loop.acquisition.belief import Belief, constant_belief, fit_constant
from loop.acquisition.gaussian_process import fit_gaussian_process, standardise
from loop.acquisition.options import ModelOptions
from loop.acquisition.policy import Observation, Option
from loop.acquisition.quality import clipped_residuals, leave_one_out, promote


def believe(
    options: Sequence[Option], observations: Sequence[Observation], *, settings: ModelOptions
) -> Belief:
    """The belief about the options' verified energies above hull that the observations support.

    The Gaussian process speaks where there are enough observations and it beats the plain screened value on
    held-out ones; otherwise the constant model does, and the account says why.
    """
    # Sums in another order round differently: sorted, the order of arrival cannot change a decision.
    known = sorted(observations, key=lambda o: o.candidate_id)
    residuals = clipped_residuals(known, settings)
    screened = np.array([o.screened for o in options])
    everyone: list[Option | Observation] = [*known, *options]
    pool = standardise(np.stack([o.features for o in everyone]))
    seen, unseen = pool[: len(known)], pool[len(known) :]
    account: dict[str, Any] = {"observations": len(known)}
    if len(known) < settings.minimum_observations:
        why = f"fewer than {settings.minimum_observations} verified candidates"
    elif pool.shape[1] == 0:
        why = "no feature varies"
    else:
        quality = leave_one_out(known, options=settings)
        account["held_out"] = None if quality is None else quality.to_json()
        if quality is not None and promote(quality):
            fitted = fit_gaussian_process(seen, residuals, unit=settings.prior_deviation)
            mean, covariance = fitted.predict(unseen)
            account |= {"model": "gaussian process", **fitted.hyperparameters()}
            return Belief(
                mean=screened + mean,
                covariance=quality.variance_factor * covariance,
                noise=quality.variance_factor * fitted.noise,
                account=account,
            )
        why = "the Gaussian process was no better than the screened value on held-out candidates"
    constant = fit_constant(residuals, prior_deviation=settings.prior_deviation)
    account |= {
        "model": "constant residual" if known else "prior",
        "why": why,
        "mean_residual": constant.mean,
        "deviation": math.sqrt(constant.predictive_variance),
    }
    return constant_belief(constant, screened=screened, inputs=unseen, account=account)
