"""How funcnet's times grow: a training step with depth, width, batch and fan-out, compiling with the operators.

Each series is fitted by time = c work^p, least squares of the logarithms over the upper half of its sizes. A size is
timed in short blocks, in turn with the others; its time is that of the best block, for noise only ever adds to it. One
thread is timed by its processor time: what else runs on the machine would hold up long steps, and miss short ones.
"""

import gc
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

import funcnet as fn
from bench import report, with_funcnet
from bench.case import Array, Case, training_case
from bench.timing import Clock, interleave
from bench.workloads import Workload, make_data

BATCH = 64
LSTM_UNITS, LSTM_ROWS = 32, 32
BLOCK_SECONDS = 0.005
COMPILING_SHARE = 4
"""Compiling is timed in one round where steps are timed in so many."""

DISK = (2, 25, 25, 25, 2)


class Setting(NamedTuple):
    """How to measure: the dtype, how many rounds, by which clock, and where to tell how far it has come."""

    dtype: np.dtype[Any]
    rounds: int
    clock: Clock
    progress: Callable[[str], None]


class Series(NamedTuple):
    """One thing that grows.

    panel: the panel of the figure. what: that which is timed, at sizes ``sizes``. work: how much work a size is, in
    ``unit``. seconds: measures all sizes.
    """

    name: str
    panel: str
    what: str
    sizes: tuple[int, ...]
    unit: str
    work: Callable[[int], float]
    seconds: Callable[[Sequence[int], Setting], list[float]]


class Curve(NamedTuple):
    """A series measured: the work and the seconds of each size, and the fit over the upper half of them."""

    series: Series
    work: list[float]
    seconds: list[float]
    exponent: float
    factor: float

    @property
    def half(self) -> int:
        """The place of the first size in the fit."""
        return len(self.work) // 2

    def fitted(self, work: float) -> float:
        """What the fit gives for so much work."""
        return float(self.factor * work**self.exponent)


def measure(series: Series, setting: Setting) -> Curve:
    """Time all sizes of a series, and fit."""

    def progress(text: str) -> None:
        setting.progress(f"{series.name}: {text}")

    work = [series.work(n) for n in series.sizes]
    seconds = series.seconds(series.sizes, setting._replace(progress=progress))
    half = len(work) // 2
    exponent, intercept = np.polyfit(np.log(work[half:]), np.log(seconds[half:]), 1)
    return Curve(series, work, seconds, float(exponent), float(np.exp(intercept)))


def table(curves: Sequence[Curve]) -> str:
    """One row a size; the exponent stands at the end of its series."""
    rows = [["series", "what is timed", "n", "time", "time per unit of work", "exponent"]]
    for curve in curves:
        for n, work, seconds in zip(curve.series.sizes, curve.work, curve.seconds, strict=True):
            exponent = f"{curve.exponent:.2f}" if n == curve.series.sizes[-1] else ""
            each = f"{report.duration(seconds / work)} per {curve.series.unit}"
            rows.append([curve.series.name, curve.series.what, f"{n:,}", report.duration(seconds), each, exponent])
    return report.table(rows)


def stepping(build: Callable[[int, np.dtype[Any]], Case]) -> Callable[[Sequence[int], Setting], list[float]]:
    """Seconds of a step at each size."""

    def seconds(sizes: Sequence[int], setting: Setting) -> list[float]:
        cases = {}
        for n in sizes:
            setting.progress(f"building {n:,}")
            cases[str(n)] = build(n, setting.dtype)
        timings = interleave(
            cases,
            str(sizes[0]),
            rounds=setting.rounds,
            seconds=BLOCK_SECONDS,
            clock=setting.clock,
            progress=lambda turn: setting.progress(f"round {turn + 1} of {setting.rounds}"),
        )
        return [timings[str(n)].best for n in sizes]

    return seconds


def of_workload(workload: Workload, dtype: np.dtype[Any]) -> Case:
    """funcnet's step, or ``apply``, of a workload."""
    return with_funcnet.build(workload, make_data(workload, dtype))


def depth(n: int, dtype: np.dtype[Any]) -> Case:
    """So many layers of 64."""
    return of_workload(Workload("depth", "", "deep", (64,) * (n + 1), BATCH), dtype)


def widths(n: int) -> tuple[int, ...]:
    """Two hidden layers, so wide."""
    return (2, n, n, 2)


def width(n: int, dtype: np.dtype[Any]) -> Case:
    """A step through two hidden layers."""
    return of_workload(Workload("width", "", "chain", widths(n), BATCH, 0.5 / n), dtype)


def multiply_adds(n: int) -> float:
    """Millions of multiply-adds in a step of ``width(n)``: three products a layer, the first layer's dx left out."""
    first, *others = (fan_in * fan_out for fan_in, fan_out in pairwise(widths(n)))
    return BATCH * (2 * first + 3 * sum(others)) / 1e6


def batch(n: int, dtype: np.dtype[Any]) -> Case:
    """A step of the disk network."""
    return of_workload(Workload("batch", "", "chain", DISK, n), dtype)


def batch_apply(n: int, dtype: np.dtype[Any]) -> Case:
    """``net.apply`` of the disk network."""
    return of_workload(Workload("batch-apply", "", "chain", DISK, n, infer=True), dtype)


def fan_out(n: int, dtype: np.dtype[Any]) -> Case:
    """A step through so many branches, all fed by one value, and their sum."""
    branches = list(range(1, n + 1))
    operators: dict[int | str, Any] = {"stem": [fn.linear(16), fn.tanh()], "sum": fn.add()}
    operators |= {branch: [fn.linear(16), fn.tanh()] for branch in branches}
    connectivity: dict[int | str, list[int | str]] = {"stem": [*branches]}
    connectivity |= {branch: ["sum"] for branch in branches}
    net = fn.network(operators, connectivity)
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.1 / n)
    x, target = normal(BATCH, 16, dtype), normal(BATCH, 16, dtype)
    return training_case(step, lambda: net.init(fn.key(0), (16,), dtype=dtype)[0], lambda params: [], (x, target))


def normal(rows: int, features: int, dtype: np.dtype[Any]) -> Array:
    """A batch of standard normal numbers."""
    return np.random.default_rng(0).standard_normal((rows, features)).astype(dtype)


def compiling(sizes: Sequence[int], setting: Setting) -> list[float]:
    """Seconds from two dicts of so many operators to the end of the first step."""
    rounds = -(-setting.rounds // COMPILING_SHARE)
    taken = []
    for turn in range(rounds):
        setting.progress(f"round {turn + 1} of {rounds}")
        taken.append([compile_seconds(n, setting) for n in sizes])
    return [min(seconds) for seconds in zip(*taken, strict=True)]


def compile_seconds(n: int, setting: Setting) -> float:
    """Compile a chain of linear(4) and tanh in turn, and take one step, with the garbage collector as it is."""
    dtype, clock = setting.dtype, setting.clock
    operators = {key: fn.linear(4) if key % 2 else fn.tanh() for key in range(1, n + 1)}
    connectivity = {key: [key + 1] for key in range(1, n)}
    params, _ = fn.network(operators, connectivity).init(fn.key(0), (4,), dtype=dtype)
    x, target = normal(16, 4, dtype), normal(16, 4, dtype)
    gc.collect()
    start = clock()
    net = fn.network(operators, connectivity)
    fn.sgd_step(net, fn.mse(), learning_rate=0.01)(params, x, target)
    return clock() - start


def recurrent(n: int, dtype: np.dtype[Any]) -> tuple[Any, Any, tuple[Array, Array]]:
    """A step of an LSTM over so many times, its first params, and a batch."""
    net = fn.serial(fn.lstm(LSTM_UNITS), fn.linear(1))
    params, _ = net.init(fn.key(0), (n, LSTM_UNITS), dtype=dtype)
    x = normal(LSTM_ROWS, n * LSTM_UNITS, dtype).reshape(LSTM_ROWS, n, LSTM_UNITS)
    return fn.sgd_step(net, fn.mse(), learning_rate=0.01), params, (x, normal(LSTM_ROWS, 1, dtype))


def times(n: int, dtype: np.dtype[Any]) -> Case:
    """A step over so many times."""
    step, params, arrays = recurrent(n, dtype)
    return training_case(step, lambda: params, lambda params: [], arrays)


def compiling_times(sizes: Sequence[int], setting: Setting) -> list[float]:
    """Seconds that the first step over so many times takes longer than the next ones."""
    rounds = -(-setting.rounds // COMPILING_SHARE)
    taken = []
    for turn in range(rounds):
        setting.progress(f"round {turn + 1} of {rounds}")
        taken.append([compile_times_seconds(n, setting) for n in sizes])
    return [min(seconds) for seconds in zip(*taken, strict=True)]


def compile_times_seconds(n: int, setting: Setting) -> float:
    """Of one fresh step."""
    step, params, arrays = recurrent(n, setting.dtype)
    gc.collect()
    seconds = []
    for _ in range(4):
        start = setting.clock()
        step(params, *arrays)
        seconds.append(setting.clock() - start)
    return max(seconds[0] - min(seconds[1:]), 0.0)


def geometric(first: int, ratio: float, count: int) -> tuple[int, ...]:
    """Whole numbers, each about so many times the one before."""
    return tuple(round(first * ratio**place) for place in range(count))


def itself(n: int) -> float:
    """Work that is counted by the size."""
    return n


DOUBLING, HALF_DECADES, QUARTER_DECADES = 2.0, 10**0.5, 10**0.25
DEPTHS, WIDTHS, BRANCHES = geometric(8, DOUBLING, 5), geometric(16, DOUBLING, 8), geometric(2, DOUBLING, 8)
ROWS, OPERATORS = geometric(1, HALF_DECADES, 11), geometric(100, QUARTER_DECADES, 9)
TIMES = geometric(10, HALF_DECADES, 5)
MACS = "million multiply-adds"
LAYERS_OF_64, HIDDEN_LAYERS = f"step: n layers of 64, batch {BATCH}", f"step: 2 hidden layers of n, batch {BATCH}"
ADDED_UP, COMPILED = f"step: n branches added up, batch {BATCH}", "network and first step: n operators"
LSTM_STEP = f"step: an LSTM of {LSTM_UNITS} units over n times, batch {LSTM_ROWS}"
LSTM_COMPILED = "its first step, less a later one"
DISK_STEP, DISK_APPLY = "step: the disk network, n rows", "apply: the disk network, n rows"

SERIES = (
    Series("depth", "depth", LAYERS_OF_64, DEPTHS, "layer", itself, stepping(depth)),
    Series("width", "width", HIDDEN_LAYERS, WIDTHS, MACS, multiply_adds, stepping(width)),
    Series("batch", "batch", DISK_STEP, ROWS, "row", itself, stepping(batch)),
    Series("batch-apply", "batch", DISK_APPLY, ROWS, "row", itself, stepping(batch_apply)),
    Series("fan-out", "fan-out", ADDED_UP, BRANCHES, "branch", itself, stepping(fan_out)),
    Series("times", "times", LSTM_STEP, TIMES, "time", itself, stepping(times)),
    Series("times-compile", "times", LSTM_COMPILED, TIMES, "time", itself, compiling_times),
    Series("compile", "compile", COMPILED, OPERATORS, "operator", itself, compiling),
)
