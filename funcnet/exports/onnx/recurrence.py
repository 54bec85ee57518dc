"""Recurrent layers in ONNX: its operators RNN, LSTM and GRU; in float64, which ONNX Runtime has not, Scans of a step.

The columns of the matrices that a call reads are gates in the order of `tracing.cells`, of which sigmoids are halved.
Those of ONNX are rows, in another order. Time comes first there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from funcnet.errors import ExportError
from funcnet.exports.onnx.recording import located
from funcnet.exports.onnx.writer import INDEX, Writer
from funcnet.tracing import cells
from funcnet.tracing.primitive import Primitive
from funcnet.tracing.recurrence import REVERSE
from funcnet.tracing.shapes import BOOL
from funcnet.tracing.trace import Call

Rule: TypeAlias = Callable[[Writer, Call], str]
COUNT = np.dtype(np.int32)  # of times, as ONNX has it


class Weights(NamedTuple):
    """The parts of the matrices that a call reads.

    z = x inputs + bias, and h state + state_bias, where there is one; all gates side by side.
    """

    state: Any
    state_bias: Any
    inputs: Any
    bias: Any


class Cell(NamedTuple):
    """A kind of recurrence: an operator of ONNX, and one step of it in other operators.

    of_input, of_state: the gates of ONNX in its order, by their places in z and in h state.
    factors: how many times as large they are there.
    states: how many one time hands on to the next, of which the first is the output.
    step: (writer, units, weight of the state, perhaps its bias, z, *states) -> the states after it.
    matrices: how many a call reads: that of both, or one of the state and one of the input.
    """

    kind: str
    of_input: Sequence[int]
    of_state: Sequence[int]
    factors: Sequence[float]
    states: int
    step: Callable[..., list[str]]
    matrices: int = 1
    attributes: Mapping[str, int] = {}


class Sequences(NamedTuple):
    """What a recurrence reads beside its weights, by name: x with time first, its number of rows, and what is given.

    state: the parts of that before the first time.
    """

    x: str
    rows: str
    times: int
    lengths: str | None
    state: list[str] | None


def rule(cell: Cell, w: Writer, call: Call) -> str:
    """The output of all times, or the last one: as many parts of the states as it has room for."""
    x, *others = call.operands
    if not x.shape[1]:
        raise ExportError(f"{located(call.scope)}a sequence of no times is not written as ONNX")
    weights = parts(cell, others[: cell.matrices])
    size = weights.state.shape[0]
    given: dict[str, Any] = dict(zip(call.attributes["given"], others[cell.matrices :], strict=True))
    by_time = w.node("Transpose", w.floating(x), perm=[1, 0, 2])
    rows = w.node("Shape", by_time, start=1, end=2)
    lengths, initial = given.get("lengths"), given.get("state")
    read = Sequences(
        by_time,
        rows,
        x.shape[1],
        None if lengths is None else w.read(lengths),
        None if initial is None else [w.read(initial[:, k * size : (k + 1) * size]) for k in range(cell.states)],
    )
    y = call.outputs[0]
    width = y.shape[-1] // size
    if w.dtype == np.float32 and (y.ndim == 2 or width == 1):
        of_times, last = operator(w, cell, weights, read)
    else:
        of_times, last = scan(w, cell, weights, read, width)
    return w.node("Transpose", of_times, perm=[1, 0, 2]) if y.ndim == 3 else beside(w, last[:width])


def beside(w: Writer, names: Sequence[str]) -> str:
    """Features side by side."""
    return names[0] if len(names) == 1 else w.node("Concat", *names, axis=1)


def parts(cell: Cell, matrices: Sequence[Any]) -> Weights:
    """Of one matrix, the rows [state; bias; inputs]; of two, [state; state_bias] and [bias; inputs]."""
    if cell.matrices == 1:
        (M,) = matrices
        size = M.shape[1] // len(cell.factors)
        return Weights(M[:size], None, M[size + 1 :], M[size])
    R, W = matrices
    return Weights(R[:-1], R[-1], W[1:], W[0])


def operator(w: Writer, cell: Cell, weights: Weights, given: Sequences) -> tuple[str, list[str]]:
    """(the outputs of all times, the last state) by the operator.

    No rows make ONNX Runtime end its process: then it is given one of zeros, which is cut off again.
    """
    empty = w.cast(w.node("Equal", given.rows, w.integers(0)), INDEX)

    def padded(name: str, before: int, after: int) -> str:
        """With one row more where there is none; so many axes stand before that of the rows, and after it."""
        rank = before + 1 + after
        return w.node(
            "Pad", name, w.node("Concat", w.integers(*[0] * (rank + before)), empty, w.integers(*[0] * after), axis=0)
        )

    W, b = (of_onnx(w, part, cell.of_input, cell.factors) for part in (weights.inputs, weights.bias))
    R = of_onnx(w, weights.state, cell.of_state, cell.factors)
    if weights.state_bias is None:
        second = w.constant(np.zeros((1, weights.bias.shape[0]), w.dtype))
    else:
        second = of_onnx(w, weights.state_bias, cell.of_state, cell.factors)
    inputs = [padded(given.x, 1, 1), W, R, w.node("Concat", b, second, axis=1)]
    counts = "" if given.lengths is None else w.cast(padded(given.lengths, 0, 0), COUNT)
    states = [w.node("Unsqueeze", padded(name, 0, 1), w.integers(0)) for name in given.state or []]
    options = {"hidden_size": weights.state.shape[0], **cell.attributes}
    y, *last = w.multi_output(cell.kind, 1 + cell.states, *inputs, counts, *states, **options)
    first = w.integers(0)
    y = w.node("Slice", w.node("Squeeze", y, w.integers(1)), first, given.rows, w.integers(1))
    last = [w.node("Slice", w.node("Squeeze", name, first), first, given.rows, first) for name in last]
    if given.lengths is not None and given.state is not None:  # of length 0, for which ONNX Runtime gives 0
        none = w.node("Unsqueeze", w.node("Equal", given.lengths, first), w.integers(1))
        last = [w.node("Where", none, a, b) for a, b in zip(given.state, last, strict=True)]
    return y, last


def of_onnx(w: Writer, part: Any, order: Sequence[int], factors: Sequence[float]) -> str:
    """The gates in the order and the size that ONNX asks for: (1, gates, inputs), or (1, gates)."""
    size = part.shape[-1] // len(order)
    columns = [gate * size + unit for gate in order for unit in range(size)]
    name = w.node("Gather", w.read(part), w.integers(*columns), axis=part.ndim - 1)
    name = w.node("Mul", name, w.constant(np.repeat(np.asarray(factors, w.dtype), size)))
    if part.ndim == 2:
        name = w.node("Transpose", name, perm=[1, 0])
    return w.node("Unsqueeze", name, w.integers(0))


def scan(w: Writer, cell: Cell, weights: Weights, given: Sequences, width: int) -> tuple[str, list[str]]:
    """(the outputs of all times, so many parts of the states; the last state) by a loop over time."""
    z = w.node("Add", w.node("MatMul", given.x, w.read(weights.inputs)), w.read(weights.bias))
    size = weights.state.shape[0]
    state, bias = w.read(weights.state), weights.state_bias
    known = (state,) if bias is None else (state, w.read(bias))
    zeros = w.node("Expand", w.number(0.0), w.node("Concat", given.rows, w.integers(size), axis=0))
    inputs, count = [*(given.state or [zeros] * cell.states), z], cell.states
    if given.lengths is not None:
        time = w.constant(np.arange(given.times, dtype=INDEX)[:, None])
        inputs.append(w.node("Unsqueeze", w.node("Less", time, given.lengths), w.integers(2)))

    def step(*names: str) -> list[str]:
        states, now, mask = names[:count], names[count], names[count + 1 :]
        new = cell.step(w, size, *known, now, *states)
        y = beside(w, new[:width])
        for is_valid in mask:  # past the end of a sequence the states stay and the output is 0
            y = w.node("Where", is_valid, y, w.number(0.0))
            new = [w.node("Where", is_valid, a, b) for a, b in zip(new, states, strict=True)]
        return [*new, y]

    floats = [(w.dtype, 2)] * (count + 1)
    body = w.body([*floats, (BOOL, 2)][: len(inputs)], floats, step)
    *last, y = w.multi_output("Scan", count + 1, *inputs, body=body, num_scan_inputs=len(inputs) - count)
    return y, last


def rnn_step(w: Writer, size: int, R: str, z: str, h: str) -> list[str]:
    """h = tanh(z + h R)"""
    return [w.node("Tanh", w.node("Add", w.node("MatMul", h, R), z))]


def lstm_step(w: Writer, size: int, R: str, z: str, h: str, c: str) -> list[str]:
    """[o i f] = sigmoid, g = tanh of z + h R        c = f c + i g        h = o tanh c"""
    gates = w.node("Add", w.node("MatMul", h, R), z)
    sigmoids, g = w.multi_output("Split", 2, gates, w.integers(3 * size, size), axis=1)
    o, i, f = w.multi_output("Split", 3, sigmoid_of_double(w, sigmoids), w.integers(size, size, size), axis=1)
    c = w.node("Add", w.node("Mul", f, c), w.node("Mul", i, w.node("Tanh", g)))
    return [w.node("Mul", o, w.node("Tanh", c)), c]


def gru_step(w: Writer, size: int, R: str, b: str, z: str, h: str) -> list[str]:
    """r, z = sigmoid(z + h R)        n = tanh(z_n + r a), a = h R_n + b        h = n + z (h - n)"""
    of_state = w.node("Add", w.node("MatMul", h, R), b)
    a, gates = w.multi_output("Split", 2, of_state, w.integers(size, 2 * size), axis=1)
    of_input, z_n = w.multi_output("Split", 2, z, w.integers(2 * size, size), axis=1)
    both = sigmoid_of_double(w, w.node("Add", gates, of_input))
    reset, update = w.multi_output("Split", 2, both, w.integers(size, size), axis=1)
    n = w.node("Tanh", w.node("Add", z_n, w.node("Mul", reset, a)))
    return [w.node("Add", n, w.node("Mul", update, w.node("Sub", h, n)))]


def sigmoid_of_double(w: Writer, half: str) -> str:
    """sigmoid z = (tanh(z / 2) + 1) / 2, of z / 2."""
    return w.node("Mul", w.node("Add", w.node("Tanh", half), w.number(1.0)), w.number(0.5))


def reverse(w: Writer, call: Call) -> str:
    """The times of each sequence in the reverse order, 0 past its end."""
    x, lengths = call.operands
    names = w.read(x), w.read(lengths)
    turned = w.node("ReverseSequence", *names, batch_axis=0, time_axis=1)
    time = w.constant(np.arange(x.shape[1], dtype=INDEX)[None])
    valid = w.node("Less", time, w.node("Unsqueeze", names[1], w.integers(1)))
    return w.node("Where", w.node("Unsqueeze", valid, w.integers(2)), turned, w.number(0.0))


RULES: dict[Primitive, Rule] = {
    cells.RNN: partial(rule, Cell("RNN", (0,), (0,), (1.0,), 1, rnn_step)),
    cells.LSTM: partial(rule, Cell("LSTM", (1, 0, 2, 3), (1, 0, 2, 3), (2.0, 2.0, 2.0, 1.0), 2, lstm_step)),
    REVERSE: reverse,
    cells.GRU: partial(
        rule, Cell("GRU", (1, 0, 2), (2, 1, 0), (2.0, 2.0, 1.0), 1, gru_step, 2, {"linear_before_reset": 1})
    ),
}
"""The rules of the forward calls. ONNX has the gates of LSTM as i, o, f, g and those of GRU as z, r, n."""
