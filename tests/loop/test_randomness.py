"""Random streams: fixed values, independence, and no confusion of names."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.randomness import stream

NAMES = st.lists(st.one_of(st.text(max_size=5), st.integers(-(2**40), 2**40)), max_size=4)


def test_values_are_fixed_for_all_time() -> None:
    """A campaign of an older version must be resumed with the same draws."""
    drawn = stream(7, "propose", 3, "evolution").integers(0, 10**9, size=4).tolist()
    assert drawn == [101790440, 634702620, 805496235, 916377778]


def test_another_process_draws_the_same() -> None:
    code = "from loop.randomness import stream; print(stream(2**62, 'a', 1).random(3).tolist())"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == str(stream(2**62, "a", 1).random(3).tolist())


@given(seed=st.integers(0, 2**63 - 1), first=NAMES, second=NAMES)
def test_equal_names_draw_equal_numbers_and_other_names_others(seed: int, first: list, second: list) -> None:
    one, two = stream(seed, *first).integers(0, 2**62, 4), stream(seed, *second).integers(0, 2**62, 4)
    assert np.array_equal(one, two) == (first == second)


@pytest.mark.parametrize(
    ("one", "two"), [(("a", "b"), ("ab",)), ((1,), ("1",)), (("a",), ("a", "")), ((), ("",))]
)
def test_similar_names_are_kept_apart(one: tuple, two: tuple) -> None:
    assert stream(0, *one).random() != stream(0, *two).random()


def test_seeds_are_kept_apart_beyond_32_bits() -> None:
    assert len({stream(seed, "x").random() for seed in (0, 1, 2**32, 2**32 + 1, 2**62)}) == 5


def test_numpy_integers_name_the_same_stream_as_python_ones() -> None:
    assert stream(1, np.int64(5)).random() == stream(1, 5).random()


def test_streams_are_uncorrelated() -> None:
    """Correlation of n independent pairs deviates by 1/sqrt(n); 5 deviations never happen by chance."""
    n = 2_000
    draws = np.array([stream(0, "iteration", i).normal(size=n) for i in range(12)])
    correlation = np.corrcoef(draws) - np.eye(12)
    assert np.abs(correlation).max() < 5 / np.sqrt(n)


@pytest.mark.parametrize("name", [1.5, None, True, ("a",)])
def test_a_name_that_is_no_name_is_refused(name: object) -> None:
    with pytest.raises(TypeError, match="neither text nor a whole number"):
        stream(0, name)  # type: ignore[arg-type]


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        stream(-1, "x")
