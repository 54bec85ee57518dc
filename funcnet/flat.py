"""A pytree of arrays laid out in one flat vector, of which its leaves are views."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from math import prod
from operator import is_, itemgetter
from typing import Any, Generic, TypeVar

import numpy as np

from funcnet import tree

T = TypeVar("T")


class Layout(Generic[T]):
    """Where the leaves of a tree stand in one vector.

    The vector is a record with a field for each leaf and one, overlapping, for them all: NumPy makes the view that a
    field is several times as fast as a slice and a reshape.
    """

    def __init__(self, example: T, dtype: np.dtype[Any]) -> None:
        leaves, self.structure = tree.flatten(example)
        self.shapes = [np.shape(leaf) for leaf in leaves]
        self.dtype = dtype
        self.count = sum(map(prod, self.shapes))
        ends = [0, *accumulate(prod(shape) for shape in self.shapes)]
        self.record = np.dtype(
            {
                "names": [str(i) for i in range(len(ends))],
                "formats": [(dtype, (ends[-1],)), *((dtype, shape) for shape in self.shapes)],
                "offsets": [0, *(end * dtype.itemsize for end in ends[:-1])],
                "itemsize": ends[-1] * dtype.itemsize,
            }
        )
        self._fields = itemgetter(*self.record.names) if leaves else None
        self._build = builder(self.structure, 1)
        self._nodes = [*mutable_nodes(self.structure)]
        self._only_dict = self._nodes == [()] and self.structure.kind is dict

    def views(self, record: Any) -> tuple[Any, ...]:
        """(the flat vector, leaf, leaf, ...) of a record."""
        return self._fields(record) if self._fields else (np.empty(0, self.dtype),)

    def tree(self, vector: Any) -> T:
        """The tree whose leaves are views of a fresh flat vector, which becomes theirs."""
        return self._build(self.views(np.ndarray((), self.record, vector)))

    def pack(self, source: T) -> T:
        """The same tree in fresh flat memory."""
        leaves = [leaf.ravel() for leaf in tree.leaves(source)]
        return self.tree(np.concatenate(leaves)) if leaves else source

    def items(self, candidate: Any) -> list[Any]:
        """The keys and the items of all dicts and lists in a tree: the same objects as long as nobody exchanges one."""
        if self._only_dict:
            return [*candidate, *candidate.values()]
        found: list[Any] = []
        for path in self._nodes:
            node = candidate
            for step in path:
                node = node[step]
            found += [*node, *node.values()] if type(node) is dict else node
        return found

    def unchanged(self, candidate: Any, items: list[Any]) -> bool:
        """Whether a tree still holds the very items that it held."""
        try:
            now = self.items(candidate)
        except (KeyError, IndexError):
            return False
        return len(now) == len(items) and all(map(is_, now, items))

    def source(self, leaves: list[Any]) -> Any:
        """The flat vector whose views, each in its place, the leaves are; None where they are not."""
        vector = leaves[0].base if leaves else None
        if type(vector) is not np.ndarray or (vector.shape, vector.dtype) != ((self.count,), self.dtype):
            return None
        here = self.views(np.ndarray((), self.record, vector))[1:] if vector.flags.c_contiguous else ()
        same = [a.__array_interface__ for a in here] == [b.__array_interface__ for b in leaves]
        return vector if same else None


def builder(structure: tree.Structure[Any], at: int) -> Callable[[tuple[Any, ...]], Any]:
    """What makes the tree from a tuple in which its leaves stand from place `at` on."""
    kind: Any = structure.kind
    if kind is object:
        return itemgetter(at)
    starts = [*accumulate((child.size for child in structure.children), initial=at)]
    children = [builder(child, start) for child, start in zip(structure.children, starts, strict=False)]
    end, new = at + structure.size, tuple.__new__
    if kind is dict and all(is_flat_tuple(child) for child in structure.children):
        parts = [
            (key, child.kind, slice(start, start + child.size))
            for key, child, start in zip(structure.keys, structure.children, starts, strict=False)
        ]
        return lambda leaves: {key: new(kind, leaves[part]) for key, kind, part in parts}
    if kind is dict:
        items = [*zip(structure.keys, children, strict=True)]
        return lambda leaves: {key: build(leaves) for key, build in items}
    if kind is type(None):
        return lambda leaves: None
    if kind is list:
        return lambda leaves: [build(leaves) for build in children]
    if is_flat_tuple(structure):
        return lambda leaves: new(kind, leaves[at:end])
    return lambda leaves: new(kind, [build(leaves) for build in children])


def is_flat_tuple(structure: tree.Structure[Any]) -> bool:
    """Whether this is a tuple, named or not, of leaves."""
    return issubclass(structure.kind, tuple) and all(child.kind is object for child in structure.children)


def mutable_nodes(structure: tree.Structure[Any], path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all dicts and lists of a tree."""
    if structure.kind in (dict, list):
        yield path
    for place, (key, child) in enumerate(zip(structure.keys, structure.children, strict=False)):
        yield from mutable_nodes(child, (*path, key if structure.kind is dict else place))
