"""A network as a picture: the text that Mermaid or Graphviz draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from funcnet.arrays import DType, Shape
from funcnet.calling import checks_call
from funcnet.core import Layer
from funcnet.display import numbered, one_line
from funcnet.inspection.structure import Source, path_name, source_name
from funcnet.inspection.summary import Operator, outline
from funcnet.networks.sketch import mermaid_text


@checks_call
def to_mermaid(net: Layer[Any, Any], *input_shapes: Shape, dtype: DType = np.float32) -> str:
    """The network as a Mermaid flowchart, which GitHub and many editors draw in a block of ```mermaid.

    Each operator is a box with its key and kind, each value an arrow with its shape. A nested network, `serial`,
    `parallel` or `residual` is a box around its parts.
    Raises GraphError for anything but a layer, and the errors of `net.init`.
    Example: `print(fn.to_mermaid(net, (2,)))`.
    """
    return "\n".join(_lines(outline("to_mermaid", net, *input_shapes, dtype=dtype), input_shapes, MERMAID))


@checks_call
def to_dot(net: Layer[Any, Any], *input_shapes: Shape, dtype: DType = np.float32) -> str:
    """The network as a graph in DOT, the language of Graphviz, for `dot -Tsvg`.

    Shows what `to_mermaid` shows, and raises the same errors.
    Example: `Path("net.dot").write_text(fn.to_dot(net, (2,)))`.
    """
    return "\n".join(_lines(outline("to_dot", net, *input_shapes, dtype=dtype), input_shapes, DOT))


class Syntax(NamedTuple):
    """How a language writes its first and last line, a box, an end, a group and its closing, an arrow, and a text."""

    first: str
    last: str
    box: str
    end: str
    group: str
    close: str
    arrow: str
    text: Callable[[str], str]


def _dot_text(text: str) -> str:
    return one_line(text).replace("\\", "\\\\").replace('"', '\\"')


MERMAID = Syntax(
    first="flowchart TD",
    last="",
    box='{name}["{text}"]',
    end='{name}(["{text}"])',
    group='subgraph {name}["{text}"]',
    close="end",
    arrow='{start} -->|"{text}"| {stop}',
    text=mermaid_text,
)
DOT = Syntax(
    first='digraph network {\n  node [shape=box, style=rounded, fontname="sans-serif"]\n  edge [fontname="sans-serif"]',
    last="}",
    box='{name} [label="{text}"]',
    end='{name} [label="{text}", shape=oval]',
    group='subgraph cluster_{name} {{ label="{text}"; labeljust=l; fontname="sans-serif"',
    close="}",
    arrow='{start} -> {stop} [label="{text}"]',
    text=_dot_text,
)


def _lines(net: Operator, input_shapes: Sequence[Shape], syntax: Syntax) -> Iterator[str]:
    """The text, a line a box and an arrow."""
    operators = {operator.path: operator for operator in net.walk()}
    names: dict[Source, str] = {path: f"n{i}" for i, path in enumerate(operators)}
    names |= {place: f"x{place}" for place in range(len(input_shapes))}
    results = net.results or (net.path,)
    yield syntax.first
    for place in range(len(input_shapes)):
        yield "  " + syntax.end.format(name=names[place], text=source_name(place, len(input_shapes) == 1))
    for child in net.children or (net,):
        yield from _boxes(child, names, syntax, "  ")
    for place, name in enumerate(numbered("y", len(results))):
        yield "  " + syntax.end.format(name=f"y{place}", text=name)

    def arrow(source: Source, stop: str) -> str:
        shape = input_shapes[source] if isinstance(source, int) else operators[source].output
        while not isinstance(source, int) and operators[source].results:
            (source,) = operators[source].results  # the output of a group is that of an operator in it
        return "  " + syntax.arrow.format(start=names[source], stop=stop, text=syntax.text(str(shape)))

    for operator in operators.values():
        yield from (arrow(source, names[operator.path]) for source in operator.inputs if not operator.children)
    yield from (arrow(result, f"y{place}") for place, result in enumerate(results))
    if syntax.last:
        yield syntax.last


def _boxes(operator: Operator, names: Mapping[Source, str], syntax: Syntax, margin: str) -> Iterator[str]:
    """A box, or a group of them."""
    label = f"{path_name(operator.path[-1:])}: {operator.label}" if operator.path else operator.label
    form = syntax.group if operator.children else syntax.box
    yield margin + form.format(name=names[operator.path], text=syntax.text(label))
    for child in operator.children:
        yield from _boxes(child, names, syntax, margin + "  ")
    if operator.children:
        yield margin + syntax.close
