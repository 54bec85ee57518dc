"""Regression that knows how sure it is: one head for the mean, one for the variance, one loss in the dict.

    python examples/heteroscedastic.py                 # some ten seconds
    python examples/heteroscedastic.py --epochs 20     # a quick look

The noise of the data grows with x. A network of two heads learns the mean and the variance at every x, by the negative
log-likelihood of a normal distribution, which stands in the dict as one of its operators. Beside it, the same network
with one head, trained on the squared error, whose variance is the same everywhere; and one whose two heads are the
quantiles of 2.5 and 97.5 %, by a pinball loss each. That supposes no distribution, but learns the ends of the interval
from the few points beyond them, and so often makes it too narrow. Points held out from training tell by how much it has
to be widened to hold 95 % of new points (Romano, Patterson and Candes 2019). It prints a table and draws all three.
It needs the extra `examples`: pip install -e ".[examples]"
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import common
import numpy as np
from common import Array, markdown

import funcnet as fn

UNITS, BATCH, LEARNING_RATE = 50, 50, 3e-3
TRAIN, HELD_OUT, TEST = 1_000, 250, 5_000
SPLIT = slice(HELD_OUT, None), slice(HELD_OUT)  # rows to train the quantiles on, and to widen them by
LOW, HIGH = -3.0, 3.0

# Two heads on one body. Mean, variance and target feed the loss, in this order.

heads: dict[str, Any] = {
    "body": [fn.linear(UNITS), fn.tanh(), fn.linear(UNITS), fn.tanh()],
    "mean": fn.linear(1),
    "variance": [fn.linear(1), fn.softplus()],
}
edges = {"body": ["mean", "variance"]}
net = fn.network(heads, edges, output=["mean", "variance"])

loss_net = fn.network(
    {**heads, "target": fn.identity(), "loss": fn.gaussian_nll()},
    {**edges, "mean": ["loss"], "variance": ["loss"], "target": ["loss"]},
    inputs=["body", "target"],
)


class Points(NamedTuple):
    """x and y, each (n, 1)."""

    x: Array
    y: Array


def draw_points(key: fn.Key, n: int) -> Points:
    """`n` points, x spread evenly."""
    rng = np.random.default_rng(key)
    x = rng.uniform(LOW, HIGH, (n, 1))
    y = true_mean(x) + true_deviation(x) * rng.standard_normal((n, 1))
    return Points(x.astype(np.float32), y.astype(np.float32))


def train(network: Any, loss: Any, key: fn.Key, points: Points, epochs: int, progress: Any = None) -> Any:
    """The params; loss: None where it is an operator of the network, so that the target is one of its inputs."""
    params, _ = network.init(fn.fold_in(key, "weights"), *[(1,)] * network.apply.arity)
    step = fn.train_step(network, loss, fn.adam(LEARNING_RATE))
    return fn.fit(step, params, points, epochs, BATCH, fn.fold_in(key, "order"), progress=progress).params


def predict(params: Any, x: Array) -> "Predicted":
    """By both heads: the params of the network with the loss are those of the network without it."""
    mean, variance = net.apply(params, x)
    return Predicted(mean, np.sqrt(variance))


# This was all. Below: two other networks, the truth, the table and the picture.

one_head = fn.network({"body": heads["body"], "mean": heads["mean"]}, {"body": ["mean"]})

# Two heads again, the ends of the interval. The losses of both feed a sum.

ends: dict[str, Any] = {"body": heads["body"], "low": fn.linear(1), "high": fn.linear(1)}
quantile_net = fn.network(ends, {"body": ["low", "high"]}, output=["low", "high"])

quantile_loss = fn.network(
    {**ends, "target": fn.identity(), "2.5 %": fn.pinball(0.025), "97.5 %": fn.pinball(0.975), "loss": fn.add()},
    {
        "body": ["low", "high"],
        "low": ["2.5 %"],
        "high": ["97.5 %"],
        "target": ["2.5 %", "97.5 %"],
        "2.5 %": ["loss"],
        "97.5 %": ["loss"],
    },
    inputs=["body", "target"],
)


class Predicted(NamedTuple):
    """The mean and the standard deviation of y at some x, each (n, 1)."""

    mean: Array
    deviation: Array


class Interval(NamedTuple):
    """The ends between which y lies in 95 of 100 cases at some x, each (n, 1)."""

    low: Array
    high: Array


def true_mean(x: Array) -> Array:
    """What y is without noise."""
    return np.sin(2 * x)


def true_deviation(x: Array) -> Array:
    """The standard deviation of the noise: from 0.05 on the left to 0.65 on the right."""
    return 0.05 + 0.6 / (1 + np.exp(-2 * x))


def predict_one_head(params: Any, x: Array, train_set: Points) -> Predicted:
    """By the mean, and the deviation of the training set from it, the same everywhere."""
    residual = train_set.y - one_head.apply(params, train_set.x)
    mean = one_head.apply(params, x)
    return Predicted(mean, np.full_like(mean, np.sqrt(np.mean(residual**2))))


def predict_quantiles(params: Any, x: Array) -> Interval:
    """The two ends."""
    return Interval(*quantile_net.apply(params, x))


def widening(params: Any, held_out: Points) -> float:
    """By how much of its width to move each end, so that 95 % of new points lie in it whatever their distribution is.

    It is the least that takes in 95 % of the points held out, and one that is still to come.
    """
    low, high = predict_quantiles(params, held_out.x)
    beyond = np.maximum(low - held_out.y, held_out.y - high) / (high - low)
    return float(np.sort(beyond.ravel())[int(np.ceil(0.95 * (beyond.size + 1))) - 1])


def predict_widened(params: Any, x: Array, share: float) -> Interval:
    """The two ends, each moved outward by that share of the width."""
    low, high = predict_quantiles(params, x)
    return Interval(low - share * (high - low), high + share * (high - low))


def interval(predicted: Predicted | Interval) -> Interval:
    """The 95 % interval of a normal distribution, or the two ends as they are."""
    if isinstance(predicted, Interval):
        return predicted
    mean, deviation = predicted
    return Interval(mean - 1.96 * deviation, mean + 1.96 * deviation)


def scores(name: str, predicted: Predicted | Interval, points: Points) -> dict[str, str]:
    """A row of the table."""
    nll = rmse = "-"
    if isinstance(predicted, Predicted):
        z = (points.y - predicted.mean) / predicted.deviation
        nll = f"{np.mean(z**2 / 2 + np.log(predicted.deviation) + np.log(2 * np.pi) / 2):.3f}"
        rmse = f"{np.sqrt(np.mean((points.y - predicted.mean) ** 2)):.3f}"
    low, high = interval(predicted)
    inside, left = (low < points.y) & (points.y < high), points.x < 0
    return {
        "network": name,
        "negative log-likelihood": nll,
        "root mean squared error": rmse,
        "of all in its 95 % interval": f"{100 * inside.mean():.1f} %",
        "where x < 0": f"{100 * inside[left].mean():.1f} %",
        "where x > 0": f"{100 * inside[~left].mean():.1f} %",
    }


def draw(folder: Any, train_set: Points, panels: dict[str, Any]) -> None:
    """The points, the true mean and interval, and what each network says."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.4, 3.6), layout="constrained")
    x = np.linspace(LOW, HIGH, 400, dtype=np.float32)[:, None]
    axes = figure.subplots(1, len(panels), sharey=True)
    for ax, (title, predict_at) in zip(axes, panels.items(), strict=True):
        predicted = predict_at(x)
        ax.scatter(*train_set, s=5, color=common.GREY, linewidths=0, label="training set")
        truth = Predicted(true_mean(x), true_deviation(x))
        for found, colour, style, name in (
            (truth, common.INK, "dashed", "true"),
            (predicted, common.BLUE, "solid", "predicted"),
        ):
            if isinstance(found, Predicted):
                ax.plot(x, found.mean, color=colour, linestyle=style, linewidth=1.6, label=f"{name} mean")
            for end in interval(found):
                ax.plot(x, end, color=colour, linestyle=style, linewidth=0.9)
        low, high = (end[:, 0] for end in interval(predicted))
        ax.fill_between(x[:, 0], low, high, color=common.BLUE, alpha=0.15, linewidth=0, label="its 95 % interval")
        ax.set(xlabel="x", xlim=(LOW, HIGH))
        ax.set_title(title, fontsize=12)
    axes[0].set_ylabel("y")
    axes[0].legend(loc="upper left", frameon=False, fontsize=9)
    common.save(figure, folder, "heteroscedastic.png")


def main(argv: Sequence[str] | None = None) -> None:
    """Train all, print the table, draw the picture."""
    options = common.begin("Predict a mean and a variance at every point.", 300, argv)
    print(fn.summary(loss_net, (1,), (1,)), end="\n\n")
    key = fn.key(options.seed)
    train_set, test_set = (draw_points(fn.fold_in(key, name), n) for name, n in (("train", TRAIN), ("test", TEST)))
    fewer, held_out = (Points(*(column[rows] for column in train_set)) for rows in SPLIT)
    trained = {
        name: train(network, loss, key, points, options.epochs, common.bar(name))
        for name, network, loss, points in (
            ("Mean and variance", loss_net, None, train_set),
            ("Mean alone", one_head, fn.mse(), train_set),
            ("Two quantiles", quantile_loss, None, fewer),
        )
    }
    both, one, ends = trained.values()
    panels: dict[str, Any] = {
        "Mean and variance, by their likelihood": partial(predict, both),
        "Mean alone, by the squared error": partial(predict_one_head, one, train_set=train_set),
        "Two quantiles, widened": partial(predict_widened, ends, share=widening(ends, held_out)),
    }
    truth = Predicted(true_mean(test_set.x), true_deviation(test_set.x))
    found = {title: predict_at(test_set.x) for title, predict_at in panels.items()}
    found |= {"Two quantiles, as they are": predict_quantiles(ends, test_set.x), "The truth": truth}
    print(markdown([scores(title, predicted, test_set) for title, predicted in found.items()]))
    print(f"""
{TRAIN:,} training points, of which the quantiles hold out {HELD_OUT}, and {TEST:,} test points; {options.epochs} epochs
in batches of {BATCH}, Adam at {LEARNING_RATE}.""")
    draw(options.figures, train_set, panels)


if __name__ == "__main__":
    main()
