"""One training over several processes, by MPI: each takes a part of every batch, and their gradients are added up.

    step = fn.train_step(net, loss, fn.chain(mpi.total(comm), fn.adam(1e-3)))
    with mpi.abort_on_error(comm):
        for x, target in mpi.shards(data, batch_size, key, comm):
            params, state, loss = step(params, state, x, target)

It needs mpi4py, the extra `mpi`, and nothing else in funcnet imports it. Imports training and all below it.
"""

from __future__ import annotations

from importlib.util import find_spec

from funcnet.errors import MissingPackageError

if find_spec("mpi4py") is None:
    raise MissingPackageError("funcnet.mpi needs the package mpi4py: pip install 'funcnet[mpi]'")

from funcnet.mpi.ranks import Comm, abort_on_error, check_same
from funcnet.mpi.reduction import total
from funcnet.mpi.sharding import shards

__all__ = ["Comm", "abort_on_error", "check_same", "shards", "total"]
