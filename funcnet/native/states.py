"""The state of an optimizer as native code takes it: a count of steps, vectors and numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from funcnet import tree
from funcnet.arrays import Array, is_array
from funcnet.compiler.layout import Layout, Node, builder
from funcnet.native.updates import Update
from funcnet.optimizers.schedules import Schedule, value_at
from funcnet.training.flat_states import Kept, tree_of


class Written(NamedTuple):
    """A state in its form for C: the number of steps so far, its vectors and its numbers, in order."""

    steps: int
    vectors: list[Any]
    numbers: list[float]


class States:
    """How the states of an optimizer are taken apart for its update, and put together from what that has made.

    first: the first state for a single number as params, whose counts are ints, numbers floats, and vectors arrays.
    counts, numbers, vectors: the places of the leaves that are such.
    schedules: of the numbers; None for one that stays.
    """

    def __init__(self, update: Update, first: Any) -> None:
        leaves, structure = tree.flatten(first)
        self.structure: tree.Structure[Any] = structure
        self.counts: list[int] = [i for i, x in enumerate(leaves) if type(x) is int]
        self.numbers: list[int] = [i for i, x in enumerate(leaves) if type(x) is float]
        self.vectors: list[int] = [i for i, x in enumerate(leaves) if is_array(x)]
        self.schedules: list[Schedule | None] = [schedule for _, schedule in update.numbers]
        self._build = builder(self.structure, 0)

    def written(self, flat: Any) -> Written | None:
        """A state with a vector in place of each tree, if it has one count in all, and numbers where they belong."""
        leaves, structure = tree.flatten(flat)
        if structure != self.structure:
            return None
        counts, numbers = ([leaves[i] for i in places] for places in (self.counts, self.numbers))
        if not all(map(is_number, counts + numbers)):
            return None
        steps = {*map(int, counts)} or {0}
        vectors = [leaves[i] for i in self.vectors]
        return Written(steps.pop(), vectors, [*map(float, numbers)]) if len(steps) == 1 else None

    def with_trees(self, layout: Layout[Any], written: Written) -> Kept:
        """The state with trees of views in place of the vectors."""
        nodes, arrays = list[Node](), list[Array]()
        leaves: list[Any] = [written.steps] * self.structure.size
        for i, x in zip(self.numbers, written.numbers, strict=True):
            leaves[i] = x
        for i, vector in zip(self.vectors, written.vectors, strict=True):
            leaves[i] = tree_of(layout, vector, nodes, arrays)
        return Kept(self._build((*leaves,)), written, nodes, arrays)

    def after(self, before: Written, vectors: list[Any], steps: int = 1) -> Written:
        """That of the state after more steps, which have made these vectors."""
        count = before.steps + steps
        numbers = [
            x if rule is None else value_at(rule, count) for x, rule in zip(before.numbers, self.schedules, strict=True)
        ]
        return Written(count, vectors, numbers)

    def numbers_of_steps(self, before: Written, steps: int) -> Any:
        """The numbers for each of so many steps, and those of the state after them, (steps + 1, numbers)."""
        rows = np.empty((steps + 1, len(self.numbers)))
        rows[...] = before.numbers
        for column, schedule in zip(rows[1:].T, self.schedules, strict=True):
            if schedule is not None:
                column[...] = [value_at(schedule, before.steps + i) for i in range(1, steps + 1)]
        return rows


def is_number(x: Any) -> bool:
    """Whether it is an int or a float, which may be an array of no axes, as files give them."""
    return np.ndim(x) == 0 and np.asarray(x).dtype.kind in "iuf"
