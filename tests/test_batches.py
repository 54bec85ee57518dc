"""Mini-batches: every row once, in an order that the key names, of arrays, files and iterables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import funcnet as fn

X = np.arange(20, dtype=np.float32).reshape(10, 2)
T = np.arange(10)


def joined(batches: Any) -> list[Any]:
    return [np.concatenate(column) for column in zip(*batches, strict=True)]


def test_without_a_key_rows_keep_their_order() -> None:
    batches = [*fn.minibatches((X, T), 4)]
    assert [len(x) for x, _ in batches] == [4, 4, 2]
    given: list[Any] = [X, T]
    for whole, array in zip(joined(batches), given, strict=True):
        np.testing.assert_array_equal(whole, array)
        assert whole.dtype == array.dtype


def test_a_key_names_an_order_of_all_rows() -> None:
    x, t = joined(fn.minibatches((X, T), 3, fn.key(1)))
    assert sorted(t) == [*T]
    assert [*t] != [*T]
    np.testing.assert_array_equal(x, X[t])
    np.testing.assert_array_equal(t, joined(fn.minibatches((X, T), 5, fn.key(1)))[1])
    assert [*t] != [*joined(fn.minibatches((X, T), 3, fn.key(2)))[1]]


def test_the_last_batch_can_be_left_out() -> None:
    assert [len(x) for x, _ in fn.minibatches((X, T), 4, drop_last=True)] == [4, 4]
    assert [len(x) for x, _ in fn.minibatches((X, T), 5, drop_last=True)] == [5, 5]
    assert [len(x) for (x,) in fn.minibatches((X,), 99)] == [10]
    with pytest.raises(fn.OptionError, match="drop_last leaves no batch of 11 from 10 rows"):
        fn.minibatches((X, T), 11, drop_last=True)


def test_a_file_of_arrays_gives_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    for key in (None, fn.key(0)):
        for (mine, _), (theirs, _) in zip(fn.minibatches((x, T), 4, key), fn.minibatches((X, T), 4, key), strict=True):
            assert type(mine) is np.ndarray
            np.testing.assert_array_equal(mine, theirs)


def test_batches_of_an_iterable_are_handed_on() -> None:
    given = [(X[:3], T[:3]), [X[3:], T[3:]]]
    for data in (given, iter(given), (batch for batch in given)):
        found = [*fn.minibatches(data)]
        assert [type(batch) for batch in found] == [tuple, tuple]
        assert found[1][0] is given[1][0]


@pytest.mark.parametrize("data", [None, 3, lambda: [(X, T)]])
def test_what_holds_no_batches_is_told(data: Any) -> None:
    with pytest.raises(fn.OptionError, match=r"data: a tuple of arrays \(input, target\) or an iterable"):
        fn.minibatches(data)


def test_a_mask_is_not_lost() -> None:
    with pytest.raises(fn.DTypeError, match=r"data: array 0 is a masked array.*x\.filled"):
        fn.minibatches((np.ma.masked_array(X, X > 3), T), 4)


def test_nothing_is_written_into() -> None:
    before = X.copy(), T.copy()
    for x, t in fn.minibatches((X, T), 4, fn.key(0)):
        x[...] = 0
        t[...] = 0
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(T, before[1])


WRONG: list[tuple[Any, Any, Any, type[Exception], str]] = [
    ((X, T), None, None, fn.OptionError, "batch_size is needed for data in arrays"),
    ((X, T), 0, None, fn.OptionError, "batch_size must be an int of at least 1, not 0"),
    ((X, T), 2.5, None, fn.OptionError, "batch_size must be an int"),
    ((X, T[:9]), 4, None, fn.ShapeError, r"data of shapes \(10, 2\), \(9,\): axis 0 is the rows"),
    ((X[:0], T[:0]), 4, None, fn.ShapeError, "at least one"),
    ((X, np.array(1.0)), 4, None, fn.ShapeError, r"data of shapes \(10, 2\), \(\)"),
    ((X, T), 4, 0, fn.KeyTypeError, "a key is"),
    ([(X, T)], 4, None, fn.OptionError, "batch_size is for arrays"),
]


@pytest.mark.parametrize(("data", "size", "key", "error", "words"), WRONG)
def test_mistakes_are_told_at_the_call(data: Any, size: Any, key: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        fn.minibatches(data, size, key)


@pytest.mark.parametrize("data", [[X, T], [()], ["ab"], [None]])
def test_what_is_no_batch_is_refused(data: Any) -> None:
    with pytest.raises(fn.OptionError, match=r"a batch, and data in arrays, is a tuple of arrays \(input, target\)"):
        next(fn.minibatches(data))
