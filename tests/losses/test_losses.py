"""Losses against sums by the standard library; nothing is broadcast, and an empty batch has no mean."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

import funcnet as fn

CROSS_ENTROPY = fn.softmax_cross_entropy()

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)
shapes = pytest.mark.parametrize("shape", [(5, 3), (1, 1), (7,), (4, 2, 3)])


def pair(*shape: int, dtype: Any = np.float64) -> Any:
    return np.random.default_rng(0).normal(size=(2, *shape)).astype(dtype)


def in_a_network() -> Any:
    """The loss as an operator of two inputs."""
    net = fn.network({"y": fn.identity(), "t": fn.identity(), "loss": fn.mse()}, {"y": ["loss"], "t": ["loss"]})
    return lambda y, t: net.apply({}, y, t)


def mean_square(y: Any, t: Any) -> float:
    squares = ((a - b) ** 2 for a, b in zip(y.ravel().tolist(), t.ravel().tolist(), strict=True))
    return math.fsum(squares) / len(y.ravel())


@both_dtypes
@shapes
def test_the_mean_of_squares_over_batch_and_features(shape: tuple[int, ...], dtype: Any) -> None:
    y, t = pair(*shape, dtype=dtype)
    for loss in (fn.mse().apply((), y, t), in_a_network()(y, t)):
        assert np.shape(loss) == ()
        assert loss.dtype == dtype
        np.testing.assert_allclose(loss, mean_square(y, t), rtol=8 * np.finfo(dtype).eps)


@both_dtypes
@shapes
def test_its_gradients(shape: tuple[int, ...], dtype: Any) -> None:
    y, t = pair(*shape, dtype=dtype)
    _, pullback = fn.mse().apply.vjp((), y, t)
    params, (dy, dt) = pullback(np.array(3.0, dtype))
    assert params == ()
    np.testing.assert_allclose(dy, 3 * 2 * (y - t) / y.size, rtol=1e-5 if dtype is np.float32 else 1e-14)
    np.testing.assert_array_equal(dt, -dy)


@both_dtypes
def test_equal_arrays_have_no_loss(dtype: Any) -> None:
    y, _ = pair(5, 3, dtype=dtype)
    _, pullback = fn.mse().apply.vjp((), y, y)
    assert fn.mse().apply((), y, y) == 0
    assert not pullback(np.array(1.0, dtype))[1][0].any()


@both_dtypes
def test_far_out_nothing_overflows(dtype: Any) -> None:
    y, t = np.array([[800.0, -800.0], [1e4, -1e4]], dtype), np.array([[-800.0, 800.0], [-1e4, 1e4]], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for loss in (fn.mse().apply((), y, t), in_a_network()(y, t)):
            np.testing.assert_allclose(loss, (1600.0**2 + 2e4**2) / 2, rtol=1e-6)


@both_dtypes
@pytest.mark.parametrize("rows", [100, 100_000])
def test_a_large_batch_loses_no_digits(rows: int, dtype: Any) -> None:
    y, t = pair(rows, 3, dtype=dtype)
    np.testing.assert_allclose(in_a_network()(y, t), mean_square(y, t), rtol=1e-5 if dtype is np.float32 else 1e-12)


@both_dtypes
def test_nan_stays_nan(dtype: Any) -> None:
    y, t = pair(5, 3, dtype=dtype)
    y[1, 1] = np.nan
    assert np.isnan(fn.mse().apply((), y, t))
    assert np.isnan(in_a_network()(y, t))
    assert np.isnan(fn.mse().apply((), t, y))


MISMATCHED = [((5,), (5, 1)), ((5, 1), (5,)), ((5, 1), (5, 3)), ((5, 3), (5, 4)), ((5, 1, 3), (5, 3))]


@pytest.mark.parametrize(("of_y", "of_t"), MISMATCHED)
def test_nothing_is_broadcast(of_y: tuple[int, ...], of_t: tuple[int, ...]) -> None:
    words = rf"prediction \({', '.join(map(str, of_y))},?\) and target \({', '.join(map(str, of_t))},?\)"
    for apply in (lambda y, t: fn.mse().apply((), y, t), in_a_network()):
        with pytest.raises(fn.ShapeError, match=words):
            apply(np.ones(of_y), np.ones(of_t))


@pytest.mark.parametrize(
    "kind",
    [
        "mse",
        "mae",
        "huber",
        "log_cosh",
        "pinball",
        "poisson_nll",
        "gaussian_nll",
        "sigmoid_cross_entropy",
        "hinge",
        "kl_divergence",
    ],
)
@pytest.mark.parametrize(
    ("of_y", "of_t", "fix"),
    [
        ((5, 1), (5,), "target[:, None]"),
        ((5,), (5, 1), "target[..., 0]"),
        ((5, 4, 1), (5, 4), "target[..., None]"),
        ((5, 4), (5, 4, 1), "target[..., 0]"),
        ((5, 3), (5,), ""),
        ((5,), (5, 3), ""),
        ((5, 1), (5, 3), ""),
    ],
)
def test_a_last_axis_too_few_or_too_many_is_named_with_its_fix(
    kind: str, of_y: tuple[int, ...], of_t: tuple[int, ...], fix: str
) -> None:
    loss: Any = getattr(fn, kind)()
    predictions = [np.ones(of_y)] * (loss.apply.arity - 1)
    target = np.ones(of_t)
    with pytest.raises(fn.ShapeError, match="nothing is broadcast") as caught:
        loss.apply((), *predictions, target)
    named = re.findall(r"target\[[^\]]*\]", str(caught.value))
    assert named == [fix] * bool(fix)
    if fix:
        loss.apply((), *predictions, eval(fix, {"target": target}))  # the fix as it stands


@pytest.mark.parametrize(("of_y", "of_t"), MISMATCHED)
def test_nothing_is_broadcast_at_init(of_y: tuple[int, ...], of_t: tuple[int, ...]) -> None:
    with pytest.raises(fn.ShapeError, match="must have the same shape"):
        fn.mse().init(fn.key(0), of_y[1:], of_t[1:])


@pytest.mark.parametrize("shape", [(0, 3), (0,), (5, 0)])
def test_an_empty_batch_has_no_mean(shape: tuple[int, ...]) -> None:
    for apply in (lambda y, t: fn.mse().apply((), y, t), in_a_network()):
        with pytest.raises(fn.ShapeError, match="the batch is empty, and has no mean"):
            apply(np.ones(shape), np.ones(shape))


def test_a_step_on_an_empty_batch_is_refused() -> None:
    net = fn.network({1: fn.linear(2)}, {})
    params, _ = net.init(fn.key(0), (3,))
    with pytest.raises(fn.ShapeError, match="the batch is empty, and has no mean"):
        fn.sgd_step(net, fn.mse(), learning_rate=0.1)(params, np.ones((0, 3)), np.ones((0, 2)))


@pytest.mark.parametrize("target", [np.ones((5, 3), int), np.ones((5, 3), bool)])
def test_targets_that_are_no_floating_numbers_are_refused(target: Any) -> None:
    with pytest.raises(fn.DTypeError, match="input 1 has dtype (int64|bool).*astype"):
        fn.mse().apply((), np.ones((5, 3)), target)


@pytest.mark.parametrize("count", [1, 3])
def test_a_wrong_number_of_inputs_is_refused(count: int) -> None:
    with pytest.raises(fn.ShapeError, match=f"mse takes 2 inputs, but was given {count}"):
        fn.mse().apply((), *[np.ones((5, 3))] * count)


def test_arrays_of_two_dtypes_are_refused() -> None:
    with pytest.raises(fn.DTypeError, match="float32, float64"):
        fn.mse().apply((), np.ones((5, 3), np.float32), np.ones((5, 3)))


# --- softmax and cross entropy


def logits(rows: int = 5, classes: int = 4, dtype: Any = np.float64) -> Any:
    """Logits, and positive targets that are no distributions: their rows do not sum to 1."""
    rng = np.random.default_rng(0)
    return (3 * rng.normal(size=(rows, classes))).astype(dtype), rng.uniform(size=(rows, classes)).astype(dtype)


def logarithms(z: Any) -> Any:
    """log softmax of each row."""
    found = []
    for row in z.astype(np.float64).tolist():
        total = math.log(math.fsum(math.exp(v - max(row)) for v in row))
        found.append([v - max(row) - total for v in row])
    return np.array(found)


def cross_entropy(z: Any, t: Any) -> float:
    return -math.fsum((t * logarithms(z)).ravel().tolist()) / len(z)


def compiled_cross_entropy(z: Any, t: Any) -> Any:
    """(loss, gradient of the logits) in a program: the gradient of the biases of each row."""
    net = fn.network({1: fn.linear(z.shape[1])}, {})
    gradient = fn.value_and_grad(net, CROSS_ENTROPY)
    found = [
        gradient({1: fn.Affine(np.zeros((1, z.shape[1]), z.dtype), row)}, np.zeros((1, 1), z.dtype), target[None])
        for row, target in zip(z, t, strict=True)
    ]
    return np.mean([loss for loss, _ in found]), np.array([of_params[1].bias for _, of_params in found]) / len(z)


@both_dtypes
@pytest.mark.parametrize("labelled", [False, True])
def test_cross_entropy_is_that_of_the_book(labelled: bool, dtype: Any) -> None:
    z, t = logits(dtype=dtype)
    labels = t.argmax(axis=1)
    rows = np.eye(4)[labels] if labelled else t
    eps = np.finfo(dtype).eps
    given = labels if labelled else t
    for loss in (CROSS_ENTROPY.apply((), z, given), compiled_cross_entropy(z, given)[0]):
        np.testing.assert_allclose(loss, cross_entropy(z, rows), rtol=16 * eps)


@both_dtypes
@pytest.mark.parametrize("labelled", [False, True])
def test_the_gradients_of_cross_entropy(labelled: bool, dtype: Any) -> None:
    z, t = logits(dtype=dtype)
    labels = t.argmax(axis=1)
    rows = np.eye(4)[labels] if labelled else t
    p = np.exp(logarithms(z))
    expected = (p * rows.sum(axis=1, keepdims=True) - rows) / len(z)
    _, pullback = CROSS_ENTROPY.apply.vjp((), z, labels if labelled else t)
    _, (dz, dt) = pullback(1.0)
    tolerance = 32 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(dz, expected, atol=tolerance)
    np.testing.assert_allclose(compiled_cross_entropy(z, labels if labelled else t)[1], expected, atol=tolerance)
    if not labelled:
        np.testing.assert_allclose(dt, -logarithms(z) / len(z), rtol=1e-5, atol=tolerance)


@both_dtypes
def test_cross_entropy_far_out_neither_overflows_nor_takes_the_logarithm_of_zero(dtype: Any) -> None:
    z = np.array([[800.0, -800.0, 0.0], [1e4, -1e4, 1e4], [-1e4, -1e4, -1e4]], dtype)
    t = np.array([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for given, rows in ((t, t), (np.array([1, 1, 2]), np.eye(3)[[1, 1, 2]])):
            loss, pullback = CROSS_ENTROPY.apply.vjp((), z, given)
            np.testing.assert_allclose(loss, cross_entropy(z, rows), rtol=1e-6)
            assert np.isfinite(pullback(1.0)[1][0]).all()
            np.testing.assert_allclose(compiled_cross_entropy(z, given)[0], loss, rtol=1e-6)


def test_a_certain_right_answer_costs_nothing() -> None:
    assert CROSS_ENTROPY.apply((), np.array([[1e4, 0.0]]), np.array([0])) == 0


@pytest.mark.parametrize("place", [0, 1])
def test_cross_entropy_of_nan_is_nan(place: int) -> None:
    arrays = [*logits()]
    arrays[place][1, 2] = np.nan
    assert np.isnan(CROSS_ENTROPY.apply((), *arrays))
    assert np.isnan(compiled_cross_entropy(*arrays)[0])


@pytest.mark.parametrize(
    ("of_z", "of_t"),
    [
        ((5, 3), (5, 4)),
        ((5, 3), (5, 1)),
        ((5, 1), (5, 3)),
        ((5,), (5,)),
        ((5, 2, 3), (5, 3)),
        ((5, 2, 3), (5, 2, 1)),
        ((5, 1), (5, 1)),
    ],
)
def test_cross_entropy_broadcasts_nothing(of_z: tuple[int, ...], of_t: tuple[int, ...]) -> None:
    with pytest.raises(fn.ShapeError, match="softmax_cross_entropy.*logits"):
        CROSS_ENTROPY.apply((), np.ones(of_z), np.ones(of_t))


@pytest.mark.parametrize("labels", [np.zeros((5, 1), int), np.zeros((5, 3), int)])
def test_labels_stand_one_a_row(labels: Any) -> None:
    with pytest.raises(fn.FuncnetError, match="softmax_cross_entropy"):
        CROSS_ENTROPY.apply((), np.ones((5, 3)), labels)
    net = fn.network({1: fn.linear(3)}, {})
    params, _ = net.init(fn.key(0), (2,))
    with pytest.raises(fn.FuncnetError, match="softmax_cross_entropy"):
        fn.value_and_grad(net, CROSS_ENTROPY)(params, np.ones((5, 2)), labels)


@pytest.mark.parametrize("labels", [np.zeros(5, bool), np.zeros(5, complex), np.array(["a"] * 5), np.full(5, None)])
def test_labels_are_integers(labels: Any) -> None:
    with pytest.raises(fn.DTypeError, match="input 1 has dtype"):
        CROSS_ENTROPY.apply((), np.ones((5, 3)), labels)


@pytest.mark.parametrize("target", [np.zeros(0, int), np.zeros((0, 3))])
def test_cross_entropy_of_an_empty_batch_is_refused(target: Any) -> None:
    with pytest.raises(fn.ShapeError, match="the batch is empty, and has no mean"):
        CROSS_ENTROPY.apply((), np.ones((0, 3)), target)


def test_one_class_costs_nothing() -> None:
    loss, pullback = CROSS_ENTROPY.apply.vjp((), np.array([[3.0], [-2.0]]), np.array([0, 0]))
    assert loss == 0
    assert not pullback(1.0)[1][0].any()


MASKED = np.array([[1.0, -np.inf, 2.0], [-np.inf, 0.5, -np.inf]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_classes_may_be_masked_by_minus_infinity(dtype: Any, reduction: Any, weighted: bool, soft: bool) -> None:
    z, t = MASKED.astype(dtype), np.array([2, 1])
    w = [np.array([2.0, 1.0], dtype)] if weighted else []
    target = np.eye(3, dtype=dtype)[t] if soft else t
    each = np.array([np.log1p(np.exp(-1.0)), 0.0]) * (w[0] if w else 1.0)
    share = 1.0 if reduction != "mean" else 1 / (3 if w else 2)
    loss = fn.softmax_cross_entropy(reduction=reduction, weighted=weighted)
    value, pullback = loss.apply.vjp((), z, target, *w)
    np.testing.assert_allclose(value, each if reduction == "none" else each.sum() * share, rtol=1e-6, atol=1e-7)
    p = 1 / (1 + np.exp(1.0))
    dz = np.array([[p, 0, -p], [0, 0, 0]]) * (w[0][:, None] if w else 1.0) * share
    np.testing.assert_allclose(pullback(np.ones_like(value))[1][0], dz, rtol=1e-6, atol=1e-7)
    if reduction != "none":
        identities: dict[Any, Any] = {i: fn.identity() for i in range(2 + len(w))}
        edges: dict[Any, Any] = {i: ["loss"] for i in identities}
        operators: dict[Any, Any] = {**identities, "loss": loss}
        net = fn.network(operators, edges, inputs=[*identities])
        np.testing.assert_allclose(net.apply({}, z, target, *w), value, rtol=1e-6)


@pytest.mark.parametrize("rows", [3, 1500])
def test_masked_classes_train(rows: int) -> None:
    rng = np.random.default_rng(0)
    net: Any = fn.network(
        {"x": fn.linear(3), "mask": fn.identity(), "z": fn.add()}, {"x": ["z"], "mask": ["z"]}, inputs=["x", "mask"]
    )
    params, _ = net.init(fn.key(0), (4,), (3,))
    x, t = rng.normal(size=(rows, 4)).astype(np.float32), rng.integers(0, 2, rows)
    mask = np.broadcast_to(np.array([0, 0, -np.inf], np.float32), (rows, 3))
    for target in (t, np.eye(3, dtype=np.float32)[t]):
        loss, gradient = fn.value_and_grad(net, fn.softmax_cross_entropy())(params, x, mask, target)
        few = net.apply(params, x, 0 * x[:, :3])[:, :2]
        np.testing.assert_allclose(loss, fn.softmax_cross_entropy().apply((), few, t), rtol=1e-5)
        assert np.isfinite(gradient["x"].weight).all()
        assert not gradient["x"].weight[:, 2].any()


def test_a_masked_label_is_infinitely_unlikely() -> None:
    for target in (np.array([1, 1]), np.eye(3)[[1, 1]]):
        assert CROSS_ENTROPY.apply((), MASKED, target) == np.inf
    smoothed = fn.softmax_cross_entropy(label_smoothing=0.1)
    assert smoothed.apply((), MASKED, np.array([2, 1])) == np.inf  # as in PyTorch and Optax


def test_a_class_without_mass_may_have_no_logarithm() -> None:
    y, t = np.log([[0.25, 0.75, 1.0]]), np.array([[0.5, 0.5, 0.0]])
    y[0, 2] = -np.inf
    for reduction in ("mean", "sum", "none"):
        value, pullback = fn.kl_divergence(reduction=reduction).apply.vjp((), y, t)
        np.testing.assert_allclose(value, 0.5 * np.log(2) + 0.5 * np.log(2 / 3), rtol=1e-12)
        np.testing.assert_array_equal(pullback(np.ones_like(value))[1][0], -t)


def test_infinite_logits_of_answers() -> None:
    loss = fn.sigmoid_cross_entropy(reduction="none")
    z, t = np.array([[np.inf], [-np.inf], [np.inf], [-np.inf]]), np.array([[0.0], [1.0], [0.3], [0.3]])
    value, pullback = loss.apply.vjp((), z, t)
    np.testing.assert_array_equal(value, [np.inf] * 4)
    np.testing.assert_allclose(pullback(np.ones(4))[1][0], [[1.0], [-1.0], [0.7], [-0.3]])


@pytest.mark.parametrize("shape", [(5, 1), (5, 4, 1)])
def test_one_class_of_distributions_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(fn.ShapeError, match=r"logits \(5.* 1\) are of one class.*use fn\.sigmoid_cross_entropy"):
        CROSS_ENTROPY.apply((), np.ones(shape), np.ones(shape))


def test_distributions_of_one_step_are_those_of_rows() -> None:
    z, t = logits()
    assert CROSS_ENTROPY.apply((), z[:, None], t[:, None]) == pytest.approx(CROSS_ENTROPY.apply((), z, t), rel=1e-15)
