"""The results as a bar chart: for each workload, how many times as long as the hand-written step a step takes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.report import Results, duration

_COLOURS = {
    "funcnet": "#0b6e4f",
    "funcnet-scan": "#58a68a",
    "funcnet-jit": "#1f9ac9",
    "funcnet-jit-scan": "#8fcbe4",
    "naive": "#9aa5b1",
    "jax": "#7a5195",
    "jax-scan": "#b99cc9",
    "torch": "#ef5675",
    "torch-compile": "#ffa600",
}


def draw(path: Path, results: Results, facts: Mapping[str, Any]) -> None:
    """Write the chart; the file's ending chooses the format."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    bar = next(iter(next(iter(results.values()))))
    names = [name for name in dict.fromkeys(n for timings in results.values() for n in timings) if name != bar]
    height = 0.8 / max(len(names), 1)
    figure, axes = plt.subplots(figsize=(9, 1.2 + len(results) * (0.25 + 0.17 * len(names))), layout="constrained")
    for place, name in enumerate(names):
        rows = [(row, timings[name].ratio) for row, timings in enumerate(results.values()) if name in timings]
        at = [row + (place - (len(names) - 1) / 2) * height for row, _ in rows]
        widths = [ratio - 1 for _, ratio in rows]
        axes.barh(at, widths, height * 0.9, left=1, color=_COLOURS.get(name, "#555555"), label=name)
        for y, (_, ratio) in zip(at, rows, strict=True):
            axes.text(max(ratio, 1) * 1.03, y, f"{ratio:.2f}", va="center", fontsize=7, color="#333333")
    _dress(axes, results, bar, facts)
    figure.savefig(path, dpi=160)
    plt.close(figure)


def _dress(axes: Any, results: Results, bar: str, facts: Mapping[str, Any]) -> None:
    axes.set_xscale("log")
    ticks = [
        tick
        for tick in (0.5, 1, 2, 5, 10, 20, 50)
        if tick <= 1.3 * max(t.ratio for r in results.values() for t in r.values())
    ]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(type(axes.xaxis.get_minor_locator())(subs=()))
    labels = [f"{workload}\n{duration(timings[bar].median)}" for workload, timings in results.items()]
    axes.set_yticks(range(len(results)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.axvline(1, color="#222222", linewidth=1)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    axes.margins(x=0.08, y=0.01)
    axes.set_xlabel(f"time of a step, as a multiple of the {bar} NumPy step (log scale)")
    axes.set_title(f"{facts['cpu']}, {facts['dtype']}, threads: {facts['threads']}", fontsize=9, loc="left", pad=24)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=6, frameon=False, fontsize=8, borderaxespad=0.3)
