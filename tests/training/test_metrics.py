"""Metrics: by hand, against scikit-learn, and what is refused."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_top_k_by_hand() -> None:
    scores = np.array([[0.1, 0.9, 0.5], [0.5, 0.5, 0.5], [0.5, 0.5, 0.5], [np.nan, 1.0, 2.0], [3.0, 2.0, 1.0]])
    labels = np.array([2, 1, 2, 2, 2])
    assert [fn.top_k_accuracy(scores, labels, k=k) for k in (1, 2, 3)] == [0.0, 0.4, 0.8]
    assert fn.top_k_accuracy(scores, labels, np.array([1.0, 2.0, 1.0, 0.0, 1.0]), k=2) == 0.6
    assert type(fn.top_k_accuracy(scores, labels, k=1)) is float


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_top_k_is_that_of_scikit_learn(k: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    t = np.eye(4, dtype=np.float32)[LABELS]
    expected = pytest.approx(metrics.top_k_accuracy_score(LABELS, SCORES, k=k, labels=range(4)) if k < 4 else 1.0)
    assert fn.top_k_accuracy(SCORES, LABELS, k=k) == expected
    assert fn.top_k_accuracy(SCORES, t, k=k) == expected
    assert fn.top_k_accuracy(SCORES.reshape(10, 4, 4), LABELS.reshape(10, 4), k=k) == expected
    if k == 1:
        assert fn.top_k_accuracy(np.round(SCORES), LABELS, k=1) == fn.accuracy(np.round(SCORES), LABELS)


@pytest.mark.parametrize("k", [0, -1, 5, 1.5, "2"])
def test_top_k_of_no_such_number_is_refused(k: Any) -> None:
    with pytest.raises(fn.OptionError, match="top_k_accuracy: k "):
        fn.top_k_accuracy(SCORES, LABELS, k=k)
    with pytest.raises(fn.LabelError, match="top_k_accuracy: label 4 is none of the 4 classes"):
        fn.top_k_accuracy(SCORES, LABELS + 1)


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
        (partial(fn.top_k_accuracy, k=2), SCORES, LABELS),
        (fn.confusion_matrix, SCORES, LABELS),
        (fn.accuracy, SCORES.reshape(40, 2, 2), RNG.integers(0, 2, (40, 2))),
        (fn.r2, SCORES, SCORES[::-1]),
        (fn.r2, SCORES[:, 0], SCORES[::-1, 0]),
    ):
        call: Any = metric
        np.testing.assert_allclose(call(y, t, w.astype(np.float32)), call(y[again], t[again]), rtol=1e-12)
        for wrong in (w[:39], w[:, None, None], np.float32(1)):
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


def test_the_accuracy_of_answers_by_hand() -> None:
    z = np.array([[3, -2, 1], [-1, 2, 1]], np.float32)
    t = np.array([[1, 1, 0], [0, 1, 0]])
    for kind in (np.float32, np.int64, np.uint8, bool):
        assert fn.binary_accuracy(z, t.astype(kind)) == 0.5
        assert fn.binary_accuracy(z[:, :1], t[:, :1].astype(kind)) == 1.0
        assert fn.binary_accuracy(z[:, 1], t[:, 1].astype(kind)) == 0.5
    assert fn.binary_accuracy(z, t, threshold=1.5) == pytest.approx(5 / 6)
    assert fn.binary_accuracy(z * 0, t * 0) == 1.0  # at the threshold is not above it
    assert type(fn.binary_accuracy(z, t)) is float


def test_the_accuracy_of_answers_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    t = LABELS[:, None] == np.arange(4)
    w = RNG.uniform(0.5, 2, SCORES.shape)
    for threshold in (0.0, -0.3, 0.5):
        found = threshold < SCORES
        assert fn.binary_accuracy(SCORES, t, threshold=threshold) == metrics.accuracy_score(t.ravel(), found.ravel())
        weighted = metrics.accuracy_score(t.ravel(), found.ravel(), sample_weight=w.ravel())
        assert fn.binary_accuracy(SCORES, t, w, threshold=threshold) == pytest.approx(weighted, rel=1e-12)
    rows = np.broadcast_to(w[:, :1], SCORES.shape)
    assert fn.binary_accuracy(SCORES, t, w[:, 0]) == pytest.approx(fn.binary_accuracy(SCORES, t, rows), rel=1e-12)


def test_bad_answers_are_refused() -> None:
    z, t = SCORES, (SCORES > 0).astype(np.float32)
    mistakes: list[tuple[Any, Any, type[Exception], str]] = [
        (z[:, :1], t[:, 0], fn.ShapeError, r"one target a row of one output is t\[:, None\]"),
        (z, t[:, :2], fn.ShapeError, r"prediction \(40, 4\) and target \(40, 2\) must have the same shape"),
        (z, t * 2 - 1, fn.LabelError, "target -1.0 is neither 0 nor 1: targets of -1 and 1 are t > 0"),
        (z, t * 0.9 + 0.1, fn.LabelError, "neither 0 nor 1"),
        (z, t * np.nan, fn.LabelError, "target nan is neither"),
        (z[:0], t[:0], fn.ShapeError, "there are no rows"),
        (z > 0, t, fn.DTypeError, "the prediction has dtype bool"),
        (np.float32(1), np.float32(1), fn.ShapeError, "must have the same shape"),
    ]
    for prediction, target, error, words in mistakes:
        with pytest.raises(error, match=f"binary_accuracy: .*{words}"):
            fn.binary_accuracy(prediction, target)
    wrong: list[Any] = ["a", None, np.nan, True]
    for threshold in wrong:
        with pytest.raises(fn.OptionError, match="binary_accuracy: threshold must be a finite number"):
            fn.binary_accuracy(z, t, threshold=threshold)


@pytest.mark.parametrize("metric", [fn.accuracy, fn.confusion_matrix])
@pytest.mark.parametrize("kind", [np.float32, np.int64, bool])
def test_one_column_of_scores_is_refused(metric: Any, kind: Any) -> None:
    t = np.arange(8) % 2
    for z, target in ((np.ones((8, 1)), t[:, None]), (np.ones((8, 1)), t), (np.ones((2, 4, 1)), t.reshape(2, 4, 1))):
        with pytest.raises(fn.ShapeError, match=f"{metric.__name__}: .*fn.binary_accuracy"):
            metric(z, target.astype(kind))
    z = RNG.normal(size=(8, 1))
    both = np.concatenate([0 * z, z], axis=-1)  # the fix that the message names
    assert fn.accuracy(both, t) == fn.binary_accuracy(z, t[:, None])


@pytest.mark.parametrize("metric", [fn.accuracy, fn.confusion_matrix])
@pytest.mark.parametrize("kind", [np.float32, np.float64, bool])
@given(rows=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=6))
def test_multi_hot_targets_are_refused(metric: Any, kind: Any, rows: list[list[bool]]) -> None:
    t = np.array(rows).astype(kind)
    z = np.arange(t.size).reshape(t.shape) + 0.5
    if (t.sum(axis=1) == 1).all():
        metric(z, t)
        return
    with pytest.raises(fn.LabelError, match="no distribution over classes.*fn.binary_accuracy"):
        metric(z, t)
    good = t.sum(axis=1) == 1
    if good.any():
        np.testing.assert_array_equal(metric(z, t, good.astype(float)), metric(z[good], t[good]))


def test_distributions_may_be_rounded_but_are_not_negative() -> None:
    t = np.random.default_rng(0).dirichlet(np.ones(4), 40).astype(np.float16)
    assert fn.accuracy(SCORES, t) == fn.accuracy(SCORES, t.argmax(axis=1))
    for wrong in ([2.0, -1.0, 0.0, 0.0], [np.nan, 1.0, 0.0, 0.0], [0.0] * 4):
        with pytest.raises(fn.LabelError, match="no distribution"):
            fn.accuracy(SCORES[:1], np.array([wrong]))


def test_a_score_that_is_nan_is_wrong() -> None:
    z, t = SCORES.copy(), SCORES.argmax(axis=1)
    z[0], z[1, (t[1] + 1) % 4] = np.nan, np.nan
    assert fn.accuracy(z, np.where(np.arange(40) == 0, 0, t)) == 38 / 40
    assert fn.binary_accuracy(np.array([np.nan, np.nan, 1.0]), np.array([0, 1, 1])) == pytest.approx(1 / 3)


def test_weights_of_labels_leave_out_what_is_padded() -> None:
    scores, labels = SCORES.reshape(10, 4, 4).copy(), LABELS.reshape(10, 4).copy()
    w = RNG.integers(0, 3, (10, 4)).astype(float)
    labels[w == 0], scores[w == 0] = -100, np.nan
    there = w > 0
    assert fn.accuracy(scores, labels, w) == fn.accuracy(scores[there], labels[there], w[there])
    assert fn.accuracy(scores, labels, labels != -100) == fn.accuracy(scores[there], labels[there])
    np.testing.assert_array_equal(
        fn.confusion_matrix(scores, labels, w), fn.confusion_matrix(scores[there], labels[there], w[there])
    )
    z, t = SCORES.copy(), (SCORES > 0.2).astype(float)
    w = RNG.integers(0, 3, z.shape).astype(float)
    z[w == 0], t[w == 0] = np.nan, -7
    assert fn.binary_accuracy(z, t, w) == fn.binary_accuracy(z[w > 0], t[w > 0], w[w > 0])


def test_r2_of_missing_targets_is_that_of_each_feature() -> None:
    y, t = RNG.normal(size=(2, 30, 3))
    w = RNG.integers(0, 3, (30, 3)).astype(float)
    t[w == 0] = np.nan
    each = [fn.r2(y[w[:, k] > 0, k], t[w[:, k] > 0, k], w[w[:, k] > 0, k]) for k in range(3)]
    assert fn.r2(y, t, w) == pytest.approx(np.mean(each), rel=1e-12)
    w[:, 1] = 0
    with pytest.raises(fn.WeightError, match=r"r2: the weights of feature \[1\] add up to 0: leave it out"):
        fn.r2(y, t, w)


# --- batches whose rows have several shapes, and numbers that are none

SEQUENCES = RNG.normal(size=(8, 5, 3)).astype(np.float32)
STEPS = RNG.integers(0, 4, (8, 5))
OF_SEQUENCES = [(SEQUENCES[:4], STEPS[:4]), (SEQUENCES[4:7, :3], STEPS[4:7, :3]), (SEQUENCES[7:], STEPS[7:])]
CLASSIFIER = fn.serial(fn.linear(4))
DRAWN = CLASSIFIER.init(fn.key(0), (5, 3))[0]


@pytest.mark.parametrize(("reduction", "ignored"), [("mean", None), ("mean", 2), ("sum", None)])
def test_a_loss_of_sequences_of_different_lengths(reduction: Any, ignored: int | None) -> None:
    loss: Any = fn.softmax_cross_entropy(reduction=reduction, ignore_label=ignored)
    padded = STEPS.copy()
    padded[4:7, 3:] = -100
    z = CLASSIFIER.apply(DRAWN, SEQUENCES)
    count = (padded != -100) & (padded != ignored)
    expected = loss.apply((), z[count], padded[count])
    assert fn.evaluate(CLASSIFIER, loss, DRAWN, OF_SEQUENCES) == pytest.approx(float(expected), rel=1e-5)
    step = fn.sgd_step(CLASSIFIER, loss, learning_rate=1e-30)
    history = fn.fit(step, DRAWN, OF_SEQUENCES, 1, validation=OF_SEQUENCES).history
    assert history["validation_loss"][0] == pytest.approx(float(expected), rel=1e-5)
    assert history["loss"][0] == pytest.approx(float(expected), rel=1e-5)


def test_the_outputs_of_a_loss_of_several_may_differ_in_length() -> None:
    net = fn.network({1: fn.linear(2), 2: fn.linear(2)}, {}, inputs=[1, 2], output=[1, 2])
    params, _ = net.init(fn.key(0), (3,), (3,))
    batches = [(x, x, RNG.random((*x.shape[:-1], 2)).astype(np.float32)) for x, _ in OF_SEQUENCES]
    whole, rows = 0.0, 0
    for batch in batches:
        each = float(fn.gaussian_nll().apply((), *net.apply(params, *batch[:2]), batch[2]))
        whole, rows = whole + len(batch[0]) * each, rows + len(batch[0])
    assert fn.evaluate(net, fn.gaussian_nll(), params, batches) == pytest.approx(whole / rows, rel=1e-6)


def test_a_metric_of_rows_of_several_shapes_is_refused_with_the_fix() -> None:
    message = r"the metric 'accuracy' is computed of all rows at once.*\(3, 4\), \(5, 4\): pad them.*weights"
    with pytest.raises(fn.ShapeError, match=message):
        fn.evaluate(CLASSIFIER, {"accuracy": fn.accuracy}, DRAWN, OF_SEQUENCES)
    step = fn.train_step(CLASSIFIER, fn.softmax_cross_entropy(), fn.sgd(0.1), metrics={"accuracy": fn.accuracy})
    with pytest.raises(fn.ShapeError, match=message):
        fn.fit(step, DRAWN, OF_SEQUENCES, 1)


def test_a_loss_of_one_number_a_row_is_no_score() -> None:
    loss = fn.mse(reduction="none")
    with pytest.raises(fn.ShapeError, match=r"the loss has the shape \(40,\), but must be one number"):
        fn.evaluate(fn.serial(fn.identity()), loss, ((),), (SCORES, SCORES))


NOT_NUMBERS: list[Any] = [None, "a", {"a": 1.0}, [[1.0], [1.0, 2.0]], object()]


@pytest.mark.parametrize("value", NOT_NUMBERS)
def test_a_metric_that_gives_no_number_is_named(value: Any) -> None:
    step = fn.train_step(CLASSIFIER, fn.softmax_cross_entropy(), fn.sgd(0.1), metrics={"own": lambda z, t: value})
    with pytest.raises(fn.OptionError, match="the metric 'own' gave .*: a metric must return a number"):
        fn.fit(step, DRAWN, (SEQUENCES, STEPS), 1, 4)


def test_a_metric_has_one_shape_in_every_epoch() -> None:
    sizes = iter([2, 3])
    metrics = {"own": lambda z, t: np.zeros(next(sizes))}
    step = fn.train_step(CLASSIFIER, fn.softmax_cross_entropy(), fn.sgd(0.1), metrics=metrics)
    with pytest.raises(fn.OptionError, match="'own' gave .*one shape in every epoch"):
        fn.fit(step, DRAWN, (SEQUENCES, STEPS), 2, 4)


@pytest.mark.parametrize("metric", [fn.accuracy, fn.confusion_matrix])
def test_labels_to_be_left_out_are_told_how(metric: Any) -> None:
    ignored = np.where(np.arange(40) % 3, LABELS, -100)
    with pytest.raises(fn.LabelError, match=r"give weights, \w+\(prediction, target, target != -100\)"):
        metric(SCORES, ignored)
    counted = ignored != -100
    np.testing.assert_array_equal(metric(SCORES, ignored, counted), metric(SCORES[counted], LABELS[counted]))


STRINGS, NOTHING = np.full(40, "a"), np.full(40, None)
AMISS: list[tuple[Any, type[Exception], str]] = [
    (lambda: fn.accuracy(SCORES, STRINGS), fn.DTypeError, "accuracy: the target .* holds strings: encode them"),
    (lambda: fn.accuracy(SCORES, NOTHING), fn.DTypeError, "accuracy: the target .* holds missing values"),
    (lambda: fn.accuracy(SCORES, LABELS, STRINGS), fn.DTypeError, "accuracy: the weights .* holds strings"),
    (lambda: fn.accuracy(SCORES, LABELS > 1), fn.ShapeError, r"y\.astype\(int\) makes labels integers"),
    (lambda: fn.accuracy(SCORES, LABELS * 1.0), fn.ShapeError, r"y\.astype\(int\) makes labels integers"),
    (lambda: fn.confusion_matrix(SCORES, STRINGS), fn.DTypeError, "confusion_matrix: the target .* holds strings"),
    (lambda: fn.binary_accuracy(SCORES[:, 0], STRINGS), fn.DTypeError, "binary_accuracy: the target .* strings"),
    (lambda: fn.r2(SCORES, SCORES, STRINGS), fn.DTypeError, "r2: the weights .* holds strings"),
]


@pytest.mark.parametrize(("call", "error", "words"), AMISS)
def test_what_holds_no_numbers_is_reported_with_the_fix(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_bools_and_lists_are_targets_and_weights() -> None:
    z, t = [[0.5], [-1.0], [2.0]], [[True], [False], [False]]
    assert fn.binary_accuracy(np.array(z), np.array(t)) == fn.binary_accuracy(z, t) == 2 / 3  # type: ignore[arg-type]
    weights: Any = [True, False, False]
    assert fn.binary_accuracy(np.array(z), np.array(t), weights) == 1.0
