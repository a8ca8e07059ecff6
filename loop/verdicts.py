"""Judging candidates on the hull of the reference phases and of themselves.

A hull moves when a candidate turns out to lie below it. Verdicts are then given anew for whoever they are no
longer true of; the old ones are superseded, never edited. Everything here is a function of its arguments: who
stores the rulings is none of its business.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from loop.errors import HullError
from loop.hull import ON_HULL, CompositionLike, HullPhase, HullSet

SAME_VERDICT: Final = 1e-6
"""Largest change of a verdict's energies that leaves it in force, eV/atom: far below any precision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateEnergy:
    """A candidate with its energy at the fidelity of the hull."""

    candidate_id: str
    composition: CompositionLike
    energy_per_atom: float
    """eV/atom."""


class VerdictInForce(Protocol):
    """The latest verdict about a candidate; a `Judgement` or the ledger's row."""

    @property
    def formation_energy(self) -> float:
        """eV/atom."""

    @property
    def energy_above_hull(self) -> float:
        """eV/atom."""

    @property
    def distance_to_references(self) -> float:
        """eV/atom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the hull says of one candidate."""

    candidate_id: str
    formation_energy: float
    """From the elements' reference phases, eV/atom (survey eq. 36)."""
    energy_above_hull: float
    """To the hull of references and candidates, eV/atom; 0 on it, never negative."""
    distance_to_references: float
    """To the hull of the reference phases alone, eV/atom; negative for a phase below it."""
    decomposition: Mapping[str, float]
    """The phases on the hull it would decompose into, with fractions by atoms; itself where it is one."""


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """The new hull and what follows from it."""

    hulls: HullSet
    """Of the references and the finds."""
    finds: tuple[str, ...]
    """Ids of the candidates on the hull, in the order given."""
    judgements: Mapping[str, Judgement]
    """By candidate, every one of them, in the order given."""
    first: tuple[str, ...]
    """Candidates that had no verdict."""
    superseded: tuple[str, ...]
    """Candidates whose verdict in force is no longer true."""
    fell_off: tuple[str, ...]
    """Reference phases and candidates that were on the hull before and are not any more."""


def judge_all(
    references: Sequence[HullPhase],
    candidates: Sequence[CandidateEnergy],
    *,
    fidelity: str,
    in_force: Mapping[str, VerdictInForce],
    finds_before: Collection[str] | None = None,
    references_before: Sequence[HullPhase] | None = None,
) -> Ruling:
    """Judge every candidate on the hull of references and candidates.

    Of candidates of one composition only the lowest can be a find; a reference phase keeps its place against
    a candidate that equals it to within rounding, and an earlier candidate against a later one.

    Args:
        references: the reference phases, of `fidelity`; an elemental phase for every element.
        candidates: every candidate that has an energy at `fidelity`, those judged before included.
        fidelity: of all energies.
        in_force: the latest verdict by candidate; empty at first.
        finds_before: ids of the candidates on the hull before; those with a verdict of 0 where it is None.
        references_before: reference phases of the hull before, where they have changed since.

    Raises:
        HullError: mixed fidelities, an element without a reference phase, a name used twice, an energy that
            is not finite, or a judged candidate that is missing.
    """
    phases = [
        HullPhase(c.candidate_id, c.composition, energy_per_atom=c.energy_per_atom, fidelity=fidelity)
        for c in candidates
    ]
    known = HullSet(references)
    if phases and not references:
        raise HullError("there are no reference phases; a hull needs one of each element")
    everything = HullSet([*references, *phases])
    names = {phase.name for phase in phases}
    finds = tuple(phase.name for phase in everything.stable if phase.name in names)
    judgements = {phase.name: _judge(phase, known=known, everything=everything) for phase in phases}
    lost = sorted(set(in_force) - names)
    if lost:
        raise HullError(
            f"{lost[0]} has a verdict at {fidelity} but no energy was given; give every judged candidate's"
        )
    if finds_before is None:
        finds_before = {id_ for id_, verdict in in_force.items() if verdict.energy_above_hull <= ON_HULL}
    before = HullSet(
        [
            *(references if references_before is None else references_before),
            *(phase for phase in phases if phase.name in finds_before),
        ]
    )
    return Ruling(
        # Candidates above the hull change nothing about it, so it is left to references and finds.
        hulls=HullSet([*references, *(phase for phase in phases if phase.name in finds)]),
        finds=finds,
        judgements=judgements,
        first=tuple(id_ for id_ in judgements if id_ not in in_force),
        superseded=tuple(
            id_ for id_, new in judgements.items() if id_ in in_force and differs(in_force[id_], new)
        ),
        fell_off=_fell_off(before, everything),
    )


def differs(earlier: VerdictInForce, later: VerdictInForce) -> bool:
    """Whether a later verdict says anything new: an energy moved by more than `SAME_VERDICT`."""
    return (
        abs(earlier.energy_above_hull - later.energy_above_hull) > SAME_VERDICT
        or abs(earlier.distance_to_references - later.distance_to_references) > SAME_VERDICT
        or abs(earlier.formation_energy - later.formation_energy) > SAME_VERDICT
    )


def _judge(phase: HullPhase, *, known: HullSet, everything: HullSet) -> Judgement:
    composition, energy = phase.composition, phase.energy_per_atom
    above = everything.energy_above_hull(composition, energy, fidelity=phase.fidelity)
    return Judgement(
        candidate_id=phase.name,
        formation_energy=known.formation_energy(composition, energy),
        energy_above_hull=max(0.0, above),
        distance_to_references=known.energy_above_hull(composition, energy, fidelity=phase.fidelity),
        decomposition=everything.decomposition(composition),
    )


def _fell_off(before: HullSet, now: HullSet) -> tuple[str, ...]:
    """Names on the hull before that are not on it now."""
    still = {phase.name for phase in now.stable}
    return tuple(phase.name for phase in before.stable if phase.name not in still)
