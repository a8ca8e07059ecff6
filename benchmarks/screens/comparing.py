"""What two sets of verdicts agree on, what rules of early rejection would have done, and the headline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from loop.crystal import Crystal
from loop.metrics import proportion
from screens.references import References
from screens.verdicts import Verdict, Verdicts, ceiling
from surrogates.early_rejection import Rule
from surrogates.early_rejection_learning import Run, fit_rule
from surrogates.relaxation import Relaxation

FOUND: Final = ("stable", "metastable")
RATES: Final = (0.01, 0.02, 0.05, 0.1)


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A rule and what it cost."""

    rule: Rule | None
    rate: float
    runs: list[Run]
    beside: list[Run]
    cpu_seconds: float

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "stated_rate": self.rate,
            "learned": self.rule is not None,
            "learned_from": len(self.runs),
            "of_which_matter": sum(run.matters for run in self.runs),
            "training_cpu_seconds": self.cpu_seconds,
        }


def as_runs(found: Sequence[Relaxation], references: References | None) -> list[Run]:
    """Relaxations that ran to their end, as what a rule learns from; without a hull their ceilings mean nothing."""
    return [
        Run(
            trace=relaxation.trace,
            energy_per_atom=relaxation.energy_per_atom,
            evaluations=relaxation.steps,
            ceiling=ceiling(relaxation.crystal, references.hulls, fidelity=references.fidelity)
            if references
            else 0.0,
        )
        for relaxation in found
    ]


def learn(runs: list[Run], *, beside: Sequence[Relaxation], rate: float, cpu_seconds: float) -> Lesson:
    """The rule of a stated rate; none where the runs are too few for it."""
    others = as_runs(beside, None)
    return Lesson(
        rule=fit_rule(runs, beside=others, false_negative_rate=rate),
        rate=rate,
        runs=runs,
        beside=others,
        cpu_seconds=cpu_seconds,
    )


def rehearse(
    lesson: Lesson, judged: Sequence[Run], *, rates: Sequence[float] = RATES
) -> list[dict[str, Any]]:
    """What rules of other rates would have done to the judged candidates, by where those stood on their way."""
    rows = []
    for rate in rates:
        rule = fit_rule(lesson.runs, beside=lesson.beside, false_negative_rate=rate)
        row: dict[str, Any] = {"stated_rate": rate, "learned": rule is not None}
        if rule is not None:
            stops = [rule.first_abandoned(run.trace, ceiling=run.ceiling) for run in judged]
            pairs = list(zip(judged, stops, strict=True))
            saved = sum(run.evaluations - at.evaluations for run, at in pairs if at)
            row |= {
                "abandoned": sum(at is not None for at in stops),
                "matter": sum(run.matters for run in judged),
                "lost": sum(run.matters and at is not None for run, at in pairs),
                "evaluations_saved": saved / max(sum(run.evaluations for run in judged), 1),
            }
        rows.append(row)
    return rows


def correct(verdicts: Verdicts, truth: Sequence[Verdict]) -> int:
    """Candidates whose verdict is the true one; a failure is never right."""
    return sum(v.kind == t.kind != "none" for v, t in zip(verdicts.verdicts, truth, strict=True))


def lowest(sides: Sequence[Verdicts]) -> list[Verdict]:
    """Of each candidate the verdict that the lowest energy gives, whoever found it by relaxing."""
    best = []
    for options in zip(*(side.verdicts for side in sides), strict=True):
        energies = [v for v in options if v.above is not None and v.how == "relaxed"] or list(options)
        best.append(min(energies, key=lambda v: np.inf if v.above is None else v.above))
    return best


def compare(theirs: Verdicts, ours: Verdicts, *, crystals: Sequence[Crystal], best: Sequence[Verdict]) -> Any:
    """One way of ours beside what is used today.

    Correct means what today's way says, which takes its own verdicts for true. Beside it stands the count against the
    lowest energy that any way found.
    """
    pairs = list(zip(theirs.verdicts, ours.verdicts, strict=True))
    found = [(a, b) for a, b in pairs if a.kind in FOUND]
    recall = proportion(sum(b.kind in FOUND for _, b in found), len(found))
    rates = [correct(side, theirs.verdicts) / side.total for side in (theirs, ours)]
    by_best = [correct(side, best) / side.total for side in (theirs, ours)]
    return {
        "cpu_seconds": ours.total,
        "cpu_seconds_by_step": dict(ours.seconds),
        "correct": correct(ours, theirs.verdicts),
        "correct_by_lowest": correct(ours, best),
        "verdicts_per_cpu_second": rates[1],
        "verdict_speedup": rates[1] / rates[0] if rates[0] else None,
        "verdict_speedup_by_lowest": by_best[1] / by_best[0] if by_best[0] else None,
        "metastable_recall": recall.estimate,
        "metastable_found": recall.successes,
        "metastable_of_theirs": recall.trials,
        "metastable_recall_interval": [recall.low, recall.high],
        "agreement": sum(a.kind == b.kind for a, b in pairs) / max(len(pairs), 1),
        "table": {
            f"{a} / {b}": n for (a, b), n in sorted(Counter((a.kind, b.kind) for a, b in pairs).items())
        },
        "how": dict(Counter(b.how.partition(":")[0] for b in ours.verdicts)),
        "novel": sum(b.novel is True for b in ours.verdicts),
        "differ": [
            {
                "candidate": i,
                "formula": crystals[i].reduced_formula,
                "theirs": a.kind,
                "ours": b.kind,
                "their_energy_above_hull": a.above,
                "our_energy_above_hull": b.above,
                "lower": _lower(a, b),
                "how": b.how,
            }
            for i, (a, b) in enumerate(pairs)
            if a.kind != b.kind
        ],
    }


def _lower(theirs: Verdict, ours: Verdict) -> str:
    if theirs.above is None or ours.above is None:
        return "one has no energy"
    return "ours" if ours.above < theirs.above else "theirs"
