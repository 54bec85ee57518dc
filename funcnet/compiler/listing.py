"""A program as text: one line a call, with names, shapes and places of the results, and the calls left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import EllipsisType
from typing import Any

import numpy as np

from funcnet.arrays import Array
from funcnet.compiler.buffers import written
from funcnet.compiler.plan import Plan
from funcnet.display import one_line
from funcnet.tracing.shapes import Slice, Transpose
from funcnet.tracing.trace import Call, Value

SHOWN = frozenset({"axes", "axis", "data", "rate"})  # the attributes of calls that a reader needs

FORWARD = (
    "  x: inputs; v: values; [x 1]: x and a column of ones; [W; b]: W and below it the row b; memory: where a result is"
)
BACKWARD = "  g: values of the backward pass; d p: the gradient of p"


def listing(title: str, plan: Plan, paths: Sequence[str], ending: str = "") -> str:
    """The program of a plan, as it runs."""
    names = Names(plan, paths)
    heading = f"{title}: {len(plan.calls)} calls, {plan.dtype}, {plan.size:,} bytes of memory"
    lines = [heading, "  inputs: " + ", ".join(f"{names.of(x)} {x.shape} in {names.memory(x)}" for x in plan.inputs)]
    rows = [(one_line(call.scope), *names.assignment(call), names.place(call)) for call in plan.calls]
    columns = [[text.ljust(max(map(len, column))) for text in column] for column in zip(*rows, strict=True)]
    lines += [("  " + "  ".join(row)).rstrip() for row in zip(*columns, strict=True)]
    outputs = zip(plan.outputs, plan.factors, strict=True)
    lines.append("  outputs: " + ", ".join(f"{names.of(y)} {y.shape}{times(factor)}" for y, factor in outputs))
    if ending:
        lines.append(f"  then: {ending}")
    if plan.left_out:
        lines.append("  not run, because nothing needs them or another call includes them:")
        lines += [
            f"    {one_line(call.scope)}: {function_name(call)} {', '.join(str(y.shape) for y in call.outputs)}"
            for call in plan.left_out
        ]
    backward = any(call.scope.endswith(" backward") for call in plan.calls)
    return "\n".join([*lines, FORWARD, *[BACKWARD] * backward])


class Names:
    """The names of values: x0, x1 for inputs, params by their path, v1, g2, ... in the order of the calls."""

    def __init__(self, plan: Plan, paths: Sequence[str]) -> None:
        self.buffers: dict[int, int] = {id(buffer): i for i, buffer in enumerate(plan.buffers)}
        self.plan = plan
        self.paths: dict[int, str] = {p.offset: f"params{path}" for p, path in zip(plan.parameters, paths, strict=True)}
        self.names: dict[int, str] = {id(x): f"x{i}" for i, x in enumerate(plan.inputs)}
        self.parts: Mapping[int, Sequence[Value]] = plan.parts
        for i, call in enumerate(plan.calls, 1):
            parts = plan.parts.get(id(call.outputs[0]), ()) if len(call.outputs) == 1 else call.outputs
            name = f"{'g' if call.scope.endswith(' backward') else 'v'}{i}"
            self.names.update((id(part), f"{name}.{k}") for k, part in enumerate(parts))
            if len(call.outputs) == 1:
                self.names[id(call.output)] = name

    def of(self, value: Any) -> str:
        """The name of a value, of a view of one, or of a constant."""
        if not isinstance(value, Value):
            return constant(value)
        if value.base is not None:
            return self.view(value, self.of(value.base))
        if self.plan.is_param(value):
            return self.parameter(value)
        if self.plan.is_gradient(value):
            return "d " + self.parameter(value)
        return self.names.get(id(value)) or f"[{' '.join(self.of(part) for part in self.parts[id(value)])}]"

    def view(self, value: Value, base: str) -> str:
        """The name of a view."""
        if value.view is None:
            return f"[{base} 1]"
        if isinstance(value.view, Transpose):
            return f"{base}.T" if value.view.reverses else f"{base}.transpose{value.view.axes}"
        if isinstance(value.view, Slice):
            return f"{base}[{', '.join(map(slice_name, value.view.steps))}]"
        return f"{base} as {value.shape}"

    def parameter(self, value: Value) -> str:
        """The path of a parameter; of a weight with its bias under it, both."""
        path = self.paths[value.offset]
        last = next(reversed([p for offset, p in self.paths.items() if offset < value.offset + value.elements]), path)
        return path if last == path else f"[{path}; {last.rpartition('.')[2]}]"

    def assignment(self, call: Call) -> tuple[str, str]:
        """(the shape and name of the result, the call)."""
        attributes = (f"{k}={v!r}" for k, v in call.attributes.items() if k in SHOWN)
        arguments = ", ".join([*map(self.of, call.inputs), *attributes])
        results = ", ".join(f"{self.of(y)} {y.shape}" for y in written(call))
        return results, f"= {function_name(call)}({arguments})"

    def memory(self, value: Value) -> str:
        """The piece of memory that holds a value; the first two hold params and their gradient."""
        return f"memory {self.buffers[id(value.buffer)] - 1}"

    def place(self, call: Call) -> str:
        """The places of the results."""
        return "; ".join(dict.fromkeys(self.place_of(y, call) for y in written(call)))

    def place_of(self, output: Value, call: Call) -> str:
        """The place of one result."""
        if self.plan.is_gradient(output):
            return "the gradient"
        over = [self.of(v) for v in call.operands if (v.buffer, v.offset) == (output.buffer, output.offset)]
        return self.memory(output) + (f", in place of {over[0]}" if over else "")


def times(factor: float) -> str:
    """The factor of an output, where it has one."""
    return "" if factor == 1.0 else f" times {factor:.6g}"


def constant(value: Array | float) -> str:
    """A number, shortened, or an array, which would not fit on the line."""
    if isinstance(value, np.ndarray):
        return f"constant {value.shape}"
    return f"{value:.6g}" if isinstance(value, (float, np.floating)) else f"{value}"


def slice_name(step: slice | int | EllipsisType | None) -> str:
    """A step of an index, as it is written in Python."""
    if not isinstance(step, slice):
        return "..." if step is Ellipsis else f"{step}"
    ends = [step.start, step.stop, *[step.step] * (step.step not in (None, 1))]
    return ":".join("" if end is None else f"{end}" for end in ends)


def function_name(call: Call) -> str:
    """The name of the primitive, or of the custom layer, that is called."""
    return one_line(str(call.attributes.get("name", call.primitive.name)))
