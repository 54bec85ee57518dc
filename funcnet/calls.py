"""What layers call beyond NumPy's own ufuncs: each works on arrays, and on values, where it is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from funcnet.arrays import stray
from funcnet.errors import LabelError, ShapeError, WeightError
from funcnet.forms import nonzero, plain
from funcnet.forms import relu_grad as relu_grad_form
from funcnet.primitive import CONCATENATE, COPY, INNER, Primitive
from funcnet.random import fold_in, generator
from funcnet.tracing import FUNCTIONS, Trace, Value
from funcnet.views import joined_shape, refuse


def inner(a: Any, b: Any) -> Any:
    """Sum of a_i b_i over all elements, for arrays and for values."""
    if isinstance(a, Value):
        return a.trace.emit(INNER, (a, b), (), a.dtype, None)
    return np.dot(a.ravel(), b.ravel())


def relu_grad(g: Any, y: Any) -> Any:
    """The elements of g where y, which is nowhere negative, is not zero; zero elsewhere."""
    bits = np.dtype(f"u{y.dtype.itemsize}")
    if isinstance(y, Value):
        bit = y.trace.emit(NONZERO, (y,), y.shape, bits, y.batch_axis)
        return y.trace.emit(RELU_GRAD, (g, bit), y.shape, y.dtype, y.batch_axis)
    mask, out = np.empty(y.shape, bits), np.empty_like(g)
    nonzero_into(y, mask)
    relu_grad_into(g, mask, out)
    return out


def total_weight(w: Any) -> Any:
    """Sum of all weights, which must not be 0."""
    if isinstance(w, Value):
        return w.trace.emit(TOTAL_WEIGHT, (w,), (), w.dtype, None, where=prefix(w.trace))
    out = np.empty((), w.dtype)
    total_weight_into(w, out, where="")
    return out[()]


def total_weight_into(w: Any, out: Any, *, where: str) -> None:
    """Write the sum of all weights."""
    np.add.reduce(w, None, None, out)
    if out == 0:
        raise WeightError(f"{where}the {len(w)} weights add up to 0, so the batch has no mean: leave such a batch out")


def prefix(trace: Trace, kind: str = "") -> str:
    """How an error that is raised when the program runs tells the operator: by then nobody else knows it."""
    where = trace.scope or kind
    return f"{where}: " if where else ""


def gather(table: Any, index: Any) -> Any:
    """The rows of a table that integers name."""
    shape = (*index.shape, table.shape[1])
    if isinstance(index, Value):
        where = prefix(index.trace, "embedding")
        return index.trace.emit(GATHER, (table, index), shape, table.dtype, 0, where=where)
    out = np.empty(shape, table.dtype)
    gather_into(table, index, out, where="")
    return out


def gather_into(table: Any, index: Any, out: Any, *, where: str) -> None:
    """Write the rows of a table that integers name."""
    rows = len(table)
    if (wrong := stray(index, rows)) is not None:
        raise LabelError(
            f"{where}index {wrong} is none of the {rows} rows of the table, which are numbered 0 to {rows - 1}"
        )
    out[...] = table[index]


def scatter_add(g: Any, index: Any, like: Any) -> Any:
    """Rows of zeros in the shape of the table `like`, to which each row of g is added where its integer says."""
    if isinstance(index, Value):
        return index.trace.emit(SCATTER_ADD, (g, index), like.shape, like.dtype, None)
    out = np.empty(like.shape, like.dtype)
    scatter_add_into(g, index, out)
    return out


def scatter_add_into(g: Any, index: Any, out: Any) -> None:
    """Add each row of g up where its integer says. One index a number is several times as fast as one a row."""
    features: int = out.shape[1]
    places = np.add.outer(index * features, np.arange(features))
    out[...] = 0
    np.add.at(out.reshape(-1), places.ravel(), g.ravel())


def pad(g: Any, index: tuple[Any, ...], like: Any) -> Any:
    """Zeros in the shape of `like`, with g in the slice that the index cuts out."""
    if isinstance(g, Value):
        return g.trace.emit(PAD, (g,), like.shape, like.dtype, like.batch_axis, index=index)
    out = np.empty_like(like)
    pad_into(g, out, index=index)
    return out


def pad_into(g: Any, out: Any, *, index: tuple[Any, ...]) -> None:
    """Write zeros, and g in the slice that the index cuts out."""
    out[...] = 0
    out[index] = g


def zeros_like(p: Any) -> Any:
    """Zeros in the shape of a parameter: the cotangent of what the output is not to move."""
    return p.trace.emit(ZERO, (), p.shape, p.dtype, None) if isinstance(p, Value) else np.zeros_like(p)


def zero_into(out: Any) -> None:
    """Write zeros."""
    out[...] = 0


def one_hot(labels: Any, like: Any) -> Any:
    """Rows of zeros with a 1 where the label says, in the shape and dtype of `like`; labels are integers, one a row."""
    if isinstance(labels, Value):
        return labels.trace.emit(ONE_HOT, (labels,), like.shape, like.dtype, 0, where=prefix(labels.trace))
    out = np.empty_like(like)
    one_hot_into(labels, out, where="")
    return out


def one_hot_into(labels: Any, out: Any, *, where: str) -> None:
    """Write rows of zeros with a 1 where the label says."""
    classes = out.shape[1]
    if (wrong := stray(labels, classes)) is not None:
        raise LabelError(
            f"{where}label {wrong} is none of the {classes} classes, which are numbered 0 to {classes - 1}"
        )
    out[...] = 0
    out[np.arange(len(labels)), labels] = 1


def folded(key: Any, data: int | str) -> Any:
    """`fold_in` for keys, and for values that are keys."""
    if isinstance(key, Value):
        return key.trace.emit(FOLD_IN, (key,), key.shape, key.dtype, None, data=data)
    return fold_in(key, data)


def fold_in_into(key: Any, out: Any, *, data: int | str) -> None:
    """Write the child of the key that `data` names."""
    out[...] = fold_in(key, data)


def dropout_mask(key: Any, rate: float, like: Any) -> Any:
    """0 with probability rate, else 1 / (1 - rate), for each element of `like`."""
    if isinstance(like, Value):
        return like.trace.emit(DROPOUT_MASK, (key,), like.shape, like.dtype, like.batch_axis, rate=rate)
    out = np.empty(like.shape, like.dtype)
    dropout_mask_into(key, out, rate=rate)
    return out


def dropout_mask_into(key: Any, out: Any, *, rate: float) -> None:
    """Write the mask of dropout; it is drawn in row-major order, however `out` lies in memory."""
    shape: tuple[int, ...] = out.shape
    draws = generator(key).random(shape, np.float32)
    np.multiply(draws >= rate, 1.0 / (1.0 - rate), out, casting="same_kind")


def nonzero_into(y: Any, mask: Any) -> None:
    """1 where y has any bit set, else 0. Comparing unsigned integers is several times as fast as a mask of bools."""
    np.sign(y.view(mask.dtype), mask)


def relu_grad_into(g: Any, mask: Any, out: Any) -> None:
    """Keep or clear all bits of g."""
    np.multiply(g.view(mask.dtype), mask, out.view(mask.dtype))


NONZERO = Primitive("nonzero", nonzero, elementwise=True, fusible=True)
RELU_GRAD = Primitive("relu_grad", relu_grad_form, elementwise=True)
TOTAL_WEIGHT = Primitive("total_weight", plain(total_weight_into))
GATHER = Primitive("gather", plain(gather_into))
SCATTER_ADD = Primitive("scatter_add", plain(scatter_add_into), sums_rows=True)
PAD = Primitive("pad", plain(pad_into))
ZERO = Primitive("zero", plain(zero_into))
ONE_HOT = Primitive("one_hot", plain(one_hot_into))
FOLD_IN = Primitive("fold_in", plain(fold_in_into))
DROPOUT_MASK = Primitive("dropout_mask", plain(dropout_mask_into))


def concatenate(values: Sequence[Value], axis: int = 0) -> Value:
    """Record the joining of values along an axis."""
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
