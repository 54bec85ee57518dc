"""What each primitive is in ONNX: a rule (writer, call) -> the name of the output.

What ONNX Runtime lacks in float64, such as Erf, is written out. Where a function loses digits if it is written in the
obvious way, it is written in another one: log1p and expm1 as in Kahan 1981 (HP-15C Advanced Functions Handbook).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import sqrt
from typing import TypeAlias

import numpy as np

from funcnet.errors import ExportError
from funcnet.exports.onnx import images, masks, recurrence
from funcnet.exports.onnx.contraction import contraction
from funcnet.exports.onnx.patterns import Standard
from funcnet.exports.onnx.recording import located
from funcnet.exports.onnx.writer import INDEX, Writer
from funcnet.tracing import primitive, primitives
from funcnet.tracing.primitive import Primitive, of_ufunc
from funcnet.tracing.products import CONTRACT
from funcnet.tracing.special import CENTRE, NORMAL_CDF, TAIL
from funcnet.tracing.trace import Call

Rule: TypeAlias = Callable[[Writer, Call], str]


def write_call(w: Writer, call: Call | Standard) -> None:
    """Write the nodes of a call, and return the name of its output."""
    w.scope = call.scope.replace(" / ", "/")
    if isinstance(call, Standard):
        w.name(call.output, w.node(call.kind, *map(w.floating, call.operands), **call.attributes))
        return
    rule = RULES.get(call.primitive)
    if rule is None:
        if call.primitive.opaque:
            raise ExportError(
                f"{located(call.scope or call.attributes['name'])}a custom layer is a function that cannot be looked "
                "into: make it of fn.elementwise and the other layers"
            )
        kind = call.primitive.name if call.primitive.multi_output else f"np.{call.primitive.name}"
        raise ExportError(f"{located(call.scope)}{kind} is not written as ONNX")
    w.name(call.outputs[0], rule(w, call))  # of several only a pullback reads the others


def numeric(kind: str) -> Rule:
    """An operator of numbers, in which masks count as 0 and 1."""
    return lambda w, call: w.node(kind, *map(w.floating, call.inputs))


def logical(kind: str) -> Rule:
    """An operator of masks."""
    return lambda w, call: w.node(kind, *map(w.boolean, call.inputs))


def of_number(function: Callable[[Writer, str], str]) -> Rule:
    """A function of one number."""
    return lambda w, call: function(w, w.floating(call.inputs[0]))


def identity(w: Writer, call: Call) -> str:
    """x, copied along the axes in which the output is larger."""
    (x,) = call.operands
    y = call.output
    if x.shape == y.shape:
        return w.read(x)
    lengths = [1 if i == y.batch_axis else n for i, n in enumerate(y.shape)]  # 1: as it is
    return w.node("Expand", w.read(x), w.integers(*lengths))


def maximum(w: Writer, call: Call) -> str:
    """max(x, y); where one of them is the number 0, relu."""
    x, y = call.inputs
    if type(y) in (int, float) and y == 0:
        return w.node("Relu", w.floating(x))
    return w.node("Max", w.floating(x), w.floating(y))


def square(w: Writer, x: str) -> str:
    """x x."""
    return w.node("Mul", x, x)


def log1p(w: Writer, x: str) -> str:
    """x log u / (u - 1), u = 1 + x as it is rounded; x where u is 1, log u where u is x."""
    u = w.node("Add", x, w.number(1.0))
    d = w.node("Sub", u, w.number(1.0))
    log = w.node("Log", u)
    exact = w.node("Mul", x, w.node("Div", log, d))
    return _either(w, w.node("Equal", u, x), log, _either(w, w.node("Equal", d, w.number(0.0)), x, exact))


def expm1(w: Writer, x: str) -> str:
    """(u - 1) x / log u, u = exp x as it is rounded; x where u is 1, u - 1 where that is -1 or u."""
    u = w.node("Exp", x)
    d = w.node("Sub", u, w.number(1.0))
    exact = w.node("Mul", d, w.node("Div", x, w.node("Log", u)))
    far = w.node("Or", w.node("Equal", d, w.number(-1.0)), w.node("Equal", d, u))
    return _either(w, far, d, _either(w, w.node("Equal", u, w.number(1.0)), x, exact))


def _either(w: Writer, mask: str, a: str, b: str) -> str:
    """The one where the mask is true, else b."""
    return w.node("Where", mask, a, b)


def isfinite(w: Writer, x: str) -> str:
    """Neither NaN nor infinite."""
    return w.node("Not", w.node("Or", w.node("IsNaN", x), w.node("IsInf", x)))


def nonzero(w: Writer, x: str) -> str:
    """All but 0, NaN too."""
    return w.node("Not", w.node("Equal", x, w.number(0.0)))


def kept(w: Writer, call: Call) -> str:
    """The elements where the mask is true, else 0."""
    x, mask = call.inputs
    return w.node("Where", w.read(mask), w.floating(x), w.number(0.0))


def inner(w: Writer, call: Call) -> str:
    """Sum of the products of all elements."""
    axes = w.integers(*range(call.operands[0].ndim))
    products = w.node("Mul", *map(w.floating, call.inputs))
    return w.node("ReduceSum", products, axes, keepdims=0) if call.operands[0].ndim else products


def reduced(kind: str, axes_are_inputs: int, w: Writer, call: Call) -> str:
    """A reduction over axes, which are an attribute before a certain opset."""
    x, axes = w.floating(call.inputs[0]), call.attributes["axes"]
    if not axes:
        return x
    if w.opset < axes_are_inputs:
        return w.node(kind, x, axes=axes, keepdims=0)
    return w.node(kind, x, w.integers(*axes), keepdims=0)


def concatenate(w: Writer, call: Call) -> str:
    """Values joined along an axis."""
    return w.node("Concat", *map(w.floating, call.inputs), axis=call.attributes["axis"])


def reshape(w: Writer, call: Call) -> str:
    """The elements in another shape."""
    (x,) = call.operands
    return w.reshape(call.output, x, w.read(x))


def total_weight(w: Writer, call: Call) -> str:
    """The sum of all weights; infinity where it is 0."""
    (x,) = call.operands
    total = w.node("ReduceSum", w.read(x), w.integers(*range(x.ndim)), keepdims=0)
    return _either(w, w.node("Equal", total, w.number(0.0)), w.number(np.inf), total)


def gather(w: Writer, call: Call) -> str:
    """The rows of a table that integers name."""
    return w.node("Gather", *map(w.read, call.inputs), axis=0)


def pick(w: Writer, call: Call) -> str:
    """The element of each row that its label names."""
    x, labels = map(w.read, call.inputs)
    last = w.integers(-1)
    return w.node("Squeeze", w.node("GatherElements", x, w.node("Unsqueeze", labels, last), axis=-1), last)


def labelled(w: Writer, call: Call) -> str:
    """1 for each label but the one to be ignored."""
    ignored = w.constant(np.asarray(call.attributes["ignored"], INDEX))
    return w.cast(w.node("Not", w.node("Equal", w.read(call.inputs[0]), ignored)), w.dtype)


def known_labels(w: Writer, call: Call) -> str:
    """The labels, but 0 where the weight is 0, so that the label makes no difference."""
    labels, weights = map(w.read, call.inputs)
    return _either(w, w.node("Equal", weights, w.number(0.0)), w.constant(np.asarray(0, INDEX)), labels)


def normal_cdf(w: Writer, x: str) -> str:
    """Phi x; of float64, for which ONNX Runtime has no Erf, as in `funcnet.tracing.special`."""
    if w.dtype == np.float32:
        erf = w.node("Erf", w.node("Mul", x, w.number(1.0 / sqrt(2.0))))
        return w.node("Mul", w.node("Add", erf, w.number(1.0)), w.number(0.5))
    size = w.node("Min", w.node("Abs", x), w.number(40.0))
    near = w.node("Min", size, w.number(1.0))
    centre = w.node("Sub", w.number(0.5), w.node("Mul", size, _polynomial(w, CENTRE, square(w, near))))
    ratio = w.node("Div", w.node("Sub", size, w.number(4.0)), w.node("Add", size, w.number(4.0)))
    bell = w.node("Exp", w.node("Mul", square(w, size), w.number(-0.5)))
    below = _either(w, w.node("Greater", size, w.number(1.0)), w.node("Mul", bell, _polynomial(w, TAIL, ratio)), centre)
    return _either(w, w.node("Greater", x, w.number(0.0)), w.node("Sub", w.number(1.0), below), below)


def _polynomial(w: Writer, coefficients: tuple[float, ...], x: str) -> str:
    """sum c_k x^k, by Horner's rule."""
    y = w.number(coefficients[-1])
    for c in coefficients[-2::-1]:
        y = w.node("Add", w.node("Mul", y, x), w.number(c))
    return y


def exp2(w: Writer, x: str) -> str:
    """2^x."""
    return w.node("Pow", w.number(2.0), x)


def log_of_base(base: float, w: Writer, x: str) -> str:
    """The logarithm to another base than e."""
    return w.node("Div", w.node("Log", x), w.number(float(np.log(base))))


NUMERIC: dict[np.ufunc, str] = {
    np.add: "Add",
    np.subtract: "Sub",
    np.multiply: "Mul",
    np.divide: "Div",
    np.power: "Pow",
    np.negative: "Neg",
    np.exp: "Exp",
    np.log: "Log",
    np.sqrt: "Sqrt",
    np.reciprocal: "Reciprocal",
    np.minimum: "Min",
    np.absolute: "Abs",
    np.fabs: "Abs",
    np.sign: "Sign",
    np.floor: "Floor",
    np.ceil: "Ceil",
    np.rint: "Round",
    np.sin: "Sin",
    np.cos: "Cos",
    np.tan: "Tan",
    np.arcsin: "Asin",
    np.arccos: "Acos",
    np.arctan: "Atan",
    np.sinh: "Sinh",
    np.cosh: "Cosh",
    np.tanh: "Tanh",
    np.arcsinh: "Asinh",
    np.arccosh: "Acosh",
    np.arctanh: "Atanh",
    np.isnan: "IsNaN",
    np.isinf: "IsInf",
    np.equal: "Equal",
    np.greater: "Greater",
    np.greater_equal: "GreaterOrEqual",
    np.less: "Less",
    np.less_equal: "LessOrEqual",
}
LOGICAL: dict[np.ufunc, str] = {
    np.logical_and: "And",
    np.logical_or: "Or",
    np.logical_xor: "Xor",
    np.logical_not: "Not",
    np.bitwise_and: "And",
    np.bitwise_or: "Or",
    np.bitwise_xor: "Xor",
    np.invert: "Not",
}
FUNCTIONS: dict[np.ufunc, Callable[[Writer, str], str]] = {
    np.square: square,
    np.log1p: log1p,
    np.expm1: expm1,
    np.exp2: exp2,
    np.log2: partial(log_of_base, 2.0),
    np.log10: partial(log_of_base, 10.0),
    np.isfinite: isfinite,
}
RULES: dict[Primitive, Rule] = {
    **{of_ufunc(ufunc): numeric(kind) for ufunc, kind in NUMERIC.items()},
    **{of_ufunc(ufunc): logical(kind) for ufunc, kind in LOGICAL.items()},
    **{of_ufunc(ufunc): of_number(function) for ufunc, function in FUNCTIONS.items()},
    of_ufunc(np.maximum): maximum,
    of_ufunc(np.not_equal): lambda w, call: w.node("Not", numeric("Equal")(w, call)),
    primitive.COPY: identity,
    primitive.MATMUL: numeric("MatMul"),
    primitive.INNER: inner,
    primitive.SUM: partial(reduced, "ReduceSum", 13),
    primitive.MAX: partial(reduced, "ReduceMax", 18),
    primitive.CONCATENATE: concatenate,
    primitive.RESHAPE: reshape,
    primitives.NONZERO: of_number(nonzero),
    primitives.RELU_GRAD: kept,
    CONTRACT: contraction,
    primitives.TOTAL_WEIGHT: total_weight,
    primitives.GATHER: gather,
    primitives.PICK: pick,
    primitives.LABELLED: labelled,
    primitives.KNOWN_LABELS: known_labels,
    NORMAL_CDF: of_number(normal_cdf),
    **images.RULES,
    **masks.RULES,
    **recurrence.RULES,
}
"""The rules of all primitives that a forward pass without a key may record."""
