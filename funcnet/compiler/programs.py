"""Programs for the shapes seen: planned at the first call of each, then run in memory taken from a pool."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from operator import attrgetter
from typing import Any, Generic, TypeAlias, cast
from weakref import WeakValueDictionary

import numpy as np
from numpy import ndarray
from typing_extensions import TypeVar

from funcnet import tree
from funcnet.arrays import Array, Labels, accept_array, cast_inputs, common_dtype, params_dtype, refuse_misplaced
from funcnet.compiler.blocking import alike, spans
from funcnet.compiler.layout import Layout, key_types
from funcnet.compiler.listing import listing
from funcnet.compiler.params_cache import ParamsCache
from funcnet.compiler.plan import PASSES, Plan
from funcnet.compiler.workspace import Blocks, Memory, Space
from funcnet.core import Function, Pullback
from funcnet.errors import ShapeError
from funcnet.random import Key, check_key
from funcnet.tracing.trace import Trace, Value

P = TypeVar("P", default=Any)
Y = TypeVar("Y", default=Array)
Spec: TypeAlias = tuple[type, tuple[int, ...], np.dtype[Any]]

SPEC = attrgetter("__class__", "shape", "dtype")  # what an input must be for a program to take it as it is
NOT_PICKLED = frozenset({"_by_signature", "_params_caches", "_recent", "_latest"})  # what a copy makes anew
# Programs, and bytes of memory that they need, beyond which the one made first is let go.
MAX_PROGRAMS, MAX_BYTES = 1024, 1 << 28
BYTES_PER_CALL = 1500  # bytes that the Python objects of one call take, about
MAX_POOLED = 8  # workspaces that a program keeps for the next calls


class Program(Generic[P]):
    """A plan, and a pool of the memory in which it runs; a call takes a workspace out and puts it back.

    A call that fails does not put its workspace back, so whatever state it left is never seen again.
    plans: by the number of rows; two where a large batch is cut into blocks of two lengths.
    spans: (start, stop) of the blocks.
    size: the bytes that a workspace needs, about, with the small params that the params_cache holds.
    """

    def __init__(self, plans: dict[int, Plan], spans: list[tuple[int, int]], params_cache: ParamsCache[P]) -> None:
        self.plans = plans
        self.spans = spans
        self.params_cache = params_cache
        self.pool: deque[Memory[P]] = deque(maxlen=MAX_POOLED)
        of_params = params_cache.layout.count * params_cache.layout.dtype.itemsize
        vectors = params_cache.small + 2 * (len(spans) > 1)  # those of blocks are added up in vectors of their own
        self.size: int = vectors * of_params + sum(
            plan.size + BYTES_PER_CALL * len(plan.calls) for plan in plans.values()
        )

    def held(self) -> int:
        """The bytes of all its workspaces, of which there is at least one."""
        return self.size * max(1, len(self.pool))

    def take(self) -> Memory[P]:
        """A workspace that nobody uses."""
        try:
            return self.pool.pop()
        except IndexError:
            pass
        if len(self.spans) > 1:
            return Blocks(self.plans, self.params_cache, self.pool, self.spans)
        (plan,) = self.plans.values()
        return Space(plan, self.params_cache, self.pool)


class Compiled(Generic[P]):
    """Base of what runs compiled: `run(params, arrays)`. Only `function` and options pickle; programs are made anew."""

    kind: str
    random: bool
    """Whether a key makes a difference."""
    ending = ""
    """What a call does after its program, for the listing."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Let go of all programs."""
        self._by_signature: dict[Any, Program[P]] = {}
        self._params_caches: WeakValueDictionary[Any, ParamsCache[P]] = WeakValueDictionary()
        self._recent: dict[tuple[Spec, ...], Any] = {}
        self._latest: Any = None, ()

    def __getstate__(self) -> dict[str, Any]:
        """All but the programs."""
        return {name: value for name, value in self.__dict__.items() if name not in NOT_PICKLED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore; programs are made when they are needed."""
        self.__dict__.update(state)
        self.forget()

    def __str__(self) -> str:
        """The program last made, a line a call."""
        if not self._by_signature:
            return f"{self.kind}: no program yet; the first call makes one"
        program = [*self._by_signature.values()][-1]
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

    def record(
        self,
        trace: Trace,
        params: P,
        inputs: tuple[Value, ...],
        key: Any = None,
        passes: Collection[str] = PASSES,
    ) -> Plan:
        """Run the function on symbolic values and plan what it recorded."""
        raise NotImplementedError

    def acquire(self, params: Any, given: tuple[Any, ...], key: Key | None, found: Any = None) -> tuple[Memory[P], Any]:
        """A workspace into which all is copied, so that its program can run; its pool awaits it back.

        With it comes the flat vector that the params are views of, if they are.
        found: a program and what arrays it takes, if these are known not to be the latest.
        """
        arrays = given
        if key is not None:
            check_key(key)
            if self.random:
                arrays = (*given, key)
        latest, space = found or self._latest, None
        try:
            program, specs = latest
            space = program.pool.pop()
            if len(arrays) != len(specs):
                raise LookupError
            inside = space.inside
            for i, shape, dtype in specs:
                x = arrays[i]
                if x.shape != shape or x.dtype is not dtype or type(x) is not ndarray:
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
            space.pool.append(space)
            if all(type(x) is ndarray for x in arrays):
                other = self._recent.get(tuple(map(SPEC, arrays)))
                if other is not None and other is not latest:
                    return self.acquire(params, given, key, other)
        return self._acquire_checked(params, arrays, self.random and key is not None)

    def _acquire_checked(self, params: P, given: tuple[Any, ...], keyed: bool) -> tuple[Memory[P], Any]:
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
        program = self._by_signature.get(signature)
        if program is None:
            self.looks_at(arrays[: len(inputs)])
            params_cache = self._params_caches.get(place) or ParamsCache(Layout(structure, shapes, dtype))
            program = self._make(params_cache, arrays, keyed)
            space = program.take()
            self._by_signature[signature], self._params_caches[place] = program, params_cache
            self._evict()
        else:
            space = program.take()
        vector = space.layout.source(leaves)
        if vector is None:
            space.read(leaves)
        elif vector is not space.source():
            space.take(vector)
        space.params_cache.set_aside()
        space.params_cache.remember(params, vector, leaves)
        for inside, x in zip(space.inside, arrays, strict=True):
            inside[...] = x
        if all(type(x) is np.ndarray for x in given):
            specs = tuple(map(SPEC, given))
            self._latest = self._recent[specs] = program, [(i, *spec[1:]) for i, spec in enumerate(specs)]
        return space, vector

    def _evict(self) -> None:
        """Let go of the programs made first where there are too many or they need too much; the last one stays."""
        programs = [*self._by_signature.items()]  # at once: another thread may make a program meanwhile
        held, count = sum(program.held() for _, program in programs), len(programs)
        for signature, program in programs[:-1]:
            if count <= MAX_PROGRAMS and held <= MAX_BYTES:
                break
            held, count = held - program.held(), count - 1
            self._by_signature.pop(signature, None)
            program.pool.clear()  # its workspaces refer to it, and would wait for the collector
            self._recent.clear()
            self._latest = None, ()

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
        trace = Trace(layout.dtype, rows, total)
        params = tree.unflatten(layout.structure, [trace.parameter(shape) for shape in layout.shapes])
        batched = arrays[:-1] if keyed else arrays
        inputs = tuple(trace.input((rows, *x.shape[1:]), x.dtype) for x in batched)
        return self.record(trace, params, inputs, trace.key() if keyed else None)


class CompiledFunction(Function[P, Y], Compiled[P]):
    """A differentiable function whose call runs a program; its VJP runs the function itself, on fresh arrays.

    multi_output: whether the output is a tuple.
    """

    def __init__(
        self,
        kind: str,
        function: Callable[..., tuple[Y, Pullback[P]]],
        arity: int | None = 1,
        *,
        multi_output: bool = False,
        integer_inputs: Iterable[int] = (),
        mask_inputs: Iterable[int] = (),
        random: bool = False,
    ) -> None:
        super().__init__(kind, function, arity, integer_inputs=integer_inputs, mask_inputs=mask_inputs, random=random)
        self.forget()
        self.multi_output = multi_output

    def __call__(self, params: P, *inputs: Array | Labels, key: Key | None = None) -> Y:
        """Compute the output. Floating inputs are cast to the dtype of the params; the output is a fresh array."""
        space, vector = self.acquire(params, inputs, key)
        for f, args in space.program:
            f(*args)
        output: Any = tuple([take() for take in space.fresh]) if self.multi_output else space.fresh[0]()
        if vector is not None and space.copies:
            space.copied(vector)
        space.pool.append(space)
        return output  # type: ignore[no-any-return]

    def run(self, params: P, inputs: tuple[Array, ...], key: Key | None = None) -> tuple[Y, Pullback[P]]:
        """Run the function, whose errors tell where they happened."""
        return self.compute(params, *inputs, key=key)

    def record(
        self,
        trace: Trace,
        params: P,
        inputs: tuple[Value, ...],
        key: Any = None,
        passes: Collection[str] = PASSES,
    ) -> Plan:
        """Plan the forward pass alone."""
        self.check_count(len(inputs))
        output, _ = self.run(params, cast("tuple[Array, ...]", inputs), key)
        return Plan(trace, tree.leaves(output), passes=passes)
