"""Positions added to sequences, which attention would otherwise not tell apart."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np

from funcnet.advice import ALL_TIMES, of_members
from funcnet.arrays import Array, DType, Shape
from funcnet.core import Layer, NoParams, Result, layer, unpack
from funcnet.display import shows_call
from funcnet.errors import ParamsError, ShapeError
from funcnet.initializers import Initializer, accept_initializer, normal
from funcnet.layers.embedding import Table
from funcnet.layers.linear import drawn
from funcnet.random import Key
from funcnet.tracing.primitives import pad


@shows_call
def positional_embedding(*, table_init: Initializer | None = None) -> Layer[Table]:
    """Learned positions: a row of a table is added at each place of a sequence.

    y = x + E        dE = sum_n g_n        dx = g

    The table has as many rows as the sequence whose shape `init` is given; shorter sequences use the first of them.
    table_init: an initializer, by default `normal(0.02)`. Shapes: (T, features) -> the same.
    Raises OptionError for another table_init, ShapeError where the input is no sequence or longer than the table.
    (Gehring et al. 2017)
    """
    drawing = normal(0.02) if table_init is None else accept_initializer("positional_embedding: table_init", table_init)
    return layer("positional_embedding", _positional, partial(_draw, drawing))


def _draw(initializer: Initializer, key: Key, shape: Shape, dtype: DType) -> Table:
    _check((1, *shape))
    return Table(drawn(initializer, key, shape, dtype))


def _positional(params: Table, x: Array) -> Result[Table]:
    (E,) = unpack(Table, params)
    _check(x.shape)
    length, features = x.shape[1:]
    if E.ndim != 2 or E.shape[1] != features:
        more = of_members(E.shape, 2)
        raise ParamsError(f"its table is {E.shape}, but must be (length, features), with {features} features{more}")
    if length > E.shape[0]:
        raise ShapeError(f"its table has {E.shape[0]} rows, the sequence {length} places: give init the longest shape")
    index = (slice(None, length),)

    def pullback(g: Array) -> tuple[Table, tuple[Array, ...]]:
        dE = g.sum(axis=0)
        return Table(dE if length == E.shape[0] else pad(dE, index, E)), (g,)

    return x + E[index], pullback


@shows_call
def sinusoidal() -> Layer[NoParams]:
    """Fixed positions: sines and cosines of the place in a sequence are added, slower ones from feature to feature.

    y = x + c, c the waves        dx = g

    c[t, i] = sin(t / 10000^(i / F)) for even i, cos(t / 10000^((i - 1) / F)) for odd i; F is the number of features.
    Shapes: (T, F) -> the same. Raises ShapeError where the input is no sequence.
    (Vaswani et al. 2017)
    """
    return layer("sinusoidal", _sinusoidal)


def _sinusoidal(params: NoParams, x: Array) -> Result[NoParams]:
    _check(x.shape)
    return x + waves(x.shape[1], x.shape[2], x.dtype), lambda g: ((), (g,))


@cache
def waves(length: int, features: int, dtype: Any) -> Array:
    """The sines and cosines, (1, length, features)."""
    i = np.arange(features)
    angle = np.arange(length)[:, None] / 10000.0 ** ((i - i % 2) / max(features, 1))
    found: Array = np.where(i % 2, np.cos(angle), np.sin(angle)).astype(dtype)[None]
    found.flags.writeable = False
    return found


def _check(shape: Shape) -> None:
    """Refuse what is no batch of sequences."""
    if len(shape) != 3:
        fix = f": {ALL_TIMES}" if len(shape) == 2 else ""
        raise ShapeError(f"it takes sequences of features, (batch, length, features), not {shape}{fix}")
