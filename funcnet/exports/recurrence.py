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
from funcnet.exports.recording import located
from funcnet.exports.writer import INDEX, Writer
from funcnet.tracing import cells
from funcnet.tracing.primitive import Primitive
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


def rule(cell: Cell, w: Writer, call: Call) -> str:
    """The output of all times, or the last one."""
    x, *others = call.operands
    matrices, lengths = others[: cell.matrices], others[cell.matrices :]
    if not x.shape[1]:
        raise ExportError(f"{located(call.scope)}a sequence of no times is not written as ONNX")
    if "state" in call.attributes["given"] or call.outputs[0].shape[-1] > matrices[0].shape[1] // len(cell.factors):
        raise ExportError(f"{located(call.scope)}initial states and return_state are not written as ONNX")
    weights = parts(cell, matrices)
    by_time = w.node("Transpose", w.floating(x), perm=[1, 0, 2])
    rows = w.node("Shape", by_time, start=1, end=2)
    length = [w.read(n) for n in lengths]
    write = operator if w.dtype == np.float32 else scan
    y, last = write(w, cell, weights, by_time, rows, length, x.shape[1])
    return w.node("Transpose", y, perm=[1, 0, 2]) if call.outputs[0].ndim == 3 else last


def parts(cell: Cell, matrices: Sequence[Any]) -> Weights:
    """Of one matrix, the rows [state; bias; inputs]; of two, [state; state_bias] and [bias; inputs]."""
    if cell.matrices == 1:
        (M,) = matrices
        size = M.shape[1] // len(cell.factors)
        return Weights(M[:size], None, M[size + 1 :], M[size])
    R, W = matrices
    return Weights(R[:-1], R[-1], W[1:], W[0])


def operator(
    w: Writer, cell: Cell, weights: Weights, x: str, rows: str, lengths: Sequence[str], times: int
) -> tuple[str, str]:
    """(y, the last h) by the operator. No rows make ONNX Runtime end its process: it is given one of zeros then."""
    empty = w.cast(w.node("Equal", rows, w.integers(0)), INDEX)
    x = w.node("Pad", x, w.node("Concat", w.integers(0, 0, 0, 0), empty, w.integers(0), axis=0))
    counts = [w.cast(w.node("Pad", n, w.node("Concat", w.integers(0), empty, axis=0)), COUNT) for n in lengths]
    W, b = (of_onnx(w, part, cell.of_input, cell.factors) for part in (weights.inputs, weights.bias))
    R = of_onnx(w, weights.state, cell.of_state, cell.factors)
    if weights.state_bias is None:
        second = w.constant(np.zeros((1, weights.bias.shape[0]), w.dtype))
    else:
        second = of_onnx(w, weights.state_bias, cell.of_state, cell.factors)
    biases = w.node("Concat", b, second, axis=1)
    size = weights.state.shape[0]
    y, last = w.multi_output(cell.kind, 2, x, W, R, biases, *counts, hidden_size=size, **cell.attributes)
    y, last = w.node("Squeeze", y, w.integers(1)), w.node("Squeeze", last, w.integers(0))
    whole = w.integers(0)
    return w.node("Slice", y, whole, rows, w.integers(1)), w.node("Slice", last, whole, rows, w.integers(0))


def of_onnx(w: Writer, part: Any, order: Sequence[int], factors: Sequence[float]) -> str:
    """The gates in the order and the size that ONNX asks for: (1, gates, inputs), or (1, gates)."""
    size = part.shape[-1] // len(order)
    columns = [gate * size + unit for gate in order for unit in range(size)]
    name = w.node("Gather", w.read(part), w.integers(*columns), axis=part.ndim - 1)
    name = w.node("Mul", name, w.constant(np.repeat(np.asarray(factors, w.dtype), size)))
    if part.ndim == 2:
        name = w.node("Transpose", name, perm=[1, 0])
    return w.node("Unsqueeze", name, w.integers(0))


def scan(
    w: Writer, cell: Cell, weights: Weights, x: str, rows: str, lengths: Sequence[str], times: int
) -> tuple[str, str]:
    """(y, the last h) by a loop over time."""
    z = w.node("Add", w.node("MatMul", x, w.read(weights.inputs)), w.read(weights.bias))
    size = weights.state.shape[0]
    first = w.node("Expand", w.number(0.0), w.node("Concat", rows, w.integers(size), axis=0))
    state, bias = w.read(weights.state), weights.state_bias
    known = (state,) if bias is None else (state, w.read(bias))
    time = w.constant(np.arange(times, dtype=INDEX)[:, None])
    valid = [w.node("Unsqueeze", w.node("Less", time, n), w.integers(2)) for n in lengths]

    def step(*names: str) -> list[str]:
        states, now, mask = names[: cell.states], names[cell.states], names[cell.states + 1 :]
        new = cell.step(w, size, *known, now, *states)
        y = new[0]
        for is_valid in mask:  # past the end of a sequence the states stay and the output is 0
            y = w.node("Where", is_valid, y, w.number(0.0))
            new = [w.node("Where", is_valid, a, b) for a, b in zip(new, states, strict=True)]
        return [*new, y]

    floats = (w.dtype, 2)
    kinds = [floats] * (cell.states + 1) + [(BOOL, 2)] * len(lengths)
    body = w.body(kinds, [floats] * (cell.states + 1), step)
    inputs = [first] * cell.states + [z, *valid]
    last, *_, y = w.multi_output("Scan", cell.states + 1, *inputs, body=body, num_scan_inputs=1 + len(lengths))
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


RULES: dict[Primitive, Rule] = {
    cells.RNN: partial(rule, Cell("RNN", (0,), (0,), (1.0,), 1, rnn_step)),
    cells.LSTM: partial(rule, Cell("LSTM", (1, 0, 2, 3), (1, 0, 2, 3), (2.0, 2.0, 2.0, 1.0), 2, lstm_step)),
    cells.GRU: partial(
        rule, Cell("GRU", (1, 0, 2), (2, 1, 0), (2.0, 2.0, 1.0), 1, gru_step, 2, {"linear_before_reset": 1})
    ),
}
"""The rules of the forward calls. ONNX has the gates of LSTM as i, o, f, g and those of GRU as z, r, n."""
