"""Many training steps in one call of native code: the update of the params, and of an optimizer's state, as C."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np

from funcnet.arrays import is_array, is_tuple
from funcnet.compiler.workspace import Workspace
from funcnet.errors import ExportError
from funcnet.native.expressions import literal
from funcnet.native.program import NativeWorkspace
from funcnet.native.table import Table
from funcnet.native.updates import Language, Update, update_of
from funcnet.training.gradients import SGDStep, Step
from funcnet.training.scan import has_state
from funcnet.tree import new_tuple

CHUNK = 1024  # steps of one call, after which an interrupt is seen
SGD = Update({}, [], [("u", "-u")])
"""The update of `sgd_step`, whose gradient holds the learning rate."""


def update_text(step: Any, dtype: np.dtype[Any]) -> Update | None:
    """The update of a step as text; None where it has none."""
    if isinstance(step, SGDStep):
        return SGD
    if step.takes_weight or not step.flat:
        return None
    f = "f" if dtype.itemsize == 4 else ""
    functions = {name: f"fn_{name}{f}" for name in ("sign", "maximum", "minimum")}
    functions |= {"sqrt": f"sqrt{f}", "where": "FN_WHERE"}
    say = Language(partial(literal, suffix=f), "pow({}, {})".format, functions)
    try:
        return update_of("jit", step.optimizer, step.init(np.zeros((), dtype)), say)
    except ExportError:
        return None  # the optimizer runs in NumPy, after each call of native code


def in_one_call(step: Step[Any]) -> bool:
    """Whether nothing is asked between the steps."""
    return not step.check_finite and not (has_state(step) and step.returns_metrics)


def scanned(step: Step[Any], params: Any, state: Any, arrays: tuple[Any, ...]) -> tuple[Any, Any, Any] | None:
    """(params, state, losses) after all steps; None where each step is a call of its own."""
    if not in_one_call(step):
        return None
    first = tuple(x[0] for x in arrays)
    space, vector = step.enter(params, state, first, None)
    flat = step.flat_state(space, state)
    written = as_written(space, flat)
    if written is None or not isinstance(space, NativeWorkspace) or not space.owner.code.scans:
        space.pool.append(space)
        return None
    steps = len(arrays[0])
    batches = [np.ascontiguousarray(x, inside.dtype) for x, inside in zip(arrays, space.inside, strict=True)]
    losses = np.empty(steps, space.own.dtype)
    vector = space.layout.joined(params) if vector is None else vector.copy()
    copies = [x.copy() for x in written.vectors]
    table = Table([space.slab, vector, vector, *batches, losses, *(x for x in copies for _ in ("read", "written"))])
    run = space.owner.function("funcnet_scan", *[ctypes.c_long] * 3)
    for done in range(0, steps, CHUNK):
        run(table.address, done, min(done + CHUNK, steps), written.steps)
    if space.failed():
        space.pool.append(space)
        return None  # the loop of steps raises the error
    made = space.layout.tree(vector)
    after = step.state_of(space, advanced(flat, steps, iter(copies)))
    space.params_cache.remember(made, vector)
    space.pool.append(space)
    return made, after, losses


class Written(NamedTuple):
    """What the C is given of a state: how many steps came before, and the vectors, in order."""

    steps: int
    vectors: list[Any]


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
    """The state, if it differs from the first one in its vectors and its count alone: that is what the C is for."""
    if not isinstance(space, NativeWorkspace) or space.step is None:
        return None
    counts, vectors = set[int](), list[Any]()
    for part, first in zip(leaves(flat), leaves(space.owner.start), strict=True):
        if is_array(part) and part.ndim:
            vectors.append(part)
        elif is_count(part):
            counts.add(int(part))
        elif part != first:
            return None
    return None if len(counts) > 1 else Written(sum(counts), vectors)


def is_count(x: Any) -> bool:
    """Whether it is an integer, which may be an array of no axes, as files give them."""
    kind = cast("Any", type(x))
    return kind is int or (kind is not float and np.ndim(x) == 0 and np.asarray(x).dtype.kind in "iu")


def advanced(flat: Any, steps: int, vectors: Iterator[Any]) -> Any:
    """The state with so many steps more in its counts, and with these vectors."""
    if is_tuple(flat):
        return new_tuple(type(flat), [advanced(part, steps, vectors) for part in flat])
    if is_array(flat) and flat.ndim:
        return next(vectors)
    return int(flat) + steps if is_count(flat) else flat
