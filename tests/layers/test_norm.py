"""Norms and the learned scale: large means, calibrated statistics, params and shapes that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet.testing import check_vjp

NORMS: dict[str, Callable[..., fn.Layer[Any]]] = {
    "layer_norm": fn.layer_norm,
    "rms_norm": fn.rms_norm,
    "batch_norm": fn.batch_norm,
}
every_norm = pytest.mark.parametrize("name", NORMS)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)


def drawn(layer: fn.Layer[Any], *shape: int, dtype: Any = np.float64) -> Any:
    return layer.init(fn.key(0), shape, dtype=dtype)[0]


def normal(*shape: int, dtype: Any = np.float64, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@both_dtypes
@pytest.mark.parametrize(("name", "axis"), [("layer_norm", 1), ("batch_norm", 0)])
@pytest.mark.parametrize("mean", [1e3, -1e6])
def test_large_means_cost_no_digits(name: str, axis: int, mean: float, dtype: Any) -> None:
    layer = NORMS[name](epsilon=1e-5)
    x = (normal(3000, 16) + mean).astype(dtype)
    wide = x.astype(np.longdouble) - mean  # exact
    centred = wide - wide.mean(axis, keepdims=True)
    right = centred / np.sqrt((centred**2).mean(axis, keepdims=True) + 1e-5)
    params = drawn(layer, 16, dtype=dtype)
    for y in (layer.apply(params, x), fn.serial(layer).apply((params,), x)):
        assert np.abs(y - right).max() <= 100 * np.finfo(dtype).eps * np.abs(right).max()


@every_norm
@both_dtypes
def test_equal_numbers_become_the_bias(name: str, dtype: Any) -> None:
    layer = NORMS[name]()
    x = np.full((4, 3), 1e4, dtype)
    with np.errstate(all="raise"):
        y, pullback = layer.apply.vjp(drawn(layer, 3, dtype=dtype), x)
        _, (dx,) = pullback(np.ones_like(y))
    np.testing.assert_allclose(y, 1.0 if name == "rms_norm" else 0.0, atol=1e-6)
    assert np.isfinite(dx).all()


@every_norm
@pytest.mark.parametrize("shape", [(5,), (2, 5), (3, 2, 5)])
def test_params_are_one_number_a_feature(name: str, shape: tuple[int, ...]) -> None:
    params, output = NORMS[name]().init(fn.key(0), shape)
    assert output == shape
    assert [np.shape(p) for p in params if p is not None] == [(5,)] * (1 if name == "rms_norm" else 2)
    assert (params.scale == 1).all()


@every_norm
@pytest.mark.parametrize("epsilon", [0, -1e-5, np.nan, "1", None])
def test_an_epsilon_out_of_range_is_refused(name: str, epsilon: Any) -> None:
    with pytest.raises(fn.OptionError, match=f"{name}: epsilon must be a finite number above 0, not"):
        NORMS[name](epsilon=epsilon)


@pytest.mark.parametrize("make", [fn.scale, *NORMS.values()])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0)])
def test_rows_without_features_are_refused(make: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(fn.ShapeError, match="rows of at least one feature"):
        make().init(fn.key(0), shape)


@pytest.mark.parametrize("make", [fn.scale, *NORMS.values()])
def test_params_of_other_rows_are_refused(make: Any) -> None:
    layer = make()
    with pytest.raises(fn.ParamsError, match=r"its scale is \(3,\), but must be one number a feature, \(4,\)"):
        layer.apply(drawn(layer, 3), normal(5, 4))


def test_a_bias_of_another_length_is_refused() -> None:
    params = fn.Norm(np.ones(4), np.ones(1))
    with pytest.raises(fn.ParamsError, match=r"its bias is \(1,\), but must be one number a feature, \(4,\)"):
        fn.layer_norm().apply(params, normal(5, 4))


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_params_of_another_layer_are_refused(name: str) -> None:
    with pytest.raises(fn.ParamsError, match="its params must be"):
        NORMS[name]().apply(fn.Affine(np.ones((4, 4)), np.ones(4)), normal(5, 4))


# --- batch_norm with the statistics of the population


def calibrated(dtype: Any = np.float64) -> fn.BatchNorm:
    return fn.BatchNorm(*(np.abs(normal(4, dtype=dtype, seed=i)) + 0.5 for i in range(4)))


@pytest.mark.parametrize("rows", [0, 1, 7, 1200])
def test_calibrated_it_treats_each_row_by_itself(rows: int) -> None:
    x, p = normal(rows, 4), calibrated()
    assert p.mean is not None
    assert p.var is not None
    right = (x - p.mean) / np.sqrt(p.var + 1e-5) * p.scale + p.bias
    layer = fn.batch_norm()
    for y in (layer.apply(p, x), fn.serial(layer).apply((p,), x)):
        np.testing.assert_allclose(y, right, rtol=1e-13, atol=1e-13)


def test_calibrated_it_keeps_float32() -> None:
    layer = fn.batch_norm()
    y, pullback = layer.apply.vjp(calibrated(np.float32), normal(5, 4, dtype=np.float32))
    of_params, of_inputs = pullback(np.ones_like(y))
    assert {a.dtype for a in (y, *fn.tree.leaves(of_params), *of_inputs)} == {np.dtype(np.float32)}


def test_one_row_alone_is_refused_until_there_are_statistics() -> None:
    layer, params = fn.batch_norm(), fn.BatchNorm(np.full(4, 2.0), np.arange(4.0), None, None)
    net = fn.serial(fn.linear(4), layer, fn.linear(2))
    weights = drawn(net, 4)
    gradient_of = fn.value_and_grad(net, fn.softmax_cross_entropy())
    words = r"a single row has no mean and variance.*fn\.calibrate\(net, params, data\).*drop_last=True or another"
    calls: list[Callable[[], object]] = [
        lambda: layer.apply(params, normal(1, 4)),
        lambda: layer.apply.vjp(params, normal(1, 1, 4)),
        lambda: net.apply(weights, normal(1, 4)),
        lambda: gradient_of(weights, normal(1, 4), np.array([1])),
    ]
    for call in calls:
        with pytest.raises(fn.ShapeError, match=words):
            call()
    assert layer.apply(params, normal(1, 2, 4)).shape == (1, 2, 4)
    assert net.apply(fn.calibrate(net, weights, normal(9, 4)), normal(1, 4)).shape == (1, 2)
    assert layer.apply(params, normal(0, 4)).shape == (0, 4)


@pytest.mark.parametrize("name", ["mean", "var"])
def test_statistics_of_other_rows_are_refused(name: str) -> None:
    with pytest.raises(fn.ParamsError, match=rf"its {name} is \(3,\), but must be one number a feature, \(4,\)"):
        fn.batch_norm().apply(calibrated()._replace(**{name: np.ones(3)}), normal(5, 4))


def test_calibrated_its_statistics_do_not_move() -> None:
    layer, p, x = fn.batch_norm(), calibrated(), normal(5, 4)
    assert p.var is not None
    y, pullback = layer.apply.vjp(p, x)
    g = normal(5, 4, seed=9)
    of_params, (dx,) = pullback(g)
    np.testing.assert_allclose(dx, g * p.scale / np.sqrt(p.var + 1e-5), rtol=1e-13)
    np.testing.assert_allclose(of_params.scale, (g * (y - p.bias) / p.scale).sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(of_params.bias, g.sum(axis=0), rtol=1e-12)
    for still in of_params[2:]:
        np.testing.assert_array_equal(still, np.zeros(4))


def test_calibrated_it_leaves_the_cotangent_to_others() -> None:
    _, pullback = fn.batch_norm().apply.compute(calibrated(), normal(5, 4))
    g = normal(5, 4, seed=9)
    pullback(g)
    np.testing.assert_array_equal(g, normal(5, 4, seed=9))


@pytest.mark.parametrize("rows", [5, 1200])
def test_a_step_leaves_calibrated_statistics_alone(rows: int) -> None:
    net = fn.serial(fn.batch_norm(), fn.linear(2))
    params = (calibrated(), drawn(fn.linear(2), 4))
    x, target = normal(rows, 4), normal(rows, 2)
    loss, gradient = fn.value_and_grad(net, fn.mse())(params, x, target)
    output, pullback = net.apply.vjp(params, x)
    expected, back = fn.mse().apply.vjp((), output, target)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    of_params, _ = pullback(back(1.0)[1][0])
    np.testing.assert_allclose(gradient[0].scale, of_params[0].scale, rtol=1e-10, atol=1e-14)
    new, _ = fn.sgd_step(net, fn.mse(), learning_rate=0.1)(params, x, target)
    for before, after in zip(params[0][2:], new[0][2:], strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_mean_without_a_var_is_refused() -> None:
    half = calibrated()._replace(var=None)
    with pytest.raises(fn.ParamsError, match="mean and var both None or both arrays"):
        fn.batch_norm().apply(half, normal(5, 4))
    with pytest.raises(fn.ParamsError, match=r"must be BatchNorm\(scale, bias, mean, var\), not Norm$"):
        fn.batch_norm().apply(fn.Norm(np.ones(4), np.ones(4)), normal(5, 4))  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [3, 1200])
def test_statistics_of_a_large_batch_are_those_of_all_its_rows(rows: int) -> None:
    net = fn.serial(fn.linear(4), fn.batch_norm(), fn.linear(2))
    params, _ = net.init(fn.key(0), (3,), dtype=np.float64)
    x, target = normal(rows, 3), normal(rows, 2)
    output, pullback = net.apply.vjp(params, x)
    np.testing.assert_allclose(net.apply(params, x), output, rtol=1e-11, atol=1e-12)
    _, gradient = fn.value_and_grad(net, fn.mse())(params, x, target)
    of_params, _ = pullback(fn.mse().apply.vjp((), output, target)[1](1.0)[1][0])
    np.testing.assert_allclose(gradient[0].weight, of_params[0].weight, atol=1e-12)


def test_derivatives_of_a_norm_in_a_network() -> None:
    check_vjp(fn.serial(fn.tanh(), fn.batch_norm(), fn.linear(3)), (4,), batch=5, holomorphic=True)
