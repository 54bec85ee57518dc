"""A plan: the recorded calls that run, in order, and the place of every value in memory. It is immutable data.

The order of an array in memory, unless its `order` says otherwise:

- Features first: a batched value of shape (batch, ..., features) is stored as (features, batch, ...), so that each row
  of memory is one feature of the whole batch; the maths sees the batch-first view. Elementwise calls, products and
  reductions over features run over long contiguous rows in this form, also where features are few.
- A last row of ones: for x W + b, x is stored with one more feature, constantly 1, and the product is
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
    """The place of a value: its buffer, its offset there, its shape and its strides, in bytes."""

    buffer: Buffer
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def start(self) -> int:
        """The byte of the whole memory at which the value begins."""
        return self.buffer.start + self.offset


@dataclass(frozen=True, slots=True)
class Plan:
    """The data from which a program or a file of source code is made.

    calls: those that run, in order; the numbers and arrays among their inputs are constants.
    left_out: recorded calls that do not run.
    parameters, inputs: the values from outside.
    outputs: the values returned.     factors: a single number is multiplied by its factor when it is returned.
    params_buffer, gradient_buffer: hold the flat vectors of the params and of their cotangents; with `over_params`
        they share one piece of memory.
    packed_buffers: hold the operands and the results of fused calls.     working_buffers: hold all other values.
    parts: the values in a packed buffer, by the identity of its whole value.
    places: of each value that is no view, by its identity; a view is found by its root.
    ones: the values [x 1], whose last feature is set to 1 before the first run and never written again.
    size: the bytes of memory for one run.
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
        """Whether the plan computes the cotangents of its params."""
        return bool(self.gradient_buffer.size)

    def is_param(self, value: Value) -> bool:
        """Whether the value is a parameter, a stack of parameters, or a view of one."""
        return self._lives_in(value, self.params_buffer)

    def is_gradient(self, value: Value) -> bool:
        """Whether the value is a cotangent of params in the flat vector, or a view of one."""
        return self._lives_in(value, self.gradient_buffer)

    def _lives_in(self, value: Value, buffer: Buffer) -> bool:
        place = self.places.get(id(value.root))
        return place is not None and place.buffer is buffer


def storage_order(value: Value) -> tuple[int, ...]:
    """The axes of a value as they lie in memory, the outermost first."""
    axes = tuple(range(value.ndim))
    return value.order or (axes if value.batch_axis is None else (*axes[-1:], *axes[:-1]))


def place_of(value: Value) -> Place:
    """The place of a dense value that is no view; or of [x 1], in the memory of x."""
    root, size = value.root, value.dtype.itemsize
    strides, step = [size] * value.ndim, size
    for axis in reversed(storage_order(value)):
        strides[axis] = step
        step *= value.shape[axis]
    return Place(root.buffer, root.offset * size, value.shape, tuple(strides))
