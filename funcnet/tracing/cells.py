"""The steps of recurrent layers, forward and back in time, bound once for each time."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from funcnet.arrays import Shape
from funcnet.tracing.forms import Attributes, Form, Memory, Operands
from funcnet.tracing.primitive import Primitive
from funcnet.tracing.recurrence import (
    Program,
    arriving,
    begin,
    cotangents,
    flat,
    in_parts,
    initial_cotangents,
    input_cotangents,
    numbers,
    over_time,
    results,
    spans,
    states,
    steps_of,
    unpacked,
)

SPAN = 64  # times for which products and factors that need no state are computed at once


def rnn_forward(memory: Memory, attributes: Attributes, operands: Operands, outputs: Any) -> Program:
    """h = tanh([h; 1; x]^T M)"""
    x, M, lengths, initial = unpacked(operands, 2, attributes)
    size = M.shape[1]
    S, program = states(memory, x, size, outputs[1], attributes, lengths, initial)
    product = M.T.dot
    for t in range(x.shape[1]):
        h = S[t + 1, :size]
        new = flat(h)
        program += [(product, (S[t], h)), (np.tanh, (new, new))]
    return program + results([S[:, :size]], outputs[0], lengths)


def rnn_backward(memory: Memory, attributes: Attributes, operands: Operands, outputs: Any) -> Program:
    """dz = dh (1 - h^2)        dh_(t-1) = R dz + g_(t-1)"""
    g, M, kept, lengths, _ = unpacked(operands, 3, attributes)
    S, size = over_time(kept), M.shape[1]
    times, rows = len(S) - 1, S.shape[2]
    dz = steps_of(memory, outputs[0], (times, size, rows), S.dtype)
    _, one = numbers(S.dtype)
    ((dh, G),), program = cotangents(memory, g, size, times, lengths)
    of_initial = outputs[2]
    program += [(np.square, (S[1:, :size], dz)), (np.subtract, (one, flat(dz), flat(dz)))]
    product, d = M[:size].dot, flat(dh)
    for t in range(times - 1, -1, -1):
        at_time = flat(dz[t])
        program.append((np.multiply, (d, at_time, at_time)))
        if t or of_initial is not None:
            program.append((product, (dz[t], dh)))
            program += arriving(d, G, t)
    return program + input_cotangents(memory, M[size + 1 :], dz, outputs[1]) + initial_cotangents([dh], of_initial)


def lstm_forward(memory: Memory, attributes: Attributes, operands: Operands, outputs: Any) -> Program:
    """[o i f] = sigmoid, g = tanh of [h; 1; x]^T M        c = f c + i g        h = o tanh c

    The columns of M for o, i and f are halved: sigmoid z = (tanh(z / 2) + 1) / 2, so one tanh does for all gates.
    """
    x, M, lengths, initial = unpacked(operands, 2, attributes)
    size, (rows, times, _) = M.shape[1] // 4, x.shape
    h0, c0 = (None, None) if initial is None else in_parts(initial, size)
    S, program = states(memory, x, size, outputs[1], attributes, lengths, h0)
    Z = steps_of(memory, outputs[2], (times + 1, 5 * size, rows), x.dtype)  # o, i, f, g of this time, c before it
    tanh_c = steps_of(memory, outputs[3], (times, size, rows), x.dtype)
    both = memory.empty((2 * size * rows,), x.dtype)  # i g, f c
    new, carried = both[: size * rows], both[size * rows :]
    half, _ = numbers(x.dtype)
    program.append(begin(Z[0, 4 * size :], c0))
    product = M.T.dot
    for t in range(times):
        z, c, kept = Z[t], flat(Z[t + 1, 4 * size :]), flat(tanh_c[t])
        gates, sigmoids = flat(z[: 4 * size]), flat(z[: 3 * size])
        program += [
            (product, (S[t], z[: 4 * size])),
            (np.tanh, (gates, gates)),
            (np.multiply, (sigmoids, half, sigmoids)),
            (np.add, (sigmoids, half, sigmoids)),
            (np.multiply, (flat(z[size : 3 * size]), flat(z[3 * size :]), both)),
            (np.add, (new, carried, c)),
            (np.tanh, (c, kept)),
            (np.multiply, (flat(z[:size]), kept, flat(S[t + 1, :size]))),
        ]
    return program + results([S[:, :size], Z[:, 4 * size :]], outputs[0], lengths)


def lstm_backward(memory: Memory, attributes: Attributes, operands: Operands, outputs: Any) -> Program:
    """dc += dh o (1 - tanh^2 c)        do = dh tanh c o (1 - o)        [di df dg] = dc [g i' c f' i g']"""
    g, M, *kept, lengths, _ = unpacked(operands, 5, attributes)
    S, Z, tanh_c = map(over_time, kept)
    times, size, rows = tanh_c.shape
    dz = steps_of(memory, outputs[0], (times, 4 * size, rows), S.dtype)
    of_initial = outputs[2]
    ((dh, Gh), *of_c), program = cotangents(memory, g, size, times, lengths)
    dc, Gc = of_c[0] if of_c else (memory.empty(dh.shape, dh.dtype), None)
    D, A = dz.reshape(times, 4, size, rows), memory.empty((min(times, SPAN), size, rows), S.dtype)
    back, product, d, d_c = M[:size].dot, memory.empty((size * rows,), S.dtype), flat(dh), flat(dc)
    program += [] if of_c else [(dc.fill, (0,))]
    steps: Program = []
    for span in reversed(spans(times, SPAN)):
        steps += lstm_factors(Z[span], tanh_c[span], A[: span.stop - span.start], D[span])
        for t in range(span.stop - 1, span.start - 1, -1):
            of_gates, of_o = D[t, 1:], flat(D[t, 0])
            steps += [
                (np.multiply, (d, flat(A[t - span.start]), product)),
                (np.add, (d_c, product, d_c)),
                (np.multiply, (dc, of_gates, of_gates)),
                (np.multiply, (d, of_o, of_o)),
            ]
            if t or of_initial is not None:
                steps += [(back, (dz[t], dh)), (np.multiply, (d_c, flat(Z[t, 2 * size : 3 * size]), d_c))]
                steps += arriving(d, Gh, t) + arriving(d_c, Gc, t)
    program += memory.in_rows(steps, size * rows)
    return program + input_cotangents(memory, M[size + 1 :], dz, outputs[1]) + initial_cotangents([dh, dc], of_initial)


def lstm_factors(Z: Any, tanh_c: Any, A: Any, D: Any) -> Program:
    """A = o (1 - tanh^2 c) and D = [tanh c o (1 - o)  g i (1 - i)  c f (1 - f)  i (1 - g^2)], at several times."""
    times, size, rows = A.shape
    gates = Z[:, : 4 * size].reshape(times, 4, size, rows)
    g_and_c = Z[:, 3 * size :].reshape(times, 2, size, rows)
    _, one = numbers(A.dtype)
    return [
        (np.square, (tanh_c, A)),
        (np.subtract, (one, A, A)),
        (np.multiply, (A, gates[:, 0], A)),
        (np.subtract, (one, gates[:, :3], D[:, :3])),
        (np.multiply, (D[:, :3], gates[:, :3], D[:, :3])),
        (np.multiply, (D[:, 0], tanh_c, D[:, 0])),
        (np.multiply, (D[:, 1:3], g_and_c, D[:, 1:3])),
        (np.square, (gates[:, 3], D[:, 3])),
        (np.subtract, (one, D[:, 3], D[:, 3])),
        (np.multiply, (D[:, 3], gates[:, 1], D[:, 3])),
    ]


def gru_forward(memory: Memory, attributes: Attributes, operands: Operands, outputs: Any) -> Program:
    """[a r z] = R^T [h; 1], r and z: + W^T [1; x], sigmoid        n = tanh(r a + W_n^T [1; x])        h = n + z (h - n)

    The columns of R and W for r and z are halved, as in `lstm_forward`.
    """
    x, R, W, lengths, initial = unpacked(operands, 3, attributes)
    size, (rows, times, _) = R.shape[1] // 3, x.shape
    S, program = states(memory, x, size, outputs[1], attributes, lengths, initial)
    Y = steps_of(memory, outputs[2], (times, 3 * size, rows), x.dtype)
    N = steps_of(memory, outputs[3], (times, size, rows), x.dtype)
    difference = steps_of(memory, outputs[4], (times, size, rows), x.dtype)
    parts = slice(size), slice(size, 2 * size), slice(size, None), slice(2 * size, None)
    Zx = memory.empty((min(times, SPAN), 3 * size, rows), x.dtype)
    half, _ = numbers(x.dtype)
    product = R.T.dot
    for span in spans(times, SPAN):
        program.append((np.matmul, (W.T, S[span, size:], Zx[: span.stop - span.start])))
        for t in range(span.start, span.stop):
            a, r, rz, z = (flat(Y[t, part]) for part in parts)
            n, d, new, of_x = flat(N[t]), flat(difference[t]), flat(S[t + 1, :size]), Zx[t - span.start]
            program += [
                (product, (S[t, : size + 1], Y[t])),
                (np.add, (rz, flat(of_x[: 2 * size]), rz)),
                (np.tanh, (rz, rz)),
                (np.multiply, (rz, half, rz)),
                (np.add, (rz, half, rz)),
                (np.multiply, (a, r, n)),
                (np.add, (n, flat(of_x[2 * size :]), n)),
                (np.tanh, (n, n)),
                (np.subtract, (flat(S[t, :size]), n, d)),
                (np.multiply, (d, z, d)),
                (np.add, (d, n, new)),
            ]
    return program + results([S[:, :size]], outputs[0], lengths)


def gru_backward(memory: Memory, attributes: Attributes, operands: Operands, outputs: Any) -> Program:
    """dn = dh (1 - z) (1 - n^2)        da = dn r        dr = dn a r (1 - r)        dz = dh (h - n) z (1 - z)"""
    g, R, W, *kept, lengths, _ = unpacked(operands, 6, attributes)
    Y, N, difference = map(over_time, kept)
    times, size, rows = N.shape
    dA = steps_of(memory, outputs[0], (times, 4 * size, rows), N.dtype)  # of a, r, z, n
    of_initial = outputs[2]
    ((dh, G),), program = cotangents(memory, g, size, times, lengths)
    D, other = dA.reshape(times, 4, size, rows), memory.empty((min(times, SPAN), size, rows), N.dtype)
    carried = memory.empty(dh.shape, dh.dtype)
    product, d, back = R[:size].dot, flat(dh), flat(carried)
    steps: Program = []
    for span in reversed(spans(times, SPAN)):
        steps += gru_factors(Y[span], N[span], difference[span], other[: span.stop - span.start], D[span])
        for t in range(span.stop - 1, span.start - 1, -1):
            steps.append((np.multiply, (dh, D[t], D[t])))
            if t or of_initial is not None:
                steps += [
                    (product, (dA[t, : 3 * size], carried)),
                    (np.multiply, (d, flat(Y[t, 2 * size :]), d)),
                    (np.add, (d, back, d)),
                    *arriving(d, G, t),
                ]
    program += memory.in_rows(steps, size * rows)
    return program + input_cotangents(memory, W[1:], dA[:, size:], outputs[1]) + initial_cotangents([dh], of_initial)


def gru_factors(Y: Any, N: Any, difference: Any, other: Any, D: Any) -> Program:
    """D = [r u'  a r (1 - r) u'  (h' - n) (1 - z)  u'] at several times, u' = (1 - z) (1 - n^2), h' = n + z (h - n)."""
    size = N.shape[1]
    a, r, z = Y[:, :size], Y[:, size : 2 * size], Y[:, 2 * size :]
    _, one = numbers(N.dtype)
    return [
        (np.square, (N, other)),
        (np.subtract, (one, other, other)),
        (np.subtract, (one, z, D[:, 3])),
        (np.multiply, (D[:, 3], difference, D[:, 2])),
        (np.multiply, (D[:, 3], other, D[:, 3])),
        (np.multiply, (D[:, 3], r, D[:, 0])),
        (np.subtract, (one, r, other)),
        (np.multiply, (other, D[:, 0], other)),
        (np.multiply, (other, a, D[:, 1])),
    ]


def cost(operands: Sequence[Shape], output: Shape, attributes: Attributes) -> int:
    """At each time step, input and state times their weights, without the rows of biases."""
    (rows, times, _), *others = operands
    return rows * times * sum((shape[0] - 1) * shape[1] for shape in others if len(shape) == 2)


def backward_cost(operands: Sequence[Shape], output: Shape, attributes: Attributes) -> int:
    """The cotangents of the gates times the weights; output: (gates, batch, time)."""
    return prod(output) * sum(shape[0] - 1 for shape in operands[1:] if len(shape) == 2)


def _primitive(name: str, form: Form) -> Primitive:
    return Primitive(name, form, multi_output=True, multiply_adds=backward_cost if "backward" in name else cost)


RNN, RNN_BACKWARD = _primitive("rnn", rnn_forward), _primitive("rnn backward", rnn_backward)
LSTM, LSTM_BACKWARD = _primitive("lstm", lstm_forward), _primitive("lstm backward", lstm_backward)
GRU, GRU_BACKWARD = _primitive("gru", gru_forward), _primitive("gru backward", gru_backward)
