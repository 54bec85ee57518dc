"""The derivation of a network's gradient, as a student would write it: forward, then backward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from funcnet import tree
from funcnet.arrays import Array, Labels
from funcnet.core import Layer
from funcnet.display import shown
from funcnet.errors import OptionError
from funcnet.inspection.derivation import Equations, Line, Share
from funcnet.inspection.equations import Formula, Symbol, latex, text
from funcnet.inspection.operations import operations_of
from funcnet.networks.combinators import check
from funcnet.training.splitting import inputs_taken

COUNTS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
NUMBERS = 3  # of an array that are shown
LEGEND = (
    "y: the value of an operator",
    "g: its cotangent, dL/dy",
    "dW: the gradient of W, dL/dW",
    "N: rows of the batch",
    "F, C: features, classes of a row",
)


class Explanation(NamedTuple):
    """What `explain` gives: printed, it is text; in a notebook, formulas.

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


def explain(
    net: Layer[Any, Any], loss: Layer[Any, Any] | None = None, params: Any = None, *arrays: Array | Labels
) -> Explanation:
    """The derivation of this network's gradient, before any optimisation: an equation a line, forward, then backward.

    `print(fn.explain(net, fn.mse()))` shows the equations, in names made of your keys: y3 is the value of operator 3,
    g3 its cotangent dL/dy3, dW3 the gradient of its weight. Beside each stands the equation of the layer that it comes
    from. Where several operators read a value, their cotangents are added. With params and arrays, the network's
    inputs and then the targets, there are shapes and numbers too: those of `fn.vjp`, with no key, so that dropout is
    the identity. Without a loss, the sum of the outputs is differentiated. In a notebook it shows itself as formulas.

    What is nested is written out, layer by layer. A layer whose docstring has no equations appears as its pullback.
    Raises OptionError where params are given without arrays or arrays without params, and what `net.apply` would.
    """
    check("explain", (net,) if loss is None else (net, loss), multi_output=True)
    if (params is None) != (not arrays):
        raise OptionError("explain: give params and arrays together, explain(net, loss, params, x, target), or neither")
    walk = _Walk(net, loss, params, arrays)
    forward = tuple(walk.forward())
    title = f"derivation of {net.apply.kind}" + ("" if loss is None else f", loss {shown(loss)}")
    return Explanation(title, tuple(walk.given()), forward, tuple(walk.backward()))


class _Walk:
    """Goes through the operations forward, and back.

    ends: the numbers of those that are differentiated.      outside: the symbols of inputs and targets, and how many of
    them are inputs.      values, pullbacks: by number, where there are arrays.      shares: what arrived, by number.
    """

    def __init__(self, net: Layer[Any, Any], loss: Layer[Any, Any] | None, params: Any, arrays: Sequence[Any]) -> None:
        apply, given = net.apply, len(arrays)
        self.inputs: int = inputs_taken("explain", apply, given, loss and loss.apply) if given else apply.arity or 1
        outside = [-1 - i for i in range(self.inputs)]
        self.operations, self.ends = operations_of(net, params, outside, 0)
        self.outside: list[Symbol] = _numbered("x", self.inputs)
        self.with_loss: bool = loss is not None
        self.values: dict[int, Any] = {}
        output = None
        if arrays:
            self.values = dict(zip(outside, apply.accept(params, tuple(arrays[: self.inputs]), None), strict=True))
            output, _ = apply.vjp(params, *self.values.values())  # which refuses what does not fit
        if loss is not None:
            outputs = self.ends
            count = given - self.inputs if given else (loss.apply.arity or len(outputs) + 1) - len(outputs)
            self.outside += _targets(loss, count)
            targets = [-1 - self.inputs - i for i in range(count)]
            of_loss, self.ends = operations_of(
                loss, None if params is None else (), [*outputs, *targets], len(self.operations), loss=True
            )
            self.operations += of_loss
            if arrays:
                given_outputs = tree.leaves(output)
                taken = loss.apply.accept((), (*given_outputs, *_cast(given_outputs[0], arrays[self.inputs :])), None)
                loss.apply.vjp((), *taken)
                self.values |= dict(zip(targets, taken[len(outputs) :], strict=True))
        self.equations: list[Equations] = [Equations(op, list(map(self.symbol, op.inputs))) for op in self.operations]
        self.pullbacks: dict[int, Any] = {}
        self.shares: dict[int, list[Share]] = {}

    def symbol(self, number: int) -> Symbol:
        """What the value of an operation, or what comes from outside, is called."""
        return self.outside[-1 - number] if number < 0 else self.operations[number].value

    def given(self) -> Iterator[Line]:
        """Inputs, targets and params."""
        if self.values:
            for place, symbol in enumerate(self.outside):
                yield Line("input" if place < self.inputs else "target", symbol, (), "", self.values[-1 - place])
        for op, equations in zip(self.operations, self.equations, strict=True):
            names = {} if equations.letters is None else equations.letters.params
            if op.params is not None and op.owner == op.value.place:
                yield from (
                    Line(op.label, Symbol(n, op.owner), (), "", getattr(op.params, f)) for n, f in names.items()
                )

    def forward(self) -> Iterator[Line]:
        """The equations of the values."""
        for number, (op, equations) in enumerate(zip(self.operations, self.equations, strict=True)):
            if self.values:
                values = (self.values[i] for i in op.inputs)
                self.values[number], self.pullbacks[number] = op.apply.compute(op.params, *values)
            yield from equations.forward(self.values.get(number))

    def backward(self) -> Iterator[Line]:
        """The equations of the cotangents, and those of the params once all have arrived that share them."""
        for end in self.ends:
            beginning = "dL / dL" if self.with_loss else "the sum of the outputs is differentiated"
            self._arrives(end, Share(("1",), [], beginning, _ones(self.values.get(end))))
        first = {op.owner: number for number, op in reversed(list(enumerate(self.operations)))}
        of_params: dict[Symbol, list[Share]] = {}
        for number, (op, equations) in reversed(list(enumerate(zip(self.operations, self.equations, strict=True)))):
            if number not in self.shares:
                continue  # its value goes nowhere but to labels
            arrived = self.shares[number]
            yield from _summed(op.label, op.cotangent, arrived)
            yield from equations.between()
            own, passed = self._pulled(number, _total(arrived))
            for place, (source, value) in enumerate(zip(op.inputs, passed, strict=False)):
                share = equations.to_input(place, value)
                if share is not None and not (self.values and value is None):
                    self._arrives(source, share)
            for symbol, share in equations.to_params(own):
                of_params.setdefault(symbol, []).append(share)
            if first[op.owner] == number:
                for symbol in [symbol for symbol in of_params if symbol.place == op.owner]:
                    yield from _summed("", symbol, of_params.pop(symbol), op.name, "gradients of shared params")
        for place in range(self.inputs):
            if arrived := self.shares.get(-1 - place, []):
                name = str(self.outside[place])
                yield from _summed(f"input {name}", Symbol("g", name), arrived)

    def _arrives(self, number: int, share: Share) -> None:
        self.shares.setdefault(number, []).append(share)

    def _pulled(self, number: int, cotangent: Any) -> tuple[Any, Sequence[Any]]:
        """What an operation's pullback gives; nothing where there are no numbers."""
        if not self.values:
            return None, (None,) * len(self.operations[number].inputs)
        pulled: tuple[Any, Sequence[Any]] = self.pullbacks[number](cotangent)
        return pulled


def _numbered(letter: str, count: int) -> list[Symbol]:
    return [Symbol(letter, "" if count == 1 else str(i)) for i in range(count)]


def _targets(loss: Layer[Any, Any], count: int) -> list[Symbol]:
    """The symbols of the targets, and of the weights behind them."""
    written = loss.apply.written
    weights = count > 1 and written is not None and dict(written.kwargs).get("weighted")
    return [*_numbered("t", count - 1), Symbol("w")] if weights else _numbered("t", count)


def _cast(like: Array, arrays: Sequence[Any]) -> list[Any]:
    """Floating arrays in the dtype of the outputs, as a training step takes them; labels as they are."""
    return [np.asarray(x, like.dtype) if np.asarray(x).dtype.kind == "f" else x for x in arrays]


def _ones(value: Any) -> Any:
    return None if value is None else np.ones_like(value)


def _total(arrived: Sequence[Share]) -> Any:
    """The sum of what has arrived."""
    total = arrived[0].value
    for share in arrived[1:]:
        total = tree.map(np.add, total, share.value)
    return total


def _summed(
    operator: str, name: Symbol, arrived: Sequence[Share], sender: str = "", summands: str = "cotangents arrive"
) -> Iterator[Line]:
    """A cotangent: the sum of what has arrived, and the definitions in it. sender: whom the reader expects."""
    formula: Formula = ()
    for share in arrived:
        several = len(arrived) > 1 and any(word in text(share.formula) for word in (" where ", ", ", " of ", " over "))
        part: Formula = ("(", *share.formula, ")") if several else share.formula
        negative = part[:1] == ("-",)
        if formula:
            part = (" - ", *part[1:]) if negative else (" + ", *part)
        formula = (*formula, *part)
    whence = [f"from {share.sender}: {share.rule}" if share.sender != sender else share.rule for share in arrived]
    count, rules = len(arrived), "; ".join(whence)
    remark = f"{COUNTS.get(count, count)} {summands}: {rules}" if count > 1 else rules
    yield Line(operator, name, formula, remark, _total(arrived))
    yield from (Line("", None, defined) for share in arrived for defined in share.defined)


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
