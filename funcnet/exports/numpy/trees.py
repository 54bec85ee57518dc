"""Trees of params as expressions of Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcnet import tree


def size(shape: tuple[int, ...]) -> int:
    """How many elements there are."""
    return int(np.prod(shape))


def built(structure: tree.Structure[Any], leaves: Any) -> str:
    """The tree as an expression, each leaf a piece of v."""
    if structure.kind is object:
        start, shape = next(leaves)
        return f"v[{start}:{start + size(shape)}].reshape({shape})"
    if structure.kind is type(None):
        return "None"
    items = [built(child, leaves) for child in structure.children]
    if structure.kind is dict:
        items = [f"{key!r}: {item}" for key, item in zip(structure.keys, items, strict=True)]
        return f"{{{listed(items, 8)}    }}"
    if structure.kind is list:
        return f"[{', '.join(items)}]"
    name = structure.kind.__name__ if hasattr(structure.kind, "_fields") else ""
    return f"{name}({', '.join(items)}{',' * (len(items) == 1 and not name)})"


def listed(items: Sequence[str], indent: int) -> str:
    """A line for each item."""
    return "\n" + "".join(f"{' ' * indent}{item},\n" for item in items)


def position(structure: tree.Structure[Any], leaf: int) -> str:
    """How the leaf with this number is reached."""
    if structure.kind is object:
        return ""
    for place, (key, child) in enumerate(zip(structure.keys, structure.children, strict=False)):
        if leaf < child.size:
            step = key if structure.kind is dict else place
            return f"[{step!r}]{position(child, leaf)}"
        leaf -= child.size
    raise AssertionError("a leaf of no structure")
