"""Many training steps in one call of native code: the update of the params, and of an optimizer's state, as C."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import partial
from math import inf, log
from typing import Any, NamedTuple, cast

import numpy as np

from funcnet.arrays import is_array, is_tuple
from funcnet.compiler.workspace import Workspace
from funcnet.errors import FuncnetError
from funcnet.native.expressions import literal
from funcnet.native.program import NativeWorkspace
from funcnet.native.table import Table, in_pieces
from funcnet.native.updates import Language, Update, update_of
from funcnet.optimizers.schedules import value_at
from funcnet.training.gradients import SGDStep, Step
from funcnet.training.scan import has_state, losses_of
from funcnet.tree import new_tuple

CHUNK = 1024  # steps of one call, after which an interrupt is seen
SGD = Update({}, [], [("u", "-u")], [], [], [])
"""The update of `sgd_step`, whose gradient includes the learning rate."""


def update_text(step: Any, dtype: np.dtype[Any]) -> Update:
    """The update of a step as text. Raises ExportError, with the reason, where it has none."""
    if isinstance(step, SGDStep):
        return SGD
    f = "f" if dtype.itemsize == 4 else ""
    functions = {name: f"fn_{name}{f}" for name in ("sign", "maximum", "minimum")}
    functions |= {"sqrt": f"sqrt{f}", "where": "FN_WHERE", "max": "fmax"}
    say = Language(partial(literal, suffix=f), weights, functions, has_state=True)
    return update_of("jit", step.optimizer, dtype, say)


def weights(decay: float, t: str) -> str:
    """1 - decay^t by an exponential that is inlined: to call pow takes longer than to update 100 params."""
    return f"-fn_expm1({t} * {literal(log(decay) if decay else -inf, '')})"


def scanned(step: Step[Any], params: Any, state: Any, arrays: tuple[Any, ...]) -> tuple[Any, Any, Any] | None:
    """(params, state, losses) after all steps; None where steps cannot be one call, or one has an error to raise."""
    first = tuple(x[0] for x in arrays)
    space, vector = step.acquire_with_state(params, state, first, None)
    flat = step.flat_state(space, state)
    written = as_written(space, flat)
    if written is None or not isinstance(space, NativeWorkspace) or not space.owner.code.scans:
        space.pool.append(space)
        return None
    vector = space.layout.joined(params) if vector is None else vector.copy()
    try:
        found = _run(step, space, vector, written, arrays)
    except FuncnetError:  # of a schedule or a metric
        found = None
    failed = space.failed()
    space.pool.append(space)
    if failed or found is None:
        return None  # the loop of steps then raises the error at its step
    (vectors, numbers), losses = found
    after = step.state_of(space, advanced(flat, len(arrays[0]), iter(vectors), iter(numbers)))
    return space.params_cache.made(vector), after, losses


def _run(step: Any, space: NativeWorkspace[Any], vector: Any, written: Written, arrays: tuple[Any, ...]) -> Any:
    """((vectors, numbers) of the new state, losses); the params are updated in place."""
    steps, metrics = len(arrays[0]), has_state(step) and step.returns_metrics
    numbers = numbers_of_steps(cast("Update", space.owner.code.update), written, steps)
    copies = [x.copy() for x in written.vectors]
    vectors = [x for x in copies for _ in ("read", "written")]
    batches = [in_pieces(x, inside.dtype) for x, inside in zip(arrays, space.inside, strict=True)]
    lengths = [*(x.strides[0] for x in batches), *(y.nbytes for y in space.outputs)]
    moves = (ctypes.c_long * len(lengths))(*lengths)
    run = space.owner.function("funcnet_scan", *[ctypes.c_long] * 3, ctypes.c_void_p)
    found: list[Any] = []
    for done in range(0, steps, CHUNK):
        part = slice(done, min(done + CHUNK, steps))
        count = part.stop - done
        outputs = [np.empty((count, *y.shape), y.dtype) for y in space.outputs]
        given = [*(x[part] for x in batches), *outputs, *vectors, numbers[part]]
        table = Table([space.slab, vector, vector, *given])
        run(table.address, 0, count, written.steps + done, ctypes.addressof(moves))
        found.append(outputs[0])
        if space.status[0]:
            break
        if metrics:
            found[-1] = [
                step.with_metrics(loss, [y[i] for y in outputs[1:]], tuple(x[done + i] for x in arrays))
                for i, loss in enumerate(outputs[0])
            ]
    losses = losses_of([loss for part in found for loss in part]) if metrics else np.concatenate(found)
    return (copies, numbers[steps].tolist()), losses


class Written(NamedTuple):
    """A state in its form for C: the number of steps so far, its vectors and its numbers, in order.

    counts: whether the state counts steps; if not, the number of steps is 0.
    """

    steps: int
    vectors: list[Any]
    numbers: list[float]
    counts: bool

    def after(self, update: Update, vectors: list[Any]) -> Written:
        """The same of the state after one more step."""
        steps = self.steps + 1
        numbers = [
            x if schedule is None else value_at(schedule, steps)
            for x, (_, schedule) in zip(self.numbers, update.numbers, strict=True)
        ]
        return Written(steps * self.counts, vectors, numbers, self.counts)


def leaves(state: Any) -> list[Any]:
    """The numbers and vectors of a state, in order."""
    found: list[Any] = []
    for part in state if is_tuple(state) else (state,):
        if is_tuple(part):
            found += leaves(part)
        else:
            found.append(part)
    return found


def as_written(space: Workspace[Any], flat: Any) -> Written | None:
    """The state in its form for C; None unless it has the form of the first state, with equal counts."""
    if not isinstance(space, NativeWorkspace) or space.step is None:
        return None
    known, written = space.made
    if written is not None and flat is known:
        return cast("Written", written)
    counts, vectors, numbers = set[int](), list[Any](), list[float]()
    for part, first in zip(leaves(flat), leaves(space.owner.start), strict=True):
        if is_array(part) and part.ndim:
            vectors.append(part)
        elif is_count(part):
            counts.add(int(part))
        elif is_number(part):
            numbers.append(float(part))
        elif part is not first:
            return None
    return None if len(counts) > 1 else Written(sum(counts), vectors, numbers, bool(counts))


def is_count(x: Any) -> bool:
    """Whether it is an integer, which may be an array of no axes, as files give them."""
    kind = cast("Any", type(x))
    return kind is int or (kind is not float and np.ndim(x) == 0 and np.asarray(x).dtype.kind in "iu")


def is_number(x: Any) -> bool:
    """Whether it is a floating number, which may be an array of no axes."""
    return type(x) is float or (np.ndim(x) == 0 and np.asarray(x).dtype.kind == "f")


def numbers_of_steps(update: Update, written: Written, steps: int) -> Any:
    """The numbers for each of so many steps, and those of the state after them, (steps + 1, numbers)."""
    rows = np.empty((steps + 1, len(update.numbers)))
    rows[...] = written.numbers
    for column, (_, schedule) in zip(rows[1:].T, update.numbers, strict=True):
        if schedule is not None:
            column[...] = [value_at(schedule, written.steps + i) for i in range(1, steps + 1)]
    return rows


def advanced(flat: Any, steps: int, vectors: Iterator[Any], numbers: Iterator[float]) -> Any:
    """The state with so many steps more in its counts, and with these vectors and numbers."""
    kind = cast("Any", type(flat))
    if kind is int:
        return flat + steps
    if kind is float:
        return next(numbers)
    if is_tuple(flat):
        return new_tuple(kind, [advanced(part, steps, vectors, numbers) for part in flat])
    if is_array(flat) and flat.ndim:
        return next(vectors)
    if is_count(flat):
        return int(flat) + steps
    return next(numbers) if is_number(flat) else flat
