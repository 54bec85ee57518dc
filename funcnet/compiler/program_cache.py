"""The programs of one function: each a plan with a pool of memory in which it runs, and how a call finds its own."""

from __future__ import annotations

from collections import deque
from operator import attrgetter
from typing import Any, Generic, TypeAlias
from weakref import WeakValueDictionary

import numpy as np
from typing_extensions import TypeVar

from funcnet.compiler.params_cache import ParamsCache
from funcnet.compiler.plan import Plan
from funcnet.compiler.workspace import Workspace, bound, bound_in_blocks

P = TypeVar("P", default=Any)
Spec: TypeAlias = tuple[type, tuple[int, ...], np.dtype[Any]]

SPEC = attrgetter("__class__", "shape", "dtype")  # what an input must be for a program to take it as it is
# Programs, and bytes of memory that they need, beyond which the one made first is let go.
MAX_PROGRAMS, MAX_BYTES = 1024, 1 << 28
BYTES_PER_CALL = 1500  # bytes that the Python objects of one call take, about
MAX_POOLED = 8  # workspaces that a program keeps for the next calls
NO_PROGRAM: Any = None, (), False


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
        self.pool: deque[Workspace[P]] = deque(maxlen=MAX_POOLED)
        of_params = params_cache.layout.count * params_cache.layout.dtype.itemsize
        vectors = params_cache.small + 2 * (len(spans) > 1)  # those of blocks are added up in vectors of their own
        self.size: int = vectors * of_params + sum(
            plan.size + BYTES_PER_CALL * len(plan.calls) for plan in plans.values()
        )

    def held(self) -> int:
        """The bytes of all its workspaces, of which there is at least one."""
        return self.size * max(1, len(self.pool))

    def take(self) -> Workspace[P]:
        """A workspace that nobody uses."""
        try:
            return self.pool.pop()
        except IndexError:
            return self.new_workspace()

    def new_workspace(self) -> Workspace[P]:
        """Memory for one more call at the same time."""
        if len(self.spans) > 1:
            return bound_in_blocks(self.plans, self.params_cache, self.pool, self.spans)
        (plan,) = self.plans.values()
        return bound(plan, self.params_cache, self.pool)


class ProgramCache(Generic[P]):
    """The programs made so far.

    by_signature: by all that they depend on.
    params_caches: by the layout of the params, for all programs that take such params.
    recent: by whether a key is the last array, and the type, shape and dtype of each, (a program, the place, shape and
        dtype of each array, whether a key is the last).
    latest: that of these which was used last.
    """

    def __init__(self) -> None:
        self.by_signature: dict[Any, Program[P]] = {}
        self.params_caches: WeakValueDictionary[Any, ParamsCache[P]] = WeakValueDictionary()
        self.recent: dict[tuple[bool | Spec, ...], Any] = {}
        self.latest: Any = NO_PROGRAM

    def add(self, layout: Any, signature: Any, program: Program[P]) -> None:
        """Keep a program; let go of those made first where there are too many or they need too much."""
        self.by_signature[signature], self.params_caches[layout] = program, program.params_cache
        programs = [*self.by_signature.items()]  # at once: another thread may make a program meanwhile
        held, count = sum(program.held() for _, program in programs), len(programs)
        for signature, program in programs[:-1]:
            if count <= MAX_PROGRAMS and held <= MAX_BYTES:
                break
            held, count = held - program.held(), count - 1
            self.by_signature.pop(signature, None)
            self.recent.clear()
            self.latest = NO_PROGRAM

    def remember(self, program: Program[P], arrays: tuple[Any, ...], keyed: bool) -> None:
        """Keep which program takes such arrays, the last of which may be a key, as they are."""
        specs = [*map(SPEC, arrays)]
        taken = program, [(i, *spec[1:]) for i, spec in enumerate(specs)], keyed
        self.latest = self.recent[keyed, *specs] = taken
