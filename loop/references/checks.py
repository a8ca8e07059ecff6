"""What every reference source checks: that the elements exist and that each has a phase."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from loop.elements import ELEMENT_SYMBOLS, closest
from loop.errors import ReferencePhaseError
from loop.references.source import ReferencePhase


def checked_elements(chemical_system: Sequence[str]) -> tuple[str, ...]:
    """The elements, each once, alphabetical.

    Raises:
        ReferencePhaseError: no element, or something that is none.
    """
    for symbol in chemical_system:
        if symbol not in ELEMENT_SYMBOLS:
            raise ReferencePhaseError(
                f"chemical system {'-'.join(chemical_system)}: {symbol!r} is not an element symbol; "
                f"did you mean {closest(symbol, ELEMENT_SYMBOLS)!r}?"
            )
    if not chemical_system:
        raise ReferencePhaseError("the chemical system is empty; name at least one element")
    return tuple(sorted(set(chemical_system)))


def missing_elements(phases: Iterable[ReferencePhase], elements: Sequence[str]) -> list[str]:
    """Elements that have no phase of their own, without which no formation energy is defined."""
    covered = {next(iter(phase.crystal.elements)) for phase in phases if len(phase.crystal.elements) == 1}
    return [element for element in elements if element not in covered]


def unique_names(names: Iterable[str]) -> list[str]:
    """The names, a running number added to each that came before: `mp-1`, `mp-1 (2)`."""
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        seen[name] += 1
        result.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return result
