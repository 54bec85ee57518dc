"""One function of params for many members in one call of native code."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

CHUNK = 256  # members of one call, after which an interrupt is seen


def members_text(count: int, gradient_count: int, gradient: int, arrays: int) -> str:
    """The C function: each member's params are copied in and its gradient out, and the arrays move on."""
    return f"""void funcnet_members(void **fn_table, long members, const T *rows, T *gradients, const long *moves) {{
    T *const p = (T *)fn_table[0];
    const T *const g = (const T *)((char *)fn_table[0] + {gradient});
    for (long m = 0; m < members; m++) {{
        for (long i = 0; i < {count}; i++) p[i] = rows[m * {count} + i];
        funcnet_run0(fn_table);
        for (long i = 0; i < {gradient_count}; i++) gradients[m * {count} + i] = g[i];
        for (long i = 0; i < {arrays}; i++) fn_table[i + 1] = (char *)fn_table[i + 1] + moves[i];
    }}
}}"""


def run_members(space: Any, rows: Any, arrays: Sequence[Any], mapped: Sequence[bool]) -> tuple[list[Any], Any]:
    """(outputs, gradients) of every member: rows of params, arrays with an axis of members if mapped."""
    members = len(rows)
    given = [np.ascontiguousarray(x, inside.dtype) for x, inside in zip(arrays, space.inside, strict=True)]
    outputs = [np.empty((members, *y.shape), y.dtype) for y in space.outputs]
    gradients = np.empty_like(rows)
    moving = [x[0].nbytes if moves else 0 for x, moves in zip(given, mapped, strict=True)]
    moves = (ctypes.c_long * (len(given) + len(outputs)))(*moving, *(y[0].nbytes for y in outputs))
    addresses = [x.ctypes.data for x in (space.slab, *given, *outputs)]
    table = (ctypes.c_void_p * len(addresses))(*addresses)
    run = space.owner.loaded.funcnet_members
    run.restype, run.argtypes = None, [ctypes.c_void_p, ctypes.c_long, *[ctypes.c_void_p] * 3]
    for start in range(0, members, CHUNK):
        part, into = rows[start : start + CHUNK], gradients[start : start + CHUNK]
        run(ctypes.addressof(table), len(part), part.ctypes.data, into.ctypes.data, ctypes.addressof(moves))
    return outputs, gradients
