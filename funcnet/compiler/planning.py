"""Make a plan: the passes that decide, before any data arrives, which calls run and where each value is in memory.

In order: calls without a reader are dropped; biases are folded into matrix products; the cotangents of the params are
written straight to their places in one flat vector; small calls of one form are fused; every other value gets a buffer,
whose earlier values are read no more. All passes use only the operands and outputs of the calls.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain

from funcnet.compiler.buffers import ALIGNMENT, Buffer, Free, ends_at, nbytes, same_form, written
from funcnet.compiler.fusion import ALL_BUT_LAST, LAST, Fused, fold_bias, fuse
from funcnet.compiler.plan import Plan, place_of
from funcnet.tracing.primitive import COPY, MULTIPLY
from funcnet.tracing.trace import Call, Trace, Value

FOREVER = 1 << 60
PASSES = frozenset({"fold_bias", "fusion", "in_place"})  # optional: without them results are equal, and slower


def make_plan(
    trace: Trace, outputs: Sequence[Value], gradient: Sequence[Value] = (), passes: Collection[str] = PASSES
) -> Plan:
    """Plan a trace, which is not changed: the passes work on copies of its values and calls.

    gradient: the cotangents of the params, one for each; none in a forward pass.
    passes: the optional passes to run.
    """
    copies = Copies(trace)
    results, factors = unscaled(copies.of_all(outputs))
    cotangents, parameters, inputs = map(copies.of_all, (gradient, trace.parameters, trace.inputs))
    bytes_of_params = sum(map(nbytes, parameters))
    params_buffer, gradient_buffer = Buffer(bytes_of_params), Buffer(bytes_of_params if gradient else 0)
    for parameter in parameters:
        parameter.buffer = params_buffer
    calls = eliminate_dead_code(copies.calls, (*results, *cotangents))
    if "fold_bias" in passes:
        calls = fold_bias(calls)
    if gradient:
        calls += place_gradient(parameters, cotangents, gradient_buffer)
    calls, packed_buffers, parts = fuse(calls) if "fusion" in passes else Fused(calls, [], {})
    fixed = [params_buffer, gradient_buffer, *packed_buffers]
    working_buffers = assign_buffers(calls, inputs, results, fixed, in_place="in_place" in passes)
    over_params = bool(gradient) and fits_over_params(calls, parameters, results, params_buffer, gradient_buffer)
    size = lay_out([*fixed, *working_buffers], gradient_buffer if over_params else None)
    kept = {id(call) for call in calls}
    values = {id(value): value for value in stored(calls, chain(parameters, inputs, results, *parts.values()))}
    return Plan(
        dtype=trace.dtype,
        calls=tuple(calls),
        left_out=tuple([call for call in copies.calls if id(call) not in kept]),
        parameters=tuple(parameters),
        inputs=tuple(inputs),
        outputs=tuple(results),
        factors=tuple(factors),
        params_buffer=params_buffer,
        gradient_buffer=gradient_buffer,
        packed_buffers=tuple(packed_buffers),
        working_buffers=tuple(working_buffers),
        over_params=over_params,
        parts=parts,
        places={place: place_of(value) for place, value in values.items()},
        ones=tuple([value for value in values.values() if value.base is not None]),
        size=size,
    )


def stored(calls: Sequence[Call], others: Iterable[Value]) -> Iterator[Value]:
    """All values that are no views: those in memory, and those with a feature of ones."""
    for value in chain(others, *(call.operands for call in calls), *map(written, calls)):
        while value.base is not None and value.view is not None:
            value = value.base
        yield value


def place_gradient(parameters: Sequence[Value], gradient: Sequence[Value], buffer: Buffer) -> list[Call]:
    """Have each cotangent written to its place in the flat vector; return calls that copy the others there."""
    copies: list[Call] = []
    for parameter, cotangent, after in zip(parameters, gradient, [*gradient[1:], None], strict=True):
        root = cotangent.root
        if root.buffer is buffer and ends_at(root) == ends_at(parameter):
            continue  # written together with the cotangent of the weight
        if root.call is None or root.buffer is not None or not (cotangent is root or heads(cotangent, after)):
            root = Value(parameter.trace, parameter.shape, parameter.dtype, None)
            root.use_count = 1
            root.call = Call(COPY, (cotangent,), (root,), {}, "")
            copies.append(root.call)
        root.buffer, root.offset = buffer, parameter.offset
    return copies


def assign_buffers(
    calls: Sequence[Call], inputs: Iterable[Value], outputs: Iterable[Value], fixed: Sequence[Buffer], *, in_place: bool
) -> list[Buffer]:
    """Give every value a buffer: that of an operand which no later call reads, else a free one, else a new one.

    fixed: buffers that are assigned already. Returns the new ones.
    """
    for i, call in enumerate(calls):
        for value in call.operands:
            value.root.last = i
    for value in outputs:
        value.root.last = FOREVER
    free = Free()
    for value in inputs:
        value.buffer = free.take(value)
    for i, call in enumerate(calls):
        for output in written(call):
            if output.buffer is None:
                output.buffer = (in_place_buffer(call, i, fixed) if in_place else None) or free.take(output)
        taken = [output.buffer for output in call.outputs]
        for value in call.operands:
            root = value.root
            if root.last == i and root.buffer not in taken and root.buffer not in fixed:
                free.add(root.buffer)
                root.last = -1
    return free.made


def fits_over_params(
    calls: Sequence[Call], parameters: Iterable[Value], outputs: Iterable[Value], params: Buffer, gradient: Buffer
) -> bool:
    """Whether every cotangent can be written over its parameter, because no later call reads that."""
    sizes = {parameter.offset: parameter.elements for parameter in parameters}
    last: dict[int, int] = {}
    for i, call in enumerate(calls):
        for value in call.operands:
            if value.root.buffer is params:
                last.update((place, i) for place in places(value.root, sizes))
    return not any(y.root.buffer is params for y in outputs) and all(
        last.get(place, -1) < i
        for i, call in enumerate(calls)
        for output in call.outputs
        if output.buffer is gradient
        for place in places(output, sizes)
    )


def lay_out(buffers: Iterable[Buffer], over_params: Buffer | None) -> int:
    """Put the buffers one behind the other, except one that lies over the params; return the length of all."""
    start = 0
    for buffer in buffers:
        if buffer is not over_params:
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


def unscaled(outputs: Iterable[Value]) -> tuple[list[Value], list[float]]:
    """The outputs without a last multiplication of a single number, and its factor, else 1.

    Such a number, the mean of a loss for instance, is scaled in Python, in a quarter of the time of a call.
    """
    pairs: list[tuple[Value, float]] = []
    for y in outputs:
        x, factor = y.call.inputs if y.call is not None and y.call.primitive is MULTIPLY else (y, 1.0)
        scaled = not y.shape and type(factor) is float and x.dtype == y.dtype
        pairs.append((x, factor) if scaled else (y, 1.0))
    return [y for y, _ in pairs], [factor for _, factor in pairs]


def eliminate_dead_code(calls: Sequence[Call], results: Iterable[Value]) -> list[Call]:
    """The calls that the results depend on; each `Value.use_count` is set."""
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
    """Whether this and the next cotangent are the two parts of one stacked cotangent."""
    return cotangent.view is ALL_BUT_LAST and after is not None and after.view is LAST and after.base is cotangent.base


def in_place_buffer(call: Call, number: int, fixed: Sequence[Buffer]) -> Buffer | None:
    """The buffer of an input that an elementwise call may overwrite: no later call reads it, not even by a view.

    A value of one element is not overwritten: NumPy checks such operands for overlap, which takes longer than the call.
    """
    if not call.primitive.elementwise or call.output.elements < 2:
        return None
    output, operands = call.output, call.operands
    for value in operands:
        alone = value.last == number and all(v is value or v.root is not value for v in operands)  # no view has a last
        if alone and same_form(value, output) and value.buffer not in fixed and value.buffer.fits(output):
            return value.buffer.admit(output)  # type: ignore[no-any-return]
    return None


def places(value: Value, sizes: dict[int, int]) -> Iterator[int]:
    """The offsets of all params in a parameter, a stack of parameters, or its cotangent."""
    place = value.offset
    while place < ends_at(value):
        yield place
        place += sizes[place]
