"""The memory of one call: workspaces that recognise the params they saw last, alone or for a batch cut into blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import is_
from typing import Any, Generic, cast

import numpy as np
from typing_extensions import TypeVar

from funcnet.arrays import Array
from funcnet.flat import Layout, items_of
from funcnet.plan import Plan
from funcnet.program import Workspace

P = TypeVar("P", default=Any)


class Memory(Generic[P]):
    """Runs a program: `read` or `put_params`, then `run`; then there are `results`, and the flat vector `gradient`.

    It knows which params it last saw, and the flat vector that they are views of, so that params which a step has made
    go back into the next one by a single copy.
    """

    params: Any
    gradient: Any

    def __init__(self, params: Any, layout: Layout[P]) -> None:
        self.params = params
        self.layout = layout
        self.leaves = layout.views(np.ndarray((), layout.record, params))[1:]
        self.seen: Any = self  # which no params are
        self.copy: Any = None
        self.items: list[Any] = []
        self.nodes: list[tuple[Any, list[Any]]] = []
        self.vector: Any = None
        self.given: Sequence[Array] = ()
        self.kept: Any = None  # by whoever runs the program, for its next call
        self.put_params: Callable[[Any], None] = partial(params.__setitem__, ...)

    def remember(self, params: P, vector: Any, leaves: Sequence[Array] = ()) -> None:
        """Keep params, the flat vector that they are views of, or else their leaves, and what hangs in their dicts.

        One dict of tuples equals its copy later only if it holds the same items, since comparing other arrays fails,
        unless they have one element; where some have, and where dicts are nested, the identity of items is compared.
        """
        self.seen, self.vector, self.given = params, vector, leaves
        if self.layout.only_dict:
            held = cast("dict[Any, Any]", params).copy()
            self.copy = held
            if self.layout.has_single_elements:
                self.items = [*held.values()]
        else:
            self.copy = params
            self.nodes = self.layout.nodes(params)

    def knows_items(self, params: Any) -> bool:
        """Whether all dicts and lists still hold the very keys and items that they held."""
        if self.items and not all(map(is_, params.values(), self.items)):
            return False
        for node, held in self.nodes:
            now = items_of(node)
            if len(now) != len(held) or not all(map(is_, now, held)):
                return False
        return True

    def read(self, params: P, leaves: list[Array]) -> None:
        """Copy params in, whose leaves these are, and remember them."""
        vector = self.layout.source(leaves)
        self.remember(params, vector, leaves if vector is None else ())
        self.read_again()

    def read_again(self) -> None:
        """Copy the params in that it remembers: at once where they are the views of one vector."""
        if self.vector is not None:
            self.put_params(self.vector)
            return
        for view, leaf in zip(self.leaves, self.given, strict=True):
            view[...] = leaf
        self.put_params(self.params)

    def run(self, arrays: Sequence[Array]) -> None:
        """Copy the inputs in and run the program."""
        raise NotImplementedError

    def results(self) -> list[Any]:
        """The outputs, as the caller's own: fresh arrays, and scalars."""
        raise NotImplementedError


class Space(Memory[P]):
    """A workspace for a whole batch, or for one block of it."""

    def __init__(self, plan: Plan, layout: Layout[P]) -> None:
        space = Workspace(plan)
        super().__init__(space.params, layout)
        self.gradient, self.outputs, self.program = space.gradient, space.outputs, space.program
        self.puts = [copier(x) for x in space.inputs]

    def run(self, arrays: Sequence[Array]) -> None:
        """Copy the inputs in and run the program."""
        for put, x in zip(self.puts, arrays):  # noqa: B905 (their number was checked when the program was found)
            put(x)
        for f, args in self.program:
            f(*args)

    def results(self) -> list[Any]:
        """The outputs, as the caller's own: fresh arrays, and scalars."""
        return [y.copy() if y.ndim else y[()] for y in self.outputs]


class Blocks(Memory[P]):
    """Workspaces for the blocks of a large batch, by their number of rows; `spans` are their (start, stop)."""

    def __init__(self, plans: dict[int, Plan], layout: Layout[P], spans: list[tuple[int, int]]) -> None:
        self.spaces = {rows: Space(plan, layout) for rows, plan in plans.items()}
        self.spans = spans
        self.first, *self.others = self.spaces.values()
        super().__init__(self.first.params, layout)
        self.gradient = np.empty_like(self.first.gradient)
        self.totals: list[Any] = []
        self.put_params = self._put_params

    def _put_params(self, vector: Any) -> None:
        """Copy a flat vector of params into all workspaces."""
        for space in self.spaces.values():
            space.params[...] = vector

    def run(self, arrays: Sequence[Array]) -> None:
        """Run all blocks; results that are sums are added up, results of rows stand one behind the other."""
        rows = self.spans[-1][1]
        self.gradient[...] = 0
        self.totals = [np.zeros((rows, *y.shape[1:]) if y.ndim else (), y.dtype) for y in self.first.outputs]
        for start, stop in self.spans:
            space = self.spaces[stop - start]
            space.run([x[start:stop] for x in arrays])
            np.add(self.gradient, space.gradient, self.gradient)
            for total, part in zip(self.totals, space.outputs, strict=True):
                if total.ndim:
                    total[start:stop] = part
                else:
                    total += part

    def results(self) -> list[Any]:
        """The outputs, made for this call."""
        totals, self.totals = self.totals, []
        return [total if total.ndim else total[()] for total in totals]


ROWS_AT_ONCE, FEWEST_FEATURES = 64, 32


def copier(inside: Any) -> Callable[[Any], None]:
    """What copies a batch to its place.

    Some rows at a time where features, stored far apart, are so many that the writes to all of them would leave the
    cache before the next row comes.
    """
    rows = len(inside)
    if inside.ndim != 2 or inside.shape[1] < FEWEST_FEATURES or rows <= ROWS_AT_ONCE:
        return partial(inside.__setitem__, ...)
    parts = [slice(start, start + ROWS_AT_ONCE) for start in range(0, rows, ROWS_AT_ONCE)]
    return partial(copy_in_parts, [(part, inside[part].__setitem__) for part in parts])


def copy_in_parts(parts: list[tuple[slice, Callable[..., None]]], x: Any) -> None:
    """Copy x part by part."""
    for part, put in parts:
        put(..., x[part])
