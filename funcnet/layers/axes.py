"""Operators on axes: reductions, slices and permutations. Axes count as in the arrays, so that 0 is the batch."""

from __future__ import annotations

import builtins
from functools import partial
from typing import Any, TypeAlias, cast

import numpy as np

from funcnet.arrays import Array
from funcnet.core import Layer, NoParams, Result, layer
from funcnet.display import shows_call
from funcnet.errors import OptionError, ShapeError
from funcnet.options import as_int, count, flag
from funcnet.tracing.masks import choose
from funcnet.tracing.primitives import keep, pad

Axes: TypeAlias = int | tuple[int, ...]


@shows_call
def mean(axis: Axes, *, keepdims: bool = False) -> Layer[NoParams]:
    """The mean over axes.

    y = sum x / n over one axis or several, n their elements        dx = g / n for each of them

    axis: counted as in the arrays: 1 is the first behind the batch, -1 the last; 0, the batch, is refused.
    keepdims: keep the axes, with length 1. Shapes: any -> the same without the axes.
    Raises OptionError for anything but axes behind the batch and a keepdims that is no bool, ShapeError for an axis
    that is missing, empty or named twice.
    Example: `fn.serial(fn.embedding(1000, 32), fn.mean(axis=1))`.
    """
    return layer("mean", partial(_mean, _axes("mean", axis), flag("mean: keepdims", keepdims)))


def _mean(axes: tuple[int, ...], keepdims: bool, params: NoParams, x: Array) -> Result[NoParams]:
    y, pull = _sum(axes, keepdims, params, x)
    share = 1.0 / _elements(axes, x)
    return y * share, lambda g: pull(g * share)


@shows_call
def sum(axis: Axes, *, keepdims: bool = False) -> Layer[NoParams]:
    """The sum over axes.

    y = sum x over one axis or several        dx = g for each of their elements

    Options: those of `mean`. Shapes: any -> the same without the axes. Over no elements it is 0.
    Raises OptionError and ShapeError as `mean` does.
    """
    return layer("sum", partial(_sum, _axes("sum", axis), flag("sum: keepdims", keepdims)))


def _sum(axes: tuple[int, ...], keepdims: bool, params: NoParams, x: Array) -> Result[NoParams]:
    places = _places(axes, x)
    y: Array = x.sum(axis=places, keepdims=keepdims)
    return y, lambda g: ((), (np.broadcast_to(_kept(places, keepdims, x, g), x.shape),))


@shows_call
def masked_mean(axis: Axes, *, keepdims: bool = False) -> Layer[NoParams]:
    """Mean over one axis or several of the values that a mask keeps, such as those of padded sequences.

    y = sum m x / sum m        dx = g m / sum m        dm = sum g (x - y) / sum m, 0 where m = 0

    Inputs: values x, and a mask m. A mask of bools is True for values that count and False for padding, and has no
    cotangent; a mask of floating numbers is 1 for values that count, 0 for padding, and between the two for values
    that count in part. The mask has the first axes of x, up to the last one that is reduced; it may lack
    the others, or have them with length 1 or full length: for values (T, F) and axis 1 it is (T,) or (T, 1).
    Where the mask is 0 or False, x may be anything, NaN too. Where it keeps nothing, y and its gradients are 0.
    Options: those of `mean`. Shapes: any, and that of the mask -> the first without the axes.
    Raises OptionError for anything but axes behind the batch, ShapeError for an axis that is missing or empty and for a
    mask that does not fit, DTypeError for a mask of integers: cast it, m.astype(bool).
    """
    function = partial(_masked, _axes("masked_mean", axis), flag("masked_mean: keepdims", keepdims), True)
    return layer("masked_mean", function, arity=2, mask_inputs=[1])


@shows_call
def masked_sum(axis: Axes, *, keepdims: bool = False) -> Layer[NoParams]:
    """Sum over one axis or several of the values that a mask keeps, such as those of padded sequences.

    y = sum m x        dx = g m        dm = sum g x, 0 where m = 0

    Inputs and options: those of `masked_mean`. Shapes: any, and that of the mask -> the first without the axes.
    Raises OptionError, ShapeError and DTypeError as `masked_mean` does.
    """
    function = partial(_masked, _axes("masked_sum", axis), flag("masked_sum: keepdims", keepdims), False)
    return layer("masked_sum", function, arity=2, mask_inputs=[1])


def _masked(
    axes: tuple[int, ...], keepdims: bool, averaged: bool, params: NoParams, x: Array, m: Array
) -> Result[NoParams]:
    places = _places(axes, x)
    _elements(axes, x)
    w = _mask(places, x, choose(m, 1.0, 0.0, x) if m.dtype.kind == "b" else m)
    inside = keep(x, w)
    total: Array = w.sum(axis=places, keepdims=keepdims)
    total = total + (total == 0.0)  # where nothing is kept, the sum above it is 0
    y: Array = (inside * w).sum(axis=places, keepdims=keepdims)
    y = y / total if averaged else y

    def pullback(g: Array) -> tuple[NoParams, tuple[Array, ...]]:
        g = _kept(places, keepdims, x, g / total if averaged else g)
        if m.dtype.kind == "b":
            return (), (g * w, cast("Any", None))
        each = (inside - _kept(places, keepdims, x, y) if averaged else inside) * g
        lacking = tuple(i for i in range(1, x.ndim) if w.shape[i] == 1)
        dm = keep(each.sum(axis=lacking, keepdims=True), w)
        return (), (g * w, dm.reshape(*m.shape))

    return y, pullback


def _mask(places: tuple[int, ...], x: Array, m: Array) -> Array:
    """The mask with as many axes as x, after checking that it fits."""
    first = builtins.max(places) + 1
    more = m.shape[first:]
    if m.ndim > x.ndim or m.shape[:first] != x.shape[:first] or more not in (x.shape[first : m.ndim], (1,) * len(more)):
        raise ShapeError(
            f"its mask {m.shape} must have the first {first} axes of the values {x.shape}, and behind them none, "
            "or axes of length 1 or of the length in the values"
        )
    return m[(*(builtins.slice(None),) * m.ndim, *(None,) * (x.ndim - m.ndim))] if m.ndim < x.ndim else m


@shows_call
def max(axis: Axes, *, keepdims: bool = False) -> Layer[NoParams]:
    """The maximum over axes.

    y = max x over one axis or several        dx = g / k where x = y, else 0, k the number of such elements

    Options: those of `mean`. Shapes: any -> the same without the axes.
    Raises OptionError and ShapeError as `mean` does.
    """
    return layer("max", partial(_max, _axes("max", axis), flag("max: keepdims", keepdims)))


def _max(axes: tuple[int, ...], keepdims: bool, params: NoParams, x: Array) -> Result[NoParams]:
    places = _places(axes, x)
    _elements(axes, x)
    y: Array = x.max(axis=places, keepdims=keepdims)

    def pullback(g: Array) -> tuple[NoParams, tuple[Array, ...]]:
        largest = x == _kept(places, keepdims, x, y)
        ties = largest.sum(axis=places, dtype=x.dtype, keepdims=True)
        return (), (largest * (_kept(places, keepdims, x, g) / ties),)

    return y, pullback


@shows_call
def slice(start: int | None, stop: int | None, step: int = 1, *, axis: int = -1) -> Layer[NoParams]:
    """A slice along one axis.

    y = x[start:stop:step] along one axis        dx = g there, 0 elsewhere

    start, stop: below 0 they count from the end; None is the first, or the end. step: at least 1.
    axis: as in `mean`. Shapes: any -> the same, with the axis shorter.
    Raises OptionError for bad options, ShapeError where the axis is missing, too short, or nothing is left of it.
    """
    part = builtins.slice(_end("start", start), _end("stop", stop), count("slice: step", step))
    place = as_int(axis)
    if place is None:
        raise OptionError(f"slice: axis must be one int, not {axis!r}")
    return layer("slice", partial(_slice, part, _axes("slice", place)))


def _end(name: str, value: int | None) -> int | None:
    """Where a slice starts or stops, as an int or None."""
    end = as_int(value)
    if end is None and value is not None:
        raise OptionError(f"slice: {name} must be an int or None, not {value!r}")
    return end


def _slice(part: builtins.slice, axes: tuple[int, ...], params: NoParams, x: Array) -> Result[NoParams]:
    (place,) = _places(axes, x)
    length = x.shape[place]
    if any(end is not None and not -length <= end <= length for end in (part.start, part.stop)):
        raise ShapeError(f"axis {place} has {length} elements, too few for {part.start}:{part.stop}")
    if not range(*part.indices(length)):
        raise ShapeError(f"{part.start}:{part.stop}:{part.step} leaves nothing of {length} elements")
    index = (*(builtins.slice(None),) * place, part)
    return np.positive(x[index]), lambda g: ((), (pad(g, index, x),))  # copied, for the layout that others rely on


@shows_call
def permute(*axes: int) -> Layer[NoParams]:
    """Put the axes behind that of the batch in another order.

    y = x with the axes behind the batch in another order        dx = g with them in their own

    axes: 1, 2, ..., n in the order wanted: axis i of y is axis axes[i - 1] of x. permute(2, 1) swaps the two axes of a
    sequence of features. Shapes: (n_1, ..., n_k) -> (n_axes[0], ...).
    Raises OptionError where an axis is missing or named twice, ShapeError where the input has another number of axes.
    """
    order = tuple(place for place in map(as_int, axes) if place is not None)
    if len(order) < len(axes) or sorted(order) != [*range(1, len(axes) + 1)]:
        raise OptionError(f"permute: axes must be 1, 2, ... in any order, each once, such as (2, 1), not {axes}")
    return layer("permute", partial(_permute, (0, *order)))


def _permute(order: tuple[int, ...], params: NoParams, x: Array) -> Result[NoParams]:
    if x.ndim != len(order):
        raise ShapeError(f"it permutes {len(order) - 1} axes behind the batch, but its input has {x.ndim - 1}")
    back = tuple(order.index(i) for i in range(x.ndim))
    return np.positive(x.transpose(order)), lambda g: ((), (np.positive(g.transpose(back)),))


def _axes(kind: str, axis: Any) -> tuple[int, ...]:
    """The axes as a tuple of ints, none of them the batch."""
    given: tuple[Any, ...] = axis if cast("Any", type(axis)) is tuple else (axis,)
    axes = tuple(place for place in map(as_int, given) if place is not None)
    if not axes or len(axes) < len(given):
        raise OptionError(f"{kind}: axis must be an int, or a tuple of some, not {axis!r}")
    if 0 in axes:
        raise OptionError(f"{kind}: axis 0 is the batch, whose rows stay apart: name one behind it, 1 the first")
    return axes


def _places(axes: tuple[int, ...], x: Array) -> tuple[int, ...]:
    """The axes counted from the first."""
    places = tuple(axis % x.ndim if -x.ndim < axis < x.ndim else 0 for axis in axes)
    if 0 in places:
        wrong = axes[places.index(0)]
        raise ShapeError(f"axis {wrong} is not there: behind the batch its input has axes 1 to {x.ndim - 1}")
    if len({*places}) < len(places):
        raise ShapeError(f"axes {axes} name one axis twice")
    return places


def _elements(axes: tuple[int, ...], x: Array) -> int:
    """How many elements are reduced to one."""
    n = int(np.prod([x.shape[place] for place in axes]))
    if not n:
        raise ShapeError(f"axes {axes} of shape {x.shape} have no elements")
    return n


def _kept(places: tuple[int, ...], keepdims: bool, x: Array, y: Array) -> Array:
    """What was reduced over these axes, with them in it."""
    return y if keepdims else y[tuple(None if i in places else builtins.slice(None) for i in range(x.ndim))]
