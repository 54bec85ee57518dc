"""Calls that are no elementwise ones as loops in C: one rule a `Primitive`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from funcnet.exports.c import images
from funcnet.exports.c.recurrence import in_file
from funcnet.exports.c.writer import INDICES, Writer, row_major
from funcnet.exports.described import refusal
from funcnet.native import labels, recurrence
from funcnet.tracing.products import Term, parsed
from funcnet.tracing.trace import Call, Value


def write_call(w: Writer, call: Call) -> None:
    """The loops of one call. ExportError where there is no rule for it."""
    rule = (RULES | images.RULES).get(call.primitive.name)
    if rule is None:
        raise refusal("to_c", call, "C")
    rule(w, call)


def _clear(w: Writer, value: Value, number: str = "0") -> None:
    """Fill a value with one number."""
    indices = INDICES[: value.ndim]
    w.around(value.shape, indices, lambda: w.put(f"{w.element(value, indices)} = {number};"))


def _matmul(w: Writer, call: Call) -> None:
    """By rows of the right operand where these lie one behind the other, else by inner products."""
    a, b = call.inputs
    y = call.output
    *lead, i, j = INDICES[: y.ndim]
    k, length = INDICES[y.ndim], a.shape[-1]
    rows, columns = y.shape[-2:]

    def product(target: str) -> str:
        return f"{target} += {w.element(a, [*lead, i, k])} * {w.element(b, [*lead, k, j])};"

    def by_rows() -> None:
        w.around((columns,), (j,), lambda: w.put(f"{w.element(y, [*lead, i, j])} = 0;"))
        w.around((length, columns), (k, j), lambda: w.put(product(w.element(y, [*lead, i, j]))))

    def inner() -> None:
        w.put(f"{w.T} s = 0;")
        w.around((length,), (k,), lambda: w.put(product("s")))
        w.put(f"{w.element(y, [*lead, i, j])} = s;")

    if w.program.where(b).strides[-1] == 1 and columns > 1:
        w.around((*y.shape[:-2], rows), (*lead, i), by_rows)
    else:
        w.around((*y.shape[:-2], rows, columns), (*lead, i, j), inner, block=True)


def _contract(w: Writer, call: Call) -> None:
    """A sum of products for each element, each letter an index."""
    spec, heads = parsed(call.attributes["subscripts"]), call.attributes["heads"]
    a, b = call.inputs
    lengths = spec.lengths(a.shape, b.shape, heads)
    names = dict(zip(lengths, INDICES, strict=False))

    def at(value: Value, term: Term) -> str:
        return w.element(value, [_beside(letters, lengths, names) for letters in term.axes])

    def total() -> None:
        w.put(f"{w.T} s = 0;")
        product = f"s += {at(a, spec.left)} * {at(b, spec.right)};"
        w.around([lengths[q] for q in spec.summed], [names[q] for q in spec.summed], lambda: w.put(product))
        w.put(f"{at(call.output, spec.output)} = s;")

    to = spec.output.letters
    w.around([lengths[q] for q in to], [names[q] for q in to], total, block=True)


def _beside(letters: str, lengths: dict[str, int], names: dict[str, str]) -> str:
    """The index along an axis of which each part has an index of its own."""
    if len(letters) == 1:
        return names[letters]
    outer, inner = letters[0], letters[1]
    terms = [f"{lengths[inner]} * {names[outer]}"] * (lengths[outer] != 1) + [names[inner]] * (lengths[inner] != 1)
    return f"({' + '.join(terms) or '0'})"


def _inner(w: Writer, call: Call) -> None:
    a, b = call.inputs
    indices = INDICES[: a.ndim]
    _clear(w, call.output)
    w.around(
        a.shape,
        indices,
        lambda: w.put(f"{w.element(call.output, [])} += {w.element(a, indices)} * {w.element(b, indices)};"),
    )


def _sum(w: Writer, call: Call) -> None:
    _reduce(w, call, "0", lambda target, x: f"{target} += {x};")


def _max(w: Writer, call: Call) -> None:
    name = w.helper("maximum")
    _reduce(w, call, "-INFINITY", lambda target, x: f"{target} = {name}({target}, {x});")


def _reduce(w: Writer, call: Call, start: str, line: Callable[[str, str], str]) -> None:
    (x,), axes = call.inputs, call.attributes["axes"]
    indices = INDICES[: x.ndim]
    kept = [i for axis, i in enumerate(indices) if axis not in axes]
    _clear(w, call.output, start)
    w.around(x.shape, indices, lambda: w.put(line(w.element(call.output, kept), w.element(x, indices))))


def _concatenate(w: Writer, call: Call) -> None:
    start, axis = 0, call.attributes["axis"]
    for x in call.inputs:
        place = [slice(None)] * x.ndim
        place[axis] = slice(start, start + x.shape[axis])
        _copy(w, x, call.output[tuple(place)])
        start += x.shape[axis]


def _copy(w: Writer, x: Value, there: Value) -> None:
    """Copy a value to where another one of its shape is."""
    indices = INDICES[: x.ndim]
    w.around(x.shape, indices, lambda: w.put(f"{w.element(there, indices)} = {w.element(x, indices)};"))


def _reshape(w: Writer, call: Call) -> None:
    (x,) = call.inputs
    indices = INDICES[: x.ndim]
    place = row_major(x.shape, indices)
    w.around(x.shape, indices, lambda: w.put(f"{w.array(call.output)}[{place}] = {w.element(x, indices)};"))


def _pad(w: Writer, call: Call) -> None:
    _clear(w, call.output)
    _copy(w, call.inputs[0], call.output[call.attributes["index"]])


def _zero(w: Writer, call: Call) -> None:
    _clear(w, call.output)


def _labels(w: Writer, call: Call) -> None:
    """Labels, weights and masks, as `jit` writes them."""
    start = len(w.lines)
    labels.FORMS[call.primitive.name](w, call)
    w.lines[start:] = [re.sub(r"\bT\b", w.T, line) for line in w.lines[start:]]


def _recurrent(w: Writer, call: Call) -> None:
    """The steps of a recurrence over time, by functions of the file's own."""
    start = len(w.lines)
    recurrence.FORMS[call.primitive.name](w, call)
    w.cells += w.lines[start:]
    w.lines[start:] = [in_file(line, w.name) for line in w.lines[start:]]


RULES: dict[str, Callable[[Writer, Any], None]] = {
    "matmul": _matmul,
    "contract": _contract,
    "inner": _inner,
    "add.reduce": _sum,
    "maximum.reduce": _max,
    "concatenate": _concatenate,
    "reshape": _reshape,
    "pad": _pad,
    "zero": _zero,
    **dict.fromkeys(labels.FORMS, _labels),
    **dict.fromkeys(recurrence.FORMS, _recurrent),
}
