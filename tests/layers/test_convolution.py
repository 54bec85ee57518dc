"""Convolutions and pools: their options, what they refuse, and how images lie in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import funcnet as fn
from tests.support import images
from tests.support.images import Kernel

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fn.conv(0, 3), "features must be an int of at least 1"),
        (lambda: fn.conv(2, (3, 3, 3)), "kernel_size must be one int or two"),
        (lambda: fn.conv(2, "3"), "kernel_size must be one int or two"),  # type: ignore[call-overload]
        (lambda: fn.conv(2, (3, 0)), "kernel_size must be an int of at least 1"),
        (lambda: fn.conv(2, 3, strides=0), "strides must be an int of at least 1"),
        (lambda: fn.conv(2, 3, strides=(1, 2)), "strides must be an int, or one for each of the 1 axes"),
        (lambda: fn.conv(2, 3, dilation=0), "dilation must be an int of at least 1"),
        (lambda: fn.conv(3, 3, groups=2), "groups must divide the 3 features"),
        (lambda: fn.conv(2, 3, padding="SAME"), "padding must be 'valid', 'same' or a pair"),
        (lambda: fn.conv(2, 3, padding=1), "padding must be 'valid', 'same' or a pair"),  # type: ignore[call-overload]
        (lambda: fn.conv(2, (3, 3), padding=((1, 1),)), r"such as \(\(1, 1\), \(2, 0\)\)"),
        (lambda: fn.conv(2, 3, padding=((1, -1),)), "padding must be an int of at least 0"),
        (lambda: fn.max_pool((2, 2), padding=((2, 0), (0, 0))), r"padding \(2, 0\) must be smaller"),
        (lambda: fn.upsample(0), "factor must be an int of at least 1"),
    ],
)
def test_bad_options_are_refused(call: Any, message: str) -> None:
    with pytest.raises(fn.OptionError, match=message):
        call()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (
            fn.conv(2, (3, 3)),
            (8, 8),
            r"takes \(rows, height, width, channels\), not 3 axes: one row alone is x\[None\]",
        ),
        (fn.conv(2, 3), (8, 8, 1), r"for images give a number for each of the two axes"),
        (fn.conv(2, (5, 3)), (4, 8, 1), "reaches over 5 elements, but the input .* has only 4 along that axis"),
        (fn.conv(2, 3, dilation=4, padding=((2, 2),)), (4, 1), "reaches over 9 elements, .* only 4 and 4 of padding"),
        (fn.conv(4, 3, groups=2), (8, 3), "groups must divide the 3 channels"),
        (fn.conv_transpose(2, 2, padding=((3, 0),)), (1, 1), "nothing is left"),
        (fn.max_pool((3, 3)), (2, 2, 1), "reaches over 3 elements"),
        (fn.avg_pool(3), (2, 1), "reaches over 3 elements"),
        (fn.upsample((2, 2)), (2, 2), r"not 3 axes"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(layer: fn.Layer[Any], shape: fn.Shape, message: str) -> None:
    with pytest.raises(fn.ShapeError, match=message):
        layer.init(fn.key(0), shape)


def test_options_may_be_arrays() -> None:
    pair = np.array([2, 1])
    given: Any = {"kernel_size": pair, "strides": pair, "dilation": pair, "padding": np.array([[2, 1], [1, 0]])}
    arrays = fn.conv(2, **given)
    tuples = fn.conv(2, (2, 1), strides=(2, 1), dilation=(2, 1), padding=((2, 1), (1, 0)))
    params, shape = arrays.init(fn.key(0), (5, 4, 3))
    assert shape == tuples.init(fn.key(0), (5, 4, 3))[1]
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype(np.float32)
    np.testing.assert_array_equal(arrays.apply(params, x), tuples.apply(params, x), strict=True)


def test_other_channels_and_params_are_refused() -> None:
    layer = fn.conv(2, (3, 3))
    params, _ = layer.init(fn.key(0), (8, 8, 3))
    with pytest.raises(fn.ShapeError, match=r"\(3, 3, 3, 2\) takes 3 channels, and its input has 1"):
        layer.apply(params, np.zeros((1, 8, 8, 1), np.float32))
    with pytest.raises(fn.ParamsError, match=r"its weight is \(2, 3, 3, 2\), but must be \(3, 3, channels, features\)"):
        layer.apply(params._replace(weight=np.zeros((2, 3, 3, 2), np.float32)), np.zeros((1, 8, 8, 3), np.float32))
    with pytest.raises(fn.ParamsError, match="a bias is one number a feature"):
        layer.apply(params._replace(bias=np.zeros(3, np.float32)), np.zeros((1, 8, 8, 3), np.float32))
    with pytest.raises(fn.ShapeError, match="takes 2 channels"):
        fn.conv_transpose(2, (3, 3)).apply(
            params._replace(bias=np.zeros(3, np.float32)), np.zeros((1, 8, 8, 3), np.float32)
        )


@given(
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    groups=st.integers(1, 3),
    rows=st.integers(0, 3),
)
def test_same_gives_the_length_over_the_stride_and_the_books_values(
    height: int,
    width: int,
    size: tuple[int, int],
    strides: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    rows: int,
) -> None:
    layer = fn.conv(2 * groups, size, strides=strides, dilation=dilation, groups=groups, padding="same")
    params, shape = layer.init(fn.key(0), (height, width, groups), dtype=np.float64)
    assert shape == (-(-height // strides[0]), -(-width // strides[1]), 2 * groups)
    missing = [
        max(0, (n - 1) * step + (k - 1) * gap + 1 - length)
        for n, step, k, gap, length in zip(shape, strides, size, dilation, (height, width), strict=False)
    ]
    pads = ((missing[0] // 2, -(-missing[0] // 2)), (missing[1] // 2, -(-missing[1] // 2)))
    x = RNG.normal(size=(rows, height, width, groups))
    kernel = Kernel(strides, pads, dilation, groups)
    net = fn.network({1: layer}, {})
    expected = images.convolved(kernel, params, x)
    np.testing.assert_allclose(layer.apply(params, x), expected, atol=1e-12)
    np.testing.assert_allclose(net.apply({1: params}, x), expected, atol=1e-12)
    up = fn.conv_transpose(groups, size, strides=strides, dilation=dilation)
    assert up.init(fn.key(0), shape)[1] == tuple(
        (n - 1) * step + (k - 1) * gap + 1 for n, step, k, gap in zip(shape, strides, size, dilation, strict=False)
    ) + (groups,)


NAN, INF = np.nan, np.inf


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("x", "expected"),
    [
        ([[1, 2], [2, 2]], [[0, 1 / 3], [1 / 3, 1 / 3]]),
        ([[0.0, -0.0], [-1, 0.0]], [[1 / 3, 1 / 3], [0, 1 / 3]]),
        ([[-INF, -INF], [-INF, -INF]], [[1 / 4, 1 / 4], [1 / 4, 1 / 4]]),
        ([[INF, 3], [INF, -INF]], [[1 / 2, 0], [1 / 2, 0]]),
        ([[1, NAN], [2, INF]], [[0, 1], [0, 0]]),
        ([[NAN, 5], [-NAN, 5]], [[1 / 2, 0], [1 / 2, 0]]),
    ],
)
def test_the_largest_of_a_window_share_its_gradient_which_nan_is(x: Any, expected: Any, dtype: Any) -> None:
    image = np.array(x, dtype)[None, :, :, None]
    beside = np.arange(4, dtype=dtype).reshape(1, 2, 2, 1)  # a window without NaN
    share = np.concatenate([np.array(expected, dtype)[None, :, :, None], beside == 3], axis=2)
    y, pullback = fn.max_pool((2, 2)).apply.vjp((), np.concatenate([image, beside], axis=2))
    np.testing.assert_array_equal(y, np.array([[[[image.max()], [3]]]], dtype))
    for g in (1.0, 5.0, INF, -NAN):
        with np.errstate(invalid="ignore"):
            wanted = np.where(share == 0, 0, share * dtype(g))
        np.testing.assert_allclose(pullback(np.full_like(y, g))[1][0], wanted, rtol=1e-6)


def test_windows_that_overlap_add_up_the_shares_of_their_largest() -> None:
    x = np.array([1.0, 1.0, 1.0, NAN, 2.0])[None, :, None]
    y, pullback = fn.max_pool(2, strides=1).apply.vjp((), x)
    np.testing.assert_array_equal(y[0, :, 0], [1, 1, NAN, NAN])
    _, (dx,) = pullback(np.array([1.0, 4.0, 3.0, 5.0])[None, :, None])
    np.testing.assert_array_equal(dx[0, :, 0], [0.5, 2.5, 2.0, 8.0, 0.0])
    _, (dx,) = pullback(np.array([1.0, INF, NAN, 0.0])[None, :, None])
    np.testing.assert_array_equal(dx[0, :, 0], [0.5, INF, INF, NAN, 0.0])


def test_more_than_255_equal_elements_share_a_gradient() -> None:
    _, pullback = fn.max_pool((17, 16)).apply.vjp((), np.ones((1, 17, 16, 1)))
    np.testing.assert_array_equal(pullback(np.full((1, 1, 1, 1), 272.0))[1][0], np.ones((1, 17, 16, 1)))


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_what_no_window_reads_has_no_gradient(padding: str) -> None:
    x = RNG.normal(size=(2, 5, 6, 3))
    y, pullback = fn.max_pool((2, 2), strides=(2, 3), padding=padding).apply.vjp((), x)
    _, (dx,) = pullback(np.full_like(y, 7.0))
    np.testing.assert_array_equal(np.isin(x, y), dx == 7.0)
    assert set(np.unique(dx)) == {0.0, 7.0}


@pytest.mark.parametrize("features", [1, 2, 3, 5, 7, 8, 9])
@pytest.mark.parametrize("height", [1, 2, 3, 5])
@pytest.mark.parametrize("groups", [1, 2])
def test_the_gradient_of_a_kernel_with_few_features(features: int, height: int, groups: int) -> None:
    """Of one row of the output at a time, two or four."""
    for count in (1, 2, 3, 4, 8):
        x, g = RNG.normal(size=(3, height + count - 1, 4, 4)), RNG.normal(size=(3, count, 3, features * groups))
        layer = fn.conv(features * groups, (height, 2), groups=groups)
        params, _ = layer.init(fn.key(0), x.shape[1:], dtype=np.float64)
        _, pullback = layer.apply.vjp(params, x)
        patches = np.lib.stride_tricks.sliding_window_view(x, (height, 2), (1, 2))
        expected = np.concatenate(
            [
                np.einsum("nhwcij,nhwf->ijcf", *pair)
                for pair in zip(np.split(patches, groups, 3), np.split(g, groups, 3), strict=True)
            ],
            axis=-1,
        )
        np.testing.assert_allclose(pullback(g)[0].weight, expected, rtol=1e-12, atol=1e-12)


def test_kernels_are_drawn_by_their_fans() -> None:
    for layer, fan_in in ((fn.conv(64, (3, 3)), 9 * 32), (fn.conv_transpose(64, (3, 3)), 9 * 32)):
        params, _ = layer.init(fn.key(0), (8, 8, 32))
        np.testing.assert_allclose(params.weight.std(), fan_in**-0.5, rtol=0.02)
        assert params.weight.flags.c_contiguous
    params, _ = fn.conv(64, 5, groups=32).init(fn.key(0), (8, 32))
    np.testing.assert_allclose(params.weight.std(), 5**-0.5, rtol=0.15)


def test_the_summary_counts_params_and_multiply_adds() -> None:
    found = fn.summary(fn.serial(fn.conv(6, (5, 5)), fn.max_pool((2, 2)), fn.flatten(), fn.linear(3)), (28, 28, 1))
    assert found.parameters == 5 * 5 * 6 + 6 + 12 * 12 * 6 * 3 + 3
    assert found.multiply_adds == 24 * 24 * 25 * 6 + 12 * 12 * 6 * 3


NETWORKS: dict[str, tuple[fn.Layer[Any], tuple[int, ...]]] = {
    "images": (
        fn.serial(
            fn.conv(3, (3, 3)),
            fn.relu(),
            fn.max_pool((2, 2)),
            fn.conv(4, (2, 2)),
            fn.tanh(),
            fn.flatten(),
            fn.linear(2),
        ),
        (8, 9, 2),
    ),
    "sequences into linear": (fn.serial(fn.conv(3, 3), fn.tanh(), fn.linear(2), fn.conv(2, 2)), (6, 2)),
    "linear into images": (fn.serial(fn.linear(12), fn.reshape(2, 3, 2), fn.conv_transpose(2, (2, 2))), (5,)),
    "norms": (
        fn.serial(fn.conv(3, (2, 2)), fn.layer_norm(), fn.avg_pool((2, 2)), fn.scale(), fn.mean((1, 2))),
        (5, 5, 2),
    ),
    "branches": (
        fn.network(
            {
                "x": fn.identity(),
                "a": fn.conv(2, (3, 3), padding="same"),
                "b": fn.conv(3, (1, 1)),
                "c": fn.concatenate(),
                "d": fn.conv(2, (2, 2)),
                "e": fn.upsample((2, 1)),
            },
            {"x": ["a", "b"], "a": ["c"], "b": ["c"], "c": ["d"], "d": ["e"]},
        ),
        (4, 4, 2),
    ),
    "permuted": (
        fn.serial(fn.permute(2, 1, 3), fn.conv(2, (2, 3)), fn.permute(3, 1, 2), fn.avg_pool((1, 2))),
        (4, 5, 2),
    ),
    "dropout": (fn.serial(fn.conv(2, (2, 2)), fn.dropout(0.5), fn.sigmoid(), fn.conv(2, (2, 2))), (4, 4, 1)),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("rows", [0, 1, 5, 150])
def test_the_program_agrees_with_the_pure_functions_however_images_lie(name: str, rows: int) -> None:
    net, shape = NETWORKS[name]
    params, _ = net.init(fn.key(1), shape, dtype=np.float64)
    x = RNG.normal(size=(rows, *shape))
    loss = fn.mse(reduction="sum")
    y, pullback = net.apply.vjp(params, x)
    _, of_loss = loss.apply.vjp((), y, np.ones_like(y))
    expected, _ = pullback(of_loss(np.float64(1.0))[1][0])
    value, gradient = fn.value_and_grad(net, loss)(params, x, np.ones_like(y))
    np.testing.assert_allclose(value, loss.apply((), y, np.ones_like(y)), rtol=1e-12)
    for a, b in zip(fn.tree.leaves(gradient), fn.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


def test_one_number_of_padding_is_answered_for_every_axis() -> None:
    with pytest.raises(fn.OptionError, match=r"did you mean \(\(1, 1\), \(1, 1\)\)\?"):
        fn.conv(4, (3, 3), padding=1)  # type: ignore[call-overload]  # pyright: ignore


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_before_the_other_axes_are_reported(channels: int) -> None:
    """Even where the kernel is larger than their number."""
    layer = fn.conv(4, (3, 3))
    params, _ = layer.init(fn.key(0), (8, 9, channels))
    with pytest.raises(fn.ShapeError, match=r"channels come last, x.transpose\(\(0, 2, 3, 1\)\)"):
        layer.apply(params, np.zeros((5, channels, 8, 9), np.float32))
    with pytest.raises(fn.ShapeError) as raised:
        layer.apply(params, np.zeros((5, 4, 8, 9), np.float32))
    assert "channels come last" not in str(raised.value)


def test_a_sequence_is_an_image_of_one_row() -> None:
    layer = fn.conv_transpose(4, 3, use_bias=False)
    params, _ = layer.init(fn.key(0), (8, 3))
    y: Any = layer.apply.run(params, (np.zeros((5, 8, 3), np.float32),))[0]
    assert y.base.size == y.size
