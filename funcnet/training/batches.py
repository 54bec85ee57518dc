"""Data of the user, made arrays once, and mini-batches of their rows.

Data are one of two things. Arrays of all rows: a tuple or list such as (x, target), whose items are arrays, DataFrames,
Series, lists of numbers, sparse matrices, np.memmap, or anything else with `__array__`; or one such array alone.
Or batches: any iterable of such tuples. A list is batches where its items are tuples, arrays of all rows where they
are arrays with the same number of rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from typing_extensions import TypeIs

from funcnet.arrays import accept_array, is_array, refuse_mask
from funcnet.calling import DATA, checks_call
from funcnet.errors import OptionError, ShapeError
from funcnet.options import brief, count, flag
from funcnet.random import Key, generator

Batch: TypeAlias = tuple[npt.NDArray[Any], ...]
"""Inputs of the network, then targets, all with the same number of rows."""
Data: TypeAlias = Batch | Iterable[Any]
"""Arrays of all rows, or an iterable of batches."""


class Rows(tuple[Any, ...]):
    """Arrays of all rows: each an ndarray or a sparse matrix in rows, all with the same number of rows."""

    __slots__ = ()


def refuse_swapped_data(kind: str, params: Any, data: Any, order: str) -> None:
    """Data in the place of the params, and params in that of the data."""
    if _are_arrays(params) and not _are_arrays(data) and isinstance(data, (dict, tuple)):
        raise OptionError(f"{kind}: the params are a {type(params).__name__} of arrays, as data are: {order}")


def _are_arrays(x: Any) -> bool:
    return type(x) in (tuple, list) and bool(x) and all(map(is_array, x))


@checks_call
def minibatches(
    data: Data, batch_size: int | None = None, key: Key | None = None, *, drop_last: bool = False
) -> Iterator[Batch]:
    """Batches of rows, in an order drawn from the key; without one in their own order.

    data: arrays of all rows, such as (x, target), or batches, which are passed on as they are, without batch_size.
    A tuple or list of arrays, DataFrames, Series, lists, sparse matrices is arrays of all rows; a list of tuples is
    batches. Of an array in any memory layout, and of np.memmap, only the rows of the batch are read. A sparse
    matrix becomes dense batch by batch; its integers become floats.
    The last batch is smaller where batch_size does not divide the number of rows. That costs a step a second program,
    made once; drop_last leaves the batch out.
    Raises OptionError for bad options, KeyTypeError for anything but a key, DTypeError for anything but numbers,
    ShapeError for arrays of different lengths.

    Example: `for x, target in fn.minibatches((x, target), 32, fn.fold_in(key, epoch)): ...`.
    """
    drop_last = flag("drop_last", drop_last)
    given = accept_data("data", data, batch_size)
    if not isinstance(given, Rows):
        if batch_size is not None:
            fix = ": several inputs are one tuple with the target, (x, lengths, target)" * isinstance(given, tuple)
            raise OptionError(f"batch_size is for arrays, a tuple (input, target); these data are batches already{fix}")
        return map(accept_batch, given)
    if batch_size is None:
        raise OptionError("batch_size is needed for data in arrays: for instance batch_size=32")
    if np.ndim(cast("Any", batch_size)):
        raise OptionError(f"batch_size is {brief(batch_size)}: {DATA}")
    size, stop = count("batch_size", batch_size), number_of_rows(given)
    if drop_last and stop < size:
        raise OptionError(f"drop_last leaves no batch of {size} from {stop} rows: make batch_size smaller")
    order = None if key is None else generator(key).permutation(stop)
    return _minibatches(given, stop - stop % size if drop_last else stop, size, order)


def _minibatches(data: Rows, stop: int, size: int, order: npt.NDArray[np.int64] | None) -> Iterator[Batch]:
    for start in range(0, stop, size):
        part = slice(start, start + size)
        yield tuple([rows_of(x, part if order is None else order[part]) for x in data])


def rows_of(x: Any, which: slice | npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """These rows; no other row is read."""
    if not is_array(x):
        return _dense(x[which])
    if isinstance(which, slice):
        return np.asarray(x[which])
    if x.flags.c_contiguous and x.flags.aligned:
        return x.take(which, axis=0)  # which copies the whole of any other array
    return np.ascontiguousarray(x[which])


def whole_or_batches(data: Data, batch_size: int | None) -> Iterator[Batch]:
    """Batches in their own order; arrays as one batch where no size is given."""
    given = accept_data("data", data, batch_size)
    return minibatches(given, number_of_rows(given) if batch_size is None and isinstance(given, Rows) else batch_size)


def number_of_rows(data: Rows) -> int:
    """How many rows the arrays have."""
    return int(data[0].shape[0])


def accept_data(name: str, data: Any, batch_size: int | None = None) -> Rows | Iterable[Any]:
    """The data as arrays of all rows, made once; an iterable of batches as it is."""
    if isinstance(data, Rows):
        return data
    given = cast("list[Any]", data)
    items: tuple[Any, ...] = (data,) if _is_given_array(data) else ()
    if isinstance(data, (tuple, list)) and given and all(map(_is_column, given)):
        items = tuple(given)
    if not items:
        if not hasattr(given, "__iter__") or isinstance(data, (str, bytes, Mapping, Set)):
            what = "a dict: give a tuple of its arrays" if isinstance(data, dict) else f"{data!r:.60}"
            raise OptionError(f"{name}: a tuple of arrays (input, target) or an iterable of such batches, not {what}")
        return given
    columns = Rows(_column(f"{name}: array {i}", item) for i, item in enumerate(items))
    rows = {x.shape[0] if len(x.shape) else 0 for x in columns}
    if len(rows) > 1 or 0 in rows:
        if isinstance(data, list) and batch_size is None and 0 not in rows:
            return [(x,) for x in columns]
        shapes = ", ".join(str(x.shape) for x in columns)
        raise ShapeError(f"{name} of shapes {shapes}: axis 0 is the rows, at least one and the same number for all")
    return columns


def can_be_read_again(data: object) -> bool:
    """Whether data can be read a second time; an iterator is used up by the first."""
    return isinstance(data, Rows) or iter(cast("Iterable[Any]", data)) is not data


def is_sparse(x: object) -> TypeIs[Any]:
    """Whether this is a sparse matrix or array of SciPy, known by its methods."""
    return hasattr(x, "toarray") and hasattr(x, "tocsr")


def _is_given_array(x: object) -> bool:
    """Whether this is an array or can become one by itself."""
    return is_array(x) or is_sparse(x) or (hasattr(x, "__array__") and not isinstance(x, type))


def _is_column(x: object) -> bool:
    """Whether this can be one of several arrays of all rows: an array, or lists of numbers without arrays in them."""
    if not isinstance(x, (list, tuple)):
        return _is_given_array(x)
    items = cast("list[Any]", x)
    return (
        bool(items)
        and all(isinstance(item, (list, tuple)) or np.isscalar(item) for item in items)
        and not any(
            _is_given_array(part) and not np.isscalar(part)
            for item in items
            if isinstance(item, (list, tuple))
            for part in cast("list[Any]", item)
        )
    )


def _column(name: str, x: Any) -> Any:
    """An ndarray, of np.memmap a view; or a sparse matrix whose rows can be taken."""
    if is_sparse(x):
        return x.tocsr()
    refuse_mask(name, x)
    if is_array(x) and not isinstance(x, np.matrix):
        return np.asarray(x)
    return accept_array(name, x, "fiub")


def _dense(x: Any) -> npt.NDArray[Any]:
    """The rows of a sparse matrix as an array of floats."""
    array: npt.NDArray[Any] = x.toarray()
    return array if array.dtype.kind not in "biu" else array.astype(np.float64)


def accept_batch(batch: Any) -> Batch:
    """A batch as a tuple of arrays."""
    if _is_given_array(batch):
        batch = (batch,)
    if not isinstance(batch, (tuple, list)) or not batch:
        raise OptionError(f"a batch, and data in arrays, is a tuple of arrays (input, target), not {batch!r:.60}")
    items = cast("list[Any]", batch)
    return tuple(
        x if type(x) is np.ndarray else _dense(x) if is_sparse(x) else _column(f"array {i} of a batch", x)
        for i, x in enumerate(items)
    )
