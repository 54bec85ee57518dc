"""Calls that are not elementwise, as loops in C: one form a `Primitive`, for `jit` and for `to_c`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from funcnet.native import labels, recurrence
from funcnet.native.writing import INDICES, Writer, row_major
from funcnet.tracing.primitive import CONCATENATE, INNER, MATMUL, MAX, RESHAPE, SUM
from funcnet.tracing.primitives import PAD, ZERO
from funcnet.tracing.products import CONTRACT, Term, parsed
from funcnet.tracing.trace import Value


def product(e: Writer, call: Any) -> None:
    """A matrix product: by rows of the right operand where they are contiguous, else by inner products."""
    (a, b), y = call.inputs, call.output
    shape, j, k = (*y.shape, a.shape[-1]), y.ndim - 1, y.ndim
    *lead, row, column, middle = [*INDICES[: y.ndim + 1]]
    factors = f"{e.element(a, [*lead, row, middle])} * {e.element(b, [*lead, middle, column])}"
    target = e.element(y, [*lead, row, column])
    if e.strides(b)[-1] == 1 and y.shape[-1] > 1:
        with e.each(shape, range(j)):
            e.loops(shape, [j], [f"{target} = 0;"])
            e.loops(shape, [k, j], [f"{target} += {factors};"], "")
    else:
        total(e, shape, range(k), [k], factors, target)


def contraction(e: Writer, call: Any) -> None:
    """A sum of products for each element, each letter an index."""
    spec, (a, b) = parsed(call.attributes["subscripts"]), call.inputs
    lengths = spec.lengths(a.shape, b.shape, call.attributes["heads"])
    names = dict(zip(lengths, INDICES, strict=False))
    places = {letter: place for place, letter in enumerate(lengths)}

    def at(value: Value, term: Term) -> str:
        return e.element(value, [beside(letters, lengths, names) for letters in term.axes])

    kept, summed = ([places[q] for q in letters] for letters in (spec.output.letters, spec.summed))
    factors = f"{at(a, spec.left)} * {at(b, spec.right)}"
    total(e, [*lengths.values()], kept, summed, factors, at(call.output, spec.output))


def beside(letters: str, lengths: dict[str, int], names: dict[str, str]) -> str:
    """The index along an axis of which each part has an index of its own."""
    if len(letters) == 1:
        return names[letters]
    outer, inner = letters[0], letters[1]
    terms = [f"{lengths[inner]} * {names[outer]}"] * (lengths[outer] != 1) + [names[inner]] * (lengths[inner] != 1)
    return f"({' + '.join(terms) or '0'})"


def total(
    e: Writer, shape: Sequence[int], kept: Sequence[int], summed: Sequence[int], term: str, target: str, hint: str = ""
) -> None:
    """A sum over some axes for each element along others."""
    with e.each(shape, kept, block=True):
        e.put("T s = 0;")
        e.loops(shape, summed, [f"s += {term};"], hint)
        e.put(f"{target} = s;")


def inner(e: Writer, call: Any) -> None:
    """The sum of the products of all elements."""
    a, b = call.inputs
    indices = INDICES[: a.ndim]
    factors = f"{e.element(a, indices)} * {e.element(b, indices)}"
    total(e, a.shape, (), e.storage_order(a), factors, e.element(call.output, ()), "FN_SUM(s)")


def reduction(e: Writer, call: Any) -> None:
    """A sum, or the largest element, along axes."""
    (x,), axes = call.inputs, call.attributes["axes"]
    indices, order = INDICES[: x.ndim], e.storage_order(x)
    kept, reduced = [axis for axis in order if axis not in axes], [axis for axis in order if axis in axes]
    target, source = e.element(call.output, [indices[axis] for axis in sorted(kept)]), e.element(x, indices)
    is_max = call.primitive is MAX
    start, line = "0", "{0} += {1};"
    if is_max:
        start, line = "-INFINITY", f"{{0}} = {e.function('maximum')}({{0}}, {{1}});"
    if not kept or order[-1] in axes:
        with e.each(x.shape, kept, block=True):
            e.put(f"T s = {start};")
            e.loops(x.shape, reduced, [line.format("s", source)], "" if is_max else "FN_SUM(s)")
            e.put(f"{target} = s;")
    else:
        e.loops(x.shape, kept, [f"{target} = {start};"])
        e.loops(x.shape, [*kept[:-1], *reduced, kept[-1]], [line.format(target, source)])


def concatenation(e: Writer, call: Any) -> None:
    """Values joined along an axis."""
    start, axis = 0, call.attributes["axis"]
    for x in call.inputs:
        index = [slice(None)] * x.ndim
        index[axis] = slice(start, start + x.shape[axis])
        copy(e, x, call.output[tuple(index)])
        start += x.shape[axis]


def padding(e: Writer, call: Any) -> None:
    """A value, and zeros around it."""
    zeros(e, call)
    copy(e, call.inputs[0], call.output[call.attributes["index"]])


def copy(e: Writer, x: Value, there: Value) -> None:
    """Copy a value to the place of another one of its shape."""
    e.parts.append(there)
    indices = INDICES[: x.ndim]
    e.loops(x.shape, e.storage_order(x), [f"{e.element(there, indices)} = {e.element(x, indices)};"])


def zeros(e: Writer, call: Any) -> None:
    """Zeros."""
    y = call.output
    e.loops(y.shape, e.storage_order(y), [f"{e.element(y, INDICES[: y.ndim])} = 0;"])


def reshaping(e: Writer, call: Any) -> None:
    """The elements in row-major order under another shape: loops over common parts of both, where there are any."""
    (x,), y = call.inputs, call.output
    parts = common_parts(x.shape, y.shape) if x.elements else None
    if parts is not None and len(parts[0]) <= len(INDICES):
        lengths, of_x, of_y = parts
        to, source = (steps_along(e.strides(v), own, lengths) for v, own in ((y, of_y), (x, of_x)))
        order = sorted(range(len(lengths)), key=lambda i: -to[i])
        indices = INDICES[: len(lengths)]
        e.loops(lengths, order, [f"{e.at(y, to, indices)} = {e.at(x, source, indices)};"])
        return
    indices = INDICES[: x.ndim]
    there = [f"(at / {prod(y.shape[axis + 1 :])} % {n})" for axis, n in enumerate(y.shape)]
    body = [f"const long at = {row_major(x.shape, indices)};", f"{e.element(y, there)} = {e.element(x, indices)};"]
    e.loops(x.shape, range(x.ndim), body, "")


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


def steps_along(strides: Sequence[int], own: Sequence[int], lengths: Sequence[int]) -> list[int]:
    """The strides along parts of axes, where `own` says of which axis each is a part."""
    inner = [
        prod(n for n, axis in zip(lengths[i + 1 :], own[i + 1 :], strict=True) if axis == own[i])
        for i in range(len(own))
    ]
    return [strides[axis] * n for axis, n in zip(own, inner, strict=True)]


FORMS: dict[str, Callable[[Writer, Any], None]] = {
    MATMUL.name: product,
    CONTRACT.name: contraction,
    INNER.name: inner,
    SUM.name: reduction,
    MAX.name: reduction,
    CONCATENATE.name: concatenation,
    PAD.name: padding,
    RESHAPE.name: reshaping,
    ZERO.name: zeros,
    **labels.FORMS,
    **recurrence.FORMS,
}
