"""A network without shapes as a picture, for a notebook. Imported when one is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from funcnet.core import OperatorKey
from funcnet.display import key_name, numbered, shown
from funcnet.networks.graph import Graph
from funcnet.networks.picture import Arrow, Box, svg
from funcnet.networks.sharing import Shared
from funcnet.networks.sketch import input_names

LARGEST = 200  # operators of a network that a notebook draws


def picture(graph: Graph, layers: Mapping[OperatorKey, Any]) -> str | None:
    """The graph as an SVG picture: a box an operator, an arrow wherever a value goes; None where it is too large."""
    if len(graph.order) > LARGEST:
        return None
    names, outputs = input_names(graph), numbered("y", len(graph.outputs))
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
