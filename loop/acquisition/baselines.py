"""Policies to measure others against: they learn nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from loop.acquisition.options import NoOptions, read_options
from loop.acquisition.policy import Choice, Observation, Option
from loop.acquisition.selection import check_inputs, choices_from, pick
from loop.spec import Thresholds


class Greedy:
    """The lowest screened energy above hull first; of equals the cheaper."""

    name = "greedy"

    def __init__(
        self, options: Mapping[str, Any] | None = None, *, thresholds: Thresholds | None = None
    ) -> None:
        read_options(NoOptions, options or {}, policy=self.name)
        del thresholds  # every policy is offered them; this one has no use for them

    def choose(
        self,
        options: Sequence[Option],
        observations: Sequence[Observation],
        *,
        batch_size: int,
        budget: float,
        rng: np.random.Generator,
    ) -> list[Choice]:
        """Choose by the screen alone. The screened value is the prediction, without any doubt."""
        del rng
        check_inputs(options, observations, budget=budget)
        screened = np.array([o.screened for o in options], dtype=np.float64)
        return choices_from(
            options,
            scores=-screened,
            mean=screened,
            deviation=np.zeros(len(options)),
            picked=pick(options, batch_size=batch_size, budget=budget, next_scores=lambda _: -screened),
            reasons=lambda _: {"model": "none", "score": "minus the screened energy above hull, eV/atom"},
        )


class Random:
    """Every option is as likely as any other."""

    name = "random"

    def __init__(
        self, options: Mapping[str, Any] | None = None, *, thresholds: Thresholds | None = None
    ) -> None:
        read_options(NoOptions, options or {}, policy=self.name)
        del thresholds

    def choose(
        self,
        options: Sequence[Option],
        observations: Sequence[Observation],
        *,
        batch_size: int,
        budget: float,
        rng: np.random.Generator,
    ) -> list[Choice]:
        """Choose by lot. The score is the lot."""
        check_inputs(options, observations, budget=budget)
        # Lots go out by id, so that the order of the options cannot change who is drawn.
        ids = sorted(o.candidate_id for o in options)
        lot = dict(zip(ids, rng.random(len(ids)), strict=True))
        lots = np.array([lot[o.candidate_id] for o in options], dtype=np.float64)
        return choices_from(
            options,
            scores=lots,
            mean=np.array([o.screened for o in options], dtype=np.float64),
            deviation=np.zeros(len(options)),
            picked=pick(options, batch_size=batch_size, budget=budget, next_scores=lambda _: lots),
            reasons=lambda _: {"model": "none", "score": "a random number"},
        )
