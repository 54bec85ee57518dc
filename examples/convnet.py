"""Handwritten digits by a convolutional network, beside an MLP, scikit-learn's MLPClassifier and PyTorch.

    python examples/convnet.py                          # 5 draws of 40 epochs: about half a minute
    python examples/convnet.py --draws 1 --epochs 5     # a quick look

All have the same epochs, batch size, optimizer (Adam) and training images, and one thread. The MLPs have four times as
many params. Where PyTorch is installed, the same convolutional network is trained there. It prints a table, and draws
the losses, what the first convolution makes of a test image, and the digits that are taken for others.
It needs the extra `examples`: pip install -e ".[examples]"
"""

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import classifiers
import common
import numpy as np
from classifiers import Result
from common import Array, Images, timed

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


def squares(pixels: Array) -> Array:
    """Rows of 64 pixels as images (n, 8, 8, 1)."""
    return pixels.reshape(-1, 8, 8, 1)


def train_ours(key: fn.Key, network: Any, train_set: Images, test_set: Images, epochs: int) -> Result:
    """One of funcnet's two networks."""
    x, test = (squares(images.pixels) if network is net else images.pixels for images in (train_set, test_set))
    fitted, seconds = timed(train, key, network, x, train_set.digit, epochs)
    logits = network.apply(fitted.params, test)
    return classifiers.result(logits, test_set.digit, fitted.history["loss"], seconds, fitted.params)


def train_torch(key: fn.Key, train_set: Images, test_set: Images, epochs: int) -> Result:
    """The same convolutional network in PyTorch, by one thread."""
    torch = common.torch_on_one_thread(int(key[0] % 2**32))
    nn = torch.nn
    network = nn.Sequential(
        *(nn.Conv2d(1, EDGES, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(EDGES, SHAPES, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(4 * SHAPES, 10)),
    )
    x, test = (torch.from_numpy(images.pixels.reshape(-1, 1, 8, 8)) for images in (train_set, test_set))
    digit = torch.from_numpy(train_set.digit)

    def loss_of(rows: Any) -> Any:
        return nn.functional.cross_entropy(network(x[rows]), digit[rows])

    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    losses, seconds = timed(common.torch_losses, loss_of, optimizer, len(x), epochs, BATCH)
    with torch.no_grad():
        return classifiers.result(network(test).numpy(), test_set.digit, losses, seconds)


def train_all(key: fn.Key, train_set: Images, test_set: Images, epochs: int) -> dict[str, Result]:
    """All on one draw."""
    classifier = classifiers.mlp_classifier(UNITS, LEARNING_RATE, classifiers.estimator_options(key, BATCH, epochs))
    found = {
        "funcnet, convolutions": train_ours(key, net, train_set, test_set, epochs),
        f"funcnet, MLP {UNITS} + {UNITS}": train_ours(key, mlp, train_set, test_set, epochs),
        f"MLPClassifier, {UNITS} + {UNITS}": classifiers.train_estimator(classifier, train_set, test_set),
    }
    return found | (
        {"PyTorch, convolutions": train_torch(key, train_set, test_set, epochs)} if find_spec("torch") else {}
    )


def draw(folder: Path, results: dict[str, list[Result]], test_set: Images) -> None:
    """The losses of all draws; of the first draw the features of an image, and the images that are taken for others."""
    from matplotlib.figure import Figure
    from pictures import draw_losses, draw_wrong

    figure = Figure(figsize=(12, 3.9), layout="constrained")
    losses, features, wrong = figure.subplots(1, 3, width_ratios=[1.15, 1, 1])
    draw_losses(losses, {name: [found.losses for found in trainings] for name, trainings in results.items()})
    losses.set(ylabel="cross-entropy", yscale="log", title="Training loss: draws and median")
    first = next(iter(results.values()))[0]
    draw_features(features, first.params, squares(test_set.pixels[:1]))
    draw_wrong(wrong, first.scores, test_set)
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


def main(argv: Sequence[str] | None = None) -> None:
    """Train all on each draw, print the table, draw the picture."""
    options = classifiers.parser("Handwritten digits by a convolutional network.", epochs=40, draws=5).parse_args(argv)
    common.require("matplotlib", "sklearn", "tqdm")
    print(fn.summary(net, (8, 8, 1)), end="\n\n")
    results = classifiers.on_draws(partial(train_all, epochs=options.epochs), options)
    if len(results) < 4:
        print("PyTorch is not installed: its row is left out.\n")
    print(classifiers.told(results, options, BATCH, LEARNING_RATE))
    draw(options.figures, results, classifiers.first_test_set(options))


if __name__ == "__main__":
    main()
