"""The description of a function for source code: its plan at given shapes, and names made of the user's keys."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from funcnet import tree
from funcnet.arrays import accept_array, cast_inputs, common_dtype, params_dtype
from funcnet.compiler.layout import Layout
from funcnet.compiler.plan import Plan
from funcnet.compiler.planning import make_plan
from funcnet.compiler.programs import traced
from funcnet.core import Function, Layer
from funcnet.display import first_line
from funcnet.errors import DTypeError, ExportError, ShapeError
from funcnet.native.writing import identifier, wish_of
from funcnet.options import as_int
from funcnet.tracing.trace import Call, Value
from funcnet.training.gradients import CompiledGradient

PARTS: dict[bool, tuple[str, ...]] = {
    False: ("", "_states", "_gates", "_kept", "_differences"),
    True: ("_gates", "", "_start"),
}
"""The names of the outputs of recurrent calls, forward and backward."""


class Described(NamedTuple):
    """A function, recorded for arrays of these shapes.

    plan: for all rows.      arrays: as the function takes them.      paths: of the params, such as `[3].weight`.
    """

    function: Any
    plan: Any
    layout: Layout[Any]
    params: Any
    arrays: tuple[Any, ...]
    paths: list[str]

    @property
    def gradient(self) -> bool:
        """Whether the function computes a gradient."""
        return isinstance(self.function, CompiledGradient)


def describe(where: str, function: Any, params: Any, arrays: Sequence[Any], passes: Collection[str]) -> Described:
    """Record a step, a gradient or a layer, without a random key, and plan it with these passes."""
    if isinstance(function, Layer):
        function = cast("Any", function).apply
    if not isinstance(function, (CompiledGradient, Function)):
        raise ExportError(
            f"{where}: the function is {first_line(function):.60}: give a network or another layer, a step of "
            "fn.sgd_step or fn.train_step, or a gradient of fn.value_and_grad"
        )
    return _recorded(where, cast("Any", function), params, arrays, passes)


def _recorded(where: str, function: Any, params: Any, arrays: Sequence[Any], passes: Collection[str]) -> Described:
    if not arrays:
        raise ShapeError(
            f"{where}: give examples of the arrays that the function takes: {where}(function, params, *arrays)"
        )
    for i, x in enumerate(arrays):
        if isinstance(x, tuple):
            lengths = [as_int(length) for length in cast("Any", x)]
            fix = f"give an example of the array, such as np.zeros({(1, *lengths)}, np.float32)"
            if None in lengths:
                fix = "give examples of the inputs and targets, without params and state"
            raise DTypeError(f"{where}: array {i} is the tuple {x!r:.60}: {fix}")
    function.check_count(len(arrays))
    given = [accept_array(f"{where}: array {i}", x, function.kinds(i)) for i, x in enumerate(arrays)]
    leaves, structure = tree.flatten(params)
    dtype = params_dtype(params, leaves) or common_dtype(where, tuple(given))
    taken = cast_inputs(where, dtype, tuple(given))
    layout = Layout(structure, [leaf.shape for leaf in leaves], dtype)
    rows = len(taken[0])
    described = Described(function, None, layout, params, taken, layout.paths())
    return described._replace(plan=plan_of(described, passes, rows, rows))


def plan_of(described: Described, passes: Collection[str], rows: int, total: int) -> Plan:
    """The plan for so many rows of a batch of so many in all."""
    function, layout = described.function, described.layout
    trace, symbols, inputs = traced(layout, described.arrays, rows, total)
    if hasattr(function, "record"):
        return cast("Plan", function.record(trace, symbols, inputs, passes=passes))
    return make_plan(trace, tree.leaves(function.run(symbols, inputs)[0]), passes=passes)


class Names:
    """Names for the language in which the source is written: each value's own, made of its operator and its layer.

    reserved, prefix: names, and how names begin, that the file has for something else.
    """

    def __init__(self, described: Described, reserved: Collection[str], prefix: str = "") -> None:
        plan = described.plan
        self.prefix = prefix
        self.taken: set[str] = {*reserved}
        self.of_value: dict[int, str] = {}
        self.inputs: list[str] = [
            self.new("x" if len(plan.inputs) == 1 else f"x{i}", value) for i, value in enumerate(plan.inputs)
        ]
        self.params: dict[int, str] = {
            value.offset: self.fresh(f"p_{identifier(path, '')}")
            for value, path in zip(plan.parameters, described.paths, strict=True)
        }
        self.gradients: dict[int, str] = {offset: self.fresh(f"g{name[1:]}") for offset, name in self.params.items()}

    def fresh(self, wish: str) -> str:
        """The name, or with a number after it where it is taken."""
        wish = f"v_{wish}" if self.prefix and wish.startswith(self.prefix) else wish
        name, count = wish, 1
        while name in self.taken:
            count += 1
            name = f"{wish}_{count}"
        self.taken.add(name)
        return name

    def new(self, wish: str, value: Value) -> str:
        """A name for a value."""
        self.of_value[id(value)] = name = self.fresh(wish)
        return name

    def of(self, root: Value) -> str:
        """The name of a value that is no view."""
        found = self.of_value.get(id(root))
        if found is None and root.call is not None:
            return self.new(wish_of(root.call) + part_of(root.call, root), root)
        return self.of_value[id(root)] if found is None else found


def part_of(call: Call, value: Value) -> str:
    """The suffix of one of several outputs, behind the name of the call."""
    place = next(i for i, y in enumerate(call.outputs) if y is value)
    return PARTS["backward" in call.primitive.name][place] if call.primitive.multi_output else ""


def located(call: Call) -> str:
    """The operator of a call, for an error."""
    return f"operator {call.scope}: " if call.scope else ""


def refusal(where: str, call: Call, language: str) -> ExportError:
    """The error for a call that cannot be written in a language: its operator, its kind, and the fix."""
    name = call.primitive.name
    if call.primitive.opaque:
        kind = call.attributes.get("name", name).removesuffix(" forward")
        return ExportError(
            f"{where}: {located(call) or f'{kind}: '}a custom layer is a function that cannot be looked into, and "
            f"is not written in {language}: make it of fn.elementwise and the other layers"
        )
    return ExportError(
        f"{where}: {located(call)}np.{name} is not written in {language}: make the layer of other functions of "
        "NumPy, or leave the operator out and compute it outside"
    )


def is_integer(value: Value) -> bool:
    """Whether it holds labels."""
    return np.dtype(value.dtype).kind in "iu" and value.call is None


def is_mask(value: Value) -> bool:
    """Whether it is an array of bools that comes from outside."""
    return np.dtype(value.dtype).kind == "b" and value.root.call is None
