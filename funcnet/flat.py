"""A pytree of arrays laid out in one flat vector, of which its leaves are views."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from math import prod
from operator import itemgetter
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

    def new(self) -> tuple[Any, ...]:
        """Fresh memory: (the flat vector, leaf, leaf, ...), all views of it."""
        return self.views(np.empty((), self.record))

    def views(self, record: Any) -> tuple[Any, ...]:
        """(the flat vector, leaf, leaf, ...) of a record."""
        return self._fields(record) if self._fields else (np.empty(0, self.dtype),)

    def tree(self, views: tuple[Any, ...]) -> T:
        """The tree of the leaves that `new` gave."""
        return self._build(views)

    def pack(self, source: T) -> T:
        """The same tree in fresh flat memory."""
        views = self.new()
        for view, leaf in zip(views[1:], tree.leaves(source), strict=True):
            view[...] = leaf
        return self.tree(views)

    def identity(self, candidate: Any) -> tuple[int, ...] | None:
        """What all that hangs in the tree's dicts and lists is, by identity: equal as long as nobody exchanges an item."""
        found: list[int] = []
        try:
            for path in self._nodes:
                node = candidate
                for step in path:
                    node = node[step]
                found.extend(map(id, node.values() if type(node) is dict else node))
        except (KeyError, IndexError, TypeError):
            return None
        return tuple(found)

    def source(self, leaves: list[Any]) -> Any:
        """The flat vector whose views, each in its place, the leaves are; None where they are not."""
        base = leaves[0].base if leaves else None
        if type(base) is not np.ndarray or base.dtype != self.record:
            return None
        here = self.views(base)
        same = all(a.__array_interface__ == b.__array_interface__ for a, b in zip(here[1:], leaves, strict=True))
        return here[0] if same else None


def builder(structure: tree.Structure[Any], at: int) -> Callable[[tuple[Any, ...]], Any]:
    """What makes the tree from a tuple in which its leaves stand from place `at` on."""
    kind: Any = structure.kind
    if kind is object:
        return itemgetter(at)
    starts = accumulate((child.size for child in structure.children), initial=at)
    children = [builder(child, start) for child, start in zip(structure.children, starts, strict=False)]
    end, new = at + structure.size, tuple.__new__
    if kind is dict:
        items = [*zip(structure.keys, children, strict=True)]
        return lambda leaves: {key: build(leaves) for key, build in items}
    if kind is type(None):
        return lambda leaves: None
    if kind is list:
        return lambda leaves: [build(leaves) for build in children]
    if all(child.kind is object for child in structure.children):
        return lambda leaves: new(kind, leaves[at:end])
    return lambda leaves: new(kind, [build(leaves) for build in children])


def mutable_nodes(structure: tree.Structure[Any], path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all dicts and lists of a tree."""
    if structure.kind in (dict, list):
        yield path
    for place, (key, child) in enumerate(zip(structure.keys, structure.children, strict=False)):
        yield from mutable_nodes(child, (*path, key if structure.kind is dict else place))
