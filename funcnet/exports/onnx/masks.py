"""Choices by masks in ONNX: a rule (writer, call) -> the name of the output."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from funcnet.exports.onnx.writer import Writer
from funcnet.tracing.masks import LIMITS, WHERE
from funcnet.tracing.primitive import Primitive
from funcnet.tracing.trace import Call


def where(w: Writer, call: Call) -> str:
    """The one value where the mask is true, else the other."""
    mask, a, b = call.inputs
    return w.node("Where", w.boolean(mask), w.floating(a), w.floating(b))


def limits(w: Writer, call: Call) -> str:
    """Infinity where the mask is true, else minus infinity."""
    return w.node("Where", w.boolean(call.inputs[0]), w.number(np.inf), w.number(-np.inf))


RULES: dict[Primitive, Callable[[Writer, Call], str]] = {WHERE: where, LIMITS: limits}
