"""Abandoning a relaxation that will not end low enough to matter, by a rule with a stated false-negative rate.

At a few evaluations of a relaxation the rule bounds what it can still gain: a margin m_k below the energy that it
stands at. Where even energy - m_k lies above the crystal's ceiling, the rest of the relaxation is not run.

The margin is q s_k: s_k predicts the drop that is left from what the optimiser knows there, so that nearly converged
crystals get narrow margins and wild ones wide ones, and q is a conformal quantile (Vovk, Gammerman and Shafer,
Algorithmic Learning in a Random World, chapter 2) of drop over prediction, its largest over all the checkpoints of a
relaxation, so that the rate holds for a crystal and not for a checkpoint. `early_rejection_learning` fits both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any, Final, Self

import numpy as np

from surrogates.potential import Floats

REASON: Final = "rejected-early"
"""Of the failure that an abandoned relaxation is."""
CHECKPOINTS: Final = (4, 8, 12, 20)
"""Evaluations after which a relaxation is looked at; half of a screen's crystals converge within the first 11."""
PLACES: Final = (*((False, k) for k in CHECKPOINTS), *((True, k) for k in (0, *CHECKPOINTS)))
"""From the start, and from where a space group is let go, before anything is spent on what comes then."""
SMALLEST_SCALE: Final = 0.02
"""eV/atom added to every predicted drop, so that the quantile is not decided by crystals that stand near a minimum and
leave it after all. Of CHGNet's relaxations of Li-Fe-O, at a rate of 0.02, a rule then saves half as much again."""
_SMALLEST: Final = 1e-6
"""Of a feature: what is smaller, or negative by the potential's noise, says no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where a relaxation stands after some evaluations."""

    evaluations: int
    """In all."""
    released: bool
    """Whether the space group has been let go, after which there may be much to gain again."""
    since: int
    """Evaluations since the start, or since the space group was let go; 0 where it just was."""
    energy_per_atom: float
    """eV/atom, the lowest so far and the potential's own: no correction is in it."""
    decrement: float
    """Drop that the optimiser's quadratic model expects of its next step, eV/atom."""
    max_force: float
    """Largest force on an atom, eV/Å."""
    max_stress: float
    """Largest stress component, GPa."""
    drop: float
    """What was gained since the checkpoint before, or since the start, eV/atom."""

    @property
    def place(self) -> tuple[bool, int]:
        """What tells one scale from another: whether the space group was let go, and evaluations since."""
        return self.released, self.since

    @property
    def features(self) -> Floats:
        """Logarithms of what the remaining drop is predicted from, `4`."""
        known = (self.decrement, self.max_force, self.max_stress, self.drop)
        return np.log(np.maximum(np.array(known, dtype=np.float64), _SMALLEST))

    def to_list(self) -> list[float]:
        """The fields in order: a trace is kept for every relaxation, so it is written short."""
        return [int(value) if isinstance(value, bool) else value for value in astuple(self)]

    @classmethod
    def from_list(cls, values: Sequence[float]) -> Self:
        """Read what `to_list` wrote."""
        evaluations, released, since, energy, decrement, max_force, max_stress, drop = values
        return cls(
            evaluations=int(evaluations),
            released=bool(released),
            since=int(since),
            energy_per_atom=energy,
            decrement=decrement,
            max_force=max_force,
            max_stress=max_stress,
            drop=drop,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Predicts the drop left at one place: log-linear, and never smaller for a larger feature."""

    released: bool
    since: int
    intercept: float
    slopes: tuple[float, ...]
    """`4`, none negative."""
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    """`4`, the range of the features that the rule was calibrated on."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read one of `Rule.to_dict`'s scales."""
        ranges = {name: tuple(values[name]) for name in ("slopes", "lowest", "highest")}
        return cls(**{**values, **ranges})

    def predict(self, checkpoint: Checkpoint) -> float:
        """Expected remaining drop, eV/atom."""
        return float(np.exp(self.intercept + checkpoint.features @ np.array(self.slopes))) + SMALLEST_SCALE

    def covers(self, checkpoint: Checkpoint) -> bool:
        """Whether the features lie within what was seen."""
        features = checkpoint.features
        return bool((features >= self.lowest).all() and (features <= self.highest).all())


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A fitted rule. The one without scales abandons nothing."""

    false_negative_rate: float
    """Share of the crystals that would have ended at or below their ceiling and are abandoned, at most."""
    quantile: float
    """Of the remaining drop over its prediction."""
    scales: tuple[Scale, ...]
    calibrated_on: int
    """Relaxations, all of crystals that ended at or below their ceiling."""

    def margin(self, checkpoint: Checkpoint) -> float | None:
        """What the relaxation may still gain, eV/atom; None where the rule knows nothing of such a state."""
        for scale in self.scales:
            if (scale.released, scale.since) == checkpoint.place and scale.covers(checkpoint):
                return self.quantile * scale.predict(checkpoint)
        return None

    def abandons(self, checkpoint: Checkpoint, *, ceiling: float) -> bool:
        """Whether a relaxation that stands here is not worth finishing.

        Args:
            checkpoint: where it stands.
            ceiling: highest energy that still matters, eV/atom.
        """
        margin = self.margin(checkpoint)
        return margin is not None and checkpoint.energy_per_atom - margin > ceiling

    def first_abandoned(self, trace: Sequence[Checkpoint], *, ceiling: float) -> Checkpoint | None:
        """Where the rule would have ended a relaxation that was run to its end; None where it would not."""
        return next((point for point in trace if self.abandons(point, ceiling=ceiling)), None)

    @property
    def version(self) -> str:
        """Hash of all that decides what the rule says: part of the identity of a relaxation run under it."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        scales = tuple(Scale.from_dict(scale) for scale in values["scales"])
        return cls(**{**values, "scales": scales})


def explain(rule: Rule, checkpoint: Checkpoint, *, ceiling: float) -> str:
    """One sentence on why a relaxation was abandoned."""
    lowest = checkpoint.energy_per_atom - (rule.margin(checkpoint) or 0.0)
    return (
        f"{checkpoint.energy_per_atom:.3f} eV/atom after {checkpoint.evaluations} evaluations; rule {rule.version} "
        f"expects it to end no lower than {lowest:.3f}, the ceiling is {ceiling:.3f}"
    )
