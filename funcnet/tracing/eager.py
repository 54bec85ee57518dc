"""Calls of primitives by layers: recorded on values, computed at once on arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnet.arrays import Shape
from funcnet.tracing.forms import Instruction
from funcnet.tracing.primitive import Primitive
from funcnet.tracing.trace import Value


class Eager:
    """The memory of a form that runs at once, see `forms.Memory`."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype: np.dtype[Any] = dtype
        self.state: dict[int, Any] = {}

    def full(self, number: float, like: Any) -> Any:
        """A whole array of one number."""
        return np.full_like(like, number)

    def constant(self, number: float) -> Any:
        """The number as a 0-d array."""
        return np.array(number, self.dtype)

    def scratch(self, shape: Shape) -> Any:
        """A fresh array."""
        return np.empty(shape, self.dtype)

    def empty(self, shape: Shape, dtype: Any) -> Any:
        """A fresh array of a dtype."""
        return np.empty(shape, dtype)

    def in_line(self, *arrays: Any) -> tuple[Any, ...]:
        """The arrays as they are."""
        return arrays

    def bits(self, array: Any) -> Any:
        """The bits of an array of numbers as unsigned integers."""
        return array.view(f"u{array.dtype.itemsize}")

    def in_rows(self, program: list[Instruction], length: int) -> list[Instruction]:
        """The calls as they are."""
        return program


def call(
    primitive: Primitive,
    operands: tuple[Any, ...],
    shape: Shape,
    dtype: np.dtype[Any],
    batch_axis: int | None = None,
    *,
    order: tuple[int, ...] | None = None,
    **attributes: Any,
) -> Any:
    """The output of one call. order: its axes as they lie in memory, the outermost first; None as usual."""
    given = next((x for x in operands if isinstance(x, Value)), None)
    if given is not None:
        value = given.trace.emit(primitive, operands, shape, dtype, batch_axis, **attributes)
        value.order = order or value.order
        return value
    stored = order or tuple(range(len(shape)))
    out = np.empty([shape[axis] for axis in stored], dtype).transpose(np.argsort(stored))
    for f, arguments in primitive.form(Eager(out.dtype), attributes, operands, out):
        f(*arguments)
    return out if out.ndim else out[()]


def batch_axis(x: Any) -> int | None:
    """The batch axis of a value; an array needs none."""
    return x.batch_axis if isinstance(x, Value) else None


def prefix(x: Any, kind: str = "") -> str:
    """The operator that a value comes from, for errors of the running program, which no longer knows it."""
    where = (x.trace.scope or kind) if isinstance(x, Value) else ""
    return f"{where}: " if where else ""
