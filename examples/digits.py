"""Handwritten digits: an MLP with a skip connection, and estimators without one, funcnet's and scikit-learn's.

    python examples/digits.py                          # 10 draws of 60 epochs: about 20 seconds
    python examples/digits.py --draws 1 --epochs 5     # a quick look

All have the same hidden sizes, epochs, batch size, optimizer (Adam) and training images, and one thread. It prints a
table of test accuracies and seconds, draws the losses, the confusions and the digits that are taken for others, and
keeps the trained network in a file. It needs the extra `examples`: pip install -e ".[examples]"
"""

import argparse
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np
from common import TEST, Array, Images, digit_images, markdown
from numpy.typing import NDArray

import funcnet as fn

# Chosen among 64, 128 and 256 units, and batches of 16, 32 and 64, on draws of other seeds.
UNITS = 128
BATCH = 32
LEARNING_RATE = 1e-3

operators = {
    "first": [fn.linear(UNITS), fn.relu()],
    "second": [fn.linear(UNITS), fn.relu()],
    "skip": fn.add(),
    "logits": fn.linear(10),
}
connectivity = {"first": ["second", "skip"], "second": ["skip"], "skip": ["logits"], "logits": []}
net = fn.network(operators, connectivity, inputs=["first"], output="logits")


class Result(NamedTuple):
    """One training: the part of the test images that is told right, the loss of each epoch, the time."""

    logits: Array
    accuracy: float
    losses: NDArray[np.float64]
    seconds: float


def train(key: fn.Key, train_set: Images, test_set: Images, epochs: int) -> tuple[Any, Result]:
    """Train the network: (params, result)."""
    start = time.perf_counter()
    params, _ = net.init(fn.fold_in(key, "weights"), (64,))
    step = fn.train_step(net, fn.softmax_cross_entropy(), fn.adam(LEARNING_RATE))
    fitted = fn.fit(step, params, train_set, epochs, BATCH, fn.fold_in(key, "order"))
    seconds = time.perf_counter() - start
    logits = net.apply(fitted.params, test_set.pixels)
    return fitted.params, Result(logits, fn.accuracy(logits, test_set.digit), fitted.history["loss"], seconds)


# This was all. Below: the estimators that it is compared with, the table, the picture and the file.


def estimators(key: fn.Key, epochs: int) -> tuple[Any, Any]:
    """FuncnetClassifier, and scikit-learn's MLPClassifier, of the same sizes and options."""
    from sklearn.neural_network import MLPClassifier

    from funcnet.sklearn import MLP, FuncnetClassifier

    options: dict[str, Any] = {"batch_size": BATCH, "max_iter": epochs, "n_iter_no_change": epochs}
    options["random_state"] = int(key[0] % 2**32)
    ours = FuncnetClassifier(MLP((UNITS, UNITS)), optimizer=fn.adam, learning_rate=LEARNING_RATE, **options)
    return ours, MLPClassifier((UNITS, UNITS), solver="adam", alpha=0.0, learning_rate_init=LEARNING_RATE, **options)


def train_estimator(estimator: Any, train_set: Images, test_set: Images) -> Result:
    """Train one of the two."""
    from sklearn.exceptions import ConvergenceWarning

    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # all epochs are wanted
        estimator.fit(*train_set)
    seconds = time.perf_counter() - start
    scores = estimator.predict_proba(test_set.pixels)
    losses = estimator.history_["loss"] if hasattr(estimator, "history_") else np.array(estimator.loss_curve_)
    return Result(scores, fn.accuracy(scores, test_set.digit), losses, seconds)


def table(results: dict[str, list[Result]]) -> str:
    """A row for each network: median and range over the draws."""
    rows = []
    for name, trainings in results.items():
        accuracies = 100 * np.array([result.accuracy for result in trainings])
        seconds = np.array([result.seconds for result in trainings])
        rows.append(
            {
                "network": name,
                "test accuracy": f"{np.median(accuracies):.1f} %",
                "range": f"{accuracies.min():.1f} to {accuracies.max():.1f} %",
                "last loss": f"{np.median([result.losses[-1] for result in trainings]):.4f}",
                "seconds": f"{np.median(seconds):.2f}",
                "range of seconds": f"{seconds.min():.2f} to {seconds.max():.2f}",
            }
        )
    return markdown(rows)


def keep(path: Path, params: Any, seed: int, epochs: int, test_set: Images, logits: Array) -> str:
    """Write the network to a file, read it into a fresh one, and see that it says the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fn.save(path, params, metadata={"data": "scikit-learn's digits / 16", "seed": seed, "epochs": epochs})
    like, _ = net.init(fn.key(0), (64,))
    again = net.apply(fn.load(path, like).params, test_set.pixels)
    same = "the same bits" if np.array_equal(again, logits) else "OTHER RESULTS"
    return f"{path}: {path.stat().st_size:,} bytes; read back, it gives {same} for all {len(again)} test images."


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = common.parser("Handwritten digits, beside scikit-learn's MLPClassifier.", epochs=60)
    parser.add_argument("--draws", type=common.at_least_one, default=10, help="splits, and first weights (10)")
    parser.add_argument("--model", type=Path, default=Path("digits.npz"), help="file of the network (digits.npz)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Train all on each draw, print the table, draw the picture, keep the first network."""
    options = parse(argv)
    common.require("matplotlib", "sklearn", "tqdm")
    from tqdm import tqdm

    print(fn.summary(net, (64,)), end="\n\n")
    names = ("funcnet, {0} + {0} with a skip", "FuncnetClassifier, {0} + {0}", "MLPClassifier, {0} + {0}")
    results: dict[str, list[Result]] = {name.format(UNITS): [] for name in names}
    kept: list[Any] = []
    for number in tqdm(range(options.draws), desc="Training", unit="draw"):
        key = fn.fold_in(fn.key(options.seed), number)
        train_set, test_set = digit_images(key)
        params, result = train(key, train_set, test_set, options.epochs)
        trained = [train_estimator(each, train_set, test_set) for each in estimators(key, options.epochs)]
        for trainings, found in zip(results.values(), [result, *trained], strict=True):
            trainings.append(found)
        kept = kept or [params, test_set, result.logits]
    params, test_set, logits = kept
    print(table(results))
    print(f"""
Median and range over {options.draws} draws (seed {options.seed}); none is left out.
All: {len(train_set.digit):,} images to train and {TEST} to test with, {options.epochs} epochs in batches of {BATCH},
Adam at {LEARNING_RATE}, float32, one thread.""")
    print(keep(options.model, params, options.seed, options.epochs, test_set, logits))
    from pictures import draw_digits

    draw_digits(options.figures, results, test_set)


if __name__ == "__main__":
    main()
