"""References: the known phases, relaxed by the campaign's own potential, paid for once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from flows.calculations import Request, compute
from flows.progress import Queue
from flows.stages.common import chunks, failure_rows
from loop.errors import ReferencePhaseError
from loop.ledger.rows import crystal_row
from loop.ledger.tables import Calculation, FailureRow, ReferencePhaseRow, ReferenceSet, Row
from loop.references.source import ReferencePhase

if TYPE_CHECKING:
    from flows.campaign import Campaign


def references(campaign: Campaign, iteration: int) -> tuple[list[Row], dict[str, Any]]:
    """Relax every known phase of every chemical system with the screening potential; write the first reference set.

    Raises:
        ReferencePhaseError: the source has no phase for an element, or none of an element's phases could be relaxed.
    """
    phases = list(campaign.resources.reference_phases.values())
    campaign.append(*(crystal_row(phase.crystal) for phase in phases))
    calculations: dict[str, Calculation] = {}
    failures: list[FailureRow] = []
    queue = Queue.of((phase.crystal for phase in phases), by=campaign.resources.relaxer)
    for number, chunk in enumerate(chunks(phases, campaign.spec.execution.chunk), start=1):
        requests = [Request(subject=phase.name, crystal=phase.crystal) for phase in chunk]
        outcome = campaign.runner.task(
            f"references {number}",
            partial(
                compute,
                campaign,
                requests,
                by=campaign.resources.relaxer,
                purpose="reference",
                iteration=iteration,
                charge={},
                label=f"relaxing reference phases with {campaign.screening_fidelity}",
                queue=queue,
            ),
        )
        if outcome.unaffordable:
            raise ReferencePhaseError(
                f"budget: does not pay for relaxing the reference phases ({len(outcome.unaffordable)} of "
                f"{len(phases)} are left); "
                "raise budget.cpu_seconds or ask the source for fewer phases"
            )
        failed = failure_rows(campaign, outcome, stage="references", iteration=iteration)
        failures += failed
        calculations |= {name: c for name, c in outcome.settled.items() if c.outcome == "done"}
    _check_elements(campaign, {phase.name: phase for phase in phases}, calculations, failures)
    rows, _ = reference_set_rows(
        campaign,
        calculations,
        fidelity=campaign.screening_fidelity,
        source=dict(campaign.resources.references.describe()),
        iteration=iteration,
    )
    return [*failures, *rows], {
        "phases": len(calculations),
        "failed": len(failures),
        "fidelity": campaign.screening_fidelity,
    }


def reference_set_rows(
    campaign: Campaign,
    calculations: Mapping[str, Calculation],
    *,
    fidelity: str,
    source: dict[str, Any],
    iteration: int,
) -> tuple[list[Row], str]:
    """A version of the reference phases at one fidelity as rows, and that version: a hash of names and energies."""
    members = sorted((name, c.key, c.energy_per_atom) for name, c in calculations.items())
    version = hashlib.sha256(json.dumps([fidelity, members]).encode()).hexdigest()[:32]
    rows: list[Row] = [
        ReferenceSet(
            campaign_id=campaign.id,
            version=version,
            fidelity=fidelity,
            source=source,
            number_of_phases=len(members),
            iteration=iteration,
        ),
        *(
            ReferencePhaseRow(
                campaign_id=campaign.id, reference_version=version, name=name, calculation_key=key
            )
            for name, key, _ in members
        ),
    ]
    return rows, version


def _check_elements(
    campaign: Campaign,
    phases: Mapping[str, ReferencePhase],
    calculations: Mapping[str, Calculation],
    failures: Sequence[FailureRow],
) -> None:
    """Every element needs a relaxed phase: without it no formation energy exists (survey eq. 36)."""
    covered = {phases[name].crystal.chemical_system for name in calculations}
    for element in campaign.spec.space.all_elements():
        if element not in covered:
            reasons = "; ".join(
                f"{f.subject}: {f.reason}"
                for f in failures
                if f.subject in phases and phases[f.subject].crystal.chemical_system == element
            )
            raise ReferencePhaseError(
                f"references: no phase of {element} could be relaxed with {campaign.screening_fidelity}"
                f"{f' ({reasons})' if reasons else ', the source gives none'}; there is no formation "
                f"energy without it. Give a reference source that holds {element}, or take it out of the space"
            )
