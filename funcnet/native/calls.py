"""Calls that are not elementwise, as C: one form a `Primitive`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from funcnet.native import images, labels, recurrence
from funcnet.native.writing import INDICES, Writer, row_major, tile_rows
from funcnet.tracing.primitive import CONCATENATE, MATMUL, MAX, RESHAPE, SUM
from funcnet.tracing.primitives import ZERO
from funcnet.tracing.trace import Call

FEW, WIDE = 32, 128  # numbers up to which C is as fast as a large library's product


def product(e: Writer, call: Call) -> bool:
    """a b: features by rows, the cotangent of a weight, or, of one row, sums along the weight's rows."""
    a, b = call.inputs
    y = call.output
    if a.ndim != 2 or b.ndim != 2 or y.dtype != e.plan.dtype or by_numpy(call):
        return False
    (pa, (am, ak)), (pb, (bk, bn)), (py, (ym, yn)) = e.pointer(a), e.pointer(b), e.pointer(y)
    (m, k), n = a.shape, b.shape[1]
    given_a, given_b = int(e.plan.is_param(a)), int(e.plan.is_param(b))
    e.scope(call)
    if m == 1 and ak == bk == 1 and (n == 1 or (yn == 1 and bn != 1)):
        e.put(f"fn_inner_rows({pb}, {bn}, {pa}, {py}, 1, {n}, {k});")
    elif n == 1 and ak == bk == ym == 1:
        e.put(f"fn_inner_rows({pa}, {am}, {pb}, {py}, 1, {m}, {k});")
    elif (m == 1 or ym == 1) and (m > 1 or bn != 1) and (am == 1 or m == 1):
        rows = e.placement.form(y)[2] if y.batch_axis == 0 else m
        e.put(f"fn_product({pb}, {bn}, {bk}, {pa}, {ak}, {py}, {yn}, {n}, {k}, {rows}, {tile_rows(n)}, {given_a});")
    elif (n == 1 or yn == 1) and (bn == 1 or n == 1):
        e.put(f"fn_product({pa}, {am}, {ak}, {pb}, {bk}, {py}, {ym}, {m}, {k}, {n}, {tile_rows(m)}, {given_b});")
    elif yn == 1 and bk == 1:
        padded = -(-n // 16) * 16
        e.scratch(padded * k)
        sizes = f"{m}, {k}, {n}, {tile_rows(m)}"
        e.put(f"fn_rows_by_rows({pa}, {am}, {ak}, {pb}, {bn}, fn_turned, {padded}, {py}, {ym}, {sizes});")
    else:
        indices = "ij"
        line = f"s += {e.element(a, 'ik')} * {e.element(b, 'kj')};"
        e.put(f"for (long i = 0; i < {m}; i++) for (long j = 0; j < {n}; j++) {{ T s = 0;")
        e.put(f"for (long k = 0; k < {k}; k++) {line}", f"{e.element(y, indices)} = s; }}")
    return True


def by_numpy(call: Call) -> bool:
    """Whether NumPy's product is the faster one."""
    fewest, middle, _ = sorted((*call.inputs[0].shape, call.output.shape[1]))
    return bool(fewest >= FEW and middle > WIDE)


def reduction(e: Writer, call: Call) -> bool:
    """A sum, or the largest element, along axes."""
    (x,), axes = call.inputs, call.attributes["axes"]
    if x.dtype.kind not in "fb":
        return False
    is_max = call.primitive is MAX
    indices = INDICES[: x.ndim]
    order = e.storage_order(x)
    kept = [axis for axis in order if axis not in axes]
    target = e.element(call.output, [indices[axis] for axis in sorted(kept)])
    source = e.element(x, indices)
    combine = f"fn_maximum{e.suffix}({{0}}, {source})" if is_max else f"{{0}} + {source}"
    first = "-INFINITY" if is_max else "0"
    if order[-1] in axes or not kept:
        inner = [axis for axis in order if axis in axes]
        e.put(*(f"for (long {indices[a]} = 0; {indices[a]} < {x.shape[a]}; {indices[a]}++)" for a in kept))
        e.put("{", f"T s = {first};")
        e.loops(x.shape, inner, [f"s = {combine.format('s')};"], "" if is_max else "FN_SUM(s)")
        e.put(f"{target} = s;", "}")
    else:
        e.loops(x.shape, kept, [f"{target} = {first};"])
        reduced = [axis for axis in order if axis in axes]
        e.loops(x.shape, [*kept[:-1], *reduced, kept[-1]], [f"{target} = {combine.format(target)};"])
    return True


def concatenation(e: Writer, call: Call) -> bool:
    """Values joined along an axis."""
    start, axis = 0, call.attributes["axis"]
    for x in call.inputs:
        index = [slice(None)] * x.ndim
        index[axis] = slice(start, start + x.shape[axis])
        part = call.output[tuple(index)]
        e.parts.append(part)
        indices = INDICES[: x.ndim]
        e.loops(x.shape, e.storage_order(x), [f"{e.element(part, indices)} = {e.element(x, indices)};"])
        start += x.shape[axis]
    return True


def reshaping(e: Writer, call: Call) -> bool:
    """The elements in row-major order under another shape: by axes of which those of both are made, where there are."""
    (x,) = call.inputs
    y = call.output
    parts = common_parts(x.shape, y.shape) if x.elements else None
    if parts is not None and len(parts[0]) <= len(INDICES):
        lengths, of_x, of_y = parts
        to, source = (e.element(v, indices_of(v.ndim, own, lengths)) for v, own in ((y, of_y), (x, of_x)))
        steps = e.pointer(y)[1]
        inner = [
            prod(n for n, axis in zip(lengths[i + 1 :], of_y[i + 1 :], strict=True) if axis == of_y[i])
            for i in range(len(lengths))
        ]
        order = sorted(range(len(lengths)), key=lambda i: -steps[of_y[i]] * inner[i])
        e.loops(lengths, order, [f"{to} = {source};"])
        return True
    indices = INDICES[: x.ndim]
    there = [f"fn_at / {prod(y.shape[axis + 1 :])} % {n}" for axis, n in enumerate(y.shape)]
    body = [
        f"const long fn_at = {row_major(x.shape, indices)};",
        f"{e.element(y, [f'({i})' for i in there])} = {e.element(x, indices)};",
    ]
    e.loops(x.shape, range(x.ndim), body, "")
    return True


def common_parts(a: Sequence[int], b: Sequence[int]) -> tuple[list[int], list[int], list[int]] | None:
    """(lengths of axes, which axis of a each is a part of, and which of b); None where axes of both do not fit so."""
    lengths, of_a, of_b = list[int](), list[int](), list[int]()
    i, j, rest_a, rest_b = len(a), len(b), 1, 1
    while True:
        while rest_a == 1 and i:
            i, rest_a = i - 1, a[i - 1]
        while rest_b == 1 and j:
            j, rest_b = j - 1, b[j - 1]
        length = min(rest_a, rest_b)
        if length == 1:
            return lengths[::-1], of_a[::-1], of_b[::-1]
        if rest_a % length or rest_b % length:
            return None
        rest_a, rest_b = rest_a // length, rest_b // length
        lengths, of_a, of_b = [*lengths, length], [*of_a, i], [*of_b, j]


def indices_of(ndim: int, own: Sequence[int], lengths: Sequence[int]) -> list[str]:
    """The index along each axis, from those along its parts."""
    found = [""] * ndim
    for i, (axis, length) in enumerate(zip(own, lengths, strict=True)):
        found[axis] = f"({found[axis]} * {length} + {INDICES[i]})" if found[axis] else INDICES[i]
    return [index or "0" for index in found]


def zeros(e: Writer, call: Call) -> bool:
    """Zeros."""
    indices = INDICES[: call.output.ndim]
    e.loops(call.output.shape, e.storage_order(call.output), [f"{e.element(call.output, indices)} = 0;"])
    return True


def recurrent(e: Writer, call: Call) -> bool:
    """The steps of a recurrence over time."""
    if not recurrence.is_faster(call):
        return False
    e.scope(call)
    recurrence.FORMS[call.primitive.name](e, call)
    return True


FORMS: dict[str, Callable[[Writer, Any], bool]] = {
    MATMUL.name: product,
    SUM.name: reduction,
    MAX.name: reduction,
    CONCATENATE.name: concatenation,
    RESHAPE.name: reshaping,
    ZERO.name: zeros,
    **labels.FORMS,
    **dict.fromkeys(recurrence.FORMS, recurrent),
    **images.FORMS,
}
