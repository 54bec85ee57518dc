"""A network without shapes, from its two dicts alone: the table of its repr, and names for diagrams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from funcnet.core import OperatorKey
from funcnet.display import aligned, key_name, numbered, one_line, shown
from funcnet.networks.graph import Graph

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
    return dict(zip(graph.inputs, numbered("x", len(graph.inputs)), strict=True))


def mermaid_text(text: str) -> str:
    """The text with every character of Mermaid's or Markdown's syntax written as its number."""
    return "".join(c if c.isalnum() or c in PLAIN else f"#{ord(c)};" for c in text)
