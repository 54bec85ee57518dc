"""Pieces of memory: which value goes into which of those that are free."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from funcnet.compiler.buffers import Buffer, Free, ends_at, nbytes, same_form, written
from funcnet.tracing.primitive import COPY
from funcnet.tracing.trace import Call, Trace, Value

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
TRACE = Trace(F32, 4)


def value(*shape: int, dtype: Any = F32, batch_axis: int | None = 0, ones: bool = False) -> Value:
    """A value, with a feature of ones where that is wanted."""
    made = Value(TRACE, shape, dtype, batch_axis)
    if ones:
        made.ones = Value(TRACE, (*shape[:-1], shape[-1] + 1), dtype, batch_axis)
    return made


def free_of(*sizes: int, row: int = 0) -> tuple[Free, list[Buffer]]:
    """Free buffers of these sizes in bytes, in the order in which they were left."""
    free, buffers = Free(), [Buffer(size) for size in sizes]
    for buffer in buffers:
        buffer.row = row
        free.add(buffer)
    return free, buffers


def test_a_value_fits_into_memory_as_large_as_it_is() -> None:
    assert [Buffer(size).fits(value(4, 3)) for size in (47, 48, 49)] == [False, True, True]
    assert [Buffer(size).fits(value(4, 3, ones=True)) for size in (47, 48, 49)] == [False, True, False]
    assert [Buffer(size).fits(value(4, 3, dtype=F64)) for size in (95, 96)] == [False, True]


def test_memory_grows_with_its_values_and_never_shrinks() -> None:
    buffer = Buffer(40)
    assert buffer.admit(value(4, 3)) is buffer
    assert (buffer.size, buffer.row) == (48, 0)
    buffer.admit(value(4, 2, ones=True))
    assert (buffer.size, buffer.row) == (48, 16)
    buffer.admit(value(2, 7, ones=True))
    assert (buffer.size, buffer.row) == (56, 16)
    buffer.admit(value(2, 1))
    assert (buffer.size, buffer.row) == (56, 16)


def test_the_smallest_memory_into_which_a_value_fits_is_taken() -> None:
    free, (small, large, fitting, _) = free_of(40, 400, 48, 64)
    assert free.take(value(4, 3)) is fitting
    assert free.take(value(4, 10)) is large
    assert free.take(value(4, 2)) is small
    assert free.made == []


def test_of_memory_of_one_size_the_one_left_last_is_taken() -> None:
    free, buffers = free_of(48, 48, 48)
    assert [free.take(value(4, 3)) for _ in buffers] == buffers[::-1]
    assert free.take(value(4, 3)) not in buffers


def test_the_largest_memory_grows_where_none_is_large_enough() -> None:
    free, (_, large, _) = free_of(8, 16, 12)
    assert free.take(value(4, 3)) is large
    assert large.size == 48


def test_memory_that_is_far_too_large_is_left_to_a_larger_value() -> None:
    free, (large,) = free_of(64 * 48)
    assert free.take(value(4, 3)) is large
    free, (larger,) = free_of(64 * 48 + 1)
    assert free.take(value(4, 3)) is not larger
    assert free.take(value(4, 4)) is larger


def test_new_memory_is_made_where_none_is_free() -> None:
    free, (only,) = free_of(48)
    assert free.take(value(4, 3)) is only
    made = free.take(value(4, 3))
    assert (made.size, free.made) == (48, [made])


def test_a_number_has_memory_of_its_own() -> None:
    free, (only,) = free_of(48)
    number = free.take(value(batch_axis=None))
    assert (number.size, free.made, only.size) == (4, [number], 48)


def test_a_row_of_ones_is_put_behind_a_value_of_its_own_size_alone() -> None:
    free, (narrow, exact, wide) = free_of(44, 48, 64)
    assert free.take(value(4, 3, ones=True)) is exact
    assert exact.row == 16
    fresh = free.take(value(4, 3, ones=True))
    assert fresh not in (narrow, exact, wide)
    assert (fresh.size, fresh.row, narrow.size, wide.size) == (48, 16, 44, 64)


def test_one_of_several_of_a_size_may_have_a_row_of_ones_already() -> None:
    free, buffers = free_of(48, 48, row=16)
    assert free.take(value(4, 3, ones=True)) is buffers[1]
    assert free.take(value(4, 3)) is buffers[0]


def test_memory_with_a_row_of_ones_does_not_grow() -> None:
    free, (first, second) = free_of(16, 8, row=16)
    larger = free.take(value(4, 3))
    assert larger not in (first, second)
    assert (first.size, second.size) == (16, 8)
    free, (without, grown, with_ones) = free_of(8, 16, 16)
    with_ones.row = without.row = 16
    assert free.take(value(4, 3)) is grown


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(value(3, 4), id="shape"),
        pytest.param(value(4, 3, dtype=F64), id="size of an element"),
        pytest.param(value(4, 3, batch_axis=None), id="batch axis"),
        pytest.param(value(4, 3, batch_axis=1), id="place of the batch axis"),
    ],
)
def test_values_of_another_form_lie_otherwise(other: Value) -> None:
    assert same_form(value(4, 3), value(4, 3, dtype=np.dtype(np.int32)))
    assert not same_form(value(4, 3), other)
    assert not same_form(other, value(4, 3))


def test_values_in_another_order_of_memory_lie_otherwise() -> None:
    ordered = value(4, 3)
    ordered.order = (0, 1)
    assert not same_form(value(4, 3), ordered)
    assert same_form(ordered, ordered)


def test_sizes_are_counted_in_bytes_and_places_in_elements() -> None:
    x = value(4, 3, dtype=F64, ones=True)
    x.offset = 5
    assert (nbytes(x), ends_at(x)) == (96, 17)


def test_only_outputs_that_are_read_are_written() -> None:
    read, unread = value(4, 3), value(4, 3)
    read.use_count = 1
    assert written(Call(COPY, (), (unread, read), {}, "")) == [read]
