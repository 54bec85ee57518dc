"""Params that come again: which ones came last, and how they are recognised."""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_
from typing import Any, Generic, NamedTuple
from weakref import ref

from typing_extensions import TypeVar

from funcnet import tree
from funcnet.compiler.layout import FORM, Layout, Node, are_as_they_were

P = TypeVar("P", default=Any)

MAX_HELD_BYTES = 1 << 18  # of params up to which those last seen are held: they are recognised in the shortest time
RECENT = 8  # how many params are recognised at a time


class Seen(NamedTuple):
    """The params that came last, or that a step has just made, if they are small; a call recognises them by identity.

    items: of their dict, if nothing else in them can change; else None, and `nodes` are their dicts and lists.
    leaves: the arrays in them.      forms: FORM of each, which may be assigned to.
    """

    params: Any
    items: list[Any] | None
    nodes: list[Node]
    leaves: Sequence[Any]
    forms: list[Any]
    vector: Any


class Remembered(NamedTuple):
    """Params that are not held, by weak references to their arrays and to their flat vector, and what was kept then."""

    leaves: list[Any]
    forms: list[Any]
    vector: Any
    kept: Any


class ParamsCache(Generic[P]):
    """Which params came last to any program that takes params of this layout.

    Params which a step has made, or which come again, are recognised, and go in by a single copy of the flat vector
    that they are views of.

    last: small params last seen; set at once, so that threads see no half of it.
    older: others, large ones first of all.
    kept: what whoever runs the programs keeps for its next call, if params are small. It is set aside with the params,
        and comes back with them.
    """

    def __init__(self, layout: Layout[P]) -> None:
        self.layout = layout
        self.small: bool = layout.count * layout.dtype.itemsize <= MAX_HELD_BYTES
        self.last: Seen | None = None
        self.older: tuple[Remembered, ...] = ()
        self.kept: Any = None

    def made(self, vector: Any) -> Any:
        """The params as views of a vector that a step has made: they are recognised when they come again."""
        layout = self.layout
        leaves = layout.views(vector)
        params = layout.build(leaves)
        if self.small:
            self._hold(params, leaves, layout.forms, vector)
        else:
            self._add(leaves, layout.forms, vector)
        return params

    def remember(self, params: Any, leaves: list[Any], vector: Any, kept: Any = None) -> None:
        """Keep what tells params that were given from others: small ones, weak references to what may come again.

        Those before are held no longer, but remembered, with their forms as they were then and with what was kept.
        kept: what was kept with these, if they have been here before.
        """
        last, self.last = self.last, None
        if last is not None:
            self._add(last.leaves, last.forms, last.vector)
        self.kept = kept
        forms = [*map(FORM, leaves)]
        self._add(leaves, forms, vector)
        if self.small:
            self._hold(params, leaves, forms, vector)

    def _hold(self, params: Any, leaves: Sequence[Any], forms: list[Any], vector: Any) -> None:
        layout = self.layout
        if layout.only_dict:
            self.last = tree.new_tuple(Seen, (params, [*params, *params.values()], [], leaves, forms, vector))
        else:
            self.last = tree.new_tuple(Seen, (params, None, layout.nodes(params), leaves, forms, vector))

    def recognise(self, params: Any) -> tuple[Any, Any]:
        """(flat vector, leaves), or (None, leaves) where there is no vector. LookupError unless params are known."""
        last = self.last
        if last is None:
            return self._recall(params)
        seen, items, nodes, leaves, forms, vector = last
        if items is not None:
            if params.__class__ is not dict:
                raise LookupError
            now = [*params, *params.values()]
            if len(now) != len(items) or not all(map(is_, now, items)):
                return self._recall(params)
        elif params is not seen or (nodes and not are_as_they_were(nodes)):
            return self._recall(params)
        if [*map(FORM, leaves)] != forms or (vector is not None and FORM(vector) != self.layout.form):
            raise LookupError
        return vector, leaves

    def _recall(self, params: Any) -> tuple[Any, Any]:
        """The same of params that came before the last ones."""
        leaves = self.layout.exact_leaves(params)
        now = [*map(ref, leaves)]
        for found in self.older:
            if all(map(is_, now, found.leaves)):
                vector: Any = None if found.vector is None else found.vector()
                if [*map(FORM, leaves)] != found.forms or (vector is not None and FORM(vector) != self.layout.form):
                    break
                if self.small:
                    self.remember(params, leaves, vector, found.kept)
                return vector, leaves
        raise LookupError

    def _add(self, leaves: Sequence[Any], forms: list[Any], vector: Any) -> None:
        """Remember these params longest; those that are gone, and what was known of these before, no longer."""
        new = Remembered([*map(ref, leaves)], forms, None if vector is None else ref(vector), self.kept)
        others = [
            seen
            for seen in self.older
            if all(leaf() is not None for leaf in seen.leaves) and not all(map(is_, seen.leaves, new.leaves))
        ]
        self.older = (new, *others[: RECENT - 1])
