"""The equations of layers, read off the docstrings of their constructors, and the same with an operator's own names.

A docstring writes them like this, wherever its lines break; a gradient may stand in the next lines:

    y = x W + b        dW = x^T g        db = sum_n g_n        dx = g W^T
    y = h s, h = x / r        ds = sum_n g_n h_n        dx = (k - h mean(k h)) / r, k = g s

Further equations may stand among them, up to the first empty line: of values between input and output, and of their
cotangents, such as those of the states h_t of a recurrent layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from inspect import cleandoc
from typing import Any, NamedTuple, TypeAlias

from funcnet.core import Function
from funcnet.display import DOCUMENTED
from funcnet.networks.sharing import transposed

OUTPUT = re.compile(r"(?:.*?: )?(y|L_n) = (.+)")
COTANGENT = re.compile(r"(d[A-Za-z](?:_[a-z])?(?:\[j\])?) = (.+)")
STEP = re.compile(r"([A-Za-z][\w(), +-]*) = (.+)")
LOCAL = re.compile(r", (?:([A-Za-z]) and )?([A-Za-z])(?: =| the\b)")
DEFINITION = re.compile(r", (?=(?:[A-Za-z] and )?[A-Za-z] (?:=|the\b))")
TOKEN = re.compile(r"[A-Za-z]+(?:_(?:[a-z0-9]\b|\([a-z][+-]\d\)))?|\d+(?:\.\d+)?|\s+|.")
ALL_INPUTS = re.compile(r"x_1(,? (?:\+ )?)\.\.\.\1x_n")
FIELDS = {
    "W": "weight",
    "b": "bias",
    "s": "scale",
    "E": "table",
    "R": "recurrent_weight",
    "U": "forward",
    "V": "backward",
    "b_a": "recurrent_bias",
    "W_q": "query.weight",
    "b_q": "query.bias",
    "W_k": "key.weight",
    "W_v": "value.weight",
    "b_v": "value.bias",
    "W_o": "output.weight",
    "b_o": "output.bias",
}
"""The fields of params, by the letters that stand for them."""

LETTERS = {field: letter for letter, field in FIELDS.items()}


class Symbol(NamedTuple):
    """A name in an equation: a letter, the operator that it belongs to, and an index, as in g2_n."""

    letter: str
    place: str = ""
    subscript: str = ""

    def __str__(self) -> str:
        """As text."""
        return f"{self.letter}{self.place}{self.subscript and '_'}{self.subscript}"


Formula: TypeAlias = tuple[Symbol | str, ...]
"""An equation's side: names, and the text between them."""


class Rule(NamedTuple):
    """The equations of a kind of layer, in the letters of its docstring.

    output: "y", or "L_n" of a loss: one number a row.      forward: its right side.
    cotangents: the right sides by letter: those of the params first, then those of the inputs.
    between, back: further equations, whole: of values between input and output, and of their cotangents.
    """

    output: str
    forward: str
    cotangents: dict[str, str]
    between: tuple[str, ...] = ()
    back: tuple[str, ...] = ()

    def local(self) -> set[str]:
        """The letters that the equations themselves define."""
        sides = [self.forward, *self.cotangents.values()]
        steps = {letter for step in self.between for letter in re.findall(r"[A-Za-z]+", step.partition(" = ")[0])}
        return steps | {letter for side in sides for pair in LOCAL.findall(side) for letter in pair if letter}

    def names(self) -> set[str]:
        """The letters that the equations define, and those of their cotangents."""
        local = self.local()
        return local | {f"d{letter}" for letter in local if self.back}


def rule_of(apply: Function[Any, Any]) -> Rule | None:
    """The equations of a layer; None where its docstring has none, as that of a layer of a user's own."""
    if apply.written is None:
        return read(transposed.__doc__ or "") if apply.kind.endswith(" transposed") else None
    docstring, options = DOCUMENTED.get(apply.written.name, ""), dict(apply.written.kwargs)
    if options.get("approximate") or (apply.kind == "gelu" and apply.written.args[:1] == (True,)):
        docstring = docstring.partition("approximate: ")[2]  # behind the equations of the exact function
    rule = read(docstring)
    if rule is not None and apply.kind == "attention" and not options.get("cross"):
        rule = _of_itself(rule)
    if rule is not None and options.get("use_bias") is False:
        kept = {letter: side for letter, side in rule.cotangents.items() if letter != "b"}
        return rule._replace(forward=rule.forward.replace(" + b", ""), cotangents=kept)
    return rule


def _of_itself(rule: Rule) -> Rule:
    """Attention whose second sequence z is x."""
    x, z = (rule.cotangents[letter] for letter in "xz")
    cotangents = {k: re.sub(r"\bz\b", "x", side) for k, side in rule.cotangents.items() if k != "z"} | {
        "x": f"{x} + {z}"
    }
    return rule._replace(cotangents=cotangents, between=tuple(re.sub(r"\bz\b", "x", step) for step in rule.between))


@cache
def read(docstring: str) -> Rule | None:
    """The equations in a docstring."""
    output, first = None, True
    cotangents: dict[str, str] = {}
    steps: list[str] = []
    for line in cleandoc(docstring).splitlines():
        parts = re.split(r"\s{3,}", line.strip())
        if output is None:
            output = OUTPUT.fullmatch(parts[0])
            parts = parts[1:] if output else []
        elif not line:
            first = False
        elif not COTANGENT.fullmatch(parts[0]) and not (first and STEP.fullmatch(parts[0])):
            break
        for part in parts:
            if part.startswith("no d"):
                cotangents[part[4]] = ""
            elif found := COTANGENT.fullmatch(part):
                cotangents[found[1].partition("[")[0][1:]] = found[2]
            elif first and STEP.fullmatch(part):
                steps.append(part)
    if output is None or not cotangents:
        return None
    return _sorted(output, cotangents, steps)


def _sorted(output: re.Match[str], cotangents: dict[str, str], steps: list[str]) -> Rule:
    """The equations sorted into the fields of a rule; cotangents of values between input and output are apart."""
    back = [step for step in steps if step.startswith("d")]
    rule = Rule(output[1], output[2], {}, tuple(step for step in steps if step not in back))
    local = rule.local() - {"y"}
    inner = [letter for letter in cotangents if letter[0] in local and letter not in FIELDS]
    back = [*(f"d{letter} = {cotangents[letter]}" for letter in inner), *back]
    cotangents = {letter: side for letter, side in cotangents.items() if letter not in inner}
    opposite = {letter: f"-({cotangents[side[2:]]})" for letter, side in cotangents.items() if side[2:] in cotangents}
    cotangents |= {letter: side for letter, side in opposite.items() if cotangents[letter].startswith("-d")}
    kept = {letter: side for letter, side in cotangents.items() if side != "0"}
    return rule._replace(cotangents=kept, back=tuple(back))


def of_places(rule: Rule) -> Rule:
    """The equations of a loss of rows, for one place of it: there is no mean over features."""
    forward = re.sub(r"mean (.*?) over features", r"\1", rule.forward)
    cotangents = {letter: re.sub(r" / F|(?<=/ 2)F", "", side) for letter, side in rule.cotangents.items()}
    return rule._replace(output="L_i", forward=forward, cotangents=cotangents)


def written_out(side: str, names: Mapping[str, Symbol], inputs: Sequence[Symbol], place: int | None = None) -> Formula:
    """A side of an equation in an operator's own names. place: of the input x_i; None in the output's equation.

    What holds for any number of inputs is written out for those that there are.
    """
    listed = ALL_INPUTS.search(side) or re.search(r"prod_\(j != i\) x_j", side)
    if listed:
        several: list[Symbol | str] = [x for j, x in enumerate(inputs) if j != place] or ["1"]
        between = listed[1] if listed.lastindex else " "
        before, after = (
            written_out(part, names, inputs, place) for part in (side[: listed.start()], side[listed.end() :])
        )
        middle = [part for x in several for part in (between, x)][1:]
        return (*before, *middle, *after)
    if "x_i" in side or re.fullmatch(r".* / n", side):
        side = re.sub(r"/ n\b", f"/ {len(inputs)}", side)
    every = {**names, **({} if place is None else {"x_i": inputs[place]})}
    return tuple(_named(token, every) for token in TOKEN.findall(side))


def _named(token: str, names: Mapping[str, Symbol]) -> Symbol | str:
    letter, _, index = token.partition("_")
    if token in names:
        return names[token]
    if index and letter in names:
        return names[letter]._replace(subscript=index)
    return token


def text(formula: Formula) -> str:
    """The formula in one line of text."""
    return "".join(map(str, formula))


LATEX = {
    **{c: rf"\{c}" for c in "{}$&%#_"},
    "|": r"\vert ",
    "<": r"\lt ",
    ">": r"\gt ",
    "!": r"\neg ",
    "\\": r"\backslash ",
    "~": r"\sim ",
    **{name: rf"\{name} " for name in ("sum", "epsilon", "alpha", "Phi", "phi", "tanh", "exp", "log", "max", "min")},
    **{name: rf"\operatorname{{{name}}} " for name in ("mean", "sqrt", "sigmoid", "softmax", "sign", "elu", "log1p")},
    **{f"sum_{index}": rf"\sum_{index} " for index in "nctki"},
}


def latex(formula: Formula) -> str:
    """The formula as LaTeX."""
    parts = (_latex_symbol(part) if isinstance(part, Symbol) else _latex(part) for part in formula)
    return re.sub(" +", " ", "".join(parts)).strip()


def _latex_symbol(symbol: Symbol) -> str:
    letter = _plain(symbol.letter)
    letter = letter if len(letter) < 3 else rf"\mathrm{{{letter}}}"
    place = _plain(symbol.place.strip("[]"))
    under = ",".join(filter(None, [place if place.isdecimal() else place and rf"\text{{{place}}}", symbol.subscript]))
    return f"{letter}_{{{under}}}" if under else letter


def _plain(name: str) -> str:
    """A name that LaTeX and Markdown leave as it is: anything but letters, digits and these is a question mark."""
    return "".join(c if c.isalnum() or c in " /-.'" else LATEX["_"] if c == "_" else "?" for c in name)


def _latex(part: str) -> str:
    word = len(part) > 1 and part[0].isalpha() and "_" not in part
    return LATEX.get(part) or (rf"\text{{ {part} }}" if word else "".join(LATEX.get(c, c) for c in part))
