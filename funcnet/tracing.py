"""Record NumPy calls instead of making them.

A layer's function is plain NumPy. Given ndarrays it computes; given `Value`s, arrays that do not exist yet, each
operation appends one `Call` to the `Trace` they belong to. Every value is written by exactly one call, so what reads
what, how long a value lives and what may be overwritten are facts that can be read off the list of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from funcnet.errors import DTypeError

BOOL = np.dtype(np.bool_)
COMPARISONS = frozenset({np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal})


class Call:
    """One NumPy call, `function(*inputs, output)`: it reads its inputs (values, arrays, numbers) and writes its output."""

    __slots__ = ("function", "inputs", "output", "scope")

    def __init__(self, function: Callable[..., Any], inputs: tuple[Any, ...], output: Value, scope: str) -> None:
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

    def parameter(self, shape: tuple[int, ...], name: str = "") -> Value:
        """The next array in the flat vector of params."""
        value = Value(self, shape, self.dtype, None)
        value.name = name
        last = self.parameters[-1] if self.parameters else None
        value.offset = 0 if last is None else last.offset + prod(last.shape)
        self.parameters.append(value)
        return value

    def emit(
        self,
        function: Callable[..., Any],
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
    name, offset: of a parameter, its path and its place in the flat vector; of its cotangent, the same place.
    reads, last, home, ones: how often it is read, by which call last, where it lives, and the view of it that has one
    more feature, constantly 1: written by the plan.
    """

    __slots__ = (
        "base", "batch_axis", "call", "dtype", "home", "last", "name", "offset", "ones", "reads", "shape", "trace", "view"
    )  # fmt: skip

    def __init__(self, trace: Trace, shape: tuple[int, ...], dtype: np.dtype[Any], batch_axis: int | None) -> None:
        self.trace = trace
        self.shape = shape
        self.dtype = dtype
        self.batch_axis = batch_axis
        self.call: Call | None = None
        self.base: Value | None = None
        self.view: Callable[[Any], Any] | None = None
        self.name = ""
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
        values = [x for x in inputs if isinstance(x, Value)]
        shape = values[0].shape
        shapes = [x.shape for x in inputs if not isinstance(x, (float, int))]
        if any(other != shape for other in shapes):
            shape = np.broadcast_shapes(*shapes)
        dtype = self._check(values)
        axes = [v.batch_axis for v in values if v.batch_axis is not None]
        return self.trace.emit(ufunc, inputs, shape, BOOL if ufunc in COMPARISONS else dtype, axes[0] if axes else None)

    def _check(self, values: Iterable[Value]) -> np.dtype[Any]:
        """Refuse what is neither of the trace's dtype nor a mask."""
        dtype = self.trace.dtype
        for value in values:
            if value.dtype is not dtype and value.dtype != dtype and value.dtype != BOOL:
                raise DTypeError(
                    f"an input of dtype {value.dtype} is computed with: cast it, for instance x.astype(np.float32)"
                )
        return dtype

    def _matmul(self, a: Value, b: Value) -> Value:
        shape = (*a.shape[:-1], b.shape[-1])
        return self.trace.emit(np.matmul, (a, b), shape, self._check((a, b)), 0 if a.batch_axis == 0 else None)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Value:
        """Record `np.concatenate`, the one NumPy function beyond ufuncs that layers call."""
        if function is not np.concatenate:
            raise TypeError(f"{function.__name__} cannot be recorded")
        return concatenate(*args, **kwargs)

    def sum(self, axis: int | None = None, keepdims: bool = False) -> Value:
        """Sum over an axis, or over all elements."""
        return self._reduce(np.add, axis, keepdims)

    def max(self, axis: int | None = None, keepdims: bool = False) -> Value:
        """Largest element along an axis, or of all."""
        return self._reduce(np.maximum, axis, keepdims)

    def _reduce(self, ufunc: np.ufunc, axis: int | None, keepdims: bool) -> Value:
        axes = tuple(range(self.ndim)) if axis is None else (axis % self.ndim,)
        shape = tuple(n for i, n in enumerate(self.shape) if i not in axes)
        batch_axis = None if self.batch_axis in axes else self.batch_axis
        value = self.trace.emit(ufunc.reduce, (self, axes, None), shape, self._check((self,)), batch_axis)
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

    def __getitem__(self, index: Any) -> Value:
        """A basic slice, a view."""
        shape = np.broadcast_to(BOOL.type(), self.shape)[index].shape
        return self.as_view(Slice(index), shape, self.batch_axis)


class Stateful:
    """A function of a call that keeps something from one call to another: bound anew in every workspace."""

    def bind(self, state: dict[int, Any]) -> Callable[..., Any]:
        """The function to call, with its state in the workspace's."""
        raise NotImplementedError


class Slice:
    """The view `array[index]`."""

    def __init__(self, index: Any) -> None:
        self.index = index

    def __call__(self, array: Any) -> Any:
        """Slice the array."""
        return array[self.index]


def concatenate(values: Sequence[Value], axis: int) -> Value:
    """Record the joining of values along an axis."""
    first = values[0]
    axis %= first.ndim
    shape = (*first.shape[:axis], sum(v.shape[axis] for v in values), *first.shape[axis + 1 :])
    return first.trace.emit(partial(concatenate_into, axis), tuple(values), shape, first.dtype, first.batch_axis)


def inner(a: Any, b: Any) -> Any:
    """Sum of a_i b_i over all elements, for arrays and for values."""
    if isinstance(a, Value):
        return a.trace.emit(inner_into, (a, b), (), a.dtype, None)
    return np.dot(a.ravel(), b.ravel())


def gate(g: Any, y: Any) -> Any:
    """The elements of g where y, which is nowhere negative, is not zero; zero elsewhere."""
    if isinstance(y, Value):
        bits = np.dtype(f"u{y.dtype.itemsize}")
        mask = y.trace.emit(nonzero_into, (y,), y.shape, bits, y.batch_axis)
        return y.trace.emit(gate_into, (g, mask), y.shape, y.dtype, y.batch_axis)
    return g * (y != 0.0)


def elementwise_call(function: Callable[[Any, Any], Any], x: Any) -> Any:
    """Call `function(x, out)`, which treats every element alike but is no ufunc, on an array or on a value."""
    if isinstance(x, Value):
        return x.trace.emit(function, (x,), x.shape, x.dtype, x.batch_axis)
    out = np.empty_like(x)
    function(x, out)
    return out


def nonzero_into(y: Any, mask: Any) -> None:
    """1 where y has any bit set, else 0. Comparing unsigned integers is several times as fast as a mask of bools."""
    np.sign(y.view(mask.dtype), mask)


def gate_into(g: Any, mask: Any, out: Any) -> None:
    """Keep or clear all bits of g."""
    np.multiply(g.view(mask.dtype), mask, out.view(mask.dtype))


def concatenate_into(axis: int, *arrays: Any) -> None:
    """Join all but the last array into the last."""
    np.concatenate(arrays[:-1], axis, arrays[-1])


def reshape_into(x: Any, out: Any) -> None:
    """Copy x, in row-major order, into an array of another shape."""
    out[...] = x.reshape(out.shape)


def inner_into(a: Any, b: Any, out: Any) -> None:
    """Sum of a_i b_i over all elements."""
    out[...] = np.vdot(a, b)
