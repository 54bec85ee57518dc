"""How the losses of the samples become one number: what every loss has in common.

    L = mean_n L_n        dL_n = g / B              weighted: L = sum_n w_n L_n / sum_n w_n
    L = sum_n L_n         dL_n = g                  weighted: L = sum_n w_n L_n
    L_n, one a row        dL_n = g_n                weighted: w_n L_n

B is the number of rows. Where samples are weighted, dL_n is multiplied by w_n, and dw_n = g (L_n - L) / sum_n w_n for
the mean, g L_n for the sum, g_n L_n for "none".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from math import prod
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from funcnet.arrays import Array, choice, flag
from funcnet.calls import inner, total_weight
from funcnet.core import Layer, NoParams, Pullback, layer, no_params
from funcnet.errors import DTypeError, ShapeError

Reduction: TypeAlias = Literal["mean", "sum", "none"]
Number: TypeAlias = np.floating[Any]
Cotangents: TypeAlias = tuple[Any, ...]


class Terms(NamedTuple):
    """How a loss adds its terms up: all of them, or those of each row; in the end they are multiplied by `share`."""

    by_row: bool
    share: float

    def sum(self, terms: Array) -> Any:
        """Sum of the terms."""
        return terms.sum(axis=tuple(range(1, terms.ndim))) if self.by_row else terms.sum()

    def inner(self, a: Array, b: Array) -> Any:
        """Sum of the terms a_i b_i."""
        return self.sum(a * b) if self.by_row else inner(a, b)


Kernel: TypeAlias = Callable[..., tuple[Any, Callable[[Any], Cotangents]]]
"""(terms, *inputs) -> (L, pullback): the cotangent that the pullback is given fits the first input by broadcasting."""


def loss(
    kind: str,
    kernel: Kernel,
    reduction: Reduction,
    weighted: bool,
    arity: int = 2,
    *,
    over: Literal["mean", "sum"] = "mean",
    labels: Iterable[int] = (),
) -> Layer[NoParams, Any]:
    """The loss of a kernel; `over` tells whether L_n is the mean or the sum of the terms of a sample."""
    choice(f"{kind}: reduction", reduction, ("mean", "sum", "none"))
    function = partial(_weighted if flag(f"{kind}: weighted", weighted) else _plain, kernel, over == "mean", reduction)
    total = (sum_of_weights if weighted else number_of_rows) if reduction == "mean" else None
    return layer(kind, function, no_params, arity + bool(weighted), labels=labels, total_weight=total)


def number_of_rows(*inputs: Array) -> float:
    """What a batch weighs in a mean over batches where each row counts once."""
    return float(len(inputs[0]))


def sum_of_weights(*inputs: Array) -> float:
    """What a batch weighs in a mean over batches where the last input holds the weights."""
    return float(inputs[-1].sum(dtype=np.float64))


def _plain(
    kernel: Kernel, averaged: bool, reduction: Reduction, params: NoParams, *inputs: Array
) -> tuple[Any, Pullback[NoParams]]:
    x, by_row = inputs[0], reduction == "none"
    features = _features(x, reduction)
    rows = x.size // features if reduction == "mean" else 1
    L, pull = kernel(Terms(by_row, 1.0 / (rows * features if averaged else rows)), *inputs)
    return L, lambda g: ((), pull(column(g, x) if by_row else g))


def _weighted(
    kernel: Kernel, averaged: bool, reduction: Reduction, params: NoParams, *arrays: Array
) -> tuple[Any, Pullback[NoParams]]:
    *inputs, w = arrays
    x = inputs[0]
    if w.shape != x.shape[:1]:
        raise ShapeError(f"weights {w.shape} must be one number a row, {x.shape[:1]}")
    if w.dtype.kind in "iu":
        raise DTypeError(f"weights have dtype {w.dtype}, not a floating one: cast them, w.astype(np.float32)")
    features = _features(x, reduction)
    each, pull = kernel(Terms(True, 1.0 / features if averaged else 1.0), *inputs)
    if reduction == "none":
        return w * each, lambda g: ((), (*pull(column(g * w, x)), g * each))
    total = inner(w, each)
    if reduction == "sum":
        return total, lambda g: ((), (*pull(column(w * g, x)), each * g))
    whole = total_weight(w)
    L = total / whole

    def pullback(g: Any) -> tuple[NoParams, Cotangents]:
        scale = g / whole
        return (), (*pull(column(w * scale, x)), (each - L) * scale)

    return L, pullback


def _features(x: Array, reduction: Reduction) -> int:
    """The number of features of a row, after checking that there is something to add up."""
    if reduction == "mean" and not x.size:
        raise ShapeError("the batch is empty, and has no mean")
    features: int = prod(x.shape[1:])
    if not features:
        raise ShapeError("its rows have no features, and so no loss")
    return features


def column(g: Array, like: Array) -> Array:
    """One number a row as a column that broadcasts along the features of another array."""
    return g[(slice(None), *(None,) * (like.ndim - 1))]


def alike(*inputs: Array) -> None:
    """Refuse a target in another shape than the prediction: nothing is broadcast."""
    y, *_, t = inputs
    if any(x.shape != y.shape for x in inputs):
        shapes = f"prediction {y.shape} and target {t.shape}"
        raise ShapeError(f"{shapes} must have the same shape; nothing is broadcast")
