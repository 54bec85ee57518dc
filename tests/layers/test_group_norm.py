"""Normalisation over groups of channels and over places: what it is equal to, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcnet as fn

RNG = np.random.default_rng(0)
SCALE, BIAS = RNG.normal(size=(2, 6))
X = RNG.normal(size=(5, 4, 3, 6)) * 3 + 1


def results(layer: fn.Layer[Any], params: Any, x: Any) -> list[Any]:
    """The output, and the cotangents where that of the output is the input."""
    y, pullback = layer.apply.vjp(params, x)
    of_params, (dx,) = pullback(x)
    return [y, *fn.tree.leaves(of_params), dx]


@pytest.mark.parametrize("shape", [(4, 3, 6), (7, 6)])
def test_instances_are_groups_of_one_channel(shape: tuple[int, ...]) -> None:
    params, x = fn.Norm(SCALE, BIAS), RNG.normal(size=(5, *shape))
    for a, b in zip(results(fn.instance_norm(), params, x), results(fn.group_norm(6), params, x), strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_group_without_places_is_a_layer_norm() -> None:
    params, x = fn.Norm(SCALE, BIAS), RNG.normal(size=(5, 6))
    for a, b in zip(results(fn.group_norm(1), params, x), results(fn.layer_norm(), params, x), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-13)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_each_group_of_a_row_has_mean_0_and_variance_1(groups: int) -> None:
    params, shape = fn.group_norm(groups).init(fn.key(0), X.shape[1:], dtype=np.float64)
    assert shape == X.shape[1:]
    y = fn.group_norm(groups, epsilon=1e-12).apply(params, X + 1e6)  # a large mean costs few digits
    apart = y.reshape(5, 12, groups, -1)
    np.testing.assert_allclose(apart.mean(axis=(1, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(apart.var(axis=(1, 3)), 1, atol=1e-9)


def test_a_row_does_not_depend_on_the_others_or_on_their_number() -> None:
    params = fn.Norm(SCALE, BIAS)
    net = fn.serial(fn.group_norm(3))
    whole = net.apply((params,), X)
    for i in range(len(X)):
        np.testing.assert_allclose(net.apply((params,), X[i : i + 1])[0], whole[i], atol=1e-13)
    assert net.apply((params,), X[:0]).shape == (0, 4, 3, 6)


@pytest.mark.parametrize(
    ("layer", "shape", "error", "message"),
    [
        (lambda: fn.group_norm(4), (3, 3, 6), fn.ShapeError, "groups must divide the 6 channels .*, and 4 does not"),
        (lambda: fn.group_norm(7), (6,), fn.ShapeError, "groups must divide the 6 channels"),
        (lambda: fn.instance_norm(), (6,), fn.ShapeError, r"rows of places with channels, .* such as \(8, 8, 3\)"),
        (lambda: fn.instance_norm(), (0, 3, 6), fn.ShapeError, "at least one of each"),
        (lambda: fn.group_norm(2), (3, 0), fn.ShapeError, "at least one feature"),
        (lambda: fn.group_norm(0), (6,), fn.OptionError, "groups must be an int of at least 1, not 0"),
        (lambda: fn.group_norm(True), (6,), fn.OptionError, "groups must be an int of at least 1, not True"),
        (lambda: fn.group_norm(2.0), (6,), fn.OptionError, r"groups must be an int of at least 1, not 2\.0"),  # type: ignore[arg-type]
        (lambda: fn.group_norm(2, epsilon=0.0), (6,), fn.OptionError, "group_norm: epsilon"),
        (lambda: fn.instance_norm(epsilon=-1), (6,), fn.OptionError, "instance_norm: epsilon"),
    ],
)
def test_bad_input_is_refused(layer: Any, shape: tuple[int, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        layer().init(fn.key(0), shape)


def test_params_of_another_number_of_channels_are_refused() -> None:
    with pytest.raises(fn.ParamsError, match=r"its bias is \(5,\), but must be one number a feature, \(6,\)"):
        fn.group_norm(2).apply(fn.Norm(SCALE, BIAS[:5]), X)
