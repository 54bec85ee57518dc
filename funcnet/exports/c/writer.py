"""Loops in C99: how values are called there, and the text of loops, numbers and elementwise functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from funcnet.exports.c.names import TAKEN
from funcnet.exports.c.program import Group, Program
from funcnet.exports.c.recurrence import NAMES, cell_functions
from funcnet.exports.described import Described, Names, is_integer, is_mask, refusal
from funcnet.native.expressions import LIBM, expression, has_expression, literal
from funcnet.native.writing import INDICES as LABELS
from funcnet.tracing.masks import LIMITS
from funcnet.tracing.primitives import TOTAL_WEIGHT
from funcnet.tracing.trace import Call, Value

# fmt: off
INDICES = ["i", "j", "k", "l", "m", "n", "o", "q", "r", "v", "w"]
# fmt: on
BAD_LABEL, NO_WEIGHT, BAD_MASK = 1, 2, 3  # what the function returns
STATUS = {TOTAL_WEIGHT: NO_WEIGHT, LIMITS: BAD_MASK}
OWN = {  # functions of the file's own, written where they are called
    "maximum": "static {T} {name}({T} a, {T} b) {{ return a > b || a != a ? a : b; }}",
    "minimum": "static {T} {name}({T} a, {T} b) {{ return a < b || a != a ? a : b; }}",
    "where": "static {T} {name}({T} c, {T} a, {T} b) {{ return c != 0 ? a : b; }}",
    "sign": "static {T} {name}({T} x) {{ return x != x ? x : ({T})((x > 0) - (x < 0)); }}",
}


OWN_NAMES = frozenset(
    {*INDICES, *"cefghpstuy", *("params", "gradient", "loss", "state", "memory", "inside", "largest")}
)

LOCAL = frozenset({"NAN", "INFINITY", "T", "any", "sum", "size", "known"})


class Writer:
    """The text of one function's body, and what it needs around it.

    lines: of the body.      own: the file's own functions that are called, by NumPy's name.
    cells: lines that call functions of recurrences.      scratch_size, longest: what they need of memory.
    fails: whether the body may return early, with a status.
    """

    def __init__(self, described: Described, program: Program, name: str) -> None:
        self.described = described
        self.program = program
        self.name = name
        self.names: Names = Names(described, TAKEN | OWN_NAMES | NAMES | LOCAL, f"{name}_")
        self.dtype: np.dtype[Any] = described.plan.dtype
        self.T: str = "float" if self.dtype == np.float32 else "double"
        self.suffix: str = "f" if self.dtype == np.float32 else ""
        self.lines: list[str] = []
        self.own: set[str] = set()
        self.cells: list[str] = []
        self.scratch_size: int = 0
        self.longest: int = 0
        self.constants: dict[tuple[float, ...], str] = {}
        self.pointers: dict[int, str] = {}  # what of the arguments stands for a stored value
        self.used: set[str] = set()
        self.depth: int = 1
        self.fails: bool = False

    def put(self, *lines: str) -> None:
        """Lines of the body, those between braces further in."""
        for line in lines:
            self.depth -= line.startswith("}")
            self.lines.append("    " * self.depth + line.lstrip())
            self.depth += line.endswith("{")

    def around(
        self, shape: Sequence[int], indices: Sequence[str], body: Callable[[], None], *, block: bool = False
    ) -> None:
        """A loop for each axis longer than 1, around the body. block: braces also where there is none."""
        heads = [f"for (int {i} = 0; {i} < {n}; {i}++) {{" for n, i in zip(shape, indices, strict=True) if n != 1]
        heads = heads or ["{"] * block
        self.put(*heads)
        body()
        self.put(*("}" for _ in heads))

    def number(self, x: float) -> str:
        """A literal."""
        return literal(x, self.suffix)

    def element(self, value: Value, indices: Sequence[str]) -> str:
        """The element of a stored value at these indices of a result, to whose shape it is broadcast."""
        at = self.program.where(value)
        own = indices[len(indices) - len(at.shape) :]
        return f"{self.array(at.root)}[{place(at.offset, at.strides, own, at.shape)}]"

    def pointer(self, value: Value) -> tuple[str, Sequence[int]]:
        """(the address of a value's first element, its strides in elements)."""
        at = self.program.where(value)
        name = self.array(at.root)
        return f"{name} + {at.offset}" if at.offset else name, at.strides

    def given(self, value: Value) -> tuple[str, Sequence[int]]:
        """The same: all arrays lie where the caller has them."""
        return self.pointer(value)

    def scratch(self, *sizes: int) -> list[str]:
        """Addresses of memory for one call, for so many elements each."""
        starts = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
        self.scratch_size = max(self.scratch_size, starts[-1])
        return [f"{self.name}_scratch + {start}" if start else f"{self.name}_scratch" for start in starts[:-1]]

    def tiles(self, *rows: int) -> list[str]:
        """Plain products have no tiles."""
        return []

    def ends(self, rows: int) -> str:
        """The address of memory for so many whole numbers, until the next call."""
        self.longest = max(self.longest, rows, 1)
        return f"{self.name}_ends"

    def refusal(self, call: Call, instead: str) -> str:
        """A statement for where a call reads what is wrong: it leaves the function."""
        self.fails = True
        return f"return {STATUS.get(call.primitive, BAD_LABEL)};"

    def loops(self, shape: Sequence[int], order: Sequence[int], body: Sequence[str], hint: str = "") -> None:
        """Loops over the axes in this order."""
        self.around(
            [shape[axis] for axis in order], [LABELS[axis] for axis in order], lambda: self.put(*body), block=True
        )

    def storage_order(self, value: Value) -> Sequence[int]:
        """The axes of a value, which lies row by row."""
        return range(value.ndim)

    def array(self, root: Value) -> str:
        """The name of the array in which a value is stored."""
        plan = self.described.plan
        found = self.pointers.get(id(root))
        if found is None and plan.is_param(root):
            found = self.names.params[root.offset]
        elif found is None and plan.is_gradient(root):
            found = self.names.gradients[root.offset]
        name = found or self.names.of(root)
        self.used.add(name)
        return name

    def operand(self, x: Any, indices: Sequence[str], group: Group | None = None) -> str:
        """An input of a call: a literal, an element in memory, or what the loop has just computed."""
        if isinstance(x, Value):
            if group is not None and self.program.is_local(x, group):
                return self.names.of(x) + "_i" if id(x) in self.program.stored else self.names.of(x)
            text = self.element(x, indices)
            return f"({self.T}){text}" if is_integer(x) or is_mask(x) else text
        if np.ndim(x):
            own = indices[len(indices) - x.ndim :]
            return f"{self.constant(x)}[{row_major(x.shape, own)}]"
        return self.number(float(x))

    def constant(self, array: Any) -> str:
        """The name of an array of constants; equal ones are one."""
        numbers = tuple(array.ravel().tolist())
        return self.constants.setdefault(numbers, f"{self.name}_constant_{len(self.constants)}")

    def elementwise(self, call: Call, given: list[str]) -> str:
        """The expression of an elementwise call."""
        name = call.primitive.name
        if name == "normal_cdf":
            return NORMAL_CDF.format(*given, f=self.suffix)
        if not has_expression(name):
            raise refusal("to_c", call, "C")
        return re.sub(r"\bT\b", self.T, expression(name, given, self.function))

    def function(self, name: str) -> str:
        """What C calls a function of NumPy's."""
        return self.helper(name) if name in OWN else f"{LIBM[name]}{self.suffix}"

    def helper(self, name: str) -> str:
        """The file's own function for one of NumPy's."""
        self.own.add(name)
        return f"{self.name}_{name}"

    def helpers(self) -> list[str]:
        """The file's own constants and functions that are read and called."""
        constants = [
            f"static const {self.T} {name}[{len(numbers)}] = {{{', '.join(map(self.number, numbers))}}};"
            for numbers, name in self.constants.items()
        ]
        own = [OWN[name].format(T=self.T, name=f"{self.name}_{name}") for name in OWN if name in self.own]
        return [*constants, *own, *cell_functions(self.cells, self.name, self.T, f"tanh{self.suffix}")]

    def group(self, group: Group) -> None:
        """A loop for elementwise calls."""
        shape = group.calls[0].output.shape
        indices = INDICES[: len(shape)]
        read = {id(v) for call in group.calls for v in call.operands if self.program.is_local(v, group)}

        def body() -> None:
            for call in group.calls:
                value = call.output
                text = self.elementwise(call, [self.operand(x, indices, group) for x in call.inputs])
                name, stored = self.names.of(value), id(value) in self.program.stored
                if id(value) in read:
                    own = f"{name}_i" if stored else name
                    self.put(f"const {self.T} {own} = {text};")
                    text = own
                if stored:
                    self.put(f"{self.element(value, indices)} = {text};")

        self.around(shape, indices, body)


NORMAL_CDF = "0.5{f} * erfc{f}(-0.70710678118654752{f} * {0})"


def place(offset: int, strides: Sequence[int], indices: Sequence[str], shape: Sequence[int]) -> str:
    """Where in memory an element stands."""
    steps = [(s, i) for s, i, n in zip(strides, indices, shape, strict=True) if n != 1 and not i.isdigit()]
    offset += sum(s * int(i) for s, i in zip(strides, indices, strict=True) if i.isdigit())
    terms = [i if s == 1 else f"{s} * {i}" for s, i in steps]
    return " + ".join([str(offset)] * (offset != 0 or not terms) + terms)


def row_major(shape: Sequence[int], indices: Sequence[str]) -> str:
    """Where an element stands in an array that lies row by row."""
    return place(0, [prod(shape[axis + 1 :]) for axis in range(len(shape))], indices, shape)
