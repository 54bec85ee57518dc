"""Where the values of native code live: one slab, in which every stored value has its place and its array."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from funcnet.compiler.binding import Workspace, aligned
from funcnet.compiler.plan import Plan
from funcnet.native.grouping import Grouping
from funcnet.tracing.forms import Instruction
from funcnet.tracing.trace import Call, Value

ALIGNMENT = 64  # bytes
OVERRUN = 64  # bytes behind the last value that products may read, and ignore


class Placement:
    """The place of every stored value in the slab, in bytes.

    params, gradient: of the two flat vectors.      places: of other values, by identity.
    padded: how many elements a row of features takes, for values with so many rows.
    """

    def __init__(self, plan: Plan, grouping: Grouping, lanes: int) -> None:
        self.plan = plan
        self.lanes = lanes
        self.params: int = 0
        length = sum(p.elements for p in plan.parameters) * plan.dtype.itemsize
        self.gradient: int = rounded(length + OVERRUN)
        start = self.gradient + (rounded(length + OVERRUN) if plan.buffers[1].size else 0)
        self.places: dict[int, int] = {}
        self.size: int = start
        outputs = {id(y.root) for y in plan.outputs}
        alive: list[tuple[int, int, int]] = []  # (start, stop, the last group that needs it)
        for value in sorted(self._stored(grouping), key=lambda v: grouping.lives(v)[0]):
            first, last = grouping.lives(value)
            alive = sorted(piece for piece in alive if piece[2] >= first)
            need = rounded(self.nbytes(value))
            place = gap(alive, start, need)
            self.places[id(value)] = place
            alive.append((place, place + need, len(grouping.groups) if id(value) in outputs else last))
            self.size = max(self.size, place + need)
        self.size += OVERRUN

    def _stored(self, grouping: Grouping) -> list[Value]:
        fixed = self.plan.buffers[:2]
        calls = [y for group in grouping.groups for call in group.all() for y in call.outputs]
        values = [*self.plan.inputs, *calls]
        return [v for v in values if id(v) in grouping.stored and v.buffer not in fixed and v.base is None]

    def form(self, value: Value) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """(the shape as it is stored, the order of the axes, the elements that a row takes), features first."""
        if value.batch_axis is None:
            return value.shape, tuple(range(value.ndim)), value.shape[-1] if value.shape else 1
        order = value.order or (value.ndim - 1, *range(value.ndim - 1))
        shape = tuple(value.shape[axis] for axis in order)
        row = shape[-1]
        if value.ndim <= 2 and value.batch_axis == 0 and row > 1:
            row = -(-row // self.lanes) * self.lanes
        return shape, order, row

    def nbytes(self, value: Value) -> int:
        """The bytes of a value, with its feature of ones if it has one."""
        shape, _, row = self.form(value)
        features = prod(shape[:-1]) + (value.ones is not None)
        return features * row * value.dtype.itemsize

    def place(self, root: Value) -> int:
        """Where in the slab a value begins that is no view."""
        fixed = {id(self.plan.buffers[0]): self.params, id(self.plan.buffers[1]): self.gradient}
        if id(root.buffer) in fixed:
            return fixed[id(root.buffer)] + root.offset * root.dtype.itemsize
        return self.places[id(root)]


class Slab(Workspace):
    """The slab, and arrays in it; those of params are in a flat vector of them, by default its own."""

    def __init__(self, placement: Placement, memory: Any = None, params: Any = None) -> None:
        plan = placement.plan
        self.placement = placement
        self.slab: Any = aligned(placement.size) if memory is None else memory
        self.dtype: np.dtype[Any] = plan.dtype
        self._arrays: dict[int, Any] = {}
        self._allotted: dict[Any, Any] = {}
        self._views: dict[Any, tuple[Any, Any]] = {}
        self.state: dict[int, Any] = {}
        count = sum(p.elements for p in plan.parameters)
        own: Any = np.ndarray((count,), plan.dtype, self.slab, placement.params)
        self.params: Any = own if params is None else params
        self.gradient: Any = (
            np.ndarray((count,), plan.dtype, self.slab, placement.gradient) if plan.buffers[1].size else self.params[:0]
        )

    def bind(self, call: Call) -> list[Instruction]:
        """The call as NumPy instructions."""
        return self._bind(call)

    def _allot(self, value: Value, root: Value) -> Any:
        """An array of the value's shape where its root lives."""
        shape, order, row = self.placement.form(root)
        if value is not root:  # with the feature of ones
            shape = (shape[0] + 1, *shape[1:])
        size = root.dtype.itemsize
        lengths = (*shape[:-1], row)
        strides = tuple(size * prod(lengths[axis + 1 :]) for axis in range(len(shape)))
        key = (self.placement.place(root), shape, root.dtype, order)
        if key not in self._allotted:
            is_param = root.buffer is self.placement.plan.params_buffer
            memory, start = (self.params, root.offset * size) if is_param else (self.slab, key[0])
            array: Any = np.ndarray(shape, root.dtype, memory, start, strides)
            self._allotted[key] = array.transpose([order.index(axis) for axis in range(len(shape))])
        return self._allotted[key]

    def offset(self, array: Any) -> int:
        """Where in the slab an array begins, in bytes."""
        return int(array.__array_interface__["data"][0] - self.slab.__array_interface__["data"][0])


def rounded(size: int) -> int:
    """Up to a whole number of cache lines."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def gap(alive: list[tuple[int, int, int]], start: int, need: int) -> int:
    """Where so many bytes are free."""
    for begin, stop, _ in alive:
        if begin - start >= need:
            break
        start = max(start, stop)
    return start
