"""Relax: every admitted candidate is brought to a local minimum of the screening potential."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from flows.calculations import Request, compute
from flows.stages.common import chunks, failure_rows
from loop.ledger.tables import Rejection, Row

if TYPE_CHECKING:
    from flows.campaign import Campaign


def relax(campaign: Campaign, iteration: int) -> tuple[list[Row], dict[str, Any]]:
    """Relax the iteration's candidates, in order, for as long as the budget pays."""
    state = campaign.state
    admitted = [
        c for c in state.candidates.values() if c.iteration == iteration and c.id not in state.rejections
    ]
    rows: list[Row] = []
    done = failed = 0
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
                by=campaign.resources.relaxer,
                purpose="screening",
                iteration=iteration,
                charge={"relaxations": 1.0},
                label=f"relaxing with {campaign.screening_fidelity}",
            ),
        )
        failures = failure_rows(campaign, outcome, stage="relax", iteration=iteration)
        failed += len(failures)
        done += len(outcome.settled) - len(failures)
        rows += failures
        rows += [
            Rejection(
                campaign_id=campaign.id,
                candidate_id=subject,
                iteration=iteration,
                stage="relax",
                reason="budget",
                detail="the remaining budget does not pay for its relaxation",
            )
            for subject in outcome.unaffordable
        ]
    return rows, {"relaxed": done, "failed": failed, "unaffordable": len(admitted) - done - failed}
