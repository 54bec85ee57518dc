"""Normalisation over features or over the batch, and the learned scale that goes with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from funcnet import tree
from funcnet.advice import of_members
from funcnet.arrays import Array, DType, Shape
from funcnet.core import Layer, Result, layer, unpack
from funcnet.display import shows_call
from funcnet.errors import ParamsError, ShapeError
from funcnet.options import positive
from funcnet.random import Key
from funcnet.tracing.primitives import zeros_like

P = TypeVar("P")


class Scale(NamedTuple):
    """Params of `scale` and `rms_norm`: scale (features,)."""

    scale: Array


class Norm(NamedTuple):
    """Params of `layer_norm`: scale (features,) and bias (features,)."""

    scale: Array
    bias: Array


class BatchNorm(NamedTuple):
    """Params of `batch_norm`: scale and bias (features,), and the population's mean and var, None until calibrated."""

    scale: Array
    bias: Array
    mean: Array | None
    var: Array | None


@shows_call
def scale() -> Layer[Scale]:
    """Multiply each feature by a learned gain.

    y = x s        ds = sum_n g_n x_n        dx = g s

    One factor a feature, 1 at first. Shapes: (..., features) -> the same. (Touvron et al. 2021, LayerScale)
    Raises ShapeError where there are no features.
    """
    return layer("scale", _scale, partial(draw, _ones_alone))


def _scale(params: Scale, x: Array) -> Result[Scale]:
    (s,) = fitting(unpack(Scale, params), x)
    return x * s, lambda g: (Scale(over_rows(g * x)), (g * s,))


@shows_call
def layer_norm(*, epsilon: float = 1e-5) -> Layer[Norm]:
    """Layer normalisation: each row with mean 0 and variance 1 over its features, then a gain and a bias.

    y = h s + b, h = (x - m) / r, r = sqrt(v + epsilon), m and v the mean and variance of x over the last axis

    ds = sum_n g_n h_n        db = sum_n g_n        dx = (k - mean k - h mean(k h)) / r, k = g s

    The mean is taken twice, the second time of x - m, so that large means cost no digits. epsilon: above 0.
    Shapes: (..., features) -> the same. Raises OptionError for another epsilon, ShapeError where there are no features.
    (Ba et al. 2016)
    """
    return layer("layer_norm", partial(_layer_norm, positive("layer_norm: epsilon", epsilon)), partial(draw, affine))


def _layer_norm(epsilon: float, params: Norm, x: Array) -> Result[Norm]:
    s, b = fitting(unpack(Norm, params), x)
    h, r = standardised(x, _feature_mean, epsilon)

    def pullback(g: Array) -> tuple[Norm, tuple[Array, ...]]:
        return Norm(over_rows(g * h), over_rows(g)), (unstandardised(g * s, h, r, _feature_mean),)

    return h * s + b, pullback


def standardised(x: Array, mean: Callable[[Array], Array], epsilon: float) -> tuple[Array, Array]:
    """(h, r): x less its mean, over the root of its variance, and that root."""
    d = x - mean(x)
    d = d - mean(d)  # what rounding has left of a large mean
    r = np.sqrt(mean(d * d) + epsilon)
    return d / r, r


def unstandardised(k: Array, h: Array, r: Array, mean: Callable[[Array], Array]) -> Array:
    """The cotangent of x where k is that of h."""
    dx: Array = (k - mean(k) - h * mean(k * h)) / r
    return dx


@shows_call
def rms_norm(*, epsilon: float = 1e-5) -> Layer[Scale]:
    """Root mean square normalisation: each row with mean square 1 over its features, then a gain.

    y = h s, h = x / r, r = sqrt(mean x^2 + epsilon), the mean over the last axis

    ds = sum_n g_n h_n        dx = (k - h mean(k h)) / r, k = g s

    epsilon: above 0. Shapes: (..., features) -> the same. (Zhang and Sennrich 2019)
    Raises OptionError for another epsilon, ShapeError where there are no features.
    """
    return layer("rms_norm", partial(_rms_norm, positive("rms_norm: epsilon", epsilon)), partial(draw, _ones_alone))


def _rms_norm(epsilon: float, params: Scale, x: Array) -> Result[Scale]:
    (s,) = fitting(unpack(Scale, params), x)
    r = np.sqrt(_feature_mean(x * x) + epsilon)
    h = x / r

    def pullback(g: Array) -> tuple[Scale, tuple[Array, ...]]:
        k = g * s
        return Scale(over_rows(g * h)), ((k - h * _feature_mean(k * h)) / r,)

    return h * s, pullback


@shows_call
def batch_norm(*, epsilon: float = 1e-5) -> Layer[BatchNorm]:
    """Batch normalisation: each feature with mean 0 and variance 1 over the rows of the batch, then a gain and a bias.

    y = h s + b, h = (x - m) / r, r = sqrt(v + epsilon), m and v the mean and variance of each feature over all rows

    ds = sum_n g_n h_n        db = sum_n g_n        dx = (k - mean k - h mean(k h)) / r, k = g s

    The rows are those of the batch, while params.mean and params.var are None, as init gives them. `calibrate` returns
    params that hold the mean and variance of the population: from then on m and v are those, dx = k / r, and their
    cotangents are 0. params._replace(mean=None, var=None) goes back. Axes between batch and features are rows too.
    The mean is taken twice, as in `layer_norm`. Shapes: (..., features) -> the same. epsilon: above 0.
    A single row, not calibrated, is an error: its output would be the bias for every input, and nothing would train.
    Raises OptionError for another epsilon, ShapeError where there are no features, and for a single row without
    statistics; ParamsError for a mean without a var. (Ioffe and Szegedy 2015)
    Example: `fn.serial(fn.linear(25), fn.batch_norm(), fn.relu())`.
    """
    return layer("batch_norm", partial(_batch_norm, positive("batch_norm: epsilon", epsilon)), partial(draw, _batch))


def _batch_norm(epsilon: float, params: BatchNorm, x: Array) -> Result[BatchNorm]:
    s, b, mean, var = _statistics(params, x)
    if mean is None or var is None:
        return _by_batch(epsilon, s, b, x)
    r: Array = np.sqrt(var + epsilon)
    h = (x - mean) / r

    def pullback(g: Array) -> tuple[BatchNorm, tuple[Array, ...]]:
        of_params = BatchNorm(over_rows(g * h), over_rows(g), zeros_like(mean), zeros_like(var))
        return of_params, (g * s / r,)

    return h * s + b, pullback


def _by_batch(epsilon: float, s: Array, b: Array, x: Array) -> Result[BatchNorm]:
    rows = x.size // x.shape[-1]
    if rows == 1:
        raise ShapeError(
            "a single row has no mean and variance of its own, and these params hold none: for prediction calibrate "
            "them, params = fn.calibrate(net, params, data), which fn.fit does to the params that it returns; in "
            "training give batches of two rows or more, with drop_last=True or another batch_size"
        )
    share = 1.0 / max(rows, 1)  # an empty batch has no statistics, and needs none

    def mean(a: Array) -> Array:
        m: Array = over_rows(a) * share
        return m

    h, r = standardised(x, mean, epsilon)

    def pullback(g: Array) -> tuple[BatchNorm, tuple[Array, ...]]:
        return BatchNorm(over_rows(g * h), over_rows(g), None, None), (unstandardised(g * s, h, r, mean),)

    return h * s + b, pullback


class Probe:
    """A placeholder for the mean and the var of a batch_norm whose input is wanted."""

    shape: Shape = ()


class Reached(Exception):
    """The forward pass has come to a batch_norm that holds a probe."""

    def __init__(self, probe: Probe, x: Array) -> None:
        super().__init__(probe, x)
        self.probe = probe
        self.x = x


def _statistics(params: BatchNorm, x: Array) -> tuple[Array, Array, Array | None, Array | None]:
    """The params, after checking that they fit the input."""
    fits = tree.same_kind(type(params), BatchNorm)
    if not fits or (params.mean is None) != (params.var is None):
        what = "mean and var both None or both arrays" if fits else f"not {type(params).__name__}"
        raise ParamsError(f"its params must be BatchNorm(scale, bias, mean, var), {what}")
    s, b, mean, var = params
    if isinstance(mean, Probe):
        raise Reached(mean, x)
    fitting((s, b) if mean is None else params, x)
    return s, b, mean, var


def fitting(params: Any, x: Array) -> Any:
    """The params, after checking that each is one number for each feature of x."""
    if x.ndim < 2 or not x.shape[-1]:
        raise ShapeError("it takes rows of at least one feature, a shape such as (3,)")
    for name, p in zip(("scale", "bias", "mean", "var"), params, strict=False):
        if p.shape != x.shape[-1:]:
            more = of_members(p.shape, 1)
            raise ParamsError(f"its {name} is {p.shape}, but must be one number a feature, {x.shape[-1:]}{more}")
    return params


def _feature_mean(a: Array) -> Array:
    """The mean over the last axis, as a column."""
    m: Array = a.sum(axis=-1, keepdims=True) * (1.0 / a.shape[-1])
    return m


def over_rows(a: Array) -> Array:
    """Sum over all axes but the last."""
    total: Array = a.sum(axis=tuple(range(a.ndim - 1)))
    return total


def draw(kind: Callable[[Array], P], key: Key, shape: Shape, dtype: DType) -> P:
    """Params that leave the normalised values as they are."""
    return kind(np.ones(shape[-1:], dtype))


def _ones_alone(ones: Array) -> Scale:
    return Scale(ones)


def affine(ones: Array) -> Norm:
    """A gain of 1 and a bias of 0."""
    return Norm(ones, np.zeros_like(ones))


def _batch(ones: Array) -> BatchNorm:
    return BatchNorm(ones, np.zeros_like(ones), None, None)
