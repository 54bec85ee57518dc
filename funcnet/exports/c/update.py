"""The end of a training step in C: the params, and the state of an optimizer."""

from __future__ import annotations

from typing import Any

from funcnet.exports.c.functions import OWN
from funcnet.exports.c.writer import C99
from funcnet.native.update_loops import Places, loops_of
from funcnet.native.updates import Language, Update, update_of
from funcnet.training.steps import TrainStep


def read_update(w: C99, step: TrainStep[Any, Any]) -> Update:
    """The optimizer of a step as text."""
    own = {name: f"{w.prefix}_{name}" for name in OWN}
    say = Language(w.number, "1.0 - pow({!r}, {})".format, {"sqrt": f"sqrt{w.suffix}", "max": "fmax", **own})
    update = update_of("to_c", step.optimizer, w.plan.dtype, say)
    text = "".join(line for _, line in update.lines)
    for name, called in own.items():
        if f"{called}(" in text:
            w.helper(name)
    return update


def state_text(w: C99, update: Update, count: int) -> str:
    """The type of the state, and the function that begins one."""
    fields = ["    long steps;"] * update.counts + [f"    {w.T} {v}[{count}];" for v in update.vectors]
    first = ["    state->steps = 0;"] * update.counts
    if update.vectors:
        first.append(f"    for (int i = 0; i < {count}; i++) {{")
        first += [f"        state->{v}[i] = {w.number(x)};" for v, x in update.vectors.items()]
        first.append("    }")
    lines = ["", "typedef struct {", *fields, f"}} {w.prefix}_state;", ""]
    return "\n".join([*lines, f"void {w.prefix}_init({w.prefix}_state *state)", "{", *first, "}", "", ""])


def update_lines(T: str, update: Update | None, count: int) -> list[str]:
    """New params from the gradient, which holds the learning rate where there is no optimizer."""
    head = f"    for (int i = 0; i < {count}; i++) {{"
    if update is None:
        comment = "    /* the new params; the learning rate is in the gradient */"
        return [comment, head, "        params[i] -= gradient[i];", "    }"]
    lines = ["    /* the optimizer */"]
    if update.counts:
        lines += ["    const double t = (double)++state->steps;"]
        lines += [f"    const {T} {name} = ({T})({text});" for name, text in update.scalars]
    places = Places(T, head.strip(), "gradient", "params", "params", "state->{}", "state->{}")
    return lines + [f"    {line}" for line in loops_of(update, places)]
