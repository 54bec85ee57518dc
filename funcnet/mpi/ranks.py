"""The ranks of a communicator: whether they hold the same, and that none waits for one that is gone."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np

from funcnet import tree
from funcnet.errors import ParamsError
from funcnet.options import positive

PAUSE = 0.01  # seconds between two looks at whether the other ranks are done
PASSED_ON = 0.5  # seconds for mpiexec to pass on what was printed, before it is told to end all


class Comm(Protocol):
    """A communicator of mpi4py, such as `MPI.COMM_WORLD`: the part of its methods that is used here."""

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        ...

    @property
    def size(self) -> int:
        """How many processes there are."""
        ...

    def Allreduce(self, sendbuf: Any, recvbuf: Any) -> None:  # noqa: N802, D102 (as MPI calls it)
        ...

    def allgather(self, sendobj: Any) -> list[Any]:  # noqa: D102
        ...

    def Dup(self) -> Any:  # noqa: N802, D102
        ...

    def Abort(self, errorcode: int = 0) -> Any:  # noqa: N802, D102
        ...


def check_same(comm: Comm, name: str, values: object) -> None:
    """Raise ParamsError on every rank unless all ranks hold the same tree: structure, shapes, dtypes and bits.

    name: of the values, for the message. Every rank has to call it, at the same point. A tree of params is hashed, not
    sent. Call it after `net.init`, with the params, and now and then during training: it costs a few reads of them.

    Example: `mpi.check_same(comm, "params", params)`.
    """
    digest = blake2b(digest_size=16)
    for path, leaf in tree.leaves_with_path(values):
        array = np.asarray(leaf, order="C")
        digest.update(f"{path} {array.dtype} {array.shape} ".encode())
        digest.update(array.tobytes())
    found: list[bytes] = comm.allgather(digest.digest())
    others = [rank for rank, theirs in enumerate(found) if theirs != found[0]]
    if others:
        ranks = f"rank{'s' * (len(others) > 1)} {', '.join(map(str, others))}"
        raise ParamsError(
            f"{name}: {ranks} of {comm.size} hold other values than rank 0: give all the same key and data, or send "
            "those of rank 0 to all, comm.bcast(values)"
        )


@contextmanager
def abort_on_error(comm: Comm, *, timeout: float = 60.0) -> Generator[None]:
    """End all ranks where one of them fails; MPI by itself leaves the others waiting for it for ever.

    An exception in the block, SystemExit and KeyboardInterrupt too, is printed, and all ranks are aborted with error
    code 1. A rank that comes to the end of the block waits there for the others; if they have not come after `timeout`
    seconds, because they still wait for the rank that has left its loop too early, all are aborted too. So evaluate and
    save behind the block, or give more time. Every rank has to enter it.

    Example: `with mpi.abort_on_error(MPI.COMM_WORLD): train()`.
    """
    limit = positive("abort_on_error: timeout", timeout)
    apart = comm.Dup()  # or waiting here would be taken for a call of the others
    try:
        yield
    except BaseException:
        _abort(comm, f"stopped by an exception\n{traceback.format_exc()}")
        raise
    waiting = apart.Ibarrier()
    deadline = time.monotonic() + limit
    while not waiting.Test():
        if time.monotonic() > deadline:
            _abort(comm, f"came to the end, but {limit:g} s later not all others had: do all make as many steps?")
        time.sleep(PAUSE)
    apart.Free()


def _abort(comm: Comm, reason: str) -> None:
    """End all ranks."""
    sys.stderr.write(f"funcnet.mpi: rank {comm.rank} of {comm.size} {reason}\n")
    sys.stderr.flush()
    time.sleep(PASSED_ON)
    comm.Abort(1)
