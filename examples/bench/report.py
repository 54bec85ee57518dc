"""What was measured, as a table that reads as Markdown, as JSON, and as a bar chart."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.timing import Timing

Results = Mapping[str, Mapping[str, Timing]]
"""Workload -> implementation -> its timing."""


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds / size < 1000 else f"{seconds / size:,.0f} {unit}"
    return f"{seconds / 1e-9:.0f} ns"


def size(count: float) -> str:
    """Bytes with three digits and a unit."""
    for unit, factor in (("MB", 1e6), ("kB", 1e3)):
        if abs(count) >= factor:
            return f"{count / factor:.3g} {unit}" if abs(count) < 1000 * factor else f"{count / factor:,.0f} {unit}"
    return f"{count:.0f} B"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, the first row a header; the first two columns to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [
            f"{c:<{w}}" if place < 2 else f"{c:>{w}}" for place, (c, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = "|".join("-" * (w + 2) if place < 2 else "-" * (w + 1) + ":" for place, w in enumerate(widths))
    return "\n".join([line(rows[0]), f"|{rule}|", *map(line, rows[1:])])


def results_table(results: Results) -> str:
    """One row an implementation: median, best, spread, and the ratio to the bar."""
    rows = [["workload", "implementation", "median", "best", "spread", "ratio"]]
    for workload, timings in results.items():
        for name, t in timings.items():
            cells = [duration(t.median), duration(t.best), f"{t.spread:.0%}", f"{t.ratio:.2f}"]
            rows.append([workload, name, *cells])
    return table(rows)


def summary_table(results: Results) -> str:
    """One row a workload: the median of the first implementation, the bar, and everybody's ratio to it."""
    names = list(dict.fromkeys(name for timings in results.values() for name in timings))
    rows = [["workload", f"{names[0]} step", *names]]
    for workload, timings in results.items():
        cells = [f"{timings[name].ratio:.2f}" if name in timings else "" for name in names]
        rows.append([workload, duration(timings[names[0]].median), *cells])
    return table(rows)


def write_json(path: Path, results: Results, facts: Mapping[str, Any]) -> None:
    """Everything that the tables show, and each block's seconds."""
    content = {
        "machine": dict(facts),
        "results": {
            workload: {
                name: {"median": t.median, "best": t.best, "spread": t.spread, "ratio": t.ratio, "seconds": t.seconds}
                for name, t in timings.items()
            }
            for workload, timings in results.items()
        },
    }
    path.write_text(json.dumps(content, indent=2) + "\n")
