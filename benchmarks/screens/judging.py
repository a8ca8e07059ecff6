"""One set of candidates brought to verdicts by every way there is."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from loop.crystal import Crystal
from loop.spec import RelaxationSpec
from screens.comparing import as_runs, compare, correct, learn, lowest, rehearse
from screens.outcomes import Outcome
from screens.references import References
from screens.verdicts import by_hand, by_motherlode
from surrogates.potential import Potential
from surrogates.relaxation import Relaxation, relax

ALL, DEDUPLICATED, EARLY = "all relaxed", "duplicates set aside", "duplicates set aside, early rejection"
HEADLINE: Final = EARLY
"""The way whose figures go to the top of the JSON object."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Crystals to be judged, those that teach the rule, and what both are judged on."""

    title: str
    judged: Sequence[Crystal]
    relaxed_by_package: Sequence[Outcome]
    """The judged, by CHGNet's own optimiser."""
    package_seconds: float
    teaching: Sequence[Crystal]
    references: References
    """Of the judged."""
    teaching_references: References


def judge(
    candidates: Candidates, potential: Potential, settings: RelaxationSpec, *, rate: float
) -> dict[str, Any]:
    """Figures of every way, and what they hang on."""
    references = candidates.references
    covered = [i for i, crystal in enumerate(candidates.judged) if crystal.elements <= references.elements]
    crystals = [candidates.judged[i] for i in covered]
    # Seconds are shared out evenly where a crystal has no hull and falls out.
    share = len(covered) / max(len(candidates.judged), 1)
    theirs = by_hand(
        [candidates.relaxed_by_package[i] for i in covered],
        references,
        relax_seconds=candidates.package_seconds * share,
    )
    began = time.process_time()
    taught = [c for c in candidates.teaching if c.elements <= candidates.teaching_references.elements]
    lessons = [r for r in relax(taught, potential, settings) if isinstance(r, Relaxation)]
    lesson = learn(
        as_runs(lessons, candidates.teaching_references),
        beside=list(candidates.teaching_references.relaxed.values()),
        rate=rate,
        cpu_seconds=time.process_time() - began,
    )
    ways = {
        name: by_motherlode(crystals, references, potential, settings, deduplicate=deduplicate, rule=rule)
        for name, deduplicate, rule in (
            (EARLY, True, lesson.rule),
            (DEDUPLICATED, True, None),
            (ALL, False, None),
        )
    }
    best = lowest([theirs, *ways.values()])
    judged_runs = as_runs([r for r in ways[DEDUPLICATED].relaxations if r is not None], references)
    print(f"{candidates.title}: judged", file=sys.stderr)
    return {
        "title": candidates.title,
        "candidates": len(crystals),
        "without_a_hull": len(candidates.judged) - len(covered),
        "references": len(references.relaxed),
        "references_failed": len(references.failed),
        "references_cpu_seconds": references.cpu_seconds,
        "rule": lesson.to_json(),
        "early_rejection_saved": 1 - ways[EARLY].seconds["relax"] / ways[DEDUPLICATED].seconds["relax"],
        "rehearsed": rehearse(lesson, judged_runs),
        "today": {
            "cpu_seconds": theirs.total,
            "cpu_seconds_by_step": dict(theirs.seconds),
            "verdicts_per_cpu_second": correct(theirs, theirs.verdicts) / theirs.total,
            "correct_by_lowest": correct(theirs, best),
            "stable": sum(v.kind == "stable" for v in theirs.verdicts),
            "metastable": sum(v.kind == "metastable" for v in theirs.verdicts),
            "failed": sum(v.kind == "none" for v in theirs.verdicts),
            "novel": sum(v.novel is True for v in theirs.verdicts),
        },
        "ways": {name: compare(theirs, way, crystals=crystals, best=best) for name, way in ways.items()},
    }
