"""Elementwise calls as expressions in C."""

from __future__ import annotations

from collections.abc import Callable
from math import isinf, isnan

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
"""Functions of the C library, by NumPy's names."""
OWN = {"maximum", "minimum", "sign", "normal_cdf"}
"""Functions that the C library lacks, or whose results for NaN differ."""
FAST = {"tanh", "exp", "log", "expm1", "log1p"}
"""Functions that `functions.h` has too."""
# fmt: on
OPERATORS = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
}  # fmt: skip
COMPARISONS = {
    "greater": ">", "greater_equal": ">=", "less": "<", "less_equal": "<=", "equal": "==", "not_equal": "!=",
}  # fmt: skip
OTHERS = {
    "negative": "-{0}",
    "positive": "{0}",
    "square": "{0} * {0}",
    "reciprocal": "1 / {0}",
    "logical_and": "(T)(({0} != 0) & ({1} != 0))",
    "logical_or": "(T)(({0} != 0) | ({1} != 0))",
    "logical_xor": "(T)(({0} != 0) ^ ({1} != 0))",
    "bitwise_and": "(T)(({0} != 0) & ({1} != 0))",
    "bitwise_or": "(T)(({0} != 0) | ({1} != 0))",
    "bitwise_xor": "(T)(({0} != 0) ^ ({1} != 0))",
    "logical_not": "(T)({0} == 0)",
    "invert": "(T)({0} == 0)",
    "isnan": "(T)({0} != {0})",
    "isfinite": "(T)({0} - {0} == 0)",
    "isinf": "(T)(fabs({0}) == INFINITY)",
    "signbit": "(T)(signbit({0}) != 0)",
    "nonzero": "(T)({0} != 0)",
    "relu_grad": "({1} != 0 ? {0} : 0)",
    "where": "({0} != 0 ? {1} : {2})",
}


def has_expression(name: str) -> bool:
    """Whether a primitive of this name has an expression."""
    return name in LIBM or name in OWN or name in OPERATORS or name in COMPARISONS or name in OTHERS


def expression(name: str, operands: list[str], function: Callable[[str], str]) -> str:
    """The expression of a primitive. function: what C calls a function of NumPy's."""
    if name in OPERATORS:
        return f"{operands[0]} {OPERATORS[name]} {operands[1]}"
    if name in COMPARISONS:
        return f"(T)({operands[0]} {COMPARISONS[name]} {operands[1]})"
    if name in OTHERS:
        return OTHERS[name].format(*operands)
    return f"{function(name)}({', '.join(operands)})"


def fast(name: str, suffix: str) -> str:
    """A function of `functions.h`, else of the C library; suffix: f for float32."""
    return f"fn_{name}{suffix}" if name in OWN | FAST else f"{LIBM[name]}{suffix}"


def literal(number: float, suffix: str) -> str:
    """A number in C, of the dtype with that suffix."""
    if isnan(number):
        return "NAN"
    if isinf(number):
        return "INFINITY" if number > 0 else "(-INFINITY)"
    text = f"{float(number)!r}{suffix}"
    return f"({text})" if text.startswith("-") else text
