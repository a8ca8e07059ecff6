"""Verify: the chosen candidates climb the fidelity levels, each level judged on a hull of its own fidelity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows.stages.climbing import climb, judge_climbed
from flows.stages.level_hull import Level
from flows.verification.verifier import Verifier
from loop.identity import same
from loop.ledger.tables import Calculation, Row, Verification
from loop.spec import VerificationLevel

if TYPE_CHECKING:
    from flows.campaign import Campaign


def verify(campaign: Campaign, iteration: int) -> tuple[list[Row], dict[str, Any]]:
    """Verify this iteration's choices level by level; a level admits what the one before let through."""
    rows: list[Row] = []
    summary: dict[str, Any] = {}
    decisions = [
        d for (at, _), d in campaign.state.decisions.items() if at == iteration and d.role != "passed over"
    ]
    chosen = [
        d.candidate_id for d in sorted(decisions, key=lambda d: (d.role != "chosen", d.rank, d.candidate_id))
    ]
    energies: dict[str, float] = {}
    for position, level in enumerate(campaign.spec.verification):
        if level.admits_within is not None:
            chosen = [id_ for id_ in chosen if energies.get(id_, float("inf")) <= level.admits_within]
        verified = _verified(campaign, chosen, level, iteration=iteration, first=position == 0)
        rows += verified.rows
        summary[level.name] = verified.summary
        energies |= verified.energies_above_hull
        chosen = [id_ for id_ in chosen if id_ in verified.passed]
    return rows, summary


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verified:
    """What one level made of the candidates that reached it."""

    rows: list[Row]
    summary: dict[str, int]
    passed: frozenset[str]
    """Candidates that go on to the next level."""
    energies_above_hull: Mapping[str, float]
    """eV/atom by candidate, where the level gives energies."""


def _verified(
    campaign: Campaign, chosen: Sequence[str], level: VerificationLevel, *, iteration: int, first: bool
) -> _Verified:
    """Take candidates through one level: its hull's reference phases, the candidates, their verdicts."""
    verifier = campaign.resources.verifiers[level.name]
    at = Level(
        name=level.name,
        task="verify",
        doing=f"verifying at {level.name}",
        by=verifier,
        reference_window=level.reference_window,
        charge={"verifications": 1.0} if first else {},
    )
    climbed = climb(campaign, at, {id_: campaign.best_crystal(id_) for id_ in chosen}, iteration=iteration)
    judgement = judge_climbed(campaign, at, climbed, climbed.judgeable, iteration=iteration)
    rows = [*climbed.rows, *(judgement.rows if judgement else ())]
    rows += [
        _verification(campaign, id_, c, verifier, level=level, iteration=iteration)
        for id_, c in climbed.settled.items()
    ]
    counts = dict(climbed.counts)
    return _Verified(
        rows=rows,
        summary={"verified": counts.pop("done"), **counts},
        passed=frozenset(climbed.judgeable),
        energies_above_hull={id_: judgement.energies_above_hull[id_] for id_ in climbed.judgeable}
        if judgement
        else {},
    )


def _verification(
    campaign: Campaign,
    candidate_id: str,
    calculation: Calculation,
    verifier: Verifier,
    *,
    level: VerificationLevel,
    iteration: int,
) -> Verification:
    """The level's answer, with what it says of novelty."""
    summary: dict[str, Any] = {"fidelity": verifier.fidelity, "gives_energy": verifier.gives_energy}
    if calculation.outcome == "done":
        summary |= _novelty(campaign, candidate_id, calculation)
    stable = calculation.result.get("dynamically_stable")
    return Verification(
        campaign_id=campaign.id,
        candidate_id=candidate_id,
        level=level.name,
        iteration=iteration,
        calculation_key=calculation.key,
        outcome=calculation.outcome,
        dynamically_stable=None if stable is None else bool(stable),
        summary=summary,
    )


def _novelty(campaign: Campaign, candidate_id: str, calculation: Calculation) -> dict[str, Any]:
    """Which reference phase, earlier verified candidate and phase known to experiment the crystal equals."""
    state = campaign.state
    crystal = state.crystals[calculation.result_crystal_key or calculation.crystal_key]
    references = (
        name
        for name, phase in campaign.memory.references.items()
        if phase.reduced_formula == crystal.reduced_formula and same(phase, crystal)
    )
    earlier = (
        v.candidate_id
        for v in sorted(state.verifications.values(), key=lambda v: (v.iteration, v.candidate_id))
        if v.level == campaign.spec.verification[0].name
        and v.outcome == "done"
        and v.candidate_id != candidate_id
        and same(state.crystals[state.calculations[v.calculation_key].result_crystal_key or ""], crystal)
    )
    return {
        "reference": next(references, None),
        "repeats": next(earlier, None),
        "known": campaign.resources.known.match(crystal),
    }
