"""Operators that make one value of several."""

from __future__ import annotations

from functools import partial
from itertools import accumulate, pairwise
from math import prod
from typing import Any

import numpy as np

from funcnet.arrays import Array, Shape
from funcnet.core import Layer, NoParams, Result, layer
from funcnet.display import shows_call
from funcnet.errors import ShapeError
from funcnet.options import as_int


@shows_call
def add() -> Layer[NoParams]:
    """The sum of several inputs.

    y = x_1 + ... + x_n        dx_i = g

    Shapes: one or more of one shape -> the same, in float32 or float64.
    Raises ShapeError for different shapes, DTypeError for different or other dtypes.
    """
    return layer("add", _add, arity=None)


def _add(params: NoParams, *inputs: Array) -> Result[NoParams]:
    _alike(inputs)
    y, *rest = inputs
    for x in rest:
        y = y + x
    return y, lambda g: ((), (g,) * len(inputs))


@shows_call
def subtract() -> Layer[NoParams]:
    """The difference of two inputs.

    y = a - b        da = g        db = -g

    Shapes: two of one shape -> the same, in float32 or float64.
    Raises ShapeError for different shapes, DTypeError for different or other dtypes.
    """
    return layer("subtract", _subtract, arity=2)


def _subtract(params: NoParams, a: Array, b: Array) -> Result[NoParams]:
    _alike((a, b))
    return a - b, lambda g: ((), (g, -g))


@shows_call
def multiply() -> Layer[NoParams]:
    """The product of several inputs, element by element.

    y = x_1 ... x_n        dx_i = g prod_(j != i) x_j

    Shapes: one or more of one shape -> the same, in float32 or float64.
    Raises ShapeError for different shapes, DTypeError for different or other dtypes.
    """
    return layer("multiply", _multiply, arity=None)


def _multiply(params: NoParams, *inputs: Array) -> Result[NoParams]:
    _alike(inputs)
    before = [*accumulate(inputs[:-1], np.multiply)]  # x_1 ... x_i; no division, so zeros do no harm
    y = before[-1] * inputs[-1] if before else inputs[0]

    def pullback(g: Array) -> tuple[NoParams, tuple[Array, ...]]:
        cotangents: list[Array] = []
        for x, left in zip(inputs[:0:-1], before[::-1], strict=True):
            cotangents.append(g * left)
            g = g * x
        return (), (g, *cotangents[::-1])

    return y, pullback


@shows_call
def average() -> Layer[NoParams]:
    """The average of several inputs.

    y = (x_1 + ... + x_n) / n        dx_i = g / n

    Shapes: one or more of one shape -> the same, in float32 or float64.
    Raises ShapeError for different shapes, DTypeError for different or other dtypes.
    """
    return layer("average", _average, arity=None)


def _average(params: NoParams, *inputs: Array) -> Result[NoParams]:
    total, _ = _add(params, *inputs)
    share = 1.0 / len(inputs)

    def pullback(g: Array) -> tuple[NoParams, tuple[Array, ...]]:
        return (), (g * share,) * len(inputs)

    return total * share, pullback


@shows_call
def maximum() -> Layer[NoParams]:
    """The largest of several inputs, element by element.

    y = max(x_1, ..., x_n)        dx_i = g where x_i is the largest, else 0

    Two at a time, from the first on; where two are equal, each gets half.
    Shapes: one or more of one shape -> the same, in float32 or float64.
    Raises ShapeError for different shapes, DTypeError for different or other dtypes.
    """
    return layer("maximum", _maximum, arity=None)


def _maximum(params: NoParams, *inputs: Array) -> Result[NoParams]:
    _alike(inputs)
    largest = [*accumulate(inputs, np.maximum)]

    def pullback(g: Array) -> tuple[NoParams, tuple[Array, ...]]:
        cotangents: list[Array] = []
        for a, b in zip(largest[-2::-1], inputs[:0:-1], strict=True):
            g = g * 0.5
            cotangents.append(g * (b >= a) + g * (b > a))
            g = g * (a >= b) + g * (a > b)
        return (), (g, *cotangents[::-1])

    return largest[-1], pullback


@shows_call
def concatenate() -> Layer[NoParams]:
    """Join several inputs along the last axis.

    y = [x_1, ..., x_n] along the last axis        dx_i = the part of g that x_i became

    Shapes: one or more that differ in the last axis only -> (..., sum of the lengths), in float32 or float64.
    Raises ShapeError where other axes differ or there is none to join, DTypeError for different or other dtypes.
    Example: `fn.parallel(fn.tanh(), fn.identity(), merge=fn.concatenate())`.
    """
    return layer("concatenate", _concatenate, arity=None)


def _concatenate(params: NoParams, *inputs: Array) -> Result[NoParams]:
    if any(x.ndim < 2 or x.shape[:-1] != inputs[0].shape[:-1] for x in inputs):
        raise ShapeError("its inputs must have the same shape but for the last axis, along which they are joined")
    ends = accumulate((x.shape[-1] for x in inputs), initial=0)
    parts = [slice(*pair) for pair in pairwise(ends)]
    return np.concatenate(inputs, axis=-1), lambda g: ((), tuple(g[..., part] for part in parts))


@shows_call
def flatten() -> Layer[NoParams]:
    """Join all axes but that of the batch.

    y = x with all axes but the batch in one        dx = g in the shape of x

    Shapes: (a, b, ...) -> (a b ...,), row-major, in float32 or float64. Raises DTypeError for another dtype.
    """
    return layer("flatten", partial(_reshape, (-1,)))


@shows_call
def reshape(*shape: int | Shape) -> Layer[NoParams]:
    """Give the axes behind that of the batch another shape.

    y = x with the axes behind the batch in another shape        dx = g in the shape of x

    Shapes: any -> `shape`, row-major, in float32 or float64; one length may be -1.
    Raises ShapeError for anything but lengths and where the sizes differ, DTypeError for another dtype.
    """
    given: tuple[Any, ...] = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
    lengths = tuple(n for n in map(as_int, given) if n is not None and n >= -1)
    if len(lengths) < len(given) or lengths.count(-1) > 1:
        raise ShapeError(f"reshape: a shape is lengths without the batch axis, one of which may be -1, not {given}")
    return layer("reshape", partial(_reshape, lengths))


def _reshape(shape: Shape, params: NoParams, x: Array) -> Result[NoParams]:
    row = prod(x.shape[1:])
    known = -prod(shape)  # where one of them is -1
    lengths = tuple((row // known if known else 0) if n == -1 else n for n in shape)
    if prod(lengths) != row:
        raise ShapeError(f"rows of {row} elements do not fill the shape {shape}")
    return x.reshape(x.shape[0], *lengths), lambda g: ((), (g.reshape(*x.shape),))


def _alike(inputs: tuple[Array, ...]) -> None:
    """Refuse inputs of different shapes: nothing is broadcast."""
    if any(x.shape != inputs[0].shape for x in inputs):
        raise ShapeError("its inputs must all have the same shape; nothing is broadcast")
