"""The gradient of the whole batch, from those of its parts."""

from __future__ import annotations

from typing import cast

import numpy as np

from funcnet import tree
from funcnet.arrays import Array, is_array
from funcnet.display import shows_call
from funcnet.mpi.ranks import Comm
from funcnet.optimizers.base import Elementwise, Optimizer, P, S, no_state
from funcnet.options import not_negative


@shows_call
def total(comm: Comm) -> Optimizer:
    """Add up the updates of all ranks, each of its part of the batch, by one all-reduce of one flat vector.

    u' = sum_r w_r u_r / sum_r w_r        for a loss with reduction "mean", w_r the weight of rank r's part of the batch
    u' = sum_r u_r                        for a loss with reduction "sum"

    A transform to stand first in a chain: `fn.chain(mpi.total(comm), fn.clip_by_global_norm(1.0), fn.adam(1e-3))`.
    `train_step` passes the weight: the rows, the labels that count, or the sum of the weights of a weighted loss. Parts
    of any sizes so give exactly the gradient of one process that has the whole batch, to rounding. In a loop of your
    own pass it as `update(gradient, state, params, weight=w)`; without it updates are added up.
    All ranks get the same bits, so params that begin equal stay equal. Where all weights are 0 the update is 0.
    Every rank has to make the same number of steps: see `shards` and `abort_on_error`. A batch_norm takes the
    statistics of its own rank's rows.
    """
    return Optimizer(no_state, Elementwise(_total, comm))


def _total(comm: Comm, updates: P, state: S, params: P | None = None, *, weight: float | None = None) -> tuple[P, S]:
    if is_array(updates):
        return cast(P, _reduced(comm, updates, weight)), state
    vector, unravel = tree.ravel(updates)
    return unravel(_reduced(comm, vector, weight)), state


def _reduced(comm: Comm, u: Array, weight: float | None) -> Array:
    """The sum over ranks; with weights the mean."""
    own = 1.0 if weight is None else not_negative("total: weight", weight)
    parts = np.empty(u.size + 1, u.dtype)  # the weights are added up by the same call
    np.multiply(u.ravel(), own, parts[:-1])
    parts[-1] = own
    sums = np.empty_like(parts)
    comm.Allreduce(parts, sums)
    if weight is not None and sums[-1]:
        sums[:-1] /= sums[-1]
    return sums[:-1].reshape(u.shape)
