"""Keep params, the state of their training and notes about them in one file; take back exactly what was asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Generic, NamedTuple, TypeAlias, cast, overload

import numpy as np
from typing_extensions import TypeVar

from funcnet import tree
from funcnet.errors import CheckpointError

P = TypeVar("P", default=Any)
S = TypeVar("S", default=None)
FilePath: TypeAlias = "str | os.PathLike[str]"

FORMAT = "funcnet checkpoint"
VERSION = 1
NUMBERS: dict[type, np.dtype[Any]] = {int: np.dtype(np.int64), float: np.dtype(np.float64)}
ARRAYS = (np.ndarray, np.memmap)  # exactly these: others may hold more than their elements
ELEMENTS = "biufc"  # bool, integers, floating, complex


class Checkpoint(NamedTuple, Generic[P, S]):
    """What `load` gives: the params, the state, the metadata that were saved."""

    params: P
    state: S
    metadata: dict[str, Any]


def save(path: FilePath, params: Any, *, state: Any = None, metadata: dict[str, Any] | None = None) -> None:
    """Write params, and what else a training needs to go on, to one file. The same content gives the same bytes.

    params, state: pytrees of arrays, NumPy scalars, floats, and ints of up to 64 bits, with int and str as dict keys;
    a state may be, for instance, `(optimizer_state, key, epoch)`.
    metadata: a dict that JSON keeps: str, int, float, bool, None, lists, and dicts with str keys.

    The file is an npz without pickle, with a manifest in JSON of the path, kind, shape and dtype of every node, so
    `np.load(path)["params[1].weight"]` reads an array too. It is written beside `path`, brought to the disk, and then
    renamed: whatever happens meanwhile, `path` is the old file or the new one, whole. A process that is killed leaves
    its unfinished file there, `.<name>.<hexadecimal>.part`.
    Raises CheckpointError for what cannot be kept so, with its path; OSError where the disk refuses.
    """
    from funcnet import archive  # loads what takes as long as half of funcnet: only where there are files

    notes = {} if metadata is None else metadata
    if type(notes) is not dict or not archive.kept_by_json(notes):
        allowed = "str, int, finite float, bool, None, lists, and dicts with str keys"
        raise CheckpointError(
            f"metadata must be a dict that comes back from JSON as it was, of {allowed}; got {notes!r:.200}"
        )
    entries = [*_entries("params", params), *_entries("state", state)]
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "entries": {entry.path: entry.told for entry in entries},
        "metadata": notes,
    }
    arrays = {entry.path: _stored(entry) for entry in entries if entry.dtype is not None}
    archive.write(os.fspath(path), manifest, arrays)


@overload
def load(path: FilePath, like: P) -> Checkpoint[P, None]: ...
@overload
def load(path: FilePath, like: P, *, state: S) -> Checkpoint[P, S]: ...
def load(path: FilePath, like: Any, *, state: Any = None) -> Checkpoint[Any, Any]:
    """Read what `save` has written: a Checkpoint(params, state, metadata).

    like, state: pytrees with the structure, shapes and dtypes of what was saved, as `net.init` and `optimizer.init`
    give them. Their elements are not read; what comes back has their types and the order of their keys.

    The whole file is checked first, to the last bit and against `like` and `state`; only then is memory taken. No code
    in a file is ever run. Raises CheckpointError where anything differs, which tells every difference; OSError where
    the file cannot be read.
    """
    from funcnet import archive

    wanted = {entry.path: entry for entry in (*_entries("params", like), *_entries("state", state))}
    try:
        with open(path, "rb") as stream:
            file = archive.Archive(stream)
            found, metadata = _checked(file.manifest)
            _compare(found, {entry.path: entry.told for entry in wanted.values()})
            leaves = [wanted[place] for place in found if wanted[place].dtype is not None]
            arrays = file.arrays({entry.path: archive.Spec(_little(entry), np.shape(entry.leaf)) for entry in leaves})
    except CheckpointError as error:
        raise CheckpointError(f"{os.fspath(path)}: {error}") from None
    restored = [_restored(entry.leaf, arrays[entry.path]) for entry in wanted.values() if entry.dtype is not None]
    params, states = tree.unflatten(tree.structure((like, state)), restored)
    return Checkpoint(params, states, metadata)


class Entry(NamedTuple):
    """A node or a leaf: where it stands, what the manifest tells of it, and, of a leaf, itself and its dtype."""

    path: str
    told: dict[str, Any]
    leaf: Any = None
    dtype: np.dtype[Any] | None = None


def _entries(name: str, pytree: object) -> Iterator[Entry]:
    """Every node and leaf. The paths tell the int 1 from the str "1": `params[1]`, `params['1']`."""
    leaves, structure = tree.flatten(pytree)
    remaining = iter(leaves)
    for path, node in tree.walk(structure, name):
        if node.kind is object:
            yield _leaf(path, next(remaining))
        elif hasattr(node.kind, "_fields"):
            yield Entry(path, {"kind": "NamedTuple", "name": node.kind.__name__})
        else:
            for key in (key for key in node.keys if type(key) not in (int, str)):
                raise CheckpointError(f"{path} has the key {key!r:.60}: keys in a file are int or str")
            yield Entry(path, {"kind": "None" if node.kind is type(None) else node.kind.__name__})


def _leaf(path: str, leaf: Any) -> Entry:
    """An array or a number."""
    kind = cast("Any", type(leaf))
    if kind in NUMBERS:
        return Entry(path, {"kind": kind.__name__}, leaf, NUMBERS[kind])
    if kind not in ARRAYS and not issubclass(kind, np.generic):
        what = f"is {leaf!r:.60}, of type {kind.__name__}"
        raise CheckpointError(f"{path} {what}: only arrays, int, float, None and trees of them are kept")
    if leaf.dtype.kind not in ELEMENTS:
        raise CheckpointError(f"{path} has dtype {leaf.dtype}: only numbers and bools are kept")
    return Entry(path, {"kind": "array", "dtype": leaf.dtype.name, "shape": list(leaf.shape)}, leaf, leaf.dtype)


def _little(entry: Entry) -> np.dtype[Any]:
    """The dtype in the file, where the first byte is the least on every machine."""
    return cast("np.dtype[Any]", entry.dtype).newbyteorder("<")


def _stored(entry: Entry) -> np.ndarray[Any, np.dtype[Any]]:
    """A leaf as it goes into the file."""
    try:
        return np.asarray(entry.leaf, _little(entry), order="C")
    except OverflowError:
        raise CheckpointError(f"{entry.path} is {entry.leaf}: an int is kept in 64 bits") from None


def _restored(like: Any, array: np.ndarray[Any, np.dtype[Any]]) -> Any:
    """An array from the file as the kind of leaf that `like` is."""
    if type(like) in NUMBERS:
        return array.item()
    native = array.astype(like.dtype, copy=False)
    return native[()] if isinstance(like, np.generic) else native


def _checked(manifest: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(entries, metadata) of a manifest of the version that is read here."""
    told = cast("dict[str, Any]", manifest if isinstance(manifest, dict) else {})
    if told.get("format") != FORMAT:
        raise CheckpointError("it is no checkpoint: its manifest is of another format")
    if told.get("version") != VERSION:
        fix = "load it with the funcnet that saved it, or a later one"
        raise CheckpointError(f"it has format version {told.get('version')!r:.60}; this funcnet reads {VERSION}: {fix}")
    entries, metadata = told.get("entries"), told.get("metadata")
    if not isinstance(entries, dict) or not isinstance(metadata, dict):
        raise CheckpointError("its manifest lacks the entries or the metadata")
    return cast("dict[str, Any]", entries), cast("dict[str, Any]", metadata)


def _compare(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse a file that differs from what was asked for, and tell every difference."""
    problems = [
        f"{path}: the file has {_named(found.get(path))}, but {_named(wanted.get(path))} was asked for"
        for path in {**wanted, **found}
        if path not in found or path not in wanted or found[path] != wanted[path]
    ]
    if problems:
        count = f"{len(problems)} difference{'s' * (len(problems) > 1)}"
        raise CheckpointError("\n  ".join([f"{count} from what was asked for", *problems]))


def _named(told: Any) -> str:
    """What a manifest tells of a node, in a word or two; one from a file may tell anything."""
    entry = cast("dict[str, Any]", told if isinstance(told, dict) else {"kind": told or "nothing"})
    kind, shape = entry.get("kind"), entry.get("shape")
    if kind == "array" and isinstance(shape, list):
        return f"{entry.get('dtype')} {tuple(cast('Any', shape))}"
    return f"{entry.get('name') if kind == 'NamedTuple' else kind}"
