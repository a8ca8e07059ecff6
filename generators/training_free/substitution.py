"""Ionic substitution: known compounds with other elements, the likeliest and best-paying first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Final, Self

import numpy as np
from pydantic import Field, model_validator

from generators.options import read_options
from generators.preference import Preference
from generators.protocol import Condition, Proposal
from generators.training_free.decorations import Decoration, canonical, decoration_key, outcomes, walk
from generators.training_free.parents import read_parents, structure_type
from generators.training_free.population import Member, best, fitted_members
from generators.training_free.substitution_probability import likelihood
from loop.prototypes import Prototype, prototypes
from loop.records import Record
from loop.spec import Model, Positive

PRIOR_PAYOFF: Final = 0.2
"""Expected payoff of a parent, and of a replacement, before any was tried."""
FIND_WINDOW: Final = 0.1
"""Energy above hull up to which a crystal of the campaign becomes a parent, eV/atom (survey section 7.2)."""
SMALLEST: Final = 1e-12
"""Floor under a draw whose logarithm is taken."""


class SubstitutionOptions(Model):
    """Options of `substitution`."""

    structures: tuple[str, ...] = ()
    """Files or folders of parent structures (CIF, POSCAR, pymatgen JSON, extxyz, ASE database)."""
    aflow: bool = True
    """Start from the compounds that the AFLOW prototypes are named after, too."""
    finds: Annotated[int, Field(ge=0)] = 10
    """How many of the campaign's own best crystals to start from, too (within 0.1 eV/atom of the hull)."""
    temperature: Positive = 0.5
    """How far down the list of likely substitutions to reach: 0.1 takes the likeliest, 10 nearly any."""
    largest_share: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Share of proposals with as many elements as the space allows."""
    exploration: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of proposals drawn evenly from what is left, so that no parent is starved."""
    prior_strength: Positive = 2.0
    """How many trials the expectation before the first trial is worth."""

    @model_validator(mode="after")
    def _has_parents(self) -> Self:
        if not (self.structures or self.aflow):
            raise ValueError(
                "structures is empty and aflow is false: nothing to start from; give one of them"
            )
        return self


@dataclass(frozen=True)
class Substitution:
    """Replaces the elements of known compounds by those of the space, each substitution once.

    The next one is drawn with weight θ(parent) · θ(replacements) · p^(1/temperature): p is the data-mined
    probability of the substitution (`substitution_probability`), each θ a Thompson draw of what it paid so
    far (`generators.preference`).
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    preference: Preference = field(default_factory=Preference)
    finds: tuple[Member, ...] = ()
    """The campaign's own best crystals."""
    settings: SubstitutionOptions = field(init=False)

    name: ClassVar[str] = "substitution"
    version: ClassVar[str] = "1"
    path_options: ClassVar[tuple[str, ...]] = ("structures",)
    """Options that hold paths, which start from the campaign file's folder."""

    def __post_init__(self) -> None:
        """Read the options."""
        object.__setattr__(
            self, "settings", read_options(self.options, model=SubstitutionOptions, generator=self.name)
        )

    def fit(
        self,
        records: Sequence[Record],
        *,
        start: Mapping[str, Any] | None,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Self:
        """With what the records say of every substitution: that it was tried, and how it paid off."""
        known = Preference.from_state(start, generator=self.name)
        members = fitted_members(records, start=(start or {}).get("finds", ()), generator=self.name)
        return replace(
            self,
            preference=known.updated(outcomes(records, arms=_arms)),
            finds=best(
                (member for member in members if member.energy_above_hull <= FIND_WINDOW),
                size=self.settings.finds,
                per_formula=1,
            ),
        )

    def state(self) -> Mapping[str, Any]:
        """The outcomes so far, and the campaign's best crystals."""
        return {**self.preference.state(), "finds": [member.to_dict() for member in self.finds]}

    def sample(self, n: int, *, condition: Condition, rng: np.random.Generator) -> list[Proposal]:
        """Substitutions that were not tried yet; fewer than `n` only where no more are left.

        Raises:
            GeneratorError: the composition lies outside the space, no parent meets the condition, or a file
                of parents cannot be read.
        """
        parents = self._parents()
        finds = [structure_type(member.candidate_id, member.crystal) for member in self.finds]
        ids = {find.name: (member.candidate_id,) for find, member in zip(finds, self.finds, strict=True)}
        # A find with its own elements is no proposal.
        known = {decoration_key(find.name, canonical(find, find.elements)) for find in finds}
        found = walk(
            n,
            structure_types=(*finds, *parents),
            condition=condition,
            tried=lambda key: key in known or self.preference.was_tried(key),
            largest_share=self.settings.largest_share,
            choose=self._choose,
            rng=rng,
        )
        return [
            Proposal(
                structure=crystal.to_structure(),
                parents=ids.get(decoration.structure_type.name, ()),
                details={
                    **decoration.details,
                    "parent": decoration.structure_type.original.reduced_formula,
                    "likelihood": round(_likelihood(decoration), 9),
                },
            )
            for decoration, crystal in found
        ]

    def _parents(self) -> tuple[Prototype, ...]:
        given = read_parents(self.settings.structures, field="generators.substitution.options.structures")
        return given + (prototypes() if self.settings.aflow else ())

    def _choose(self, left: Sequence[Decoration], rng: np.random.Generator) -> int:
        if rng.random() < self.settings.exploration:
            return int(rng.integers(len(left)))
        arms_of = [_arms(decoration.details) for decoration in left]
        arms = sorted({arm for each in arms_of for arm in each})
        draws = self.preference.draw(
            arms, prior_means=[PRIOR_PAYOFF] * len(arms), strength=self.settings.prior_strength, rng=rng
        )
        logarithm = dict(zip(arms, np.log(np.maximum(draws, SMALLEST)).tolist(), strict=True))
        scores = np.array(
            [
                logarithm[parent]
                + sum(logarithm[r] for r in replacements) / len(replacements)
                + math.log(_likelihood(d)) / self.settings.temperature
                for d, (parent, *replacements) in zip(left, arms_of, strict=True)
            ]
        )
        # The largest of scores with Gumbel noise is a draw in proportion to their exponentials.
        return int(np.argmax(scores + rng.gumbel(size=len(scores))))


def _arms(details: Mapping[str, Any]) -> tuple[str, ...]:
    """The parent, then each replacement."""
    return (details["prototype"], *(f"{old}>{new}" for old, new in sorted(details["substitution"].items())))


def _likelihood(decoration: Decoration) -> float:
    structure_type = decoration.structure_type
    return likelihood(
        tuple(zip(structure_type.elements, structure_type.counts, decoration.elements, strict=True))
    )
