"""The equations of one operation: its value, and the cotangents that it passes back, in its own names."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from funcnet.display import one_line
from funcnet.inspection.equations import DEFINITION, LETTERS, Formula, Symbol, of_places, written_out
from funcnet.inspection.operations import Letters, Operation, letters_of, option, weighted


class Line(NamedTuple):
    """One equation of a derivation.

    operator: whose it is, on its first line.      name: the left side; None in a definition or a remark.
    formula: the right side.      rule: the equation of the layer of which it is an instance, or a remark.
    value: the number or array, where params and arrays were given.
    """

    operator: str
    name: Symbol | None
    formula: Formula
    rule: str = ""
    value: Any = None


class Share(NamedTuple):
    """The cotangent that one operation passes back to one place, its definitions, and the layer's equation.

    sender: the name of the operation.
    """

    formula: Formula
    defined: list[Formula]
    rule: str
    value: Any = None
    sender: str = ""


class Equations:
    """The equations of an operation. inputs: the symbols of its inputs.

    place_weights: whether the weights of a loss are one a place, such as an element of the target, and not one a row.
    """

    def __init__(self, op: Operation, inputs: Sequence[Symbol], place_weights: bool = False) -> None:
        self.op = op
        self.index: str = "i" if place_weights else "n"
        """Of what has a loss of its own: a row, or a place."""
        self.inputs: tuple[Symbol, ...] = tuple(inputs)
        self.letters: Letters | None = letters_of(op)
        self.a_loss: bool = self.letters is not None and self.letters.rule.output == "L_n"
        self.parts: bool = place_weights and self.letters is not None and "over features" in self.letters.rule.forward
        """Whether these places are elements, of which a row has several."""
        if self.letters is not None and place_weights:
            self.letters = self.letters._replace(rule=of_places(self.letters.rule))
        self.upstream: Symbol = op.cotangent
        self.place: str = op.value.place or op.cotangent.place
        if self.a_loss:
            self.upstream = Symbol("g", self.place if op.value.letter == "L" else f"L{self.place}", self.index)
        self.names: dict[str, Symbol] = {} if self.letters is None else self._names(self.letters)

    def _names(self, letters: Letters) -> dict[str, Symbol]:
        names = {letter: Symbol(letter, self.place) for letter in letters.rule.names()}
        names |= {letter: self.parameter(letter, field) for letter, field in letters.params.items()}
        pairs = zip(letters.inputs, self.inputs, strict=False)
        names |= {letter.removesuffix("_t"): x for letter, x in pairs if letter != "x_i"}
        return {**names, **({} if self.a_loss else {"y": self.op.value}), "g": self.upstream}

    def parameter(self, letter: str, field: str) -> Symbol:
        """The letter of one of its params: an embedding's table is E, transposed too."""
        name, _, index = LETTERS.get(field, letter).partition("_")
        return Symbol(name, self.op.owner, index)

    def _sides(self, side: str, place: int | None = None) -> list[Formula]:
        """A side of an equation, and the definitions behind it."""
        return [written_out(part, self.names, self.inputs, place) for part in DEFINITION.split(side)]

    def forward(self, value: Any) -> list[Line]:
        """The value: of a loss, first that of each row."""
        op = self.op
        if self.letters is None:
            arguments = [part for x in self.inputs for part in (", ", x)][1:]
            return [Line(op.label, op.value, (Symbol(one_line(op.apply.kind)), "(", *arguments, ")"), "", value)]
        rule = self.letters.rule
        side, *others = self._sides(rule.forward)
        beside = f"{rule.output} = {DEFINITION.split(rule.forward)[0]}"
        steps = [self._whole(step) for step in rule.between]
        defined = [Line("", None, other) for other in (*others, *steps)]
        if not self.a_loss:
            return [Line(op.label, op.value, side, beside, value), *defined]
        rows = Symbol("L", "" if op.value.letter == "L" else self.place, self.index)
        return [Line(op.label, rows, side, beside), *defined, Line("", op.value, self._total(rows), "", value)]

    def _whole(self, step: str) -> Formula:
        return written_out(step, self.names, self.inputs)

    def _total(self, rows: Symbol) -> Formula:
        """The loss of the batch, from those of its rows."""
        w, reduction = self._weight(), option(self.op, "reduction") or "mean"
        terms: Formula = (rows,) if w is None else (w, " ", rows)
        if reduction == "none" and not self.parts:
            return terms
        of_each = " for each row" * (reduction == "none")
        return (f"sum_{self.index}", " ", *terms, *self._below(), of_each, *self._ignored())

    def _ignored(self) -> Formula:
        label = option(self.op, "ignore_label")
        return () if label is None else (f", where the label {label} has the weight 0",)

    def _below(self) -> Formula:
        """The divisor of the sum of the losses."""
        w, reduction = self._weight(), option(self.op, "reduction") or "mean"
        if reduction == "mean":
            return (" / N",) if w is None else (" / ", f"sum_{self.index}", " ", w)
        return (" / P",) if self.parts else ()

    def _weight(self) -> Symbol | None:
        if weighted(self.op):
            return self.inputs[-1]._replace(subscript=self.index)
        return None if option(self.op, "ignore_label") is None else Symbol("w", self.place, "n")

    def between(self) -> list[Line]:
        """Of a loss, the cotangent of the loss of each row; of a layer, those of its values between."""
        if not self.a_loss:
            steps = () if self.letters is None else self.letters.rule.back
            return [Line("", None, self._whole(step)) for step in steps]
        w = self._weight()
        each = option(self.op, "reduction") == "none"
        of_all = self.op.cotangent._replace(subscript="n") if each else self.op.cotangent
        weight: Formula = () if w is None else (" ", w)
        whose = "row" if self.index == "n" else "element i, P in a row" if self.parts else "label i"
        return [Line("", self.upstream, (of_all, *weight, *self._below()), f"of the loss of each {whose}")]

    def to_input(self, place: int, value: Any) -> Share | None:
        """The cotangent passed back to an input; None where it has none."""
        if self.letters is None:
            if self.op.apply.written is not None and self.op.apply.written.name == "elementwise":
                derivative = Symbol(f"{one_line(self.op.apply.kind)}'")
                formula: Formula = (self.upstream, " ", derivative, "(", self.inputs[0], ")")
                return Share(formula, [], f"dx = g {derivative}(x)", value, self.op.name)
            return Share((*self._pulled(), f"[1][{place}]"), [], self._whose(), value, self.op.name)
        if place >= len(self.letters.inputs):
            return None  # the weights of a loss
        letter = self.letters.inputs[place]
        if not self.letters.rule.cotangents[letter]:
            return None  # integers
        return self._share(letter, self.letters.rule.cotangents[letter], place, value)

    def _share(self, letter: str, rule: str, place: int | None, value: Any) -> Share:
        side, *defined = self._sides(rule, place)
        return Share(side, defined, f"d{letter} = {DEFINITION.split(rule)[0]}", value, self.op.name)

    def _whose(self) -> str:
        return f"the pullback of {one_line(self.op.apply.kind)}, a layer of one's own"

    def _pulled(self) -> Formula:
        return ("pullback", "(", self.upstream, ")")

    def to_params(self, value: Any) -> list[tuple[Symbol, Share]]:
        """The cotangents of the params, each with its symbol."""
        if self.letters is None:
            has_params = self.op.params is None or self.op.params != ()
            scalar = self.op.apply.written is not None and self.op.apply.written.name == "elementwise"
            if scalar or not has_params:
                return []
            return [
                (
                    Symbol("dparams", self.op.owner),
                    Share((*self._pulled(), "[0]"), [], self._whose(), value, self.op.name),
                )
            ]
        found: list[tuple[Symbol, Share]] = []
        for letter, field in self.letters.params.items():
            rule = self.letters.rule.cotangents[letter]
            own = None if value is None else attrgetter(field)(value)
            symbol = self.parameter(letter, field)
            found.append((symbol._replace(letter=f"d{symbol.letter}"), self._share(letter, rule, None, own)))
        return found
