"""Whether params are copied into a workspace or read where they are, by what each costs; and what takes a batch in."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple, cast

import numpy as np
import pytest

from funcnet.compiler.workspace import (
    COPY_COST,
    FEWEST_FEATURES,
    REBIND_COST,
    ROWS_AT_ONCE,
    ChunkedInput,
    InputReference,
    Workspace,
    borrowed,
    input_target,
    taker,
)

READERS = 2
COST = READERS * REBIND_COST
FEW, MANY = COST // 4, COST // 4 + 1  # float32s, whose copy takes as long as to bind the calls, and longer


class Recorder:
    """In place of a binding: it tells what it was asked to read from."""

    def __init__(self, *, can_move: bool = True) -> None:
        self.can_move = can_move
        self.readers = [None] * READERS
        self.read: list[Any] = []
        self.error: Exception | None = None

    def read_from(self, vector: Any) -> None:
        if self.error:
            raise self.error
        self.read.append(vector)


class Cache(NamedTuple):
    layout: Any = None


def numbers(count: int, start: float = 0.0) -> Any:
    return np.arange(count, dtype=np.float32) + np.float32(start)


def space_of(count: int, binding: Recorder | None) -> Workspace[Any]:
    """A workspace with so many params."""
    own = numbers(count)
    return Workspace(Cache(), deque(), own, own, [], [], [], [], cast("Any", binding))  # type: ignore[arg-type]


def same_memory(a: Any, b: Any) -> bool:
    return bool(a.__array_interface__["data"] == b.__array_interface__["data"])


def test_params_are_copied_where_that_takes_no_longer_than_to_bind_the_calls() -> None:
    assert space_of(FEW, Recorder()).copies
    assert not space_of(MANY, Recorder()).copies
    assert space_of(MANY, Recorder(can_move=False)).copies
    assert space_of(MANY, None).copies


def test_few_params_are_taken_by_a_copy() -> None:
    binding = Recorder()
    space, given = space_of(FEW, binding), numbers(FEW, 1.0)
    space.take(given)
    assert space.copies
    assert np.array_equal(space.own, given)
    assert binding.read == []
    assert space.source() is space.own


def test_many_params_are_taken_where_they_are() -> None:
    binding = Recorder()
    space, given = space_of(MANY, binding), numbers(MANY, 1.0)
    for _ in range(2):
        space.take(given)
        assert not space.copies
        assert space.own[0] == 0.0
        assert space.source() is given
        assert len(binding.read) == 1
    assert binding.read[0] is not given, "it would be held"
    assert same_memory(binding.read[0], given)


def test_params_that_are_no_vector_are_not_taken() -> None:
    space = space_of(FEW, Recorder())
    with pytest.raises(ValueError, match="^$"):
        space.take(numbers(FEW).reshape(1, -1))
    assert space.own[1] == 1.0


def test_params_of_its_own_are_read_again_as_they_are() -> None:
    binding = Recorder()
    space = space_of(MANY, binding)
    space.read_from(numbers(MANY))
    space.read_from(space.own)
    assert binding.read[1] is space.own
    space.read_from(space.own)
    assert len(binding.read) == 2


def test_where_nothing_can_be_bound_the_source_stays() -> None:
    space = space_of(FEW, None)
    space.read_from(numbers(FEW))
    assert space.source() is space.own


def test_calls_that_were_bound_in_part_are_bound_anew() -> None:
    binding = Recorder()
    space, given = space_of(MANY, binding), numbers(MANY)
    binding.error = KeyError("interrupted")
    with pytest.raises(KeyError):
        space.read_from(given)
    assert space.source() is None
    binding.error = None
    space.read_from(space.own)
    assert binding.read == [space.own]


def test_params_that_come_again_are_read_where_they_are_once_the_copies_took_longer() -> None:
    binding = Recorder()
    space, given = space_of(FEW, binding), numbers(FEW)
    found: list[tuple[bool, int]] = []
    for _ in range(2):
        space.copied(given)
        found.append((space.copies, space.bytes_copied))
    assert found == [(True, COST), (False, 0)]
    assert space.source() is given


@pytest.mark.parametrize(
    ("runs", "more", "copies"), [(2, 0, True), (3, 0, False), (2, 1, False), (1, 1, True), (2, -1, True)]
)
def test_a_vector_that_changes_between_runs_is_copied_where_that_takes_less_time(
    runs: int, more: int, copies: bool
) -> None:
    """Two copies, each with what a copy takes besides, take as long as to bind the calls twice."""
    count = (COST - COPY_COST) // 4 + more
    space, given = space_of(count, Recorder()), numbers(count, 1.0)
    assert space.follow(given, runs) is copies
    assert space.copies is copies
    assert (space.source() is given) is not copies
    assert bool(space.own[0] == 1.0) is copies


def test_borrowed_memory_is_the_same_and_not_held() -> None:
    vector = numbers(3)
    view = borrowed(vector)
    view[1] = 7.0
    assert vector[1] == 7.0
    assert view.base is not vector


@pytest.mark.parametrize(("factor", "expected"), [(1.0, 3.0), (0.5, 1.5), (1.5, 4.5)])
def test_a_number_is_scaled_as_it_is_taken_out(factor: float, expected: float) -> None:
    y = np.array(1.0, np.float32)
    take = taker(y, factor)
    y[...] = 3.0
    assert take() == expected


def test_an_array_is_taken_out_as_a_copy() -> None:
    y = numbers(3)
    take = taker(y, 1.0)
    y[0] = 5.0
    assert np.array_equal(take(), y)
    assert not np.may_share_memory(take(), y)


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        ((ROWS_AT_ONCE, FEWEST_FEATURES), 0),
        ((ROWS_AT_ONCE + 1, FEWEST_FEATURES), 2),
        ((2 * ROWS_AT_ONCE, FEWEST_FEATURES), 2),
        ((2 * ROWS_AT_ONCE + 1, FEWEST_FEATURES - 1), 0),
        ((2 * ROWS_AT_ONCE, FEWEST_FEATURES, 1), 0),
        ((2 * ROWS_AT_ONCE,), 0),
    ],
)
def test_a_large_batch_of_many_features_is_taken_some_rows_at_a_time(shape: tuple[int, ...], parts: int) -> None:
    inside = np.zeros(shape)
    target = input_target(inside)
    assert (len(target.parts) if isinstance(target, ChunkedInput) else 0) == parts
    given = np.random.default_rng(0).normal(size=shape)
    target[...] = given
    assert np.array_equal(inside, given)
    assert all(len(part) <= ROWS_AT_ONCE for _, part in (target.parts if parts else []))


def test_a_reference_is_to_the_very_array_given() -> None:
    lent, given = InputReference(), numbers(3)
    assert lent.array is None
    lent[...] = given
    assert lent.array is given
