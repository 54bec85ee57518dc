"""Dropout: how much it drops, what a key turns on, and that a program drops what the pure function does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import random

rates = pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)
KEY = fn.key(7)


@rates
@both_dtypes
def test_the_rate_is_the_probability_to_drop(rate: float, dtype: Any) -> None:
    x = np.full((400, 100), 3.0, dtype)
    y = fn.dropout(rate).apply((), x, key=KEY)
    assert y.dtype == dtype
    dropped = y == 0
    deviation = np.sqrt(rate * (1 - rate) / x.size)
    assert abs(dropped.mean() - rate) <= 5 * deviation
    np.testing.assert_allclose(y[~dropped], 3.0 / (1.0 - rate), rtol=1e-6)


def test_a_key_without_its_name_is_reported() -> None:
    with pytest.raises(fn.DTypeError, match="input 1 is a random key: pass it by its name, key=key"):
        fn.value_and_grad(fn.dropout(0.5), fn.mse())((), np.ones((2, 2)), fn.key(0))


def test_elements_are_dropped_apart() -> None:
    dropped = fn.dropout(0.5).apply((), np.ones((2000, 8)), key=KEY) == 0
    together = np.corrcoef(dropped.T) - np.eye(8)
    assert np.abs(together).max() < 5 / np.sqrt(2000)
    assert abs(np.corrcoef(dropped[1:, 0], dropped[:-1, 0])[0, 1]) < 5 / np.sqrt(2000)


@rates
def test_without_a_key_nothing_is_dropped(rate: float) -> None:
    x = np.random.default_rng(0).normal(size=(5, 4))
    for y in (fn.dropout(rate).apply((), x), fn.serial(fn.dropout(rate)).apply(((),), x)):
        np.testing.assert_array_equal(y, x)
        assert not np.shares_memory(y, x)


@rates
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (7,), (5, 4, 3), (1200, 3)])
def test_a_cotangent_is_dropped_where_the_input_was(rate: float, shape: tuple[int, ...]) -> None:
    x, g = np.random.default_rng(0).normal(size=(2, *shape))
    layer = fn.dropout(rate)
    y, pullback = layer.apply.vjp((), x, key=KEY)
    mask = layer.apply((), np.ones(shape), key=KEY)
    np.testing.assert_allclose(y, x * mask, rtol=1e-15)
    for _ in range(2):
        np.testing.assert_allclose(pullback(g)[1][0], g * mask, rtol=1e-15)


def test_a_draw_that_is_the_rate_keeps_its_element() -> None:
    draws = random.generator(KEY).random((5, 4), np.float32)
    for rate in map(float, draws.ravel()):
        y = fn.dropout(rate).apply((), np.ones((5, 4)), key=KEY)
        np.testing.assert_array_equal(y != 0, draws >= rate)


def test_a_key_is_an_input_and_nothing_is_kept() -> None:
    layer, x = fn.dropout(0.5), np.ones((20, 20))
    first, again, other = (layer.apply((), x, key=fn.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert 0.3 < np.mean(first == other) < 0.7


def test_both_dtypes_drop_alike() -> None:
    narrow, wide = (fn.dropout(0.5).apply((), np.ones((20, 20), dtype), key=KEY) for dtype in (np.float32, np.float64))
    np.testing.assert_array_equal(narrow, wide)


@both_dtypes
@pytest.mark.parametrize("rows", [1, 6, 1200])
def test_a_step_drops_what_the_pure_function_does(rows: int, dtype: Any) -> None:
    net = fn.network(
        {1: fn.linear(8), 2: [fn.relu(), fn.dropout(0.5)], 3: fn.dropout(0.2), 4: fn.linear(2)},
        {1: [2], 2: [3], 3: [4]},
    )
    params, _ = net.init(fn.key(0), (3,), dtype=dtype)
    x, target = (np.random.default_rng(1).normal(size=(rows, n)).astype(dtype) for n in (3, 2))
    output, pullback = net.apply.vjp(params, x, key=KEY)
    assert not np.array_equal(output, net.apply(params, x))
    loss, back = fn.mse().apply.vjp((), output, target)
    of_params, _ = pullback(back(1.0)[1][0])
    found, gradient = fn.value_and_grad(net, fn.mse())(params, x, target, key=KEY)
    tolerance = 1e-5 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(found, loss, rtol=tolerance)
    for a, b in zip(fn.tree.leaves(gradient), fn.tree.leaves(of_params), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_nan_stays_nan() -> None:
    y = fn.dropout(0.5).apply((), np.full((10, 10), np.nan), key=KEY)
    assert np.isnan(y).all()


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, np.nan, "0.5", None, True])
def test_a_rate_out_of_range_is_refused(rate: Any) -> None:
    with pytest.raises(fn.OptionError, match=r"dropout: rate, the probability to drop, must be in \[0, 1\), not"):
        fn.dropout(rate)


def test_a_network_learns_with_dropout() -> None:
    net = fn.network({1: fn.linear(32), 2: [fn.tanh(), fn.dropout(0.2)], 3: fn.linear(1)}, {1: [2], 2: [3]})
    params, _ = net.init(fn.key(0), (2,), dtype=np.float64)
    x = np.random.default_rng(0).normal(size=(100, 2))
    target = x[:, :1] * 0.5 + 0.2
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    for epoch in range(300):
        params, _ = step(params, x, target, key=fn.fold_in(KEY, epoch))
    assert np.mean((net.apply(params, x) - target) ** 2) < 0.02 * np.var(target)
