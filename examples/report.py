"""The report's experiments, figures 2, 3 and 4, each trained on many draws of the data and the first weights.

    python examples/report.py                           # 20 draws of 1,000 epochs: seconds with a C compiler
    python examples/report.py --no-jit                  # the same in NumPy alone: about a minute on two cores
    python examples/report.py --draws 2 --epochs 50     # a quick look

It prints a table of the reported errors beside ours, and draws the report's figures and the loss curves.
It needs the extra `examples` (matplotlib and tqdm): pip install -e ".[examples]"
"""

import argparse
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import common  # first: it sets the threads before NumPy is imported
import numpy as np
from common import Array, Labels, markdown
from numpy.typing import NDArray
from report_table import compare

import funcnet as fn

# The two networks, each of them two dicts: the operators, and which operator feeds which.

linear = fn.network({1: fn.linear(2)}, {1: []})

operators: dict[int, fn.Layer[Any]] = {
    1: fn.linear(25),
    2: fn.tanh(),
    3: fn.linear(25),
    4: fn.tanh(),
    5: fn.add(),
    6: fn.linear(2),
}
connectivity = {1: [2], 2: [3, 5], 3: [4], 4: [5], 5: [6], 6: []}  # 2 + 4: the skip connection
nonlinear = fn.network(operators, connectivity)

LEARNING_RATE, RADIUS = 0.05, 1 / math.sqrt(2 * math.pi)

# The two tasks. A point is of class 0 where its task is negative, and of class 1 where it is positive.


def line(points: Array) -> Array:
    """The line through the origin with slope 4: negative on its left, positive on its right."""
    x, y = points[:, 0], points[:, 1]
    return 4 * x - y


def disk(points: Array) -> Array:
    """The circle round the origin: negative inside, positive outside. An eighth of the unit square is inside."""
    x, y = points[:, 0], points[:, 1]
    return np.hypot(x, y) - RADIUS


def train(figure: int, draw: int, seed: int, epochs: int, jit: bool = False) -> "Result":
    """Train a figure's network on one draw, by plain SGD on the mean squared error."""
    experiment, key = EXPERIMENTS[figure], draw_key(seed, draw)
    train_set, test_set = draw_points(experiment, key)
    x = normalised(train_set.xy, by=train_set)
    target = encoded(train_set.label, experiment.targets)

    params, _ = experiment.net.init(fn.fold_in(key, "weights"), (2,))
    step: Any = fn.sgd_step(experiment.net, fn.mse(), learning_rate=LEARNING_RATE)
    if jit:
        step = native(step, params, x[: experiment.batch_size], target[: experiment.batch_size])
    rng = np.random.default_rng(fn.fold_in(key, "order"))
    losses = np.zeros(epochs)
    start = time.perf_counter()
    for part in np.array_split(losses, -(-epochs // EPOCHS_AT_ONCE)):  # views, into which the losses are written
        order = np.array([rng.permutation(TRAIN) for _ in part]).reshape(-1, experiment.batch_size)
        params, of_steps = fn.scan(step, params, x[order], target[order])
        part[...] = of_steps.reshape(len(part), -1).mean(axis=1, dtype=np.float64)
    seconds = time.perf_counter() - start

    def error(points: Points) -> float:
        predicted = preference(experiment, params, train_set, points.xy) > 0
        return 100 * np.count_nonzero(predicted != points.label) / len(predicted)

    return Result(params, (error(train_set), error(test_set)), losses, seconds)


# This was all. Below: the experiments and their data, the table and the pictures.

TRAIN, TEST = 1_000, 200
EPOCHS_AT_ONCE = 20  # whose steps are one call of fn.scan


def native(step: Any, params: Any, x: Array, target: Array) -> Any:
    """The step as native code, where there is a C compiler."""
    jitted: Any = fn.jit(step)
    try:
        jitted(params, x, target)
    except fn.MissingPackageError:
        return step
    return jitted


def normal(rng: np.random.Generator, n: int) -> Array:
    """`n` points from a standard normal in the plane."""
    return rng.standard_normal((n, 2))


def uniform(rng: np.random.Generator, n: int) -> Array:
    """`n` points spread evenly over the unit square."""
    return rng.random((n, 2))


class Experiment(NamedTuple):
    """One of the report's figures."""

    title: str
    network: str
    net: fn.Layer[Any, Any]
    sample: Callable[[np.random.Generator, int], Array]
    task: Callable[[Array], Array]
    targets: tuple[float, float]
    """What the outputs of the other class and of the point's own class should be."""
    batch_size: int
    reported: tuple[float, float]
    """Training and test error in the report, in per cent, of one draw."""


# A linear layer descends along the gradient of all points; the nonlinear network needs the many small steps of small
# batches: 5 points, chosen among 2, 4, 5, 10 and 20 on draws of other seeds.
EXPERIMENTS = {
    2: Experiment("line", "one linear layer", linear, normal, line, (0.2, 0.8), TRAIN, (0.3, 0.5)),
    3: Experiment("disk", "one linear layer", linear, uniform, disk, (0.0, 1.0), TRAIN, (10.2, 11.0)),
    4: Experiment("disk", "nonlinear network", nonlinear, uniform, disk, (0.0, 1.0), 5, (0.5, 0.0)),
}


class Points(NamedTuple):
    """Points of the plane, (n, 2), and the class of each, (n,)."""

    xy: Array
    label: Labels


class Result(NamedTuple):
    """One training: the errors on the training and the test set in per cent, the mean loss of each epoch."""

    params: Any
    errors: tuple[float, float]
    losses: NDArray[np.float64]
    seconds: float


def draw_key(seed: int, draw: int) -> fn.Key:
    """The key from which a draw's data, its first weights and the order of its batches follow."""
    return fn.fold_in(fn.key(seed), draw)


def draw_points(experiment: Experiment, key: fn.Key) -> tuple[Points, Points]:
    """The training set and the test set of a draw: figures 3 and 4 have the same."""
    rng = np.random.default_rng(fn.fold_in(key, "data"))
    xy = experiment.sample(rng, TRAIN + TEST)
    label = (experiment.task(xy) > 0).astype(np.intp)
    return Points(xy[:TRAIN], label[:TRAIN]), Points(xy[TRAIN:], label[TRAIN:])


def normalised(xy: Array, by: Points) -> Array:
    """The network's input: points less the mean of the training set, over its standard deviation."""
    return np.asarray((xy - by.xy.mean(axis=0)) / by.xy.std(axis=0), np.float32)


def encoded(label: Labels, targets: tuple[float, float]) -> Array:
    """The wanted outputs, (n, 2): one for each class."""
    return np.array(targets, np.float32)[np.eye(2, dtype=np.intp)[label]]


def preference(experiment: Experiment, params: Any, train: Points, xy: Array) -> Array:
    """The output of class 1 less that of class 0, (n,): the larger one is the predicted class."""
    y = experiment.net.apply(params, normalised(xy, by=train))
    return np.asarray(y[:, 1] - y[:, 0])


def train_all(draws: int, epochs: int, seed: int, workers: int, jit: bool = False) -> dict[int, list[Result]]:
    """All draws of all figures, in several processes. How many there are changes nothing but the time."""
    from tqdm import tqdm

    figures = [figure for figure in EXPERIMENTS for _ in range(draws)]
    job = partial(train, seed=seed, epochs=epochs, jit=jit)
    with ProcessPoolExecutor(min(workers, len(figures)), mp_context=get_context("spawn")) as pool:
        trainings = pool.map(job, figures, [*range(draws)] * len(EXPERIMENTS))
        results = list(tqdm(trainings, total=len(figures), desc="Training", unit="net"))
    return {figure: [r for f, r in zip(figures, results, strict=True) if f == figure] for figure in EXPERIMENTS}


def table(results: dict[int, list[Result]]) -> str:
    """The training error and the test error of each figure, reported and ours."""
    rows = []
    for figure, experiment in EXPERIMENTS.items():
        trainings = results[figure]
        for which, name in enumerate(("train", "test")):
            rows.append(
                {
                    "figure": f"{figure}: {experiment.title}",
                    "network": experiment.network,
                    "error": name,
                    **compare(experiment.reported[which], np.array([result.errors[which] for result in trainings])),
                    "seconds each": f"{np.median([result.seconds for result in trainings]):.2f}",
                }
            )
    return markdown(rows)


def choices(draws: int, epochs: int, seed: int) -> str:
    """What the report fixes, and what it leaves open and is chosen here."""
    batch = EXPERIMENTS[4].batch_size
    return f"""
Each reported figure is one draw. Ours are the median and the range over {draws} draws (seed {seed}); none is left out.
An error is the share of misclassified points; the predicted class is the larger output.

Given by the report: {TRAIN:,} training and {TEST} test points, 2 outputs, learning rate {LEARNING_RATE}, 1,000 epochs.
These are after {epochs:,} epochs.
Chosen here, the same for all draws:
- Draws: each has new data, new first weights and a new order of the batches; figures 3 and 4 share their data.
- Inputs: 2, normalised by the training set's mean and standard deviation.
- Tasks: figure 2, the line with slope 4 through the origin; figures 3 and 4, the circle round the origin.
- Targets: figure 2, 0.8 for the point's own class and 0.2 for the other; figures 3 and 4, 1 and 0.
- Loss: mean squared error, the mean over all elements of a batch. Update: plain SGD.
- Batches: linear, all {TRAIN:,} points; nonlinear, {batch} points, reshuffled in each epoch.
- Nonlinear network: two hidden layers of 25 units, tanh in both, the skip connection round the second.
- First weights: normal with variance 1 / inputs, biases 0; float32."""


def names() -> dict[int, str]:
    """What each operator of the nonlinear network is: {1: "linear(25)", 2: "tanh()", ...}."""
    params, _ = nonlinear.init(fn.key(0), (2,))
    return {
        key: f"{layer.apply.kind}({params[key].bias.size if key in params else ''})" for key, layer in operators.items()
    }


def draw_figures(results: dict[int, list[Result]], seed: int, folder: Path) -> None:
    """Figure 1 from the two dicts; figures 2 to 4 from the first draw; the loss curves of all draws."""
    import report_figures as pictures

    folder.mkdir(parents=True, exist_ok=True)
    key = draw_key(seed, 0)
    pictures.draw_network(folder / "figure1.png", names(), connectivity)
    for figure, experiment in EXPERIMENTS.items():
        points = draw_points(experiment, key)
        predict = partial(preference, experiment, results[figure][0].params, points[0])
        title = f"Figure {figure}: the {experiment.title}, {experiment.network} (first draw)"
        pictures.draw_classes(folder / f"figure{figure}.png", title, points, predict, experiment.task)
    curves = {
        f"Figure {figure}: {experiment.title}\n{experiment.network}": np.array([r.losses for r in results[figure]])
        for figure, experiment in EXPERIMENTS.items()
    }
    pictures.draw_losses(folder / "loss.png", curves)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = common.parser("Reproduce the report's figures 2, 3 and 4 over many draws.", epochs=1_000)
    parser.add_argument(
        "--draws",
        type=common.at_least_one,
        default=20,
        help="trainings for each figure, each with new data and weights (20)",
    )
    cores = os.cpu_count() or 1
    parser.add_argument("--workers", type=common.at_least_one, default=cores, help="processes (one for each core)")
    parser.add_argument(
        "--jit", action=argparse.BooleanOptionalAction, default=True, help="native code, where there is a C compiler"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, print the table, draw the figures."""
    options = parse(argv)
    common.require("matplotlib", "tqdm")
    start = time.perf_counter()
    results = train_all(options.draws, options.epochs, options.seed, options.workers, options.jit)
    print(table(results))
    print(choices(options.draws, options.epochs, options.seed))
    draw_figures(results, options.seed, options.figures)
    print(f"\nFigures in {options.figures}/. All in {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
