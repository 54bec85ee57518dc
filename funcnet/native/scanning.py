"""Many training steps in one call of native code: the update of the params, and of an optimizer's state, as C."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, cast

import numpy as np

from funcnet.arrays import is_array, is_tuple
from funcnet.errors import FuncnetError
from funcnet.native.expressions import literal
from funcnet.native.program import NativeWorkspace
from funcnet.native.table import Table
from funcnet.native.updates import Language, Update, update_of
from funcnet.optimizers.schedules import at
from funcnet.training.gradients import SGDStep, Step
from funcnet.training.scan import has_state, losses_of
from funcnet.tree import new_tuple

CHUNK = 1024  # steps of one call, after which an interrupt is seen
SGD = Update({}, [], [("u", "-u")], [], [])
"""The update of `sgd_step`, whose gradient holds the learning rate."""


def update_text(step: Any, dtype: np.dtype[Any]) -> Update:
    """The update of a step as text. ExportError, which says why, where it has none."""
    if isinstance(step, SGDStep):
        return SGD
    f = "f" if dtype.itemsize == 4 else ""
    functions = {name: f"fn_{name}{f}" for name in ("sign", "maximum", "minimum")}
    functions |= {"sqrt": f"sqrt{f}", "where": "FN_WHERE", "max": "fmax"}
    say = Language(partial(literal, suffix=f), "pow({}, {})".format, functions, has_state=True)
    return update_of("jit", step.optimizer, dtype, say)


def scanned(step: Step[Any], params: Any, state: Any, arrays: tuple[Any, ...]) -> tuple[Any, Any, Any] | None:
    """(params, state, losses) after all steps; None where each step is a call of its own, or has an error to raise."""
    first = tuple(x[0] for x in arrays)
    space, vector = step.enter(params, state, first, None)
    flat = step.flat_state(space, state)
    if not isinstance(space, NativeWorkspace) or not space.owner.code.scans or not is_written(space, flat):
        space.pool.append(space)
        return None
    vector = space.layout.joined(params) if vector is None else vector.copy()
    try:
        found = _run(step, space, vector, flat, arrays)
    except FuncnetError:  # of a schedule or a metric
        found = None
    failed = space.failed()
    space.pool.append(space)
    if failed or found is None:
        return None  # the loop of steps raises the error where it comes
    new, losses = found
    made = space.layout.tree(vector)
    after = step.state_of(space, new)
    space.params_cache.remember(made, vector)
    return made, after, losses


def _run(step: Any, space: NativeWorkspace[Any], vector: Any, flat: Any, arrays: tuple[Any, ...]) -> tuple[Any, Any]:
    """(new state, losses); the params change where they are."""
    steps, update = len(arrays[0]), cast("Update", space.owner.code.update)
    before, metrics = count_of(flat), has_state(step) and step.returns_metrics
    numbers = numbers_of_steps(update, flat, before, steps)
    new = advanced(flat, steps, numbers[steps].tolist())
    vectors = [x for x in leaves(new) if is_vector(x) for _ in ("read", "written")]
    batches = [np.ascontiguousarray(x, inside.dtype) for x, inside in zip(arrays, space.inside, strict=True)]
    run = space.owner.function("funcnet_scan", *[ctypes.c_long] * 3)
    found: list[Any] = []
    for done in range(0, steps, CHUNK):
        part = slice(done, min(done + CHUNK, steps))
        count = part.stop - done
        outputs = [np.empty((count, *y.shape), y.dtype) for y in space.outputs]
        given = [*(x[part] for x in batches), *outputs, *vectors, numbers[part]]
        table = Table([space.slab, vector, vector, *given])
        run(table.address, 0, count, before + done)
        found.append(outputs[0])
        if space.status[0]:
            break
        if metrics:
            found[-1] = [
                step.with_metrics(loss, [y[i] for y in outputs[1:]], tuple(x[done + i] for x in arrays))
                for i, loss in enumerate(outputs[0])
            ]
    return new, losses_of([loss for part in found for loss in part]) if metrics else np.concatenate(found)


def leaves(state: Any) -> Iterator[Any]:
    """The numbers and vectors of a state, in order."""
    if is_tuple(state):
        for part in state:
            yield from leaves(part)
    else:
        yield state


def is_written(space: NativeWorkspace[Any], flat: Any) -> bool:
    """Whether a state has vectors, counts and numbers where the first one has them, and one count in all."""
    pairs = zip(leaves(flat), leaves(space.owner.start), strict=True)
    alike = all(is_vector(a) or is_count(a) or is_number(a) or a is b is None for a, b in pairs)
    return alike and len({*map(int, counts(flat))}) <= 1


def is_vector(x: Any) -> bool:
    """Whether a part of a state is one number for each param."""
    return is_array(x) and x.ndim > 0


def is_count(x: Any) -> bool:
    """Whether it is an integer, which may be an array of no axes, as files give them."""
    return type(x) is int or (np.ndim(x) == 0 and np.asarray(x).dtype.kind in "iu")


def is_number(x: Any) -> bool:
    """Whether it is a floating number, which may be an array of no axes."""
    return type(x) is float or (np.ndim(x) == 0 and np.asarray(x).dtype.kind == "f")


def counts(flat: Any) -> list[Any]:
    """The numbers of steps that came before, as the parts of a state say it."""
    return [x for x in leaves(flat) if is_count(x)]


def count_of(flat: Any) -> int:
    """How many steps came before."""
    return int(sum(counts(flat)[:1]))


def numbers_of(flat: Any) -> list[float]:
    """The numbers of a state for the next step, such as its learning rate."""
    return [float(x) for x in leaves(flat) if is_number(x)]


def numbers_of_steps(update: Update, flat: Any, before: int, steps: int) -> Any:
    """The numbers for each of so many steps, and those of the state after them, (steps + 1, numbers)."""
    rows = np.empty((steps + 1, len(update.numbers)))
    rows[...] = numbers_of(flat)
    for column, (_, schedule) in zip(rows[1:].T, update.numbers, strict=True):
        if schedule is not None:
            column[...] = [at(schedule, before + i) for i in range(1, steps + 1)]
    return rows


def advanced(flat: Any, steps: int, numbers: Sequence[float], vectors: Iterator[Any] | None = None) -> Any:
    """The state after so many steps more, with these numbers, and with these vectors, by default copies of its own."""
    left = iter(numbers)

    def part(x: Any) -> Any:
        if is_tuple(x):
            return new_tuple(type(x), [*map(part, x)])
        if is_count(x):
            return int(x) + steps
        if is_vector(x):
            return x.copy() if vectors is None else next(vectors)
        return next(left) if is_number(x) else x

    return part(flat)
