"""Judging candidates on the hull of one fidelity; verdicts that supersede what the moved hull made untrue."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loop.crystal import Crystal
from loop.errors import HullError
from loop.hull import HullSet
from loop.ledger.tables import Calculation, HullRow, Row, Verdict
from loop.phases import HullPhase
from loop.verdicts import CandidateEnergy, judge_all

if TYPE_CHECKING:
    from flows.campaign import Campaign


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceEnergies:
    """The reference phases of one fidelity."""

    version: str
    """Of the reference set; empty before the first."""
    calculations: Mapping[str, Calculation]
    """By name of the phase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a hull says of every candidate on it."""

    rows: list[Row]
    energies_above_hull: Mapping[str, float]
    """eV/atom by candidate."""
    superseded: int
    """Earlier verdicts that the hull's move made untrue."""
    fell_off: tuple[str, ...]


def references_at(campaign: Campaign, fidelity: str) -> ReferenceEnergies:
    """The reference phases in force at one fidelity."""
    current = campaign.state.reference_set(fidelity)
    return ReferenceEnergies(
        version=current.version if current else "",
        calculations=campaign.state.reference_calculations(fidelity),
    )


def references_within(
    campaign: Campaign, window: float, *, systems: Collection[frozenset[str]]
) -> dict[str, Crystal]:
    """Reference phases within `window` (eV/atom) of the screening hull of the references, inside any of `systems`."""
    state, fidelity = campaign.state, campaign.screening_fidelity
    calculations = state.reference_calculations(fidelity)
    phases = phases_of(campaign, calculations, fidelity=fidelity)
    hulls = HullSet(phases)
    crystals = campaign.memory.references
    return {
        phase.name: crystals[phase.name]
        for phase in phases
        if any(crystals[phase.name].elements <= system for system in systems)
        and hulls.energy_above_hull(phase.composition, phase.energy_per_atom, fidelity=fidelity) <= window
    }


def judge(
    campaign: Campaign,
    *,
    fidelity: str,
    calculations: Mapping[str, Calculation],
    references: ReferenceEnergies,
    iteration: int,
) -> Judged:
    """Judge candidates on the hull of the references and of themselves; supersede verdicts that are true no more.

    Args:
        campaign: whose ledger holds the crystals and the verdicts in force.
        fidelity: of all energies concerned.
        calculations: done, by candidate: every candidate that was ever judged at this fidelity, and the new ones.
        references: of the same fidelity.
        iteration: for the rows.
    """
    state = campaign.state
    before = state.hull(fidelity)
    ruling = judge_all(
        phases_of(campaign, references.calculations, fidelity=fidelity),
        [
            CandidateEnergy(
                candidate_id=phase.name, composition=phase.composition, energy_per_atom=phase.energy_per_atom
            )
            for phase in phases_of(campaign, calculations, fidelity=fidelity)
        ],
        fidelity=fidelity,
        in_force={v.candidate_id: v for v in state.verdicts_at(fidelity)},
        finds_before=before.finds if before else None,
        references_before=phases_of(
            campaign, state.reference_calculations_of(before.reference_version), fidelity=fidelity
        )
        if before
        else None,
    )
    version = ruling.hulls.version
    rows: list[Row] = []
    if before is None or before.version != version:
        rows.append(
            HullRow(
                campaign_id=campaign.id,
                version=version,
                fidelity=fidelity,
                number=before.number + 1 if before else 1,
                reference_version=references.version,
                iteration=iteration,
                finds=list(ruling.finds),
                fell_off=list(ruling.fell_off),
            )
        )
    for id_ in (*ruling.first, *ruling.superseded):
        judgement, earlier = ruling.judgements[id_], state.verdict(id_, fidelity)
        rows.append(
            Verdict(
                campaign_id=campaign.id,
                candidate_id=id_,
                fidelity=fidelity,
                number=earlier.number + 1 if earlier else 1,
                hull_version=version,
                calculation_key=calculations[id_].key,
                iteration=iteration,
                formation_energy=judgement.formation_energy,
                energy_above_hull=judgement.energy_above_hull,
                distance_to_references=judgement.distance_to_references,
                decomposition=dict(judgement.decomposition),
            )
        )
    return Judged(
        rows=rows,
        energies_above_hull={
            id_: judgement.energy_above_hull for id_, judgement in ruling.judgements.items()
        },
        superseded=len(ruling.superseded),
        fell_off=ruling.fell_off,
    )


def phases_of(
    campaign: Campaign, calculations: Mapping[str, Calculation], *, fidelity: str
) -> list[HullPhase]:
    """Settled calculations as phases, by name; their own fidelity, not the one hoped for, goes onto the hull."""
    state = campaign.state
    phases = []
    for name, calculation in sorted(calculations.items()):
        if calculation.fidelity != fidelity or calculation.energy_per_atom is None:
            raise HullError(
                f"{name}: calculated at {calculation.fidelity} with energy {calculation.energy_per_atom}, "
                f"the hull is of {fidelity}"
            )
        crystal = state.crystals[calculation.result_crystal_key or calculation.crystal_key]
        phases.append(
            HullPhase(
                name, crystal.composition, energy_per_atom=calculation.energy_per_atom, fidelity=fidelity
            )
        )
    return phases
