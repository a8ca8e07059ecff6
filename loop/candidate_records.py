"""From the rows about candidates to the records that learners read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from loop.crystal import Crystal
from loop.ledger.tables import Calculation, Candidate, Decision, FailureRow, Verification
from loop.records import Record
from loop.screened import screened

if TYPE_CHECKING:
    from loop.state import CampaignState


def candidate_records(
    state: CampaignState, *, screening_fidelities: Sequence[str], verification_levels: Sequence[str]
) -> tuple[Record, ...]:
    """One record per candidate that is a crystal, in order of proposal; see `CampaignState.records`."""
    relaxations = _relaxations(state, screening_fidelities[0]) if screening_fidelities else {}
    verdicts = screened(state, screening_fidelities)
    decisions = {row.candidate_id: row for _, row in sorted(state.decisions.items())}
    verifications: defaultdict[str, dict[str, Verification]] = defaultdict(dict)
    for row in state.verifications.values():
        verifications[row.candidate_id][row.level] = row
    failures: defaultdict[str, list[FailureRow]] = defaultdict(list)
    for failure in sorted(state.failures.values(), key=lambda row: (row.iteration, row.stage)):
        failures[failure.subject].append(failure)

    def record(candidate: Candidate, crystal: Crystal) -> Record:
        verdict = verdicts.get(candidate.id)
        verified = [state.verdict(candidate.id, level) for level in verification_levels]
        answers = [verifications[candidate.id].get(level) for level in verification_levels]
        stable = [
            row.dynamically_stable
            for row in answers
            if row is not None and row.dynamically_stable is not None
        ]
        return Record(
            candidate_id=candidate.id,
            iteration=candidate.iteration,
            generator=candidate.generator,
            parents=tuple(candidate.parents),
            details=candidate.details,
            crystal=crystal,
            relaxed=_relaxed(state, verdict.calculation_key if verdict else relaxations.get(crystal.key)),
            screened_energy_above_hull=verdict.energy_above_hull if verdict else None,
            screened_at=verdict.fidelity if verdict else None,
            verified_energy_above_hull=next(
                (row.energy_above_hull for row in reversed(verified) if row), None
            ),
            dynamically_stable=stable[-1] if stable else None,
            failure=_reason(state, candidate.id, failures[candidate.id]),
            predictions=_predictions(decisions.get(candidate.id)),
        )

    return tuple(
        record(candidate, state.crystals[candidate.crystal_key])
        for candidate in state.candidates.values()
        if candidate.crystal_key is not None
    )


def _relaxations(state: CampaignState, fidelity: str) -> dict[str, str]:
    """Keys of the calculations at a fidelity that gave a crystal, by the crystal they began from."""
    found: dict[str, str] = {}
    for key, row in state.calculations.items():
        if row.fidelity == fidelity and row.outcome == "done" and row.result_crystal_key is not None:
            found.setdefault(row.crystal_key, key)
    return found


def _relaxed(state: CampaignState, calculation_key: str | None) -> Crystal | None:
    calculation: Calculation | None = state.calculations[calculation_key] if calculation_key else None
    return (
        state.crystals[calculation.result_crystal_key]
        if calculation and calculation.result_crystal_key
        else None
    )


def _reason(state: CampaignState, candidate_id: str, failures: Sequence[FailureRow]) -> str | None:
    """The latest failure's reason; the rejection's where nothing failed."""
    if failures:
        return failures[-1].reason
    rejection = state.rejections.get(candidate_id)
    return rejection.reason if rejection else None


def _predictions(decision: Decision | None) -> Mapping[str, float]:
    """What the acquisition last expected of the candidate, eV/atom."""
    if decision is None:
        return {}
    return {"predicted_mean": decision.predicted_mean, "predicted_deviation": decision.predicted_deviation}
