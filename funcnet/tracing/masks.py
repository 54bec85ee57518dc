"""Masks, arrays of bools: a choice between two values, and the limits of scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnet.errors import MaskError
from funcnet.tracing.eager import call, prefix
from funcnet.tracing.forms import plain
from funcnet.tracing.primitive import Primitive
from funcnet.tracing.shapes import FUNCTIONS, check_dtypes, check_numbers, common_axis, is_mask, refuse
from funcnet.tracing.trace import Trace, Value


def choose(mask: Any, a: Any, b: Any, like: Any) -> Any:
    """a where the mask is true, else b: of arrays or numbers, in the dtype of `like`."""
    if isinstance(mask, Value):
        return emit_where(mask, a, b)
    return call(WHERE, (mask, a, b), np.broadcast_shapes(mask.shape, np.shape(a), np.shape(b)), like.dtype)


def recorded_where(mask: Any, a: Any, b: Any) -> Value:
    """Record `np.where`."""
    if not any(isinstance(x, Value) for x in (a, b)):
        refuse("np.where of two numbers, which NumPy makes float64 of,")
    return emit_where(mask, a, b)


def emit_where(mask: Any, a: Any, b: Any) -> Value:
    """Record a choice between values or numbers."""
    given: list[Any] = [x for x in (mask, a, b) if isinstance(x, Value)]
    check_dtypes("where", (a, b), given[0].trace.dtype)
    check_numbers("where", (a, b))
    if not is_mask(mask):
        refuse("np.where of anything but a mask of bools")
    shape = np.broadcast_shapes(*(getattr(x, "shape", ()) for x in (mask, a, b)))
    axis = common_axis("where", [(x.ndim, x.batch_axis) for x in given], len(shape))
    trace: Trace = given[0].trace
    return trace.emit(WHERE, (mask, a, b), shape, trace.dtype, axis)


def where_into(mask: Any, a: Any, b: Any, out: Any) -> None:
    """Write a where the mask is true, else b; `out` may be a or b."""
    out[...] = np.where(mask, a, b)


def limits(mask: Any, like: Any) -> Any:
    """Infinity where the mask is true, else minus infinity, in the dtype of `like`.

    Raises MaskError where all elements are False, except for an empty batch.
    """
    return call(LIMITS, (mask,), mask.shape, like.dtype, 0, where=prefix(mask))


def limits_into(mask: Any, out: Any, *, where: str) -> None:
    """Write infinity where the mask is true, else minus infinity."""
    if mask.size and not mask.any():
        raise MaskError(
            f"{where}the mask {mask.shape} is False everywhere, so nothing may be seen; True is for elements that "
            "may be seen: if yours marks the others, give ~mask"
        )
    out[...] = np.where(mask, np.inf, -np.inf)


WHERE = Primitive("where", plain(where_into), elementwise=True)
LIMITS = Primitive("limits", plain(limits_into), opaque=True)  # it looks at all rows of the mask
FUNCTIONS.update({np.where: recorded_where})
