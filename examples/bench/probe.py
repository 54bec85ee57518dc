"""One fresh process that watches its own memory: ``python -m bench.probe NAME DTYPE`` prints what it found as JSON.

NAME is a workload, whose step is taken again and again; or ``stream``, a step that is given ever new batch sizes.
"""

import gc
import json
import resource
import sys
import tracemalloc
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from bench import with_funcnet
from bench.workloads import WORKLOADS, Workload, make_data

STEPS = 200
STREAM = Workload("stream", "2-25-25-25-2 tanh, batches of 1 to 400 rows", "chain", (2, 25, 25, 25, 2), 400)
MLP = Workload("mlp-mse", "784-512-512-10 tanh, mean squared error, batch 128", "chain", (784, 512, 512, 10), 128)
PASSES = 3
_WARM_UP = 20
_STATM = Path("/proc/self/statm")


def available() -> bool:
    """Whether the system tells a process its resident set."""
    return _STATM.exists()


def resident() -> int:
    """Bytes of this process that are in memory now."""
    return int(_STATM.read_text().split()[1]) * resource.getpagesize()


def faults() -> int:
    """Pages that this process was given so far without reading a disk."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


class Training:
    """Steps on one batch. The params of the step before are let go, as in a loop that somebody would write."""

    def __init__(self, workload: Workload, dtype: np.dtype[Any]) -> None:
        self.data = make_data(workload, dtype)
        self.step, self.begin, self.linears = with_funcnet.compiled(workload, self.data)

    def restart(self) -> None:
        """Begin with the first params."""
        self.params = self.begin()

    def take(self, steps: int) -> None:
        """Take steps."""
        for _ in range(steps):
            self.params, _ = self.step(self.params, *self.data.arrays)

    def bytes_of_plans(self) -> int:
        """What the compiler says that the programs made so far run in."""
        programs = self.step._programs.by_signature.values()
        return sum(plan.size for program in programs for plan in program.plans.values())

    def bytes_of_params(self) -> int:
        """What the caller holds."""
        return sum(array.nbytes for layer in self.linears(self.params) for array in layer)


def watch(workload: Workload, dtype: np.dtype[Any]) -> dict[str, float]:
    """What a workload's step takes beyond the caller's batch and params, in bytes; then steps without being watched."""
    tiny, training = Training(WORKLOADS[0], dtype), Training(workload, dtype)
    tiny.restart()
    tiny.take(1)  # what the first step of a process imports is no part of the workload
    found = allocations(training) | {"plan": training.bytes_of_plans()}
    training.restart()
    training.take(_WARM_UP)
    rss, faulted = resident(), faults()
    training.take(STEPS)
    return found | {"faults": (faults() - faulted) / STEPS, "rss": resident() - rss}


def allocations(training: Training) -> dict[str, float]:
    """Of the first step and of a later one, by tracemalloc, to which NumPy reports its arrays.

    first, steady: the peak in a step, over what there was before the first one. step: the peak in a later step, over
    what there was before that step. arrays: what NumPy's arrays hold between steps, the caller's params left out.
    """
    tracemalloc.start()
    training.restart()
    before = traced()
    training.take(1)
    first = tracemalloc.get_traced_memory()[1]
    training.take(2)
    held = traced()
    training.take(1)
    peak = tracemalloc.get_traced_memory()[1]
    arrays = bytes_of_arrays() - training.bytes_of_params()
    tracemalloc.stop()
    return {"first": first - before, "steady": peak - before, "step": peak - held, "arrays": arrays}


def traced() -> int:
    """Bytes alive now; the peak starts from here."""
    gc.collect()
    tracemalloc.reset_peak()
    return tracemalloc.get_traced_memory()[0]


def bytes_of_arrays() -> int:
    """What the arrays that are alive and traced take in all."""
    arrays = tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([arrays]).traces)


def stream(dtype: np.dtype[Any]) -> list[dict[str, Any]]:
    """Steps with one batch size, then with all sizes up to the batch of ``STREAM``, shuffled, in several passes."""
    training = Training(STREAM, dtype)
    step, params, arrays = training.step, training.begin(), training.data.arrays
    one, sizes = STREAM.batch // 2, [int(n) for n in np.random.default_rng(0).permutation(STREAM.batch) + 1]
    passes = [("warm-up", [one] * _WARM_UP), (f"{one} rows, every time", [one] * STREAM.batch)]
    passes += [(f"1 to {STREAM.batch} rows, shuffled, pass {turn + 1}", sizes) for turn in range(PASSES)]
    found = []
    for name, batches in passes:
        rss, faulted, start = resident(), faults(), perf_counter()
        for n in batches:
            params, _ = step(params, *(array[:n] for array in arrays))
        seconds, more = (perf_counter() - start) / len(batches), (faults() - faulted) / len(batches)
        found.append({"name": name, "seconds": seconds, "before": rss, "after": resident(), "faults": more})
    return found[1:]


def main(name: str, dtype: str) -> None:
    """Watch and print."""
    with_funcnet.load()
    if name == STREAM.name:
        print(json.dumps(stream(np.dtype(dtype))))
        return
    workload = next(workload for workload in (*WORKLOADS, MLP) if workload.name == name)
    print(json.dumps(watch(workload, np.dtype(dtype))))


if __name__ == "__main__":
    main(*sys.argv[1:])
