"""Programs for the shapes seen: planned at the first call of each, then run in memory taken from a pool."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Generic, Never, Self, cast

import numpy as np
from numpy import ndarray
from typing_extensions import TypeVar

from funcnet import tree
from funcnet.arrays import Array, Labels, accept_array, cast_inputs, common_dtype, params_dtype, refuse_misplaced
from funcnet.calling import APPLY, refuse_options
from funcnet.compiler.blocking import alike, spans
from funcnet.compiler.layout import Layout, key_types
from funcnet.compiler.listing import listing
from funcnet.compiler.params_cache import ParamsCache
from funcnet.compiler.plan import Plan
from funcnet.compiler.planning import PASSES, make_plan
from funcnet.compiler.program_cache import SPEC, Program, ProgramCache
from funcnet.compiler.workspace import Workspace
from funcnet.core import Function, Pullback
from funcnet.errors import ShapeError
from funcnet.random import Key, check_key
from funcnet.tracing.trace import Trace, Value

P = TypeVar("P", default=Any)
Y = TypeVar("Y", default=Array)


class Compiled(Generic[P]):
    """Base of what runs compiled: `run(params, arrays)`. Only `function` and options pickle; programs are made anew."""

    kind: str
    random: bool
    """Whether a key makes a difference."""
    ending = ""
    """What a call does after its program, for the listing."""
    passes: Collection[str] = PASSES
    """Those that its plans are made with."""

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """A new one, or a copy, has no programs; they are made when they are needed."""
        made = super().__new__(cls)
        made.forget()
        return made

    def forget(self) -> None:
        """Let go of all programs."""
        self._programs: ProgramCache[P] = ProgramCache()

    def __getstate__(self) -> dict[str, Any]:
        """All but the programs."""
        return {name: value for name, value in self.__dict__.items() if name != "_programs"}

    def __str__(self) -> str:
        """The program last made, a line a call."""
        if not self._programs.by_signature:
            return f"{self.kind}: no program yet; the first call makes one"
        return self.text([*self._programs.by_signature.values()][-1])

    def text(self, program: Program[P]) -> str:
        """A program, a line a call."""
        blocks = f", in {len(program.spans)} blocks of rows" if len(program.spans) > 1 else ""
        plan = next(iter(program.plans.values()))
        return listing(self.kind + blocks, plan, program.params_cache.layout.paths(), self.ending)

    def kinds(self, place: int) -> str:
        """The kinds of dtype, each a letter as NumPy has them, that the array in that place may have."""
        raise NotImplementedError

    def name_of(self, place: int) -> str:
        """What error messages call the array in that place."""
        return f"input {place}"

    def check_count(self, given: int) -> None:
        """Refuse a wrong number of arrays."""
        if not given:
            raise ShapeError(f"{self.kind} takes the inputs of the network and then the targets, but was given none")

    def looks_at(self, arrays: tuple[Array, ...]) -> None:
        """Look at the arrays of the first call of each shape, to warn of a mistake."""

    def results(
        self, trace: Trace, params: P, inputs: tuple[Value, ...], key: Any
    ) -> tuple[Sequence[Value], Sequence[Value]]:
        """(what goes out, the cotangents of the params): run the function on symbolic values."""
        raise NotImplementedError

    def record(
        self,
        trace: Trace,
        params: P,
        inputs: tuple[Value, ...],
        key: Any = None,
        passes: Collection[str] | None = None,
    ) -> Plan:
        """Run the function on symbolic values and plan what it recorded."""
        outputs, gradient = self.results(trace, params, inputs, key)
        return make_plan(trace, outputs, gradient, self.passes if passes is None else passes)

    def acquire(self, params: Any, given: tuple[Any, ...], key: Key | None) -> tuple[Workspace[P], Any]:
        """A workspace into which all is copied, so that its program can run; its pool awaits it back.

        With it comes the flat vector that the params are views of, if they are.
        """
        arrays, keyed = given, False
        if key is not None:
            check_key(key)
            if self.random:
                arrays, keyed = (*given, key), True
        latest, space = self._programs.latest, None
        program, specs, with_key = latest
        try:
            space = program.pool.pop()
            if len(arrays) != len(specs) or keyed is not with_key:
                raise LookupError
            inside = space.inside
            for i, shape, dtype in specs:
                x = arrays[i]
                if x.shape != shape or (x.dtype is not dtype and x.dtype != dtype) or type(x) is not ndarray:
                    raise LookupError
                inside[i][...] = x
            vector, leaves = space.params_cache.recognise(params)
            if vector is None:
                space.read(leaves)
            elif space.copies:
                space.own[...] = vector
            elif vector is not space.source():
                space.take(vector)
            return space, vector
        except (LookupError, AttributeError, TypeError, ValueError):
            pass  # something is not as the program takes it
        if space is not None:
            space.clear()
            program.pool.append(space)
            if all(type(x) is ndarray for x in arrays):
                other = self._programs.recent.get((keyed, *map(SPEC, arrays)), latest)
                if other is not latest:
                    self._programs.latest = other  # the batches after a short one are long again
                    return self.acquire(params, given, key)
        return self._acquire_checked(params, arrays, keyed)

    def _acquire_checked(self, params: P, given: tuple[Any, ...], keyed: bool) -> tuple[Workspace[P], Any]:
        """Check everything, find or make the program, and copy all into a workspace."""
        inputs, key = (given[:-1], given[-1:]) if keyed else (given, ())
        refuse_misplaced(self.kind, params, inputs)
        self.check_count(len(inputs))
        arrays = tuple(accept_array(f"{self.kind}: {self.name_of(i)}", x, self.kinds(i)) for i, x in enumerate(inputs))
        leaves, structure = tree.flatten(params)
        dtype = params_dtype(params, leaves) or common_dtype(self.kind, arrays)
        arrays = (*cast_inputs(self.kind, dtype, arrays), *key)
        shapes = [leaf.shape for leaf in leaves]
        place = (dtype, structure, key_types(structure), *shapes)
        signature = (*place, None, *((x.shape, x.dtype) for x in arrays))
        program = self._programs.by_signature.get(signature)
        if program is None:
            self.looks_at(arrays[: len(inputs)])
            params_cache = self._programs.params_caches.get(place) or ParamsCache(Layout(structure, shapes, dtype))
            program = self._make(params_cache, arrays, keyed)
            space = program.take()
            self._programs.add(place, signature, program)
        else:
            space = program.take()
        vector = space.layout.source(leaves)
        if vector is None:
            space.read(leaves)
        elif vector is not space.source():
            space.take(vector)
        space.params_cache.remember(params, leaves, vector)
        for inside, x in zip(space.inside, arrays, strict=True):
            inside[...] = x
        if all(type(x) is np.ndarray for x in given):
            self._programs.remember(program, given, keyed)
        return space, vector

    def _make(self, params_cache: ParamsCache[P], arrays: tuple[Array, ...], keyed: bool) -> Program[P]:
        """Plan the whole batch; where that is large and its rows do not depend on each other, plan its blocks."""
        rows = len(arrays[0])
        whole = self._plan(params_cache.layout, arrays, keyed, rows, rows)
        cuts = spans(whole, rows)
        lengths = {stop - start for start, stop in cuts}
        plans = {n: whole if n == rows else self._plan(params_cache.layout, arrays, keyed, n, rows) for n in lengths}
        if not all(alike(whole, plan) for plan in plans.values()):
            plans, cuts = {rows: whole}, [(0, rows)]
        return Program(plans, cuts, params_cache)

    def _plan(self, layout: Layout[P], arrays: tuple[Array, ...], keyed: bool, rows: int, total: int) -> Plan:
        trace, params, inputs = traced(layout, arrays[:-1] if keyed else arrays, rows, total)
        return self.record(trace, params, inputs, trace.key() if keyed else None)


def traced(layout: Layout[P], arrays: Sequence[Array], rows: int, total: int) -> tuple[Trace, P, tuple[Value, ...]]:
    """(a trace, params, inputs) for so many rows of a batch of so many in all."""
    trace = Trace(layout.dtype, rows, total)
    params = tree.unflatten(layout.structure, [trace.parameter(shape) for shape in layout.shapes])
    return trace, params, tuple(trace.input((rows, *x.shape[1:]), x.dtype) for x in arrays)


class CompiledFunction(Function[P, Y], Compiled[P]):
    """A differentiable function whose call runs a program; its VJP runs the function itself, on fresh arrays."""

    def __call__(self, params: P, *inputs: Array | Labels, key: Key | None = None, **unknown: Never) -> Y:
        """Compute the output. Floating inputs are cast to the dtype of the params; the output is a fresh array."""
        if unknown:
            refuse_options(self.kind, APPLY, unknown)
        space, vector = self.acquire(params, inputs, key)
        for f, args in space.program:
            f(*args)
        output: Any = tuple([take() for take in space.fresh]) if self.multi_output else space.fresh[0]()
        if vector is not None and space.copies:
            space.copied(vector)
        pool = space.pool()  # `release`, in less time
        if pool is not None:
            pool.append(space)
        return output  # type: ignore[no-any-return]

    def run(self, params: P, inputs: tuple[Array, ...], key: Key | None = None) -> tuple[Y, Pullback[P]]:
        """Run the function, whose errors tell where they happened."""
        return self.compute(params, *inputs, key=key)

    def results(
        self, trace: Trace, params: P, inputs: tuple[Value, ...], key: Any
    ) -> tuple[Sequence[Value], Sequence[Value]]:
        """The output alone."""
        self.check_count(len(inputs))
        output, _ = self.run(params, cast("tuple[Array, ...]", inputs), key)
        return tree.leaves(output), ()
