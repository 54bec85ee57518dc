"""Backpropagation through the single layers of a network and its loss, with the equation of each step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from funcnet import tree
from funcnet.arrays import Array
from funcnet.core import Layer
from funcnet.inspection.derivation import Equations, Line, Share
from funcnet.inspection.equations import Formula, Symbol, text
from funcnet.inspection.operations import Operation, operations_of, weighted
from funcnet.training.splitting import inputs_taken

COUNTS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}


class Walk:
    """The operations of a network and its loss, gone through forward and back.

    ends: the numbers of those that are differentiated.      first_of_loss: the number of the loss's first operation.
    outside: the symbols of inputs and targets.      inputs: how many of them are inputs.
    values, cotangents, pullbacks: by number, where there are arrays.      shares: of each cotangent, by number.
    passed: the cotangents, by the numbers of receiver and sender.
    """

    def __init__(
        self, net: Layer[Any, Any], loss: Layer[Any, Any] | None, params: Any, arrays: Sequence[Any], inputs: int = 0
    ) -> None:
        apply, given = net.apply, len(arrays)
        self.inputs: int = (
            inputs_taken("explain", apply, given, loss and loss.apply) if given else inputs or apply.arity or 1
        )
        outside = [-1 - i for i in range(self.inputs)]
        self.operations: list[Operation]
        self.ends: tuple[int, ...]
        self.operations, self.ends = operations_of(net, params, outside, 0)
        self.first_of_loss: int = len(self.operations)
        self.outside: list[Symbol] = _numbered("x", self.inputs)
        self.with_loss: bool = loss is not None
        self.values: dict[int, Any] = {}
        output = None
        if arrays:
            inputs_given = tuple(arrays if loss is None else arrays[: self.inputs])
            apply.check_count(len(inputs_given))
            self.values = dict(zip(outside, apply.accept(params, inputs_given, None), strict=True))
            output, _ = apply.vjp(
                params, *self.values.values()
            )  # raises the errors of params and arrays that do not fit
        if loss is not None:
            self._add_loss(loss, params, arrays, tree.leaves(output))
        self.equations: list[Equations] = [
            Equations(op, list(map(self.symbol, op.inputs)), self._place_weights(op)) for op in self.operations
        ]
        self.pullbacks: dict[int, Any] = {}
        self.shares: dict[int, list[Share]] = {}
        self.cotangents: dict[int, Any] = {}
        self.passed: dict[tuple[int, int], Any] = {}

    def _add_loss(self, loss: Layer[Any, Any], params: Any, arrays: Sequence[Any], outputs: list[Any]) -> None:
        """Put the operations of the loss, of these outputs of the network, behind the others."""
        ends = self.ends
        count = len(arrays) - self.inputs if arrays else (loss.apply.arity or len(ends) + 1) - len(ends)
        self.outside += _targets(loss, count)
        targets = [-1 - self.inputs - i for i in range(count)]
        of_loss, self.ends = operations_of(
            loss, None if params is None else (), [*ends, *targets], len(self.operations), loss=True
        )
        self.operations += of_loss
        if arrays:
            taken = loss.apply.accept((), (*outputs, *_cast(outputs[0], arrays[self.inputs :])), None)
            loss.apply.vjp((), *taken)
            self.values |= dict(zip(targets, taken[len(ends) :], strict=True))

    def _place_weights(self, op: Operation) -> bool:
        """Whether there are weights with more axes than that of the rows."""
        given: Any = self.values.get(op.inputs[-1])
        return weighted(op) and np.ndim(given) > 1

    def symbol(self, number: int) -> Symbol:
        """The symbol of an operation, or of an input or target."""
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
                    Line(op.label, Symbol(n, op.owner), (), "", attrgetter(f)(op.params)) for n, f in names.items()
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
            yield from summed(op.label, op.cotangent, arrived)
            yield from equations.between()
            self.cotangents[number] = total([share.value for share in arrived])
            own, passed = self._pulled(number, self.cotangents[number])
            for place, (source, value) in enumerate(zip(op.inputs, passed, strict=False)):
                share = equations.to_input(place, value)
                if share is not None and not (self.values and value is None):
                    self._arrives(source, share)
                    self.passed[source, number] = value
            for symbol, share in equations.to_params(own):
                of_params.setdefault(symbol, []).append(share)
            if first[op.owner] == number:
                for symbol in [symbol for symbol in of_params if symbol.place == op.owner]:
                    yield from summed("", symbol, of_params.pop(symbol), op.name, "gradients of shared params")
        for place in range(self.inputs):
            if arrived := self.shares.get(-1 - place, []):
                name = str(self.outside[place])
                yield from summed(f"input {name}", Symbol("g", name), arrived)

    def _arrives(self, number: int, share: Share) -> None:
        self.shares.setdefault(number, []).append(share)

    def _pulled(self, number: int, cotangent: Any) -> tuple[Any, Sequence[Any]]:
        """The cotangents from an operation's pullback; None where there are no numbers."""
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


def total(values: Sequence[Any]) -> Any:
    """The sum of the trees; None where there are no numbers."""
    result = values[0]
    for value in values[1:]:
        result = None if value is None else tree.map(np.add, result, value)
    return result


def summed(
    operator: str, name: Symbol, arrived: Sequence[Share], sender: str = "", summands: str = "cotangents arrive"
) -> Iterator[Line]:
    """A cotangent: the sum of the shares, and the definitions in it. sender: the one that needs no name."""
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
    yield Line(operator, name, formula, remark, total([share.value for share in arrived]))
    yield from (Line("", None, defined) for share in arrived for defined in share.defined)
