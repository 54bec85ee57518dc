"""Checkpoints: what is saved comes back, and what differs from what was asked for is told, all of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple, assert_type

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numbers

import funcnet as fn
from funcnet import tree

NET = fn.network({1: fn.linear(3), 2: fn.tanh(), "out": fn.linear(2)}, {1: [2], 2: ["out"]})
PARAMS, _ = NET.init(fn.key(0), (2,))


class Momentum(NamedTuple):
    """A state as optimizers have them."""

    steps: int
    trace: Any
    schedule: Any = None


STATE: tuple[Momentum, dict[Any, Any]] = (
    Momentum(7, tree.map(np.zeros_like, PARAMS)),
    {"key": fn.key(3), "rates": [0.1, np.float32(0.2)], 1: ()},
)


def bits(pytree: Any) -> list[Any]:
    """Everything that can be told of a tree."""
    described = [(p, type(x), np.asarray(x).dtype, np.shape(x), np.asarray(x).tobytes()) for p, x in
                 tree.leaves_with_path(pytree)]  # fmt: skip
    return [tree.structure(pytree), *described]


def blank(leaf: Any) -> Any:
    """Another leaf of the same kind."""
    return type(leaf)(0) if np.ndim(leaf) == 0 and not isinstance(leaf, np.ndarray) else np.zeros_like(leaf)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.npz"


def test_params_come_back(path: Path) -> None:
    fn.save(path, PARAMS)
    other, _ = NET.init(fn.key(1), (2,))
    found = fn.load(path, like=other)
    assert_type(found, fn.Checkpoint[dict[fn.OperatorKey, Any], None])
    assert bits(found.params) == bits(PARAMS)
    assert (found.state, found.metadata) == (None, {})


def test_state_key_and_metadata_come_back(path: Path) -> None:
    metadata = {"epoch": 3, "classes": ["a", "b"], "nested": {"rate": 0.1, "none": None}, "é": "\ud800"}
    fn.save(str(path), PARAMS, state=STATE, metadata=metadata)
    found = fn.load(str(path), PARAMS, state=tree.map(blank, STATE))
    assert_type(found.state, tuple[Momentum, dict[Any, Any]])
    assert bits(found.params) == bits(PARAMS)
    assert bits(found.state) == bits(STATE)
    assert found.metadata == metadata


def test_training_goes_on_as_if_it_had_never_stopped(path: Path) -> None:
    x = np.linspace(-1, 1, 10, dtype=np.float32).reshape(5, 2)
    step = fn.sgd_step(NET, fn.mse(), learning_rate=0.1)
    params, _ = step(PARAMS, x, x)
    fn.save(path, params)
    assert bits(step(fn.load(path, PARAMS).params, x, x)) == bits(step(params, x, x))


def test_a_fit_goes_on_in_another_process_as_if_it_had_never_stopped(path: Path) -> None:
    x = np.linspace(-1, 1, 20, dtype=np.float32).reshape(10, 2)
    step = fn.train_step(NET, fn.mse(), fn.adam(0.01))
    whole, half = (fn.fit(step, PARAMS, (x, np.sin(x)), epochs, 3, fn.key(1)) for epochs in (4, 2))
    fn.save(path, half)

    params, _ = NET.init(fn.key(7), (2,))
    again = fn.load(path, fn.Fit(params, step.init(params), {"loss": np.empty(0)}, params)).params
    assert bits(fn.fit(step, again, (x, np.sin(x)), 4, 3, fn.key(1))) == bits(whole)


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_an_array_of_no_rows_takes_those_of_the_file(path: Path, rows: int) -> None:
    kept = {"losses": np.arange(rows, dtype=np.float64), "matrices": np.ones((rows, 2, 2), np.int64)}
    fn.save(path, kept)
    like = {"losses": np.empty(0), "matrices": np.empty((0, 2, 2), np.int64)}
    assert bits(fn.load(path, like).params) == bits(kept)
    for wrong in (np.empty(0), np.empty((0, 2, 3), np.int64), np.empty((0, 2, 2), np.int32), np.empty((2, 0, 2))):
        with pytest.raises(fn.CheckpointError, match="matrices.*was asked for"):
            fn.load(path, {**like, "matrices": wrong})


dtypes = st.one_of(
    numbers.boolean_dtypes(),
    numbers.integer_dtypes(endianness="?"),
    numbers.unsigned_integer_dtypes(endianness="?"),
    numbers.floating_dtypes(endianness="?"),
    numbers.complex_number_dtypes(endianness="?"),
)
arrays = numbers.arrays(dtypes, numbers.array_shapes(min_dims=0, min_side=0, max_side=3))
leaves = st.one_of(arrays, st.integers(-(2**63), 2**63 - 1), st.floats(), arrays.map(lambda a: a.reshape(-1)[:1].sum()))


def nodes(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Every kind of node over these children."""
    lists = st.lists(children, max_size=3)
    dicts = st.dictionaries(st.one_of(st.integers(), st.text()), children, max_size=3)
    return st.one_of(lists, lists.map(tuple), dicts, st.builds(Momentum, children, children, children), st.none())


@given(pytree=st.recursive(leaves, nodes, max_leaves=8))
def test_any_tree_comes_back(pytree: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "any.npz"
    fn.save(file, pytree, state=pytree)
    found = fn.load(file, tree.map(blank, pytree), state=pytree)
    assert bits(found.params) == bits(found.state) == bits(pytree)


def test_what_comes_back_is_fresh_and_has_the_order_of_what_was_asked_for(path: Path) -> None:
    fn.save(path, PARAMS)
    like = dict(reversed(PARAMS.items()))
    found = fn.load(path, like).params
    assert bits(found) == bits(like)
    assert not any(np.shares_memory(a, b) for a, b in zip(tree.leaves(found), tree.leaves(like), strict=True))
    assert all(a.flags.writeable and a.flags.owndata for a in tree.leaves(found))


def test_any_layout_is_kept_as_its_elements(path: Path) -> None:
    a = np.arange(12.0).reshape(3, 4)
    fn.save(path, [a.T, a[::2, ::-1], np.broadcast_to(a[0], (2, 4))])
    like = [np.zeros((4, 3)), np.zeros((2, 4)), np.zeros((2, 4))]
    for x, y in zip(fn.load(path, like).params, [a.T, a[::2, ::-1], [a[0], a[0]]], strict=True):
        np.testing.assert_array_equal(x, y)


def test_the_order_of_bytes_is_no_difference(path: Path) -> None:
    a = np.arange(3, dtype=">f4")
    fn.save(path, [a])
    first = path.read_bytes()
    (found,) = fn.load(path, [np.zeros(3, "<f4")]).params
    assert found.dtype.str == "<f4"
    np.testing.assert_array_equal(found, a)
    fn.save(path, [found])
    assert path.read_bytes() == first


def test_numpy_reads_the_file_without_pickle(path: Path) -> None:
    fn.save(path, PARAMS, metadata={"epoch": 3})
    with np.load(path, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["params['out'].weight"], PARAMS["out"].weight)
        assert len(file.files) == 5
        manifest = json.loads(file["manifest.json"])
    assert (manifest["version"], manifest["metadata"]) == (1, {"epoch": 3})
    assert manifest["entries"]["params[1].weight"] == {"kind": "array", "dtype": "float32", "shape": [2, 3]}
    assert manifest["entries"]["params[1]"] == {"kind": "NamedTuple", "name": "Affine"}


def test_the_same_content_is_the_same_file(path: Path) -> None:
    fn.save(path, PARAMS, state=STATE)
    first = path.read_bytes()
    fn.save(path, tree.map(np.array, PARAMS), state=STATE)
    assert path.read_bytes() == first


def difference(path: Path, like: Any, **options: Any) -> list[str]:
    """What is told, a line a difference."""
    with pytest.raises(fn.CheckpointError) as error:
        fn.load(path, like, **options)
    heading, *problems = str(error.value).split("\n  ")
    assert heading.startswith(f"{path}: {len(problems)} difference")
    return problems


A, B = np.zeros((2, 3), np.float32), np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("saved", "like", "told"),
    [
        ({1: A}, {1: A, 2: B}, ["params[2]: the file has nothing, but float32 (3,) was asked for"]),
        ({1: A, 2: B}, {1: A}, ["params[2]: the file has float32 (3,), but nothing was asked for"]),
        ({1: A}, {1: A.T}, ["params[1]: the file has float32 (2, 3), but float32 (3, 2) was asked for"]),
        ({1: A}, {1: A[None]}, ["params[1]: the file has float32 (2, 3), but float32 (1, 2, 3) was asked for"]),
        ({1: A}, {1: A.astype(float)}, ["params[1]: the file has float32 (2, 3), but float64 (2, 3) was asked for"]),
        (
            {1: A},
            {"1": A},
            [
                "params['1']: the file has nothing, but float32 (2, 3) was asked for",
                "params[1]: the file has float32 (2, 3), but nothing was asked for",
            ],
        ),
        ([], (), ["params: the file has list, but tuple was asked for"]),
        ({}, None, ["params: the file has dict, but None was asked for"]),
        (0, 0.0, ["params: the file has int, but float was asked for"]),
        (1, np.array(1), ["params: the file has int, but int64 () was asked for"]),
        (
            fn.Affine(A, B),
            Momentum(0, B),
            ["params: the file has Affine, but Momentum was asked for", *["params."] * 5],
        ),
        (fn.Weight(A), {"weight": A}, ["params: the file has Weight, but dict was asked for", *["params"] * 2]),
    ],
)
def test_every_difference_is_told(path: Path, saved: Any, like: Any, told: list[str]) -> None:
    fn.save(path, saved)
    found = difference(path, like)
    assert len(found) == len(told)
    assert all(line.startswith(start) for line, start in zip(found, told, strict=True))


def test_all_differences_are_told_at_once(path: Path) -> None:
    fn.save(path, dict.fromkeys(range(500), A), state={"count": 1})
    found = difference(path, dict.fromkeys(range(1, 500), B))
    assert len(found) == 500 + 2
    assert found[-1] == "state['count']: the file has int, but nothing was asked for"


def test_a_state_is_neither_left_out_nor_made_up(path: Path) -> None:
    fn.save(path, PARAMS, state=(1,))
    assert difference(path, PARAMS)[0] == "state: the file has tuple, but None was asked for"
    fn.save(path, PARAMS)
    assert difference(path, PARAMS, state=[])[0] == "state: the file has None, but list was asked for"


class Array(np.ndarray[Any, np.dtype[Any]]):
    """Which may hold more than an array does."""


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({1: np.array([object()])}, r"params\[1\] has dtype object"),
        (np.array(["a"]), "params has dtype <U1"),
        (np.zeros(2, "f4,i4"), "params has dtype"),
        (np.datetime64("2000-01-01"), "params has dtype datetime64"),
        ([fn.tanh().apply], r"params\[0\] is <tanh>, of type Function"),
        ("text", "params is 'text', of type str"),
        (True, "params is True, of type bool"),
        (np.ma.masked_array(A), "MaskedArray"),
        (A.view(Array), "of type Array: only arrays"),
        (2**63, f"params is {2**63}: an int is kept in 64 bits"),
        ({(1, 2): A}, r"params has the key \(1, 2\): keys in a file are int or str"),
        ([{True: A}], r"params\[0\] has the key True"),
        ({np.int64(1): A}, r"params has the key np\.int64\(1\)"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_there_is_a_file(path: Path, params: Any, told: str) -> None:
    with pytest.raises(fn.CheckpointError, match=told):
        fn.save(path, params)
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize(
    "metadata",
    [
        {1: 2},
        {"a": (1, 2)},
        {"a": np.float32(1)},
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": A},
        {"a": {2: 3}},
        {"a": b""},
        [1],
        "text",
    ],
)
def test_metadata_that_json_would_change_are_refused(path: Path, metadata: Any) -> None:
    with pytest.raises(fn.CheckpointError, match="comes back from JSON as it was"):
        fn.save(path, PARAMS, metadata=metadata)
    assert os.listdir(path.parent) == []


def test_what_the_disk_refuses_is_told_by_its_own_error(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fn.load(path, PARAMS)
    with pytest.raises(FileNotFoundError):
        fn.save(path / "file", PARAMS)
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        fn.save(path, PARAMS)
    assert os.listdir(path.parent) == ["model.npz"]
