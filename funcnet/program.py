"""Bind a plan to memory: the flat list of NumPy calls with constant arguments that runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from funcnet.plan import ALIGNMENT, Plan
from funcnet.tracing import Call, Stateful, Value, gate_into, inner_into, nonzero_into

Instruction: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]


class Workspace:
    """The memory of one run of a plan, and its program; only one call at a time uses it.

    params, gradient: the flat vectors.     inputs, outputs: batch-first arrays to copy into and out of.
    program: the calls, `for f, args in program: f(*args)`.
    """

    def __init__(self, plan: Plan) -> None:
        self.slab = aligned(plan.size)
        self.dtype = plan.dtype
        self._arrays: dict[int, Any] = {}
        self._constants: dict[Any, Any] = {}
        self.state: dict[int, Any] = {}
        self.params, self.gradient = (
            np.ndarray((home.size // plan.dtype.itemsize,), plan.dtype, self.slab, home.start)
            for home in plan.homes[:2]
        )
        self.inputs = [self.array(value) for value in plan.inputs]
        self.program = [self._bind(call) for call in plan.calls]
        self.outputs = [self.array(value) for value in plan.outputs]
        del self._arrays, self._constants

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
        """An array of the value's shape where its root lives."""
        start = root.home.start + root.offset * root.dtype.itemsize
        if value.batch_axis is None or value.ndim < 2:
            return np.ndarray(value.shape, value.dtype, self.slab, start)
        stored = np.ndarray((value.shape[-1], *value.shape[:-1]), value.dtype, self.slab, start)
        return stored.transpose(*range(1, value.ndim), 0)

    def _bind(self, call: Call) -> Instruction:
        """The call with arrays in place of values, in the fastest of its forms that gives the same."""
        inputs = tuple(self.array(x) if isinstance(x, Value) else x for x in call.inputs)
        out = self.array(call.output)
        special = FORMS.get(call.function)
        if special is not None:
            return special(self, inputs, out)
        if isinstance(call.function, Stateful):
            return call.function.bind(self.state), (*inputs, out)
        if isinstance(call.function, np.ufunc):
            inputs = tuple(self.constant(x) if isinstance(x, (int, float)) else x for x in inputs)
        return call.function, (*inputs, out)

    def constant(self, number: float) -> Any:
        """The number as a 0-d array of the plan's dtype, which NumPy takes in faster than a Python number."""
        found = self._constants.get(number)
        if found is None:
            found = self._constants[number] = np.array(number, self.dtype)
        return found


def aligned(size: int) -> Any:
    """Fresh memory that begins at a cache line."""
    memory = np.empty(size + ALIGNMENT, np.uint8)
    skip = -memory.ctypes.data % ALIGNMENT
    return memory[skip : skip + size]


def product(space: Workspace, inputs: tuple[Any, ...], out: Any) -> Instruction:
    """a b, by the method of the array that leaves the result contiguous."""
    a, b = inputs
    if out.ndim == 2 and out.flags.c_contiguous:
        return a.dot, (b, out)
    if out.ndim == 2 and out.flags.f_contiguous:
        return b.T.dot, (a.T, out.T)
    return np.matmul, (a, b, out)


def inner_product(space: Workspace, inputs: tuple[Any, ...], out: Any) -> Instruction:
    """sum a_i b_i, by the vectors as they lie in memory."""
    a, b = inputs
    if a.strides == b.strides and (a.flags.c_contiguous or a.flags.f_contiguous):
        return a.ravel("K").dot, (b.ravel("K"), out)
    return inner_into, (a, b, out)


def reduction(space: Workspace, inputs: tuple[Any, ...], out: Any) -> Instruction:
    """Sum over an axis; over the rows of a matrix it is a product with ones."""
    x, axes, dtype = inputs
    if axes == (0,) and x.ndim == 2 and x.flags.f_contiguous and len(x):
        return x.T.dot, (np.ones(len(x), x.dtype), out)
    return np.add.reduce, (x, axes, dtype, out)


def extremum(ufunc: np.ufunc, space: Workspace, inputs: tuple[Any, ...], out: Any) -> Instruction:
    """`np.maximum` and `np.minimum` take `out` by name only, and are fastest against a whole array."""
    arrays = (x if isinstance(x, np.ndarray) else np.full_like(out, x) for x in inputs)
    return partial(ufunc, *arrays, out=out), ()


def nonzero(space: Workspace, inputs: tuple[Any, ...], out: Any) -> Instruction:
    """The mask of `gate`, on the bits."""
    return np.sign, (inputs[0].view(out.dtype), out)


def gate(space: Workspace, inputs: tuple[Any, ...], out: Any) -> Instruction:
    """`gate` on the bits."""
    g, mask = inputs
    return np.multiply, (g.view(mask.dtype), mask, out.view(mask.dtype))


FORMS: dict[Any, Callable[[Workspace, tuple[Any, ...], Any], Instruction]] = {
    np.matmul: product,
    inner_into: inner_product,
    nonzero_into: nonzero,
    gate_into: gate,
    np.add.reduce: reduction,
    np.maximum: partial(extremum, np.maximum),
    np.minimum: partial(extremum, np.minimum),
}
