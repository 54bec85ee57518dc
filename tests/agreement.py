"""Print how closely funcnet agrees with JAX, with PyTorch and with 50 digits: python -m tests.agreement

The first table: the worst difference of a value and of a cotangent, in units of the largest element or of 1. The
second: scalar functions and their derivatives against mpmath, the worst error in units of the last place of the exact
result and where it is, and in units of the larger of the result and 1, beside JAX's own.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from tests.support.cases import CASES, Case
from tests.support.elsewhere import FRAMEWORKS, Framework, disagreement
from tests.support.scalars import SCALARS, Scalar, by_jax, error, exact, grid, ours

DTYPES = (np.float64, np.float32)


def operator_row(case: Case, frameworks: list[Framework]) -> str:
    """A line of the first table."""
    cells = [f"{e:9.1e}" for dtype in DTYPES for framework in frameworks for e in disagreement(case, dtype, framework)]
    return " ".join([f"{case.name:42}", *cells])


def scalar_rows(name: str, scalar: Scalar, dtype: Any) -> list[str]:
    """Two lines of the second table."""
    x = grid(dtype)
    lines = []
    results = zip(
        ("value", "derivative"), (scalar.value, scalar.slope), ours(scalar, x), by_jax(scalar, x), strict=True
    )
    for what, function, found, theirs in results:
        right = exact(function, x)
        cells = [
            f"{e.ulp:10.3g} {e.at:11.3g} {e.absolute:9.1e}" for e in (error(found, right, x), error(theirs, right, x))
        ]
        lines.append(f"{name:14}{what:12}{np.dtype(dtype).name:9}" + " ".join(cells))
    return lines


def main() -> None:
    """Print both tables."""
    jax: Any = import_module("jax")

    jax.config.update("jax_enable_x64", True)
    frameworks = [make() for make in FRAMEWORKS.values()]
    heads = [f"{name} {short}" for short in ("f64", "f32") for name in FRAMEWORKS]
    print(f"{'operator: value, cotangent':42} " + " ".join(f"{head:>9}{'':10}" for head in heads))
    for case in CASES:
        print(operator_row(case, frameworks), flush=True)
    print(f"\n{'function':35}{'ours: ulp':>10} {'at':>11} {'absolute':>9} {'jax: ulp':>10} {'at':>11} {'absolute':>9}")
    for dtype in DTYPES:
        for name, scalar in SCALARS.items():
            print(*scalar_rows(name, scalar, dtype), sep="\n", flush=True)


if __name__ == "__main__":
    main()
