"""A block of a transformer, pre-norm and causal, in funcnet, PyTorch and JAX."""

from functools import partial
from math import sqrt
from typing import Any, NamedTuple

import numpy as np

from bench.case import Array
from bench.images import as_they_are
from bench.layers import Batch, Block, Peer


class Size(NamedTuple):
    """The length of the sequences, the width of their features, the number of heads."""

    length: int
    width: int
    heads: int


def operators(size: Size, fn: Any) -> Any:
    """The network as funcnet has it."""
    return fn.serial(
        fn.residual(fn.layer_norm(), fn.attention(size.heads, causal=True)),
        fn.residual(fn.layer_norm(), fn.linear(4 * size.width), fn.relu(), fn.linear(size.width)),
    )


def in_torch(size: Size, torch: Any) -> Peer:
    """The same in PyTorch: queries, keys and values in one product, and its own attention."""
    f: Any = torch.nn.functional

    def apart(x: Any) -> Any:
        return x.unflatten(-1, (size.heads, -1)).transpose(1, 2)

    def output(params: Any, x: Any) -> Any:
        scale, bias, w_qkv, b_qkv, w_o, b_o, scale_2, bias_2, w_1, b_1, w_2, b_2 = params
        z = f.layer_norm(x, (size.width,), scale, bias)
        q, k, v = map(apart, f.linear(z, w_qkv, b_qkv).chunk(3, dim=-1))
        seen = f.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + f.linear(seen.transpose(1, 2).flatten(2), w_o, b_o)
        z = f.layer_norm(x, (size.width,), scale_2, bias_2)
        return x + f.linear(torch.relu(f.linear(z, w_1, b_1)), w_2, b_2)

    def given(leaves: list[Array]) -> list[Array]:
        scale, bias, w_q, b_q, w_k, w_v, b_v, w_o, b_o, *rest = leaves
        w_qkv = np.concatenate([w_q.T, w_k.T, w_v.T])
        b_qkv = np.concatenate([b_q, np.zeros_like(b_q), b_v])
        return [scale, bias, w_qkv, b_qkv, w_o.T.copy(), b_o, *(p.T.copy() for p in rest)]

    def back(params: list[Array]) -> list[Array]:
        scale, bias, w_qkv, b_qkv, w_o, b_o, *rest = params
        w_q, w_k, w_v = (w.T for w in np.split(w_qkv, 3))
        b_q, _, b_v = np.split(b_qkv, 3)
        return [scale, bias, w_q, b_q, w_k, w_v, b_v, w_o.T, b_o, *(p.T for p in rest)]

    return Peer(given, back, as_they_are, output)


def in_jax(size: Size, jax: Any) -> Peer:
    """The same in JAX."""
    jnp, nn = jax.numpy, jax.nn

    def normal(x: Any, scale: Any, bias: Any) -> Any:
        x = x - x.mean(axis=-1, keepdims=True)
        return x / jnp.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5) * scale + bias

    def apart(x: Any) -> Any:
        return x.reshape(*x.shape[:2], size.heads, -1)

    def output(params: Any, x: Any) -> Any:
        scale, bias, w_q, b_q, w_k, w_v, b_v, w_o, b_o, scale_2, bias_2, w_1, b_1, w_2, b_2 = params
        z = normal(x, scale, bias)
        q, k, v = apart(z @ w_q + b_q), apart(z @ w_k), apart(z @ w_v + b_v)
        scores = jnp.einsum("nqhc,nkhc->nhqk", q, k) / sqrt(size.width // size.heads)
        seen = jnp.tril(jnp.ones((size.length, size.length), bool))
        weights = nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=-1)
        x = x + jnp.einsum("nhqk,nkhc->nqhc", weights, v).reshape(x.shape) @ w_o + b_o
        z = normal(x, scale_2, bias_2)
        return x + nn.relu(z @ w_1 + b_1) @ w_2 + b_2

    return Peer(list, list, as_they_are, output)


def draw(size: Size, rows: int, rng: np.random.Generator, dtype: Any) -> Batch:
    """Sequences of noise, and others."""
    x, target = (rng.normal(size=(rows, size.length, size.width)).astype(dtype) for _ in range(2))
    return Batch((x,), target)


CAUSAL = Size(64, 64, 4)
BLOCKS: tuple[Block, ...] = (
    Block(
        "causal-block",
        "a causal transformer block: 64 features, 4 heads, 256 units with ReLU, 64 times, batch 16",
        partial(draw, CAUSAL, 16),
        partial(operators, CAUSAL),
        partial(in_torch, CAUSAL),
        partial(in_jax, CAUSAL),
    ),
)
