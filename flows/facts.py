"""What the stopping rules ask of a campaign."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from flows.stages.rescreen import awaiting, further_stages, on_its_way
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
    options = (
        campaign.state.stages[last, "select"].summary["waiting"] + len(on_its_way(campaign)) if last else 1
    )
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
    """Declared costs of relaxations that the budget did not pay for, at any stage, and of verifications that wait.

    Nothing where the iteration verified and paid for all that it set out to do.
    """
    stages, state = campaign.state.stages, campaign.state
    if not iteration:
        return
    first = next(iter(campaign.resources.verifiers))
    relaxed, verified = stages[iteration, "relax"].summary, stages[iteration, "verify"].summary[first]
    further = [stages[iteration, name].summary["unaffordable"] for name in further_stages(campaign)]
    left = relaxed["unaffordable"] + sum(further) + verified["unaffordable"]
    if verified["verified"] + verified["failed"] and not left:
        return
    for id_, rejection in state.rejections.items():
        crystal_key = state.candidates[id_].crystal_key
        if rejection.iteration == iteration and rejection.reason == "budget" and crystal_key:
            relaxation = campaign.resources.relaxer.declared_cost(state.crystals[crystal_key])
            yield total([relaxation, {"relaxations": 1.0}])
    verifier = campaign.resources.verifiers[first]
    for number, relaxer in enumerate(campaign.resources.further_relaxers, start=2):
        for id_ in awaiting(campaign, number):
            yield total([relaxer.declared_cost(campaign.best_crystal(id_)), {"relaxations": 1.0}])
    for verdict in state.verdicts_at(campaign.screening_fidelities[-1]):
        if (verdict.candidate_id, first) not in state.verifications:
            verification = verifier.declared_cost(campaign.best_crystal(verdict.candidate_id))
            yield total([verification, {"verifications": 1.0}])
