"""Integers turned into rows of numbers."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from funcnet.advice import of_members
from funcnet.arrays import Array, DType, Shape, accept_dtype, accept_shape
from funcnet.core import Function, Layer, Result, unpack
from funcnet.display import shows_call
from funcnet.errors import DTypeError, ParamsError, ShapeError
from funcnet.initializers import Initializer, accept_initializer, normal
from funcnet.layers.linear import drawn, times_transposed
from funcnet.options import count
from funcnet.random import Key, check_key
from funcnet.tracing.primitives import gather, scatter_add


class Table(NamedTuple):
    """Params of `embedding`: table (vocabulary, features)."""

    table: Array


@shows_call
def embedding(vocabulary: int, features: int, *, table_init: Initializer | None = None) -> Layer[Table]:
    """Look up a row of a table for each integer.

    y = E[i]        dE[j] = sum of g where i = j        no di: integers have no cotangent

    Inputs: integers i from 0 to vocabulary - 1. Shapes: (...,) -> (..., features); () is one integer a row.
    `shared(key, transposed=True)` computes y = x E^T with the same table: logits of the vocabulary.
    table_init: an initializer, by default `normal(1.0)`.
    Raises OptionError where vocabulary or features is not a positive int, DTypeError for floating numbers, LabelError
    for an integer out of range. (Bengio et al. 2003)
    Example: `fn.serial(fn.embedding(1000, 32), fn.mean(axis=1))`.
    """
    shape = count("embedding: vocabulary", vocabulary), count("embedding: features", features)
    drawing = normal(1.0) if table_init is None else accept_initializer("embedding: table_init", table_init)
    turned = Function("embedding transposed", _embedding_transposed)
    apply = Function("embedding", _embedding, integer_inputs=[0], transposed=turned)
    return Layer(partial(_draw, shape, drawing), apply)


def _draw(
    table: tuple[int, int], initializer: Initializer, key: Key, *shapes: Shape, dtype: DType = np.float32
) -> tuple[Table, Shape]:
    """Its own `init`, since `LayerInit` traces floating inputs."""
    check_key(key)
    if len(shapes) != 1:
        raise ShapeError(f"embedding takes 1 input, but init was given {len(shapes)} shapes")
    (shape,) = shapes
    weights = drawn(initializer, key, table, accept_dtype(dtype))
    return Table(weights), (*accept_shape("embedding", shape), table[1])


def _embedding(params: Table, i: Array) -> Result[Table]:
    (E,) = unpack(Table, params)
    if E.ndim != 2:
        raise ParamsError(f"its table is {E.shape}, but must be (vocabulary, features){of_members(E.shape, 2)}")
    if i.dtype.kind == "f":
        raise DTypeError(f"its input has dtype {i.dtype}, but must be integers: cast it, x.astype(int)")

    def pullback(g: Array) -> tuple[Table, tuple[Any, ...]]:
        return Table(scatter_add(g, i, E)), (None,)

    return gather(E, i), pullback


def _embedding_transposed(params: Table, x: Array) -> Result[Table]:
    (E,) = unpack(Table, params)
    y, pull = times_transposed(E, x)

    def pullback(g: Array) -> tuple[Table, tuple[Array, ...]]:
        dE, dx = pull(g)
        return Table(dE), (dx,)

    return y, pullback
