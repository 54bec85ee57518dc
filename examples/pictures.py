"""Losses as all examples draw them, and the pictures of `digits.py` and `siamese.py`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
from common import Array, Images, Labels, Losses
from matplotlib.figure import Figure
from numpy.typing import NDArray

import funcnet as fn

SHOWN = 12
COLOURS: tuple[str, ...] = (common.BLUE, common.GREEN, common.RED, common.GREY)


def draw_losses(ax: Any, curves: Mapping[str, Sequence[Losses]]) -> dict[str, str]:
    """The loss after each epoch: every draw, and their median. Returns the colour of each name."""
    colours = dict(zip(curves, COLOURS, strict=False))
    for name, draws in curves.items():
        epochs = np.arange(1, len(draws[0]) + 1)
        ax.plot(epochs, np.transpose(draws), color=colours[name], linewidth=0.6, alpha=0.35)
        ax.plot(epochs, np.median(draws, axis=0), color=colours[name], linewidth=2, label=name)
    ax.set_xlabel("epoch")
    ax.legend(frameon=False)
    return colours


def draw_digits(folder: Path, results: dict[str, Any], test_set: Images) -> None:
    """The losses of all draws; the confusions and the wrong ones of the first."""
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    losses, confusions, wrong = figure.subplots(1, 3, width_ratios=[1.15, 1, 1])
    draw_losses(losses, {name: [found.losses for found in trainings] for name, trainings in results.items()})
    losses.set(ylabel="cross-entropy", yscale="log", title="Training loss: each draw, and the median")
    first = next(iter(results.values()))[0]
    draw_confusions(confusions, fn.confusion_matrix(first.scores, test_set.digit))
    draw_wrong(wrong, first.scores, test_set)
    common.save(figure, folder, "digits.png")


def draw_confusions(ax: Any, counts: NDArray[np.intp]) -> None:
    """A number for each pair of digits; what is right on the diagonal."""
    off = np.where(np.eye(10, dtype=bool), 0, counts)
    ax.imshow(off, cmap="Reds", vmax=max(4, off.max() * 2))
    for (true, taken), count in np.ndenumerate(counts):
        if count:
            ax.text(taken, true, str(count), ha="center", va="center", fontsize=8, color=common.INK)
    ax.set(xlabel="taken for", ylabel="digit", title="Test images: confusions", xticks=range(10), yticks=range(10))


def draw_wrong(ax: Any, scores: Array, test_set: Images) -> None:
    """The first test images that are taken for another digit, and what for."""
    taken = scores.argmax(axis=1)
    places = np.flatnonzero(taken != test_set.digit)
    ax.set_title(f"{len(places)} of {len(taken)} wrong" + (f", the first {SHOWN}" if len(places) > SHOWN else ""))
    ax.set_axis_off()
    ax.set(xlim=(0, 4), ylim=(3, 0))
    for i, place in enumerate(places[:SHOWN]):
        x, y = i % 4, i // 4
        image = test_set.pixels[place].reshape(8, 8)
        ax.imshow(image, cmap="gray_r", extent=(x + 0.1, x + 0.9, y + 0.95, y + 0.25), aspect="auto")
        ax.text(x + 0.5, y + 0.14, f"{test_set.digit[place]} as {taken[place]}", ha="center", va="center", fontsize=9)


def draw_pairs(folder: Path, xy: Array, digit: Labels, curves: dict[str, tuple[Array, Array]]) -> None:
    """The embedding of the test images, and the curve of each row of the table."""
    figure = Figure(figsize=(9.5, 4.5), layout="constrained")
    plane, ax = figure.subplots(1, 2)
    for k in range(10):
        plane.scatter(*xy[digit == k].T, s=14, color=f"C{k}", alpha=0.6, linewidths=0)
        x, y = np.median(xy[digit == k], axis=0)
        plane.text(x, y, str(k), fontsize=15, weight="bold", color=common.INK, ha="center", va="center")
    plane.set_title("Test images where the left operator puts them", fontsize=12)
    plane.set(xticks=[], yticks=[])
    for (name, (alarms, hits)), colour in zip(curves.items(), (common.BLUE, common.RED), strict=True):
        ax.plot(alarms, hits, color=colour, label=name)
    ax.set(xlabel="false alarms", ylabel="hits", xlim=(-0.01, 1), ylim=(0, 1.01))
    ax.set_title("Test pairs: the same digit or not?", fontsize=12)
    ax.legend(loc="lower right", frameon=False)
    common.save(figure, folder, "siamese.png")
