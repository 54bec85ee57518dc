"""Elementwise functions in C against more digits, and where they are special."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet.native.toolchain import find_compiler
from tests.native.ulp import DTYPES, NAMES, computed, some_numbers, worst

try:
    find_compiler()
except fn.MissingPackageError:
    pytest.skip("neither FUNCNET_CC nor cc nor ziglang is here", allow_module_level=True)

ULPS: dict[Any, dict[str, float]] = {  # as the guarantees state them
    np.float32: {"exp": 1.1, "expm1": 1.5, "log": 0.8, "log1p": 1.5, "tanh": 2.5, "normal_cdf": 7.0},
    np.float64: {"exp": 1.8, "expm1": 4.8, "log": 0.9, "log1p": 1.5, "tanh": 3.2, "normal_cdf": 10.0},
}
SPECIAL = [np.inf, -np.inf, np.nan, 0.0, -0.0, 1.0, -1.0, -2.0, 800.0, -800.0, 1e30, -1e30]

both_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


@pytest.mark.parametrize("name", NAMES)
@both_dtypes
def test_errors_in_units_in_the_last_place(name: str, dtype: Any) -> None:
    slow = name == "normal_cdf" and dtype is np.float64
    if slow:
        pytest.importorskip("mpmath")
    if dtype is np.float64 and np.finfo(np.longdouble).eps == np.finfo(np.float64).eps:
        pytest.skip("long double has no more digits here")
    found = worst(name, some_numbers(dtype, 500 if slow else 1 << 15))
    assert found.ulp <= ULPS[dtype][name], f"at {found.at}"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "normal_cdf"] + ["sign"])
@both_dtypes
def test_infinity_nan_zeros_and_subnormals_give_what_they_give_in_numpy(name: str, dtype: Any) -> None:
    limits = np.finfo(dtype)
    small = [limits.smallest_subnormal, -limits.smallest_subnormal, limits.tiny, -limits.tiny, limits.tiny / 7]
    x = np.array([*SPECIAL, *small, limits.max, -limits.max], dtype)
    with np.errstate(all="ignore"):
        right = getattr(np, name)(x)
    found = computed(name, x)
    np.testing.assert_allclose(found, right, rtol=4 * limits.eps, atol=0)
    np.testing.assert_array_equal(np.signbit(found[right == 0]), np.signbit(right[right == 0]))
    if name in ("expm1", "log1p", "tanh"):
        np.testing.assert_array_equal(found[-7:-2], x[-7:-2])


@both_dtypes
def test_normal_cdf_at_the_ends(dtype: Any) -> None:
    x = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 50.0, -50.0], dtype)
    np.testing.assert_array_equal(computed("normal_cdf", x), np.array([1, 0, np.nan, 0.5, 0.5, 1, 0], dtype))


@both_dtypes
def test_tanh_is_odd_and_never_above_1(dtype: Any) -> None:
    x = some_numbers(dtype, 1 << 15)
    y = computed("tanh", x[~np.isnan(x)])
    assert np.abs(y).max() == 1
    np.testing.assert_array_equal(computed("tanh", -x), -computed("tanh", x))


@pytest.mark.parametrize("name", ["maximum", "minimum"])
@both_dtypes
def test_extrema_pass_nan_on(name: str, dtype: Any) -> None:
    values = np.array([np.nan, np.inf, -np.inf, 0.0, 1.0, -2.5], dtype)
    a, b = np.repeat(values, len(values)), np.tile(values, len(values))
    np.testing.assert_array_equal(computed(name, a, b), getattr(np, name)(a, b))


@both_dtypes
def test_a_number_gives_the_same_wherever_it_stands(dtype: Any) -> None:
    x = some_numbers(dtype, 100)[:37]
    for name in NAMES:
        alone = np.concatenate([computed(name, x[i : i + 1]) for i in range(len(x))])
        np.testing.assert_array_equal(computed(name, x), alone)
