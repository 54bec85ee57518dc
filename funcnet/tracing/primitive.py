"""All facts about a kind of call, in one place, for recording, planning, binding and listing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from funcnet.arrays import Shape
from funcnet.tracing import forms
from funcnet.tracing.shapes import check_numbers, is_mask, refuse

Cost: TypeAlias = Callable[[Sequence[Shape], Shape, forms.Attributes], int]
"""(shapes of the operands, shape of the output, attributes) -> the number of multiply-adds."""


def free(operands: Sequence[Shape], output: Shape, attributes: forms.Attributes) -> int:
    """No multiply-adds."""
    return 0


class Primitive(NamedTuple):
    """One kind of call. Calls of a kind differ in their attributes, operands and output.

    name: for listings.
    form: how it is bound to arrays.
    elementwise: each element of the output is computed from the elements of the operands at the same place alone, so
        that the output may be written over an operand.
    fusible: several small calls may be made as one, over operands side by side in memory, with the same bits.
    mask: the output is an array of bools.
    sums_rows: it sums over rows where its operands have rows and its output has none.
    linear_with: the number of constant operands with which it is linear in its values; None: unknown.
    multiply_adds: the number of multiplications, each with an addition, of a call.
    opaque: it is unknown which rows of its output depend on which rows of its operands.
    multi_output: its calls have any number of outputs; its form takes a tuple of them, with None for unread ones.
    """

    name: str
    form: forms.Form
    elementwise: bool = False
    fusible: bool = False
    mask: bool = False
    sums_rows: bool = False
    linear_with: int | None = None
    multiply_adds: Cost = free
    opaque: bool = False
    multi_output: bool = False

    def __repr__(self) -> str:
        return self.name


def product_cost(operands: Sequence[Shape], output: Shape, attributes: forms.Attributes) -> int:
    """The length of the rows of the left operand, for each element of the product."""
    return operands[0][-1] * prod(output)


def inner_cost(operands: Sequence[Shape], output: Shape, attributes: forms.Attributes) -> int:
    """One for each pair of elements."""
    return prod(operands[0])


def concatenate_into(*arrays: Any, axis: int) -> None:
    """Join all but the last array into the last."""
    np.concatenate(arrays[:-1], axis, arrays[-1])


def reshape_into(x: Any, out: Any) -> None:
    """Copy x, in row-major order, into an array of another shape: in one step where one is a view of the other."""
    rows = out.shape[0] if out.ndim else 0
    if rows and x.shape[:1] == (rows,):
        if x.ndim == 2 < out.ndim:
            out[...] = rows_first(x.T.reshape(*out.shape[1:], rows))
            return
        if x.ndim > 2 == out.ndim:
            view = rows_first(out.T.reshape(*x.shape[1:], rows))
            if np.may_share_memory(view, out):
                view[...] = x
                return
    out[...] = x.reshape(out.shape)


def rows_first(x: Any) -> Any:
    """The last axis as the first: `np.moveaxis` takes ten times as long."""
    return x.transpose(x.ndim - 1, *range(x.ndim - 1))


MATMUL = Primitive("matmul", forms.product, sums_rows=True, multiply_adds=product_cost)
INNER = Primitive("inner", forms.inner_product, sums_rows=True, multiply_adds=inner_cost)
SUM = Primitive("add.reduce", forms.sum_over_axes, sums_rows=True)
MAX = Primitive("maximum.reduce", forms.max_over_axes)
CONCATENATE = Primitive("concatenate", forms.plain(concatenate_into), linear_with=0)
RESHAPE = Primitive("reshape", forms.plain(reshape_into))

BITWISE: frozenset[np.ufunc] = frozenset({np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert})
MASKS: frozenset[np.ufunc] = frozenset(
    {np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal, np.isnan, np.isinf, np.isfinite}
    | {np.signbit, np.logical_and, np.logical_or, np.logical_xor, np.logical_not}
    | BITWISE
)
FUSIBLE = frozenset({np.add, np.subtract, np.multiply, np.negative})
LINEAR_WITH: dict[np.ufunc, int] = {np.add: 0, np.subtract: 0, np.negative: 0, np.positive: 0, np.multiply: 1}
OF_MASKS: dict[np.ufunc, np.ufunc] = {
    np.add: np.logical_or,
    np.multiply: np.logical_and,
    np.maximum: np.logical_or,
    np.minimum: np.logical_and,
}
"""The ufuncs that make a mask of masks alone, and what they are then."""
EXTREMA = frozenset({np.maximum, np.minimum})
_UFUNCS: dict[np.ufunc, Primitive] = {np.matmul: MATMUL}


def of_ufunc(ufunc: np.ufunc) -> Primitive:
    """The primitive of a NumPy ufunc, always the same one."""
    found = _UFUNCS.get(ufunc)
    if found is None:
        found = Primitive(
            ufunc.__name__,
            forms.extremum(ufunc) if ufunc in EXTREMA else forms.elementwise(ufunc),
            elementwise=True,
            fusible=ufunc in FUSIBLE,
            mask=ufunc in MASKS,
            linear_with=LINEAR_WITH.get(ufunc),
        )
        found = _UFUNCS.setdefault(ufunc, found)
    return found


def by_operands(ufunc: np.ufunc, operands: tuple[Any, ...]) -> np.ufunc:
    """The ufunc, or the one that it is for operands that are all masks. Refuse what makes no mask of masks."""
    if all(map(is_mask, operands)):
        ufunc = OF_MASKS.get(ufunc, ufunc)
        if ufunc not in MASKS:
            check_numbers(ufunc.__name__, operands)
    elif ufunc in BITWISE:
        refuse(f"np.{ufunc.__name__} of numbers, not masks,")
    return ufunc


ADD, MULTIPLY, COPY = of_ufunc(np.add), of_ufunc(np.multiply), of_ufunc(np.positive)
