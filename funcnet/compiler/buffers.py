"""Buffers, the pieces of memory of a program, and the values that fit into them."""

from __future__ import annotations

from funcnet.tracing.trace import Call, Value

MOST = 64  # times its own bytes: a value never takes a larger buffer, which a large value may need
ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


class Buffer:
    """A piece of memory of `size` bytes, and behind it room for a row of ones of `row` bytes."""

    __slots__ = ("row", "size", "start")

    def __init__(self, size: int = 0) -> None:
        self.size: int = size
        self.row: int = 0
        self.start: int = 0

    def fits(self, value: Value) -> bool:
        """Whether the value fits; one with a row of ones must fill the buffer, behind whose end that row is."""
        return nbytes(value) <= self.size and (value.ones is None or nbytes(value) == self.size)

    def admit(self, value: Value) -> Buffer:
        """Make room for the value, and for its row of ones where it has one."""
        self.size = max(self.size, nbytes(value))
        if value.ones is not None:
            self.row = max(self.row, value.ones.shape[0] * value.dtype.itemsize)
        return self


class Free:
    """All buffers made, and the free ones by size. The last one freed is taken first: it is in the cache."""

    def __init__(self) -> None:
        self.made: list[Buffer] = []
        self.by_size: dict[int, list[Buffer]] = {}

    def add(self, buffer: Buffer) -> None:
        """Make a buffer free."""
        self.by_size.setdefault(buffer.size, []).append(buffer)

    def take(self, value: Value) -> Buffer:
        """The smallest free buffer that the value fits into, else the largest one, which grows, else a new one."""
        buffer = self._find(value) if value.shape else None  # a number, often a loss, would hold a whole array's
        if buffer is None:
            buffer = Buffer()
            self.made.append(buffer)
        return buffer.admit(value)

    def _find(self, value: Value) -> Buffer | None:
        most = MOST * nbytes(value)
        sizes = sorted(size for size, buffers in self.by_size.items() if buffers and size <= most)
        for size in sizes:
            if self.by_size[size][-1].fits(value):
                return self.by_size[size].pop()
        if value.ones is not None:
            return None
        for size in reversed(sizes):
            for i, buffer in enumerate(self.by_size[size]):
                if not buffer.row:
                    return self.by_size[size].pop(i)
        return None


def nbytes(value: Value) -> int:
    """Bytes of the value, without a row of ones."""
    return value.elements * value.dtype.itemsize


def same_form(a: Value, b: Value) -> bool:
    """Whether the elements of both have the same order in memory."""
    return (a.shape, a.dtype.itemsize, a.batch_axis, a.order) == (b.shape, b.dtype.itemsize, b.batch_axis, b.order)


def written(call: Call) -> list[Value]:
    """The outputs that are read; the others are not written and have no buffer."""
    return [y for y in call.outputs if y.use_count]


def ends_at(value: Value) -> int:
    """Where a parameter, or a cotangent in its place, ends in the flat vector."""
    return value.offset + value.elements
