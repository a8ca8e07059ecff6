"""Decorations: structure types with elements in their roles, a finite space walked without repeats.

`prototypes` and `substitution` walk the same space in different orders. A decoration is known by one key in
both, so that neither proposes what the other has proposed in an earlier iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from generators.conditions import ElementSet, draw_element_set, element_sets, standardise
from generators.preference import Outcome, payoff
from generators.protocol import Condition
from loop.crystal import Crystal
from loop.errors import GeneratorError
from loop.prototypes import Prototype, decorate
from loop.records import Record


@dataclass(frozen=True)
class Decoration:
    """A structure type with an element in each of its roles."""

    structure_type: Prototype
    elements: tuple[str, ...]
    """By role, as `structure_type.elements`."""

    @property
    def key(self) -> str:
        """The same decoration has the same key in every campaign."""
        return decoration_key(self.structure_type.name, self.elements)

    @property
    def substitution(self) -> dict[str, str]:
        """From the elements of the original compound to those that take their roles."""
        return dict(zip(self.structure_type.elements, self.elements, strict=True))

    @property
    def details(self) -> dict[str, Any]:
        """JSON values for a proposal; `outcomes` reads them back from the records."""
        return {
            "prototype": self.structure_type.name,
            "mineral": self.structure_type.mineral,
            "elements": list(self.elements),
            "substitution": self.substitution,
        }


Choose = Callable[[Sequence[Decoration], np.random.Generator], int]
"""Given the decorations of one element set that are left, the index of the one to propose next."""


def decoration_key(name: str, elements: Iterable[str]) -> str:
    """The key under which a decoration's outcome is kept."""
    return f"{name}:{'-'.join(elements)}"


def canonical(structure_type: Prototype, elements: Sequence[str]) -> tuple[str, ...]:
    """The one of the equivalent assignments that `Prototype.assignments` gives: the first in the alphabet."""
    return min(tuple(elements[role] for role in order) for order in structure_type.interchanges)


def outcomes(
    records: Iterable[Record], *, arms: Callable[[Mapping[str, Any]], tuple[str, ...]]
) -> list[tuple[str, Outcome]]:
    """What became of every decoration among the records, whichever generator proposed it, by key.

    Args:
        records: candidates; those whose details are not a decoration's are passed over.
        arms: the arms that a decoration belongs to, from its `details`.
    """
    found = []
    for record in records:
        name, elements = record.details.get("prototype"), record.details.get("elements")
        if isinstance(name, str) and isinstance(elements, list | tuple):
            found.append((decoration_key(name, elements), Outcome(arms(record.details), payoff(record))))
    return found


def possible_decorations(
    structure_types: Iterable[Prototype], elements: ElementSet, *, condition: Condition
) -> list[Decoration]:
    """Every decoration of the element set that meets the condition's numbers of atoms and composition.

    Args:
        structure_types: what to decorate.
        elements: all of them occur in each decoration.
        condition: what is asked for.
    """
    low, high = condition.space.atoms
    wanted = None if condition.composition is None else dict(condition.composition)
    found: list[Decoration] = []
    for structure_type in structure_types:
        if (
            structure_type.number_of_elements != len(elements)
            or not low <= structure_type.number_of_atoms <= high
        ):
            continue
        found += [
            Decoration(structure_type, assignment)
            for assignment in structure_type.assignments(elements)
            if wanted is None or dict(zip(assignment, structure_type.counts, strict=True)) == wanted
        ]
    return found


def walk(
    n: int,
    *,
    structure_types: Sequence[Prototype],
    condition: Condition,
    tried: Callable[[str], bool],
    largest_share: float,
    choose: Choose,
    rng: np.random.Generator,
) -> list[tuple[Decoration, Crystal]]:
    """Untried decorations that meet the condition: `n`, or fewer where no more are left.

    Args:
        n: how many.
        structure_types: what to decorate.
        condition: what is asked for.
        tried: whether the decoration of that key was proposed before.
        largest_share: share of decorations with as many elements as the space allows.
        choose: which of an element set's remaining decorations comes next.
        rng: the stream to draw from.

    Raises:
        GeneratorError: no structure type meets the condition, whatever was tried before.
    """
    sets = element_sets(condition)
    fitting = _check_fitting(structure_types, sets, condition=condition)
    left: dict[ElementSet, list[Decoration]] = {}
    open_sets = {size: list(members) for size, members in sets.items() if size in fitting}
    found: list[tuple[Decoration, Crystal]] = []
    while len(found) < n and open_sets:
        elements = draw_element_set(open_sets, largest_share=largest_share, rng=rng)
        if elements not in left:
            candidates = possible_decorations(structure_types, elements, condition=condition)
            left[elements] = [decoration for decoration in candidates if not tried(decoration.key)]
        while remaining := left[elements]:
            decoration = remaining.pop(choose(remaining, rng))
            crystal = standardise(
                decorate(decoration.structure_type, decoration.elements), condition=condition
            )
            if isinstance(crystal, Crystal):
                found.append((decoration, crystal))
                break
        if not remaining:
            open_sets[len(elements)].remove(elements)
            if not open_sets[len(elements)]:
                del open_sets[len(elements)]
    return found


def _check_fitting(
    structure_types: Sequence[Prototype], sets: Mapping[int, Sequence[ElementSet]], *, condition: Condition
) -> set[int]:
    """Numbers of elements for which some structure type meets the condition."""
    low, high = condition.space.atoms
    fitting = {t.number_of_elements for t in structure_types if low <= t.number_of_atoms <= high} & set(sets)
    if not fitting:
        raise GeneratorError(
            f"none of the {len(structure_types)} structure types has {min(sets)} to {max(sets)} elements and "
            f"{low} to {high} atoms in its primitive cell; widen space.atoms or space.number_of_elements, or "
            "leave this generator out"
        )
    if condition.composition is not None:
        (elements,) = sets[len(condition.composition)]
        if not possible_decorations(structure_types, elements, condition=condition):
            raise GeneratorError(
                f"composition: none of the {len(structure_types)} structure types has "
                f"{dict(condition.composition)} in its primitive cell; ask for another composition or leave "
                "this generator out"
            )
    return fitting
