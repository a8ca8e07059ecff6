"""What a relaxation must not do: press atoms into one another, let the cell collapse, or blow it up.

Models are trained near equilibrium; beyond it they have holes, and a structure that falls into one gets an
energy that no hull should see.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from loop.distances import nearest_image_distances
from surrogates.potential import Floats, Integers

CLOSEST_AT_START: Final = 0.5
"""Fraction of the sum of covalent radii below which a start is refused: beyond what repulsion reliably
mends."""
CLOSEST_AT_END: Final = 0.6
"""The same for a relaxed crystal. Real compounds stay above about 0.75, hydrogen molecules at 1.2."""
SMALLEST_VOLUME: Final = 0.3
"""Volume relative to the start below which a crystal has collapsed."""
LARGEST_VOLUME: Final = 3.0
"""Volume relative to the start above which a crystal has come apart."""


def closest_pair(numbers: Integers, positions: Floats, *, cell: Floats) -> tuple[float, str]:
    """The pair of atoms, images included, that is closest in units of the sum of its covalent radii.

    Args:
        numbers: `n_atoms`, atomic numbers.
        positions: `n_atoms x 3`, Å.
        cell: `3 x 3`, rows are lattice vectors, Å.

    Returns:
        The fraction, and a description such as `O-O 0.61 Å`.

    Raises:
        ValueError: the cell is too flat to be reduced.
    """
    radii: Floats = covalent_radii[numbers]
    fractional: Floats = np.linalg.solve(cell.T, positions.T).T.astype(np.float64)
    distances = nearest_image_distances(cell, fractional)
    fractions = distances / (radii[:, None] + radii)
    first, second = np.unravel_index(int(fractions.argmin()), fractions.shape)
    names = "-".join(sorted(chemical_symbols[numbers[i]] for i in (first, second)))
    return float(fractions[first, second]), f"{names} {distances[first, second]:.2f} Å"


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
        return (
            "collapsed",
            f"the cell shrank to {ratio:.2f} of its starting volume (allowed: {SMALLEST_VOLUME})",
        )
    if ratio > LARGEST_VOLUME:
        return (
            "exploded",
            f"the cell grew to {ratio:.2f} times its starting volume (allowed: {LARGEST_VOLUME})",
        )
    try:
        fraction, pair = closest_pair(numbers, positions, cell=cell)
    except ValueError as error:
        return "collapsed", f"the cell is too flat to be reduced ({error})"
    if fraction < within:
        return "overlap", f"{pair} is {fraction:.2f} of the sum of covalent radii (allowed: {within})"
    return None
