"""Metrics: functions `(prediction, target) -> number` of whole arrays, without gradients.

Like losses they take weights as a third array, one a sample or one a place (a label, an element of the target); a mean
is then sum w m / sum w. Where a weight is 0, prediction and target may be anything: padding, missing values, -100.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from funcnet.arrays import Array, Shape, accept_array, stray
from funcnet.calling import checks_call
from funcnet.errors import LabelError, OptionError, ShapeError, WeightError
from funcnet.options import count, finite


@checks_call
def accuracy(prediction: Array, target: npt.NDArray[Any], weights: Array | None = None) -> float:
    """The fraction of rows whose largest score is that of their class.

    prediction: scores of two or more classes along the last axis: logits, probabilities; the first of several largest
    counts. A row with a NaN is wrong.
    target: integer labels, one a row, or distributions of the shape of the prediction, whose largest element counts.
    weights: one a sample, or one a label.
    Raises ShapeError where they do not fit, there is one column of scores (`binary_accuracy` takes those) or there are
    no rows, LabelError for a label that is no class and for a target that is no distribution, such as a multi-hot row,
    WeightError for weights that are negative or add up to 0, DTypeError for anything but numbers.
    Example: `fn.accuracy(logits, labels)`.
    """
    scores, true, w = _classes("accuracy", prediction, target, weights)
    hits: Array = w[(scores.argmax(axis=-1) == true) & ~np.isnan(scores.max(axis=-1))]
    return float(hits.sum() / w.sum())


@checks_call
def top_k_accuracy(prediction: Array, target: npt.NDArray[Any], weights: Array | None = None, *, k: int = 5) -> float:
    """The fraction of rows whose class has one of the k largest scores.

    Of equal scores the first counts as the larger, so that for k = 1 it is `accuracy`. A row with a NaN is wrong.
    k: from 1 to the number of classes. As a metric with another k: `partial(fn.top_k_accuracy, k=3)`.
    prediction, target, weights: those of `accuracy`. Raises its errors, and OptionError for another k.
    """
    scores, true, w = _classes("top_k_accuracy", prediction, target, weights)
    places = count("top_k_accuracy: k", k)
    classes: int = scores.shape[-1]
    if places > classes:
        raise OptionError(f"top_k_accuracy: k is {places}, but there are {classes} classes: every row would be right")
    own: Array = np.take_along_axis(scores, true[..., None], axis=-1)
    before = ((scores > own) | ((scores == own) & (np.arange(classes) < true[..., None]))).sum(axis=-1)
    hits: Array = w[(before < places) & ~np.isnan(scores.max(axis=-1))]
    return float(hits.sum() / w.sum())


@checks_call
def binary_accuracy(
    prediction: Array, target: npt.NDArray[Any], weights: Array | None = None, *, threshold: float = 0.0
) -> float:
    """The fraction of yes-or-no answers that are right: yes where the prediction is above the threshold.

    prediction: logits, of any number of outputs a row; a NaN is wrong. For probabilities the threshold is 0.5.
    target: 0 or 1 for each of them, of the shape of the prediction: floating, integers or bools.
    weights: one a sample, or one an element.
    Raises ShapeError for different shapes ((n,) against (n, 1) too) and for no rows, LabelError for a target that is
    neither 0 nor 1, WeightError for weights that are negative or add up to 0, DTypeError for anything but numbers,
    OptionError for a threshold that is not finite.
    """
    finite("binary_accuracy: threshold", threshold)
    scores = accept_array("binary_accuracy: the prediction", prediction, "fiu")
    t = _numbers("binary_accuracy: the target", target)
    if scores.shape != t.shape or not scores.ndim:
        raise ShapeError(
            f"binary_accuracy: prediction {scores.shape} and target {t.shape} must have the same shape; nothing is "
            "broadcast: one target a row of one output is t[:, None]"
        )
    w = _weights("binary_accuracy", weights, t.shape)
    wrong = t[(w != 0) & (t != 0) & (t != 1)]
    if wrong.size:
        raise LabelError(f"binary_accuracy: target {wrong[0]} is neither 0 nor 1: targets of -1 and 1 are t > 0")
    hits: Array = w[((scores > threshold) == (t == 1)) & ~np.isnan(scores)]
    return float(hits.sum() / w.sum())


@checks_call
def confusion_matrix(prediction: Array, target: npt.NDArray[Any], weights: Array | None = None) -> npt.NDArray[Any]:
    """How often each class was predicted for each class.

    C_ij = the number of rows of class i that were taken for class j        (scikit-learn: confusion_matrix)

    prediction, target, weights: those of `accuracy`. Raises its errors. Shape: (classes, classes), of integers; with
    weights their sums.
    """
    scores, true, w = _classes("confusion_matrix", prediction, target, weights)
    classes = scores.shape[-1]
    cells = (true * classes + scores.argmax(axis=-1)).ravel()
    counts = np.bincount(cells, None if weights is None else w.ravel(), minlength=classes * classes)
    return counts.reshape(classes, classes)


@checks_call
def r2(prediction: Array, target: Array, weights: Array | None = None) -> float:
    """The coefficient of determination.

    R^2 = 1 - sum (t - y)^2 / sum (t - mean t)^2 over the rows, averaged over the features

    1 is perfect, 0 is as good as the mean. A feature that is constant counts 1 where it is met exactly, else 0.
    Both have one shape, the rows along axis 0. (Coefficient of determination; scikit-learn: r2_score)
    weights: one a sample, or one an element.
    Raises ShapeError for different shapes and for fewer than two rows, WeightError for weights that are negative or, of
    some feature, add up to 0, DTypeError for anything but numbers.
    """
    given = {"the prediction": prediction, "the target": target}
    y, t = (accept_array(f"r2: {name}", x, "fiu").astype(np.float64) for name, x in given.items())
    if y.shape != t.shape or t.ndim == 0 or len(t) < 2 or not t.size:
        raise ShapeError(
            f"r2: prediction {y.shape} and target {t.shape} must have the same shape, of two or more rows; nothing is "
            "broadcast: one target a row of one output is t[:, None]"
        )
    w = _weights("r2", weights, t.shape)
    whole: Array = w.sum(axis=0)
    if not whole.all():
        raise WeightError(f"r2: the weights of feature {np.argwhere(whole == 0)[0].tolist()} add up to 0: leave it out")
    y, t = np.where(w, y, 0.0), np.where(w, t, 0.0)
    residual: Array = (w * (t - y) ** 2).sum(axis=0)
    mean: Array = (w * t).sum(axis=0) / whole
    total: Array = (w * (t - mean) ** 2).sum(axis=0)
    pairs = [*zip(residual.ravel().tolist(), total.ravel().tolist(), strict=True)]
    return sum(1.0 - r / s if s else float(r == 0) for r, s in pairs) / len(pairs)


def _numbers(name: str, x: Any) -> npt.NDArray[Any]:
    """An array of numbers or bools."""
    array: npt.NDArray[Any] = np.asarray(x)
    return array if array.dtype.kind == "b" else accept_array(name, x, "fiu")


def _weights(kind: str, weights: Array | None, shape: Shape) -> Array:
    """The weight of each place, in a shape whose first axis is the samples."""
    if 0 in shape:
        raise ShapeError(f"{kind}: there are no rows")
    w = np.ones(shape[:1]) if weights is None else _numbers(f"{kind}: the weights", weights).astype(np.float64)
    if w.shape not in (shape[:1], shape):
        place = f", or of shape {shape}" if len(shape) > 1 else ""
        raise ShapeError(f"{kind}: weights {w.shape} must be one number a sample, of shape {shape[:1]}{place}")
    if not w.sum() > 0 or w.min() < 0:
        raise WeightError(f"{kind}: weights must not be negative, and must add up to more than 0")
    return np.broadcast_to(w.reshape(*w.shape, *[1] * (len(shape) - w.ndim)), shape).copy()


def _classes(
    kind: str, prediction: Array, target: npt.NDArray[Any], weights: Array | None
) -> tuple[Array, npt.NDArray[np.intp], Array]:
    """The scores, the true class of each row, and its weight."""
    scores, t = accept_array(f"{kind}: the prediction", prediction, "fiu"), _numbers(f"{kind}: the target", target)
    labels = t.dtype.kind in "iu"
    if scores.ndim < 2 or t.shape != (scores.shape[:-1] if labels else scores.shape):
        cast = ": y.astype(int) makes labels integers" * (not labels and t.shape == scores.shape[:-1])
        raise ShapeError(
            f"{kind}: prediction {scores.shape} must be rows of scores, and target {t.dtype} {t.shape} one integer "
            f"label a row{cast}, or such rows too; for yes or no, one or several a row, there is fn.binary_accuracy"
        )
    if not scores.size:
        raise ShapeError(f"{kind}: there are no rows")
    classes = scores.shape[-1]
    if classes == 1:
        raise ShapeError(
            f"{kind}: prediction {scores.shape} has one column, of which every row would be right: fn.binary_accuracy "
            "takes one logit z a row; the scores of its two classes are np.concatenate([0 * z, z], axis=-1)"
        )
    w = _weights(kind, weights, scores.shape[:-1])
    if not labels:
        _check_distributions(kind, t[w != 0])
        return scores, t.argmax(axis=-1), w
    if (wrong := stray(t[w != 0], classes)) is not None:
        raise LabelError(
            f"{kind}: label {wrong} is none of the {classes} classes, which are numbered 0 to {classes - 1}; to leave "
            f"out such labels give weights, {kind}(prediction, target, target != {wrong})"
        )
    return scores, np.where(w != 0, t, 0).astype(np.intp), w


def _check_distributions(kind: str, t: npt.NDArray[Any]) -> None:
    """Refuse rows that are no distributions over classes."""
    wrong = ~((abs(t.sum(axis=-1) - 1.0) < 1e-2) & (t.min(axis=-1) >= 0))
    if wrong.any():
        raise LabelError(
            f"{kind}: the target {t[wrong][0].tolist()!s:.60} is no distribution over classes, which adds up to 1: "
            "several classes a row are for fn.binary_accuracy"
        )
