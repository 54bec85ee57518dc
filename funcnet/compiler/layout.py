"""A pytree of arrays laid out in one flat vector, of which its leaves are views."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate, chain
from math import prod
from operator import attrgetter, is_, itemgetter
from typing import Any, Generic, TypeAlias, TypeVar, cast

import numpy as np

from funcnet import tree

T = TypeVar("T")
Node: TypeAlias = "tuple[Any, list[Any]]"
"""A dict or a list of a tree, with its keys and items."""
FORM = attrgetter("strides", "dtype")  # with the number of elements, which no assignment changes, they give the shape
Builder: TypeAlias = Callable[[tuple[Any, ...]], Any]


class Layout(Generic[T]):
    """Where the leaves of a tree stand in one vector.

    The vector is a record with a field for each leaf and one, overlapping, for them all: NumPy makes the view that a
    field is several times as fast as a slice and a reshape.

    only_dict: whether nothing in the tree can change but a dict at the top.
    key_types: of all its dicts, since keys that are equal, such as 1 and True, are not the same.
    leaves: gives the leaves of a tree of this structure.
    form, forms: FORM of a flat vector, and of the leaves in it.
    """

    def __init__(self, structure: tree.Structure[T], shapes: list[tuple[int, ...]], dtype: np.dtype[Any]) -> None:
        self.structure = structure
        self.shapes = shapes
        self.dtype = dtype
        self.count: int = sum(map(prod, self.shapes))
        ends = [0, *accumulate(prod(shape) for shape in self.shapes)]
        self.record: np.dtype[np.void] = np.dtype(
            {
                "names": [str(i) for i in range(len(ends))],
                "formats": [(dtype, (ends[-1],)), *((dtype, shape) for shape in self.shapes)],
                "offsets": [0, *(end * dtype.itemsize for end in ends[:-1])],
                "itemsize": ends[-1] * dtype.itemsize,
            }
        )
        self._fields = itemgetter(*(self.record.names or ())) if shapes else None
        self.tree: Callable[[Any], T] = self._tree_maker(structure)
        self._nodes = [*mutable_nodes(self.structure)]
        self.only_dict: bool = self._nodes == [()] and structure.kind is dict
        self.key_types: tuple[type, ...] = key_types(structure)
        flat = bool(structure.children) and all(map(is_flat_tuple, structure.children))
        self.leaves: Callable[[Any], list[Any]] = tree.leaves
        if flat and structure.kind is dict:
            self.leaves = leaves_of_dict
        elif flat:
            self.leaves = leaves_of_sequence
        empty = np.empty(self.count, dtype)
        self.form: Any = FORM(empty)
        self.forms: list[Any] = [*map(FORM, self.views(empty))]
        self._of_tuples: bool = flat
        self._keys: list[Any] = [*structure.keys] if structure.kind is dict else []
        self._kinds: list[Any] = [child.kind for child in structure.children]
        self._sizes: list[int] = [child.size for child in structure.children]

    def _tree_maker(self, structure: tree.Structure[T]) -> Callable[[Any], T]:
        """What makes the tree whose leaves are views of a fresh flat vector, which becomes theirs."""
        record, fields, array = self.record, self._fields, np.ndarray
        if fields is None:
            return lambda vector: tree.unflatten(structure, ())
        if structure.kind is dict and all(is_flat_tuple(child) for child in structure.children):
            return self._dict_maker(structure)
        build = builder(structure, 1)
        return lambda vector: build(fields(array((), record, vector)))

    def _dict_maker(self, structure: tree.Structure[T]) -> Callable[[Any], Any]:
        """The same for a dict of NamedTuples of leaves: the params of most networks, made at every step."""
        array, new_tuple = cast("Any", np.ndarray), tree.new_tuple
        record, entries, start = self.record, list[tuple[Any, Any, Any]](), 1
        for key, child in zip(structure.keys, structure.children, strict=True):
            entries.append((key, child.kind, fields_getter(range(start, start + child.size))))
            start += child.size

        def make(vector: Any) -> Any:
            made: dict[Any, Any] = {}
            whole: Any = array((), record, vector)
            for key, kind, fields in entries:
                made[key] = new_tuple(kind, fields(whole))
            return made

        return make

    def views(self, vector: Any) -> tuple[Any, ...]:
        """The leaves in a flat vector."""
        whole: Any = np.ndarray((), self.record, vector)
        return self._fields(whole)[1:] if self._fields else ()

    def paths(self) -> list[str]:
        """The path of each leaf."""
        return [path for path, _ in tree.leaves_with_path(tree.unflatten(self.structure, range(len(self.shapes))))]

    def nodes(self, candidate: T) -> list[Node]:
        """Every dict and list in a tree, with its keys and items."""
        found: list[Node] = []
        for path in self._nodes:
            node: Any = candidate
            for step in path:
                node = node[step]
            found.append((node, items_of(node)))
        return found

    def exact_leaves(self, candidate: Any) -> list[Any]:
        """The leaves of a tree, all of which is looked at. LookupError if it has another structure."""
        kind = cast("Any", type(candidate))
        if self._of_tuples and kind is self.structure.kind:
            keys: list[Any] = [*candidate] if self._keys else []
            children: Any = candidate.values() if self._keys else candidate
            if [*map(type, children)] == self._kinds and [*map(len, children)] == self._sizes:
                if keys != self._keys or (*map(type, keys),) != self.key_types:
                    raise LookupError
                return self.leaves(candidate)
        leaves, structure = tree.flatten(candidate)
        if structure != self.structure or key_types(structure) != self.key_types:
            raise LookupError
        return leaves

    def source(self, leaves: list[Any]) -> Any:
        """The flat vector whose views, each in its place, the leaves are; None where they are not."""
        vector = leaves[0].base if leaves else None
        if type(vector) is not np.ndarray or (vector.shape, vector.dtype) != ((self.count,), self.dtype):
            return None
        if any(leaf.base is not vector for leaf in leaves):
            return None
        here = self.views(vector) if vector.flags.c_contiguous and vector.flags.aligned else ()
        same = [a.__array_interface__ for a in here] == [b.__array_interface__ for b in leaves]
        return vector if same else None

    def joined(self, params: Any) -> Any:
        """The leaves of a tree in a flat vector."""
        return np.concatenate([np.empty(0, self.dtype), *(leaf.ravel() for leaf in tree.leaves(params))])


def contiguous(params: T, dtype: np.dtype[Any]) -> T:
    """The same tree in fresh flat memory."""
    leaves, structure = tree.flatten(params)
    if not leaves:
        return params
    layout = Layout(structure, [leaf.shape for leaf in leaves], dtype)
    return layout.tree(np.concatenate([leaf.ravel() for leaf in leaves]))


def are_as_they_were(nodes: list[Node]) -> bool:
    """Whether all dicts and lists still hold the very keys and items that they held."""
    for node, held in nodes:
        now = items_of(node)
        if len(now) != len(held) or not all(map(is_, now, held)):
            return False
    return True


def leaves_of_dict(params: Any) -> list[Any]:
    """The leaves of a dict of tuples of leaves."""
    return [*chain.from_iterable(params.values())]


def leaves_of_sequence(params: Any) -> list[Any]:
    """The leaves of a sequence of tuples of leaves."""
    return [*chain.from_iterable(params)]


def key_types(structure: tree.Structure[Any]) -> tuple[type, ...]:
    """The types of all keys of dicts."""
    return tuple(type(key) for _, node in tree.walk(structure) if node.kind is dict for key in node.keys)


def items_of(node: Any) -> list[Any]:
    """The keys and items of a dict, the items of a list."""
    return [*node, *node.values()] if type(node) is dict else [*node]


def builder(structure: tree.Structure[Any], at: int) -> Builder:
    """What makes the tree from a tuple in which its leaves stand from place `at` on."""
    kind: Any = structure.kind
    if kind is object:
        return itemgetter(at)
    if kind is type(None):
        return lambda leaves: None
    starts = accumulate((child.size for child in structure.children), initial=at)
    items = [
        (key, builder(child, start))
        for key, child, start in zip(structure.keys, structure.children, starts, strict=False)
    ]
    if kind is dict:
        return partial(dict_of, items)
    return partial(sequence_of, list if kind is list else partial(tree.new_tuple, kind), items)


def dict_of(items: list[tuple[Any, Builder]], leaves: tuple[Any, ...]) -> dict[Any, Any]:
    """A dict of whatever."""
    return {key: build(leaves) for key, build in items}


def sequence_of(make: Callable[[list[Any]], Any], items: list[tuple[Any, Builder]], leaves: tuple[Any, ...]) -> Any:
    """A list or a tuple, named or not, of whatever."""
    return make([build(leaves) for _, build in items])


def fields_getter(places: Sequence[int]) -> Callable[[Any], Any]:
    """What gets the fields with these numbers of a record, as a tuple."""
    names = [str(place) for place in places]
    if len(names) > 1:
        return itemgetter(*names)
    return lambda record: tuple(record[name] for name in names)


def is_flat_tuple(structure: tree.Structure[Any]) -> bool:
    """Whether this is a tuple, named or not, of leaves."""
    return issubclass(structure.kind, tuple) and all(child.kind is object for child in structure.children)


def mutable_nodes(structure: tree.Structure[Any], path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all dicts and lists of a tree."""
    if structure.kind in (dict, list):
        yield path
    for place, (key, child) in enumerate(zip(structure.keys, structure.children, strict=False)):
        yield from mutable_nodes(child, (*path, key if structure.kind is dict else place))
