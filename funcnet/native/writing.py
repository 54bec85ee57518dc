"""Lines of C for a plan: names, elements and loops, for `jit` and for `to_c`."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np

from funcnet.compiler.binding import Binding
from funcnet.compiler.plan import Plan
from funcnet.display import printable
from funcnet.native.expressions import expression, literal
from funcnet.native.grouping import Group, Grouping
from funcnet.native.memory import Placement, rounded
from funcnet.tracing.trace import Call, Value

INDICES = "ijklmnoqrvw"


class Writer(ABC):
    """The text of a plan, as far as it is the same for the fast C of `jit` and the readable C of `to_c`.

    prefix: of names that are not names of values.      lines: the list for the next lines.
    names: of stored values, by identity.      constants: names of arrays, by their numbers.
    scratch_size, longest: the elements, and the integers, of scratch memory for one call.
    has_tiles: whether products are made in tiles, for which operands are packed.
    """

    has_tiles: bool = False

    def __init__(self, plan: Plan, grouping: Grouping, placement: Placement, prefix: str) -> None:
        self.plan = plan
        self.prefix = prefix
        self.grouping = grouping
        self.placement = placement
        self.binding: Binding = Binding(placement.plan)
        self.suffix: str = "f" if plan.dtype.itemsize == 4 else ""
        self.lines: list[str] = []
        self.depth: int = 1
        self.names: dict[int, str] = {}
        self.locals: dict[int, str] = {}
        self.constants: dict[str, str] = {}
        self.scratch_size: int = 0
        self.longest: int = 0
        self.parts: list[Value] = []  # views that are known by identity, so that they must not go

    @abstractmethod
    def declared(self, root: Value) -> str:
        """The name of a stored value, which is declared."""

    @abstractmethod
    def local_name(self, value: Value, end: str) -> str:
        """A name for one element of a value, or for a sum, within a loop."""

    @abstractmethod
    def c_type(self, value: Value) -> str:
        """The C type of the elements of a stored value."""

    @abstractmethod
    def function(self, name: str) -> str:
        """What C calls a function of NumPy's."""

    @abstractmethod
    def refusal(self, call: Call, instead: str) -> str:
        """The statement for a wrong operand: return, or set a status and continue with something harmless."""

    def scratch(self, *sizes: int) -> list[str]:
        """Addresses of memory for one call, for so many elements each."""
        starts = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
        self.scratch_size = max(self.scratch_size, starts[-1])
        return [f"{self.prefix}_scratch + {start}" if start else f"{self.prefix}_scratch" for start in starts[:-1]]

    def ends(self, rows: int) -> str:
        """The address of memory for so many whole numbers, until the next call."""
        self.longest = max(self.longest, rows, 1)
        return f"{self.prefix}_ends"

    def constant(self, array: Any) -> str:
        """The name of an array of constants; equal ones are one."""
        numbers = ", ".join(self.number(float(x)) for x in array.flat)
        return self.constants.setdefault(numbers, f"{self.prefix}_constant_{len(self.constants)}")

    def put(self, *lines: str) -> None:
        """Lines of C, those between braces further in."""
        for line in lines:
            self.depth -= line.startswith("}")
            self.lines.append("    " * self.depth + line.lstrip())
            self.depth += line.endswith("{")

    def comment(self, group: Group) -> None:
        """Name the source of the next lines."""
        scopes: dict[str, list[str]] = {}
        for call in group.all():
            scopes.setdefault(call.scope, []).append(call.primitive.name)
        text = "; ".join(f"{scope}: {', '.join(names)}" for scope, names in scopes.items() if scope)
        if text:
            self.lines.append(f"{'    ' * self.depth}/* {in_comment(text)} */")

    def array(self, value: Value) -> Any:
        """An array with the strides of the value."""
        return self.binding.array(value)

    def strides(self, value: Value) -> list[int]:
        """The strides of a value in elements."""
        size = self.placement.itemsize(value)
        return [stride // size for stride in self.array(value).strides]

    def storage_order(self, value: Value) -> list[int]:
        """The axes of a value, the one of the longest stride first."""
        strides = self.array(value).strides
        return sorted(range(value.ndim), key=lambda axis: -strides[axis])

    def name(self, root: Value) -> str:
        """The name of the pointer to a stored value."""
        found = self.names.get(id(root))
        if found is None:
            found = self.names[id(root)] = self.declared(root)
        return found

    def pointer(self, value: Value) -> tuple[str, list[int]]:
        """(the address of a value's first element, its strides in elements)."""
        name, offset = self._start(value)
        return f"{name} + {offset}" if offset else name, self.strides(value)

    def given(self, value: Value) -> tuple[str, list[int]]:
        """The same, of an array of the caller."""
        return self.pointer(value)

    def _start(self, value: Value) -> tuple[str, int]:
        array = self.array(value)
        start = self.binding.offset(array) - self.placement.place(value.root) if array.size else 0
        return self.name(value.root), start // self.placement.itemsize(value)

    def element(self, value: Value, indices: Sequence[str]) -> str:
        """The element of a value at these indices of a result, to whose shape it is broadcast."""
        own = indices[len(indices) - value.ndim :]
        steps = [stride if n > 1 else 0 for stride, n in zip(self.strides(value), value.shape, strict=True)]
        return self.at(value, steps, own)

    def at(self, value: Value, steps: Sequence[int], indices: Sequence[str]) -> str:
        """The element of a value that is so many steps of these strides behind the first one."""
        name, offset = self._start(value)
        terms = [term(step, i) for step, i in zip(steps, indices, strict=True) if step and i != "0"]
        return f"{name}[{' + '.join([*terms, *[str(offset)] * bool(offset)]) or '0'}]"

    @contextmanager
    def each(
        self, shape: Sequence[int], order: Sequence[int], hint: str = "", *, block: bool = False
    ) -> Generator[None]:
        """Loops over the axes in this order around the next lines. block: braces also where there is no loop."""
        axes = [(INDICES[axis], shape[axis]) for axis in order if shape[axis] != 1]
        heads = [f"for (long {i} = 0; {i} < {n}; {i}++) {{" for i, n in axes] or ["{"] * block
        self.put(*heads[:-1], *[hint] * bool(hint and axes), *heads[-1:])
        yield
        self.put(*("}" for _ in heads))

    def loops(self, shape: Sequence[int], order: Sequence[int], body: Sequence[str], hint: str = "FN_IVDEP") -> None:
        """Loops over the axes in this order, with a hint before the innermost one."""
        with self.each(shape, order, hint, block=len(body) > 1):
            self.put(*body)

    def loop(self, number: int) -> None:
        """One loop for all calls of a group."""
        group = self.grouping.groups[number]
        stored = [call.output for call in group.calls if id(call.output) in self.grouping.stored]
        outside = [v for call in group.all() for v in call.operands if not self._is_local(v, number)]
        length = self._dense([v for v in (*outside, *stored) if v.ndim], group)
        body = self._body(number, flat=length is not None)
        sums = {self.local(call.output, "sum"): call.output for call in group.sums}
        if sums:
            self.put("{", f"T {', '.join(f'{name} = 0' for name in sums)};")
        hint = f"FN_SUM({', '.join(sums)})" if sums else "FN_IVDEP"
        if length is not None:
            length = length if sums else self._whole_vectors(length, [*outside, *stored])
            self.put(hint, f"for (long i = 0; i < {length}; i++) {{", *body, "}")
        else:
            like = max((*stored, *outside), key=lambda v: (v.shape == group.shape, v.ndim))
            order = self.storage_order(like) if like.shape == group.shape else range(len(group.shape))
            self.loops(group.shape, order, body, hint)
        if sums:
            self.put(*(f"{self.element(y, ())} = {name};" for name, y in sums.items()), "}")

    def _body(self, number: int, flat: bool) -> list[str]:
        """The body of a loop over elements."""
        group = self.grouping.groups[number]
        indices = INDICES[: len(group.shape)]
        read = {id(v) for call in group.all() for v in call.operands if self._is_local(v, number)}

        def element(value: Value) -> str:
            return self.at(value, (1,), "i") if flat and value.ndim else self.element(value, indices)

        def text(x: Any) -> str:
            if not isinstance(x, Value):
                return f"{self.constant(x)}[{row_major(x.shape, indices)}]" if np.ndim(x) else self.number(float(x))
            if self._is_local(x, number):
                return self.local(x)
            return element(x) if self.c_type(x) == "T" else f"(T){element(x)}"  # gcc 12 errs on masks of integers

        body: list[str] = []
        for call in group.calls:
            y, result = call.output, expression(call.primitive.name, [*map(text, call.inputs)], self.function)
            if id(y) in read:
                body.append(f"const T {self.local(y)} = {result};")
                result = self.local(y)
            if id(y) in self.grouping.stored:
                kind = self.c_type(y)
                body.append(f"{element(y)} = {result if kind == 'T' else f'({kind})({result})'};")
        sums = [(self.local(call.output, "sum"), " * ".join(map(text, call.operands))) for call in group.sums]
        return body + [f"{name} += {product};" for name, product in sums]

    def number(self, x: float) -> str:
        """A literal."""
        return literal(x, self.suffix)

    def local(self, value: Value, end: str = "i") -> str:
        """The name of a value within a loop."""
        found = self.locals.get(id(value))
        if found is None:
            found = self.locals[id(value)] = self.local_name(value, end)
        return found

    def _is_local(self, value: Value, number: int) -> bool:
        group = self.grouping.groups[number]
        return group.fused and value.base is None and self.grouping.group_of.get(id(value)) == number

    def _dense(self, values: list[Value], group: Group) -> int | None:
        """The length of memory that each of these fills in one order, with padding; None where orders differ."""
        constants = any(np.ndim(x) for call in group.all() for x in call.inputs if not isinstance(x, Value))
        alike = not constants and all(v.shape == group.shape for v in values)
        if not values or not alike or not prod(group.shape or (0,)):
            return None
        (steps, *others), shape = map(self.strides, values), group.shape
        if any(other != steps for other in others):
            return None
        lengths = sorted(zip(steps, shape, strict=True), reverse=True)
        *outer, (last, need) = [(s, n) for s, n in lengths if n > 1] or [(1, 1)]
        for s, n in reversed(outer):
            padded = not group.sums and all(v.base is None for v in values) and s - need < self.placement.lanes
            if s != need and not padded:
                return None
            need = s * n
        return need if last == 1 else None

    def _whole_vectors(self, length: int, values: list[Value]) -> int:
        """The length up to a whole vector, where all values have so much memory of their own."""
        whole = -(-length // self.placement.lanes) * self.placement.lanes

        def has_room(v: Value) -> bool:
            fixed = v.base is not None or self.plan.is_param(v) or self.plan.is_gradient(v)
            return not fixed and whole * v.dtype.itemsize <= rounded(self.placement.nbytes(v))

        return whole if all(has_room(v) for v in values if v.ndim) else length


def wish_of(call: Call) -> str:
    """The name wished for the result of a call: the layer and its operator's key, d_ before a cotangent."""
    scope = call.scope.removesuffix(" backward")
    before, _, kind = scope.rpartition(" ")
    name = identifier(f"{kind}_{before}" if before else kind or call.primitive.name)
    return f"d_{name}" if call.scope.endswith(" backward") else name


def identifier(text: str, first: str = "v_") -> str:
    """The text as an identifier: other characters are replaced, and `first` is put before a digit."""
    name = re.sub(r"[^0-9A-Za-z]+", "_", text).strip("_") or "v"
    return first + name if name[0].isdigit() else name


def in_comment(text: str) -> str:
    """The text without characters that end a comment, begin another one, or form an escape."""
    return printable(text).replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?")


def term(stride: int, index: str) -> str:
    """A step in memory."""
    return index if stride == 1 else f"{stride} * {index}"


def row_major(shape: Sequence[int], indices: Sequence[str]) -> str:
    """The offset of an element in a row-major array, at these indices of the shape to which it is broadcast."""
    own = indices[len(indices) - len(shape) :]
    steps = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return " + ".join(term(s, i) for s, i, n in zip(steps, own, shape, strict=True) if n > 1) or "0"
