"""Loops in C99: how values are called there, and the text of loops, numbers and elementwise functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isinf, isnan, prod
from typing import Any

import numpy as np

from funcnet.errors import ExportError
from funcnet.exports.c_program import Group, Program
from funcnet.exports.described import Described, Names, identifier, is_integer, is_mask, located
from funcnet.tracing.trace import Call, Value

# fmt: off
INDICES = ["i", "j", "k", "l", "m", "n", "o", "q", "r", "v", "w"]
KEYWORDS = {
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern", "float",
    "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof",
    "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while", "main",
}
OWN_NAMES = {"params", "gradient", "loss", "state", "memory", "p", "s", "t", "u", "y"}
# fmt: on
BINARY = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
COMPARED = {
    "greater": ">", "greater_equal": ">=", "less": "<", "less_equal": "<=", "equal": "==", "not_equal": "!=",
    "logical_and": "&&", "logical_or": "||", "bitwise_and": "&&", "bitwise_or": "||",
}  # fmt: skip
# fmt: off
ALIKE = (
    "cbrt", "ceil", "cos", "cosh", "exp", "exp2", "expm1", "floor", "hypot", "log", "log10", "log1p", "log2", "rint",
    "sin", "sinh", "sqrt", "tan", "tanh", "trunc",
)
LIBM = {
    "arccos": "acos", "arccosh": "acosh", "arcsin": "asin", "arcsinh": "asinh", "arctan": "atan", "arctan2": "atan2",
    "arctanh": "atanh", "absolute": "fabs", "fabs": "fabs", "power": "pow", "float_power": "pow",
    **dict(zip(ALIKE, ALIKE, strict=True)),
}
# fmt: on
OWN = {  # functions of the file's own, written where they are called
    "maximum": "static {T} {name}({T} a, {T} b) {{ return a > b || a != a ? a : b; }}",
    "minimum": "static {T} {name}({T} a, {T} b) {{ return a < b || a != a ? a : b; }}",
    "where": "static {T} {name}({T} c, {T} a, {T} b) {{ return c != 0 ? a : b; }}",
    "sign": "static {T} {name}({T} x) {{ return x != x ? x : ({T})((x > 0) - (x < 0)); }}",
}


MACROS = {"NAN", "INFINITY", "signbit", "erfc", "erfcf"}
RESERVED = KEYWORDS | OWN_NAMES | MACROS | {*INDICES, *LIBM.values(), *(f"{name}f" for name in LIBM.values())}


class Writer:
    """The text of one function's body, and what it needs around it.

    lines: of the body.      own: the file's own functions that are called, by NumPy's name.
    fails: whether the body may return early, with a status.
    """

    def __init__(self, described: Described, program: Program, name: str) -> None:
        self.described = described
        self.program = program
        self.name = name
        self.names: Names = Names(described, RESERVED)
        self.dtype: np.dtype[Any] = described.plan.dtype
        self.T: str = "float" if self.dtype == np.float32 else "double"
        self.f: str = "f" if self.dtype == np.float32 else ""
        self.lines: list[str] = []
        self.own: set[str] = set()
        self.constants: dict[tuple[float, ...], str] = {}
        self.pointers: dict[int, str] = {}  # what of the arguments stands for a stored value
        self.used: set[str] = set()
        self.depth: int = 1
        self.fails = False

    def put(self, line: str) -> None:
        """A line of the body."""
        self.lines.append("    " * self.depth + line)

    def loops(
        self, shape: Sequence[int], indices: Sequence[str], body: Callable[[], None], *, block: bool = False
    ) -> None:
        """A loop for each axis longer than 1, around the body. block: braces also where there is none."""
        heads = [f"for (int {i} = 0; {i} < {n}; {i}++) {{" for n, i in zip(shape, indices, strict=True) if n != 1]
        for head in heads or ["{"] * block:
            self.put(head)
            self.depth += 1
        body()
        for _ in heads or ["{"] * block:
            self.depth -= 1
            self.put("}")

    def number(self, x: float) -> str:
        """A literal."""
        if isnan(x):
            return "NAN"
        if isinf(x):
            return "INFINITY" if x > 0 else "(-INFINITY)"
        text = repr(float(x)) + self.f
        return f"({text})" if text.startswith("-") else text

    def ref(self, value: Value, indices: Sequence[str]) -> str:
        """The element of a stored value at these indices of a result, to whose shape it is broadcast."""
        at = self.program.where(value)
        own = indices[len(indices) - len(at.shape) :]
        return f"{self.array(at.root)}[{place(at.offset, at.strides, own, at.shape)}]"

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
            text = self.ref(x, indices)
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
        if name in BINARY:
            return f"{given[0]} {BINARY[name]} {given[1]}"
        if name in COMPARED:
            return f"({self.T})({given[0]} {COMPARED[name]} {given[1]})"
        if name in LIBM:
            return f"{LIBM[name]}{self.f}({', '.join(given)})"
        if name in OWN:
            return f"{self.helper(name)}({', '.join(given)})"
        expression = OTHERS.get(name)
        if expression is None:
            raise ExportError(f"to_c: {located(call)}np.{name} is not written in C")
        return expression.format(*given, T=self.T, f=self.f)

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
        return constants + [OWN[name].format(T=self.T, name=f"{self.name}_{name}") for name in OWN if name in self.own]

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
                    self.put(f"{self.ref(value, indices)} = {text};")

        self.loops(shape, indices, body)


OTHERS = {
    "negative": "-{0}",
    "positive": "{0}",
    "square": "{0} * {0}",
    "reciprocal": "1 / {0}",
    "logical_not": "({T})({0} == 0)",
    "invert": "({T})({0} == 0)",
    "logical_xor": "({T})(({0} != 0) != ({1} != 0))",
    "isnan": "({T})({0} != {0})",
    "isfinite": "({T})({0} - {0} == 0)",
    "isinf": "({T})({0} == {0} && {0} - {0} != 0)",
    "signbit": "({T})(signbit({0}) != 0)",
    "nonzero": "({T})({0} != 0)",
    "relu_grad": "{1} != 0 ? {0} : 0",
    "normal_cdf": "0.5{f} * erfc{f}(-0.70710678118654752{f} * {0})",
}


def place(offset: int, strides: Sequence[int], indices: Sequence[str], shape: Sequence[int]) -> str:
    """Where in memory an element stands."""
    steps = [(s, i) for s, i, n in zip(strides, indices, shape, strict=True) if n != 1]
    terms = [i if s == 1 else f"{s} * {i}" for s, i in steps]
    return " + ".join([str(offset)] * (offset != 0 or not terms) + terms)


def row_major(shape: Sequence[int], indices: Sequence[str]) -> str:
    """Where an element stands in an array that lies row by row."""
    return place(0, [prod(shape[axis + 1 :]) for axis in range(len(shape))], indices, shape)


def c_name(where: str, name: Any) -> str:
    """A name that a C function may have."""
    text = name if isinstance(name, str) else ""
    if identifier(text) != text or text in RESERVED:
        raise ExportError(f"{where}: name must be a name of C, such as 'net_step', not {name!r:.60}")
    return text
