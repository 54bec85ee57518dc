"""Shapes and batch axes of recorded slices and products, and errors for calls that cannot be recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from types import EllipsisType
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from funcnet.errors import DTypeError, ShapeError, TracingError

BOOL = np.dtype(np.bool_)
Shape: TypeAlias = tuple[int, ...]
Spec: TypeAlias = tuple[Shape, np.dtype[Any], int | None]
"""The shape, dtype and batch axis of a value."""
Axes: TypeAlias = int | Shape | None
FUNCTIONS: dict[Any, Callable[..., Any]] = {}
"""NumPy function that is no ufunc -> the function that records it."""
RECORDABLE = "write it in NumPy ufuncs, operators, @, sum, max, reshape and slices, or use a custom_layer"


def check_dtypes(name: str, operands: Iterable[Any], dtype: np.dtype[Any]) -> None:
    """Refuse operands that have neither the trace's dtype nor are masks or Python numbers."""
    for operand in operands:
        if type(operand) in (float, int):
            continue
        found = getattr(operand, "dtype", None)
        if found is None:
            refuse(f"np.{name} with {operand!r:.60}, of type {type(operand).__name__},")
        if found is not dtype and found != dtype and found != BOOL:
            constant = "a constant", "use a Python number, float(c)"
            value = "an input", "cast it, for instance x.astype(np.float32)"
            what, fix = constant if isinstance(operand, (np.ndarray, np.generic)) else value
            raise DTypeError(f"{what} of dtype {found} meets {dtype}: {fix}")


def is_mask(x: Any) -> bool:
    """Whether this is an array, or a value, of bools."""
    return getattr(x, "dtype", None) == BOOL


def check_numbers(name: str, operands: Iterable[Any]) -> None:
    """Refuse operands that are all masks, of which NumPy makes no numbers, or only those of half precision."""
    if all(map(is_mask, operands)):
        raise TracingError(
            f"np.{name} of nothing but masks cannot be recorded: make numbers of one, as mask * x.dtype.type(1), "
            "or combine them by &, |, ^ and ~"
        )


class MissingAttributeError(TracingError, AttributeError):
    """A TracingError that `hasattr` understands."""


def refuse(what: str) -> NoReturn:
    """Raise the error that names the call that cannot be recorded, and the fix."""
    raise TracingError(f"{what} cannot be recorded: {RECORDABLE}")


@dataclass(frozen=True, slots=True)
class Transpose:
    """The view `array.transpose(axes)`."""

    axes: Shape

    def __call__(self, array: Any) -> Any:
        """Transpose the array."""
        return array.T if self.reverses else array.transpose(self.axes)

    @property
    def reverses(self) -> bool:
        """Whether it is `array.T`."""
        return self.axes == tuple(range(len(self.axes)))[::-1]


@dataclass(frozen=True, slots=True)
class Reshape:
    """The view `array.reshape(shape)`."""

    shape: Shape

    def __call__(self, array: Any) -> Any:
        """Reshape the array."""
        return array.reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Slice:
    """The view `array[index]`."""

    index: slice | int | EllipsisType | None | tuple[Any, ...]

    @property
    def steps(self) -> tuple[Any, ...]:
        """The index, axis by axis."""
        return self.index if isinstance(self.index, tuple) else (self.index,)

    def __call__(self, array: Any) -> Any:
        """Slice the array."""
        return array[self.index]


View: TypeAlias = Transpose | Reshape | Slice


def sliced_axis(index: tuple[Any, ...], ndim: int, axis: int) -> int:
    """The place, in the slice, of an axis that is kept whole."""
    rest = [slice(None)] * (ndim - sum(step is not None and step is not Ellipsis for step in index))
    at = next((i for i, step in enumerate(index) if step is Ellipsis), len(index))
    source = place = 0
    for step in (*index[:at], *rest, *index[at + 1 :]):
        if source == axis and step is not None:
            if step != slice(None):
                refuse("a slice of rows, which a layer treats all alike,")
            break
        source += step is not None
        place += step is None or isinstance(step, slice)
    return place


def product_shape(a: Shape, a_rows: int | None, b: Shape, b_rows: int | None) -> tuple[Shape, int | None]:
    """The shape of a @ b and its batch axis, from those of two operands of two axes or more.

    Rows of both may be summed over, or stand at one place of the product.
    """
    if a[-1] != b[-2]:
        raise ShapeError(f"matmul: shapes {a} and {b} do not fit: {a[-1]} and {b[-2]} must be equal")
    stack = np.broadcast_shapes(a[:-2], b[:-2]) if len(a) + len(b) > 4 else ()
    ndim = len(stack) + 2
    summed: list[bool] = []
    kept: set[int] = set()
    for axis, length, contracted in ((a_rows, len(a), -1), (b_rows, len(b), -2)):
        if axis is not None:
            summed.append(axis - length == contracted)
            kept.add(ndim + axis - length)
    if any(summed):
        if summed != [True, True]:
            refuse("a product that mixes rows")
        return (*stack, a[-2], b[-1]), None
    if len(kept) > 1:
        refuse("a product that mixes rows")
    return (*stack, a[-2], b[-1]), next(iter(kept), None)


def common_axis(name: str, axes: Iterable[tuple[int, int | None]], ndim: int) -> int | None:
    """The batch axis of a result of so many axes, from (number of axes, batch axis) of each operand."""
    found = {ndim - length + axis for length, axis in axes if axis is not None}
    if len(found) > 1:
        refuse(f"np.{name} of values whose rows lie along different axes")
    return next(iter(found), None)


def reduced(shape: Shape, axis: int | Shape | None, batch_axis: int | None) -> tuple[Shape, Shape, int | None]:
    """(the axes that a reduction takes, the shape that is left, its batch axis)."""
    axes: Shape = normalize_axis_tuple(range(len(shape)) if axis is None else axis, len(shape))
    left = [i for i in range(len(shape)) if i not in axes]
    return axes, tuple(shape[i] for i in left), left.index(batch_axis) if batch_axis in left else None


def reshaped(old: Shape, new: Shape, batch_axis: int | None, rows: int) -> Shape:
    """The new shape, a length of -1 filled in. The rows of a batch stay, or are cut into smaller ones."""
    known = -prod(new)
    shape = tuple((prod(old) // known if known else 0) if n == -1 else n for n in new)
    if prod(shape) != prod(old) or min(shape, default=0) < 0:
        raise ShapeError(f"reshape: {old} has {prod(old)} elements, which do not fill {new}")
    if batch_axis is not None and shape != old and (batch_axis or not shape or (rows and shape[0] % rows)):
        refuse(f"a reshape of {old} to {new}, which mixes rows,")
    return shape


def joined_shape(shapes: Sequence[Shape], axis: int) -> Shape:
    """The shape of arrays joined along an axis."""
    (first, *_) = others = [(*shape[:axis], *shape[axis + 1 :]) for shape in shapes]
    if any(other != first for other in others):
        raise ShapeError(f"concatenate: shapes {', '.join(map(str, shapes))} differ beside axis {axis}")
    return (*first[:axis], sum(shape[axis] for shape in shapes), *first[axis:])


def permutation(axes: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """All axes, counted from the first, in the order given."""
    order: tuple[int, ...] = normalize_axis_tuple(axes, ndim)
    if len(order) != ndim:
        raise ShapeError(f"transpose: {axes} names {len(order)} of {ndim} axes")
    return order


def rows_innermost(batch_axis: int | None, ndim: int) -> tuple[int, ...] | None:
    """The axes of an image in memory: channels outermost, rows innermost; None for the usual order."""
    return (ndim - 1, *range(1, ndim - 1), 0) if batch_axis == 0 and ndim > 2 else None
