"""Pytrees: params, gradients and states as nested dict, tuple, list, NamedTuple and None. All else is a leaf.

    leaves, s = flatten(tree)        unflatten(s, leaves) = tree        structure(tree) = s
    map(f, t, u) = unflatten(s, [f(x, y) for x, y in zip(leaves of t, leaves of u)])
    vector, unravel = ravel(tree)        unravel(vector) = tree
    unnamed(tree, named(tree)) = tree

A dict keeps the order in which its keys were inserted; they are never sorted, so that ints and strings mix freely.
`map` matches dicts by key, and NamedTuples by name and fields. Leaves are positions, so a Structure remembers the
order: two trees have equal structures exactly if their leaves match one to one, and dicts whose keys stand in another
order have not.
A path reads as Python does: `[3].weight`, `['out'][0]`; it is empty for a tree that is one leaf.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from itertools import accumulate, pairwise, starmap
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

from funcnet.errors import DTypeError, ParamsError, ShapeError
from funcnet.structures import (
    NONE,
    Structure,
    entries_of,
    flatten,
    is_masked,
    key_path,
    leaves,
    leaves_with_path,
    new_tuple,
    same_kind,
    structure,
    unflatten,
    walk,
)

__all__ = [
    "Structure",
    "flatten",
    "leaves",
    "leaves_with_path",
    "map",
    "named",
    "new_tuple",
    "ravel",
    "same_kind",
    "structure",
    "unflatten",
    "unnamed",
    "walk",
]

T = TypeVar("T")
Vector: TypeAlias = npt.NDArray[np.floating[Any]]

_LISTED = 10  # an error message lists no more problems than this


def map(function: Callable[..., Any], tree: T, *rest: object) -> T:
    """Apply a function to each leaf: the tree of function(x, *ys), ys the leaves at the same place in `rest`.

    All trees have the structure of the first, whose order of keys is kept; dicts are matched by key. ParamsError names
    each path at which another tree differs. The type is that of `tree`: the function should give a leaf for a leaf.

    Example: `map(lambda p, g: p - 0.1 * g, params, gradients)`.
    """
    if not callable(function):
        raise ParamsError(f"tree.map takes the function first, map(function, tree), not {function!r:.60}")
    xs, s = flatten(tree)
    columns = [_aligned(s, other, f"tree {place}") for place, other in enumerate(rest, 2)]
    return unflatten(s, starmap(function, zip(xs, *columns, strict=True)))


def ravel(tree: T) -> tuple[Vector, Callable[[Vector], T]]:
    """Put all leaves into one new vector: (vector, unravel), where `unravel(vector)` is the tree again.

    Leaves are floating arrays (or NumPy scalars, as arrays of rank 0) of ONE dtype: DTypeError names any others.
    `unravel(vector)` gives new arrays, never views; it pickles, and raises ShapeError for another length, DTypeError
    for another dtype. A tree without leaves gives an empty float32 vector.

    Example: `vector, unravel = ravel(params)`, for an optimizer that works on vectors.
    """
    xs, s = flatten(tree)
    dtype = _common_dtype(tree)
    vector = np.concatenate([np.empty(0, dtype), *(np.asarray(x).ravel() for x in xs)])
    return vector, partial(_unravel, s, [np.shape(x) for x in xs], vector.dtype)


def named(tree: object) -> dict[str, npt.NDArray[Any]]:
    """Name and array of each leaf, in the order of `leaves`: for files and for other libraries.

    A name is the keys on the way to the leaf, joined by dots: `1.weight`. A string key that another key could be taken
    for is written in quotes, as Python writes it: one of digits, `'1'.weight`, and one that has a dot or begins with a
    quote. Two leaves so never have one name. The arrays lie in memory row by row, as safetensors needs them; those that
    do already are not copied. ParamsError names a leaf that is no array of numbers.

    Example: `np.savez("params.npz", **fn.tree.named(params))`.
    """
    found, s = flatten(tree)
    names = _names(s)
    arrays = [_array(x, np.asarray) for x in found]
    wrong = [f"{n} is {a}" for n, a in zip(names, arrays, strict=True) if isinstance(a, str)]
    twice = [f"{name} is the name of {count} leaves" for name, count in Counter(names).items() if count > 1]
    if wrong or twice:
        raise ParamsError("\n  ".join(["named takes arrays of numbers, each with a name", *_shortened(wrong + twice)]))
    return dict(zip(names, cast("list[npt.NDArray[Any]]", arrays), strict=True))


def unnamed(like: T, arrays: Mapping[str, Any]) -> T:
    """The tree of the structure of `like` with these arrays, copied, by the names that `named(like)` gives.

    ParamsError lists every array that is missing, unknown, or of another shape or dtype than in `like`.

    Example: `params = fn.tree.unnamed(params, np.load("params.npz"))`.
    """
    wanted = named(like)
    if not isinstance(cast("Any", arrays), Mapping):
        raise ParamsError(f"unnamed takes a dict of names and arrays, not {arrays!r:.60}")
    given = {name: _array(arrays[name], np.array) for name in arrays if name in wanted}
    problems = [f"{name} is missing" for name in wanted if name not in given]
    problems += [f"{name!s:.60} is unknown" for name in arrays if name not in wanted]
    for name, array in given.items():
        found, expected = (a if isinstance(a, str) else f"{a.dtype} {a.shape}" for a in (array, wanted[name]))
        if found != expected:
            problems.append(f"{name} is {found}; expected {expected}")
    if problems:
        raise ParamsError("\n  ".join(["the arrays are not those of the tree", *_shortened(problems)]))
    return unflatten(structure(like), [given[name] for name in wanted])


def _array(x: Any, make: Callable[..., npt.NDArray[Any]]) -> npt.NDArray[Any] | str:
    """An array of numbers, row by row; or, where there is none, a text that says what x is."""
    if is_masked(x):
        return "a masked array, whose mask would be lost: fill it first, x.filled(...)"
    try:
        array = make(x, order="C")
    except (RuntimeError, TypeError, ValueError) as error:  # of tensors that are no array yet, and of ragged lists
        return f"a {type(x).__name__} and no array: {error}"
    return array if array.dtype.kind in "fiub" else f"{x!r:.60}"


def _names(s: Structure[Any], name: str = "") -> list[str]:
    """The name of each leaf under a node of that name."""
    if s.kind is object:
        return [name]
    before = f"{name}." if name else ""
    return [n for key, child in zip(s.keys, s.children, strict=True) for n in _names(child, before + _name(key))]


def _name(key: Hashable) -> str:
    """A key as one part of a name."""
    if isinstance(key, str) and not re.match(r"""-?\d+$|['"]|$|.*\.""", key, re.DOTALL):
        return key
    return repr(cast("Any", key).item() if isinstance(key, np.generic) else key)


def _aligned(s: Structure[Any], tree: object, name: str) -> list[Any]:
    """The leaves of a tree in the order of `s`, not in that of its own keys."""
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
    """Add the leaves of `tree` to `ordered` where it has the structure s, and differences to `problems`."""
    entries = entries_of(tree)
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
                _match(child, values[key], path + key_path(kind, key), ordered, problems)


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
    """A description of a node or leaf, in a word or two."""
    name = type(tree).__name__
    return "None" if tree is None else f"a leaf ({name})" if entries_of(tree) is None else name


def _expected(s: Structure[Any]) -> str:
    """What should stand in a place."""
    return {object: "a leaf", NONE: "None"}.get(s.kind, s.kind.__name__)


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
