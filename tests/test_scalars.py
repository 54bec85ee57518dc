"""Scalar functions and their derivatives against mpmath at 50 digits, beside JAX's.

`python -m tests.agreement` prints them all. NumPy's own float32 exp is off by two units in the last place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("mpmath")
jax: Any = pytest.importorskip("jax")

from .scalars import SCALARS, by_jax, error, exact, grid, ours  # noqa: E402 (only where mpmath is installed)

EPSILON = {np.float64: 2.3e-16, np.float32: 1.2e-7}
TRADED = {"sigmoid", "silu", "gelu", "gelu by tanh"}
"""Whose digits in the tails were traded for speed: see the comments beside the formulas."""
SLOPES_TRADED = {*TRADED, "tanh", "elu", "selu"}


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize("dtype", EPSILON, ids=lambda dtype: dtype.__name__)
def test_errors_are_no_more_than_twice_those_of_jax(name: str, dtype: Any) -> None:
    scalar, x = SCALARS[name], grid(dtype)
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        found, theirs = ours(scalar, x), by_jax(scalar, x)
    finally:
        jax.config.update("jax_enable_x64", before)
    for i, (function, traded) in enumerate([(scalar.value, TRADED), (scalar.slope, SLOPES_TRADED)]):
        right = exact(function, x)
        own, other = error(found[i], right, x), error(theirs[i], right, x)
        assert own.absolute <= max(2 * other.absolute, EPSILON[dtype] * (32 if name in TRADED else 2))
        if name not in traded:
            assert own.ulp <= max(2 * other.ulp, 4.0), f"at {own.at}"
