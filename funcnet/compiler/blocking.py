"""Large batches in blocks of rows that stay in the cache: whether a program allows it, and where to cut.

A program may run one block of rows after another where every call either treats each row by itself or sums over rows.
Such sums may be multiplied by constants and added up, and must then be results: the sums of the blocks are added.
"""

from __future__ import annotations

from typing import Any

from funcnet.arrays import is_array
from funcnet.compiler.buffers import written
from funcnet.compiler.plan import Plan
from funcnet.tracing.trace import Call, Value

CACHE = 1 << 20  # bytes for all values of one block, about the second-level cache of a core
SMALL_PRODUCT = 1_000_000  # multiplications up to which OpenBLAS has a faster kernel; other libraries do not mind
LINE = 16  # rows, of one float32 each, that fill a cache line
FEWEST = 272  # rows in a block; with fewer the overhead of the calls is too large


def spans(plan: Plan, rows: int) -> list[tuple[int, int]]:
    """(start, stop) of the blocks of a batch of so many rows; one block where it runs whole."""
    if rows < 2 * FEWEST or not separable(plan):
        return [(0, rows)]
    per_row = sum(buffer.size for buffer in (*plan.packed_buffers, *plan.working_buffers)) // rows + 1
    widest = max((product_size(call) for call in plan.calls), default=1)
    length = even(rows, max(FEWEST, min(CACHE // per_row, SMALL_PRODUCT // widest)))
    return [(start, min(start + length, rows)) for start in range(0, rows, length)]


def even(rows: int, most: int) -> int:
    """The length of blocks, about `most`; only the last block may be shorter.

    Features then lie a multiple of a cache line apart, but no multiple of 1,024 bytes: those would share few places in
    the cache.
    """
    most -= (most - LINE) % (2 * LINE)  # an odd multiple of a line
    count = -(-rows // most)
    length = LINE * -(-rows // (count * LINE))
    return length if length % (16 * LINE) else length + LINE


def product_size(call: Call) -> int:
    """Multiplications for each row in a matrix product over rows; 1 for any other call."""
    y = call.outputs[0]
    return max(call.multiply_adds() // y.shape[0], 1) if y.batch_axis == 0 else 1


def separable(plan: Plan) -> bool:
    """Whether results of the blocks, added up or put one behind the other, are those of the batch."""
    sums: set[int] = set()
    for call in plan.calls:
        partial = [id(x.root) in sums for x in call.operands]
        if call.primitive.opaque or any(is_array(x) and may_have_rows(x, call) for x in call.inputs):
            return False  # it may mix rows; an array with one entry a row would have to be cut
        of_rows = any(x.batch_axis is not None for x in call.operands)
        for output in written(call):
            if output.batch_axis is not None:
                if any(partial) or not of_rows:
                    return False  # rows made without rows, such as random ones, would be the same in every block
            elif of_rows or any(partial):
                if not (is_sum_over_rows(call) or (all(partial) and is_linear(call))):
                    return False
                sums.add(id(output))
            elif call.primitive.sums_rows and not call.operands:
                sums.add(id(output))  # zeros, the sum of nothing
            elif plan.is_gradient(output):
                return False  # a cotangent that does not depend on rows would be added once a block
    return all(y.batch_axis == 0 or (id(y.root) in sums and not y.shape) for y in plan.outputs)


def may_have_rows(constant: Any, call: Call) -> bool:
    """Whether a constant array of a call may have one entry a row."""
    output = call.outputs[0]
    axis = None if output.batch_axis is None else constant.ndim - output.ndim + output.batch_axis
    return bool(constant.ndim) and (axis is None or (axis >= 0 and constant.shape[axis] != 1))


def alike(whole: Plan, block: Plan) -> bool:
    """Whether a block makes its calls with the same constants, so that none depends on the number of rows."""
    pairs = zip(whole.calls, block.calls, strict=True)
    return whole.factors == block.factors and all(numbers(a) == numbers(b) for a, b in pairs)


def numbers(call: Call) -> list[object]:
    """The inputs of a call that are no values, and its attributes."""
    constants = (x for x in call.inputs if not isinstance(x, Value))
    found = ((x.dtype, x.shape, x.tobytes()) if is_array(x) else x for x in constants)
    return [*found, *call.attributes.items()]


def is_sum_over_rows(call: Call) -> bool:
    """Whether the call sums over all rows."""
    return call.primitive.sums_rows and all(x.batch_axis is not None for x in call.operands)


def is_linear(call: Call) -> bool:
    """Whether the call of a sum over blocks is the sum of the calls of the blocks."""
    return call.primitive.linear_with == sum(not isinstance(x, Value) for x in call.inputs)
