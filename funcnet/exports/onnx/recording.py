"""The calls of a network's forward pass, for a batch of any number of rows.

A trace is of so many rows. Two traces, of different numbers of rows, tell what depends on that number: the axis of the
batch, which every value knows, and the sizes and shares that are computed from it, k n and k / n for n rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from funcnet import tree
from funcnet.arrays import Shape
from funcnet.core import Layer
from funcnet.errors import DTypeError, ExportError, ShapeError
from funcnet.tracing.trace import Call, Trace, Value

ROWS = 2  # not 1: a factor of 1 is not recorded
OTHERS: dict[str, np.dtype[Any]] = {"i": np.dtype(np.int64), "b": np.dtype(np.bool_)}
"""The dtypes of labels and masks, by the first letter of the kinds that an input may have beside floats."""
MORE_ROWS = 4  # a multiple, so that the factors of both are exact


class OfRows(NamedTuple):
    """A number that is multiplied by the number of rows of the batch, or divided by it."""

    factor: float
    divided: bool


class Recorded(NamedTuple):
    """The calls in order, the params and inputs that they read, and what goes out."""

    calls: list[Call]
    parameters: list[Value]
    inputs: list[Value]
    outputs: list[Value]


def record(net: Layer[Any, Any], params: Any, shapes: Sequence[Shape], dtype: np.dtype[Any]) -> Recorded:
    """The forward pass of a network. Inputs that may be labels or masks are such where nothing else will do."""
    others = {i: net.apply.kinds(i)[1:] for i in range(len(shapes)) if len(net.apply.kinds(i)) > 1}
    problems: list[Exception] = []
    for chosen in subsets([*others]):
        kinds = [OTHERS[others[i][0]] if i in chosen else dtype for i in range(len(shapes))]
        try:
            trace, outputs = _traced(net, params, shapes, kinds, dtype, ROWS)
        except (DTypeError, ShapeError) as error:
            problems.append(error)
            continue
        more, _ = _traced(net, params, shapes, kinds, dtype, MORE_ROWS)
        return Recorded(_of_any_rows(trace, more), trace.parameters, trace.inputs, outputs)
    raise problems[1 if others else 0]  # of all labels, if there are any


def subsets(places: Sequence[int]) -> Iterator[set[int]]:
    """Every subset once: first none and all, which are right for most networks."""
    sizes = dict.fromkeys((0, len(places), *range(len(places))))
    return (set(chosen) for size in sizes for chosen in combinations(places, size))


def _traced(
    net: Layer[Any, Any],
    params: Any,
    shapes: Sequence[Shape],
    kinds: Sequence[np.dtype[Any]],
    dtype: np.dtype[Any],
    rows: int,
) -> tuple[Trace, list[Value]]:
    """(the trace, the outputs) for so many rows."""
    trace = Trace(dtype, rows)
    symbols = tree.unflatten(tree.structure(params), [trace.parameter(x.shape) for x in tree.leaves(params)])
    inputs: Any = tuple([trace.input((rows, *shape), kind) for shape, kind in zip(shapes, kinds, strict=True)])
    output, _ = net.apply.run(symbols, inputs)
    return trace, tree.leaves(output)


def _of_any_rows(trace: Trace, more: Trace) -> list[Call]:
    """The calls, with an `OfRows` for each number that depends on the number of rows."""
    found: list[Call] = []
    for call, other in zip(trace.calls, more.calls, strict=False):
        if call.primitive is not other.primitive:
            break
        inputs = tuple([_input(call.scope, a, b) for a, b in zip(call.inputs, other.inputs, strict=True)])
        found.append(Call(call.primitive, inputs, call.outputs, call.attributes, call.scope))
    longer = max(trace.calls, more.calls, key=len)
    if len(found) < len(longer):
        raise ExportError(f"{located(longer[len(found)].scope)}of more rows it makes other calls")
    return found


def _input(scope: str, a: Any, b: Any) -> Any:
    """The operands of a call, given those in the trace of more rows."""
    if not isinstance(a, (int, float)) or a == b or (a != a and b != b):
        return a
    if a * ROWS == b * MORE_ROWS:
        return OfRows(a * ROWS, True)
    if a * MORE_ROWS == b * ROWS:
        return OfRows(a / ROWS, False)
    raise ExportError(f"{located(scope)}of more rows the number {a} is {b}: of n rows it must be k n or k / n")


def located(scope: str) -> str:
    """Where in the network, for an error."""
    return f"to_onnx: operator {scope}: " if scope else "to_onnx: "
