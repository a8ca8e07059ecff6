"""Decoration of the AFLOW prototypes, those first that paid off before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Final, Self

import numpy as np
from pydantic import Field

from generators.options import read_options
from generators.preference import Preference
from generators.protocol import Condition, Proposal
from generators.training_free.decorations import Decoration, outcomes, walk
from loop.prototypes import Prototype, prototypes
from loop.records import Record
from loop.spec import Model, Positive

PRIOR_PAYOFF: Final = 0.5
PRIOR_ATOMS: Final = 6.0
PRIOR_PARAMETERS: Final = 3.0
"""The expected payoff of an untried prototype is `PRIOR_PAYOFF` for one atom in a cubic cell; it falls to 1/e
over `PRIOR_ATOMS` more atoms in the primitive cell or `PRIOR_PARAMETERS` more free cell parameters.

Pauling's rule of parsimony (J. Am. Chem. Soc. 51, 1010 (1929)) as a prior: simple structure types have the
most known compounds, and cost the least to relax. Experience soon overrules it.
"""
CELL_PARAMETERS: Final = {"c": 1, "h": 2, "t": 2, "o": 3, "m": 4, "a": 6}
"""Free parameters of the cell by crystal family, the first letter of a Pearson symbol."""


class PrototypesOptions(Model):
    """Options of `prototypes`."""

    largest_share: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Share of proposals with as many elements as the space allows."""
    exploration: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of proposals drawn evenly from what is left, whatever was learned, so that no prototype is
    starved."""
    prior_strength: Positive = 2.0
    """How many trials the expectation before the first trial is worth."""


@dataclass(frozen=True)
class Prototypes:
    """Walks all decorations of the AFLOW prototypes with the space's elements, each once.

    Which comes next is a Thompson draw over the prototypes' mean payoffs (`generators.preference`).
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    preference: Preference = field(default_factory=Preference)
    settings: PrototypesOptions = field(init=False)

    name: ClassVar[str] = "prototypes"
    version: ClassVar[str] = "1"

    def __post_init__(self) -> None:
        """Read the options."""
        object.__setattr__(
            self, "settings", read_options(self.options, model=PrototypesOptions, generator=self.name)
        )

    def fit(
        self,
        records: Sequence[Record],
        *,
        start: Mapping[str, Any] | None,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Self:
        """With what the records say of every decoration: that it was tried, and how it paid off."""
        known = Preference.from_state(start, generator=self.name)
        return replace(
            self, preference=known.updated(outcomes(records, arms=lambda details: (details["prototype"],)))
        )

    def state(self) -> Mapping[str, Any]:
        """The outcomes so far."""
        return self.preference.state()

    def sample(self, n: int, *, condition: Condition, rng: np.random.Generator) -> list[Proposal]:
        """Decorations that were not tried yet; fewer than `n` only where no more are left.

        Raises:
            GeneratorError: the composition lies outside the space, or no prototype meets the condition.
        """
        found = walk(
            n,
            structure_types=prototypes(),
            condition=condition,
            tried=self.preference.was_tried,
            largest_share=self.settings.largest_share,
            choose=self._choose,
            rng=rng,
        )
        return [
            Proposal(structure=crystal.to_structure(), details=decoration.details)
            for decoration, crystal in found
        ]

    def _choose(self, left: Sequence[Decoration], rng: np.random.Generator) -> int:
        if rng.random() < self.settings.exploration:
            return int(rng.integers(len(left)))
        arms = list(
            {decoration.structure_type.name: decoration.structure_type for decoration in left}.values()
        )
        draws = self.preference.draw(
            [arm.name for arm in arms],
            prior_means=[prior_payoff(arm) for arm in arms],
            strength=self.settings.prior_strength,
            rng=rng,
        )
        best = arms[int(np.argmax(draws))].name
        indices = [index for index, decoration in enumerate(left) if decoration.structure_type.name == best]
        return indices[int(rng.integers(len(indices)))]


def prior_payoff(structure_type: Prototype) -> float:
    """Expected payoff of a prototype before any of its decorations was tried, in (0, 1)."""
    parameters = CELL_PARAMETERS[structure_type.pearson_symbol[0]]
    return PRIOR_PAYOFF * math.exp(
        -(structure_type.number_of_atoms - 1) / PRIOR_ATOMS - (parameters - 1) / PRIOR_PARAMETERS
    )
