"""Metrics: what a model is judged by, functions `(prediction, target) -> number` of whole arrays, without gradients.

As losses do they take one weight a sample, w_n, as a third array; a mean is then sum w_n m_n / sum w_n.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from funcnet.arrays import Array, accept_array, stray
from funcnet.errors import LabelError, ShapeError, WeightError


def accuracy(prediction: Array, target: npt.NDArray[Any], weights: Array | None = None) -> float:
    """The part of the rows whose largest score is that of their class.

    prediction: scores of classes along the last axis: logits, probabilities; the first of several largest counts.
    target: integer labels, one a row, or distributions of the shape of the prediction, whose largest element counts.
    Raises ShapeError where they do not fit or there are no rows, LabelError for a label that is no class, WeightError
    for weights that add up to 0.
    """
    found, true, _ = _classes("accuracy", prediction, target)
    w = _weights("accuracy", weights, found)
    hits: Array = w[found == true]
    return float(hits.sum() / w.sum())


def confusion_matrix(prediction: Array, target: npt.NDArray[Any], weights: Array | None = None) -> npt.NDArray[Any]:
    """C_ij = the number of rows of class i that were taken for class j        (scikit-learn: confusion_matrix)

    prediction, target: as `accuracy` takes them. Shape: (classes, classes), of integers; with weights their sums.
    """
    found, true, classes = _classes("confusion_matrix", prediction, target)
    w = None if weights is None else _weights("confusion_matrix", weights, found).ravel()
    counts = np.bincount(true.ravel() * classes + found.ravel(), w, minlength=classes * classes)
    return counts.reshape(classes, classes)


def r2(prediction: Array, target: Array, weights: Array | None = None) -> float:
    """R^2 = 1 - sum (t - y)^2 / sum (t - mean t)^2 over the rows, averaged over the features

    1 is perfect, 0 is as good as the mean. A feature that is constant counts 1 where it is met exactly, else 0.
    Both have one shape, the rows along axis 0. (Coefficient of determination; scikit-learn: r2_score)
    Raises ShapeError for different shapes and for fewer than two rows, WeightError for weights that add up to 0.
    """
    given = {"the prediction": prediction, "the target": target}
    y, t = (accept_array(f"r2: {name}", x, labels=True).astype(np.float64) for name, x in given.items())
    if y.shape != t.shape or t.ndim == 0 or len(t) < 2 or not t.size:
        raise ShapeError(f"r2: prediction {y.shape} and target {t.shape} must have the same shape, of two or more rows")
    w = _weights("r2", weights, t)
    residual: Array = (w * (t - y) ** 2).sum(axis=0)
    mean: Array = (w * t).sum(axis=0) / w.sum(axis=0)
    total: Array = (w * (t - mean) ** 2).sum(axis=0)
    pairs = [*zip(residual.ravel().tolist(), total.ravel().tolist(), strict=True)]
    return sum(1.0 - r / s if s else float(r == 0) for r, s in pairs) / len(pairs)


def _weights(kind: str, weights: Array | None, rows: npt.NDArray[Any]) -> Array:
    """The weight of each sample, in the shape of the rows."""
    w = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
    if w.shape != rows.shape[:1]:
        raise ShapeError(f"{kind}: weights {w.shape} must be one number a sample, of shape {rows.shape[:1]}")
    if not w.sum() > 0 or w.min() < 0:
        raise WeightError(f"{kind}: weights must not be negative, and must add up to more than 0")
    return np.broadcast_to(w.reshape(-1, *[1] * (rows.ndim - 1)), rows.shape).copy()


def _classes(
    kind: str, prediction: Array, target: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[Any], int]:
    """The predicted and the true class of each row, and how many classes there are."""
    scores, t = accept_array(f"{kind}: the prediction", prediction, labels=True), np.asarray(target)
    labels = t.dtype.kind in "iu"
    if scores.ndim < 2 or t.shape != (scores.shape[:-1] if labels else scores.shape):
        raise ShapeError(
            f"{kind}: prediction {scores.shape} must be rows of scores, and target {t.dtype} {t.shape} one integer "
            "label a row, or such rows too"
        )
    if not scores.size:
        raise ShapeError(f"{kind}: there are no rows")
    classes = scores.shape[-1]
    if labels and (wrong := stray(t, classes)) is not None:
        raise LabelError(
            f"{kind}: label {wrong} is none of the {classes} classes, which are numbered 0 to {classes - 1}"
        )
    return scores.argmax(axis=-1), t.astype(np.intp) if labels else t.argmax(axis=-1), classes
