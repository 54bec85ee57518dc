"""Pytrees: params, gradients and states as nested dict, tuple, list, NamedTuple and None. All else is a leaf.

    leaves, s = flatten(tree)        unflatten(s, leaves) = tree        structure(tree) = s
    map(f, t, u) = unflatten(s, [f(x, y) for x, y in zip(leaves of t, leaves of u)])
    vector, unravel = ravel(tree)        unravel(vector) = tree

A dict keeps the order in which its keys were inserted; they are never sorted, so that ints and strings mix freely.
`map` matches dicts by key, and NamedTuples by name and fields. Leaves are positions, so a Structure remembers the
order: two trees have equal structures exactly if their leaves match one to one, and dicts whose keys stand in another
order have not.
A path reads as Python does: `[3].weight`, `['out'][0]`; it is empty for a tree that is one leaf.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate, pairwise, starmap
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

from funcnet.errors import DTypeError, ParamsError, ShapeError

__all__ = [
    "Structure",
    "flatten",
    "leaves",
    "leaves_with_path",
    "map",
    "ravel",
    "same_kind",
    "structure",
    "unflatten",
    "walk",
]

T = TypeVar("T")
Vector: TypeAlias = npt.NDArray[np.floating[Any]]

new_tuple: Callable[[Any, Any], Any] = cast("Any", tuple).__new__
"""A tuple or a NamedTuple of these items, made twice as fast as by a NamedTuple's own constructor."""
_NONE = type(None)
_LISTED = 10  # an error message lists no more problems than this


class Structure(NamedTuple, Generic[T]):
    """A tree without its leaves: a value that compares, hashes (as its dict keys do) and pickles."""

    kind: type
    """dict, tuple, list, a NamedTuple, NoneType; `object` stands for a leaf."""
    keys: Sequence[Hashable]
    """A dict's keys in their order, a NamedTuple's fields, a range for a tuple or a list."""
    children: tuple[Structure[Any], ...]
    """The structures under the keys."""
    size: int
    """How many leaves there are."""


_LEAF: Structure[Any] = Structure(object, (), (), 1)


def flatten(tree: T) -> tuple[list[Any], Structure[T]]:
    """(leaves, structure): `unflatten(structure, leaves)` is the tree again.

    Example: `flatten({1: (x, y), 2: None})` has the leaves `[x, y]`.
    """
    found: list[Any] = []
    try:
        return found, _flatten(tree, found)
    except RecursionError:
        raise too_deep() from None


def unflatten(structure: Structure[T], leaves: Iterable[Any]) -> T:
    """The tree of this structure with these leaves. ParamsError unless there is one leaf for each place."""
    given = list(leaves)
    if len(given) != structure.size:
        raise ParamsError(f"a structure with {structure.size} leaves cannot hold {len(given)}.")
    try:
        tree: T = _unflatten(structure, iter(given))
    except RecursionError:
        raise too_deep() from None
    return tree


def structure(tree: T) -> Structure[T]:
    """The tree without its leaves."""
    return flatten(tree)[1]


def leaves(tree: object) -> list[Any]:
    """The leaves, depth first, dicts in their own order. None holds no leaf."""
    return flatten(tree)[0]


def leaves_with_path(tree: object) -> list[tuple[str, Any]]:
    """(path, leaf) for each leaf, in the order of `leaves`.

    Example: `leaves_with_path({3: Affine(W, b)})` is `[("[3].weight", W), ("[3].bias", b)]`.
    """
    found, s = flatten(tree)
    return list(zip((path for path, node in walk(s) if node.kind is object), found, strict=True))


def walk(structure: Structure[Any], path: str = "") -> Iterator[tuple[str, Structure[Any]]]:
    """(path, structure) of every node and every leaf, depth first, a node before what stands in it.

    path: that of the whole, for instance "params".
    """
    yield path, structure
    for key, child in zip(structure.keys, structure.children, strict=True):
        yield from walk(child, path + _step(structure.kind, key))


def map(function: Callable[..., Any], tree: T, *rest: object) -> T:
    """The tree of function(x, *ys), x a leaf of `tree`, ys those at the same place in each tree of `rest`.

    All trees have the structure of the first, whose order of keys is kept; dicts are matched by key. ParamsError names
    each path at which another tree differs. The type is that of `tree`: the function should give a leaf for a leaf.

    Example: `map(lambda p, g: p - 0.1 * g, params, gradients)`.
    """
    xs, s = flatten(tree)
    columns = [_aligned(s, other, f"tree {place}") for place, other in enumerate(rest, 2)]
    return unflatten(s, starmap(function, zip(xs, *columns, strict=True)))


def ravel(tree: T) -> tuple[Vector, Callable[[Vector], T]]:
    """(vector, unravel): all leaves in one new vector, and the way back.

    Leaves are floating arrays (or NumPy scalars, as arrays of rank 0) of ONE dtype: DTypeError names any others.
    `unravel(vector)` gives new arrays, never views; it pickles, and raises ShapeError for another length, DTypeError
    for another dtype. A tree without leaves gives an empty float32 vector.

    Example: `vector, unravel = ravel(params)`, for an optimizer that works on vectors.
    """
    xs, s = flatten(tree)
    dtype = _common_dtype(tree)
    vector = np.concatenate([np.empty(0, dtype), *(np.asarray(x).ravel() for x in xs)])
    return vector, partial(_unravel, s, [np.shape(x) for x in xs], vector.dtype)


def _entries(tree: Any) -> tuple[Sequence[Hashable], Iterable[Any]] | None:
    """(keys, values) of a node, None for a leaf. Exact types: a subclass might not be rebuilt from its entries."""
    kind = cast("Any", type(tree))
    if kind is dict:
        return tuple(tree), tree.values()
    if kind is tuple or kind is list:
        return range(len(tree)), tree
    if tree is None:
        return (), ()
    fields = getattr(kind, "_fields", None)
    return (fields, tree) if fields is not None and issubclass(kind, tuple) else None


def _flatten(tree: Any, found: list[Any]) -> Structure[Any]:
    """The structure of a tree, whose leaves are added to `found`."""
    entries = _entries(tree)
    if entries is None:
        found.append(tree)
        return _LEAF
    keys, values = entries
    before = len(found)
    children: list[Structure[Any]] = []
    for value in values:
        if type(value) is np.ndarray:  # most are, and a call for each would take half the time
            found.append(value)
            children.append(_LEAF)
        else:
            children.append(_flatten(value, found))
    made: Structure[Any] = new_tuple(Structure, (type(tree), keys, tuple(children), len(found) - before))
    return made


def _unflatten(s: Structure[Any], found: Iterator[Any]) -> Any:
    """The tree that takes its leaves from `found`, in order."""
    kind: Any = s.kind
    if kind is object:
        return next(found)
    if kind is _NONE:
        return None
    values = [_unflatten(child, found) for child in s.children]
    if kind is dict:
        return dict(zip(s.keys, values, strict=True))
    return values if kind is list else new_tuple(kind, values)


def too_deep() -> ParamsError:
    """The error for a tree that Python's stack does not hold."""
    return ParamsError("a tree is nested too deep: some hundred levels are the most")


def same_kind(a: Any, b: Any) -> bool:
    """Whether two types are one, or NamedTuples of one name with the same fields: a class defined again is another."""
    fields = getattr(a, "_fields", None)
    return a is b or (fields is not None and fields == getattr(b, "_fields", None) and a.__name__ == b.__name__)


def _step(kind: type, key: Hashable) -> str:
    """One step of a path: an attribute of a NamedTuple, else an index."""
    name = cast("Any", key).item() if isinstance(key, np.generic) else key
    return f"[{name!r}]" if kind in (dict, list, tuple) else f".{key}"


def _aligned(s: Structure[Any], tree: object, name: str) -> list[Any]:
    """The leaves of a tree in the order of `s`, whatever the order of its own keys."""
    found, other = flatten(tree)
    if other == s:
        return found
    ordered: list[Any] = []
    problems: list[str] = []
    _match(s, tree, "params", ordered, problems)
    if problems:
        raise ParamsError("\n  ".join([f"{name} differs from the first", *_shortened(problems)]))
    return ordered


def _match(s: Structure[Any], tree: object, path: str, ordered: list[Any], problems: list[str]) -> None:
    """Add the leaves of `tree` to `ordered` where it has the structure s, and what differs to `problems`."""
    entries = _entries(tree)
    kind = object if entries is None else type(tree)
    if not same_kind(kind, s.kind):
        problems.append(f"{path} is {_described(tree)}; expected {_expected(s)}.")
    elif entries is None:
        ordered.append(tree)
    else:
        values = dict(zip(*entries, strict=True))
        if values.keys() != set(s.keys):
            problems.append(f"{path} {_difference(s, values)}.")
        for key, child in zip(s.keys, s.children, strict=True):
            if key in values:
                _match(child, values[key], path + _step(kind, key), ordered, problems)


def _difference(s: Structure[Any], values: dict[Hashable, Any]) -> str:
    """How the entries of a node differ from those of s."""
    if s.kind is not dict:
        return f"has {len(values)} entries; expected {len(s.keys)}"
    known = set(s.keys)
    missing = [repr(key) for key in s.keys if key not in values]
    unknown = [repr(key) for key in values if key not in known]
    texts = [("lacks", missing), ("has the unknown", unknown)]
    return " and ".join(f"{verb} {', '.join(_shortened(keys))}" for verb, keys in texts if keys)


def _described(tree: object) -> str:
    """What stands in a place, in a word or two."""
    name = type(tree).__name__
    return "None" if tree is None else f"a leaf ({name})" if _entries(tree) is None else name


def _expected(s: Structure[Any]) -> str:
    """What should stand in a place."""
    return {object: "a leaf", _NONE: "None"}.get(s.kind, s.kind.__name__)


def _shortened(texts: list[str]) -> list[str]:
    """The first few of many, and how many more there are."""
    return texts if len(texts) <= _LISTED else [*texts[:_LISTED], f"and {len(texts) - _LISTED:,} more"]


def _kind(leaf: object) -> np.dtype[Any] | type:
    """The dtype of an array, the type of anything else."""
    return cast("npt.NDArray[Any]", leaf).dtype if isinstance(leaf, (np.ndarray, np.generic)) else type(leaf)


def _common_dtype(tree: object) -> np.dtype[Any]:
    """The one floating dtype of all leaves."""
    kinds = {_kind(leaf) for leaf in leaves(tree)} or {np.dtype(np.float32)}
    (kind, *others) = kinds
    if not others and isinstance(kind, np.dtype) and kind.kind == "f":
        return kind
    places: dict[Any, list[str]] = {}
    for path, leaf in leaves_with_path(tree):
        places.setdefault(_kind(leaf), []).append("params" + path)
    found = [f"{getattr(kind, '__name__', kind)}: {', '.join(_shortened(paths))}" for kind, paths in places.items()]
    raise DTypeError("\n  ".join(["ravel takes floating arrays of one dtype. Cast these to one with map:", *found]))


def _unravel(s: Structure[T], shapes: list[tuple[int, ...]], dtype: np.dtype[Any], vector: Vector) -> T:
    """The tree of structure s whose leaves have these shapes and stand one after another in the vector."""
    bounds = list(accumulate((math.prod(shape) for shape in shapes), initial=0))
    v = np.asarray(vector)
    if v.shape != (bounds[-1],):
        raise ShapeError(f"unravel takes a vector of shape ({bounds[-1]},); got shape {v.shape}.")
    if v.dtype != dtype:
        raise DTypeError(f"unravel takes a vector of {dtype}; got {v.dtype}. Cast it with astype({str(dtype)!r}).")
    pieces = [v[i:j].reshape(shape).copy() for (i, j), shape in zip(pairwise(bounds), shapes, strict=True)]
    return unflatten(s, pieces)
