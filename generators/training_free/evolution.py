"""Evolution: children of the campaign's best crystals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator
from pymatgen.core.structure import Structure

from generators.conditions import element_sets, standardise
from generators.options import read_options
from generators.protocol import Condition, Proposal
from generators.training_free import operators
from generators.training_free.population import Member, best, draw_member, fitted_members
from loop.crystal import Crystal
from loop.records import Record
from loop.spec import Model, NonNegative, Positive, PositiveInt


class OperationWeights(Model):
    """How often each operation is drawn, relative to the others."""

    heredity: NonNegative = 3.0
    """Cut and splice of two parents."""
    mutation: NonNegative = 2.0
    """Strain of the cell and rattling of the atoms of one parent."""
    permutation: NonNegative = 2.0
    """Exchange of two elements, or of two atoms, of one parent."""
    stoichiometry: NonNegative = 3.0
    """Adding, removing or replacing one atom of one parent. Left out where a composition is asked for."""

    @model_validator(mode="after")
    def _some_is_left(self) -> Self:
        if self.heredity + self.mutation + self.permutation == 0:
            raise ValueError(
                "heredity, mutation and permutation are all 0; give at least one of them a weight"
            )
        return self


class EvolutionOptions(Model):
    """Options of `evolution`."""

    population: PositiveInt = 24
    """How many of the best crystals may become parents."""
    per_formula: PositiveInt = 3
    """How many of them may share one formula."""
    selection_energy: Positive = 0.05
    """Energy above the best at which the chance to become a parent has fallen to 1/e, eV/atom."""
    operations: OperationWeights = Field(default_factory=OperationWeights)
    """Weights of the operations."""
    strain: Positive = 0.1
    """Standard deviation of the strain components of a mutation."""
    rattle: Positive = 0.4
    """Standard deviation of the Cartesian steps of a mutation, Å."""
    tries: Annotated[PositiveInt, Field(le=10_000)] = 100
    """Children in a row that may fail before sampling ends."""


@dataclass(frozen=True)
class Evolution:
    """Breeds from the population of best relaxed crystals. Without any it proposes nothing."""

    options: Mapping[str, Any] = field(default_factory=dict)
    population: tuple[Member, ...] = ()
    proposed: frozenset[str] = frozenset()
    """Keys of the crystals that evolution proposed before: exchanging elements gives the same child each
    time."""
    settings: EvolutionOptions = field(init=False)

    name: ClassVar[str] = "evolution"
    version: ClassVar[str] = "1"

    def __post_init__(self) -> None:
        """Read the options."""
        object.__setattr__(
            self, "settings", read_options(self.options, model=EvolutionOptions, generator=self.name)
        )

    def fit(
        self,
        records: Sequence[Record],
        *,
        start: Mapping[str, Any] | None,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Self:
        """With the best of the records and of `start` as its population; records supersede `start`."""
        members = fitted_members(records, start=(start or {}).get("population", ()), generator=self.name)
        own = {record.crystal.key for record in records if record.generator == self.name}
        return replace(
            self,
            population=best(members, size=self.settings.population, per_formula=self.settings.per_formula),
            proposed=frozenset((start or {}).get("proposed", ())) | own,
        )

    def state(self) -> Mapping[str, Any]:
        """The population, and the keys of what was proposed."""
        return {
            "population": [member.to_dict() for member in self.population],
            "proposed": sorted(self.proposed),
        }

    def sample(self, n: int, *, condition: Condition, rng: np.random.Generator) -> list[Proposal]:
        """Children that meet the condition; none without a population, fewer than `n` where `tries` end.

        Raises:
            GeneratorError: the composition asked for lies outside the space.
        """
        sets = element_sets(condition)
        allowed = {symbol for members in sets.values() for elements in members for symbol in elements}
        parents = tuple(member for member in self.population if member.crystal.elements <= allowed)
        seen = set(self.proposed)
        proposals: list[Proposal] = []
        for _ in range(n if parents else 0):
            for _ in range(self.settings.tries):
                child, proposal = self._child(parents, sorted(allowed), condition=condition, rng=rng)
                crystal = standardise(child, condition=condition)
                if isinstance(crystal, Crystal) and crystal.key not in seen:
                    seen.add(crystal.key)
                    proposals.append(replace(proposal, structure=crystal.to_structure()))
                    break
            else:
                # What so many children did not give, the next ones will hardly give either.
                break
        return proposals

    def _child(
        self,
        parents: tuple[Member, ...],
        allowed: Sequence[str],
        *,
        condition: Condition,
        rng: np.random.Generator,
    ) -> tuple[Structure, Proposal]:
        settings = self.settings
        weights = settings.operations.model_dump()
        if condition.composition is not None:
            weights["stoichiometry"] = 0.0
        shares = np.array(list(weights.values())) / sum(weights.values())
        operation = list(weights)[int(rng.choice(len(shares), p=shares))]
        chosen = [draw_member(parents, selection_energy=settings.selection_energy, rng=rng)]
        if operation == "heredity":
            chosen.append(draw_member(parents, selection_energy=settings.selection_energy, rng=rng))
        largest = condition.space.atoms[1]
        structures = [
            operators.supercell(member.crystal.to_structure(), largest=largest, rng=rng) for member in chosen
        ]
        if operation == "heredity":
            child = operators.heredity(structures[0], structures[1], rng=rng)
        elif operation == "mutation":
            strained = operators.strain(structures[0], deviation=settings.strain, rng=rng)
            child = operators.rattle(strained, deviation=settings.rattle, rng=rng)
        elif operation == "permutation":
            child = operators.permutation(structures[0], rng=rng)
        else:
            child = operators.stoichiometry(structures[0], allowed, rng=rng)
        ids = tuple(dict.fromkeys(member.candidate_id for member in chosen))
        return child, Proposal(structure=child, parents=ids, details={"operation": operation})
