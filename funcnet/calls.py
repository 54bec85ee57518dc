"""What layers call beyond NumPy's own ufuncs: each works on arrays, and on values, where it is recorded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from funcnet.arrays import stray
from funcnet.errors import LabelError, WeightError
from funcnet.random import fold_in, generator
from funcnet.tracing import Trace, Value


def inner(a: Any, b: Any) -> Any:
    """Sum of a_i b_i over all elements, for arrays and for values."""
    if isinstance(a, Value):
        return a.trace.emit(inner_into, (a, b), (), a.dtype, None)
    return np.dot(a.ravel(), b.ravel())


def gate(g: Any, y: Any) -> Any:
    """The elements of g where y, which is nowhere negative, is not zero; zero elsewhere."""
    bits = np.dtype(f"u{y.dtype.itemsize}")
    if isinstance(y, Value):
        bit = y.trace.emit(nonzero_into, (y,), y.shape, bits, y.batch_axis)
        return y.trace.emit(gate_into, (g, bit), y.shape, y.dtype, y.batch_axis)
    mask, out = np.empty(y.shape, bits), np.empty_like(g)
    nonzero_into(y, mask)
    gate_into(g, mask, out)
    return out


def total_weight(w: Any) -> Any:
    """Sum of all weights, which must not be 0."""
    if isinstance(w, Value):
        return w.trace.emit(partial(total_weight_into, prefix(w.trace)), (w,), (), w.dtype, None)
    out = np.empty((), w.dtype)
    total_weight_into("", w, out)
    return out[()]


def total_weight_into(where: str, w: Any, out: Any) -> None:
    """Write the sum of all weights."""
    np.add.reduce(w, None, None, out)
    if out == 0:
        raise WeightError(f"{where}the {len(w)} weights add up to 0, so the batch has no mean: leave such a batch out")


def prefix(trace: Trace, kind: str = "") -> str:
    """How an error that is raised when the program runs tells the operator: by then nobody else knows it."""
    where = trace.scope or kind
    return f"{where}: " if where else ""


def take(table: Any, index: Any) -> Any:
    """The rows of a table that integers name."""
    shape = (*index.shape, table.shape[1])
    if isinstance(index, Value):
        where = prefix(index.trace, "embedding")
        return index.trace.emit(partial(take_into, where), (table, index), shape, table.dtype, 0)
    out = np.empty(shape, table.dtype)
    take_into("", table, index, out)
    return out


def take_into(where: str, table: Any, index: Any, out: Any) -> None:
    """Write the rows of a table that integers name."""
    rows = len(table)
    if (wrong := stray(index, rows)) is not None:
        raise LabelError(
            f"{where}index {wrong} is none of the {rows} rows of the table, which are numbered 0 to {rows - 1}"
        )
    out[...] = table[index]


def put_back(g: Any, index: Any, like: Any) -> Any:
    """Rows of zeros in the shape of the table `like`, to which each row of g is added where its integer says."""
    if isinstance(index, Value):
        return index.trace.emit(put_back_into, (g, index), like.shape, like.dtype, None)
    out = np.empty(like.shape, like.dtype)
    put_back_into(g, index, out)
    return out


def put_back_into(g: Any, index: Any, out: Any) -> None:
    """Add each row of g up where its integer says. One index a number is several times as fast as one a row."""
    features: int = out.shape[1]
    places = np.add.outer(index * features, np.arange(features))
    out[...] = 0
    np.add.at(out.reshape(-1), places.ravel(), g.ravel())


def pad(g: Any, index: tuple[Any, ...], like: Any) -> Any:
    """Zeros in the shape of `like`, with g in the slice that the index cuts out."""
    if isinstance(g, Value):
        return g.trace.emit(partial(pad_into, index), (g,), like.shape, like.dtype, like.batch_axis)
    out = np.empty_like(like)
    pad_into(index, g, out)
    return out


def pad_into(index: tuple[Any, ...], g: Any, out: Any) -> None:
    """Write zeros, and g in the slice that the index cuts out."""
    out[...] = 0
    out[index] = g


def zeros_like(p: Any) -> Any:
    """Zeros in the shape of a parameter: the cotangent of what the output is not to move."""
    return p.trace.emit(zero_into, (), p.shape, p.dtype, None) if isinstance(p, Value) else np.zeros_like(p)


def zero_into(out: Any) -> None:
    """Write zeros."""
    out[...] = 0


def one_hot(labels: Any, like: Any) -> Any:
    """Rows of zeros with a 1 where the label says, in the shape and dtype of `like`; labels are integers, one a row."""
    if isinstance(labels, Value):
        return labels.trace.emit(partial(one_hot_into, prefix(labels.trace)), (labels,), like.shape, like.dtype, 0)
    out = np.empty_like(like)
    one_hot_into("", labels, out)
    return out


def one_hot_into(where: str, labels: Any, out: Any) -> None:
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
        return key.trace.emit(partial(fold_into, data), (key,), key.shape, key.dtype, None)
    return fold_in(key, data)


def fold_into(data: int | str, key: Any, out: Any) -> None:
    """Write the child of the key that `data` names."""
    out[...] = fold_in(key, data)


def dropout_mask(key: Any, rate: float, like: Any) -> Any:
    """0 with probability rate, else 1 / (1 - rate), for each element of `like`."""
    if isinstance(like, Value):
        return like.trace.emit(partial(dropout_mask_into, rate), (key,), like.shape, like.dtype, like.batch_axis)
    out = np.empty(like.shape, like.dtype)
    dropout_mask_into(rate, key, out)
    return out


def dropout_mask_into(rate: float, key: Any, out: Any) -> None:
    """Write the mask of dropout; it is drawn in row-major order, however `out` lies in memory."""
    shape: tuple[int, ...] = out.shape
    draws = generator(key).random(shape, np.float32)
    np.multiply(draws >= rate, 1.0 / (1.0 - rate), out, casting="same_kind")


def elementwise_call(function: Callable[[Any, Any], Any], x: Any) -> Any:
    """Call `function(x, out)`, which treats every element alike but is no ufunc, on an array or on a value."""
    if isinstance(x, Value):
        return x.trace.emit(function, (x,), x.shape, x.dtype, x.batch_axis)
    out = np.empty_like(x)
    function(x, out)
    return out


def nonzero_into(y: Any, mask: Any) -> None:
    """1 where y has any bit set, else 0. Comparing unsigned integers is several times as fast as a mask of bools."""
    np.sign(y.view(mask.dtype), mask)


def gate_into(g: Any, mask: Any, out: Any) -> None:
    """Keep or clear all bits of g."""
    np.multiply(g.view(mask.dtype), mask, out.view(mask.dtype))


def inner_into(a: Any, b: Any, out: Any) -> None:
    """Sum of a_i b_i over all elements."""
    out[...] = np.vdot(a, b)
