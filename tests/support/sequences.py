"""Random networks over sequences of features, (batch, times, features), with masks and lengths beside them."""

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
READING: dict[str, Callable[[int], Any]] = {
    "rnn": lambda width: fn.rnn(width, return_sequences=True),
    "lstm": lambda width: fn.lstm(width // 2, return_sequences=True, return_state=True),
    "both ways": lambda width: fn.bidirectional(fn.gru(width // 2, return_sequences=True)),
}
"""Those that are recurrent."""
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
PADDED: dict[str, Callable[[int], Any]] = {
    "rnn padded": lambda width: fn.bidirectional(fn.rnn(width // 2, return_sequences=True, lengths=True)),
    "lstm padded": lambda width: fn.lstm(width, return_sequences=True, lengths=True),
    "gru padded": lambda width: fn.gru(width, return_sequences=True, lengths=True),
    "encoder": lambda width: fn.gru(width, lengths=True),
    "encoder both ways": lambda width: fn.bidirectional(fn.lstm(width // 2, lengths=True)),
}
"""Layers of one input and lengths."""
BEGUN: dict[str, Callable[[int], Any]] = {
    "decoder": lambda width: fn.rnn(width, return_sequences=True, initial_state=True),
    "decoder with lengths": lambda width: fn.gru(width, return_sequences=True, lengths=True, initial_state=True),
    "decoder of half a state": lambda width: fn.lstm(
        width // 2, return_sequences=True, return_state=True, lengths=True, initial_state=True
    ),
}
"""Layers of one input and an initial state, which an encoder gives."""


RECURRENT = [*READING, *PADDED, *BEGUN]
WITH_LENGTHS = {*PADDED, "decoder with lengths", "decoder of half a state"}


class Problem(NamedTuple):
    """A network of sequences and a mask, and of lengths if any layer reads them, and what it is given."""

    net: fn.Layer[Any, Any]
    padded: bool
    length: int
    width: int
    rows: int
    dtype: Any
    seed: int

    def made(self) -> tuple[Any, tuple[Any, ...]]:
        """(params, (sequences, mask, and lengths if there are any))."""
        random = np.random.default_rng(self.seed)
        shapes = [(self.length, self.width), (self.length,), ()][: 2 + self.padded]
        params, _ = self.net.init(fn.key(self.seed), *shapes, dtype=np.float64)
        params = fn.tree.map(lambda p: np.asarray(p + 0.1 * random.normal(size=p.shape), self.dtype), params)
        mask = random.random((self.rows, self.length)) < 0.7
        mask[:, 0] |= self.seed % 2 == 0  # else some rows are hidden as a whole
        mask[0, 0] = True
        x = random.normal(size=(self.rows, self.length, self.width)).astype(self.dtype)
        return params, (x, mask, random.integers(0, self.length + 1, self.rows))[: 2 + self.padded]


class Growing:
    """A network to which layers are added: of its values those that are sequences, and those that are states."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.operators: dict[Any, Any] = {"x": fn.identity()}
        self.feeders: dict[Any, list[Any]] = {}
        self.sequences: list[Any] = ["x"]
        self.states: list[Any] = []

    def grow(self, draw: st.DrawFn, kind: str) -> None:
        """Add a layer of this kind, or a plainer one where there is too little that it could read."""
        if (kind in JOINED and JOINED[kind][0] > len(self.sequences)) or (kind in BEGUN and not self.states):
            kind = "linear" if kind in JOINED else "encoder"
        count = JOINED[kind][0] if kind in JOINED else 1
        read = draw(st.lists(st.sampled_from(self.sequences), min_size=count, max_size=count, unique=True))
        key = f"{len(self.operators)} {kind}"
        if kind in JOINED:
            self.operators[key] = JOINED[kind][1]()
        elif kind in RECURRENT:
            self.operators[key] = {**READING, **PADDED, **BEGUN}[kind](self.width)
        else:
            self.operators[key] = single(draw, kind, self.width)
        state = [draw(st.sampled_from(self.states))] if kind in BEGUN else []
        self.feeders[key] = [*read, *["mask"] * (kind in MASKED), *["lengths"] * (kind in WITH_LENGTHS), *state]
        (self.states if kind.startswith("encoder") else self.sequences).append(key)

    def finished(self, pool: Any) -> tuple[Any, bool]:
        """(the network whose output is of what nothing reads, whether it takes lengths)."""
        used = {key for read in self.feeders.values() for key in read}
        loose = [key for key in self.sequences if key not in used] or self.sequences[-1:]
        self.operators["all"], self.feeders["all"] = fn.add(), loose
        self.operators |= {"pool": pool, "joined": fn.concatenate(), "y": fn.linear(2)}
        self.feeders |= {"pool": ["all", "mask"], "joined": ["pool", *(key for key in self.states if key not in used)]}
        self.feeders["y"] = ["joined"]
        outside = ["mask", *["lengths"] * ("lengths" in used)]
        self.operators |= dict.fromkeys(outside, fn.identity())
        order = [*self.sequences, "lengths", "all", "pool", *self.states, "joined", "y", "mask"]
        connectivity = {
            key: [k for k in self.operators if key in self.feeders.get(k, [])] for key in order if key in self.operators
        }
        return fn.network(self.operators, connectivity, inputs=["x", *outside], output="y"), "lengths" in used


@st.composite
def problems(draw: st.DrawFn, recurrent: bool = True) -> Problem:
    """Networks whose values are fed on, joined, attended to, read in time, and pooled at the end."""
    kinds = [*SAME, "residual", *JOINED, "seen", *(RECURRENT if recurrent else [])]
    net = Growing(draw(st.sampled_from([2, 4])))
    for _ in range(draw(st.integers(1, 6))):
        net.grow(draw, draw(st.sampled_from(kinds)))
    made, padded = net.finished(getattr(fn, draw(st.sampled_from(["masked_mean", "masked_sum"])))(1))
    rows, dtype = draw(st.sampled_from(ROWS)), draw(st.sampled_from([np.float64, np.float32]))
    return Problem(made, padded, draw(st.integers(1, 5)), net.width, rows, dtype, draw(st.integers(0, 99)))


def single(draw: st.DrawFn, kind: str, width: int) -> Any:
    """A layer that one value goes into."""
    if kind == "seen":
        return fn.attention(2, masked=True)
    if kind == "residual":
        return fn.residual(*(SAME[draw(st.sampled_from([*SAME]))](width) for _ in range(draw(st.integers(1, 2)))))
    return SAME[kind](width)
