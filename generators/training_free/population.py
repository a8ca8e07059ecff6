"""The population that evolution breeds from: the campaign's best relaxed crystals, each kind once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from loop.crystal import Crystal
from loop.errors import GeneratorError
from loop.records import Record

UNVERIFIED_PENALTY: Final = 0.025
"""Added to an energy above hull that only the screening potential vouches for, eV/atom: about CHGNet's error
for low-lying phases, so that a verified phase leads an unverified one of the same energy."""
SAME_ENERGY: Final = 0.002
"""Crystals of one formula and space group that differ by less are taken for the same phase, eV/atom."""


@dataclass(frozen=True)
class Member:
    """A relaxed crystal that may become a parent."""

    candidate_id: str
    crystal: Crystal
    """As relaxed."""
    energy_above_hull: float
    """eV/atom; screened energies carry `UNVERIFIED_PENALTY`."""

    @classmethod
    def from_record(cls, record: Record) -> Self | None:
        """The member that a record makes; None where it was not judged, or is dynamically unstable."""
        if record.relaxed is None or record.dynamically_stable is False:
            return None
        if record.verified_energy_above_hull is not None:
            energy = record.verified_energy_above_hull
        elif record.screened_energy_above_hull is not None:
            energy = record.screened_energy_above_hull + UNVERIFIED_PENALTY
        else:
            return None
        return cls(record.candidate_id, record.relaxed, energy)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "candidate_id": self.candidate_id,
            "crystal": self.crystal.to_dict(),
            "energy_above_hull": self.energy_above_hull,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(
            candidate_id=str(data["candidate_id"]),
            crystal=Crystal.from_dict(data["crystal"]),
            energy_above_hull=float(data["energy_above_hull"]),
        )


def fitted_members(
    records: Sequence[Record], *, start: Iterable[Mapping[str, Any]], generator: str
) -> list[Member]:
    """The members that the records make, and those of an earlier state that the records do not know.

    Args:
        records: every candidate so far.
        start: members of the earlier state, as `Member.to_dict` wrote them.
        generator: whose state it is, for the message.

    Raises:
        GeneratorError: the earlier state is of another kind.
    """
    told = {record.candidate_id for record in records}
    try:
        before = [Member.from_dict(data) for data in start]
    except (KeyError, TypeError, ValueError) as error:
        raise GeneratorError(
            f"{generator}: the state to start from is not this generator's "
            f"({type(error).__name__}: {error}); start from None or from its own state()"
        ) from error
    found = [member for member in before if member.candidate_id not in told]
    return found + [member for record in records if (member := Member.from_record(record)) is not None]


def best(members: Iterable[Member], *, size: int, per_formula: int) -> tuple[Member, ...]:
    """The lowest energies above hull, at most `per_formula` of one formula, and of one phase only its best.

    Args:
        members: in any order.
        size: how many are kept.
        per_formula: how many of one reduced formula are kept, so that one deep compound does not fill the
            population.
    """
    kept: list[Member] = []
    formulas: Counter[str] = Counter()
    for member in sorted(members, key=lambda m: (m.energy_above_hull, m.candidate_id)):
        if len(kept) == size:
            break
        formula = member.crystal.reduced_formula
        if formulas[formula] >= per_formula or any(_same_phase(member, other) for other in kept):
            continue
        formulas[formula] += 1
        kept.append(member)
    return tuple(kept)


def draw_member(members: tuple[Member, ...], *, selection_energy: float, rng: np.random.Generator) -> Member:
    """A random member, with Boltzmann weight exp(-energy above hull / `selection_energy`) above the best.

    Args:
        members: at least one.
        selection_energy: eV/atom.
        rng: the stream to draw from.
    """
    energies = np.array([member.energy_above_hull for member in members])
    weights = np.exp(-(energies - energies.min()) / selection_energy)
    return members[int(rng.choice(len(members), p=weights / weights.sum()))]


def _same_phase(a: Member, b: Member) -> bool:
    return (
        a.crystal.reduced_formula == b.crystal.reduced_formula
        and a.crystal.space_group_number == b.crystal.space_group_number
        and abs(a.energy_above_hull - b.energy_above_hull) < SAME_ENERGY
    )
