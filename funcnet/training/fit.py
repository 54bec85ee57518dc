"""The loop: epochs of mini-batches, validation, early stopping."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from typing_extensions import TypeVar

from funcnet import tree
from funcnet.arrays import copied
from funcnet.calling import DATA, checks_call, warn
from funcnet.display import first_line
from funcnet.errors import FuncnetError, OptionError, located
from funcnet.options import brief, count, flag
from funcnet.random import Key, fold_in
from funcnet.training.batches import Data, Rows, accept_data, can_be_read_again, minibatches, refuse_swapped_data
from funcnet.training.calibration import lacks_statistics, with_statistics, without_statistics
from funcnet.training.callbacks import Display, Listeners
from funcnet.training.epoch import Loop, after_epoch
from funcnet.training.evaluation import loss_of, mean_loss, scores
from funcnet.training.fit_result import Fit
from funcnet.training.gradients import SGDStep, Step
from funcnet.training.monitoring import Monitor, monitor_of
from funcnet.training.scan import has_state
from funcnet.training.steps import Metric, TrainStep
from funcnet.training.vmap import VMap
from funcnet.training.weighing import weigher

P = TypeVar("P", default=Any)
ORDER = "fit(step, params, data, epochs, batch_size, key)"


@checks_call
def fit(
    step: TrainStep[P, Any] | SGDStep[P],
    params: P | Fit[P],
    data: Data,
    epochs: int,
    batch_size: int | None = None,
    key: Key | None = None,
    *,
    drop_last: bool = False,
    validation: Data | None = None,
    monitor: str = "validation_loss",
    mode: str | None = None,
    min_delta: float = 0.0,
    patience: int | None = None,
    callbacks: Iterable[Callable[[Fit[P]], object]] = (),
    progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
    verbose: bool = False,
) -> Fit[P]:
    """Train for a number of epochs. It is pure: equal arguments give equal bits.

    step: made by `train_step` or `sgd_step`.
    params: the first params, or the `Fit` that an earlier call returned. From a `Fit`, training resumes from its `last`
    up to `epochs` in all; the bits are those of an uninterrupted run.
    data, batch_size, drop_last: as for `fn.minibatches`. DataFrames and lists become arrays once, at the start.
    key: the order of rows of each epoch, and the key of each step, are folded from it. None: rows in their own order; a
    network with dropout is then refused.
    validation: data whose loss and metrics are computed after every epoch, without a key.
    monitor: the entry of the history by which the best epoch is chosen; its params are returned. By default the
    validation loss; without validation the last params are returned.
    mode: "min" or "max"; None: by the name, "max" where it ends with accuracy or r2, "min" where it ends with loss.
    min_delta: an epoch is better only if it improves on the best one by more than this.
    patience: stop after this many epochs without a better one.
    callbacks: called after every epoch with the `Fit` so far. True stops the loop; a `Fit` replaces the current one;
    None and False change nothing; any other value is ignored with a warning.
    progress: wraps the range of epochs, for instance `tqdm.tqdm`, which then shows the last numbers of the history too.
    verbose: print one line an epoch.

    The history has one element an epoch: "loss", the mean over the batches by their rows or, for a weighted loss, by
    the sum of their weights (with reduction "sum" the losses of batches add up); the metrics of the step, of all rows
    of the epoch at once, on the outputs that the steps computed; and the same of the validation data.
    Every batch_norm is calibrated on `data` for validation, for callbacks, and in the params that are returned, at the
    cost of a forward pass for each batch_norm. `last` is not calibrated: training continues with the statistics of each
    batch.
    A KeyboardInterrupt returns the `Fit` after the last whole epoch, with a warning; a second one is raised.
    Raises OptionError for arguments that do not fit together, KeyTypeError for another key, and the errors of the step.
    Example: `fitted = fn.fit(step, params, (x, target), 10, 32, fn.key(0)); params = fitted.params`.
    """
    if np.ndim(cast("Any", epochs)):
        raise OptionError(f"fit: epochs is {brief(epochs)}: {DATA}")
    loop = check_fit(step, params, data, count("epochs", epochs), batch_size, key, validation)
    names = ["loss", *step.metrics]
    names += [f"validation_{name}" for name in names] if validation is not None else []
    waits = None if patience is None else count("patience", patience)
    loop = loop._replace(
        drop_last=flag("drop_last", drop_last), monitor=monitor_of(monitor, mode, min_delta, names, waits is not None)
    )
    listeners, display = Listeners(callbacks), Display(progress, verbose, epochs)
    fitted = first_fit(step, params)
    try:
        for epoch in display.epochs_from(fitted.epochs):
            if is_over(fitted, loop.monitor, waits):
                break
            fitted = run_epoch(loop, fitted, epoch, bool(listeners.functions))
            fitted, stops = listeners.call(fitted)
            display.show(fitted)
            if stops:
                break
    except KeyboardInterrupt:
        warn(f"fit: interrupted; this returns the Fit after {fitted.epochs} whole epochs, from which fit can resume")
    return finished(loop, fitted)


def check_fit(
    step: Any, params: Any, data: Any, epochs: int, batch_size: int | None, key: Key | None, validation: Any
) -> Loop:
    """Check the arguments that belong together, and make the data arrays."""
    if isinstance(params, Step):
        raise OptionError(f"fit: the params are {first_line(params):.60}: the step comes first, {ORDER}")
    if not isinstance(step, Step):
        fix = "make one with fn.train_step or fn.sgd_step"
        fix = "train all members in a loop of your own" if isinstance(step, VMap) else fix
        raise OptionError(f"fit: the step is {first_line(step):.60}: {fix}")
    refuse_swapped_data("fit", params, data, ORDER)
    found: list[Any] = []
    for name, given in (("data", data), ("validation", validation)):
        accepted = None if given is None and name == "validation" else accept_data(f"fit: {name}", given, batch_size)
        if accepted is not None and epochs > 1 and not can_be_read_again(accepted):
            raise OptionError(f"fit: {name} is an iterator, which is used up after one epoch: give a list of batches")
        found.append(accepted)
    if step.random and key is None:
        raise OptionError(
            "fit: the network has dropout, or another random layer, which without a key does nothing: give one, "
            "fit(..., key=fn.key(0)), or leave the layer out of the network"
        )
    if lacks_statistics(params) and not can_be_read_again(found[0]):
        raise OptionError("fit: data is an iterator, but a batch_norm needs them once more: give a list of batches")
    trained = cast("Any", step)
    weigh = weigher(trained.net, trained.loss, trained.taken)
    return Loop(trained, found[0], batch_size, key, False, found[1], None, weigh)


def first_fit(step: TrainStep[P, Any] | SGDStep[P], params: P | Fit[P]) -> Fit[P]:
    """Where training starts, with arrays of its own: before the first epoch, or after those of an earlier fit."""
    if not isinstance(params, Fit):
        own = copied(params)
        return Fit(own, copied(step.init(own)) if has_state(step) else None, {}, own)
    fitted = copied(cast("Fit[P]", params))
    if has_state(step) and not lacks_statistics(fitted.last):
        trained = without_statistics(fitted.last)  # calibrated since then, unless the state knows of the statistics
        if tree.structure(step.init(trained)) == tree.structure(fitted.state):
            return fitted._replace(last=trained)
    return fitted


def run_epoch(loop: Loop, fitted: Fit[P], epoch: int, calibrates: bool) -> Fit[P]:
    """The Fit after one more epoch."""
    own = None if loop.key is None else fold_in(loop.key, epoch)
    shuffle = None if own is None else fold_in(own, "shuffle")
    batches = minibatches(loop.data, loop.batch_size, shuffle, drop_last=loop.drop_last)
    last, state, means = after_epoch(loop, fitted, batches, own)
    params = last if loop.validation is None and not calibrates else calibrated(loop, last)
    means |= validated(loop, params)
    return extended(fitted, params, last, state, means, loop.monitor)


def calibrated(loop: Loop, params: P) -> P:
    """The params for predictions: every batch_norm without statistics gets those of the training data."""
    if not lacks_statistics(params):
        return params
    size = loop.batch_size if isinstance(loop.data, Rows) else None
    return cast(P, with_statistics(loop.step.net, params, loop.data, size, loop.step.taken))


def validated(loop: Loop, params: Any) -> dict[str, Any]:
    """The loss and the metrics of the validation data, by their names in the history."""
    if loop.validation is None:
        return {}
    try:
        return _scored(loop, loop.validation, params)
    except FuncnetError as error:
        raise located(error, "fit: the validation data") from None


def _scored(loop: Loop, data: Any, params: Any) -> dict[str, Any]:
    step = loop.step
    size = loop.batch_size if isinstance(data, Rows) else None
    if step.loss is None:
        return {"validation_loss": mean_loss(step.net, params, data, size, loop.weigh)}
    functions: dict[str, Metric] = {"loss": partial(loss_of, step.loss), **step.metrics}
    found = scores(step.net, functions, params, data, size, step.taken)
    return {f"validation_{name}": value for name, value in found.items()}


def extended(fitted: Fit[P], params: P, last: P, state: Any, means: dict[str, Any], monitor: Monitor | None) -> Fit[P]:
    """The Fit after this epoch, with the best params so far."""
    if fitted.history and fitted.history.keys() != means.keys():
        raise OptionError(
            f"fit: the history so far has {', '.join(fitted.history)}, this epoch {', '.join(means)}: continue with "
            "the same validation and metrics"
        )
    history = {name: with_epoch(name, fitted.history.get(name, ()), value) for name, value in means.items()}
    is_best = monitor is None or monitor.best_epoch(history) == len(history["loss"]) - 1
    return Fit(copied(params) if is_best else fitted.params, state, history, last)


def with_epoch(name: str, before: Iterable[Any], value: Any) -> npt.NDArray[np.float64]:
    """The history of a loss or a metric, one epoch longer."""
    try:
        if value is None:
            raise TypeError
        return np.stack([*before, np.asarray(value, np.float64)])
    except (TypeError, ValueError):
        raise OptionError(
            f"fit: the metric {name!r} gave {value!r:.60}: a metric must return a number, or an array of numbers that "
            "has one shape in every epoch"
        ) from None


def is_over(fitted: Fit[Any], monitor: Monitor | None, patience: int | None) -> bool:
    """Whether the last `patience` epochs were no better than the best before them."""
    if patience is None or monitor is None or not fitted.history:
        return False
    return fitted.epochs - 1 - monitor.best_epoch(fitted.history) >= patience


def finished(loop: Loop, fitted: Fit[P]) -> Fit[P]:
    """The Fit with calibrated params, if there was an epoch; no two of its trees share memory."""
    return fitted._replace(params=copied(calibrated(loop, fitted.params) if fitted.epochs else fitted.params))
