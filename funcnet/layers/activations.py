"""Scalar functions, applied to each element. One short entry each: y = f(x), and the pullback g -> g f'(x).

Kinks follow one convention: at a point where the left and the right derivative differ, the derivative is the left one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import pi, sqrt
from typing import Any, TypeAlias, cast

import numpy as np

from funcnet.arrays import Array
from funcnet.calling import check_takes
from funcnet.core import Layer, NoParams, Result, layer
from funcnet.display import shows_call
from funcnet.errors import DTypeError, FuncnetError, OptionError, ShapeError, TracingError
from funcnet.options import flag, fraction, positive, title
from funcnet.tracing.primitives import relu_grad
from funcnet.tracing.shapes import RECORDABLE
from funcnet.tracing.special import normal_cdf
from funcnet.tracing.trace import Value

ScalarResult: TypeAlias = tuple[Array, Callable[[Array], Array]]
Scalar: TypeAlias = Callable[[Array], ScalarResult]
"""x -> (y, pullback of y): a scalar function of every element, written in NumPy ufuncs."""


@shows_call
def elementwise(function: Scalar, name: str | None = None) -> Layer[NoParams]:
    """A layer of a scalar function and its derivative; `function` returns (y, pullback) and must be picklable.

    def square(x):
        return x * x, lambda g: g * (2.0 * x)

    `function` is called once to record the ufuncs it calls, so it must not branch on values.
    Shapes: any -> the same, in float32 or float64.     name: of the layer; by default that of the function.
    Raises OptionError for anything but a function, and a name that is no str; CallError for a function of other
    arguments. In use raises TracingError where the function cannot be recorded, OptionError where it returns no pair,
    ShapeError and DTypeError where y or dx is not like x.
    Example: `fn.serial(fn.linear(4), fn.elementwise(square))`.
    """
    if not callable(cast("Any", function)):
        raise OptionError(f"elementwise takes a function x -> (y, pullback), not {function!r:.60}")
    check_takes("elementwise: the function", function, "x")
    return layer(title("elementwise: name", name, _name(function)), partial(_elementwise, function))


def _name(function: Any) -> str:
    return str(getattr(getattr(function, "func", function), "__name__", "elementwise")).strip("_")


def _elementwise(function: Scalar, params: NoParams, x: Array) -> Result[NoParams]:
    y, pull = pair(_recorded(function, x) if isinstance(cast("Any", x), Value) else function(x))
    like = partial(_like, x)
    return like(y, "function"), lambda g: ((), (like(pull(g), f"pullback of {_name(function)}"),))


def _like(x: Array, y: Any, what: str) -> Any:
    """The same y, which must have the shape and the dtype of x."""
    kind = cast("Any", type(y))
    shape = getattr(y, "shape", () if kind is float else kind.__name__)  # a loss may have the cotangent 1.0
    if shape != x.shape:
        raise ShapeError(f"the {what} gives {shape} for {x.shape}: take each element by itself, or fn.custom_layer")
    if getattr(y, "dtype", x.dtype) != x.dtype:
        fix = "use Python numbers for its constants, float(c), and of a mask make numbers, mask * x.dtype.type(1)"
        raise DTypeError(f"the {what} gives {y.dtype} for {x.dtype}: {fix}")
    return y


def _recorded(function: Scalar, x: Any) -> Any:
    """What the function gives for a value; what NumPy or Python refuses there cannot be recorded."""
    try:
        return function(x)
    except FuncnetError:
        raise
    except (TypeError, AttributeError, ValueError) as error:
        raise TracingError(f"its function cannot be recorded: {error}: {RECORDABLE}") from error


@shows_call
def identity() -> Layer[NoParams]:
    """Return the input.

    y = x        dx = g

    The operator that gives an input its own place in the graph, or fans one value out.
    Shapes: any -> the same, in float32 or float64; in a network also integers and bools. Raises DTypeError for others.
    """
    made = layer("identity", _identity, integer_inputs=[0], mask_inputs=[0])
    made.apply.is_identity = True
    return made


def _identity(params: NoParams, x: Array) -> Result[NoParams]:
    return x, lambda g: ((), (g,))


@shows_call
def tanh() -> Layer[NoParams]:
    """The hyperbolic tangent.

    y = tanh x        dx = g (1 - y^2)

    Shapes: any -> the same, in float32 or float64. Raises DTypeError for another dtype.
    """
    return elementwise(_tanh)


def _tanh(x: Array) -> ScalarResult:
    y = np.tanh(x)
    # For speed: 1 - y^2 has lost its digits by 19 (9 in float32), where y rounds to 1. The worst errors, in units in
    # the last place and absolute: 9e15 and 2.3e-16, JAX's 5e17 and 1.5e-15; in float32 1.2e8 and 1.2e-7, JAX's 1.7e7
    # and 4.2e-7. Of exp(-2|x|), sech^2 x would keep them, and a whole training step take 1.14 to 1.39 times as long.
    return y, lambda g: g * (1.0 - y * y)


@shows_call
def sigmoid() -> Layer[NoParams]:
    """The logistic function.

    y = 1 / (1 + exp(-x)) = exp x / (exp x + 1)        dx = g y (1 - y)

    The second form keeps its digits below 0, and cannot overflow where x is cut at 40, beyond which y rounds to 1.
    Shapes: any -> the same, in float32 or float64. Raises DTypeError for another dtype.
    """
    return elementwise(_sigmoid)


def _sigmoid(x: Array) -> ScalarResult:
    y = _logistic(x)
    return y, lambda g: g * (y - y * y)  # above 37 (17 in float32) y rounds to 1 and this to 0, as JAX's does


def _logistic(x: Array) -> Array:
    # right to 2 units in the last place of y, however small; (1 + tanh(x / 2)) / 2 is right to those of 1 only. A whole
    # step takes 0.89 to 1.01 times as long as with tanh in float64, 1.03 to 1.11 in float32, with three such layers.
    e = np.exp(np.minimum(x, 40.0))
    y: Array = e / (e + 1.0)
    return y


@shows_call
def relu() -> Layer[NoParams]:
    """The rectified linear unit.

    y = max(x, 0)        dx = g [x > 0]        (Nair and Hinton 2010)

    Shapes: any -> the same, in float32 or float64. Raises DTypeError for another dtype.
    Example: `fn.serial(fn.linear(25), fn.relu(), fn.linear(2))`.
    """
    return elementwise(_relu)


def _relu(x: Array) -> ScalarResult:
    y = np.maximum(x, 0.0)
    return y, lambda g: relu_grad(g, y)


@shows_call
def leaky_relu(slope: float = 0.01) -> Layer[NoParams]:
    """The rectifier with a slope below 0.

    y = x where x > 0, else slope x        dx = g where x > 0, else slope g        (Maas et al. 2013)

    slope: from 0, where it is relu, up to but not 1.
    Shapes: any -> the same, in float32 or float64. Raises OptionError for another slope, DTypeError for another dtype.
    """
    if fraction("leaky_relu: slope", slope) == 0:
        return relu()  # the formula would give infinity times 0
    return elementwise(partial(_leaky_relu, float(slope)))


def _leaky_relu(slope: float, x: Array) -> ScalarResult:
    y = np.maximum(x, x * slope)
    return y, lambda g: g * (x > 0.0) + g * (x <= 0.0) * slope


@shows_call
def elu(alpha: float = 1.0) -> Layer[NoParams]:
    """The exponential linear unit.

    y = x where x > 0, else alpha (exp x - 1)        dx = g where x > 0, else g alpha exp x

    alpha: above 0. (Clevert et al. 2016)
    Shapes: any -> the same, in float32 or float64. Raises OptionError for another alpha, DTypeError for another dtype.
    """
    return elementwise(partial(_elu, positive("elu: alpha", alpha), 1.0), "elu")


ALPHA, SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@shows_call
def selu() -> Layer[NoParams]:
    """The scaled exponential linear unit of self-normalising networks.

    y = scale elu(x)        dx = g scale where x > 0, else g scale alpha exp x

    alpha = 1.67326, scale = 1.05070. (Klambauer et al. 2017)
    Shapes: any -> the same, in float32 or float64. Raises DTypeError for another dtype.
    """
    return elementwise(partial(_elu, ALPHA, SCALE), "selu")


def _elu(alpha: float, scale: float, x: Array) -> ScalarResult:
    falling = np.expm1(np.minimum(x, 0.0)) * (alpha * scale)  # exact near 0, and exp never overflows
    y = np.maximum(x, 0.0) * scale + falling
    # For speed: below -37 (-17 in float32) the sum on the right keeps no digit of exp x, as JAX's does not: 9e15 units
    # in the last place, JAX's 9e15, but 2e-16 in absolute terms; in float32 1.8e7, JAX's 1.7e7, and 1.4e-7. An exp of
    # its own would have a whole training step take 1.03 to 1.14 times as long. The sum in y makes 0 of -0, JAX's -0.
    return y, lambda g: g * (x > 0.0) * scale + g * (x <= 0.0) * (falling + alpha * scale)


@shows_call
def gelu(approximate: bool = False) -> Layer[NoParams]:
    """The Gaussian error linear unit, in its exact form.

    y = x Phi(x)        dx = g (Phi(x) + x phi(x))        (Hendrycks and Gimpel 2016)

    Phi, phi: the standard normal's distribution and density. By tanh with approximate=True, where
    approximate: y = x s, s = (1 + tanh u) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3)
    dx = g (s + 2 y (1 - s) v), v = sqrt(2 / pi) (1 + 0.134145 x^2)

    Shapes: any -> the same, in float32 or float64. Raises OptionError for another option, DTypeError for another dtype.
    """
    return elementwise(_gelu_tanh if flag("gelu: approximate", approximate) else _gelu, "gelu")


def _gelu(x: Array) -> ScalarResult:
    cdf = normal_cdf(x)  # takes a whole step 1.03 to 1.06 times as long as (1 + erf) / 2, which is right to units of 1
    return x * cdf, lambda g: g * (cdf + x * (np.exp(x * x * -0.5) * (1.0 / sqrt(2.0 * pi))))


def _gelu_tanh(x: Array) -> ScalarResult:
    c, a = sqrt(2.0 / pi), 0.044715
    square = x * x
    s = _logistic(x * (square * (2.0 * a * c) + 2.0 * c))  # (1 + tanh u) / 2
    y = x * s
    return y, lambda g: g * (s + y * (1.0 - s) * (square * (6.0 * a * c) + 2.0 * c))


@shows_call
def silu() -> Layer[NoParams]:
    """The sigmoid linear unit, also called swish.

    y = x sigmoid(x)        dx = g s (1 + x (1 - s)), s = sigmoid(x)        (Elfwing et al. 2018)

    Shapes: any -> the same, in float32 or float64. Raises DTypeError for another dtype.
    """
    return elementwise(_silu)


def _silu(x: Array) -> ScalarResult:
    s = _logistic(x)
    y = x * s
    return y, lambda g: g * (s + y * (1.0 - s))


@shows_call
def softplus() -> Layer[NoParams]:
    """The softplus, a smooth rectifier.

    y = log(1 + exp x) = max(x, 0) + log1p(exp(-|x|))        dx = g sigmoid(x)

    Neither the second form nor its derivative overflows or loses small values.
    Shapes: any -> the same, in float32 or float64. Raises DTypeError for another dtype.
    """
    return elementwise(_softplus)


def _softplus(x: Array) -> ScalarResult:
    small = np.exp(-np.abs(x))
    return np.maximum(x, 0.0) + np.log1p(small), lambda g: g * (np.exp(np.minimum(x, 0.0)) / (small + 1.0))


@shows_call
def exp() -> Layer[NoParams]:
    """The exponential function.

    y = exp x        dx = g y

    Shapes: any -> the same, in float32 or float64. Raises DTypeError for another dtype.
    """
    return elementwise(_exp)


def _exp(x: Array) -> ScalarResult:
    y = np.exp(x)
    return y, lambda g: g * y


def pair(result: Any) -> Any:
    """What a layer's function returned, if it is a pair."""
    kind = cast("Any", type(result))
    if kind is not tuple or len(result) != 2:
        raise OptionError(f"its function must return (output, pullback), not {kind.__name__}")
    return result
