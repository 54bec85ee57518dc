"""Losses of classes: smoothing, certain answers, margins, zeros in distributions, and options out of range."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import funcnet as fn

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)
Z = np.random.default_rng(0).normal(size=(5, 4)) * 3
LABELS = np.array([0, 3, 1, 1, 2])


def log_p(z: Any) -> Any:
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_smoothing_gives_a_share_to_every_class(smoothing: float) -> None:
    loss = fn.softmax_cross_entropy(label_smoothing=smoothing)
    shares = np.full((5, 4), smoothing / 4) + np.eye(4)[LABELS] * (1 - smoothing)
    expected = -np.mean(np.sum(shares * log_p(Z), axis=1))
    assert loss.apply((), Z, LABELS) == pytest.approx(expected, rel=1e-14)
    assert loss.apply((), Z, np.eye(4)[LABELS]) == pytest.approx(expected, rel=1e-14)
    _, pullback = loss.apply.vjp((), Z, LABELS)
    np.testing.assert_allclose(pullback(1.0)[1][0], (np.exp(log_p(Z)) - shares) / 5, atol=1e-15)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_each_step_of_a_sequence_has_as_many_classes_as_its_logits(smoothing: float) -> None:
    z, labels = np.random.default_rng(2).normal(size=(3, 7, 4)), np.arange(21).reshape(3, 7) % 4
    loss = fn.softmax_cross_entropy(label_smoothing=smoothing)
    expected, pullback = loss.apply.vjp((), z, labels)
    found, same = loss.apply.vjp((), z, np.eye(4)[labels])
    assert found == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(same(1.0)[1][0], pullback(1.0)[1][0], atol=1e-15)


@pytest.mark.parametrize("rows", [5, 1500])
def test_smoothing_in_a_program(rows: int) -> None:
    net = fn.serial(fn.linear(4), fn.tanh())
    params, _ = net.init(fn.key(0), (4,), dtype=np.float64)
    x: Any = np.random.default_rng(1).normal(size=(rows, 4))
    labels: Any = np.arange(rows) % 4
    loss = fn.softmax_cross_entropy(label_smoothing=0.3)
    output, pullback = net.apply.vjp(params, x)
    expected, back = loss.apply.vjp((), output, labels)
    of_params, _ = pullback(back(1.0)[1][0])
    found, gradient = fn.value_and_grad(net, loss)(params, x, labels)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient[0].weight, of_params[0].weight, atol=1e-13)


@pytest.mark.parametrize("value", [-0.1, 1.0, np.nan, "0.1", None, True])
def test_a_smoothing_out_of_range_is_refused(value: Any) -> None:
    with pytest.raises(fn.OptionError, match=r"softmax_cross_entropy: label_smoothing must be in \[0, 1\), not"):
        fn.softmax_cross_entropy(label_smoothing=value)


def test_a_label_without_features_tells_init_its_shape() -> None:
    assert fn.softmax_cross_entropy().init(fn.key(0), (4,), ()) == ((), ())


@both_dtypes
def test_certain_answers_cost_nothing_or_their_logit(dtype: Any) -> None:
    z = np.array([[1e4], [-1e4], [1e4], [-1e4], [0.0]], dtype)
    t = np.array([[1.0], [0.0], [0.0], [1.0], [1.0]], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        loss, pullback = fn.sigmoid_cross_entropy(reduction="none").apply.vjp((), z, t)
        _, (dz, _) = pullback(np.ones(5, dtype))
    np.testing.assert_allclose(loss, [0.0, 0.0, 1e4, 1e4, math.log(2)], rtol=1e-6)
    np.testing.assert_allclose(dz.ravel(), [0.0, 0.0, 1.0, -1.0, -0.5])


@both_dtypes
def test_small_losses_keep_their_digits(dtype: Any) -> None:
    z = np.linspace(5, 40, 36, dtype=dtype)[:, None]
    loss = fn.sigmoid_cross_entropy(reduction="none").apply((), z, np.ones_like(z))
    expected = [math.log1p(math.exp(-v)) for v in z.ravel().tolist()]
    np.testing.assert_allclose(loss, expected, rtol=32 * np.finfo(dtype).eps)


def test_near_zero_each_logit_counts() -> None:
    z, t = np.array([[-3e-6], [0.0], [5e-7], [3e-6]]), np.full((4, 1), 0.3)
    loss = fn.sigmoid_cross_entropy(reduction="none").apply((), z, t)
    np.testing.assert_allclose(loss, (np.logaddexp(0, z) - t * z)[:, 0], rtol=1e-15)


def test_the_hinge_asks_for_a_margin_of_one() -> None:
    y, t = np.array([[2.0], [1.0], [0.5], [-3.0], [0.5]]), np.array([[1.0], [1.0], [1.0], [1.0], [-1.0]])
    loss, pullback = fn.hinge(reduction="none").apply.vjp((), y, t)
    np.testing.assert_array_equal(loss, [0.0, 0.0, 0.5, 4.0, 1.5])
    _, (dy, dt) = pullback(np.ones(5))
    np.testing.assert_array_equal(np.abs(dy.ravel()), [0.0, 0.0, 1.0, 1.0, 1.0])
    np.testing.assert_array_equal(np.sign(dy.ravel()[2:]), [-1.0, -1.0, 1.0])
    np.testing.assert_array_equal(dt.ravel()[2:], [-0.5, 3.0, -0.5])


@both_dtypes
def test_a_distribution_does_not_diverge_from_itself(dtype: Any) -> None:
    t = np.exp(log_p(Z)).astype(dtype)
    assert fn.kl_divergence().apply((), np.log(t), t) == 0
    assert fn.kl_divergence().apply((), np.log(t), t[::-1].copy()) > 0


@both_dtypes
def test_a_class_that_is_never_seen_costs_nothing(dtype: Any) -> None:
    t = np.array([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]], dtype)
    y = np.log(np.array([[0.2, 0.5, 0.3], [0.25, 0.5, 0.25]], dtype))
    with np.errstate(all="raise"):
        loss, pullback = fn.kl_divergence(reduction="none").apply.vjp((), y, t)
        _, cotangents = pullback(np.ones(2, dtype))
    np.testing.assert_allclose(loss, [math.log(2), 0.5 * math.log(2)], rtol=1e-6)
    assert all(np.isfinite(c).all() for c in cotangents)


@both_dtypes
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_zero_of_either_sign_is_no_mass(dtype: Any, reduction: Any) -> None:
    z, t = np.array([[0.0, -np.inf, -1.0]], dtype), np.array([[0.75, -0.0, 0.25]], dtype)
    for loss in (fn.softmax_cross_entropy(reduction=reduction), fn.kl_divergence(reduction=reduction)):
        operators = {"z": fn.identity(), "t": fn.identity(), "loss": loss}
        in_a_network: Any = fn.network(operators, {"z": ["loss"], "t": ["loss"]})
        expected = loss.apply((), z, abs(t))
        assert np.isfinite(expected).all()
        np.testing.assert_array_equal(loss.apply((), z, t), expected)
        np.testing.assert_allclose(in_a_network.apply({}, z, t), expected, rtol=1e-6)


def test_divergence_and_cross_entropy_have_one_gradient() -> None:
    t = np.exp(log_p(Z[::-1]))
    net = fn.serial(fn.log_softmax())
    y, back = net.apply.vjp(((),), Z)
    _, pullback = fn.kl_divergence().apply.vjp((), y, t)
    _, (dz,) = back(pullback(1.0)[1][0])
    _, fused = fn.softmax_cross_entropy().apply.vjp((), Z, t)
    np.testing.assert_allclose(dz, fused(1.0)[1][0], atol=1e-14)


@pytest.mark.parametrize("loss", [fn.sigmoid_cross_entropy(), fn.hinge(), fn.kl_divergence()])
@pytest.mark.parametrize(("of_y", "of_t"), [((5,), (5, 1)), ((5, 1), (5, 3)), ((5, 3), (5, 4))])
def test_nothing_is_broadcast(loss: fn.Layer[Any, Any], of_y: tuple[int, ...], of_t: tuple[int, ...]) -> None:
    with pytest.raises(fn.ShapeError, match="must have the same shape; nothing is broadcast"):
        loss.apply((), np.ones(of_y), np.ones(of_t))
