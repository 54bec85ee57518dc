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
    states,
    steps_of,
    unpacked,
)


def rnn_forward(memory: Memory, attributes: Attributes, operands: Operands, outputs: Any) -> Program:
    """h = tanh([h; 1; x]^T M)"""
    x, M, lengths, initial = unpacked(operands, 2, attributes)
    size = M.shape[1]
    S, program = states(memory, x, size, outputs[1], attributes, lengths, initial)
    for t in range(x.shape[1]):
        h = S[t + 1, :size]
        program += [(M.T.dot, (S[t], h)), (np.tanh, (flat(h), flat(h)))]
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
    for t in range(times - 1, -1, -1):
        program.append((np.multiply, (flat(dh), flat(dz[t]), flat(dz[t]))))
        if t or of_initial is not None:
            program.append((M[:size].dot, (dz[t], dh)))
            program += arriving(dh, G, t)
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
    both = memory.empty((2 * size, rows), x.dtype)  # i g, f c
    half, _ = numbers(x.dtype)
    program.append(begin(Z[0, 4 * size :], c0))
    for t in range(times):
        z, c, gates = Z[t], Z[t + 1, 4 * size :], flat(Z[t, : 3 * size])
        all_gates = z[: 4 * size]
        program += [
            (M.T.dot, (S[t], all_gates)),
            (np.tanh, (flat(all_gates), flat(all_gates))),
            (np.multiply, (gates, half, gates)),
            (np.add, (gates, half, gates)),
            (np.multiply, (flat(z[size : 3 * size]), flat(z[3 * size :]), flat(both))),
            (np.add, (flat(both[:size]), flat(both[size:]), flat(c))),
            (np.tanh, (flat(c), flat(tanh_c[t]))),
            (np.multiply, (flat(z[:size]), flat(tanh_c[t]), flat(S[t + 1, :size]))),
        ]
    return program + results([S[:, :size], Z[:, 4 * size :]], outputs[0], lengths)


def lstm_backward(memory: Memory, attributes: Attributes, operands: Operands, outputs: Any) -> Program:
    """dc += dh o (1 - tanh^2 c)        do = dh tanh c o (1 - o)        [di df dg] = dc [g i' c f' i g']"""
    g, M, *kept, lengths, _ = unpacked(operands, 5, attributes)
    S, Z, tanh_c = map(over_time, kept)
    times, size, rows = tanh_c.shape
    dz = steps_of(memory, outputs[0], (times, 4 * size, rows), S.dtype)
    _, one = numbers(S.dtype)
    of_initial = outputs[2]
    ((dh, Gh), *of_c), program = cotangents(memory, g, size, times, lengths)
    dc, Gc = of_c[0] if of_c else (memory.empty(dh.shape, dh.dtype), None)
    gates, others = Z[:times, : 4 * size].reshape(times, 4, size, rows), Z[:times, 3 * size :]
    A, D = memory.empty((times, size, rows), S.dtype), dz.reshape(times, 4, size, rows)
    product = memory.empty((size, rows), S.dtype)
    program += [
        (np.square, (flat(tanh_c), flat(A))),
        (np.subtract, (one, flat(A), flat(A))),
        (np.multiply, (A, gates[:, 0], A)),
        (np.subtract, (one, gates[:, :3], D[:, :3])),
        (np.multiply, (D[:, :3], gates[:, :3], D[:, :3])),
        (np.multiply, (D[:, 0], tanh_c, D[:, 0])),
        (np.multiply, (D[:, 1:3], others.reshape(times, 2, size, rows), D[:, 1:3])),
        (np.square, (gates[:, 3], D[:, 3])),
        (np.subtract, (one, D[:, 3], D[:, 3])),
        (np.multiply, (D[:, 3], gates[:, 1], D[:, 3])),
        *([] if of_c else [(dc.fill, (0,))]),
    ]
    for t in range(times - 1, -1, -1):
        d = D[t]
        program += [
            (np.multiply, (flat(dh), flat(A[t]), flat(product))),
            (np.add, (flat(dc), flat(product), flat(dc))),
            (np.multiply, (dc, d[1:], d[1:])),
            (np.multiply, (flat(dh), flat(d[0]), flat(d[0]))),
        ]
        if t or of_initial is not None:
            program += [(M[:size].dot, (dz[t], dh)), (np.multiply, (flat(dc), flat(gates[t, 2]), flat(dc)))]
            program += arriving(dh, Gh, t) + arriving(dc, Gc, t)
    return program + input_cotangents(memory, M[size + 1 :], dz, outputs[1]) + initial_cotangents([dh, dc], of_initial)


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
    Zx = memory.empty((times, 3 * size, rows), x.dtype)
    half, _ = numbers(x.dtype)
    program.append((np.matmul, (W.T, S[:times, size:], Zx)))
    for t in range(times):
        a, rz, z = flat(Y[t, :size]), flat(Y[t, size:]), flat(Y[t, 2 * size :])
        n, d, new = flat(N[t]), flat(difference[t]), flat(S[t + 1, :size])
        program += [
            (R.T.dot, (S[t, : size + 1], Y[t])),
            (np.add, (rz, flat(Zx[t, : 2 * size]), rz)),
            (np.tanh, (rz, rz)),
            (np.multiply, (rz, half, rz)),
            (np.add, (rz, half, rz)),
            (np.multiply, (a, flat(Y[t, size : 2 * size]), n)),
            (np.add, (n, flat(Zx[t, 2 * size :]), n)),
            (np.tanh, (n, n)),
            (np.subtract, (flat(S[t, :size]), n, d)),
            (np.multiply, (d, z, new)),
            (np.add, (new, n, new)),
        ]
    return program + results([S[:, :size]], outputs[0], lengths)


def gru_backward(memory: Memory, attributes: Attributes, operands: Operands, outputs: Any) -> Program:
    """dn = dh (1 - z) (1 - n^2)        da = dn r        dr = dn a r (1 - r)        dz = dh (h - n) z (1 - z)"""
    g, R, W, *kept, lengths, _ = unpacked(operands, 6, attributes)
    Y, N, difference = map(over_time, kept)
    times, size, rows = N.shape
    dA = steps_of(memory, outputs[0], (times, 4 * size, rows), N.dtype)  # of a, r, z, n
    _, one = numbers(N.dtype)
    of_initial = outputs[2]
    ((dh, G),), program = cotangents(memory, g, size, times, lengths)
    D, other = dA.reshape(times, 4, size, rows), memory.empty(N.shape, N.dtype)
    carried = memory.empty(dh.shape, dh.dtype)
    a, r, z = Y[:, :size], Y[:, size : 2 * size], Y[:, 2 * size :]
    program += [
        (np.square, (flat(N), flat(other))),
        (np.subtract, (one, flat(other), flat(other))),
        (np.subtract, (one, z, D[:, 3])),
        (np.multiply, (D[:, 3], other, D[:, 3])),
        (np.multiply, (D[:, 3], r, D[:, 0])),
        (np.subtract, (one, r, other)),
        (np.multiply, (other, D[:, 0], other)),
        (np.multiply, (other, a, D[:, 1])),
        (np.square, (z, other)),
        (np.subtract, (z, other, other)),
        (np.multiply, (other, difference, D[:, 2])),
    ]
    for t in range(times - 1, -1, -1):
        program.append((np.multiply, (dh, D[t], D[t])))
        if t or of_initial is not None:
            program += [
                (R[:size].dot, (dA[t, : 3 * size], carried)),
                (np.multiply, (flat(dh), flat(z[t]), flat(dh))),
                (np.add, (flat(dh), flat(carried), flat(dh))),
                *arriving(dh, G, t),
            ]
    return program + input_cotangents(memory, W[1:], dA[:, size:], outputs[1]) + initial_cotangents([dh], of_initial)


def cost(operands: Sequence[Shape], output: Shape, attributes: Attributes) -> int:
    """At each time the input times its weights and the state times its own, without the row of biases in each."""
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
