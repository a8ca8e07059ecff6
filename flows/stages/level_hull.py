"""The hull of a fidelity beyond the first: the reference phases it needs, computed there before a candidate is judged.

A candidate's energy above hull is true only when the phases it would decompose into are on the hull with it. So the
reference phases come first and are paid from the same budget; a candidate whose phases could not be paid waits for a
larger budget, and one whose phases could not be computed is not judged at all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from flows.calculations import Request, compute
from flows.progress import Queue
from flows.stages.common import chunks, failure_rows
from flows.stages.judging import ReferenceEnergies, phases_of, references_at, references_within
from flows.stages.references import reference_set_rows
from flows.verification.verifier import Verifier
from loop.crystal import Crystal
from loop.hull import HullSet
from loop.ledger.tables import Calculation, Row

if TYPE_CHECKING:
    from flows.campaign import Campaign


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A fidelity that crystals are taken to: a further stage of the screen, or a level of verification."""

    name: str
    """By which failures and costs tell it from the others; of a level with energies its fidelity's name."""
    task: str
    """First word of its tasks, as Prefect groups them."""
    doing: str
    """What a person reads beside the progress: `verifying at …`."""
    by: Verifier
    reference_window: float
    """eV/atom above the first screening hull: reference phases so near to it are computed here."""
    charge: Mapping[str, float]
    """Flat amounts for each candidate besides what `by` declares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelReferences:
    """The reference phases of one level, as far as they could be had."""

    rows: list[Row]
    energies: ReferenceEnergies
    unpaid: Mapping[str, Crystal]
    """Phases, by name, that the remaining budget does not pay for."""
    failed: Mapping[str, str]
    """Why each phase that could not be computed could not, by name."""

    def waits(self, elements: frozenset[str]) -> bool:
        """Whether a chemical system's hull lacks a phase for want of budget."""
        return any(crystal.elements <= elements for crystal in self.unpaid.values())


def recompute_references(
    campaign: Campaign, level: Level, *, systems: Collection[frozenset[str]], iteration: int
) -> LevelReferences:
    """Compute at a level the reference phases within its window of the screening hull, where they are missing.

    All that lies on the screening hull is among them, so every decomposition line is covered; the window allows for
    the phases whose order changes between the two fidelities.
    """
    before = references_at(campaign, level.by.fidelity)
    wanted = references_within(campaign, level.reference_window, systems=systems)
    missing = {name: crystal for name, crystal in sorted(wanted.items()) if name not in before.calculations}
    rows: list[Row] = []
    settled: dict[str, Calculation] = {}
    unpaid: list[str] = []
    queue = Queue.of(missing.values(), by=level.by)
    for number, chunk in enumerate(chunks(list(missing), campaign.spec.execution.chunk), start=1):
        outcome = campaign.runner.task(
            f"{level.task} references {iteration}.{number} {level.name}",
            partial(
                compute,
                campaign,
                [Request(subject=name, crystal=missing[name]) for name in chunk],
                by=level.by,
                purpose="reference",
                iteration=iteration,
                charge={},
                label=f"reference phases at {level.name}",
                queue=queue,
            ),
        )
        known = {(failure.subject, failure.stage) for failure in campaign.state.failures.values()}
        rows += [
            row
            for row in failure_rows(campaign, outcome, stage=level.name, iteration=iteration)
            if (row.subject, row.stage) not in known
        ]
        settled |= outcome.settled
        unpaid += outcome.unaffordable
    found = {name: c for name, c in settled.items() if c.outcome == "done"}
    failed = {name: c.failure_reason or "" for name, c in settled.items() if c.outcome == "failed"}
    energies = before
    if found:
        calculations = {**before.calculations, **found}
        described = {
            "recomputed from": references_at(campaign, campaign.screening_fidelity).version,
            "window": level.reference_window,
        }
        set_rows, version = reference_set_rows(
            campaign, calculations, fidelity=level.by.fidelity, source=described, iteration=iteration
        )
        rows += set_rows
        energies = ReferenceEnergies(version=version, calculations=calculations)
    return LevelReferences(
        rows=rows, energies=energies, unpaid={name: missing[name] for name in unpaid}, failed=failed
    )


def phases_needed(campaign: Campaign, crystals: Mapping[str, Crystal]) -> dict[str, set[str]]:
    """Reference phases without which a crystal's energies mean nothing, by the crystal's name.

    They are those it decomposes into on the screening hull of the references, and the ground state of each of its
    elements, from which formation energies are counted (survey eq. 36).
    """
    fidelity = campaign.screening_fidelity
    hulls = HullSet(phases_of(campaign, references_at(campaign, fidelity).calculations, fidelity=fidelity))
    return {
        name: {
            phase
            for composition in (crystal.composition, *({element: 1.0} for element in crystal.elements))
            for phase in hulls.decomposition(composition)
        }
        for name, crystal in crystals.items()
    }
