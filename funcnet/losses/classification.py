"""Losses of classes: how unlikely a prediction holds what was seen."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, overload

import numpy as np

from funcnet.arrays import Array
from funcnet.core import Layer, NoParams
from funcnet.display import shows_call
from funcnet.errors import ShapeError
from funcnet.losses.reduction import Cotangents, Number, Reduction, Terms, check_same_shape, label_axis, loss
from funcnet.options import fraction, integer
from funcnet.tracing.primitives import keep, one_hot, pick


@overload
def softmax_cross_entropy(
    *,
    label_smoothing: float = 0.0,
    ignore_label: int | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    weighted: bool = False,
) -> Layer[NoParams, Number]: ...
@overload
def softmax_cross_entropy(
    *,
    label_smoothing: float = 0.0,
    ignore_label: int | None = None,
    reduction: Literal["none"],
    weighted: bool = False,
) -> Layer[NoParams]: ...
@shows_call
def softmax_cross_entropy(
    *,
    label_smoothing: float = 0.0,
    ignore_label: int | None = None,
    reduction: Reduction = "mean",
    weighted: bool = False,
) -> Layer[NoParams, Any]:
    """Softmax cross-entropy: how unlikely the label is under the logits.

    L_n = -sum_c s_c log p_c, p = softmax z, s = (1 - a) t + a / C, a = label_smoothing

    dz = g (p sum_c s - s)        dt = -(1 - a) g log p

    Inputs: logits z of shape (..., C), and either integer labels of shape (...) (t is then their one-hot form, and has
    no cotangent), or distributions t of the shape of z. For sequences, logits are (T, C) and labels (T,): a loss for
    each step. The largest logit of a row is subtracted first, so that nothing overflows. A class that is masked by the
    logit -inf adds nothing: 0 log 0 is 0.
    label_smoothing: at least 0 and below 1. (Szegedy et al. 2016)
    ignore_label: a label whose rows have the weight 0: no loss, no gradient, no share in the mean. It need be no class,
    -100 for instance.
    reduction: over all labels (n T of them for sequences), "mean" (then g is divided by their number), "sum", or "none"
    (one loss a label).
    weighted: take a third input, one weight a row of the batch, of shape (), or one a label, of shape (...): the mean
    is sum w L / sum w over all labels. Where a weight is 0, logits and target may be anything; where all are, the loss
    and its gradients are 0.
    Shapes: (..., C), and (...) or (..., C) -> (), in float32 or float64, labels in any dtype of integers.
    Raises ShapeError where they do not fit, a batch with a mean is empty or ignore_label meets distributions;
    LabelError for a label that is no class; DTypeError for logits or weights of integers and for different floating
    dtypes; WeightError for weights, some negative, that add up to 0; OptionError for bad options.
    Example: `fn.softmax_cross_entropy().apply((), logits, labels)`.
    """
    kernel = partial(_softmax_cross_entropy, fraction("softmax_cross_entropy: label_smoothing", label_smoothing))
    ignored = None if ignore_label is None else integer("softmax_cross_entropy: ignore_label", ignore_label)
    return loss(
        "softmax_cross_entropy", kernel, reduction, weighted, place="classes", integer_inputs=[1], ignored=ignored
    )


def _softmax_cross_entropy(smoothing: float, terms: Terms, z: Array, t: Array) -> tuple[Any, Any]:
    labels = t.ndim == z.ndim - 1
    _check_targets(z, t, labels)
    shifted = z - z.max(axis=-1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(axis=-1, keepdims=True)
    log_total = np.log(total)
    if labels:
        return _of_labels(smoothing, terms, t, shifted, e, total, log_total)
    s = t * (1.0 - smoothing) + smoothing / z.shape[-1] if smoothing else t
    mass = s.sum(axis=-1, keepdims=True)
    finite = shifted if smoothing else keep(shifted, s)  # where s is 0, the logit may be -inf
    L = terms.sum(log_total * mass) - terms.inner(finite, s)

    def pullback(g: Any) -> Cotangents:
        scale = g * terms.share
        return (e / total * mass - s) * scale, (log_total - shifted) * (scale * (1.0 - smoothing))

    return L * terms.share, pullback


def _of_labels(
    smoothing: float, terms: Terms, t: Array, shifted: Array, e: Array, total: Array, log_total: Array
) -> tuple[Any, Any]:
    uniform = smoothing / e.shape[-1]
    picked = pick(shifted, t)
    if smoothing:
        picked = picked * (1.0 - smoothing) + shifted.sum(axis=-1) * uniform

    def pullback(g: Any) -> Cotangents:
        s = one_hot(t, e)
        if smoothing:
            s = s * (1.0 - smoothing) + uniform
        return (e / total - s) * (g * terms.share), None

    return terms.sum(log_total[..., 0] - picked) * terms.share, pullback


def _check_targets(z: Array, t: Array, labels: bool) -> None:
    """Refuse targets that do not fit the logits."""
    if z.ndim < 2 or t.shape != (z.shape[:-1] if labels else z.shape):
        raise ShapeError(
            f"logits {z.shape} must be rows of classes, and targets {t.shape} one label a row, or such rows too"
            f"{label_axis(z, t)}"
        )
    if not labels and z.shape[-1] == 1:
        raise ShapeError(f"logits {z.shape} are of one class, whose loss is always 0: use fn.sigmoid_cross_entropy()")
    if labels and t.dtype.kind == "f":
        raise ShapeError(f"targets of shape {t.shape} are labels, one a row: make them integers, t.astype(int)")
    if not labels and t.dtype.kind in "iu":
        raise ShapeError(
            f"targets of shape {t.shape} are rows of {t.dtype}: make them floating, or give one label a row"
        )


@overload
def sigmoid_cross_entropy(
    *, reduction: Literal["mean", "sum"] = "mean", weighted: bool = False
) -> Layer[NoParams, Number]: ...
@overload
def sigmoid_cross_entropy(*, reduction: Literal["none"], weighted: bool = False) -> Layer[NoParams]: ...
@shows_call
def sigmoid_cross_entropy(*, reduction: Reduction = "mean", weighted: bool = False) -> Layer[NoParams, Any]:
    """Cross-entropy of independent yes-or-no labels under their logits.

    L_n = -mean (t log p + (1 - t) log(1 - p)) over features, p = sigmoid z = 1 / (1 + exp(-z))

    dz = g (p - t) / F        dt = -g z / F

    Inputs: logits z, and targets t from 0 to 1, of one shape, F features a row, each a yes or no of its own.
    Computed as z ([z > 0] - t) + log1p(exp(-|z|)), which neither overflows nor takes the logarithm of 0.
    Options: those of `mse`. Shapes: two of one shape -> (), in float32 or float64.
    Raises ShapeError, DTypeError, WeightError and OptionError as `mse` does.
    """
    return loss("sigmoid_cross_entropy", _sigmoid_cross_entropy, reduction, weighted)


def _sigmoid_cross_entropy(terms: Terms, z: Array, t: Array) -> tuple[Any, Any]:
    check_same_shape(z, t)

    def pullback(g: Any) -> Cotangents:
        p = np.tanh(z * 0.5) * 0.5 + 0.5
        return (p - t) * (g * terms.share), z * (g * -terms.share)

    return terms.sum(z * ((z > 0.0) - t) + np.log1p(np.exp(-np.abs(z)))) * terms.share, pullback


@overload
def hinge(*, reduction: Literal["mean", "sum"] = "mean", weighted: bool = False) -> Layer[NoParams, Number]: ...
@overload
def hinge(*, reduction: Literal["none"], weighted: bool = False) -> Layer[NoParams]: ...
@shows_call
def hinge(*, reduction: Reduction = "mean", weighted: bool = False) -> Layer[NoParams, Any]:
    """The hinge loss of a support vector machine, for targets -1 and 1.

    L_n = mean m over features, m = max(0, 1 - y t)        dy = -g t [m > 0] / F        dt = -g y [m > 0] / F

    Inputs: prediction y, and target t, which is -1 or 1, of one shape, F features a row. (Cortes and Vapnik 1995)
    Options: those of `mse`. Shapes: two of one shape -> (), in float32 or float64.
    Raises ShapeError, DTypeError, WeightError and OptionError as `mse` does.
    """
    return loss("hinge", _hinge, reduction, weighted)


def _hinge(terms: Terms, y: Array, t: Array) -> tuple[Any, Any]:
    check_same_shape(y, t)
    m = np.maximum(1.0 - y * t, 0.0)

    def pullback(g: Any) -> Cotangents:
        scale = (m > 0.0) * (g * -terms.share)
        return t * scale, y * scale

    return terms.sum(m) * terms.share, pullback


@overload
def kl_divergence(*, reduction: Literal["mean", "sum"] = "mean", weighted: bool = False) -> Layer[NoParams, Number]: ...
@overload
def kl_divergence(*, reduction: Literal["none"], weighted: bool = False) -> Layer[NoParams]: ...
@shows_call
def kl_divergence(*, reduction: Reduction = "mean", weighted: bool = False) -> Layer[NoParams, Any]:
    """The Kullback-Leibler divergence of the target distribution from the predicted one.

    L_n = sum_c t_c (log t_c - y_c)        dy = -g t        dt = g (log t - y + 1)

    Inputs: logarithms y of the predicted distribution, such as `log_softmax` gives, and a distribution t, of one shape.
    0 log 0 is 0: below the smallest normal number of the dtype the logarithm is that of this number, and its slope 0.
    Where t is 0, y may be -inf. Features of a sample are summed, and weights are one a row.
    Other options: those of `mse`. (Kullback and Leibler 1951)
    Shapes: two of one shape -> (), in float32 or float64.
    Raises ShapeError, DTypeError, WeightError and OptionError as `mse` does.
    """
    return loss("kl_divergence", _kl_divergence, reduction, weighted, place="row")


def _kl_divergence(terms: Terms, y: Array, t: Array) -> tuple[Any, Any]:
    check_same_shape(y, t)
    least = float(np.finfo(t.dtype).tiny)
    ratio = np.log(np.maximum(t, least)) - y

    def pullback(g: Any) -> Cotangents:
        scale = g * terms.share
        return -t * scale, (ratio + (t > least)) * scale

    return terms.inner(t, keep(ratio, t)) * terms.share, pullback
