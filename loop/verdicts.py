"""Judging candidates on the hull of the reference phases and of themselves.

A hull moves when a candidate turns out to lie below it. Verdicts are then given anew for whoever they are no
longer true of; the old ones are superseded, never edited. Everything here is a function of its arguments: who
stores the rulings is none of its business.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pymatgen.core.composition import Composition

from loop.errors import HullError
from loop.hull import ON_HULL, CompositionLike, HullPhase, HullSet
from loop.phases import check_names, same_fidelity

Floats = NDArray[np.float64]

SAME_VERDICT: Final = 1e-6
"""Largest change of a verdict's energies that leaves it in force, eV/atom: far below any precision."""
_MAY_JOIN: Final = 1e-6
"""Energy above others by which a candidate cannot lie on a hull that holds them, eV/atom: above all rounding."""


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
    ids = [c.candidate_id for c in candidates]
    known = HullSet(references)
    if candidates and not references:
        raise HullError("there are no reference phases; a hull needs one of each element")
    check_names(chain((phase.name for phase in references), ids))
    energies = np.array([c.energy_per_atom for c in candidates], dtype=np.float64)
    distinct, places = _distinct_compositions(candidates, fidelity=fidelity)
    for row in np.flatnonzero(~np.isfinite(energies))[:1].tolist():
        _phase(candidates[row], fidelity=fidelity)
    if candidates:
        same_fidelity([*references[:1], _phase(candidates[0], fidelity=fidelity)])

    to_known = _Ground.of(distinct, hulls=known)
    distances = energies - to_known.elemental[places] - to_known.hull[places]
    # A candidate above the references' hull, or another of its composition, is above every hull with them on it.
    lowest = np.full(len(distinct), np.inf)
    np.minimum.at(lowest, places, distances)
    contending = distances <= np.minimum(lowest[places], 0.0) + _MAY_JOIN
    contenders = [_phase(candidates[row], fidelity=fidelity) for row in np.flatnonzero(contending).tolist()]
    everything = HullSet([*references, *contenders])
    names = {phase.name for phase in contenders}
    found = [phase for phase in everything.stable if phase.name in names]
    finds = tuple(phase.name for phase in found)
    to_all = _Ground.of(distinct, hulls=everything)
    parts = _decompositions(distinct, hulls=everything)
    judgements = {
        id_: Judgement(
            candidate_id=id_,
            formation_energy=formation,
            energy_above_hull=above,
            distance_to_references=distance,
            decomposition=parts[place],
        )
        for id_, formation, above, distance, place in zip(
            ids,
            (energies - to_known.elemental[places]).tolist(),
            np.maximum(0.0, energies - to_all.elemental[places] - to_all.hull[places]).tolist(),
            distances.tolist(),
            places.tolist(),
            strict=True,
        )
    }
    lost = sorted(set(in_force) - judgements.keys())
    if lost:
        raise HullError(
            f"{lost[0]} has a verdict at {fidelity} but no energy was given; give every judged candidate's"
        )
    if finds_before is None:
        finds_before = {id_ for id_, verdict in in_force.items() if verdict.energy_above_hull <= ON_HULL}
    before = HullSet(
        [
            *(references if references_before is None else references_before),
            *(_phase(c, fidelity=fidelity) for c in candidates if c.candidate_id in finds_before),
        ]
    )
    return Ruling(
        # Candidates above the hull change nothing about it, so it is left to references and finds.
        hulls=HullSet([*references, *found]),
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


@dataclass(frozen=True, slots=True)
class _Ground:
    """What the energies of distinct compositions are measured from, each `n_compositions`, eV/atom."""

    elemental: Floats
    hull: Floats

    @classmethod
    def of(cls, compositions: Sequence[Mapping[str, float]], *, hulls: HullSet) -> Self:
        elemental, height = np.empty(len(compositions)), np.empty(len(compositions))
        for hull, own, fractions in hulls.by_system(compositions):
            elemental[own], height[own] = hull.heights(fractions)
        return cls(elemental, height)


def _decompositions(
    compositions: Sequence[Mapping[str, float]], *, hulls: HullSet
) -> list[Mapping[str, float]]:
    parts: list[Mapping[str, float]] = [{}] * len(compositions)
    for hull, own, fractions in hulls.by_system(compositions):
        for place, decomposition in zip(own.tolist(), hull.decompositions(fractions), strict=True):
            parts[place] = decomposition
    return parts


def _distinct_compositions(
    candidates: Sequence[CandidateEnergy], *, fidelity: str
) -> tuple[list[Mapping[str, float]], NDArray[np.int64]]:
    """The distinct compositions in atomic fractions, and the place of each candidate's among them."""
    distinct: list[Mapping[str, float]] = []
    by_fractions: dict[tuple[tuple[str, float], ...], int] = {}
    by_object: dict[int, int] = {}
    by_amounts: dict[tuple[tuple[object, float], ...], int] = {}
    places = np.empty(len(candidates), dtype=np.int64)
    for row, candidate in enumerate(candidates):
        composition = candidate.composition
        place = by_object.get(id(composition))
        if place is None:
            amounts: tuple[tuple[object, float], ...] = tuple(
                composition.get_el_amt_dict().items()
                if isinstance(composition, Composition)
                else composition.items()
            )
            place = by_amounts.get(amounts)
            if place is None:
                fractions = _phase(candidate, fidelity=fidelity).fractions
                place = by_fractions.setdefault(tuple(fractions.items()), len(distinct))
                if place == len(distinct):
                    distinct.append(fractions)
                by_amounts[amounts] = place
            by_object[id(composition)] = place
        places[row] = place
    return distinct, places


def _phase(candidate: CandidateEnergy, *, fidelity: str) -> HullPhase:
    return HullPhase(
        candidate.candidate_id,
        candidate.composition,
        energy_per_atom=candidate.energy_per_atom,
        fidelity=fidelity,
    )


def _fell_off(before: HullSet, now: HullSet) -> tuple[str, ...]:
    """Names on the hull before that are not on it now."""
    still = {phase.name for phase in now.stable}
    return tuple(phase.name for phase in before.stable if phase.name not in still)
