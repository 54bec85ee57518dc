"""The normal distribution function, against that of the standard library."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from funcnet.tracing.special import PART, normal_cdf

DTYPES = [np.float32, np.float64]
ULPS = 6

both_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


def phi(x: float) -> float:
    """By the error function of the standard library, freed of the rounding of its argument."""
    z = -x / math.sqrt(2)
    slip = Fraction(z) ** 2 - Fraction(x) ** 2 / 2 if -40 < x < 0 else 0
    return math.erfc(z) / 2 * math.exp(slip)


def expected(x: Any) -> Any:
    """Phi of each element, in double precision."""
    return np.array([phi(v) for v in x.ravel().tolist()]).reshape(x.shape)


def assert_close(x: Any) -> None:
    """To 6 units in the last place, and below 0 to x^2 / 2 more: exp makes as many of the rounding of x^2."""
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = normal_cdf(x)
    assert (found.shape, found.dtype) == (x.shape, x.dtype)
    right = expected(x)
    unit = np.spacing(right.astype(x.dtype)).astype(np.float64)
    allowed = unit * (ULPS + np.where(x < 0, np.minimum(np.abs(x), 40.0), 0.0) ** 2 / 2)
    wrong = np.abs(found.astype(np.float64) - right) > allowed
    assert not wrong.any(), (x[wrong][:5], found[wrong][:5], right[wrong][:5])


GRIDS = {
    "the whole range": np.linspace(-10, 10, 40_001),
    "tails": np.linspace(3, 40, 20_001),
    "where the two forms meet": 1 + np.linspace(-1e-6, 1e-6, 2_001),
    "where it is cut": 40 + np.linspace(-1e-3, 1e-3, 2_001),
    "near zero": np.logspace(-45, 0, 5_001),
    "large": np.logspace(0, 38, 1_001),
}


@both_dtypes
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("sign", [1, -1])
def test_it_is_that_of_the_standard_library(grid: str, sign: int, dtype: Any) -> None:
    assert_close((sign * GRIDS[grid]).astype(dtype))


@given(x=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_it_is_that_of_the_standard_library_for_any_double(x: list[float]) -> None:
    assert_close(np.array(x))


@given(x=st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=50))
def test_it_is_that_of_the_standard_library_for_any_single(x: list[float]) -> None:
    assert_close(np.array(x, np.float32))


@both_dtypes
@pytest.mark.parametrize("length", [0, PART - 1, PART, 2 * PART + 5])
def test_parts_are_those_of_the_whole(length: int, dtype: Any) -> None:
    x = np.random.default_rng(0).normal(0, 3, length).astype(dtype)
    np.testing.assert_array_equal(normal_cdf(x), normal_cdf(x[:, None])[:, 0])


@both_dtypes
def test_zeros_and_subnormal_numbers_give_a_half(dtype: Any) -> None:
    smallest = np.finfo(dtype).smallest_subnormal
    assert (normal_cdf(np.array([0.0, -0.0, smallest, -smallest], dtype)) == 0.5).all()


@both_dtypes
def test_infinity_gives_zero_and_one(dtype: Any) -> None:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = normal_cdf(np.array([np.inf, -np.inf, 1e30, -1e30], dtype))
    np.testing.assert_array_equal(found, [1, 0, 1, 0])
    assert not np.signbit(found).any()


@both_dtypes
def test_nan_stays_nan(dtype: Any) -> None:
    assert np.isnan(normal_cdf(np.array([np.nan, -np.nan], dtype))).all()


@both_dtypes
def test_what_is_above_is_one_less_what_is_below(dtype: Any) -> None:
    x = np.linspace(0.001, 7, 10_001).astype(dtype)
    np.testing.assert_array_equal(normal_cdf(x), 1 - normal_cdf(-x))


@both_dtypes
def test_it_never_leaves_zero_and_one(dtype: Any) -> None:
    y = normal_cdf(np.linspace(-45, 45, 20_001).astype(dtype))
    assert (y.min(), y.max()) == (0, 1)


def test_it_rises() -> None:
    x = np.linspace(-39, 9, 5_001)
    assert (np.diff(normal_cdf(x)) >= 0).all()


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3), (2, 3, 4)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    assert normal_cdf(np.zeros(shape)).shape == shape


def test_its_argument_is_untouched() -> None:
    x = np.linspace(-3, 3, 7)
    before = x.copy()
    normal_cdf(x)
    np.testing.assert_array_equal(x, before)
