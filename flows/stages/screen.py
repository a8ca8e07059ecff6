"""Screen: relaxed candidates are judged on the convex hull of references and finds at the screening fidelity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from flows.stages.judging import judge, references_at
from loop.ledger.tables import Calculation, Candidate, Rejection, Row

if TYPE_CHECKING:
    from flows.campaign import Campaign

SAME_MINIMUM: Final = 0.005
"""eV/atom. Two relaxations that match as structures but differ by more are different minima (StructureMatcher's site
tolerance of 0.3 does not tell a distortion from its parent), and the lower one is kept."""


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
        twin = _twin(campaign, candidate, calculation)
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


def _twin(campaign: Campaign, candidate: Candidate, calculation: Calculation) -> str | None:
    """The name of an earlier crystal that this relaxation only repeats; the candidate joins the index otherwise."""
    crystal = campaign.state.crystals[calculation.result_crystal_key or ""]
    twin = campaign.memory.relaxed.find(crystal)
    if twin is not None and twin != candidate.id:
        energy, known = calculation.energy_per_atom, campaign.memory.energy(twin)
        if energy is None or energy > known - SAME_MINIMUM:
            return twin
    campaign.memory.relaxed.add(candidate.id, crystal)
    return None
