"""A plan as loops: which elementwise calls share one, which values are stored, and where in memory they stand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from funcnet.compiler.plan import Plan, storage_order
from funcnet.tracing.special import NORMAL_CDF
from funcnet.tracing.trace import Call, Value

ALIGNED = 16  # elements: where a stored value may begin


class Group:
    """Elementwise calls of one shape, in one loop, or a single call of any other kind."""

    def __init__(self, call: Call) -> None:
        self.calls: list[Call] = [call]
        self.elementwise: bool = is_elementwise(call)

    def takes(self, call: Call, before: dict[int, Group]) -> bool:
        """Whether the call can be in the same loop: it reads what the loop computes at the very place."""
        if not (self.elementwise and is_elementwise(call) and self.calls[0].output.shape == call.output.shape):
            return False
        return all(before.get(id(v.root)) is not self or is_whole(v, call) for v in call.operands)


class Where(NamedTuple):
    """An array in memory: the value that is stored, and how this one lies in it."""

    root: Value
    offset: int
    strides: tuple[int, ...]
    shape: tuple[int, ...]


class Program:
    """The groups in order, and the memory of the values between them.

    stored: the values that one loop leaves for others, by identity.
    places: of those, where each begins in the common memory; its length is `size`.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.groups: list[Group] = []
        self._group_of: dict[int, Group] = {}
        for call in plan.calls:
            self._add(call)
        outputs = {id(y.root) for y in plan.outputs}
        self.stored: set[int] = {
            id(y)
            for group in self.groups
            for call in group.calls
            for y in made(call)
            if not group.elementwise or id(y) in outputs or plan.is_gradient(y)
        }
        for group in self.groups:
            for call in group.calls:
                self.stored |= {id(v.root) for v in call.operands if self._group_of.get(id(v.root)) is not group}
        self._views: dict[int, Any] = {}
        self.places: dict[int, int] = {}
        self.size: int = 0

    def _add(self, call: Call) -> None:
        last = self.groups[-1] if self.groups else None
        if last is not None and last.takes(call, self._group_of):
            last.calls.append(call)
        else:
            self.groups.append(last := Group(call))
        self._group_of.update((id(y), last) for y in call.outputs)

    def is_local(self, value: Value, group: Group) -> bool:
        """Whether the loop of this group computes the value itself."""
        return value.base is None and self._group_of.get(id(value)) is group and group.elementwise

    def allot(self, elsewhere: Iterable[Value]) -> None:
        """Give each stored value a place, which is free again after the last group that reads it."""
        fixed = {id(value) for value in elsewhere}
        last: dict[int, int] = {}
        for i, group in enumerate(self.groups):
            for call in group.calls:
                last.update((id(v.root), i) for v in call.operands)
        last.update((id(y.root), len(self.groups)) for y in self.plan.outputs)
        alive: list[tuple[int, int, int]] = []  # (start, stop, the last group that reads it)
        for i, group in enumerate(self.groups):
            alive = [(start, stop, end) for start, stop, end in alive if end >= i]
            for value in (y for call in group.calls for y in made(call)):
                if id(value) not in self.stored or id(value) in fixed or self.plan.is_gradient(value):
                    continue
                start = first_gap(alive, value.elements)
                self.places[id(value)] = start
                alive = sorted([*alive, (start, start + value.elements, last.get(id(value), i))])
                self.size = max(self.size, start + value.elements)

    def where(self, value: Value) -> Where:
        """How a value lies in the memory of its root."""
        root = value.root
        whole = self._views.get(id(root))
        if whole is None:
            whole = self._views[id(root)] = laid_out(root)
        array: Any = whole
        chain = [value]
        while chain[-1].base is not None:
            chain.append(chain[-1].base)
        for step in chain[-2::-1]:
            assert step.view is not None
            array = step.view(array)
        offset = array.__array_interface__["data"][0] - whole.__array_interface__["data"][0] if array.size else 0
        return Where(root, int(offset), tuple(map(int, array.strides)), tuple(array.shape))


def made(call: Call) -> list[Value]:
    """The outputs that need memory: those that are read, and of recurrences what steps keep for the next ones."""
    every = not call.primitive.multi_output or "backward" not in call.primitive.name
    return [y for i, y in enumerate(call.outputs) if every or y.use_count or not i]


def laid_out(root: Value) -> Any:
    """An array of bytes that lies as the value does: row by row, but for what recurrences keep of each time."""
    order = storage_order(root) if root.batch_axis == 1 else tuple(range(root.ndim))
    return np.empty([root.shape[axis] for axis in order], np.int8).transpose(np.argsort(order))


def is_elementwise(call: Call) -> bool:
    """Whether each element of the result depends on those at the same place, or broadcast to it, alone."""
    return call.primitive.elementwise or call.primitive is NORMAL_CDF


def is_whole(value: Value, call: Call) -> bool:
    """Whether the operand is a value itself, of the shape of the result."""
    return value.base is None and value.shape == call.output.shape


def first_gap(alive: list[tuple[int, int, int]], need: int) -> int:
    """Where so many elements find room between the pieces that are in use."""
    start = 0
    for begin, stop, _ in alive:
        if begin - start >= need:
            break
        start = max(start, -(-stop // ALIGNED) * ALIGNED)
    return start
