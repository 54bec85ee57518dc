"""Losses against sums by the standard library; nothing is broadcast, and an empty batch has no mean."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import funcnet as fn

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
