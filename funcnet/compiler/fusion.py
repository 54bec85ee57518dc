"""Fewer calls for the same result: biases folded into products, and small calls of one form fused.

A bias is folded into the product before it: x W + b = [x 1] [W; b], and [x 1]^T g is the cotangent of both at once.

On a few hundred numbers a NumPy call takes hardly longer than on one. Independent small calls of one primitive with the
same constants are fused: their operands are allocated contiguously, in a packed buffer, and so are their results; one
call then handles them all. Nothing else ever lives in a packed buffer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from funcnet.compiler.buffers import Buffer, ends_at, nbytes, same_form
from funcnet.tracing.primitive import ADD, MATMUL, SUM
from funcnet.tracing.shapes import Reshape, Slice, Transpose
from funcnet.tracing.trace import Call, Value

ALL_BUT_LAST, LAST = Slice(slice(None, -1)), Slice(-1)
SMALL = 1 << 17  # bytes of a packed buffer up to which a call saved is worth more than the cache that it takes

Form: TypeAlias = tuple[Any, ...]
"""What a call does to the only value that it reads."""
Step: TypeAlias = list[Call]
"""Calls of one form, on different values."""


class Fused(NamedTuple):
    """The calls that are left, the packed buffers, and the values in each, by the identity of its whole value."""

    calls: list[Call]
    packed_buffers: list[Buffer]
    parts: dict[int, list[Value]]


def fuse(calls: Sequence[Call]) -> Fused:
    """Fuse all calls that can be fused; every `Value.use_count` is set."""
    fused = Fused([], [], {})
    made = {id(y): i for i, call in enumerate(calls) for y in call.outputs}
    readers = {id(x): call for call in calls for x in call.operands}
    instead: dict[int, list[Call]] = {}
    for alike in by_form(calls):
        members = ready_together(alike, made)
        if len(members) < 2 or sum(map(whole_size, members)) > SMALL:
            continue
        steps = [members, *steps_after(members, readers)]
        instead.update((id(call), []) for step in steps for call in step)
        instead[id(members[0])] = [step[0] for step in steps]
        pack(steps, fused)
    for call in calls:
        fused.calls.extend(instead.get(id(call), (call,)))
    return fused


def by_form(calls: Sequence[Call]) -> list[Step]:
    """The calls that can be fused, grouped by form."""
    forms: dict[Form, Step] = {}
    for call in calls:
        form = form_of(call)
        if form is not None:
            forms.setdefault(form, []).append(call)
    return [*forms.values()]


def form_of(call: Call) -> Form | None:
    """What the call does to the only value that it reads; None for a call that cannot be fused to others."""
    if not call.primitive.fusible:
        return None
    x, y = call.operands[0], call.output
    if x.call is None or x.ndim < 2 or not same_form(x, y):
        return None
    if y.ones is not None:  # written once, they would be written over
        return None
    if not all(v is x or type(v) in (float, int) for v in call.inputs):
        return None
    return call.primitive.name, x.dtype, y.dtype, tuple(None if v is x else repr(v) for v in call.inputs)


def ready_together(alike: Step, made: dict[int, int]) -> Step:
    """The first call, and those of the others whose operands exist by then and can be packed."""
    free = [call for call in alike if call.operands[0].buffer is None and call.output.buffer is None]
    ready: dict[int, Call] = {}
    for call in free:
        x = call.operands[0]
        if made[id(x)] < made[id(free[0].output)]:
            ready.setdefault(id(x), call)
    return [*ready.values()]


def whole_size(call: Call) -> int:
    """The bytes of a call's result for the whole batch, of which the call may compute one block of rows."""
    return call.output.size * call.output.dtype.itemsize


def steps_after(step: Step, readers: dict[int, Call]) -> Iterator[Step]:
    """The further calls of one form that are the only readers of all results, step by step."""
    while all(call.output.use_count == 1 and id(call.output) in readers for call in step):
        step = [readers[id(call.output)] for call in step]
        forms = {form_of(call) for call in step}
        if len(forms) > 1 or None in forms or any(call.output.buffer is not None for call in step):
            return
        yield step


def pack(steps: list[Step], fused: Fused) -> None:
    """Put the values into a packed buffer, and have the first call of each step compute all of it."""
    before, after = Buffer(), Buffer()
    fused.packed_buffers.extend((before, after))
    values = [call.operands[0] for call in steps[0]]
    whole = packed_in(values, before, fused)
    for value in values:
        settle(value)
    for first, *others in steps:
        (x, *_), values = first.operands, [first.output, *(call.output for call in others)]
        first.read(tuple(whole if v is x else v for v in first.inputs))
        whole = packed_in(values, after, fused)
        first.outputs, whole.call = (whole,), first


def packed_in(values: list[Value], buffer: Buffer, fused: Fused) -> Value:
    """The whole value of a packed buffer, made of these values, each with room for a feature of ones."""
    length = 0
    for value in values:
        value.buffer, value.offset = buffer, length
        length += value.elements + value.elements // max(1, value.shape[-1])  # as much for operands as for results
    whole = Value(values[0].trace, (length,), values[0].dtype, None)
    whole.buffer, whole.use_count, buffer.size = buffer, 1, nbytes(whole)
    fused.parts[id(whole)] = values
    return whole


def settle(value: Value) -> None:
    """Let the operand of an elementwise call be in the place of its result already, where nothing else reads it."""
    call = value.call
    if call is None or not call.primitive.elementwise or value.elements < 2:
        return
    for x in call.operands:
        alone = x.use_count == 1 and x.call is not None and x.buffer is None
        if alone and same_form(x, value):
            x.buffer, x.offset = value.buffer, value.offset
            settle(x)
            return


def fold_bias(calls: Sequence[Call]) -> list[Call]:
    """Turn x W + b into [x 1] [W; b], and the pair x^T g, sum_n g into [x 1]^T g."""
    dropped: set[int] = set()
    products: dict[int, list[Call]] = {}
    for call in calls:
        if call.primitive is MATMUL:
            left, g = call.inputs
            if g.ndim == 2 and is_transposed(left) and holder(left.base) is not None:
                products.setdefault(id(g), []).append(call)
        elif call.primitive is ADD:
            dropped.update(add_bias(call))
        elif call.primitive is SUM and call.attributes["axes"] == (0,) and products.get(id(call.inputs[0])):
            stack_cotangents(products[id(call.inputs[0])].pop(), call.output)
            dropped.add(id(call))
    return [call for call in calls if id(call) not in dropped]


def is_transposed(x: Value) -> bool:
    """Whether it is the transpose of another value."""
    return isinstance(x.view, Transpose) and x.view.reverses


def add_bias(call: Call) -> list[int]:
    """Make x W + b one product where W and b are neighbours in the params; return the product that it replaces."""
    y, b = call.inputs
    product = y.call if isinstance(y, Value) and isinstance(b, Value) else None
    if product is None or product.primitive is not MATMUL or y.use_count > 1:
        return []
    x, W = product.inputs
    if holder(x) is None or W.ndim != 2 or b.shape != W.shape[1:]:
        return []
    if W.buffer is None or b.buffer is not W.buffer or ends_at(W) != b.offset:
        return []
    stack = Value(W.trace, (W.shape[0] + 1, W.shape[1]), W.dtype, None)
    stack.buffer, stack.offset = W.buffer, W.offset
    call.primitive = MATMUL
    call.read((with_ones(x), stack))
    return [id(product)]


def stack_cotangents(product: Call, bias_cotangent: Value) -> None:
    """Have x^T g compute [x 1]^T g, of which the cotangents of the weight and of the bias are views."""
    x_transposed, g = product.inputs
    dW = product.output
    stack = Value(dW.trace, (dW.shape[0] + 1, dW.shape[1]), dW.dtype, None)
    stack.use_count = dW.use_count  # by now, only whether it is read counts
    product.read((with_ones(x_transposed.base).T, g))
    product.outputs, stack.call = (stack,), product
    for part, view in ((dW, ALL_BUT_LAST), (bias_cotangent, LAST)):
        part.base, part.view, part.call = stack, view, None


def holder(x: Value) -> Value | None:
    """The value that holds the rows of x and can have a feature of ones behind them; None where there is none.

    It is x itself, or a value with axes between batch and features, such as time, which are rows of x.
    """
    root = x
    while root.base is not None and isinstance(root.view, Reshape):
        root = root.base
    return root if root.base is None and x.ndim == 2 and x.batch_axis == 0 else None


def with_ones(x: Value) -> Value:
    """The value [x 1], in the memory of the value that holds x."""
    root = holder(x)
    assert root is not None
    if root.ones is None:
        root.ones = Value(x.trace, (x.shape[0], x.shape[1] + 1), x.dtype, x.batch_axis)
        root.ones.base = root
    return root.ones
