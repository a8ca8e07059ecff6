"""Verify: the chosen candidates climb the fidelity levels, each level judged on a hull of its own fidelity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from flows.calculations import Outcome, Request, calculation_key, compute
from flows.progress import Queue
from flows.stages.common import chunks, failure_rows
from flows.stages.judging import judge
from flows.stages.level_hull import LevelReferences, phases_needed, recompute_references
from flows.verification.verifier import Verifier
from loop.budget import total
from loop.crystal import Crystal
from loop.identity import same
from loop.ledger.tables import Calculation, FailureRow, Row, Verification
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
        climbed = _climb(campaign, chosen, level, iteration=iteration, first=position == 0)
        rows += climbed.rows
        summary[level.name] = climbed.summary
        energies |= climbed.energies_above_hull
        chosen = [id_ for id_ in chosen if id_ in climbed.passed]
    return rows, summary


@dataclass(frozen=True, slots=True, kw_only=True)
class _Climbed:
    """What one level made of the candidates that reached it."""

    rows: list[Row]
    summary: dict[str, int]
    passed: frozenset[str]
    """Candidates that go on to the next level."""
    energies_above_hull: Mapping[str, float]
    """eV/atom by candidate, where the level gives energies."""


def _climb(
    campaign: Campaign, chosen: Sequence[str], level: VerificationLevel, *, iteration: int, first: bool
) -> _Climbed:
    """Take candidates through one level: its hull's reference phases, the candidates, their verdicts."""
    verifier = campaign.resources.verifiers[level.name]
    charge = {"verifications": 1.0} if first else {}
    crystals = {id_: campaign.best_crystal(id_) for id_ in chosen}
    rows: list[Row] = []
    references: LevelReferences | None = None
    payable = chosen
    if verifier.gives_energy:
        paid = _payable(campaign, crystals, verifier, charge=charge)
        references = recompute_references(
            campaign, verifier, level, systems={crystals[id_].elements for id_ in paid}, iteration=iteration
        )
        rows += references.rows
        payable = [id_ for id_ in paid if not references.waits(crystals[id_].elements)]
    outcome = _compute(campaign, payable, verifier, level=level, iteration=iteration, charge=charge)
    failures = failure_rows(campaign, outcome, stage=level.name, iteration=iteration)
    done = {id_: c for id_, c in outcome.settled.items() if c.outcome == "done"}
    rows += failures
    summary = {
        "verified": len(done),
        "failed": len(failures),
        "unaffordable": len(chosen) - len(outcome.settled),
    }
    energies: Mapping[str, float] = {}
    if references is not None:
        unjudged = _without_hull(campaign, {id_: crystals[id_] for id_ in done}, references, level, iteration)
        rows += unjudged
        summary["unjudged"] = len(unjudged)
        for row in unjudged:
            del done[row.subject]
        if done:
            judgement = judge(
                campaign,
                fidelity=verifier.fidelity,
                calculations={**campaign.state.judged(verifier.fidelity), **done},
                references=references.energies,
                iteration=iteration,
            )
            rows += judgement.rows
            energies = {id_: judgement.energies_above_hull[id_] for id_ in done}
    rows += [
        _verification(campaign, id_, c, verifier, level=level, iteration=iteration)
        for id_, c in outcome.settled.items()
    ]
    return _Climbed(rows=rows, summary=summary, passed=frozenset(done), energies_above_hull=energies)


def _payable(
    campaign: Campaign, crystals: Mapping[str, Crystal], verifier: Verifier, *, charge: Mapping[str, float]
) -> list[str]:
    """The candidates that the budget pays for, in their order; what is settled already costs nothing."""
    keys = {id_: calculation_key(crystal, verifier.identity(crystal)) for id_, crystal in crystals.items()}
    settled = campaign.settled(keys.values(), shared=False)
    promised: list[Mapping[str, float]] = []
    payable = []
    for id_, crystal in crystals.items():
        cost = {} if keys[id_] in settled else total([verifier.declared_cost(crystal), charge])
        if campaign.can_afford(cost, beside=promised):
            promised.append(cost)
            payable.append(id_)
    return payable


def _without_hull(
    campaign: Campaign,
    crystals: Mapping[str, Crystal],
    references: LevelReferences,
    level: VerificationLevel,
    iteration: int,
) -> list[FailureRow]:
    """A failure for each candidate whose decomposition needs a reference phase that could not be computed."""
    if not references.failed:
        return []
    rows = []
    for id_, needed in phases_needed(campaign, crystals).items():
        lacking = sorted(needed & set(references.failed))
        if lacking:
            reasons = "; ".join(f"{name} ({references.failed[name]})" for name in lacking)
            rows.append(
                FailureRow(
                    campaign_id=campaign.id,
                    subject=id_,
                    stage=level.name,
                    iteration=iteration,
                    reason="no hull",
                    detail=f"reference phases it is judged against could not be computed at {level.name}: {reasons}",
                )
            )
    return rows


def _compute(
    campaign: Campaign,
    candidate_ids: Sequence[str],
    verifier: Verifier,
    *,
    level: VerificationLevel,
    iteration: int,
    charge: Mapping[str, float],
) -> Outcome:
    """Settle one level's calculations, chunk by chunk."""
    settled: dict[str, Calculation] = {}
    unaffordable: list[str] = []
    queue = Queue.of((campaign.best_crystal(id_) for id_ in candidate_ids), by=verifier)
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
                charge=charge,
                label=f"verifying at {level.name}",
                queue=queue,
            ),
        )
        settled |= outcome.settled
        unaffordable += outcome.unaffordable
    return Outcome(settled=settled, unaffordable=tuple(unaffordable))


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
