"""Attention: what each query sees, and the shapes that it refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from tests.support.battery import attended

untyped: Any = fn
rng = np.random.default_rng(3)


def draw(*shape: int) -> fn.Array:
    return rng.normal(size=shape)


def test_a_causal_query_sees_no_later_key() -> None:
    net = fn.attention(2, causal=True)
    params, _ = net.init(fn.key(0), (6, 4), dtype=np.float64)
    x = draw(3, 6, 4)
    later = x.copy()
    later[:, 4:] += 1.0
    before, after = net.apply(params, x), net.apply(params, later)
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert (before[:, 4:] != after[:, 4:]).any()


def test_the_first_causal_query_gives_the_first_value() -> None:
    q, k, v = draw(2, 5, 4), draw(2, 5, 4), draw(2, 5, 6)
    y = fn.dot_product_attention(heads=2, causal=True).apply((), q, k, v)
    np.testing.assert_allclose(y[:, 0], v[:, 0], rtol=1e-14)


def test_large_scores_do_not_overflow() -> None:
    q = np.full((1, 2, 4), 1e3, np.float32)
    y = fn.dot_product_attention().apply((), q, q * np.array([[1.0], [-1.0]], np.float32), draw(1, 2, 3).astype("f4"))
    assert np.isfinite(y).all()


def test_a_key_drops_weights_and_keeps_their_sum_on_average() -> None:
    net = fn.attention(2, dropout=0.5)
    params, _ = net.init(fn.key(0), (6, 4), dtype=np.float64)
    x = draw(1, 6, 4)
    sure = net.apply(params, x)
    drawn = [net.apply(params, x, key=fn.key(i)) for i in range(400)]
    assert (drawn[0] != drawn[1]).any()
    np.testing.assert_array_equal(drawn[0], net.apply(params, x, key=fn.key(0)))
    np.testing.assert_allclose(np.mean(drawn, axis=0), sure, atol=0.2)


@pytest.mark.parametrize("rows", [1, 600, 1700])
def test_large_batches_give_the_same_whole_and_in_blocks(rows: int) -> None:
    q, k, v = draw(rows, 3, 4), draw(rows, 3, 4), draw(rows, 3, 4)
    y = fn.dot_product_attention(heads=2, causal=True).apply((), q, k, v)
    np.testing.assert_allclose(y, attended(2, q, k, v, causal=True), atol=1e-14)
    net, loss = fn.serial(fn.sinusoidal(), fn.positional_embedding(), fn.attention(2)), fn.mse()
    params, _ = net.init(fn.key(0), (3, 4), dtype=np.float64)
    (value, grad), (y, pull) = fn.value_and_grad(net, loss)(params, q, v), net.apply.vjp(params, q)
    expected, _ = pull(2 * (y - v) / v.size)
    assert value == pytest.approx(np.mean((y - v) ** 2), rel=1e-13)
    for found, right in zip(fn.tree.leaves(grad), fn.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(found, right, atol=1e-14)


@pytest.mark.parametrize(
    ("make", "shapes", "words"),
    [
        (lambda: fn.attention(3), [(5, 4)], "3 heads do not divide 4 features"),
        (lambda: fn.attention(1), [(4,)], r"\(batch, length, features\)"),
        (lambda: fn.dot_product_attention(heads=2), [(5, 4), (5, 4), (5, 3)], "2 heads do not divide 3 features"),
        (fn.dot_product_attention, [(5, 4), (5, 3), (5, 3)], "equally many features"),
        (fn.dot_product_attention, [(5, 4), (5, 4), (6, 4)], "one value for each key"),
        (fn.dot_product_attention, [(5, 4), (0, 4), (0, 4)], "no keys"),
        (lambda: fn.dot_product_attention(causal=True), [(5, 4), (6, 4), (6, 4)], "causal"),
        (lambda: fn.attention(2, cross=True), [(5, 4)], "takes 2 inputs"),
        (lambda: fn.attention(2, masked=True), [(5, 4), (4,)], r"its mask is \(1, 4\)"),
        (fn.positional_embedding, [(4,)], r"\(batch, length, features\)"),
        (fn.sinusoidal, [(4,)], r"\(batch, length, features\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(make: Any, shapes: list[fn.Shape], words: str) -> None:
    with pytest.raises(fn.ShapeError, match=words):
        make().init(fn.key(0), *shapes)


def test_params_of_another_layer_are_refused() -> None:
    with pytest.raises(fn.ParamsError, match=r"Attention\(query, key, value, output\)"):
        untyped.attention(2).apply(fn.Affine(np.ones((4, 4)), np.ones(4)), draw(2, 3, 4))


def test_no_queries_give_no_values() -> None:
    y = fn.dot_product_attention().apply((), draw(2, 0, 4), draw(2, 3, 4), draw(2, 3, 4))
    assert y.shape == (2, 0, 4)


@pytest.mark.parametrize("kind", [np.intp, np.float64])
def test_a_query_that_sees_no_key_gives_0_and_no_gradient(kind: Any) -> None:
    net = fn.dot_product_attention(heads=2, masked=True)
    q, k, v = draw(3, 4, 4), draw(3, 5, 4), draw(3, 5, 6)
    mask = np.ones((3, 4, 5), kind)
    mask[1] = 0
    mask[2, 3] = 0
    y, pull = net.apply.vjp((), q, k, v, mask)
    _, (dq, dk, dv, dm) = pull(np.ones_like(y))
    assert not y[1].any()
    assert not y[2, 3].any()
    assert not any(d[1].any() for d in (dq, dk, dv))
    assert not dq[2, 3].any()
    assert all(np.isfinite(d).all() for d in (dq, dk, dv))
    assert dm is None if kind is np.intp else not dm.any()
    np.testing.assert_allclose(y[0], attended(2, q, k, v)[0], atol=1e-14)
    np.testing.assert_array_equal(net.apply((), q, k, v, mask), y)


def test_keys_that_are_not_seen_change_nothing() -> None:
    net = fn.attention(2, masked=True)
    params, _ = net.init(fn.key(0), (5, 4), (5,), dtype=np.float64)
    x, mask = draw(2, 5, 4), np.array([[1, 1, 1, 0, 0]] * 2)
    other = x.copy()
    other[:, 3:] = 7.0
    found = [net.apply(params, z, mask)[:, :3] for z in (x, other)]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], fn.attention(2).apply(params, x[:, :3]), atol=1e-14)


def test_shorter_sequences_use_the_first_positions() -> None:
    net = fn.positional_embedding()
    params, _ = net.init(fn.key(0), (6, 4), dtype=np.float64)
    x = draw(3, 4, 4)
    y, pull = net.apply.vjp(params, x)
    np.testing.assert_array_equal(y, x + params.table[:4])
    d, _ = pull(np.ones_like(x))
    np.testing.assert_array_equal(d.table[:, 0], [3, 3, 3, 3, 0, 0])
    with pytest.raises(fn.ShapeError, match="6 rows, the sequence 7"):
        net.apply(params, draw(3, 7, 4))
    with pytest.raises(fn.ParamsError, match="5 features"):
        net.apply(params, draw(3, 6, 5))


def test_multiply_adds_of_the_products() -> None:
    found = fn.summary(fn.attention(2), (5, 4))
    assert found.multiply_adds == 4 * 5 * 4 * 4 + 2 * 5 * 5 * 4


def test_sinusoidal_is_the_sum_with_the_waves_of_the_paper() -> None:
    layer = fn.sinusoidal()
    for features in (1, 4, 7):
        waves = np.empty((5, features))
        for place, i in np.ndindex(5, features):
            angle = place / 10000.0 ** (2 * (i // 2) / features)
            waves[place, i] = math.cos(angle) if i % 2 else math.sin(angle)
        x = np.random.default_rng(0).normal(size=(3, 5, features))
        assert np.allclose(layer.apply((), x), x + waves, rtol=0, atol=1e-14)
