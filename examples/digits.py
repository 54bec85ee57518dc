"""Handwritten digits: an MLP with a skip connection, and estimators without one, funcnet's and scikit-learn's.

    python examples/digits.py                          # 10 draws of 60 epochs: about 20 seconds
    python examples/digits.py --draws 1 --epochs 5     # a quick look

All have the same hidden sizes, epochs, batch size, optimizer (Adam) and training images, and one thread. It prints a
table of test accuracies and seconds, draws the losses, the confusions and the digits that are taken for others, and
keeps the trained network in a file. It needs the extra `examples`: pip install -e ".[examples]"
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import classifiers
import common
import numpy as np
from classifiers import Result
from common import Array, Images, timed

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


def train(key: fn.Key, train_set: Images, epochs: int) -> fn.Fit[Any]:
    """The params and the losses."""
    params, _ = net.init(fn.fold_in(key, "weights"), (64,))
    step = fn.train_step(net, fn.softmax_cross_entropy(), fn.adam(LEARNING_RATE))
    return fn.fit(step, params, train_set, epochs, BATCH, fn.fold_in(key, "order"))


def score(params: Any, test_set: Images) -> float:
    """The part of the test images that is told right."""
    return float(fn.evaluate(net, fn.accuracy, params, test_set))


# This was all. Below: the estimators that it is compared with, the table, the picture and the file.


def train_net(key: fn.Key, train_set: Images, test_set: Images, epochs: int) -> Result:
    """Train the network, by the clock."""
    fitted, seconds = timed(train, key, train_set, epochs)
    logits = net.apply(fitted.params, test_set.pixels)
    return classifiers.result(logits, test_set.digit, fitted.history["loss"], seconds, fitted.params)


def estimators(key: fn.Key, epochs: int) -> dict[str, Any]:
    """FuncnetClassifier, in NumPy and as native code, and MLPClassifier, of the same sizes and options."""
    from funcnet.sklearn import MLP, FuncnetClassifier

    sizes, options = f"{UNITS} + {UNITS}", classifiers.estimator_options(key, BATCH, epochs)
    ours = partial(FuncnetClassifier, MLP((UNITS, UNITS)), optimizer=fn.adam, learning_rate=LEARNING_RATE, **options)
    found: dict[str, Any] = {f"FuncnetClassifier, {sizes}": ours()}
    if common.has_compiler():
        found["FuncnetClassifier with jit=True"] = ours(jit=True)
    return found | {f"MLPClassifier, {sizes}": classifiers.mlp_classifier(UNITS, LEARNING_RATE, options)}


def train_all(key: fn.Key, train_set: Images, test_set: Images, epochs: int) -> dict[str, Result]:
    """All on one draw."""
    found = {f"funcnet, {UNITS} + {UNITS} with a skip": train_net(key, train_set, test_set, epochs)}
    for name, estimator in estimators(key, epochs).items():
        found[name] = classifiers.train_estimator(estimator, train_set, test_set)
    return found


def keep(path: Path, params: Any, seed: int, epochs: int, test_set: Images, logits: Array) -> str:
    """Write the network to a file, read it into a fresh one, and see that it says the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fn.save(path, params, metadata={"data": "scikit-learn's digits / 16", "seed": seed, "epochs": epochs})
    like, _ = net.init(fn.key(0), (64,))
    again = net.apply(fn.load(path, like).params, test_set.pixels)
    same = "the same bits" if np.array_equal(again, logits) else "OTHER RESULTS"
    return f"{path}: {path.stat().st_size:,} bytes; read back, it gives {same} for all {len(again)} test images."


def main(argv: Sequence[str] | None = None) -> None:
    """Train all on each draw, print the table, draw the picture, keep the first network."""
    parser = classifiers.parser("Handwritten digits, beside scikit-learn's MLPClassifier.", epochs=60, draws=10)
    parser.add_argument(
        "--model", type=Path, default=Path("digits.npz"), help="file that the trained params are saved to (digits.npz)"
    )
    options = parser.parse_args(argv)
    common.require("matplotlib", "sklearn", "tqdm")

    print(fn.summary(net, (64,)), end="\n\n")
    results = classifiers.on_draws(partial(train_all, epochs=options.epochs), options)
    print(classifiers.told(results, options, BATCH, LEARNING_RATE))
    first, test_set = next(iter(results.values()))[0], classifiers.first_test_set(options)
    print(keep(options.model, first.params, options.seed, options.epochs, test_set, first.scores))
    from pictures import draw_digits

    draw_digits(options.figures, results, test_set)


if __name__ == "__main__":
    main()
