"""Turns the loop: references first, then iterations until the budget or a stopping rule ends the campaign."""

from __future__ import annotations

from typing import Any

from flows.campaign import Campaign, StageFunction
from flows.facts import facts
from flows.runner import PlainRunner, Runner
from flows.stages import stages
from flows.stages.references import references
from flows.stages.report import write_page
from loop.ledger.tables import Stage
from loop.stopping import reason_to_stop


def run(campaign: Campaign, *, runner: Runner | None = None, iterations: int | None = None) -> str:
    """Turn the loop until a stopping rule, the budget, or `iterations` more turns end it.

    Returns:
        Why it ended, for a person.
    """
    runner = runner or PlainRunner()
    campaign.runner = runner
    if not campaign.state.finished(0, "references"):
        runner.flow(campaign, 0, lambda: _stage(campaign, 0, "references", references))
    turned = 0
    while True:
        reason = reason_to_stop(campaign.spec, facts(campaign))
        iteration = campaign.next_iteration
        if reason is not None and not campaign.begun(iteration):
            _write_stop(campaign, reason)
            error = write_page(campaign)  # the last page says why the campaign ended
            if error is not None:
                campaign.observer.note(f"The last report could not be written: {error}")
            return reason
        if iterations is not None and turned >= iterations:
            return f"{turned} iterations turned, as asked"
        runner.flow(campaign, iteration, lambda: turn(campaign, iteration))  # noqa: B023 - called before the next round
        turned += 1


def turn(campaign: Campaign, iteration: int) -> None:
    """One iteration: every stage in order, those already finished passed by."""
    for name, function in stages(campaign).items():
        _stage(campaign, iteration, name, function)


def _stage(campaign: Campaign, iteration: int, name: str, function: StageFunction) -> None:
    campaign.runner.task(
        f"{name} {iteration}", lambda: _summary(campaign.run_stage(iteration, name, function))
    )


def _summary(summary: Any) -> str:
    """A task's return value in Prefect: small, and readable there."""
    return str(dict(summary))[:2000]


def _write_stop(campaign: Campaign, reason: str) -> None:
    """Record why the campaign ended, once for each end."""
    iteration = campaign.state.last_finished_iteration or 0
    if not campaign.state.finished(iteration, "stop"):
        campaign.append(
            Stage(
                campaign_id=campaign.id,
                iteration=iteration,
                name="stop",
                seconds=0.0,
                summary={"reason": reason},
            )
        )
