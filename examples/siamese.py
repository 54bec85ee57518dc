"""The same digit or not? A pair of images through one network twice, `fn.shared`, and the distance between the two.

    python examples/siamese.py                 # about five seconds
    python examples/siamese.py --epochs 3      # a quick look

The network is never told which digit an image shows, only whether the two of a pair are the same; it finds an embedding
in which those of one digit lie together. It prints a table, beside the distance between the pixels, and draws the
embedding and the trade of hits against false alarms, all of images that it was not trained with.
It needs the extra `examples`: pip install -e ".[examples]"
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import common
import numpy as np
from common import TEST, Array, Images, digit_images, markdown

import funcnet as fn

UNITS, FEATURES = 128, 16
BATCH = 64
LEARNING_RATE = 1e-3
PAIRS, TEST_PAIRS = 20_000, 5_000


def square(x: fn.Array) -> tuple[fn.Array, Callable[[fn.Array], fn.Array]]:
    """y = x^2        dx = 2 g x"""
    return x * x, lambda g: g * (2.0 * x)


# The right image goes through the left one's layers, with the same params. The logit is a weighted squared distance.

operators = {
    "left": [fn.linear(UNITS), fn.relu(), fn.linear(FEATURES)],
    "right": fn.shared("left"),
    "difference": fn.subtract(),
    "squares": fn.elementwise(square),
    "logit": fn.linear(1),
}
connectivity = {"left": ["difference"], "right": ["difference"], "difference": ["squares"], "squares": ["logit"]}
net = fn.network(operators, connectivity, inputs=["left", "right"], output="logit")


class Pairs(NamedTuple):
    """Two images, each (n, 64), and 1 where both are the same digit, else 0, (n, 1)."""

    left: Array
    right: Array
    same: Array


def draw_pairs(key: fn.Key, images: Images, n: int) -> Pairs:
    """`n` pairs, half of them of one digit, no image with itself."""
    rng = np.random.default_rng(key)
    left = rng.integers(len(images.digit), size=n)
    wanted = rng.permutation(n) < n / 2
    right = np.empty_like(left)
    for i, (place, same) in enumerate(zip(left, wanted, strict=True)):
        choices = np.flatnonzero((images.digit == images.digit[place]) == same)
        right[i] = rng.choice(choices[choices != place])
    return Pairs(images.pixels[left], images.pixels[right], wanted[:, None].astype(np.float32))


def train(key: fn.Key, pairs: Pairs, epochs: int, progress: Any = None) -> Any:
    """The params: the gradients of both images' ways add up in those of the left one."""
    params, _ = net.init(fn.fold_in(key, "weights"), (64,), (64,))
    step = fn.train_step(net, fn.sigmoid_cross_entropy(), fn.adam(LEARNING_RATE))
    return fn.fit(step, params, pairs, epochs, BATCH, fn.fold_in(key, "order"), progress=progress).params


def likeness(params: Any, pairs: Pairs) -> Array:
    """The logit of being the same digit, (n,)."""
    return np.asarray(net.apply(params, pairs.left, pairs.right)[:, 0])


# This was all. Below: what it is compared with, the table and the picture.


def pixel_likeness(pairs: Pairs) -> Array:
    """Less the distance between the pixels, (n,)."""
    return np.asarray(-np.sqrt(((pairs.left - pairs.right) ** 2).sum(axis=1)))


def embedded(params: Any, images: Images) -> Array:
    """What the left operator makes of the images, in the plane of their largest spread, (n, 2)."""
    features = fn.trace(net, params, images.pixels, images.pixels)["left"]
    centred = features - features.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    return np.asarray(centred @ axes[:2].T)


def rates(score: Array, pairs: Pairs) -> tuple[Array, Array]:
    """(false alarms, hits) among different and same pairs, as the threshold falls from the largest score."""
    same = pairs.same[np.argsort(-score, kind="stable"), 0] == 1
    hits, alarms = np.cumsum(same) / same.sum(), np.cumsum(~same) / (~same).sum()
    return np.concatenate([[0], alarms]), np.concatenate([[0], hits])


def row(by: str, score: Array, pairs: Pairs, threshold: float) -> dict[str, str]:
    """A row of the table."""
    alarms, hits = rates(score, pairs)
    right = (score > threshold) == (pairs.same[:, 0] == 1)
    return {
        "judged by": by,
        "right": f"{100 * right.mean():.1f} %",
        "area under the curve": f"{np.trapezoid(hits, alarms):.3f}",
        "hits at 5 % false alarms": f"{100 * hits[np.searchsorted(alarms, 0.05, side='right') - 1]:.1f} %",
    }


def best_threshold(score: Array, pairs: Pairs) -> float:
    """That at which most of the pairs are judged right."""
    order = np.argsort(-score, kind="stable")
    gain = np.cumsum(2 * pairs.same[order, 0] - 1)
    return float(score[order[gain.argmax()]]) - 1e-6


def main(argv: Sequence[str] | None = None) -> None:
    """Train, print the table, draw the picture."""
    options = common.begin(
        "Tell whether two images show the same digit, with one network used twice.", 10, argv, "sklearn"
    )
    print(fn.summary(net, (64,), (64,)), end="\n\n")
    key = fn.key(options.seed)
    train_set, test_set = digit_images(key)
    train_pairs = draw_pairs(fn.fold_in(key, "train"), train_set, PAIRS)
    test_pairs = draw_pairs(fn.fold_in(key, "test"), test_set, TEST_PAIRS)
    params = train(key, train_pairs, options.epochs, common.bar("Training"))

    rows, curves = [], {}
    judges: dict[str, Callable[[Pairs], Array]]
    judges = {"the siamese network": partial(likeness, params), "the distance of the pixels": pixel_likeness}
    for by, judge in judges.items():
        score = judge(test_pairs)
        rows.append(row(by, score, test_pairs, best_threshold(judge(train_pairs), train_pairs)))
        curves[by] = rates(score, test_pairs)
    print(markdown(rows))
    print(f"""
{PAIRS:,} pairs of {len(train_set.digit):,} images to train with, {TEST_PAIRS:,} of {TEST} others to test with;
half of them are of one digit. Each threshold is the best for the training pairs.
{options.epochs} epochs in batches of {BATCH}, Adam at {LEARNING_RATE}.""")
    from pictures import draw_pairs as draw_picture

    draw_picture(options.figures, embedded(params, test_set), test_set.digit, curves)


if __name__ == "__main__":
    main()
