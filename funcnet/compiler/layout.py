"""A pytree of arrays in one flat vector, of which its leaves are views."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate, chain, pairwise, starmap
from math import prod
from operator import attrgetter, is_, itemgetter
from typing import Any, Generic, TypeAlias, TypeVar, cast

import numpy as np
from numpy import ndarray

from funcnet import tree

T = TypeVar("T")
Node: TypeAlias = "tuple[Any, list[Any]]"
"""A dict or a list of a tree, with its keys and items."""
FORM = attrgetter("strides", "dtype")  # with the number of elements, which no assignment changes, they give the shape
Builder: TypeAlias = Callable[[tuple[Any, ...]], Any]


class Layout(Generic[T]):
    """The places of the leaves of a tree in one vector.

    The vector is a record with a field for each leaf: NumPy makes the view that a field is several times as fast as a
    slice and a reshape.

    only_dict: whether a dict at the top is the only mutable part of the tree.
    key_types: of all its dicts, since keys that are equal, such as 1 and True, are not the same.
    build: the tree of these leaves, a tuple of them.
    form, forms: FORM of a flat vector, and of the leaves in it.
    """

    def __init__(self, structure: tree.Structure[T], shapes: list[tuple[int, ...]], dtype: np.dtype[Any]) -> None:
        self.structure = structure
        self.shapes = shapes
        self.dtype = dtype
        self.count: int = sum(map(prod, shapes))
        starts = [*accumulate(map(prod, shapes), initial=0)]
        names = [str(i) for i in range(len(shapes))]
        self.record: np.dtype[np.void] = np.dtype(
            {
                "names": names,
                "formats": [(dtype, shape) for shape in shapes],
                "offsets": [start * dtype.itemsize for start in starts[:-1]],
                "itemsize": self.count * dtype.itemsize,
            }
        )
        self._fields = fields_getter(names)
        self.build: Callable[[Any], T] = builder(structure, 0)
        self._nodes = [*mutable_nodes(structure)]
        self.only_dict: bool = self._nodes == [()] and structure.kind is dict
        self.key_types: tuple[type, ...] = key_types(structure)
        empty = np.empty(self.count, dtype)
        self.form: Any = FORM(empty)
        self.forms: list[Any] = [*map(FORM, self.views(empty))]
        self._of_tuples: bool = of_tuples(structure)
        self._keys: list[Any] = [*structure.keys] if structure.kind is dict else []
        self._kinds: list[Any] = [child.kind for child in structure.children]
        self._sizes: list[int] = [child.size for child in structure.children]

    def views(self, vector: Any) -> tuple[Any, ...]:
        """The leaves as views of this flat vector."""
        return self._fields(ndarray((), self.record, vector))

    def tree(self, vector: Any) -> T:
        """The tree whose leaves are views of a fresh flat vector."""
        return self.build(self._fields(ndarray((), self.record, vector)))

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
        """The leaves of a tree, after checking all of it. LookupError if it has another structure."""
        kind = cast("Any", type(candidate))
        if self._of_tuples and kind is self.structure.kind:
            keys: list[Any] = [*candidate] if self._keys else []
            children: Any = candidate.values() if self._keys else candidate
            if [*map(type, children)] == self._kinds and [*map(len, children)] == self._sizes:
                if keys != self._keys or (*map(type, keys),) != self.key_types:
                    raise LookupError
                return [*chain.from_iterable(children)]
        leaves, structure = tree.flatten(candidate)
        if structure != self.structure or key_types(structure) != self.key_types:
            raise LookupError
        return leaves

    def source(self, leaves: list[Any]) -> Any:
        """The flat vector of which the leaves are views, each in its place; None where they are not."""
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
    """Whether all dicts and lists still hold the same objects as keys and items."""
    for node, held in nodes:
        now = items_of(node)
        if len(now) != len(held) or not all(map(is_, now, held)):
            return False
    return True


def key_types(structure: tree.Structure[Any]) -> tuple[type, ...]:
    """The types of all keys of dicts."""
    return tuple(type(key) for _, node in tree.walk(structure) if node.kind is dict for key in node.keys)


def items_of(node: Any) -> list[Any]:
    """The keys and items of a dict, the items of a list."""
    return [*node, *node.values()] if type(node) is dict else [*node]


def builder(structure: tree.Structure[Any], start: int) -> Builder:
    """A function that makes the tree from a tuple with its leaves from place `start` on."""
    kind, new_tuple = cast("Any", structure.kind), tree.new_tuple
    if kind is object:
        return itemgetter(start)
    if kind is type(None):
        return lambda leaves: None
    ends = [*accumulate((child.size for child in structure.children), initial=start)]
    if is_flat_tuple(structure):
        part = slice(start, ends[-1])
        return lambda leaves: new_tuple(kind, leaves[part])
    make: Any = list if kind is list else partial(new_tuple, kind)
    if of_tuples(structure):  # the params of most networks, made at every step
        parts = [*starmap(slice, pairwise(ends))]
        if kind is dict:
            return dict_of_tuples(structure, parts)
        items = [*zip([child.kind for child in structure.children], parts, strict=True)]
        return lambda leaves: make([new_tuple(kind, leaves[part]) for kind, part in items])
    builders = [builder(child, start) for child, start in zip(structure.children, ends, strict=False)]
    if kind is dict:
        keyed = [*zip(structure.keys, builders, strict=True)]
        return lambda leaves: {key: build(leaves) for key, build in keyed}
    return lambda leaves: make([build(leaves) for build in builders])


def dict_of_tuples(structure: tree.Structure[Any], parts: list[slice]) -> Builder:
    """The same for a dict of NamedTuples of leaves."""
    kinds, new_tuple = [child.kind for child in structure.children], tree.new_tuple
    items = [*zip(structure.keys, kinds, parts, strict=True)]

    def build(leaves: tuple[Any, ...]) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for key, kind, part in items:  # in less time than a comprehension takes
            made[key] = new_tuple(kind, leaves[part])
        return made

    return build


def fields_getter(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """A function that gets these fields of a record, as a tuple."""
    return itemgetter(*names) if len(names) > 1 else lambda record: tuple([record[name] for name in names])


def of_tuples(structure: tree.Structure[Any]) -> bool:
    """Whether this is a dict or a sequence of tuples of leaves."""
    return bool(structure.children) and all(map(is_flat_tuple, structure.children))


def is_flat_tuple(structure: tree.Structure[Any]) -> bool:
    """Whether this is a tuple, named or not, of leaves."""
    return issubclass(structure.kind, tuple) and all(child.kind is object for child in structure.children)


def mutable_nodes(structure: tree.Structure[Any], path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The key paths to all dicts and lists of a tree."""
    if structure.kind in (dict, list):
        yield path
    for place, (key, child) in enumerate(zip(structure.keys, structure.children, strict=False)):
        yield from mutable_nodes(child, (*path, key if structure.kind is dict else place))
