"""Many training steps in one call of native code: the update of the params, and of an optimizer's state, as C."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from funcnet.arrays import is_array, is_tuple
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
    if not isinstance(space, NativeWorkspace) or not space.owner.code.scans or not is_written(space, flat):
        space.pool.append(space)
        return None
    steps = len(arrays[0])
    batches = [np.ascontiguousarray(x, inside.dtype) for x, inside in zip(arrays, space.inside, strict=True)]
    losses = np.empty(steps, space.own.dtype)
    vector = space.layout.joined(params) if vector is None else vector.copy()
    before, new = int(sum(counts(flat)[:1])), advanced(flat, steps)
    vectors = [x for x in leaves(new) if is_vector(x) for _ in ("read", "written")]
    table = Table([space.slab, vector, vector, *batches, losses, *vectors])
    run = space.owner.function("funcnet_scan", *[ctypes.c_long] * 3)
    for done in range(0, steps, CHUNK):
        run(table.address, done, min(done + CHUNK, steps), before)
    if space.failed():
        space.pool.append(space)
        return None  # the loop of steps raises the error
    made = space.layout.tree(vector)
    after = step.state_of(space, new)
    space.params_cache.remember(made, vector)
    space.pool.append(space)
    return made, after, losses


def leaves(state: Any) -> Iterator[Any]:
    """The numbers and vectors of a state, in order."""
    if is_tuple(state):
        for part in state:
            yield from leaves(part)
    else:
        yield state


def is_written(space: NativeWorkspace[Any], flat: Any) -> bool:
    """Whether a state differs from the first one in its vectors and its count alone: that is what the C is for."""
    pairs = zip(leaves(flat), leaves(space.owner.start), strict=True)
    return all(is_vector(a) or is_count(a) or a == b for a, b in pairs) and len({*map(int, counts(flat))}) <= 1


def is_vector(x: Any) -> bool:
    """Whether a part of a state is one number for each param."""
    return is_array(x) and x.ndim > 0


def is_count(x: Any) -> bool:
    """Whether it is an integer, which may be an array of no axes, as files give them."""
    return type(x) is int or (np.ndim(x) == 0 and np.asarray(x).dtype.kind in "iu")


def counts(flat: Any) -> list[Any]:
    """The numbers of steps that came before, as the parts of a state say it."""
    return [x for x in leaves(flat) if is_count(x)]


def advanced(flat: Any, steps: int, vectors: Iterator[Any] | None = None) -> Any:
    """The state with so many steps more in its counts, and with these vectors, by default copies of its own."""
    if is_tuple(flat):
        return new_tuple(type(flat), [advanced(part, steps, vectors) for part in flat])
    if is_count(flat):
        return int(flat) + steps
    if is_vector(flat):
        return flat.copy() if vectors is None else next(vectors)
    return flat
