"""Handwritten digits by a convolutional network, beside an MLP, scikit-learn's MLPClassifier and PyTorch.

    python examples/convnet.py                          # 5 draws of 40 epochs: about half a minute
    python examples/convnet.py --draws 1 --epochs 5     # a quick look

All have the same epochs, batch size, optimizer (Adam) and training images, and one thread. The MLPs have four times as
many params. Where PyTorch is installed, the same convolutional network is trained there. It prints a table, and draws
the losses, what the first convolution makes of a test image, and the digits that are taken for others.
It needs the extra `examples`: pip install -e ".[examples]"
"""

import argparse
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np
from common import TEST, Array, Images, digit_images, markdown

import funcnet as fn

EDGES, SHAPES = 16, 32
BATCH = 32
LEARNING_RATE = 2e-3

operators = {
    "edges": [fn.conv(EDGES, (3, 3), padding="same"), fn.relu()],
    "small": fn.max_pool((2, 2)),
    "shapes": [fn.conv(SHAPES, (3, 3), padding="same"), fn.relu()],
    "smaller": fn.max_pool((2, 2)),
    "logits": [fn.flatten(), fn.linear(10)],
}
connectivity = {"edges": ["small"], "small": ["shapes"], "shapes": ["smaller"], "smaller": ["logits"], "logits": []}
net = fn.network(operators, connectivity)


def train(key: fn.Key, network: Any, x: Array, digit: Any, epochs: int) -> fn.Fit[Any]:
    """The params and the losses; x: images (n, 8, 8, 1), or (n, 64) for a network that reads those."""
    params, _ = network.init(fn.fold_in(key, "weights"), x.shape[1:])
    step = fn.train_step(network, fn.softmax_cross_entropy(), fn.adam(LEARNING_RATE))
    return fn.fit(step, params, (x, digit), epochs, BATCH, fn.fold_in(key, "order"))


# This was all. Below: what it is compared with, the table and the picture.

UNITS = 128
mlp = fn.serial(fn.linear(UNITS), fn.relu(), fn.linear(UNITS), fn.relu(), fn.linear(10))


class Result(NamedTuple):
    """One training: what the test images are taken for, the part that is right, the loss of each epoch, the time."""

    logits: Array
    accuracy: float
    losses: Any
    seconds: float


def squares(pixels: Array) -> Array:
    """Rows of 64 pixels as images (n, 8, 8, 1)."""
    return pixels.reshape(-1, 8, 8, 1)


def train_ours(key: fn.Key, network: Any, train_set: Images, test_set: Images, epochs: int) -> tuple[Any, Result]:
    """One of funcnet's two networks: (params, result)."""
    x, test = (squares(images.pixels) if network is net else images.pixels for images in (train_set, test_set))
    began = time.perf_counter()
    fitted = train(key, network, x, train_set.digit, epochs)
    seconds = time.perf_counter() - began
    logits = network.apply(fitted.params, test)
    return fitted.params, Result(logits, fn.accuracy(logits, test_set.digit), fitted.history["loss"], seconds)


def train_classifier(key: fn.Key, train_set: Images, test_set: Images, epochs: int) -> Result:
    """scikit-learn's MLP."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    options: dict[str, Any] = {"batch_size": BATCH, "max_iter": epochs, "n_iter_no_change": epochs, "alpha": 0.0}
    seed = int(key[0] % 2**32)
    classifier: Any = MLPClassifier((UNITS, UNITS), learning_rate_init=LEARNING_RATE, random_state=seed, **options)
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # all epochs are wanted
        classifier.fit(*train_set)
    seconds = time.perf_counter() - began
    scores = classifier.predict_proba(test_set.pixels)
    return Result(scores, fn.accuracy(scores, test_set.digit), np.array(classifier.loss_curve_), seconds)


def train_torch(key: fn.Key, train_set: Images, test_set: Images, epochs: int) -> Result:
    """The same convolutional network in PyTorch, by one thread."""
    import torch

    nn: Any = torch.nn
    torch.set_num_threads(1)
    torch.manual_seed(int(key[0] % 2**32))
    layers = [nn.Conv2d(1, EDGES, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [
        nn.Conv2d(EDGES, SHAPES, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * SHAPES, 10),
    ]
    network = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    x, test = (torch.from_numpy(images.pixels.reshape(-1, 1, 8, 8)) for images in (train_set, test_set))
    digit, losses = torch.from_numpy(train_set.digit), []
    began = time.perf_counter()
    for _ in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(x)).split(BATCH):
            loss = nn.functional.cross_entropy(network(x[rows]), digit[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / len(x))
    seconds = time.perf_counter() - began
    with torch.no_grad():
        logits = network(test).numpy()
    return Result(logits, fn.accuracy(logits, test_set.digit), np.array(losses), seconds)


def others() -> dict[str, Callable[..., Result]]:
    """What the convolutional network is compared with."""

    def train_mlp(key: fn.Key, train_set: Images, test_set: Images, epochs: int) -> Result:
        return train_ours(key, mlp, train_set, test_set, epochs)[1]

    found = {f"funcnet, MLP {UNITS} + {UNITS}": train_mlp, f"MLPClassifier, {UNITS} + {UNITS}": train_classifier}
    return found | ({"PyTorch, convolutions": train_torch} if find_spec("torch") else {})


def table(results: dict[str, list[Result]]) -> str:
    """A row for each network: medians over the draws, and the range of the accuracy."""
    rows = []
    for name, trainings in results.items():
        accuracies = 100 * np.array([result.accuracy for result in trainings])
        rows.append(
            {
                "network": name,
                "test accuracy": f"{np.median(accuracies):.1f} %",
                "range": f"{accuracies.min():.1f} to {accuracies.max():.1f} %",
                "last loss": f"{np.median([result.losses[-1] for result in trainings]):.4f}",
                "seconds": f"{np.median([result.seconds for result in trainings]):.2f}",
            }
        )
    return markdown(rows)


def draw(folder: Path, results: dict[str, list[Result]], params: Any, test_set: Images) -> None:
    """The losses of all draws; of the first draw the features of an image, and the images that are taken for others."""
    from matplotlib.figure import Figure
    from pictures import draw_wrong

    figure = Figure(figsize=(12, 3.9), layout="constrained")
    losses, features, wrong = figure.subplots(1, 3, width_ratios=[1.15, 1, 1])
    for (name, trainings), colour in zip(
        results.items(), (common.BLUE, common.GREEN, common.RED, common.GREY), strict=False
    ):
        curves = np.array([result.losses for result in trainings])
        epochs = np.arange(1, curves.shape[1] + 1)
        losses.plot(epochs, curves.T, color=colour, linewidth=0.6, alpha=0.35)
        losses.plot(epochs, np.median(curves, axis=0), color=colour, linewidth=2, label=name)
    losses.set(xlabel="epoch", ylabel="cross-entropy", yscale="log", title="Training loss: draws and median")
    losses.legend(frameon=False)
    draw_features(features, params, squares(test_set.pixels[:1]))
    draw_wrong(wrong, next(iter(results.values()))[0], test_set)
    common.save(figure, folder, "convnet.png")


def draw_features(ax: Any, params: Any, image: Array) -> None:
    """An image, and the features that the first convolution and its relu find there."""
    maps = np.moveaxis(fn.trace(net, params, image)["edges"][0], -1, 0)
    ax.set(xlim=(0, 6), ylim=(4, 0), title=f"A test image and its {EDGES} features")
    ax.set_axis_off()
    ax.imshow(image[0, :, :, 0], cmap="gray_r", extent=(0.05, 1.85, 2.9, 1.1), aspect="auto")
    for i, one in enumerate(maps):
        x, y = 2 + i % 4, i // 4
        ax.imshow(
            one, cmap="Blues", vmin=0, vmax=maps.max(), extent=(x + 0.05, x + 0.95, y + 0.95, y + 0.05), aspect="auto"
        )


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = common.parser("Handwritten digits by a convolutional network.", epochs=40)
    parser.add_argument("--draws", type=common.at_least_one, default=5, help="splits, and first weights (5)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Train all on each draw, print the table, draw the picture."""
    options = parse(argv)
    common.require("matplotlib", "sklearn", "tqdm")
    from tqdm import tqdm

    print(fn.summary(net, (8, 8, 1)), end="\n\n")
    results: dict[str, list[Result]] = {}
    kept: list[Any] = []
    for number in tqdm(range(options.draws), desc="Training", unit="draw"):
        key = fn.fold_in(fn.key(options.seed), number)
        train_set, test_set = digit_images(key)
        params, result = train_ours(key, net, train_set, test_set, options.epochs)
        kept = kept or [params, test_set]
        results.setdefault("funcnet, convolutions", []).append(result)
        for name, train_one in others().items():
            results.setdefault(name, []).append(train_one(key, train_set, test_set, options.epochs))
    if len(results) < 4:
        print("PyTorch is not installed: its row is left out.\n")
    print(table(results))
    print(f"""
Median and range over {options.draws} draws (seed {options.seed}); none is left out.
All: {len(train_set.digit):,} images to train and {TEST} to test with, {options.epochs} epochs in batches of {BATCH},
Adam at {LEARNING_RATE}, float32, one thread.""")
    draw(options.figures, results, *kept)


if __name__ == "__main__":
    main()
