"""Decide, before any data arrives, which of the recorded calls run and where each value lives.

The passes, in order: calls whose result nobody needs are dropped; biases ride in the matrix products; the cotangents of
the params go straight to their places in one flat vector; small calls that do the same are fused; every other value
gets a buffer, a piece of memory that it shares with values that are not read any more. All of it is computed from what
the calls read and write.

How an array lies in memory, where its `order` says nothing else:

- Features first: a batched value of shape (batch, ..., features) is stored as (features, batch, ...), so that each row
  of memory is one feature of the whole batch; the maths sees the batch-first view. Elementwise calls, products and
  reductions over features run over long contiguous rows in this form, also where features are few.
- A last row of ones: where x W + b is wanted, x is stored with one more feature, constantly 1, and the product is
  [x 1] [W; b]; its gradient [x 1]^T g is [dW; db] at once. W and b lie next to each other in the flat vector of params.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from funcnet.compiler.buffers import Buffer, ends_at, nbytes, same_form, written
from funcnet.compiler.fusion import ALL_BUT_LAST, LAST, Fused, fold_bias, fuse
from funcnet.tracing.primitive import COPY, MULTIPLY
from funcnet.tracing.trace import Call, Trace, Value

ALIGNMENT = 64  # bytes: a cache line, and the widest vector params_cache
FOREVER = 1 << 60
PASSES = frozenset({"fold_bias", "fusion", "in_place"})  # those without which a program gives the same, slower


class Plan:
    """Which calls run, in which order, and where every value lives.

    calls: those that run.              parameters, inputs: the values that come from outside.
    outputs: the values that go out.    factors: what each of them, a single number, is multiplied by as it goes.
    left_out: the calls that were recorded and do not run.
    params_buffer, gradient_buffer: hold the flat vectors of the params and of their cotangents; the memory may be one
        and the same.
    working_buffers: all others, the packed buffers of fused calls first.
    parts: for the whole of a packed buffer, by its identity, the values that stand there.
    size: the bytes of memory that one run needs.
    passes: which of the passes that a program can do without are made.

    The trace is not changed: the passes work on copies of its values and calls.
    """

    def __init__(
        self,
        trace: Trace,
        outputs: Sequence[Value],
        gradient: Sequence[Value] = (),
        passes: Collection[str] = PASSES,
    ) -> None:
        copies = Copies(trace)
        outputs, gradient = copies.of_all(outputs), copies.of_all(gradient)
        self.dtype: np.dtype[Any] = trace.dtype
        self.parameters: list[Value] = copies.of_all(trace.parameters)
        self.inputs: list[Value] = copies.of_all(trace.inputs)
        self.outputs: list[Value]
        self.factors: list[float]
        self.parts: dict[int, list[Value]]
        self.outputs, self.factors = unscaled(outputs)
        bytes_of_params = sum(map(nbytes, self.parameters))
        self.params_buffer: Buffer = Buffer(bytes_of_params)
        self.gradient_buffer: Buffer = Buffer(bytes_of_params if gradient else 0)
        for parameter in self.parameters:
            parameter.buffer = self.params_buffer
        self.calls: list[Call] = eliminate_dead_code(copies.calls, (*self.outputs, *gradient))
        if "fold_bias" in passes:
            self.calls = fold_bias(self.calls)
        if gradient:
            self.calls += self._place_gradient(gradient)
        self.working_buffers: list[Buffer]
        self.calls, self.working_buffers, self.parts = (
            fuse(self.calls) if "fusion" in passes else Fused(self.calls, [], {})
        )
        kept = {id(call) for call in self.calls}
        self.left_out: list[Call] = [call for call in copies.calls if id(call) not in kept]
        self._assign_buffers("in_place" in passes)
        self.over_params: bool = bool(gradient) and self._gradient_fits_over_params()
        self.size: int = self._lay_out()

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """All pieces of memory."""
        return self.params_buffer, self.gradient_buffer, *self.working_buffers

    def _place_gradient(self, gradient: Sequence[Value]) -> list[Call]:
        """Have each cotangent written where it belongs in the flat vector; return the copies where that cannot be."""
        copies: list[Call] = []
        for parameter, cotangent, after in zip(self.parameters, gradient, [*gradient[1:], None], strict=True):
            root = cotangent.root
            if cotangent.view is LAST and root.buffer is self.gradient_buffer and ends_at(root) == ends_at(parameter):
                continue  # written together with the cotangent of the weight
            if root.call is None or root.buffer is not None or not (cotangent is root or heads(cotangent, after)):
                root = Value(parameter.trace, parameter.shape, parameter.dtype, None)
                root.call = Call(COPY, (cotangent,), (root,), {}, "")
                copies.append(root.call)
            root.buffer, root.offset = self.gradient_buffer, parameter.offset
        return copies

    def _assign_buffers(self, in_place: bool) -> None:
        """Give every value a buffer: of an input that its call is the last to read, else a free one, else a new one."""
        for i, call in enumerate(self.calls):
            for value in call.operands:
                value.root.last = i
        for value in self.outputs:
            value.root.last = FOREVER
        fixed, free = [*self.buffers], Free()
        for value in self.inputs:
            value.buffer = self._take(value, free)
        for i, call in enumerate(self.calls):
            for output in written(call):
                if output.buffer is None:
                    output.buffer = (in_place_buffer(call, i, fixed) if in_place else None) or self._take(output, free)
            taken = [output.buffer for output in call.outputs]
            for value in call.operands:
                root = value.root
                if root.last == i and root.buffer not in taken and root.buffer not in fixed:
                    free.add(root.buffer)
                    root.last = -1

    def _take(self, value: Value, free: Free) -> Buffer:
        buffer = free.take(value) if value.shape else None  # a number, often a loss, would hold on to a whole array's
        if buffer is None:
            buffer = Buffer()
            self.working_buffers.append(buffer)
        return buffer.admit(value)

    def _gradient_fits_over_params(self) -> bool:
        """Whether every cotangent can be written where its parameter stood, since no call reads that any more."""
        params, gradient = self.params_buffer, self.gradient_buffer
        sizes = {parameter.offset: parameter.elements for parameter in self.parameters}
        last: dict[int, int] = {}
        for i, call in enumerate(self.calls):
            for value in call.operands:
                if value.root.buffer is params:
                    last.update((place, i) for place in places(value.root, sizes))
        return not any(y.root.buffer is params for y in self.outputs) and all(
            last.get(place, -1) < i
            for i, call in enumerate(self.calls)
            for output in call.outputs
            if output.buffer is gradient
            for place in places(output, sizes)
        )

    def _lay_out(self) -> int:
        """Put the buffers one behind the other; return the length of all."""
        start = 0
        for buffer in self.buffers:
            if self.over_params and buffer is self.gradient_buffer:
                continue  # it begins where the params do
            buffer.start = start
            start += -(-(buffer.size + buffer.row) // ALIGNMENT) * ALIGNMENT
        return start


class Copies:
    """Copies of all values and calls of a trace, for the passes to work on."""

    def __init__(self, trace: Trace) -> None:
        self._made: dict[int, Value] = {}
        self.calls: list[Call] = []
        for call in trace.calls:
            inputs = tuple([self.of(x) if isinstance(x, Value) else x for x in call.inputs])
            outputs = tuple(self.of_all(call.outputs))
            copy = Call(call.primitive, inputs, outputs, call.attributes, call.scope)
            for output in outputs:
                output.call = copy
            self.calls.append(copy)

    def of(self, value: Value) -> Value:
        """The copy of a value, always the same one."""
        found = self._made.get(id(value))
        if found is None:
            found = self._made[id(value)] = Value(value.trace, value.shape, value.dtype, value.batch_axis)
            found.offset, found.view, found.order = value.offset, value.view, value.order
            if value.base is not None:
                found.base = self.of(value.base)
        return found

    def of_all(self, values: Iterable[Value]) -> list[Value]:
        """The copies of several values."""
        return [self.of(value) for value in values]


class Free:
    """The buffers that nobody lives in, by size; the last one left is taken first, for it is still in the cache."""

    def __init__(self) -> None:
        self.by_size: dict[int, list[Buffer]] = {}

    def add(self, buffer: Buffer) -> None:
        """Take a buffer back."""
        self.by_size.setdefault(buffer.size, []).append(buffer)

    def take(self, value: Value) -> Buffer | None:
        """The smallest buffer that the value fits into."""
        need = nbytes(value)
        for size in sorted(size for size, buffers in self.by_size.items() if buffers and size >= need):
            buffers = self.by_size[size]
            for i in range(len(buffers) - 1, -1, -1):
                if buffers[i].fits(value):
                    return buffers.pop(i)
        return None


def unscaled(outputs: Iterable[Value]) -> tuple[list[Value], list[float]]:
    """The outputs without a last multiplication of a single number, and its factor, else 1.

    Such a number, the mean of a loss, is scaled once it is out of NumPy's hands, in a quarter of the time.
    """
    pairs: list[tuple[Value, float]] = []
    for y in outputs:
        x, factor = y.call.inputs if y.call is not None and y.call.primitive is MULTIPLY else (y, 1.0)
        scaled = not y.shape and type(factor) is float and x.dtype == y.dtype
        pairs.append((x, factor) if scaled else (y, 1.0))
    return [y for y, _ in pairs], [factor for _, factor in pairs]


def eliminate_dead_code(calls: Sequence[Call], results: Iterable[Value]) -> list[Call]:
    """The calls that the results need, and for each value how often it is read."""
    for value in results:
        value.root.use_count += 1
    kept: list[Call] = []
    for call in reversed(calls):
        if written(call):
            kept.append(call)
            for value in call.operands:
                value.root.use_count += 1
    return kept[::-1]


def heads(cotangent: Value, after: Value | None) -> bool:
    """Whether this and the next cotangent are the two parts of one stack."""
    return cotangent.view is ALL_BUT_LAST and after is not None and after.view is LAST and after.base is cotangent.base


def in_place_buffer(call: Call, number: int, fixed: Sequence[Buffer]) -> Buffer | None:
    """The buffer of an input that an elementwise call may overwrite: no later call reads it, not even by a view.

    One element alone is left in place: NumPy checks such operands for overlap, which takes longer than the call.
    """
    if not call.primitive.elementwise or call.output.elements < 2:
        return None
    output, operands = call.output, call.operands
    for value in operands:
        alone = value.base is None and value.last == number and all(v is value or v.root is not value for v in operands)
        if alone and same_form(value, output) and value.buffer not in fixed and value.buffer.fits(output):
            return value.buffer.admit(output)  # type: ignore[no-any-return]
    return None


def places(value: Value, sizes: dict[int, int]) -> Iterator[int]:
    """Where the params begin that a parameter, or a stack of some, or its cotangent, is made of."""
    place = value.offset
    while place < ends_at(value):
        yield place
        place += sizes[place]
