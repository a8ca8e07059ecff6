"""The Generator seam: what proposes crystals, fitted on the ledger's records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from pymatgen.core.structure import Structure

from loop.records import Record
from loop.spec import Space


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a generator is asked for. A generator must honour it or raise `GeneratorError`."""

    space: Space
    """Chemical systems, numbers of elements and of atoms."""
    composition: Mapping[str, int] | None = None
    """Atoms per primitive cell by element, for crystal structure prediction; None for a free composition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A structure that a generator proposes, with its provenance. Not standardised yet."""

    structure: Structure
    parents: tuple[str, ...] = ()
    """Ids of the candidates it descends from."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """JSON values: prototype, substitution, operation, …"""


@runtime_checkable
class Generator(Protocol):
    """Proposes crystals.

    A generator is a frozen value: `fit` returns a new one. The same generator, condition and state of `rng`
    give the same proposals, on every machine and after every resume.
    """

    @property
    def name(self) -> str:
        """Registry name, as in the campaign file."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever the same generator, condition and `rng` would propose something else."""
        ...

    def fit(
        self, records: Sequence[Record], *, start: Mapping[str, Any] | None, rng: np.random.Generator
    ) -> Self:
        """A generator that has learned from `records`, which hold every outcome that is in force.

        What `start` says of a candidate or structure that the records know better is superseded, so that
        fitting twice on the same records is fitting once.

        Args:
            records: every candidate so far, in order of proposal.
            start: `state()` of the promoted version to start from; None for the base.
            rng: the stream to draw from.
        """
        ...

    def sample(self, n: int, *, condition: Condition, rng: np.random.Generator) -> list[Proposal]:
        """At most `n` proposals; fewer only where the generator's own space is exhausted.

        Raises:
            GeneratorError: the condition cannot be met at all.
        """
        ...

    def state(self) -> Mapping[str, Any]:
        """JSON values from which `fit(…, start=…)` can go on; empty where it learns nothing.

        They are kept as the ledger's model version: what was learned, not what it was learned from.
        """
        ...
