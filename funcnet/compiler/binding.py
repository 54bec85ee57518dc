"""Bind a plan to memory: the flat list of NumPy calls with constant arguments that runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnet.compiler.buffers import ALIGNMENT, Buffer, written
from funcnet.compiler.plan import Place, Plan
from funcnet.tracing.forms import ROW, Instruction, is_dense, lie_alike, unbuffered
from funcnet.tracing.trace import Call, Value


class Binding:
    """A plan bound to memory: an array for each value, and the calls with these arrays.

    params, gradient: the flat vectors.     inputs, outputs: batch-first arrays to copy into and out of.
    program: the calls, `for f, args in program: f(*args)`.
    source: the vector of params that the program reads: `params`, until `read_from` gives another one.
    readers: the instructions that read params, with their calls.
    can_move: whether `read_from` may be called: not where params are outputs themselves.
    """

    def __init__(self, plan: Plan, memory: Any = None) -> None:
        self.plan = plan
        self.dtype: np.dtype[Any] = plan.dtype
        self.memory: Any = aligned(plan.size) if memory is None else memory
        self.state: dict[int, Any] = {}
        self.params: Any = self._vector(plan.params_buffer)
        self.gradient: Any = self._vector(plan.gradient_buffer)
        self.source: Any = self.params
        self._begin({})
        for value in plan.ones:
            self.array(value)[:, -1] = 1
        self.inputs: list[Any] = [self.array(value) for value in plan.inputs]
        self.program: list[Instruction] = []
        self.readers: list[tuple[slice, Call]] = []
        for call in plan.calls:
            self.add(call)
        self.outputs: list[Any] = [self.array(value) for value in plan.outputs]
        self.can_move: bool = not any(map(plan.is_param, plan.outputs))
        beside = [value for _, call in self.readers for value in (*call.operands, *written(call))]
        self._beside_params = {id(v): self._arrays[id(v)] for v in beside if not plan.is_param(v)}
        self._begin({})

    def _vector(self, buffer: Buffer) -> Any:
        return np.ndarray((buffer.size // self.dtype.itemsize,), self.dtype, self.memory, buffer.start)

    def _begin(self, arrays: dict[int, Any]) -> None:
        """Clear the caches of arrays for binding, except these arrays."""
        self._arrays = arrays
        self._allotted: dict[tuple[Place, np.dtype[Any]], Any] = {}
        self._views: dict[Any, tuple[Any, Any]] = {}

    def add(self, call: Call) -> None:
        """Put the call at the end of the program."""
        start = len(self.program)
        self.program += self.bind(call)
        if any(map(self.plan.is_param, call.operands)):
            self.readers.append((slice(start, len(self.program)), call))

    def read_from(self, vector: Any) -> None:
        """Bind the calls that read params to this flat vector."""
        self.source = vector
        self._begin(self._beside_params.copy())
        for place, call in self.readers:
            self.program[place] = self.bind(call)
        self._begin({})

    def array(self, value: Value) -> Any:
        """The batch-first array of a value in this memory."""
        found = self._arrays.get(id(value))
        if found is None:
            place = self.plan.places.get(id(value))
            found = self._view(value) if place is None else self._allot(place, value.dtype)
            self._arrays[id(value)] = found
        return found

    def _view(self, value: Value) -> Any:
        assert value.base is not None
        assert value.view is not None
        base = self.array(value.base)
        view = value.view(base)
        assert np.may_share_memory(view, base) or not view.size, "a view must not copy"
        return view

    def _allot(self, place: Place, dtype: np.dtype[Any]) -> Any:
        """The array in this place; the same object for the same place and shape.

        If input and output are one object, NumPy does not check whether they overlap, which takes half as long as a
        short call.
        """
        of_params = place.buffer is self.plan.params_buffer
        memory, start = (self.source, place.offset) if of_params else (self.memory, place.start)
        found = self._allotted.get((place, dtype))
        if found is None:
            found = self._allotted[place, dtype] = np.ndarray(place.shape, dtype, memory, start, place.strides)
        return found

    def in_line(self, *arrays: Any) -> tuple[Any, ...]:
        """The arrays of an elementwise call as vectors, the fastest form, if all have the same order in memory."""
        large = [a for a in arrays if a.ndim]
        first = large[0] if large else arrays[0]
        alike = all(a is first or lie_alike(a, first) for a in large)
        if first.ndim < 2 or not alike or not is_dense(first):
            return arrays
        return tuple(self.same(a.ravel("K"), a) if a.ndim else a for a in arrays)

    def bits(self, array: Any) -> Any:
        """The bits of an array of numbers as unsigned integers."""
        return self.same(array.view(f"u{array.dtype.itemsize}"), array)

    def in_rows(self, program: list[Instruction], length: int) -> list[Instruction]:
        """The same calls, with a small NumPy buffer if rows of so many numbers are faster to read in place."""
        return [(unbuffered, tuple(program))] if length >= ROW else program

    def same(self, view: Any, array: Any) -> Any:
        """The view; the same object for the same view of the same array."""
        place = (id(array), view.dtype, view.ndim)
        return self._views.setdefault(place, (view, array))[0]

    def full(self, number: float, like: Any) -> Any:
        """A whole array of one number, laid out like another."""
        place = (repr(number), like.shape, like.strides, like.dtype)
        if place not in self._views:
            self._views[place] = (np.full_like(like, number), None)
        return self._views[place][0]

    def constant(self, number: float) -> Any:
        """The number as a 0-d array of the plan's dtype, which NumPy accepts faster than a Python number."""
        return self._views.setdefault((repr(number), self.dtype), (np.array(number, self.dtype), None))[0]

    def scratch(self, shape: tuple[int, ...]) -> Any:
        """An array to pass from one instruction to the next; all calls share the one of this shape."""
        if shape not in self._views:
            self._views[shape] = (np.empty(shape, self.dtype), None)
        return self._views[shape][0]

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array for the instructions of one call only."""
        return np.empty(shape, dtype)

    def bind(self, call: Call) -> list[Instruction]:
        """The call with arrays in place of values, in its fastest form."""
        inputs = tuple(self.array(x) if isinstance(x, Value) else x for x in call.inputs)
        if call.primitive.multi_output:
            outputs = tuple(self.array(y) if y.use_count else None for y in call.outputs)
            return call.primitive.form(self, call.attributes, inputs, outputs)
        return call.primitive.form(self, call.attributes, inputs, self.array(call.output))

    def offset(self, array: Any) -> int:
        """The byte of the memory at which an array begins."""
        return int(array.__array_interface__["data"][0] - self.memory.__array_interface__["data"][0])


def aligned(size: int) -> Any:
    """Fresh memory, all zeros, that begins at a cache line."""
    memory = np.zeros(size + ALIGNMENT, np.uint8)
    skip = -memory.ctypes.data % ALIGNMENT
    return memory[skip : skip + size]
