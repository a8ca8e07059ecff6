"""A learned preference over choices that can be tried once each: which kinds of choice paid off.

A choice (a prototype with its elements, say) belongs to arms (the prototype). The payoff of a tried choice is
a number in [0, 1]; each arm keeps a Beta posterior over its mean payoff, and Thompson sampling (Thompson,
Biometrika 25, 285 (1933); Chapelle and Li, NeurIPS 2011) draws from the posteriors, so that arms are chosen
as often as they may still be the best.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Self

import numpy as np

from loop.errors import GeneratorError
from loop.records import Record

PAYOFF_SCALE: Final = 0.05
"""Energy above hull at which a payoff has fallen to 1/e, eV/atom: half of the 0.1 eV/atom that survey section
7.2 calls metastable."""
NOT_THE_CHOICE: Final = frozenset({"duplicate", "budget", "worker-died", "timeout", "outside-space"})
"""Failures that say nothing about the choice itself."""


def payoff(record: Record) -> float | None:
    """How well a candidate turned out, in [0, 1]: exp(-energy above hull / `PAYOFF_SCALE`).

    The verified energy counts where there is one, else the screened one.
    0 for a crystal that could not be relaxed, None where nothing is known yet or the failure was not the
    crystal's own.
    """
    energy = record.verified_energy_above_hull
    if energy is None:
        energy = record.screened_energy_above_hull
    if energy is not None:
        return math.exp(-max(energy, 0.0) / PAYOFF_SCALE)
    if record.failure is None or record.failure in NOT_THE_CHOICE:
        return None
    return 0.0


@dataclass(frozen=True)
class Outcome:
    """What is known about a choice that was tried."""

    arms: tuple[str, ...]
    payoff: float | None
    """In [0, 1]; None while unknown."""


@dataclass(frozen=True)
class Preference:
    """Outcomes by choice, and the posteriors that follow from them. A value: `updated` returns a new one."""

    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    """By the choice's key."""

    def updated(self, outcomes: Iterable[tuple[str, Outcome]]) -> Self:
        """With these outcomes. The later supersede the earlier, but an unknown payoff no known one."""
        merged = dict(self.outcomes)
        for key, outcome in outcomes:
            known = merged.get(key)
            if known is None or outcome.payoff is not None or known.payoff is None:
                merged[key] = outcome
        return type(self)(outcomes=merged)

    def was_tried(self, key: str) -> bool:
        """Whether the choice was proposed before."""
        return key in self.outcomes

    @cached_property
    def totals(self) -> Mapping[str, tuple[float, float]]:
        """By arm: the sum of the payoffs, and how many there are."""
        sums: dict[str, tuple[float, float]] = {}
        # Sorted, for floating-point sums depend on their order and a database may have reordered the keys.
        for _, outcome in sorted(self.outcomes.items()):
            if outcome.payoff is None:
                continue
            for arm in outcome.arms:
                total, count = sums.get(arm, (0.0, 0.0))
                sums[arm] = (total + outcome.payoff, count + 1.0)
        return sums

    def posterior(
        self, arms: Sequence[str], *, prior_means: Sequence[float], strength: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Parameters (a, b) of each arm's Beta posterior, `n_arms` each.

        Args:
            arms: names of arms.
            prior_means: expected payoff before anything was tried, `n_arms`, each in (0, 1).
            strength: how many trials the prior is worth.
        """
        sums = np.array([self.totals.get(arm, (0.0, 0.0)) for arm in arms]).reshape(-1, 2)
        means = np.asarray(prior_means, dtype=float)
        return strength * means + sums[:, 0], strength * (1.0 - means) + sums[:, 1] - sums[:, 0]

    def draw(
        self, arms: Sequence[str], *, prior_means: Sequence[float], strength: float, rng: np.random.Generator
    ) -> np.ndarray:
        """One Thompson draw of every arm's mean payoff, `n_arms`."""
        a, b = self.posterior(arms, prior_means=prior_means, strength=strength)
        draws: np.ndarray = rng.beta(a, b)
        return draws

    def state(self) -> dict[str, Any]:
        """JSON values that `from_state` reads."""
        return {"outcomes": {key: [list(o.arms), o.payoff] for key, o in self.outcomes.items()}}

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | None, *, generator: str) -> Self:
        """Read what `state` wrote; None gives the empty preference.

        Raises:
            GeneratorError: the state is of another kind.
        """
        if not state:
            return cls()
        try:
            return cls(
                {
                    str(k): Outcome(tuple(arms), None if p is None else float(p))
                    for k, (arms, p) in state["outcomes"].items()
                }
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise GeneratorError(
                f"{generator}: the state to start from is not this generator's "
                f"({type(error).__name__}: {error}); start from None or from its own state()"
            ) from error
