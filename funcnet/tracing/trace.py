"""Record NumPy calls instead of making them.

A layer's function is plain NumPy. Given ndarrays it computes; given `Value`s, arrays that do not exist yet, each
operation appends one `Call` to the `Trace` of the values. Every value is written by exactly one call. So the list of
calls determines the readers of a value, its lifetime, and whether it may be overwritten.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from types import EllipsisType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from funcnet.tracing.forms import Attributes, Operands
from funcnet.tracing.primitive import MATMUL, MAX, RESHAPE, SUM, Primitive, by_operands, of_ufunc
from funcnet.tracing.shapes import (
    BOOL,
    FUNCTIONS,
    RECORDABLE,
    Axes,
    MissingAttributeError,
    Reshape,
    Slice,
    Spec,
    Transpose,
    View,
    check_dtypes,
    check_numbers,
    common_axis,
    permutation,
    product_shape,
    reduced,
    refuse,
    reshaped,
    rows_innermost,
    sliced_axis,
)


class Call:
    """One call of a primitive: it reads its inputs (values, arrays, numbers) and writes its outputs.

    operands: the values among the inputs.
    attributes: options by name; plain data.
    scope: the operator that made the call, for listings and errors.
    """

    __slots__ = ("attributes", "inputs", "operands", "outputs", "primitive", "scope")

    def __init__(
        self, primitive: Primitive, inputs: Operands, outputs: tuple[Value, ...], attributes: Attributes, scope: str
    ) -> None:
        self.primitive: Primitive = primitive
        self.outputs: tuple[Value, ...] = outputs
        self.attributes: Attributes = attributes
        self.scope: str = scope
        self.read(inputs)

    def read(self, inputs: tuple[Any, ...]) -> None:
        """Read these inputs."""
        self.inputs: tuple[Any, ...] = inputs
        self.operands: list[Value] = [x for x in inputs if isinstance(x, Value)]

    @property
    def output(self) -> Value:
        """The output, of a call that has one."""
        (output,) = self.outputs
        return output

    def multiply_adds(self) -> int:
        """The number of multiplications, each with an addition."""
        return self.primitive.multiply_adds([x.shape for x in self.operands], self.outputs[0].shape, self.attributes)


class Trace:
    """The calls recorded so far, in the order in which they were made.

    dtype: of all floating values.      rows: the number of rows of the values.
    total: the rows of the whole batch, of which the trace may hold one block.
    scope: the operator that makes the next calls, set by the caller of the layers.
    """

    def __init__(self, dtype: np.dtype[Any], rows: int, total: int | None = None) -> None:
        self.dtype = dtype
        self.rows = rows
        self.total: int = rows if total is None else total
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
        primitive: Primitive,
        inputs: tuple[Any, ...],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        batch_axis: int | None,
        **attributes: Any,
    ) -> Value:
        """Record one call and return the value that it writes."""
        (value,) = self.emit_all(primitive, inputs, [(shape, dtype, batch_axis)], **attributes)
        if primitive.elementwise and any(x.shape == shape and x.root.order for x in inputs if isinstance(x, Value)):
            value.order = rows_innermost(batch_axis, len(shape))
        return value

    def emit_all(
        self, primitive: Primitive, inputs: tuple[Any, ...], outputs: Iterable[Spec], **attributes: Any
    ) -> tuple[Value, ...]:
        """Record one call and return the values that it writes, one for each (shape, dtype, batch axis)."""
        values = tuple([Value(self, *spec) for spec in outputs])
        call = Call(primitive, inputs, values, attributes, self.scope)
        for value in values:
            value.call = call
        self.calls.append(call)
        return values


class Value(NDArrayOperatorsMixin):
    """A symbolic array, of known shape and dtype and unknown content.

    batch_axis: the axis of the batch; None where there is none.
    call: the call that writes it; None for inputs, params and views.
    base, view: a view is `view(base)` and costs no call when the program runs.
    order: its axes in the order of memory, the outermost first; None: features first, then the other axes.
    offset: of a parameter, and of its cotangent, in the flat vector of all params.
    use_count, last, buffer, ones: the number of readers, the last of them, the buffer, and the view with one more
    feature, constantly 1. The plan sets these on its copies.
    """

    __slots__ = (
        "base", "batch_axis", "buffer", "call", "dtype", "last", "offset", "ones", "order", "shape", "trace",
        "use_count", "view",
    )  # fmt: skip

    def __init__(self, trace: Trace, shape: tuple[int, ...], dtype: np.dtype[Any], batch_axis: int | None) -> None:
        self.trace: Trace = trace
        self.shape: tuple[int, ...] = shape
        self.dtype: np.dtype[Any] = dtype
        self.batch_axis: int | None = batch_axis
        self.call: Call | None = None
        self.base: Value | None = None
        self.view: View | None = None
        self.order: tuple[int, ...] | None = None
        self.offset: int = 0
        self.use_count: int = 0
        self.last: int = -1
        self.buffer: Any = None
        self.ones: Value | None = None

    @property
    def root(self) -> Value:
        """The value whose memory this one uses: the base of all its views, or itself."""
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
        return self.transpose(tuple(range(self.ndim))[::-1])

    def transpose(self, axes: tuple[int, ...]) -> Value:
        """The axes in another order, a view."""
        axes = permutation(axes, self.ndim)
        axis = None if self.batch_axis is None else axes.index(self.batch_axis)
        return self.as_view(Transpose(axes), tuple(self.shape[i] for i in axes), axis)

    def as_view(self, view: View, shape: tuple[int, ...], batch_axis: int | None) -> Value:
        """The value `view(self)`, which shares the memory of this one."""
        value = Value(self.trace, shape, self.dtype, batch_axis)
        value.base, value.view = self, view
        return value

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Value:
        """Record the call of a ufunc."""
        if method != "__call__" or options:
            refuse(f"np.{ufunc.__name__}{f'.{method}' * (method != '__call__')} with options {sorted(options)}")
        if ufunc.nout != 1 or (ufunc.signature and ufunc is not np.matmul):
            refuse(f"np.{ufunc.__name__}, which has {ufunc.nout} outputs of signature {ufunc.signature},")
        check_dtypes(ufunc.__name__, inputs, self.trace.dtype)
        ufunc = by_operands(ufunc, inputs)
        if ufunc is np.matmul:
            return self._matmul(*inputs)
        shapes = [x.shape for x in inputs if type(x) not in (float, int)]
        shape = np.broadcast_shapes(*shapes) if any(s != self.shape for s in shapes) else self.shape
        values = [x for x in inputs if isinstance(x, Value)]
        primitive = of_ufunc(ufunc)
        if ufunc is np.multiply and type(inputs[1]) is float and inputs[1] == 1.0 and self.dtype != BOOL:
            return self
        axis = common_axis(ufunc.__name__, [(v.ndim, v.batch_axis) for v in values], len(shape))
        return self.trace.emit(primitive, inputs, shape, BOOL if primitive.mask else self.trace.dtype, axis)

    def _matmul(self, a: Any, b: Any) -> Value:
        """The product of two values of two axes or more; those before the last two are broadcast."""
        if not all(isinstance(x, Value) and x.ndim > 1 for x in (a, b)):
            refuse("a product of anything but two values of two or more axes")
        shape, axis = product_shape(a.shape, a.batch_axis, b.shape, b.batch_axis)
        return self.trace.emit(MATMUL, (a, b), shape, self.trace.dtype, axis)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Record one of the NumPy functions beyond ufuncs that layers call."""
        if function not in FUNCTIONS:
            refuse(f"np.{function.__name__}")
        return FUNCTIONS[function](*args, **kwargs)

    def sum(self, axis: Axes = None, dtype: Any = None, keepdims: bool = False) -> Value:
        """Sum over axes, or over all elements; a mask is summed in the dtype named."""
        if dtype not in (None, self.trace.dtype):
            refuse(f"a sum in {np.dtype(dtype)}")
        return self._reduce(SUM, axis, keepdims)

    def max(self, axis: Axes = None, keepdims: bool = False) -> Value:
        """Largest element along axes, or of all."""
        check_numbers("max", (self,))
        return self._reduce(MAX, axis, keepdims)

    def _reduce(self, primitive: Primitive, axis: Axes, keepdims: bool) -> Value:
        axes, shape, batch_axis = reduced(self.shape, axis, self.batch_axis)
        check_dtypes(primitive.name, (self,), self.trace.dtype)
        value = self.trace.emit(primitive, (self,), shape, self.trace.dtype, batch_axis, axes=axes)
        return value[tuple(None if i in axes else slice(None) for i in range(self.ndim))] if keepdims else value

    def reshape(self, *shape: int) -> Value:
        """The same elements in row-major order under another shape, whose rows are the same rows or cut from them."""
        shape = reshaped(self.shape, shape, self.batch_axis, self.trace.rows)
        if shape == self.shape:
            return self
        if shape[-1:] == self.shape[-1:] and self.root.order is None:  # features are stored first, see `Plan`
            return self.as_view(Reshape(shape), shape, self.batch_axis)
        value = self.trace.emit(RESHAPE, (self,), shape, self.dtype, self.batch_axis)
        if self.ndim == 2 and shape[0] == self.shape[0]:
            value.order = rows_innermost(self.batch_axis, len(shape))
        return value

    def __getitem__(self, index: int | slice | EllipsisType | tuple[Any, ...] | None) -> Value:
        """A basic slice of the features, a view."""
        shape = np.broadcast_to(BOOL.type(), self.shape)[index].shape
        steps = index if isinstance(index, tuple) else (index,)
        batch_axis = None if self.batch_axis is None else sliced_axis(steps, self.ndim, self.batch_axis)
        return self.as_view(Slice(index), shape, batch_axis)

    def __bool__(self) -> bool:
        """Refused: the content is not known yet."""
        refuse("a branch on a value, or its conversion to a number, before it is known")

    if not TYPE_CHECKING:  # or it would count as an implementation of any protocol
        __float__ = __int__ = __index__ = __bool__

        def __getattr__(self, name: str) -> NoReturn:
            """Refused: an attribute that arrays have and values lack."""
            if name.startswith("__"):
                raise AttributeError(name)  # NumPy and copy look for such
            raise MissingAttributeError(f"the attribute {name!r} of an array cannot be recorded: {RECORDABLE}")

    __iter__ = None  # nor be walked row by row
