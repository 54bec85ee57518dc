"""Boxes and arrows as an SVG picture: rows from top to bottom, with texts beside the arrows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from funcnet.display import one_line
from funcnet.networks.layering import Layers, Node

LONGEST = 26  # characters of a line in a box
LETTER, LINE, BOX = 6.6, 14.0, 40.0  # pixels: a letter's width, a line's height, a box's height
MARGIN = 16.0
PLAIN, SLOTS = 34.0, 3  # pixels between rows without texts; how many texts go below each other between two rows
COVERED = 0.2  # of a text that others may cover
STYLE = """
.funcnet text { font: 11px ui-monospace, Menlo, Consolas, monospace; fill: #1b1f24; }
.funcnet .key { font-weight: bold; }
.funcnet .box { fill: #f4f6f8; stroke: #57606a; }
.funcnet .end { fill: #fff8e1; stroke: #9a7b1c; }
.funcnet .shared { stroke-dasharray: 5 3; }
.funcnet .arrow { fill: none; stroke: #8c959f; stroke-width: 1.3; }
.funcnet .halo { stroke: #ffffff; stroke-width: 4; paint-order: stroke; stroke-linejoin: round; }
.funcnet .forward { fill: #0b57a4; }
.funcnet .backward { fill: #b0410b; }
"""


Point: TypeAlias = tuple[float, float]
Area: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom."""


class Box(NamedTuple):
    """A box: its key, its kind, and whether it is an end (an input, a target, an output) or shares params."""

    node: Node
    key: str
    kind: str = ""
    end: bool = False
    shared: bool = False


class Arrow(NamedTuple):
    """An arrow, with the texts beside it: of the value forward and of the cotangent backward."""

    start: Node
    stop: Node
    forward: str = ""
    backward: str = ""


def svg(boxes: Sequence[Box], arrows: Sequence[Arrow], title: str) -> str:
    """The picture. A box comes after all that feed it."""
    shown = {box.node: (_short(box.key), _short(box.kind)) for box in boxes}
    widths = {node: max(BOX, 18.0 + LETTER * max(map(len, lines))) for node, lines in shown.items()}
    longest = max((len(text) for a in arrows for text in (a.forward, a.backward)), default=0)
    picture = _Picture(Layers(widths, [(a.start, a.stop) for a in arrows], 8.0 + 0.8 * LETTER * longest), arrows)
    body = [*picture.lines(), *picture.boxes(boxes, shown), *picture.texts()]
    left, right = picture.edges()
    height = picture.height
    if any(arrow.backward for arrow in arrows):
        for text, style in (("value, forward", "forward"), ("cotangent, backward", "backward")):
            body.append(f'<text class="{style}" x="{left + MARGIN:.0f}" y="{height:.0f}">{text}</text>')
            height += LINE
    size = f'width="{right - left:.0f}" height="{height:.0f}"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="funcnet" role="img" viewBox="{left:.0f} 0 {right - left:.0f} '
    )
    paper = f'<rect x="{left:.0f}" y="0" {size} fill="#ffffff"/>'
    parts = [f'{head}{height:.0f}" {size}>', f"<title>{_safe(title)}</title>", f"<style>{STYLE}</style>", HEAD, paper]
    return "\n".join([*parts, *body, "</svg>"])


HEAD = (
    '<defs><marker id="funcnet-head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="#8c959f"/></marker></defs>'
)


class _Picture:
    """The parts of a picture. tops: the top of each box.      written: where a text is.

    The more texts there are between two rows, up to so many below each other, the farther apart the rows are.
    """

    def __init__(self, layers: Layers, arrows: Sequence[Arrow]) -> None:
        self.layers = layers
        self.arrows: Sequence[Arrow] = arrows
        self.heights: dict[int, float] = {
            i: LINE * (bool(arrow.forward) + bool(arrow.backward)) for i, arrow in enumerate(arrows)
        }
        ranks = {node: rank for rank, row in enumerate(layers.rows) for node in row}
        ends = [ranks[path[-1]] for path in layers.paths]
        self.tops: dict[Node, float] = {}
        top = MARGIN
        for rank, row in enumerate(layers.rows):
            heights = sorted((self.heights[i] for i, end in enumerate(ends) if end == rank), reverse=True)
            top += PLAIN + sum(heights[:SLOTS]) if rank else 0.0
            self.tops.update(dict.fromkeys(row, top))
            top += BOX
        self.height: float = top + MARGIN
        self.written: list[Area] = []

    def edges(self) -> tuple[float, float]:
        """The left and the right edge."""
        places, widths = self.layers.places, self.layers.widths
        left = min((places[node] - widths[node] / 2 for node in places), default=0.0)
        right = max((places[node] + widths[node] / 2 for node in places), default=0.0)
        return left - MARGIN, max([right, *(area[2] for area in self.written)]) + MARGIN

    def boxes(self, boxes: Sequence[Box], shown: dict[Node, tuple[str, str]]) -> Iterator[str]:
        """Each box, with its whole text where a pointer rests on it."""
        for box in boxes:
            key, kind = shown[box.node]
            width, x, y = self.layers.widths[box.node], self.layers.places[box.node], self.tops[box.node]
            style = " ".join(["end" if box.end else "box", *["shared"] * box.shared])
            yield f"<g><title>{_safe(f'{box.key} {box.kind}'.strip())}</title>"
            yield (
                f'<rect class="{style}" x="{x - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" height="{BOX:.0f}" '
                f'rx="{BOX / 2 if box.end else 6:.0f}"/>'
            )
            middle = 'text-anchor="middle"'
            yield f'<text class="key" {middle} x="{x:.1f}" y="{y + (17 if kind else 24):.1f}">{_safe(key)}</text>'
            if kind:
                yield f'<text {middle} x="{x:.1f}" y="{y + 32:.1f}">{_safe(kind)}</text>'
            yield "</g>"

    def lines(self) -> Iterator[str]:
        """Each arrow: a smooth line past the boxes of the rows between, with its whole text for a pointer on it."""
        for arrow, path in zip(self.arrows, self.layers.paths, strict=True):
            steps = ""
            for upper, lower in pairwise(path):
                (x0, y0), (x1, y1) = self._ends(upper, lower)
                middle = (y0 + y1) / 2
                steps += f"{'L' if steps else 'M'}{x0:.1f} {y0:.1f}"
                steps += f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"
            text = _safe("; ".join(filter(None, [arrow.forward, arrow.backward])))
            yield f'<path class="arrow" marker-end="url(#funcnet-head)" d="{steps}"><title>{text}</title></path>'

    def _ends(self, upper: Node, lower: Node) -> tuple[Point, Point]:
        """From the bottom of one to the top of the next; arrows of one box leave and enter it side by side."""
        start = self.layers.places[upper] + self._aside(upper, self.layers.below[upper], lower)
        stop = self.layers.places[lower] + self._aside(lower, self.layers.above[lower], upper)
        return (start, self.tops[upper] + BOX), (stop, self.tops[lower])

    def _aside(self, node: Node, others: Sequence[Node], other: Node) -> float:
        ordered = sorted(others, key=lambda each: self.layers.places[each])
        room = min(18.0, (self.layers.widths[node] - 12.0) / len(ordered))
        return (ordered.index(other) - (len(ordered) - 1) / 2) * room

    def texts(self) -> Iterator[str]:
        """The texts of each arrow, beside its first or last piece, where they cover the least of the others.

        A text that would cover much of others is left out: a pointer on the arrow shows it.
        """
        for i, (arrow, path) in enumerate(zip(self.arrows, self.layers.paths, strict=True)):
            lines = [(t, style) for t, style in ((arrow.forward, "forward"), (arrow.backward, "backward")) if t]
            if not lines:
                continue
            size = LETTER * max(len(text) for text, _ in lines), self.heights[i]
            pieces = dict.fromkeys([(path[-2], path[-1]), (path[0], path[1])])
            areas = [area for piece in pieces for area in _beside(*self._ends(*piece), size)]
            best = min(areas, key=self._covered)
            if self._covered(best) > COVERED * size[0] * size[1]:
                continue
            self.written.append(best)
            for place, (text, style) in enumerate(lines):
                at = f'x="{best[0]:.1f}" y="{best[1] + LINE * (place + 0.8):.1f}"'
                yield f'<text class="halo {style}" {at}>{_safe(text)}</text>'

    def _covered(self, area: Area) -> float:
        """How much of what has been written a text would cover."""
        return sum(
            max(0.0, min(area[2], other[2]) - max(area[0], other[0]))
            * max(0.0, min(area[3], other[3]) - max(area[1], other[1]))
            for other in self.written
        )


def _beside(start: Point, stop: Point, size: tuple[float, float]) -> Iterator[Area]:
    """Where a text of that size may be beside a piece of an arrow: in the middle first, then above and below."""
    room = stop[1] - start[1] - size[1] - 12.0
    for part in (0.5, 0.0, 1.0, 0.25, 0.75):
        top = start[1] + 6.0 + part * room
        t = (top + size[1] / 2 - start[1]) / (stop[1] - start[1])
        x = start[0] + (stop[0] - start[0]) * t * t * (3 - 2 * t) + 5.0
        yield x, top, x + size[0], top + size[1]


def _short(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def _safe(text: str) -> str:
    """Text within XML."""
    return escape(one_line(text))
