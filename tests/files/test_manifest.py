"""The manifest: metadata come back as JSON holds them, or are refused with their path."""

from __future__ import annotations

import datetime
import enum
import json
import os
from collections import OrderedDict
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import funcnet as fn
from funcnet.files import manifest

A = np.zeros(2, np.float32)
UTC = datetime.UTC


class Point(NamedTuple):
    """A tuple with names, which JSON does not keep."""

    x: Any
    y: Any


class Colour(enum.IntEnum):
    """A number with a name."""

    RED = 3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.npz"


@pytest.mark.parametrize(
    ("given", "back"),
    [
        (np.float32(1.5), 1.5),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.float16(0.1), float(np.float16(0.1))),
        (np.float64(0.1), 0.1),
        (np.longdouble(0.5), 0.5),
        (np.int64(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.int8(3), 3),
        (np.bool_(True), True),
        (np.True_, True),
        (np.str_("a"), "a"),
        (2**70, 2**70),
        (Colour.RED, 3),
        ((1, (2, [3])), [1, [2, [3]]]),
        (Point(1, np.int32(2)), [1, 2]),
        (OrderedDict(a=1), {"a": 1}),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.datetime(2026, 1, 2, 3, 4, 5, 6), "2026-01-02T03:04:05.000006"),
        (datetime.datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        (datetime.time(3, 4), "03:04:00"),
        (np.datetime64("2026-01-02"), "2026-01-02"),
        (np.datetime64("2026-01-02T03:04"), "2026-01-02T03:04"),
        (PurePosixPath("a/b"), "a/b"),
        (PureWindowsPath("a/b"), "a\\b"),
        ("\ud800 é \0", "\ud800 é \0"),
    ],
    ids=lambda value: f"{type(value).__name__}",
)
def test_what_comes_back_of_metadata(path: Path, given: Any, back: Any) -> None:
    fn.save(path, A, metadata={"a": given, "b": [given], "c": {"d": (given,)}})
    found = fn.load(path, A).metadata
    assert found == {"a": back, "b": [back], "c": {"d": [back]}}
    assert type(found["a"]) is type(back)
    first = path.read_bytes()
    fn.save(path, A, metadata=found)
    assert path.read_bytes() == first  # what came back is kept as it is


def test_times_of_pandas(path: Path) -> None:
    pd = pytest.importorskip("pandas")
    fn.save(path, A, metadata={"a": pd.Timestamp("2026-01-02")})
    assert fn.load(path, A).metadata == {"a": "2026-01-02T00:00:00"}
    with pytest.raises(fn.CheckpointError, match="is of type NaTType"):
        fn.save(path, A, metadata={"a": pd.NaT})


numbers = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(np.int64),
    st.integers(0, 255).map(np.uint8),
    st.floats(allow_nan=False, allow_infinity=False).map(np.float64),
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(np.float32),
    st.booleans().map(np.bool_),
)
values = st.recursive(
    st.one_of(numbers, st.none(), st.booleans(), st.integers(), st.text(), st.dates(), st.datetimes()),
    lambda v: st.one_of(st.lists(v), st.lists(v).map(tuple), st.dictionaries(st.text(), v)),
    max_leaves=8,
)


@given(value=values)
def test_any_metadata_come_back_equal_and_plain(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return value.isoformat() if isinstance(value, datetime.date) else value

    file = tmp_path_factory.getbasetemp() / "metadata.npz"
    fn.save(file, A, metadata={"a": value})
    found = fn.load(file, A).metadata
    assert found == {"a": plain(value)}
    assert json.loads(json.dumps(found)) == found


def deep(depth: int) -> Any:
    """Dicts in dicts."""
    made: dict[str, Any] = {}
    for _ in range(depth):
        made = {"a": made}
    return made


CIRCLE: dict[str, Any] = {}
CIRCLE["a"] = CIRCLE


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({1: 2}, "metadata has a key of type int: JSON keeps str as keys"),
        ({"a": {np.int64(2): 3}}, r"metadata\['a'\] has a key of type int64"),
        ({"a": [0, float("nan")]}, r"metadata\['a'\]\[1\] is nan: JSON keeps finite numbers"),
        ({"a": float("-inf")}, r"metadata\['a'\] is -inf"),
        ({"a": np.float32("inf")}, r"metadata\['a'\] is inf"),
        ({"a": np.complex64(1)}, r"metadata\['a'\] is of type complex64"),
        ({"a": 1j}, r"metadata\['a'\] is of type complex"),
        ({"a": A}, r"metadata\['a'\] is of type ndarray.* Put arrays into state"),
        ({"a": np.array(1.5)}, r"is of type ndarray"),
        ({"a": b""}, r"is of type bytes"),
        ({"a": {1}}, r"is of type set"),
        ({"a": object()}, r"is of type object"),
        ({"a": datetime.timedelta(1)}, r"is of type timedelta"),
        ({"a": np.timedelta64(1, "s")}, r"is of type timedelta64"),
        ({"a": np.datetime64("NaT")}, r"is of type datetime64"),
        ({"a": 10**5000}, r"metadata\['a'\] is an int of 16,610 bits"),
        ({"a": "\ud83d\ude00"}, "surrogate pair"),
        ({"\ud83d\ude00": 1}, "surrogate pair"),
        (deep(100_000), "metadata: nested too deeply"),
        (CIRCLE, "metadata: nested too deeply"),
        ([1], "metadata must be a dict; got list"),
        ("text", "metadata must be a dict; got str"),
    ],
    ids=range(22),
)
def test_metadata_that_json_does_not_keep_are_refused_with_their_path(path: Path, metadata: Any, words: str) -> None:
    with pytest.raises(fn.CheckpointError, match=words):
        fn.save(path, A, metadata=metadata)
    assert os.listdir(path.parent) == []


@given(st.text())
def test_any_text_is_no_manifest_or_is_refused(text: str) -> None:
    with pytest.raises(fn.CheckpointError):
        manifest.parsed(text.encode(errors="replace"))


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda v: st.one_of(st.lists(v), st.dictionaries(st.text(), v)),
    max_leaves=6,
)
PATHS = ["params", "state", "params[0]", "params['a']", "params.a", "params[0][0]", "state[1]", "params['\\xZZ']",
         "params['\\U99999999']", "params[-0]", "params[" + "9" * 5000 + "]", ""]  # fmt: skip
TOLD: list[Any] = [
    {"kind": "dict"},
    {"kind": "list"},
    {"kind": "None"},
    {"kind": "int"},
    {"kind": []},
    3,
    {"kind": "NamedTuple", "name": "A"},
    {"kind": "array", "dtype": "float32", "shape": [2]},
    {"kind": "array", "dtype": "object", "shape": [2]},
    {"kind": "array", "dtype": "float32", "shape": [None]},
]


@given(st.lists(st.tuples(st.sampled_from(PATHS), st.one_of(st.sampled_from(TOLD), json_values))), json_values)
def test_entries_that_are_no_tree_are_refused(listed: list[Any], metadata: Any) -> None:
    """Whatever is accepted is a tree: every node stands below one of a kind that has such a key."""
    made = {"format": manifest.FORMAT, "version": 1, "entries": dict(listed), "metadata": metadata}
    try:
        nodes, _ = manifest.parsed(json.dumps(made).encode())
    except fn.CheckpointError:
        return
    assert {"params", "state"} <= nodes.keys()
    for path, node in nodes.items():
        if path not in ("params", "state"):
            assert node.parent is not None
            assert path.startswith(node.parent)
            assert nodes[node.parent].kind in ("dict", "list", "tuple", "NamedTuple")
