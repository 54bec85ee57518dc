"""Many training steps in one call of native code: the update of the params, and of an optimizer's state, as C."""

from __future__ import annotations

import ctypes
from functools import partial
from math import inf, log
from typing import Any, cast

import numpy as np

from funcnet.errors import FuncnetError
from funcnet.native.expressions import literal
from funcnet.native.program import NativeWorkspace
from funcnet.native.states import States, Written
from funcnet.native.table import Table, in_pieces
from funcnet.native.updates import Language, Update, update_of
from funcnet.training.gradients import SGDStep, Step
from funcnet.training.scan import has_state, losses_of

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
    written = step.flat_state(space, state)
    if (
        not isinstance(space, NativeWorkspace)
        or not isinstance(written, Written)
        or not space.shared_library.code.scans
    ):
        space.release()
        return None
    vector = space.layout.joined(params) if vector is None else vector.copy()
    try:
        found = _run(step, space, vector, written, arrays)
    except FuncnetError:  # of a schedule or a metric
        found = None
    failed = space.failed()
    space.release()
    if failed or found is None:
        return None  # the loop of steps then raises the error at its step
    written, losses = found
    return space.params_cache.made(vector), step.state_of(space, written), losses


def _run(step: Any, space: NativeWorkspace[Any], vector: Any, written: Written, arrays: tuple[Any, ...]) -> Any:
    """(the new state, losses); the params are updated in place."""
    steps, metrics = len(arrays[0]), has_state(step) and step.returns_metrics
    states = cast("States", space.shared_library.states)
    numbers = states.numbers_of_steps(written, steps)
    copies = [x.copy() for x in written.vectors]
    vectors = [x for x in copies for _ in ("read", "written")]
    batches = [in_pieces(x, inside.dtype) for x, inside in zip(arrays, space.inside, strict=True)]
    lengths = [*(x.strides[0] for x in batches), *(y.nbytes for y in space.outputs)]
    moves = (ctypes.c_long * len(lengths))(*lengths)
    run = space.shared_library.function("funcnet_scan", *[ctypes.c_long] * 3, ctypes.c_void_p)
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
    return states.after(written, copies, steps), losses
