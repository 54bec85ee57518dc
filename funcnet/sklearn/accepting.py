"""Checks of what fit is given beside X and y: options and weights; which rows are held out for validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_array, check_consistent_length

from funcnet.core import Layer
from funcnet.errors import OptionError, WeightError
from funcnet.optimizers.base import Optimizer
from funcnet.options import as_float, count, flag, not_negative, positive
from funcnet.random import Key

AUTO = 200  # rows of a batch, or all that there are


class Options(NamedTuple):
    """The options of training, once they are known to be in their ranges."""

    epochs: int
    batch_size: int
    tol: float
    patience: int | None
    holds_out: float | None
    callbacks: tuple[Callable[..., object], ...]
    verbose: bool
    jit: bool


def options_of(estimator: Any) -> Options:
    """Check the options of an estimator, each by its name."""
    waits, size, held = estimator.n_iter_no_change, estimator.batch_size, as_float(estimator.validation_fraction)
    if held is None or not 0 < held < 1:
        raise OptionError(f"validation_fraction must be above 0 and below 1, not {estimator.validation_fraction!r}")
    flag("warm_start", estimator.warm_start)
    if not isinstance(estimator.callbacks, Iterable):
        raise OptionError(f"callbacks must be a list of functions of a Fit, not {estimator.callbacks!r:.60}")
    return Options(
        count("max_iter", estimator.max_iter),
        AUTO if isinstance(size, str) and size == "auto" else count("batch_size", size),
        not_negative("tol", estimator.tol),
        None if waits is None else count("n_iter_no_change", waits),
        held if flag("early_stopping", estimator.early_stopping) else None,
        tuple(estimator.callbacks),
        flag("verbose", estimator.verbose),
        flag("jit", estimator.jit),
    )


def optimizer_of(optimizer: Any, learning_rate: Any) -> Optimizer:
    """The optimizer as it is, or made of the learning rate."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    if not callable(learning_rate):
        positive("learning_rate", learning_rate)
    made = optimizer(learning_rate) if callable(optimizer) else None
    if not isinstance(made, Optimizer):
        raise OptionError(
            "optimizer must be a function of the learning rate, such as fn.adam, or an optimizer, "
            f"such as fn.adam(1e-3), not {optimizer!r:.60}"
        )
    return made


def loss_of(loss: Any, weighted: bool) -> Layer[Any, Any]:
    """The loss that a function such as `fn.mse` makes."""
    if isinstance(loss, Layer) or not callable(loss):
        raise OptionError(
            "loss must be a function that makes a loss, such as fn.huber without parentheses, or "
            f"functools.partial(fn.huber, delta=2.0), not {loss!r:.60}"
        )
    return cast("Layer[Any, Any]", loss(weighted=weighted))


def weights_of(sample_weight: Any, X: Any) -> npt.NDArray[np.float64]:
    """One weight a row, in float64; ones where none are given."""
    if sample_weight is None:
        return np.ones(X.shape[0])
    w: npt.NDArray[np.float64] = check_array(
        sample_weight, ensure_2d=False, dtype="float64", input_name="sample_weight"
    )
    if w.ndim != 1:
        raise WeightError(f"sample_weight must be one number a row, not an array of shape {w.shape}")
    check_consistent_length(X, w)
    return check_weights("sample_weight", w)


def check_weights(name: str, w: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Weights of which none is below 0, and some above."""
    wrong = w[~(np.isfinite(w) & (w >= 0))]
    if wrong.size:
        raise WeightError(f"{name}: {wrong[0]} must be a finite number of at least 0")
    if not w.any():
        raise WeightError(f"{name}: every weight is zero, and nothing is left to train on")
    return w


def held_out(data: tuple[Any, ...], fraction: float, key: Key) -> tuple[Any, Any]:
    """Rows of (x, targets, perhaps weights) to train on, and to validate with: of each label alike, where it can be."""
    labels = data[1] if data[1].ndim == 1 else None
    if labels is not None:
        n, counts = len(labels), np.bincount(labels)
        held = int(np.ceil(fraction * n))
        if counts[counts > 0].min() < 2 or min(held, n - held) < np.count_nonzero(counts):
            labels = None
    random = np.random.RandomState(int(key[0] % 2**32))
    parts = train_test_split(*data, test_size=fraction, random_state=random, stratify=labels)
    return tuple(parts[::2]), tuple(parts[1::2])
