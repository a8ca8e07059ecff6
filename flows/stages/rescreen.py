"""The further stages of the screen: survivors are relaxed again, cheap to exact, each stage on a hull of its own.

A candidate is admitted by its energy above the hull of the stage before and starts from that stage's crystal. It leaves
the stage judged there, or set aside as a duplicate, or failed; a candidate that the budget does not pay for, or whose
reference phases it does not, is none of these and waits.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from flows.stages.climbing import climb, judge_climbed
from flows.stages.level_hull import Level
from loop.ledger.tables import Rejection, Row
from loop.screened import FIDELITY, FURTHER

if TYPE_CHECKING:
    from flows.campaign import Campaign, StageFunction


def further_stages(campaign: Campaign) -> dict[str, StageFunction]:
    """The campaign's further screening stages by the names of their rows, in order."""
    return {
        f"{FURTHER}{number}": partial(_rescreen, number=number)
        for number in range(2, 2 + len(campaign.spec.screening.stages))
    }


def awaiting(campaign: Campaign, number: int) -> list[str]:
    """Candidates that a further stage (counted from 2) has still to take, the lowest at the stage before first."""
    state = campaign.state
    before, fidelity = campaign.screening_fidelities[number - 2 : number]
    failed = {subject for subject, stage, _ in state.failures if stage == fidelity}
    waiting = [
        (verdict.energy_above_hull, verdict.candidate_id)
        for verdict in state.verdicts_at(before)
        if verdict.energy_above_hull <= campaign.spec.screening.stages[number - 2].admits_within
        and verdict.candidate_id not in state.rejections
        and verdict.candidate_id not in failed
        and state.verdict(verdict.candidate_id, fidelity) is None
    ]
    return [id_ for _, id_ in sorted(waiting)]


def on_its_way(campaign: Campaign) -> set[str]:
    """Candidates that some further stage has still to take: neither options of the acquisition nor rejects yet."""
    numbers = range(2, 2 + len(campaign.spec.screening.stages))
    return {id_ for number in numbers for id_ in awaiting(campaign, number)}


def relaxation_level(campaign: Campaign, number: int) -> Level:
    """A further stage (counted from 2) as a fidelity to climb to."""
    relaxer = campaign.resources.further_relaxers[number - 2]
    return Level(
        name=relaxer.fidelity,
        task=f"{FURTHER}{number}",
        doing=f"relaxing again with {relaxer.fidelity}",
        by=relaxer,
        reference_window=campaign.spec.screening.stages[number - 2].reference_window,
        charge={"relaxations": 1.0},
    )


def _rescreen(campaign: Campaign, iteration: int, *, number: int) -> tuple[list[Row], dict[str, Any]]:
    """Relax and judge at a further stage what waits for it, from this iteration or an earlier one."""
    state, level = campaign.state, relaxation_level(campaign, number)
    admitted = awaiting(campaign, number)
    climbed = climb(
        campaign, level, {id_: campaign.best_crystal(id_) for id_ in admitted}, iteration=iteration
    )
    rows = climbed.rows
    known = campaign.memory.relaxed_at(level.name)
    phases = climbed.references.energies.calculations if climbed.references else {}
    for name, calculation in phases.items():
        known.add(name, state.crystals[calculation.result_crystal_key or ""], calculation)
    distinct = {}
    for id_, calculation in sorted(climbed.judgeable.items()):
        crystal = state.crystals[calculation.result_crystal_key or ""]
        twin = known.twin_or_add(id_, crystal, calculation)
        if twin is None:
            distinct[id_] = calculation
            continue
        rows.append(
            Rejection(
                campaign_id=campaign.id,
                candidate_id=id_,
                iteration=iteration,
                stage=level.name,
                reason="duplicate-after-relaxation",
                detail=f"relaxes to the same crystal as {twin} with {level.name}",
            )
        )
    judged = judge_climbed(campaign, level, climbed, distinct, iteration=iteration)
    energies = judged.energies_above_hull if judged else {}
    near = sum(energies[id_] <= campaign.spec.thresholds.metastable for id_ in distinct)
    return [*rows, *(judged.rows if judged else ())], {
        FIDELITY: level.name,
        "admitted": len(admitted),
        "screened": len(distinct),
        "metastable": near,
        "duplicates": len(climbed.judgeable) - len(distinct),
        **{name: climbed.counts.get(name, 0) for name in ("failed", "unjudged", "unaffordable")},
        "superseded": judged.superseded if judged else 0,
        "fell_off": list(judged.fell_off) if judged else [],
    }
