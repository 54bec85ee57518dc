"""Merges: values and cotangents written out, ties, one input and many, and shapes that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import pytest

import funcnet as fn

MERGES: dict[str, tuple[fn.Layer[Any], Callable[..., Any]]] = {
    "add": (fn.add(), lambda *xs: sum(xs)),
    "multiply": (fn.multiply(), lambda *xs: reduce(np.multiply, xs)),
    "average": (fn.average(), lambda *xs: sum(xs) / len(xs)),
    "maximum": (fn.maximum(), lambda *xs: np.max(xs, axis=0)),
    "concatenate": (fn.concatenate(), lambda *xs: np.concatenate(xs, axis=-1)),
}
SAME_SHAPE: dict[str, tuple[fn.Layer[Any], Callable[..., Any]]] = {**MERGES, "subtract": (fn.subtract(), np.subtract)}
FAR = np.array([[800.0, -800.0], [1e4, -1e4]])

every_merge = pytest.mark.parametrize("name", MERGES)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)


def numbers(*shape: int, dtype: Any = np.float64, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def compiled(layer: fn.Layer[Any], *xs: Any) -> Any:
    """The layer as an operator of a network."""
    inputs: list[fn.OperatorKey] = [f"x{i}" for i in range(len(xs))]
    operators = {**dict.fromkeys(inputs, fn.identity()), "f": layer}
    return fn.network(operators, {x: ["f"] for x in inputs}, inputs=inputs).apply({}, *xs)


def both(layer: fn.Layer[Any], *xs: Any) -> list[Any]:
    return [layer.apply((), *xs), compiled(layer, *xs)]


def cotangents(layer: fn.Layer[Any], g: Any, *xs: Any) -> Any:
    return layer.apply.vjp((), *xs)[1](g)[1]


@every_merge
@both_dtypes
@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", [(4, 1), (4, 3), (4, 2, 3)])
def test_values(name: str, shape: tuple[int, ...], count: int, dtype: Any) -> None:
    layer, plain = MERGES[name]
    xs = [numbers(*shape, dtype=dtype, seed=i) for i in range(count)]
    for y in both(layer, *xs):
        np.testing.assert_allclose(y, plain(*xs), rtol=1e-6 if dtype is np.float32 else 1e-14)
        assert y.dtype == dtype


@pytest.mark.parametrize("name", [name for name in SAME_SHAPE if name != "concatenate"])
def test_one_number_a_row(name: str) -> None:
    layer, plain = SAME_SHAPE[name]
    a, b = numbers(2, 4)
    for y in both(layer, a, b):
        np.testing.assert_allclose(y, plain(a, b), strict=True)


def test_subtract_takes_the_second_from_the_first() -> None:
    a, b = numbers(2, 4, 3)
    for y in both(fn.subtract(), a, b):
        np.testing.assert_array_equal(y, a - b)
    da, db = cotangents(fn.subtract(), np.ones((4, 3)), a, b)
    assert (da == 1).all()
    assert (db == -1).all()


@pytest.mark.parametrize("count", [1, 2, 4])
def test_every_summand_gets_the_whole_cotangent(count: int) -> None:
    g = numbers(4, 3)
    for dx in cotangents(fn.add(), g, *numbers(count, 4, 3)):
        np.testing.assert_array_equal(dx, g)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_everyone_averaged_gets_a_share_of_the_cotangent(count: int) -> None:
    g = numbers(4, 3)
    for dx in cotangents(fn.average(), g, *numbers(count, 4, 3)):
        np.testing.assert_allclose(dx, g / count)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_every_factor_gets_the_product_of_the_others(count: int) -> None:
    g, xs = numbers(4, 3), numbers(count, 4, 3)
    for i, dx in enumerate(cotangents(fn.multiply(), g, *xs)):
        np.testing.assert_allclose(dx, g * np.prod(np.delete(xs, i, axis=0), axis=0))


def test_a_factor_of_zero_does_no_harm() -> None:
    xs = [np.array([[2.0, 0.0, 0.0]]), np.array([[3.0, 5.0, 0.0]]), np.array([[4.0, 7.0, 9.0]])]
    with np.errstate(all="raise"):
        found = cotangents(fn.multiply(), np.ones((1, 3)), *xs)
    assert [dx.tolist() for dx in found] == [[[12.0, 35.0, 0.0]], [[8.0, 0.0, 0.0]], [[6.0, 0.0, 0.0]]]


def test_the_largest_gets_the_cotangent() -> None:
    xs = [np.array([[3.0, 1.0, 2.0]]), np.array([[1.0, 3.0, 1.0]]), np.array([[2.0, 2.0, 3.0]])]
    found = cotangents(fn.maximum(), np.array([[5.0, 6.0, 7.0]]), *xs)
    assert [dx.tolist() for dx in found] == [[[5.0, 0.0, 0.0]], [[0.0, 6.0, 0.0]], [[0.0, 0.0, 7.0]]]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_where_two_are_equal_each_gets_half(count: int) -> None:
    xs = [np.full((2, 2), 1.5)] * count
    shares = [float(dx[0, 0]) for dx in cotangents(fn.maximum(), np.ones((2, 2)), *xs)]
    assert shares == [0.5 ** (count - 1), *(0.5 ** (count - i) for i in range(1, count))]
    assert sum(shares) == 1


def test_zero_and_minus_zero_are_equal() -> None:
    da, db = cotangents(fn.maximum(), np.ones((1, 2)), np.array([[0.0, -0.0]]), np.array([[-0.0, 0.0]]))
    assert da.tolist() == db.tolist() == [[0.5, 0.5]]


def test_a_tie_in_a_program_gives_half_too() -> None:
    net = fn.network(
        {0: fn.linear(3), 1: fn.identity(), 2: fn.identity(), 3: fn.maximum()}, {0: [1, 2], 1: [3], 2: [3]}
    )
    params, _ = net.init(fn.key(0), (2,), dtype=np.float64)
    x, t = numbers(5, 2), numbers(5, 3)
    plain = fn.network({0: fn.linear(3)}, {})
    _, found = fn.value_and_grad(net, fn.mse())(params, x, t)
    _, expected = fn.value_and_grad(plain, fn.mse())(params, x, t)
    np.testing.assert_allclose(found[0].weight, expected[0].weight)


def test_concatenate_hands_each_its_part() -> None:
    xs = [numbers(4, n) for n in (2, 0, 3, 1)]
    g = numbers(4, 6)
    found = cotangents(fn.concatenate(), g, *xs)
    np.testing.assert_array_equal(np.concatenate(found, axis=-1), g)
    assert [dx.shape for dx in found] == [x.shape for x in xs]


def test_concatenate_joins_in_the_order_of_its_inputs() -> None:
    a, b = np.array([[1.0]]), np.array([[2.0, 3.0]])
    for y, z in zip(both(fn.concatenate(), a, b), both(fn.concatenate(), b, a), strict=True):
        assert (y.tolist(), z.tolist()) == ([[1.0, 2.0, 3.0]], [[2.0, 3.0, 1.0]])


@pytest.mark.parametrize("name", SAME_SHAPE)
@both_dtypes
def test_far_out_nothing_overflows(name: str, dtype: Any) -> None:
    layer, plain = SAME_SHAPE[name]
    xs = [FAR.astype(dtype), -FAR.astype(dtype)]
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for y in both(layer, *xs):
            np.testing.assert_array_equal(y, plain(*xs))
        assert all(np.isfinite(dx).all() for dx in cotangents(layer, np.ones(y.shape, dtype), *xs))


@pytest.mark.parametrize("name", SAME_SHAPE)
@pytest.mark.parametrize("place", [0, 1])
def test_nan_stays_nan(name: str, place: int) -> None:
    layer, plain = SAME_SHAPE[name]
    xs = [np.ones((1, 2)), np.full((1, 2), 2.0)]
    xs[place][0, 1] = np.nan
    for y in both(layer, *xs):
        np.testing.assert_array_equal(np.isnan(y), np.isnan(plain(*xs)))


@pytest.mark.parametrize("name", [name for name in SAME_SHAPE if name != "concatenate"])
@pytest.mark.parametrize("other", [(5, 1), (5,), (5, 4), (5, 1, 3)])
def test_nothing_is_broadcast(name: str, other: tuple[int, ...]) -> None:
    layer, _ = SAME_SHAPE[name]
    words = rf"{name}.*\(5, 3\), \({', '.join(map(str, other))},?\).*the same shape"
    with pytest.raises(fn.ShapeError, match=words):
        layer.apply((), np.ones((5, 3)), np.ones(other))
    with pytest.raises(fn.ShapeError, match="the same shape"):
        layer.init(fn.key(0), (3,), other[1:])
    with pytest.raises(fn.ShapeError, match="the same shape"):
        compiled(layer, np.ones((5, 3)), np.ones(other))


@pytest.mark.parametrize(("a", "b"), [((5, 3), (5,)), ((5,), (5,)), ((5, 2, 3), (5, 3)), ((5, 2, 3), (5, 1, 3))])
def test_concatenate_refuses_what_differs_elsewhere(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(fn.ShapeError, match="concatenate.*the same shape but for the last axis"):
        fn.concatenate().apply((), np.ones(a), np.ones(b))


@pytest.mark.parametrize("name", SAME_SHAPE)
def test_batches_of_different_lengths_are_refused(name: str) -> None:
    with pytest.raises(fn.ShapeError, match="batch sizes 5, 4"):
        SAME_SHAPE[name][0].apply((), np.ones((5, 3)), np.ones((4, 3)))


@pytest.mark.parametrize("name", SAME_SHAPE)
def test_no_input_is_refused(name: str) -> None:
    with pytest.raises(fn.ShapeError, match=f"{name} takes .* but was given 0"):
        SAME_SHAPE[name][0].apply(())


@pytest.mark.parametrize("count", [1, 3])
def test_subtract_takes_two(count: int) -> None:
    with pytest.raises(fn.ShapeError, match=f"subtract takes 2 inputs, but was given {count}"):
        fn.subtract().apply((), *numbers(count, 4, 3))


# --- reshape and flatten


RESHAPES: dict[str, tuple[fn.Layer[Any], tuple[int, ...], tuple[int, ...]]] = {
    "flatten": (fn.flatten(), (2, 3), (6,)),
    "flatten numbers": (fn.flatten(), (), (1,)),
    "flatten a vector": (fn.flatten(), (4,), (4,)),
    "flatten nothing": (fn.flatten(), (2, 0), (0,)),
    "to a matrix": (fn.reshape(2, 3), (6,), (2, 3)),
    "to a tuple of lengths": (fn.reshape((2, 3)), (6,), (2, 3)),
    "the rest to one axis": (fn.reshape(-1, 3), (2, 2, 3), (4, 3)),
    "the rest to the last axis": (fn.reshape(3, -1), (2, 6), (3, 4)),
    "to numbers": (fn.reshape(()), (1,), ()),
    "nothing, of no length and the rest": (fn.reshape(0, -1), (3, 0), (0, 0)),
    "to itself": (fn.reshape(2, 3), (2, 3), (2, 3)),
}


@pytest.mark.parametrize("name", RESHAPES)
def test_reshapes_are_row_major(name: str) -> None:
    layer, given, wanted = RESHAPES[name]
    x = numbers(5, *given)
    assert layer.init(fn.key(0), given)[1] == wanted
    for y in both(layer, x):
        np.testing.assert_array_equal(y, x.reshape(5, *wanted), strict=True)


@pytest.mark.parametrize("name", RESHAPES)
def test_a_reshape_goes_back(name: str) -> None:
    layer, given, wanted = RESHAPES[name]
    g = numbers(5, *wanted)
    (dx,) = cotangents(layer, g, numbers(5, *given))
    np.testing.assert_array_equal(dx, g.reshape(5, *given), strict=True)


@pytest.mark.parametrize("name", RESHAPES)
def test_an_empty_batch_keeps_its_shape(name: str) -> None:
    layer, given, wanted = RESHAPES[name]
    for y in both(layer, numbers(0, *given)):
        assert y.shape == (0, *wanted)


@pytest.mark.parametrize(
    ("shape", "given"), [((4,), (3,)), ((2, -1), (3,)), ((2, 3), (2, 2)), ((), (2,)), ((0, -1), (3,))]
)
def test_rows_that_do_not_fill_a_shape_are_refused(shape: tuple[int, ...], given: tuple[int, ...]) -> None:
    with pytest.raises(fn.ShapeError, match=r"reshape.*rows of \d elements do not fill the shape"):
        fn.reshape(shape).apply((), numbers(5, *given))


@pytest.mark.parametrize("shape", [(-1, -1), (-2,), (2.5,), ("2",), (None,), (True, 2)])
def test_what_is_no_shape_is_refused(shape: tuple[Any, ...]) -> None:
    with pytest.raises(fn.FuncnetError, match="reshape: a shape is lengths without the batch axis"):
        fn.reshape(*shape)
