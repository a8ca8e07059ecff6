"""The highest plane by branch and bound is the highest of all planes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loop.envelope import highest_planes


def tangents(rng: np.random.Generator, *, number: int, dimension: int) -> np.ndarray:
    """Planes tangent to a convex function of composition: each is the highest near its own point."""
    centres = rng.dirichlet(np.ones(dimension), number)
    return 2 * centres - (centres**2).sum(axis=1, keepdims=True)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.sampled_from([1, 10, 400, 3000]),
    st.sampled_from([0, 1, 50, 2000]),
    st.sampled_from(["tangent", "parallel", "equal", "huge"]),
)
@settings(max_examples=60, deadline=None)
def test_equals_the_matrix_product(seed: int, dimension: int, planes: int, points: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    potentials = tangents(rng, number=planes, dimension=dimension)
    if kind == "parallel":
        potentials = rng.normal(size=dimension) + np.repeat(rng.normal(size=(planes, 1)), dimension, axis=1)
    elif kind == "equal":
        potentials = np.repeat(potentials[:1], planes, axis=0)
    elif kind == "huge":
        potentials = 1e5 * rng.normal(size=(planes, dimension))
    fractions = rng.dirichlet(np.full(dimension, 0.5), points)
    fractions[: points // 3] = np.eye(dimension)[rng.integers(dimension, size=points // 3)]
    # Almost compositions, as callers may give them.
    fractions *= 1 + 1e-7 * rng.normal(size=(points, 1))
    highest, heights = highest_planes(fractions, potentials)
    expected = (fractions @ potentials.T).max(axis=1) if points else np.empty(0)
    accuracy = 1e-12 * np.abs(potentials).max()
    assert np.abs(heights - expected).max(initial=0) <= accuracy
    assert np.abs((fractions * potentials[highest]).sum(axis=1) - expected).max(initial=0) <= accuracy


@pytest.mark.parametrize("dimension", [2, 3, 4])
def test_many_points_and_planes(dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    potentials = tangents(rng, number=5000, dimension=dimension)
    fractions = rng.dirichlet(np.ones(dimension), 20_000)
    _, heights = highest_planes(fractions, potentials)
    some = rng.choice(len(fractions), 500, replace=False)
    assert np.abs(heights[some] - (fractions[some] @ potentials.T).max(axis=1)).max() < 1e-12
