"""The plan of a campaign: what it will do and what that is declared to cost, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from flows.relaxer import Relaxer
from flows.resources import Resources
from flows.stages.propose import shares
from flows.verification.verifier import Verifier
from loop.budget import check_feasible, iterations_affordable, total
from loop.crystal import Crystal
from loop.errors import CampaignFileError, PotentialError
from loop.references.source import ReferencePhase
from loop.spec import CampaignSpec

if TYPE_CHECKING:
    from flows.campaign import Campaign


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelPlan:
    """One further stage of the screen, or one verification level."""

    name: str
    fidelity: str
    each: Mapping[str, float]
    """Declared cost of one typical candidate, by currency."""
    references: Mapping[str, float]
    """Declared cost of all reference phases; those within the level's window of the screening hull are computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a campaign will do."""

    systems: tuple[tuple[str, ...], ...]
    proposals: Mapping[str, int]
    """Per iteration, by generator."""
    fidelity: str
    """Of the first screening potential."""
    stages: tuple[LevelPlan, ...]
    """The further stages of the screen."""
    reference_phases: int
    known_phases: int
    levels: tuple[LevelPlan, ...]
    once: Mapping[str, float]
    """Declared cost of the reference phases at the screening fidelity."""
    iteration: Mapping[str, float]
    """Declared cost of one iteration, every stage of the screen reached by all proposals, every level by the batch."""
    affordable_iterations: int | None
    """By the budget; None where it sets no limit."""


def make_plan(spec: CampaignSpec, *, resources: Resources) -> Plan:
    """Work out the plan: every source, potential, generator and verifier that the file names is looked up.

    Raises:
        MotherlodeError: anything in the file that cannot be had, naming the field.
    """
    _check_elements(spec, resources)
    _check_fidelities(resources)
    generators = {g.name: g.weight for g in spec.generators}
    _ = (resources.generators, resources.policy)  # looked up so that a misspelt name is found now
    phases = resources.reference_phases
    if not phases:
        raise CampaignFileError(
            "references: the source gives no phase at all; without references there is no hull"
        )
    typical = _typical_size(spec)
    once = total(resources.relaxer.declared_cost(phase.crystal) for phase in phases.values())
    screening = _for_size(resources.relaxer.declared_cost, phases, typical)

    def level(name: str, verifier: Verifier) -> LevelPlan:
        return LevelPlan(
            name=name,
            fidelity=verifier.fidelity,
            each=_for_size(verifier.declared_cost, phases, typical),
            references=total(verifier.declared_cost(phase.crystal) for phase in phases.values())
            if verifier.gives_energy
            else {},
        )

    stages = tuple(level(relaxer.fidelity, relaxer) for relaxer in resources.further_relaxers)
    levels = tuple(level(name, verifier) for name, verifier in resources.verifiers.items())
    first = {"verifications": float(spec.batch.verifications)}
    iteration = total(
        [
            *(_times(cost, spec.batch.proposals) for cost in (screening, *(stage.each for stage in stages))),
            {"relaxations": float(spec.batch.proposals) * (1 + len(stages))},
            *(_times(level.each, spec.batch.verifications) for level in levels),
            first,
        ]
    )
    check_feasible(spec, iteration, once=once)
    left = {currency: amount - once.get(currency, 0.0) for currency, amount in spec.budget.items()}
    return Plan(
        systems=spec.space.systems(),
        proposals=shares(generators, spec.batch.proposals),
        fidelity=resources.relaxer.fidelity,
        stages=stages,
        reference_phases=len(phases),
        known_phases=len(resources.known.phases),
        levels=levels,
        once=once,
        iteration=iteration,
        affordable_iterations=iterations_affordable(left, iteration),
    )


def check_plan(campaign: Campaign) -> None:
    """Refuse a campaign that cannot turn once; a campaign already begun is past this question."""
    if not campaign.begun(0):
        make_plan(campaign.spec, resources=campaign.resources)


def plan_of(spec: CampaignSpec, *, base: Path) -> Plan:
    """The plan of a file that has no folder yet."""
    resources = Resources(spec, folder=base, base=base)
    try:
        return make_plan(spec, resources=resources)
    finally:
        resources.close()


def _screens(resources: Resources) -> list[tuple[str, Relaxer]]:
    """The field and the relaxer of every stage of the screen, first to last."""
    further = enumerate(resources.further_relaxers)
    return [
        ("potential", resources.relaxer),
        *((f"screening.stages[{place}].potential", relaxer) for place, relaxer in further),
    ]


def _check_elements(spec: CampaignSpec, resources: Resources) -> None:
    """The potentials of the screen must know every element of the space."""
    for field, relaxer in _screens(resources):
        known = relaxer.description.elements
        unknown = sorted(set(spec.space.all_elements()) - known) if known is not None else []
        if unknown:
            raise PotentialError(
                f"{field}: {relaxer.fidelity} does not know {', '.join(unknown)}; take that out of the space or "
                "choose another potential"
            )


def _check_fidelities(resources: Resources) -> None:
    """Two kinds of energies must not bear one name, or they would meet on a hull."""
    fields: dict[str, str] = {}
    for field, relaxer in _screens(resources):
        other = fields.setdefault(relaxer.fidelity, field)
        if other != field:
            raise CampaignFileError(
                f"{field}: gives energies of {relaxer.fidelity}, as {other} does already, so the two stages would "
                "share a hull and the second say nothing new; choose another potential, or take the stage out"
            )
    for name in resources.verifiers:
        if name in fields:
            raise CampaignFileError(
                f"verification: the level {name!r} bears the name of the screening potential's energies "
                f"({fields[name]}), so the two would share a hull; give the level a name of its own"
            )


def _typical_size(spec: CampaignSpec) -> float:
    """Atoms in the cell of a typical proposal."""
    return fmean(spec.space.atoms)


def _for_size(
    cost: Callable[[Crystal], Mapping[str, float]], phases: Mapping[str, ReferencePhase], size: float
) -> dict[str, float]:
    """Declared cost of the phase whose size is nearest to typical: declared costs depend on size alone."""
    nearest: Crystal = min(
        (p.crystal for p in phases.values()), key=lambda c: (abs(c.number_of_atoms - size), c.key)
    )
    return dict(cost(nearest))


def _times(cost: Mapping[str, float], factor: float) -> dict[str, float]:
    return {currency: amount * factor for currency, amount in cost.items()}
