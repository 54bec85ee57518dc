"""The memory of funcnet's training step beside a bound, each workload in a process of its own; ever new batch sizes.

The bound is what a step must have in memory beyond the caller's batch and params, whoever writes it: the live
activations, one set of the largest cotangents, the gradient and the new params.

- Live activations: the inputs and outputs of layers that the backward pass reads. A linear layer needs its input, tanh
  and ReLU need their output, a loss needs both of its inputs; a sum needs nothing.
- The largest set of cotangents: those of a linear layer's output and of its input, which is computed from the first;
  where several branches leave one value, one for each.
"""

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from bench.probe import MLP, STEPS, STREAM
from bench.process import fresh
from bench.report import duration, size, table
from bench.workloads import WORKLOADS as _TIMED
from bench.workloads import Workload, make_data

_NAMES = ("disk", "deep-32", "dag", "mnist-mlp", "large")
WORKLOADS = (*(workload for workload in _TIMED if workload.name in _NAMES), MLP)


class Bound(NamedTuple):
    """The parts of the bound in bytes."""

    activations: int
    cotangents: int
    gradient: int
    params: int


def bound(workload: Workload, dtype: np.dtype[Any]) -> Bound:
    """The bound of a workload, from its shapes."""
    params = dtype.itemsize * sum((n + 1) * m for n, m in workload.shapes)
    targets = sum(target.nbytes for target in make_data(workload, dtype).targets)
    features, cotangents = widths(workload)
    row = workload.batch * dtype.itemsize
    return Bound(row * features + targets, row * cotangents, params, params)


def widths(workload: Workload) -> tuple[int, int]:
    """Features of all live activations but the target, and of the largest set of cotangents."""
    if workload.family == "dag":
        (width,) = (
            workload.sizes
        )  # alive: x, h, both branches, their sum with h, y; h leaves by two branches and a skip
        return 6 * width, 3 * width
    if workload.family not in ("chain", "deep", "classifier"):
        raise ValueError(f"nobody has written down what is alive in a network of the family {workload.family}")
    (_, first), *others = pairwise(workload.sizes)
    return sum(workload.sizes), max(first, *(n + m for n, m in others))


def measure(workloads: Sequence[Workload], dtype: str, progress: Callable[[str], None]) -> list[str]:
    """Three tables: the bound, what was measured, and the stream of batch sizes."""
    found = {}
    for workload in (*workloads, STREAM):
        progress(f"memory: {workload.name}")
        found[workload.name] = json.loads(fresh(["-m", "bench.probe", workload.name, dtype]))
    progress("")
    bounds = {workload.name: bound(workload, np.dtype(dtype)) for workload in workloads}
    measured = {name: found[name] for name in bounds}
    return [bound_table(workloads, bounds), memory_table(measured, bounds), stream_table(found[STREAM.name])]


def bound_table(workloads: Sequence[Workload], bounds: dict[str, Bound]) -> str:
    """The bound and its parts."""
    rows = [["workload", "network", "live activations", "cotangents", "gradient", "new params", "bound"]]
    for workload in workloads:
        parts = bounds[workload.name]
        rows.append([workload.name, workload.title, *map(size, parts), size(sum(parts))])
    return table(rows)


def memory_table(measured: dict[str, dict[str, float]], bounds: dict[str, Bound]) -> str:
    """The peaks, their ratio to the bound, and what steps leave behind."""
    rows = [
        [
            "workload",
            "bound",
            "plan",
            "arrays held",
            "made in a step",
            "steady peak",
            "to the bound",
            "first step's peak",
            "to the bound",
            f"RSS growth over {STEPS} steps",
            "page faults a step",
        ]
    ]
    for name, found in measured.items():
        most = sum(bounds[name])
        cells = [size(most), size(found["plan"]), size(found["arrays"]), size(found["step"])]
        for peak in (found["steady"], found["first"]):
            cells += [size(peak), f"{peak / most:.2f}"]
        rows.append([name, *cells, size(found["rss"]), f"{found['faults']:.1f}"])
    return table(rows)


def stream_table(passes: Sequence[dict[str, Any]]) -> str:
    """Time and memory of ever new batch sizes beside those of one size, which comes first."""
    rows = [["disk network, batches of", "time a step", "to one size", "page faults a step", "RSS before", "RSS after"]]
    for found in passes:
        cells = [duration(found["seconds"]), f"{found['seconds'] / passes[0]['seconds']:.1f}", f"{found['faults']:.1f}"]
        rows.append([found["name"], *cells, size(found["before"]), size(found["after"])])
    return table(rows)
