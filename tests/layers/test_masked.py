"""Masked means and sums: padding of any content, masks of any form that fits, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funcnet as fn
from tests.support.budget import examples

every = pytest.mark.parametrize("make", [fn.masked_mean, fn.masked_sum])
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
GARBAGE = [np.nan, np.inf, -np.inf, 1e30]


def pooling(make: Any, **options: Any) -> fn.Layer[Any, Any]:
    """Values through a layer with params, and a mask from outside."""
    operators: dict[Any, Any] = {
        "x": fn.scale(),
        "mask": fn.identity(),
        "pooled": make(1, **options),
        "y": fn.linear(2),
    }
    return fn.network(operators, {"x": ["pooled"], "mask": ["pooled"], "pooled": ["y"]}, inputs=["x", "mask"])


@every
@each_dtype
@settings(max_examples=examples(25))
@given(data=st.data())
def test_each_row_is_that_of_what_is_kept(make: Any, dtype: Any, data: st.DataObject) -> None:
    rows, length = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    flags = data.draw(st.lists(st.booleans(), min_size=rows * length, max_size=rows * length))
    mask = np.array(flags).reshape(rows, length)
    x = np.random.default_rng(0).normal(size=(rows, length, 3)).astype(dtype)
    x[~mask] = data.draw(st.sampled_from(GARBAGE))
    g = np.random.default_rng(1).normal(size=(rows, 3)).astype(dtype)
    form = data.draw(st.sampled_from([mask, mask[..., None], np.broadcast_to(mask[..., None], x.shape)])).astype(dtype)
    y, pullback = make(1).apply.vjp((), x, form)
    _, (dx, dm) = pullback(g)
    assert (y.dtype, dx.dtype, dm.dtype, dm.shape) == (dtype, dtype, dtype, form.shape)
    for n in range(rows):
        kept = x[n, mask[n]]
        count = len(kept) if make is fn.masked_mean and len(kept) else 1
        np.testing.assert_allclose(y[n], kept.sum(axis=0) / count, rtol=1e-5)
        np.testing.assert_allclose(dx[n, mask[n]], np.broadcast_to(g[n] / count, kept.shape), rtol=1e-5)
    assert not np.signbit(y[~mask.any(axis=1)]).any()  # of nothing: 0, not -0
    assert not dx[~mask].any()
    assert not dm[~mask].any()
    assert np.isfinite(dm).all()


@every
@each_dtype
@pytest.mark.parametrize("rows", [5, 1500])
def test_a_network_learns_from_what_is_kept(make: Any, dtype: Any, rows: int) -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((rows, 6)) < 0.6
    mask[0] = False
    x = rng.normal(size=(rows, 6, 3)).astype(dtype)
    t = rng.normal(size=(rows, 2)).astype(dtype)
    net = pooling(make)
    params, shape = net.init(fn.key(0), (6, 3), (6,), dtype=dtype)
    assert shape == (2,)
    gradient = fn.value_and_grad(net, fn.mse())
    m = mask.astype(dtype)
    value, found = gradient(params, np.where(mask[..., None], x, np.array(7, dtype)), m, t)
    same, expected = gradient(params, np.where(mask[..., None], x, np.array(-1e9, dtype)), m, t)
    assert value == same
    for a, b in zip(fn.tree.leaves(found), fn.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)
    broken = np.where(mask[..., None], x, np.array(np.nan, dtype))
    np.testing.assert_array_equal(net.apply(params, broken, m), net.apply(params, x, m))
    inside, _ = gradient(params, broken, m, t)
    assert inside == value
    new, _ = fn.sgd_step(net, fn.mse(), learning_rate=0.1)(params, np.where(mask[..., None], x, 0).astype(dtype), m, t)
    assert all(np.isfinite(p).all() for p in fn.tree.leaves(new))


@every
@each_dtype
@pytest.mark.parametrize("rows", [5, 1500])
def test_bools_are_the_numbers_0_and_1(make: Any, dtype: Any, rows: int) -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((rows, 6)) < 0.6
    mask[0] = False
    x, t = rng.normal(size=(rows, 6, 3)).astype(dtype), rng.normal(size=(rows, 2)).astype(dtype)
    net = pooling(make)
    params, _ = net.init(fn.key(0), (6, 3), (6,), dtype=dtype)
    gradient = fn.value_and_grad(net, fn.mse())
    found, right = gradient(params, x, mask, t), gradient(params, x, mask.astype(dtype), t)
    for a, b in zip(fn.tree.leaves(found), fn.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(a, b)
    y, pull = net.apply.vjp(params, x, mask)
    cotangents: Any = pull(np.ones_like(y))[1]
    assert (y.dtype, cotangents[0].dtype, cotangents[1]) == (dtype, dtype, None)


@every
def test_axes_and_keepdims(make: Any) -> None:
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(2, 3, 4, 5)), rng.random((2, 3, 4)) < 0.5
    mask[0, 0] = True
    m = mask.astype(float)
    for axis in ((1, 2), (2, 1), (-3, -2), 1, 2, -2):
        for keepdims in (False, True):
            found = make(axis, keepdims=keepdims).apply((), x, m)
            total = (x * m[..., None]).sum(axis=axis, keepdims=keepdims)
            count = np.broadcast_to(m[..., None], (2, 3, 4, 1)).sum(axis=axis, keepdims=keepdims)
            expected = total / np.maximum(count, 1) if make is fn.masked_mean else total
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(make(1).apply((), x[..., 0, 0], m[..., 0]).shape, (2,))


@every
def test_a_mask_may_lack_axes_or_have_length_1_there(make: Any) -> None:
    rng = np.random.default_rng(0)
    x, m, layer = rng.normal(size=(2, 3, 4, 5)), rng.random((2, 3)), make(1)
    y, pull = layer.apply.vjp((), x, np.broadcast_to(m[..., None, None], x.shape).copy())
    dx, dm = pull(np.ones_like(y))[1]
    for shape in ((2, 3), (2, 3, 1), (2, 3, 1, 1)):
        found, back = layer.apply.vjp((), x, m.reshape(shape))
        of_x, of_m = back(np.ones_like(found))[1]
        np.testing.assert_allclose(found, y, rtol=1e-12)
        np.testing.assert_allclose(of_x, dx, rtol=1e-12)
        np.testing.assert_allclose(of_m, dm.sum(axis=(2, 3)).reshape(shape), rtol=1e-9, atol=1e-12)


def test_a_mask_between_counts_in_part() -> None:
    x, m = np.array([[1.0, 3.0, np.nan]]), np.array([[1.0, 0.5, 0.0]])
    assert fn.masked_sum(1).apply((), x, m) == 2.5
    assert fn.masked_mean(1).apply((), x, m) == pytest.approx(2.5 / 1.5)


@every
def test_bad_masks_are_refused(make: Any) -> None:
    x, words = np.ones((2, 3, 4)), "its mask .* must have the first 2 axes of the values"
    for shape in ((2, 2), (2, 1), (2, 3, 2), (2, 3, 4, 1), (2,), (2, 1, 4)):
        with pytest.raises(fn.ShapeError, match=words):
            make(1).apply((), x, np.ones(shape))
    with pytest.raises(fn.ShapeError, match=words):
        make(1).apply((), x[..., 0], np.ones((2, 3, 1)))
    for lacks in ((2, 3), (2, 3, 1)):
        with pytest.raises(fn.ShapeError, match="the first 3 axes"):
            make((1, 2)).apply((), x, np.ones(lacks))
    for kind in (int, np.uint8):
        with pytest.raises(fn.DTypeError, match=r"a mask is bools, True .*mask\.astype\(bool\)"):
            make(1).apply((), x, np.ones((2, 3), kind))
    params, _ = pooling(make).init(fn.key(0), (3, 4), (3,))
    for kind in (int, np.uint8):
        with pytest.raises(fn.DTypeError, match=r"input 1 has dtype .*a mask is bools, .*mask\.astype\(bool\)"):
            pooling(make).apply(params, x.astype(np.float32), np.ones((2, 3), kind))
    with pytest.raises(fn.ShapeError, match="have no elements"):
        make(1).apply((), np.ones((2, 0, 4)), np.ones((2, 0)))
    with pytest.raises(fn.OptionError, match=f"{make.__name__}: axis 0 is the batch"):
        make(0)
    with pytest.raises(fn.ShapeError, match="different batch sizes"):
        make(1).apply((), x, np.ones((3, 3)))
