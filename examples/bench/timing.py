"""Timing for a noisy machine: short blocks of every implementation in turn, medians, and ratios within a round."""

import gc
from collections.abc import Callable, Mapping
from math import log
from statistics import median, quantiles
from time import perf_counter
from typing import NamedTuple

from bench.case import Case


class Timing(NamedTuple):
    """The blocks of one implementation of one workload: seconds a step, and the ratios to the bar of the same round."""

    seconds: list[float]
    ratios: list[float]

    @property
    def best(self) -> float:
        """The fastest block."""
        return min(self.seconds)

    @property
    def median(self) -> float:
        """The median block."""
        return median(self.seconds)

    @property
    def spread(self) -> float:
        """The interquartile range of the blocks, relative to their median."""
        low, _, high = quantiles(self.seconds, n=4)
        return (high - low) / self.median

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return median(self.ratios)


Clock = Callable[[], float]

_WARM_UP = 3


def block_seconds(case: Case, steps: int, clock: Clock = perf_counter) -> float:
    """Seconds a step, over one block, without the garbage collector.

    Its first steps, from a fresh state, are not timed: they bring back into caches and memory pools what the blocks of
    the others have driven out. Nor is their last state kept while time is taken, so that its memory can be used again.
    """
    states = [case.run(case.begin(), _WARM_UP)[0]]
    gc.disable()
    start = clock()
    case.run(states.pop(), steps)
    elapsed = clock() - start
    gc.enable()
    return elapsed / steps


def calibrate(case: Case, seconds: float) -> int:
    """How many steps fill a block of about that many seconds: at least five, or a power of 8.

    JAX's scans are compiled for these lengths, so that a block is a single call, as it is in funcnet.
    """
    steps = 1
    while (each := min(block_seconds(case, steps) for _ in range(2))) * steps < seconds / 4:
        steps *= 8
    count = seconds / each
    return 8 ** round(log(count, 8)) if count >= 8 else max(5, round(count))


def interleave(
    cases: Mapping[str, Case],
    bar: str,
    *,
    rounds: int,
    seconds: float,
    progress: Callable[[int], None],
    clock: Clock = perf_counter,
) -> dict[str, Timing]:
    """Time all cases in rounds; a round runs one block of each, and starts with another one each time."""
    steps = {name: calibrate(case, seconds) for name, case in cases.items()}
    timings = {name: Timing([], []) for name in cases}
    names = list(cases)
    for turn in range(rounds):
        progress(turn)
        shift = turn % len(names)
        taken = {name: block_seconds(cases[name], steps[name], clock) for name in names[shift:] + names[:shift]}
        for name, timing in timings.items():
            timing.seconds.append(taken[name])
            timing.ratios.append(taken[name] / taken[bar])
    return timings
