"""Calls that together are one operator of ONNX: written as that, which readers of models know and run faster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from funcnet.tracing.primitive import ADD, MATMUL, MAX, MULTIPLY, SUM, Primitive, of_ufunc
from funcnet.tracing.shapes import Slice
from funcnet.tracing.special import NORMAL_CDF
from funcnet.tracing.trace import Call, Value

Pattern: TypeAlias = "str | float | tuple[Any, ...]"
"""A variable, by its name; a number; or a primitive and the patterns of what its call reads."""


class Last(NamedTuple):
    """The reduction of a value over its last axis, which is kept with length 1."""

    primitive: Primitive
    of: Pattern


class Operator(NamedTuple):
    """An operator of ONNX, and the calls that compute the same.

    ranks: how many axes the variables have, where that matters.
    single: ONNX Runtime has it, or what it makes of x sigmoid(x), in float32 only.
    opset: the first that has it.
    """

    kind: str
    pattern: tuple[Any, ...]
    attributes: Mapping[str, int] = {}
    ranks: tuple[int, ...] = ()
    single: bool = False
    opset: int = 0


class Standard(NamedTuple):
    """A call of an operator in place of the last of the calls that compute the same."""

    kind: str
    operands: list[Value]
    attributes: Mapping[str, int]
    output: Value
    scope: str

    @property
    def outputs(self) -> tuple[Value, ...]:
        """Its output, as those of a call."""
        return (self.output,)


EXP, SUBTRACT, DIVIDE = of_ufunc(np.exp), of_ufunc(np.subtract), of_ufunc(np.divide)
SHIFTED = (SUBTRACT, "x", Last(MAX, "x"))
RISING = (EXP, (of_ufunc(np.minimum), "x", 40.0))
FALLING = (EXP, (of_ufunc(np.negative), (of_ufunc(np.absolute), "x")))
OPERATORS = [
    Operator("Gemm", (ADD, (MATMUL, "x", "W"), "b"), ranks=(2, 2, 1)),
    Operator("Sigmoid", (DIVIDE, RISING, (ADD, RISING, 1.0)), single=True),
    Operator("Softmax", (DIVIDE, (EXP, SHIFTED), Last(SUM, (EXP, SHIFTED))), {"axis": -1}),
    Operator("LogSoftmax", (SUBTRACT, SHIFTED, (of_ufunc(np.log), Last(SUM, (EXP, SHIFTED)))), {"axis": -1}),
    Operator("Softplus", (ADD, (of_ufunc(np.maximum), "x", 0.0), (of_ufunc(np.log1p), FALLING)), single=True),
    Operator("Gelu", (MULTIPLY, "x", (NORMAL_CDF, "x")), single=True, opset=20),
]


def recognised(call: Call, opset: int, dtype: np.dtype[Any]) -> Call | Standard:
    """The operator that a call completes, if there is one; else the call."""
    for kind, pattern, attributes, ranks, single, first in OPERATORS:
        variables: dict[str, Value] = {}
        if opset < first or (single and dtype != np.float32) or not _completes(call, pattern, variables):
            continue
        operands = [*variables.values()]
        if not ranks or ranks == tuple(x.ndim for x in operands):
            return Standard(kind, operands, attributes, call.output, call.scope)
    return call


def _completes(call: Call, pattern: Pattern, variables: dict[str, Value]) -> bool:
    """Whether the call computes the pattern; the variables are bound to the operands in their places."""
    return len(call.outputs) == 1 and _matches(pattern, call.output, variables)


def _matches(pattern: Any, x: Any, variables: dict[str, Value]) -> bool:
    """Whether an operand matches the pattern; the variables are bound to the operands in their places."""
    if not isinstance(x, Value):
        return type(pattern) is float and x == pattern
    if isinstance(pattern, str):
        return variables.setdefault(pattern, x) is x
    if isinstance(pattern, Last):
        return _is_last(pattern.primitive, x) and _matches((pattern.primitive, pattern.of), x.base, variables)
    if x.call is None or type(pattern) is not tuple or x.call.primitive is not pattern[0]:
        return False
    parts: list[Any] = [*pattern]
    return all(_matches(part, found, variables) for part, found in zip(parts[1:], x.call.inputs, strict=True))


def _is_last(primitive: Primitive, x: Value) -> bool:
    """Whether a value is reduced by that primitive over its last axis, which is kept."""
    call = x.base.call if x.base is not None else None
    if call is None or call.primitive is not primitive or not isinstance(x.view, Slice):
        return False
    whole, in_order = call.operands[0].shape, all(step in (None, Ellipsis, slice(None)) for step in x.view.steps)
    return in_order and call.attributes["axes"] == (len(whole) - 1,) and x.shape == (*whole[:-1], 1)


def needed(calls: Sequence[Call | Standard], outputs: Sequence[Value]) -> list[Call | Standard]:
    """The calls that the outputs need."""
    wanted = {id(value.root) for value in outputs}
    kept: list[Call | Standard] = []
    for call in reversed(calls):
        if any(id(y) in wanted for y in call.outputs):
            kept.append(call)
            wanted.update(id(value.root) for value in call.operands)
    return kept[::-1]
