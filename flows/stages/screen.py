"""Screen: relaxed candidates are judged on the convex hull of references and finds at the screening fidelity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flows.stages.judging import judge, references_at
from loop.ledger.tables import Rejection, Row

if TYPE_CHECKING:
    from flows.campaign import Campaign


def screen(campaign: Campaign, iteration: int) -> tuple[list[Row], dict[str, Any]]:
    """Set relaxed duplicates aside, then judge every screened candidate on the hull as it stands now."""
    state = campaign.state
    rows: list[Row] = []
    calculations = state.judged(campaign.screening_fidelity)
    fresh = 0
    for candidate in state.candidates.values():
        calculation = (
            campaign.relaxation_of(candidate)
            if candidate.iteration == iteration and candidate.id not in state.rejections
            else None
        )
        if calculation is None or calculation.outcome != "done":
            continue
        crystal = state.crystals[calculation.result_crystal_key or ""]
        twin = campaign.memory.relaxed.twin_or_add(candidate.id, crystal, calculation)
        if twin is not None:
            rows.append(
                Rejection(
                    campaign_id=campaign.id,
                    candidate_id=candidate.id,
                    iteration=iteration,
                    stage="screen",
                    reason="duplicate-after-relaxation",
                    detail=f"relaxes to the same crystal as {twin}",
                )
            )
        else:
            calculations[candidate.id] = calculation
            fresh += 1
    judgement = judge(
        campaign,
        fidelity=campaign.screening_fidelity,
        calculations=calculations,
        references=references_at(campaign, campaign.screening_fidelity),
        iteration=iteration,
    )
    duplicates = len(rows)
    near = sum(
        1
        for energy in judgement.energies_above_hull.values()
        if energy <= campaign.spec.thresholds.metastable
    )
    return [*rows, *judgement.rows], {
        "screened": fresh,
        "duplicates": duplicates,
        "metastable_so_far": near,
        "superseded": judgement.superseded,
        "fell_off": list(judgement.fell_off),
    }
