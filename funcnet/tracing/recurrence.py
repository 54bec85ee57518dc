"""Recurrences over time: the NumPy calls of one step, bound to memory once for each time.

Inside, values lie as (time, features, batch): one step reads and writes whole pieces of memory. The state is stored as
s_t = [h; 1; x_t], so that one product a step does for input, state and bias. All states and gates are kept for the
backward calls; the gradient of the weights is one product over all times, s dz^T.

A value of shape (features, batch, time) whose batch axis is 1 is stored as (time, features, batch).

With lengths, the input past the end of a sequence counts as 0, outputs there are 0 and pass no cotangent on, and the
last output of a sequence is that at its own end. The steps run on over the padding, whose states nothing reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np

from funcnet.arrays import Shape, stray
from funcnet.errors import LabelError
from funcnet.tracing.forms import Attributes, Instruction, Memory, Operands
from funcnet.tracing.primitive import Primitive
from funcnet.tracing.shapes import Spec
from funcnet.tracing.trace import Value

Program: TypeAlias = list[Instruction]


def run(primitive: Primitive, operands: tuple[Any, ...], outputs: Sequence[Spec], **attributes: Any) -> tuple[Any, ...]:
    """Record one call, or, given arrays, make it."""
    if isinstance(operands[0], Value):
        return operands[0].trace.emit_all(primitive, operands, outputs, **attributes)
    arrays = tuple([_empty(*output) for output in outputs])
    for f, arguments in primitive.form(UNUSED, attributes, operands, arrays if primitive.multi_output else arrays[0]):
        f(*arguments)
    return arrays


UNUSED: Any = None  # the memory of a form that asks for nothing


def _empty(shape: Shape, dtype: np.dtype[Any], batch_axis: int | None) -> Any:
    if batch_axis != 1:
        return np.empty(shape, dtype)
    features, rows, times = shape
    return np.empty((times, features, rows), dtype).transpose(1, 2, 0)


def over_time(array: Any) -> Any:
    """(time, features, batch) of (features, batch, time)."""
    return array.transpose(2, 0, 1)


def flat(array: Any) -> Any:
    """The elements of contiguous memory as a vector."""
    assert array.flags.c_contiguous, "a vector must not be a copy"
    return array.reshape(-1)


def steps_of(output: Any, shape: Shape, dtype: Any) -> Any:
    """(time, features, batch) memory of what a call keeps: that of its output, or its own where nothing reads that."""
    return np.empty(shape, dtype) if output is None else over_time(output)


def states(x: Any, size: int, output: Any, attributes: Attributes, lengths: Any) -> tuple[Any, Program]:
    """The states [h; 1; x] before each time and after the last, and what sets all but those that steps compute."""
    rows, times, features = x.shape
    S = steps_of(output, (times + 1, size + 1 + features, rows), x.dtype)
    program: Program = [
        (S[:, size].fill, (1,)),
        (S[0, :size].fill, (0,)),
        (S[:times, size + 1 :].__setitem__, (..., x.transpose(1, 2, 0))),
        (S[times, size + 1 :].fill, (0,)),
    ]
    if lengths is not None:
        program.insert(0, (check_lengths, (lengths, times, attributes["where"])))
        program.append((clear_padding, (S[:times, size + 1 :], lengths)))
    return S, program


def check_lengths(lengths: Any, times: int, where: str) -> None:
    """LabelError for a length that is negative or longer than the sequences."""
    if (wrong := stray(lengths, times + 1)) is not None:
        raise LabelError(f"{where}length {wrong} is none of 0 to {times}, the number of times of the sequences")


def clear_padding(steps: Any, lengths: Any) -> None:
    """Write zeros past the end of each sequence."""
    steps.transpose(0, 2, 1)[np.arange(len(steps))[:, None] >= lengths] = 0


def results(S: Any, size: int, out: Any, lengths: Any) -> Program:
    """Write the outputs of all times, or the last one of each sequence."""
    if out is None:
        return []
    if out.ndim == 3:
        program: Program = [(out.__setitem__, (..., S[1:, :size].transpose(2, 0, 1)))]
        return program if lengths is None else [*program, (clear_padding, (out.transpose(1, 2, 0), lengths))]
    if lengths is None:
        return [(out.__setitem__, (..., S[-1, :size].T))]
    return [(take_last, (S[:, :size], lengths, out))]


def take_last(states: Any, lengths: Any, out: Any) -> None:
    """Write the state after the last time of each sequence."""
    out[...] = states[lengths, :, np.arange(len(lengths))]


def cotangents(g: Any, size: int, times: int, lengths: Any) -> tuple[Any, Any, Program]:
    """(the cotangent of the last state, those of the outputs of all times or None, what sets them)."""
    rows = len(g)
    dh = np.empty((size, rows), g.dtype)
    if g.ndim == 2 and lengths is None:
        return dh, None, [(dh.__setitem__, (..., g.T))]
    G = np.empty((times, size, rows), g.dtype)
    if g.ndim == 2:
        return dh, G, [(put_last, (g, lengths, G)), (start_from, (G, dh))]
    program: Program = [(G.__setitem__, (..., g.transpose(1, 2, 0)))]
    if lengths is not None:
        program.append((clear_padding, (G, lengths)))
    return dh, G, [*program, (start_from, (G, dh))]


def put_last(g: Any, lengths: Any, out: Any) -> None:
    """Write the cotangent of the last output of each sequence to its time, zeros elsewhere."""
    out[...] = 0
    (rows,) = np.nonzero(lengths)
    out[lengths[rows] - 1, :, rows] = g[rows]


def start_from(G: Any, dh: Any) -> None:
    """Write the cotangent of the last time, or zeros where there are no times."""
    dh[...] = G[-1] if len(G) else 0


def input_cotangents(W: Any, dz: Any, dx: Any) -> Program:
    """dx = W dz at each time; W (inputs, gates)."""
    if dx is None:
        return []
    product = np.empty((len(dz), len(W), dz.shape[2]), dz.dtype)
    return [(np.matmul, (W, dz, product)), (dx.__setitem__, (..., product.transpose(2, 0, 1)))]


def unpacked(operands: Operands, count: int) -> tuple[Any, ...]:
    """So many operands, and the lengths or None."""
    return (*operands, None)[: count + 1]


def numbers(dtype: Any) -> tuple[Any, Any]:
    """1 / 2 and 1, as 0-d arrays, which NumPy takes in faster than Python's numbers."""
    return np.array(0.5, dtype), np.array(1, dtype)


def time_product(memory: Memory, attributes: Attributes, operands: Operands, out: Any) -> Program:
    """M = sum_t s_t dz_t^T, one product over time and batch."""
    kept, dz = (over_time(x).transpose(1, 0, 2) for x in operands)
    S = kept[:, : dz.shape[1]]
    left, right = np.empty(S.shape, S.dtype), np.empty(dz.shape, dz.dtype)
    length = prod(dz.shape[1:])
    return [
        (left.__setitem__, (..., S)),
        (right.__setitem__, (..., dz)),
        (left.reshape(len(S), length).dot, (right.reshape(len(dz), length).T, out)),
    ]


TIME_PRODUCT = Primitive("time_product", time_product, sums_rows=True)
