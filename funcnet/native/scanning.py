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
from funcnet.native.updates import Language, Update, update_of
from funcnet.training.gradients import SGDStep, Step
from funcnet.training.scan import has_state
from funcnet.tree import new_tuple

CHUNK = 1024  # steps of one call, after which an interrupt is seen
SGD = Update({}, [], [("u", "-u")])
"""The update of `sgd_step`, whose gradient holds the learning rate."""


def update_text(step: Any, dtype: np.dtype[Any]) -> Update | None:
    """The update of a step as text; None where there is none that can be made in one call."""
    if step.check_finite:
        return None
    if isinstance(step, SGDStep):
        return SGD
    if step.returns_metrics or step.takes_weight or not step.flat:
        return None
    f = "f" if dtype.itemsize == 4 else ""
    functions = {name: f"fn_{name}{f}" for name in ("sign", "maximum", "minimum")}
    functions |= {"sqrt": f"sqrt{f}", "where": "FN_WHERE"}
    say = Language(partial(literal, suffix=f), "pow({}, {})".format, functions)
    try:
        return update_of("jit", step.optimizer, step.init(np.zeros((), dtype)), say)
    except ExportError:
        return None  # the optimizer runs in NumPy, after each call of native code


def scanned(step: Step[Any], params: Any, state: Any, arrays: tuple[Any, ...]) -> tuple[Any, Any, Any] | None:
    """(params, state, losses) after all steps; None where each step is a call of its own."""
    first = tuple(x[0] for x in arrays)
    space, _ = step.enter(params, state, first, None)
    flat = step.flat_state(space, state)
    start = step.init(np.zeros((), space.own.dtype)) if has_state(step) else None
    code = space.owner.code if isinstance(space, NativeWorkspace) else None
    counts = [x for x in leaves(flat) if type(x) is int]
    if not isinstance(space, NativeWorkspace) or code is None or not code.scans or not as_written(flat, start, counts):
        space.pool.append(space)
        return None
    steps = len(arrays[0])
    batches = [np.ascontiguousarray(x, inside.dtype) for x, inside in zip(arrays, space.inside, strict=True)]
    losses = np.empty(steps, space.own.dtype)
    new = advanced(flat, steps)
    vectors = [x for x in leaves(new) if is_array(x)]
    addresses = [x.ctypes.data for x in (space.slab, *batches, losses, *vectors)]
    table = (ctypes.c_void_p * len(addresses))(*addresses)
    run, before = space.owner.function("funcnet_scan"), counts[0] if counts else 0
    for done in range(0, steps, CHUNK):
        run(ctypes.addressof(table), min(CHUNK, steps - done), before + done)
    if space.failed():
        space.pool.append(space)
        return None  # the loop of steps raises the error
    vector = space.own.copy()
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
    elif state is not None:  # that of plain gradient descent
        yield state


def as_written(flat: Any, start: Any, counts: list[int]) -> bool:
    """Whether a state differs from the first one in its vectors and its count alone: that is what the C is for."""
    pairs = zip(leaves(flat), leaves(start), strict=True)
    same = all(type(a) is int or (a.ndim > 0 if is_array(a) else type(a) is float and a == b) for a, b in pairs)
    return same and len({*counts}) <= 1


def advanced(flat: Any, steps: int) -> Any:
    """The state with so many steps more in its counts, and copies of its vectors."""
    if is_tuple(flat):
        return new_tuple(type(flat), [advanced(part, steps) for part in flat])
    if type(flat) is int:
        return flat + steps
    return flat.copy() if is_array(flat) else flat
