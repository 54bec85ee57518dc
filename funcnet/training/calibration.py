"""The population's statistics for batch_norm: a pass over all batches for each, in forward order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from funcnet.arrays import copied, is_array
from funcnet.calling import checks_call
from funcnet.core import Function, Layer
from funcnet.errors import OptionError, ShapeError
from funcnet.layers.norm import BatchNorm, Probe, Reached
from funcnet.networks.parts import check
from funcnet.training.batches import Data, accept_data, can_be_read_again, refuse_swapped_data, whole_or_batches
from funcnet.training.fit_result import Fit, params_of
from funcnet.training.splitting import inputs_taken

P = TypeVar("P")
SEQUENCES: tuple[Any, ...] = (tuple, list)
LIST: Any = list


@checks_call
def calibrate(net: Layer[P, Any], params: P | Fit[Any], data: Data, batch_size: int | None = None) -> P:
    """New params, in which every batch_norm holds the mean and var of its input over all rows of the data.

    m = mean x        v = mean (x - m)^2        in float64, merged from batch to batch (Chan et al. 1979)

    They are calibrated one after the other, in forward order, so that each sees the outputs of calibrated ones. These
    are the exact statistics of the population under the final params, behind which a running average lags (Ioffe and
    Szegedy 2015, algorithm 2; Wu and Johnson 2021). Algorithm 2 multiplies by m / (m - 1) because it averages the
    variances of batches of m rows; the variance of all rows needs no such factor.

    `fit` calibrates the params that it validates and returns; call this after a loop of your own.
    params: params, or a `Fit`, whose params are taken.
    data: as for `evaluate`: arrays of all rows, such as (x, target), all at once or batch_size at a time; or batches,
    read once for each batch_norm. Only the inputs of the network are read. A single array is one input; a list of
    arrays whose rows have one shape is a list of batches of that input.
    Earlier values of mean and var are replaced. A shared batch_norm is calibrated at its first place in forward order.
    If training continues, weight decay shrinks mean and var too, unless its `mask` leaves them out.
    Raises OptionError for an iterator, which can be read only once, ShapeError where there are no rows, GraphError for
    anything but a layer, and the errors of `net.apply`.
    Example: `params = fn.calibrate(net, params, (x, target))`.
    """
    check("calibrate", (net,), multi_output=True)
    own: P = params_of(params)
    refuse_swapped_data("calibrate", own, data, "calibrate(net, params, data)")
    return with_statistics(
        net.apply, own, _inputs_alone(data), batch_size, partial(inputs_taken, "calibrate", net.apply)
    )


def _inputs_alone(data: Any) -> Any:
    """A list of arrays whose rows have one shape as batches of one array each."""
    if not isinstance(data, LIST):
        return data
    given: list[Any] = [*data]
    alike = len({x.shape[1:] if is_array(x) and x.ndim > 1 else i for i, x in enumerate(given)}) == 1
    return [(x,) for x in given] if alike and is_array(given[0]) else given


def with_statistics(
    apply: Function[P, Any], params: P, data: Data, batch_size: int | None, taken: Callable[[int], int]
) -> P:
    """The calibrated params. taken: number of arrays in a batch -> number of them that are inputs of the network."""
    given = accept_data("calibrate: data", data, batch_size)
    if not can_be_read_again(given):
        raise OptionError("calibrate: data is an iterator, which can be gone through but once: pass a list of batches")
    plain: P = without_statistics(params)
    probed: P = _replaced(params, _with_probe)
    while True:
        probe, moments = Probe(), NONE
        for batch in whole_or_batches(given, batch_size):
            inputs = apply.accept(plain, batch[: taken(len(batch))], None)
            reached = _first_reached(apply, probed, inputs)
            if reached is None:
                return copied(probed)
            probe, moments = reached.probe, merged(moments, moments_of(reached.x))
        if not moments.rows:
            raise ShapeError("calibrate: there are no rows in the data, and so no statistics")
        probed = _replaced(probed, partial(_with_moments, probe, moments))


def without_statistics(params: P) -> P:
    """The same params, as they are trained: every batch_norm takes its statistics from the batch."""
    return cast(P, _replaced(params, lambda norm: norm._replace(mean=None, var=None)))


def lacks_statistics(params: Any) -> bool:
    """Whether there is a batch_norm that is not calibrated."""
    found: list[bool] = []

    def look(norm: BatchNorm) -> BatchNorm:
        found.append(norm.mean is None)
        return norm

    _replaced(params, look)
    return any(found)


class Moments(NamedTuple):
    """The number of rows, their mean, and the sum of their squared differences from it."""

    rows: int
    mean: Any
    squares: Any


NONE = Moments(0, 0.0, 0.0)


def moments_of(x: Any) -> Moments:
    """The moments of all rows of an array, each feature by itself."""
    rows = x.reshape(-1, x.shape[-1]).astype(np.float64)
    mean = rows.sum(axis=0) / max(len(rows), 1)
    return Moments(len(rows), mean, ((rows - mean) ** 2).sum(axis=0))


def merged(a: Moments, b: Moments) -> Moments:
    """The moments of the rows of both."""
    rows, apart = a.rows + b.rows, b.mean - a.mean
    share = b.rows / max(rows, 1)
    return Moments(rows, a.mean + apart * share, a.squares + b.squares + apart**2 * (a.rows * share))


def _first_reached(apply: Function[P, Any], probed: P, inputs: tuple[Any, ...]) -> Reached | None:
    """The first batch_norm with a probe that the forward pass comes to, and its input."""
    try:
        apply.run(probed, inputs)
    except Reached as reached:
        return reached
    return None


def _with_probe(norm: BatchNorm) -> BatchNorm:
    probe: Any = Probe()
    return norm._replace(mean=probe, var=probe)


def _with_moments(probe: object, moments: Moments, norm: BatchNorm) -> BatchNorm:
    """The statistics in place of that probe."""
    if norm.mean is not probe:
        return norm
    dtype = norm.scale.dtype
    return norm._replace(mean=moments.mean.astype(dtype), var=(moments.squares / moments.rows).astype(dtype))


def _replaced(node: Any, change: Callable[[BatchNorm], BatchNorm]) -> Any:
    """The tree with another in place of every BatchNorm."""
    kind = cast("Any", type(node))
    if kind is BatchNorm:
        return change(node)
    if kind is dict:
        return {key: _replaced(child, change) for key, child in node.items()}
    named = hasattr(kind, "_fields")
    if not named and kind not in SEQUENCES:
        return node
    children = [_replaced(child, change) for child in node]
    return kind(*children) if named else kind(children)
