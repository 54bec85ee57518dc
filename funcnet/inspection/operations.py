"""The single layers of a network and its loss in forward order, each with its names, its equations and its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from funcnet.core import Function, Layer
from funcnet.display import key_name, one_line, shown
from funcnet.inspection.equations import FIELDS, Rule, Symbol, rule_of
from funcnet.inspection.structure import Path, Place, Source, params_at, path_name, structure

LOSS = "L"
FURTHER = [("lengths", "l"), ("initial_state", "s_0"), ("masked", "m")]
"""Options by which a layer takes a further input, in the order of the inputs, and its letter."""


class Operation(NamedTuple):
    """One layer in its place.

    path: the keys that lead to it, or to the operator whose output it gives.      name: the same as text.
    call: the call that made it.      value: the symbol of its output.      cotangent: that of its g.
    owner: of the operator whose params it uses.      inputs: the operations, by number, that feed it, or what comes
    from outside, as negative numbers from -1 on.      params: None where none were given.
    """

    path: Path
    name: str
    call: str
    apply: Function[Any, Any]
    value: Symbol
    cotangent: Symbol
    owner: str
    inputs: tuple[int, ...]
    params: Any

    @property
    def label(self) -> str:
        """Its path and the call."""
        return f"{self.name} {self.call}".strip()


def operations_of(
    layer: Layer[Any, Any], params: Any, fed_by: Sequence[int], first: int, *, loss: bool = False
) -> tuple[list[Operation], tuple[int, ...]]:
    """(the single layers that a layer is made of, the numbers of those that give its outputs).

    fed_by: the numbers of what feeds it.      first: the number of the first of them.
    """
    whole = structure(layer, tuple(range(len(fed_by))))
    places = {place.path: place for place in whole.walk()}
    names, numbers = _names(whole, places), dict[Source, int](enumerate(fed_by))
    found: list[Operation] = []
    for place in (place for place in whole.walk() if not place.children):
        numbers[place.path] = first + len(found)
        inputs = tuple(numbers[_leaf(source, places)] for source in place.inputs)
        own = None if params is None else params_at(params, place.owner)
        suffix, owner = (_suffix(names[path], loss) for path in (place.path, place.owner))
        value, cotangent = Symbol("y", suffix), Symbol("g", suffix)
        if loss and not place.path:
            value, cotangent = Symbol(LOSS), Symbol("g", LOSS)
        shares = place.owner != place.path
        call = f"{place.layer.apply.kind}, params of {path_name(names[place.owner])}" if shares else shown(place.layer)
        name = " ".join(filter(None, ["loss" * loss, path_name(names[place.path])]))
        found.append(
            Operation(
                names[place.path],
                name,
                one_line(call).removesuffix("()"),
                place.layer.apply,
                value,
                cotangent,
                owner,
                inputs,
                own,
            )
        )
    return found, tuple(numbers[_leaf(path, places)] for path in whole.results or ((),))


def _leaf(source: Source, places: Mapping[Path, Place]) -> Source:
    """The single layer that gives a value: the output of a nested network is that of one of its parts."""
    while not isinstance(source, int) and places[source].results:
        (source,) = places[source].results
    return source


def _names(whole: Place, places: Mapping[Path, Place]) -> dict[Path, Path]:
    """What each single layer is called: by its own path, or by that of the outermost operator whose output it gives."""
    names: dict[Path, Path] = {}
    for place in whole.walk():
        leaf = place.path if place is whole and place.children else _leaf(place.path, places)
        if not isinstance(leaf, int) and not places[leaf].children:
            names.setdefault(leaf, place.path)
    return names


def _suffix(path: Path, loss: bool) -> str:
    """What stands behind the letter: a number, or a path in brackets."""
    if loss:
        return f"[loss {path_name(path)}]" if path else LOSS
    alone = len(path) == 1 and isinstance(path[0], int) and path[0] >= 0
    return key_name(path[0]) if alone else f"[{path_name(path)}]" if path else ""


class Letters(NamedTuple):
    """The equations that hold for an operation, and which of their letters are its params and which its inputs."""

    rule: Rule
    params: dict[str, str]
    """By letter, the field of the params that it stands for."""
    inputs: list[str]


def letters_of(op: Operation) -> Letters | None:
    """None where there are no equations, or where they are about other params or inputs than this operation has."""
    rule = rule_of(op.apply)
    if rule is None or getattr(op.params, "mean", None) is not None:  # of a batch_norm with the population's statistics
        return None
    further = [(name, letter) for name, letter in FURTHER if option(op, name)]
    count = len(op.inputs) - weighted(op) - len(further)
    letters = list(rule.cotangents)
    if "x_i" in letters:
        return Letters(rule, {}, ["x_i"] * count)
    if len(letters) < count:
        return None
    of_params, of_inputs = letters[: len(letters) - count], letters[len(letters) - count :]
    fields = None if op.params is None else getattr(op.params, "_fields", ())
    of_inputs += [letter for _, letter in further]
    rule = rule._replace(cotangents={**rule.cotangents, **{letter: "" for _, letter in further}})
    rule = _begun(rule) if option(op, "initial_state") else rule
    found = {letter: FIELDS.get(letter, letter) for letter in of_params}
    if op.apply.kind == "embedding transposed":
        found = {"W": "table"}
    known = fields is None or all(field.partition(".")[0] in fields for field in found.values())
    return Letters(rule, found, of_inputs) if known else None


def _begun(rule: Rule) -> Rule:
    """The equations of a recurrent layer that takes its initial state, s_0: h_0, or h_0 and then c_0."""
    zeros = [step for step in rule.between if step.startswith("h_0 = ")]
    both = any("c_0" in step for step in zeros)
    given = ("h_0, c_0 = s_0 cut in two" if both else "h_0 = s_0",) if zeros else ()
    between = (*given, *(step for step in rule.between if step not in zeros))
    return rule._replace(between=between, cotangents={**rule.cotangents, "s_0": "[dh_0, dc_0]" if both else "dh_0"})


def option(op: Operation, name: str) -> Any:
    """An option of the call that made the layer; None where it was not given."""
    written = op.apply.written
    if written is not None and written.name == "bidirectional":  # its options are those of the layer
        written = written.args[0].apply.written
    return None if written is None else dict(written.kwargs).get(name)


def weighted(op: Operation) -> bool:
    """Whether its last input are weights of a loss."""
    return bool(option(op, "weighted"))
