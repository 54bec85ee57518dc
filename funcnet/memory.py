"""The memory of calls: params that are recognised, and workspaces, alone or for a batch cut into blocks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from math import inf
from operator import is_
from types import EllipsisType
from typing import Any, Generic, NamedTuple, cast
from weakref import ref

import numpy as np
from typing_extensions import TypeVar

from funcnet import tree
from funcnet.arrays import Array
from funcnet.flat import FORM, Layout, Node, are_as_they_were, key_types
from funcnet.plan import Plan
from funcnet.program import Instruction, Workspace

P = TypeVar("P", default=Any)


HELD = 1 << 15  # bytes of params up to which those last seen are held: they are then recognised in the shortest time
RECENT = 8  # how many params are recognised at a time


class Seen(NamedTuple):
    """The params that came last, or that a step has just made, if they are small; a call recognises them by identity.

    items: the keys and items of their dict, if nothing else in them can change; else `nodes` are its dicts and lists.
    leaves: their arrays; None for those of a flat vector that a step has just made, which are found when they come.
    forms: FORM of each array and of the vector, all of which may be assigned to.
    """

    params: Any
    items: list[Any] | None
    nodes: list[Node]
    leaves: list[Any] | None
    forms: list[Any]
    vector: Any


class Remembered(NamedTuple):
    """Params that are not held, by weak references to their arrays and to their flat vector."""

    leaves: list[Any]
    forms: list[Any]
    vector: Any


class Register(Generic[P]):
    """Which params came last to any program that takes params of this layout.

    Params which a step has made, or which come again, are recognised, and go in by a single copy of the flat vector
    that they are views of.

    last: small params last seen; set at once, so that threads see no half of it.
    older: others, large ones first of all.
    kept: what whoever runs the programs keeps for its next call, if params are small.
    """

    def __init__(self, layout: Layout[P]) -> None:
        self.layout = layout
        self.small: bool = layout.count * layout.dtype.itemsize <= HELD
        self.last: Seen | None = None
        self.older: tuple[Remembered, ...] = ()
        self.kept: Any = None

    def remember(self, params: Any, vector: Any, leaves: list[Any] | None = None) -> None:
        """Keep what tells these params from others: small ones themselves, large ones by weak references."""
        if not self.small:
            self._add(self._weak(self.layout.leaves(params) if leaves is None else leaves, vector))
            return
        layout = self.layout
        items, nodes = ([*params, *params.values()], []) if layout.only_dict else (None, layout.nodes(params))
        forms = layout.forms if leaves is None else [*map(FORM, leaves if vector is None else (vector, *leaves))]
        self.last = Seen(params, items, nodes, leaves, forms, vector)

    def recognise(self, params: Any) -> tuple[Any, Any]:
        """(their flat vector or None, their leaves) if these params are known, else LookupError."""
        last = self.last
        if last is None:
            return self._recall(params)
        seen, items, nodes, leaves, forms, vector = last
        if items is not None:
            same = type(params) is dict and len(items) == 2 * len(params)
            if not (same and all(map(is_, chain(params, params.values()), items))):
                return self._recall(params)
        elif params is not seen or (nodes and not are_as_they_were(nodes)):
            return self._recall(params)
        if leaves is None:
            leaves = self.layout.leaves(params)
        if [*map(FORM, leaves if vector is None else (vector, *leaves))] != forms:
            raise LookupError
        return vector, leaves

    def _recall(self, params: Any) -> tuple[Any, Any]:
        """The same of params that came before the last ones."""
        leaves, structure = tree.flatten(params)
        if structure != self.layout.structure or key_types(structure) != self.layout.key_types:
            raise LookupError
        for found in self.older:
            if all(map(is_, map(ref, leaves), found.leaves)):
                vector = found.vector and found.vector()
                if [*map(FORM, leaves if vector is None else (vector, *leaves))] != found.forms:
                    break
                if self.small:
                    self.set_aside()
                    self.remember(params, vector, leaves)
                return vector, leaves
        raise LookupError

    def set_aside(self) -> None:
        """Hold the params last seen no longer, but remember them."""
        last, self.last = self.last, None
        if last is None:
            return
        params, items, nodes, leaves, _, vector = last
        if leaves is None and items is not None:
            leaves = [*chain.from_iterable(map(tree.leaves, items[len(items) // 2 :]))]
        elif leaves is None and are_as_they_were(nodes):
            leaves = tree.leaves(params)
        if leaves is not None:
            self._add(self._weak(leaves, vector))

    def _weak(self, leaves: list[Any], vector: Any) -> Remembered:
        arrays = leaves if vector is None else (vector, *leaves)
        return Remembered([*map(ref, leaves)], [*map(FORM, arrays)], None if vector is None else ref(vector))

    def _add(self, new: Remembered) -> None:
        alive = [seen for seen in self.older if all(leaf() is not None for leaf in seen.leaves)]
        self.older = (new, *alive[: RECENT - 1])


class Memory(Generic[P]):
    """What one call runs in: params and arrays are copied in, its program runs, and then there are results.

    own, gradient: flat vectors; the program may write the gradient over the params in its own one.
    source: gives the flat vector from which it reads the params, if that still exists; it is not held.
    copies: whether others are copied to its own one.
    inside: what takes the arrays by `[...] = `.      program: `for f, args in program: f(*args)`.
    fresh: what gives each output, once it has run, as the caller's own: a fresh array or a scalar.
    pool: where it belongs when nobody uses it.
    """

    own: Any
    source: Callable[[], Any]
    copies: bool = True
    inside: Sequence[Any]
    program: list[Instruction]
    gradient: Any
    fresh: list[Callable[[], Any]]

    def __init__(self, register: Register[P], pool: deque[Memory[P]]) -> None:
        self.register = register
        self.layout: Layout[P] = register.layout
        self.pool = pool
        self.places: tuple[Any, ...] = ()  # of the params in the flat vector, once they are needed

    def clear(self) -> None:
        """Let go of what was given, where it is not copied in."""

    def read(self, leaves: Sequence[Array]) -> None:
        """Copy params in, leaf by leaf."""
        self.places = self.places or self.layout.views(self.own)
        for view, leaf in zip(self.places, leaves, strict=True):
            view[...] = leaf

    def take(self, vector: Any) -> None:
        """Take in params, the views of a flat vector."""
        self.own[...] = vector

    def copied(self, vector: Any) -> None:
        """Be told that the vector was copied in, and may come again."""


WORTH = 1 << 17  # bytes of params that are copied in the time in which one call is bound to where they are


class Space(Memory[P]):
    """A workspace for a whole batch, or for one block of it.

    Params are copied in, or, where that would take longer, the calls that read them are bound to where they are.
    """

    def __init__(self, plan: Plan, register: Register[P], pool: deque[Memory[P]]) -> None:
        super().__init__(register, pool)
        self.workspace: Workspace = Workspace(plan)
        space = self.workspace
        self.own: Any = space.params
        self.source: Callable[[], Any] = ref(self.own)
        self.gradient: Any = space.gradient
        self.outputs: list[Any] = space.outputs
        self.fresh: list[Callable[[], Any]] = [taker(y, f) for y, f in zip(space.outputs, plan.factors, strict=True)]
        self.program: list[Instruction] = space.program
        self.inside: Sequence[Any] = [inlet(x) for x in space.inputs]
        self.binding: float = WORTH * len(space.readers) if space.can_move else inf
        self.bytes_copied: int = 0
        self.copies: bool = self.own.nbytes <= self.binding

    def read(self, leaves: Sequence[Array]) -> None:
        """Copy params in, leaf by leaf."""
        self.read_from(self.own)
        super().read(leaves)

    def take(self, vector: Any) -> None:
        """Have the params read where they are, or, if they are few, from a copy. ValueError unless it is flat."""
        if vector.ndim != 1:
            raise ValueError
        self.copies = vector.nbytes <= self.binding
        self.read_from(self.own if self.copies else vector)
        if self.copies:
            self.own[...] = vector

    def read_from(self, vector: Any) -> None:
        """Have the program read the params where they are, in this flat vector."""
        if vector is not self.source():
            self.source = nothing  # until all are bound, whatever comes between
            self.workspace.read_from(vector if vector is self.own else borrowed(vector))
            self.source = ref(vector)

    def copied(self, vector: Any) -> None:
        """Be told that the vector was copied in, and may come again: if that goes on, it is read where it is."""
        self.bytes_copied += vector.nbytes
        if self.bytes_copied > self.binding:
            self.bytes_copied = 0
            self.read_from(vector)
            self.copies = False


def nothing() -> None:
    """A reference to nothing."""


def borrowed(vector: Any) -> Any:
    """The same memory, which is not kept alive by it: to be used only while the vector is known to exist."""
    return np.asarray(Borrowed(vector))


class Borrowed:
    """Where an array is, as NumPy's array interface says it."""

    def __init__(self, vector: Any) -> None:
        self.__array_interface__: dict[str, Any] = vector.__array_interface__


def taker(y: Any, factor: float) -> Callable[[], Any]:
    """What gives the array as it is then, or the number, multiplied by the factor."""
    if y.ndim:
        return cast("Callable[[], Any]", y.copy)
    return partial(y.__getitem__, ()) if factor == 1.0 else lambda: y[()] * factor


class Blocks(Memory[P]):
    """Workspaces for the blocks of a large batch, by their number of rows; `spans` are their (start, stop)."""

    outputs: list[Any]

    def __init__(
        self, plans: dict[int, Plan], register: Register[P], pool: deque[Memory[P]], spans: list[tuple[int, int]]
    ) -> None:
        super().__init__(register, pool)
        self.spaces: dict[int, Space[P]] = {rows: Space(plan, register, pool) for rows, plan in plans.items()}
        self.spans = spans
        self.first: Space[P] = next(iter(self.spaces.values()))
        self.own: Any = np.empty_like(self.first.own)
        self.source = nothing
        self.gradient: Any = np.empty_like(self.first.gradient)
        self.inside: Sequence[Any] = [Lent() for _ in self.first.inside]
        self.fresh: list[Callable[[], Any]] = [partial(self._hand_out, i) for i in range(len(self.first.outputs))]
        self.factors: list[float] = next(iter(plans.values())).factors
        self.program: list[Instruction] = [(self._run, ())]

    def clear(self) -> None:
        """Let go of the arrays given."""
        for lent in self.inside:
            lent.array = None

    def _run(self) -> None:
        """Run all blocks; results that are sums are added up, results of rows stand one behind the other."""
        rows = self.spans[-1][1]
        self.gradient[...] = 0
        self.outputs = [np.zeros((rows, *y.shape[1:]) if y.ndim else (), y.dtype) for y in self.first.outputs]
        for start, stop in self.spans:
            space = self.spaces[stop - start]
            if space.source() is not self.own:
                space.take(self.own)  # over which the last block's cotangents may lie
            for inside, lent in zip(space.inside, self.inside, strict=True):
                inside[...] = lent.array[start:stop]
            for f, args in space.program:
                f(*args)
            np.add(self.gradient, space.gradient, self.gradient)
            for total, part in zip(self.outputs, space.outputs, strict=True):
                if total.ndim:
                    total[start:stop] = part
                else:
                    total += part
        self.clear()

    def _hand_out(self, place: int) -> Any:
        """An output, made for this call."""
        total, self.outputs[place] = self.outputs[place], None
        return total if total.ndim else total[()] * self.factors[place]


class Lent:
    """Refers to the very array that is given to it, until the call ends."""

    array: Any = None

    def __setitem__(self, place: EllipsisType, array: Any) -> None:
        """Refer to the array."""
        self.array = array


ROWS_AT_ONCE, FEWEST_FEATURES = 64, 32


def inlet(inside: Any) -> Any:
    """What takes a batch to its place: the array there, or its parts.

    Some rows at a time where features, stored far apart, are so many that the writes to all of them would leave the
    cache before the next row comes.
    """
    rows = len(inside)
    if inside.ndim != 2 or inside.shape[1] < FEWEST_FEATURES or rows <= ROWS_AT_ONCE:
        return inside
    return Parts(inside, [slice(start, start + ROWS_AT_ONCE) for start in range(0, rows, ROWS_AT_ONCE)])


class Parts:
    """An array that is filled part by part."""

    def __init__(self, inside: Any, parts: list[slice]) -> None:
        self.parts: list[tuple[slice, Any]] = [(part, inside[part]) for part in parts]

    def __setitem__(self, place: EllipsisType, x: Any) -> None:
        """Copy x part by part."""
        for part, inside in self.parts:
            inside[place] = x[part]
