"""LSTM and GRU over 20 and 100 times, batches of 32: the last output, and a linear layer to one number."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from bench.case import Array
from bench.layers import Batch, Block, Peer

BATCH = 32


class Size(NamedTuple):
    """The kind of unit, how many, which are as many as inputs, and the times."""

    kind: str
    units: int
    times: int


SIZES = (
    Size("lstm", 32, 20),
    Size("lstm", 32, 100),
    Size("lstm", 128, 20),
    Size("lstm", 128, 100),
    Size("gru", 32, 20),
    Size("gru", 128, 20),
)


def draw(size: Size, generator: np.random.Generator, dtype: Any) -> Batch:
    """Random sequences, and a number for each."""
    x = generator.normal(size=(BATCH, size.times, size.units)).astype(dtype)
    return Batch((x,), generator.normal(size=(BATCH, 1)).astype(dtype))


def network(size: Size, fn: Any) -> Any:
    """The unit and the linear layer."""
    return fn.serial(getattr(fn, size.kind)(size.units), fn.linear(1))


def turned(leaves: list[Array]) -> list[Array]:
    """PyTorch's weights from funcnet's, or back: those of the unit are turned."""
    return [leaves[0].T.copy(), leaves[1].T.copy(), *leaves[2:]]


def in_torch(size: Size, torch: Any) -> Peer:
    """PyTorch's own unit, whose second bias is 0 but for what GRU multiplies by r."""

    def output(params: Any, x: Any) -> Any:
        W, R, b, *own, V, c = params
        zero, gates = torch.zeros(1, len(x), size.units, dtype=x.dtype), len(b)
        if size.kind == "lstm":
            weights = (W, R, b, torch.zeros(gates, dtype=x.dtype))
            y, _, _ = torch._VF.lstm(x, (zero, zero), weights, True, 1, 0.0, True, False, True)
        else:
            second = torch.cat([torch.zeros(2 * size.units, dtype=x.dtype), *own])
            y, _ = torch._VF.gru(x, zero, (W, R, b, second), True, 1, 0.0, True, False, True)
        return y[:, -1] @ V + c

    return Peer(turned, turned, lambda batch: (*batch.inputs, batch.target), output)


def in_jax(size: Size, jax: Any) -> Peer:
    """A scan over time; the input's products are made for all times at once."""
    jnp = jax.numpy
    sigmoid = jax.nn.sigmoid

    def lstm(R: Any, state: Any, z: Any) -> tuple[Any, None]:
        h, c = state
        i, f, g, o = jnp.split(z + h @ R, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
        return (sigmoid(o) * jnp.tanh(c), c), None

    def gru(R: Any, a: Any, state: Any, z: Any) -> tuple[Any, None]:
        (h,), (z_r, z_z, z_n) = state, jnp.split(z, 3, axis=1)
        h_r, h_z, h_n = jnp.split(h @ R, 3, axis=1)
        n = jnp.tanh(z_n + sigmoid(z_r + h_r) * (h_n + a))
        return (n + sigmoid(z_z + h_z) * (h - n),), None

    def output(params: Any, x: Any) -> Any:
        W, R, b, *own, V, c = params
        step = partial(lstm if size.kind == "lstm" else gru, R, *own)
        first = (jnp.zeros((x.shape[0], size.units), x.dtype),) * (2 if size.kind == "lstm" else 1)
        (h, *_), _ = jax.lax.scan(step, first, jnp.swapaxes(x, 0, 1) @ W + b)
        return h @ V + c

    return Peer(list, list, lambda batch: (*batch.inputs, batch.target), output)


def block(size: Size) -> Block:
    """The block of one size."""
    peers: list[Callable[[Any], Peer]] = [partial(in_torch, size), partial(in_jax, size)]
    title = f"{size.kind.upper()} of {size.units} units, {size.times} times"
    name = f"{size.kind}-{size.units}-t{size.times}"
    return Block(name, title, partial(draw, size), partial(network, size), peers[0], peers[1])


BLOCKS = tuple(map(block, SIZES))
