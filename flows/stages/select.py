"""Select: the acquisition spends the verification budget, and a stated share of it audits what was passed over."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from flows.stages.rescreen import on_its_way
from loop.acquisition.audit import with_audit
from loop.acquisition.features import features
from loop.acquisition.policy import Choice, Observation, Option
from loop.budget import scarcest, total
from loop.ledger.tables import Decision, Row, Verdict
from loop.screened import screened

if TYPE_CHECKING:
    from flows.campaign import Campaign


def select(campaign: Campaign, iteration: int) -> tuple[list[Row], dict[str, Any]]:
    """Choose the batch that goes to the first verification level, and write down why for every option."""
    spec, state = campaign.spec, campaign.state
    first = spec.verification[0].name
    taken = {
        id_ for id_, level in state.verifications if level == first
    }  # a choice that was not afforded waits on
    verdicts = screened(state, campaign.screening_fidelities)
    unsettled = on_its_way(campaign)
    waiting = [v for id_, v in verdicts.items() if id_ not in taken and id_ not in unsettled]
    costs = {v.candidate_id: _cost(campaign, v.candidate_id) for v in waiting}
    left = state.remaining(spec.budget)
    currency = scarcest(left, costs.values()) or "cpu_seconds"
    options: list[Option] = []
    rejects: list[Option] = []
    for verdict in waiting:
        # What the last stage never judged is a reject, whatever an earlier one said of it.
        last = verdict.fidelity == campaign.screening_fidelities[-1]
        is_option = last and verdict.energy_above_hull <= spec.acquisition.window
        option = _option(campaign, verdict, cost=costs[verdict.candidate_id].get(currency, 1.0))
        (options if is_option else rejects).append(option)
    batch = min(spec.batch.verifications, int(left.get("verifications", spec.batch.verifications)))
    policy = campaign.resources.policy
    choices = policy.choose(
        options,
        observations(campaign),
        batch_size=batch,
        budget=left.get(currency, float("inf")),
        rng=campaign.stream("select", iteration),
    )
    before = Counter(d.role for d in state.decisions.values())
    choices = with_audit(
        choices,
        options=options,
        rejects=rejects,
        fraction=spec.acquisition.audit_fraction,
        batch_size=batch,
        budget=left.get(currency, float("inf")),
        verified=before["chosen"] + before["audit"],
        audited=before["audit"],
        rng=campaign.stream("audit", iteration),
    )
    rows: list[Row] = [
        _decision(campaign, iteration, choice, policy=policy.name, cost=costs[choice.candidate_id])
        for choice in choices
    ]
    roles = Counter(choice.role for choice in choices)
    return rows, {
        "waiting": len(waiting),
        "within_window": len(options),
        "chosen": roles["chosen"],
        "audit": roles["audit"],
        "passed_over": roles["passed over"],
    }


def _cost(campaign: Campaign, candidate_id: str) -> dict[str, float]:
    """Declared cost of a candidate at the first level, by currency."""
    first = campaign.resources.verifiers[campaign.spec.verification[0].name]
    return total([first.declared_cost(campaign.best_crystal(candidate_id)), {"verifications": 1.0}])


def _option(campaign: Campaign, verdict: Verdict, *, cost: float) -> Option:
    return Option(
        candidate_id=verdict.candidate_id,
        features=candidate_features(campaign, verdict),
        screened=verdict.energy_above_hull,
        cost=cost,
    )


def candidate_features(campaign: Campaign, verdict: Verdict) -> Any:
    """Features of a candidate by a verdict of the screen, all of its fidelity: `n_features`."""
    calculation = campaign.state.calculations[verdict.calculation_key]
    return features(
        campaign.state.crystals[calculation.result_crystal_key or ""],
        formation_energy=verdict.formation_energy,
        energy_above_hull=verdict.energy_above_hull,
        energy_per_atom=calculation.energy_per_atom or 0.0,
    )


def observations(campaign: Campaign) -> list[Observation]:
    """Candidates whose energy above hull is known at the first verifying fidelity, in order of id.

    Only those that the last stage of the screen judged: the model learns that stage's error, which is what it has to
    foretell of every option. Another stage's would be the error of another potential.
    """
    if not campaign.energy_levels:
        return []
    last = campaign.state.verdicts_at(campaign.screening_fidelities[-1])
    screens = {v.candidate_id: v for v in last}
    verified = {v.candidate_id: v for v in campaign.state.verdicts_at(campaign.energy_levels[0])}
    return [
        Observation(
            candidate_id=id_,
            features=candidate_features(campaign, screens[id_]),
            screened=screens[id_].energy_above_hull,
            verified=verified[id_].energy_above_hull,
        )
        for id_ in sorted(set(screens) & set(verified))
    ]


def _decision(
    campaign: Campaign, iteration: int, choice: Choice, *, policy: str, cost: dict[str, float]
) -> Decision:
    return Decision(
        campaign_id=campaign.id,
        iteration=iteration,
        candidate_id=choice.candidate_id,
        role=choice.role,
        policy=policy,
        rank=choice.rank,
        score=choice.score,
        predicted_mean=choice.predicted_mean,
        predicted_deviation=choice.predicted_deviation,
        declared_cost=dict(cost),
        reasons=dict(choice.reasons),
    )
