"""Pytrees taken apart, put together again, and walked. `funcnet.tree` offers the public ones of these."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar, cast

import numpy as np

from funcnet.errors import ParamsError

T = TypeVar("T")

new_tuple: Callable[[Any, Any], Any] = cast("Any", tuple).__new__
"""A tuple or a NamedTuple of these items, made twice as fast as by a NamedTuple's own constructor."""
NONE = type(None)


class Structure(NamedTuple, Generic[T]):
    """A tree without its leaves: a value that compares, hashes (as its dict keys do) and pickles."""

    kind: type
    """dict, tuple, list, a NamedTuple, NoneType; `object` for a leaf."""
    keys: Sequence[Hashable]
    """A dict's keys in their order, a NamedTuple's fields, a range for a tuple or a list."""
    children: tuple[Structure[Any], ...]
    """The structures under the keys."""
    size: int
    """How many leaves there are."""


_LEAF: Structure[Any] = Structure(object, (), (), 1)


def flatten(tree: T) -> tuple[list[Any], Structure[T]]:
    """Take a tree apart: (leaves, structure); `unflatten(structure, leaves)` is the tree again.

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
    """List (path, leaf) for each leaf, in the order of `leaves`.

    Example: `leaves_with_path({3: Affine(W, b)})` is `[("[3].weight", W), ("[3].bias", b)]`.
    """
    found, s = flatten(tree)
    return list(zip((path for path, node in walk(s) if node.kind is object), found, strict=True))


def walk(structure: Structure[Any], path: str = "") -> Iterator[tuple[str, Structure[Any]]]:
    """Go through a tree: (path, structure) of every node and leaf, depth first, a node before its children.

    path: that of the whole, for instance "params".
    """
    yield path, structure
    for key, child in zip(structure.keys, structure.children, strict=True):
        yield from walk(child, path + key_path(structure.kind, key))


def entries_of(tree: Any) -> tuple[Sequence[Hashable], Iterable[Any]] | None:
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
    entries = entries_of(tree)
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
    if kind is NONE:
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


def key_path(kind: type, key: Hashable) -> str:
    """One step of a path: an attribute of a NamedTuple, else an index."""
    name = cast("Any", key).item() if isinstance(key, np.generic) else key
    return f"[{name!r}]" if kind in (dict, list, tuple) else f".{key}"


def is_masked(x: object) -> bool:
    """Whether it is an array some of whose elements may be masked out."""
    return "numpy.ma" in sys.modules and isinstance(x, np.ma.MaskedArray)  # NumPy loads it only where it is used
