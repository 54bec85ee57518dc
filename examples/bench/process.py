"""Whole fresh processes, from the start of Python to its end: import, build, train.

``python -m bench.process NAME`` is one of them: it trains the disk network for 1,000 epochs of one batch each.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter

EPOCHS = 1000
_NEEDS = {"hand-written": "numpy", "funcnet": "funcnet", "jax": "jax", "torch": "torch"}
_IMPORTS = {"python alone": "pass", "import numpy": "import numpy", "import funcnet": "import funcnet"}


def measure(repeats: int, skipped: Sequence[str], progress: Callable[[str], None]) -> str:
    """A table of wall seconds and of ratios within a round: training processes, and imports."""
    from bench.report import duration, table

    trainings = {
        f"{name}: {EPOCHS:,} epochs of disk": ["-m", "bench.process", name]
        for name, package in _NEEDS.items()
        if name not in skipped and find_spec(package)
    }
    imports = {
        name: ["-c", code] for name, code in _IMPORTS.items() if name != "import funcnet" or find_spec("funcnet")
    }
    rows = [["process", "ratio to", "median", "best", "ratio"]]
    for commands, bar in ((trainings, next(iter(trainings))), (imports, "import numpy")):
        taken = _interleave(commands, repeats, progress)
        for name, seconds in taken.items():
            ratio = median(mine / theirs for mine, theirs in zip(seconds, taken[bar], strict=True))
            rows.append(
                [name, bar.partition(":")[0], duration(median(seconds)), duration(min(seconds)), f"{ratio:.2f}"]
            )
    progress("")
    return table(rows)


def _interleave(
    commands: dict[str, list[str]], repeats: int, progress: Callable[[str], None]
) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(repeats):
        for name, arguments in commands.items():
            progress(f"round {turn + 1} of {repeats}: {name}")
            taken[name].append(_seconds(arguments))
    return taken


def _seconds(arguments: list[str]) -> float:
    start = perf_counter()
    fresh(arguments)
    return perf_counter() - start


def fresh(arguments: list[str]) -> str:
    """Run a fresh Python, which finds this package, with these arguments; return what it prints."""
    examples = str(Path(__file__).parent.parent)
    paths = os.pathsep.join(filter(None, [examples, os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": paths}
    return subprocess.run(
        [sys.executable, *arguments], check=True, env=environment, stdout=subprocess.PIPE, text=True
    ).stdout


def train(name: str) -> None:
    """Import, build and train one implementation, and nothing else."""
    import numpy as np

    from bench.workloads import WORKLOADS, make_data

    workload = next(workload for workload in WORKLOADS if workload.name == "disk")
    data = make_data(workload, np.dtype(np.float32))
    if name == "hand-written":
        from bench.handwritten import build
    elif name == "funcnet":
        from bench.with_funcnet import build, load

        load()
    elif name == "jax":
        from bench.with_jax import build, load

        load()
    else:
        from bench.with_torch import build_eager as build
        from bench.with_torch import load

        load()
    case = build(workload, data)
    state, loss = case.run(case.begin(), EPOCHS)
    _, result = case.read(state, loss)
    if not np.isfinite(result):
        sys.exit(f"{name}: the loss after {EPOCHS} epochs is {result}")


if __name__ == "__main__":
    train(sys.argv[1])
