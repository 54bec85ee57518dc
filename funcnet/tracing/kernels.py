"""The gradient of a convolution's kernel.

Each row of the output adds L g^T to it: L are the elements that the row reads, g is its cotangent. With 2 to 7 features
such products are slow, since BLAS computes 8 columns at a time. The products of several rows are then made as one, from
taller pieces of L and all their rows of g. This also multiplies rows of L by rows of g that do not belong to them, and
still takes only 0.5 to 0.8 of the time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnet.tracing.forms import Attributes, Instruction, Memory, Operands
from funcnet.tracing.windows import Window, by_rows, matrices, windows

COLUMNS = 8  # that BLAS computes at a time


def weight_grad(memory: Memory, attributes: Attributes, operands: Operands, out: Any) -> list[Instruction]:
    """dW = sum over the rows of the output of L g^T."""
    (lowered, g), window = operands, attributes["window"]
    groups, count = lowered.shape[1], g.shape[1]
    g, dW = by_rows(g, groups), matrices(out, groups)[:, 0]
    together = rows_together(window, count, g.shape[2])
    if together > 1:
        return weight_grad_together(memory, window, together, lowered, g, dW)
    view = windows(lowered, window, count)
    each = memory.scratch((groups, count, view.shape[2], g.shape[2]))
    return [(np.matmul, (view, g.swapaxes(2, 3), each)), (np.add.reduce, (each, 1, None, dW))]


def rows_together(window: Window, count: int, features: int) -> int:
    """The number of rows of the output whose products are made as one."""
    height = window.size[0]
    if not 1 < features < COLUMNS or window.lowered_step > 1 or height == 1:
        return 1
    return 4 if height > 4 and not count % 4 else 1 if count % 2 else 2


def weight_grad_together(
    memory: Memory, window: Window, together: int, lowered: Any, g: Any, dW: Any
) -> list[Instruction]:
    """The same, of several rows at once: row p of them meets the kernel p rows further down."""
    (groups, count, features, columns), (height, width) = g.shape, window.size
    taller = window._replace(size=(height + together - 1, width), strides=(together, window.strides[1]))
    view = windows(lowered, taller, count // together)
    copied, pieces = memory.scratch(g.shape), (groups, count // together, together * features)
    each = memory.scratch((*pieces[:2], view.shape[2], pieces[2]))
    total = memory.scratch((groups, view.shape[2], pieces[2]))
    parts = total.reshape(groups, taller.size[0], -1, together, features)
    dW = dW.reshape(groups, height, -1, features)
    own = [parts[:, p : p + height, :, p] for p in range(together)]
    return [
        (copied.__setitem__, (..., g)),
        (np.matmul, (view, copied.reshape(*pieces, columns).swapaxes(2, 3), each)),
        (np.add.reduce, (each, 1, None, total)),
        (np.add, (own[0], own[1], dW)),
        *((np.add, (dW, part, dW)) for part in own[2:]),
    ]
