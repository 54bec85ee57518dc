"""Scalar functions and their derivatives to 50 digits, by mpmath, and how far a floating result is from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np

import funcnet as fn

mp.mp.dps = 50
ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805
FINEST = {np.float64: 5e-324, np.float32: 1e-45}


class Scalar(NamedTuple):
    """A layer, its value and derivative in mpmath, and the same function in JAX."""

    layer: fn.Layer[Any, Any]
    value: Callable[[Any], Any]
    slope: Callable[[Any], Any]
    jax: Callable[[Any, Any], Any]


def sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


def gelu_tanh(x: Any) -> Any:
    return x * sigmoid(2 * mp.sqrt(2 / mp.pi) * (x + mp.mpf(0.044715) * x**3))


def gelu_tanh_slope(x: Any) -> Any:
    c, a = 2 * mp.sqrt(2 / mp.pi), mp.mpf(0.044715)
    s = sigmoid(c * (x + a * x**3))
    return s + x * s * sigmoid(-c * (x + a * x**3)) * c * (1 + 3 * a * x * x)


SCALARS: dict[str, Scalar] = {
    "tanh": Scalar(fn.tanh(), mp.tanh, lambda x: mp.sech(x) ** 2, lambda jax, x: jax.numpy.tanh(x)),
    "sigmoid": Scalar(fn.sigmoid(), sigmoid, lambda x: sigmoid(x) * sigmoid(-x), lambda jax, x: jax.nn.sigmoid(x)),
    "silu": Scalar(
        fn.silu(),
        lambda x: x * sigmoid(x),
        lambda x: sigmoid(x) * (1 + x * sigmoid(-x)),
        lambda jax, x: jax.nn.silu(x),
    ),
    "softplus": Scalar(fn.softplus(), lambda x: mp.log1p(mp.exp(x)), sigmoid, lambda jax, x: jax.nn.softplus(x)),
    "gelu": Scalar(
        fn.gelu(), lambda x: x * mp.ncdf(x), lambda x: mp.ncdf(x) + x * mp.npdf(x), lambda jax, x: jax.nn.gelu(x, False)
    ),
    "gelu by tanh": Scalar(fn.gelu(True), gelu_tanh, gelu_tanh_slope, lambda jax, x: jax.nn.gelu(x, True)),
    "elu": Scalar(
        fn.elu(),
        lambda x: x if x > 0 else mp.expm1(x),
        lambda x: mp.mpf(1) if x > 0 else mp.exp(x),
        lambda jax, x: jax.nn.elu(x),
    ),
    "selu": Scalar(
        fn.selu(),
        lambda x: SCALE * (x if x > 0 else ALPHA * mp.expm1(x)),
        lambda x: SCALE * (mp.mpf(1) if x > 0 else ALPHA * mp.exp(x)),
        lambda jax, x: jax.nn.selu(x),
    ),
    "exp": Scalar(fn.exp(), mp.exp, mp.exp, lambda jax, x: jax.numpy.exp(x)),
}

EXPONENTS = {np.float64: (-323, 2.9), np.float32: (-44, 2.3)}


def grid(dtype: Any) -> Any:
    """Both signs, from subnormal numbers over one to the tails, and the two zeros."""
    low, high = EXPONENTS[dtype]
    sizes = np.concatenate(
        [10.0 ** np.linspace(low, -20, 40), 10.0 ** np.linspace(-20, -2, 60), np.linspace(0.02, 40, 500)]
    )
    sizes = np.concatenate([sizes, 10.0 ** np.linspace(1.6, high, 60), [0.0]])
    return np.concatenate([sizes, -sizes]).astype(dtype)[:, None]


def exact(function: Callable[[Any], Any], x: Any) -> list[Any]:
    """To 50 digits, at each number."""
    return [mp.mpf(function(mp.mpf(float(v)))) for v in x.ravel()]


class Error(NamedTuple):
    """The worst error: in units of the last place of the exact result, where, and in absolute terms."""

    ulp: float
    at: float
    absolute: float


def error(found: Any, right: list[Any], x: Any) -> Error:
    """How far the numbers found are from the exact ones; results beyond the largest number are left out."""
    kind, top = found.dtype.type, float(np.finfo(found.dtype).max)
    worst, place, absolute = 0.0, 0.0, 0.0
    for y, r, v in zip(found.ravel().tolist(), right, x.ravel().tolist(), strict=True):
        if abs(r) > top:
            continue
        unit = float(np.spacing(np.abs(kind(float(r)))))
        far = float(abs(mp.mpf(y) - r)) if np.isfinite(y) else float("inf")
        absolute = max(absolute, far / max(1.0, float(abs(r))))
        if far / unit > worst:
            worst, place = far / unit, v
    return Error(worst, place, absolute)


def ours(scalar: Scalar, x: Any) -> tuple[Any, Any]:
    """(values, derivatives)."""
    with np.errstate(all="ignore"):
        y, pullback = scalar.layer.apply.vjp((), x)
        return y, pullback(np.ones_like(y))[1][0]


def by_jax(scalar: Scalar, x: Any) -> tuple[Any, Any]:
    """(values, derivatives), by JAX."""
    import jax

    value, slope = jax.vmap(jax.value_and_grad(lambda v: scalar.jax(jax, v)))(jax.numpy.asarray(x.ravel()))
    return np.asarray(value), np.asarray(slope)
