"""Recurrent layers, which read a sequence one time after another."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np

from funcnet.arrays import Array, DType, Matrix, Shape, Vector, accept_dtype, accept_shape
from funcnet.core import Function, Init, Layer, Result, unpack
from funcnet.display import shows_call
from funcnet.errors import DTypeError, ParamsError, ShapeError
from funcnet.initializers import Initializer, accept_initializer, lecun_normal, orthogonal
from funcnet.layers.linear import drawn
from funcnet.options import count, flag
from funcnet.random import Key, check_key, split
from funcnet.tracing.cells import GRU, GRU_BACKWARD, LSTM, LSTM_BACKWARD, RNN, RNN_BACKWARD
from funcnet.tracing.primitives import prefix
from funcnet.tracing.recurrence import TIME_PRODUCT, run
from funcnet.tracing.trace import Value


class Recurrent(NamedTuple):
    """Params of `rnn` and `lstm`: weight (inputs, gates), recurrent_weight (units, gates), bias (gates,).

    gates: units for `rnn`; 4 units for `lstm`, those of i, f, g and o in this order.
    """

    weight: Matrix
    recurrent_weight: Matrix
    bias: Vector


class GatedRecurrent(NamedTuple):
    """Params of `gru`: weight (inputs, 3 units), recurrent_weight (units, 3 units), bias (3 units,) and recurrent_bias.

    Gates stand in the order r, z, n. recurrent_bias (units,) is that of n, which r multiplies.
    """

    weight: Matrix
    recurrent_weight: Matrix
    bias: Vector
    recurrent_bias: Vector


@shows_call
def rnn(
    units: int,
    *,
    return_sequences: bool = False,
    lengths: bool = False,
    weight_init: Initializer | None = None,
    recurrent_init: Initializer | None = None,
) -> Layer[Recurrent]:
    """A simple recurrent layer.

    y = h_T, or with return_sequences all h_t
    z_t = x_t W + h_(t-1) R + b        h_t = tanh z_t        h_0 = 0
    dz_t = dh_t (1 - h_t^2)        dh_(t-1) = g_(t-1) + dz_t R^T
    dW = sum_t x_t^T dz_t        dR = sum_t h_(t-1)^T dz_t        db = sum_t sum_n dz_t        dx_t = dz_t W^T

    g_t: the cotangent of h_t as an output, 0 where it is none.
    Shapes: (time, inputs) -> (units,), the last h; with return_sequences (time, units), all of them.
    lengths: whether the layer has a second input, the number of times of each sequence, integers of shape (). Times
    past it are padding: their x is not read, their output is 0, and the last h is that at the sequence's own end, or 0
    where its length is 0.
    weight_init, recurrent_init: for each gate, by default `lecun_normal()` and `orthogonal()`. The bias is 0.
    Raises OptionError where units is not a positive int, ShapeError for an input that is no sequence, LabelError for a
    length out of range, DTypeError for lengths that are not integers. (Elman 1990)
    Example: `fn.serial(fn.rnn(32), fn.linear(1))`.
    """
    return _layer("rnn", _rnn, 1, units, return_sequences, lengths, weight_init, recurrent_init)


@shows_call
def lstm(
    units: int,
    *,
    return_sequences: bool = False,
    lengths: bool = False,
    weight_init: Initializer | None = None,
    recurrent_init: Initializer | None = None,
) -> Layer[Recurrent]:
    """A long short-term memory.

    y = h_T, or with return_sequences all h_t
    z_t = x_t W + h_(t-1) R + b        i, f, o = sigmoid z_t        u = tanh z_t        h_0 = c_0 = 0
    c_t = f c_(t-1) + i u        h_t = o tanh c_t
    do = dh_t tanh(c_t) o (1 - o)        dc_t = dc_(t+1) f_(t+1) + dh_t o (1 - tanh(c_t)^2)
    di = dc_t u i (1 - i)        df = dc_t c_(t-1) f (1 - f)        du = dc_t i (1 - u^2)
    dz_t = [di, df, du, do]        dh_(t-1) = g_(t-1) + dz_t R^T
    dW = sum_t x_t^T dz_t        dR = sum_t h_(t-1)^T dz_t        db = sum_t sum_n dz_t        dx_t = dz_t W^T

    Each gate takes its own part of z_t, in the order i, f, u, o; u is often called g. di, df, du and do are the
    cotangents of these parts. g_t: as for `rnn`. There is one bias, 1 for f and 0 for the others at first.
    Shapes, lengths, initializers and errors: as for `rnn`. (Hochreiter and Schmidhuber 1997; Gers et al. 2000)
    Example: `fn.serial(fn.lstm(32, return_sequences=True), fn.linear(1))`.
    """
    return _layer("lstm", _lstm, 4, units, return_sequences, lengths, weight_init, recurrent_init)


@shows_call
def gru(
    units: int,
    *,
    return_sequences: bool = False,
    lengths: bool = False,
    weight_init: Initializer | None = None,
    recurrent_init: Initializer | None = None,
) -> Layer[GatedRecurrent]:
    """A gated recurrent unit.

    y = h_T, or with return_sequences all h_t
    r, z = sigmoid(x_t W + h_(t-1) R + b)        a = h_(t-1) R_a + b_a        h_0 = 0
    u = x_t W_n + b_n + r a        n = tanh u        h_t = n + z (h_(t-1) - n)
    du = dh_t (1 - z) (1 - n^2)        da = du r        dr = du a r (1 - r)        dz = dh_t (h_(t-1) - n) z (1 - z)
    dh_(t-1) = g_(t-1) + dh_t z + [dr, dz, da] R^T
    dW = sum_t x_t^T [dr, dz, du]        dR = sum_t h_(t-1)^T [dr, dz, da]        db = sum_t sum_n [dr, dz, du]
    db_a = sum_t sum_n da        dx_t = [dr, dz, du] W^T

    Each gate takes its own part of W, R and b, in the order r, z, n; R_a is the third part of R. dr and dz are
    the cotangents of what sigmoid is applied to. g_t: as for `rnn`.
    The reset comes after the product, as in cuDNN and PyTorch. All biases are 0.
    Shapes, lengths, initializers and errors: as for `rnn`. (Cho et al. 2014)
    Example: `fn.serial(fn.gru(32), fn.linear(1))`.
    """
    return _layer("gru", _gru, 3, units, return_sequences, lengths, weight_init, recurrent_init)


def _layer(
    kind: str,
    function: Any,
    gates: int,
    units: int,
    return_sequences: bool,
    lengths: bool,
    weight_init: Initializer | None,
    recurrent_init: Initializer | None,
) -> Layer[Any]:
    """The layer with these options."""
    units = count(f"{kind}: units", units)
    sequences = flag(f"{kind}: return_sequences", return_sequences)
    inputs = 1 + flag(f"{kind}: lengths", lengths)
    weights = lecun_normal() if weight_init is None else accept_initializer(f"{kind}: weight_init", weight_init)
    recurrent = (
        orthogonal() if recurrent_init is None else accept_initializer(f"{kind}: recurrent_init", recurrent_init)
    )
    draw = partial(_draw, kind, gates, units, sequences, inputs, weights, recurrent)
    return Layer(
        cast("Init[Any]", draw), Function(kind, partial(function, sequences), inputs, integer_inputs=range(1, inputs))
    )


def _draw(
    kind: str,
    gates: int,
    units: int,
    sequences: bool,
    inputs: int,
    weights: Initializer,
    recurrent: Initializer,
    key: Key,
    *shapes: Shape,
    dtype: DType = np.float32,
) -> tuple[Any, Shape]:
    """Its own `init`, since `LayerInit` traces floating inputs."""
    check_key(key)
    if len(shapes) != inputs:
        raise ShapeError(f"{kind} takes {inputs} inputs, but init was given {len(shapes)} shapes")
    shape, *others = (accept_shape(kind, shape) for shape in shapes)
    if len(shape) != 2 or any(others):
        raise ShapeError(f"{kind} takes sequences of shape (time, inputs) and lengths of shape (), not {shapes}")
    dtype = accept_dtype(dtype)
    weight_keys, recurrent_keys = (split(k, gates) for k in split(key))
    W = np.concatenate([drawn(weights, k, (shape[1], units), dtype) for k in weight_keys], axis=1)
    R = np.concatenate([drawn(recurrent, k, (units, units), dtype) for k in recurrent_keys], axis=1)
    b = np.zeros(gates * units, dtype)
    if kind == "lstm":
        b[units : 2 * units] = 1
    output = (shape[0], units) if sequences else (units,)
    return (GatedRecurrent(W, R, b, np.zeros(units, dtype)) if kind == "gru" else Recurrent(W, R, b)), output


def _rnn(sequences: bool, params: Recurrent, x: Array, *lengths: Array) -> Result[Recurrent]:
    W, R, b = unpack(Recurrent, params)
    size = _checked(1, W, R, b, x, lengths)
    M = np.concatenate([R, b[None], W], axis=0)
    y, S = run(RNN, (x, M, *lengths), _specs(x, sequences, size), where=_where(x))

    def pullback(g: Array) -> tuple[Recurrent, tuple[Any, ...]]:
        dz, dx = run(RNN_BACKWARD, (g, M, S, *lengths), _cotangents(x, size))
        (dM,) = run(TIME_PRODUCT, (S, dz), [(M.shape, x.dtype, None)])
        return Recurrent(dM[size + 1 :], dM[:size], dM[size]), (dx, *(None for _ in lengths))

    return y, pullback


def _lstm(sequences: bool, params: Recurrent, x: Array, *lengths: Array) -> Result[Recurrent]:
    W, R, b = unpack(Recurrent, params)
    size = _checked(4, W, R, b, x, lengths)
    i, f, g, o = _gates(np.concatenate([R, b[None], W], axis=0), size)
    M, halved = np.concatenate([o, i, f, g], axis=1), np.concatenate([o * 0.5, i * 0.5, f * 0.5, g], axis=1)
    kept = [(5 * size, 1), (size, 0)]
    y, S, Z, tanh_c = run(LSTM, (x, halved, *lengths), _specs(x, sequences, size, *kept), where=_where(x))

    def pullback(g: Array) -> tuple[Recurrent, tuple[Any, ...]]:
        dz, dx = run(LSTM_BACKWARD, (g, M, S, Z, tanh_c, *lengths), _cotangents(x, 4 * size))
        (dM,) = run(TIME_PRODUCT, (S, dz), [(M.shape, x.dtype, None)])
        o, i, f, c = _gates(dM, size)
        parts = [np.concatenate([gate[rows] for gate in (i, f, c, o)], axis=-1) for rows in _rows(size)]
        return Recurrent(*parts), (dx, *(None for _ in lengths))

    return y, pullback


def _gru(sequences: bool, params: GatedRecurrent, x: Array, *lengths: Array) -> Result[GatedRecurrent]:
    W, R, b, b_a = unpack(GatedRecurrent, params)
    size = _checked(3, W, R, b, x, lengths)
    if b_a.shape != (size,):
        raise ParamsError(f"its recurrent_bias is {b_a.shape}, but must be one number a unit, {(size,)}")
    r, z, a = _gates(R, size)
    of_state = [np.concatenate([a, b_a[None]], axis=0)]
    of_state += [np.concatenate([gate, (b_a * 0.0)[None]], axis=0) for gate in (r, z)]
    of_input = _gates(np.concatenate([b[None], W], axis=0), size)
    halved = np.concatenate([of_state[0], of_state[1] * 0.5, of_state[2] * 0.5], axis=1)
    inputs = np.concatenate([of_input[0] * 0.5, of_input[1] * 0.5, of_input[2]], axis=1)
    kept = [(3 * size, 0), (size, 0), (size, 0)]
    y, S, *steps = run(GRU, (x, halved, inputs, *lengths), _specs(x, sequences, size, *kept), where=_where(x))
    plain, plain_inputs = np.concatenate(of_state, axis=1), np.concatenate(of_input, axis=1)

    def pullback(g: Array) -> tuple[GatedRecurrent, tuple[Any, ...]]:
        dA, dx = run(GRU_BACKWARD, (g, plain, plain_inputs, *steps, *lengths), _cotangents(x, 4 * size))
        (dM,) = run(TIME_PRODUCT, (S, dA), [((size + 1 + x.shape[2], 4 * size), x.dtype, None)])
        a, r, z, n = _gates(dM, size)
        of_input, of_state, of_bias = _rows(size)
        dW, db = (np.concatenate([gate[rows] for gate in (r, z, n)], axis=-1) for rows in (of_input, of_bias))
        dR = np.concatenate([gate[of_state] for gate in (r, z, a)], axis=-1)
        return GatedRecurrent(dW, dR, db, a[size]), (dx, *(None for _ in lengths))

    return y, pullback


def _gates(M: Any, size: int) -> list[Any]:
    """The columns of each gate."""
    return [M[:, k : k + size] for k in range(0, M.shape[1], size)]


def _rows(size: int) -> tuple[Any, ...]:
    """Where the rows of the input, of the state and of the bias stand, as in [h; 1; x]."""
    return slice(size + 1, None), slice(0, size), size


def _checked(gates: int, W: Any, R: Any, b: Any, x: Any, lengths: tuple[Any, ...]) -> int:
    """The number of units, once params and inputs are known to fit."""
    if R.ndim != 2 or R.shape[1] != gates * R.shape[0] or W.shape[1:] != b.shape or b.shape != R.shape[1:]:
        wanted = f"(inputs, {gates} units), (units, {gates} units) and ({gates} units,)"
        raise ParamsError(f"its weight, recurrent_weight and bias are {W.shape}, {R.shape} and {b.shape}, not {wanted}")
    if x.ndim != 3 or x.shape[2] != W.shape[0]:
        hint = " One sequence is x[None]." if x.ndim == 2 else ""
        raise ShapeError(f"its weight is {W.shape}, so it takes rows of sequences (time, {W.shape[0]}).{hint}")
    for length in lengths:
        if length.dtype.kind == "f":
            raise DTypeError(f"its lengths have dtype {length.dtype}, but must be integers: cast them, n.astype(int)")
        if length.shape != x.shape[:1]:
            raise ShapeError(
                f"its lengths have shape {length.shape}, but must be one integer a sequence, {x.shape[:1]}"
            )
    return int(R.shape[0])


def _specs(x: Any, sequences: bool, size: int, *kept: tuple[int, int]) -> list[Any]:
    """The output, the states [h; 1; x], and others kept of each time: (features, more times than the input has)."""
    rows, times, inputs = x.shape
    steps = ((size + 1 + inputs, 1), *kept)
    output = (rows, times, size) if sequences else (rows, size)
    return [(output, x.dtype, 0), *(((features, rows, times + more), x.dtype, 1) for features, more in steps)]


def _cotangents(x: Any, gates: int) -> list[Any]:
    """Those of the gates at each time, and that of the input."""
    rows, times, _ = x.shape
    return [((gates, rows, times), x.dtype, 1), (x.shape, x.dtype, 0)]


def _where(x: Any) -> str:
    """How an error that is raised when the program runs names the operator."""
    return prefix(x.trace) if isinstance(x, Value) else ""
