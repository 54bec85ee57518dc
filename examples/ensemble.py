"""How sure is a network? An ensemble of 64 that disagree where there are no data; and a sweep over learning rates.

    python examples/ensemble.py                 # about fifteen seconds
    python examples/ensemble.py --epochs 20     # a quick look

All members are trained by one call a step, `fn.vmap(step)`: each has weights and a draw of the data of its own. It
prints a table, of places with and without data, and draws the band and the sweep.
It needs the extra `examples`: pip install -e ".[examples]"
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import common
import numpy as np
from common import Array, markdown

import funcnet as fn

MEMBERS, UNITS, LEARNING_RATE = 64, 32, 0.01
POINTS, NOISE = 60, 0.1

net = fn.serial(fn.linear(UNITS), fn.tanh(), fn.linear(UNITS), fn.tanh(), fn.linear(1))
step = fn.train_step(net, fn.mse(), fn.adam(LEARNING_RATE))


class Points(NamedTuple):
    """x and y, each (n, 1)."""

    x: Array
    y: Array


class Predicted(NamedTuple):
    """The mean over all members and their standard deviation, each (n, 1)."""

    mean: Array
    spread: Array


def truth(x: Array) -> Array:
    """What y is without noise."""
    return np.sin(3 * x)


def draw_points(key: fn.Key, n: int = POINTS) -> Points:
    """Points on both sides of a gap: x from -2 to -0.5 and from 0.5 to 1.5."""
    rng = np.random.default_rng(key)
    x = np.where(rng.random((n, 1)) < 0.6, rng.uniform(-2, -0.5, (n, 1)), rng.uniform(0.5, 1.5, (n, 1)))
    y = truth(x) + NOISE * rng.standard_normal((n, 1))
    return Points(x.astype(np.float32), y.astype(np.float32))


def draw_members(key: fn.Key, points: Points, members: int) -> tuple[Any, Points]:
    """Params and points of every member: as many as there are, drawn with replacement."""
    params = [net.init(k, (1,))[0] for k in fn.split(fn.fold_in(key, "weights"), members)]
    chosen = np.random.default_rng(fn.fold_in(key, "draws")).integers(len(points.x), size=(members, len(points.x)))
    return fn.tree.map(lambda *leaves: np.stack(leaves), *params), Points(points.x[chosen], points.y[chosen])


def train(key: fn.Key, points: Points, members: int, epochs: int, progress: Any = iter) -> Any:
    """Params of every member, after so many steps on all its points."""
    params, own = draw_members(key, points, members)
    every = fn.vmap(step)
    state = every.init(params)
    for _ in progress(range(epochs)):
        params, state, _ = every(params, state, own.x, own.y)
    return params


def predict(params: Any, x: Array) -> Predicted:
    """What the members say, and how far apart they are."""
    y = fn.vmap(net.apply, in_axes=(0, None))(params, x)
    return Predicted(y.mean(axis=0), y.std(axis=0))


# This was all. Below: the sweep, the table and the picture.

RATES = np.logspace(-4.5, 0, 10)


def sweep(key: fn.Key, points: Points, epochs: int, progress: Any = iter) -> Array:
    """The loss of one network at every learning rate, (rates,): the rates stand in the states."""
    params, _ = net.init(fn.fold_in(key, "weights"), (1,))
    states = [fn.set_learning_rate(step.init(params), float(rate)) for rate in RATES]
    state = fn.tree.map(lambda *leaves: np.array(leaves), *states)
    params, state, losses = fn.vmap(step, in_axes=(None, 0, None, None))(params, state, *points)
    every = fn.vmap(step, in_axes=(0, 0, None, None))
    for _ in progress(range(epochs - 1)):
        params, state, losses = every(params, state, *points)
    return np.asarray(losses)


def row(place: str, x: Array, predicted: Predicted) -> dict[str, str]:
    """A row of the table."""
    error = np.abs(predicted.mean - truth(x))
    band = 2 * predicted.spread
    return {
        "x": place,
        "error of the mean": f"{error.mean():.3f}",
        "members' deviation": f"{predicted.spread.mean():.3f}",
        "truth within 2 deviations": f"{100 * (error <= band).mean():.0f} %",
    }


def draw(folder: Any, points: Points, x: Array, predicted: Predicted, losses: Array) -> None:
    """The band of the ensemble, and the loss at each learning rate."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    band, ax = figure.subplots(1, 2, width_ratios=[3, 2])
    mean, spread = predicted.mean[:, 0], predicted.spread[:, 0]
    band.fill_between(x[:, 0], mean - 2 * spread, mean + 2 * spread, color=common.BLUE, alpha=0.2, linewidth=0)
    band.plot(x, mean, color=common.BLUE, label=f"mean of {MEMBERS} networks, 2 deviations")
    band.plot(x, truth(x), color=common.INK, linewidth=1, linestyle="--", label="truth")
    band.scatter(*points, s=10, color=common.RED, label="data", zorder=3)
    band.set(ylim=(-2.5, 2.5), xlabel="x", title="They disagree where there are no data")
    band.legend(loc="lower left", frameon=False, fontsize=9)
    ax.loglog(RATES, losses, marker="o", color=common.GREEN)
    ax.set(xlabel="learning rate", ylabel="loss", title="One call a step for all learning rates")
    common.save(figure, folder, "ensemble.png")


def main(argv: Sequence[str] | None = None) -> None:
    """Train, print the table, draw the picture."""
    options = common.begin("An ensemble of networks and a sweep over learning rates.", 1000, argv)
    key = fn.key(options.seed)
    points = draw_points(fn.fold_in(key, "points"))
    params = train(key, points, MEMBERS, options.epochs, common.bar("Ensemble", "step"))
    losses = sweep(key, points, options.epochs, common.bar("Sweep", "step"))

    places = {"data, -2 to -0.5": (-2, -0.5), "gap, -0.5 to 0.5": (-0.5, 0.5), "data, 0.5 to 1.5": (0.5, 1.5)}
    places["beyond, 1.5 to 2.5"] = (1.5, 2.5)
    rows = []
    for place, ends in places.items():
        x = np.linspace(*ends, 200, dtype=np.float32)[:, None]
        rows.append(row(place, x, predict(params, x)))
    print(markdown(rows))
    best = int(losses.argmin())
    print(f"""
{MEMBERS} networks of {UNITS} + {UNITS} units on draws of {len(points.x)} points, {options.epochs} steps of Adam.
Of {len(RATES)} learning rates {RATES[best]:.2g} is the best, with a loss of {losses[best]:.5f}.""")
    x = np.linspace(-2.5, 2.5, 400, dtype=np.float32)[:, None]
    draw(options.figures, points, x, predict(params, x), losses)


if __name__ == "__main__":
    main()
