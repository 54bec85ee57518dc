"""A network without shapes, as its two dicts tell it: the table of its repr, and the picture in a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from funcnet.core import OperatorKey
from funcnet.display import aligned, key_name, one_line, shown
from funcnet.networks.graph import Graph
from funcnet.networks.picture import Arrow, Box, svg
from funcnet.networks.sharing import Shared

LARGEST = 200  # operators of a network that a notebook draws
PLAIN = frozenset(" _,:()/")


def table(graph: Graph, layers: Mapping[OperatorKey, Any]) -> str:
    """A line an operator: its key, its layer, and what feeds it; then the outputs."""
    count = len(graph.order)
    names = input_names(graph)
    rows = [("operator", "layer", "inputs")]
    for key in graph.order:
        fed_by = ", ".join(map(key_name, graph.predecessors[key])) or names[key]
        rows.append((key_name(key), one_line(shown(layers[key])), fed_by))
    outputs = ", ".join(map(key_name, graph.outputs))
    title = f"network of {count} operator{'s' * (count != 1)}, output{'s' * (not graph.single)} {outputs}"
    return f"{title}\n{aligned(rows)}"


def input_names(graph: Graph) -> dict[OperatorKey, str]:
    """x, or x0, x1, ... where there are several."""
    return {key: "x" if len(graph.inputs) == 1 else f"x{i}" for i, key in enumerate(graph.inputs)}


def picture(graph: Graph, layers: Mapping[OperatorKey, Any]) -> str | None:
    """The graph as an SVG picture: a box an operator, an arrow wherever a value goes; None where it is too large."""
    if len(graph.order) > LARGEST:
        return None
    names, outputs = input_names(graph), output_names(len(graph.outputs))
    boxes = [Box(name, name, end=True) for name in names.values()]
    boxes += [
        Box((key,), key_name(key), shown(layers[key]).removesuffix("()"), shared=isinstance(layers[key], Shared))
        for key in graph.order
    ]
    boxes += [Box(name, name, end=True) for name in outputs]
    arrows = [Arrow(name, (key,)) for key, name in names.items()]
    arrows += [Arrow((feeder,), (key,)) for key in graph.order for feeder in graph.predecessors[key]]
    arrows += [Arrow((key,), name) for key, name in zip(graph.outputs, outputs, strict=True)]
    return svg(boxes, arrows, f"network of {len(graph.order)} operators")


def output_names(count: int) -> list[str]:
    """y, or y0, y1, ... where there are several."""
    return ["y" if count == 1 else f"y{i}" for i in range(count)]


def mermaid_text(text: str) -> str:
    """All but letters, digits and what is no syntax, not of Markdown either, by their number."""
    return "".join(c if c.isalnum() or c in PLAIN else f"#{ord(c)};" for c in text)
