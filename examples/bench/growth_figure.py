"""The growth as one figure: a panel a series, both axes logarithmic, the points and the line fitted to them."""

from collections.abc import Mapping, Sequence
from math import log2
from pathlib import Path
from typing import Any

from bench.growth import Curve
from bench.report import duration

INK, SOFT, GRID = "#222222", "#6b7280", "#e5e7eb"
COLOURS = ("#0b6e4f", "#7a5195")
AXES = {
    "depth": "layers",
    "width": "million multiply-adds a step",
    "batch": "rows",
    "fan-out": "branches",
    "compile": "operators",
}
TITLES = {"depth": "Depth", "width": "Width", "batch": "Batch", "fan-out": "Fan-out", "compile": "Compiling"}
COLUMNS = 3


def draw(path: Path, curves: Sequence[Curve], facts: Mapping[str, Any]) -> None:
    """Write the figure; the file's ending chooses the format."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    names = list(dict.fromkeys(curve.series.panel for curve in curves))
    rows = -(-(len(names) + 1) // COLUMNS)
    layout = ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.1)
    figure, grid = plt.subplots(rows, COLUMNS, figsize=(11, 3.5 * rows), layout=layout, squeeze=False)
    cells = list(grid.flat)
    for axes, name in zip(cells, names, strict=False):
        draw_panel(axes, [curve for curve in curves if curve.series.panel == name])
    for axes in cells[len(names) :]:
        axes.set_axis_off()
    explain(cells[len(names)], facts)
    figure.savefig(path, dpi=160)
    plt.close(figure)


def draw_panel(axes: Any, curves: Sequence[Curve]) -> None:
    """The points of one panel; those that the line is fitted to are filled."""
    axes.set(xscale="log", yscale="log")
    slopes = []
    for curve, colour in zip(curves, COLOURS, strict=False):
        what = curve.series.what.partition(":")[0]
        draw_curve(axes, curve, colour, what)
        slopes.append(f"{what} ~ $n^{{{curve.exponent:.2f}}}$")
    name = curves[0].series.panel
    axes.set_title(f"{TITLES[name]}: {', '.join(slopes)}", fontsize=10.5, loc="left", color=INK, pad=8)
    axes.set_xlabel(AXES[name], color=SOFT, fontsize=9)
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="upper left")
    dress(axes, [n for curve in curves for n in curve.work], [t for curve in curves for t in curve.seconds])


def draw_curve(axes: Any, curve: Curve, colour: str, label: str) -> None:
    """Points, and the fitted line, dashed where it goes on below the points that it is fitted to."""
    work, seconds, half = curve.work, curve.seconds, curve.half
    below, above = [work[0], work[half]], [work[half], work[-1]]
    axes.plot(below, [curve.fitted(w) for w in below], color=colour, linewidth=1, linestyle=(0, (3, 3)), alpha=0.6)
    axes.plot(above, [curve.fitted(w) for w in above], color=colour, linewidth=1.6)
    style = {"linestyle": "none", "marker": "o", "markersize": 5.5, "color": colour, "clip_on": False, "zorder": 3}
    axes.plot(work[:half], seconds[:half], markerfacecolor="white", **style)
    axes.plot(work[half:], seconds[half:], label=label, **style)


def dress(axes: Any, work: Sequence[float], seconds: Sequence[float]) -> None:
    """Ticks at powers of ten, with their units; a light grid."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(numticks=12))
        axis.set_minor_formatter(NullFormatter())
    if log2(max(work)).is_integer():
        axes.xaxis.set_major_locator(LogLocator(base=2, numticks=12))
        axes.xaxis.set_minor_locator(LogLocator(base=2, subs=()))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:g}" if n < 10_000 else f"{n / 1000:g}k"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda t, _: duration(1.0000001 * t)))
    axes.set_xlim(min(work) / 1.3, max(work) * 1.3)
    axes.set_ylim(min(seconds) / 2, max(seconds) * 2)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#c4c8cf")
    axes.tick_params(which="both", length=0, labelsize=8.5, labelcolor=INK)


def explain(axes: Any, facts: Mapping[str, Any]) -> None:
    """What is to be seen, and where it was measured, in the place of a panel."""
    lines = [
        "Time of funcnet's training step, of apply,",
        "and of compiling: network and first step.",
        "",
        "Solid line: time = c $n^p$, least squares over",
        "the filled points, the upper half of the sizes.",
        "",
        f"{facts['cpu']}",
        f"{facts['dtype']}, threads: {facts['threads']}",
        f"NumPy {facts['numpy']}",
    ]
    axes.text(
        0.02, 0.95, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=9.5, color=SOFT, linespacing=1.5
    )
