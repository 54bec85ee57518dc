"""The calls of layers beyond NumPy's ufuncs, for arrays and for values, which record them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from funcnet.arrays import stray
from funcnet.errors import LabelError, ShapeError, WeightError
from funcnet.random import fold_in, generator
from funcnet.tracing.eager import batch_axis, call, prefix
from funcnet.tracing.forms import nonzero as nonzero_form
from funcnet.tracing.forms import plain
from funcnet.tracing.forms import relu_grad as relu_grad_form
from funcnet.tracing.primitive import CONCATENATE, COPY, INNER, Primitive
from funcnet.tracing.shapes import FUNCTIONS, is_mask, joined_shape, refuse
from funcnet.tracing.trace import Value


def inner(a: Any, b: Any) -> Any:
    """Sum of a_i b_i over all elements."""
    return call(INNER, (a, b), (), a.dtype)


def relu_grad(g: Any, y: Any) -> Any:
    """The elements of g where y, which is nowhere negative, is not zero; zero elsewhere."""
    return call(RELU_GRAD, (g, nonzero(y)), y.shape, y.dtype, batch_axis(y))


def keep(x: Any, w: Any) -> Any:
    """The elements of x where w, which is broadcast to the shape of x, is not zero; zero elsewhere, even for NaN."""
    bits = nonzero(np.abs(w))  # without the sign of a negative zero
    return call(RELU_GRAD, (x, bits), np.broadcast_shapes(x.shape, w.shape), x.dtype, batch_axis(x))


def nonzero(y: Any) -> Any:
    """1 where y has any bit set, else 0. Comparing unsigned integers is several times as fast as a mask of bools."""
    return call(NONZERO, (y,), y.shape, np.dtype(f"u{y.dtype.itemsize}"), batch_axis(y))


def total_weight(w: Any) -> Any:
    """Sum of all weights; infinity where all are 0, so that a quotient by it is 0."""
    return call(TOTAL_WEIGHT, (w,), (), w.dtype, where=prefix(w))


def total_weight_into(w: Any, out: Any, *, where: str) -> None:
    """Write the sum of all weights, or infinity where all are 0."""
    np.add.reduce(w, None, None, out)
    if not out.any():
        if w.any():
            raise WeightError(
                f"{where}the {w.size} weights add up to 0, so the batch has no mean: leave such a batch out"
            )
        out[...] = np.inf


def gather(table: Any, index: Any) -> Any:
    """The rows of a table that integers name."""
    shape = (*index.shape, table.shape[1])
    return call(GATHER, (table, index), shape, table.dtype, 0, where=prefix(index, "embedding"))


def gather_into(table: Any, index: Any, out: Any, *, where: str) -> None:
    """Write the rows of a table that integers name."""
    rows = len(table)
    if (wrong := stray(index, rows)) is not None:
        raise LabelError(
            f"{where}index {wrong} is none of the {rows} rows of the table, which are numbered 0 to {rows - 1}"
        )
    out[...] = table[index]


def scatter_add(g: Any, index: Any, like: Any) -> Any:
    """A table of zeros like `like`, with each row of g added to the row that its integer names."""
    return call(SCATTER_ADD, (g, index), like.shape, like.dtype)


def scatter_add_into(g: Any, index: Any, out: Any) -> None:
    """Add each row of g to the row that its integer names. One flat index a number is faster than one a row."""
    features: int = out.shape[1]
    places = np.add.outer(index * features, np.arange(features))
    out[...] = 0
    np.add.at(out.reshape(-1), places.ravel(), g.ravel())


def pad(g: Any, index: tuple[Any, ...], like: Any) -> Any:
    """Zeros in the shape of `like`, with g in the slice that the index cuts out."""
    return call(PAD, (g,), like.shape, like.dtype, batch_axis(like), index=index)


def pad_into(g: Any, out: Any, *, index: tuple[Any, ...]) -> None:
    """Write zeros, and g in the slice that the index cuts out."""
    out[...] = 0
    out[index] = g


def zeros_like(p: Any) -> Any:
    """Zeros in the shape of a parameter: zero cotangent, for statistics held constant."""
    return p.trace.emit(ZERO, (), p.shape, p.dtype, None) if isinstance(p, Value) else np.zeros_like(p)


def zero_into(out: Any) -> None:
    """Write zeros."""
    out[...] = 0


def pick(x: Any, labels: Any) -> Any:
    """The element of each row of x that its label names; labels are integers, of the shape of x without the last axis.

    Raises LabelError for a label that is no class.
    """
    return call(PICK, (x, labels), labels.shape, x.dtype, 0, where=prefix(x))


def pick_into(x: Any, labels: Any, out: Any, *, where: str) -> None:
    """Write the element of each row that its label names."""
    classes = x.shape[-1]
    if (wrong := stray(labels, classes)) is not None:
        fix = "for one logit a row use fn.sigmoid_cross_entropy(), of targets y.astype(np.float32)[..., None]"
        numbered = f"which are numbered 0 to {classes - 1}" if classes != 1 else fix
        raise LabelError(f"{where}label {wrong} is none of the {classes} class{'es' * (classes != 1)}, {numbered}")
    out[...] = x[places(labels)]


def places(labels: Any) -> tuple[Any, ...]:
    """The index of the elements that labels name, one in each row along the last axis."""
    if labels.ndim == 1:
        return np.arange(len(labels)), labels
    return (*np.ogrid[tuple(map(slice, labels.shape))], labels)


def one_hot(labels: Any, like: Any) -> Any:
    """Rows of zeros with a 1 at the label, in the shape and dtype of `like`; `pick` has checked the labels."""
    return call(ONE_HOT, (labels,), like.shape, like.dtype, 0)


def one_hot_into(labels: Any, out: Any) -> None:
    """Write rows of zeros with a 1 at the label."""
    out[...] = 0
    out[places(labels)] = 1


def labelled(labels: Any, ignored: int, like: Any) -> Any:
    """0 for the label to ignore, 1 for any other, in the dtype of `like`."""
    return call(LABELLED, (labels,), labels.shape, like.dtype, 0, ignored=ignored)


def labelled_into(labels: Any, out: Any, *, ignored: int) -> None:
    """Write 0 for the label to ignore, 1 for any other."""
    out[...] = labels != ignored


def known_labels(labels: Any, w: Any, classes: int) -> Any:
    """The labels, but 0 where the weight is 0 and the label is no class. w is broadcast to the shape of the labels."""
    return call(KNOWN_LABELS, (labels, w), labels.shape, labels.dtype, 0, classes=classes)


def known_labels_into(labels: Any, w: Any, out: Any, *, classes: int) -> None:
    """Write the labels, but 0 where the weight is 0 and the label is no class."""
    out[...] = labels
    out[(w == 0) & ((labels < 0) | (labels >= classes))] = 0


def folded(key: Any, data: int | str) -> Any:
    """`fold_in` for keys, and for values that are keys."""
    return call(FOLD_IN, (key,), key.shape, key.dtype, data=data)


def fold_in_into(key: Any, out: Any, *, data: int | str) -> None:
    """Write the child of the key that `data` names."""
    out[...] = fold_in(key, data)


def dropout_mask(key: Any, rate: float, like: Any) -> Any:
    """0 with probability rate, else 1 / (1 - rate), for each element of `like`."""
    return call(DROPOUT_MASK, (key,), like.shape, like.dtype, batch_axis(like), rate=rate)


def dropout_mask_into(key: Any, out: Any, *, rate: float) -> None:
    """Write the mask of dropout, drawn in row-major order, whatever the order of `out` in memory."""
    shape: tuple[int, ...] = out.shape
    draws = generator(key).random(shape, np.float32)
    np.multiply(draws >= rate, 1.0 / (1.0 - rate), out, casting="same_kind")


NONZERO = Primitive("nonzero", nonzero_form, elementwise=True, fusible=True)
RELU_GRAD = Primitive("relu_grad", relu_grad_form, elementwise=True)
TOTAL_WEIGHT = Primitive("total_weight", plain(total_weight_into))
GATHER = Primitive("gather", plain(gather_into))
SCATTER_ADD = Primitive("scatter_add", plain(scatter_add_into), sums_rows=True)
PAD = Primitive("pad", plain(pad_into), linear_with=0)
ZERO = Primitive("zero", plain(zero_into), sums_rows=True)
PICK = Primitive("pick", plain(pick_into))
LABELLED = Primitive("labelled", plain(labelled_into))
KNOWN_LABELS = Primitive("known_labels", plain(known_labels_into))
ONE_HOT = Primitive("one_hot", plain(one_hot_into))
FOLD_IN = Primitive("fold_in", plain(fold_in_into))
DROPOUT_MASK = Primitive("dropout_mask", plain(dropout_mask_into))


def concatenate(values: Sequence[Value], axis: int = 0) -> Value:
    """Record the joining of values along an axis."""
    if not all(map(is_mask, values)):
        values = [v * 1.0 for v in values]  # numbers are themselves, and make no call
    first = values[0]
    (axis,) = normalize_axis_tuple(axis, first.ndim)
    shape = joined_shape([v.shape for v in values], axis)
    if any(axis == v.batch_axis or v.batch_axis != first.batch_axis for v in values):
        refuse("joining rows to rows, which a layer treats all alike,")
    return first.trace.emit(CONCATENATE, tuple(values), shape, first.dtype, first.batch_axis, axis=axis)


def broadcast_to(value: Value, shape: tuple[int, ...]) -> Value:
    """Record the copying of a value along axes of length 1 into a larger shape."""
    if np.broadcast_shapes(value.shape, shape) != shape:
        raise ShapeError(f"broadcast_to: {value.shape} does not broadcast to {shape}")
    axis = None if value.batch_axis is None else value.batch_axis + len(shape) - value.ndim
    return value.trace.emit(COPY, (value,), shape, value.dtype, axis)


FUNCTIONS.update({np.concatenate: concatenate, np.broadcast_to: broadcast_to})
