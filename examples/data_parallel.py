"""One training on several processes: a step alone, and with its batch shared out among the ranks, for three networks.

    mpiexec -n 2 python examples/data_parallel.py

It needs mpi4py and an MPI, for instance: pip install -e ".[mpi]" mpich
"""

import common  # isort: skip  (sets the threads before NumPy is imported)

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import funcnet as fn
from funcnet import mpi, tree

NETWORKS = [([64, 128, 10], 64), ([784, 128, 10], 128), ([784, 512, 512, 10], 512)]  # units, rows of a batch
HEAD = ["network", "params", "batch", "alone, ms", "shared, ms", "speed-up", "all-reduce, ms"]


def network(units: list[int]) -> fn.Layer[Any]:
    """Linear layers of so many units, tanh between them."""
    first, *others = [fn.linear(n) for n in units[1:]]
    return fn.serial(first, *(part for layer in others for part in (fn.tanh(), layer)))


class Training:
    """Steps on one batch, by all ranks or by one."""

    def __init__(self, units: list[int], rows: int, optimizer: fn.Optimizer, seed: int) -> None:
        rng = np.random.default_rng(seed)
        net = network(units)
        self.step = fn.train_step(net, fn.mse(), optimizer)
        self.params, _ = net.init(fn.key(seed), (units[0],))
        self.state = self.step.init(self.params)
        self.batch = [rng.normal(size=(rows, n)).astype(np.float32) for n in (units[0], units[-1])]

    def __call__(self) -> None:
        """Make a step."""
        self.params, self.state, _ = self.step(self.params, self.state, *self.batch)


# This was all. Below: the clock and the table.


def shortest(function: Callable[[], object], rounds: int, begin: Callable[[], object]) -> float:
    """The shortest of many calls, in ms."""
    times: list[float] = []
    for _ in range(rounds):
        begin()
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def wait_asleep(comm: Any) -> None:
    """Wait for all ranks; MPI's own barrier would keep a core busy meanwhile."""
    request = comm.Ibarrier()
    while not request.Test():
        time.sleep(0.002)


def measure(comm: Any, units: list[int], rows: int, rounds: int, seed: int) -> list[str]:
    """A row of the table."""
    alone = 0.0
    if comm.rank == 0:
        alone = shortest(Training(units, rows, fn.adam(1e-3), seed), rounds, lambda: None)
    wait_asleep(comm)
    own = len(np.array_split(np.arange(rows), comm.size)[comm.rank])
    training = Training(units, own, fn.chain(mpi.total(comm), fn.adam(1e-3)), seed)
    shared = max(comm.allgather(shortest(training, rounds, comm.Barrier)))
    mpi.check_same(comm, "params", training.params)
    vector, _ = tree.ravel(training.params)
    sums = np.empty_like(vector)
    reduce = max(comm.allgather(shortest(lambda: comm.Allreduce(vector, sums), rounds, comm.Barrier)))
    size = f"{vector.nbytes / 1e6:.2f} MB"
    times = [f"{alone:.3f}", f"{shared:.3f}", f"{alone / shared:.2f}", f"{reduce:.3f}"]
    return ["-".join(map(str, units)), size, str(rows), *times]


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(
        description="Time a training step alone, and shared among the ranks of an MPI program."
    )
    options.add_argument(
        "--rounds", type=common.at_least_one, default=200, help="steps that are timed, alone and shared (200)"
    )
    options.add_argument("--seed", type=common.not_negative, default=0, help="seed of all random numbers (0)")
    chosen = options.parse_args()
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    with mpi.abort_on_error(comm):
        table = [measure(comm, units, rows, chosen.rounds, chosen.seed) for units, rows in NETWORKS]
    if comm.rank == 0:
        print(f"{comm.size} rank{'s' * (comm.size > 1)}")
        for row in [HEAD, ["---"] * len(HEAD), *table]:
            print("|", " | ".join(row), "|")


if __name__ == "__main__":
    main()
