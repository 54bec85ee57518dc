"""Where windows lie: each count and each slice against a search through all places."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import numpy as np
import pytest

from funcnet.tracing.windows import (
    Window,
    matrices,
    maximum,
    maximum_grad,
    share_of_each,
    tally,
    total,
    total_grad,
)

SIZES, STRIDES, DILATIONS, PADDINGS, LENGTHS = (1, 2, 3), (1, 2, 3), (1, 2), ((0, 0), (1, 0), (0, 2), (2, 1)), range(7)
ALL = [*product(SIZES, STRIDES, DILATIONS, PADDINGS, LENGTHS)]


def along(size: int, stride: int, dilation: int, padding: tuple[int, int], axis: int) -> Window:
    """A window along one axis, and of one element along the other."""
    window = Window((size, 1), (stride, 1), (dilation, 1), (padding, (0, 0)))
    return window if axis == 0 else Window(*(pair[::-1] for pair in window))  # type: ignore[arg-type]


def shape(length: int, axis: int) -> tuple[int, ...]:
    """Of an image of one row and one channel."""
    return (1, length, 1, 1) if axis == 0 else (1, 1, length, 1)


def reads(size: int, stride: int, dilation: int, padding: tuple[int, int], length: int) -> list[list[int]]:
    """The elements of the padded input that each window reads, as places of the input itself."""
    starts = range(-padding[0], length + padding[1], stride)
    found = [[start + place * dilation for place in range(size)] for start in starts]
    return [places for places in found if places[-1] < length + padding[1]]


@pytest.mark.parametrize("axis", [0, 1])
def test_windows_are_counted_and_found(axis: int) -> None:
    for size, stride, dilation, padding, length in ALL:
        window = along(size, stride, dilation, padding, axis)
        expected = reads(size, stride, dilation, padding, length)
        assert window.extent(axis) == 1 + (size - 1) * dilation
        assert window.output_length(axis, length) == len(expected)
        for place in range(size):
            part, image = window.span(axis, place, length, len(expected))
            inside = {w: places[place] for w, places in enumerate(expected) if 0 <= places[place] < length}
            assert [*range(len(expected))[part]] == [*inside]
            assert [*range(length)[image]] == [*inside.values()]


@pytest.mark.parametrize("axis", [0, 1])
def test_the_places_of_a_window_are_those_that_are_no_padding(axis: int) -> None:
    for size, stride, dilation, padding, length in ALL:
        window = along(size, stride, dilation, padding, axis)
        expected = reads(size, stride, dilation, padding, length)
        image, output = np.arange(length).reshape(shape(length, axis)), np.zeros(shape(len(expected), axis))
        found = {
            (i, j)[axis]: image[image_part].ravel().tolist() for i, j, _, image_part in window.places(image, output)
        }
        inside = {p: [places[p] for places in expected if 0 <= places[p] < length] for p in range(size)}
        assert found == {p: elements for p, elements in inside.items() if elements}


@pytest.mark.parametrize("axis", [0, 1])
def test_the_share_of_each_window_leaves_its_padding_out(axis: int) -> None:
    for size, stride, dilation, padding, length in ALL:
        expected = reads(size, stride, dilation, padding, length)
        counts = [sum(0 <= p < length for p in places) for places in expected]
        if not counts or not min(counts):
            continue
        window = along(size, stride, dilation, padding, axis)
        share = share_of_each(window, np.zeros(shape(length, axis)), np.zeros(shape(len(expected), axis)))
        assert np.array_equal(np.ravel(share), 1 / np.array(counts if len({*counts}) > 1 else counts[:1]))


@pytest.mark.parametrize(
    ("size", "stride", "dilation", "count", "step", "rows"),
    [
        (3, 1, 1, 5, 1, 7),
        (3, 2, 1, 5, 2, 11),
        (3, 4, 1, 2, 4, 7),
        (3, 1, 2, 5, 3, 15),
        (1, 2, 2, 5, 2, 9),
        (2, 1, 1, 1, 1, 2),
        (2, 1, 1, 0, 1, 0),
    ],
)
def test_windows_share_the_rows_of_a_lowered_image_unless_they_have_gaps(
    size: int, stride: int, dilation: int, count: int, step: int, rows: int
) -> None:
    window = Window((size, 1), (stride, 1), (dilation, 3), ((0, 0), (0, 0)))
    assert window.rows_overlap == (dilation == 1 or size == 1)
    assert (window.lowered_step, window.lowered_rows(count)) == (step, rows)


def test_a_kernel_is_a_matrix_for_each_group() -> None:
    weight = np.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    found = matrices(weight, 2)
    assert found.shape == (2, 1, 24, 3)
    assert np.array_equal(found[1, 0], weight[..., 3:].reshape(24, 3))


def test_what_is_read_at_once_is_a_row_of_windows_unless_they_step() -> None:
    image = np.zeros((5, 4, 7, 2))
    assert Window((1, 3), (2, 1), (1, 2), ((0, 0), (1, 0))).row(image) == 5 * 4
    assert Window((1, 3), (1, 2), (1, 1), ((0, 0), (0, 0))).row(image) == 5


class Lender:
    """Lends memory, all bits of it set or none, and tells how much of it."""

    def __init__(self, bits: int = 0xFF) -> None:
        self.bits = bits

    def scratch(self, shape: tuple[int, ...]) -> Any:
        self.lent = np.full(4 * prod(shape), self.bits, np.uint8).view(np.float32).reshape(shape)
        return self.lent

    def in_rows(self, program: Any, length: int) -> Any:
        return program


def run(form: Any, bits: int, operands: tuple[Any, ...], shape: tuple[int, ...], **attributes: Any) -> Any:
    """What a call writes into memory that held these bits."""
    memory: Any = Lender(bits)
    out = memory.scratch((shape[3], shape[1], shape[2], shape[0])).transpose(3, 1, 2, 0)
    for f, args in form(memory, attributes, operands, out):
        f(*args)
    return out


@pytest.mark.parametrize("axis", [0, 1])
def test_what_memory_held_before_makes_no_difference(axis: int) -> None:
    rng = np.random.default_rng(0)
    for size, stride, dilation, padding, length in ALL:
        window = along(size, stride, dilation, padding, axis)
        expected = reads(size, stride, dilation, padding, length)
        counts = [sum(0 <= p < length for p in places) for places in expected]
        if not counts or not min(counts):
            continue
        x, g = (rng.integers(0, 3, shape(n, axis)).astype(np.float32) for n in (length, len(counts)))
        found: list[list[Any]] = []
        for bits in (0, 0xFF):
            y = run(maximum, bits, (x,), g.shape, window=window)
            dx = run(maximum_grad, bits, (x, y, g), x.shape, window=window)
            sums = [run(total, bits, (x,), g.shape, window=window, mean=mean) for mean in (True, False)]
            back = [run(total_grad, bits, (g,), x.shape, window=window, mean=mean) for mean in (True, False)]
            found.append([y, dx, *sums, *back])
        for a, b in zip(*found, strict=True):
            np.testing.assert_array_equal(a, b)
        values = [[x.ravel()[p] for p in places if 0 <= p < length] for places in expected]
        np.testing.assert_array_equal(found[0][0].ravel(), [max(value) for value in values])
        np.testing.assert_array_equal(found[0][3].ravel(), [sum(value) for value in values])


@pytest.mark.parametrize(("places", "kind"), [(1, np.uint8), (255, np.uint8), (256, np.uint16), (300, np.uint16)])
def test_marks_and_counts_lie_apart_and_count_as_far_as_there_are_places(places: int, kind: Any) -> None:
    lender: Any = Lender()
    y = np.zeros((3, 2, 2, 5), np.float32)
    marks, count = tally(lender, y, places)
    assert (marks.shape, marks.dtype) == ((places, *y.shape), np.bool_)
    assert (count.shape, count.dtype) == (y.shape, kind)
    assert not np.may_share_memory(marks, count)
    assert all(np.may_share_memory(x, lender.lent) for x in (marks, count))
    assert lender.lent.nbytes - (places + 2) * y.size in range(4), "no more than is needed"
