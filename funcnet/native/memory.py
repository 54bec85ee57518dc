"""The memory of a program in C: a plan whose stored values get new places, each free again after its last reader."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from funcnet.compiler.buffers import ALIGNMENT, Buffer
from funcnet.compiler.plan import Place, Plan, storage_order
from funcnet.native.grouping import Grouping
from funcnet.tracing.trace import Value

OVERRUN = 64  # bytes behind the last value that products may read but never use


class Placement:
    """The places of the stored values in the slab; rows of features are padded to whole vectors of `lanes` elements.

    elsewhere: values that have memory of their own.      start, size: the bytes of the slab with all others.
    plan: the stored values alone, in these places.      gradient: the byte at which the cotangents of the params begin.
    """

    alignment: int = ALIGNMENT  # bytes: values begin at multiples of it

    def __init__(self, plan: Plan, grouping: Grouping, lanes: int = 1, elsewhere: Collection[Value] = ()) -> None:
        self.lanes = lanes
        self.dtype: np.dtype[Any] = plan.dtype
        length = plan.params_buffer.size
        params, gradient, others = Buffer(length), Buffer(plan.gradient_buffer.size), Buffer()
        gradient.start = rounded(length + OVERRUN)
        self.size: int = gradient.start + (rounded(length + OVERRUN) if plan.has_gradient else 0)
        moved = {id(plan.params_buffer): params, id(plan.gradient_buffer): gradient}
        self._places: dict[int, Place] = {
            i: place._replace(buffer=moved[id(place.buffer)])
            for i, place in plan.places.items()
            if id(place.buffer) in moved
        }
        for value in elsewhere:
            self._places[id(value)] = self._place(value, Buffer(), self.size)
            self.size += self.nbytes(value)
        self.start: int = self.size
        self._share(plan, grouping, others)
        self.gradient: int = gradient.start
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
            places=self._places,
            size=self.size + OVERRUN,
        )

    def _share(self, plan: Plan, grouping: Grouping, buffer: Buffer) -> None:
        """Give all other stored values places in one buffer; a place is free again after its last reader."""
        outputs = {id(y.root) for y in plan.outputs}
        alive: list[tuple[int, int, int]] = []  # (start, stop, the last group that needs it)
        values = [v for v in grouping.stored_values(plan) if id(v) not in self._places]
        for value in sorted(values, key=lambda v: grouping.lives(v)[0]):
            first, last = grouping.lives(value)
            alive = sorted(piece for piece in alive if piece[2] >= first)
            need = rounded(self.nbytes(value), self.alignment)
            begin = gap(alive, self.start, need)
            place = self._places[id(value)] = self._place(value, buffer, begin)
            if value.ones is not None:
                strides = value.dtype.itemsize, value.dtype.itemsize * self.rows(value)
                self._places[id(value.ones)] = place._replace(shape=value.ones.shape, strides=strides)
            alive.append((begin, begin + need, len(grouping.groups) if id(value) in outputs else last))
            self.size = max(self.size, begin + need)

    def _place(self, value: Value, buffer: Buffer, offset: int) -> Place:
        shape, order, row = self.form(value)
        lengths, strides = (*shape[:-1], row), [0] * value.ndim
        for i, axis in enumerate(order):
            strides[axis] = self.itemsize(value) * prod(lengths[i + 1 :])
        return Place(buffer, offset, value.shape, tuple(strides))

    def form(self, value: Value) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """(the shape as it is stored, the order of the axes, the elements that a row takes), features first."""
        order = storage_order(value)
        shape = tuple(value.shape[axis] for axis in order)
        row = shape[-1] if shape else 1
        if value.ndim <= 2 and value.batch_axis == 0 and row > 1:
            row = -(-row // self.lanes) * self.lanes
        return shape, order, row

    def itemsize(self, value: Value) -> int:
        """The bytes of an element."""
        return value.dtype.itemsize

    def nbytes(self, value: Value) -> int:
        """The bytes of a value, with its feature of ones if it has one."""
        shape, _, row = self.form(value)
        return (prod(shape[:-1]) * row + (value.ones is not None) * self.rows(value)) * self.itemsize(value)

    def rows(self, value: Value) -> int:
        """The elements that a feature takes, features first."""
        shape, _, row = self.form(value)
        return prod(shape[1:-1]) * row

    def place(self, root: Value) -> int:
        """The byte of the slab at which a value begins; not for views."""
        return self.plan.places[id(root)].start


def rounded(size: int, alignment: int = ALIGNMENT) -> int:
    """The size, rounded up to a whole number of cache lines, or of another alignment."""
    return -(-size // alignment) * alignment


def gap(alive: list[tuple[int, int, int]], start: int, need: int) -> int:
    """The first place with so many free bytes."""
    for begin, stop, _ in alive:
        if begin - start >= need:
            break
        start = max(start, stop)
    return start
