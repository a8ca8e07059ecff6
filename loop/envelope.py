"""The upper envelope of many planes at many compositions, without comparing each with each.

A convex hull over composition is the maximum of the planes through its facets. Where there are many planes, few
of them can be the highest anywhere inside a small region, and a bound says which: so the compositions are split
into boxes, and each half inherits only the planes that may be highest in it (branch and bound). The answer is the
same as that of the full matrix product.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_FEW_PLANES: Final = 128
_FEW_POINTS: Final = 64
_SMALL_PRODUCT: Final = 200_000
"""Points times planes below which comparing all with all costs less than splitting."""
_LARGEST_BLOCK: Final = 250_000
"""Plane heights held in memory at once: 2 MB, which stays in a core's cache."""


def highest_planes(points: Floats, planes: Floats) -> tuple[Indices, Floats]:
    """Which plane is the highest at each point, and how high it is there.

    Memory beyond the arguments and the result is a few numbers per point and per plane.

    Args:
        points: `n_points x n_elements`, atomic fractions.
        planes: `n_planes x n_elements`, chemical potentials: the height of plane f at x is x·μ_f.

    Returns:
        Index of the plane and its height, each `n_points`.
    """
    if not _worth_splitting(len(points), len(planes)):
        return _compare_all(points, planes)
    highest, heights = np.empty(len(points), dtype=np.int64), np.empty(len(points))
    # Rounding of sums, and of fractions that add up to almost 1: a bound may be off by so much.
    slack = 1e-12 + (1e-12 + 2 * np.abs(points.sum(axis=1) - 1).max(initial=0)) * np.abs(planes).max(
        initial=0
    )
    slopes, offsets = planes[:, :-1] - planes[:, -1:], planes[:, -1]
    # A row per element, so that a box's bounds are reductions over contiguous numbers.
    stack = [(np.arange(len(points)), np.ascontiguousarray(points.T), np.arange(len(planes)))]
    while stack:
        rows, inside, columns = stack.pop()
        if _worth_splitting(len(rows), len(columns)):
            low, high = inside[:-1].min(axis=1), inside[:-1].max(axis=1)
            columns = columns[
                _may_be_highest(slopes[columns], offsets[columns], low=low, high=high, slack=slack)
            ]
            if _worth_splitting(len(rows), len(columns)) and (high > low).any():
                widest = int((high - low).argmax())
                left = inside[widest] < (low[widest] + high[widest]) / 2
                halves = (np.flatnonzero(left), np.flatnonzero(~left))
                stack += [(rows[half], inside[:, half], columns) for half in halves]
                continue
        best, heights[rows] = _compare_all(inside.T, planes[columns])
        highest[rows] = columns[best]
    return highest, heights


def _worth_splitting(points: int, planes: int) -> bool:
    return planes > _FEW_PLANES and points > _FEW_POINTS and points * planes > _SMALL_PRODUCT


def _may_be_highest(
    slopes: Floats, offsets: Floats, *, low: Floats, high: Floats, slack: float
) -> NDArray[np.bool_]:
    """Planes that the plane which is highest in the middle of a box does not exceed everywhere in the box."""
    middle, half = (low + high) / 2, (high - low) / 2
    heights = slopes @ middle + offsets
    best = int(heights.argmax())
    bound = heights - heights[best] + np.abs(slopes - slopes[best]) @ half
    kept: NDArray[np.bool_] = bound >= -slack
    return kept


def _compare_all(points: Floats, planes: Floats) -> tuple[Indices, Floats]:
    """As `highest_planes` by a matrix product in blocks."""
    highest, heights = np.empty(len(points), dtype=np.int64), np.empty(len(points))
    transposed = np.ascontiguousarray(planes.T)
    block = max(1, _LARGEST_BLOCK // len(planes))
    for start in range(0, len(points), block):
        chunk = slice(start, start + block)
        product = points[chunk] @ transposed
        best = product.argmax(axis=1)
        highest[chunk] = best
        heights[chunk] = product[np.arange(len(best)), best]
    return highest, heights
