"""Hand-written inference: the forward pass of four layers with tanh between, on one row or on blocks of many."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.buffers import Params, aligned, with_ones
from bench.case import Array

Apply = Callable[[Params, Array], Array]


def one_row(sizes: tuple[int, ...], dtype: np.dtype[Any]) -> Apply:
    """A batch of one in rows, (1, features + 1): nothing is transposed, and the params stand as arguments."""
    x1, h1, h2, h3 = (with_ones(size, 1, dtype).T for size in sizes[:-1])
    v1, v2, v3 = (h[:, :-1] for h in (h1, h2, h3))
    set_x, rest, tanh = x1[:, :-1].__setitem__, ..., np.tanh
    x_dot, h1_dot, h2_dot, h3_dot = x1.dot, h1.dot, h2.dot, h3.dot

    def apply(params: Params, x: Array) -> Array:
        M1, M2, M3, M4 = params[1]
        set_x(rest, x)
        x_dot(M1, v1)
        tanh(v1, v1)
        h1_dot(M2, v2)
        tanh(v2, v2)
        h2_dot(M3, v3)
        tanh(v3, v3)
        y: Array = h3_dot(M4)
        return y

    return apply


def in_blocks(sizes: tuple[int, ...], rows: int, dtype: np.dtype[Any]) -> Apply:
    """Blocks of rows that stay in the cache, features first; two buffers take turns."""
    n, width, _, _, m = sizes
    x1, h1, h2, y = *(with_ones(size, rows, dtype) for size in (n, width, width)), aligned((m, rows), dtype)
    v1, v2, set_x, rest, tanh, transposed = h1[:-1], h2[:-1], x1.T[:, :-1].__setitem__, ..., np.tanh, y.T

    def apply(params: Params, x: Array) -> Array:
        forward1, forward2, forward3, forward4 = (matrix.T.dot for matrix in params[1])
        result = np.empty((len(x), m), dtype)
        for block, out in zip(x.reshape(-1, rows, n), result.reshape(-1, rows, m), strict=True):
            set_x(rest, block)
            forward1(x1, v1)
            tanh(v1, v1)
            forward2(h1, v2)
            tanh(v2, v2)
            forward3(h2, v1)
            tanh(v1, v1)
            forward4(h1, y)
            out[...] = transposed
        return result

    return apply
