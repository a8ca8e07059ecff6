"""What the stopping rules ask of a campaign."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from loop.budget import scarcest, total
from loop.outcomes import discoveries_by_iteration, finished_iterations
from loop.stopping import Facts

if TYPE_CHECKING:
    from flows.campaign import Campaign


def facts(campaign: Campaign) -> Facts:
    """What the stopping rules ask, after the last finished iteration."""
    finished = finished_iterations(campaign.state)
    last = finished[-1] if finished else 0
    kept = campaign.state.stages[last, "propose"].summary["kept"] if last else 1
    options = campaign.state.stages[last, "select"].summary["waiting"] if last else 1
    return Facts(
        iterations=len(finished),
        discoveries=discoveries_by_iteration(campaign.state, campaign.spec),
        remaining=campaign.state.remaining(campaign.spec.budget),
        cheapest=_cheapest_step(campaign, last),
        nothing_left=kept == 0 and options == 0,
    )


def _cheapest_step(campaign: Campaign, iteration: int) -> Mapping[str, float] | None:
    """Declared cost of the cheapest step that an iteration left undone for want of budget.

    None where it left none, or where something it left, or found besides, can still be paid.
    """
    steps = [cost for cost in _undone(campaign, iteration) if cost]
    if not steps or any(campaign.can_afford(cost) for cost in steps):
        return None
    currency = scarcest(campaign.state.remaining(campaign.spec.budget), steps)
    return min(steps, key=lambda cost: (cost.get(currency or "", 0.0), sorted(cost.items())))


def _undone(campaign: Campaign, iteration: int) -> Iterator[Mapping[str, float]]:
    """Declared costs of the relaxations that the budget did not pay for, and of the verifications that wait.

    Nothing where the iteration verified and paid for all that it set out to do.
    """
    stages, state = campaign.state.stages, campaign.state
    if not iteration:
        return
    first = next(iter(campaign.resources.verifiers))
    relaxed, verified = stages[iteration, "relax"].summary, stages[iteration, "verify"].summary[first]
    if verified["verified"] + verified["failed"] and not relaxed["unaffordable"] + verified["unaffordable"]:
        return
    for id_, rejection in state.rejections.items():
        crystal_key = state.candidates[id_].crystal_key
        if rejection.iteration == iteration and rejection.reason == "budget" and crystal_key:
            relaxation = campaign.resources.relaxer.declared_cost(state.crystals[crystal_key])
            yield total([relaxation, {"relaxations": 1.0}])
    verifier = campaign.resources.verifiers[first]
    for verdict in state.verdicts_at(campaign.screening_fidelity):
        if (verdict.candidate_id, first) not in state.verifications:
            verification = verifier.declared_cost(campaign.best_crystal(verdict.candidate_id))
            yield total([verification, {"verifications": 1.0}])
