"""The ReferenceSource seam: where the known phases come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from loop.crystal import Crystal


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferencePhase:
    """A known phase before the campaign's potential has relaxed it."""

    name: str
    """The source's own identifier, unique in its set, e.g. `mp-1234`."""
    crystal: Crystal
    details: Mapping[str, Any] = field(default_factory=dict)
    """JSON values worth keeping: the source's energy and its fidelity, ICSD numbers, whether seen in experiment."""


@runtime_checkable
class ReferenceSource(Protocol):
    """Gives the known phases of a chemical system."""

    def entries(self, chemical_system: Sequence[str]) -> list[ReferencePhase]:
        """Every known phase whose elements all lie in `chemical_system`, the elements themselves included.

        Raises:
            ReferencePhaseError: a file or service is missing or broken, or an element has no phase.
        """
        ...

    def describe(self) -> Mapping[str, Any]:
        """JSON values that identify the source and its version, for the ledger."""
        ...
