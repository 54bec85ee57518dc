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
        (lambda: fn.attention(1), [()], r"input shape \(\)"),
        (lambda: fn.attention(1), [(5, 0)], "heads do not divide 0 features"),
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


def test_a_query_that_sees_no_key_gives_0_and_no_gradient() -> None:
    net = fn.dot_product_attention(heads=2, masked=True)
    q, k, v = draw(3, 4, 4), draw(3, 5, 4), draw(3, 5, 6)
    mask = np.ones((3, 4, 5), bool)
    mask[1] = False
    mask[2, 3] = False
    y, pull = net.apply.vjp((), q, k, v, mask)
    cotangents: Any = pull(np.ones_like(y))[1]
    dq, dk, dv, dm = cotangents
    assert not y[1].any()
    assert not y[2, 3].any()
    assert not any(d[1].any() for d in (dq, dk, dv))
    assert not dq[2, 3].any()
    assert all(np.isfinite(d).all() for d in (dq, dk, dv))
    assert dm is None
    np.testing.assert_allclose(y[0], attended(2, q, k, v)[0], atol=1e-14)
    np.testing.assert_array_equal(net.apply((), q, k, v, mask), y)


def test_keys_that_are_not_seen_change_nothing() -> None:
    net = fn.attention(2, masked=True)
    params, _ = net.init(fn.key(0), (5, 4), (5,), dtype=np.float64)
    x, mask = draw(2, 5, 4), np.array([[True, True, True, False, False]] * 2)
    other = x.copy()
    other[:, 3:] = 7.0
    found = [net.apply(params, z, mask)[:, :3] for z in (x, other)]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], fn.attention(2).apply(params, x[:, :3]), atol=1e-14)


def pooled() -> fn.Layer[Any, Any]:
    """One mask for attention and for the mean over what it keeps."""
    operators: dict[Any, Any] = {
        "x": fn.linear(4),
        "mask": fn.identity(),
        "seen": fn.attention(2, masked=True),
        "mean": fn.masked_mean(1),
        "y": fn.linear(2),
    }
    connectivity = {"x": ["seen"], "seen": ["mean"], "mask": ["seen", "mean"], "mean": ["y"]}
    return fn.network(operators, connectivity, inputs=["x", "mask"])


def padded(rows: int) -> tuple[fn.Array, Any, fn.Array]:
    """Sequences, their mask, targets."""
    mask = np.arange(5) < np.arange(rows)[:, None] % 6
    return draw(rows, 5, 3).astype("f4"), mask, draw(rows, 2).astype("f4")


def test_what_a_mask_hides_does_not_matter_anywhere() -> None:
    """Forward, gradients, steps, scans, members, fit, evaluation, native code, source in NumPy."""
    net = pooled()
    params, shape = net.init(fn.key(0), (5, 3), (5,))
    assert shape == (2,)
    x, mask, t = padded(8)
    other = np.where(mask[..., None], x, np.float32(9.0))
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)

    def every(given: Any) -> list[Any]:
        members = fn.tree.map(lambda p: np.stack([p, 2 * p]), params)
        namespace: dict[str, Any] = {}
        exec(fn.to_numpy(step, params, given, mask, t), namespace)  # noqa: S102
        return [
            net.apply(params, given, mask),
            step(params, given, mask, t),
            namespace["step"](params, given, mask, t),
            fn.scan(step, params, given[None], mask[None], t[None]),
            fn.vmap(step, in_axes=(0, None, None, None))(members, given, mask, t),
            fn.fit(step, params, (given, mask, t), 2, 3, fn.key(0)).params,
            fn.evaluate(net, fn.mse(), params, (given, mask, t), batch_size=3),
        ]

    for found, right in zip(fn.tree.leaves(every(other)), fn.tree.leaves(every(x)), strict=True):
        np.testing.assert_array_equal(found, right)
        assert np.isfinite(right).all()
    compiled, right = every(x)[1:3]
    for a, b in zip(fn.tree.leaves(compiled), fn.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(a, b)
    y, pull = net.apply.vjp(params, x, mask)
    np.testing.assert_allclose(net.apply(params, x, mask), y, atol=1e-6)
    cotangents: Any = pull(np.ones_like(y))[1]
    dx, dm = cotangents
    assert dm is None
    assert not dx[~mask].any()


def test_large_batches_with_masks_are_whole() -> None:
    net = pooled()
    params, _ = net.init(fn.key(0), (5, 3), (5,))
    x, mask, t = padded(900)
    mask[:400] = False
    (value, grad), (y, pull) = fn.value_and_grad(net, fn.mse())(params, x, mask, t), net.apply.vjp(params, x, mask)
    assert value == pytest.approx(np.mean((y - t) ** 2), rel=1e-5)
    expected, _ = pull(2 * (y - t) / y.size)
    for a, b in zip(fn.tree.leaves(grad), fn.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_mask_that_hides_everything_is_refused_wherever_it_is_met() -> None:
    net = pooled()
    params, _ = net.init(fn.key(0), (5, 3), (5,))
    x, mask, t = padded(4)
    step, hidden = fn.sgd_step(net, fn.mse(), learning_rate=0.1), np.zeros_like(mask)
    step(params, x, mask, t)
    calls: list[Any] = [
        lambda: net.apply(params, x, hidden),
        lambda: step(params, x, hidden, t),
        lambda: net.apply.vjp(params, x, hidden),
        lambda: fn.vmap(net.apply, in_axes=(None, 0, 0))(params, x[None], hidden[None]),
        lambda: fn.scan(step, params, x[None], hidden[None], t[None]),
    ]
    for call in calls:
        with pytest.raises(fn.MaskError, match=r"seen.*attention.*mask \(4, 5\) is False everywhere.*give ~mask"):
            call()
    assert net.apply(params, x[:0], hidden[:0]).shape == (0, 2)
    np.testing.assert_array_equal(step(params, x, mask, t)[1], step(params, x, mask, t)[1])


@pytest.mark.parametrize("kind", [np.float32, np.int64, np.uint8])
def test_masks_of_numbers_are_refused(kind: Any) -> None:
    layer, x = fn.attention(2, masked=True), draw(2, 3, 4).astype("f4")
    params, _ = layer.init(fn.key(0), (3, 4), (3,))
    with pytest.raises(fn.DTypeError, match=rf"attention: .*{np.dtype(kind)}.*bools, True for .*mask\.astype\(bool\)"):
        layer.apply(params, x, np.ones((2, 3), kind))
    net = pooled()
    params, _ = net.init(fn.key(0), (3, 3), (3,))
    with pytest.raises(fn.DTypeError, match=r"mask.*bools, True for .*mask\.astype\(bool\)"):
        net.apply(params, x[..., :3], np.ones((2, 3), kind))
    with pytest.raises(fn.ShapeError, match=r"its mask is \(2, 4\), but must be one bool a key, \(2, 3\)"):
        net.apply(params, x[..., :3], np.ones((2, 4), bool))


def test_shorter_sequences_use_the_first_positions() -> None:
    net = fn.positional_embedding()
    params, _ = net.init(fn.key(0), (6, 4), dtype=np.float64)
    x = draw(3, 4, 4)
    y, pull = net.apply.vjp(params, x)
    np.testing.assert_array_equal(y, x + params.table[:4])
    d, _ = pull(np.ones_like(x))
    np.testing.assert_array_equal(d.table[:, 0], [3, 3, 3, 3, 0, 0])
    as_many, (d, _) = draw(4, 4, 4), net.apply.vjp(params, draw(4, 4, 4))[1](np.ones((4, 4, 4)))
    assert net.apply(params, as_many).shape == as_many.shape
    np.testing.assert_array_equal(d.table[:, 0], [4, 4, 4, 4, 0, 0])
    with pytest.raises(fn.ParamsError, match=r"its table is \(6, 4, 1\)"):
        net.apply(params._replace(table=params.table[..., None]), x)
    with pytest.raises(fn.ShapeError, match="6 rows, the sequence 7"):
        net.apply(params, draw(3, 7, 4))
    with pytest.raises(fn.ParamsError, match="5 features"):
        net.apply(params, draw(3, 6, 5))


def test_params_and_multiply_adds_are_those_counted_by_hand() -> None:
    T, S, D, E = 5, 3, 4, 6
    found = fn.summary(fn.attention(2), (T, D))
    assert found.multiply_adds == 4 * T * D * D + 2 * T * T * D
    assert found.parameters == 4 * D * D + 3 * D
    crossed = fn.summary(fn.attention(2, cross=True, masked=True), (T, D), (S, E), (S,))
    assert crossed.multiply_adds == 2 * T * D * D + 2 * S * E * D + 2 * T * S * D
    assert crossed.parameters == 2 * D * D + 2 * E * D + 3 * D
    alone = fn.summary(fn.dot_product_attention(heads=2, masked=True), (T, D), (S, D), (S, E), (T, S))
    assert (alone.parameters, alone.multiply_adds) == (0, T * S * D + T * S * E)
    assert fn.summary(fn.positional_embedding(), (T, D)).parameters == T * D
    assert fn.summary(fn.sinusoidal(), (T, D)).parameters == 0


def test_params_of_keras() -> None:
    """Its kernels are (features, heads, size), the last (heads, size, features): the heads lie side by side here."""
    heads, size, width = 2, 3, 6
    query, key, value = (draw(width, heads, size) for _ in range(3))
    output, x = draw(heads, size, width), draw(2, 5, width)
    b_q, b_v, b_o = draw(heads, size), draw(heads, size), draw(width)
    q, k, v = (np.einsum("ntf,fhc->nthc", x, kernel) for kernel in (query, key, value))
    scores = np.einsum("nqhc,nkhc->nhqk", (q + b_q) / math.sqrt(size), k)
    weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    expected = np.einsum("nqhc,hcf->nqf", np.einsum("nhqk,nkhc->nqhc", weights, v + b_v), output) + b_o
    flat = (kernel.reshape(width, heads * size) for kernel in (query, key, value))
    w_q, w_k, w_v = flat
    params = fn.Attention(
        fn.Affine(w_q, b_q.ravel()),
        fn.Weight(w_k),
        fn.Affine(w_v, b_v.ravel()),
        fn.Affine(output.reshape(-1, width), b_o),
    )
    np.testing.assert_allclose(fn.attention(heads).apply(params, x), expected, atol=1e-12)


def test_sinusoidal_is_the_sum_with_the_waves_of_the_paper() -> None:
    layer = fn.sinusoidal()
    for features in (1, 4, 7):
        waves = np.empty((5, features))
        for place, i in np.ndindex(5, features):
            angle = place / 10000.0 ** (2 * (i // 2) / features)
            waves[place, i] = math.cos(angle) if i % 2 else math.sin(angle)
        x = np.random.default_rng(0).normal(size=(3, 5, features))
        assert np.allclose(layer.apply((), x), x + waves, rtol=0, atol=1e-14)
