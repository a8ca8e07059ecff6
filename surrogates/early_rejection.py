"""Abandoning a relaxation that will not end low enough to matter, by a rule with a stated false-negative rate.

At a few evaluations of a relaxation the rule compares where it stands with the crystal's ceiling, the highest energy
that still matters. What stands above the ceiling by more than a margin m_k is not run any further.

The margin is q s_k: s_k predicts the drop that is left from what the optimiser knows there, so that nearly converged
crystals get narrow margins and wild ones wide ones, and q is a conformal quantile (Vovk, Gammerman and Shafer,
Algorithmic Learning in a Random World, chapter 2). It is that of height above the ceiling over prediction among
crystals that ended at or below it, the largest over all the checkpoints of a relaxation, so that the rate holds for a
crystal and not for a checkpoint. `early_rejection_learning` fits both.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any, Final, Self

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
    operations: int = 1
    """Of the space group that is held or was let go: the more there are, the more often it does not hold by itself."""

    @property
    def place(self) -> tuple[bool, int]:
        """What tells one scale from another: whether the space group was let go, and evaluations since."""
        return self.released, self.since

    @property
    def features(self) -> tuple[float, ...]:
        """Logarithms of what the remaining drop is predicted from, `5`."""
        known = (self.decrement, self.max_force, self.max_stress, self.drop, self.operations)
        return tuple(math.log(max(value, _SMALLEST)) for value in known)

    def to_list(self) -> list[float]:
        """The fields in order: a trace is kept for every relaxation, so it is written short."""
        return [int(value) if isinstance(value, bool) else value for value in astuple(self)]

    @classmethod
    def from_list(cls, values: Sequence[float]) -> Self:
        """Read what `to_list` wrote."""
        evaluations, released, since, energy, decrement, max_force, max_stress, drop, operations = values
        return cls(
            evaluations=int(evaluations),
            released=bool(released),
            since=int(since),
            energy_per_atom=energy,
            decrement=decrement,
            max_force=max_force,
            max_stress=max_stress,
            drop=drop,
            operations=int(operations),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Predicts the drop left at one place: log-linear, and never smaller for a larger feature."""

    released: bool
    since: int
    intercept: float
    slopes: tuple[float, ...]
    """`5`, none negative."""
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    """`5`, the range of the features that the rule was calibrated on."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read one of `Rule.to_dict`'s scales."""
        ranges = {name: tuple(values[name]) for name in ("slopes", "lowest", "highest")}
        return cls(**{**values, **ranges})

    def predict(self, checkpoint: Checkpoint) -> float:
        """Expected remaining drop, eV/atom."""
        weighed = (slope * feature for slope, feature in zip(self.slopes, checkpoint.features, strict=True))
        return math.exp(self.intercept + math.fsum(weighed)) + SMALLEST_SCALE

    def covers(self, checkpoint: Checkpoint) -> bool:
        """Whether the features lie within what was seen."""
        return all(
            low <= feature <= high
            for low, feature, high in zip(self.lowest, checkpoint.features, self.highest, strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A fitted rule. The one without scales abandons nothing."""

    false_negative_rate: float
    """Share of the crystals that would have ended at or below their ceiling and are abandoned, at most."""
    quantile: float
    """Of height above the ceiling over predicted drop."""
    scales: tuple[Scale, ...]
    calibrated_on: int
    """Relaxations, all of crystals that ended at or below their ceiling."""
    learned_under: str = ""
    """What names the relaxations that taught it, potential, settings and code: the rule knows nothing of others."""

    def margin(self, checkpoint: Checkpoint) -> float | None:
        """Height above the ceiling that is still gone on with, eV/atom; None where the rule knows no such state."""
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
    return (
        f"{checkpoint.energy_per_atom:.3f} eV/atom after {checkpoint.evaluations} evaluations; the ceiling is "
        f"{ceiling:.3f}, and rule {rule.version} goes on there up to {rule.margin(checkpoint) or 0.0:.3f} above it"
    )
