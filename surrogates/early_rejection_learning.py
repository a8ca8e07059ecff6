"""Fitting a rule of early rejection to relaxations that were run to their end, and the test it must pass.

The rate that matters is that among the crystals worth finding, so the quantile is taken over those alone; what the
others and the reference phases teach is how far a relaxation still has to go, so that the two parts of a rule are
fitted to different relaxations, as a split conformal bound asks for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from surrogates.early_rejection import PLACES, SMALLEST_SCALE, Checkpoint, Rule, Scale
from surrogates.potential import Floats

FEWEST_TO_PREDICT: Final = 20
"""Relaxations seen at a checkpoint; with fewer its five parameters mean little, and nothing is abandoned there."""
FOLDS: Final = 10
SIGNIFICANCE: Final = 0.05
"""A rule is refused when so many violations or more have at most this chance at the stated rate."""
SMALLEST_SAVING: Final = 0.01
"""Share of evaluations below which a rule is not worth its risk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A relaxation that was run to its end, whatever any rule said."""

    trace: tuple[Checkpoint, ...]
    energy_per_atom: float
    """eV/atom, where it ended; in the trace's convention."""
    evaluations: int
    ceiling: float
    """Highest energy that may still matter at its composition, eV/atom, in the trace's convention."""
    slack: float = 0.0
    """eV/atom by which its ceiling came to lie lower, once its crystal's correction was known; never negative."""

    @property
    def matters(self) -> bool:
        """Whether it ended at or below its ceiling."""
        return self.energy_per_atom <= self.ceiling - self.slack

    def left(self, checkpoint: Checkpoint) -> float:
        """What it gained after a checkpoint, eV/atom; never negative."""
        return max(checkpoint.energy_per_atom - self.energy_per_atom, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What rules fitted without a run would have made of it, over all runs."""

    calibrating: int
    """Runs that matter."""
    violations: int
    """Of those, the ones that stood above their ceiling by more than a margin: what the stated rate bounds."""
    lost: int
    """Of those, the ones that would have been abandoned: violations where the rule had seen the like."""
    abandoned: int
    runs: int
    saved: float
    """Share of all evaluations that would not have been run."""

    def passes(self, false_negative_rate: float) -> bool:
        """Whether the violations agree with the stated rate and the saving is worth having."""
        from scipy.stats import binom

        chance = float(binom.sf(self.violations - 1, self.calibrating, false_negative_rate))
        return chance >= SIGNIFICANCE and self.saved >= SMALLEST_SAVING

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


def idle_rule(false_negative_rate: float, *, learned_under: str = "") -> Rule:
    """The rule that abandons nothing."""
    return Rule(
        false_negative_rate=false_negative_rate,
        quantile=0.0,
        scales=(),
        calibrated_on=0,
        learned_under=learned_under,
    )


def fit_rule(
    runs: Sequence[Run], *, beside: Sequence[Run], false_negative_rate: float, learned_under: str = ""
) -> Rule | None:
    """Fit a rule.

    Args:
        runs: of crystals drawn as those were that the rule is for; none may have been left out because a rule
            abandoned it, or the largest drops would be missing.
        beside: runs of other crystals, such as reference phases: they teach the prediction, not the quantile.
        false_negative_rate: stated, between 0 and 1.
        learned_under: names what was the same for all of them.

    Returns:
        The rule; None where there are too few runs for that rate: below 1 / rate - 1 that matter, no finite quantile
        exists, and a prediction needs `FEWEST_TO_PREDICT`.
    """
    calibrating = [run for run in runs if run.matters]
    rank = math.ceil((len(calibrating) + 1) * (1 - false_negative_rate) - 1e-9)
    if rank > len(calibrating):
        return None
    predicting = [*(run for run in runs if not run.matters), *beside]
    scales = [scale for at in PLACES if (scale := _fit_scale(at, predicting, calibrating)) is not None]
    if not scales:
        return None
    scores = sorted(_score(run, scales) for run in calibrating)
    return Rule(
        false_negative_rate=false_negative_rate,
        quantile=scores[rank - 1] if rank > 0 else 0.0,
        scales=tuple(scales),
        calibrated_on=len(calibrating),
        learned_under=learned_under,
    )


def try_rule(runs: Sequence[Run], *, beside: Sequence[Run], false_negative_rate: float) -> Trial | None:
    """Judge each tenth of the runs by a rule fitted to the others; None where they are too few for one."""
    violations = lost = abandoned = saved = 0
    for fold in range(FOLDS):
        rule = fit_rule(
            [run for i, run in enumerate(runs) if i % FOLDS != fold],
            beside=beside,
            false_negative_rate=false_negative_rate,
        )
        if rule is None:
            return None
        for run in runs[fold::FOLDS]:
            at = rule.first_abandoned(run.trace, ceiling=run.ceiling)
            violations += run.matters and _score(run, rule.scales) > rule.quantile
            lost += run.matters and at is not None
            abandoned += at is not None
            saved += run.evaluations - at.evaluations if at else 0
    return Trial(
        calibrating=sum(run.matters for run in runs),
        violations=violations,
        lost=lost,
        abandoned=abandoned,
        runs=len(runs),
        saved=saved / max(sum(run.evaluations for run in runs), 1),
    )


def _score(run: Run, scales: Sequence[Scale]) -> float:
    """The largest ratio of height above the ceiling to prediction over a run's checkpoints; 0 where it was below."""
    known = {(scale.released, scale.since): scale for scale in scales}
    heights = (
        (point.energy_per_atom - run.ceiling) / known[point.place].predict(point)
        for point in run.trace
        if point.place in known
    )
    return max(0.0, *heights, 0.0)


def _fit_scale(
    place: tuple[bool, int], predicting: Sequence[Run], calibrating: Sequence[Run]
) -> Scale | None:
    """Log-linear least squares with no negative slope, over the runs that passed this checkpoint."""
    from scipy.optimize import lsq_linear

    seen = [(run, point) for run in predicting for point in run.trace if point.place == place]
    if len(seen) < FEWEST_TO_PREDICT:
        return None
    features: Floats = np.array([point.features for _, point in seen])
    target = np.log([run.left(point) + SMALLEST_SCALE for run, point in seen])
    design = np.column_stack([np.ones(len(seen)), features])
    solution = lsq_linear(design, target, bounds=([-np.inf, *[0.0] * features.shape[1]], np.inf)).x
    own = [point.features for run in calibrating for point in run.trace if point.place == place]
    everything = np.concatenate([features, *([np.array(own)] if own else [])])
    # Rounded, so that the rule is the same after a round trip through any database.
    intercept, *slopes = (round(float(value), 9) for value in solution)
    return Scale(
        released=place[0],
        since=place[1],
        intercept=intercept,
        slopes=tuple(slopes),
        lowest=tuple(float(v) for v in everything.min(axis=0)),
        highest=tuple(float(v) for v in everything.max(axis=0)),
    )
