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
OTHER = "#555555"


def draw(path: Path, results: Results, facts: Mapping[str, Any]) -> None:
    """Write the chart; the file's ending chooses the format."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    bar = next(iter(next(iter(results.values()))))
    names = [name for name in dict.fromkeys(n for timings in results.values() for n in timings) if name != bar]
    workloads = list(results)
    half = -(-len(workloads) // 2)
    size = (14, 1.2 + half * (0.25 + 0.15 * len(names)))
    figure, panels = plt.subplots(1, 2, figsize=size, layout="constrained", sharex=True)
    for axes, part in zip(panels, (workloads[:half], workloads[half:]), strict=True):
        _draw_bars(axes, {workload: results[workload] for workload in part}, names)
        _dress(axes, {workload: results[workload] for workload in part}, bar)
    _draw_ticks(panels, [t.ratio for timings in results.values() for t in timings.values()])
    handles = [Patch(color=_COLOURS.get(name, OTHER), label=name) for name in names]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(names), frameon=False, fontsize=9)
    machine = f"{facts['cpu']}, {facts['vectors']}, {facts['dtype']}, threads: {facts['threads']}"
    figure.supxlabel(f"time of a step, as a multiple of the {bar} NumPy step (log scale); {machine}", fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_bars(axes: Any, results: Results, names: list[str]) -> None:
    height = 0.8 / max(len(names), 1)
    for place, name in enumerate(names):
        rows = [(row, timings[name].ratio) for row, timings in enumerate(results.values()) if name in timings]
        at = [row + (place - (len(names) - 1) / 2) * height for row, _ in rows]
        axes.barh(at, [ratio - 1 for _, ratio in rows], height * 0.9, left=1, color=_COLOURS.get(name, OTHER))
        for y, (_, ratio) in zip(at, rows, strict=True):
            axes.text(max(ratio, 1) * 1.05, y, f"{ratio:.2f}", va="center", fontsize=7, color="#333333")


def _dress(axes: Any, results: Results, bar: str) -> None:
    labels = [f"{workload}\n{duration(timings[bar].median)}" for workload, timings in results.items()]
    axes.set_yticks(range(len(results)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.axvline(1, color="#222222", linewidth=1)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    axes.margins(x=0.08, y=0.01)


def _draw_ticks(panels: Any, ratios: list[float]) -> None:
    ticks = [tick for tick in (0.01, 0.1, 0.5, 1, 2, 5, 10, 20, 50) if min(ratios) / 1.3 <= tick <= 1.3 * max(ratios)]
    for axes in panels:
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_locator(type(axes.xaxis.get_minor_locator())(subs=()))
