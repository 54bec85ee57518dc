"""Softmax and its logarithm against sums by the standard library."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import funcnet as fn

BOTH = {"softmax": fn.softmax(), "log_softmax": fn.log_softmax()}
FAR = [[800.0, -800.0, 0.0], [1e4, -1e4, 1e4], [-1e4, -1e4, -1e4], [-800.0, 0.0, 1.0]]

each = pytest.mark.parametrize("name", BOTH)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)


def numbers(*shape: int, dtype: Any = np.float64, seed: int = 0) -> Any:
    return (3 * np.random.default_rng(seed).normal(size=shape)).astype(dtype)


def logarithm_of(row: list[float]) -> list[float]:
    """log softmax of a row."""
    largest = max(row)
    total = math.log(math.fsum(math.exp(v - largest) for v in row))
    return [v - largest - total for v in row]


def expected(name: str, x: Any) -> Any:
    rows = [logarithm_of(row) for row in x.astype(np.float64).reshape(-1, x.shape[-1]).tolist()]
    found = np.array(rows).reshape(x.shape)
    return np.exp(found) if name == "softmax" else found


def compiled(name: str) -> Any:
    net = fn.network({1: BOTH[name]}, {})
    return lambda x: net.apply({}, x)


def gradient(name: str, x: Any, g: Any) -> Any:
    """By the matrix of derivatives of a row."""
    rows, gs = x.reshape(-1, x.shape[-1]), g.reshape(-1, x.shape[-1])
    found = []
    for row, own in zip(rows, gs, strict=True):
        s = expected("softmax", row[None])[0]
        jacobian = np.diag(s) - np.outer(s, s) if name == "softmax" else np.eye(len(s)) - s
        found.append(own @ jacobian)
    return np.array(found).reshape(x.shape)


@each
@both_dtypes
@pytest.mark.parametrize("shape", [(5, 4), (3, 2, 4), (2, 1), (1, 7), (4, 2, 2, 3)])
def test_values(name: str, shape: tuple[int, ...], dtype: Any) -> None:
    x = numbers(*shape, dtype=dtype)
    eps = np.finfo(dtype).eps
    for y in (BOTH[name].apply((), x), compiled(name)(x)):
        np.testing.assert_allclose(y, expected(name, x), rtol=16 * eps, atol=16 * eps)
        assert y.dtype == dtype


@each
@pytest.mark.parametrize("shape", [(5, 4), (3, 2, 4), (2, 1)])
def test_gradients(name: str, shape: tuple[int, ...]) -> None:
    x, g = numbers(*shape), numbers(*shape, seed=1)
    _, pullback = BOTH[name].apply.vjp((), x)
    np.testing.assert_allclose(pullback(g)[1][0], gradient(name, x, g), rtol=1e-12, atol=1e-14)


@each
@both_dtypes
def test_far_out_nothing_overflows(name: str, dtype: Any) -> None:
    x = np.array(FAR, dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y, pullback = BOTH[name].apply.vjp((), x)
        (dx,) = pullback(np.ones_like(y))[1]
        again = compiled(name)(x)
    np.testing.assert_allclose(y, expected(name, x), rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(again, y)
    np.testing.assert_allclose(dx, 0 if name == "softmax" else gradient(name, x, np.ones_like(x)), atol=1e-6)


@both_dtypes
def test_a_row_of_probabilities_sums_to_one(dtype: Any) -> None:
    y = fn.softmax().apply((), numbers(100, 30, dtype=dtype))
    assert (y >= 0).all()
    np.testing.assert_allclose(y.sum(axis=-1), 1, rtol=16 * np.finfo(dtype).eps)


@each
def test_a_number_added_to_a_row_changes_nothing(name: str) -> None:
    x = np.round(numbers(5, 4) * 64) / 64
    np.testing.assert_array_equal(BOTH[name].apply((), x + 1024), BOTH[name].apply((), x))


def test_the_logarithm_keeps_what_the_probability_loses() -> None:
    y = fn.log_softmax().apply((), np.array([[0.0, -1000.0]]))
    assert y.tolist() == [[0.0, -1000.0]]


@each
def test_minus_infinity_is_left_out(name: str) -> None:
    x = np.array([[1.0, -np.inf, 2.0]])
    with np.errstate(over="raise", invalid="raise"):
        y = BOTH[name].apply((), x)
    np.testing.assert_allclose(y[:, [0, 2]], BOTH[name].apply((), x[:, [0, 2]]))
    assert y[0, 1] == (0 if name == "softmax" else -np.inf)


@each
def test_nan_stays_in_its_row(name: str) -> None:
    x = numbers(3, 4)
    x[1, 2] = np.nan
    for y in (BOTH[name].apply((), x), compiled(name)(x)):
        assert np.isnan(y).all(axis=1).tolist() == [False, True, False]


@each
def test_numbers_without_features_are_refused(name: str) -> None:
    with pytest.raises(fn.ShapeError, match=f"{name}.*rows of at least one feature"):
        BOTH[name].init(fn.key(0), ())
    with pytest.raises(fn.ShapeError, match=f"{name}.*rows of at least one feature"):
        BOTH[name].apply((), np.ones(3))


@each
def test_rows_of_no_feature_are_refused(name: str) -> None:
    with pytest.raises(fn.ShapeError, match=f"{name}.*at least one feature"):
        BOTH[name].apply((), np.ones((3, 0)))


@each
def test_an_empty_batch_is_empty(name: str) -> None:
    assert BOTH[name].apply((), np.ones((0, 3))).shape == (0, 3)


@each
def test_rows_of_features_may_be_none(name: str) -> None:
    assert BOTH[name].apply((), np.zeros((3, 0, 4))).shape == (3, 0, 4)
    with pytest.raises(fn.ShapeError, match="rows of at least one feature"):
        BOTH[name].apply((), np.zeros((3, 4, 0)))
