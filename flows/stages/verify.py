"""Verify: the chosen candidates climb the fidelity levels, each level judged on a hull of its own fidelity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from flows.calculations import Outcome, Request, compute
from flows.stages.common import chunks, failure_rows
from flows.stages.judging import ReferenceEnergies, judge, references_at, references_within
from flows.stages.references import reference_set_rows
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
        verifier = campaign.resources.verifiers[level.name]
        if level.admits_within is not None:
            chosen = [id_ for id_ in chosen if energies.get(id_, float("inf")) <= level.admits_within]
        outcome = _compute(campaign, chosen, verifier, level=level, iteration=iteration, first=position == 0)
        failures = failure_rows(campaign, outcome, stage=level.name, iteration=iteration)
        done = {id_: c for id_, c in outcome.settled.items() if c.outcome == "done"}
        rows += failures
        if verifier.gives_energy:
            level_rows, energies = _judge_level(campaign, verifier, level, done, iteration=iteration)
            rows += level_rows
        rows += [
            _verification(campaign, id_, c, verifier, level=level, iteration=iteration)
            for id_, c in outcome.settled.items()
        ]
        summary[level.name] = {"verified": len(done), "failed": len(failures)}
        chosen = [id_ for id_ in chosen if id_ in done]
    return rows, summary


def _compute(
    campaign: Campaign,
    candidate_ids: Sequence[str],
    verifier: Verifier,
    *,
    level: VerificationLevel,
    iteration: int,
    first: bool,
) -> Outcome:
    """Settle one level's calculations, chunk by chunk."""
    settled: dict[str, Calculation] = {}
    unaffordable: list[str] = []
    for number, chunk in enumerate(chunks(candidate_ids, campaign.spec.execution.chunk), start=1):
        requests = [Request(subject=id_, crystal=campaign.best_crystal(id_)) for id_ in chunk]
        outcome = campaign.runner.task(
            f"verify {iteration}.{number} {level.name}",
            partial(
                compute,
                campaign,
                requests,
                by=verifier,
                purpose=level.name,
                iteration=iteration,
                charge={"verifications": 1.0} if first else {},
                label=f"verifying at {level.name}",
            ),
        )
        settled |= outcome.settled
        unaffordable += outcome.unaffordable
    return Outcome(settled=settled, unaffordable=tuple(unaffordable))


def _judge_level(
    campaign: Campaign,
    verifier: Verifier,
    level: VerificationLevel,
    done: Mapping[str, Calculation],
    *,
    iteration: int,
) -> tuple[list[Row], dict[str, float]]:
    """Compute the reference phases that this level's hull needs, then judge every verified candidate on it.

    Returns:
        The rows to write, and energies above hull (eV/atom) of the candidates of this iteration.
    """
    if not done:
        return [], {}
    rows, references = _references(campaign, verifier, level, done, iteration=iteration)
    calculations = {**campaign.state.judged(verifier.fidelity), **done}
    judgement = judge(
        campaign,
        fidelity=verifier.fidelity,
        calculations=calculations,
        references=references,
        iteration=iteration,
    )
    return [*rows, *judgement.rows], {id_: judgement.energies_above_hull[id_] for id_ in done}


def _references(
    campaign: Campaign,
    verifier: Verifier,
    level: VerificationLevel,
    done: Mapping[str, Calculation],
    *,
    iteration: int,
) -> tuple[list[Row], ReferenceEnergies]:
    """Reference phases near the screening hull, recomputed at this level for the chemical systems at hand.

    All that lies on the screening hull is among them, so every decomposition line is covered; the window allows for the
    phases whose order changes between the two fidelities.
    """
    state = campaign.state
    before = references_at(campaign, verifier.fidelity)
    systems = {state.crystals[c.crystal_key].elements for c in done.values()}
    wanted = references_within(campaign, level.reference_window, systems=systems)
    requests = [
        Request(subject=name, crystal=crystal)
        for name, crystal in sorted(wanted.items())
        if name not in before.calculations
    ]
    rows: list[Row] = []
    found: dict[str, Calculation] = {}
    for number, chunk in enumerate(chunks(requests, campaign.spec.execution.chunk), start=1):
        outcome = campaign.runner.task(
            f"verify references {iteration}.{number} {level.name}",
            partial(
                compute,
                campaign,
                chunk,
                by=verifier,
                purpose="reference",
                iteration=iteration,
                charge={},
                label=f"reference phases at {level.name}",
            ),
        )
        rows += failure_rows(campaign, outcome, stage=level.name, iteration=iteration)
        found |= {name: c for name, c in outcome.settled.items() if c.outcome == "done"}
    if not found:
        return rows, before
    calculations = {**before.calculations, **found}
    described = {
        "recomputed from": references_at(campaign, campaign.screening_fidelity).version,
        "window": level.reference_window,
    }
    set_rows, version = reference_set_rows(
        campaign, calculations, fidelity=verifier.fidelity, source=described, iteration=iteration
    )
    return [*rows, *set_rows], ReferenceEnergies(version=version, calculations=calculations)


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
