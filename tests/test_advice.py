"""What is told of data that no network computes with; the code in a message, run as it stands, mends them."""

from __future__ import annotations

import datetime
import decimal
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import funcnet as fn

pd: Any = pytest.importorskip("pandas")
sparse: Any = pytest.importorskip("scipy.sparse")

X = np.ones((3, 2), np.float32)


class Problem(NamedTuple):
    """Data as someone has them, a part of the message, and the code in it that mends them."""

    data: Any
    words: str
    fix: str


CLASSIFY = (fn.softmax_cross_entropy(), 3)
YES_NO = (fn.sigmoid_cross_entropy(), 1)
UNIQUE = "classes, y = np.unique(y, return_inverse=True)"
COLUMN = "y.astype(np.float32)[:, None]"
OF_A_LIST = "np.asarray(y, np.float32)[:, None]"

TARGETS: dict[str, tuple[Any, Problem]] = {
    "strings": (CLASSIFY, Problem(np.array(["no", "yes", "no"]), "strings", UNIQUE)),
    "a list of strings": (CLASSIFY, Problem(["no", "yes", "no"], "strings", UNIQUE)),
    "objects that are strings": (CLASSIFY, Problem(np.array(["no", "yes", "no"], object), "strings", UNIQUE)),
    "a Series of strings": (CLASSIFY, Problem(pd.Series(["no", "yes", "no"]), "strings", UNIQUE)),
    "categories": (CLASSIFY, Problem(pd.Series(["a", "b", "a"], dtype="category"), "strings", UNIQUE)),
    "digits as strings": (CLASSIFY, Problem(np.array(["7", "9", "7"]), "strings", UNIQUE)),
    "bool labels": (CLASSIFY, Problem(np.array([True, False, True]), "bool", "y.astype(int)")),
    "a list of bools": (CLASSIFY, Problem([True, False, True], "bool", "np.asarray(y, int)")),
    "objects that are ints": (CLASSIFY, Problem(np.array([0, 1, 2], object), "Python objects", "y.astype(int)")),
    "ints for a sigmoid": (YES_NO, Problem(np.array([0, 1, 0]), "int64", COLUMN)),
    "bools for a sigmoid": (YES_NO, Problem(np.array([True, False, True]), "bool", COLUMN)),
    "a list of ints for a sigmoid": (YES_NO, Problem([0, 1, 0], "int64", OF_A_LIST)),
    "a Series of ints for a sigmoid": (YES_NO, Problem(pd.Series([0, 1, 0]), "int64", OF_A_LIST)),
    "a nullable Series": (YES_NO, Problem(pd.Series([0, 1, 0], dtype="Int64"), "", OF_A_LIST)),
    "numbers as strings": (YES_NO, Problem(np.array(["1", "0", "1"]), "numbers as strings", COLUMN)),
    "bytes for a sigmoid": (YES_NO, Problem(np.array([1, 0, 1], np.uint8), "uint8", COLUMN)),
}


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("maker", ["sgd_step", "train_step", "value_and_grad"])
def test_done_as_told_a_target_is_taken(name: str, maker: str) -> None:
    (loss, units), (y, words, fix) = TARGETS[name]
    net = fn.linear(units)
    params, _ = net.init(fn.key(0), (2,))
    makers: dict[str, Callable[[], Any]] = {
        "sgd_step": lambda: fn.sgd_step(net, loss, learning_rate=0.1),
        "train_step": lambda: fn.train_step(net, loss, fn.sgd(0.1)),
        "value_and_grad": lambda: fn.value_and_grad(net, loss),
    }
    step = makers[maker]()
    first = (step.init(params),) if maker == "train_step" else ()
    with pytest.raises(fn.DTypeError) as caught:
        step(params, *first, X, y)
    assert words in str(caught.value)
    assert fix in str(caught.value)
    step(params, *first, X, done(fix, y=y))


def done(fix: str, **names: Any) -> Any:
    """What the code of a fix makes of the data in these names."""
    space = {"np": np, "pd": pd, **names}
    if " = " in fix:
        exec(fix, space)
        return space["y"]
    return eval(fix, space)


DAY = np.datetime64("2024-01-01")
TABLE = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1, 2, 3]})
INPUTS: dict[str, Problem] = {
    "ints": Problem(np.ones((3, 2), int), "int64", "x.astype(np.float32)"),
    "bools": Problem(np.ones((3, 2), bool), "bool", "x.astype(np.float32)"),
    "a list of ints": Problem([[1, 2]] * 3, "int64", "np.asarray(x, np.float32)"),
    "objects": Problem(np.ones((3, 2), object), "Python objects", "x.astype(np.float32)"),
    "decimals": Problem([[decimal.Decimal(1)] * 2] * 3, "Python objects", "np.asarray(x, np.float32)"),
    "numbers as strings": Problem(np.full((3, 2), "1.5"), "numbers as strings", "x.astype(np.float32)"),
    "dates": Problem(np.full((3, 2), DAY), "datetime64", "(x - x.min()) / np.timedelta64(1, 'D')"),
    "durations": Problem(np.full((3, 2), DAY - DAY), "timedelta64", "x / np.timedelta64(1, 'D')"),
    "complex numbers": Problem(np.ones((3, 2), complex), "complex128", "x.real"),
    "a frame of ints": Problem(TABLE[["b", "b"]], "not all floating", 'df.astype("float32")'),
    "a frame with a bool": Problem(TABLE[["a"]].assign(c=True), "not all floating", 'df.astype("float32")'),
    "a nullable frame": Problem(TABLE[["b", "b"]].astype("Int64"), "not all floating", 'df.astype("float32")'),
    "a frame with a string": Problem(
        TABLE[["a"]].assign(city=["x", "y", "x"])[["city"]],
        "'city'",
        "pd.get_dummies(df, columns=['city']).astype(\"float32\")",
    ),
    "a frame with a category": Problem(
        TABLE[["a"]].assign(city=pd.Categorical(["x", "x", "x"])),
        "'city' (category)",
        "pd.get_dummies(df, columns=['city']).astype(\"float32\")",
    ),
    "a frame with a date": Problem(
        TABLE[["a", "b"]].astype("float32").assign(when=DAY), "'when' (datetime64", "df.drop(columns=['when'])"
    ),
    "a frame with missing values": Problem(
        TABLE[["a"]].assign(n=pd.array([1, None, 3], dtype="Int64"), c=pd.array([True, None, True], dtype="boolean"))[
            ["n", "c"]
        ],
        "missing values in the columns 'n', 'c'",
        'df.astype("float32").fillna(0)',
    ),
}


@pytest.mark.parametrize("name", INPUTS)
def test_done_as_told_an_input_is_taken(name: str) -> None:
    x, words, fix = INPUTS[name]
    net = fn.linear(1)
    params, _ = net.init(fn.key(0), (2,))
    with pytest.raises(fn.DTypeError) as caught:
        net.apply(params, x)
    assert words in str(caught.value)
    assert fix in str(caught.value)
    assert net.apply(params, done(fix, x=x, df=x)).shape == (3, 1)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.array([[1.0, None]], object), "missing values, None first at 1"),
        (np.array([[pd.NA, 1]], object), "missing values, <NA> first at 0"),
        (np.array([[pd.NaT, 1]], object), "missing values, NaT first at 0"),
        (pd.Series([True, None], dtype="boolean"), "missing values, <NA> first at 1"),
        (np.array([[1], [1, 2]], object), "Python objects of type list: make them numbers of one kind"),
        (np.array([[datetime.date(2024, 1, 1)]]), "Python objects of type date"),
        (np.zeros(2, "V4"), "holds no numbers"),
        (fn.key(0), "is a random key: pass it by its name"),
        ({1: X}, "params come first"),
        (object(), "is a object, not an array"),
    ],
    ids=lambda x: f"{x!r:.30}",
)
def test_what_nothing_can_be_said_of_but_what_it_is(x: Any, words: str) -> None:
    with pytest.raises(fn.DTypeError, match=re.escape(words)):
        fn.tanh().apply((), x)


def test_many_columns_are_not_all_listed() -> None:
    frame = pd.DataFrame({f"c{i}": ["x", "y"] for i in range(50)})
    with pytest.raises(fn.DTypeError, match=r"'c4' \(\w+\), \.\.\.: encode them"):
        fn.tanh().apply((), frame)


# --- what is taken as it is


@pytest.mark.parametrize("make", [pd.DataFrame, np.ndarray.tolist, np.float64, np.asfortranarray])
def test_tables_and_lists_are_taken(make: Any) -> None:
    net = fn.linear(1)
    params, _ = net.init(fn.key(0), (2,))
    np.testing.assert_array_equal(net.apply(params, make(X)), net.apply(params, X))


FORMATS = ["csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "coo_array", "dok_matrix", "lil_matrix", "bsr_array"]
DTYPES = [np.int64, np.int8, np.uint8, np.bool_, np.float32, np.float64]


@given(
    values=st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=2), min_size=1, max_size=5),
    kind=st.sampled_from(FORMATS),
    dtype=st.sampled_from(DTYPES),
    wide=st.booleans(),
)
def test_sparse_matrices_of_numbers_are_taken(values: Any, kind: str, dtype: Any, wide: bool) -> None:
    x = np.array(values).astype(dtype)
    matrix = getattr(sparse, kind)(x)
    net = fn.linear(1)
    params, _ = net.init(fn.key(0), (2,), dtype=np.float64 if wide else np.float32)
    expected = net.apply(params, x.astype(np.float64))
    np.testing.assert_array_equal(net.apply(params, matrix), expected)
    loss, _ = fn.value_and_grad(net, fn.mse())(params, matrix, np.zeros((len(x), 1)))
    assert loss.dtype == expected.dtype


def test_a_sparse_matrix_of_complex_numbers_is_refused() -> None:
    with pytest.raises(fn.DTypeError, match=r"complex128.*x\.real"):
        fn.tanh().apply((), sparse.csr_matrix(np.eye(2) * 1j))
