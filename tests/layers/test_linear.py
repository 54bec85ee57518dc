"""Linear layers against sums written out, their options, and what does not fit."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet.layers.linear import Affine, Weight

SHAPES = [(5, 3), (1, 3), (4, 2, 3), (2, 3, 2, 3), (0, 3)]

shapes = pytest.mark.parametrize("shape", SHAPES)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)


def numbers(*shape: int, dtype: Any = np.float64, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def affine(dtype: Any = np.float64) -> Affine:
    return Affine(numbers(3, 4, dtype=dtype, seed=1), numbers(4, dtype=dtype, seed=2))


def compiled(layer: fn.Layer[Any], params: Any, x: Any) -> Any:
    return fn.network({1: layer}, {}).apply({1: params}, x)


def tolerance(dtype: Any) -> float:
    return 32 * float(np.finfo(dtype).eps)


@shapes
@both_dtypes
def test_values(shape: tuple[int, ...], dtype: Any) -> None:
    x, (W, b) = numbers(*shape, dtype=dtype), affine(dtype)
    expected = np.einsum("...i,ij->...j", x, W) + b
    for y in (fn.linear(4).apply(Affine(W, b), x), compiled(fn.linear(4), Affine(W, b), x)):
        np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance(dtype), strict=True)


@shapes
@both_dtypes
def test_values_without_bias(shape: tuple[int, ...], dtype: Any) -> None:
    x, (W, _) = numbers(*shape, dtype=dtype), affine(dtype)
    expected = np.einsum("...i,ij->...j", x, W)
    layer = fn.linear(4, use_bias=False)
    for y in (layer.apply(Weight(W), x), compiled(layer, Weight(W), x)):
        np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance(dtype), strict=True)


@shapes
def test_gradients(shape: tuple[int, ...]) -> None:
    x, params = numbers(*shape), affine()
    y, pullback = fn.linear(4).apply.vjp(params, x)
    g = numbers(*y.shape, seed=3)
    (dW, db), (dx,) = pullback(g)
    rows, gs = x.reshape(-1, 3), g.reshape(-1, 4)
    np.testing.assert_allclose(dW, np.einsum("ni,nj->ij", rows, gs), atol=1e-13)
    np.testing.assert_allclose(db, gs.sum(axis=0), atol=1e-13)
    np.testing.assert_allclose(dx, np.einsum("...j,ij->...i", g, params.weight), atol=1e-13)


def test_gradients_have_the_names_of_the_params() -> None:
    _, pullback = fn.linear(4).apply.vjp(affine(), numbers(5, 3))
    assert type(pullback(numbers(5, 4))[0]) is Affine
    _, bare = fn.linear(4, use_bias=False).apply.vjp(Weight(affine().weight), numbers(5, 3))
    assert type(bare(numbers(5, 4))[0]) is Weight


@shapes
@pytest.mark.parametrize("use_bias", [True, False])
def test_transposed(shape: tuple[int, ...], use_bias: bool) -> None:
    (W, b), x = affine(), numbers(*shape[:-1], 4)
    params: Any = Affine(W, b) if use_bias else Weight(W)
    layer: Any = fn.linear(4) if use_bias else fn.linear(4, use_bias=False)
    y, pullback = fn.transposed(layer).vjp(params, x)
    np.testing.assert_allclose(y, np.einsum("...j,ij->...i", x, W), atol=1e-13, strict=True)
    g = numbers(*y.shape, seed=3)
    of_params, (dx,) = pullback(g)
    np.testing.assert_allclose(of_params[0], np.einsum("ni,nj->ij", g.reshape(-1, 3), x.reshape(-1, 4)), atol=1e-13)
    np.testing.assert_allclose(dx, np.einsum("...i,ij->...j", g, W), atol=1e-13, strict=True)
    assert not np.any(of_params[1:])


@pytest.mark.parametrize("shape", [(4,), (5, 3), (5, 2, 3), (2, 6)])
def test_transposed_takes_rows_of_as_many_features_as_units(shape: tuple[int, ...]) -> None:
    function = fn.transposed(fn.linear(4))
    for call in (function, function.vjp):
        with pytest.raises(
            fn.ShapeError, match=r"weight that it transposes is \(3, 4\), so it takes rows of 4 features"
        ):
            call(affine(), numbers(*shape))


@both_dtypes
def test_far_out_nothing_overflows(dtype: Any) -> None:
    x = np.array([[800.0, -800.0, 1e4], [-1e4, 1e4, 0.0]], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for y in (fn.linear(4).apply(affine(dtype), x), compiled(fn.linear(4), affine(dtype), x)):
            assert np.isfinite(y).all()


def test_nan_stays_in_its_row() -> None:
    x = numbers(3, 3)
    x[1, 0] = np.nan
    for y in (fn.linear(4).apply(affine(), x), compiled(fn.linear(4), affine(), x)):
        assert np.isnan(y).all(axis=1).tolist() == [False, True, False]


def test_an_infinite_input_reaches_all_units() -> None:
    x = np.array([[np.inf, 1.0, 1.0]])
    W = np.array([[1.0, -1.0], [1.0, 1.0], [1.0, 1.0]])
    assert fn.linear(2).apply(Affine(W, np.zeros(2)), x).tolist() == [[np.inf, -np.inf]]


@both_dtypes
def test_init(dtype: Any) -> None:
    params, shape = fn.linear(4).init(fn.key(0), (2, 3), dtype=dtype)
    assert shape == (2, 4)
    assert [(p.shape, p.dtype) for p in params] == [((3, 4), dtype), ((4,), dtype)]
    assert not params.bias.any()
    assert params.weight.std() > 0


def test_the_default_weights_are_those_of_lecun() -> None:
    params, _ = fn.linear(400).init(fn.key(0), (300,), dtype=np.float64)
    assert params.weight.var() == pytest.approx(1 / 300, rel=0.02)


def test_one_key_gives_one_draw() -> None:
    first, second, other = (fn.linear(4).init(fn.key(seed), (3,))[0] for seed in (0, 0, 1))
    assert np.array_equal(first.weight, second.weight)
    assert not np.array_equal(first.weight, other.weight)


def test_leaving_out_the_bias_changes_no_weight() -> None:
    (W, _), _ = fn.linear(4).init(fn.key(0), (3,))
    (alone,), _ = fn.linear(4, use_bias=False).init(fn.key(0), (3,))
    np.testing.assert_array_equal(W, alone)


def test_initializers_may_be_chosen() -> None:
    params, _ = fn.linear(4, weight_init=fn.ones(), bias_init=fn.constant(0.5)).init(fn.key(0), (3,))
    assert (params.weight == 1).all()
    assert (params.bias == 0.5).all()


def test_weight_and_bias_are_drawn_apart() -> None:
    params, _ = fn.linear(4, weight_init=fn.normal(1.0), bias_init=fn.normal(1.0)).init(fn.key(0), (1,))
    assert not np.array_equal(params.weight[0], params.bias)


def test_no_features_leave_the_bias() -> None:
    params = Affine(np.zeros((0, 4)), affine().bias)
    y = fn.linear(4).apply(params, np.zeros((5, 0)))
    np.testing.assert_array_equal(y, np.tile(params.bias, (5, 1)))
    np.testing.assert_array_equal(compiled(fn.linear(4), params, np.zeros((5, 0))), y)


def test_it_pickles() -> None:
    layer = pickle.loads(pickle.dumps(fn.linear(4, weight_init=fn.he_normal())))
    assert layer.init(fn.key(0), (3,))[1] == (4,)


@pytest.mark.parametrize("units", [0, -1, 2.5, 2.0, True, "3", None, (3,)])
def test_units_that_are_no_positive_int_are_refused(units: Any) -> None:
    with pytest.raises(fn.OptionError, match="linear: units must be an int of at least 1, not"):
        fn.linear(units)


@pytest.mark.parametrize("features", [2, 4, 0])
def test_rows_of_another_width_are_refused(features: int) -> None:
    with pytest.raises(fn.ShapeError, match=rf"linear.*\(5, {features}\).*weight is \(3, 4\).*rows of 3 features"):
        fn.linear(4).apply(affine(), numbers(5, features))


@pytest.mark.parametrize(
    ("inputs", "shape", "hint"),
    [
        (6, (5, 3), True),
        (6, (5, 4), False),
        (6, (5, 2, 4), False),  # 2 is no feature
        (6, (5, 4, 2), True),
        (6, (5, 2, 0), False),
        (0, (5, 3), False),
    ],
)
def test_only_rows_that_fill_the_weight_are_asked_for_a_batch_axis(
    inputs: int, shape: tuple[int, ...], hint: bool
) -> None:
    with pytest.raises(fn.ShapeError) as caught:
        fn.linear(4).apply(Affine(numbers(inputs, 4), numbers(4)), numbers(*shape))
    assert ("Was init given a shape with the batch axis?" in str(caught.value)) is hint
    assert ("Or does another of several inputs stand in its place?" in str(caught.value)) is hint


def test_one_row_is_refused_with_the_fix() -> None:
    with pytest.raises(fn.ShapeError, match=r"One row is x\[None\]"):
        fn.linear(4).apply(affine(), numbers(3))


def test_an_input_without_features_is_refused_at_init() -> None:
    with pytest.raises(fn.ShapeError, match=r"rows of features.*\(2,\)"):
        fn.linear(4).init(fn.key(0), ())


@pytest.mark.parametrize("layer", [fn.linear(4), fn.tanh(), fn.network({1: fn.tanh()}, {})])
def test_none_is_no_dtype(layer: Any) -> None:
    with pytest.raises(fn.DTypeError, match="None is no dtype: use np.float32"):
        layer.init(fn.key(0), (2,), dtype=None)


@pytest.mark.parametrize("shape", [3, "3", (3.0,), (-1,), None])
def test_what_is_no_shape_is_refused_at_init(shape: Any) -> None:
    with pytest.raises(fn.ShapeError, match="linear: an input shape is a tuple of lengths"):
        fn.linear(4).init(fn.key(0), shape)


@pytest.mark.parametrize(
    "params",
    [(), None, tuple(affine()), [*affine()], Weight(affine().weight), {"weight": affine().weight}],
    ids=["none at all", "None", "a tuple", "a list", "without the bias", "a dict"],
)
def test_other_params_are_refused(params: Any) -> None:
    with pytest.raises(fn.ParamsError, match=r"Affine\(weight, bias\)"):
        fn.linear(4).apply(params, numbers(5, 3))


@pytest.mark.parametrize("bias", [(3,), (1,), (4, 1), (1, 4), ()])
def test_a_bias_that_does_not_fit_the_weight_is_refused(bias: tuple[int, ...]) -> None:
    params = Affine(affine().weight, np.ones(bias))  # pyright: ignore[reportArgumentType]
    for call in (fn.linear(4).apply, fn.linear(4).apply.vjp):
        with pytest.raises(fn.FuncnetError, match="linear"):
            call(params, numbers(5, 3))
    with pytest.raises(fn.FuncnetError, match="linear"):
        compiled(fn.linear(4), params, numbers(5, 3))


@pytest.mark.parametrize("weight", [(3,), (3, 4, 1), (1, 3, 4), ()])
def test_a_weight_that_is_no_matrix_is_refused(weight: tuple[int, ...]) -> None:
    params = Affine(np.ones(weight), affine().bias)  # pyright: ignore[reportArgumentType]
    with pytest.raises(fn.FuncnetError, match="linear"):
        fn.linear(4).apply(params, numbers(5, 3))
    with pytest.raises(fn.FuncnetError, match="linear"):
        compiled(fn.linear(4), params, numbers(5, 3))


def of_another_shape(key: Any, shape: Any, dtype: Any) -> Any:
    return np.ones((7, 7), dtype)


def of_another_dtype(key: Any, shape: Any, dtype: Any) -> Any:
    return np.ones(shape, np.float16)


@pytest.mark.parametrize("initializer", [of_another_shape, of_another_dtype])
@pytest.mark.parametrize("which", ["weight_init", "bias_init"])
def test_an_initializer_that_gives_something_else_is_refused(initializer: Any, which: str) -> None:
    options: Any = {which: initializer}
    with pytest.raises(fn.FuncnetError, match="linear: .*its initializer gave"):
        fn.linear(4, **options).init(fn.key(0), (3,))


def test_only_one_row_alone_is_reported_to_become_a_batch() -> None:
    for shape, hint in (((3,), True), ((5, 7), False)):
        with pytest.raises(fn.ShapeError) as caught:
            fn.linear(4).apply(affine(), numbers(*shape))
        assert ("One row is x[None]" in str(caught.value)) is hint
