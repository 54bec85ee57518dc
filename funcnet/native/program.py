"""A program as a library, and the memory in which its functions run."""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from typing_extensions import TypeVar

from funcnet.compiler.binding import Binding, aligned
from funcnet.compiler.params_cache import ParamsCache
from funcnet.compiler.plan import Plan
from funcnet.compiler.program_cache import Program
from funcnet.compiler.workspace import Workspace, taker
from funcnet.native.members import run_members
from funcnet.native.source import Code
from funcnet.native.toolchain import build
from funcnet.native.updates import Update
from funcnet.tracing.forms import Instruction

P = TypeVar("P", default=Any)


class NativeProgram(Program[P]):
    """A plan as a library, and a pool of memory for it."""

    def __init__(
        self,
        plans: dict[int, Plan],
        spans: list[tuple[int, int]],
        params_cache: ParamsCache[P],
        update: Update | None,
    ) -> None:
        super().__init__(plans, spans, params_cache)
        self.code: Code = Code(plans, spans, update)
        self.loaded: ctypes.CDLL = build(self.code.source)
        rows = spans[-1][1]
        arrays = (*self.code.inputs, *self.code.plan.outputs)
        self.shapes: list[tuple[int, ...]] = [(rows, *v.shape[1:]) if v.batch_axis == 0 else v.shape for v in arrays]
        self.size: int = self.code.size + sum(map(prod, self.shapes)) * self.code.plan.dtype.itemsize

    def new_workspace(self) -> Workspace[P]:
        """Memory for one more call at the same time."""
        return NativeWorkspace(self, self.pool)

    def function(self, name: str) -> Callable[..., None]:
        """A function of the library that takes the table of pointers."""
        found = getattr(self.loaded, name)
        found.restype = None
        found.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long][: 3 if name == "funcnet_scan" else 1]
        return found  # type: ignore[no-any-return]


class NativeWorkspace(Workspace[P]):
    """The memory of a run: the slab, and arrays that are copied in and out.

    table: pointers to the slab and to those arrays, which the C functions are given.
    """

    def __init__(self, program: NativeProgram[P], pool: deque[Workspace[P]]) -> None:
        code, plan = program.code, program.code.first.placement.plan
        self.owner: NativeProgram[P] = program
        binding = Binding(plan, aligned(code.size))
        self.slab: Any = binding.memory
        count = code.count if plan.has_gradient else 0
        gradient: Any = np.ndarray((count,), plan.dtype, self.slab, code.gradient() if count else 0)
        values = (*code.inputs, *code.plan.outputs)
        arrays = [np.empty(shape, v.dtype) for shape, v in zip(program.shapes, values, strict=True)]
        inside, outputs = arrays[: len(code.inputs)], arrays[len(code.inputs) :]
        self.table: Any = (ctypes.c_void_p * (len(arrays) + 1))(self.slab.ctypes.data, *(a.ctypes.data for a in arrays))
        address = ctypes.addressof(self.table)
        instructions: list[Instruction] = []
        for i in range(code.stretches):
            instructions.append((program.function(f"funcnet_run{i}"), (address,)))
            if i < len(code.first.numpy_calls):
                instructions += binding.bind(code.first.numpy_calls[i])
        self.status: Any = np.ndarray((1,), np.int64, self.slab, code.status)
        if code.checks:
            instructions.append((self._check, ()))
        fresh = [taker(y, 1.0) for y in outputs]
        super().__init__(program.params_cache, pool, binding.params, gradient, inside, outputs, fresh, instructions)

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
            binding = Binding(emission.placement.plan, self.slab)
            for call in emission.checks:
                for f, args in binding.bind(call):
                    f(*args)
