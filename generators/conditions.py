"""What a condition allows: its element sets, and whether a structure meets it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from pymatgen.core.structure import Structure

from generators.protocol import Condition
from loop.crystal import Crystal
from loop.errors import CrystalError, GeneratorError
from loop.spec import Space
from loop.validity import first_reason_against

ElementSet = tuple[str, ...]
"""Element symbols, alphabetical, each once."""


def element_sets(condition: Condition) -> Mapping[int, tuple[ElementSet, ...]]:
    """Every set of elements that a crystal may consist of, by the number of elements.

    Raises:
        GeneratorError: the composition asked for lies outside the space.
    """
    if condition.composition is None:
        return _element_sets(condition.space)
    symbols = frozenset(condition.composition)
    counts = list(condition.composition.values())
    if not counts or min(counts) < 1:
        raise GeneratorError(
            f"composition: {dict(condition.composition)} needs at least one atom of each element it names; "
            "leave out elements with none"
        )
    reason = condition.space.reason_against(symbols, sum(counts))
    if reason is not None:
        raise GeneratorError(
            f"composition: {dict(condition.composition)} lies outside the space: {reason}; "
            "change the composition or the space"
        )
    return {len(symbols): (tuple(sorted(symbols)),)}


@lru_cache(maxsize=64)
def _element_sets(space: Space) -> Mapping[int, tuple[ElementSet, ...]]:
    low, high = space.number_of_elements
    required = set(space.required_elements)
    # The atoms of one cell bound the elements too.
    high = min(high, space.atoms[1])
    found: dict[int, tuple[ElementSet, ...]] = {}
    for size in range(low, high + 1):
        subsets = {
            subset
            for system in space.systems()
            for subset in itertools.combinations(system, size)
            if required <= set(subset)
        }
        if subsets:
            found[size] = tuple(sorted(subsets))
    if not found:
        raise GeneratorError(
            f"space: crystals of {space.number_of_elements[0]} or more elements cannot have at most "
            f"{space.atoms[1]} atoms; raise atoms or lower number_of_elements"
        )
    return found


def draw_element_set(
    sets: Mapping[int, Sequence[ElementSet]], *, largest_share: float, rng: np.random.Generator
) -> ElementSet:
    """A random element set: of the largest size with probability `largest_share`, else of a smaller size.

    Args:
        sets: element sets by the number of elements, none empty.
        largest_share: probability of the largest size where there are several.
        rng: the stream to draw from.
    """
    sizes = sorted(sets)
    size = (
        sizes[-1]
        if len(sizes) == 1 or rng.random() < largest_share
        else sizes[int(rng.integers(len(sizes) - 1))]
    )
    return sets[size][int(rng.integers(len(sets[size])))]


def standardise(structure: Structure, *, condition: Condition) -> Crystal | str:
    """The structure as a crystal, or why it does not meet the condition.

    Standardised, structurally valid (survey section 7.1), inside the space and, where one is given, of the
    composition asked for.
    """
    try:
        crystal = Crystal.from_structure(structure)
    except CrystalError as error:
        return str(error)
    outside = condition.space.reason_against(crystal.elements, crystal.number_of_atoms)
    if outside is not None:
        return outside
    if condition.composition is not None:
        counts = {symbol: crystal.symbols.count(symbol) for symbol in crystal.elements}
        if counts != dict(condition.composition):
            return f"{counts} atoms in the primitive cell, asked for {dict(condition.composition)}"
    invalid = first_reason_against(crystal, charge_neutral=condition.space.charge_neutral)
    return crystal if invalid is None else invalid.detail
