"""A plan as C99 to be read: row by row, in names made of the user's own keys."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from funcnet.compiler.plan import storage_order
from funcnet.exports.c.functions import HINT, NAMES, OWN, functions, in_file
from funcnet.exports.c.names import TAKEN
from funcnet.exports.described import Described, Names, is_integer, is_mask, refusal
from funcnet.native import images
from funcnet.native.calls import FORMS
from funcnet.native.expressions import LIBM, has_expression
from funcnet.native.grouping import Grouping
from funcnet.native.memory import Placement
from funcnet.native.writing import INDICES, Writer
from funcnet.tracing.masks import LIMITS
from funcnet.tracing.primitives import TOTAL_WEIGHT
from funcnet.tracing.trace import Call, Value

BAD_LABEL, NO_WEIGHT, BAD_MASK = 1, 2, 3  # results of the function
STATUS = {TOTAL_WEIGHT: NO_WEIGHT, LIMITS: BAD_MASK}
OWN_NAMES = frozenset({*INDICES, *"pstuy", "params", "gradient", "loss", "state", "memory"})
LOCAL = frozenset({"NAN", "INFINITY", "T", "any", "at", "sum", "size", "known"})


class RowByRow(Placement):
    """Values that lie row by row, one right behind the other, and all in elements of one size.

    But for images, whose rows are innermost, and what recurrences keep of each time.
    """

    alignment = 1

    def form(self, value: Value) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """(the shape as it is stored, the order of the axes, the elements that a row takes)."""
        kept = value.order or value.batch_axis == 1
        order = storage_order(value) if kept else tuple(range(value.ndim))
        shape = tuple(value.shape[axis] for axis in order)
        return shape, order, shape[-1] if shape else 1

    def itemsize(self, value: Value) -> int:
        """The bytes of an element: masks are numbers too."""
        return self.dtype.itemsize


class C99(Writer):
    """The text of one function's body, and the declarations it needs.

    params: the name of their vector.      outputs: values that are computed where the caller wants them, by name.
    declarations: of params, of their gradient, and of values in the common memory.
    own: the file's own functions that are called, by NumPy's name.      text: all lines as they were put.
    fails: whether the body may return early, with a status.
    """

    def __init__(self, described: Described, name: str, params: str, outputs: Mapping[str, Value]) -> None:
        plan = described.plan
        grouping = Grouping(plan)
        super().__init__(plan, grouping, RowByRow(plan, grouping, elsewhere=[*plan.inputs, *outputs.values()]), name)
        self.params = params
        self.keys: Names = Names(described, TAKEN | OWN_NAMES | NAMES | LOCAL, f"{name}_")
        self.T: str = "float" if plan.dtype == np.float32 else "double"
        self.declarations: tuple[list[str], ...] = ([], [], [])
        self.own: set[str] = set()
        self.text: list[str] = []
        self.fails: bool = False
        self.names.update((id(y), own) for own, y in outputs.items())

    def write(self) -> None:
        """The loops and calls of all groups."""
        forms = FORMS | images.FORMS
        for number, group in enumerate(self.grouping.groups):
            self.comment(group)
            name = group.all()[0].primitive.name
            if group.fused or has_expression(name):
                self.loop(number)
            elif name in forms:
                forms[name](self, group.calls[0])
            else:
                raise refusal("to_c", group.calls[0], "C")

    def put(self, *lines: str) -> None:
        """Lines of C99, without hints for the compiler, in the names of this file."""
        self.text += lines
        super().put(*(in_file(line, self.prefix, self.T, self.suffix) for line in lines if not HINT.match(line)))

    def declared(self, root: Value) -> str:
        """The name of a stored value."""
        if self.plan.is_param(root):
            return self._pointer(0, f"const {self.T}", self.keys.params[root.offset], self.params, root.offset)
        if self.plan.is_gradient(root):
            return self._pointer(1, self.T, self.keys.gradients[root.offset], "gradient", root.offset)
        name, start = self.keys.of(root), self.placement.place(root) - self.placement.start
        if start < 0:
            return name
        return self._pointer(2, self.T, name, f"{self.prefix}_memory", start // self.plan.dtype.itemsize)

    def _pointer(self, kind: int, c_type: str, name: str, memory: str, offset: int) -> str:
        self.declarations[kind].append(f"    {c_type} *const {name} = {memory} + {offset};")
        return name

    def local_name(self, value: Value, end: str) -> str:
        """The value's name, with an end where that is its array's."""
        name = self.keys.of(value)
        return self.keys.fresh(f"{name}_{end}") if id(value) in self.grouping.stored else name

    def c_type(self, value: Value) -> str:
        """The C type of the elements of a value: numbers, but for labels and masks that come from outside."""
        return "int" if is_integer(value.root) else "unsigned char" if is_mask(value) else "T"

    def function(self, name: str) -> str:
        """A function of the file's own, else of the C library."""
        return self.helper(name) if name in OWN else f"{LIBM[name]}{self.suffix}"

    def helper(self, name: str) -> str:
        """The file's own function for one of NumPy's."""
        self.own.add(name)
        return f"{self.prefix}_{name}"

    def refusal(self, call: Call, instead: str) -> str:
        """The statement for a wrong operand: it returns from the function."""
        self.fails = True
        return f"return {STATUS.get(call.primitive, BAD_LABEL)};"

    def helpers(self) -> list[str]:
        """The file's own constants and functions that are read and called."""
        constants = [f"static const {self.T} {name}[] = {{{text}}};" for text, name in self.constants.items()]
        own = [
            OWN[name].format(T=self.T, f=self.suffix, name=f"{self.prefix}_{name}") for name in OWN if name in self.own
        ]
        return [*constants, *own, *functions(self.text, self.prefix, self.T, self.suffix)]
