"""Each rank's part of every batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from funcnet.errors import OptionError
from funcnet.mpi.ranks import Comm, check_same
from funcnet.options import count, flag
from funcnet.random import Key
from funcnet.training.batches import Batch, Data, Rows, accept_data, minibatches, number_of_rows, rows_of


def shards(data: Data, batch_size: int, key: Key | None, comm: Comm, *, drop_last: bool = False) -> Iterator[Batch]:
    """Batches as `fn.minibatches` makes them, of each the rows of this rank.

    data: arrays of all rows, such as (x, target), on every rank; np.memmap reads no other rows than those needed.
    batch_size: rows of the whole batch, at least one a rank. key: the same on every rank, or None for the order as is.
    Every rank draws the same order and takes its part of each batch; the parts differ by one row at most, and all ranks
    make the same number of steps. Raises ParamsError on every rank where key, batch_size, drop_last or the number of
    rows differ, OptionError where the last batch has fewer rows than there are ranks.

    Example: `for x, target in mpi.shards((x, target), 512, fn.fold_in(key, epoch), comm): ...`.
    """
    size, drop_last = count("shards: batch_size", batch_size), flag("shards: drop_last", drop_last)
    rows = accept_data("shards: data", data, size)
    if not isinstance(rows, Rows):
        raise OptionError("shards takes arrays of all rows, a tuple (input, target), not batches: those are one's own")
    total = number_of_rows(rows)
    check_same(
        comm,
        "shards: the key, batch_size, drop_last and the number of rows",
        (() if key is None else key, size, drop_last, total),
    )
    last = size if drop_last else total % size or size
    if min(last, size, total) < comm.size:
        raise OptionError(
            f"shards: {total} rows in batches of {size} end with a batch of {min(last, total)}, which is less than one "
            f"row for each of {comm.size} ranks: choose another batch_size, or drop_last=True"
        )
    order = minibatches((np.arange(total),), size, key, drop_last=drop_last)
    return _parts(rows, order, comm.rank, comm.size)


def _parts(data: Rows, order: Iterator[Batch], rank: int, ranks: int) -> Iterator[Batch]:
    for (batch,) in order:
        part: npt.NDArray[np.int64] = np.array_split(batch, ranks)[rank]
        yield tuple([rows_of(x, part) for x in data])
