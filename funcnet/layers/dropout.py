"""Dropout, which a key turns on."""

from __future__ import annotations

from functools import partial

from funcnet.arrays import Array
from funcnet.core import Layer, NoParams, Result, layer
from funcnet.display import shows_call
from funcnet.options import fraction
from funcnet.random import Key
from funcnet.tracing.primitives import dropout_mask


@shows_call
def dropout(rate: float) -> Layer[NoParams]:
    """Dropout: zero a random part of the elements and scale up the others; identity without a key.

    y = m x, m = 0 with probability rate, else 1 / (1 - rate), drawn for each element        dx = m g

    Only where a key is passed, `apply(params, x, key=key)`; without one y = x. The expected y is x in both.
    rate: the probability to drop, at least 0 and below 1. The same key drops the same elements in float32 and float64.
    Shapes: any -> the same. Raises OptionError for a rate out of range. (Srivastava et al. 2014)
    """
    chance = fraction("dropout: rate, the probability to drop,", rate)
    return layer("dropout", partial(_dropout, chance), random=True)


def _dropout(rate: float, params: NoParams, x: Array, key: Key | None = None) -> Result[NoParams]:
    if key is None:
        return x, lambda g: ((), (g,))
    m = dropout_mask(key, rate, x)
    return x * m, lambda g: ((), (g * m,))
