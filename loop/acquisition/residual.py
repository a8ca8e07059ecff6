"""Policies on a model of how far the screen is off.

What is sought is as many truly (meta)stable phases per cost as possible: active search for members of a class
(Garnett et al., ICML 2012), not the minimum of a function, so expected improvement in BoTorch's sense asks the
wrong question. The expected worth of verifying a candidate is the worth of a metastable phase times the
probability of one (BoTorch's `LogProbabilityOfFeasibility`, exponentiated), plus that of a stable one; it is
divided by the declared cost.

Expected numbers add up, so the best batch by this alone is the one of the largest terms, near-duplicates
included. Hence each member is chosen as if those before it had come out somewhat worse than predicted: a batch
then spreads over independent hypotheses. Jiang et al. (NeurIPS 2018) imagine outright failure; that is absurd
for a candidate that is all but sure, drags its equally good neighbours down with it and lost finds where most
candidates are good, while half a deviation did as well where few are (docs/acquisition.md). BoTorch's own batch
criterion of this kind, `qLogProbabilityOfFeasibility`, averages over Monte Carlo samples and knows no costs;
here all is in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loop.acquisition.belief import Belief
from loop.acquisition.model import believe
from loop.acquisition.options import ConfidenceOptions, ResidualOptions, read_options
from loop.acquisition.policy import Choice, Observation, Option
from loop.acquisition.selection import check_inputs, choices_from, pick
from loop.spec import Thresholds

Floats = NDArray[np.float64]


class Residual:
    """The most expected discoveries per cost, by a Gaussian process on verified minus screened."""

    name = "residual"

    def __init__(
        self, options: Mapping[str, Any] | None = None, *, thresholds: Thresholds | None = None
    ) -> None:
        self.settings = read_options(ResidualOptions, options or {}, policy=self.name)
        self.thresholds = thresholds or Thresholds()

    def choose(
        self,
        options: Sequence[Option],
        observations: Sequence[Observation],
        *,
        batch_size: int,
        budget: float,
        rng: np.random.Generator,
    ) -> list[Choice]:
        """Choose the batch of the largest expected worth per cost; `rng` is not drawn from.

        The score is expected worth per (cost to the power `cost_exponent`) of an option by itself.
        """
        del rng
        check_inputs(options, observations, budget=budget)
        if not options:
            return []
        settings, thresholds = self.settings, self.thresholds
        belief = believe(options, observations, settings=settings)
        price = np.array([o.cost for o in options]) ** settings.cost_exponent

        def worth_per_cost(belief: Belief) -> Floats:
            metastable = belief.probability_below(thresholds.metastable)
            stable = belief.probability_below(thresholds.stable)
            worth = settings.worth_metastable * metastable + settings.worth_stable * stable
            return np.asarray(worth / price, dtype=np.float64)

        def imagine_worse(belief: Belief, index: int) -> Belief:
            value = float(belief.mean[index] + settings.pessimism * belief.deviation[index])
            return belief.given(index, value)

        metastable = belief.probability_below(thresholds.metastable)
        stable = belief.probability_below(thresholds.stable)
        return choices_from(
            options,
            scores=worth_per_cost(belief),
            mean=belief.mean,
            deviation=belief.deviation,
            picked=pick(
                options,
                batch_size=batch_size,
                budget=budget,
                next_scores=_batch_scores(
                    belief, worth_per_cost, imagine_worse if settings.pessimism else None
                ),
            ),
            reasons=lambda i: {
                **belief.account,
                "score": "expected worth per cost",
                "probability_metastable": float(metastable[i]),
                "probability_stable": float(stable[i]),
                "cost": options[i].cost,
            },
        )


class UpperConfidenceBound:
    """The lowest verified energy above hull that may be hoped for: mean minus sqrt(beta) deviations.

    BoTorch's `UpperConfidenceBound` of the negative energy, in batches by hallucinated observations at the
    mean (GP-BUCB: Desautels et al., JMLR 15, 3873, 2014), on the same model as `residual`. It ignores cost
    but for ties.
    """

    name = "upper_confidence_bound"

    def __init__(
        self, options: Mapping[str, Any] | None = None, *, thresholds: Thresholds | None = None
    ) -> None:
        self.settings = read_options(ConfidenceOptions, options or {}, policy=self.name)
        del thresholds  # a bound asks for the lowest energy, not for a threshold

    def choose(
        self,
        options: Sequence[Option],
        observations: Sequence[Observation],
        *,
        batch_size: int,
        budget: float,
        rng: np.random.Generator,
    ) -> list[Choice]:
        """Choose by the bound; `rng` is not drawn from. The score is its negative, eV/atom."""
        del rng
        check_inputs(options, observations, budget=budget)
        if not options:
            return []
        belief = believe(options, observations, settings=self.settings)

        def bound(belief: Belief) -> Floats:
            return np.asarray(
                math.sqrt(self.settings.beta) * belief.deviation - belief.mean, dtype=np.float64
            )

        def imagine_mean(belief: Belief, index: int) -> Belief:
            return belief.given(index, float(belief.mean[index]))

        scores = bound(belief)
        return choices_from(
            options,
            scores=scores,
            mean=belief.mean,
            deviation=belief.deviation,
            picked=pick(
                options,
                batch_size=batch_size,
                budget=budget,
                next_scores=_batch_scores(belief, bound, imagine_mean),
            ),
            reasons=lambda _: {**belief.account, "score": "minus the lower confidence bound, eV/atom"},
        )


@dataclass(slots=True)
class _Imagined:
    """The belief after the picks so far, kept so that each pick costs one update."""

    belief: Belief
    picks: int = 0


def _batch_scores(
    belief: Belief, score: Callable[[Belief], Floats], imagine: Callable[[Belief, int], Belief] | None
) -> Callable[[Sequence[int]], Floats]:
    """Scores given what is picked, by imagining an outcome of every pick (none where `imagine` is None)."""
    state = _Imagined(belief)

    def scores(taken: Sequence[int]) -> Floats:
        if imagine is not None:
            for index in taken[state.picks :]:
                state.belief = imagine(state.belief, index)
            state.picks = len(taken)
        return score(state.belief)

    return scores
