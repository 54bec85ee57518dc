"""How the terms of a loss become one number: what every loss has in common.

A loss is a sum of terms, one for each of its places: for each element of the prediction, for each row of classes, or
for each row of the batch. P is the number of places of a row of the batch; L_n is the loss of a row.

    L = mean_n L_n                    over all places the mean of the terms
    L = sum_n L_n
    L_n                               one number a row; where a place is a row of classes, one number a place

A weight is one number a row of the batch, w_n, or one a place. One a row is the same as that number at each of its
places. A term is multiplied by its weight; the mean is divided by the sum of the weights of all places:

    L = sum_i w_i L_i / W, W = sum_i w_i        dL_i = g w_i / W        dw_i = g (L_i - L) / W

Where a weight is 0, prediction and target may be anything: they add nothing to the loss or to a gradient.
Where all weights are 0, the loss and all gradients are 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from math import prod
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from funcnet.arrays import Array, Shape
from funcnet.core import Layer, NoParams, Pullback, layer
from funcnet.errors import DTypeError, ShapeError
from funcnet.options import choice, flag
from funcnet.tracing.primitives import inner, keep, known_labels, labelled, total_weight

Reduction: TypeAlias = Literal["mean", "sum", "none"]
Place: TypeAlias = Literal["element", "classes", "row"]
Number: TypeAlias = np.floating[Any]
Cotangents: TypeAlias = tuple[Any, ...]


class Terms(NamedTuple):
    """How a loss adds its terms up: along all axes behind the first `apart`; then they are multiplied by `share`."""

    apart: int
    share: float

    def sum(self, terms: Array) -> Any:
        """Sum of the terms."""
        if not self.apart:
            return terms.sum()
        return terms.sum(axis=tuple(range(self.apart, terms.ndim))) if self.apart < terms.ndim else terms

    def inner(self, a: Array, b: Array) -> Any:
        """Sum of the terms a_i b_i."""
        return self.sum(a * b) if self.apart else inner(a, b)


Kernel: TypeAlias = Callable[..., tuple[Any, Callable[[Any], Cotangents]]]
"""(terms, *inputs) -> (L, pullback): the cotangent that the pullback is given fits the first input by broadcasting."""


class Options(NamedTuple):
    """What a loss is made of; `place` is what has a term of its own."""

    kernel: Kernel
    place: Place
    reduction: Reduction

    def depth(self, x: Array) -> int:
        """How many axes of the prediction, from the first on, tell a place."""
        return {"element": x.ndim, "classes": x.ndim - 1, "row": 1}[self.place]

    def rows(self, x: Array) -> int:
        """How many axes the losses have that are left as they are, by reduction "none"."""
        return self.depth(x) if self.place == "classes" else 1


def loss(
    kind: str,
    kernel: Kernel,
    reduction: Reduction,
    weighted: bool,
    arity: int = 2,
    *,
    place: Place = "element",
    integer_inputs: Iterable[int] = (),
    ignored: int | None = None,
) -> Layer[NoParams, Any]:
    """The loss of a kernel."""
    choice(f"{kind}: reduction", reduction, ("mean", "sum", "none"))
    weighted = flag(f"{kind}: weighted", weighted)
    options = Options(kernel, place, reduction)
    function = partial(_weighted if weighted else _plain, options)
    if ignored is not None:
        function = partial(_labelled, ignored, options)
    total = partial(weight_of_batch, place, weighted, ignored) if reduction == "mean" else None
    facts: dict[str, Any] = {"integer_inputs": integer_inputs, "total_weight": total, "adds_up": reduction == "sum"}
    return layer(kind, function, arity=arity + weighted, **facts)


def weight_of_batch(place: Place, weighted: bool, ignored: int | None, *inputs: Array) -> float:
    """What a batch weighs in a mean over batches: its rows, for classes its labels, or the sum of their weights."""
    last = inputs[-1]
    if place != "classes":
        return float(last.sum(dtype=np.float64) if weighted else len(last))
    t = inputs[1]
    labels = t if t.dtype.kind in "iu" else t[..., 0]
    counts: Any = True if ignored is None else labels != ignored
    if not weighted:
        return float(labels.size if ignored is None else counts.sum())
    return float(np.broadcast_to(column(last, labels), labels.shape).sum(dtype=np.float64, where=counts))


def _plain(options: Options, params: NoParams, *inputs: Array) -> tuple[Any, Pullback[NoParams]]:
    x, reduction = inputs[0], options.reduction
    _check_size(x, reduction)
    depth, rows = options.depth(x), options.rows(x)
    apart = rows if reduction == "none" else 0
    count = prod(x.shape[rows:depth]) if reduction != "mean" else x.size // prod(x.shape[depth:])
    L, pull = options.kernel(Terms(apart, 1.0 / count), *inputs)
    return L, lambda g: ((), pull(column(g, x) if apart else g))


def _weighted(options: Options, params: NoParams, *arrays: Array) -> tuple[Any, Pullback[NoParams]]:
    *inputs, w = arrays
    _check_weights(w, inputs[0], options.depth(inputs[0]))
    L, pull = _of_weights(options, inputs, w)
    return L, lambda g: ((), pull(g))


def _labelled(ignored: int, options: Options, params: NoParams, *arrays: Array) -> tuple[Any, Pullback[NoParams]]:
    """The loss of the labels that are not ignored: those that are have the weight 0, and the others their own or 1."""
    x, t, *weights = arrays
    counted = _counted(ignored, x, t)
    if weights:
        _check_weights(weights[0], x, options.depth(x))
    w = keep(column(weights[0], counted), counted) if weights else counted
    L, pull = _of_weights(options, (x, t), w)

    def pullback(g: Any) -> tuple[NoParams, Cotangents]:
        *cotangents, dw = pull(g)
        return (), (*cotangents, *(_summed(keep(dw, counted), own.ndim) for own in weights))

    return L, pullback


def _counted(ignored: int, x: Array, t: Array) -> Array:
    """1 for each label that counts, 0 for those that are to be ignored."""
    if t.dtype.kind == "f":
        raise ShapeError(f"ignore_label is for integer labels, but the targets of shape {t.shape} are floating")
    if t.shape != x.shape[:-1]:
        raise ShapeError(
            f"logits {x.shape} must be rows of classes, and targets {t.shape} one label a row{label_axis(x, t)}"
        )
    counted: Array = labelled(t, ignored, x)
    return counted


def label_axis(z: Array, t: Array) -> str:
    """What to do where labels have an axis too many."""
    return "; a column of labels is y[..., 0]" if t.shape == (*z.shape[:-1], 1) else ""


def _of_weights(options: Options, inputs: Any, w: Any) -> tuple[Any, Callable[[Any], Cotangents]]:
    """The loss weighted by w, and its pullback, also to w."""
    kernel, _, reduction = options
    x = inputs[0]
    _check_size(x, reduction)
    depth, rows = options.depth(x), options.rows(x)
    first = w.ndim if reduction == "mean" else rows
    terms = Terms(max(w.ndim, rows) if reduction == "none" else w.ndim, 1.0 / prod(x.shape[first:depth]))
    each, pull = kernel(terms, *(_kept(a, w, x) for a in inputs))

    def slopes() -> Any:
        """The losses by which the weights are multiplied, those of weight 0 too where they are finite."""
        with np.errstate(over="ignore", invalid="ignore"):  # of weight 0; others were warned of when the loss was made
            found, _ = kernel(terms, *(_finite(a, w) if a.dtype.kind == "f" else _kept(a, w, x) for a in inputs))
        return _finite(found, w)

    if reduction == "none":
        v = column(w, each)

        def pullback(g: Any) -> Cotangents:
            g = column(g, each)
            return *pull(column(g * v, x)), _summed(g * slopes(), w.ndim)

        return _summed(v * each, rows), pullback
    total = inner(w, each)
    if reduction == "sum":
        return total, lambda g: (*pull(column(w * g, x)), slopes() * g)
    whole = total_weight(w)
    L = total / whole

    def pullback_of_mean(g: Any) -> Cotangents:
        scale = g / whole
        return *pull(column(w * scale, x)), (slopes() - L) * scale

    return L, pullback_of_mean


def _kept(a: Any, w: Any, x: Any) -> Any:
    """An input, but zeros where the weight is 0; of labels, where they are no classes."""
    if a.shape[: w.ndim] != w.shape:
        return a  # which the kernel refuses
    return keep(a, column(w, a)) if a.dtype.kind == "f" else known_labels(a, column(w, a), x.shape[-1])


def _finite(a: Any, w: Any) -> Any:
    """An array, but zeros where the weight is 0 and it is not finite."""
    return keep(a, np.abs(column(w, a)) + np.isfinite(a))


def _summed(x: Any, axes: int) -> Any:
    """The sum over all axes behind the first few."""
    return x.sum(axis=tuple(range(axes, x.ndim))) if axes < x.ndim else x


def _check_size(x: Array, reduction: Reduction) -> None:
    """Refuse a batch without rows, which has no mean, and rows without features."""
    if reduction == "mean" and not x.size:
        raise ShapeError("the batch is empty, and has no mean")
    if not prod(x.shape[1:]):
        raise ShapeError("its rows have no features, and so no loss")


def _check_weights(w: Array, x: Array, depth: int) -> None:
    """Refuse weights that are neither one a row nor one a place."""
    if w.shape not in (x.shape[:1], x.shape[:depth]):
        place = "" if depth <= 1 else f", or of shape {x.shape[:depth]}"
        raise ShapeError(f"weights {w.shape} must be one number a row, {x.shape[:1]}{place}")
    if w.dtype.kind in "iu":
        raise DTypeError(f"weights have dtype {w.dtype}, not a floating one: cast them, w.astype(np.float32)")


def column(g: Array, like: Array) -> Array:
    """An array with axes of length 1 behind its own, so that it broadcasts along those of another array."""
    return g[(*(slice(None),) * g.ndim, *(None,) * (like.ndim - g.ndim))] if g.ndim < like.ndim else g


def check_same_shape(y: Array, *others: Array) -> None:
    """Refuse a target, or a variance before it, in another shape than the prediction: nothing is broadcast."""
    for name, x in zip(("variance", "target")[-len(others) :], others, strict=True):
        if x.shape != y.shape:
            raise ShapeError(
                f"prediction {y.shape} and {name} {x.shape} must have the same shape; nothing is broadcast"
                f"{_column_fix(y.shape, name, x.shape)}"
            )


def _column_fix(wanted: Shape, name: str, given: Shape) -> str:
    """How to add or take away a last axis of length 1, where that is all that differs."""
    if wanted == (*given, 1):
        return f": a column is {name}[{':' if len(given) == 1 else '...'}, None]"
    return f": without its last axis it is {name}[..., 0]" if given == (*wanted, 1) else ""
