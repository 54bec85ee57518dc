"""A model's scores on a whole data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias, overload

import numpy as np
from typing_extensions import TypeVar

from funcnet import tree
from funcnet.arrays import Array
from funcnet.calling import checks_call
from funcnet.core import Function, Layer
from funcnet.display import call_forgotten
from funcnet.errors import OptionError, ShapeError
from funcnet.networks.parts import check, is_layer
from funcnet.options import brief
from funcnet.training.batches import Data, refuse_swapped_data, whole_or_batches
from funcnet.training.fit_result import Fit, params_of
from funcnet.training.gradients import check_scalar
from funcnet.training.splitting import check_taken, inputs_taken
from funcnet.training.steps import Metric, accept_metrics
from funcnet.training.weighing import Weigh, weigher

P = TypeVar("P", default=Any)
Score: TypeAlias = Layer[Any, Any] | Metric
"""A loss or a metric, of outputs and targets."""
ORDER = "evaluate(net, metrics, params, data)"


@overload
def evaluate(
    net: Layer[P, Any], metrics: Mapping[str, Score], params: P | Fit[Any], data: Data, batch_size: int | None = None
) -> dict[str, Any]: ...
@overload
def evaluate(
    net: Layer[P, Any], metrics: Layer[Any, Any] | None, params: P | Fit[Any], data: Data, batch_size: int | None = None
) -> float: ...
@overload
def evaluate(
    net: Layer[P, Any], metrics: Metric, params: P | Fit[Any], data: Data, batch_size: int | None = None
) -> Any: ...
@checks_call
def evaluate(
    net: Layer[P, Any],
    metrics: Mapping[str, Score] | Score | None,
    params: P | Fit[Any],
    data: Data,
    batch_size: int | None = None,
) -> Any:
    """Compute a loss or a metric of all rows at once: metric(*outputs, *targets).

    metrics: a loss, a metric such as `fn.accuracy`, or a dict of them, which gives a dict of results. None where the
    network's output is the loss itself: the result is its mean over the batches, by their rows, or by the sum of their
    weights where the output operator is a weighted loss whose weights are an input of the network.
    params: params, or a `Fit`, whose params are taken.
    data, batch_size: as for `fn.minibatches`. The outputs are computed batch by batch and, like the targets, held in
    memory, so that every metric is exact. Where rows of several batches differ in shape, as sequences of different
    lengths do, a loss is the mean over the batches by their weights.
    Raises OptionError for data without a batch, ShapeError for a loss of one number a row and for a metric of rows of
    several shapes, GraphError for anything but a layer, and the errors of `net.apply` and of the metrics.
    Example: `fn.evaluate(net, {"mse": fn.mse(), "r2": fn.r2}, params, (x, target))`.
    """
    check("evaluate", (net,), multi_output=True)
    own = params_of(params)
    refuse_swapped_data("evaluate", params, data, ORDER)
    if metrics is None:
        return mean_loss(net.apply, own, data, batch_size, weigher(net.apply, None, lambda given: given))
    given = {"": metrics} if is_layer(metrics) or callable(metrics) else accept_metrics(ORDER, metrics)
    loss = next((metric.apply for metric in given.values() if is_layer(metric)), None)
    found = scores(net.apply, given, own, data, batch_size, partial(inputs_taken, "evaluate", net.apply, loss=loss))
    return found[""] if is_layer(metrics) or callable(metrics) else found


def scores(
    apply: Function[Any, Any],
    metrics: Mapping[str, Score],
    params: Any,
    data: Data,
    batch_size: int | None,
    taken: Callable[[int], int],
) -> dict[str, Any]:
    """Each metric of all rows. taken: number of arrays in a batch -> number of them that are inputs of the network."""
    functions = {name: score_function(name, metric) for name, metric in metrics.items()}
    parts: list[tuple[Any, ...]] = []
    for batch in whole_or_batches(data, batch_size):
        inputs = taken(len(batch))
        parts.append((*tree.leaves(apply(params, *batch[:inputs])), *batch[inputs:]))
    if not parts:
        raise OptionError("evaluate: the data are empty: give at least one batch")
    return of_all_rows(functions, parts)


def of_all_rows(functions: Mapping[str, Metric], parts: list[tuple[Any, ...]]) -> dict[str, Any]:
    """Each metric of the rows of all batches; of rows of several shapes, a loss in the mean over the batches."""
    if len({tuple(x.shape[1:] for x in part) for part in parts}) > 1:
        return {name: _of_each_batch(name, function, parts) for name, function in functions.items()}
    whole = parts[0] if len(parts) == 1 else [np.concatenate(columns) for columns in zip(*parts, strict=True)]
    return {name: function(*whole) for name, function in functions.items()}


def _of_each_batch(name: str, function: Any, parts: list[tuple[Any, ...]]) -> float:
    """The mean of a loss over batches of sequences of different lengths."""
    loss: Function[Any, Any] | None = function.args[0] if getattr(function, "func", None) is loss_of else None
    if loss is None:
        shapes = ", ".join(sorted({str(part[0].shape[1:]) for part in parts}))
        raise ShapeError(
            f"the metric {name!r} is computed of all rows at once, but those of the batches have several shapes, "
            f"{shapes}: pad them to one and give weights, or evaluate each batch by itself"
        )
    mean, weigh = Mean(), weigher(loss, loss, lambda given: 1)  # behind the first output, all are targets
    for part in parts:
        mean.add(loss_of(loss, *part), weigh(part))
    return mean.value()


class Mean:
    """A mean over batches by their weights; the sum where they have none. A batch of weight 0 has no share."""

    def __init__(self) -> None:
        self.total: float = 0.0
        self.weight: float | None = 0.0
        self.batches: int = 0

    def add(self, loss: Any, weight: float | None) -> None:
        """One more batch."""
        self.batches += 1
        if weight is None:
            self.total, self.weight = self.total + float(loss), None
        elif weight:
            self.total += weight * float(loss)
            self.weight = (self.weight or 0.0) + weight

    def value(self) -> float:
        """The mean; 0 where no batch has a weight."""
        return self.total if self.weight is None else self.total / self.weight if self.weight else 0.0


def mean_loss(apply: Function[Any, Any], params: Any, data: Data, batch_size: int | None, weigh: Weigh) -> float:
    """The mean over all batches of the output of a network that is a loss."""
    mean = Mean()
    for batch in whole_or_batches(data, batch_size):
        loss = apply(params, *batch)
        check_scalar("evaluate", loss)
        mean.add(loss, weigh(batch))
    if not mean.batches:
        raise OptionError("evaluate: the data are empty: give at least one batch")
    return mean.value()


def score_function(name: str, metric: Score) -> Metric:
    """A loss or a metric as a function of outputs and targets."""
    if is_layer(metric):
        return partial(loss_of, metric.apply)
    if not callable(metric) or call_forgotten(metric):
        raise OptionError(
            f"evaluate: the metric {name!r} is {brief(metric)} and no loss or function (outputs, targets)"
            f"{call_forgotten(metric)}: {ORDER}"
        )
    return metric


def loss_of(loss: Function[Any, Any], output: Array, *others: Array) -> float:
    """The loss, all floating arrays cast to the dtype of the first."""
    check_taken("evaluate", loss, 1, len(others))
    same = (x.astype(output.dtype, copy=False) if x.dtype.kind == "f" else x for x in others)
    number = loss((), output, *same)
    check_scalar("evaluate", number)
    return float(number)
