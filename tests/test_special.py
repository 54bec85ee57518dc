"""The error function, against that of the standard library."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from funcnet.special import erf

DTYPES = [np.float32, np.float64]
ULPS = {np.dtype(np.float32): 4, np.dtype(np.float64): 2}

both_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


def expected(x: Any) -> Any:
    """erf of each element, by the standard library, in double precision."""
    return np.array([math.erf(v) for v in x.ravel().tolist()]).reshape(x.shape)


def assert_close(x: Any) -> None:
    """To so many units in the last place."""
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = erf(x)
    assert (found.shape, found.dtype) == (x.shape, x.dtype)
    right = expected(x)
    unit = np.spacing(np.abs(right).astype(x.dtype)).astype(np.float64)
    wrong = np.abs(found.astype(np.float64) - right) > np.maximum(ULPS[x.dtype] * unit, 1e-16 * (x.dtype == np.float64))
    assert not wrong.any(), (x[wrong][:5], found[wrong][:5], right[wrong][:5])


GRIDS = {
    "the whole range": np.linspace(-8, 8, 40_001),
    "tails": np.linspace(3, 7, 20_001),
    "where the two forms meet": 1 + np.linspace(-1e-6, 1e-6, 2_001),
    "where it is cut": 6 + np.linspace(-1e-3, 1e-3, 2_001),
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
def test_zeros_keep_their_sign(dtype: Any) -> None:
    found = erf(np.array([0.0, -0.0], dtype))
    assert (found == 0).all()
    assert np.signbit(found).tolist() == [False, True]


@both_dtypes
def test_subnormal_numbers_keep_their_sign_and_size(dtype: Any) -> None:
    smallest = np.finfo(dtype).smallest_subnormal
    x = np.arange(-20, 21).astype(dtype) * smallest
    np.testing.assert_allclose(erf(x) / smallest, np.arange(-20, 21) * 2 / math.sqrt(math.pi), atol=1)


@both_dtypes
def test_infinity_gives_one(dtype: Any) -> None:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        np.testing.assert_array_equal(erf(np.array([np.inf, -np.inf, 1e30, -1e30], dtype)), [1, -1, 1, -1])


@both_dtypes
def test_nan_stays_nan(dtype: Any) -> None:
    assert np.isnan(erf(np.array([np.nan, -np.nan], dtype))).all()


@both_dtypes
def test_it_is_odd(dtype: Any) -> None:
    x = np.linspace(0, 7, 10_001).astype(dtype)
    np.testing.assert_array_equal(erf(-x), -erf(x))


@both_dtypes
def test_it_never_leaves_one(dtype: Any) -> None:
    x = np.linspace(-9, 9, 20_001).astype(dtype)
    assert np.abs(erf(x)).max() == 1


def test_it_rises() -> None:
    x = np.linspace(-7, 7, 5_001)
    assert (np.diff(erf(x)) >= 0).all()


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3), (2, 3, 4)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    assert erf(np.zeros(shape)).shape == shape


def test_its_argument_is_untouched() -> None:
    x = np.linspace(-3, 3, 7)
    before = x.copy()
    erf(x)
    np.testing.assert_array_equal(x, before)
