"""The Niggli cell that pymatgen gives a lattice, its very numbers, some ten times faster.

A lattice's Niggli cell is one of a kind but for its orientation and, where vectors are equally long or angles close to
right, for which of several bases stands for it. pymatgen finds the cell's lengths and angles and takes the first basis
that has them, in the order in which its search for points in a sphere meets them. Here the lengths and angles come
from the invariants in plain numbers, and the same search gives the same order. Where a tolerance ten times tighter or
looser would decide otherwise, pymatgen itself is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import acos, cos, radians, sqrt
from typing import Final

import moyopy
import numpy as np
from numpy.typing import NDArray
from pymatgen.core.lattice import Lattice
from pymatgen.optimization.neighbors import find_points_in_spheres

Floats = NDArray[np.float64]
Vector = Sequence[float]
_Choice = tuple[int, list[float], float]
Invariants = tuple[float, float, float, float, float, float]
"""A, B, C, xi, eta, zeta: squared lengths and twice the scalar products b·c, a·c, a·b, Å2."""

TOLERANCE: Final = 1e-5
"""pymatgen's, of invariants in units of (cell volume)^(1/3) Å, and of lengths, relative."""
_ANGLE: Final = 1.0
"""Degrees by which angles of the basis may differ from the cell's (pymatgen's)."""
_DOUBT: Final = 10.0
"""Factor by which the invariants' tolerance may change without changing the cell, or pymatgen is asked."""
_LENGTH_DOUBT: Final = 1.1
"""The same of lengths, once the invariants are beyond doubt."""
_ANGLE_DOUBT: Final = 1e-6
"""The same of angles, degrees: only rounding is in doubt."""
_STEPS: Final = 100
_ORIGIN: Final[Floats] = np.zeros((1, 3))
_PERIODIC: Final = np.ones(3, dtype=np.int64)


def niggli_lattice(lattice: Floats) -> Floats:
    """The lattice that pymatgen's `Lattice.get_niggli_reduced_lattice` returns.

    Args:
        lattice: `3 x 3`, rows are lattice vectors, Å.

    Returns:
        `3 x 3`, Å, right-handed, in the lattice's own orientation.
    """
    found = _found(lattice)
    if found is None:
        return np.array(Lattice(lattice).get_niggli_reduced_lattice().matrix)
    return found


def niggli_invariants(invariants: Invariants, tolerance: float) -> Invariants | None:
    """Reduce invariants by the steps of Krivy and Gruber (Acta Cryst. A32, 297, 1976), compared with a tolerance.

    The tolerance enters as Grosse-Kunstleve, Sauter and Adams put it (Acta Cryst. A60, 1, 2004), their steps 1 to 8.

    Args:
        invariants: those of any basis, Å2.
        tolerance: Å2.

    Returns:
        Those of the Niggli cell, or None where a hundred steps do not reach it.
    """
    a, b, c, x, y, z = invariants
    e = tolerance
    for _ in range(_STEPS):
        if a > b + e or (abs(a - b) < e and abs(x) > abs(y) + e):
            a, b, x, y = b, a, y, x
        if b > c + e or (abs(b - c) < e and abs(y) > abs(z) + e):
            b, c, y, z = c, b, z, y
            continue
        x, y, z = _signed(x, y, z, e)
        if abs(x) > b + e or (abs(x - b) < e and 2 * y < z - e) or (abs(x + b) < e and z < -e):
            s = 1 if x > 0 else -1
            c, x, y = c + b - s * x, x - 2 * s * b, y - s * z
        elif abs(y) > a + e or (abs(y - a) < e and 2 * x < z - e) or (abs(y + a) < e and z < -e):
            s = 1 if y > 0 else -1
            c, x, y = c + a - s * y, x - s * z, y - 2 * s * a
        elif abs(z) > a + e or (abs(z - a) < e and 2 * x < y - e) or (abs(z + a) < e and y < -e):
            s = 1 if z > 0 else -1
            b, x, z = b + a - s * z, x - s * y, z - 2 * s * a
        elif a + b + x + y + z < -e or (abs(a + b + x + y + z) < e < 2 * (a + y) + z):
            c, x, y = a + b + c + x + y + z, 2 * b + x + z, 2 * a + y + z
        else:
            return a, b, c, x, y, z
    return None


def _signed(x: float, y: float, z: float, e: float) -> tuple[float, float, float]:
    """Turn vectors round so that all products are positive, or none is; one within the tolerance counts as zero."""
    signs = [0 if -e < product < e else 1 if product > 0 else -1 for product in (x, y, z)]
    if signs[0] * signs[1] * signs[2] == 1:
        return abs(x), abs(y), abs(z)
    # Turning a vector round changes two signs: an odd number of positive ones needs a product that counts as zero.
    if signs.count(1) % 2 == 1 and 0 in signs:
        signs[max(place for place in range(3) if signs[place] == 0)] = 1
    i, j, k = (-1 if sign == 1 else 1 for sign in signs)
    return i * x, j * y, k * z


def _found(lattice: Floats) -> Floats | None:
    """The reduced lattice, or None where a tolerance decides."""
    rows = lattice.tolist()
    determinant = _determinant(rows)
    tolerance = TOLERANCE * abs(determinant) ** (1 / 3)
    reduced = niggli_invariants(_invariants(moyopy.niggli_reduce(rows)[0]), tolerance)
    if reduced is None:
        return None
    for factor in (_DOUBT, 1 / _DOUBT):
        other = niggli_invariants(reduced, tolerance * factor)
        if other is None:
            return None
        for mine, its in zip(reduced, other, strict=True):
            if abs(mine - its) > TOLERANCE * tolerance:
                return None
    return _basis(lattice, reduced, tolerance, handed=determinant > 0)


def _basis(lattice: Floats, invariants: Invariants, tolerance: float, *, handed: bool) -> Floats | None:
    """The first basis with the invariants in the order of pymatgen's search, or None where a tolerance decides.

    Args:
        lattice: `3 x 3`, Å.
        invariants: of the reduced cell, Å2.
        tolerance: of lengths, relative.
        handed: whether the lattice is right-handed.
    """
    a, b, c = (sqrt(square) for square in invariants[:3])
    x, y, z = invariants[3:]
    _, _, images, distances = find_points_in_spheres(
        all_coords=_ORIGIN,
        center_coords=_ORIGIN,
        r=max(a, b, c) * (1 + tolerance),
        pbc=_PERIODIC,
        lattice=lattice,
        tol=1e-8,
    )
    deviations = np.abs(distances[:, None] / (a, b, c) - 1)
    rows, places = (deviations < _LENGTH_DOUBT * tolerance).nonzero()
    if (deviations[rows, places] > tolerance / _LENGTH_DOUBT).any():
        return None
    vectors = np.dot(images, lattice)
    choices: tuple[list[_Choice], ...] = ([], [], [])
    for row, place in zip(rows.tolist(), places.tolist(), strict=True):
        choices[place].append((row, vectors[row].tolist(), distances[row]))
    alpha, beta, gamma = (_bounds(p) for p in (x / (2 * b * c), y / (2 * a * c), z / (2 * a * b)))
    for i, first, a in choices[0]:
        for j, second, b in choices[1]:
            close = _within(_dot(first, second) / (a * b), gamma)
            if close is None:
                return None
            if not close:
                continue
            for k, third, c in choices[2]:
                near = _within(_dot(first, third) / (a * c), beta)
                also = _within(_dot(second, third) / (b * c), alpha)
                if near is None or also is None:
                    return None
                if near and also and (_determinant((first, second, third)) > 0) == handed:
                    basis: Floats = vectors[[i, j, k]]
                    return basis if handed else -basis
    return None


def _invariants(rows: Sequence[Vector]) -> Invariants:
    a, b, c = rows
    return _dot(a, a), _dot(b, b), _dot(c, c), 2 * _dot(b, c), 2 * _dot(a, c), 2 * _dot(a, b)


def _bounds(cosine: float) -> tuple[float, float, float, float]:
    """Cosines between which an angle is near the one given beyond doubt, and outside which it is not."""
    angle = acos(max(-1.0, min(1.0, cosine)))
    inner, outer = radians(_ANGLE - _ANGLE_DOUBT), radians(_ANGLE + _ANGLE_DOUBT)
    return cos(angle + inner), cos(angle - inner), cos(angle + outer), cos(angle - outer)


def _within(cosine: float, bounds: tuple[float, float, float, float]) -> bool | None:
    """Whether an angle lies within the bounds, None where that is in doubt."""
    if bounds[0] < cosine < bounds[1]:
        return True
    return None if bounds[2] <= cosine <= bounds[3] else False


def _dot(first: Vector, second: Vector) -> float:
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]


def _determinant(rows: Sequence[Vector]) -> float:
    (a, b, c), (d, e, f), (g, h, i) = rows
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
