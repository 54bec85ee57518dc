"""Initializers: how the first parameters are drawn.

    W = initializer(key, shape, dtype)        an Initializer is a pure function; the same key gives the same W

Weights end in their (in, out) axes. For a shape (h, w, ..., in, out) with receptive field f = h w ..., 1 for a matrix:

    fan_in = f in        fan_out = f out

A value's variance stays the same through a layer if Var W = 1 / fan_in, a gradient's if Var W = 1 / fan_out.
Normals are plain, not truncated; a uniform on [-a, a) has variance a^2 / 3. Everything is drawn in the dtype asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from funcnet.arrays import Array, Shape, accept_dtype, as_shape
from funcnet.calling import check_takes
from funcnet.display import call_forgotten, shows_call
from funcnet.errors import OptionError, ShapeError
from funcnet.options import brief, finite, not_negative
from funcnet.random import Key, generator

Variance: TypeAlias = Callable[[float, float], float]


class Initializer(Protocol):
    """(key, shape, dtype=np.float32) -> a fresh array, in C order.

    Raises DTypeError unless dtype is float32 or float64, ShapeError for a shape that is none.
    """

    def __call__(self, key: Key, shape: Shape, dtype: npt.DTypeLike = ...) -> Array:
        """Draw an array of this shape."""
        ...


@shows_call
def zeros() -> Initializer:
    """Initialise with zeros.

    W = 0: the usual start of a bias. Reads no key.
    In use raises ShapeError for a shape that is none, DTypeError for anything but float32 and float64.
    """
    return partial(_filled, 0.0)


@shows_call
def ones() -> Initializer:
    """Initialise with ones.

    W = 1: the usual start of a gain. Reads no key. Raises, in use, the errors of `zeros`.
    """
    return partial(_filled, 1.0)


@shows_call
def constant(value: float) -> Initializer:
    """Initialise with one number.

    W = value. Reads no key. Raises OptionError for a value that is not finite; in use the errors of `zeros`.
    """
    return partial(_filled, finite("value", value))


@shows_call
def normal(stddev: float) -> Initializer:
    """Initialise with a normal distribution of a given standard deviation.

    W ~ N(0, stddev^2)        Var W = stddev^2

    Raises OptionError for a stddev that is negative or not finite; in use KeyTypeError for another key, and the errors
    of `zeros`.
    """
    return partial(_normal, not_negative("stddev", stddev))


@shows_call
def uniform(scale: float) -> Initializer:
    """Initialise with a uniform distribution around 0.

    W ~ U[-scale, scale)        Var W = scale^2 / 3

    Raises OptionError for a scale that is negative or not finite; in use the errors of `normal`.
    """
    return partial(_uniform, not_negative("scale", scale))


@shows_call
def glorot_normal() -> Initializer:
    """Initialise with Glorot's normal distribution.

    W ~ N(0, s^2)        Var W = s^2 = 2 / (fan_in + fan_out): for tanh

    Raises, in use, ShapeError below rank 2, and the errors of `normal`.
    Source: X. Glorot and Y. Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010.
    """
    return partial(_fan_normal, _glorot)


@shows_call
def glorot_uniform() -> Initializer:
    """Initialise with Glorot's uniform distribution.

    W ~ U[-a, a)        a^2 = 6 / (fan_in + fan_out)        Var W = 2 / (fan_in + fan_out)

    Raises, in use, ShapeError below rank 2, and the errors of `normal`.
    Source: X. Glorot and Y. Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010.
    """
    return partial(_fan_uniform, _glorot)


@shows_call
def he_normal() -> Initializer:
    """Initialise with He's normal distribution.

    W ~ N(0, s^2)        Var W = s^2 = 2 / fan_in: for ReLU, which halves the second moment

    Raises, in use, ShapeError below rank 2, and the errors of `normal`.
    Source: K. He, X. Zhang, S. Ren and J. Sun, Delving deep into rectifiers, 2015.
    """
    return partial(_fan_normal, _he)


@shows_call
def he_uniform() -> Initializer:
    """Initialise with He's uniform distribution.

    W ~ U[-a, a)        a^2 = 6 / fan_in        Var W = 2 / fan_in: for ReLU

    Raises, in use, ShapeError below rank 2, and the errors of `normal`.
    Source: K. He, X. Zhang, S. Ren and J. Sun, Delving deep into rectifiers, 2015.
    """
    return partial(_fan_uniform, _he)


@shows_call
def lecun_normal() -> Initializer:
    """Initialise with LeCun's normal distribution.

    W ~ N(0, s^2)        Var W = s^2 = 1 / fan_in

    Raises, in use, ShapeError below rank 2, and the errors of `normal`.
    Source: Y. LeCun, L. Bottou, G. B. Orr and K.-R. Mueller, Efficient BackProp, 1998, section 4.6.
    Example: `fn.linear(25, weight_init=fn.lecun_normal())`.
    """
    return partial(_fan_normal, _lecun)


@shows_call
def lecun_uniform() -> Initializer:
    """Initialise with LeCun's uniform distribution.

    W ~ U[-a, a)        a^2 = 3 / fan_in        Var W = 1 / fan_in

    Raises, in use, ShapeError below rank 2, and the errors of `normal`.
    Source: Y. LeCun, L. Bottou, G. B. Orr and K.-R. Mueller, Efficient BackProp, 1998, section 4.6.
    """
    return partial(_fan_uniform, _lecun)


@shows_call
def orthogonal(scale: float = 1.0) -> Initializer:
    """Initialise with a random orthogonal matrix.

    W^T W = scale^2 I if fan_in >= out, else W W^T = scale^2 I        Var W = scale^2 / max(fan_in, out).

    W as a matrix (fan_in, out), uniform (Haar) among all such. Raises OptionError for a scale that is negative
    or not finite; in use ShapeError below rank 2, and the errors of `normal`.

    Sources: A. M. Saxe, J. L. McClelland and S. Ganguli, Exact solutions to the nonlinear dynamics of learning in deep
    linear neural networks, 2014; F. Mezzadri, How to generate random matrices from the classical compact groups, 2007.
    """
    return partial(_orthogonal, not_negative("scale", scale))


def accept_initializer(name: str, value: object) -> Initializer:
    """The value, checked to be an initializer."""
    if not callable(value):
        raise OptionError(f"{name} must be an initializer, such as fn.he_normal(), not {brief(value)}")
    if hint := call_forgotten(value):
        raise OptionError(f"{name} must be an initializer, not the function that makes one{hint}")
    check_takes(name, value, "key", "shape", "dtype")
    return cast("Initializer", value)


def _filled(value: float, key: Key, shape: Shape, dtype: npt.DTypeLike = np.float32) -> Array:
    """W = value. The key is there for the signature alone."""
    return np.full(_shape(shape), value, accept_dtype(dtype))


def _normal(stddev: float, key: Key, shape: Shape, dtype: npt.DTypeLike = np.float32) -> Array:
    """W = stddev z, z ~ N(0, 1)."""
    w: Array = generator(key).standard_normal(_shape(shape), accept_dtype(dtype))
    w *= stddev
    return w


def _uniform(scale: float, key: Key, shape: Shape, dtype: npt.DTypeLike = np.float32) -> Array:
    """W = 2 scale (u - 1/2), u ~ U[0, 1). The difference is exact, so that W is symmetric to the last bit."""
    w: Array = generator(key).random(_shape(shape), accept_dtype(dtype))
    w -= 0.5
    w *= 2 * scale
    return w


def _fan_normal(variance: Variance, key: Key, shape: Shape, dtype: npt.DTypeLike = np.float32) -> Array:
    """W ~ N(0, v), v = variance(fan_in, fan_out)."""
    return _normal(math.sqrt(variance(*_fans(shape))), key, shape, dtype)


def _fan_uniform(variance: Variance, key: Key, shape: Shape, dtype: npt.DTypeLike = np.float32) -> Array:
    """W ~ U[-a, a), a^2 / 3 = variance(fan_in, fan_out)."""
    return _uniform(math.sqrt(3 * variance(*_fans(shape))), key, shape, dtype)


def _orthogonal(scale: float, key: Key, shape: Shape, dtype: npt.DTypeLike = np.float32) -> Array:
    """W = scale q sign(diag r), z = q r standard normal and tall; transposed where W is wide."""
    rows, columns = math.prod(_matrix(shape)[:-1]), shape[-1]
    z = _normal(1.0, key, (max(rows, columns), min(rows, columns)), dtype)
    q, r = np.linalg.qr(z)
    # QR leaves the columns' signs to LAPACK; with r's diagonal positive q is unique, and Haar-distributed.
    q *= np.copysign(scale, np.diagonal(r))
    return np.ascontiguousarray(q if rows >= columns else q.T).reshape(shape)


def _glorot(fan_in: float, fan_out: float) -> float:
    """The harmonic mean of 1 / fan_in and 1 / fan_out: a compromise between values and gradients."""
    return 2 / (fan_in + fan_out)


def _he(fan_in: float, fan_out: float) -> float:
    """Twice LeCun's, for the half that ReLU drops."""
    return 2 / fan_in


def _lecun(fan_in: float, fan_out: float) -> float:
    """Values keep their variance."""
    return 1 / fan_in


def _fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out), at least 1 each: an empty array has nothing to scale."""
    *field, n_in, n_out = _matrix(shape)
    f = math.prod(field)
    return max(1, f * n_in), max(1, f * n_out)


def _matrix(shape: Shape) -> Shape:
    """`shape`, of rank 2 or more."""
    lengths = _shape(shape)
    if len(lengths) < 2:
        raise ShapeError(f"this initializer needs a weight of shape (..., in, out); got {shape}. Use normal or zeros.")
    return lengths


def _shape(shape: Shape) -> Shape:
    """`shape` as a tuple of ints of at least 0."""
    found = as_shape(shape)
    if found is None:
        raise ShapeError(f"a shape is a tuple of ints of at least 0; got {shape!r}.")
    return found
