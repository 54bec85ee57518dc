"""Initializers: the variance that each one promises, purity, and what each refuses."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from funcnet import initializers as init
from funcnet import random
from funcnet.errors import DTypeError, KeyTypeError, OptionError, ShapeError

KEY = random.key(0)
FAN_IN, FAN_OUT = 300, 200

# name -> (initializer, variance for a (FAN_IN, FAN_OUT) weight)
NORMALS = {
    "normal": (init.normal(0.3), 0.09),
    "glorot_normal": (init.glorot_normal(), 2 / (FAN_IN + FAN_OUT)),
    "he_normal": (init.he_normal(), 2 / FAN_IN),
    "lecun_normal": (init.lecun_normal(), 1 / FAN_IN),
}
UNIFORMS = {
    "uniform": (init.uniform(0.3), 0.03),
    "glorot_uniform": (init.glorot_uniform(), 2 / (FAN_IN + FAN_OUT)),
    "he_uniform": (init.he_uniform(), 2 / FAN_IN),
    "lecun_uniform": (init.lecun_uniform(), 1 / FAN_IN),
}
CONSTANTS = {"zeros": (init.zeros(), 0.0), "ones": (init.ones(), 1.0), "constant": (init.constant(-2.5), -2.5)}
FANS = [name for name in (*NORMALS, *UNIFORMS) if "_" in name]
DRAWN = {name: f for name, (f, _) in (NORMALS | UNIFORMS).items()} | {"orthogonal": init.orthogonal()}
ALL = DRAWN | {name: f for name, (f, _) in CONSTANTS.items()}

each = pytest.mark.parametrize("name", ALL)
drawn = pytest.mark.parametrize("name", DRAWN)
fans = pytest.mark.parametrize("name", FANS)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def within(value: Any, expected: float, standard_error: float) -> bool:
    """Four standard errors: a fair draw fails once in 16,000 keys, and the key is fixed."""
    return abs(float(value) - expected) < 4 * standard_error


@dtypes
@pytest.mark.parametrize("name", NORMALS)
def test_normals_have_their_moments(name: str, dtype: type) -> None:
    f, variance = NORMALS[name]
    x = f(KEY, (FAN_IN, FAN_OUT), dtype).astype(np.float64).ravel()
    assert within(x.mean(), 0, np.sqrt(variance / x.size))
    assert within(x.var(), variance, variance * np.sqrt(2 / x.size))
    assert within((x**4).mean(), 3 * variance**2, variance**2 * np.sqrt(96 / x.size))  # Var x^4 = 105 - 9
    assert np.abs(x).max() > 3.5 * np.sqrt(variance)  # not truncated: 28 of 60,000 lie beyond


@dtypes
@pytest.mark.parametrize("name", UNIFORMS)
def test_uniforms_have_their_moments(name: str, dtype: type) -> None:
    f, variance = UNIFORMS[name]
    a = np.sqrt(3 * variance)
    x = f(KEY, (FAN_IN, FAN_OUT), dtype).astype(np.float64).ravel()
    assert within(x.mean(), 0, np.sqrt(variance / x.size))
    assert within(x.var(), variance, variance * np.sqrt(0.8 / x.size))  # fourth moment 9/5 of the variance squared
    assert np.abs(x).max() <= a * (1 + 1e-6)
    assert x.min() < -0.999 * a  # a gap of 30 / 60,000 of the width at either end: probability e^-30
    assert x.max() > 0.999 * a


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants(name: str) -> None:
    f, value = CONSTANTS[name]
    np.testing.assert_array_equal(f(KEY, (2, 3)), np.full((2, 3), value, np.float32), strict=True)


@dtypes
@each
@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (2, 1, 4, 3), (0, 3), (3, 0)])
def test_shape_dtype_and_layout(name: str, dtype: type, shape: tuple[int, ...]) -> None:
    x = ALL[name](KEY, shape, dtype)
    assert x.shape == shape
    assert x.dtype == np.dtype(dtype)
    assert x.flags.c_contiguous
    assert x.flags.writeable


@each
def test_float32_is_the_default(name: str) -> None:
    assert ALL[name](KEY, (2, 3)).dtype == np.float32


@drawn
def test_the_key_decides(name: str) -> None:
    f = DRAWN[name]
    np.testing.assert_array_equal(f(KEY, (4, 3)), f(KEY, (4, 3)))
    assert np.all(f(KEY, (4, 3)) != f(random.key(1), (4, 3)))


@each
def test_initializers_pickle(name: str) -> None:
    again = pickle.loads(pickle.dumps(ALL[name]))
    np.testing.assert_array_equal(again(KEY, (4, 3)), ALL[name](KEY, (4, 3)))


@fans
def test_a_convolution_counts_its_receptive_field(name: str) -> None:
    matrix = DRAWN[name](KEY, (5 * 3 * 7, 5 * 3 * 4), np.float64).ravel()
    kernel = DRAWN[name](KEY, (5, 3, 7, 4), np.float64).ravel()
    np.testing.assert_allclose(kernel, matrix[: kernel.size], rtol=1e-14)  # the same draws at the same scale


@pytest.mark.parametrize("name", [*FANS, "orthogonal"])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_fans_need_two_axes(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"needs a weight of shape \(\.\.\., in, out\); got \("):
        DRAWN[name](KEY, shape)


@pytest.mark.parametrize("scale", [1.0, 2.5])
@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7), (1, 4), (3, 3, 2, 5), (2, 1, 2, 9)])
def test_orthogonal(scale: float, shape: tuple[int, ...]) -> None:
    w = init.orthogonal(scale)(KEY, shape, np.float64).reshape(-1, shape[-1])
    gram = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(gram, scale**2 * np.eye(min(w.shape)), atol=1e-12)


def test_orthogonal_in_float32() -> None:
    w = init.orthogonal()(KEY, (50, 50))
    np.testing.assert_allclose(w.T @ w, np.eye(50), atol=5e-6)  # 50 terms of rounding 6e-8


def test_orthogonal_is_uniform() -> None:
    n = 4000
    w = np.stack([init.orthogonal()(k, (2, 2), np.float64) for k in random.split(KEY, n)])
    # Haar: every entry is the cosine of a uniform angle (mean 0, variance 1/2), and det is 1 or -1 with equal chances.
    assert all(within(mean, 0, np.sqrt(0.5 / n)) for mean in w.mean(axis=0).ravel())
    assert within(np.linalg.det(w).mean(), 0, np.sqrt(1 / n))


@pytest.mark.parametrize("value", [-1, -0.1, float("nan"), float("inf"), None, "a"])
@pytest.mark.parametrize(
    ("make", "name"), [(init.normal, "stddev"), (init.uniform, "scale"), (init.orthogonal, "scale")]
)
def test_scales_are_finite_and_not_negative(make: Any, name: str, value: object) -> None:
    with pytest.raises(OptionError, match=rf"{name} must be .*, not {value!r}"):
        make(value)


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), None])
def test_a_constant_is_finite(value: Any) -> None:
    with pytest.raises(OptionError, match="value must be a finite number"):
        init.constant(value)


@each
@pytest.mark.parametrize("dtype", [np.float16, np.int32, np.longdouble, complex, ">f4", None, "no dtype"])
def test_other_dtypes_are_refused(name: str, dtype: Any) -> None:
    with pytest.raises(DTypeError, match="use np.float32 or np.float64"):
        ALL[name](KEY, (2, 3), dtype)


@each
@pytest.mark.parametrize("shape", [3, (-1, 2), (2, 1.5), None, "ab"])
def test_what_is_no_shape_is_refused(name: str, shape: Any) -> None:
    with pytest.raises(ShapeError, match="a shape is a tuple of ints of at least 0; got"):
        ALL[name](KEY, shape)


@drawn
def test_a_seed_is_no_key(name: str) -> None:
    seed: Any = 0
    with pytest.raises(KeyTypeError, match=r"fn\.key\(0\)"):
        DRAWN[name](seed, (2, 3))
