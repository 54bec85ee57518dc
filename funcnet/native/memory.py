"""Where the values of native code live: a plan whose stored values have other places, in one slab."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from funcnet.compiler.buffers import ALIGNMENT, Buffer
from funcnet.compiler.plan import Place, Plan, storage_order
from funcnet.native.grouping import Grouping
from funcnet.tracing.trace import Value

OVERRUN = 64  # bytes behind the last value that products may read, and ignore


class Placement:
    """The places of the stored values in the slab; rows of features are padded to whole vectors.

    plan: of its values alone, in these places.      gradient: where the cotangents of the params begin.
    """

    def __init__(self, plan: Plan, grouping: Grouping, lanes: int) -> None:
        self.lanes = lanes
        length = plan.params_buffer.size
        params, gradient, others = Buffer(length), Buffer(plan.gradient_buffer.size), Buffer()
        gradient.start = rounded(length + OVERRUN)
        self.size: int = gradient.start + (rounded(length + OVERRUN) if plan.has_gradient else 0)
        start = self.size
        moved = {id(plan.params_buffer): params, id(plan.gradient_buffer): gradient}
        places: dict[int, Place] = {
            i: place._replace(buffer=moved[id(place.buffer)])
            for i, place in plan.places.items()
            if id(place.buffer) in moved
        }
        outputs = {id(y.root) for y in plan.outputs}
        alive: list[tuple[int, int, int]] = []  # (start, stop, the last group that needs it)
        for value in sorted(self._stored(plan, grouping), key=lambda v: grouping.lives(v)[0]):
            first, last = grouping.lives(value)
            alive = sorted(piece for piece in alive if piece[2] >= first)
            need = rounded(self.nbytes(value))
            begin = gap(alive, start, need)
            place = places[id(value)] = self._padded(value, others, begin)
            if value.ones is not None:
                strides = value.dtype.itemsize, value.dtype.itemsize * self.rows(value)
                places[id(value.ones)] = place._replace(shape=value.ones.shape, strides=strides)
            alive.append((begin, begin + need, len(grouping.groups) if id(value) in outputs else last))
            self.size = max(self.size, begin + need)
        self.size += OVERRUN
        self.plan: Plan = replace(
            plan,
            calls=(),
            inputs=(),
            outputs=(),
            ones=(),
            params_buffer=params,
            gradient_buffer=gradient,
            packed_buffers=(),
            working_buffers=(others,),
            over_params=False,
            places=places,
            size=self.size,
        )
        self.gradient: int = gradient.start

    @staticmethod
    def _stored(plan: Plan, grouping: Grouping) -> list[Value]:
        calls = [y for group in grouping.groups for call in group.all() for y in call.outputs]
        values = [v for v in (*plan.inputs, *calls) if id(v) in grouping.stored and v.base is None]
        return [v for v in values if not plan.is_param(v) and not plan.is_gradient(v)]

    def _padded(self, value: Value, buffer: Buffer, offset: int) -> Place:
        shape, order, row = self.form(value)
        lengths = (*shape[:-1], row)
        strides = [0] * value.ndim
        for i, axis in enumerate(order):
            strides[axis] = value.dtype.itemsize * prod(lengths[i + 1 :])
        return Place(buffer, offset, value.shape, tuple(strides))

    def form(self, value: Value) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """(the shape as it is stored, the order of the axes, the elements that a row takes), features first."""
        if value.batch_axis is None:
            return value.shape, tuple(range(value.ndim)), value.shape[-1] if value.shape else 1
        order = storage_order(value)
        shape = tuple(value.shape[axis] for axis in order)
        row = shape[-1]
        if value.ndim <= 2 and value.batch_axis == 0 and row > 1:
            row = -(-row // self.lanes) * self.lanes
        return shape, order, row

    def nbytes(self, value: Value) -> int:
        """The bytes of a value, with its feature of ones if it has one."""
        shape, _, row = self.form(value)
        return (prod(shape[:-1]) * row + (value.ones is not None) * self.rows(value)) * value.dtype.itemsize

    def rows(self, value: Value) -> int:
        """The elements that a feature takes, features first."""
        shape, _, row = self.form(value)
        return prod(shape[1:-1]) * row

    def place(self, root: Value) -> int:
        """Where in the slab a value begins that is no view."""
        return self.plan.places[id(root)].start


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
