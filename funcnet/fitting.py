"""The loop: epochs of mini-batches, validation, early stopping; and a model's scores on a whole data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Generic, NamedTuple, TypeAlias, cast, overload

import numpy as np
import numpy.typing as npt
from typing_extensions import TypeVar

from funcnet.arrays import Array, count
from funcnet.batches import Batch, Data, are_arrays, check_iterable, minibatches
from funcnet.compose import check, is_layer
from funcnet.core import Function, Layer
from funcnet.display import shown
from funcnet.errors import OptionError
from funcnet.random import Key, fold_in
from funcnet.steps import Metric, TrainStep, accept_metrics
from funcnet.training import SGDStep, check_scalar

P = TypeVar("P", default=Any)
Score: TypeAlias = Layer[Any, Any] | Metric
"""A loss or a metric, of outputs and targets."""


class Fit(NamedTuple, Generic[P]):
    """What `fit` returns, and takes to go on: a pytree, which can be saved as one.

    params: the best where there was early stopping, else the last.     last: those after the last epoch.
    state: the optimizer's, after the last epoch; None for `sgd_step`.
    history: name -> an array, an element an epoch: "loss" and the metrics, and "validation_loss" and so on.
    """

    params: P
    state: Any
    history: dict[str, npt.NDArray[Any]]
    last: P

    @property
    def epochs(self) -> int:
        """How many epochs there were."""
        return len(self.history.get("loss", ()))


@overload
def evaluate(
    net: Layer[P, Any], metrics: Mapping[str, Score], params: P, data: Data, batch_size: int | None = None
) -> dict[str, Any]: ...
@overload
def evaluate(
    net: Layer[P, Any], metrics: Layer[Any, Any] | None, params: P, data: Data, batch_size: int | None = None
) -> float: ...
@overload
def evaluate(net: Layer[P, Any], metrics: Metric, params: P, data: Data, batch_size: int | None = None) -> Any: ...
def evaluate(
    net: Layer[P, Any],
    metrics: Mapping[str, Score] | Score | None,
    params: P,
    data: Data,
    batch_size: int | None = None,
) -> Any:
    """A loss or a metric of all rows at once: metric(*outputs, *targets), the outputs computed batch by batch.

    metrics: a loss, a metric such as `fn.accuracy`, or a dict of them, for which a dict of results comes back; None
    where the network's output is the loss itself, which is averaged over the batches by their rows.
    batch_size: for data in arrays; by default all rows at once. The outputs and targets of all batches are held in
    memory, so that every metric is exact.
    """
    check("evaluate", (net,), several=True)
    if metrics is None:
        return mean_loss(net.apply, params, data, batch_size)
    if is_layer(metrics) or callable(metrics):
        return scores(net.apply, {"": metrics}, params, data, batch_size)[""]
    return scores(net.apply, accept_metrics("evaluate", metrics), params, data, batch_size)


def whole_or_batches(data: Data, batch_size: int | None) -> Iterator[Batch]:
    """Batches in their own order; arrays as one batch where no size is given."""
    return minibatches(data, len(data[0]) if batch_size is None and are_arrays(data) and data[0].ndim else batch_size)


def scores(
    apply: Function[Any, Any], metrics: Mapping[str, Score], params: Any, data: Data, batch_size: int | None
) -> dict[str, Any]:
    """Each metric of all rows."""
    functions = {name: score_function(name, metric) for name, metric in metrics.items()}
    taken = apply.arity or 1
    parts: list[tuple[Any, ...]] = []
    for batch in whole_or_batches(data, batch_size):
        output = apply(params, *batch[:taken])
        outputs = cast("tuple[Array, ...]", output if isinstance(output, tuple) else (output,))
        parts.append((*outputs, *batch[taken:]))
    if not parts:
        raise OptionError("evaluate: the data are empty: give at least one batch")
    whole = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
    return {name: function(*whole) for name, function in functions.items()}


def mean_loss(apply: Function[Any, Any], params: Any, data: Data, batch_size: int | None) -> float:
    """The output of a network that is a loss, averaged over the rows."""
    losses: list[tuple[float, int]] = []
    for batch in whole_or_batches(data, batch_size):
        loss = apply(params, *batch)
        check_scalar("evaluate", loss)
        losses.append((float(loss), len(batch[0])))
    if not losses:
        raise OptionError("evaluate: the data are empty: give at least one batch")
    return sum(loss * rows for loss, rows in losses) / sum(rows for _, rows in losses)


def score_function(name: str, metric: Score) -> Metric:
    """The function of outputs and targets that a loss, or a metric, is."""
    if is_layer(metric):
        return partial(_loss_of, metric.apply)
    if not callable(metric):
        raise OptionError(f"evaluate: the metric {name!r} is {metric!r:.60} and no loss or function (outputs, targets)")
    return metric


def _loss_of(loss: Function[Any, Any], output: Array, *others: Array) -> float:
    """The loss, all floating arrays cast to the dtype of the first."""
    same = (x.astype(output.dtype, copy=False) if x.dtype.kind == "f" else x for x in others)
    return float(loss((), output, *same))


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
    patience: int | None = None,
    callbacks: Iterable[Callable[[Fit[P]], object]] = (),
    progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
) -> Fit[P]:
    """Train for so many epochs: pure, the same bits for the same arguments.

    step: made by `train_step` or `sgd_step`.     params: the first, or what an earlier `fit` returned: it goes on from
    there, up to `epochs` in all, and gives the same bits as one that never stopped.
    key: each epoch's order of rows, and each step's own key, are folded from it; None: rows in order, no dropout.
    validation: data whose loss and metrics are computed after every epoch, without a key.
    patience: stop after so many epochs without a smaller validation loss, and return the params of the smallest.
    callbacks: called after every epoch with the `Fit` so far; one that returns a true value stops the loop.
    progress: wraps the range of epochs, for instance `tqdm.tqdm`.
    History holds each epoch's loss and metrics, averaged over its batches by their rows.
    """
    check_fit(step, data, count("epochs", epochs), validation, patience)
    listeners = check_listeners(callbacks, progress)
    fitted = cast("Fit[P]", params) if isinstance(params, Fit) else first_fit(step, params)
    epoch_numbers: Iterable[int] = range(fitted.epochs, epochs)
    for epoch in epoch_numbers if progress is None else progress(epoch_numbers):
        if is_over(fitted, patience):
            break
        own = None if key is None else fold_in(key, epoch)
        shuffle = None if own is None else fold_in(own, "shuffle")
        last, state, means = run_epoch(step, fitted, minibatches(data, batch_size, shuffle, drop_last=drop_last), own)
        means |= validated(step, last, validation, batch_size)
        fitted = extended(fitted, last, state, means, patience)
        stops = [listener(fitted) for listener in listeners]
        if any(stops):
            break
    return fitted


def check_fit(step: Any, data: Data, epochs: int, validation: Data | None, patience: int | None) -> None:
    """Refuse what cannot be trained, or not for so long."""
    if not isinstance(step, (TrainStep, SGDStep)):
        raise OptionError(f"fit: the step is {shown(step):.60}: make one with fn.train_step or fn.sgd_step")
    for name, given in (("data", data), ("validation", () if validation is None else validation)):
        check_iterable(f"fit: {name}", given)
        if epochs > 1 and not are_arrays(given) and iter(given) is given:
            raise OptionError(f"fit: {name} is an iterator, which is used up after one epoch: give a list of batches")
    if patience is not None and (count("patience", patience) and validation is None):
        raise OptionError("fit: patience waits for a smaller validation loss: give validation data")


def check_listeners(callbacks: Any, progress: Any) -> list[Any]:
    """The callbacks, after checking that they and progress can be called."""
    if not isinstance(callbacks, Iterable) or isinstance(callbacks, str):
        raise OptionError(f"fit: callbacks must be a list of functions of a Fit, not {callbacks!r:.60}")
    listeners: list[Any] = [*callbacks]
    for i, listener in enumerate(listeners):
        if not callable(listener):
            raise OptionError(f"fit: callback {i} must be a function of a Fit, not {listener!r:.60}")
    if progress is not None and not callable(progress):
        raise OptionError(f"fit: progress must be a function of the epochs, such as tqdm.tqdm, not {progress!r:.60}")
    return listeners


def first_fit(step: TrainStep[P, Any] | SGDStep[P], params: P) -> Fit[P]:
    """Before the first epoch."""
    return Fit(params, step.init(params) if isinstance(step, TrainStep) else None, {}, params)


def run_epoch(
    step: TrainStep[P, Any] | SGDStep[P], fitted: Fit[P], batches: Iterator[Batch], key: Key | None
) -> tuple[P, Any, dict[str, Any]]:
    """(params, state, the means of the loss and the metrics) after one step on each batch."""
    params, state, rows, totals = fitted.last, fitted.state, 0, dict[str, Any]()
    key = key if step.random else None  # whose folding takes as long as a short step
    for place, batch in enumerate(batches):
        own = None if key is None else fold_in(key, place)
        if isinstance(step, TrainStep):
            params, state, result = step(params, state, *batch, key=own)
        else:
            params, result = step(params, *batch, key=own)
        found = cast("dict[str, Any]", result) if isinstance(result, dict) else {"loss": result}
        rows += len(batch[0])
        for name, value in found.items():
            totals[name] = totals.get(name, 0.0) + len(batch[0]) * np.asarray(value, np.float64)
    if not rows:
        raise OptionError("fit: the data are empty: give at least one batch, anew in every epoch")
    return params, state, {name: total / rows for name, total in totals.items()}


def validated(
    step: TrainStep[P, Any] | SGDStep[P], params: P, data: Data | None, batch_size: int | None
) -> dict[str, Any]:
    """The loss and the metrics of the validation data, by the names that they have in the history."""
    if data is None:
        return {}
    size = batch_size if are_arrays(data) else None
    if step.loss is None:
        return {"validation_loss": mean_loss(step.net, params, data, size)}
    functions: dict[str, Metric] = {"loss": partial(_loss_of, step.loss)}
    if isinstance(step, TrainStep):
        functions |= step.metrics
    return {f"validation_{name}": value for name, value in scores(step.net, functions, params, data, size).items()}


def extended(fitted: Fit[P], last: P, state: Any, means: dict[str, Any], patience: int | None) -> Fit[P]:
    """What is returned if this epoch was the last."""
    if fitted.history and fitted.history.keys() != means.keys():
        raise OptionError(
            f"fit: the history so far has {', '.join(fitted.history)}, this epoch {', '.join(means)}: go on with the "
            "same validation and metrics"
        )
    columns = {name: [np.asarray(value, np.float64)] for name, value in means.items()}
    history = {name: np.stack([*fitted.history.get(name, ()), *new]) for name, new in columns.items()}
    is_best = patience is None or best_epoch(history) == len(history["loss"]) - 1
    return Fit(last if is_best else fitted.params, state, history, last)


def best_epoch(history: dict[str, npt.NDArray[Any]]) -> int:
    """That of the smallest validation loss, the first of several; NaN is not small."""
    losses = history["validation_loss"]
    return int(np.argmin(np.where(np.isnan(losses), np.inf, losses)))


def is_over(fitted: Fit[Any], patience: int | None) -> bool:
    """Whether there was no smaller validation loss for so many epochs."""
    if patience is None or not fitted.history:
        return False
    if "validation_loss" not in fitted.history:
        raise OptionError(
            "fit: the history so far has no validation_loss for patience to go by: go on without patience"
        )
    return fitted.epochs - 1 - best_epoch(fitted.history) >= patience
