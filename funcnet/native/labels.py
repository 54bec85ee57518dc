"""Calls that read labels, or check weights or masks, as C: one form a `Primitive`.

C cannot raise an error: where it finds a wrong label it sets the status and goes on with label 0. NumPy's own call is
then made on the same labels, and raises the error.
"""

from __future__ import annotations

from typing import Any

from funcnet.native.writing import INDICES, Writer
from funcnet.tracing.trace import Call


def checked_label(e: Writer, call: Call, label: str, count: int) -> list[str]:
    """Lines that read a label into s."""
    return [f"long s = (long){label};", f"if (s < 0 || s >= {count}) {e.refusal(call, 's = 0;')}"]


def pick(e: Writer, call: Any) -> bool:
    """The element of each row that its label names."""
    x, labels = call.inputs
    rows = INDICES[: labels.ndim]
    lines = checked_label(e, call, e.element(labels, rows), x.shape[-1])
    lines.append(f"{e.element(call.output, rows)} = {e.element(x, [*rows, 's'])};")
    e.loops(labels.shape, range(labels.ndim), lines, "")
    return True


def one_hot(e: Writer, call: Any) -> bool:
    """A 1 where the label says; `pick` has checked the labels."""
    (labels,), y = call.inputs, call.output
    indices = INDICES[: y.ndim]
    last = indices[-1] if y.shape[-1] > 1 else "0"
    line = f"{e.element(y, indices)} = (T)({e.element(labels, indices[:-1])} == {last});"
    e.loops(y.shape, e.storage_order(y), [line])
    return True


def labelled(e: Writer, call: Any) -> bool:
    """1 for each label but one."""
    (labels,), y = call.inputs, call.output
    indices = INDICES[: y.ndim]
    line = f"{e.element(y, indices)} = (T)({e.element(labels, indices)} != {call.attributes['ignored']});"
    e.loops(y.shape, e.storage_order(y), [line])
    return True


def limits(e: Writer, call: Any) -> bool:
    """Infinity where the mask is true, else minus infinity."""
    (mask,), y = call.inputs, call.output
    indices = INDICES[: y.ndim]
    if mask.elements:
        e.checks.append(call)
        e.put("{ int any = 0;")
        e.loops(mask.shape, e.storage_order(mask), [f"any |= {e.element(mask, indices)} != 0;"], "")
        e.put(f"if (!any) *fn_status = {e.code}; }}")
    line = f"{e.element(y, indices)} = {e.element(mask, indices)} != 0 ? INFINITY : -INFINITY;"
    e.loops(y.shape, e.storage_order(y), [line])
    return True


def known_labels(e: Writer, call: Any) -> bool:
    """The labels, but 0 for a label of weight 0 that is no class."""
    (labels, w), y = call.inputs, call.output
    indices = INDICES[: y.ndim]
    lines = [
        f"const long s = (long){e.element(labels, indices)};",
        f"const int known = ({e.element(w, indices)} != 0) | ((s >= 0) & (s < {call.attributes['classes']}));",
        f"{e.element(y, indices)} = known ? s : 0;",
    ]
    e.loops(y.shape, e.storage_order(y), lines)
    return True


def total_weight(e: Writer, call: Any) -> bool:
    """The sum of all weights; infinity where all are 0."""
    (w,), y = call.inputs, call.output
    indices = INDICES[: w.ndim]
    e.checks.append(call)
    e.put("{ T sum = 0, size = 0;")
    element = e.element(w, indices)
    size = f"fabs{e.suffix}({element})"
    e.loops(w.shape, e.storage_order(w), [f"sum += {element};", f"size += {size};"], "FN_SUM(sum, size)")
    e.put(f"if (sum == 0 && size != 0) *fn_status = {e.code};", f"{e.element(y, ())} = sum == 0 ? INFINITY : sum; }}")
    return True


def gather(e: Writer, call: Any) -> bool:
    """The rows of a table that integers name."""
    table, index = call.inputs
    rows = INDICES[: index.ndim]
    last = INDICES[index.ndim]
    lines = checked_label(e, call, e.element(index, rows), table.shape[0])
    target, source = e.element(call.output, [*rows, last]), e.element(table, ["s", last])
    lines.append(f"for (long {last} = 0; {last} < {table.shape[1]}; {last}++) {target} = {source};")
    e.loops(index.shape, range(index.ndim), lines, "")
    return True


def scatter_add(e: Writer, call: Any) -> bool:
    """Each row of g added up where its integer says; `gather` has checked the integers."""
    g, index = call.inputs
    y = call.output
    rows, last = INDICES[: index.ndim], INDICES[index.ndim]
    e.loops(y.shape, e.storage_order(y), [f"{e.element(y, INDICES[: y.ndim])} = 0;"])
    target, source = e.element(y, ["s", last]), e.element(g, [*rows, last])
    lines = [
        f"const long s = (long){e.element(index, rows)};",
        f"if (s >= 0 && s < {y.shape[0]})",
        f"    for (long {last} = 0; {last} < {y.shape[1]}; {last}++) {target} += {source};",
    ]
    e.loops(index.shape, range(index.ndim), lines, "")
    return True
