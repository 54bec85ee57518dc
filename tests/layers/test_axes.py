"""Reductions, slices and permutations: which axes they take, what they leave, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcnet as fn

REDUCTIONS: dict[str, Any] = {"mean": (fn.mean, np.mean), "sum": (fn.sum, np.sum), "max": (fn.max, np.max)}
every_reduction = pytest.mark.parametrize("name", REDUCTIONS)
X = np.random.default_rng(0).normal(size=(5, 2, 3, 4))


def both(layer: fn.Layer[Any], x: Any) -> list[Any]:
    """Alone, and in a program."""
    return [layer.apply((), x), fn.serial(layer).apply(((),), x)]


@every_reduction
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [1, 2, -1, -3, (1, 2), (-1, 1), (1, 2, 3), (3,)])
def test_a_reduction_is_that_of_numpy(name: str, axis: Any, keepdims: bool) -> None:
    make, right = REDUCTIONS[name]
    layer, expected = make(axis, keepdims=keepdims), right(X, axis=axis, keepdims=keepdims)
    for y in both(layer, X):
        np.testing.assert_allclose(y, expected, rtol=1e-13, strict=True)
    assert layer.init(fn.key(0), X.shape[1:]) == ((), expected.shape[1:])


def test_ties_share_the_cotangent_of_the_largest() -> None:
    x = np.array([[3.0, 1.0, 3.0], [2.0, 2.0, 2.0], [-1.0, 0.0, -0.0]])
    _, pullback = fn.max(1).apply.vjp((), x)
    _, (dx,) = pullback(np.array([1.0, 3.0, 1.0]))
    np.testing.assert_array_equal(dx, [[0.5, 0.0, 0.5], [1.0, 1.0, 1.0], [0.0, 0.5, 0.5]])


@every_reduction
@pytest.mark.parametrize("axis", [-1, -2, (-1, -3), (1, -2)])
def test_a_cotangent_goes_back_along_axes_counted_from_the_last(name: str, axis: Any) -> None:
    make, right = REDUCTIONS[name]
    y, pullback = make(axis).apply.vjp((), X)
    g = np.random.default_rng(1).normal(size=y.shape)
    _, kept = make(axis, keepdims=True).apply.vjp((), X)
    (dx,) = pullback(g)[1]
    np.testing.assert_array_equal(dx, kept(g.reshape(right(X, axis=axis, keepdims=True).shape))[1][0])
    np.testing.assert_allclose((dx * X).sum(), (g * y).sum(), rtol=1e-12)  # all three are homogeneous


@every_reduction
@pytest.mark.parametrize("rows", [4, 1200])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_in_a_program(name: str, rows: int, dtype: Any) -> None:
    net = fn.serial(fn.linear(6), fn.reshape(2, 3), REDUCTIONS[name][0](1), fn.permute(1), fn.slice(0, 2))
    params, _ = net.init(fn.key(0), (3,), dtype=dtype)
    x, target = (np.random.default_rng(1).normal(size=(rows, n)).astype(dtype) for n in (3, 2))
    output, pullback = net.apply.vjp(params, x)
    of_params, _ = pullback(fn.mse().apply.vjp((), output, target)[1](1.0)[1][0])
    _, gradient = fn.value_and_grad(net, fn.mse())(params, x, target)
    tolerance = 1e-5 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(gradient[0].weight, of_params[0].weight, rtol=tolerance, atol=tolerance)


@every_reduction
def test_the_batch_is_refused(name: str) -> None:
    for axis in (0, (0, 1), (1, 0)):
        with pytest.raises(fn.OptionError, match=f"{name}: axis 0 is the batch.*name one behind it, 1 the first"):
            REDUCTIONS[name][0](axis)
    with pytest.raises(fn.ShapeError, match="axis -4 is not there: behind the batch its input has axes 1 to 3"):
        REDUCTIONS[name][0](-4).apply((), X)


@every_reduction
@pytest.mark.parametrize("axis", [4, -5, (1, 4)])
def test_an_axis_that_is_not_there_is_named(name: str, axis: Any) -> None:
    words = r"axis (4|-5) is not there: behind the batch its input has axes 1 to 3"
    with pytest.raises(fn.ShapeError, match=words):
        REDUCTIONS[name][0](axis).init(fn.key(0), X.shape[1:])


@every_reduction
@pytest.mark.parametrize("axis", ["1", 1.0, None, True, (), (1, "2"), [1]])
def test_what_names_no_axis_is_refused(name: str, axis: Any) -> None:
    with pytest.raises(fn.OptionError, match=f"{name}: axis must be an int, or a tuple of some, not"):
        REDUCTIONS[name][0](axis)


@every_reduction
@pytest.mark.parametrize("axis", [(1, 1), (1, -3)])
def test_an_axis_named_twice_is_refused(name: str, axis: Any) -> None:
    with pytest.raises(fn.ShapeError, match="name one axis twice"):
        REDUCTIONS[name][0](axis).apply((), X)


@pytest.mark.parametrize("name", ["mean", "max"])
def test_nothing_has_no_mean_and_no_largest(name: str) -> None:
    with pytest.raises(fn.ShapeError, match=r"axes \(1,\) of shape \(5, 0, 2\) have no elements"):
        REDUCTIONS[name][0](1).apply((), np.ones((5, 0, 2)))
    assert not fn.sum(1).apply((), np.ones((5, 0, 2))).any()


# --- slices

SLICES: dict[str, tuple[tuple[Any, ...], slice]] = {
    "1:3": ((1, 3), slice(1, 3)),
    ":2": ((None, 2), slice(2)),
    "1:": ((1, None), slice(1, None)),
    "-2:": ((-2, None), slice(-2, None)),
    "::2": ((None, None, 2), slice(None, None, 2)),
    "0:4:3": ((0, 4, 3), slice(0, 4, 3)),
    "-4:-1": ((-4, -1), slice(-4, -1)),
}


@pytest.mark.parametrize("name", SLICES)
@pytest.mark.parametrize("axis", [1, 2, 3, -1, -2])
def test_a_slice_is_that_of_numpy(name: str, axis: int) -> None:
    arguments, part = SLICES[name]
    x = np.random.default_rng(0).normal(size=(5, 4, 4, 4))
    layer = fn.slice(*arguments, axis=axis)
    expected = np.moveaxis(np.moveaxis(x, axis, 0)[part], 0, axis)
    for y in both(layer, x):
        np.testing.assert_array_equal(y, expected, strict=True)
    _, pullback = layer.apply.vjp((), x)
    _, (dx,) = pullback(expected)
    inside = np.moveaxis(np.moveaxis(dx, axis, 0)[part], 0, axis)
    np.testing.assert_array_equal(inside, expected)
    assert np.count_nonzero(dx) == expected.size


@pytest.mark.parametrize(("start", "stop"), [(0, 5), (-5, None), (5, None), (0, 100)])
def test_a_slice_beyond_the_axis_is_refused(start: Any, stop: Any) -> None:
    with pytest.raises(fn.ShapeError, match="axis 1 has 4 elements, too few for"):
        fn.slice(start, stop).init(fn.key(0), (4,))


@pytest.mark.parametrize(("start", "stop"), [(2, 2), (3, 1), (-1, 0), (4, None)])
def test_a_slice_of_nothing_is_refused(start: Any, stop: Any) -> None:
    with pytest.raises(fn.ShapeError, match="leaves nothing of 4 elements"):
        fn.slice(start, stop).init(fn.key(0), (4,))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": 0.5}, "slice: start must be an int or None, not 0.5"),
        ({"stop": "2"}, "slice: stop must be an int or None, not '2'"),
        ({"step": 0}, "slice: step must be an int of at least 1, not 0"),
        ({"step": -1}, "slice: step must be an int of at least 1, not -1"),
        ({"axis": 0}, "slice: axis 0 is the batch"),
        ({"axis": (1, 2)}, r"slice: axis must be one int, not \(1, 2\)"),
    ],
)
def test_bad_options_of_a_slice_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(fn.OptionError, match=words):
        fn.slice(**{"start": 0, "stop": 2, **options})


# --- permutations


@pytest.mark.parametrize("axes", [(1, 2, 3), (3, 2, 1), (2, 3, 1), (3, 1, 2), (1, 3, 2)])
def test_a_permutation_is_that_of_numpy(axes: tuple[int, ...]) -> None:
    layer, expected = fn.permute(*axes), X.transpose(0, *axes)
    for y in both(layer, X):
        np.testing.assert_array_equal(y, expected, strict=True)
    _, pullback = layer.apply.vjp((), X)
    np.testing.assert_array_equal(pullback(expected)[1][0], X, strict=True)
    assert layer.init(fn.key(0), X.shape[1:]) == ((), expected.shape[1:])


@pytest.mark.parametrize("axes", [(0, 1), (1, 3), (1, 1), (2,), (-1, 1), (True, 2), ("1", "2"), ((1, 2),)])
def test_what_is_no_permutation_is_refused(axes: Any) -> None:
    with pytest.raises(fn.OptionError, match=r"permute: axes must be 1, 2, \.\.\. in any order, each once"):
        fn.permute(*axes)


def test_an_input_of_more_axes_is_refused() -> None:
    with pytest.raises(fn.ShapeError, match="it permutes 2 axes behind the batch, but its input has 3"):
        fn.permute(2, 1).apply((), X)
