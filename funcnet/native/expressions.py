"""Elementwise calls as expressions in C."""

from __future__ import annotations

from math import isinf, isnan

FUNCTIONS = {
    "tanh": "fn_tanh", "exp": "fn_exp", "log": "fn_log", "expm1": "fn_expm1", "log1p": "fn_log1p",
    "normal_cdf": "fn_normal_cdf", "maximum": "fn_maximum", "minimum": "fn_minimum", "sign": "fn_sign",
    "absolute": "fabs", "fabs": "fabs", "power": "pow", "float_power": "pow", "arctan": "atan", "arctan2": "atan2",
    "arcsin": "asin", "arccos": "acos", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
    "sqrt": "sqrt", "cbrt": "cbrt", "ceil": "ceil", "floor": "floor", "rint": "rint", "trunc": "trunc", "cos": "cos",
    "cosh": "cosh", "sin": "sin", "sinh": "sinh", "tan": "tan", "exp2": "exp2", "log2": "log2", "log10": "log10",
    "hypot": "hypot",
}  # fmt: skip
OPERATORS = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/",
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
    return name in FUNCTIONS or name in OPERATORS or name in COMPARISONS or name in OTHERS


def expression(name: str, operands: list[str], suffix: str) -> str:
    """The expression of a primitive; suffix: f for float32."""
    if name in OPERATORS:
        return f"{operands[0]} {OPERATORS[name]} {operands[1]}"
    if name in COMPARISONS:
        return f"(T)({operands[0]} {COMPARISONS[name]} {operands[1]})"
    if name in FUNCTIONS:
        return f"{FUNCTIONS[name]}{suffix}({', '.join(operands)})"
    return OTHERS[name].format(*operands)


def literal(number: float, suffix: str) -> str:
    """A number in C, of the dtype with that suffix."""
    if isnan(number):
        return "NAN"
    if isinf(number):
        return "INFINITY" if number > 0 else "(-INFINITY)"
    text = f"{float(number)!r}{suffix}"
    return f"({text})" if text.startswith("-") else text
