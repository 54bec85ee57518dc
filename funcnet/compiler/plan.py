"""A plan: which of the recorded calls run, in which order, and where every value lives. It is data, and never changed.

How an array lies in memory, where its `order` says nothing else:

- Features first: a batched value of shape (batch, ..., features) is stored as (features, batch, ...), so that each row
  of memory is one feature of the whole batch; the maths sees the batch-first view. Elementwise calls, products and
  reductions over features run over long contiguous rows in this form, also where features are few.
- A last row of ones: where x W + b is wanted, x is stored with one more feature, constantly 1, and the product is
  [x 1] [W; b]; its gradient [x 1]^T g is [dW; db] at once. W and b lie next to each other in the flat vector of params.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from funcnet.compiler.buffers import Buffer
from funcnet.tracing.trace import Call, Value


class Place(NamedTuple):
    """Where a value lies: in which buffer, how many bytes behind its start, and with which strides, in bytes."""

    buffer: Buffer
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def start(self) -> int:
        """The byte of the whole memory at which it begins."""
        return self.buffer.start + self.offset


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a program or a file of source is made from.

    calls: those that run, in order; the constants are the numbers and arrays among their inputs.
    left_out: the calls that were recorded and do not run.
    parameters, inputs: the values that come from outside.
    outputs: the values that go out.     factors: what each of them, a single number, is multiplied by as it goes.
    params_buffer, gradient_buffer: hold the flat vectors of the params and of their cotangents; the memory may be one
        and the same, `over_params`.
    packed_buffers: hold the operands and the results of fused calls.     working_buffers: hold all other values.
    parts: for the whole of a packed buffer, by its identity, the values that stand there.
    places: of each value that is no view, by its identity; of a view, that of its root counts.
    ones: the values [x 1], whose last feature is 1 before the first run, and stays so.
    size: the bytes of memory that one run needs.
    """

    dtype: np.dtype[Any]
    calls: tuple[Call, ...]
    left_out: tuple[Call, ...]
    parameters: tuple[Value, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    factors: tuple[float, ...]
    params_buffer: Buffer
    gradient_buffer: Buffer
    packed_buffers: tuple[Buffer, ...]
    working_buffers: tuple[Buffer, ...]
    over_params: bool
    parts: Mapping[int, Sequence[Value]]
    places: Mapping[int, Place]
    ones: tuple[Value, ...]
    size: int

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """All pieces of memory."""
        return self.params_buffer, self.gradient_buffer, *self.packed_buffers, *self.working_buffers

    @property
    def param_count(self) -> int:
        """The number of elements in all params."""
        return sum(parameter.elements for parameter in self.parameters)

    @property
    def has_gradient(self) -> bool:
        """Whether it computes the cotangents of its params."""
        return bool(self.gradient_buffer.size)

    def is_param(self, value: Value) -> bool:
        """Whether the value is a parameter, a stack of some, or a view of either."""
        return self._lives_in(value, self.params_buffer)

    def is_gradient(self, value: Value) -> bool:
        """Whether the value is the cotangent of params, in its place, or a view of it."""
        return self._lives_in(value, self.gradient_buffer)

    def _lives_in(self, value: Value, buffer: Buffer) -> bool:
        place = self.places.get(id(value.root))
        return place is not None and place.buffer is buffer


def storage_order(value: Value) -> tuple[int, ...]:
    """The axes of a value as they lie in memory, the outermost first."""
    axes = tuple(range(value.ndim))
    return value.order or (axes if value.batch_axis is None else (*axes[-1:], *axes[:-1]))


def place_of(value: Value) -> Place:
    """The place of a value that is no view, whose elements lie side by side; or of [x 1], in the memory of x."""
    root, size = value.root, value.dtype.itemsize
    strides, step = [size] * value.ndim, size
    for axis in reversed(storage_order(value)):
        strides[axis] = step
        step *= value.shape[axis]
    return Place(root.buffer, root.offset * size, value.shape, tuple(strides))
