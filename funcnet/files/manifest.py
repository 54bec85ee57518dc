"""The manifest of a checkpoint: the path and kind of every node of its trees, and its metadata, as JSON.

The writer gives one text for equal content; the reader refuses any other text, so duplicate keys, NaN and nodes that
belong to no tree are refused with it.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from ast import literal_eval
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import numpy as np

from funcnet import tree
from funcnet.errors import CheckpointError, ParamsError
from funcnet.files.archive import NAME_BYTES, Spec, nothing_foreign

FORMAT = "funcnet checkpoint"
VERSION = 1
ROOTS = ("params", "state")
NUMBERS: dict[type, np.dtype[Any]] = {int: np.dtype(np.int64), float: np.dtype(np.float64)}
ARRAYS = (np.ndarray, np.memmap)  # exactly these: others may hold more than their elements
CODES = "?" + np.typecodes["AllInteger"] + np.typecodes["AllFloat"]
DTYPES: dict[str, np.dtype[Any]] = {np.dtype(code).name: np.dtype(code).newbyteorder("<") for code in CODES}
INT_BITS = 2_000  # of an int in a key or in metadata: Python may refuse to write more digits
ESCAPED = r"\\(?:[\\'nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})"  # as repr escapes
STEP = re.compile(rf"""\[(-?[0-9]+|'(?:[^'\\]|{ESCAPED})*'|"(?:[^"\\]|{ESCAPED})*")\]|\.(\w+)""")
CONTAINERS = ("dict", "list", "tuple")


class Entry(NamedTuple):
    """A node or a leaf: its path, its description in the manifest, and, of a leaf, the leaf and its dtype."""

    path: str
    description: dict[str, Any]
    leaf: Any = None
    dtype: np.dtype[Any] | None = None


class Node(NamedTuple):
    """A node or a leaf that a manifest describes, the path of the node that holds it, and its own keys or fields."""

    description: dict[str, Any]
    parent: str | None
    keys: list[Any]

    @property
    def kind(self) -> str:
        """dict, list, tuple, NamedTuple, None, array, int or float."""
        return str(self.description["kind"])

    @property
    def spec(self) -> Spec | None:
        """The array that the file holds for it; None for a node that is no leaf."""
        if self.kind == "array":
            return Spec(DTYPES[self.description["dtype"]], tuple(self.description["shape"]))
        kinds = {kind.__name__: dtype.newbyteorder("<") for kind, dtype in NUMBERS.items()}
        return Spec(kinds[self.kind], ()) if self.kind in kinds else None


def entries(name: str, pytree: object) -> list[Entry]:
    """Every node and leaf. The paths tell the int 1 from the str "1": `params[1]`, `params['1']`."""
    with not_too_deep(name):
        found = list(_entries(name, pytree))
    for entry in found:
        size = len(entry.path.encode(errors="replace"))
        if size > NAME_BYTES:
            raise CheckpointError(f"{entry.path[:60]}... is a path of {size:,} bytes; at most {NAME_BYTES:,} are kept")
    return found


@contextmanager
def not_too_deep(name: str) -> Generator[None]:
    """Refuse a tree that Python cannot walk."""
    try:
        yield
    except (RecursionError, ParamsError):
        fix = "sys.setrecursionlimit raises it"
        raise CheckpointError(
            f"{name}: nested too deeply for Python's recursion limit ({fix}), or holding itself"
        ) from None


def _entries(name: str, pytree: object) -> Iterator[Entry]:
    leaves, structure = tree.flatten(pytree)
    remaining = iter(leaves)
    for path, node in tree.walk(structure, name):
        if node.kind is object:
            yield _leaf(path, next(remaining))
        else:
            if node.kind is dict:
                _check_keys(path, node.keys)
            yield Entry(path, described(path, node.kind))


def _check_keys(path: str, keys: Iterable[Any]) -> None:
    for key in keys:
        if type(key) is int and key.bit_length() > INT_BITS:
            raise CheckpointError(f"{path} has an int of {key.bit_length():,} bits as a key; at most {INT_BITS:,}")
        if type(key) not in (int, str):
            fix = ": use its item()" if isinstance(key, np.generic) else ""
            raise CheckpointError(f"{path} has the key {key!r:.60}: keys in a file are int or str{fix}")


def described(path: str, kind: type) -> dict[str, Any]:
    """What the manifest says of a node of this type."""
    fields = cast("tuple[Any, ...] | None", getattr(kind, "_fields", None))
    if fields is None:
        return {"kind": "None" if kind is type(None) else kind.__name__}
    wrong = [name for name in (kind.__name__, *fields) if not (isinstance(name, str) and name.isidentifier())]
    if wrong or len(set(fields)) < len(fields):
        raise CheckpointError(
            f"{path}: the NamedTuple {kind.__name__!r:.60} has a name or field that is no identifier, or two alike"
        )
    return {"kind": "NamedTuple", "name": kind.__name__}


def _leaf(path: str, leaf: Any) -> Entry:
    """An array or a number."""
    kind = cast("Any", type(leaf))
    if kind in NUMBERS:
        if kind is int and not -(2**63) <= leaf < 2**63:
            shown = leaf if leaf.bit_length() <= INT_BITS else f"an int of {leaf.bit_length():,} bits"
            raise CheckpointError(f"{path} is {shown}: an int is kept in 64 bits")
        return Entry(path, {"kind": kind.__name__}, leaf, NUMBERS[kind])
    if kind not in ARRAYS and not (issubclass(kind, np.generic) and kind is leaf.dtype.type):
        what = f"is {leaf!r:.60}, of type {kind.__name__}"
        fix = (
            ": params, and a step's state, are kept; functions that compute with them are not" if callable(leaf) else ""
        )
        raise CheckpointError(f"{path} {what}: only arrays, int, float, None and trees of them are kept{fix}")
    if leaf.dtype.kind not in "biufc" or leaf.dtype.name not in DTYPES:
        raise CheckpointError(f"{path} has dtype {leaf.dtype}: only numbers and bools are kept")
    return Entry(path, {"kind": "array", "dtype": leaf.dtype.name, "shape": list(leaf.shape)}, leaf, leaf.dtype)


def text(found: Iterable[Entry], metadata: Any) -> bytes:
    """The manifest, as the file holds it."""
    if not issubclass(type(metadata), dict):
        raise CheckpointError(f"metadata must be a dict; got {type(metadata).__name__}")
    with not_too_deep("metadata"):
        notes = plain("metadata", metadata)
        descriptions = {entry.path: entry.description for entry in found}
        manifest = {"format": FORMAT, "version": VERSION, "entries": descriptions, "metadata": notes}
        written = json.dumps(manifest, allow_nan=False)
        if json.loads(written) != manifest:
            raise CheckpointError(
                "metadata: a str with the two halves of a surrogate pair would not come back from JSON"
            )
    return written.encode("ascii")


def plain(path: str, value: Any) -> Any:
    """A value of the metadata as JSON holds it."""
    kind = cast("Any", type(value))
    if issubclass(kind, dict):
        return {_plain_key(path, key): plain(f"{path}[{key!r:.60}]", item) for key, item in value.items()}
    if issubclass(kind, (list, tuple)):
        return [plain(f"{path}[{i}]", item) for i, item in enumerate(value)]
    if issubclass(kind, np.generic) and value.dtype.kind in "biuf":
        return plain(path, float(value) if value.dtype.kind == "f" else value.item())
    if value is None or issubclass(kind, (str, bool)):
        return value
    if issubclass(kind, (int, float)):
        return _plain_number(path, value)
    if issubclass(kind, np.datetime64) and not np.isnat(value):
        return str(value)
    if issubclass(kind, (datetime.date, datetime.time)) and value == value:  # pandas' NaT differs from itself
        return value.isoformat()
    if hasattr(cast("Any", type(value)), "__fspath__"):
        return plain(path, value.__fspath__())
    allowed = "str, finite numbers, bool, None, dates and times, paths, and lists, tuples and dicts of them"
    fix = ". Put arrays into state" if issubclass(kind, np.ndarray) else ""
    raise CheckpointError(f"{path} is of type {kind.__name__}, which JSON does not keep: metadata hold {allowed}{fix}")


def _plain_key(path: str, key: object) -> str:
    if not isinstance(key, str):
        raise CheckpointError(f"{path} has a key of type {type(key).__name__}: JSON keeps str as keys; write str(key)")
    return key


def _plain_number(path: str, value: int | float) -> int | float:
    if isinstance(value, float) and not math.isfinite(value):
        raise CheckpointError(f"{path} is {value}: JSON keeps finite numbers; write str(value), or put it into state")
    if isinstance(value, int) and value.bit_length() > INT_BITS:
        raise CheckpointError(f"{path} is an int of {value.bit_length():,} bits; at most {INT_BITS:,} are kept")
    return value


def parsed(content: bytes) -> tuple[dict[str, Node], dict[str, Any]]:
    """(nodes by path, metadata) of a manifest. CheckpointError for one that `text` does not write."""
    with nothing_foreign():
        manifest = json.loads(content.decode("ascii"))
        fields = cast("dict[str, Any]", manifest if isinstance(manifest, dict) else {})
        if fields.get("format") != FORMAT:
            raise CheckpointError("it is no checkpoint: its manifest is of another format")
        if type(fields.get("version")) is not int or fields["version"] != VERSION:
            found, fix = fields.get("version"), "load it with the funcnet that saved it, or a later one"
            raise CheckpointError(f"it has format version {found!r:.60}; this funcnet reads {VERSION}: {fix}")
        listed, metadata = fields.get("entries"), fields.get("metadata")
        if not isinstance(listed, dict) or not isinstance(metadata, dict):
            raise CheckpointError("its manifest lacks the entries or the metadata")
        if list(fields) != ["format", "version", "entries", "metadata"]:
            raise CheckpointError("its manifest holds more than a checkpoint's, or in another order")
        if json.dumps(manifest, allow_nan=False).encode("ascii") != content:
            raise CheckpointError("its manifest is not the text that its content has: a key twice, or other spacing")
        return _nodes(cast("dict[str, Any]", listed)), cast("dict[str, Any]", metadata)


def _nodes(listed: dict[str, Any]) -> dict[str, Node]:
    """The nodes, each below the one that holds it, depth first."""
    nodes: dict[str, Node] = {}
    open_nodes: list[str] = []
    roots = iter(ROOTS)
    for path, description in listed.items():
        step = None
        while open_nodes and not (step := _step(path, open_nodes[-1])):
            open_nodes.pop()
        parent = open_nodes[-1] if open_nodes else None
        if not _is_description(description) or not (
            _enter(nodes[parent], step) if parent is not None and step else path == next(roots, None)
        ):
            raise CheckpointError(f"its manifest has the entry {path!r:.60}, which belongs to no tree that was saved")
        nodes[path] = Node(description, parent, [])
        open_nodes.append(path)
    if next(roots, None) is not None:
        raise CheckpointError("its manifest lacks the params or the state")
    return nodes


def _step(path: str, parent: str) -> re.Match[str] | None:
    """The one step from the parent to the path."""
    return STEP.fullmatch(path, len(parent)) if path.startswith(parent) else None


def _enter(parent: Node, step: re.Match[str]) -> bool:
    """Add a key to its node; whether a node of that kind has such a key there."""
    key: Any = step[2] if step[1] is None else literal_eval(step[1])
    parent.keys.append(key)
    if parent.kind == "NamedTuple":
        return step[1] is None and key.isidentifier()
    if step[1] is None or repr(key) != step[1]:
        return False
    return parent.kind == "dict" or (parent.kind in CONTAINERS and key == len(parent.keys) - 1)


def _is_description(candidate: Any) -> bool:
    """Whether an entry is one that `entries` makes."""
    entry = cast("dict[str, Any]", candidate if isinstance(candidate, dict) else {})
    match list(entry.items()):
        case [("kind", str(kind))]:
            return kind in (*CONTAINERS, "None", *(number.__name__ for number in NUMBERS))
        case [("kind", "NamedTuple"), ("name", str(name))]:
            return name.isidentifier()
        case [("kind", "array"), ("dtype", str(dtype)), ("shape", shape)]:
            return dtype in DTYPES and _is_shape(shape)
        case _:
            return False


def _is_shape(shape: Any) -> bool:
    kind = cast("Any", type(shape))
    return kind is list and all(type(n) is int and n >= 0 for n in shape)
