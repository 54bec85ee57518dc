"""Calls that read labels, or check weights or masks, as C for `jit` and `to_c`: one form a `Primitive`.

C cannot raise an error: where it finds a wrong label that of `jit` sets the status and goes on with label 0. The call
of NumPy is then made on the same labels, and raises the error. That of `to_c` leaves the function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from funcnet.native.writing import INDICES
from funcnet.tracing.masks import LIMITS
from funcnet.tracing.primitives import GATHER, KNOWN_LABELS, LABELLED, ONE_HOT, PICK, SCATTER_ADD, TOTAL_WEIGHT
from funcnet.tracing.trace import Call, Value


class Loops(Protocol):
    """Where loops in C go, and how values are called there."""

    suffix: str

    def put(self, *lines: str) -> None:
        """Lines of C."""
        ...

    def element(self, value: Value, indices: Sequence[str]) -> str:
        """The element of a value at these indices."""
        ...

    def loops(self, shape: Sequence[int], order: Sequence[int], body: Sequence[str], hint: str = "FN_IVDEP") -> None:
        """Loops over the axes in this order, with a hint for the innermost one."""
        ...

    def storage_order(self, value: Value) -> Sequence[int]:
        """The axes of a value, the one of the longest stride first."""
        ...

    def refusal(self, call: Call, instead: str) -> str:
        """A statement for where a call reads what is wrong: leave, or set a status and do something instead."""
        ...


def checked_label(e: Loops, call: Call, label: str, count: int) -> list[str]:
    """Lines that read a label into s."""
    return [f"long s = (long){label};", f"if (s < 0 || s >= {count}) {e.refusal(call, 's = 0;')}"]


def pick(e: Loops, call: Any) -> bool:
    """The element of each row that its label names."""
    x, labels = call.inputs
    rows = INDICES[: labels.ndim]
    lines = checked_label(e, call, e.element(labels, rows), x.shape[-1])
    lines.append(f"{e.element(call.output, rows)} = {e.element(x, [*rows, 's'])};")
    e.loops(labels.shape, range(labels.ndim), lines, "")
    return True


def one_hot(e: Loops, call: Any) -> bool:
    """A 1 where the label says; `pick` has checked the labels."""
    (labels,), y = call.inputs, call.output
    indices = INDICES[: y.ndim]
    last = indices[-1] if y.shape[-1] > 1 else "0"
    line = f"{e.element(y, indices)} = (T)({e.element(labels, indices[:-1])} == {last});"
    e.loops(y.shape, e.storage_order(y), [line])
    return True


def labelled(e: Loops, call: Any) -> bool:
    """1 for each label but one."""
    (labels,), y = call.inputs, call.output
    indices = INDICES[: y.ndim]
    line = f"{e.element(y, indices)} = (T)({e.element(labels, indices)} != {call.attributes['ignored']});"
    e.loops(y.shape, e.storage_order(y), [line])
    return True


def limits(e: Loops, call: Any) -> bool:
    """Infinity where the mask is true, else minus infinity."""
    (mask,), y = call.inputs, call.output
    indices = INDICES[: y.ndim]
    if mask.elements:
        e.put("{", "int any = 0;")
        e.loops(mask.shape, e.storage_order(mask), [f"any |= {e.element(mask, indices)} != 0;"], "")
        e.put(f"if (!any) {e.refusal(call, '')}", "}")
    line = f"{e.element(y, indices)} = {e.element(mask, indices)} != 0 ? INFINITY : -INFINITY;"
    e.loops(y.shape, e.storage_order(y), [line])
    return True


def known_labels(e: Loops, call: Any) -> bool:
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


def total_weight(e: Loops, call: Any) -> bool:
    """The sum of all weights; infinity where all are 0."""
    (w,), y = call.inputs, call.output
    indices = INDICES[: w.ndim]
    e.put("{", "T sum = 0, size = 0;")
    element = e.element(w, indices)
    size = f"fabs{e.suffix}({element})"
    e.loops(w.shape, e.storage_order(w), [f"sum += {element};", f"size += {size};"], "FN_SUM(sum, size)")
    e.put(f"if (sum == 0 && size != 0) {e.refusal(call, '')}", f"{e.element(y, ())} = sum == 0 ? INFINITY : sum;", "}")
    return True


def gather(e: Loops, call: Any) -> bool:
    """The rows of a table that integers name."""
    table, index = call.inputs
    rows = INDICES[: index.ndim]
    last = INDICES[index.ndim]
    lines = checked_label(e, call, e.element(index, rows), table.shape[0])
    target, source = e.element(call.output, [*rows, last]), e.element(table, ["s", last])
    lines.append(f"for (long {last} = 0; {last} < {table.shape[1]}; {last}++) {target} = {source};")
    e.loops(index.shape, range(index.ndim), lines, "")
    return True


def scatter_add(e: Loops, call: Any) -> bool:
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


FORMS: dict[str, Callable[[Loops, Any], bool]] = {
    PICK.name: pick,
    ONE_HOT.name: one_hot,
    LABELLED.name: labelled,
    LIMITS.name: limits,
    KNOWN_LABELS.name: known_labels,
    TOTAL_WEIGHT.name: total_weight,
    GATHER.name: gather,
    SCATTER_ADD.name: scatter_add,
}
