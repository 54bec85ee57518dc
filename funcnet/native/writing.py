"""Lines of C over arrays in the slab: names, elements, loops."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from funcnet.compiler.binding import Binding
from funcnet.compiler.plan import Plan
from funcnet.native.memory import Placement
from funcnet.tracing.trace import Call, Value

INDICES = "ijklqrvw"
MOST_ROWS = 6  # of a tile of two vectors, which then fits in sixteen registers
TYPES = {"f": "T", "b": "unsigned char", "i": "int{bits}_t", "u": "uint{bits}_t"}


class Writer:
    """The text of a plan's functions.

    segments: lines of C for each stretch between calls that NumPy makes; `numpy_calls[i]` comes behind segment i.
    names: of stored values, by identity.      turned: how many elements turned operands of products need.
    """

    def __init__(self, plan: Plan, placement: Placement) -> None:
        self.plan = plan
        self.binding: Binding = Binding(placement.plan)
        self.placement = placement
        self.suffix: str = "f" if plan.dtype.itemsize == 4 else ""
        self.names: dict[int, str] = {}
        self.declarations: dict[str, str] = {}
        self.segments: list[list[str]] = [[]]
        self.numpy_calls: list[Call] = []
        self.turned: int = 0
        self.longest: int = 0  # how many ends of sequences are kept at a time
        self.checks: list[Call] = []  # those that set the status, for NumPy to make again and raise the error
        self.code: int = 1 + (plan.inputs[0].shape[0] if plan.inputs else 0)  # what they set it to
        self.parts: list[Value] = []  # views that are known by identity, so that they must not go

    def put(self, *lines: str) -> None:
        """Lines of C."""
        self.segments[-1] += lines

    def array(self, value: Value) -> Any:
        """The array that a value is in the slab."""
        return self.binding.array(value)

    def name(self, root: Value) -> str:
        """The name of the pointer to a stored value."""
        found = self.names.get(id(root))
        if found is None:
            found = self.names[id(root)] = f"v{len(self.names)}{identifier(root)}"
            kind = c_type(root)
            place = f"{kind} *const {found} = ({kind} *)(fn_slab + {self.placement.place(root)});"
            if self.plan.is_param(root):
                place = f"const T *const {found} = fn_params + {self.placement.place(root) // root.dtype.itemsize};"
            self.declarations[found] = place
        return found

    def pointer(self, value: Value) -> tuple[str, list[int]]:
        """(the address of a value's first element, its strides in elements)."""
        array, size = self.array(value), value.dtype.itemsize
        offset = (self.binding.offset(array) - self.placement.place(value.root)) // size if array.size else 0
        name = self.name(value.root)
        return f"{name} + {offset}" if offset else name, [stride // size for stride in array.strides]

    def given(self, value: Value) -> tuple[str, list[int]]:
        """The same, of an array from the caller where the caller has it."""
        for i, x in enumerate(self.plan.inputs):
            if x is value and x.dtype == self.plan.dtype:
                return f"fn_x{i}", [prod(x.shape[axis + 1 :]) for axis in range(x.ndim)]
        return self.pointer(value)

    def element(self, value: Value, indices: Sequence[str]) -> str:
        """The element of a value at these indices of a result, to whose shape it is broadcast."""
        pointer, strides = self.pointer(value)
        own = indices[len(indices) - value.ndim :]
        terms = [term(s, i) for s, i, n in zip(strides, own, value.shape, strict=True) if n > 1 and s]
        name, _, offset = pointer.partition(" + ")
        return f"{name}[{' + '.join([*terms, *([offset] if offset else [])]) or '0'}]"

    def loops(self, shape: Sequence[int], order: Sequence[int], body: Sequence[str], hint: str = "FN_IVDEP") -> None:
        """Loops over the axes in this order, the hint before the innermost one."""
        axes = [axis for axis in order if shape[axis] != 1]
        for depth, axis in enumerate(axes):
            i = INDICES[axis]
            if depth == len(axes) - 1 and hint:
                self.put(hint)
            self.put(f"for (long {i} = 0; {i} < {shape[axis]}; {i}++)" + " {" * (depth == len(axes) - 1))
        self.put(*(["{"] if not axes else []), *(f"    {line}" for line in body), "}")

    def scratch(self, *sizes: int) -> list[str]:
        """Addresses of memory for one call, for so many elements each."""
        starts = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
        self.turned = max(self.turned, starts[-1])
        return [f"fn_turned + {start}" if start else "fn_turned" for start in starts[:-1]]

    def tiles(self, *rows: int) -> list[str]:
        """How many rows a tile of a product has, of products with so many rows."""
        return [str(tile_rows(n)) for n in rows]

    def ends(self, rows: int) -> str:
        """The address of memory for so many whole numbers, until the next call."""
        self.longest = max(self.longest, rows)
        return "fn_ends"

    def refusal(self, call: Call, instead: str) -> str:
        """A statement for where a call reads what is wrong: it sets the status, and does something instead."""
        self.checks.append(call)
        return f"{{ *fn_status = {self.code}; {instead} }}"

    def storage_order(self, value: Value) -> list[int]:
        """The axes of a value, the one of the longest stride first."""
        strides = self.array(value).strides
        return sorted(range(value.ndim), key=lambda axis: -strides[axis])

    def scope(self, call: Call) -> None:
        """Say where the next lines come from."""
        if call.scope:
            self.put(f"/* {call.scope.replace('*', '').replace('//', '/')} */")


def tile_rows(rows: int) -> int:
    """How many rows of a product the largest tiles have; there are as few tiles as six rows allow, of equal heights."""
    return -(-rows // -(-rows // MOST_ROWS))


def term(stride: int, index: str) -> str:
    """A step in memory."""
    return index if stride == 1 else f"{stride} * {index}"


def row_major(shape: Sequence[int], indices: Sequence[str]) -> str:
    """Where an element stands in an array that lies row by row."""
    steps = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return " + ".join(term(s, i) for s, i, n in zip(steps, indices, shape, strict=True) if n > 1) or "0"


def c_type(value: Value) -> str:
    """The C type of the elements of a value."""
    dtype = np.dtype(value.dtype)
    return TYPES[dtype.kind].format(bits=8 * dtype.itemsize)


def identifier(root: Value) -> str:
    """The rest of a value's name: the operator that makes it."""
    scope = "" if root.call is None else f"{root.call.scope} {root.call.primitive.name}"
    return re.sub(r"[^0-9A-Za-z]+", "_", f" {scope}").rstrip("_")
