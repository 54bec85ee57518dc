"""Checkpoints: what is saved comes back, and what differs from what was asked for is told, all of it."""

from __future__ import annotations

import json
import os
from collections import namedtuple
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


@pytest.mark.parametrize("history", [{}, {"loss": np.empty(0)}], ids=["empty", "named"])
def test_a_fit_goes_on_in_another_process_as_if_it_had_never_stopped(path: Path, history: Any) -> None:
    x = np.linspace(-1, 1, 20, dtype=np.float32).reshape(10, 2)
    step = fn.train_step(NET, fn.mse(), fn.adam(0.01))
    whole, half = (fn.fit(step, PARAMS, (x, np.sin(x)), epochs, 3, fn.key(1)) for epochs in (4, 2))
    fn.save(path, half)

    params, _ = NET.init(fn.key(7), (2,))
    again = fn.load(path, fn.Fit(params, step.init(params), history, params)).params
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
        ((A, B), (A,), ["params[1]: the file has float32 (3,), but nothing was asked for"]),
        ({1: A, 2: B}, {1: B}, ["params[1]: ", "params[2]: the file has float32 (3,), but nothing was asked for"]),
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
            ["params: the file has Affine, but Momentum was asked for"],
        ),
        (fn.Weight(A), {"weight": A}, ["params: the file has Weight, but dict was asked for"]),
        ((A,), (A, ({1: A}, B)), ["params[1]: the file has nothing, but tuple was asked for"]),
        ({1: {2: [A, B]}}, {10: B}, ["params[10]: ", "params[1]: the file has dict, but nothing was asked for"]),
        ((fn.Weight(A),), ((fn.Weight(A),),), ["params[0]: the file has Weight, but tuple was asked for"]),
        ({1: (A, (B,))}, {1: (A.T, (A,))}, ["params[1][0]: ", "params[1][1][0]: "]),
        ({"a.b": {"c": A}, "a": [A]}, {"a": A}, ["params['a']: ", "params['a.b']: the file has dict"]),
    ],
)
def test_every_difference_is_reported(path: Path, saved: Any, like: Any, told: list[str]) -> None:
    fn.save(path, saved)
    found = difference(path, like)
    assert len(found) == len(told)
    assert all(line.startswith(start) for line, start in zip(found, told, strict=True))


def test_all_differences_are_reported_at_once(path: Path) -> None:
    fn.save(path, dict.fromkeys(range(500), A), state={"count": 1})
    found = difference(path, dict.fromkeys(range(1, 500), B))
    assert len(found) == 500 + 1
    assert "state: the file has dict, but None was asked for" in found


def test_a_state_is_neither_left_out_nor_made_up(path: Path) -> None:
    fn.save(path, PARAMS, state=(1,))
    assert difference(path, PARAMS)[0] == "state: the file has tuple, but None was asked for"
    fn.save(path, PARAMS)
    assert difference(path, PARAMS, state=[])[0] == "state: the file has None, but list was asked for"


class Float(np.float64):
    """Which may hold more than a number does."""


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    made: list[Any] = []
    for _ in range(depth):
        made = [made]
    return made


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


class Array(np.ndarray[Any, np.dtype[Any]]):
    """Which may hold more than an array does."""


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({1: np.array([object()])}, r"params\[1\] has dtype object"),
        (np.array(["a"]), "params has dtype <U1"),
        (np.zeros(2, "f4,i4"), "params has dtype"),
        (np.zeros(2, "V3"), "params has dtype"),
        (np.zeros(1, "f4,i4")[0], "params has dtype"),
        (np.zeros(2, np.dtypes.StringDType()), "params has dtype"),
        (np.timedelta64(1, "s"), "params has dtype timedelta64"),
        (Float(1.0), "of type Float"),
        (np.datetime64("2000-01-01"), "params has dtype datetime64"),
        ([fn.tanh().apply], r"params\[0\] is <tanh>, of type Function"),
        ("text", "params is 'text', of type str"),
        (True, "params is True, of type bool"),
        (np.ma.masked_array(A), "MaskedArray"),
        (A.view(Array), "of type Array: only arrays"),
        (2**63, f"params is {2**63}: an int is kept in 64 bits"),
        ({(1, 2): A}, r"params has the key \(1, 2\): keys in a file are int or str"),
        ([{True: A}], r"params\[0\] has the key True"),
        ({np.int64(1): A}, r"params has the key np\.int64\(1\): .* use its item"),
        pytest.param(10**5000, "params is an int of 16,610 bits: an int is kept in 64 bits", id="huge"),
        ({10**5000: A}, "params has an int of 16,610 bits as a key"),
        ({"k" * 70_000: A}, r"params\['kkkk.* is a path of 70,010 bytes"),
        ({"k" * 40_000: {"k" * 40_000: A}}, r"params\['kkkk.* is a path of 80,014 bytes"),
        ({"\ud800" * 20_000: A}, "is a path of 120,010 bytes"),
        (nested(5_000), "params: nested too deeply"),
        (CIRCLE, "params: nested too deeply"),
        (type("Odd", (tuple,), {"_fields": ("a b",)})([1]), "'Odd' has a name or field that is no identifier"),
        (type("Odd", (tuple,), {"_fields": ("\ud800",)})([1]), "'Odd' has a name or field that is no identifier"),
        (type("Odd", (tuple,), {"_fields": ("a", "a")})([1, 2]), "or two alike"),
        (type("O.d", (tuple,), {"_fields": ("a",)})([1]), "'O.d' has a name or field"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_there_is_a_file(path: Path, params: Any, told: str) -> None:
    with pytest.raises(fn.CheckpointError, match=told):
        fn.save(path, params)
    assert os.listdir(path.parent) == []


def test_what_the_disk_refuses_is_reported_by_its_own_error(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fn.load(path, PARAMS)
    with pytest.raises(FileNotFoundError):
        fn.save(path / "file", PARAMS)
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        fn.save(path, PARAMS)
    assert os.listdir(path.parent) == ["model.npz"]


# Odd names


def test_keys_of_any_text_and_size_that_fit(path: Path) -> None:
    texts = ["", "\0", "\n", "'", '"', "'\"", "\\", "\\'", "]", "['a']", ".a", "\ud800", "\ud83d\ude00", "\u2028", "é"]
    keys = [*texts, "界", "a/b", "../x", 2**1000, -(2**1000), 0, -1, "0", "-1", "manifest.json"]
    params = {key: {key: np.full(1, i)} for i, key in enumerate(keys)} | {"k" * 65_000: A}
    fn.save(path, params)
    assert bits(fn.load(path, params).params) == bits(params)
    assert bits(fn.load(path, {}).params) == bits(params)


def test_a_tree_as_deep_as_python_walks(path: Path) -> None:
    fn.save(path, nested(200))
    assert fn.load(path, nested(200)).params == nested(200)
    for like in (nested(5_000), CIRCLE):
        with pytest.raises(fn.CheckpointError, match="nested too deeply"):
            fn.load(path, like)
    for depth in range(200, 1_000, 3):  # near the limit it is saved and loaded, or refused by name
        try:
            fn.save(path, nested(depth))
            found = fn.load(path, nested(depth)).params
        except fn.CheckpointError as error:
            refusal = str(error)
            break
        assert found == nested(depth)
    assert "nested too deeply for Python's recursion limit (sys.setrecursionlimit raises it)" in refusal


# What `like` leaves open


def test_none_takes_the_array_that_the_file_has(path: Path) -> None:
    net = fn.serial(fn.linear(3), fn.batch_norm())
    params, _ = net.init(fn.key(0), (2,))
    fn.save(path, params)
    assert bits(fn.load(path, params).params) == bits(params)  # None stays None
    x = np.linspace(-1, 1, 40, dtype=np.float32).reshape(20, 2)
    calibrated = fn.calibrate(net, params, [x])
    fn.save(path, calibrated)
    like, _ = net.init(fn.key(1), (2,))
    found = fn.load(path, like).params
    assert bits(found) == bits(calibrated)
    assert all(a.flags.writeable and a.flags.owndata for a in tree.leaves(found))
    fn.save(path, params)
    assert difference(path, calibrated)[0].endswith(".mean: the file has None, but float32 (3,) was asked for")


@given(array=arrays)
def test_none_takes_an_array_of_any_dtype_and_shape(array: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "open.npz"
    fn.save(file, [array], state=(None, array))
    found = fn.load(file, [None], state=(None, None))
    native = array.astype(array.dtype.newbyteorder("="))
    assert bits(found.params) == bits([native])
    assert bits(found.state) == bits((None, native))


@pytest.mark.parametrize("saved", [1, 1.0, [], (), {}, {"a": A}, fn.Weight(A)])
def test_none_takes_nothing_but_an_array(path: Path, saved: Any) -> None:
    fn.save(path, [saved])
    assert difference(path, [None])[0].endswith("but None was asked for")


def test_a_state_that_is_an_array_is_not_taken_unasked(path: Path) -> None:
    fn.save(path, A, state=fn.key(0))
    told = f"state: the file has {fn.key(0).dtype} {fn.key(0).shape}, but None was asked for"
    assert difference(path, A) == [told]


plain_leaves = st.one_of(arrays.map(lambda a: a.astype(a.dtype.newbyteorder("="))), st.integers(-9, 9), st.floats())
plain_keys = st.one_of(st.integers(), st.text(max_size=3))
plain_trees = st.recursive(
    plain_leaves,
    lambda t: st.one_of(
        st.lists(t, max_size=3),
        st.lists(t, max_size=3).map(tuple),
        st.dictionaries(plain_keys, t, max_size=3),
        st.none(),
    ),
    max_leaves=8,
)


@given(history=st.dictionaries(plain_keys, plain_trees, max_size=4))
def test_an_empty_dict_takes_any_dict(history: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "dict.npz"
    fn.save(file, Momentum(1, history))
    assert bits(fn.load(file, Momentum(0, {})).params) == bits(Momentum(1, history))
    fn.save(file, history)
    assert bits(fn.load(file, {}).params) == bits(history)


def test_an_empty_dict_takes_no_namedtuple_and_nothing_but_a_dict(path: Path) -> None:
    fn.save(path, {"a": {"b": fn.Weight(A)}})
    assert difference(path, {"a": {}})[0].startswith("params['a']['b']: the file has Weight, but")
    for saved in ([], (), [A], A, 1, fn.Weight(A)):
        fn.save(path, {"a": saved})
        assert difference(path, {"a": {}})[0].endswith("but dict was asked for")


def test_a_namedtuple_that_is_defined_anew_is_the_same(path: Path) -> None:
    def define(*fields: str) -> Any:
        return namedtuple("State", fields)  # noqa: PYI024  # pyright: ignore[reportUntypedNamedTuple]

    old, new = define("weight", "bias"), define("weight", "bias")
    fn.save(path, {1: old(A, B)})
    found = fn.load(path, {1: new(A, None)}).params[1]
    assert type(found) is new
    assert type(found) is not old
    assert difference(path, {1: define("weight", "other")(A, B)})


# A part of a checkpoint


def test_a_new_head_on_a_saved_body(path: Path) -> None:
    saved = {"body": fn.Affine(A + 1, B + 2), "head": fn.Affine(A + 3, B + 4)}
    fn.save(path, saved, state=(1, A), metadata={"epoch": 3})
    wide = np.full((3, 5), 7, np.float32)
    like: dict[str, Any] = {"head": fn.Affine(wide, B), "body": fn.Affine(A, B), "more": [wide]}
    found = fn.load(path, like, partial=True)
    assert_type(found, fn.PartialCheckpoint[dict[str, Any], None])
    assert bits(found.params) == bits({"head": fn.Affine(wide, B + 4), "body": saved["body"], "more": [wide]})
    assert (found.state, found.metadata) == (None, {"epoch": 3})
    assert found.missing == ("params['head'].weight", "params['more'][0]")
    assert found.unexpected == ("params['head'].weight", "state[0]", "state[1]")
    assert not any(np.shares_memory(a, b) for a in tree.leaves(found.params) for b in tree.leaves(like))
    assert all(a.flags.writeable and a.flags.owndata for a in tree.leaves(found.params))

    body = fn.load(path, {"body": like["body"]}, state=(0, None), partial=True)
    assert bits(body[:2]) == bits(({"body": saved["body"]}, (1, A)))
    assert (body.missing, body.unexpected) == ((), ("params['head'].weight", "params['head'].bias"))


def test_a_leaf_is_taken_only_below_the_same_nodes(path: Path) -> None:
    fn.save(path, {1: fn.Affine(A + 1, B + 1), 2: [B + 1], 3: {"a": B + 1}})
    like = {1: Momentum(0, B), 2: (B,), 3: {"a": B}}
    found = fn.load(path, like, partial=True)
    assert bits(found.params) == bits({**like, 3: {"a": B + 1}})
    assert found.missing == ("params[1].steps", "params[1].trace", "params[2][0]")
    assert found.unexpected == ("params[1].weight", "params[1].bias", "params[2][0]")


@given(saved=plain_trees, like=plain_trees)
def test_a_part_of_any_tree(saved: Any, like: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "part.npz"
    fn.save(file, {"same": saved, "saved": saved, "both": saved})
    found = fn.load(file, {"same": tree.map(blank, saved), "asked": like, "both": like}, partial=True)
    assert bits(found.params["same"]) == bits(saved)
    assert bits(found.params["asked"]) == bits(like)
    asked = {"params['both']" + p for p, _ in tree.leaves_with_path(like)}
    there = {"params['both']" + p for p, _ in tree.leaves_with_path(saved)}
    missing, unexpected = ({p for p in paths if p.startswith("params['both']")} for paths in found[3:])
    now = dict(tree.leaves_with_path(found.params["both"]))
    for path, leaf in tree.leaves_with_path(like):
        if "params['both']" + path in missing:
            assert bits(now[path]) == bits(leaf)
    for path, leaf in tree.leaves_with_path(saved):
        if "params['both']" + path not in unexpected:
            assert bits(now[path]) == bits(leaf)
    assert missing <= asked
    assert unexpected <= there
    assert {p for p in found.missing if p not in missing} == {
        "params['asked']" + p for p, _ in tree.leaves_with_path(like)
    }


@pytest.mark.parametrize(
    ("saved", "like", "left_out"),
    [
        ({1: A, 2: B}, {1: A}, r"params\[2\]"),
        ({"body": {1: A, 2: B}, "head": (A, B)}, {"body": {2: B}}, r"params\['body'\]\[1\], params\['head'\]"),
    ],
)
def test_keys_that_were_not_asked_for_are_left_out_with_a_warning(
    path: Path, saved: Any, like: Any, left_out: str
) -> None:
    fn.save(path, saved, metadata={"a": 1})
    with pytest.warns(UserWarning, match=f"`like` does not name {left_out} of the file: left out"):
        found = fn.load(path, like)
    assert tree.structure(found.params) == tree.structure(like)
    assert found.metadata == {"a": 1}


@pytest.mark.parametrize("partial", ["yes", 1, None])
def test_partial_is_a_flag(path: Path, partial: Any) -> None:
    fn.save(path, A)
    with pytest.raises(fn.OptionError, match="load: partial must be True or False"):
        fn.load(path, A, partial=partial)


def test_params_are_asked_of_a_fit_as_a_fit(path: Path) -> None:
    fitted = fn.Fit({1: A}, None, {"loss": np.ones(2)}, {1: A})
    fn.save(path, fitted)
    with pytest.raises(fn.CheckpointError, match=r"the file has a Fit: load it with like=fn\.Fit\(params"):
        fn.load(path, {1: A})
    assert bits(fn.load(path, fn.Fit({1: A}, None, {}, {1: A})).params) == bits(fitted)
    with pytest.raises(fn.CheckpointError, match="difference") as caught:
        fn.load(path, fn.Fit({2: A}, None, {}, {1: A}))
    assert "has a Fit" not in str(caught.value)


def test_the_pair_that_init_returns_is_no_params(path: Path) -> None:
    nets: list[Any] = [
        fn.serial(fn.linear(3), fn.tanh(), fn.linear(2)),
        fn.network({1: fn.linear(3)}, {}),
        fn.linear(3),
        fn.serial(fn.linear(3), fn.tanh()),
    ]
    for net in nets:
        params, shape = net.init(fn.key(0), (2,))
        fn.save(path, params)
        with pytest.raises(fn.CheckpointError, match="like is the pair that init returns: .* and then like=params"):
            fn.load(path, (params, shape))
        fn.save(path, (params, shape))
        with pytest.raises(fn.CheckpointError, match=r"the file has the pair .* with like=\(params, shape\)"):
            fn.load(path, params)
        with pytest.raises(fn.CheckpointError, match="difference") as caught:
            fn.load(path, (fn.tree.map(lambda leaf: leaf[None], params), shape))  # a pair on both sides
        assert "the pair that" not in str(caught.value)


def test_what_is_no_pair_is_not_taken_for_one(path: Path) -> None:
    fn.save(path, [A])
    for like in ((fn.Affine(A, B), ()), (A, (B,)), [A, (1,)], (A, [1]), (A, (1,), B), (A,)):
        with pytest.raises(fn.CheckpointError, match="difference") as caught:
            fn.load(path, like)
        assert "the pair that" not in str(caught.value)
