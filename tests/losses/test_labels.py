"""Integer labels: the loss that takes them, alone, beside a network and inside one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.losses.reduction import weight_of_batch

rng = np.random.default_rng(0)
CLASSES = 3


def batch(rows: int, dtype: Any = np.float64) -> tuple[fn.Array, Any, fn.Array]:
    """Rows of two features, a label for each, and the labels as rows of zeros and ones."""
    labels = rng.integers(CLASSES, size=rows)
    return rng.normal(size=(rows, 2)).astype(dtype), labels, np.eye(CLASSES, dtype=dtype)[labels]


def classifier() -> fn.Layer[Any, Any]:
    return fn.network({1: fn.linear(8), 2: fn.relu(), 3: fn.linear(CLASSES)}, {1: [2], 2: [3]})


def with_loss_inside() -> fn.Layer[Any, Any]:
    operators: dict[str, Any] = {
        "x": fn.linear(8),
        "h": fn.relu(),
        "z": fn.linear(CLASSES),
        "t": fn.identity(),
        "again": fn.identity(),
    }
    connectivity = {"x": ["h"], "h": ["z"], "z": ["loss"], "t": ["again"], "again": ["loss"]}
    return fn.network({**operators, "loss": fn.softmax_cross_entropy()}, connectivity, inputs=["x", "t"])


def close(a: Any, b: Any) -> None:
    for x, y in zip(tree.leaves(a), tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("rows", [1, 7, 1200])
@pytest.mark.parametrize("kind", [np.int64, np.int8, np.uint16])
def test_labels_are_their_one_hot_rows(rows: int, kind: Any) -> None:
    net = classifier()
    params, _ = net.init(fn.key(0), (2,), dtype=np.float64)
    x, labels, rows_of_ones = batch(rows)
    gradient = fn.value_and_grad(net, fn.softmax_cross_entropy())
    close(gradient(params, x, labels.astype(kind)), gradient(params, x, rows_of_ones))


def test_the_loss_is_that_of_the_book() -> None:
    z = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 4.0]])
    expected = -np.mean(np.log(np.exp(z) / np.exp(z).sum(axis=1, keepdims=True))[[0, 1], [2, 0]])
    assert fn.softmax_cross_entropy().apply((), z, np.array([2, 0])) == pytest.approx(expected, rel=1e-14)


def test_large_logits_stay_finite() -> None:
    z = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        loss, pullback = fn.softmax_cross_entropy().apply.vjp((), z, np.array([1, 2]))
        _, (dz, dt) = pullback(1.0)
    assert loss == pytest.approx((2e4 + np.log(2)) / 2)
    np.testing.assert_allclose(dz, np.array([[1.0, -1.0, 0.0], [0.0, 0.5, -0.5]]) / 2, atol=1e-15)
    assert dt is None


def test_labels_go_through_identities_inside_a_network() -> None:
    inside, beside = with_loss_inside(), classifier()
    x, labels, _ = batch(9)
    params, shape = inside.init(fn.key(3), (2,), (CLASSES,), dtype=np.float64)
    assert shape == ()
    own = dict(zip((1, 3), (params["x"], params["z"]), strict=True))
    loss, gradient = fn.value_and_grad(inside)(params, x, labels)
    close((loss, tree.leaves(gradient)), fn.value_and_grad(beside, fn.softmax_cross_entropy())(own, x, labels)[:1]
          + (tree.leaves(fn.value_and_grad(beside, fn.softmax_cross_entropy())(own, x, labels)[1]),))  # fmt: skip
    same, pullback = inside.apply.vjp(params, x, labels)
    of_params, (_, of_labels) = pullback(1.0)
    close((same, of_params), (loss, gradient))
    assert of_labels is None


@pytest.mark.parametrize("wrong", [3, -1, 100])
def test_a_label_that_is_no_class_is_named(wrong: int) -> None:
    net = classifier()
    params, _ = net.init(fn.key(0), (2,))
    x, labels, _ = batch(5, np.float32)
    step = fn.sgd_step(net, fn.softmax_cross_entropy(), learning_rate=0.1)
    expected = step(params, x, labels)
    words = f"label {wrong} is none of the 3 classes, which are numbered 0 to 2"
    with pytest.raises(fn.LabelError, match=words):
        step(params, x, np.where(np.arange(5) == 2, wrong, labels))
    with pytest.raises(fn.LabelError, match=words):
        fn.softmax_cross_entropy().apply((), np.zeros((1, 3)), np.array([wrong]))
    close(step(params, x, labels), expected)


def test_labels_for_one_logit_are_sent_to_the_sigmoid() -> None:
    z, y = np.zeros((4, 1), np.float32), np.array([0, 1, 1, 0])
    with pytest.raises(fn.LabelError, match="label 1 is none of the 1 class, ") as caught:
        fn.softmax_cross_entropy().apply((), z, y)
    assert "fn.sigmoid_cross_entropy(), of targets y.astype(np.float32)[..., None]" in str(caught.value)
    fn.sigmoid_cross_entropy().apply((), z, y.astype(np.float32)[..., None])
    with pytest.raises(fn.LabelError) as caught:
        fn.softmax_cross_entropy().apply((), np.zeros((4, 2)), y + 1)
    assert "sigmoid" not in str(caught.value)


def test_floating_labels_are_refused() -> None:
    with pytest.raises(fn.ShapeError, match=r"make them integers, t\.astype\(int\)"):
        fn.softmax_cross_entropy().apply((), np.zeros((2, 3)), np.zeros(2))


def test_integers_where_no_label_is_wanted_are_refused() -> None:
    net = classifier()
    params, _ = net.init(fn.key(0), (2,))
    x, labels, _ = batch(5, np.float32)
    with pytest.raises(fn.DTypeError, match=r"input 0 has dtype int64.*x\.astype\(np\.float32\)"):
        fn.value_and_grad(net, fn.softmax_cross_entropy())(params, x.astype(int), labels)
    with pytest.raises(fn.DTypeError, match="int64"):
        fn.value_and_grad(net, fn.mse())(params, x, labels)
    through = fn.network({1: fn.identity(), 2: fn.linear(2)}, {1: [2]})
    with pytest.raises(fn.DTypeError, match="int64"):
        through.apply.vjp(through.init(fn.key(0), (2,))[0], x.astype(int))


def test_an_error_in_a_running_program_names_its_operator() -> None:
    ids: Any = fn.embedding(4, 3)
    words = fn.network({"ids": ids, "deep": fn.network({"out": fn.linear(3)}, {})}, {"ids": ["deep"]})
    inside: Any = fn.network(
        {1: words, "t": fn.identity(), "ce": fn.softmax_cross_entropy()}, {1: ["ce"], "t": ["ce"]}, output="ce"
    )
    params, _ = inside.init(fn.key(0), (), ())
    series = fn.serial(ids, fn.linear(3))
    i, labels, weights = np.array([0, 3]), np.array([0, 2]), np.array([1.0, -1.0])
    own, _ = series.init(fn.key(0), ())
    beside = fn.value_and_grad(series, fn.softmax_cross_entropy())
    weighted = fn.value_and_grad(series, fn.softmax_cross_entropy(weighted=True))
    calls: list[tuple[Any, str]] = [
        (lambda: inside.apply(params, i, labels + 1), "^ce softmax_cross_entropy: label 3 is none"),
        (lambda: fn.value_and_grad(inside)(params, i + 1, labels), "^1 network / ids embedding: index 4 is none"),
        (lambda: beside(own, i, labels + 1), "^loss softmax_cross_entropy: label 3 is none"),
        (lambda: beside(own, i + 1, labels), "^0 embedding: index 4 is none"),
        (lambda: weighted(own, i, labels, weights), "^loss softmax_cross_entropy: the 2 weights add up to 0"),
    ]
    for call, told in calls:
        with pytest.raises((fn.LabelError, fn.WeightError), match=told):
            call()


@pytest.mark.parametrize("shape", [(4, 1), (4, 5, 1)])
def test_a_column_of_labels_is_told_how_to_lose_its_axis(shape: tuple[int, ...]) -> None:
    z, t = np.zeros((*shape[:-1], 3), np.float32), np.zeros(shape, int)
    with pytest.raises(fn.ShapeError, match=r"a column of labels is y\[\.\.\., 0\]"):
        fn.softmax_cross_entropy().apply((), z, t)
    with pytest.raises(fn.ShapeError, match=r"a column of labels is y\[\.\.\., 0\]"):
        fn.softmax_cross_entropy(ignore_label=-1).apply((), z, t)
    fn.softmax_cross_entropy().apply((), z, t[..., 0])
    with pytest.raises(fn.ShapeError, match="one label a row") as found:
        fn.softmax_cross_entropy().apply((), z, np.zeros((*shape[:-1], 2), int))
    assert "a column of labels" not in str(found.value)


def test_a_batch_weighs_the_weights_of_its_labels() -> None:
    z, labels, ignored = np.zeros((2, 3, 1)), np.array([[0, 1, 9], [9, 9, 3]]), 9
    assert weight_of_batch("classes", False, None, z, labels) == 6.0
    assert weight_of_batch("classes", False, ignored, z, labels) == 3.0
    assert weight_of_batch("classes", False, None, z, z) == 6.0
    assert weight_of_batch("classes", True, ignored, z, labels, np.array([0.5, 4.0])) == 5.0
    assert weight_of_batch("classes", True, None, z, z, np.array([0.5, 4.0])) == 13.5
