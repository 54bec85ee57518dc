"""Pieces of memory, and which values can live in them."""

from __future__ import annotations

from funcnet.tracing.trace import Call, Value


class Buffer:
    """A piece of memory: `size` bytes, and from byte `ones` on, where that is set, a row of `row` bytes of ones."""

    __slots__ = ("ones", "row", "size", "start")

    def __init__(self, size: int = 0) -> None:
        self.size: int = size
        self.ones: int | None = None
        self.row: int = 0
        self.start: int = 0

    def fits(self, value: Value) -> bool:
        """Whether the value can live here and leave a row of ones whole."""
        if value.ones is not None:
            return self.size <= nbytes(value) and self.ones in (None, nbytes(value))
        return nbytes(value) <= self.size

    def admit(self, value: Value) -> Buffer:
        """Make room for the value, and for its row of ones where it has one."""
        self.size = max(self.size, nbytes(value))
        if value.ones is not None:
            self.ones = nbytes(value)
            self.row = max(self.row, value.shape[0] * value.dtype.itemsize)
        return self


def nbytes(value: Value) -> int:
    """Bytes of the value, without a row of ones."""
    return value.elements * value.dtype.itemsize


def same_form(a: Value, b: Value) -> bool:
    """Whether the elements of both lie alike in memory."""
    return (a.shape, a.dtype.itemsize, a.batch_axis, a.order) == (b.shape, b.dtype.itemsize, b.batch_axis, b.order)


def written(call: Call) -> list[Value]:
    """The outputs that something reads; the others are not written and have no buffer."""
    return [y for y in call.outputs if y.use_count]


def ends_at(value: Value) -> int:
    """Where a parameter, or a cotangent in its place, ends in the flat vector."""
    return value.offset + value.elements
