"""Relax: every admitted candidate is brought to a local minimum of the screening potential, or abandoned on the way."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from flows import early_rejection
from flows.calculations import Outcome, Request, compute
from flows.progress import Queue
from flows.stages.common import chunks, failure_rows
from loop.ledger.tables import Calculation, Rejection, Row
from surrogates.early_rejection import REASON

if TYPE_CHECKING:
    from flows.campaign import Campaign

UNAFFORDABLE: Final = ("budget", "the remaining budget does not pay for its relaxation")
"""Reason and detail."""


def relax(campaign: Campaign, iteration: int) -> tuple[list[Row], dict[str, Any]]:
    """Relax the iteration's candidates, in order, for as long as the budget pays."""
    state = campaign.state
    admitted = [
        c for c in state.candidates.values() if c.iteration == iteration and c.id not in state.rejections
    ]
    plan = early_rejection.plan(campaign, admitted, iteration=iteration)
    relaxer = campaign.resources.relaxer.abandoning(plan.rejection) if plan else campaign.resources.relaxer
    queue = Queue.of((state.crystals[c.crystal_key] for c in admitted if c.crystal_key), by=relaxer)
    rows: list[Row] = []
    settled: dict[str, Calculation] = {}
    failed = 0
    for number, chunk in enumerate(chunks(admitted, campaign.spec.execution.chunk), start=1):
        requests = [
            Request(subject=c.id, crystal=state.crystals[c.crystal_key]) for c in chunk if c.crystal_key
        ]
        outcome = campaign.runner.task(
            f"relax {iteration}.{number}",
            partial(
                compute,
                campaign,
                requests,
                by=relaxer,
                purpose="screening",
                iteration=iteration,
                charge={"relaxations": 1.0},
                label=f"relaxing with {campaign.screening_fidelity}",
                queue=queue,
            ),
        )
        abandoned = {id_ for id_, c in outcome.settled.items() if c.failure_reason == REASON}
        others = {id_: c for id_, c in outcome.settled.items() if id_ not in abandoned}
        failures = failure_rows(
            campaign, Outcome(settled=others, unaffordable=()), stage="relax", iteration=iteration
        )
        failed += len(failures)
        settled |= outcome.settled
        rows += failures
        reasons = {id_: (REASON, outcome.settled[id_].failure_detail or "") for id_ in sorted(abandoned)}
        reasons |= dict.fromkeys(outcome.unaffordable, UNAFFORDABLE)
        rows += [
            Rejection(
                campaign_id=campaign.id,
                candidate_id=subject,
                iteration=iteration,
                stage="relax",
                reason=reason,
                detail=detail,
            )
            for subject, (reason, detail) in reasons.items()
        ]
    ended = sum(c.failure_reason == REASON for c in settled.values())
    return rows, {
        "relaxed": len(settled) - failed - ended,
        "failed": failed,
        "abandoned": ended,
        "unaffordable": len(admitted) - len(settled),
        **(plan.summary(settled, abandoned=ended) if plan else {}),
    }
