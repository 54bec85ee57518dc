"""Losses of numbers: how far a prediction is from what was measured."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, overload

import numpy as np

from funcnet.arrays import Array
from funcnet.core import Layer, NoParams
from funcnet.display import shows_call
from funcnet.losses.reduction import Cotangents, Number, Reduction, Terms, check_same_shape, loss
from funcnet.options import fraction, positive
from funcnet.tracing.primitives import relu_grad


@overload
def mse(*, reduction: Literal["mean", "sum"] = "mean", weighted: bool = False) -> Layer[NoParams, Number]: ...
@overload
def mse(*, reduction: Literal["none"], weighted: bool = False) -> Layer[NoParams]: ...
@shows_call
def mse(*, reduction: Reduction = "mean", weighted: bool = False) -> Layer[NoParams, Any]:
    """The mean squared error.

    L_n = mean (y - t)^2 over features        dy = 2 g (y - t) / F        dt = -dy

    Inputs: prediction y and target t, of one shape, F features a row.
    reduction: over the rows, "mean" (then g is divided by their number), "sum", or "none" (one loss a row).
    weighted: take weights as a last input, one a row, of shape (), or one an element, of the shape of t. Each term is
    multiplied by its weight, and the mean is sum w L / sum w over elements. Where a weight is 0, prediction and target
    may be anything, such as the NaN of a missing target; where all are, the loss and its gradients are 0.
    Shapes: two of one shape -> (), in float32 or float64.
    Raises ShapeError for different shapes ((n,) against (n, 1) too), for an empty batch, which has no mean, and for
    rows without features; DTypeError for integers and for different dtypes; WeightError for weights, some negative,
    that add up to 0; OptionError for another reduction.
    Example: `loss = fn.mse().apply((), y, target)`.
    """
    return loss("mse", _mse, reduction, weighted)


def _mse(terms: Terms, y: Array, t: Array) -> tuple[Any, Any]:
    check_same_shape(y, t)
    d = y - t

    def pullback(g: Any) -> Cotangents:
        dy = d * (g * (2.0 * terms.share))
        return dy, -dy

    return terms.inner(d, d) * terms.share, pullback


@overload
def mae(*, reduction: Literal["mean", "sum"] = "mean", weighted: bool = False) -> Layer[NoParams, Number]: ...
@overload
def mae(*, reduction: Literal["none"], weighted: bool = False) -> Layer[NoParams]: ...
@shows_call
def mae(*, reduction: Reduction = "mean", weighted: bool = False) -> Layer[NoParams, Any]:
    """The mean absolute error.

    L_n = mean |y - t| over features        dy = g sign(y - t) / F        dt = -dy

    At y = t, where the left and the right derivative are -1 and 1, it is 0: a prediction that is right stays.
    Inputs: prediction y and target t, of one shape, F features a row. Options: those of `mse`.
    Shapes: two of one shape -> (), in float32 or float64.
    Raises ShapeError, DTypeError, WeightError and OptionError as `mse` does.
    """
    return loss("mae", _mae, reduction, weighted)


def _mae(terms: Terms, y: Array, t: Array) -> tuple[Any, Any]:
    check_same_shape(y, t)
    d = y - t
    sign = np.sign(d)

    def pullback(g: Any) -> Cotangents:
        dy = sign * (g * terms.share)
        return dy, -dy

    return terms.inner(d, sign) * terms.share, pullback


@overload
def huber(
    delta: float = 1.0, *, reduction: Literal["mean", "sum"] = "mean", weighted: bool = False
) -> Layer[NoParams, Number]: ...
@overload
def huber(delta: float = 1.0, *, reduction: Literal["none"], weighted: bool = False) -> Layer[NoParams]: ...
@shows_call
def huber(delta: float = 1.0, *, reduction: Reduction = "mean", weighted: bool = False) -> Layer[NoParams, Any]:
    """The Huber loss: squared for small errors, linear for large ones.

    L_n = mean c (d - c / 2) over features, d = y - t, c = d cut to [-delta, delta]

    dy = g c / F        dt = -dy

    That is d^2 / 2 where |d| <= delta, and delta (|d| - delta / 2) beyond. (Huber 1964)
    Inputs: prediction y and target t, of one shape, F features a row.
    delta: above 0. Other options: those of `mse`.
    Shapes: two of one shape -> (), in float32 or float64.
    Raises OptionError for another delta; ShapeError, DTypeError, WeightError and OptionError as `mse` does.
    """
    return loss("huber", partial(_huber, positive("huber: delta", delta)), reduction, weighted)


def _huber(delta: float, terms: Terms, y: Array, t: Array) -> tuple[Any, Any]:
    check_same_shape(y, t)
    d = y - t
    c = np.minimum(np.maximum(d, -delta), delta)

    def pullback(g: Any) -> Cotangents:
        dy = c * (g * terms.share)
        return dy, -dy

    return terms.inner(c, d - c * 0.5) * terms.share, pullback


@overload
def log_cosh(*, reduction: Literal["mean", "sum"] = "mean", weighted: bool = False) -> Layer[NoParams, Number]: ...
@overload
def log_cosh(*, reduction: Literal["none"], weighted: bool = False) -> Layer[NoParams]: ...
@shows_call
def log_cosh(*, reduction: Reduction = "mean", weighted: bool = False) -> Layer[NoParams, Any]:
    """The logarithm of the hyperbolic cosine of the error: a smooth form of the Huber loss.

    L_n = mean log cosh (y - t) over features        dy = g tanh(y - t) / F        dt = -dy

    About d^2 / 2 for small d = y - t, |d| - log 2 for large ones.
    Computed as |d| + log1p(expm1(-2 |d|) / 2), which neither overflows nor loses digits where |d| is large.
    Inputs: prediction y and target t, of one shape, F features a row. Options: those of `mse`. (Optax: log_cosh)
    Shapes: two of one shape -> (), in float32 or float64.
    Raises ShapeError, DTypeError, WeightError and OptionError as `mse` does.
    """
    return loss("log_cosh", _log_cosh, reduction, weighted)


def _log_cosh(terms: Terms, y: Array, t: Array) -> tuple[Any, Any]:
    check_same_shape(y, t)
    d = y - t
    size = np.abs(d)

    def pullback(g: Any) -> Cotangents:
        dy = np.tanh(d) * (g * terms.share)
        return dy, -dy

    return terms.sum(size + np.log1p(np.expm1(size * -2.0) * 0.5)) * terms.share, pullback


@overload
def pinball(
    quantile: float = 0.5, *, reduction: Literal["mean", "sum"] = "mean", weighted: bool = False
) -> Layer[NoParams, Number]: ...
@overload
def pinball(quantile: float = 0.5, *, reduction: Literal["none"], weighted: bool = False) -> Layer[NoParams]: ...
@shows_call
def pinball(quantile: float = 0.5, *, reduction: Reduction = "mean", weighted: bool = False) -> Layer[NoParams, Any]:
    """The pinball loss, also called quantile loss, whose minimum is a quantile of the targets.

    L_n = mean s (y - t) over features        dy = g s / F        dt = -dy

    s = 1 - q where y > t, -q where y < t, and 0 where they are equal: a prediction that is right stays.
    It is least where y is the q-quantile of t: a fraction q of the targets lies below it. Two of them, such as of 0.05
    and 0.95, make an interval. For q = 1 / 2 it is half of `mae`. (Koenker and Bassett 1978)
    Inputs: prediction y and target t, of one shape, F features a row.
    quantile: q, above 0 and below 1. Other options: those of `mse`.
    Shapes: two of one shape -> (), in float32 or float64.
    Raises OptionError for another quantile; ShapeError, DTypeError, WeightError and OptionError as `mse` does.
    """
    q = fraction("pinball: quantile", positive("pinball: quantile", quantile))
    return loss("pinball", partial(_pinball, 0.5 - q), reduction, weighted)


def _pinball(shift: float, terms: Terms, y: Array, t: Array) -> tuple[Any, Any]:
    check_same_shape(y, t)
    d = y - t
    sign = np.sign(d)
    slope = sign * 0.5 + sign * sign * shift

    def pullback(g: Any) -> Cotangents:
        dy = slope * (g * terms.share)
        return dy, -dy

    return terms.inner(d, slope) * terms.share, pullback


@overload
def poisson_nll(*, reduction: Literal["mean", "sum"] = "mean", weighted: bool = False) -> Layer[NoParams, Number]: ...
@overload
def poisson_nll(*, reduction: Literal["none"], weighted: bool = False) -> Layer[NoParams]: ...
@shows_call
def poisson_nll(*, reduction: Reduction = "mean", weighted: bool = False) -> Layer[NoParams, Any]:
    """The negative log-likelihood of a Poisson distribution whose log rate is predicted.

    L_n = mean (exp y - t y) over features        dy = g (exp y - t) / F        dt = -g y / F

    Inputs: the logarithm y of the rate, and counts t, as floating numbers, of one shape, F features a row. log t! is
    left out: it does not depend on y. exp y overflows where y is above 88 in float32, above 709 in float64.
    Options: those of `mse`. Shapes: two of one shape -> (), in float32 or float64.
    Raises ShapeError, DTypeError, WeightError and OptionError as `mse` does.
    """
    return loss("poisson_nll", _poisson_nll, reduction, weighted)


def _poisson_nll(terms: Terms, y: Array, t: Array) -> tuple[Any, Any]:
    check_same_shape(y, t)
    rate = np.exp(y)

    def pullback(g: Any) -> Cotangents:
        return (rate - t) * (g * terms.share), y * (g * -terms.share)

    return terms.sum(rate - t * y) * terms.share, pullback


@overload
def gaussian_nll(
    *, epsilon: float = 1e-6, reduction: Literal["mean", "sum"] = "mean", weighted: bool = False
) -> Layer[NoParams, Number]: ...
@overload
def gaussian_nll(*, epsilon: float = 1e-6, reduction: Literal["none"], weighted: bool = False) -> Layer[NoParams]: ...
@shows_call
def gaussian_nll(
    *, epsilon: float = 1e-6, reduction: Reduction = "mean", weighted: bool = False
) -> Layer[NoParams, Any]:
    """The negative log-likelihood of a normal distribution whose mean and variance are predicted.

    L_n = mean (log v + d^2 / v) / 2 over features, d = m - t, v = max(s, epsilon)

    dm = g (d / v) / F        ds = g (1 / v - (d / v)^2) / 2F where s > epsilon, else 0        dt = -dm

    Inputs: mean m, variance s (above 0, such as `softplus` gives) and target t, of one shape: a network of two outputs,
    and a target. log(2 pi) / 2 is left out. (Nix and Weigend 1994)
    epsilon: the least variance, above 0. Other options: those of `mse`.
    Shapes: three of one shape -> (), in float32 or float64.
    Raises OptionError for another epsilon; ShapeError, DTypeError, WeightError and OptionError as `mse` does.
    """
    kernel = partial(_gaussian_nll, positive("gaussian_nll: epsilon", epsilon))
    return loss("gaussian_nll", kernel, reduction, weighted, 3)


def _gaussian_nll(epsilon: float, terms: Terms, m: Array, s: Array, t: Array) -> tuple[Any, Any]:
    check_same_shape(m, s, t)
    v = np.maximum(s, epsilon)
    d = m - t
    q = d / v

    def pullback(g: Any) -> Cotangents:
        scale = g * terms.share
        dm = q * scale
        return dm, relu_grad(1.0 / v - q * q, v - epsilon) * (scale * 0.5), -dm

    return terms.sum(np.log(v) + d * q) * (0.5 * terms.share), pullback
