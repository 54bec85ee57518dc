"""The functions of recurrent layers: params packed for the steps over time, cotangents unpacked."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np

from funcnet.advice import of_members
from funcnet.arrays import Array, Matrix, Vector
from funcnet.core import Layer, Result, unpack
from funcnet.errors import DTypeError, ParamsError, ShapeError
from funcnet.tracing.cells import GRU, GRU_BACKWARD, LSTM, LSTM_BACKWARD, RNN, RNN_BACKWARD
from funcnet.tracing.eager import prefix
from funcnet.tracing.primitive import Primitive
from funcnet.tracing.recurrence import TIME_PRODUCT, run


class Recurrent(NamedTuple):
    """Params of `rnn` and `lstm`: weight (inputs, gates), recurrent_weight (units, gates), bias (gates,).

    gates: units for `rnn`; 4 units for `lstm`, those of i, f, u and o in this order.
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


class Options(NamedTuple):
    """What the layer gives, all times or the last, the whole state or h alone, and which further inputs it takes."""

    return_sequences: bool
    return_state: bool
    lengths: bool
    initial_state: bool

    @property
    def given(self) -> tuple[str, ...]:
        """The further inputs."""
        return ("lengths",) * self.lengths + ("state",) * self.initial_state


def options_of(layer: object) -> Options | None:
    """The options of a recurrent layer; None for any other."""
    function: object = cast("Any", layer).apply.function if isinstance(layer, Layer) else None
    if isinstance(function, partial) and function.func in (rnn_function, lstm_function, gru_function):
        return cast("Options", function.args[0])
    return None


def rnn_function(options: Options, params: Recurrent, x: Array, *others: Array) -> Result[Recurrent]:
    """(output, pullback) of `rnn`, with the rows [R; b; W] in one matrix."""
    W, R, b = unpack(Recurrent, params)
    size = _checked(1, W, R, b, x, others, options)
    M = np.concatenate([R, b[None], W], axis=0)
    y, S = run(RNN, (x, M, *others), _specs(x, options, size), **_attributes(x, options))

    def pullback(g: Array) -> tuple[Recurrent, tuple[Any, ...]]:
        dz, of_inputs = _back(RNN_BACKWARD, (g, M, S), (x, *others), options, size, size)
        (dM,) = run(TIME_PRODUCT, (S, dz), [(M.shape, x.dtype, None)])
        return Recurrent(dM[size + 1 :], dM[:size], dM[size]), of_inputs

    return y, pullback


def lstm_function(options: Options, params: Recurrent, x: Array, *others: Array) -> Result[Recurrent]:
    """(output, pullback) of `lstm`, with the rows [R; b; W] in one matrix, whose gates are o, i, f, g."""
    W, R, b = unpack(Recurrent, params)
    size = _checked(4, W, R, b, x, others, options)
    M = _rolled(np.concatenate([R, b[None], W], axis=0), 3 * size)
    halved = np.concatenate([M[:, : 3 * size] * 0.5, M[:, 3 * size :]], axis=1)
    specs = _specs(x, options, size, (5 * size, 1), (size, 0))
    y, S, Z, tanh_c = run(LSTM, (x, halved, *others), specs, **_attributes(x, options))

    def pullback(g: Array) -> tuple[Recurrent, tuple[Any, ...]]:
        kept = (g, M, S, Z, tanh_c)
        dz, of_inputs = _back(LSTM_BACKWARD, kept, (x, *others), options, 4 * size, 2 * size)
        (dM,) = run(TIME_PRODUCT, (S, dz), [(M.shape, x.dtype, None)])
        return Recurrent(*(_rolled(dM[rows], size) for rows in _rows(size))), of_inputs

    return y, pullback


def gru_function(options: Options, params: GatedRecurrent, x: Array, *others: Array) -> Result[GatedRecurrent]:
    """(output, pullback) of `gru`: the rows [R; b_a] for n, r, z in one matrix, [b; W] for r, z, n in another."""
    W, R, b, b_a = unpack(GatedRecurrent, params)
    size = _checked(3, W, R, b, x, others, options)
    if b_a.shape != (size,):
        raise ParamsError(f"its recurrent_bias is {b_a.shape}, but must be one number a unit, {(size,)}")
    of_bias = np.concatenate([b_a, b_a * 0.0, b_a * 0.0])
    plain = np.concatenate([_rolled(R, 2 * size), of_bias[None]], axis=0)
    plain_inputs = np.concatenate([b[None], W], axis=0)
    halved = np.concatenate([plain[:, :size], plain[:, size:] * 0.5], axis=1)
    inputs = np.concatenate([plain_inputs[:, : 2 * size] * 0.5, plain_inputs[:, 2 * size :]], axis=1)
    specs = _specs(x, options, size, (3 * size, 0), (size, 0), (size, 0))
    y, S, *steps = run(GRU, (x, halved, inputs, *others), specs, **_attributes(x, options))
    blocks = _blocks_of_gru(size)

    def pullback(g: Array) -> tuple[GatedRecurrent, tuple[Any, ...]]:
        kept = (g, plain, plain_inputs, *steps)
        dA, of_inputs = _back(GRU_BACKWARD, kept, (x, *others), options, 4 * size, size)
        (dM,) = run(TIME_PRODUCT, (S, dA), [((size + 1 + x.shape[2], 4 * size), x.dtype, None)], blocks=blocks)
        of_input, of_state, of_bias = _rows(size)
        dW, db = dM[of_input, size:], dM[of_bias, size:]
        dR = _rolled(dM[of_state, : 3 * size], size)
        return GatedRecurrent(dW, dR, db, dM[of_bias, :size]), of_inputs

    return y, pullback


def _back(
    primitive: Primitive, operands: tuple[Any, ...], inputs: tuple[Any, ...], options: Options, gates: int, state: int
) -> tuple[Any, tuple[Any, ...]]:
    """The steps back in time: the cotangents of the gates at each time, and those of the inputs."""
    x, lengths = inputs[0], inputs[1 : 1 + options.lengths]
    rows, times, _ = x.shape
    specs = [((gates, rows, times), x.dtype, 1), (x.shape, x.dtype, 0), ((rows, state), x.dtype, 0)]
    dz, dx, of_state = run(primitive, (*operands, *lengths), specs, given=options.given[: len(lengths)])
    return dz, (dx, *(None for _ in lengths), *((of_state,) if options.initial_state else ()))


def _rolled(M: Any, first: int) -> Any:
    """The columns from that one on, and behind them those before it."""
    return np.concatenate([M[..., first:], M[..., :first]], axis=-1)


def _blocks_of_gru(size: int) -> tuple[tuple[slice, slice], ...]:
    """Of the products of [h; 1; x] and [a r z n], those of h and 1 with a, r, z; of 1 with n; of x with r, z, n."""
    h_and_1, one, x = slice(size + 1), slice(size, size + 1), slice(size + 1, None)
    return (h_and_1, slice(3 * size)), (one, slice(3 * size, None)), (x, slice(size, None))


def _rows(size: int) -> tuple[Any, ...]:
    """Where the rows of the input, of the state and of the bias stand, as in [h; 1; x]."""
    return slice(size + 1, None), slice(0, size), size


def state_size(gates: int, units: int) -> int:
    """The numbers in a state: an LSTM, which has four gates, keeps c beside h."""
    return 2 * units if gates == 4 else units


def _checked(gates: int, W: Any, R: Any, b: Any, x: Any, others: tuple[Any, ...], options: Options) -> int:
    """The number of units, once params and inputs are known to fit."""
    if R.ndim != 2 or R.shape[1] != gates * R.shape[0] or W.shape[1:] != b.shape or b.shape != R.shape[1:]:
        wanted = f"(inputs, {gates} units), (units, {gates} units) and ({gates} units,)"
        shapes = f"{W.shape}, {R.shape} and {b.shape}"
        raise ParamsError(f"its weight, recurrent_weight and bias are {shapes}, not {wanted}{of_members(R.shape, 2)}")
    if x.ndim != 3 or x.shape[2] != W.shape[0]:
        hint = (
            ""
            if x.ndim != 2
            else " One sequence is x[None]."
            if x.shape[1] == W.shape[0]
            else " One feature is x[..., None]."
        )
        raise ShapeError(f"its weight is {W.shape}, so it takes rows of sequences (time, {W.shape[0]}).{hint}")
    wanted_state = (x.shape[0], state_size(gates, R.shape[0]))
    for name, array in zip(options.given, others, strict=True):
        if name == "lengths":
            _check_lengths(array, x)
        elif array.shape != wanted_state:
            parts = "h and c side by side" if gates == 4 else "one number a unit"
            raise ShapeError(f"its initial state has shape {array.shape}, but must be {wanted_state}: {parts}")
    return int(R.shape[0])


def _check_lengths(lengths: Any, x: Any) -> None:
    if lengths.dtype.kind == "f":
        raise DTypeError(f"its lengths have dtype {lengths.dtype}, but must be integers: cast them, n.astype(int)")
    if lengths.shape != x.shape[:1]:
        raise ShapeError(f"its lengths have shape {lengths.shape}, but must be one integer a sequence, {x.shape[:1]}")


def _specs(x: Any, options: Options, size: int, *kept: tuple[int, int]) -> list[Any]:
    """The output, the states [h; 1; x], and others kept of each time: (features, more times than the input has)."""
    rows, times, inputs = x.shape
    steps = ((size + 1 + inputs, 1), *kept)
    features = size * (1 + options.return_state)
    output = (rows, times, features) if options.return_sequences else (rows, features)
    return [(output, x.dtype, 0), *(((features, rows, times + more), x.dtype, 1) for features, more in steps)]


def _attributes(x: Any, options: Options) -> dict[str, Any]:
    """Which further inputs there are, and how an error that is raised when the program runs names the operator."""
    return {"given": options.given, "where": prefix(x)}
