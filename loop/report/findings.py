"""The rows of the report's table: what is known of each candidate, each energy with its fidelity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from loop.crystal import Crystal
from loop.known import KnownPhase
from loop.ledger.tables import Calculation, Candidate, Verdict
from loop.metrics import Verified
from loop.report.contents import Finding
from loop.report.structures import scene
from loop.report.view import View, best_calculations
from loop.report.wording import milli, number
from loop.state import CampaignState

MOST: Final = 60
"""Rows of the table. What the campaign verified comes first, then the best of the screen."""

Standing = Literal["stable", "metastable", "unstable", "failed", "waiting"]
Known = Callable[[Crystal], KnownPhase | None]


def findings(view: View, *, known: Known, most: int = MOST, pictures: bool = True) -> tuple[Finding, ...]:
    """The best candidates: discoveries, then what was verified, then what the screen puts within the window.

    Args:
        view: of the campaign.
        known: gives the phase known to experiment that a crystal is, if any.
        most: rows at most.
        pictures: whether to draw the crystals.
    """
    verified = {v.candidate_id: v for v in view.verified}
    screened = view.screened
    discoveries = view.discoveries

    def order(id_: str) -> tuple[bool, bool, float, float, str]:
        """Discoveries first, then by energy above hull, what lies deepest below the references first."""
        sent = verified.get(id_)
        energy = sent.verified if sent and sent.verified is not None else None
        best = (
            energy
            if energy is not None
            else screened[id_].energy_above_hull
            if id_ in screened
            else float("inf")
        )
        judged = [
            v
            for f in (*view.screenings, *view.fidelities)
            if (v := view.state.verdicts_in_force.get((id_, f)))
        ]
        return (
            id_ not in discoveries,
            energy is None,
            best,
            judged[-1].distance_to_references if judged else 0.0,
            id_,
        )

    window = max(view.spec.acquisition.window, view.spec.thresholds.metastable)
    near = {id_ for id_, verdict in screened.items() if verdict.energy_above_hull <= window}
    chosen = sorted({*verified, *near}, key=order)[:most]
    levels = best_calculations(view, chosen)
    return tuple(
        _finding(
            view, id_, sent=verified.get(id_), screened=screened.get(id_), calculation=levels.get(id_),
            discovery=id_ in discoveries, known=known, pictures=pictures,
        )
        for id_ in chosen
    )  # fmt: skip


def _finding(
    view: View,
    id_: str,
    *,
    sent: Verified | None,
    screened: Verdict | None,
    calculation: Calculation | None,
    discovery: bool,
    known: Known,
    pictures: bool,
) -> Finding:
    state, candidate = view.state, view.state.candidates[id_]
    verdicts = [v for f in view.fidelities if (v := state.verdicts_in_force.get((id_, f)))]
    highest = verdicts[-1] if verdicts else screened
    crystal = _crystal(state, candidate, calculation)
    failure = _failure(view, id_)
    standing = _standing(view, sent, failure)
    label = _known(view, id_, known(crystal))
    phonons = _phonons(view, id_, sent)
    return Finding(
        candidate_id=id_,
        formula=crystal.reduced_formula,
        space_group=crystal.space_group_number,
        prototype=_prototype(candidate.details),
        number_of_atoms=crystal.number_of_atoms,
        generator=candidate.generator,
        generator_details=", ".join(
            f"{k.replace('_', ' ')}: {_short(v)}" for k, v in candidate.details.items()
        ),
        iteration=candidate.iteration,
        parents=tuple(str(parent) for parent in candidate.parents),
        role=sent.role if sent else None,
        screened=screened.energy_above_hull if screened else None,
        screened_at=screened.fidelity if screened else None,
        verified=sent.verified if sent else None,
        verified_at=verdicts[-1].fidelity if verdicts else None,
        distance_to_references=highest.distance_to_references if highest else None,
        formation_energy=highest.formation_energy if highest else None,
        decomposition=_decomposition(view, highest, id_),
        verdict=_verdict(
            standing,
            sent=sent,
            screened=screened,
            fidelity=highest.fidelity if highest else view.screening,
            failure=failure,
        ),
        standing=standing,
        phonons=phonons.said,
        dynamically_stable=sent.dynamically_stable if sent else None,
        minimum_frequency=phonons.minimum,
        phonons_at=phonons.level,
        known=label,
        discovery=discovery,
        failure=failure,
        scene=scene(crystal) if pictures else None,
        shown_as=f"relaxed at {calculation.fidelity}" if calculation else "as proposed",
    )


def _crystal(state: CampaignState, candidate: Candidate, calculation: Calculation | None) -> Crystal:
    key = calculation.result_crystal_key if calculation else candidate.crystal_key
    return state.crystals[key or candidate.crystal_key or ""]


def _prototype(details: Mapping[str, Any]) -> str | None:
    for key in ("prototype", "structure_type", "template"):
        if details.get(key):
            return _short(details[key])
    return None


def _short(value: Any) -> str:
    text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, Mapping) else str(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _known(view: View, id_: str, phase: KnownPhase | None) -> str | None:
    """The known phase that it is, with its citation; else the name that was recorded when it was verified."""
    if phase is not None:
        return f"{phase.name} ({phase.citation})" if phase.citation else phase.name
    own = [v for (at, _), v in view.state.verifications.items() if at == id_ and v.summary.get("known")]
    return str(own[-1].summary["known"]) if own else None


def _failure(view: View, id_: str) -> str | None:
    """The latest failure of its verification."""
    levels = {level.name for level in view.spec.verification}
    own = [
        row for (subject, stage, _), row in view.state.failures.items() if subject == id_ and stage in levels
    ]
    return f"{own[-1].reason} at {own[-1].stage}: {own[-1].detail}" if own else None


def _standing(view: View, sent: Verified | None, failure: str | None) -> Standing:
    if sent is None:
        return "waiting"
    if sent.verified is None:
        return "failed" if failure else "waiting"
    thresholds = view.spec.thresholds
    return (
        "stable"
        if sent.verified <= thresholds.stable
        else "metastable"
        if sent.verified <= thresholds.metastable
        else "unstable"
    )


def _verdict(
    standing: Standing,
    *,
    sent: Verified | None,
    screened: Verdict | None,
    fidelity: str,
    failure: str | None,
) -> str:
    """The verdict in words, never without its fidelity."""
    if standing == "failed":
        return f"verification failed ({failure})"
    if standing == "waiting":
        return (
            f"not verified; screened {milli(screened.energy_above_hull)} meV/atom at {screened.fidelity}"
            if screened
            else "not judged"
        )
    if standing == "unstable" and sent is not None:
        return f"{milli(sent.verified)} meV/atom above the hull at {fidelity}"
    return f"{standing} at {fidelity}"


def _decomposition(view: View, verdict: Verdict | None, id_: str) -> tuple[tuple[str, float], ...]:
    """Competing phases with their formulas; nothing for what lies on the hull itself."""
    if verdict is None or set(verdict.decomposition) == {id_}:
        return ()
    parts = sorted(verdict.decomposition.items(), key=lambda item: -item[1])
    return tuple(
        (f"{view.formula(name)} ({name})" if name in view.state.candidates else name, float(share))
        for name, share in parts
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Phonons:
    said: str
    minimum: float | None = None
    level: str | None = None


def _phonons(view: View, id_: str, sent: Verified | None) -> _Phonons:
    """What the phonon levels said, the last one that spoke."""
    for level in reversed(view.phonon_levels):
        verification = view.state.verifications.get((id_, level))
        if verification is None:
            continue
        if verification.outcome != "done":
            return _Phonons(said="failed", level=level)
        minimum = view.state.calculations[verification.calculation_key].result.get("minimum_frequency")
        lowest = f", lowest {number(minimum, 2)} THz" if minimum is not None else ""
        stable = "dynamically stable" if verification.dynamically_stable else "imaginary modes"
        return _Phonons(said=f"{stable}{lowest} at {level}", minimum=minimum, level=level)
    return _Phonons(said="asked, not settled" if sent and sent.phonons_asked else "not asked")
