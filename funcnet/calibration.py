"""The population's statistics for batch_norm: a pass over all batches for each, in forward order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from funcnet import tree
from funcnet.arrays import is_array
from funcnet.batches import are_arrays, check_iterable
from funcnet.compose import check
from funcnet.core import Layer
from funcnet.errors import OptionError, ShapeError
from funcnet.layers.norm import BatchNorm, Probe, Reached

P = TypeVar("P")
SEQUENCES: tuple[Any, ...] = (tuple, list)


def calibrate(net: Layer[P, Any], params: P, batches: Iterable[Any]) -> P:
    """New params, in which every batch_norm holds the mean and var of its input over all rows of all batches.

    m = mean x        v = mean (x - m)^2        in float64, merged from batch to batch (Chan et al. 1979)

    One after the other in forward order, so that a batch_norm behind another sees what the calibrated one gives. These
    are the exact statistics of the population under the final params, behind which a running average lags (Ioffe and
    Szegedy 2015, algorithm 2; Wu and Johnson 2021). Algorithm 2 multiplies by m / (m - 1) because it averages the
    variances of batches of m rows; the variance of all rows needs no such factor.

    batches: gone through once for each batch_norm: arrays, or tuples that begin with the inputs of the network, such as
    (x, target). What params held of mean and var before is forgotten. Under `shared` the first place counts.
    Where training goes on, decay of weights shrinks mean and var too, unless `mask` leaves them out.
    Raises OptionError for an iterator, which can be gone through but once, ShapeError where there are no rows.
    """
    check("calibrate", (net,), several=True)
    check_iterable("calibrate: batches", batches)
    if is_array(batches) or are_arrays(batches):
        raise OptionError("calibrate: batches is one batch, not several: put it into a list, [(x, target)] or [x]")
    if iter(batches) is batches:
        raise OptionError("calibrate: batches is an iterator, which can be gone through but once: pass a list of them")
    plain: P = _replaced(params, lambda norm: norm._replace(mean=None, var=None))
    probed: P = _replaced(params, _with_probe)
    while True:
        probe, moments = Probe(), NONE
        for batch in batches:
            reached = _first_reached(net, plain, probed, batch)
            if reached is None:
                return tree.map(np.array, probed)
            probe, moments = reached.probe, merged(moments, moments_of(reached.x))
        if not moments.rows:
            raise ShapeError("calibrate: there are no rows in the batches, and so no statistics")
        probed = _replaced(probed, partial(_with_moments, probe, moments))


class Moments(NamedTuple):
    """How many rows there are, their mean, and the sum of the squares of what they differ from it."""

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


def _first_reached(net: Layer[P, Any], plain: P, probed: P, batch: Any) -> Reached | None:
    """The first batch_norm with a probe that the forward pass comes to, and its input."""
    arrays: tuple[Any, ...] = batch if cast("Any", type(batch)) is tuple else (batch,)
    inputs = net.apply.accept(plain, arrays[: net.apply.arity], None)
    try:
        net.apply.run(probed, inputs)
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
