"""Recurrent layers, which read a sequence one time after another."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import numpy as np

from funcnet.advice import ALL_TIMES
from funcnet.arrays import DType, Shape, accept_dtype, accept_shape
from funcnet.core import Function, Init, Layer
from funcnet.display import shows_call
from funcnet.errors import ShapeError
from funcnet.initializers import Initializer, accept_initializer, lecun_normal, orthogonal
from funcnet.layers.linear import drawn
from funcnet.layers.recurring import (
    GatedRecurrent,
    Options,
    Recurrent,
    gru_function,
    lstm_function,
    rnn_function,
    state_size,
)
from funcnet.options import count, flag
from funcnet.random import Key, check_key, split


@shows_call
def rnn(
    units: int,
    *,
    return_sequences: bool = False,
    lengths: bool = False,
    initial_state: bool = False,
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
    lengths: whether the layer has a further input, the number of times of each sequence, integers of shape (). Times
    past it are padding: their x is not read, their output is 0, and the last h is that at the sequence's own end, or
    the initial one where its length is 0.
    initial_state: whether it has a further input, h_0 of shape (units,), in place of 0; its cotangent is dh_0. The
    final state is the last h: feed it to another layer, or hand it in with the next part of a long sequence.
    Inputs: x, then lengths, then the initial state.
    weight_init, recurrent_init: for each gate, by default `lecun_normal()` and `orthogonal()`. The bias is 0.
    Raises OptionError where units is not a positive int, ShapeError for an input that is no sequence, LabelError for a
    length out of range, DTypeError for lengths that are not integers. (Elman 1990)
    Example: `fn.serial(fn.rnn(32), fn.linear(1))`.
    """
    options = Options(return_sequences, False, lengths, initial_state)
    return _layer("rnn", rnn_function, 1, units, options, weight_init, recurrent_init)


@shows_call
def lstm(
    units: int,
    *,
    return_sequences: bool = False,
    lengths: bool = False,
    initial_state: bool = False,
    return_state: bool = False,
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
    return_state: give the whole state in place of h: [h c], h and then c, of shape (2 units,), or (time, 2 units) with
    return_sequences. An initial state is [h_0 c_0], (2 units,).
    Shapes, lengths, initial_state and initializers: as for `rnn`.
    Raises OptionError, ShapeError, LabelError and DTypeError as `rnn` does.
    (Hochreiter and Schmidhuber 1997; Gers et al. 2000)
    Example: `fn.serial(fn.lstm(32, return_sequences=True), fn.linear(1))`.
    """
    options = Options(return_sequences, return_state, lengths, initial_state)
    return _layer("lstm", lstm_function, 4, units, options, weight_init, recurrent_init)


@shows_call
def gru(
    units: int,
    *,
    return_sequences: bool = False,
    lengths: bool = False,
    initial_state: bool = False,
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
    Shapes, lengths, initial_state and initializers: as for `rnn`. (Cho et al. 2014)
    Raises OptionError, ShapeError, LabelError and DTypeError as `rnn` does.
    Example: `fn.serial(fn.gru(32), fn.linear(1))`.
    """
    options = Options(return_sequences, False, lengths, initial_state)
    return _layer("gru", gru_function, 3, units, options, weight_init, recurrent_init)


def _layer(
    kind: str,
    function: Any,
    gates: int,
    units: int,
    options: Options,
    weight_init: Initializer | None,
    recurrent_init: Initializer | None,
) -> Layer[Any]:
    """The layer with these options."""
    units = count(f"{kind}: units", units)
    options = Options(*(flag(f"{kind}: {name}", value) for name, value in options._asdict().items()))
    weights = lecun_normal() if weight_init is None else accept_initializer(f"{kind}: weight_init", weight_init)
    recurrent = (
        orthogonal() if recurrent_init is None else accept_initializer(f"{kind}: recurrent_init", recurrent_init)
    )
    draw = partial(_draw, kind, gates, units, options, weights, recurrent)
    apply = Function(
        kind, partial(function, options), 1 + len(options.given), integer_inputs=[1] if options.lengths else []
    )
    return Layer(cast("Init[Any]", draw), apply)


def _draw(
    kind: str,
    gates: int,
    units: int,
    options: Options,
    weights: Initializer,
    recurrent: Initializer,
    key: Key,
    *shapes: Shape,
    dtype: DType = np.float32,
) -> tuple[Any, Shape]:
    """Its own `init`, since `LayerInit` traces floating inputs."""
    check_key(key)
    state = state_size(gates, units)
    known = {"lengths": (), "state": (state,)}
    further = "".join(f", {name} of shape {known[name]}" for name in options.given)
    if len(shapes) != (takes := 1 + len(options.given)):
        raise ShapeError(
            f"{kind} takes {takes} input{'s' * (takes > 1)}, but init was given {len(shapes)} "
            f"shape{'s' * (len(shapes) != 1)}: give that of the sequences, (time, inputs){further}"
        )
    shape, *others = (accept_shape(kind, shape) for shape in shapes)
    if len(shape) != 2 or others != [known[name] for name in options.given]:
        fix = f": {ALL_TIMES}" if len(shape) == 1 else ""
        raise ShapeError(f"{kind} takes sequences of shape (time, inputs){further}, not {shapes}{fix}")
    dtype = accept_dtype(dtype)
    weight_keys, recurrent_keys = (split(k, gates) for k in split(key))
    W = np.concatenate([drawn(weights, k, (shape[1], units), dtype) for k in weight_keys], axis=1)
    R = np.concatenate([drawn(recurrent, k, (units, units), dtype) for k in recurrent_keys], axis=1)
    b = np.zeros(gates * units, dtype)
    if kind == "lstm":
        b[units : 2 * units] = 1
    features = state if options.return_state else units
    output = (shape[0], features) if options.return_sequences else (features,)
    return (GatedRecurrent(W, R, b, np.zeros(units, dtype)) if kind == "gru" else Recurrent(W, R, b)), output
