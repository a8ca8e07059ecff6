"""What a relaxation must not do: press atoms into one another, let the cell collapse, or blow it up.

Models are trained near equilibrium; beyond it they have holes, and a structure that falls into one gets an energy that
no hull should see.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from pymatgen.optimization.neighbors import find_points_in_spheres

from surrogates.potential import Floats, Integers

CLOSEST_AT_START: Final = 0.5
"""Fraction of the sum of covalent radii below which a start is refused: beyond what repulsion reliably mends."""
CLOSEST_AT_END: Final = 0.6
"""The same for a relaxed crystal. Real compounds stay above about 0.75, hydrogen molecules at 1.2."""
SMALLEST_VOLUME: Final = 0.3
"""Volume relative to the start below which a crystal has collapsed."""
LARGEST_VOLUME: Final = 3.0
"""Volume relative to the start above which a crystal has come apart."""


def closest_pair(numbers: Integers, positions: Floats, *, cell: Floats, within: float) -> tuple[float, str] | None:
    """The pair of atoms, images included, that is closest in units of the sum of its covalent radii.

    Args:
        numbers: `n_atoms`, atomic numbers.
        positions: `n_atoms x 3`, Å.
        cell: `3 x 3`, rows are lattice vectors, Å.
        within: only pairs closer than this fraction are looked at.

    Returns:
        The fraction and a description such as `O-O 0.61 Å`, or None where no pair is so close.
    """
    radii = covalent_radii[numbers]
    first, second, images, distances = find_points_in_spheres(
        np.ascontiguousarray(positions),
        np.ascontiguousarray(positions),
        r=float(2 * within * radii.max()),
        pbc=np.ones(3, dtype=np.int64),
        lattice=np.ascontiguousarray(cell),
        tol=1e-8,
    )
    other = (first != second) | np.any(images != 0, axis=1)
    fractions = (distances / (radii[first] + radii[second]))[other]
    if not len(fractions) or fractions.min() >= within:
        return None
    worst = int(fractions.argmin())
    names = "-".join(sorted(chemical_symbols[numbers[index[other][worst]]] for index in (first, second)))
    return float(fractions[worst]), f"{names} {distances[other][worst]:.2f} Å"


def objection(
    numbers: Integers, positions: Floats, *, cell: Floats, starting_volume: float, within: float
) -> tuple[str, str] | None:
    """Reason and detail of what is wrong with a geometry, or None.

    Args:
        numbers: `n_atoms`, atomic numbers.
        positions: `n_atoms x 3`, Å.
        cell: `3 x 3`, Å.
        starting_volume: Å3, of the same cell before the relaxation.
        within: fraction of the sum of covalent radii that counts as an overlap.
    """
    ratio = abs(float(np.linalg.det(cell))) / starting_volume
    if ratio < SMALLEST_VOLUME:
        return "collapsed", f"the cell shrank to {ratio:.2f} of its starting volume (allowed: {SMALLEST_VOLUME})"
    if ratio > LARGEST_VOLUME:
        return "exploded", f"the cell grew to {ratio:.2f} times its starting volume (allowed: {LARGEST_VOLUME})"
    pair = closest_pair(numbers, positions, cell=cell, within=within)
    if pair is not None:
        return "overlap", f"{pair[1]} is {pair[0]:.2f} of the sum of covalent radii (allowed: {within})"
    return None
