"""Scalar functions and their derivatives against mpmath at 50 digits, beside JAX's.

`python -m tests.agreement` prints them all. NumPy's own float32 exp is off by two units in the last place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("mpmath")
jax: Any = pytest.importorskip("jax")

from tests.support.scalars import SCALARS, by_jax, error, exact, grid, ours  # noqa: E402 (only where mpmath is installed)

EPSILON = {np.float64: 2.3e-16, np.float32: 1.2e-7}
FAR_WORSE = {("tanh", 1, np.float32)}
"""The one derivative that is right in absolute terms only where JAX's is better: see the comment beside the formula."""
LOST = {("tanh", 1), ("sigmoid", 1), ("elu", 1), ("selu", 1)}
"""Derivatives that keep no digit far out, as JAX's do not: see the comments beside the formulas."""
ULPS = {"silu": 100, "gelu": 600, "gelu by tanh": 2000}
"""Units in the last place, where they are more than 4: subnormal numbers times x, and exp of a rounded argument."""
SPECIAL = [np.inf, -np.inf, np.nan, 0.0, -0.0, 800.0, -800.0, 1e4, -1e4]

both_dtypes = pytest.mark.parametrize("dtype", EPSILON, ids=lambda dtype: dtype.__name__)


def both(name: str, x: Any) -> tuple[Any, Any]:
    """((value, derivative), JAX's)."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        return ours(SCALARS[name], x), by_jax(SCALARS[name], x)
    finally:
        jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("name", SCALARS)
@both_dtypes
def test_errors_are_no_more_than_twice_those_of_jax(name: str, dtype: Any) -> None:
    scalar, x = SCALARS[name], grid(dtype)
    found, theirs = both(name, x)
    for i, function in enumerate((scalar.value, scalar.slope)):
        right = exact(function, x)
        own, other = error(found[i], right, x), error(theirs[i], right, x)
        assert own.absolute <= 2 * max(other.absolute, EPSILON[dtype])
        if (name, i, dtype) not in FAR_WORSE:
            assert own.ulp <= max(2 * other.ulp, 4.0), f"at {own.at}"
        if (name, i) not in LOST:
            assert own.ulp <= ULPS.get(name, 4.0), f"at {own.at}"


@pytest.mark.parametrize("name", SCALARS)
@both_dtypes
def test_infinity_nan_zeros_and_far_out_give_what_they_give_in_jax(name: str, dtype: Any) -> None:
    x = np.array(SPECIAL, dtype)[:, None]
    for found, right in zip(*both(name, x), strict=True):
        np.testing.assert_array_equal(found.ravel(), right.astype(dtype))
        alike = np.signbit(found.ravel()) == np.signbit(right)
        exempt = np.isnan(right) | (np.array(SPECIAL) == 0) & (name in ("elu", "selu"))  # which make 0 of -0
        assert (alike | exempt).all()
