"""Which pattern came last? Series of unequal lengths, padded to one length, read by a gated recurrent unit.

    python examples/sequences.py                 # about ten seconds
    python examples/sequences.py --epochs 3      # a quick look

Each series is noise with three bumps, and each bump either rises or falls. The answer is the last one, so the network
has to keep the order. The padding is NaN: it would spoil the loss and all params if it were read. The base line is a
network on the mean of each series, which knows no order. Where PyTorch is installed, its GRU of the same size is
trained on the same series. It prints a table and draws how the answer changes while a series is read.
It needs the extra `examples`: pip install -e ".[examples]"
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np
from common import Array, Losses, markdown, timed

import funcnet as fn

TIMES, UNITS = 60, 32
BATCH = 64
LEARNING_RATE = 0.01
SERIES, TEST_SERIES = 4_000, 2_000
BUMPS = np.array([np.linspace(1, -1, 5), np.linspace(-1, 1, 5)], np.float32)  # falling, rising


class Series(NamedTuple):
    """Series padded with NaN, (n, TIMES, 1), their lengths, (n,), and 1 where the last bump rises, else 0, (n, 1)."""

    x: Array
    lengths: Any
    rises: Array


def draw_series(key: fn.Key, n: int) -> Series:
    """`n` series of 20 to TIMES numbers, with three bumps each, of which no two overlap."""
    rng = np.random.default_rng(key)
    lengths = rng.integers(20, TIMES + 1, size=n)
    x, rises = np.full((n, TIMES, 1), np.nan, np.float32), np.empty((n, 1), np.float32)
    for row, length in enumerate(lengths):
        x[row, :length, 0] = rng.normal(0, 0.3, length)
        for start in 6 * np.sort(rng.choice(length // 6, 3, replace=False)):
            rises[row] = kind = rng.integers(2)
            x[row, start : start + 5, 0] += BUMPS[kind]
    return Series(x, lengths, rises)


# The unit's second input is the number of times to read of each series.

net = fn.serial(fn.gru(UNITS, lengths=True), fn.linear(1))


def train(key: fn.Key, series: Series, epochs: int, progress: Any = None) -> fn.Fit[Any]:
    """The params and the losses."""
    params, _ = net.init(fn.fold_in(key, "weights"), (TIMES, 1), ())
    step = fn.train_step(net, fn.sigmoid_cross_entropy(), fn.adam(LEARNING_RATE))
    return fn.fit(step, params, series, epochs, BATCH, fn.fold_in(key, "order"), progress=progress)


# This was all. Below: what it is compared with, the table and the picture.

mean_net = fn.serial(fn.masked_mean(axis=1), fn.linear(UNITS), fn.tanh(), fn.linear(1))
reading_net = fn.serial(fn.gru(UNITS, lengths=True, return_sequences=True), fn.linear(1))  # takes the params of net


class Trained(NamedTuple):
    """A name, the loss of each epoch, the logits of the test series, (n, 1), the seconds of the training."""

    name: str
    losses: Losses
    logits: Array
    seconds: float


def mask(series: Series) -> Array:
    """1 at the times of each series, 0 in the padding, (n, TIMES)."""
    return np.asarray(np.arange(TIMES) < series.lengths[:, None], np.float32)


def train_mean(key: fn.Key, series: Series, test: Series, epochs: int) -> Trained:
    """The base line."""
    params, _ = mean_net.init(fn.fold_in(key, "weights"), (TIMES, 1), (TIMES,))
    step = fn.train_step(mean_net, fn.sigmoid_cross_entropy(), fn.adam(LEARNING_RATE))
    data = (series.x, mask(series), series.rises)
    fitted, seconds = timed(fn.fit, step, params, data, epochs, BATCH, fn.fold_in(key, "order"))
    logits = mean_net.apply(fitted.params, test.x, mask(test))
    return Trained("funcnet, mean of the series", np.array(fitted.history["loss"]), logits, seconds)


def train_torch(series: Series, test: Series, epochs: int, seed: int, progress: Any = iter) -> Trained:
    """PyTorch's GRU, by one thread. It reads all times, with 0 for NaN: on a CPU faster than packed sequences."""
    torch = common.torch_on_one_thread(seed)
    unit, linear = torch.nn.GRU(1, UNITS, batch_first=True), torch.nn.Linear(UNITS, 1)
    cross_entropy = torch.nn.BCEWithLogitsLoss()

    def logits(x: Any, lengths: Any) -> Any:
        states, _ = unit(x)
        return linear(states[torch.arange(len(x)), lengths - 1])

    x, lengths, rises = (torch.from_numpy(np.nan_to_num(array)) for array in series)

    def loss_of(rows: Any) -> Any:
        return cross_entropy(logits(x[rows], lengths[rows]), rises[rows])

    optimizer = torch.optim.Adam([*unit.parameters(), *linear.parameters()], LEARNING_RATE)
    losses, seconds = timed(common.torch_losses, loss_of, optimizer, len(x), epochs, BATCH, progress=progress)
    with torch.no_grad():
        found = logits(*(torch.from_numpy(np.nan_to_num(array)) for array in test[:2]))
    return Trained("PyTorch, GRU", losses, found.numpy(), seconds)


def accuracy(logits: Array, test: Series) -> float:
    """The part of the series whose last bump is named rightly."""
    return float(np.mean((logits > 0) == (test.rises == 1)))


def row(trained: Trained, test: Series) -> dict[str, str]:
    """A row of the table."""
    return {
        "network": trained.name,
        "test accuracy": f"{100 * accuracy(trained.logits, test):.1f} %",
        "last loss": f"{trained.losses[-1]:.3f}",
        "seconds": f"{trained.seconds:.1f}",
    }


def draw(folder: Path, params: Any, results: Sequence[Trained], test: Series) -> None:
    """A test series, the answer at each of its times, and the losses."""
    from matplotlib.figure import Figure
    from pictures import draw_losses

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    parts = figure.subplot_mosaic([["series", "losses"], ["answer", "losses"]], width_ratios=[1.5, 1])
    answers = 1 / (1 + np.exp(-reading_net.apply(params, *test[:2])[:, :, 0]))
    place = clearest(answers, test)
    times = np.arange(1, TIMES + 1)
    length = test.lengths[place]
    parts["series"].plot(times, test.x[place, :, 0], color=common.INK, marker=".", linewidth=1)
    parts["series"].set(ylabel="series", title="A test series, and the answer while it is read")
    parts["answer"].plot(times[:length], answers[place, :length], color=common.BLUE, linewidth=2)
    parts["answer"].axhline(0.5, color=common.GREY, linewidth=0.8, linestyle=":")
    parts["answer"].set(xlabel="time", ylabel="P(the last one rises)", ylim=(-0.03, 1.03))
    for name in ("series", "answer"):
        parts[name].axvspan(length + 0.5, TIMES + 0.5, color=common.GREY, alpha=0.25, linewidth=0)
        parts[name].set_xlim(0.5, TIMES + 0.5)
    parts["series"].text((length + TIMES + 1) / 2, 0, "NaN", ha="center", va="center", color=common.INK)
    draw_losses(parts["losses"], {trained.name: [trained.losses] for trained in results})
    parts["losses"].set(title="Training loss", ylim=(0, None))
    common.save(figure, folder, "sequences.png")


def clearest(answers: Array, test: Series) -> int:
    """Of the series of 40 to 50 numbers whose answer turns three times, that of the surest answers."""
    inside = mask(test)
    turns = ((np.diff(answers > 0.5, axis=1)) & (inside[:, 1:] == 1)).sum(axis=1)
    sureness = (np.abs(answers - 0.5) * inside).sum(axis=1) / test.lengths
    eligible = (test.lengths >= 40) & (test.lengths <= 50) & (turns <= 3)  # fewer if none has three
    return int(np.argmax(np.where(eligible, np.minimum(turns, 3) + sureness, -1)))


def main(argv: Sequence[str] | None = None) -> None:
    """Train, print the table, draw the picture."""
    options = common.begin("Classify series of unequal lengths by the pattern that came last, with a GRU.", 15, argv)
    print(fn.summary(net, (TIMES, 1), ()), end="\n\n")
    key = fn.key(options.seed)
    series, test = draw_series(fn.fold_in(key, "train"), SERIES), draw_series(fn.fold_in(key, "test"), TEST_SERIES)
    fitted, seconds = timed(train, key, series, options.epochs, common.bar("GRU"))
    logits = net.apply(fitted.params, test.x, test.lengths)
    results = [
        Trained("funcnet, GRU", np.array(fitted.history["loss"]), logits, seconds),
        train_mean(key, series, test, options.epochs),
    ]
    try:
        bar = common.bar("PyTorch")
        results.append(train_torch(series, test, options.epochs, options.seed, bar))
    except ModuleNotFoundError:
        print("PyTorch is not installed: its row is left out.\n")
    print(markdown([row(trained, test) for trained in results]))
    same = np.array_equal(logits, net.apply(fitted.params, np.nan_to_num(test.x, nan=1e9), test.lengths))
    print(f"""
{SERIES:,} series of 20 to {TIMES} numbers to train with, {TEST_SERIES:,} others to test with.
{options.epochs} epochs in batches of {BATCH}, Adam at {LEARNING_RATE}, one thread.
With 1e9 for NaN in the padding of the test series, the GRU's logits are {"the same bits" if same else "OTHERS"}.""")
    draw(options.figures, fitted.params, results, test)


if __name__ == "__main__":
    main()
