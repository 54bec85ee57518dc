"""Where the boxes of a graph are drawn: in rows from top to bottom, with few crossings, one below what feeds it.

The method of Sugiyama, Tagawa and Toda (1981): rows by the longest path, a point in each row that an arrow passes,
the order within a row by the mean place of the neighbours, then places near those of the neighbours.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TypeAlias

Node: TypeAlias = Hashable
SWEEPS = 12  # down and up again, over all rows
GAP = 26.0  # between two boxes of a row


class Layers:
    """The rows of a graph without cycles. arrows: (from, to), to a box that comes after it in `widths`.

    rows: the boxes of each row from left to right, and (arrow, row) for the arrows that pass through it.
    places: the middle of each of them.      paths: of each arrow, what it passes, its ends too.
    """

    def __init__(self, widths: Mapping[Node, float], arrows: Sequence[tuple[Node, Node]], passing: float) -> None:
        ranks = _ranks(list(widths), arrows)
        self.rows: list[list[Node]] = [[] for _ in range(1 + max(ranks.values(), default=0))]
        self.widths: dict[Node, float] = dict(widths)
        self.paths: list[list[Node]] = []
        for node, rank in ranks.items():
            self.rows[rank].append(node)
        for number, (start, stop) in enumerate(arrows):
            passed: list[Node] = [(number, rank) for rank in range(ranks[start] + 1, ranks[stop])]
            for rank, node in enumerate(passed, ranks[start] + 1):
                self.rows[rank].append(node)
                self.widths[node] = passing
            self.paths.append([start, *passed, stop])
        self.above: dict[Node, list[Node]] = {node: [] for row in self.rows for node in row}
        self.below: dict[Node, list[Node]] = {node: [] for row in self.rows for node in row}
        for upper, lower in (pair for path in self.paths for pair in pairwise(path)):
            self.below[upper].append(lower)
            self.above[lower].append(upper)
        self._order()
        self.places: dict[Node, float] = {}
        self._place()

    def _order(self) -> None:
        """Fewer crossings: each row in the order of the mean place of its neighbours, down and up."""
        best, fewest = [list(row) for row in self.rows], self._crossings()
        for sweep in range(SWEEPS):
            down = sweep % 2 == 0
            neighbours = self.above if down else self.below
            for row, before in pairwise(self.rows[::-1] if not down else self.rows):
                at = {node: place for place, node in enumerate(row)}
                own = {node: place for place, node in enumerate(before)}
                before.sort(key=partial(_mean, neighbours, at, own))
            if (crossings := self._crossings()) < fewest:
                best, fewest = [list(row) for row in self.rows], crossings
        self.rows = best

    def _crossings(self) -> int:
        count = 0
        for upper, lower in pairwise(self.rows):
            at = {node: place for place, node in enumerate(lower)}
            seen: list[int] = []
            for node in upper:
                stops = sorted(at[stop] for stop in self.below[node])
                count += sum(len(seen) - bisect_right(seen, stop) for stop in stops)
                for stop in stops:
                    insort(seen, stop)
        return count

    def _place(self) -> None:
        """Places: first side by side, then near the neighbours, as far as the order and the widths let them."""
        for row in self.rows:
            edge = -sum(self.widths[node] + GAP for node in row) / 2
            for node in row:
                self.places[node] = edge + self.widths[node] / 2
                edge += self.widths[node] + GAP
        for sweep in range(2 * SWEEPS):
            down = sweep % 2 == 0
            neighbours = self.above if down else self.below
            for row in self.rows if down else self.rows[::-1]:
                wanted = [_mean(neighbours, self.places, self.places, node) for node in row]
                self.places.update(zip(row, self._apart(row, wanted), strict=True))

    def _apart(self, row: Sequence[Node], wanted: Sequence[float]) -> list[float]:
        """The wanted places, moved apart: half the way to the right and half to the left."""
        least = [(self.widths[a] + self.widths[b]) / 2 + GAP for a, b in pairwise(row)]
        right, left = list(wanted), list(wanted)
        for i, space in enumerate(least):
            right[i + 1] = max(right[i + 1], right[i] + space)
        for i, space in reversed(list(enumerate(least))):
            left[i] = min(left[i], left[i + 1] - space)
        return [(a + b) / 2 for a, b in zip(right, left, strict=True)]


def _ranks(nodes: Sequence[Node], arrows: Sequence[tuple[Node, Node]]) -> dict[Node, int]:
    """The row of each: below all that feeds it; what nothing feeds is right above the first that it feeds."""
    feeders: dict[Node, list[Node]] = {node: [] for node in nodes}
    fed: dict[Node, list[Node]] = {node: [] for node in nodes}
    for start, stop in arrows:
        feeders[stop].append(start)
        fed[start].append(stop)
    ranks: dict[Node, int] = {}
    for node in nodes:
        ranks[node] = 1 + max((ranks[feeder] for feeder in feeders[node]), default=-1)
    for node in nodes:
        if not feeders[node] and fed[node]:
            ranks[node] = min(ranks[stop] for stop in fed[node]) - 1
    return ranks


def _mean(
    near: Mapping[Node, Sequence[Node]], at: Mapping[Node, float], own: Mapping[Node, float], node: Node
) -> float:
    """The mean place of a box's neighbours; its own place where it has none."""
    places = [at[neighbour] for neighbour in near[node]]
    return sum(places) / len(places) if places else own[node]
