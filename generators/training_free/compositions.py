"""Random compositions with small whole numbers, and the room that their atoms need."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from ase.data import atomic_numbers, covalent_radii

LARGEST_COEFFICIENT: Final = 8


def random_composition(
    elements: Sequence[str], *, atoms: tuple[int, int], rng: np.random.Generator
) -> dict[str, int]:
    """Atoms by element in the primitive cell: formula units of small coefficients.

    A coefficient c is drawn with weight 1/c², so that AB, AB2, A2B3 and the like lead, as they do among real
    compounds, and none is excluded that fits.

    Args:
        elements: one symbol each.
        atoms: smallest and largest number of atoms; the largest is at least the number of elements.
        rng: the stream to draw from.
    """
    low, high = atoms
    coefficients: list[int] = []
    for index in range(len(elements)):
        room = high - sum(coefficients) - (len(elements) - index - 1)
        choices = np.arange(1, min(LARGEST_COEFFICIENT, room) + 1)
        weights = 1.0 / choices**2
        coefficients.append(int(rng.choice(choices, p=weights / weights.sum())))
    # The first coefficient has the most room, so the elements change places.
    coefficients = [coefficients[i] for i in rng.permutation(len(elements))]
    divisor = math.gcd(*coefficients)
    coefficients = [c // divisor for c in coefficients]
    unit = sum(coefficients)
    units = range(max(1, math.ceil(low / unit)), high // unit + 1)
    if len(units) == 0:
        # No whole number of formula units fits: fill the cell up with single atoms.
        total = int(rng.integers(max(low, len(elements)), high + 1))
        extra = rng.multinomial(total - len(elements), np.full(len(elements), 1.0 / len(elements)))
        return {symbol: 1 + int(e) for symbol, e in zip(elements, extra, strict=True)}
    number = units[int(rng.integers(len(units)))]
    return {symbol: number * c for symbol, c in zip(elements, coefficients, strict=True)}


def covalent_volume(counts: Mapping[str, int]) -> float:
    """Volume of spheres of covalent radius (Cordero et al., Dalton Trans. 2832 (2008)), Å3."""
    return math.fsum(
        n * 4.0 / 3.0 * math.pi * float(covalent_radii[atomic_numbers[symbol]]) ** 3
        for symbol, n in counts.items()
    )
