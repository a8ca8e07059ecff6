"""Every way in which a lattice may be taken for another, for many pairs of lattices at once.

The matcher looks for three vectors of the first lattice that are as long as the second's and at the same angles, within
tolerances, and span a cell of the same volume. With three vectors their opposites are found too, so that of every
vector and its opposite one is looked at. Arrays run over what is many in their last axis.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loop.matching.cell_stack import CellStack

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]

MARGIN: Final = 1e-6
"""By which every tolerance is widened, relative to it: above rounding, below any effect on the time."""
_FEW: Final = 16
"""Pairs that are looked at together, however many steps some of them need."""
_NEXT: Final = np.array([1, 2, 0])
_LAST: Final = np.array([2, 0, 1])


@dataclass(frozen=True, eq=False)
class Mappings:
    """Bases of first lattices like those of second ones; the opposite of each is one too."""

    pair: Indices
    """`n`, number of the pair of lattices, ascending."""
    inverse: Floats
    """`3 x 3 x n`, whole numbers: fractional coordinates in the first lattice times these are those in the basis."""
    means: Floats
    """`3 x 3 x n`, rows are vectors of the lattices with the means of both lattices' lengths and angles."""
    inverse_heights: Floats
    """`3 x n`, one over the distances between the mean lattices' planes."""
    volumes: Floats
    """`n`, of the mean lattices; not a number where no lattice has the mean lengths and angles."""


@dataclass(frozen=True, eq=False)
class _Bases:
    """Three vectors, each and all with the lengths and angles that are wanted."""

    pair: Indices
    steps: Floats
    """`3 x 3 x n`, whole numbers, rows are vectors."""
    lengths: Floats
    """`3 x n`."""
    cosines: Floats
    """`3 x n`, of alpha, beta, gamma."""


def mappings(
    first: CellStack, second: CellStack, *, length_tolerance: float, angle_tolerance: float
) -> Mappings:
    """Mappings of each first lattice onto the second at its place.

    Args:
        first: `n_pairs` cells, or one for all pairs.
        second: `n_pairs` cells.
        length_tolerance: fractional.
        angle_tolerance: degrees.
    """
    widest = 1 + length_tolerance * (1 + MARGIN)
    longest = second.lengths.max(axis=1, keepdims=True) * (widest * (1 + MARGIN))
    reach = (longest * first.inverse_heights).astype(np.int64)
    size = reach.max(axis=1)
    if len(second) <= _FEW:
        size[:] = 0
    # Long thin cells need many steps; they are few, and are not to make it slow for all of many.
    parts = []
    for most in sorted(set(size.tolist())):
        pairs = (size == most).nonzero()[0]
        steps = _half_space(*reach[pairs].max(axis=0).tolist())
        own = first if len(first) == 1 or len(pairs) == len(first) else first.part(pairs)
        parts.append(
            _bases(
                pairs,
                own.lattices,
                second.lengths[pairs].T,
                second.angles[pairs].T,
                steps=steps,
                widest=widest,
                widening=np.deg2rad(angle_tolerance * (1 + MARGIN)),
            )
        )
    return _with_means(_merged(parts), second)


def _bases(
    pairs: Indices,
    lattices: Floats,
    lengths: Floats,
    angles: Floats,
    *,
    steps: Floats,
    widest: float,
    widening: float,
) -> _Bases:
    """Bases of lattices (`n x 3 x 3` or `1 x 3 x 3`) with lengths and angles (radians, `3 x n`) near those given."""
    vectors = lattices.transpose(0, 2, 1) @ steps
    norms = np.sqrt((vectors**2).sum(axis=1))
    lowest = np.cos(np.minimum(angles + widening, np.pi))
    highest = np.cos(np.maximum(angles - widening, 0))

    def near(cosines: Floats, pair: Indices, angle: int) -> Flags:
        inside: Flags = (cosines >= lowest[angle][pair]) & (cosines <= highest[angle][pair])
        return inside

    wanted = lengths[:, :, None]
    axis, pair, row = ((norms > wanted / widest) & (norms < wanted * widest)).nonzero()
    lattice = pair if len(lattices) > 1 else np.zeros_like(pair)
    long = norms[lattice, row]
    unit = vectors[lattice, :, row].T / long
    ends = [0, *axis.searchsorted((1, 2)).tolist(), len(axis)]
    along = [slice(*each) for each in itertools.pairwise(ends)]
    pair_a, pair_b, pair_c = (pair[own] for own in along)
    row_a, row_b, row_c = (row[own] for own in along)
    long_a, long_b, long_c = (long[own] for own in along)
    unit_a, unit_b, unit_c = (unit[:, own] for own in along)
    a, b = _joined(pair_a, pair_b, len(pairs))
    gamma = (unit_a[:, a] * unit_b[:, b]).sum(axis=0)
    chosen, sign_b = _either(gamma, lambda x: near(x, pair_a[a], 2))
    a, b, gamma = a[chosen], b[chosen], gamma[chosen] * sign_b
    ab, c = _joined(pair_a[a], pair_c, len(pairs))
    beta = (unit_a[:, a[ab]] * unit_c[:, c]).sum(axis=0)
    chosen, sign_c = _either(beta, lambda x: near(x, pair_a[a[ab]], 1))
    ab, c, beta = ab[chosen], c[chosen], beta[chosen] * sign_c
    a, b, gamma, sign_b = a[ab], b[ab], gamma[ab], sign_b[ab]
    alpha = (unit_b[:, b] * unit_c[:, c]).sum(axis=0) * (sign_b * sign_c)
    chosen = near(alpha, pair_a[a], 0).nonzero()[0]
    a, b, c = a[chosen], b[chosen], c[chosen]
    return _Bases(
        pair=pairs[pair_a[a]],
        steps=np.stack(
            [
                steps[:, row_a[a]],
                steps[:, row_b[b]] * sign_b[chosen],
                steps[:, row_c[c]] * sign_c[chosen],
            ]
        ),
        lengths=np.stack([long_a[a], long_b[b], long_c[c]]),
        cosines=np.stack([alpha[chosen], beta[chosen], gamma[chosen]]),
    )


def _either(cosines: Floats, near: Callable[[Floats], Flags]) -> tuple[Indices, Floats]:
    """Places where two vectors, or one and the other's opposite, are at a wanted angle, and which of the two."""
    places, opposite = np.stack([near(cosines), near(-cosines)], axis=1).nonzero()
    signs: Floats = np.where(opposite, -1.0, 1.0)
    return places, signs


def _joined(left: Indices, right: Indices, number: int) -> tuple[Indices, Indices]:
    """Places of all combinations of equal entries of two ascending lists of numbers below one given."""
    counts = np.bincount(right, minlength=number)
    each = counts[left]
    first = np.arange(len(left)).repeat(each)
    start = counts.cumsum() - counts
    second = np.arange(len(first)) + (start[left] - each.cumsum() + each).repeat(each)
    return first, second


def _merged(parts: list[_Bases]) -> _Bases:
    if len(parts) == 1:
        return parts[0]
    pair = np.concatenate([part.pair for part in parts])
    order = pair.argsort(kind="stable")
    return _Bases(
        pair=pair[order],
        steps=np.concatenate([part.steps for part in parts], axis=2)[:, :, order],
        lengths=np.concatenate([part.lengths for part in parts], axis=1)[:, order],
        cosines=np.concatenate([part.cosines for part in parts], axis=1)[:, order],
    )


def _with_means(bases: _Bases, second: CellStack) -> Mappings:
    """Leave out what does not span the lattice; put mean lengths and angles into a lattice."""
    # Each row of cofactors is the vector product of the two rows of steps that follow.
    second_rows, third_rows = bases.steps[_NEXT], bases.steps[_LAST]
    cofactors = second_rows[:, _NEXT] * third_rows[:, _LAST] - second_rows[:, _LAST] * third_rows[:, _NEXT]
    determinants = (bases.steps[0] * cofactors[0]).sum(axis=0)
    whole = (np.abs(np.abs(determinants) - 1) < 0.5).nonzero()[0]
    pair = bases.pair[whole]
    lengths = (bases.lengths[:, whole] + second.lengths[pair].T) / 2
    angles = (np.arccos(np.clip(bases.cosines[:, whole], -1, 1)) + second.angles[pair].T) / 2
    cosines, sines = np.cos(angles), np.sin(angles)
    tilt = (cosines[0] - cosines[1] * cosines[2]) / sines[2]
    with np.errstate(invalid="ignore"):
        height = np.sqrt(sines[1] ** 2 - tilt**2)
    means = np.zeros((3, 3, len(pair)))
    means[0, 0] = lengths[0]
    means[1, 0], means[1, 1] = lengths[1] * cosines[2], lengths[1] * sines[2]
    means[2, 0], means[2, 1], means[2, 2] = lengths[2] * cosines[1], lengths[2] * tilt, lengths[2] * height
    return Mappings(
        pair=pair,
        inverse=cofactors.transpose(1, 0, 2)[:, :, whole] * determinants[whole],
        means=means,
        inverse_heights=sines / (lengths * (height * sines[2])),
        volumes=means[0, 0] * means[1, 1] * means[2, 2],
    )


@cache
def _half_space(a: int, b: int, c: int) -> Floats:
    """Whole vectors up to a reach along each axis, one of each and its opposite, `3 x n`."""
    ranges = (range(-x, x + 1) for x in (a, b, c))
    return np.array([n for n in itertools.product(*ranges) if n > (0, 0, 0)], dtype=np.float64).T.copy()
