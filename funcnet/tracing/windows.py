"""Windows that slide over two axes: their products, sums and maxima as a few large NumPy calls.

Images are (rows, height, width, channels), stored as (channels, height, width, rows): each call then runs over long
contiguous rows. A product with windows is made in two steps. `lower` copies the image once for each column of the
kernel, into L (groups, height, kernel width, channels, output width * rows). What one row of the output reads of L,
kernel height times kernel width times channels, is then a matrix without another copy, and `np.matmul` multiplies all.
A dilated kernel needs one copy for each of its elements.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from funcnet.tracing.forms import Attributes, Instruction, Memory, Operands

Pair = tuple[int, int]


class Window(NamedTuple):
    """A window over (height, width): its size, steps, the steps within it, and the padding on both sides."""

    size: Pair
    strides: Pair
    dilation: Pair
    padding: tuple[Pair, Pair]

    def extent(self, axis: int) -> int:
        """The number of elements from the first to the last of a window, both included."""
        return (self.size[axis] - 1) * self.dilation[axis] + 1

    def output_length(self, axis: int, length: int) -> int:
        """The number of windows that fit along an axis of that length, at least 0."""
        return max(0, (length + sum(self.padding[axis]) - self.extent(axis)) // self.strides[axis] + 1)

    def span(self, axis: int, place: int, length: int, count: int) -> tuple[slice, slice]:
        """The windows whose element `place` is not padding, and these elements of the input."""
        step, first = self.strides[axis], place * self.dilation[axis] - self.padding[axis][0]
        start = min(max(0, -(first // step)), count)
        stop = max(start, min(count, (length - 1 - first) // step + 1))
        return slice(start, stop), slice(first + start * step, max(0, first + (stop - 1) * step + 1), step)

    def places(self, image: Any, output: Any) -> Iterator[tuple[int, int, Any, Any]]:
        """For each element of the window: its place, the windows that have it, and the elements of the image."""
        for i in range(self.size[0]):
            rows, image_rows = self.span(0, i, image.shape[1], output.shape[1])
            for j in range(self.size[1]):
                columns, image_columns = self.span(1, j, image.shape[2], output.shape[2])
                if rows.start < rows.stop and columns.start < columns.stop:
                    yield i, j, (slice(None), rows, columns), (slice(None), image_rows, image_columns)

    def row(self, image: Any) -> int:
        """The contiguous numbers that are read at once for one place of the window."""
        n: int = image.shape[0]
        return n * self.output_length(1, image.shape[2]) if self.strides[1] == 1 else n

    @property
    def rows_overlap(self) -> bool:
        """Whether windows that share a row of the image share a row of L; not so for dilated windows."""
        return self.dilation[0] == 1 or self.size[0] == 1

    @property
    def lowered_step(self) -> int:
        """The number of rows of L from one window to the next."""
        return self.strides[0] if self.rows_overlap else self.size[0]

    def lowered_rows(self, count: int) -> int:
        """The number of rows of L for this number of windows."""
        return (count - 1) * self.lowered_step + self.size[0] if count else 0


def in_memory(image: Any) -> Any:
    """The image as it is stored, (channels, height, width, rows)."""
    return image.transpose(3, 1, 2, 0)


def by_rows(image: Any, groups: int) -> Any:
    """The image as a stack of matrices, (groups, height, channels of a group, width * rows), without a copy."""
    c, h, w, n = in_memory(image).shape
    view = in_memory(image).reshape(groups, c // groups, h, w * n)
    assert np.may_share_memory(view, image) or not view.size, "an image must lie in memory as images do"
    return view.transpose(0, 2, 1, 3)


def windows(lowered: Any, window: Window, count: int) -> Any:
    """The part of L for each row of the output, (groups, output height, kernel elements, width * rows), a view."""
    n, groups, _, kw, channels, width = lowered.shape
    stored = lowered.transpose(1, 2, 3, 4, 5, 0)
    columns, item = width * n, lowered.itemsize
    row = kw * channels * columns * item
    return as_strided(
        stored,
        (groups, count, window.size[0] * kw * channels, columns),
        (stored.strides[0], window.lowered_step * row, columns * item, item),
        writeable=False,
    )


def matrices(weight: Any, groups: int) -> Any:
    """The kernel (kh, kw, channels of a group, features) as a stack (groups, 1, kernel elements, features a group)."""
    features = weight.shape[-1]
    return weight.reshape(-1, groups, features // groups).transpose(1, 0, 2)[:, None]


def lower(memory: Memory, attributes: Attributes, operands: Operands, out: Any) -> list[Instruction]:
    """Copy an image into L, once for each column of the kernel."""
    (image,), window = operands, attributes["window"]
    stored = out.transpose(1, 2, 3, 4, 5, 0)
    groups, rows, kw, channels, width, n = stored.shape
    source = in_memory(image).reshape(groups, channels, *image.shape[1:3], n).transpose(0, 2, 1, 3, 4)
    steps = 1 if window.rows_overlap else window.size[0]
    plain_rows = window._replace(strides=(1, 1)) if steps == 1 else window
    program: list[Instruction] = []

    def write(part: Any, values: Any) -> None:
        if part.size:
            program.append((part.__setitem__, (..., values)))

    for i in range(steps):
        lines, source_lines = plain_rows.span(0, i, image.shape[1], rows // steps)
        part = stored[:, i::steps]
        write(part[:, : lines.start], 0)
        write(part[:, lines.stop :], 0)
        for j in range(kw):
            columns, source_columns = window.span(1, j, image.shape[2], width)
            to = part[:, lines, j]
            write(to[..., : columns.start, :], 0)
            write(to[..., columns.stop :, :], 0)
            write(to[..., columns, :], source[:, source_lines, :, source_columns])
    return program


def product(memory: Memory, attributes: Attributes, operands: Operands, out: Any) -> list[Instruction]:
    """y = W^T L, for each row of the output."""
    lowered, weight = operands
    groups = lowered.shape[1]
    view = windows(lowered, attributes["window"], out.shape[1])
    return [(np.matmul, (matrices(weight, groups).swapaxes(2, 3), view, by_rows(out, groups)))]


def spread(memory: Memory, attributes: Attributes, operands: Operands, out: Any) -> list[Instruction]:
    """D = W g: the cotangent for each element of the window."""
    g, weight = operands
    groups = out.shape[1]
    stored = out.transpose(1, 2, 3, 4, 5, 6, 0)
    shape = (*stored.shape[:2], prod(stored.shape[2:5]), prod(stored.shape[5:]))
    return [(np.matmul, (matrices(weight, groups), by_rows(g, groups), stored.reshape(shape)))]


def scatter(memory: Memory, attributes: Attributes, operands: Operands, out: Any) -> list[Instruction]:
    """Add D to the elements of the image that the windows read."""
    (spreaded,) = operands
    n, groups, _, _, _, channels, _ = spreaded.shape
    image = in_memory(out).reshape(groups, channels, *out.shape[1:3], n).transpose(4, 2, 3, 0, 1)
    by_place = spreaded.transpose(3, 4, 0, 2, 6, 1, 5)
    program: list[Instruction] = []
    for i, j, part, image_part in attributes["window"].places(image, by_place[0, 0]):
        to = image[image_part]
        program.append((np.add, (to, by_place[i, j][part], to)))
    return [(out.__setitem__, (..., 0)), *memory.in_rows(program, attributes["window"].row(out))]


def maximum(memory: Memory, attributes: Attributes, operands: Operands, out: Any) -> list[Instruction]:
    """The largest element of each window."""
    return over_windows(np.maximum, -np.inf, attributes["window"], operands[0], out)


def total(memory: Memory, attributes: Attributes, operands: Operands, out: Any) -> list[Instruction]:
    """The sum or the mean of each window, without its padding."""
    (image,), window = operands, attributes["window"]
    program = over_windows(np.add, 0.0, window, image, out)
    return [*program, (np.multiply, (out, share_of_each(window, image, out), out))] if attributes["mean"] else program


def share_of_each(window: Window, image: Any, output: Any) -> Any:
    """1 / the number of elements of each window without padding; one number where all are equal."""
    count = np.zeros((1, *output.shape[1:3], 1), output.real.dtype)
    for _, _, part, _ in window.places(image, output):
        count[part] += 1
    return 1 / (count.flat[0] if (count == count.flat[0]).all() else count)


def over_windows(ufunc: np.ufunc, start: float, window: Window, image: Any, out: Any) -> list[Instruction]:
    """Reduce the elements of all windows, one place of the window after the other."""
    (_, _, part, image_part), *rest = window.places(image, out)
    first = image[image_part] if out[part].shape == out.shape else start
    program: list[Instruction] = [(out.__setitem__, (..., first))]
    if first is start:
        rest = [*window.places(image, out)]
    for _, _, part, image_part in rest:
        program.append((partial(ufunc, out[part], image[image_part], out=out[part]), ()))
    return program


def total_grad(memory: Memory, attributes: Attributes, operands: Operands, out: Any) -> list[Instruction]:
    """Add g, or its share, to all elements of its window."""
    (g,) = operands
    window = attributes["window"]
    program: list[Instruction] = [(out.__setitem__, (..., 0))]
    if attributes["mean"]:
        share = memory.scratch(in_memory(g).shape).transpose(3, 1, 2, 0)
        program.append((np.multiply, (g, share_of_each(window, out, g), share)))
        g = share
    parts = [(out[image_part], g[part]) for _, _, part, image_part in window.places(out, g)]
    return program + memory.in_rows([(np.add, (to, x, to)) for to, x in parts], window.row(out))


def maximum_grad(memory: Memory, attributes: Attributes, operands: Operands, out: Any) -> list[Instruction]:
    """Share g among the largest elements of its window; NaN counts as largest.

    Bools take a quarter of the memory of numbers. Their product with the bits of the share is 0 elsewhere, even where
    the share is infinite or NaN.
    """
    (image, y, g), window = operands, attributes["window"]
    parts = [(part, image_part) for _, _, part, image_part in window.places(image, y)]
    share, added = memory.scratch((2, *in_memory(y).shape)).transpose(0, 4, 2, 3, 1)
    marks, count = tally(memory, y, len(parts))
    pairs = [(image[image_part], mark[part]) for mark, (part, image_part) in zip(marks, parts, strict=True)]
    program: list[Instruction] = []
    if any(mark.size != y.size for _, mark in pairs):
        program.append((marks.__setitem__, (..., False)))
    program += [(np.equal, (x, y[part], mark)) for (x, mark), (part, _) in zip(pairs, parts, strict=True)]
    program += [(sum_of_marks, (marks, count)), (mark_nan, (pairs, marks, count)), (np.divide, (g, count, share))]
    disjoint = all(step >= window.extent(axis) for axis, step in enumerate(window.strides))
    if not disjoint or sum(x.size for x, _ in pairs) != out.size:
        program.append((out.__setitem__, (..., 0)))
    bits = f"u{y.itemsize}"
    for (part, image_part), (_, mark) in zip(parts, pairs, strict=True):
        to = out[image_part] if disjoint else added[part]
        program.append((np.multiply, (mark, share[part].view(bits), to.view(bits))))
        if not disjoint:
            program.append((np.add, (out[image_part], to, out[image_part])))
    return program


def tally(memory: Memory, y: Any, places: int) -> tuple[Any, Any]:
    """Room for a bool for each place and window, and for an int for each window, laid out like y."""
    shape, kind = in_memory(y).shape, np.uint8 if places < 1 << 8 else np.uint16
    start, stop = 2 * y.size, (2 + places) * y.size
    room = memory.scratch((-(-stop // y.itemsize),)).view(np.uint8)
    marks, count = room[start:stop].view(np.bool_), room[:start].view(kind)[: y.size]
    return marks.reshape(places, *shape).transpose(0, 4, 2, 3, 1), count.reshape(shape).transpose(3, 1, 2, 0)


def sum_of_marks(marks: Any, count: Any) -> None:
    """The number of marked places of each window."""
    np.add.reduce(marks.view(np.uint8), 0, count.dtype, count)


def mark_nan(pairs: list[tuple[Any, Any]], marks: Any, count: Any) -> None:
    """Mark the NaN of windows with NaN; there no element equals the largest."""
    if not count.all():
        for x, mark in pairs:
            np.logical_or(mark, np.isnan(x), mark)
        sum_of_marks(marks, count)
