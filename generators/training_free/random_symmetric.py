"""Random crystals of random symmetry: the generator that knows nothing, and so misses nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import Field, field_validator

from generators.conditions import draw_element_set, element_sets, standardise
from generators.options import read_options
from generators.protocol import Condition, Proposal
from generators.training_free.compositions import covalent_volume, random_composition
from generators.training_free.wyckoff_positions import random_crystal, space_group
from loop.records import Record
from loop.spec import Model, PositiveInt


class RandomSymmetricOptions(Model):
    """Options of `random_symmetric`."""

    space_groups: tuple[PositiveInt, PositiveInt] = (2, 230)
    """First and last space group to draw from."""
    packing_fraction: tuple[float, float] = (0.45, 0.8)
    """Smallest and largest share of the cell that spheres of covalent radius fill. Compounds lie at 0.5 to
    0.8."""
    largest_share: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Share of proposals with as many elements as the space allows."""
    tries: PositiveInt = 500
    """Draws in a row that may fail before sampling ends: each a composition, a space group, an occupation."""

    @field_validator("space_groups", "packing_fraction")
    @classmethod
    def _is_a_range(cls, value: tuple[float, float], info: Any) -> tuple[float, float]:
        limit = 230 if info.field_name == "space_groups" else 1.0
        if not 0 < value[0] <= value[1] <= limit:
            raise ValueError(f"give a smallest and a largest value between 0 and {limit}")
        return value


@dataclass(frozen=True)
class RandomSymmetric:
    """Draws composition, space group, Wyckoff positions, lattice and coordinates (survey eq. 4).

    It learns nothing.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    settings: RandomSymmetricOptions = field(init=False)

    name: ClassVar[str] = "random_symmetric"
    version: ClassVar[str] = "1"

    def __post_init__(self) -> None:
        """Read the options."""
        settings = read_options(self.options, model=RandomSymmetricOptions, generator=self.name)
        object.__setattr__(self, "settings", settings)

    def fit(
        self,
        records: Sequence[Record],  # noqa: ARG002
        *,
        start: Mapping[str, Any] | None,  # noqa: ARG002
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Self:
        """Itself: there is nothing to learn."""
        return self

    def state(self) -> Mapping[str, Any]:
        """Empty: there is nothing to learn."""
        return {}

    def sample(self, n: int, *, condition: Condition, rng: np.random.Generator) -> list[Proposal]:
        """Random crystals that meet the condition; fewer than `n` where `tries` end.

        Raises:
            GeneratorError: the composition asked for lies outside the space.
        """
        sets = element_sets(condition)
        proposals: list[Proposal] = []
        for _ in range(n):
            for _ in range(self.settings.tries):
                if condition.composition is not None:
                    counts = dict(condition.composition)
                else:
                    elements = draw_element_set(sets, largest_share=self.settings.largest_share, rng=rng)
                    counts = random_composition(elements, atoms=condition.space.atoms, rng=rng)
                proposal = self._attempt(counts, condition=condition, rng=rng)
                if proposal is not None:
                    proposals.append(proposal)
                    break
            else:
                # What so many draws did not give, the next ones will hardly give either.
                break
        return proposals

    def _attempt(
        self, counts: Mapping[str, int], *, condition: Condition, rng: np.random.Generator
    ) -> Proposal | None:
        first, last = self.settings.space_groups
        number = int(rng.integers(first, last + 1))
        packing = float(rng.uniform(*self.settings.packing_fraction))
        volume_per_atom = covalent_volume(counts) / sum(counts.values()) / packing
        structure = random_crystal(space_group(number), counts, volume_per_atom=volume_per_atom, rng=rng)
        if structure is None:
            return None
        crystal = standardise(structure, condition=condition)
        if isinstance(crystal, str):
            return None
        return Proposal(
            structure=crystal.to_structure(),
            details={"space_group_number": number, "packing_fraction": round(packing, 4)},
        )
