"""A plan as C: loops over groups of elementwise calls, products in register tiles, sums; one function for each stretch.

Each C function takes one argument, a table of pointers: the slab, the arrays given, the arrays to hand out.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from funcnet.compiler.plan import Plan
from funcnet.native.calls import FORMS
from funcnet.native.expressions import expression, fast, literal
from funcnet.native.grouping import Group, Grouping
from funcnet.native.memory import Placement, rounded
from funcnet.native.recurrence import reads_as_given
from funcnet.native.writing import INDICES, Writer, c_type, row_major
from funcnet.tracing.trace import Call, Value


class Emission(Writer):
    """A plan as C: its inputs are brought to their features, its groups run, its outputs are handed out."""

    def __init__(self, plan: Plan, grouping: Grouping, placement: Placement) -> None:
        super().__init__(plan, placement)
        self.grouping = grouping
        self._copy_inputs()
        for number, group in enumerate(grouping.groups):
            if group.fused:
                self._put_loop(group, number)
            else:
                self._put_call(group.calls[0])
            for call in group.all():
                for value in call.outputs:
                    self._put_ones(value)
        self._hand_out()

    def _copy_inputs(self) -> None:
        """Bring each floating input from its rows to its features."""
        for i, value in enumerate(self.plan.inputs):
            if id(value) not in self.grouping.stored or self._is_read_as_given(value):
                continue
            if self._is_turned(value):
                (name, (_, stride)), (rows, features) = self.pointer(value), value.shape
                self.put(f"fn_turn(fn_x{i}, {features}, {name}, {stride}, {rows}, {features});")
            else:
                indices = INDICES[: value.ndim]
                place = row_major(value.shape, indices)
                line = f"{self.element(value, indices)} = fn_x{i}[{place}];"
                self.loops(value.shape, self.storage_order(value), [line])
            self._put_ones(value)

    def _is_read_as_given(self, value: Value) -> bool:
        """Whether all that reads it reads it where the caller has it."""
        readers = [call for call in self.plan.calls if any(v.root is value for v in call.operands)]
        if value.dtype != self.plan.dtype or any(y.root is value for y in self.plan.outputs):
            return False
        return all(reads_as_given(call, value) for call in readers)

    def _is_turned(self, value: Value) -> bool:
        """Whether it is a table of numbers that is stored column by column."""
        large = value.ndim == 2 and min(value.shape) >= 8 and value.dtype == self.plan.dtype
        return large and self.pointer(value)[1][0] == 1

    def _put_ones(self, value: Value) -> None:
        """Fill the feature of ones behind a value."""
        if value.ones is not None and id(value) in self.grouping.stored:
            rows = self.placement.rows(value)
            place = f"{self.name(value)}[{value.shape[-1] * rows} + i]"
            self.put("FN_IVDEP", f"for (long i = 0; i < {rows}; i++) {place} = 1;")

    def _hand_out(self) -> None:
        """Write the outputs, row by row, where the caller wants them."""
        for i, (value, factor) in enumerate(zip(self.plan.outputs, self.plan.factors, strict=True)):
            indices = INDICES[: value.ndim]
            place = row_major(value.shape, indices)
            scale = "" if factor == 1.0 else f" * {literal(factor, self.suffix)}"
            if factor == 1.0 and self._is_turned(value):
                (name, (_, stride)), (rows, features) = self.pointer(value), value.shape
                self.put(f"fn_turn({name}, {stride}, fn_y{i}, {features}, {features}, {rows});")
                continue
            self.loops(
                value.shape, range(value.ndim), [f"fn_y{i}[{place}] = {self.element(value, indices)}{scale};"], ""
            )

    def _put_loop(self, group: Group, number: int) -> None:
        """One loop for all calls of a group."""
        stored = [call.output for call in group.calls if id(call.output) in self.grouping.stored]
        outside = [v for call in group.all() for v in call.operands if not self._is_local(v, number)]
        length = self._dense([v for v in (*outside, *stored) if v.ndim], group)
        flat = length is not None
        if length is not None and not group.sums:
            length = self._whole_vectors(length, [*outside, *stored])
        indices = INDICES[: len(group.shape)]

        def text(x: Any) -> str:
            if not isinstance(x, Value):
                return literal(float(x), self.suffix)
            if self._is_local(x, number):
                return f"t{local[id(x)]}"
            element = self._flat(x) if flat and x.ndim else self.element(x, indices)
            return element if x.dtype == self.plan.dtype else f"(T){element}"  # gcc 12 errs on masks of integers

        local: dict[int, int] = {}
        body: list[str] = []
        for call in group.calls:
            operands = [text(x) for x in call.inputs]
            place = local[id(call.output)] = len(local)
            body.append(
                f"const T t{place} = {expression(call.primitive.name, operands, partial(fast, suffix=self.suffix))};"
            )
            if id(call.output) in self.grouping.stored:
                target = self._flat(call.output) if flat and group.shape else self.element(call.output, indices)
                body.append(f"{target} = ({c_type(call.output)})t{place};")
        sums = [(f"s{i}", call) for i, call in enumerate(group.sums)]
        for name, call in sums:
            body.append(f"{name} += {' * '.join(text(x) for x in call.operands)};")
        self.scope(group.calls[0] if group.calls else group.sums[0])
        if sums:
            self.put(f"{{ T {', '.join(f'{name} = 0' for name, _ in sums)};")
        hint = f"FN_SUM({', '.join(name for name, _ in sums)})" if sums else "FN_IVDEP"
        if flat:
            self.put(hint, f"for (long i = 0; i < {length}; i++) {{", *(f"    {line}" for line in body), "}")
        else:
            like = max((*stored, *outside), key=lambda v: (v.shape == group.shape, v.ndim))
            order = self.storage_order(like) if like.shape == group.shape else range(len(group.shape))
            self.loops(group.shape, order, body, hint if group.shape else "")
        if sums:
            self.put(*(f"{self.element(call.output, ())} = {name};" for name, call in sums), "}")

    def _is_local(self, value: Value, number: int) -> bool:
        return value.base is None and self.grouping.group_of.get(id(value)) == number

    def _flat(self, value: Value) -> str:
        name, _, offset = self.pointer(value)[0].partition(" + ")
        return f"{name}[i + {offset}]" if offset else f"{name}[i]"

    def _dense(self, values: list[Value], group: Group) -> int | None:
        """The length of the memory that all of these fill alike, padding included; None where they do not."""
        if not values or not group.shape or any(v.shape != group.shape for v in values):
            return None
        (array, *others) = [self.array(v) for v in values]
        size = [a.itemsize for a in (array, *others)]
        steps = [tuple(s // a.itemsize for s in a.strides) for a in (array, *others)]
        if len({*steps}) > 1 or not all(size):
            return None
        lengths = sorted(zip(steps[0], array.shape, strict=True), reverse=True)
        *outer, (last, row) = [(s, n) for s, n in lengths if n > 1] or [(1, 1)]
        need = row
        for s, n in reversed(outer):
            padded = s == need or (not group.sums and all(v.base is None for v in values) and s - need < self._lanes())
            if not padded:
                return None
            need = s * n
        if last != 1:
            return None
        return int(need)

    def _whole_vectors(self, length: int, values: list[Value]) -> int:
        """The length up to a whole vector, where all values have so much memory of their own."""
        whole = -(-length // self._lanes()) * self._lanes()

        def has_room(v: Value) -> bool:
            fixed = v.base is not None or self.plan.is_param(v) or self.plan.is_gradient(v)
            return not fixed and whole * v.dtype.itemsize <= rounded(self.placement.nbytes(v))

        return whole if all(has_room(v) for v in values if v.ndim) else length

    def _lanes(self) -> int:
        return self.placement.lanes

    def _put_call(self, call: Call) -> None:
        """A call that is not elementwise: in C where there is a form for it, else by NumPy."""
        form = FORMS.get(call.primitive.name)
        if form is None or not form(self, call):
            for value in (*call.operands, *call.outputs):
                self.name(value.root)
            self.numpy_calls.append(call)
            self.segments.append([])
