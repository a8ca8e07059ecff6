"""Taking crystals to a fidelity beyond the first: its hull's reference phases, then what the budget pays for.

The further stages of the screen and the levels of verification are climbed by this one function, so that both keep the
same promises: references before candidates, one budget, and no energy above a hull that lacks the phases it is counted
from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from flows.calculations import Outcome, Request, calculation_key, compute
from flows.progress import Queue
from flows.stages.common import chunks, failure_rows
from flows.stages.judging import Judged, judge
from flows.stages.level_hull import Level, LevelReferences, phases_needed, recompute_references
from loop.budget import total
from loop.crystal import Crystal
from loop.ledger.tables import Calculation, FailureRow, Row

if TYPE_CHECKING:
    from flows.campaign import Campaign


@dataclass(frozen=True, slots=True, kw_only=True)
class Climbed:
    """What became of the candidates that were taken to a level."""

    rows: list[Row]
    """Reference phases and failures."""
    settled: Mapping[str, Calculation]
    """By candidate, done or failed."""
    judgeable: Mapping[str, Calculation]
    """Those of them that are done and, where the level gives energies, whose reference phases are there."""
    references: LevelReferences | None
    """None where the level gives no energies."""
    counts: Mapping[str, int]
    """For the stage's summary: `done`, `failed`, `unaffordable` and, with energies, `unjudged`."""


def climb(campaign: Campaign, level: Level, crystals: Mapping[str, Crystal], *, iteration: int) -> Climbed:
    """Take candidates to a level.

    Args:
        campaign: whose ledger and budget are used.
        level: where to.
        crystals: by candidate, as relaxed at the fidelity before; in the order in which the budget is to be spent.
        iteration: the iteration that pays.
    """
    rows: list[Row] = []
    references: LevelReferences | None = None
    payable = list(crystals)
    if level.by.gives_energy:
        paid = _payable(campaign, level, crystals)
        references = recompute_references(
            campaign, level, systems={crystals[id_].elements for id_ in paid}, iteration=iteration
        )
        rows += references.rows
        payable = [id_ for id_ in paid if not references.waits(crystals[id_].elements)]
    outcome = _compute(campaign, level, {id_: crystals[id_] for id_ in payable}, iteration=iteration)
    failures = failure_rows(campaign, outcome, stage=level.name, iteration=iteration)
    done = {id_: c for id_, c in outcome.settled.items() if c.outcome == "done"}
    counts = {
        "done": len(done),
        "failed": len(failures),
        "unaffordable": len(crystals) - len(outcome.settled),
    }
    rows += failures
    if references is not None:
        unjudged = _without_hull(
            campaign, level, {id_: crystals[id_] for id_ in done}, references, iteration=iteration
        )
        rows += unjudged
        counts["unjudged"] = len(unjudged)
        for row in unjudged:
            del done[row.subject]
    return Climbed(rows=rows, settled=outcome.settled, judgeable=done, references=references, counts=counts)


def judge_climbed(
    campaign: Campaign,
    level: Level,
    climbed: Climbed,
    judgeable: Mapping[str, Calculation],
    *,
    iteration: int,
) -> Judged | None:
    """Judge candidates that climbed, with all that were judged there before; None where there is nothing to judge.

    Args:
        campaign: whose ledger is read.
        level: that they climbed to.
        climbed: what came of it.
        judgeable: of `climbed.judgeable` those that are to be judged.
        iteration: for the rows.
    """
    if climbed.references is None or not judgeable:
        return None
    return judge(
        campaign,
        fidelity=level.by.fidelity,
        calculations={**campaign.state.judged(level.by.fidelity), **judgeable},
        references=climbed.references.energies,
        iteration=iteration,
    )


def _payable(campaign: Campaign, level: Level, crystals: Mapping[str, Crystal]) -> list[str]:
    """The candidates that the budget pays for, in their order; what is settled already costs nothing."""
    keys = {id_: calculation_key(crystal, level.by.identity(crystal)) for id_, crystal in crystals.items()}
    settled = campaign.settled(keys.values(), shared=False)
    promised: list[Mapping[str, float]] = []
    payable = []
    for id_, crystal in crystals.items():
        declared = {} if keys[id_] in settled else total([level.by.declared_cost(crystal), level.charge])
        cost = campaign.undeclared(keys[id_], declared)
        if campaign.can_afford(cost, beside=promised):
            promised.append(cost)
            payable.append(id_)
    return payable


def _without_hull(
    campaign: Campaign,
    level: Level,
    crystals: Mapping[str, Crystal],
    references: LevelReferences,
    *,
    iteration: int,
) -> list[FailureRow]:
    """A failure for each candidate whose decomposition needs a reference phase that could not be computed."""
    if not references.failed:
        return []
    rows = []
    for id_, needed in phases_needed(campaign, crystals).items():
        lacking = sorted(needed & set(references.failed))
        if lacking:
            reasons = "; ".join(f"{name} ({references.failed[name]})" for name in lacking)
            rows.append(
                FailureRow(
                    campaign_id=campaign.id,
                    subject=id_,
                    stage=level.name,
                    iteration=iteration,
                    reason="no hull",
                    detail=f"reference phases it is judged against could not be computed at {level.name}: {reasons}",
                )
            )
    return rows


def _compute(campaign: Campaign, level: Level, crystals: Mapping[str, Crystal], *, iteration: int) -> Outcome:
    """Settle one level's calculations, chunk by chunk."""
    settled: dict[str, Calculation] = {}
    unaffordable: list[str] = []
    queue = Queue.of(crystals.values(), by=level.by)
    for number, chunk in enumerate(chunks(list(crystals), campaign.spec.execution.chunk), start=1):
        outcome = campaign.runner.task(
            f"{level.task} {iteration}.{number} {level.name}",
            partial(
                compute,
                campaign,
                [Request(subject=id_, crystal=crystals[id_]) for id_ in chunk],
                by=level.by,
                purpose=level.name,
                iteration=iteration,
                charge=level.charge,
                label=level.doing,
                queue=queue,
            ),
        )
        settled |= outcome.settled
        unaffordable += outcome.unaffordable
    return Outcome(settled=settled, unaffordable=tuple(unaffordable))
