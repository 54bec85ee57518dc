"""Bind a plan to memory: the flat list of NumPy calls with constant arguments that runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, partial
from typing import Any, TypeAlias

import numpy as np

from funcnet.calls import gate_into, inner_into, nonzero_into
from funcnet.homes import Home
from funcnet.plan import ALIGNMENT, Plan
from funcnet.tracing import Call, Stateful, Value

Instruction: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]


class Workspace:
    """The memory of one run of a plan, and its program; only one call at a time uses it.

    params, gradient: the flat vectors.     inputs, outputs: batch-first arrays to copy into and out of.
    program: the calls, `for f, args in program: f(*args)`.
    source: the vector of params that the program reads: `params`, until `read_from` names another one.
    readers: which instructions read params, and the calls that they are.
    can_move: whether `read_from` may be called: not where params go out as they are.
    """

    params: Any
    gradient: Any

    def __init__(self, plan: Plan) -> None:
        self.slab: Any = aligned(plan.size)
        self.dtype: np.dtype[Any] = plan.dtype
        self._arrays: dict[int, Any] = {}
        self._allotted: dict[Any, Any] = {}
        self._views: dict[Any, tuple[Any, Any]] = {}
        self.state: dict[int, Any] = {}
        self.params, self.gradient = (
            np.ndarray((home.size // plan.dtype.itemsize,), plan.dtype, self.slab, home.start)
            for home in plan.homes[:2]
        )
        self.source: Any = self.params
        self._home_of_params: Home = plan.homes[0]
        self.inputs: list[Any] = [self.array(value) for value in plan.inputs]
        self.program: list[Instruction] = []
        self.readers: list[tuple[slice, Call]] = []
        for call in plan.calls:
            start = len(self.program)
            self.program += self._bind(call)
            if any(map(self._is_params, call.reads())):
                self.readers.append((slice(start, len(self.program)), call))
        self.outputs: list[Any] = [self.array(value) for value in plan.outputs]
        self.can_move: bool = not any(map(self._is_params, plan.outputs))
        beside = [value for _, call in self.readers for value in (*call.reads(), call.output)]
        self._beside_params = {id(v): self._arrays[id(v)] for v in beside if not self._is_params(v)}
        del self._arrays, self._allotted, self._views

    def _is_params(self, value: Value) -> bool:
        return value.root.home is self._home_of_params

    def read_from(self, vector: Any) -> None:
        """Have the program read the params where they are, in this flat vector."""
        self.source, self._arrays, self._allotted, self._views = vector, self._beside_params.copy(), {}, {}
        for place, call in self.readers:
            self.program[place] = self._bind(call)
        del self._arrays, self._allotted, self._views

    def array(self, value: Value) -> Any:
        """The array, batch-first, that the value is in this workspace."""
        found = self._arrays.get(id(value))
        if found is None:
            found = self._arrays[id(value)] = self._make(value)
        return found

    def _make(self, value: Value) -> Any:
        if value.base is None:
            return self._allot(value, value)
        if value.view is not None:
            base = self.array(value.base)
            view = value.view(base)
            assert np.may_share_memory(view, base) or not view.size, "a view must not copy"
            return view
        full = self._allot(value, value.base)
        full[:, -1] = 1
        return full

    def _allot(self, value: Value, root: Value) -> Any:
        """An array of the value's shape where its root lives; the same object for the same place and shape.

        Given one object as input and as output NumPy need not look whether the two overlap, which takes half as long
        again as a short call.
        """
        memory, start = (self.source, 0) if self._is_params(root) else (self.slab, root.home.start)
        start += root.offset * root.dtype.itemsize
        rows_last = value.batch_axis is not None and value.ndim > 1
        place = (id(memory), start, value.shape, value.dtype, rows_last)
        found = self._allotted.get(place)
        if found is None:
            shape = (value.shape[-1], *value.shape[:-1]) if rows_last else value.shape
            found = np.ndarray(shape, value.dtype, memory, start)
            if rows_last:
                found = found.transpose(*range(1, value.ndim), 0)
            self._allotted[place] = found
        return found

    def in_line(self, *arrays: Any) -> tuple[Any, ...]:
        """The arrays of an elementwise call as vectors, which NumPy loops over soonest, if all lie alike in memory."""
        large = [a for a in arrays if a.ndim]
        first = large[0] if large else arrays[0]
        alike = all(a.shape == first.shape and a.strides == first.strides for a in large)
        if first.ndim < 2 or not alike or not (first.flags.c_contiguous or first.flags.f_contiguous):
            return arrays
        return tuple(self.same(a.ravel("K"), a) if a.ndim else a for a in arrays)

    def bits(self, array: Any) -> Any:
        """The bits of an array of numbers as unsigned integers."""
        return self.same(array.view(f"u{array.dtype.itemsize}"), array)

    def same(self, view: Any, array: Any) -> Any:
        """The view, or the same one made before of the same array."""
        place = (id(array), view.dtype, view.ndim)
        return self._views.setdefault(place, (view, array))[0]

    def full(self, number: float, like: Any) -> Any:
        """A whole array of one number, laid out like another."""
        place = (repr(number), like.shape, like.strides, like.dtype)
        if place not in self._views:
            self._views[place] = (np.full_like(like, number), None)
        return self._views[place][0]

    def constant(self, number: float) -> Any:
        """The number as a 0-d array of the plan's dtype, which NumPy takes in faster than a Python number."""
        return self._views.setdefault((repr(number), self.dtype), (np.array(number, self.dtype), None))[0]

    def scratch(self, shape: tuple[int, ...]) -> Any:
        """An array for one instruction to hand to the next; all of this shape share it."""
        if shape not in self._views:
            self._views[shape] = (np.empty(shape, self.dtype), None)
        return self._views[shape][0]

    def _bind(self, call: Call) -> list[Instruction]:
        """The call with arrays in place of values, in the fastest of its forms that gives the same."""
        inputs = tuple(self.array(x) if isinstance(x, Value) else x for x in call.inputs)
        out = self.array(call.output)
        if call.function is np.matmul:
            return product(self, inputs[0], inputs[1], out)
        special = FORMS.get(call.function)
        return [special(self, inputs, out) if special else self._plainly(call.function, inputs, out)]

    def _plainly(self, function: Any, inputs: tuple[Any, ...], out: Any) -> Instruction:
        """The call itself."""
        if isinstance(function, Stateful):
            return function.bind(self.state), (*inputs, out)
        if not isinstance(function, np.ufunc):
            return function, (*inputs, out)
        inputs = tuple(self.constant(x) if isinstance(x, (int, float)) else x for x in inputs)
        if function is np.multiply and inputs[0] is inputs[1]:
            return np.square, self.in_line(inputs[0], out)
        return function, self.in_line(*inputs, out)


def aligned(size: int) -> Any:
    """Fresh memory, all zeros, that begins at a cache line."""
    memory = np.zeros(size + ALIGNMENT, np.uint8)
    skip = -memory.ctypes.data % ALIGNMENT
    return memory[skip : skip + size]


def product(space: Workspace, a: Any, b: Any, out: Any) -> list[Instruction]:
    """a b, by the method of the array that leaves the result contiguous."""
    if out.ndim == 2 and out.flags.c_contiguous:
        if a.flags.c_contiguous and b.flags.f_contiguous:
            return contraction(space, a, b, out)
        return [(a.dot, (b, out))]
    if out.ndim == 2 and out.flags.f_contiguous:
        return [(b.T.dot, (a.T, out.T))]
    return [(np.matmul, (a, b, out))]


def contraction(space: Workspace, a: Any, b: Any, out: Any) -> list[Instruction]:
    """a b where the sum runs along the rows of a and of b^T, as in every x^T g.

    OpenBLAS has a fast kernel for it up to so many results only, and for other products a faster one: with AVX-512 it
    pays to compute some rows at a time, or, where they are short, to copy b into the other order first.
    """
    (rows, length), columns = a.shape, b.shape[1]
    if rows * columns > FEW_RESULTS and columns <= MANY_COLUMNS and short_of_kernels():
        if length >= LONG_ROWS:
            step = max(8, FEW_RESULTS // columns)
            return [(a[k : k + step].dot, (b, out[k : k + step])) for k in range(0, rows, step)]
        if rows * columns <= MANY_RESULTS:
            turned = space.scratch(b.shape)
            return [(turned.__setitem__, (..., b)), (a.dot, (turned, out))]
    return [(a.dot, (b, out))]


FEW, FEW_RESULTS, MANY_RESULTS, MANY_COLUMNS, LONG_ROWS = 4096, 1200, 8192, 150, 128


@cache
def short_of_kernels() -> bool:
    """Whether NumPy computes products with the kernels that OpenBLAS has for AVX-512.

    It takes them where the CPU has that, unless it is told by OPENBLAS_CORETYPE to take those of another CPU.
    """
    told = os.environ.get("OPENBLAS_CORETYPE", "")
    if told and told.lower() not in ("skylakex", "cooperlake", "sapphirerapids"):
        return False
    config: Any = np.show_config("dicts")
    simd = config.get("SIMD Extensions", {})
    blas = config.get("Build Dependencies", {}).get("blas", {})
    wide = any(name.startswith(("AVX512", "X86_V4")) for name in simd.get("found", ()))
    return wide and "openblas" in blas.get("name", "")


def inner_product(space: Workspace, inputs: tuple[Any, ...], out: Any) -> Instruction:
    """sum a_i b_i, by the vectors as they lie in memory."""
    a, b = inputs
    if a.strides == b.strides and (a.flags.c_contiguous or a.flags.f_contiguous):
        return a.ravel("K").dot, (b.ravel("K"), out)
    return inner_into, (a, b, out)


def reduction(space: Workspace, inputs: tuple[Any, ...], out: Any) -> Instruction:
    """Sum over an axis; in a matrix it is a product with ones, as is the sum of a few numbers."""
    x, axes, dtype = inputs
    few = len(axes) == x.ndim and 0 < x.size <= FEW and (x.flags.c_contiguous or x.flags.f_contiguous)
    if few and x.dtype == out.dtype:
        x = x.ravel("K")
        return x.dot, (space.full(1.0, x), out)
    if x.ndim == 2 and x.flags.f_contiguous and x.size and x.dtype == out.dtype:
        if axes == (0,):
            return x.T.dot, (space.full(1.0, x[:, 0]), out)
        if axes == (1,):
            return space.full(1.0, x[0]).dot, (x.T, out)
    return np.add.reduce, (x, axes, dtype, out)


def extremum(ufunc: np.ufunc, space: Workspace, inputs: tuple[Any, ...], out: Any) -> Instruction:
    """`np.maximum` and `np.minimum` take `out` by name only, and are fastest against a whole array."""
    *arrays, out = space.in_line(*(space.full(x, out) if isinstance(x, (int, float)) else x for x in inputs), out)
    return partial(ufunc, *arrays, out=out), ()


def nonzero(space: Workspace, inputs: tuple[Any, ...], out: Any) -> Instruction:
    """The mask of `gate`, on the bits."""
    return np.sign, space.in_line(space.bits(inputs[0]), space.bits(out))


def gate(space: Workspace, inputs: tuple[Any, ...], out: Any) -> Instruction:
    """`gate` on the bits."""
    g, mask = (space.constant(x) if isinstance(x, (int, float)) else x for x in inputs)
    return np.multiply, space.in_line(space.bits(g), space.bits(mask), space.bits(out))


FORMS: dict[Any, Callable[[Workspace, tuple[Any, ...], Any], Instruction]] = {
    inner_into: inner_product,
    nonzero_into: nonzero,
    gate_into: gate,
    np.add.reduce: reduction,
    np.maximum: partial(extremum, np.maximum),
    np.minimum: partial(extremum, np.minimum),
}
