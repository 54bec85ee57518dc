"""Recurrent layers for the naive interpreter: one time after another, and back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

KINDS = ("rnn", "lstm", "gru", "bidirectional")


class Cell(NamedTuple):
    """A recurrent layer: its units, whether it gives all times, the whole state, and takes an initial one."""

    units: int
    sequences: bool = False
    whole: bool = False
    begun: bool = False

    def state(self, kind: str) -> int:
        """The numbers in a state."""
        return 2 * self.units if kind == "lstm" else self.units

    def features(self, kind: str) -> int:
        """The numbers that it gives at a time."""
        return self.state(kind) if self.whole else self.units


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))"""
    return 1 / (1 + np.exp(-x))


def gru_gates(p: Any, x: Any, h: Any) -> Any:
    """r, z, a, n"""
    (z_r, z_z, z_n), (h_r, h_z, h_n) = np.split(x @ p.weight + p.bias, 3, 1), np.split(h @ p.recurrent_weight, 3, 1)
    r, z, a = sigmoid(z_r + h_r), sigmoid(z_z + h_z), h_n + p.recurrent_bias
    return r, z, a, np.tanh(z_n + r * a)


def lstm_gates(p: Any, x: Any, h: Any) -> Any:
    """i, f, u, o"""
    i, f, u, o = np.split(x @ p.weight + h @ p.recurrent_weight + p.bias, 4, 1)
    return sigmoid(i), sigmoid(f), np.tanh(u), sigmoid(o)


def following(kind: str, p: Any, x: Any, s: Any) -> Any:
    """The state after a time, of the input then and the state before."""
    if kind == "rnn":
        return np.tanh(x @ p.weight + s @ p.recurrent_weight + p.bias)
    if kind == "gru":
        _, z, _, n = gru_gates(p, x, s)
        return (1 - z) * n + z * s
    h, c = np.split(s, 2, 1)
    i, f, u, o = lstm_gates(p, x, h)
    c = f * c + i * u
    return np.concatenate([o * np.tanh(c), c], 1)


def preceding(kind: str, p: Any, x: Any, s: Any, g: Any) -> tuple[Any, Any, Any]:
    """(cotangent of the params, of x, of the state before), given that of the state after."""
    if kind == "gru":
        r, z, a, n = gru_gates(p, x, s)
        dn = g * (1 - z) * (1 - n**2)
        dr, dz, da = dn * a * r * (1 - r), g * (s - n) * z * (1 - z), dn * r
        of_input, of_state = np.concatenate([dr, dz, dn], 1), np.concatenate([dr, dz, da], 1)
        of_params = type(p)(x.T @ of_input, s.T @ of_state, of_input.sum(0), da.sum(0))
        return of_params, of_input @ p.weight.T, g * z + of_state @ p.recurrent_weight.T
    if kind == "rnn":
        dz = g * (1 - following(kind, p, x, s) ** 2)
        return type(p)(x.T @ dz, s.T @ dz, dz.sum(0)), dz @ p.weight.T, dz @ p.recurrent_weight.T
    (h, c), (dh, dc) = np.split(s, 2, 1), np.split(g, 2, 1)
    i, f, u, o = lstm_gates(p, x, h)
    tanh_c = np.tanh(f * c + i * u)
    dc = dc + dh * o * (1 - tanh_c**2)
    of_gates = [dc * u * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - u**2), dh * tanh_c * o * (1 - o)]
    dz = np.concatenate(of_gates, 1)
    before = np.concatenate([dz @ p.recurrent_weight.T, dc * f], 1)
    return type(p)(x.T @ dz, h.T @ dz, dz.sum(0)), dz @ p.weight.T, before


def states(kind: str, cell: Cell, p: Any, x: Any, *initial: Any) -> list[Any]:
    """The state before the first time, and after each."""
    found = [*initial] or [np.zeros((len(x), cell.state(kind)))]
    for t in range(x.shape[1]):
        found.append(following(kind, p, x[:, t], found[-1]))
    return found


def half(state: list[Any], way: int) -> list[Any]:
    """The part of an initial state that is of one direction."""
    return [np.split(s, 2, 1)[way] for s in state]


def value(op: Any, p: Any, xs: list[Any]) -> Any:
    """What a layer makes of a sequence, and of its initial state if it takes one."""
    if op.kind == "bidirectional":
        (one,), (x, *state) = op.of, xs
        first = value(one, p.forward, [x, *half(state, 0)])
        second = value(one, p.backward, [x[:, ::-1], *half(state, 1)])
        return np.concatenate([first, second[:, ::-1] if one.of[0].sequences else second], -1)
    (cell,) = op.of
    found = [s[:, : cell.features(op.kind)] for s in states(op.kind, cell, p, *xs)]
    return np.stack(found[1:], 1) if cell.sequences else found[-1]


def derivative(op: Any, p: Any, xs: list[Any], g: Any) -> tuple[Any, list[Any]]:
    """(cotangent of the params, cotangents of the inputs)."""
    if op.kind == "bidirectional":
        return of_both_ways(op.of[0], p, xs, g)
    (cell,), (x, *initial) = op.of, xs
    found = states(op.kind, cell, p, *xs)
    arriving = np.zeros((len(found), *found[0].shape))
    features = cell.features(op.kind)
    if cell.sequences:
        arriving[1:, :, :features] = g.swapaxes(0, 1)
    else:
        arriving[-1, :, :features] = g
    of_params, dx, d = [np.zeros_like(leaf) for leaf in p], np.zeros_like(x), arriving[-1]
    for t in range(x.shape[1] - 1, -1, -1):
        parts, dx[:, t], d = preceding(op.kind, p, x[:, t], found[t], d)
        of_params = [a + b for a, b in zip(of_params, parts, strict=True)]
        d = d + arriving[t]
    return type(p)(*of_params), [dx, *(d for _ in initial)]


def of_both_ways(one: Any, p: Any, xs: list[Any], g: Any) -> tuple[Any, list[Any]]:
    """Those of a layer in both directions."""
    x, *state = xs
    g_first, g_second = np.split(g, 2, -1)
    of_first, (dx, *ds) = derivative(one, p.forward, [x, *half(state, 0)], g_first)
    turned = g_second[:, ::-1] if one.of[0].sequences else g_second
    of_second, (dx_turned, *ds_second) = derivative(one, p.backward, [x[:, ::-1], *half(state, 1)], turned)
    of_state = [np.concatenate(pair, 1) for pair in zip(ds, ds_second, strict=True)]
    return type(p)(of_first, of_second), [dx + dx_turned[:, ::-1], *of_state]
