"""Print how exact the C functions are: python -m tests.native.ulp

The worst error in units of the last place of the exact result, and where it is, over so many numbers: in float32 one of
61 of all there are, in float64 random ones of all sizes. Results beyond the largest number are left out, and those that
are subnormal are measured in units of the least subnormal. Exact is what NumPy gives in float64 for float32, long
double for float64, and for normal_cdf the C library's erfc for float32, and mpmath for float64.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import cache
from math import erfc, sqrt
from typing import Any, NamedTuple

import numpy as np

from funcnet.native.functions import FUNCTIONS_H
from funcnet.native.toolchain import build

DTYPES = (np.float32, np.float64)
NAMES = ("exp", "expm1", "log", "log1p", "tanh", "normal_cdf")
STRIDE, CHUNK = 61, 1 << 22
COUNT = 1 << 20
SLOW = 1 << 14  # numbers at which mpmath is asked


class Worst(NamedTuple):
    """The worst error in units of the last place, where it is, and over how many numbers."""

    ulp: float
    at: float
    numbers: int


@cache
def library() -> ctypes.CDLL:
    """A loop over an array for each function and dtype."""
    loops = "".join(
        f"void all_{name}{f}(long n, const {t} *x, {t} *restrict y)"
        f" {{ for (long i = 0; i < n; i++) y[i] = fn_{name}{f}(x[i]); }}\n"
        for name in (*NAMES, "sign")
        for f, t in (("f", "float"), ("", "double"))
    )
    pairs = "".join(
        f"void all_{name}{f}(long n, const {t} *a, const {t} *b, {t} *restrict y)"
        f" {{ for (long i = 0; i < n; i++) y[i] = fn_{name}{f}(a[i], b[i]); }}\n"
        for name in ("maximum", "minimum")
        for f, t in (("f", "float"), ("", "double"))
    )
    return build(FUNCTIONS_H + loops + pairs)


def computed(name: str, *arrays: Any) -> Any:
    """What the C function gives for each number."""
    out = np.empty_like(arrays[0])
    function = getattr(library(), f"all_{name}{'f' if out.dtype == np.float32 else ''}")
    function(ctypes.c_long(out.size), *(ctypes.c_void_p(array.ctypes.data) for array in (*arrays, out)))
    return out


def exact(name: str, x: Any) -> Any:
    """The function with more digits than the numbers have."""
    if name != "normal_cdf":
        with np.errstate(all="ignore"):
            return getattr(np, name)(x.astype(np.float64 if x.dtype == np.float32 else np.longdouble))
    if x.dtype == np.float32:
        return np.array([0.5 * erfc(-v / sqrt(2)) for v in x.tolist()])
    import mpmath as mp

    with mp.workdps(40):
        inside = np.clip(x, -50, 50).tolist()  # beyond them it is 0 or 1
        return np.array([np.longdouble(mp.nstr(mp.ncdf(mp.mpf(v)), 25) if v == v else v) for v in inside])


def worst(name: str, x: Any) -> Worst:
    """The worst error over these numbers."""
    y, right = computed(name, x), exact(name, x)
    limits = np.finfo(x.dtype)
    with np.errstate(invalid="ignore"):
        counted = np.abs(right) <= limits.max
    units = np.spacing(np.maximum(np.abs(right[counted]), limits.smallest_subnormal).astype(x.dtype))
    errors = np.abs(y[counted] - right[counted]) / units
    if not errors.size:
        return Worst(0.0, 0.0, 0)
    place = int(errors.argmax())
    return Worst(float(errors[place]), float(x[counted][place]), errors.size)


def numbers(name: str, dtype: Any) -> Iterator[Any]:
    """Arrays of many numbers."""
    if dtype is np.float32 and name != "normal_cdf":
        for start in range(0, 1 << 32, CHUNK * STRIDE):
            stop = min(start + CHUNK * STRIDE, 1 << 32)
            yield np.arange(start, stop, STRIDE, dtype=np.int64).astype(np.uint32).view(np.float32)
        return
    yield some_numbers(dtype, SLOW if name == "normal_cdf" and dtype is np.float64 else COUNT)


def some_numbers(dtype: Any, count: int) -> Any:
    """Random numbers: of all sizes, where exp is neither 0 nor infinite, and about 1."""
    rng, bits = np.random.default_rng(0), np.dtype(f"u{np.dtype(dtype).itemsize}")
    most = 110 if dtype is np.float32 else 760
    return np.concatenate(
        [
            rng.integers(0, np.iinfo(bits).max, count, dtype=bits).view(dtype),
            rng.uniform(-most, most, count).astype(dtype),
            rng.normal(0, 10, count).astype(dtype),
            rng.normal(0, 1, count).astype(dtype),
            rng.normal(1, 0.1, count).astype(dtype),
            rng.normal(0, 0.01, count).astype(dtype),
        ]
    )


def main() -> None:
    """Print the table."""
    print(f"{'function':12}{'dtype':9}{'worst ulp':>10}{'at':>14}{'numbers':>14}")
    for dtype in DTYPES:
        for name in NAMES:
            found = [worst(name, x) for x in numbers(name, dtype)]
            ulp, at, _ = max(found)
            count = sum(w.numbers for w in found)
            print(f"{name:12}{np.dtype(dtype).name:9}{ulp:10.2f}{at:14.6g}{count:14,}", flush=True)


if __name__ == "__main__":
    main()
