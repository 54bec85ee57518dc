"""Record NumPy calls instead of making them.

A layer's function is plain NumPy. Given ndarrays it computes; given `Value`s, arrays that do not exist yet, each
operation appends one `Call` to the `Trace` they belong to. Every value is written by exactly one call, so what reads
what, how long a value lives and what may be overwritten are facts that can be read off the list of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import prod
from types import EllipsisType
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from funcnet.errors import DTypeError
from funcnet.views import Slice, sliced_axis

BOOL = np.dtype(np.bool_)
REMEDY = {"an input": "cast it, for instance x.astype(np.float32)", "a constant": "use a Python number, float(c)"}
LOGIC = frozenset({np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert})
COMPARISONS = frozenset(
    {np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal, np.isnan, np.isinf, np.isfinite}
    | {np.signbit, np.logical_and, np.logical_or, np.logical_xor, np.logical_not}
)

Axes: TypeAlias = int | tuple[int, ...] | None
Recordable: TypeAlias = "Callable[..., Any] | Stateful"
"""What a call may call: `function(*inputs, output)`, or what is bound to such a function in every workspace."""


class Call:
    """One NumPy call, `function(*inputs, output)`: it reads its inputs (values, arrays, numbers), writes its output."""

    __slots__ = ("function", "inputs", "output", "scope")

    def __init__(self, function: Recordable, inputs: tuple[Any, ...], output: Value, scope: str) -> None:
        self.function = function
        self.inputs = inputs
        self.output = output
        self.scope = scope

    def reads(self) -> list[Value]:
        """The values among the inputs."""
        return [x for x in self.inputs if isinstance(x, Value)]


class Trace:
    """The calls recorded so far, in the order in which they were made.

    dtype: of all floating values.      rows: how many rows the values hold.
    total: the rows of the whole batch, of which the trace may hold one block.
    scope: where the calls come from, for listings: set by whoever runs the layers.
    """

    def __init__(self, dtype: np.dtype[Any], rows: int, total: int | None = None) -> None:
        self.dtype = dtype
        self.rows = rows
        self.total = rows if total is None else total
        self.scope = ""
        self.calls: list[Call] = []
        self.parameters: list[Value] = []
        self.inputs: list[Value] = []

    def input(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Value:
        """An array from outside, batch-first."""
        value = Value(self, shape, dtype, 0)
        self.inputs.append(value)
        return value

    def key(self) -> Value:
        """A random key from outside."""
        value = Value(self, (2,), np.dtype(np.uint64), None)
        self.inputs.append(value)
        return value

    def parameter(self, shape: tuple[int, ...]) -> Value:
        """The next array in the flat vector of params."""
        value = Value(self, shape, self.dtype, None)
        last = self.parameters[-1] if self.parameters else None
        value.offset = 0 if last is None else last.offset + prod(last.shape)
        self.parameters.append(value)
        return value

    def emit(
        self,
        function: Recordable,
        inputs: tuple[Any, ...],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        batch_axis: int | None,
    ) -> Value:
        """Record one call and return the value that it writes."""
        value = Value(self, shape, dtype, batch_axis)
        value.call = Call(function, inputs, value, self.scope)
        self.calls.append(value.call)
        return value


class Value(NDArrayOperatorsMixin):
    """An array to be: its shape and dtype are known, its content is not.

    batch_axis: which axis is the batch; None where there is none.
    call: the call that writes it; None for inputs, params and views.
    base, view: a view is `view(base)` and costs no call when the program runs.
    offset: for a parameter, and for its cotangent, the place in the flat vector of all params.
    reads, last, home, ones: how often it is read, by which call last, where it lives, and the view of it that has one
    more feature, constantly 1: written by the plan.
    """

    __slots__ = (
        "base", "batch_axis", "call", "dtype", "home", "last", "offset", "ones", "reads", "shape", "trace", "view"
    )  # fmt: skip

    def __init__(self, trace: Trace, shape: tuple[int, ...], dtype: np.dtype[Any], batch_axis: int | None) -> None:
        self.trace = trace
        self.shape = shape
        self.dtype = dtype
        self.batch_axis = batch_axis
        self.call: Call | None = None
        self.base: Value | None = None
        self.view: Callable[[Any], Any] | None = None
        self.offset = 0
        self.reads = 0
        self.last = -1
        self.home: Any = None
        self.ones: Value | None = None

    @property
    def root(self) -> Value:
        """The value whose memory this one is."""
        value = self
        while value.base is not None:
            value = value.base
        return value

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def elements(self) -> int:
        """The number of elements."""
        return prod(self.shape)

    @property
    def size(self) -> int:
        """The number of elements in the whole batch, of which the trace may hold one block of rows."""
        count = prod(self.shape)
        trace = self.trace
        return count if self.batch_axis is None or not count else count * trace.total // trace.rows

    @property
    def T(self) -> Value:
        """The matrix transposed, a view."""
        axis = None if self.batch_axis is None else self.ndim - 1 - self.batch_axis
        return self.as_view(np.transpose, self.shape[::-1], axis)

    def transpose(self, axes: tuple[int, ...]) -> Value:
        """The axes in another order, a view."""
        axis = None if self.batch_axis is None else axes.index(self.batch_axis)
        return self.as_view(partial(np.transpose, axes=axes), tuple(self.shape[i] for i in axes), axis)

    def as_view(self, view: Callable[[Any], Any], shape: tuple[int, ...], batch_axis: int | None) -> Value:
        """The value `view(self)`, which shares the memory of this one."""
        value = Value(self.trace, shape, self.dtype, batch_axis)
        value.base, value.view = self, view
        return value

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Value:
        """Record the call of a ufunc."""
        if method != "__call__" or options:
            raise TypeError(f"np.{ufunc.__name__}.{method} with options {sorted(options)} cannot be recorded")
        if ufunc is np.matmul:
            return self._matmul(*inputs)
        if ufunc.nout != 1:
            raise TypeError(f"np.{ufunc.__name__} has {ufunc.nout} outputs and cannot be recorded")
        shape = self.shape
        others = [x.shape for x in inputs if x is not self and type(x) not in (float, int)]
        if any(other != shape for other in others):
            shape = np.broadcast_shapes(shape, *others)
        values = [x for x in inputs if isinstance(x, Value)]
        dtype = BOOL if ufunc in COMPARISONS or ufunc in LOGIC else self.trace.dtype
        self._check(inputs)
        if ufunc is np.multiply and type(inputs[1]) is float and inputs[1] == 1.0 and self.dtype != BOOL:
            return self
        if ufunc in LOGIC and any(v.dtype != BOOL for v in values):
            raise TypeError(f"np.{ufunc.__name__} is recorded for masks only")
        axes = {len(shape) - v.ndim + v.batch_axis for v in values if v.batch_axis is not None}
        if len(axes) > 1:
            raise TypeError(f"np.{ufunc.__name__} of values whose rows lie along different axes cannot be recorded")
        return self.trace.emit(ufunc, inputs, shape, dtype, next(iter(axes), None))

    def _check(self, operands: Iterable[Any]) -> np.dtype[Any]:
        """Refuse what is neither of the trace's dtype, nor a mask, nor a Python number."""
        dtype = self.trace.dtype
        for operand in operands:
            found = getattr(operand, "dtype", dtype)
            if found is not dtype and found != dtype and found != BOOL:
                what = "an input" if isinstance(operand, Value) else "a constant"
                raise DTypeError(f"{what} of dtype {found} meets {dtype}: {REMEDY[what]}")
        return dtype

    def _matmul(self, a: Value, b: Value) -> Value:
        last = None if b.batch_axis != b.ndim - 1 else len(a.shape) - 1
        contracted = (a.batch_axis == a.ndim - 1, b.batch_axis == b.ndim - 2)
        if contracted[0] != contracted[1] and any(contracted) or (a.batch_axis == 0 and b.batch_axis is not None):
            raise TypeError("a product that mixes rows cannot be recorded: use a custom_layer")
        shape = (*a.shape[:-1], b.shape[-1])
        return self.trace.emit(np.matmul, (a, b), shape, self._check((a, b)), 0 if a.batch_axis == 0 else last)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Value:
        """Record one of the NumPy functions beyond ufuncs that layers call."""
        if function not in FUNCTIONS:
            raise TypeError(f"{function.__name__} cannot be recorded")
        return FUNCTIONS[function](*args, **kwargs)

    def sum(self, axis: Axes = None, dtype: Any = None, keepdims: bool = False) -> Value:
        """Sum over axes, or over all elements; a mask is summed in the dtype named."""
        return self._reduce(np.add, axis, dtype, keepdims)

    def max(self, axis: Axes = None, keepdims: bool = False) -> Value:
        """Largest element along axes, or of all."""
        return self._reduce(np.maximum, axis, None, keepdims)

    def _reduce(self, ufunc: np.ufunc, axis: Axes, dtype: Any, keepdims: bool) -> Value:
        given = range(self.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        axes = tuple(i % self.ndim for i in given)
        shape = tuple(n for i, n in enumerate(self.shape) if i not in axes)
        kept = self.batch_axis is not None and self.batch_axis not in axes
        batch_axis = sum(i not in axes for i in range(self.batch_axis or 0)) if kept else None
        value = self.trace.emit(ufunc.reduce, (self, axes, dtype), shape, self._check((self,)), batch_axis)
        return value[tuple(None if i in axes else slice(None) for i in range(self.ndim))] if keepdims else value

    def reshape(self, *shape: int) -> Value:
        """The same elements in row-major order under another shape, whose rows are the same rows or cut from them."""
        shape = tuple(self._length(shape) if n == -1 else n for n in shape)
        if shape == self.shape:
            return self
        if shape[-1:] == self.shape[-1:]:  # the features stay together, and so they are stored: see `Plan.layout`
            return self.as_view(partial(np.reshape, shape=shape), shape, self.batch_axis)
        return self.trace.emit(reshape_into, (self,), shape, self.dtype, self.batch_axis)

    def _length(self, shape: tuple[int, ...]) -> int:
        known = -prod(shape)
        return prod(self.shape) // known if known else 0

    def __getitem__(self, index: int | slice | EllipsisType | tuple[Any, ...] | None) -> Value:
        """A basic slice of the features, a view."""
        shape = np.broadcast_to(BOOL.type(), self.shape)[index].shape
        steps = index if isinstance(index, tuple) else (index,)
        batch_axis = None if self.batch_axis is None else sliced_axis(steps, self.ndim, self.batch_axis)
        return self.as_view(Slice(index), shape, batch_axis)

    def __bool__(self) -> bool:
        """Refused: its content is not known yet."""
        raise TypeError("a recorded function cannot branch on values, which are not known yet: use a custom_layer")

    __iter__ = None  # nor be walked row by row


class Stateful:
    """A function of a call that keeps something from one call to another: bound anew in every workspace."""

    def bind(self, state: dict[int, Any]) -> Callable[..., Any]:
        """The function to call, with its state in the workspace's."""
        raise NotImplementedError


def concatenate(values: Sequence[Value], axis: int) -> Value:
    """Record the joining of values along an axis."""
    first = values[0]
    axis %= first.ndim
    if axis == first.batch_axis:
        raise TypeError("rows cannot be joined to rows where calls are recorded: a layer treats them all alike")
    shape = (*first.shape[:axis], sum(v.shape[axis] for v in values), *first.shape[axis + 1 :])
    return first.trace.emit(partial(concatenate_into, axis), tuple(values), shape, first.dtype, first.batch_axis)


def broadcast_to(value: Value, shape: tuple[int, ...]) -> Value:
    """Record the copying of a value along axes of length 1 into a larger shape."""
    return value.trace.emit(np.positive, (value,), shape, value.dtype, value.batch_axis)


def concatenate_into(axis: int, *arrays: Any) -> None:
    """Join all but the last array into the last."""
    np.concatenate(arrays[:-1], axis, arrays[-1])


def reshape_into(x: Any, out: Any) -> None:
    """Copy x, in row-major order, into an array of another shape."""
    out[...] = x.reshape(out.shape)


FUNCTIONS: dict[Any, Callable[..., Value]] = {np.concatenate: concatenate, np.broadcast_to: broadcast_to}
