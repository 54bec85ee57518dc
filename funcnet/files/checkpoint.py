"""Save params, the state of their training and metadata in one file, and load exactly the parts that were asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, cast, overload

import numpy as np
from typing_extensions import TypeVar

from funcnet import tree
from funcnet.calling import checks_call, warn
from funcnet.errors import CheckpointError
from funcnet.files import archive
from funcnet.files.manifest import ARRAYS, NUMBERS, Entry, Node, described, entries, not_too_deep, parsed, text
from funcnet.files.replacing import explained, file_path, replace
from funcnet.options import flag

P = TypeVar("P", default=Any)
S = TypeVar("S", default=None)
FilePath: TypeAlias = "str | os.PathLike[str]"
Nodes: TypeAlias = dict[str, Node]
SHOWN = 10  # keys listed in a warning


class Checkpoint(NamedTuple, Generic[P, S]):
    """The result of `load`: the params, the state and the metadata that were saved."""

    params: P
    state: S
    metadata: dict[str, Any]


class PartialCheckpoint(NamedTuple, Generic[P, S]):
    """The result of `load` with `partial=True`.

    params, state: the leaves of the file where they fit, else copies of those of `like` and `state`.
    missing: the paths of the leaves that were asked for and not taken from the file.
    unexpected: the paths of the leaves of the file that were not taken.
    """

    params: P
    state: S
    metadata: dict[str, Any]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


@checks_call
def save(path: FilePath, params: Any, *, state: Any = None, metadata: dict[str, Any] | None = None) -> None:
    """Write params, or all that is needed to resume a training, to one file. Equal content gives equal files.

    params, state: pytrees of arrays, NumPy scalars, floats, and ints of up to 64 bits, with int and str as dict keys;
    any NamedTuple, a `Fit` for instance; a state may be `(optimizer_state, key, epoch)`.
    metadata: a dict with str keys of JSON values: str, int, finite float, bool, None, and lists and dicts of them.
    NumPy numbers come back as int, float and bool, tuples as lists, dates and times as ISO 8601 strings, paths as str.

    The file is an npz without pickle, with a manifest in JSON of the path, kind, shape and dtype of every node, so
    `np.load(path)["params[1].weight"]` reads an array too. It is written beside `path`, brought to the disk, and then
    renamed: at every moment, even after an interrupt, `path` is the old file or the new one, whole. A process
    that is killed leaves its unfinished file there, `.<name>.<hexadecimal>.part`. Links are followed; a file that is
    replaced keeps its permissions.
    Raises CheckpointError, with the path, for a value that cannot be saved; OSError where `open(path, "w")` or the disk
    refuses, and for a FIFO or a device. Nothing is written then.
    Example: `fn.save("model.npz", params)`.
    """
    target = file_path(path, "save(path, params)")
    found = [*entries("params", params), *entries("state", state)]
    manifest = text(found, {} if metadata is None else metadata)
    arrays = {entry.path: _stored(entry) for entry in found if entry.dtype is not None}
    try:
        replace(target, partial(archive.write, manifest=manifest, arrays=arrays))
    except OSError as error:
        raise explained("save", target, error) from None


@overload
def load(path: FilePath, like: P, *, partial: Literal[False] = False) -> Checkpoint[P, None]: ...
@overload
def load(path: FilePath, like: P, *, state: S, partial: Literal[False] = False) -> Checkpoint[P, S]: ...
@overload
def load(path: FilePath, like: P, *, partial: Literal[True]) -> PartialCheckpoint[P, None]: ...
@overload
def load(path: FilePath, like: P, *, state: S, partial: Literal[True]) -> PartialCheckpoint[P, S]: ...
@checks_call
def load(path: FilePath, like: Any, *, state: Any = None, partial: bool = False) -> Any:
    """Read a file of `save`: a Checkpoint(params, state, metadata).

    like, state: pytrees with the structure, shapes and dtypes of the saved ones, as `net.init` and `optimizer.init`
    give them. Their elements are not read; the result has their types and the order of their keys. NamedTuples match by
    the name of their class and its fields. The file fills the places that they leave open:
    - an array of no rows, such as `np.empty(0)`, takes as many rows as there are in the file;
    - None below the root takes an array of any shape and dtype, for instance the statistics of a calibrated batch_norm;
    - an empty dict takes any dict of arrays, numbers, dicts, lists and tuples, for instance the history of a `Fit`.

    partial: take the leaves whose path, shape and dtype fit, below nodes of the same kind, and keep copies of the
    others of `like` and `state`. Returns a PartialCheckpoint, which lists the leaves left out on both sides: a leaf of
    another shape is in both lists.

    The whole file is checked first, to the last bit and against `like` and `state`; only then is memory taken. No code
    in a file is ever run. Keys that only the file's dicts have are left out with a warning. Raises CheckpointError for
    a file that `save` has not written, and, unless `partial`, where anything else differs, with every difference but
    those below a node that differs itself; OSError where the file cannot be read, OptionError for a `partial` that is
    no bool.
    Example: `fn.save("model.npz", params); params = fn.load("model.npz", like=params).params`.
    """
    source, partial = file_path(path, "load(path, like)"), flag("load: partial", partial)
    try:
        for name, pytree in (("like", like), ("state", state)):
            entries(name, pytree)
        with open(source, "rb") as stream, not_too_deep("like and state"):
            file = archive.Archive(stream)
            found, metadata = parsed(file.manifest)
            with archive.nothing_foreign(), not_too_deep("like and state"):
                asked = tuple(_filled(each, name, found) for name, each in (("params", like), ("state", state)))
            wanted = {e.path: e for e in (*entries("params", asked[0]), *entries("state", asked[1]))}
            taken = _taken(found, wanted)
            left_out = [] if partial else _compare(found, wanted)
            specs = {place: node.spec for place, node in found.items()}
            arrays = file.arrays({place: spec for place, spec in specs.items() if spec is not None}, taken)
            leaves = {entry.path: entry for entry in wanted.values() if entry.dtype is not None}
            restored = [_restored(entry.leaf, arrays.get(place)) for place, entry in leaves.items()]
            params, states = tree.unflatten(tree.structure(asked), restored)
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from None
    except OSError as error:
        raise explained("load", source, error) from None
    if left_out:
        named = ", ".join(left_out[:SHOWN]) + ", ..." * (len(left_out) > SHOWN)
        warn(f"{source}: `like` does not name {named} of the file: left out")
    if not partial:
        return Checkpoint(params, states, metadata)
    missing = tuple(place for place in leaves if place not in arrays)
    unexpected = tuple(place for place, spec in specs.items() if spec is not None and place not in arrays)
    return PartialCheckpoint(params, states, metadata, missing, unexpected)


def _stored(entry: Entry) -> archive.Stored:
    """A leaf as it goes into the file, where the first byte is the least on every machine."""
    dtype = cast("np.dtype[Any]", entry.dtype).newbyteorder("<")
    return archive.cleared(np.asarray(entry.leaf, dtype, order="C"))


def _restored(like: Any, array: archive.Stored | None) -> Any:
    """An array from the file as the kind of leaf that `like` is; a copy of `like` where there is none."""
    if array is None:
        return np.array(like) if type(like) in ARRAYS else like
    if type(like) in NUMBERS:
        return array.item()
    native = array.astype(like.dtype, copy=False)
    return native[()] if isinstance(like, np.generic) else native


def _filled(like: Any, path: str, found: Nodes) -> Any:
    """`like` with stand-ins of no memory in the places that it leaves open and the file fills."""
    node, kind = found.get(path), cast("Any", type(like))
    if node is None:
        return like
    if node.spec is not None:
        return _filled_leaf(like, path, node)
    fields = getattr(kind, "_fields", None)
    if (fields is None and kind not in (dict, list, tuple)) or described(path, kind) != node.description:
        return like
    if kind is dict and not like:
        return _stand_in(path, found)
    if kind is dict:
        return {key: _filled(item, f"{path}[{key!r}]", found) for key, item in like.items()}
    steps = [f"[{i}]" for i in range(len(like))] if fields is None else [f".{name}" for name in fields]
    items = [_filled(item, path + step, found) for step, item in zip(steps, like, strict=True)]
    return items if type(like) is list else tree.new_tuple(kind, items)


def _filled_leaf(like: Any, path: str, node: Node) -> Any:
    """A stand-in for the array of the file where `like` leaves its rows, or all of it, open."""
    if node.kind != "array":
        return like
    name, shape = node.description["dtype"], tuple(node.description["shape"])
    if like is None and path != "state":  # state=None asks for no state
        return _blank(np.dtype(name), shape)
    if type(like) is np.ndarray and like.shape[:1] == (0,) and (like.dtype.name, like.shape[1:]) == (name, shape[1:]):
        return _blank(like.dtype, shape) if shape else like
    return like


def _stand_in(path: str, found: Nodes) -> Any:
    """A stand-in for a part of the file whose types need no class of the user."""
    node = found[path]
    if node.kind == "array":
        return _blank(np.dtype(node.description["dtype"]), tuple(node.description["shape"]))
    numbers = {kind.__name__: kind(0) for kind in NUMBERS}
    if node.kind in (*numbers, "None"):
        return numbers.get(node.kind)
    if node.kind == "dict":
        return {key: _stand_in(f"{path}[{key!r}]", found) for key in node.keys}
    items = [_stand_in(f"{path}[{key!r}]", found) for key in node.keys if node.kind != "NamedTuple"]
    return tuple(items) if node.kind == "tuple" else items  # a NamedTuple is then reported as a difference


def _blank(dtype: np.dtype[Any], shape: tuple[int, ...]) -> archive.Stored:
    """An array of one element shown at every place."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def _taken(found: Nodes, wanted: dict[str, Entry]) -> list[str]:
    """The paths of the leaves that are alike on both sides, and every node above them too."""
    alike: set[str | None] = {None}
    taken: list[str] = []
    for path, entry in wanted.items():
        node = found.get(path)
        if node is not None and node.description == entry.description and node.parent in alike:
            alike.add(path)
            taken += [path] * (entry.dtype is not None)
    return taken


def _compare(found: Nodes, wanted: dict[str, Entry]) -> list[str]:
    """Refuse a file that differs from `like` and `state`, with every topmost difference.

    Where dicts of the file have more keys, and nothing else differs, return the paths of these keys.
    """
    problems = dict(_differences(found, wanted))
    if problems.keys().isdisjoint(wanted) and all(found[found[path].parent or ""].kind == "dict" for path in problems):
        return list(problems)
    count = f"{len(problems)} difference{'s' * (len(problems) > 1)}"
    lines = (f"{path}: {difference}" for path, difference in problems.items())
    raise CheckpointError("\n  ".join([f"{count} from what was asked for{_fix(found, wanted)}", *lines]))


def _fix(found: Nodes, wanted: dict[str, Entry]) -> str:
    """What to ask for where one side has more than params."""
    if {"kind": "NamedTuple", "name": "Fit"} == found["params"].description != wanted["params"].description:
        return "; the file has a Fit: load it with like=fn.Fit(params, step.init(params), {}, params)"
    saved, asked = _is_pair(found), _is_pair(wanted)
    if asked and not saved:
        return "; like is the pair that init returns: params, shape = net.init(...), and then like=params"
    if saved and not asked:
        return "; the file has the pair that init returns: load it with like=(params, shape)"
    return ""


def _is_pair(nodes: Mapping[str, Node | Entry]) -> bool:
    """Whether the params are the pair (params, shape)."""
    places = ("params", "params[1]", "params[1][0]", "params[2]")
    kinds = [nodes[path].description["kind"] if path in nodes else None for path in places]
    return kinds == ["tuple", "tuple", "int", None]


def _differences(found: Nodes, wanted: dict[str, Entry]) -> Iterator[tuple[str, str]]:
    """(path, difference) of every node that is not the same on both sides, and is below none that is not either."""
    told: set[str] = set()
    for path in {**wanted, **found}:
        there = found[path].description if path in found else None
        asked = wanted[path].description if path in wanted else None
        if there != asked and not any(path[:i] in told for i, step in enumerate(path) if step in "[."):
            told.add(path)
            yield path, f"the file has {_named(there)}, but {_named(asked)} was asked for"


def _named(description: dict[str, Any] | None) -> str:
    """A node in a word or two."""
    if description is None:
        return "nothing"
    if description["kind"] == "array":
        return f"{description['dtype']} {tuple(description['shape'])}"
    return str(description.get("name", description["kind"]))
