"""Convolutions and pools in C: what they give, and when NumPy makes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcnet as fn
from tests.native.test_jit import assert_close
from tests.native.test_jit import pytestmark as needs_compiler

pytestmark = needs_compiler
BY_NUMPY = "NumPy, after function"
NETS: dict[str, list[fn.Layer[Any]]] = {
    "plain": [fn.conv(6, (3, 2)), fn.max_pool((2, 2)), fn.conv(4, (2, 2))],
    "padded": [fn.conv(5, (3, 3), padding="same"), fn.max_pool((3, 3), strides=(2, 2), padding="same")],
    "groups and steps": [fn.conv(6, (2, 3), groups=2, strides=(2, 1)), fn.avg_pool((2, 3), strides=(1, 2))],
    "gaps": [fn.conv(6, (2, 3), dilation=(2, 1), padding=((1, 0), (2, 1))), fn.upsample((2, 1)), fn.conv(2, (1, 1))],
    "gaps down and steps": [fn.conv(6, (3, 1), dilation=(2, 1), strides=(2, 2)), fn.avg_pool((3, 3), padding="same")],
    "left out": [fn.conv(3, (2, 2)), fn.max_pool((2, 2), strides=(3, 3)), fn.conv_transpose(2, (2, 2))],
}


def given(rows: int, dtype: Any, *shape: int) -> Any:
    return np.random.default_rng(0).normal(size=(rows, *shape)).astype(dtype)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("rows", "dtype"), [(1, np.float64), (11, np.float32)])
def test_all_of_it_is_in_c(name: str, rows: int, dtype: Any) -> None:
    net: Any = fn.serial(*NETS[name], fn.flatten(), fn.linear(3))
    params, _ = net.init(fn.key(0), (9, 10, 4), dtype=dtype)
    function = fn.value_and_grad(net, fn.mse())
    native = fn.jit(function)
    arrays = given(rows, dtype, 9, 10, 4), given(rows, dtype, 3)
    assert_close(native(params, *arrays), function(params, *arrays), dtype)
    assert BY_NUMPY not in str(native)


def without_nan(x: Any) -> Any:
    return np.where(np.equal(x, x), x, 1.0), lambda g: g


def test_images_are_cut_into_blocks_of_rows_and_scanned() -> None:
    net: Any = fn.serial(fn.conv(4, (3, 3)), fn.max_pool((2, 2)), fn.avg_pool((3, 3)), fn.flatten(), fn.linear(3))
    params, _ = net.init(fn.key(0), (8, 8, 2))
    step: Any = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    native: Any = fn.jit(step)
    arrays = given(3900, np.float32, 8, 8, 2).reshape(3, 1300, 8, 8, 2), given(3900, np.float32, 3).reshape(3, 1300, 3)
    assert_close(fn.scan(native, params, *arrays), fn.scan(step, params, *arrays), np.float32)
    assert "for (long b = 0;" in str(native)
    assert BY_NUMPY not in str(native)


@pytest.mark.parametrize("number", [0.0, np.nan])
def test_equal_elements_and_nan_share_the_gradient_as_in_numpy(number: float) -> None:
    pool = fn.max_pool((2, 3), strides=(1, 2), padding="same")
    net: Any = fn.serial(fn.conv(2, (1, 1), use_bias=False), pool, fn.elementwise(without_nan), fn.tanh())
    x = np.round(given(7, np.float32, 6, 7, 2))
    x[2, 3, 3:5, 1] = number
    params, _ = net.init(fn.key(0), x.shape[1:])
    params[0].weight[...] = np.eye(2)
    function = fn.value_and_grad(net, fn.mse())
    found, right = (f(params, x, np.zeros((7, 6, 4, 2), np.float32)) for f in (fn.jit(function), function))
    assert_close(found, right, np.float32)


def test_wide_products_stay_with_numpy() -> None:
    net: Any = fn.serial(fn.conv(32, (3, 3)), fn.conv(40, (3, 3)), fn.max_pool((2, 2)), fn.flatten(), fn.linear(3))
    params, _ = net.init(fn.key(0), (8, 8, 3))
    function = fn.value_and_grad(net, fn.mse())
    native = fn.jit(function)
    arrays = given(5, np.float32, 8, 8, 3), given(5, np.float32, 3)
    assert_close(native(params, *arrays), function(params, *arrays), np.float32)
    by_numpy = [line for line in str(native).splitlines() if BY_NUMPY in line]
    names = sorted(line.split(": ")[1].removesuffix(" */") for line in by_numpy)
    assert names == ["convolve", "kernel_grad", "spread"]
