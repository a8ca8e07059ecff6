"""The rows of the report's table: what is known of each candidate worth looking at, each energy with its fidelity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from loop.crystal import Crystal
from loop.known import KnownPhase
from loop.ledger.tables import Calculation, Candidate, Verdict
from loop.metrics import Verified, is_discovery
from loop.outcomes import fidelity_of, screening_fidelity, verified_candidates
from loop.report.contents import Finding
from loop.report.structures import scene
from loop.report.wording import milli, number
from loop.spec import CampaignSpec
from loop.state import CampaignState

MOST: Final = 60
"""Rows of the table. What the campaign verified comes first, then the best of the screen."""

Standing = Literal["stable", "metastable", "unstable", "failed", "waiting"]
Known = Callable[[Crystal], KnownPhase | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the gatherers share: the state, the campaign file, and what was derived from both once."""

    state: CampaignState
    spec: CampaignSpec
    screening: str
    energy_levels: tuple[tuple[str, str], ...]
    """(level, fidelity) of the levels that gave energies, lowest first."""
    phonon_levels: tuple[str, ...]
    verified: tuple[Verified, ...]
    """In order of verification."""

    @classmethod
    def of(cls, state: CampaignState, spec: CampaignSpec) -> View:
        """Read a campaign's state."""
        fidelities = [(level, fidelity_of(state, level)) for level in spec.verification]
        return cls(
            state=state,
            spec=spec,
            screening=screening_fidelity(state) or spec.potential.name,
            energy_levels=tuple((level.name, fidelity) for level, fidelity in fidelities if fidelity),
            phonon_levels=tuple(level.name for level in spec.verification if level.verifier == "phonons"),
            verified=tuple(verified_candidates(state, spec)),
        )

    @property
    def fidelities(self) -> tuple[str, ...]:
        """The verifying fidelities that gave energies, lowest first."""
        return tuple(fidelity for _, fidelity in self.energy_levels)

    @property
    def discoveries(self) -> frozenset[str]:
        """Ids of the discoveries."""
        return frozenset(v.candidate_id for v in self.verified if is_discovery(v, self.spec.thresholds))

    def formula(self, candidate_id: str) -> str:
        """A candidate's reduced formula; its id where it was no crystal."""
        candidate = self.state.candidates.get(candidate_id)
        crystal = self.state.crystals.get(candidate.crystal_key or "") if candidate else None
        return crystal.reduced_formula if crystal else candidate_id


def findings(view: View, *, known: Known, most: int = MOST, pictures: bool = True) -> tuple[Finding, ...]:
    """The best candidates: discoveries, then what was verified, then the best of the screen.

    Args:
        view: of the campaign.
        known: gives the phase known to experiment that a crystal is, if any.
        most: rows at most.
        pictures: whether to draw the crystals.
    """
    verified = {v.candidate_id: v for v in view.verified}
    screened = {id_: v for (id_, at), v in view.state.verdicts_in_force.items() if at == view.screening}
    discoveries = view.discoveries

    def order(id_: str) -> tuple[bool, bool, float, str]:
        sent = verified.get(id_)
        energy = sent.verified if sent and sent.verified is not None else None
        best = energy if energy is not None else screened[id_].energy_above_hull if id_ in screened else float("inf")
        return id_ not in discoveries, energy is None, best, id_

    chosen = sorted({*verified, *screened}, key=order)[:most]
    levels = _best_calculations(view, chosen)
    return tuple(
        _finding(
            view, id_, sent=verified.get(id_), screened=screened.get(id_), calculation=levels.get(id_),
            discovery=id_ in discoveries, known=known, pictures=pictures,
        )
        for id_ in chosen
    )  # fmt: skip


def _best_calculations(view: View, ids: Sequence[str]) -> dict[str, Calculation]:
    """For each candidate the calculation of highest fidelity that gave a relaxed crystal."""
    state, best = view.state, {}
    for id_ in ids:
        verdict = state.verdicts_in_force.get((id_, view.screening))
        keys = [verdict.calculation_key] if verdict else []
        keys += [v.calculation_key for level, _ in view.energy_levels if (v := state.verifications.get((id_, level)))]
        done = [state.calculations[key] for key in keys if state.calculations[key].result_crystal_key]
        if done:
            best[id_] = done[-1]
    return best


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
    phase = known(crystal)
    phonons = _phonons(view, id_, sent)
    return Finding(
        candidate_id=id_,
        formula=crystal.reduced_formula,
        space_group=crystal.space_group_number,
        prototype=_prototype(candidate.details),
        number_of_atoms=crystal.number_of_atoms,
        generator=candidate.generator,
        generator_details=", ".join(f"{k.replace('_', ' ')}: {_short(v)}" for k, v in candidate.details.items()),
        iteration=candidate.iteration,
        parents=tuple(str(parent) for parent in candidate.parents),
        role=sent.role if sent else None,
        screened=screened.energy_above_hull if screened else None,
        verified=sent.verified if sent else None,
        verified_at=verdicts[-1].fidelity if verdicts else None,
        distance_to_references=highest.distance_to_references if highest else None,
        formation_energy=highest.formation_energy if highest else None,
        decomposition=_decomposition(view, highest, id_),
        verdict=_verdict(view, standing, sent, screened, verdicts[-1].fidelity if verdicts else view.screening, failure),
        standing=standing,
        phonons=phonons.said,
        dynamically_stable=sent.dynamically_stable if sent else None,
        minimum_frequency=phonons.minimum,
        phonons_at=phonons.level,
        known=_cited(phase) if phase else None,
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


def _cited(phase: KnownPhase) -> str:
    return f"{phase.name} ({phase.citation})" if phase.citation else phase.name


def _failure(view: View, id_: str) -> str | None:
    """The latest failure of its verification."""
    own = [row for (subject, stage, _), row in view.state.failures.items() if subject == id_ and stage != "relax"]
    return f"{own[-1].reason} at {own[-1].stage}: {own[-1].detail}" if own else None


def _standing(view: View, sent: Verified | None, failure: str | None) -> Standing:
    if sent is None:
        return "waiting"
    if sent.verified is None:
        return "failed" if failure else "waiting"
    thresholds = view.spec.thresholds
    return "stable" if sent.verified <= thresholds.stable else "metastable" if sent.verified <= thresholds.metastable else "unstable"


def _verdict(
    view: View, standing: Standing, sent: Verified | None, screened: Verdict | None, fidelity: str, failure: str | None
) -> str:
    """The verdict in words, never without its fidelity."""
    if standing == "failed":
        return f"verification failed ({failure})"
    if standing == "waiting":
        return f"not verified; screened {milli(screened.energy_above_hull)} meV/atom at {view.screening}" if screened else "not judged"
    if standing == "unstable" and sent is not None:
        return f"{milli(sent.verified)} meV/atom above the hull at {fidelity}"
    return f"{standing} at {fidelity}"


def _decomposition(view: View, verdict: Verdict | None, id_: str) -> tuple[tuple[str, float], ...]:
    """Competing phases with their formulas; nothing for what lies on the hull itself."""
    if verdict is None or set(verdict.decomposition) == {id_}:
        return ()
    parts = sorted(verdict.decomposition.items(), key=lambda item: -item[1])
    return tuple((f"{view.formula(name)} ({name})" if name in view.state.candidates else name, float(share)) for name, share in parts)


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
