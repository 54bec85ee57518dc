"""The fastest NumPy instructions for a call: how each kind of call is bound to arrays.

A form takes the memory, which makes constants and scratch arrays, the call's attributes, and its operands and output as
arrays. It returns instructions, `for f, args in instructions: f(*args)`, with the same result as the plain call.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache, partial
from math import prod
from typing import Any, Protocol, TypeAlias

import numpy as np

Instruction: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]
Attributes: TypeAlias = Mapping[str, Any]
Operands: TypeAlias = tuple[Any, ...]
Form: TypeAlias = "Callable[[Memory, Attributes, Operands, Any], list[Instruction]]"
"""(memory, attributes, operands, output) -> instructions."""

ROW = 256  # numbers in a row from which NumPy is faster in place than on a copy of many rows
FEW, FEW_RESULTS, MANY_RESULTS, MANY_COLUMNS, LONG_ROWS = 4096, 1200, 8192, 150, 128


class Memory(Protocol):
    """The arrays that a form may ask the workspace for."""

    state: dict[int, Any]
    """The residuals of custom layers, from forward to backward call, by the identity of the layer's place."""

    def full(self, number: float, like: Any) -> Any:
        """A whole array of one number, laid out like another."""
        ...

    def constant(self, number: float) -> Any:
        """The number as a 0-d array."""
        ...

    def scratch(self, shape: tuple[int, ...]) -> Any:
        """An array to pass from one instruction to the next."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array for the instructions of this call only."""
        ...

    def in_line(self, *arrays: Any) -> tuple[Any, ...]:
        """The arrays of an elementwise call as vectors, if all have the same order in memory."""
        ...

    def bits(self, array: Any) -> Any:
        """The bits of an array of numbers as unsigned integers."""
        ...

    def in_rows(self, program: list[Instruction], length: int) -> list[Instruction]:
        """The same calls, in the fastest way to read rows of so many numbers with gaps between the rows."""
        ...


def unbuffered(*program: Instruction) -> None:
    """Make elementwise calls with a small NumPy buffer, so that rows of `ROW` numbers or more are read in place.

    Otherwise NumPy copies rows with gaps between them to its buffer, which takes longer than the call itself.
    """
    size = np.getbufsize()
    try:
        np.setbufsize(ROW)
        for f, args in program:
            f(*args)
    finally:
        np.setbufsize(size)


def as_arrays(memory: Memory, operands: Operands) -> Operands:
    """The operands, numbers as 0-d arrays, which NumPy accepts faster."""
    return tuple([memory.constant(x) if isinstance(x, (int, float)) else x for x in operands])


def plain(run: Callable[..., None]) -> Form:
    """The call itself, its numbers as 0-d arrays, with its attributes by name."""

    def form(memory: Memory, attributes: Attributes, operands: Operands, out: Any) -> list[Instruction]:
        return [(partial(run, **attributes) if attributes else run, (*as_arrays(memory, operands), out))]

    return form


def in_line(run: Callable[..., None]) -> Form:
    """The call itself, over vectors where all arrays have the same order in memory."""

    def form(memory: Memory, attributes: Attributes, operands: Operands, out: Any) -> list[Instruction]:
        return [(run, memory.in_line(*operands, out))]

    return form


def elementwise(ufunc: np.ufunc) -> Form:
    """A ufunc over vectors where all operands have the same order in memory, its numbers as 0-d arrays."""

    def form(memory: Memory, attributes: Attributes, operands: Operands, out: Any) -> list[Instruction]:
        arrays = as_arrays(memory, operands)
        if ufunc is np.positive:
            return copy(memory, arrays[0], out)
        if ufunc is np.multiply and arrays[0] is arrays[1]:
            return [(np.square, memory.in_line(arrays[0], out))]
        program, arrays = in_order_of(memory, arrays, out)
        return [*program, (ufunc, memory.in_line(*arrays, out))]

    return form


def in_order_of(memory: Memory, arrays: Operands, out: Any) -> tuple[list[Instruction], Operands]:
    """Copy an array of another order first: this takes half the time of a call that walks through both orders."""
    if out.ndim < 3 or out.size <= FEW or not is_dense(out):
        return [], arrays
    others = [a for a in arrays if a.shape == out.shape and a.dtype.kind == "f" and not lie_alike(a, out)]
    if len(others) != 1 or not is_dense(others[0]):
        return [], arrays
    order = in_memory_order(out)
    copied = memory.scratch(tuple([out.shape[axis] for axis in order])).transpose(np.argsort(order).tolist())
    return copy(memory, others[0], copied), tuple([copied if a is others[0] else a for a in arrays])


def copy(memory: Memory, x: Any, out: Any) -> list[Instruction]:
    """Copy x into out, which may have another order in memory.

    An assignment is then fastest, unless the steps through x share few places in the cache; then NumPy's buffer, which
    takes whole rows of x, is faster.
    """
    x, out = memory.in_line(x, out)
    step = abs(x.strides[in_memory_order(out)[-1]]) if x.ndim == out.ndim > 1 else 0
    if step % 1024:
        return [(out.__setitem__, (..., x))]
    call: list[Instruction] = [(np.positive, (x, out))]
    return memory.in_rows(call, ROW) if step and x.size > FEW else call


def extremum(ufunc: np.ufunc) -> Form:
    """`np.maximum` and `np.minimum` take `out` by name only, and are fastest against a whole array."""

    def form(memory: Memory, attributes: Attributes, operands: Operands, out: Any) -> list[Instruction]:
        whole = (memory.full(x, out) if isinstance(x, (int, float)) else x for x in operands)
        *arrays, out = memory.in_line(*whole, out)
        return [(partial(ufunc, *arrays, out=out), ())]

    return form


def product(memory: Memory, attributes: Attributes, operands: Operands, out: Any) -> list[Instruction]:
    """a b, with the operands turned so that the result is contiguous."""
    a, b = operands
    if a.ndim == b.ndim == out.ndim == 2:
        if out.flags.c_contiguous:
            if a.flags.c_contiguous and b.flags.f_contiguous:
                return contraction(memory, a, b, out)
            return [(a.dot, (b, out))]
        if out.flags.f_contiguous:
            return [(b.T.dot, (a.T, out.T))]
    return [(np.matmul, (a, b, out))]


def contraction(memory: Memory, a: Any, b: Any, out: Any) -> list[Instruction]:
    """a b where the sum runs along the rows of a and of b^T, as in every x^T g.

    OpenBLAS has a fast kernel for it up to a number of results only, and a faster kernel for other products: with
    AVX-512 it pays to compute some rows at a time or, where they are short, to copy b into the other order first.
    """
    (rows, length), columns = a.shape, b.shape[1]
    if rows * columns > FEW_RESULTS and columns <= MANY_COLUMNS and short_of_kernels():
        if length >= LONG_ROWS:
            step = max(8, FEW_RESULTS // columns)
            return [(a[k : k + step].dot, (b, out[k : k + step])) for k in range(0, rows, step)]
        if rows * columns <= MANY_RESULTS:
            turned = memory.scratch(b.shape)
            return [(turned.__setitem__, (..., b)), (a.dot, (turned, out))]
    return [(a.dot, (b, out))]


@cache
def short_of_kernels() -> bool:
    """Whether NumPy computes products with the kernels that OpenBLAS has for AVX-512.

    OpenBLAS uses them where the CPU has AVX-512, unless OPENBLAS_CORETYPE names another CPU.
    """
    named = os.environ.get("OPENBLAS_CORETYPE", "")
    if named and named.lower() not in ("skylakex", "cooperlake", "sapphirerapids"):
        return False
    config: Any = np.show_config("dicts")
    simd = config.get("SIMD Extensions", {})
    blas = config.get("Build Dependencies", {}).get("blas", {})
    wide = any(name.startswith(("AVX512", "X86_V4")) for name in simd.get("found", ()))
    return wide and "openblas" in blas.get("name", "")


def inner_product(memory: Memory, attributes: Attributes, operands: Operands, out: Any) -> list[Instruction]:
    """sum a_i b_i, by the vectors as they lie in memory."""
    a, b = operands
    if a.strides == b.strides and is_dense(a):
        return [(a.ravel("K").dot, (b.ravel("K"), out))]
    return [(inner_into, (a, b, out))]


def is_dense(a: Any) -> bool:
    """Whether its elements are without gaps in memory, in any order of the axes."""
    if a.flags.c_contiguous or a.flags.f_contiguous:
        return True
    return bool(a.transpose(in_memory_order(a)).flags.c_contiguous)


def lie_alike(a: Any, b: Any) -> bool:
    """Whether two dense arrays have the same order in memory."""
    return a.shape == b.shape and (
        a.strides == b.strides
        or all(length == 1 or p == q for length, p, q in zip(a.shape, a.strides, b.strides, strict=True))
    )


def in_memory_order(a: Any) -> list[int]:
    """The axes in the order of memory, the outermost first."""
    return sorted(range(a.ndim), key=lambda axis: -a.strides[axis])


def inner_into(a: Any, b: Any, out: Any) -> None:
    """Sum of a_i b_i over all elements."""
    out[...] = np.vdot(a, b)


def sum_over_axes(memory: Memory, attributes: Attributes, operands: Operands, out: Any) -> list[Instruction]:
    """Sum over axes. Sums over all rows, and sums of few numbers, are products with ones."""
    (x,), axes = operands, attributes["axes"]
    few = len(axes) == x.ndim and 0 < x.size <= FEW and (x.flags.c_contiguous or x.flags.f_contiguous)
    if few and x.dtype == out.dtype:
        x = x.ravel("K")
        return [(x.dot, (memory.full(1.0, x), out))]
    if x.ndim == 2 and x.flags.f_contiguous and x.size and x.dtype == out.dtype:
        if axes == (0,):
            return [(x.T.dot, (memory.full(1.0, x[:, 0]), out))]
        if axes == (1,):
            return [(memory.full(1.0, x[0]).dot, (x.T, out))]
    order = in_memory_order(x)
    if x.ndim > 2 and order[0] == x.ndim - 1 and axes == (*range(x.ndim - 1),) and x.size and x.dtype == out.dtype:
        stored = x.transpose(order)
        if stored.flags.c_contiguous:
            rows = stored.reshape(prod(stored.shape[:2]), -1)
            sums = memory.scratch(rows.shape[:1])
            by_feature = sums.reshape(stored.shape[:2])
            return [(rows.dot, (memory.full(1.0, rows[0]), sums)), (np.add.reduce, (by_feature, 1, None, out))]
    return [(np.add.reduce, (x, axes, out.dtype, out))]


def max_over_axes(memory: Memory, attributes: Attributes, operands: Operands, out: Any) -> list[Instruction]:
    """The largest element along axes."""
    return [(np.maximum.reduce, (*operands, attributes["axes"], None, out))]


def nonzero(memory: Memory, attributes: Attributes, operands: Operands, out: Any) -> list[Instruction]:
    """1 where any bit is set, else 0, on the bits."""
    return [(np.sign, memory.in_line(memory.bits(operands[0]), memory.bits(out)))]


def relu_grad(memory: Memory, attributes: Attributes, operands: Operands, out: Any) -> list[Instruction]:
    """Keep or clear all bits of g, by a product of unsigned integers."""
    g, mask = as_arrays(memory, operands)
    return [(np.multiply, memory.in_line(memory.bits(g), memory.bits(mask), memory.bits(out)))]
