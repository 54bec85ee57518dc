"""What all losses have in common: reductions over the rows, weights, empty batches, options that are wrong."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree

pytestmark = pytest.mark.filterwarnings("ignore:.*kl_divergence takes logarithms")  # of any numbers here
ROWS, WEIGHTS = 6, np.array([2.0, 0.0, 1.0, 3.0, 1.0, 2.0])

# every loss, and what it takes besides the prediction, made of normal numbers in the shape of the prediction
LOSSES: dict[str, tuple[Callable[..., fn.Layer[Any, Any]], Callable[[Any], list[Any]]]] = {
    "mse": (fn.mse, lambda x: [x]),
    "mae": (fn.mae, lambda x: [x]),
    "huber": (fn.huber, lambda x: [x]),
    "log_cosh": (fn.log_cosh, lambda x: [x]),
    "pinball": (partial(fn.pinball, 0.9), lambda x: [x]),
    "poisson_nll": (fn.poisson_nll, lambda x: [abs(x)]),
    "gaussian_nll": (fn.gaussian_nll, lambda x: [abs(x) + 0.5, x[::-1].copy()]),
    "softmax_cross_entropy": (fn.softmax_cross_entropy, lambda x: [abs(x)]),
    "softmax_cross_entropy of labels": (fn.softmax_cross_entropy, lambda x: [x.argmax(axis=1)]),
    "sigmoid_cross_entropy": (fn.sigmoid_cross_entropy, lambda x: [(x > 0).astype(x.dtype)]),
    "hinge": (fn.hinge, lambda x: [np.sign(x)]),
    "kl_divergence": (fn.kl_divergence, lambda x: [abs(x)]),
}
every_loss = pytest.mark.parametrize("name", LOSSES)
reductions = pytest.mark.parametrize("reduction", ["mean", "sum"])


def given(name: str, rows: int = ROWS) -> tuple[Callable[..., fn.Layer[Any, Any]], list[Any]]:
    """The constructor, and inputs for the loss that it makes."""
    make, others = LOSSES[name]
    y, x = np.random.default_rng(0).normal(size=(2, rows, 3))
    return make, [y, *others(x)]


def in_a_program(loss: fn.Layer[Any, Any], inputs: list[Any]) -> tuple[Any, Any]:
    """(loss, cotangents of the prediction's features) of predictions that are shifted by params of zero."""
    net: fn.Layer[Any, Any] = fn.network({1: fn.linear(3)}, {})
    params: Any = {1: fn.Affine(np.eye(3), np.zeros(3))}
    if loss.apply.kind == "gaussian_nll":  # of two predictions
        net = fn.network({1: fn.linear(3), 2: fn.identity()}, {}, output=[1, 2])
    value, gradient = fn.value_and_grad(net, loss)(params, *inputs)
    return value, gradient[1].bias


def expected(reduction: str, each: Any, weights: Any = None) -> Any:
    return (
        np.average(each, weights=weights) if reduction == "mean" else np.sum(each * (1 if weights is None else weights))
    )


@every_loss
@reductions
def test_a_loss_is_the_mean_or_sum_of_those_of_its_rows(name: str, reduction: str) -> None:
    make, inputs = given(name)
    each = make(reduction="none").apply((), *inputs)
    assert each.shape == (ROWS,)
    total = make(reduction=reduction).apply((), *inputs)
    assert np.shape(total) == ()
    np.testing.assert_allclose(total, expected(reduction, each), rtol=1e-14)
    np.testing.assert_allclose(in_a_program(make(reduction=reduction), inputs)[0], total, rtol=1e-13)


@every_loss
@reductions
def test_weights_count_rows_as_often_as_they_say(name: str, reduction: str) -> None:
    make, inputs = given(name)
    often = [np.repeat(x, WEIGHTS.astype(int), axis=0) for x in inputs]
    weighted, plain = make(reduction=reduction, weighted=True), make(reduction=reduction)
    loss, pullback = weighted.apply.vjp((), *inputs, WEIGHTS)
    np.testing.assert_allclose(loss, plain.apply((), *often), rtol=1e-14)
    _, (dy, *_, dw) = pullback(1.0)
    _, (rows, *_) = plain.apply.vjp((), *often)[1](1.0)
    np.testing.assert_allclose(np.repeat(dy, WEIGHTS.astype(int), axis=0), rows * often_of(), atol=1e-15)
    each = make(reduction="none").apply((), *inputs)
    slope = (each - loss) / WEIGHTS.sum() if reduction == "mean" else each
    np.testing.assert_allclose(dw, slope, rtol=1e-12, atol=1e-14)


def often_of() -> Any:
    """How often the row stands there that each of the repeated rows came from."""
    often = np.repeat(WEIGHTS, WEIGHTS.astype(int))
    return often[:, None]


@every_loss
@reductions
@pytest.mark.parametrize("rows", [1, ROWS, 1200])
def test_weights_in_a_program(name: str, reduction: str, rows: int) -> None:
    make, inputs = given(name, rows)
    weights = np.random.default_rng(1).uniform(0.5, 2, size=rows)
    loss = make(reduction=reduction, weighted=True)
    value, pullback = loss.apply.vjp((), *inputs, weights)
    found, bias = in_a_program(loss, [*inputs, weights])
    np.testing.assert_allclose(found, value, rtol=1e-12)
    np.testing.assert_allclose(bias, pullback(1.0)[1][0].sum(axis=0), rtol=1e-11, atol=1e-13)


@every_loss
def test_the_losses_of_rows_stand_in_a_network(name: str) -> None:
    make, inputs = given(name)
    for weights in ([], [WEIGHTS]):
        loss = make(reduction="none", weighted=bool(weights))
        places = list(range(len(inputs) + len(weights)))
        identities: dict[Any, Any] = dict.fromkeys(places, fn.identity())
        edges: dict[Any, Any] = dict.fromkeys(places, ["loss"])
        chain = [loss, fn.reshape(1), fn.sum(1)]
        net = fn.network({**identities, "loss": chain}, edges, inputs=places)
        found = net.apply({}, *inputs, *weights)
        np.testing.assert_allclose(found, loss.apply((), *inputs, *weights), rtol=1e-13)


@every_loss
def test_weights_without_a_sum_have_no_mean(name: str) -> None:
    make, inputs = given(name)
    weights = np.array([1.0, -1.0, 0.0, 2.0, -2.0, 0.0])
    with pytest.raises(fn.WeightError, match="the 6 weights add up to 0, so the batch has no mean: leave such a batch"):
        make(weighted=True).apply((), *inputs, weights)
    with pytest.raises(fn.WeightError, match="add up to 0"):
        in_a_program(make(weighted=True), [*inputs, weights])
    assert np.isfinite(make(reduction="sum", weighted=True).apply((), *inputs, weights))


@every_loss
@pytest.mark.parametrize("shape", [(ROWS, 1), (ROWS - 1,), (ROWS, 2), (ROWS, 3, 1)])
def test_weights_are_one_a_row_or_one_a_place(name: str, shape: tuple[int, ...]) -> None:
    make, inputs = given(name)
    words = "must be one number a row" if shape[0] == ROWS else "different batch sizes"
    with pytest.raises(fn.ShapeError, match=words):
        make(weighted=True).apply((), *inputs, np.ones(shape))
    if name.startswith(("softmax", "kl")):  # a row is one place
        with pytest.raises(fn.ShapeError, match=r"weights \(6, 3\) must be one number a row, \(6,\)$"):
            make(weighted=True).apply((), *inputs, np.ones((ROWS, 3)))


@reductions
def test_weights_are_floating_also_beside_labels(reduction: str) -> None:
    make, inputs = given("softmax_cross_entropy of labels")
    loss, weights = make(reduction=reduction, weighted=True), np.ones(ROWS, int)
    with pytest.raises(fn.DTypeError, match="input 2 has dtype int64"):
        loss.apply((), *inputs, weights)
    with pytest.raises(fn.DTypeError, match=r"weights have dtype int64.*cast them, w\.astype\(np\.float32\)"):
        in_a_program(loss, [*inputs, weights])


@every_loss
@pytest.mark.parametrize("weighted", [False, True])
def test_an_empty_batch_has_no_mean_but_a_sum(name: str, weighted: bool) -> None:
    make, inputs = given(name, 0)
    inputs = [*inputs, *([np.ones(0)] if weighted else [])]
    with pytest.raises(fn.ShapeError, match="the batch is empty, and has no mean"):
        make(weighted=weighted).apply((), *inputs)
    assert make(reduction="sum", weighted=weighted).apply((), *inputs) == 0
    assert make(reduction="none", weighted=weighted).apply((), *inputs).shape == (0,)


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_rows_without_features_are_refused(reduction: Any) -> None:
    with pytest.raises(fn.ShapeError, match="its rows have no features, and so no loss"):
        fn.mse(reduction=reduction).apply((), np.ones((5, 0)), np.ones((5, 0)))


@every_loss
@pytest.mark.parametrize("reduction", ["avg", None, "Mean", 1])
def test_another_reduction_is_refused(name: str, reduction: Any) -> None:
    with pytest.raises(fn.OptionError, match="reduction must be 'mean', 'sum' or 'none', not"):
        LOSSES[name][0](reduction=reduction)


@every_loss
def test_one_loss_a_row_is_no_loss_to_train_with(name: str) -> None:
    make, inputs = given(name)
    with pytest.raises(fn.ShapeError, match="must be one number for the whole batch"):
        in_a_program(make(reduction="none"), inputs)


@every_loss
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_out_nothing_overflows(name: str, dtype: Any) -> None:
    make, inputs = given(name)
    far = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [0.0, 80.0, -80.0]])
    far = np.minimum(far, 80.0) if name == "poisson_nll" else far
    given_far = [x[:3].astype(dtype) if x.dtype.kind == "f" else x[:3] for x in (far, *inputs[1:])]
    for loss in (make(), make(reduction="none")):
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            value, pullback = loss.apply.vjp((), *given_far)
            cotangents = pullback(np.ones_like(value))
        assert all(np.isfinite(x).all() for x in tree.leaves((value, cotangents)))


@pytest.mark.parametrize("weighted", [1, None, np.ones(3)])
def test_weights_are_an_input_not_an_option(weighted: Any) -> None:
    with pytest.raises(fn.OptionError, match="mse: weighted must be True or False, not"):
        fn.mse(weighted=weighted)
