"""Layers that are affine in their input and in their params."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any, Literal, NamedTuple, overload

import numpy as np

from funcnet.advice import of_members
from funcnet.arrays import Array, DType, Matrix, Shape, Vector, is_array
from funcnet.core import Function, Layer, Result, layer, unpack
from funcnet.display import shows_call
from funcnet.errors import ParamsError, ShapeError
from funcnet.initializers import Initializer, accept_initializer, lecun_normal, zeros
from funcnet.options import brief, count, flag
from funcnet.random import Key, split
from funcnet.tracing.primitives import zeros_like


class Affine(NamedTuple):
    """Params of `linear`: weight (inputs, units) and bias (units,)."""

    weight: Matrix
    bias: Vector


class Weight(NamedTuple):
    """Params of `linear(use_bias=False)`: weight (inputs, units)."""

    weight: Array


@overload
def linear(
    units: int,
    *,
    use_bias: Literal[True] = True,
    weight_init: Initializer | None = None,
    bias_init: Initializer | None = None,
) -> Layer[Affine]: ...
@overload
def linear(units: int, *, use_bias: Literal[False], weight_init: Initializer | None = None) -> Layer[Weight]: ...
@shows_call
def linear(
    units: int,
    *,
    use_bias: bool = True,
    weight_init: Initializer | None = None,
    bias_init: Initializer | None = None,
) -> Layer[Any]:
    """A fully connected (dense) layer.

    y = x W + b        dW = x^T g        db = sum_n g_n        dx = g W^T

    Shapes: (..., inputs) -> (..., units); the axes between batch and features are rows too.
    `shared(key, transposed=True)` computes y = x W^T with the same weight, without the bias.
    weight_init, bias_init: initializers, by default `lecun_normal()` and `zeros()`.
    Raises OptionError where units is not a positive int, ShapeError where the input does not fit the weight.
    Example: `params, shape = fn.linear(25).init(fn.key(0), (2,)); y = fn.linear(25).apply(params, x)`.
    """
    units = count("linear: units", units)
    weights = lecun_normal() if weight_init is None else accept_initializer("linear: weight_init", weight_init)
    if flag("linear: use_bias", use_bias):
        biases = zeros() if bias_init is None else accept_initializer("linear: bias_init", bias_init)
        return layer(
            "linear",
            affine,
            partial(_draw_affine, units, weights, biases),
            transposed=Function("linear transposed", _affine_transposed),
        )
    return layer(
        "linear",
        product,
        partial(_draw_weight, units, weights),
        transposed=Function("linear transposed", _product_transposed),
    )


def _draw_affine(units: int, weights: Initializer, biases: Initializer, key: Key, shape: Shape, dtype: DType) -> Affine:
    weight_key, bias_key = split(key)
    return Affine(
        drawn(weights, weight_key, _weight_shape(shape, units), dtype), drawn(biases, bias_key, (units,), dtype)
    )


def _draw_weight(units: int, weights: Initializer, key: Key, shape: Shape, dtype: DType) -> Weight:
    weight_key, _ = split(key)
    return Weight(drawn(weights, weight_key, _weight_shape(shape, units), dtype))


def drawn(initializer: Initializer, key: Key, shape: Shape, dtype: DType) -> Array:
    """What an initializer gives, if it is what was asked for."""
    W: Any = initializer(key, shape, dtype)
    if not is_array(W):
        raise ParamsError(f"its initializer gave {brief(W)}, asked for an array, {np.dtype(dtype)} {shape}")
    if W.shape != shape or W.dtype != dtype:
        raise ParamsError(f"its initializer gave {W.dtype} of shape {W.shape}, asked for {np.dtype(dtype)} {shape}")
    return W


def _weight_shape(shape: Shape, units: int) -> Shape:
    if not shape:
        raise ShapeError("it takes rows of features, so a shape such as (2,)")
    return shape[-1], units


def affine(params: Affine, x: Array) -> Result[Affine]:
    """The function of `linear`."""
    W, b = unpack(Affine, params)
    rows = _rows(x, W)
    if b.shape != W.shape[1:]:
        raise ParamsError(
            f"its weight is {W.shape} and its bias {b.shape}, but a bias is one number a unit, {W.shape[1:]}"
        )
    y = (rows @ W + b).reshape(*x.shape[:-1], b.shape[0])

    def pullback(g: Array) -> tuple[Affine, tuple[Array, ...]]:
        g = g.reshape(-1, b.shape[0])
        dx = (g @ W.T).reshape(*x.shape)  # first, so that dW can be written where W stood
        return Affine(rows.T @ g, g.sum(axis=0)), (dx,)

    return y, pullback


def product(params: Weight, x: Array) -> Result[Weight]:
    """The function of `linear(use_bias=False)`."""
    (W,) = unpack(Weight, params)
    rows = _rows(x, W)
    y = (rows @ W).reshape(*x.shape[:-1], W.shape[1])

    def pullback(g: Array) -> tuple[Weight, tuple[Array, ...]]:
        g = g.reshape(-1, W.shape[1])
        dx = (g @ W.T).reshape(*x.shape)
        return Weight(rows.T @ g), (dx,)

    return y, pullback


def _affine_transposed(params: Affine, x: Array) -> Result[Affine]:
    W, b = unpack(Affine, params)
    y, pull = times_transposed(W, x)

    def pullback(g: Array) -> tuple[Affine, tuple[Array, ...]]:
        dW, dx = pull(g)
        return Affine(dW, zeros_like(b)), (dx,)

    return y, pullback


def _product_transposed(params: Weight, x: Array) -> Result[Weight]:
    (W,) = unpack(Weight, params)
    y, pull = times_transposed(W, x)

    def pullback(g: Array) -> tuple[Weight, tuple[Array, ...]]:
        dW, dx = pull(g)
        return Weight(dW), (dx,)

    return y, pullback


def times_transposed(W: Array, x: Array) -> tuple[Array, Callable[[Array], tuple[Array, Array]]]:
    """y = x W^T        dW = g^T x        dx = g W

    Shapes: W (n, m), x (..., m) -> (..., n). The pullback returns (dW, dx).
    """
    if W.ndim != 2:
        raise ParamsError(f"the weight that it transposes is {W.shape}, but must be a matrix{of_members(W.shape, 2)}")
    n, m = W.shape
    if x.ndim < 2 or x.shape[-1] != m:
        raise ShapeError(f"the weight that it transposes is {W.shape}, so it takes rows of {m} features")
    rows = x.reshape(prod(x.shape[:-1]), m)
    y = (rows @ W.T).reshape(*x.shape[:-1], n)

    def pullback(g: Array) -> tuple[Array, Array]:
        g = g.reshape(-1, n)
        dx = (g @ W).reshape(*x.shape)
        return g.T @ rows, dx

    return y, pullback


def _rows(x: Array, W: Array) -> Array:
    """The input as a matrix of rows, after checking that it fits the weight."""
    if W.ndim != 2:
        raise ParamsError(f"its weight is {W.shape}, but must be (inputs, units){of_members(W.shape, 2)}")
    if x.ndim < 2 or x.shape[-1] != W.shape[0]:
        hint = " One row is x[None]." if x.ndim == 1 else ""
        if x.ndim > 1 and x.shape[-1] and W.shape[0] and W.shape[0] % x.shape[-1] == 0:
            hint = (
                " Was init given a shape with the batch axis? Shapes leave it out."
                " Or does another of several inputs stand in its place?"
            )
        raise ShapeError(f"its weight is {W.shape}, which takes rows of {W.shape[0]} features.{hint}")
    return x.reshape(prod(x.shape[:-1]), x.shape[-1])
