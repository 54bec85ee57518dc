"""Normalised exponentials over the last axis."""

from __future__ import annotations

import numpy as np

from funcnet.arrays import Array
from funcnet.core import Layer, NoParams, Result, layer
from funcnet.display import shows_call
from funcnet.errors import ShapeError


@shows_call
def softmax() -> Layer[NoParams]:
    """The softmax over the last axis.

    y = exp x / sum exp x over the last axis        dx = y (g - sum g y)

    The largest x is subtracted first, so that nothing overflows.
    Shapes: (..., n) -> the same, in float32 or float64. Raises ShapeError for rows without features, DTypeError for
    another dtype.
    """
    return layer("softmax", _softmax)


def _softmax(params: NoParams, x: Array) -> Result[NoParams]:
    e = np.exp(_shifted(x))
    y = e / e.sum(axis=-1, keepdims=True)
    return y, lambda g: ((), (y * (g - (g * y).sum(axis=-1, keepdims=True)),))


@shows_call
def log_softmax() -> Layer[NoParams]:
    """The logarithm of the softmax.

    y = x - log sum exp x over the last axis        dx = g - exp(y) sum g

    The largest x is subtracted first, so that nothing overflows.
    Shapes: (..., n) -> the same, in float32 or float64. Raises ShapeError for rows without features, DTypeError for
    another dtype.
    """
    return layer("log_softmax", _log_softmax)


def _log_softmax(params: NoParams, x: Array) -> Result[NoParams]:
    shifted = _shifted(x)
    y = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return y, lambda g: ((), (g - np.exp(y) * g.sum(axis=-1, keepdims=True),))


def _shifted(x: Array) -> Array:
    """x less its largest element in each row."""
    if x.ndim < 2 or not x.shape[-1]:
        raise ShapeError(
            "it normalises over the last axis, so it takes rows of at least one feature, a shape such as (3,)"
        )
    largest: Array = x.max(axis=-1, keepdims=True)
    return x - largest
