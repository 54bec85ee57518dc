"""Metrics: by hand, against scikit-learn, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcnet as fn

RNG = np.random.default_rng(3)
SCORES = RNG.normal(size=(40, 4)).astype(np.float32)
LABELS = RNG.integers(0, 4, 40)
LABELS[:20] = SCORES[:20].argmax(axis=1)


def test_accuracy_and_matrix_by_hand() -> None:
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.5, 0.5]])
    labels = np.array([1, 1, 1, 0])
    assert fn.accuracy(scores, labels) == 0.75
    assert fn.confusion_matrix(scores, labels).tolist() == [[1, 0], [1, 2]]
    assert type(fn.accuracy(scores, labels)) is float


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.uint64, np.int32])
def test_labels_are_integers_of_any_kind_or_distributions(kind: Any) -> None:
    t = np.eye(4, dtype=np.float32)[LABELS]
    assert fn.accuracy(SCORES, LABELS.astype(kind)) == fn.accuracy(SCORES, t)
    np.testing.assert_array_equal(fn.confusion_matrix(SCORES, LABELS.astype(kind)), fn.confusion_matrix(SCORES, t))


def test_sequences_count_every_row() -> None:
    scores, labels = SCORES.reshape(10, 4, 4), LABELS.reshape(10, 4)
    assert fn.accuracy(scores, labels) == fn.accuracy(SCORES, LABELS)
    np.testing.assert_array_equal(fn.confusion_matrix(scores, labels), fn.confusion_matrix(SCORES, LABELS))


def test_scikit_learn_agrees() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    found = SCORES.argmax(axis=1)
    assert fn.accuracy(SCORES, LABELS) == metrics.accuracy_score(LABELS, found)
    few = np.minimum(LABELS, 2)  # one class that nobody has
    np.testing.assert_array_equal(
        fn.confusion_matrix(SCORES, few), metrics.confusion_matrix(few, found, labels=range(4))
    )
    y, t = RNG.normal(size=(2, 30, 3))
    t[:, 1], y[:, 2], t[:, 2] = 0.5, 1.0, 1.0  # a constant feature, and one that is met exactly
    for a, b in ((y, t), (y[:, 0], t[:, 0]), (y[:, :2], t[:, :2]), (y[:, 2], t[:, 2])):
        assert fn.r2(a, b) == pytest.approx(metrics.r2_score(b, a), rel=1e-12)


def test_weights_count_rows_several_times() -> None:
    w = RNG.integers(0, 4, 40)
    again = np.repeat(np.arange(40), w)
    for metric, y, t in (
        (fn.accuracy, SCORES, LABELS),
        (fn.confusion_matrix, SCORES, LABELS),
        (fn.accuracy, SCORES.reshape(40, 2, 2), RNG.integers(0, 2, (40, 2))),
        (fn.r2, SCORES, SCORES[::-1]),
        (fn.r2, SCORES[:, 0], SCORES[::-1, 0]),
    ):
        call: Any = metric
        np.testing.assert_allclose(call(y, t, w.astype(np.float32)), call(y[again], t[again]), rtol=1e-12)
        for wrong in (w[:39], w[:, None], np.float32(1)):
            with pytest.raises(fn.ShapeError, match="must be one number a sample, of shape"):
                call(y, t, wrong)
        for bad in (0.0 * w, w - 1.0, w * np.nan):
            with pytest.raises(fn.WeightError, match="must add up to more than 0"):
                call(y, t, bad)


def test_r2_of_the_mean_is_zero_and_of_the_truth_one() -> None:
    t = np.array([[1.0], [2.0], [6.0]])
    assert fn.r2(t, t) == 1.0
    assert fn.r2(np.full_like(t, 3.0), t) == 0.0
    assert fn.r2(t[::-1], t) == pytest.approx(1 - 50 / 14)


@pytest.mark.parametrize("metric", [fn.accuracy, fn.confusion_matrix])
def test_bad_classes_are_refused(metric: Any) -> None:
    mistakes: list[tuple[Any, Any, type[Exception], str]] = [
        (SCORES, LABELS + 1, fn.LabelError, "label 4 is none of the 4 classes, which are numbered 0 to 3"),
        (SCORES, LABELS - 1, fn.LabelError, "label -1 is none of"),
        (SCORES, LABELS[:, None], fn.ShapeError, r"target int64 \(40, 1\) one integer label a row"),
        (SCORES, LABELS.astype(float), fn.ShapeError, r"target float64 \(40,\)"),
        (SCORES[:, 0], LABELS, fn.ShapeError, r"prediction \(40,\) must be rows of scores"),
        (SCORES, SCORES[:, :2], fn.ShapeError, r"target float32 \(40, 2\)"),
        (SCORES[:0], LABELS[:0], fn.ShapeError, "there are no rows"),
        (
            SCORES.astype(str),
            LABELS,
            fn.DTypeError,
            "the prediction has dtype <U32 and holds",
        ),
        (SCORES.astype(complex), LABELS, fn.DTypeError, "the prediction has dtype complex128"),
    ]
    for prediction, target, error, words in mistakes:
        with pytest.raises(error, match=f"{metric.__name__}: .*{words}"):
            metric(prediction, target)


def test_r2_refuses_what_it_would_broadcast() -> None:
    with pytest.raises(fn.DTypeError, match="r2: the target has dtype complex128"):
        fn.r2(np.ones(2), np.ones(2, complex))
    for y, t in ((np.ones((4, 1)), np.ones(4)), (np.ones((1, 2)), np.ones((1, 2))), (np.ones(()), np.ones(()))):
        with pytest.raises(fn.ShapeError, match="must have the same shape, of two or more rows"):
            fn.r2(y, t)
