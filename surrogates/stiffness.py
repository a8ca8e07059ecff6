"""A guess of how stiff a crystal is: springs between neighbours, for a relaxation's first step and its metric.

Soft and stiff directions of a crystal differ by orders of magnitude, and a minimiser that starts from one number
for all spends its evaluations on finding out. Springs know without any evaluation which bonds are short, that
the cell strains all of them at once, and that atoms move with it. In the spirit of Packwood et al., J. Chem.
Phys. 144, 164109, 2016 (exponentially decaying springs), with directions and the cell added. Only the shape
matters: the minimiser rescales it from what it measures.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from ase.data import covalent_radii

from surrogates.neighbours import pairs_on_host
from surrogates.potential import Floats, Integers

REACH: Final = 5.0
"""Å up to which atoms are joined by springs."""
BOND_STIFFNESS: Final = 15.0
"""eV/Å2 of a spring whose length is the sum of its atoms' covalent radii."""
DECAY: Final = 4.0
"""A spring weakens by exp(-DECAY) for every sum of covalent radii that it is longer."""
STIFFEST: Final = 60.0
"""eV/Å2 that no spring exceeds, however short."""
SIDEWAYS: Final = 0.1
"""Part of a spring's stiffness that acts across it, as bond angles do."""
LEAST: Final = 0.3
"""eV/Å2 added to every coordinate, for those that no spring holds: rotation and translation."""


def inverse_stiffness(numbers: Integers, positions: Floats, *, cell: Floats, scale: float) -> Floats:
    """Inverse of the springs' Hessian, `3 (n_atoms + 3)` squared, Å2/eV.

    Args:
        numbers: `n_atoms`, atomic numbers.
        positions: `n_atoms x 3`, Å.
        cell: `3 x 3`, Å.
        scale: Å by which the deformation gradient is multiplied as a coordinate; coordinates are those of
            `optimisation.Frame`, flattened row by row.
    """
    first, second, translation, lengths = pairs_on_host(positions, cell, REACH)
    vectors = positions[second] - positions[first] + translation @ cell
    usual = covalent_radii[numbers[first]] + covalent_radii[numbers[second]]
    stiffness = np.minimum(BOND_STIFFNESS * np.exp(-DECAY * (lengths / usual - 1)), STIFFEST)
    # Along each Cartesian axis a spring stretches with its two atoms and with one row of the deformation.
    n_atoms, rows = len(numbers), np.arange(len(first))
    stretch = np.zeros((len(first), n_atoms + 3))
    stretch[rows, second] += 1
    stretch[rows, first] -= 1
    stretch[:, n_atoms:] = vectors / scale
    directions = vectors / lengths[:, None]
    place = np.empty((3, n_atoms + 3), dtype=np.int64)
    for axis in range(3):
        place[axis, :n_atoms] = 3 * np.arange(n_atoms) + axis
        place[axis, n_atoms:] = 3 * (n_atoms + axis) + np.arange(3)
    hessian: Floats = LEAST * np.eye(place.size)
    for a in range(3):
        for b in range(3):
            along = (1 - SIDEWAYS) * directions[:, a] * directions[:, b] + SIDEWAYS * (a == b)
            hessian[np.ix_(place[a], place[b])] += (stretch * (stiffness * along)[:, None]).T @ stretch
    inverse: Floats = np.linalg.inv(hessian).astype(np.float64)
    return inverse
