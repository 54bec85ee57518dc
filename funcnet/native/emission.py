"""A plan as fast C: features first, products in register tiles, hints for the compiler.

NumPy makes the calls for which it is faster. Each C function takes one argument, a table of pointers: the slab, the
arrays given, the arrays to return.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from funcnet.compiler.plan import Plan
from funcnet.native import images, recurrence
from funcnet.native.calls import FORMS
from funcnet.native.calls import product as plain_product
from funcnet.native.expressions import fast
from funcnet.native.grouping import Grouping
from funcnet.native.memory import Placement
from funcnet.native.writing import INDICES, Writer, row_major, wish_of
from funcnet.tracing.primitive import MATMUL, MAX, SUM
from funcnet.tracing.products import CONTRACT
from funcnet.tracing.trace import Call, Value

FEW, WIDE = 32, 128  # numbers up to which C is as fast as the product of a BLAS
TYPES = {"f": "T", "b": "unsigned char", "i": "int{bits}_t", "u": "uint{bits}_t"}


class Emission(Writer):
    """A plan as C: inputs are copied to features first, groups run, outputs are copied out.

    segments: lines of C for each stretch between calls that NumPy makes; `numpy_calls[i]` comes behind segment i.
    checks: calls that set the status; NumPy makes them again and raises the error.
    """

    has_tiles: bool = True

    def __init__(self, plan: Plan, grouping: Grouping, placement: Placement) -> None:
        super().__init__(plan, grouping, placement, "fn")
        self.declarations: dict[str, str] = {}
        self.segments: list[list[str]] = [self.lines]
        self.numpy_calls: list[Call] = []
        self.checks: list[Call] = []
        self.code: int = 1 + (plan.inputs[0].shape[0] if plan.inputs else 0)  # what they set it to
        self._copy_inputs()
        for number, group in enumerate(grouping.groups):
            self.comment(group)
            if group.fused:
                self.loop(number)
            else:
                self._put_call(group.calls[0])
            for call in group.all():
                for value in call.outputs:
                    self._put_ones(value)
        self._hand_out()

    def declared(self, root: Value) -> str:
        """The name of the pointer to a stored value."""
        found = f"v{len(self.names)}" + (f"_{wish_of(root.call)}" if root.call else "")
        kind, place = self.c_type(root), self.placement.place(root)
        text = f"{kind} *const {found} = ({kind} *)(fn_slab + {place});"
        if self.plan.is_param(root):
            text = f"const T *const {found} = fn_params + {place // root.dtype.itemsize};"
        self.declarations[found] = text
        return found

    def local_name(self, value: Value, end: str) -> str:
        """The name of a register."""
        return f"t{len(self.locals)}"

    def c_type(self, value: Value) -> str:
        """The C type of the elements of a value."""
        return c_type(value)

    def function(self, name: str) -> str:
        """A function of `functions.h`, else of the C library."""
        return fast(name, self.suffix)

    def refusal(self, call: Call, instead: str) -> str:
        """The statement for a wrong operand: it sets the status, and continues with something harmless."""
        self.checks.append(call)
        return f"{{ *fn_status = {self.code}; {instead} }}"

    def _copy_inputs(self) -> None:
        """Copy each floating input from rows first to features first."""
        for i, value in enumerate(self.plan.inputs):
            if id(value) not in self.grouping.stored or self._is_read_as_given(value):
                continue
            if self._is_turned(value):
                (name, (_, stride)), (rows, features) = self.pointer(value), value.shape
                self.put(f"fn_turn(fn_x{i}, {features}, {name}, {stride}, {rows}, {features});")
            else:
                indices = INDICES[: value.ndim]
                line = f"{self.element(value, indices)} = fn_x{i}[{row_major(value.shape, indices)}];"
                self.loops(value.shape, self.storage_order(value), [line])
            self._put_ones(value)

    def _is_read_as_given(self, value: Value) -> bool:
        """Whether every reader of an input reads the array of the caller."""
        readers = [call for call in self.plan.calls if any(v.root is value for v in call.operands)]
        if value.dtype != self.plan.dtype or any(y.root is value for y in self.plan.outputs):
            return False
        return all(recurrence.reads_as_given(call, value) for call in readers)

    def given(self, value: Value) -> tuple[str, list[int]]:
        """The same, of an array of the caller."""
        for i, x in enumerate(self.plan.inputs):
            if x is value and x.dtype == self.plan.dtype:
                return f"fn_x{i}", [prod(x.shape[axis + 1 :]) for axis in range(x.ndim)]
        return self.pointer(value)

    def _is_turned(self, value: Value) -> bool:
        """Whether a value is a matrix that is stored column by column."""
        large = value.ndim == 2 and min(value.shape) >= 8 and value.dtype == self.plan.dtype
        return large and self.strides(value)[0] == 1

    def _put_ones(self, value: Value) -> None:
        """Fill the feature of ones behind a value."""
        if value.ones is not None and id(value) in self.grouping.stored:
            rows = self.placement.rows(value)
            place = f"{self.name(value)}[{value.shape[-1] * rows} + i]"
            self.put("FN_IVDEP", f"for (long i = 0; i < {rows}; i++) {place} = 1;")

    def _hand_out(self) -> None:
        """Write the outputs, row by row, to the arrays of the caller."""
        for i, (value, factor) in enumerate(zip(self.plan.outputs, self.plan.factors, strict=True)):
            indices = INDICES[: value.ndim]
            if factor == 1.0 and self._is_turned(value):
                (name, (_, stride)), (rows, features) = self.pointer(value), value.shape
                self.put(f"fn_turn({name}, {stride}, fn_y{i}, {features}, {features}, {rows});")
                continue
            scale = "" if factor == 1.0 else f" * {self.number(factor)}"
            line = f"fn_y{i}[{row_major(value.shape, indices)}] = {self.element(value, indices)}{scale};"
            self.loops(value.shape, range(value.ndim), [line], "")

    def _put_call(self, call: Call) -> None:
        """Emit a call that is not elementwise: in C where it has a form that is no slower, else by NumPy."""
        name = call.primitive.name
        if name in images.FORMS and images.are_faster(self, call):
            images.FORMS[name](self, call)
        elif call.primitive is MATMUL and is_faster(call):
            product(self, call)
        elif call.primitive is not MATMUL and name in FORMS and is_faster(call):
            FORMS[name](self, call)
        else:
            for value in call.operands:
                self.name(value.root)
            self.numpy_calls.append(call)
            self.lines: list[str] = []
            self.segments.append(self.lines)


def is_faster(call: Call) -> bool:
    """Whether a call is faster in C than in NumPy."""
    if call.primitive is MATMUL:
        return call.output.ndim == 2 and call.output.dtype.kind == "f" and not by_numpy(call)
    if call.primitive in (SUM, MAX):
        return call.operands[0].dtype.kind in "fb"
    return call.primitive is not CONTRACT and (
        call.primitive.name not in recurrence.FORMS or recurrence.is_faster(call)
    )


def by_numpy(call: Call) -> bool:
    """Whether the product of NumPy is faster."""
    fewest, middle, _ = sorted((*call.inputs[0].shape, call.output.shape[1]))
    return bool(fewest >= FEW and middle > WIDE)


def product(e: Emission, call: Any) -> None:
    """a b: features by rows, the cotangent of a weight, or, of one row, sums along the weight's rows."""
    a, b = call.inputs
    y = call.output
    (pa, (am, ak)), (pb, (bk, bn)), (py, (ym, yn)) = e.pointer(a), e.pointer(b), e.pointer(y)
    (m, k), n = a.shape, b.shape[1]
    given_a, given_b = int(e.plan.is_param(a)), int(e.plan.is_param(b))
    if m == 1 and ak == bk == 1 and (n == 1 or (yn == 1 and bn != 1)):
        e.put(f"fn_inner_rows({pb}, {bn}, {pa}, {py}, 1, {n}, {k});")
    elif n == 1 and ak == bk == ym == 1:
        e.put(f"fn_inner_rows({pa}, {am}, {pb}, {py}, 1, {m}, {k});")
    elif (m == 1 or ym == 1) and (m > 1 or bn != 1) and (am == 1 or m == 1):
        rows = e.placement.form(y)[2] if y.batch_axis == 0 else m
        e.put(f"fn_product_given({pb}, {bn}, {bk}, {pa}, {ak}, {py}, {yn}, {n}, {k}, {rows}, {given_a});")
    elif (n == 1 or yn == 1) and (bn == 1 or n == 1):
        e.put(f"fn_product_given({pa}, {am}, {ak}, {pb}, {bk}, {py}, {ym}, {m}, {k}, {n}, {given_b});")
    elif yn == 1 and bk == 1:
        padded = -(-n // 16) * 16
        (turned,) = e.scratch(padded * k)
        e.put(f"fn_rows_by_rows({pa}, {am}, {ak}, {pb}, {bn}, {turned}, {padded}, {py}, {ym}, {m}, {k}, {n});")
    else:
        plain_product(e, call)


def c_type(value: Value) -> str:
    """The C type of the elements of a value."""
    dtype = np.dtype(value.dtype)
    return TYPES[dtype.kind].format(bits=8 * dtype.itemsize)
