"""What every row of the table is put through: the laws, the book's formula, and the convention at kinks.

FORMULAS, by a row's name or its first word: the value in textbook NumPy, from the params and the inputs.
KINKS: inputs that stand on a kink or right beside it, each one number, and the derivative by each of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

import funcnet as fn
from funcnet import tree
from funcnet.testing.subject import Subject

from .cases import Case

Formula = Callable[..., Any]
ROWS = 40  # enough that every branch of a formula is taken
TOLERANCE = 1e-13
TINY = 1e-200
SELU = (1.6732632423543772, 1.0507009873554805)


def sigmoid(x: Any) -> Any:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def elu(x: Any, alpha: float, scale: float = 1.0) -> Any:
    return scale * np.where(x > 0, x, alpha * np.expm1(x))


def normal_cdf(x: Any) -> Any:
    return 0.5 * np.vectorize(math.erfc, otypes=[float])(-x / math.sqrt(2))


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def affine(p: Any, x: Any) -> Any:
    return x @ p[0] + (p[1] if len(p) == 2 else 0)


def cross_entropy(p: Any, z: Any, t: Any) -> Any:
    t = np.eye(z.shape[1])[t] if t.ndim == 1 else t
    return -np.mean(np.sum(t * np.log(softmax(z)), axis=1))


FORMULAS: dict[str, Formula] = {
    "linear": affine,
    "identity": lambda p, x: x,
    "tanh": lambda p, x: 1 - 2 / (np.exp(2 * x) + 1),
    "sigmoid": lambda p, x: sigmoid(x),
    "relu": lambda p, x: np.where(x > 0, x, 0),
    "leaky_relu": lambda p, x: np.where(x > 0, x, 0.1 * x),
    "elu": lambda p, x: elu(x, 0.7),
    "selu": lambda p, x: elu(x, *SELU),
    "gelu": lambda p, x: x * normal_cdf(x),
    "gelu by tanh": lambda p, x: x * sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x**3)),
    "silu": lambda p, x: x * sigmoid(x),
    "softplus": lambda p, x: np.logaddexp(0, x),
    "exp": lambda p, x: np.exp(x),
    "elementwise": lambda p, x: x**2,
    "custom_layer": lambda p, x: x * p[0],
    "softmax": lambda p, x: softmax(x),
    "log_softmax": lambda p, x: x - np.logaddexp.reduce(x, axis=-1)[..., None],
    "add": lambda p, *xs: reduce(np.add, xs),
    "subtract": lambda p, a, b: a - b,
    "multiply": lambda p, *xs: np.prod(xs, axis=0),
    "average": lambda p, *xs: np.mean(xs, axis=0),
    "maximum": lambda p, *xs: np.max(xs, axis=0),
    "concatenate": lambda p, *xs: np.concatenate(xs, axis=-1),
    "flatten": lambda p, x: x.reshape(len(x), 6),
    "reshape": lambda p, x: x.reshape(len(x), 3, 4),
    "reshape of rows": lambda p, x: x.reshape(len(x), 6, 2),
    "mse": lambda p, y, t: np.mean((y - t) ** 2),
    "softmax_cross_entropy": cross_entropy,
    "serial": lambda p, x: affine(p[2], np.tanh(affine(p[0], x))),
    "parallel": lambda p, x: affine(p[0], x) + sigmoid(affine(p[1][0], x)),
    "parallel with merge": lambda p, x: np.concatenate([affine(p[0], x), affine(p[1], x)], axis=-1),
    "residual": lambda p, x: x + np.tanh(affine(p[0], x)),
    "network": lambda p, x: affine(p[1], x) + np.tanh(affine(p[1], x)),
    "network of two outputs": lambda p, x: (affine(p[1], x), np.tanh(affine(p[1], x))),
}

KINKS: dict[str, list[tuple[tuple[float, ...], tuple[float, ...]]]] = {
    "relu": [((0.0,), (0.0,)), ((-0.0,), (0.0,)), ((TINY,), (1.0,)), ((-TINY,), (0.0,))],
    "leaky_relu": [((0.0,), (0.1,)), ((-0.0,), (0.1,)), ((TINY,), (1.0,)), ((-TINY,), (0.1,))],
    "elu": [((0.0,), (0.7,)), ((-0.0,), (0.7,)), ((TINY,), (1.0,)), ((-TINY,), (0.7,))],
    "selu": [((0.0,), (SELU[0] * SELU[1],)), ((TINY,), (SELU[1],)), ((-TINY,), (SELU[0] * SELU[1],))],
    "maximum": [
        ((1.0, 1.0, 1.0), (0.25, 0.25, 0.5)),
        ((2.0, 1.0, 2.0), (0.5, 0.0, 0.5)),
        ((1.0, 1.0, 0.0), (0.5, 0.5, 0.0)),
    ],
}


def formula_of(case: Case) -> Formula:
    """The book's formula for a row."""
    return FORMULAS.get(case.name) or FORMULAS[case.name.split(" ")[0]]


def subject_of(case: Case, dtype: Any = np.float64, scale: float = 1.0) -> tuple[fn.Layer[Any, Any], Any, list[Any]]:
    """(layer, params, inputs), as the laws draw them, the inputs scaled."""
    options: dict[str, Any] = {"rowwise": True, "labels": {}, "domain": None, "extreme": 1.0} | dict(case.options)
    subject = Subject(case.make(), case.shapes, ROWS, case.holomorphic, seed=1, **options)
    params, inputs = subject.point(dtype)
    return subject.layer, params, [x if x.dtype.kind == "i" else (x * scale).astype(dtype) for x in inputs]


def check_formula(case: Case) -> None:
    """The value is the book's, near zero and far from it."""
    for scale in (1.0, 8.0):
        layer, params, inputs = subject_of(case, scale=scale)
        found, expected = layer.apply(params, *inputs), formula_of(case)(params, *inputs)
        for y, right in zip(tree.leaves(found), tree.leaves(expected), strict=True):
            largest = max(1.0, np.abs(right).max(initial=0.0))
            np.testing.assert_allclose(y, right, rtol=0, atol=TOLERANCE * largest, err_msg=case.name)


def check_kinks(case: Case) -> None:
    """The derivative on a kink is the one that is written down."""
    for numbers, expected in KINKS.get(case.name, []):
        inputs = [np.full((2, *shape), number) for number, shape in zip(numbers, case.shapes, strict=True)]
        output, pullback = case.make().apply.vjp((), *inputs)
        for dx, right in zip(pullback(np.ones_like(output))[1], expected, strict=True):
            np.testing.assert_allclose(dx, right, rtol=1e-15, err_msg=case.name)


def battery(case: Case) -> None:
    """Everything that a row is put through."""
    check_kinks(case)
    check_formula(case)
    case.check()
