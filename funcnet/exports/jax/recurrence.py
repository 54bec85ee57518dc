"""What the primitives of recurrent layers are in JAX: scans over time, forward and back, by the layers' own equations.

Inside, values lie as (time, batch, features). What is kept for the way back is (features, batch, time), as recorded.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from funcnet.tracing import cells, recurrence
from funcnet.tracing.primitive import Primitive
from funcnet.tracing.trace import Call

Rule: TypeAlias = Callable[..., Any]

jax: Any = importlib.import_module("jax")
jnp: Any = importlib.import_module("jax.numpy")


def turned(x: Any) -> Any:
    """(time, batch, features) of (features, batch, time), and back."""
    return x.transpose(2, 1, 0)


def sigmoid(half: Any) -> Any:
    """sigmoid z, of z / 2."""
    return 0.5 * jnp.tanh(half) + 0.5


def given(call: Call, others: Sequence[Any]) -> tuple[Any, Any]:
    """The lengths and the initial state, each None where there is none."""
    known = dict(zip(call.attributes["given"], others, strict=True))
    return known.get("lengths"), known.get("state")


def padding(lengths: Any, times: int) -> Any:
    """Whether a time is past the end of a sequence: (time, batch, 1)."""
    return (jnp.arange(times)[:, None] >= lengths)[..., None]


def begun(call: Call, x: Any, size: int, others: Sequence[Any]) -> tuple[Any, Any, list[Any]]:
    """(the input by time, 0 past the end; the lengths; the parts of the state before the first time)."""
    lengths, initial = given(call, others)
    by_time = x.transpose(1, 0, 2)
    if lengths is not None:
        by_time = jnp.where(padding(lengths, x.shape[1]), 0, by_time)
    if initial is None:
        return by_time, lengths, [jnp.zeros((x.shape[0], size), x.dtype)] * 2
    return by_time, lengths, [initial[:, :size], initial[:, size:]]


def following(first: Any, others: Any) -> Any:
    """The states before each time and after the last."""
    return jnp.concatenate([first[None], others])


def kept_states(states: Any, x: Any) -> Any:
    """[h; 1; x] before each time and after the last, where x is 0."""
    one = jnp.ones((*states.shape[:2], 1), states.dtype)
    return turned(jnp.concatenate([states, one, jnp.pad(x, ((0, 1), (0, 0), (0, 0)))], axis=-1))


def results(call: Call, states: Sequence[Any], lengths: Any) -> Any:
    """The output: as many parts of the states as it has room for, of all times or the last of each sequence."""
    shape = call.outputs[0].shape
    parts = jnp.concatenate(states[: shape[-1] // states[0].shape[-1]], axis=-1)
    times = len(parts) - 1
    if len(shape) == 3:
        y = parts[1:] if lengths is None else jnp.where(padding(lengths, times), 0, parts[1:])
        return wrong(y.transpose(1, 0, 2), lengths, times)
    if lengths is None:
        return parts[-1]
    return wrong(parts[jnp.clip(lengths, 0, times), jnp.arange(len(lengths))], lengths, times)


def wrong(y: Any, lengths: Any, times: int) -> Any:
    """NaN for the sequences whose length is out of range."""
    if lengths is None:
        return y
    known = (lengths >= 0) & (lengths <= times)
    return jnp.where(known.reshape(-1, *[1] * (y.ndim - 1)), y, jnp.nan)


def arriving(call: Call, g: Any, size: int, times: int, others: Sequence[Any]) -> list[Any]:
    """For each part of the state, the cotangents that arrive before each time and after the last."""
    lengths, _ = given(call, others)
    found = jnp.zeros((times + 1, g.shape[0], g.shape[-1]), g.dtype)
    if g.ndim == 3:
        by_time = g.transpose(1, 0, 2)
        found = found.at[1:].set(by_time if lengths is None else jnp.where(padding(lengths, times), 0, by_time))
    elif lengths is None:
        found = found.at[-1].set(g)
    else:
        found = found.at[lengths, jnp.arange(len(g))].set(g)
    parts = [found[..., k : k + size] for k in range(0, g.shape[-1], size)]
    return parts if len(parts) > 1 else [*parts, jnp.zeros_like(found)]


def back(step: Callable[..., Any], last: Any, *over_time: Any) -> tuple[Any, Any]:
    """A scan from the last time to the first."""
    return jax.lax.scan(step, last, over_time, reverse=True)  # type: ignore[no-any-return]


def rnn(call: Call, x: Any, M: Any, *others: Any) -> tuple[Any, ...]:
    """h = tanh(h R + x W + b)"""
    size = M.shape[1]
    by_time, lengths, (h0, _) = begun(call, x, size, others)

    def step(h: Any, z: Any) -> Any:
        h = jnp.tanh(h @ M[:size] + z)
        return h, h

    _, found = jax.lax.scan(step, h0, by_time @ M[size + 1 :] + M[size])
    states = following(h0, found)
    return results(call, [states], lengths), kept_states(states, by_time)


def rnn_backward(call: Call, g: Any, M: Any, S: Any, *others: Any) -> tuple[Any, ...]:
    """dz = dh (1 - h^2)        dh_(t-1) = dz R^T + g_(t-1)"""
    size, times = M.shape[1], S.shape[2] - 1
    G, _ = arriving(call, g, size, times, others)

    def step(dh: Any, now: Any) -> Any:
        h, g = now
        dz = dh * (1 - h * h)
        return dz @ M[:size].T + g, dz

    first, dz = back(step, G[-1], turned(S[:size])[1:], G[:-1])
    return turned(dz), (dz @ M[size + 1 :].T).transpose(1, 0, 2), first


def lstm(call: Call, x: Any, M: Any, *others: Any) -> tuple[Any, ...]:
    """[o i f] = sigmoid, g = tanh of h R + x W + b        c = f c + i g        h = o tanh c"""
    size = M.shape[1] // 4
    by_time, lengths, (h0, c0) = begun(call, x, size, others)

    def step(state: Any, z: Any) -> Any:
        h, c = state
        z = h @ M[:size] + z
        o, i, f = jnp.split(sigmoid(z[:, : 3 * size]), 3, axis=1)
        g = jnp.tanh(z[:, 3 * size :])
        c = f * c + i * g
        tanh_c = jnp.tanh(c)
        h = o * tanh_c
        return (h, c), (h, c, jnp.concatenate([o, i, f, g], axis=1), tanh_c)

    _, (h, c, gates, tanh_c) = jax.lax.scan(step, (h0, c0), by_time @ M[size + 1 :] + M[size])
    states, of_c = following(h0, h), following(c0, c)
    Z = jnp.concatenate([jnp.pad(gates, ((0, 1), (0, 0), (0, 0))), of_c], axis=-1)
    return results(call, [states, of_c], lengths), kept_states(states, by_time), turned(Z), turned(tanh_c)


def lstm_backward(call: Call, g: Any, M: Any, S: Any, Z: Any, tanh_c: Any, *others: Any) -> tuple[Any, ...]:
    """dc += dh o (1 - tanh^2 c)        do = dh tanh c o (1 - o)        [di df dg] = dc [g i' c f' i g']"""
    size, _, times = tanh_c.shape
    G, Gc = arriving(call, g, size, times, others)

    def step(after: Any, now: Any) -> Any:
        dh, dc = after
        z, tanh_c, g, g_c = now
        o, i, f, n, c = jnp.split(z, 5, axis=1)
        dc = dc + dh * o * (1 - tanh_c * tanh_c)
        gates = dh * tanh_c * o * (1 - o), dc * n * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - n * n)
        dz = jnp.concatenate(gates, axis=1)
        return (dz @ M[:size].T + g, dc * f + g_c), dz

    (dh, dc), dz = back(step, (G[-1], Gc[-1]), turned(Z)[:-1], turned(tanh_c), G[:-1], Gc[:-1])
    return turned(dz), (dz @ M[size + 1 :].T).transpose(1, 0, 2), jnp.concatenate([dh, dc], axis=1)


def gru(call: Call, x: Any, R: Any, W: Any, *others: Any) -> tuple[Any, ...]:
    """r, z = sigmoid(h R + x W + b)        n = tanh(x W_n + b_n + r a), a = h R_n + b_a        h = n + z (h - n)"""
    size = R.shape[1] // 3
    by_time, lengths, (h0, _) = begun(call, x, size, others)

    def step(h: Any, of_input: Any) -> Any:
        of_state = h @ R[:size] + R[size]
        a = of_state[:, :size]
        r, z = jnp.split(sigmoid(of_state[:, size:] + of_input[:, : 2 * size]), 2, axis=1)
        n = jnp.tanh(r * a + of_input[:, 2 * size :])
        difference = h - n
        h = n + z * difference
        return h, (h, jnp.concatenate([a, r, z], axis=1), n, difference)

    _, (h, *kept) = jax.lax.scan(step, h0, by_time @ W[1:] + W[0])
    states = following(h0, h)
    return results(call, [states], lengths), kept_states(states, by_time), *map(turned, kept)


def gru_backward(call: Call, g: Any, R: Any, W: Any, *kept: Any) -> tuple[Any, ...]:
    """dn = dh (1 - z) (1 - n^2)        da = dn r        dr = dn a r (1 - r)        dz = dh (h - n) z (1 - z)"""
    Y, N, difference, *others = kept
    size, _, times = N.shape
    G, _ = arriving(call, g, size, times, others)

    def step(dh: Any, now: Any) -> Any:
        y, n, difference, g = now
        a, r, z = jnp.split(y, 3, axis=1)
        dn = dh * (1 - z) * (1 - n * n)
        gates = dn * r, dn * a * r * (1 - r), dh * difference * z * (1 - z), dn
        dA = jnp.concatenate(gates, axis=1)
        return dh * z + dA[:, : 3 * size] @ R[:size].T + g, dA

    first, dA = back(step, G[-1], turned(Y), turned(N), turned(difference), G[:-1])
    return turned(dA), (dA[..., size:] @ W[1:].T).transpose(1, 0, 2), first


def time_product(call: Call, S: Any, dz: Any) -> Any:
    """sum_t s_t dz_t^T"""
    return jnp.einsum("sbt,gbt->sg", S[:, :, : dz.shape[2]], dz)


def reverse(call: Call, x: Any, lengths: Any) -> Any:
    """The times of each sequence in the reverse order, 0 past its end."""
    times = lengths[:, None] - jnp.arange(1, x.shape[1] + 1)
    turned_round = jnp.take_along_axis(x, jnp.maximum(times, 0)[..., None], axis=1)
    return jnp.where((times >= 0)[..., None], turned_round, 0)


RULES: dict[Primitive, Rule] = {
    cells.RNN: rnn,
    cells.RNN_BACKWARD: rnn_backward,
    cells.LSTM: lstm,
    cells.LSTM_BACKWARD: lstm_backward,
    cells.GRU: gru,
    cells.GRU_BACKWARD: gru_backward,
    recurrence.TIME_PRODUCT: time_product,
    recurrence.REVERSE: reverse,
}
"""The rules: of all outputs of a call."""
