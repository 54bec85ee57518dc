"""Mini-batches: of arrays, in an order drawn from a key, or as an iterable gives them.

Data are a tuple of arrays, (input, target) or more of each, np.memmap too, or any iterable of such tuples, the batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from typing_extensions import TypeIs

from funcnet.arrays import count, flag, is_array, is_tuple, refuse_mask
from funcnet.errors import OptionError, ShapeError
from funcnet.random import Key, generator

Batch: TypeAlias = tuple[npt.NDArray[Any], ...]
"""Inputs of the network, then targets, all with the same number of rows."""
Data: TypeAlias = Batch | Iterable[Any]
"""Arrays of all rows, or an iterable of batches."""


def minibatches(
    data: Data, batch_size: int | None = None, key: Key | None = None, *, drop_last: bool = False
) -> Iterator[Batch]:
    """Batches of rows, in an order drawn from the key; without one in their own order.

    The last batch is smaller where batch_size does not divide the number of rows. That costs a step a second program,
    made once; drop_last leaves the batch out. An iterable of batches, for which there is no batch_size, is handed on.
    Raises OptionError, ShapeError for arrays of different lengths.

    Example: `for x, target in fn.minibatches((x, target), 32, fn.fold_in(key, epoch)): ...`.
    """
    drop_last = flag("drop_last", drop_last)
    if not are_arrays(data):
        check_iterable("data", data)
        if batch_size is not None:
            raise OptionError("batch_size is for arrays, a tuple (input, target); these data are batches already")
        return map(accept_batch, data)
    if batch_size is None:
        raise OptionError("batch_size is needed for data in arrays: for instance batch_size=32")
    for i, x in enumerate(data):
        refuse_mask(f"data: array {i}", x)
    rows = {len(x) if x.ndim else 0 for x in data}
    if len(rows) > 1 or 0 in rows:
        shapes = ", ".join(str(x.shape) for x in data)
        raise ShapeError(f"data of shapes {shapes}: axis 0 is the rows, at least one and the same number for all")
    size, stop = count("batch_size", batch_size), rows.pop()
    if drop_last and stop < size:
        raise OptionError(f"drop_last leaves no batch of {size} from {stop} rows: make batch_size smaller")
    order = None if key is None else generator(key).permutation(stop)
    return _minibatches(data, stop - stop % size if drop_last else stop, size, order)


def _minibatches(data: Batch, stop: int, size: int, order: npt.NDArray[np.int64] | None) -> Iterator[Batch]:
    arrays = [np.asarray(x) for x in data]  # a view: of np.memmap the rows of a batch alone are read
    for start in range(0, stop, size):
        part = slice(start, start + size)
        yield tuple([x[part] for x in arrays] if order is None else [x.take(order[part], axis=0) for x in arrays])


def check_iterable(name: str, data: object) -> None:
    """Refuse what can hold no batches."""
    if not hasattr(data, "__iter__"):
        raise OptionError(f"{name}: a tuple of arrays (input, target) or an iterable of such batches, not {data!r:.60}")


def are_arrays(data: object) -> TypeIs[Batch]:
    """Whether data are a tuple of arrays."""
    return is_tuple(data) and bool(data) and all(map(is_array, data))


def accept_batch(batch: Any) -> Batch:
    """A batch as a tuple."""
    if not isinstance(batch, (tuple, list)) or not batch:
        raise OptionError(f"a batch, and data in arrays, is a tuple of arrays (input, target), not {batch!r:.60}")
    return tuple(cast("list[Any]", batch))
