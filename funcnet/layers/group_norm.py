"""Normalisation of each row by itself over its places: of groups of channels, or of each channel."""

from __future__ import annotations

from functools import partial
from math import prod

import numpy as np

from funcnet.arrays import Array
from funcnet.core import Layer, Result, layer, unpack
from funcnet.display import shows_call
from funcnet.errors import ShapeError
from funcnet.layers.norm import Norm, affine, draw, fitting, over_rows, standardised, unstandardised
from funcnet.options import count, positive


@shows_call
def group_norm(groups: int, *, epsilon: float = 1e-5) -> Layer[Norm]:
    """Group normalisation: in each row, each group of channels with mean 0 and variance 1, then a gain and a bias.

    y = h s + b, h = (x - m) / r, r = sqrt(v + epsilon), m and v the mean and variance of a group over all places

    ds = sum_n g_n h_n        db = sum_n g_n        dx = (k - mean k - h mean(k h)) / r, k = g s

    groups: the number of groups, each of neighbouring channels; 1 is one group of all channels. A place is an index of
    the axes between batch and channels, such as a pixel or a time step; without such axes a row has one place.
    The mean is taken twice, as in `layer_norm`. epsilon: above 0. Shapes: (..., channels) -> the same.
    Raises OptionError for bad options, ShapeError where groups do not divide the channels or a row has no elements.
    (Wu and He 2018)
    Example: `fn.serial(fn.conv(16, (3, 3)), fn.group_norm(4), fn.relu())`.
    """
    function = partial(_group_norm, count("group_norm: groups", groups), positive("group_norm: epsilon", epsilon))
    return layer("group_norm", function, partial(draw, affine))


@shows_call
def instance_norm(*, epsilon: float = 1e-5) -> Layer[Norm]:
    """Instance normalisation: in each row, each channel with mean 0 and variance 1 over its places.

    y = h s + b, h = (x - m) / r, r = sqrt(v + epsilon), m and v the mean and variance of a channel over all places

    ds = sum_n g_n h_n        db = sum_n g_n        dx = (k - mean k - h mean(k h)) / r, k = g s

    It is `group_norm` with as many groups as channels. epsilon: above 0. Shapes: (..., places, channels) -> the same.
    Raises OptionError for another epsilon, ShapeError for an input without places. (Ulyanov et al. 2016)
    """
    return layer(
        "instance_norm", partial(_group_norm, None, positive("instance_norm: epsilon", epsilon)), partial(draw, affine)
    )


def _group_norm(groups: int | None, epsilon: float, params: Norm, x: Array) -> Result[Norm]:
    s, b = fitting(unpack(Norm, params), x)
    channels = x.shape[-1]
    parts = channels if groups is None else groups
    if channels % parts:
        raise ShapeError(f"groups must divide the {channels} channels of the input, and {parts} does not")
    if (groups is None and x.ndim == 2) or not prod(x.shape[1:]):
        raise ShapeError("it takes rows of places with channels, at least one of each, a shape such as (8, 8, 3)")
    mean = partial(_mean_of_groups, parts)
    h, r = standardised(x, mean, epsilon)

    def pullback(g: Array) -> tuple[Norm, tuple[Array, ...]]:
        return Norm(over_rows(g * h), over_rows(g)), (unstandardised(g * s, h, r, mean),)

    return h * s + b, pullback


def _mean_of_groups(groups: int, a: Array) -> Array:
    """The mean over the places of a row and the channels of a group, for each channel."""
    rows, *lengths, channels = a.shape
    places = tuple(range(1, a.ndim - 1))
    total: Array = a.sum(axis=places) if places else a
    share = groups / (prod(lengths) * channels)
    if groups < channels:
        apart = (rows, groups, channels // groups)
        of_groups = total.reshape(*apart).sum(axis=-1, keepdims=True)
        total = np.broadcast_to(of_groups, apart).reshape(rows, channels)
    m: Array = (total * share)[(slice(None), *(None,) * len(places))]
    return m
