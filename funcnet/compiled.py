"""Programs for the shapes seen: planned at the first call of each, then run in memory taken from a pool."""

from __future__ import annotations

from collections.abc import Callable
from collections import deque
from operator import attrgetter
from threading import Lock
from typing import Any, Generic, TypeAlias, cast

import numpy as np
from typing_extensions import TypeVar

from funcnet import tree
from funcnet.core import Array, Function, Pullback, accept_array, cast_inputs, common_dtype, params_dtype
from funcnet.errors import ShapeError
from funcnet.flat import Layout
from funcnet.listing import listing
from funcnet.plan import Plan
from funcnet.program import Workspace
from funcnet.random import Key, check_key
from funcnet.tracing import Trace, Value

P = TypeVar("P", default=Any)
Y = TypeVar("Y", default=Array)
Spec: TypeAlias = "tuple[type, tuple[int, ...], np.dtype[Any]]"

KEPT = 32  # programs, the least recently made of which is let go
POOLED = 8  # workspaces that a program keeps for the next calls


class Program(Generic[P]):
    """A plan, and a pool of the memory in which it runs; a call takes a workspace out and puts it back.

    A call that fails does not put its workspace back, so whatever state it left is never seen again.
    """

    def __init__(self, plan: Plan, layout: Layout[P]) -> None:
        self.plan = plan
        self.layout = layout
        self.pool: deque[Space[P]] = deque(maxlen=POOLED)

    def take(self) -> Space[P]:
        """A workspace that nobody uses."""
        try:
            return self.pool.pop()
        except IndexError:
            return Space(self)


class Space(Workspace, Generic[P]):
    """A workspace that knows the params it last saw: which they were, and the flat vector that they are views of."""

    def __init__(self, program: Program[P]) -> None:
        super().__init__(program.plan)
        self.layout = program.layout
        self.leaves = program.layout.views(np.ndarray((), program.layout.record, self.params))[1:]
        self.puts = [x.__setitem__ for x in self.inputs]
        self.seen: Any = None
        self.items: list[Any] = []
        self.vector: Any = None

    def remember(self, params: P, vector: Any) -> None:
        """Keep params that are the views of a flat vector."""
        self.seen, self.vector, self.items = params, vector, self.layout.items(params)

    def read(self, params: P) -> None:
        """Copy params in, at once where they are the views of one vector."""
        leaves = tree.leaves(params)
        vector = self.layout.source(leaves)
        if vector is not None:
            self.remember(params, vector)
            self.params[...] = vector
            return
        for view, leaf in zip(self.leaves, leaves, strict=True):
            view[...] = leaf


class Compiled(Generic[P]):
    """Base of what runs compiled: `run(params, arrays)`. Only `function` and options pickle; programs are made anew."""

    kind: str
    spec = attrgetter("__class__", "shape", "dtype")

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._by_signature: dict[Any, Program[P]] = {}
        self._recent: dict[tuple[Spec, ...], Program[P]] = {}
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        """All but the programs."""
        return {
            name: value for name, value in self.__dict__.items() if name not in ("_by_signature", "_recent", "_lock")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore; programs are made when they are needed."""
        self.__dict__.update(state)
        self._forget()

    def __str__(self) -> str:
        """The program last made, a line a call."""
        programs = list(self._by_signature.values())
        return (
            listing(self.kind, programs[-1].plan)
            if programs
            else f"{self.kind}: no program yet; the first call makes one"
        )

    def record(self, trace: Trace, params: P, inputs: tuple[Value, ...]) -> Plan:
        """Run the function on symbolic values and plan what it recorded."""
        raise NotImplementedError

    def enter(self, params: P, arrays: tuple[Any, ...]) -> tuple[Program[P], Space[P]]:
        """A program for these shapes and a workspace that holds params and arrays, ready to run."""
        try:
            program = self._recent.get(tuple(map(Compiled.spec, arrays)))
        except (AttributeError, TypeError):
            program = None
        if program is not None:
            space = program.take()
            if params is space.seen and space.layout.unchanged(params, space.items):
                space.params[...] = space.vector
                for put, x in zip(space.puts, arrays):  # noqa: B905 (as many as the program was found for)
                    put(..., x)
                return program, space
            program.pool.append(space)
        return self._admit(params, arrays)

    def _admit(self, params: P, given: tuple[Any, ...]) -> tuple[Program[P], Space[P]]:
        """Check everything, and find or make the program."""
        arrays = tuple(accept_array(f"{self.kind}: input {i}", x) for i, x in enumerate(given))
        dtype = params_dtype(params) or common_dtype(self.kind, arrays)
        arrays = cast_inputs(self.kind, dtype, arrays)
        leaves, structure = tree.flatten(params)
        signature = (dtype, structure, *(leaf.shape for leaf in leaves), None, *(x.shape for x in arrays))
        program = self._by_signature.get(signature)
        if program is None:
            program = self._make(params, dtype, arrays)
            with self._lock:
                self._by_signature[signature] = program
                while len(self._by_signature) > KEPT:
                    del self._by_signature[next(iter(self._by_signature))]
                    self._recent.clear()
        if all(type(x) is np.ndarray for x in given):
            self._recent[tuple(map(Compiled.spec, given))] = program
        space = program.take()
        space.read(params)
        for put, x in zip(space.puts, arrays, strict=True):
            put(..., x)
        return program, space

    def _make(self, params: P, dtype: np.dtype[Any], arrays: tuple[Any, ...]) -> Program[P]:
        trace = Trace(dtype, rows=len(arrays[0]))
        symbols = tree.unflatten(
            tree.structure(params),
            [trace.parameter(x.shape, f"params{path}") for path, x in tree.leaves_with_path(params)],
        )
        inputs = tuple(trace.input(x.shape, dtype) for x in arrays)
        return Program(self.record(trace, symbols, inputs), Layout(params, dtype))


class CompiledFunction(Function[P, Y], Compiled[P]):
    """A differentiable function whose call runs a program; its VJP runs the function itself, on fresh arrays.

    several: whether the output is a tuple.
    """

    def __init__(
        self,
        kind: str,
        function: Callable[..., tuple[Y, Pullback[P]]],
        arity: int | None = 1,
        *,
        several: bool = False,
    ) -> None:
        Function.__init__(self, kind, function, arity)
        Compiled.__init__(self)
        self.several = several

    def __call__(self, params: P, *inputs: Array, key: Key | None = None) -> Y:
        """Compute the output. Floating inputs are cast to the dtype of the params; the output is a fresh array."""
        if key is not None:
            check_key(key)
        program, space = self.enter(params, inputs)
        for f, args in space.program:
            f(*args)
        if self.several:
            output: Any = tuple(map(outgoing, space.outputs))
        else:
            output = outgoing(space.outputs[0])
        program.pool.append(space)
        return cast(Y, output)

    def run(self, params: P, inputs: tuple[Array, ...]) -> tuple[Y, Pullback[P]]:
        """Run the function, whose errors tell where they happened."""
        return self.function(params, *inputs)

    def record(self, trace: Trace, params: P, inputs: tuple[Value, ...]) -> Plan:
        """Plan the forward pass alone."""
        self.check_count(len(inputs))
        output, _ = self.function(params, *inputs)
        return Plan(trace, tree.leaves(output))


def outgoing(array: Any) -> Any:
    """What the caller gets: a fresh array, or a scalar."""
    return array.copy() if array.ndim else array[()]
