"""The calls of a plan that share one loop: elementwise calls of one shape, and the sums over it.

A call is put into the first group of its shape that comes no earlier than its operands. A call whose only reader waits
for a later value is made with that reader, so that its result need not be stored.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from funcnet.compiler.plan import Plan
from funcnet.native.expressions import has_expression
from funcnet.tracing.cells import GRU, LSTM, RNN
from funcnet.tracing.masks import LIMITS
from funcnet.tracing.primitive import INNER, SUM
from funcnet.tracing.primitives import GATHER, PICK, TOTAL_WEIGHT
from funcnet.tracing.trace import Call, Value

LONGEST = 1 << 12  # numbers of a constant array that are written into the text of a loop
CHECKED = (PICK, GATHER, TOTAL_WEIGHT, LIMITS, RNN, LSTM, GRU)  # the operands that they check are kept for the error


class Group:
    """Elementwise calls of one shape and the sums over it, or, where it is not fused, a single other call."""

    def __init__(self, shape: tuple[int, ...], fused: bool) -> None:
        self.shape = shape
        self.fused = fused
        self.calls: list[Call] = []
        self.sums: list[Call] = []

    def all(self) -> list[Call]:
        """All calls, the sums last."""
        return self.calls + self.sums


def is_fused(call: Call) -> bool:
    """Whether the call has an expression in C, and its constant arrays are short."""
    return (
        has_expression(call.primitive.name)
        and sum(np.size(x) for x in call.inputs if not isinstance(x, Value)) <= LONGEST
    )


def is_whole_sum(call: Call) -> bool:
    """Whether the call sums over all elements of its operands."""
    whole = call.primitive is INNER or (call.primitive is SUM and call.output.shape == ())
    return whole and call.operands[0].ndim > 0 and all(v.base is None for v in call.operands)


def checked(call: Call) -> list[Value]:
    """The labels, lengths, masks or weights that the call checks."""
    if call.primitive not in CHECKED:
        return []
    return [v for v in call.operands if v.dtype.kind in "iub" or call.primitive is TOTAL_WEIGHT]


def made(call: Call) -> list[Value]:
    """The outputs that need memory: those that are read, and the states that the steps of recurrences keep."""
    every = not call.primitive.multi_output or "backward" not in call.primitive.name
    return [y for i, y in enumerate(call.outputs) if every or y.use_count or not i]


class Grouping:
    """The groups of a plan, in order.

    group_of: the number of the group that makes a value, by identity.
    stored: the values that other groups, or the outside, read from memory.
    """

    def __init__(self, plan: Plan) -> None:
        self.groups: list[Group] = []
        self.group_of: dict[int, int] = {}
        self._ready: dict[int, int] = {}
        for i, call in enumerate(plan.calls):
            self._ready.update((id(y), self._latest(call) if is_fused(call) else i) for y in call.outputs)
        self._readers: dict[int, list[Call]] = {}
        for call in plan.calls:
            for value in call.operands:
                self._readers.setdefault(id(value.root), []).append(call)
        self._fixed: set[int] = {id(y.root) for y in plan.outputs}
        self._fixed |= {id(y) for call in plan.calls for y in call.outputs if plan.is_gradient(y)}
        self._waiting: dict[int, Call] = {}
        for call in plan.calls:
            if self._can_wait(call):
                self._waiting[id(call.output)] = call
            else:
                self._place(call)
        self.stored: set[int] = self._find_stored()
        self._kept = {id(v.root) for call in plan.calls for v in checked(call)}
        self._last: dict[int, int] = {
            id(v.root): i for i, group in enumerate(self.groups) for call in group.all() for v in call.operands
        }

    def _can_wait(self, call: Call) -> bool:
        """Whether a fused call has one reader, in whose loop it can be made, which waits for later values."""
        if not is_fused(call):
            return False
        value, readers = call.output, self._readers.get(id(call.output), [])
        if id(value) in self._fixed or len(readers) != 1:
            return False
        (reader,) = readers
        if not is_fused(reader) or reader.output.shape != value.shape or any(v.base is value for v in reader.operands):
            return False
        return self._can_wait(reader) or self._latest(reader, value) > self._latest(call)

    def _latest(self, call: Call, but: Value | None = None) -> int:
        """The place of the last call that a loop for this one comes after."""
        return max((self._ready.get(id(v.root), -1) for v in call.operands if v.root is not but), default=-1)

    def _waited(self, call: Call) -> Iterator[Call]:
        """The calls that wait for this one, each behind its operands."""
        for value in call.operands:
            waiting = self._waiting.pop(id(value.root), None)
            if waiting is not None:
                yield from self._waited(waiting)
                yield waiting

    def _place(self, call: Call) -> None:
        """Put the call, and those that waited for it, into a group."""
        whole_sum = is_whole_sum(call)
        shape = call.operands[0].shape if whole_sum else call.outputs[0].shape
        calls = [*self._waited(call), call]
        after = max((self.group_of.get(id(v.root), -1) for c in calls for v in c.operands), default=-1)
        for number in range(max(after, 0), len(self.groups) if whole_sum or is_fused(call) else 0):
            if all(self._fits(c, shape, number) for c in calls):
                break
        else:
            number = len(self.groups)
            self.groups.append(Group(shape, whole_sum or is_fused(call)))
        group = self.groups[number]
        (group.sums if whole_sum else group.calls).extend(calls)
        self.group_of.update((id(y), number) for c in calls for y in c.outputs)

    def _fits(self, call: Call, shape: tuple[int, ...], number: int) -> bool:
        """Whether the group's loop can make the call: it reads values of that loop at the same element."""
        group = self.groups[number]
        if not group.fused or group.shape != shape:
            return False
        own = [v for v in call.operands if self.group_of.get(id(v.root)) == number]
        return all(v.base is None and v.shape == shape for v in own)

    def _find_stored(self) -> set[int]:
        stored = {*self._fixed}
        for number, group in enumerate(self.groups):
            for call in group.all():
                stored |= {id(v.root) for v in call.operands if self.group_of.get(id(v.root)) != number}
                if call.primitive is SUM or not group.fused or call in group.sums:
                    stored.update(map(id, made(call)))
        return stored

    def stored_values(self, plan: Plan) -> list[Value]:
        """The inputs and results that are in memory."""
        results = [y for group in self.groups for call in group.all() for y in call.outputs]
        return [v for v in (*plan.inputs, *results) if id(v) in self.stored and v.base is None]

    def lives(self, value: Value) -> tuple[int, int]:
        """The first and the last group for which a stored value has to be in memory."""
        first = self.group_of.get(id(value), -1)
        if id(value) in self._kept:
            return first, len(self.groups)
        return first, max(first, self._last.get(id(value), -1))
