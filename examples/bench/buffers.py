"""What the hand-written steps share: aligned buffers, rows of ones, params in one vector, choices by measurement."""

from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from time import perf_counter
from typing import Any

import numpy as np

from bench.case import Array, Linears

Params = tuple[Array, tuple[Array, ...]]
"""One flat vector, and each linear layer's [weight; bias] matrix, of shape (in + 1, out): views into that vector.

Weight and bias of a layer are ``matrix[:-1]`` and ``matrix[-1]``. A step reads the vector or the matrices, whichever
is cheaper, and returns a fresh vector with fresh views.
"""

Task = Callable[[], object]


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Zeros that start on a cache line: element-wise calls run up to a third faster."""
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


def with_ones(features: int, batch: int, dtype: np.dtype[Any]) -> Array:
    """A buffer (features + 1, batch) whose last row is ones, so that the bias rides in the matrix product."""
    values = aligned((features + 1, batch), dtype)
    values[-1] = 1
    return values


def transposing(x1: Array, rows: int = 64) -> Callable[[Array], None]:
    """A function that copies a batch into a (features + 1, batch) buffer.

    It takes some rows at a time, so that the scattered writes stay in the cache.
    """
    parts, rest = [x1.T[k : k + rows, :-1].__setitem__ for k in range(0, x1.shape[1], rows)], ...

    def copy(x: Array) -> None:
        for set_part, part in zip(parts, x.reshape(-1, rows, x.shape[1]), strict=True):
            set_part(rest, part)

    return copy


class Layout:
    """Where each layer's [weight; bias] matrix lies in the vector.

    A record dtype laid over the vector, its fields fetched by one ``itemgetter``, is the cheapest way to many views:
    ``fields(np.ndarray((), record, vector))``.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]], dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.record = np.dtype([(f"layer{place}", dtype, (n + 1, m)) for place, (n, m) in enumerate(shapes)])
        self.size = self.record.itemsize // dtype.itemsize
        self.fields: Callable[[Any], tuple[Array, ...]] = itemgetter(*(self.record.names or ()))

    def split(self, vector: Array) -> tuple[Array, ...]:
        """The matrices, as views of the vector."""
        return self.fields(np.ndarray((), self.record, vector))

    def workspace(self) -> Params:
        """A vector of its own, aligned, with its views."""
        vector = aligned((self.size,), self.dtype)
        return vector, self.split(vector)

    def params(self, linears: Linears) -> Params:
        """Params that hold the given weights and biases."""
        vector = np.concatenate([part.ravel() for layer in linears for part in layer])
        return vector, self.split(vector)


def linears(params: Params) -> Linears:
    """The (weight, bias) of each layer."""
    return [(matrix[:-1], matrix[-1]) for matrix in params[1]]


def zero_d(value: float, dtype: np.dtype[Any]) -> Array:
    """A 0-d array: as an operand of a ufunc it costs half of what a Python float costs."""
    return np.array(value, dtype)


def quickest_product(x1: Array, g: Array, dM: Array) -> Callable[[Array, Array, Array], Task]:
    """The quickest form on this machine of dM = x1 g^T, the gradient of a [weight; bias] matrix, at these shapes.

    Its contraction runs along the rows of both operands, for which BLAS libraries lack a fast kernel at some shapes:
    either g transposed first, or a few rows of dM at a time, may be quicker than the product itself.
    """
    scratch = aligned(g.shape[::-1], g.dtype)
    rows = max(8, 1200 // g.shape[0])

    def direct(x1: Array, g: Array, dM: Array) -> Task:
        return partial(x1.dot, g.T, dM)

    def transposed(x1: Array, g: Array, dM: Array) -> Task:
        gT, set_scratch, dot, rest = g.T, scratch.__setitem__, x1.dot, ...

        def task() -> None:
            set_scratch(rest, gT)
            dot(scratch, dM)

        return task

    def in_parts(x1: Array, g: Array, dM: Array) -> Task:
        gT, parts = g.T, [(x1[k : k + rows].dot, dM[k : k + rows]) for k in range(0, len(x1), rows)]

        def task() -> None:
            for dot, part in parts:
                dot(gT, part)

        return task

    forms = (direct, transposed, in_parts)
    return forms[quickest([form(x1, g, dM) for form in forms])]


def quickest(tasks: Sequence[Task], rounds: int = 9, seconds: float = 2e-4) -> int:
    """Which of several equivalent tasks is the fastest on this machine, by the best of interleaved blocks."""
    for task in tasks:
        task()
    best = [float("inf")] * len(tasks)
    for _ in range(rounds):
        for place, task in enumerate(tasks):
            calls, start = 0, perf_counter()
            while (elapsed := perf_counter() - start) < seconds:
                task()
                calls += 1
            best[place] = min(best[place], elapsed / max(calls, 1))
    return min(range(len(tasks)), key=best.__getitem__)
