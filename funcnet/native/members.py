"""One function of params for many members in one call of native code."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcnet.native.table import FIRST, NEW, PARAMS, SLAB, Table, in_pieces

CHUNK = 256  # members of one call, after which an interrupt is seen


def members_text(count: int, gradient_count: int, gradient: int, arrays: int) -> str:
    """The C function: each member's params are a row, its gradient goes to a row, and the arrays move on."""
    moved = [f"FN_ARRAY({FIRST + i}) + m * moves[{i}]" for i in range(arrays)]
    run = ", ".join(["fn_slab", f"(char *)((T *)FN_ARRAY({PARAMS}) + m * {count})", *moved])
    return f"""void funcnet_members(void *const *fn_table, long m, long stop, const long *moves) {{
    char *const fn_slab = FN_ARRAY({SLAB});
    const T *const g = (const T *)(fn_slab + {gradient});
    T *const gradients = (T *)FN_ARRAY({NEW});
    for (; m < stop; m++) {{
        fn_run0({run});
        for (long i = 0; i < {gradient_count}; i++) gradients[m * {count} + i] = g[i];
    }}
}}"""


def run_members(space: Any, rows: Any, arrays: Sequence[Any], mapped: Sequence[bool]) -> tuple[list[Any], Any]:
    """(outputs, gradients) of every member: rows of params, arrays with an axis of members if mapped."""
    members = len(rows)
    axes = [x if moves else x[None] for x, moves in zip(arrays, mapped, strict=True)]
    given = [in_pieces(x, inside.dtype) for x, inside in zip(axes, space.inside, strict=True)]
    outputs = [np.empty((members, *y.shape), y.dtype) for y in space.outputs]
    gradients = np.empty_like(rows)
    moving = [x.strides[0] if moves else 0 for x, moves in zip(given, mapped, strict=True)]
    moves = (ctypes.c_long * (len(given) + len(outputs)))(*moving, *(y[0].nbytes for y in outputs))
    table = Table([space.slab, rows, gradients, *given, *outputs])
    run = space.shared_library.function("funcnet_members", *[ctypes.c_long] * 2, ctypes.c_void_p)
    for start in range(0, members, CHUNK):
        run(table.address, start, min(start + CHUNK, members), ctypes.addressof(moves))
    return outputs, gradients
