"""A program as a library, and the memory in which its functions run."""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable, Sequence
from math import prod
from types import NoneType
from typing import Any
from weakref import ref

import numpy as np
from numpy import empty
from typing_extensions import TypeVar

from funcnet.arrays import Array
from funcnet.compiler.params_cache import ParamsCache
from funcnet.compiler.plan import Plan
from funcnet.compiler.programs import Program
from funcnet.compiler.workspace import REBIND_COST, Memory, borrowed, taker
from funcnet.native.members import run_members
from funcnet.native.memory import Slab
from funcnet.native.source import Code
from funcnet.native.table import FIRST, NEW, PARAMS, STEPS, Table
from funcnet.native.toolchain import build
from funcnet.native.updates import Update
from funcnet.tracing.forms import Instruction
from funcnet.tracing.trace import Call

P = TypeVar("P", default=Any)


class NativeProgram(Program[P]):
    """A plan as a library, and a pool of memory for it.

    start: the optimizer's first state, for a single number as params.
    """

    def __init__(
        self,
        plans: dict[int, Plan],
        spans: list[tuple[int, int]],
        params_cache: ParamsCache[P],
        update: Update | None,
        start: Any,
    ) -> None:
        super().__init__(plans, spans, params_cache)
        self.start = start
        self.code: Code = Code(plans, spans, update)
        self.loaded: ctypes.CDLL = build(self.code.source)
        rows = spans[-1][1]
        arrays = (*self.code.inputs, *self.code.plan.outputs)
        self.shapes: list[tuple[int, ...]] = [(rows, *v.shape[1:]) if v.batch_axis == 0 else v.shape for v in arrays]
        self.size: int = self.code.size + sum(map(prod, self.shapes)) * self.code.plan.dtype.itemsize

    def take(self) -> Memory[P]:
        """A workspace that nobody uses."""
        try:
            return self.pool.pop()
        except IndexError:
            return NativeSpace(self, self.pool)

    def function(self, name: str, *types: Any) -> Callable[..., None]:
        """A function of the library that takes the address of a table, and then these types."""
        found = self.loaded[name]
        found.restype, found.argtypes = None, (ctypes.c_void_p, *types)
        return found


class NativeSpace(Memory[P]):
    """The memory of a run: the slab, and arrays that are copied in and out. C reads params where they are.

    table: what the C functions are given: those arrays, the params, and what `step` hands out.
    readers: which instructions are calls that NumPy makes and that read params. They are bound to where these are,
        unless to copy these takes less time.
    """

    def __init__(self, program: NativeProgram[P], pool: deque[Memory[P]]) -> None:
        super().__init__(program.params_cache, pool)
        code = program.code
        self.owner: NativeProgram[P] = program
        placement = code.first.placement
        placement.size = code.size
        slab = Slab(placement)
        self.slab: Any = slab.slab
        self.own: Any = slab.params
        count = code.count if placement.plan.buffers[1].size else 0
        self.gradient: Any = np.ndarray((count,), self.own.dtype, slab.slab, code.gradient() if count else 0)
        values = (*code.inputs, *code.plan.outputs)
        arrays = [np.empty(shape, v.dtype) for shape, v in zip(program.shapes, values, strict=True)]
        self.inside: Sequence[Any] = arrays[: len(code.inputs)]
        self.results: list[Any] = arrays[len(code.inputs) :]
        self.fresh: list[Callable[[], Any]] = [taker(y, 1.0) for y in self.results]
        self.of_state: int = FIRST + len(arrays)
        vectors = 0 if code.update is None else 2 * len(code.update.vectors)
        self.table: Table = Table([self.slab, self.own, self.own, *arrays, *[self.own] * vectors])
        self.slots: Any = self.table.slots
        self.program: list[Instruction] = []
        self.readers: list[tuple[slice, Call]] = []
        self.address: int = self.table.address
        for i, call in enumerate(code.first.numpy_calls):
            self.program.append((program.function(f"funcnet_run{i}"), (self.address,)))
            self._add(slab, call)
        self.before_last: int = len(self.program)
        self.program.append((program.function(f"funcnet_run{code.stretches - 1}"), (self.address,)))
        self.step: Any = None if code.update is None else program.function("funcnet_step")
        plain = not self.before_last and not code.checks
        self.descent: Any = len(self.own), self.own.dtype, self.slots, self.step if plain else None, self.address
        self._slab: Slab = slab
        self.source: Callable[[], Any] = NoneType
        self.copies: bool = bool(self.readers) and self.own.nbytes <= REBIND_COST * len(self.readers)
        self.status: Any = np.ndarray((1,), np.int64, slab.slab, code.status)
        if code.checks:
            self.program.append((self._check, ()))

    def _add(self, slab: Slab, call: Call) -> None:
        start = len(self.program)
        self.program += slab.bind(call)
        if any(x.root.buffer is slab.placement.plan.params_buffer for x in call.operands):
            self.readers.append((slice(start, len(self.program)), call))

    def read(self, leaves: Sequence[Array]) -> None:
        """Copy params in, leaf by leaf."""
        self._read_from(self.own)
        super().read(leaves)

    def take(self, vector: Any) -> None:
        """Have the params read where they are, in this flat vector, or from a copy."""
        if self.copies:
            self.own[...] = vector
        elif self.readers:
            self._read_from(vector)
        else:
            self.slots[PARAMS] = id(vector)

    def _read_from(self, vector: Any) -> None:
        self.slots[PARAMS] = id(vector)
        if self.readers and vector is not self.source():
            self.source = NoneType  # until all are bound, whatever comes between
            params = self.own if vector is self.own else borrowed(vector)
            slab = Slab(self._slab.placement, self.slab, params)
            slab.state = self._slab.state
            for place, call in self.readers:
                self.program[place] = slab.bind(call)
            self.source = ref(vector)

    def updated(self, steps: int, state: Sequence[Any], into: Any = None) -> tuple[Any, list[Any]]:
        """(new params, new state) as vectors, after so many steps; the params are written into a vector if given."""
        own, slots = self.own, self.slots
        new = np.empty(own.shape, own.dtype) if into is None else into
        made = [np.empty(own.shape, own.dtype) for _ in state]
        slots[NEW], slots[STEPS] = id(new), steps
        for i, (before, after) in enumerate(zip(state, made, strict=True)):
            slots[self.of_state + 2 * i], slots[self.of_state + 2 * i + 1] = id(before), id(after)
        self._run_step()
        return new, made

    def descended(self) -> Any:
        """The new params as a vector, where there is no state: in few calls, which are most of a small step."""
        count, dtype, slots, step, address = self.descent
        new = empty(count, dtype)
        slots[NEW] = id(new)
        if step is None:
            self._run_step()
        else:
            step(address)
        return new

    def _run_step(self) -> None:
        for f, args in self.program[: self.before_last]:
            f(*args)
        self.step(self.address)
        if self.owner.code.checks:
            self._check()

    def failed(self) -> bool:
        """Whether a run has found a wrong label; asked once."""
        failed, self.status[0] = bool(self.status[0]), 0
        return failed

    def members(self, rows: Any, arrays: Sequence[Any], mapped: Sequence[bool]) -> tuple[list[Any], Any] | None:
        """What every member gives, in one call, unless NumPy makes some of the calls or one has an error to raise."""
        if self.owner.code.stretches > 1:
            return None
        found = run_members(self, rows, arrays, mapped)
        return None if self.failed() else found

    def _check(self) -> None:
        """Raise the error of a call that has set the status, by making the call again."""
        failed, self.status[0] = int(self.status[0]), 0
        if failed:
            emission = self.owner.code.emissions[failed - 1]
            slab = Slab(emission.placement, self.slab)
            for call in emission.checks:
                for f, args in slab.bind(call):
                    f(*args)
