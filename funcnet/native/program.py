"""A program as a library, and the memory in which its functions run."""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy import empty
from typing_extensions import TypeVar

from funcnet.compiler.binding import Binding, aligned
from funcnet.compiler.params_cache import ParamsCache
from funcnet.compiler.plan import Plan
from funcnet.compiler.program_cache import Program
from funcnet.compiler.workspace import Workspace, taker
from funcnet.native.entry import Accept, acceptor, caller
from funcnet.native.members import run_members
from funcnet.native.source import Code
from funcnet.native.states import States, Written
from funcnet.native.table import FIRST, NEW, PARAMS, STEPS, Table
from funcnet.native.toolchain import build
from funcnet.native.updates import Update

P = TypeVar("P", default=Any)


class Library:
    """The C of a program, compiled and loaded.

    states: the form of the optimizer's states for C; None where NumPy makes the update.
    shapes: of the arrays copied in, and then of the outputs.
    """

    def __init__(self, code: Code, rows: int, states: States | None) -> None:
        self.code = code
        self.states = states
        self.loaded: ctypes.CDLL = build(code.source)
        arrays = (*code.inputs, *code.plan.outputs)
        self.shapes: list[tuple[int, ...]] = [(rows, *v.shape[1:]) if v.batch_axis == 0 else v.shape for v in arrays]

    def function(self, name: str, *types: Any) -> Any:
        """A function that takes the address of a table, and then these types."""
        found = self.loaded[name]
        found.restype, found.argtypes = None, (ctypes.c_void_p, *types)
        return found


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
        finite: bool,
    ) -> None:
        super().__init__(plans, spans, params_cache)
        code = Code(plans, spans, update, finite)
        self.shared_library: Library = Library(code, spans[-1][1], None if update is None else States(update, start))
        self.size: int = code.size + sum(map(prod, self.shared_library.shapes)) * code.plan.dtype.itemsize

    def new_workspace(self) -> Workspace[P]:
        """Memory for one more call at the same time."""
        return NativeWorkspace(self.shared_library, self.params_cache, self.pool)


class NativeWorkspace(Workspace[P]):
    """The memory of a run: the slab, and arrays that are copied in and out. C reads params in place.

    Calls of NumPy that read params are bound to the caller's params, unless copying them takes less time.
    table: the argument of the C functions: those arrays, the params, and the results of `step`.
    accept: a C function that copies arrays in and recognises params; None where Python does this.
    """

    def __init__(self, library: Library, params_cache: ParamsCache[P], pool: deque[Workspace[P]]) -> None:
        code, plan = library.code, library.code.first.placement.plan
        self.shared_library = library
        binding = Binding(plan, aligned(code.size))
        self.slab: Any = binding.memory
        own, count = binding.params, code.count if plan.has_gradient else 0
        gradient: Any = np.ndarray((count,), own.dtype, self.slab, code.gradient() if count else 0)
        values = (*code.inputs, *code.plan.outputs)
        arrays = [np.empty(shape, v.dtype) for shape, v in zip(library.shapes, values, strict=True)]
        inside, outputs = arrays[: len(code.inputs)], arrays[len(code.inputs) :]
        self.of_state: int = FIRST + len(arrays)
        vectors, numbers = (0, 0) if code.update is None else (2 * len(code.update.vectors), len(code.update.numbers))
        self.numbers: Any = np.empty(numbers)
        self.table: Table = Table([self.slab, own, own, *arrays, *[own] * vectors, self.numbers])
        self.slots: Any = self.table.slots
        for i, call in enumerate(code.first.numpy_calls):
            binding.program.append((self._caller(f"funcnet_run{i}"), ()))
            binding.add(call)
        self.before_last: int = len(binding.program)
        binding.program.append((self._caller(f"funcnet_run{code.stretches - 1}"), ()))
        self.step: Any = None if code.update is None else self._caller("funcnet_step")
        plain = not self.before_last and not code.checks
        self.descent: Any = len(own), own.dtype, self.slots, self.step if plain else None
        self.status: Any = np.ndarray((1,), np.int64, self.slab, code.status)
        self.check: Callable[[], None] | None = partial(check, self.status, code, self.slab) if code.checks else None
        if self.check is not None:
            binding.program.append((self.check, ()))
        fresh = [taker(y, 1.0) for y in outputs]
        super().__init__(params_cache, pool, own, gradient, inside, outputs, fresh, binding.program, binding)
        self.accept: Accept | None = acceptor(inside, self.layout)
        self.bound_to_params: bool = bool(binding.readers)

    def _caller(self, name: str) -> Callable[[], Any]:
        return caller(self.shared_library.function(name), self.table.address)

    def take(self, vector: Any) -> None:
        """Read the params in this flat vector, or from a copy."""
        if self.copies:
            self.own[...] = vector
        elif self.bound_to_params:
            self.read_from(vector)
        else:
            self.slots[PARAMS] = id(vector)

    def read_from(self, vector: Any) -> None:
        """Bind C, and the calls of NumPy, to these params."""
        self.slots[PARAMS] = id(vector)
        if self.bound_to_params:
            super().read_from(vector)

    def updated(self, state: Written, into: Any = None) -> tuple[Any, list[Any]]:
        """(new params, new vectors of the state); the params in the vector `into`, if given."""
        self.numbers[...] = state.numbers
        count, dtype, slots, _ = self.descent
        new = empty(count, dtype) if into is None else into
        slots[NEW], slots[STEPS] = id(new), state.steps
        made, place = list[Any](), self.of_state
        for before in state.vectors:
            after = empty(count, dtype)
            slots[place], slots[place + 1] = id(before), id(after)
            made.append(after)
            place += 2
        self._run_step()
        return new, made

    def descended(self) -> Any:
        """The new params as a vector, where there is no state; with few calls, which are most of a small step."""
        count, dtype, slots, step = self.descent
        new = empty(count, dtype)
        slots[NEW] = id(new)
        if step is None:
            self._run_step()
        else:
            step()
        return new

    def _run_step(self) -> None:
        for f, args in self.program[: self.before_last]:
            f(*args)
        self.step()
        if self.check is not None:
            self.check()

    def failed(self) -> bool:
        """Whether a run has set the status, which is then cleared."""
        failed, self.status[0] = bool(self.status[0]), 0
        return failed

    def members(self, rows: Any, arrays: Sequence[Any], mapped: Sequence[bool]) -> tuple[list[Any], Any] | None:
        """The results of all members in one call; None where NumPy makes some calls or a member has an error."""
        if self.shared_library.code.stretches > 1:
            return None
        found = run_members(self, rows, arrays, mapped)
        return None if self.failed() else found


def check(status: Any, code: Code, slab: Any) -> None:
    """Raise the error of a call that has set the status: NumPy makes the call again."""
    failed, status[0] = int(status[0]), 0
    if failed:
        emission = code.emissions[failed - 1]
        binding = Binding(emission.placement.plan, slab)
        for call in emission.checks:
            for f, args in binding.bind(call):
                f(*args)
