"""What layers call beyond NumPy's own ufuncs: each works on arrays, and on values, where it is recorded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from funcnet.errors import LabelError
from funcnet.random import fold_in
from funcnet.tracing import Value


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


def one_hot(labels: Any, like: Any) -> Any:
    """Rows of zeros with a 1 where the label says, in the shape and dtype of `like`; labels are integers, one a row."""
    if isinstance(labels, Value):
        return labels.trace.emit(one_hot_into, (labels,), like.shape, like.dtype, 0)
    out = np.empty_like(like)
    one_hot_into(labels, out)
    return out


def one_hot_into(labels: Any, out: Any) -> None:
    """Write rows of zeros with a 1 where the label says."""
    classes = out.shape[1]
    if len(labels) and (labels.min() < 0 or labels.max() >= classes):
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise LabelError(f"label {wrong} is none of the {classes} classes, which are numbered 0 to {classes - 1}")
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
