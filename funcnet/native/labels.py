"""Calls that read labels, or check weights or masks, as C for `jit` and `to_c`: one form a `Primitive`.

C cannot raise an error. For a wrong label the code of `jit` sets the status and continues with label 0; NumPy then
makes the call on the same labels, and raises the error. The code of `to_c` returns from the function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funcnet.native.writing import INDICES, Writer
from funcnet.tracing.masks import LIMITS
from funcnet.tracing.primitives import GATHER, KNOWN_LABELS, LABELLED, ONE_HOT, PICK, SCATTER_ADD, TOTAL_WEIGHT
from funcnet.tracing.trace import Call


def checked_label(e: Writer, call: Call, label: str, count: int) -> list[str]:
    """Lines that read a label into s."""
    return [f"long s = (long){label};", f"if (s < 0 || s >= {count}) {e.refusal(call, 's = 0;')}"]


def pick(e: Writer, call: Any) -> None:
    """The element of each row that its label names."""
    x, labels = call.inputs
    rows = INDICES[: labels.ndim]
    lines = checked_label(e, call, e.element(labels, rows), x.shape[-1])
    lines.append(f"{e.element(call.output, rows)} = {e.element(x, [*rows, 's'])};")
    e.loops(labels.shape, range(labels.ndim), lines, "")


def one_hot(e: Writer, call: Any) -> None:
    """A 1 at the label; `pick` has checked the labels."""
    (labels,), y = call.inputs, call.output
    indices = INDICES[: y.ndim]
    last = indices[-1] if y.shape[-1] > 1 else "0"
    line = f"{e.element(y, indices)} = (T)({e.element(labels, indices[:-1])} == {last});"
    e.loops(y.shape, e.storage_order(y), [line])


def labelled(e: Writer, call: Any) -> None:
    """1 for each label but one."""
    (labels,), y = call.inputs, call.output
    indices = INDICES[: y.ndim]
    line = f"{e.element(y, indices)} = (T)({e.element(labels, indices)} != {call.attributes['ignored']});"
    e.loops(y.shape, e.storage_order(y), [line])


def limits(e: Writer, call: Any) -> None:
    """Infinity where the mask is true, else minus infinity."""
    (mask,), y = call.inputs, call.output
    indices = INDICES[: y.ndim]
    if mask.elements:
        e.put("{", "int any = 0;")
        e.loops(mask.shape, e.storage_order(mask), [f"any |= {e.element(mask, indices)} != 0;"], "")
        e.put(f"if (!any) {e.refusal(call, '')}", "}")
    line = f"{e.element(y, indices)} = {e.element(mask, indices)} != 0 ? INFINITY : -INFINITY;"
    e.loops(y.shape, e.storage_order(y), [line])


def known_labels(e: Writer, call: Any) -> None:
    """The labels, but 0 for a label of weight 0 that is no class."""
    (labels, w), y = call.inputs, call.output
    indices = INDICES[: y.ndim]
    lines = [
        f"const long s = (long){e.element(labels, indices)};",
        f"const int known = ({e.element(w, indices)} != 0) | ((s >= 0) & (s < {call.attributes['classes']}));",
        f"{e.element(y, indices)} = known ? s : 0;",
    ]
    e.loops(y.shape, e.storage_order(y), lines)


def total_weight(e: Writer, call: Any) -> None:
    """The sum of all weights; infinity where all are 0."""
    (w,), y = call.inputs, call.output
    indices = INDICES[: w.ndim]
    e.put("{", "T sum = 0, size = 0;")
    element = e.element(w, indices)
    size = f"fabs{e.suffix}({element})"
    e.loops(w.shape, e.storage_order(w), [f"sum += {element};", f"size += {size};"], "FN_SUM(sum, size)")
    e.put(f"if (sum == 0 && size != 0) {e.refusal(call, '')}", f"{e.element(y, ())} = sum == 0 ? INFINITY : sum;", "}")


def gather(e: Writer, call: Any) -> None:
    """The rows of a table that integers name."""
    table, index = call.inputs
    rows = INDICES[: index.ndim]
    last = INDICES[index.ndim]
    lines = checked_label(e, call, e.element(index, rows), table.shape[0])
    target, source = e.element(call.output, [*rows, last]), e.element(table, ["s", last])
    lines.append(f"for (long {last} = 0; {last} < {table.shape[1]}; {last}++) {target} = {source};")
    e.loops(index.shape, range(index.ndim), lines, "")


def scatter_add(e: Writer, call: Any) -> None:
    """Each row of g added to the row that its integer names; `gather` has checked the integers."""
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


FORMS: dict[str, Callable[[Writer, Any], None]] = {
    PICK.name: pick,
    ONE_HOT.name: one_hot,
    LABELLED.name: labelled,
    LIMITS.name: limits,
    KNOWN_LABELS.name: known_labels,
    TOTAL_WEIGHT.name: total_weight,
    GATHER.name: gather,
    SCATTER_ADD.name: scatter_add,
}
