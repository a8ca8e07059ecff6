"""The acquisition seam: which candidates deserve the verification budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Role = Literal["chosen", "audit", "passed over"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A screened candidate that could be verified."""

    candidate_id: str
    features: NDArray[np.float64]
    """`n_features`: composition and what the potential says (loop.acquisition.features)."""
    screened: float
    """Energy above hull at the screening fidelity, eV/atom."""
    cost: float
    """Declared cost in the budget's scarcest currency, > 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A candidate whose verified energy above hull is known."""

    candidate_id: str
    features: NDArray[np.float64]
    screened: float
    verified: float
    """Energy above hull at the verifying fidelity, eV/atom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a policy makes of one option."""

    candidate_id: str
    role: Role
    rank: int
    """1 for the best score."""
    score: float
    """Larger is better."""
    predicted_mean: float
    """eV/atom."""
    predicted_deviation: float
    """eV/atom."""
    reasons: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Policy(Protocol):
    """Spends the verification budget."""

    name: str

    def choose(
        self,
        options: Sequence[Option],
        observations: Sequence[Observation],
        *,
        batch_size: int,
        budget: float,
        rng: np.random.Generator,
    ) -> list[Choice]:
        """One choice per option, in the order of the options.

        At most `batch_size` of them are `chosen`, and together they cost at most `budget`, which may be
        below 0: then none is.
        """
        ...
