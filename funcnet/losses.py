"""Losses: operators whose output is one number for the whole batch. Its shape is (), without a batch axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnet.arrays import Array
from funcnet.calls import inner, one_hot
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


def softmax_cross_entropy() -> Layer[NoParams, np.floating[Any]]:
    """L = -mean_n sum_c t_nc log p_nc, p = softmax z        dz = g (p sum_c t - t) / B        dt = -g log(p) / B

    Inputs: logits z of shape (classes,), and either integer labels, one a row (t is then their one-hot form, and has no
    cotangent), or distributions t of the shape of z. B is the number of rows. The largest logit of a row is subtracted
    first, so that nothing overflows. Shapes: (classes,), and () or (classes,) -> ().
    Raises ShapeError where they do not fit or the batch is empty, LabelError for a label that is no class.
    """
    return layer("softmax_cross_entropy", _softmax_cross_entropy, no_params, 2, labels=[1])


def _softmax_cross_entropy(params: NoParams, z: Array, t: Array) -> tuple[np.floating[Any], Pullback[NoParams]]:
    labels = t.ndim == 1
    if z.ndim != 2 or t.shape != (z.shape[:1] if labels else z.shape):
        raise ShapeError(
            f"logits {z.shape} must be rows of classes, and targets {t.shape} one label a row, or such rows too"
        )
    if labels and t.dtype.kind == "f":
        raise ShapeError(f"targets of shape {t.shape} are labels, one a row: make them integers, t.astype(int)")
    if not labels and t.dtype.kind in "iu":
        raise ShapeError(
            f"targets of shape {t.shape} are rows of {t.dtype}: make them floating, or give one label a row"
        )
    if not z.size:
        raise ShapeError("the batch is empty, and has no mean")
    t = one_hot(t, z) if labels else t
    share = z.shape[1] / z.size  # 1 / rows
    shifted = z - z.max(axis=-1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(axis=-1, keepdims=True)
    mass = None if labels else t.sum(axis=-1, keepdims=True)
    log_total = np.log(total)
    loss = (log_total if mass is None else log_total * mass).sum() - inner(shifted, t)

    def pullback(g: Array) -> tuple[NoParams, tuple[Any, ...]]:
        scale = g * share
        y = e / total
        dz = (y - t if mass is None else y * mass - t) * scale
        return (), (dz, None if mass is None else (log_total - shifted) * scale)

    return loss * share, pullback
