"""Phases as a hull sees them: a name, a composition and an energy at one fidelity."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Final

from pymatgen.core.composition import Composition

from loop.elements import ELEMENT_SYMBOLS
from loop.errors import HullError
from loop.facets import PLANE_TOLERANCE

CompositionLike = Composition | Mapping[str, float]

_SAME_COMPOSITION: Final = 8
"""Decimals in which the atomic fractions of one composition agree."""


@dataclass(frozen=True)
class HullPhase:
    """A phase with its energy at one fidelity.

    Raises:
        HullError: names the phase where its energy is not finite or its composition none of elements.
    """

    name: str
    """Unique on its hull: a reference phase's identifier or a candidate's id."""
    composition: CompositionLike
    """Amounts of the elements, in any unit."""
    _: KW_ONLY
    energy_per_atom: float
    """eV/atom."""
    fidelity: str

    def __post_init__(self) -> None:
        """Refuse what no hull can hold."""
        if not math.isfinite(self.energy_per_atom):
            raise HullError(
                f"phase {self.name}: its energy is {self.energy_per_atom} eV/atom; leave it out or mend it"
            )
        if not self.fractions:
            raise HullError(f"phase {self.name}: its composition is empty")

    @cached_property
    def fractions(self) -> Mapping[str, float]:
        """Atomic fractions by element, alphabetical."""
        return atomic_fractions(self.composition, of=f"phase {self.name}")

    @property
    def elements(self) -> tuple[str, ...]:
        """Its elements, alphabetical."""
        return tuple(self.fractions)


def atomic_fractions(composition: CompositionLike, *, of: str = "composition") -> dict[str, float]:
    """Atomic fractions by element symbol, alphabetical; oxidation states are dropped.

    Args:
        composition: amounts of the elements, in any unit.
        of: whose composition it is, for the message.

    Raises:
        HullError: something that is no element, or an amount that is negative or not finite.
    """
    items = composition.get_el_amt_dict() if isinstance(composition, Composition) else composition
    amounts = {str(symbol): float(amount) for symbol, amount in items.items() if amount != 0}
    for symbol, amount in amounts.items():
        if symbol not in ELEMENT_SYMBOLS:
            raise HullError(f"{of}: {symbol!r} is not an element symbol")
        if not (math.isfinite(amount) and amount > 0):
            raise HullError(f"{of}: the amount of {symbol} is {amount}; it must be a positive number")
    total = sum(amounts.values())
    return {symbol: amounts[symbol] / total for symbol in sorted(amounts)}


def same_fidelity(phases: Iterable[HullPhase]) -> str:
    """The one fidelity of all phases; empty for no phase.

    Raises:
        HullError: names a phase of each of two fidelities.
    """
    first: HullPhase | None = None
    for phase in phases:
        first = first or phase
        if phase.fidelity != first.fidelity:
            raise HullError(
                f"energies of two fidelities cannot share a hull: {first.name} is {first.fidelity}, "
                f"{phase.name} is {phase.fidelity}; compute one of them again at the other's fidelity"
            )
    return first.fidelity if first else ""


def lowest_phases(phases: Iterable[HullPhase]) -> tuple[HullPhase, ...]:
    """The lowest phase of each composition, in the order given; the first of equals."""
    lowest: dict[tuple[tuple[str, float], ...], HullPhase] = {}
    # Most phases repeat a composition to the last bit, and a look-up costs a fifth of rounding.
    keys: dict[tuple[tuple[str, float], ...], tuple[tuple[str, float], ...]] = {}
    for phase in phases:
        exact = tuple(phase.fractions.items())
        key = keys.get(exact)
        if key is None:
            key = keys[exact] = tuple((symbol, round(x, _SAME_COMPOSITION)) for symbol, x in exact)
        held = lowest.get(key)
        if held is None or phase.energy_per_atom < held.energy_per_atom - PLANE_TOLERANCE:
            lowest[key] = phase
    return tuple(lowest.values())


def version_of(fidelity: str, phases: Iterable[HullPhase]) -> str:
    """Hash of a fidelity and of phases' names, compositions and energies, whatever their order."""
    members = sorted(
        [
            p.name,
            [[symbol, round(x, _SAME_COMPOSITION)] for symbol, x in p.fractions.items()],
            round(p.energy_per_atom, 9),
        ]
        for p in phases
    )
    text = json.dumps([fidelity, members], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def check_names(names: Iterable[str]) -> None:
    """Names label the corners of decompositions, so they must be unique."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise HullError(f"two phases are named {name}; give each phase of a hull its own name")
        seen.add(name)
