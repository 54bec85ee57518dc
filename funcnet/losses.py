"""Losses: operators whose output is one number for the whole batch. Its shape is (), without a batch axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnet.arrays import Array
from funcnet.calls import inner
from funcnet.core import Layer, NoParams, Pullback, layer, no_params
from funcnet.errors import ShapeError


def mse() -> Layer[NoParams, np.floating[Any]]:
    """L = mean (y - t)^2 over batch and features        dy = 2 g (y - t) / N        dt = -dy

    Inputs: prediction y and target t, of one shape; N is the number of their elements. Shapes: two of one shape -> ().
    Raises ShapeError for different shapes ((n,) against (n, 1) too), and for an empty batch, which has no mean.
    """
    return layer("mse", _mse, no_params, 2)


def _mse(params: NoParams, y: Array, t: Array) -> tuple[np.floating[Any], Pullback[NoParams]]:
    if y.shape != t.shape:
        raise ShapeError(f"prediction {y.shape} and target {t.shape} must have the same shape; nothing is broadcast")
    if not y.size:
        raise ShapeError("the batch is empty, and has no mean")
    d = y - t
    share = 1.0 / d.size

    def pullback(g: Array) -> tuple[NoParams, tuple[Array, ...]]:
        dy = d * (g * (2.0 * share))
        return (), (dy, -dy)

    return inner(d, d) * share, pullback
