"""The memory of calls: workspaces, alone or for a batch cut into blocks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from types import EllipsisType
from typing import Any, Generic, cast
from weakref import ref

import numpy as np
from typing_extensions import TypeVar

from funcnet.arrays import Array
from funcnet.compiler.binding import Binding
from funcnet.compiler.layout import Layout
from funcnet.compiler.params_cache import ParamsCache
from funcnet.compiler.plan import Plan
from funcnet.tracing.forms import Instruction

P = TypeVar("P", default=Any)


REBIND_COST = 1 << 17  # bytes of params that are copied in the time in which one call is bound to where they are
COPY_COST = 1 << 11  # bytes that are copied in the time that a copy takes besides


class Workspace(Generic[P]):
    """The memory of one call: params and arrays are copied in, the program runs, and the results are read out.

    Params are copied in, or, where copying takes longer, the calls that read them are bound to the caller's vector.

    own, gradient: flat vectors; the program may write the gradient over the params in its own one.
    inside: the targets of the arrays, filled by `[...] = `.      program: `for f, args in program: f(*args)`.
    outputs: arrays of the results.      fresh: functions that give each result as a fresh array or a scalar.
    pool: a weak reference to the free workspaces that it returns to: without one to itself its memory is free at once.
    binding: the binding whose calls can be bound to params elsewhere.
    source: a weak reference to the flat vector from which it reads the params.
    copies: whether other vectors are copied into its own one.
    """

    def __init__(
        self,
        params_cache: ParamsCache[P],
        pool: deque[Workspace[P]],
        own: Any,
        gradient: Any,
        inside: Sequence[Any],
        outputs: list[Any],
        fresh: list[Callable[[], Any]],
        program: list[Instruction],
        binding: Binding | None = None,
    ) -> None:
        self.params_cache = params_cache
        self.layout: Layout[P] = params_cache.layout
        self.pool: ref[deque[Workspace[P]]] = ref(pool)
        self.own = own
        self.gradient = gradient
        self.inside = inside
        self.outputs: list[Any] = outputs
        self.fresh = fresh
        self.program = program
        self.binding = binding
        self.source: Callable[[], Any] = ref(own)
        self.cost: float = inf if binding is None or not binding.can_move else REBIND_COST * len(binding.readers)
        self.copies: bool = own.nbytes <= self.cost
        self.bytes_copied: int = 0
        self.places: tuple[Any, ...] = ()  # of the params in the flat vector, once they are needed

    def release(self) -> None:
        """Go back to the pool, unless that is gone."""
        pool = self.pool()
        if pool is not None:
            pool.append(self)

    def clear(self) -> None:
        """Release the arguments that are not copied in."""
        let_go(self.inside)

    def members(self, rows: Any, arrays: Sequence[Any], mapped: Sequence[bool]) -> tuple[list[Any], Any] | None:
        """(outputs, gradients) of many members, each with a row of params, in one call; None if not possible."""
        return None

    def read(self, leaves: Sequence[Array]) -> None:
        """Copy params in, leaf by leaf."""
        self.read_from(self.own)
        self.places = self.places or self.layout.views(self.own)
        for view, leaf in zip(self.places, leaves, strict=True):
            view[...] = leaf

    def take(self, vector: Any) -> None:
        """Read the params in place or, if they are few, from a copy. ValueError unless the vector is flat."""
        if vector.ndim != 1:
            raise ValueError
        self.copies = vector.nbytes <= self.cost
        self.read_from(self.own if self.copies else vector)
        if self.copies:
            self.own[...] = vector

    def read_from(self, vector: Any) -> None:
        """Bind the program to the params in this flat vector."""
        if self.binding is not None and vector is not self.source():
            self.source = nothing  # until all are bound, whatever comes between
            self.binding.read_from(vector if vector is self.own else borrowed(vector))
            self.source = ref(vector)

    def copied(self, vector: Any) -> None:
        """Count a copy of the vector: once copies have cost as much as binding, it is read in place."""
        self.bytes_copied += vector.nbytes
        if self.bytes_copied > self.cost:
            self.bytes_copied = 0
            self.read_from(vector)
            self.copies = False

    def follow(self, vector: Any, runs: int) -> bool:
        """Read the params from a vector that changes between so many runs; return whether each run needs a copy.

        The vector is read in place if all copies would take longer than binding the calls to it and back.
        """
        if runs * (vector.nbytes + COPY_COST) > 2 * self.cost:
            self.read_from(vector)
            self.copies = False
        else:
            self.take(vector)
        return self.copies


def bound(plan: Plan, params_cache: ParamsCache[P], pool: deque[Workspace[P]]) -> Workspace[P]:
    """A workspace for a whole batch, or for one block of it."""
    binding = Binding(plan)
    fresh = [taker(y, factor) for y, factor in zip(binding.outputs, plan.factors, strict=True)]
    inside = [input_target(x) for x in binding.inputs]
    own, gradient, outputs, program = binding.params, binding.gradient, binding.outputs, binding.program
    return Workspace(params_cache, pool, own, gradient, inside, outputs, fresh, program, binding)


def nothing() -> None:
    """A reference to nothing."""


def borrowed(vector: Any) -> Any:
    """The same memory without a reference to it: to be used only while the vector is known to exist."""
    return np.asarray(Borrowed(vector))


class Borrowed:
    """The address of an array, in the form of NumPy's array interface."""

    def __init__(self, vector: Any) -> None:
        self.__array_interface__: dict[str, Any] = vector.__array_interface__


def taker(y: Any, factor: float) -> Callable[[], Any]:
    """A function that copies the array, or gives the number, times the factor."""
    if y.ndim:
        return cast("Callable[[], Any]", y.copy)
    return partial(y.__getitem__, ()) if factor == 1.0 else lambda: y[()] * factor


def bound_in_blocks(
    plans: dict[int, Plan], params_cache: ParamsCache[P], pool: deque[Workspace[P]], spans: list[tuple[int, int]]
) -> Workspace[P]:
    """A workspace for a large batch that runs in blocks; `spans` are their (start, stop), `plans` by their length."""
    blocks = Blocks({rows: bound(plan, params_cache, pool) for rows, plan in plans.items()}, plans, spans)
    fresh: list[Callable[[], Any]] = [partial(blocks.hand_out, i) for i in range(len(blocks.plan.outputs))]
    own, gradient, inside = blocks.own, blocks.gradient, blocks.inside
    return Workspace(params_cache, pool, own, gradient, inside, [], fresh, [(blocks.run, ())])


class Blocks:
    """Workspaces for the blocks of a large batch, by their number of rows, and the memory of its results."""

    def __init__(self, spaces: dict[int, Workspace[Any]], plans: dict[int, Plan], spans: list[tuple[int, int]]) -> None:
        self.spaces = spaces
        self.spans = spans
        self.plan: Plan = next(iter(plans.values()))
        first = next(iter(spaces.values()))
        self.own: Any = np.empty_like(first.own)
        self.gradient: Any = np.empty_like(first.gradient)
        self.inside: list[InputReference] = [InputReference() for _ in first.inside]
        self.outputs: list[Any] = []

    def run(self) -> None:
        """Run all blocks; results that are sums are added up, results of rows stand one behind the other."""
        rows = self.spans[-1][1]
        self.gradient[...] = 0
        self.outputs = [np.zeros((rows, *y.shape[1:]) if y.shape else (), y.dtype) for y in self.plan.outputs]
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
        let_go(self.inside)

    def hand_out(self, place: int) -> Any:
        """An output as a fresh array."""
        total, self.outputs[place] = self.outputs[place], None
        return total if total.ndim else total[()] * self.plan.factors[place]


class InputReference:
    """An input that is not copied: a reference to the array given, until the call ends."""

    array: Any = None

    def __setitem__(self, place: EllipsisType, array: Any) -> None:
        """Refer to the array."""
        self.array = array


def let_go(inside: Sequence[Any]) -> None:
    """Release the arrays that are referred to."""
    for x in inside:
        if isinstance(x, InputReference):
            x.array = None


ROWS_AT_ONCE, FEWEST_FEATURES = 64, 32


def input_target(inside: Any) -> Any:
    """The target for an input: the array in its place, or chunks of it.

    It is filled some rows at a time where many features are stored far apart: written row by row over all features, a
    cache line would leave the cache before its next row comes.
    """
    rows = len(inside)
    if inside.ndim != 2 or inside.shape[1] < FEWEST_FEATURES or rows <= ROWS_AT_ONCE:
        return inside
    return ChunkedInput(inside, [slice(start, start + ROWS_AT_ONCE) for start in range(0, rows, ROWS_AT_ONCE)])


class ChunkedInput:
    """An array that is filled part by part."""

    def __init__(self, inside: Any, parts: list[slice]) -> None:
        self.parts: list[tuple[slice, Any]] = [(part, inside[part]) for part in parts]

    def __setitem__(self, place: EllipsisType, x: Any) -> None:
        """Copy x part by part."""
        for part, inside in self.parts:
            inside[place] = x[part]
