"""The derivation of a network's gradient, as a student would write it: forward, then backward."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from funcnet import tree
from funcnet.arrays import Array, Labels
from funcnet.calling import checks_call
from funcnet.core import Layer
from funcnet.display import shown
from funcnet.errors import OptionError
from funcnet.inspection.derivation import Line
from funcnet.inspection.equations import Formula, latex, text
from funcnet.inspection.walk import Walk
from funcnet.networks.parts import check

NUMBERS = 3  # of an array that are shown
LEGEND = (
    "y: the value of an operator",
    "g: its cotangent, dL/dy",
    "dW: the gradient of W, dL/dW",
    "N: rows of the batch",
    "F, C: features, classes of a row",
)


class Explanation(NamedTuple):
    """The result of `explain`: printed, it is text; in a notebook, formulas.

    given: params, inputs and targets, where there are numbers.      forward, backward: an equation a line.
    """

    title: str
    given: tuple[Line, ...]
    forward: tuple[Line, ...]
    backward: tuple[Line, ...]

    def __str__(self) -> str:
        """The derivation as text."""
        parts = self._parts()
        rows = [_cells(line) for _, lines in parts for line in lines]
        widths = [max(map(len, column), default=0) for column in zip(*rows, strict=True)]
        aligned = iter("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
        blocks = ["\n".join([head, *(next(aligned) for _ in lines)]) for head, lines in parts]
        return "\n\n".join([f"{self.title}\n  {'      '.join(LEGEND[:3])}\n  {'      '.join(LEGEND[3:])}", *blocks])

    def _repr_markdown_(self) -> str:
        """The derivation with formulas, for a notebook."""
        blocks = [f"**{_escaped(self.title)}**", "; ".join(LEGEND)]
        for head, lines in self._parts():
            rows = "\n".join("| " + " | ".join(_formulas(line)) + " |" for line in lines)
            blocks.append(
                f"**{head}**\n\n| operator | equation | shape | numbers | rule |\n|---|---|---|---|---|\n{rows}"
            )
        return "\n\n".join(blocks)

    def _parts(self) -> list[tuple[str, tuple[Line, ...]]]:
        parts = [("given", self.given), ("forward", self.forward), ("backward", self.backward)]
        return [(head, lines) for head, lines in parts if lines]


@checks_call
def explain(
    net: Layer[Any, Any], loss: Layer[Any, Any] | None = None, params: Any = None, *arrays: Array | Labels
) -> Explanation:
    """The derivation of a network's gradient, before any optimisation: one equation a line, forward, then backward.

    `print(fn.explain(net, fn.mse()))` shows the equations, in names made of your keys: y3 is the value of operator 3,
    g3 its cotangent dL/dy3, dW3 the gradient of its weight. Beside each stands the equation of the layer that it comes
    from. Where several operators read a value, their cotangents are added. With params and arrays, the network's
    inputs and then the targets, there are shapes and numbers too: those of `fn.vjp`, with no key, so that dropout is
    the identity. Without a loss, the sum of the outputs is differentiated. In a notebook it shows itself as formulas.

    Nested networks are written out, layer by layer. Lines "with ..." define names in the equation before them: the
    values between the input and the output of attention or of a recurrent layer, and their cotangents. A `custom_layer`
    appears as its pullback.
    Raises GraphError for anything but layers, OptionError where params are given without arrays or arrays without
    params, and the errors of `net.apply`.
    """
    check("explain", (net,) if loss is None else (net, loss), multi_output=True)
    if (params is None) != (not arrays):
        raise OptionError("explain: give params and arrays together, explain(net, loss, params, x, target), or neither")
    walk = Walk(net, loss, params, arrays)
    forward = tuple(walk.forward())
    title = f"derivation of {net.apply.kind}" + ("" if loss is None else f", loss {shown(loss)}")
    return Explanation(title, tuple(walk.given()), forward, tuple(walk.backward()))


def _equation(line: Line) -> Formula:
    left: Formula = () if line.name is None else (line.name, " = ") if line.formula else (line.name,)
    return (*left, *line.formula)


def _shape(value: Any) -> str:
    return ", ".join(str(np.shape(leaf)) for leaf in tree.leaves(value)) if value is not None else ""


def _numbers(value: Any) -> str:
    """The first of its numbers."""
    if value is None:
        return ""
    flat = np.concatenate([np.ravel(leaf)[: NUMBERS + 1] for leaf in tree.leaves(value)])
    return " ".join(f"{x:.4g}" for x in flat[:NUMBERS]) + " ..." * (len(flat) > NUMBERS)


def _cells(line: Line) -> tuple[str, ...]:
    """A line of text."""
    side = text(_equation(line)) if line.name is not None else f"  with {text(line.formula)}"
    return ("  " + line.operator, side, _shape(line.value), _numbers(line.value), line.rule)


def _formulas(line: Line) -> tuple[str, ...]:
    """A row of a table in Markdown."""
    side = f"${latex(_equation(line))}$"
    cells = (line.operator, _shape(line.value), _numbers(line.value), line.rule)
    operator, shape, numbers, rule = map(_escaped, cells)
    return (operator, side if line.name is not None else f"with {side}", shape, numbers, rule)


def _escaped(string: str) -> str:
    """Text that Markdown and HTML leave as it is."""
    return "".join(f"&#{ord(c)};" if c in "\\`*_{}[]<>#|$&~^!" else c for c in string)
