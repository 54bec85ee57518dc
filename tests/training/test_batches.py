"""Mini-batches: every row once, in an order that the key names, of arrays, files and iterables."""

from __future__ import annotations

import tracemalloc
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


@pytest.mark.parametrize("data", [None, 3, lambda: [(X, T)], "ab", b"ab", {1, 2}, {"x": X, "t": T}])
@pytest.mark.parametrize("size", [None, 4])
def test_what_holds_no_batches_is_reported(data: Any, size: int | None) -> None:
    with pytest.raises(fn.OptionError, match=r"data: a tuple of arrays \(input, target\) or an iterable"):
        fn.minibatches(data, size)


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
def test_mistakes_are_reported_at_the_call(data: Any, size: Any, key: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        fn.minibatches(data, size, key)


@pytest.mark.parametrize("data", [[()], ["ab"], [None], [(X, T), None]])
def test_what_is_no_batch_is_refused(data: Any) -> None:
    with pytest.raises(fn.OptionError, match=r"a batch, and data in arrays, is a tuple of arrays \(input, target\)"):
        [*fn.minibatches(data)]


# --- data as they come


LAYOUTS: dict[str, Any] = {
    "C": lambda x: np.ascontiguousarray(x),
    "Fortran": np.asfortranarray,
    "a slice of columns": lambda x: np.pad(x, ((0, 0), (1, 2)))[:, 1:-2],
    "reversed": lambda x: x[::-1].copy()[::-1],
    "every second": lambda x: np.repeat(x, 2, axis=0)[::2],
    "read-only": lambda x: np.broadcast_to(x, x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("key", [None, fn.key(3)])
def test_the_memory_layout_changes_nothing_and_only_the_rows_are_read(layout: str, key: Any) -> None:
    x = np.random.default_rng(0).normal(size=(4000, 50))
    t = np.arange(4000)
    laid = LAYOUTS[layout](x)
    np.testing.assert_array_equal(laid, x)
    expected = [*fn.minibatches((x, t), 32, key)]
    tracemalloc.start()
    try:
        batches = fn.minibatches((laid, t), 32, key)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for (a, b), (c, d) in zip(batches, expected, strict=True):
            np.testing.assert_array_equal(a, c)
            np.testing.assert_array_equal(b, d)
        assert tracemalloc.get_traced_memory()[1] - before < x.nbytes / 8
    finally:
        tracemalloc.stop()


def test_of_a_slice_of_a_file_the_rows_alone_are_read(tmp_path: Path) -> None:
    wide = np.random.default_rng(0).normal(size=(4000, 51))
    np.save(tmp_path / "x.npy", wide)
    x = np.load(tmp_path / "x.npy", mmap_mode="r")[:, 1:]
    tracemalloc.start()
    try:
        (batch,) = next(fn.minibatches((x,), 32, fn.key(0)))
        assert tracemalloc.get_traced_memory()[1] < x.nbytes / 8
    finally:
        tracemalloc.stop()
    assert type(batch) is np.ndarray


class Series:
    """What a DataFrame or a tensor of another library is to NumPy."""

    def __init__(self, values: Any) -> None:
        self.values = values
        self.made = 0

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        self.made += 1
        return np.array(self.values, dtype)

    def __iter__(self) -> Any:
        return iter(["column names", "as of a DataFrame"])


FORMS: dict[str, Any] = {
    "list": [X, T],
    "an array and a list": (X, T.tolist()),
    "lists": (X.tolist(), T.tolist()),
    "a list of lists": [X.tolist(), T.tolist()],
    "of another library": (Series(X), Series(T)),
    "list of another library": [Series(X), T],
}


@pytest.mark.parametrize("form", FORMS)
def test_arrays_of_all_rows_in_any_form(form: str) -> None:
    for (a, b), (c, d) in zip(
        fn.minibatches(FORMS[form], 4, fn.key(1)), fn.minibatches((X, T), 4, fn.key(1)), strict=True
    ):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)


@pytest.mark.parametrize("alone", [X, Series(X)])
def test_one_array_alone_is_all_rows(alone: Any) -> None:
    (found,) = joined(fn.minibatches(alone, 4))
    np.testing.assert_array_equal(found, X)


def test_arrays_are_made_once_before_the_first_epoch() -> None:
    net = fn.linear(2)
    params, _ = net.init(fn.key(0), (2,))
    step = fn.sgd_step(net, fn.softmax_cross_entropy(), learning_rate=0.1)
    x, t = Series(X), Series(T % 2)
    fitted = fn.fit(step, params, (x, t), 5, 4, fn.key(0), validation=[x, t])
    assert x.made == t.made == 2  # once for data, once for validation
    again = fn.fit(step, params, (X, T % 2), 5, 4, fn.key(0), validation=(X, T % 2))
    np.testing.assert_array_equal(fitted.params.weight, again.params.weight)
    assert fn.evaluate(net, fn.accuracy, fitted, [x, t]) == fn.evaluate(net, fn.accuracy, fitted.params, (X, T % 2))


def test_pandas_and_batches_of_it() -> None:
    pd = pytest.importorskip("pandas")
    frame, series = pd.DataFrame(X), pd.Series(T)
    for data in ((frame, series), [frame, series], (frame, T.tolist())):
        found = joined(fn.minibatches(data, 3))
        np.testing.assert_array_equal(found[0], X)
        np.testing.assert_array_equal(found[1], T)
    ((x, t),) = fn.minibatches([(frame, series)])
    assert type(x) is type(t) is np.ndarray
    with pytest.raises(fn.DTypeError, match="data: array 0"):
        fn.minibatches((pd.DataFrame({"a": ["x", "y"]}), T[:2]), 2)


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_matrix", "coo_array"])
@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64])
def test_sparse_rows_become_dense_batch_by_batch(kind: str, dtype: Any) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    dense = (np.arange(40).reshape(10, 4) % 3).astype(dtype)
    given = getattr(sparse, kind)(dense)
    for key in (None, fn.key(1)):
        for (a, b), (c, d) in zip(fn.minibatches((given, T), 3, key), fn.minibatches((dense, T), 3, key), strict=True):
            assert type(a) is np.ndarray
            assert a.dtype == (np.float64 if dtype is np.int64 else dtype)
            np.testing.assert_array_equal(a, c)
            np.testing.assert_array_equal(b, d)
    net = fn.linear(2)
    params, _ = net.init(fn.key(0), (4,))
    step = fn.train_step(net, fn.softmax_cross_entropy(), fn.adam(0.1))
    data = (dense.astype(np.float32), T % 2)
    right = fn.fit(step, params, data, 2, 4, fn.key(0), validation=data)
    for given_data in ((given, T % 2), [given, T % 2]):
        found = fn.fit(step, params, given_data, 2, 4, fn.key(0), validation=given_data)
        np.testing.assert_array_equal(found.last.weight, right.last.weight)
        assert fn.evaluate(net, fn.accuracy, found, given_data) == fn.evaluate(net, fn.accuracy, right, data)
    once = [(given, T % 2)]
    np.testing.assert_array_equal(fn.fit(step, params, once, 1).params.weight,
                                  fn.fit(step, params, [data], 1).params.weight)  # fmt: skip


def test_a_list_of_arrays_of_other_lengths_is_batches_of_one_array() -> None:
    assert [len(x) for (x,) in fn.minibatches([X[:3], X])] == [3, 10]
    with pytest.raises(fn.ShapeError, match="axis 0 is the rows"):
        fn.minibatches([X, T[:9]], 4)
