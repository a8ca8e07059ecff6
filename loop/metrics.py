"""Figures of merit of a campaign: counts first, then rates, each with its uncertainty.

Every energy above hull here is at the fidelity that verified it; whoever shows these figures names that
fidelity.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loop.acquisition.policy import Role
from loop.spec import Thresholds

CONFIDENCE: Final = 0.95
"""Level of every interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proportion:
    """A share of a counted whole, with its binomial interval."""

    successes: int
    trials: int
    estimate: float | None
    """successes / trials; None where there were no trials."""
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A candidate that was sent to verification, and what came of it. In order of verification."""

    candidate_id: str
    iteration: int
    role: Role
    """`chosen` by the policy or drawn for the `audit`."""
    screened: float
    """Energy above hull at `screened_at`, eV/atom."""
    verified: float | None
    """Energy above hull at the verifying fidelity, eV/atom; None where verification failed."""
    unique: bool = True
    """The first of its kind in the campaign."""
    novel: bool = True
    """Matches none of the reference phases."""
    dynamically_stable: bool | None = None
    """None where phonons were not asked or gave no answer."""
    phonons_asked: bool = False
    """Whether the campaign demands dynamical stability of this candidate."""
    cost: Mapping[str, float] | None = None
    """Settled cost of its verification, by currency."""
    screened_at: str = ""
    """The fidelity of the last stage of the screen that judged it."""


def is_within(candidate: Verified, threshold: float) -> bool:
    """Whether it was verified to lie at most `threshold` (eV/atom) above the hull."""
    return candidate.verified is not None and candidate.verified <= threshold


def is_discovery(candidate: Verified, thresholds: Thresholds) -> bool:
    """Verified (meta)stable, unique, novel, and dynamically stable where phonons were asked."""
    return (
        is_within(candidate, thresholds.metastable)
        and candidate.unique
        and candidate.novel
        and (candidate.dynamically_stable is True or not candidate.phonons_asked)
    )


def proportion(successes: int, trials: int, *, confidence: float = CONFIDENCE) -> Proportion:
    """Share with Wilson's score interval (Wilson, J. Am. Stat. Assoc. 22, 209, 1927).

    Wilson's interval holds its level for the few trials of a campaign and for 0 or all successes, where the
    normal approximation has no width. With no trials it is [0, 1].

    Raises:
        ValueError: more successes than trials, or a negative count.
    """
    from scipy.stats import binomtest

    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie between 0 and trials: found {successes} of {trials}")
    if trials == 0:
        return Proportion(successes=0, trials=0, estimate=None, low=0.0, high=1.0)
    interval = binomtest(successes, trials).proportion_ci(confidence_level=confidence, method="wilson")
    return Proportion(
        successes=successes,
        trials=trials,
        estimate=successes / trials,
        low=float(interval.low),
        high=float(interval.high),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SunCounts:
    """Stable, unique, novel: shares of all candidates that were sent to verification, failures included."""

    stable: Proportion
    metastable: Proportion
    """Energy above hull at most the metastable threshold, stable ones included."""
    unique: Proportion
    novel: Proportion
    sun: Proportion
    """Stable, unique and novel."""
    metastable_sun: Proportion
    """(Meta)stable, unique and novel."""
    discoveries: Proportion
    """Metastable S.U.N. and dynamically stable where phonons were asked."""


def sun_counts(candidates: Sequence[Verified], thresholds: Thresholds) -> SunCounts:
    """Counts of stable, unique and novel candidates, with rates."""
    n = len(candidates)

    def share(condition: Callable[[Verified], bool]) -> Proportion:
        return proportion(sum(condition(c) for c in candidates), n)

    return SunCounts(
        stable=share(lambda c: is_within(c, thresholds.stable)),
        metastable=share(lambda c: is_within(c, thresholds.metastable)),
        unique=share(lambda c: c.unique),
        novel=share(lambda c: c.novel),
        sun=share(lambda c: is_within(c, thresholds.stable) and c.unique and c.novel),
        metastable_sun=share(lambda c: is_within(c, thresholds.metastable) and c.unique and c.novel),
        discoveries=share(lambda c: is_discovery(c, thresholds)),
    )


def discoveries_per_iteration(
    candidates: Iterable[Verified], thresholds: Thresholds, *, iterations: Iterable[int]
) -> list[int]:
    """Discoveries of each iteration in `iterations` (their numbers, in order), zeros included."""
    counts = Counter(c.iteration for c in candidates if is_discovery(c, thresholds))
    return [counts[iteration] for iteration in iterations]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One point of the discovery curve, after one more verification."""

    verifications: int
    cost: float
    """Spent on verification so far, in the currency asked for."""
    discoveries: int


def discovery_curve(
    candidates: Iterable[Verified], thresholds: Thresholds, *, currency: str = "cpu_seconds"
) -> list[CurvePoint]:
    """Discoveries against verifications and their cost, from (0, 0, 0) on."""
    points = [CurvePoint(verifications=0, cost=0.0, discoveries=0)]
    for candidate in candidates:
        last = points[-1]
        points.append(
            CurvePoint(
                verifications=last.verifications + 1,
                cost=last.cost + (candidate.cost or {}).get(currency, 0.0),
                discoveries=last.discoveries + is_discovery(candidate, thresholds),
            )
        )
    return points


def cost_per_discovery(settled: Mapping[str, float], *, discoveries: int) -> dict[str, float | None]:
    """What the campaign paid in all, screening and failures included, per discovery; None without one."""
    return {c: amount / discoveries if discoveries else None for c, amount in sorted(settled.items())}


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrichment:
    """How much likelier a chosen candidate is to be (meta)stable than a randomly audited reject."""

    chosen: Proportion
    audited: Proportion
    ratio: float | None
    """None where either group is empty, or no reject was (meta)stable."""
    low: float
    high: float


def enrichment(candidates: Sequence[Verified], *, threshold: float) -> Enrichment:
    """(Meta)stable share of what the policy chose over that of the audit.

    The interval is that of Walter for the logarithm of a ratio of two proportions, with half a success added
    to each (Walter, Biometrika 62, 371, 1975), so that it exists for groups without successes; [0, inf] for
    empty groups.
    """
    groups = [[is_within(c, threshold) for c in candidates if c.role == role] for role in ("chosen", "audit")]
    chosen, audited = (proportion(sum(group), len(group)) for group in groups)
    if chosen.estimate is None or audited.estimate is None:
        return Enrichment(chosen=chosen, audited=audited, ratio=None, low=0.0, high=math.inf)
    from scipy.stats import norm

    a, m, b, n = (x + 0.5 for x in (chosen.successes, chosen.trials, audited.successes, audited.trials))
    centre, width = math.log(a / m * n / b), math.sqrt(1 / a - 1 / m + 1 / b - 1 / n)
    z = float(norm.ppf(0.5 + CONFIDENCE / 2))
    return Enrichment(
        chosen=chosen,
        audited=audited,
        ratio=chosen.estimate / audited.estimate if audited.successes else None,
        low=math.exp(centre - z * width),
        high=math.exp(centre + z * width),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorStatistics:
    """Verified minus screened energy above hull, eV/atom, over `n` candidates that have both."""

    n: int
    mean: float
    """Positive where the screen was too hopeful."""
    deviation: float
    """Sample standard deviation; 0 for one candidate."""
    mean_absolute: float
    root_mean_square: float
    median: float
    largest: float
    """Of the absolute values."""


def screening_error(candidates: Iterable[Verified]) -> ErrorStatistics | None:
    """How far the screen was off; None where nothing was verified."""
    errors = np.array([c.verified - c.screened for c in candidates if c.verified is not None])
    if errors.size == 0:
        return None
    return ErrorStatistics(
        n=int(errors.size),
        mean=float(errors.mean()),
        deviation=float(errors.std(ddof=1)) if errors.size > 1 else 0.0,
        mean_absolute=float(np.abs(errors).mean()),
        root_mean_square=float(np.sqrt((errors**2).mean())),
        median=float(np.median(errors)),
        largest=float(np.abs(errors).max()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HullMove:
    """One version of a hull: which candidates lie on it and what fell off as it came into force."""

    fidelity: str
    iteration: int
    finds: tuple[str, ...]
    fell_off: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HullMoves:
    """How much the hull of one fidelity moved over the campaign."""

    versions: int
    finds_on_hull: int
    """Of the version in force."""
    fell_off: int
    """Phases that left the hull, counted each time."""
    last_move: int | None
    """Iteration of the last version that added a find or lost a phase; None where it never moved."""


def hull_moves(moves: Sequence[HullMove]) -> dict[str, HullMoves]:
    """The moves of each fidelity's hull, given its versions in order."""
    result = {}
    for fidelity in sorted({move.fidelity for move in moves}):
        own = [move for move in moves if move.fidelity == fidelity]
        before: frozenset[str] = frozenset()
        last = None
        for move in own:
            if move.fell_off or frozenset(move.finds) != before:
                last = move.iteration
            before = frozenset(move.finds)
        result[fidelity] = HullMoves(
            versions=len(own),
            finds_on_hull=len(own[-1].finds),
            fell_off=sum(len(move.fell_off) for move in own),
            last_move=last,
        )
    return result
