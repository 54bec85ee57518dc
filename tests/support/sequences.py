"""Random networks over sequences of features, (batch, times, features), with a mask of times beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

import funcnet as fn

ROWS = [1, 2, 7, 600]  # the last are cut into blocks where nothing forbids it


def bent(x: fn.Array) -> tuple[fn.Array, Callable[[fn.Array], fn.Array]]:
    """A choice by a mask, and its gradient."""
    mask = x > 0.25
    return np.where(mask, x, 0.5 * x + 0.125), lambda g: np.where(mask, g, 0.5 * g)


SAME: dict[str, Callable[[int], Any]] = {
    "linear": fn.linear,
    "without bias": lambda width: fn.linear(width, use_bias=False),
    "layer_norm": lambda width: fn.layer_norm(),
    "rms_norm": lambda width: fn.rms_norm(),
    "scale": lambda width: fn.scale(),
    "tanh": lambda width: fn.tanh(),
    "gelu": lambda width: fn.gelu(),
    "where": lambda width: fn.elementwise(bent),
    "softmax": lambda width: fn.softmax(),
    "positions": lambda width: fn.positional_embedding(),
    "waves": lambda width: fn.sinusoidal(),
    "attention": lambda width: fn.attention(2),
    "causal": lambda width: fn.attention(2, causal=True),
}
"""Layers of one input that keep its width."""
JOINED: dict[str, tuple[int, Callable[[], Any]]] = {
    "add": (2, fn.add),
    "multiply": (2, fn.multiply),
    "maximum": (3, fn.maximum),
    "to others": (2, lambda: fn.attention(1, cross=True)),
    "to others seen": (2, lambda: fn.attention(2, cross=True, masked=True)),
    "heads": (3, lambda: fn.dot_product_attention(heads=2, causal=True)),
    "heads seen": (3, lambda: fn.dot_product_attention(masked=True)),
}
"""How many values are joined, and by which layer; a mask comes last."""
MASKED = ("seen", "to others seen", "heads seen")


class Problem(NamedTuple):
    """A network of sequences and a mask, and what it is given."""

    net: fn.Layer[Any, Any]
    length: int
    width: int
    rows: int
    dtype: Any
    seed: int

    def made(self) -> tuple[Any, tuple[Any, ...]]:
        """(params, (sequences, mask))."""
        random = np.random.default_rng(self.seed)
        shapes = (self.length, self.width), (self.length,)
        params, _ = self.net.init(fn.key(self.seed), *shapes, dtype=np.float64)
        params = fn.tree.map(lambda p: np.asarray(p + 0.1 * random.normal(size=p.shape), self.dtype), params)
        mask = random.random((self.rows, self.length)) < 0.7
        mask[:, 0] |= self.seed % 2 == 0  # else some rows are hidden as a whole
        mask[0, 0] = True
        return params, (random.normal(size=(self.rows, self.length, self.width)).astype(self.dtype), mask)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Networks whose values are fed on, joined, attended to, and pooled at the end."""
    width, length = draw(st.sampled_from([2, 4])), draw(st.integers(1, 5))
    operators: dict[Any, Any] = {"x": fn.identity()}
    feeders: dict[Any, list[Any]] = {}
    for place in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from([*SAME, "residual", *JOINED, "seen"]))
        count = min(JOINED[kind][0], len(operators)) if kind in JOINED else 1
        if kind in JOINED and count < JOINED[kind][0]:
            kind = "linear"  # there are not enough values yet
            count = 1
        read = draw(st.lists(st.sampled_from([*operators]), min_size=count, max_size=count, unique=True))
        operator = JOINED[kind][1]() if kind in JOINED else single(draw, kind, width)
        key = f"{place} {kind}"
        operators[key], feeders[key] = operator, [*read, *(["mask"] if kind in MASKED else [])]
    loose = [key for key in operators if not any(key in read for read in feeders.values())]
    operators["all"], feeders["all"] = fn.add(), loose
    pool = draw(st.sampled_from(["masked_mean", "masked_sum"]))
    operators |= {"pool": getattr(fn, pool)(1), "y": fn.linear(2), "mask": fn.identity()}
    feeders |= {"pool": ["all", "mask"], "y": ["pool"]}
    connectivity = {key: [k for k in operators if key in feeders.get(k, [])] for key in operators}
    net = fn.network(operators, connectivity, inputs=["x", "mask"])
    rows, dtype = draw(st.sampled_from(ROWS)), draw(st.sampled_from([np.float64, np.float32]))
    return Problem(net, length, width, rows, dtype, draw(st.integers(0, 99)))


def single(draw: st.DrawFn, kind: str, width: int) -> Any:
    """A layer that one value goes into."""
    if kind == "seen":
        return fn.attention(2, masked=True)
    if kind == "residual":
        return fn.residual(*(SAME[draw(st.sampled_from([*SAME]))](width) for _ in range(draw(st.integers(1, 2)))))
    return SAME[kind](width)
