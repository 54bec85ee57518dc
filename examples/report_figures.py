"""The pictures of `report.py`: a network drawn from its dicts, classified points, loss curves."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
from common import BLUE, GREY, INK, RED
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Polyline
from numpy.typing import NDArray

Array = NDArray[Any]
Points = tuple[Array, NDArray[np.intp]]
"""Points of the plane, (n, 2), and the class of each, (n,)."""
Field = Callable[[Array], Array]
"""A number for each point: negative for class 0, positive for class 1."""

LIGHT = "#92b8da"
SHADES = ["#dbe8f4", "#fbe3df"]
KINDS = {"linear": "#dbe8f4", "tanh": "#fdeccb", "sigmoid": "#fdeccb", "add": "#dcefdc"}

# Classified points


def draw_classes(path: Path, title: str, sets: Sequence[Points], predict: Field, task: Field) -> None:
    """The training set on the left, the test set on the right; what is misclassified has a black x."""
    figure = Figure(figsize=(9, 5.4), layout=ConstrainedLayoutEngine(h_pad=0.07, w_pad=0.07))
    figure.suptitle(title, fontsize=14)
    low, high = window(np.concatenate([xy for xy, _ in sets]))
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    for ax, name, (xy, label), size in zip(axes, ("Training set", "Test set"), sets, (9, 20), strict=True):
        wrong = (predict(xy) > 0) != label
        ax.set_title(f"{name}: {100 * wrong.mean():.1f} % error ({wrong.sum()} of {len(xy):,})", fontsize=12)
        draw_regions(ax, low, high, predict, task)
        for k, colour in enumerate((BLUE, RED)):
            ax.scatter(*xy[label == k].T, s=size, color=colour, linewidths=0)
        ax.scatter(*xy[wrong].T, s=42, color="black", marker="x", linewidths=1.4, zorder=3)
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
        ax.tick_params(colors="#4d4d4d", labelsize=10)
    figure.legend(handles=class_legend(), loc="outside lower center", ncols=5, fontsize=11, frameon=False)
    common.save(figure, path.parent, path.name)


def window(xy: Array) -> tuple[Array, Array]:
    """The square that holds all points, with a small margin."""
    middle, half = (xy.min(axis=0) + xy.max(axis=0)) / 2, 0.52 * np.ptp(xy, axis=0).max()
    return middle - half, middle + half


def draw_regions(ax: Axes, low: Array, high: Array, predict: Field, task: Field) -> None:
    """The plane in the colours of the predicted classes, with the predicted and the true boundary."""
    x, y = (np.linspace(a, b, 301) for a, b in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    predicted, true = (field(grid.reshape(-1, 2)).reshape(grid.shape[:2]) for field in (predict, task))
    far = 1 + np.abs(predicted).max()
    ax.contourf(x, y, predicted, levels=[-far, 0, far], colors=SHADES, zorder=0)
    ax.contour(x, y, true, levels=[0], colors=GREY, linestyles="dashed", linewidths=1.4)
    if predicted.min() < 0 < predicted.max():
        ax.contour(x, y, predicted, levels=[0], colors=INK, linewidths=1.6)


def class_legend() -> list[Line2D]:
    """What the marks and the lines of a picture mean."""
    return [
        Line2D([], [], color=BLUE, marker="o", linestyle="", label="class 0"),
        Line2D([], [], color=RED, marker="o", linestyle="", label="class 1"),
        Line2D([], [], color="black", marker="x", markeredgewidth=1.6, linestyle="", label="misclassified"),
        Line2D([], [], color=INK, linewidth=1.6, label="decision boundary"),
        Line2D([], [], color=GREY, linewidth=1.4, linestyle="dashed", label="true boundary"),
    ]


# Loss curves


def draw_losses(path: Path, curves: Mapping[str, Array]) -> None:
    """The loss of every draw, (draws, epochs), and their median, a panel for each title."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axes = figure.subplots(1, len(curves), sharey=True)
    for ax, (title, losses) in zip(axes, curves.items(), strict=True):
        epochs = np.arange(1, losses.shape[1] + 1)
        each, *_ = ax.plot(epochs, losses.T, color=LIGHT, linewidth=0.6)
        (median,) = ax.plot(epochs, np.median(losses, axis=0), color=INK, linewidth=2)
        ax.set(xscale="log", yscale="log", xlabel="epoch")
        ax.set_title(title, fontsize=12)
        ax.grid(which="major", color="#e5e5e5")
    axes[0].set_ylabel("mean squared error", fontsize=11)
    axes[0].legend([each, median], [f"each of {len(losses)} draws", "median"], loc="lower left", fontsize=11)
    common.save(figure, path.parent, path.name)


# The network

WIDTH, HEIGHT, GAP = 1.6, 1.0, 0.6
"""Of a box, and between two columns of boxes."""


def draw_network(path: Path, names: Mapping[int, str], connectivity: Mapping[int, Sequence[int]]) -> None:
    """The operators as boxes from left to right in the order of the forward pass, an arrow for each edge."""
    centres = layered(names, connectivity)
    xs, ys = zip(*centres.values(), strict=True)
    figure = Figure(figsize=(9, 2.2))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(-2.0, max(xs) + 2.0), ylim=(min(ys) - 1.75, max(ys) + 1.3), aspect="equal")
    ax.set_axis_off()
    for key, (x, y) in centres.items():
        draw_box(ax, x, y, key, names[key])
    for key, successors in connectivity.items():
        for successor in successors:
            draw_edge(ax, centres[key], centres[successor])
    draw_ends(ax, centres, connectivity)
    operators = ", ".join(f"{key}: fn.{name}" for key, name in names.items())
    text = f"operators    = {{{operators}}}\nconnectivity = {dict(connectivity)}"
    ax.text(-1.7, min(ys) - 1.2, text, family="monospace", fontsize=9, linespacing=1.7, color=INK, va="center")
    common.save(figure, path.parent, path.name)


def layered(keys: Iterable[int], connectivity: Mapping[int, Sequence[int]]) -> dict[int, tuple[float, float]]:
    """The centre of each box. Its column is the longest way to it; the boxes of a column hang one below the other."""
    column = dict.fromkeys(keys, 0)
    for _ in column:  # no way has more edges than there are boxes
        for key, successors in connectivity.items():
            for successor in successors:
                column[successor] = max(column[successor], column[key] + 1)
    columns = [*column.values()]
    row = {key: columns[:i].count(columns[i]) for i, key in enumerate(column)}
    return {key: (column[key] * (WIDTH + GAP), -row[key] * (HEIGHT + GAP)) for key in column}


def draw_box(ax: Axes, x: float, y: float, key: int, name: str) -> None:
    """An operator: its key above its name."""
    colour = KINDS.get(name.split("(")[0], "#eeeeee")
    corner, shape = (x - WIDTH / 2, y - HEIGHT / 2), "round,pad=0,rounding_size=0.16"
    ax.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle=shape, facecolor=colour, edgecolor=INK, linewidth=1.2))
    ax.text(x, y + 0.2, str(key), fontsize=14, weight="bold", color=INK, ha="center", va="center")
    ax.text(x, y - 0.22, name, fontsize=11, color=INK, ha="center", va="center")


def draw_edge(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """An arrow to the next column, or over the boxes between: the farther it goes, the higher it rises."""
    (x0, y0), (x1, y1) = start, end
    columns = round((x1 - x0) / (WIDTH + GAP))
    if columns == 1:
        path = [(x0 + WIDTH / 2, y0), (x1 - WIDTH / 2, y1)]
    else:
        top = max(y0, y1) + HEIGHT / 2 + 0.2 * columns
        path = [(x0, y0 + HEIGHT / 2), (x0, top), (x1, top), (x1, y1 + HEIGHT / 2)]
    draw_arrow(ax, path)


def draw_arrow(ax: Axes, corners: Sequence[tuple[float, float]]) -> None:
    """An arrow along straight lines."""
    ax.add_patch(FancyArrowPatch(path=Polyline(corners), arrowstyle="-|>", mutation_scale=15, color=INK, linewidth=1.4))


def draw_ends(ax: Axes, centres: Mapping[int, tuple[float, float]], connectivity: Mapping[int, Sequence[int]]) -> None:
    """x goes into what nothing feeds; y comes out of what feeds nothing."""
    fed = {successor for successors in connectivity.values() for successor in successors}
    for key, (x, y) in centres.items():
        if key not in fed:
            draw_arrow(ax, [(x - WIDTH / 2 - GAP, y), (x - WIDTH / 2, y)])
            ax.text(x - WIDTH / 2 - GAP - 0.2, y, "x", fontsize=14, style="italic", ha="center", va="center")
        if not connectivity.get(key):
            draw_arrow(ax, [(x + WIDTH / 2, y), (x + WIDTH / 2 + GAP, y)])
            ax.text(x + WIDTH / 2 + GAP + 0.2, y, "y", fontsize=14, style="italic", ha="center", va="center")
