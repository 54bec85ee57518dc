"""Losses of numbers: where they bend, what they do far out, and options out of range."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import funcnet as fn


def gradient(loss: fn.Layer[Any, Any], *inputs: Any) -> Any:
    """(value, cotangents)."""
    value, pullback = loss.apply.vjp((), *(np.array(x, float)[:, None] for x in inputs))
    return value, [c.ravel().tolist() for c in pullback(1.0)[1]]


def test_huber_is_a_square_within_delta_and_a_line_beyond() -> None:
    loss = fn.huber(2.0, reduction="sum")
    value, (dy, dt) = gradient(loss, [0.5, 2.0, -2.0, 5.0, -1e4], [0.0, 0.0, 0.0, 0.0, 0.0])
    assert value == 0.125 + 2.0 + 2.0 + 2.0 * 4.0 + 2.0 * (1e4 - 1.0)
    assert dy == [0.5, 2.0, -2.0, 2.0, -2.0]
    assert dt == [-0.5, -2.0, 2.0, -2.0, 2.0]


def test_a_prediction_that_is_right_is_left_alone() -> None:
    for loss in (fn.mse(), fn.mae(), fn.huber(), fn.log_cosh(), fn.pinball(0.9)):
        value, (dy, dt) = gradient(loss, [1.0, -2.0], [1.0, -2.0])
        assert (value, dy) == (0.0, [0.0, 0.0])
        assert dt in ([0.0, 0.0], [-0.0, -0.0])


def test_the_pinball_is_a_line_on_either_side() -> None:
    value, (dy, dt) = gradient(fn.pinball(0.75, reduction="sum"), [1.0, -1.0, 3.0], [0.0, 0.0, 3.0])
    assert value == 0.25 + 0.75
    assert dy == [0.25, -0.75, 0.0]
    assert dt == [-0.25, 0.75, 0.0]
    y, t = np.random.default_rng(0).normal(size=(2, 20, 3))
    assert fn.pinball(0.5).apply((), y, t) == pytest.approx(0.5 * fn.mae().apply((), y, t), rel=1e-14)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9])
def test_the_pinball_is_least_at_the_quantile(q: float) -> None:
    t = np.random.default_rng(0).exponential(size=(1001, 1))
    losses = [fn.pinball(q).apply((), np.full_like(t, y), t) for y in t[:, 0]]
    assert t[np.argmin(losses), 0] == pytest.approx(np.quantile(t, q), abs=0.01)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_cosh_is_a_square_near_zero_and_a_line_far_out(dtype: Any) -> None:
    loss = fn.log_cosh(reduction="none")
    d = np.array([[1e-3], [0.0], [1e4], [-1e30], [np.inf]], dtype)
    with np.errstate(all="raise", under="ignore"):
        value, pullback = loss.apply.vjp((), d, np.zeros_like(d))
    expected = [5e-7, 0.0, 1e4 - math.log(2), 1e30, math.inf]
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=float(np.finfo(dtype).eps) * 1e-3)
    np.testing.assert_allclose(pullback(np.ones_like(value))[1][0].ravel(), [1e-3, 0.0, 1.0, -1.0, 1.0], rtol=1e-6)


@pytest.mark.parametrize("quantile", [0, 1, -0.5, 1.5, np.nan, "0.5", None])
def test_a_quantile_lies_between_0_and_1(quantile: Any) -> None:
    with pytest.raises(fn.OptionError, match="pinball: quantile must be"):
        fn.pinball(quantile)


def test_poisson_is_least_where_the_rate_is_the_count() -> None:
    counts = [1.0, 4.0, 9.0]
    _, (dy, _) = gradient(fn.poisson_nll(), np.log(counts), counts)
    np.testing.assert_allclose(dy, 0.0, atol=1e-15)
    value, _ = gradient(fn.poisson_nll(), [0.0, 1.0], [2.0, 0.0])
    assert value == pytest.approx((1.0 + math.e) / 2)


def test_the_largest_logarithm_of_a_rate() -> None:
    for dtype, largest in ((np.float32, 88.0), (np.float64, 709.0)):
        y = np.full((3, 1), largest, dtype)
        with np.errstate(over="raise"):
            assert np.isfinite(fn.poisson_nll(reduction="none").apply((), y, y)).all()


def test_the_gaussian_is_least_where_the_variance_is_that_of_the_errors() -> None:
    t = np.random.default_rng(0).normal(size=(1000, 1)) * 3
    m = np.zeros_like(t)
    _, pullback = fn.gaussian_nll().apply.vjp((), m, np.full_like(t, np.mean(t**2)), t)
    _, (_, ds, _) = pullback(1.0)
    assert ds.sum() == pytest.approx(0.0, abs=1e-14)
    value = fn.gaussian_nll().apply((), m, np.full_like(t, 9.0), t)
    exact = np.mean(0.5 * np.log(2 * np.pi * 9.0) + t**2 / 18.0)
    assert value + 0.5 * math.log(2 * math.pi) == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize("variance", [0.0, -1.0, 1e-6, -800.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_variance_is_at_least_epsilon(variance: float, dtype: Any) -> None:
    m, t, s = np.full((2, 1), 1e-3, dtype), np.zeros((2, 1), dtype), np.full((2, 1), variance, dtype)
    value, pullback = fn.gaussian_nll().apply.vjp((), m, s, t)
    assert value == pytest.approx((math.log(1e-6) + 1.0) / 2, rel=1e-5)
    _, (dm, ds, _) = pullback(1.0)
    np.testing.assert_allclose(dm, 500.0, rtol=1e-5)
    assert not ds.any()


def test_two_heads_are_fitted_by_one_loss() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(2000, 1))
    t = x + rng.normal(size=x.shape) * (0.1 + 0.5 * (x > 0))
    heads = {"in": fn.linear(16), "h": fn.tanh(), "mean": fn.linear(1), "var": [fn.linear(1), fn.softplus()]}
    net = fn.network(heads, {"in": ["h"], "h": ["mean", "var"]}, output=["mean", "var"])
    params, _ = net.init(fn.key(0), (1,), dtype=np.float64)
    step = fn.sgd_step(net, fn.gaussian_nll(epsilon=1e-3), learning_rate=0.02)
    for _ in range(2000):
        params, _ = step(params, x, t)
    _, var = net.apply(params, np.array([[-0.7], [0.7]]))
    np.testing.assert_allclose(var.ravel(), [0.1**2, 0.6**2], rtol=0.5)


@pytest.mark.parametrize("value", [0, -1.0, np.inf, np.nan, "1", None, True])
def test_options_out_of_range_are_refused(value: Any) -> None:
    with pytest.raises(fn.OptionError, match="huber: delta must be a finite number above 0, not"):
        fn.huber(value)
    with pytest.raises(fn.OptionError, match="gaussian_nll: epsilon must be a finite number above 0, not"):
        fn.gaussian_nll(epsilon=value)


@pytest.mark.parametrize(
    "loss", [fn.mae(), fn.huber(), fn.log_cosh(), fn.pinball(), fn.poisson_nll()], ids=lambda loss: loss.apply.kind
)
@pytest.mark.parametrize(("of_y", "of_t"), [((5,), (5, 1)), ((5, 1), (5, 3)), ((5, 3), (5, 4))])
def test_nothing_is_broadcast(loss: fn.Layer[Any, Any], of_y: tuple[int, ...], of_t: tuple[int, ...]) -> None:
    with pytest.raises(fn.ShapeError, match="must have the same shape; nothing is broadcast"):
        loss.apply((), np.ones(of_y), np.ones(of_t))


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_mean_variance_and_target_are_of_one_shape(odd: int) -> None:
    inputs = [np.ones((5, 2))] * 3
    inputs[odd] = np.ones((5, 1))
    other = "target" if odd == 2 else "variance"
    with pytest.raises(fn.ShapeError, match=f"and {other} .* must have the same shape; nothing is broadcast"):
        fn.gaussian_nll().apply((), *inputs)


def test_a_variance_below_the_least_has_no_slope_even_at_an_infinite_error() -> None:
    m, s, t = np.array([[np.inf, 1.0]]), np.array([[0.0, 4.0]]), np.zeros((1, 2))
    _, pullback = fn.gaussian_nll(reduction="sum").apply.vjp((), m, s, t)
    np.testing.assert_allclose(pullback(1.0)[1][1], [[0.0, (1 / 4 - 1 / 16) / 4]])
