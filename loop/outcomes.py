"""What a campaign has found so far, read off its live state: the bridge from the ledger's rows to figures of merit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from loop.acquisition.policy import Role
from loop.ledger.tables import Cost
from loop.metrics import Verified, discoveries_per_iteration, is_discovery
from loop.screened import screened, screening_fidelities, screening_fidelity
from loop.spec import CampaignSpec, VerificationLevel
from loop.state import CampaignState


def fidelity_of(state: CampaignState, level: VerificationLevel) -> str | None:
    """Name of the energies that a level gives, as its verifications say; None before the first, or without energies."""
    for (_, name), verification in state.verifications.items():
        if name == level.name and verification.summary["gives_energy"]:
            return str(verification.summary["fidelity"])
    return None


def verified_candidates(state: CampaignState, spec: CampaignSpec) -> list[Verified]:
    """Every candidate that was sent to verification, in that order, judged at the highest level that gave an energy."""
    verdicts = screened(state, screening_fidelities(state))
    fidelities = {level.name: fidelity_of(state, level) for level in spec.verification}
    costs = _verification_costs(state)
    found = []
    for decision in sorted(
        state.decisions.values(), key=lambda d: (d.iteration, d.role != "chosen", d.rank, d.candidate_id)
    ):
        id_ = decision.candidate_id
        first = state.verifications.get((id_, spec.verification[0].name))
        if decision.role == "passed over" or first is None or first.iteration != decision.iteration:
            continue  # a choice that was not afforded is chosen anew later, and counts where it was verified
        role: Role = "audit" if decision.role == "audit" else "chosen"
        energy, asked, stable = _judgement(state, spec, id_, fidelities)
        found.append(
            Verified(
                candidate_id=id_,
                iteration=decision.iteration,
                role=role,
                screened=verdicts[id_].energy_above_hull,
                screened_at=verdicts[id_].fidelity,
                verified=energy,
                unique=first.summary.get("repeats") is None,
                novel=first.summary.get("reference") is None,
                dynamically_stable=stable,
                phonons_asked=asked,
                cost=costs.get(id_, {}),
            )
        )
    return found


def discoveries(state: CampaignState, spec: CampaignSpec) -> list[Verified]:
    """The discoveries, in order of verification."""
    return [v for v in verified_candidates(state, spec) if is_discovery(v, spec.thresholds)]


def finished_iterations(state: CampaignState) -> list[int]:
    """Numbers of the iterations that learned from their verifications, ascending; the report may be still to write."""
    return sorted(iteration for iteration, name in state.stages if name == "learn")


def counts(state: CampaignState, spec: CampaignSpec) -> dict[str, Any]:
    """Where the campaign stands, as plain values."""
    candidates = state.candidates
    crystals = {c.crystal_key for c in candidates.values() if c.crystal_key}
    screening = screening_fidelity(state)
    relaxed = {
        c.crystal_key
        for c in state.calculations.values()
        if c.outcome == "done"
        and c.fidelity == screening
        and c.kind == "relaxation"
        and c.crystal_key in crystals
    }
    verified = verified_candidates(state, spec)
    stop = [stage.summary["reason"] for (_, name), stage in sorted(state.stages.items()) if name == "stop"]
    return {
        "iterations": len(finished_iterations(state)),
        "candidates": len(candidates),
        "kept": sum(1 for id_ in candidates if id_ not in state.rejections),
        "relaxed": len(relaxed),
        "verified": sum(1 for v in verified if v.verified is not None),
        "discoveries": sum(1 for v in verified if is_discovery(v, spec.thresholds)),
        **_standing(state, spec),
        "failures": len(state.failures),
        "seconds": sum(stage.seconds for stage in state.stages.values()),
        "cost": dict(sorted(state.spent.items())),
        "stopped": stop[-1] if stop else None,
    }


def _standing(state: CampaignState, spec: CampaignSpec) -> dict[str, dict[str, int]]:
    """How many candidates were judged at each fidelity, and how many lie how near to its hull."""
    levels = [fidelity for level in spec.verification if (fidelity := fidelity_of(state, level))]
    energies = {
        fidelity: [v.energy_above_hull for v in state.verdicts_at(fidelity)]
        for fidelity in (*screening_fidelities(state), *levels)
    }
    limits = {"metastable": spec.thresholds.metastable, "stable": spec.thresholds.stable}
    return {
        "judged_at": {fidelity: len(found) for fidelity, found in energies.items()},
        **{
            f"{name}_at": {f: sum(e <= limit for e in found) for f, found in energies.items()}
            for name, limit in limits.items()
        },
    }


def discoveries_by_iteration(state: CampaignState, spec: CampaignSpec) -> list[int]:
    """Discoveries that each finished iteration made."""
    return discoveries_per_iteration(
        verified_candidates(state, spec), spec.thresholds, iterations=finished_iterations(state)
    )


def _judgement(
    state: CampaignState, spec: CampaignSpec, candidate_id: str, fidelities: Mapping[str, str | None]
) -> tuple[float | None, bool, bool | None]:
    """Energy above hull at the highest level that gave one, whether phonons were asked for, and what they said."""
    energy: float | None = None
    asked, stable = False, None
    for level in spec.verification:
        fidelity = fidelities[level.name]
        if fidelity is not None:
            verdict = state.verdict(candidate_id, fidelity)
            energy = verdict.energy_above_hull if verdict else energy
            continue
        admitted = energy is not None and (level.admits_within is None or energy <= level.admits_within)
        verification = state.verifications.get((candidate_id, level.name))
        asked = asked or admitted or verification is not None
        if verification is not None and verification.dynamically_stable is not None:
            stable = verification.dynamically_stable
    return energy, asked, stable


def _verification_costs(state: CampaignState) -> dict[str, dict[str, float]]:
    """Settled cost of each candidate's verifications, by currency."""
    by_calculation: dict[str, dict[str, float]] = {}
    for cost in cast("Iterable[Cost]", state.held[Cost].values()):
        if cost.kind == "settled":
            by_calculation.setdefault(cost.calculation_key, {})[cost.currency] = cost.amount
    totals: dict[str, dict[str, float]] = {}
    for (id_, _), verification in state.verifications.items():
        own = totals.setdefault(id_, {})
        for currency, amount in by_calculation.get(verification.calculation_key, {}).items():
            own[currency] = own.get(currency, 0.0) + amount
    return totals
