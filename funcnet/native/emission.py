"""A plan as C: loops over groups of elementwise calls, products in register tiles, sums; one function for each stretch.

Each C function takes one argument, a table of pointers: the slab, the arrays given, the arrays to hand out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from funcnet.compiler.plan import Plan
from funcnet.native.expressions import expression, literal
from funcnet.native.grouping import Group, Grouping
from funcnet.native.memory import Placement, Slab
from funcnet.tracing.primitive import CONCATENATE, MATMUL, MAX, RESHAPE, SUM
from funcnet.tracing.primitives import ZERO
from funcnet.tracing.trace import Call, Value

INDICES = "ijklqrvw"
TYPES = {"f": "T", "b": "unsigned char", "i": "int{bits}_t", "u": "uint{bits}_t"}


class Emission:
    """The text of a plan's functions.

    segments: lines of C for each stretch between calls that NumPy makes; `numpy_calls[i]` comes behind segment i.
    names: of stored values, by identity.
    """

    def __init__(self, plan: Plan, grouping: Grouping, placement: Placement) -> None:
        self.plan = plan
        self.grouping = grouping
        self.slab = Slab(placement)
        self.placement = placement
        self.suffix: str = "f" if plan.dtype.itemsize == 4 else ""
        self.names: dict[int, str] = {}
        self.declarations: dict[str, str] = {}
        self.segments: list[list[str]] = [[]]
        self.numpy_calls: list[Call] = []
        self.turned: int = 0
        self.parts: list[Value] = []  # views that are known by identity, so that they must not go
        self._copy_inputs()
        for number, group in enumerate(grouping.groups):
            if group.fused:
                self._put_loop(group, number)
            else:
                self._put_call(group.calls[0])
            for call in group.all():
                self._put_ones(call.output)
        self._hand_out()

    def put(self, *lines: str) -> None:
        """Lines of C."""
        self.segments[-1] += lines

    def array(self, value: Value) -> Any:
        """The array that a value is in the slab."""
        return self.slab.array(value)

    def name(self, root: Value) -> str:
        """The name of the pointer to a stored value."""
        found = self.names.get(id(root))
        if found is None:
            found = self.names[id(root)] = f"v{len(self.names)}{identifier(root)}"
            offset = self.placement.place(root)
            kind = c_type(root)
            self.declarations[found] = f"{kind} *const {found} = ({kind} *)(fn_slab + {offset});"
        return found

    def pointer(self, value: Value) -> tuple[str, list[int]]:
        """(the address of a value's first element, its strides in elements)."""
        array, size = self.array(value), value.dtype.itemsize
        offset = (self.slab.offset(array) - self.placement.place(value.root)) // size if array.size else 0
        name = self.name(value.root)
        return f"{name} + {offset}" if offset else name, [stride // size for stride in array.strides]

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

    def storage_order(self, value: Value) -> list[int]:
        """The axes of a value, the one of the longest stride first."""
        strides = self.array(value).strides
        return sorted(range(value.ndim), key=lambda axis: -strides[axis])

    def _copy_inputs(self) -> None:
        """Bring each floating input from its rows to its features."""
        for i, value in enumerate(self.plan.inputs):
            if id(value) not in self.grouping.stored:
                continue
            indices = INDICES[: value.ndim]
            place = row_major(value.shape, indices)
            line = f"{self.element(value, indices)} = fn_x{i}[{place}];"
            self.loops(value.shape, self.storage_order(value), [line])
            self._put_ones(value)

    def _put_ones(self, value: Value) -> None:
        """Fill the feature of ones behind a value."""
        if value.ones is not None and id(value) in self.grouping.stored:
            shape, _, row = self.placement.form(value)
            self.put("FN_IVDEP", f"for (long i = 0; i < {row}; i++) {self.name(value)}[{shape[0] * row} + i] = 1;")

    def _hand_out(self) -> None:
        """Write the outputs, row by row, where the caller wants them."""
        for i, (value, factor) in enumerate(zip(self.plan.outputs, self.plan.factors, strict=True)):
            indices = INDICES[: value.ndim]
            place = row_major(value.shape, indices)
            scale = "" if factor == 1.0 else f" * {literal(factor, self.suffix)}"
            self.loops(
                value.shape, range(value.ndim), [f"fn_y{i}[{place}] = {self.element(value, indices)}{scale};"], ""
            )

    def _put_loop(self, group: Group, number: int) -> None:
        """One loop for all calls of a group."""
        stored = [call.output for call in group.calls if id(call.output) in self.grouping.stored]
        outside = [v for call in group.all() for v in call.operands if not self._is_local(v, number)]
        length = self._dense([v for v in (*outside, *stored) if v.ndim], group)
        flat = length is not None
        indices = INDICES[: len(group.shape)]

        def text(x: Any) -> str:
            if not isinstance(x, Value):
                return literal(float(x), self.suffix)
            if self._is_local(x, number):
                return f"t{local[id(x)]}"
            element = self._flat(x) if flat and x.ndim else self.element(x, indices)
            return element if x.dtype == self.plan.dtype else f"(T){element}"  # gcc 12 errs on masks of integers

        local: dict[int, int] = {}
        body: list[str] = []
        for call in group.calls:
            operands = [text(x) for x in call.inputs]
            place = local[id(call.output)] = len(local)
            body.append(f"const T t{place} = {expression(call.primitive.name, operands, self.suffix)};")
            if id(call.output) in self.grouping.stored:
                target = self._flat(call.output) if flat and group.shape else self.element(call.output, indices)
                body.append(f"{target} = ({c_type(call.output)})t{place};")
        sums = [(f"s{i}", call) for i, call in enumerate(group.sums)]
        for name, call in sums:
            body.append(f"{name} += {' * '.join(text(x) for x in call.operands)};")
        self.scope(group.calls[0] if group.calls else group.sums[0])
        if sums:
            self.put(f"{{ T {', '.join(f'{name} = 0' for name, _ in sums)};")
        hint = f"FN_SUM({', '.join(name for name, _ in sums)})" if sums else "FN_IVDEP"
        if flat:
            self.put(hint, f"for (long i = 0; i < {length}; i++) {{", *(f"    {line}" for line in body), "}")
        else:
            like = max((*stored, *outside), key=lambda v: (v.shape == group.shape, v.ndim))
            order = self.storage_order(like) if like.shape == group.shape else range(len(group.shape))
            self.loops(group.shape, order, body, hint if group.shape else "")
        if sums:
            self.put(*(f"{self.element(call.output, ())} = {name};" for name, call in sums), "}")

    def _is_local(self, value: Value, number: int) -> bool:
        return value.base is None and self.grouping.group_of.get(id(value)) == number

    def _flat(self, value: Value) -> str:
        name, _, offset = self.pointer(value)[0].partition(" + ")
        return f"{name}[i + {offset}]" if offset else f"{name}[i]"

    def _dense(self, values: list[Value], group: Group) -> int | None:
        """The length of the memory that all of these fill alike, padding included; None where they do not."""
        if not values or not group.shape or any(v.shape != group.shape for v in values):
            return None
        (array, *others) = [self.array(v) for v in values]
        size = [a.itemsize for a in (array, *others)]
        steps = [tuple(s // a.itemsize for s in a.strides) for a in (array, *others)]
        if len({*steps}) > 1 or not all(size):
            return None
        lengths = sorted(zip(steps[0], array.shape, strict=True), reverse=True)
        *outer, (last, row) = [(s, n) for s, n in lengths if n > 1] or [(1, 1)]
        need = row
        for s, n in reversed(outer):
            padded = s == need or (not group.sums and all(v.base is None for v in values) and s - need < self._lanes())
            if not padded:
                return None
            need = s * n
        if last != 1:
            return None
        return int(need)

    def _lanes(self) -> int:
        return self.placement.lanes

    def scope(self, call: Call) -> None:
        """Say where the next lines come from."""
        if call.scope:
            self.put(f"/* {call.scope.replace('*', '').replace('//', '/')} */")

    def _put_call(self, call: Call) -> None:
        """A call that is not elementwise: in C where there is a form for it, else by NumPy."""
        form = FORMS.get(call.primitive.name)
        if form is None or not form(self, call):
            for value in (*call.operands, call.output):
                self.name(value.root)
            self.numpy_calls.append(call)
            self.segments.append([])


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


def product(e: Emission, call: Call) -> bool:
    """a b: features by rows, the cotangent of a weight, or, of one row, sums along the weight's rows."""
    a, b = call.inputs
    y = call.output
    if a.ndim != 2 or b.ndim != 2 or y.dtype != e.plan.dtype or by_numpy(call):
        return False
    (pa, (am, ak)), (pb, (bk, bn)), (py, (ym, yn)) = e.pointer(a), e.pointer(b), e.pointer(y)
    (m, k), n = a.shape, b.shape[1]
    e.scope(call)
    if m == 1 and ak == bk == 1 and (n == 1 or (yn == 1 and bn != 1)):
        e.put(f"fn_inner_rows({pb}, {bn}, {pa}, {py}, {n}, {k});")
    elif n == 1 and ak == bk == ym == 1:
        e.put(f"fn_inner_rows({pa}, {am}, {pb}, {py}, {m}, {k});")
    elif (m == 1 or ym == 1) and (m > 1 or bn != 1) and (am == 1 or m == 1):
        rows = e.placement.form(y)[2] if y.batch_axis == 0 else m
        e.put(f"fn_product({pb}, {bn}, {bk}, {pa}, {ak}, {py}, {yn}, {n}, {k}, {rows}, {tile_rows(n)});")
    elif (n == 1 or yn == 1) and (bn == 1 or n == 1):
        e.put(f"fn_product({pa}, {am}, {ak}, {pb}, {bk}, {py}, {ym}, {m}, {k}, {n}, {tile_rows(m)});")
    elif yn == 1 and bk == 1:
        padded = -(-n // 16) * 16
        e.turned = max(e.turned, padded * k)
        e.put(f"fn_turn({pb}, {bn}, fn_turned, {padded}, {n}, {k});")
        e.put(f"fn_product({pa}, {am}, {ak}, fn_turned, {padded}, {py}, {ym}, {m}, {k}, {n}, {tile_rows(m)});")
    else:
        indices = "ij"
        line = f"s += {e.element(a, 'ik')} * {e.element(b, 'kj')};"
        e.put(f"for (long i = 0; i < {m}; i++) for (long j = 0; j < {n}; j++) {{ T s = 0;")
        e.put(f"for (long k = 0; k < {k}; k++) {line}", f"{e.element(y, indices)} = s; }}")
    return True


FEW, WIDE = 32, 128  # numbers up to which C is as fast as a large library's product


def by_numpy(call: Call) -> bool:
    """Whether NumPy's product is the faster one."""
    fewest, middle, _ = sorted((*call.inputs[0].shape, call.output.shape[1]))
    return bool(fewest >= FEW and middle > WIDE)


def tile_rows(rows: int) -> int:
    """How many rows of the result a tile has, so that the last tile wastes little."""
    return rows if rows <= 6 else min((6, 5, 4), key=lambda r: (-(-rows // r), rows % r != 0))


def reduction(e: Emission, call: Call) -> bool:
    """A sum, or the largest element, along axes."""
    (x,), axes = call.inputs, call.attributes["axes"]
    if x.dtype.kind not in "fb":
        return False
    is_max = call.primitive is MAX
    indices = INDICES[: x.ndim]
    order = e.storage_order(x)
    kept = [axis for axis in order if axis not in axes]
    target = e.element(call.output, [indices[axis] for axis in sorted(kept)])
    source = e.element(x, indices)
    combine = f"fn_maximum{e.suffix}({{0}}, {source})" if is_max else f"{{0}} + {source}"
    first = "-INFINITY" if is_max else "0"
    if order[-1] in axes or not kept:
        inner = [axis for axis in order if axis in axes]
        e.put(*(f"for (long {indices[a]} = 0; {indices[a]} < {x.shape[a]}; {indices[a]}++)" for a in kept))
        e.put("{", f"T s = {first};")
        e.loops(x.shape, inner, [f"s = {combine.format('s')};"], "" if is_max else "FN_SUM(s)")
        e.put(f"{target} = s;", "}")
    else:
        e.loops(x.shape, kept, [f"{target} = {first};"])
        reduced = [axis for axis in order if axis in axes]
        e.loops(x.shape, [*kept[:-1], *reduced, kept[-1]], [f"{target} = {combine.format(target)};"])
    return True


def concatenation(e: Emission, call: Call) -> bool:
    """Values joined along an axis."""
    start, axis = 0, call.attributes["axis"]
    for x in call.inputs:
        index = [slice(None)] * x.ndim
        index[axis] = slice(start, start + x.shape[axis])
        part = call.output[tuple(index)]
        e.parts.append(part)
        indices = INDICES[: x.ndim]
        e.loops(x.shape, e.storage_order(x), [f"{e.element(part, indices)} = {e.element(x, indices)};"])
        start += x.shape[axis]
    return True


def reshaping(e: Emission, call: Call) -> bool:
    """The elements in row-major order under another shape."""
    (x,) = call.inputs
    y = call.output
    indices = INDICES[: x.ndim]
    there = [f"fn_at / {prod(y.shape[axis + 1 :])} % {n}" for axis, n in enumerate(y.shape)]
    body = [
        f"const long fn_at = {row_major(x.shape, indices)};",
        f"{e.element(y, [f'({i})' for i in there])} = {e.element(x, indices)};",
    ]
    e.loops(x.shape, range(x.ndim), body, "")
    return True


def zeros(e: Emission, call: Call) -> bool:
    """Zeros."""
    indices = INDICES[: call.output.ndim]
    e.loops(call.output.shape, e.storage_order(call.output), [f"{e.element(call.output, indices)} = 0;"])
    return True


FORMS: dict[str, Callable[[Emission, Any], bool]] = {
    MATMUL.name: product,
    SUM.name: reduction,
    MAX.name: reduction,
    CONCATENATE.name: concatenation,
    RESHAPE.name: reshaping,
    ZERO.name: zeros,
}
