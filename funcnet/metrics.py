"""Metrics: what a model is judged by, functions `(prediction, target) -> number` of whole arrays, without gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from funcnet.arrays import Array
from funcnet.errors import LabelError, ShapeError


def accuracy(prediction: Array, target: npt.NDArray[Any]) -> float:
    """The part of the rows whose largest score is that of their class.

    prediction: scores of classes along the last axis: logits, probabilities; the first of several largest counts.
    target: integer labels, one a row, or distributions of the shape of the prediction, whose largest element counts.
    Raises ShapeError where they do not fit or there are no rows, LabelError for a label that is no class.
    """
    found, true, _ = _classes("accuracy", prediction, target)
    return int(np.count_nonzero(found == true)) / found.size


def confusion_matrix(prediction: Array, target: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """C_ij = the number of rows of class i that were taken for class j        (scikit-learn: confusion_matrix)

    prediction, target: as `accuracy` takes them. Shape: (classes, classes).
    """
    found, true, classes = _classes("confusion_matrix", prediction, target)
    counts = np.bincount(true.ravel() * classes + found.ravel(), minlength=classes * classes)
    return counts.reshape(classes, classes)


def r2(prediction: Array, target: Array) -> float:
    """R^2 = 1 - sum (t - y)^2 / sum (t - mean t)^2 over the rows, averaged over the features

    1 is perfect, 0 is as good as the mean. A feature that is constant counts 1 where it is met exactly, else 0.
    Both have one shape, the rows along axis 0. (Coefficient of determination; scikit-learn: r2_score)
    Raises ShapeError for different shapes and for fewer than two rows.
    """
    y, t = np.asarray(prediction, np.float64), np.asarray(target, np.float64)
    if y.shape != t.shape or t.ndim == 0 or len(t) < 2 or not t.size:
        raise ShapeError(f"r2: prediction {y.shape} and target {t.shape} must have the same shape, of two or more rows")
    residual: Array = ((t - y) ** 2).sum(axis=0)
    total: Array = ((t - t.mean(axis=0)) ** 2).sum(axis=0)
    pairs = [*zip(residual.ravel().tolist(), total.ravel().tolist(), strict=True)]
    return sum(1.0 - r / s if s else float(r == 0) for r, s in pairs) / len(pairs)


def _classes(
    kind: str, prediction: Array, target: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[Any], int]:
    """The predicted and the true class of each row, and how many classes there are."""
    scores, t = np.asarray(prediction), np.asarray(target)
    labels = t.dtype.kind in "iu"
    if scores.ndim < 2 or t.shape != (scores.shape[:-1] if labels else scores.shape):
        raise ShapeError(
            f"{kind}: prediction {scores.shape} must be rows of scores, and target {t.dtype} {t.shape} one integer "
            "label a row, or such rows too"
        )
    if not scores.size:
        raise ShapeError(f"{kind}: there are no rows")
    classes = scores.shape[-1]
    if labels and (t.min() < 0 or t.max() >= classes):
        wrong = t[(t < 0) | (t >= classes)][0]
        raise LabelError(
            f"{kind}: label {wrong} is none of the {classes} classes, which are numbered 0 to {classes - 1}"
        )
    return scores.argmax(axis=-1), t.astype(np.intp) if labels else t.argmax(axis=-1), classes
