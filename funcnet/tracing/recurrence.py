"""Recurrences over time: the NumPy calls of one step, bound to memory once for each time.

Inside, arrays are stored as (time, features, batch): one step reads and writes whole pieces of memory. The state is
stored as s_t = [h; 1; x_t], so that one product a step includes input, state and bias. All states and gates are kept
for the backward calls; the gradient of the weights is one product over all times, s dz^T.

A value of shape (features, batch, time) whose batch axis is 1 is stored as (time, features, batch).

With lengths, the input past the end of a sequence counts as 0, outputs there are 0 and pass no cotangent on, and the
last output of a sequence is that at its own end. The steps run on over the padding, whose states nothing reads.

Lengths and an initial state are operands where the attribute `given` names them, in this order. The state of an LSTM
is [h c], in one array.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from funcnet.arrays import Shape, stray
from funcnet.errors import LabelError
from funcnet.tracing.eager import Eager
from funcnet.tracing.forms import Attributes, Instruction, Memory, Operands, plain
from funcnet.tracing.primitive import Primitive
from funcnet.tracing.shapes import Spec
from funcnet.tracing.trace import Value

Program: TypeAlias = list[Instruction]
COLUMNS = 1024  # of copies of states and cotangents side by side, for which a product is as fast as for more


def run(primitive: Primitive, operands: tuple[Any, ...], outputs: Sequence[Spec], **attributes: Any) -> tuple[Any, ...]:
    """Record one call on values, or make it on arrays."""
    if isinstance(operands[0], Value):
        return operands[0].trace.emit_all(primitive, operands, outputs, **attributes)
    arrays = tuple([_empty(*output) for output in outputs])
    memory = Eager(operands[0].dtype)
    for f, arguments in primitive.form(memory, attributes, operands, arrays if primitive.multi_output else arrays[0]):
        f(*arguments)
    return arrays


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


def steps_of(memory: Memory, output: Any, shape: Shape, dtype: Any) -> Any:
    """(time, features, batch) memory that a call keeps: that of its output or, if the output is unread, its own."""
    return memory.empty(shape, dtype) if output is None else over_time(output)


def states(
    memory: Memory, x: Any, size: int, output: Any, attributes: Attributes, lengths: Any, initial: Any
) -> tuple[Any, Program]:
    """The states [h; 1; x] before each time and after the last, and the instructions that set x, 1 and h_0."""
    rows, times, features = x.shape
    S = steps_of(memory, output, (times + 1, size + 1 + features, rows), x.dtype)
    program: Program = [
        (S[:, size].fill, (1,)),
        begin(S[0, :size], initial),
        (S[:times, size + 1 :].__setitem__, (..., x.transpose(1, 2, 0))),
    ]
    if lengths is not None:
        program.append((check_lengths, (lengths, times, attributes["where"])))
        program.append((clear_padding, (S[:times, size + 1 :], lengths)))
    return S, program


def begin(state: Any, initial: Any) -> Instruction:
    """Set the state before the first time: zeros unless given."""
    return (state.fill, (0,)) if initial is None else (state.__setitem__, (..., initial.T))


def check_lengths(lengths: Any, times: int, where: str) -> None:
    """LabelError for a length that is negative or longer than the sequences."""
    if (wrong := stray(lengths, times + 1)) is not None:
        raise LabelError(f"{where}length {wrong} is none of 0 to {times}, the number of times of the sequences")


def clear_padding(steps: Any, lengths: Any) -> None:
    """Write zeros past the end of each sequence."""
    steps.transpose(0, 2, 1)[np.arange(len(steps))[:, None] >= lengths] = 0


def results(parts: Sequence[Any], out: Any, lengths: Any) -> Program:
    """Write the states of all times, or the last of each sequence: as many parts as the output has room for."""
    program: Program = []
    if out is None:
        return program
    for part, to in zip(parts, in_parts(out, parts[0].shape[1]), strict=False):
        if out.ndim == 3:
            program.append((to.__setitem__, (..., part[1:].transpose(2, 0, 1))))
        elif lengths is None:
            program.append((to.__setitem__, (..., part[-1].T)))
        else:
            program.append((take_last, (part, lengths, to)))
    if out.ndim == 3 and lengths is not None:
        program.append((clear_padding, (out.transpose(1, 2, 0), lengths)))
    return program


def in_parts(array: Any, size: int) -> list[Any]:
    """The parts of states along the last axis: h, or h and c."""
    return [array[..., k : k + size] for k in range(0, array.shape[-1], size)]


def take_last(states: Any, lengths: Any, out: Any) -> None:
    """Write the state after the last time of each sequence."""
    out[...] = states[lengths, :, np.arange(len(lengths))]


def cotangents(memory: Memory, g: Any, size: int, times: int, lengths: Any) -> tuple[list[tuple[Any, Any]], Program]:
    """For each part of the state (its last cotangent, those of all states or None); and the instructions before."""
    parts: list[tuple[Any, Any]] = []
    program: Program = []
    for part in in_parts(g, size):
        d = memory.empty((size, len(g)), g.dtype)
        if g.ndim == 2 and lengths is None:
            program.append((d.__setitem__, (..., part.T)))
            parts.append((d, None))
            continue
        G = memory.empty((times + 1, size, len(g)), g.dtype)
        if g.ndim == 2:
            program.append((put_last, (part, lengths, G)))
        else:
            program += [(G[0].fill, (0,)), (G[1:].__setitem__, (..., part.transpose(1, 2, 0)))]
            if lengths is not None:
                program.append((clear_padding, (G[1:], lengths)))
        program.append((d.__setitem__, (..., G[times])))
        parts.append((d, G))
    return parts, program


def put_last(g: Any, lengths: Any, out: Any) -> None:
    """Write the cotangent of the last state of each sequence to its place, zeros elsewhere."""
    out[...] = 0
    out[lengths, :, np.arange(len(lengths))] = g


def arriving(d: Any, G: Any, t: int) -> Program:
    """Add the cotangent that arrives at the state before time t, to d as a vector."""
    return [] if G is None else [(np.add, (d, flat(G[t]), d))]


def initial_cotangents(parts: Sequence[Any], out: Any) -> Program:
    """Write the cotangents of the initial state."""
    if out is None:
        return []
    return [(to.__setitem__, (..., d.T)) for d, to in zip(parts, in_parts(out, len(parts[0])), strict=True)]


def input_cotangents(memory: Memory, W: Any, dz: Any, dx: Any) -> Program:
    """dx = W dz at each time; W (inputs, gates)."""
    if dx is None:
        return []
    product = memory.empty((len(dz), len(W), dz.shape[2]), dz.dtype)
    return [(np.matmul, (W, dz, product)), (dx.__setitem__, (..., product.transpose(2, 0, 1)))]


def unpacked(operands: Operands, count: int, attributes: Attributes) -> tuple[Any, ...]:
    """The first operands, then the lengths and the initial state, each None where it is not given."""
    given = dict(zip(attributes["given"], operands[count:], strict=True))
    return (*operands[:count], given.get("lengths"), given.get("state"))


def spans(times: int, longest: int) -> list[slice]:
    """The times in order, in spans of at most this length."""
    return [slice(start, min(start + longest, times)) for start in range(0, times, longest)]


def numbers(dtype: Any) -> tuple[Any, Any]:
    """1 / 2 and 1, as 0-d arrays, which NumPy accepts faster than Python's numbers."""
    return np.array(0.5, dtype), np.array(1, dtype)


def time_product(memory: Memory, attributes: Attributes, operands: Operands, out: Any) -> Program:
    """M = sum_t s_t dz_t^T, over spans of times whose copies side by side stay in the cache.

    With the attribute `blocks`, pairs of slices of rows and of columns, only these blocks of M are computed.
    """
    kept, dz = map(over_time, operands)
    times, gates, rows = dz.shape
    count, size = max(1, min(times, COLUMNS // max(rows, 1))), len(out)
    blocks = attributes.get("blocks", [(slice(size), slice(gates))])
    copies = [memory.empty((n * count * rows,), dz.dtype) for n in (size, gates)]
    products = [memory.empty(out[block].shape, dz.dtype) if times > count else None for block in blocks]
    program: Program = [] if times else [(out.fill, (0,))]
    for span in spans(times, count):
        taken = span.stop - span.start
        left, right = (
            x[: n * taken * rows].reshape(n, taken * rows) for x, n in zip(copies, (size, gates), strict=True)
        )
        for to, x in ((left, kept), (right, dz)):
            program.append((to.reshape(len(to), taken, rows).__setitem__, (..., x[span].transpose(1, 0, 2))))
        for block, product in zip(blocks, products, strict=True):
            result = product if span.start else out[block]
            program.append((np.matmul, (left[block[0]], right[block[1]].T, result)))
            if span.start:
                program.append((np.add, (out[block], product, out[block])))
    return program


TIME_PRODUCT = Primitive("time_product", time_product, sums_rows=True)


def reverse(x: Any, *lengths: Any) -> Any:
    """The times in reverse order, a view; with lengths, each sequence reversed by itself, and 0 past its end."""
    if not lengths:
        return x[:, ::-1]
    (y,) = run(REVERSE, (x, *lengths), [(x.shape, x.dtype, 0)])
    return y


def reverse_into(x: Any, lengths: Any, out: Any) -> None:
    """Write the reversed sequences."""
    out[...] = 0
    for row, (sequence, length) in enumerate(zip(x, lengths.tolist(), strict=True)):
        out[row, :length] = sequence[:length][::-1]


REVERSE = Primitive("reverse", plain(reverse_into))
