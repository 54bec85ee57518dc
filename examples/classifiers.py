"""What `digits.py` and `convnet.py` share: scikit-learn's classifier, the result of a training, draws, the table."""

import argparse
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import common
import numpy as np
from common import TEST, Array, Images, Labels, Losses, digit_images, markdown, timed

import funcnet as fn


class Result(NamedTuple):
    """One training: the scores of the test images, the part that is right, the loss of each epoch, the time, params."""

    scores: Array
    accuracy: float
    losses: Losses
    seconds: float
    params: Any


def result(
    scores: Array, digit: Labels, losses: Sequence[float] | Losses, seconds: float, params: Any = None
) -> Result:
    """The result of a training, by what it makes of the test images."""
    return Result(scores, fn.accuracy(scores, digit), np.array(losses), seconds, params)


def estimator_options(key: fn.Key, batch: int, epochs: int) -> dict[str, Any]:
    """What every estimator is given: all epochs are wanted."""
    seed = int(key[0] % 2**32)
    return {"batch_size": batch, "max_iter": epochs, "n_iter_no_change": epochs, "random_state": seed}


def mlp_classifier(units: int, rate: float, options: dict[str, Any]) -> Any:
    """scikit-learn's classifier of two hidden layers, by Adam, without its penalty on large weights."""
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier((units, units), solver="adam", alpha=0.0, learning_rate_init=rate, **options)


def train_estimator(estimator: Any, train_set: Images, test_set: Images) -> Result:
    """Train an estimator, funcnet's or scikit-learn's."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # all epochs are wanted
        _, seconds = timed(estimator.fit, train_set.pixels, train_set.digit)
    losses = estimator.history_["loss"] if hasattr(estimator, "history_") else estimator.loss_curve_
    return result(estimator.predict_proba(test_set.pixels), test_set.digit, losses, seconds)


def parser(description: str, epochs: int, draws: int) -> argparse.ArgumentParser:
    """The options of both."""
    options = common.parser(description, epochs)
    options.add_argument(
        "--draws",
        type=common.at_least_one,
        default=draws,
        help=f"random splits of the data, each with new initial weights ({draws})",
    )
    return options


def on_draws(
    train_all: Callable[[fn.Key, Images, Images], dict[str, Result]], options: argparse.Namespace
) -> dict[str, list[Result]]:
    """What all networks make of each draw: {name: results}."""
    results: dict[str, list[Result]] = {}
    for number in common.bar("Training", "draw")(range(options.draws)):
        key = fn.fold_in(fn.key(options.seed), number)
        for name, found in train_all(key, *digit_images(key)).items():
            results.setdefault(name, []).append(found)
    return results


def first_test_set(options: argparse.Namespace) -> Images:
    """The test images of the first draw."""
    return digit_images(fn.fold_in(fn.key(options.seed), 0))[1]


def told(results: dict[str, list[Result]], options: argparse.Namespace, batch: int, rate: float) -> str:
    """The table, and how it was made."""
    learned = len(digit_images(fn.key(0))[0].digit)
    return f"""{table(results)}

Median and range over {options.draws} draws (seed {options.seed}); none is left out.
All: {learned:,} images to train and {TEST} to test with, {options.epochs} epochs in batches of {batch},
Adam at {rate}, float32, one thread."""


def table(results: dict[str, list[Result]]) -> str:
    """A row for each network: median and range over the draws."""
    rows = []
    for name, trainings in results.items():
        accuracies = 100 * np.array([found.accuracy for found in trainings])
        seconds = np.array([found.seconds for found in trainings])
        rows.append(
            {
                "network": name,
                "test accuracy": f"{np.median(accuracies):.1f} %",
                "range": f"{accuracies.min():.1f} to {accuracies.max():.1f} %",
                "last loss": f"{np.median([found.losses[-1] for found in trainings]):.4f}",
                "seconds": f"{np.median(seconds):.2f}",
                "range of seconds": f"{seconds.min():.2f} to {seconds.max():.2f}",
            }
        )
    return markdown(rows)
