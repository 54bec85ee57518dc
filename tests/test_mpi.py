"""Training over several processes, really started by mpiexec; and what each rank does, with ranks that are threads."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funcnet as fn
from funcnet import tree
from tests.support.budget import examples

ROOT = Path(__file__).parents[1]
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
there = importlib.util.find_spec("mpi4py") is not None
mpi: Any = importlib.import_module("funcnet.mpi") if there else None
needs_mpi4py = pytest.mark.skipif(not there, reason="mpi4py is not installed")
ranks = pytest.mark.parametrize("n", [1, 2, 4])
SETTINGS = {  # what Open MPI asks for where root runs more ranks than there are cores
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}

START = """
import json, os, sys, time
import numpy as np
import funcnet as fn
from funcnet import mpi, tree
from mpi4py import MPI

comm = MPI.COMM_WORLD
rng = np.random.default_rng(0)
x = rng.normal(size=(103, 4)).astype(np.float32)
target = rng.normal(size=(103, 2)).astype(np.float32)
weights = rng.uniform(0.5, 2.0, size=103).astype(np.float32)
labels = rng.integers(0, 2, 103)
net = fn.serial(fn.linear(16), fn.tanh(), fn.linear(2))
params, _ = net.init(fn.key(0), (4,))

def train(loss, *data, epochs=3, key=fn.key(1)):
    global params
    optimizer = fn.chain(mpi.total(comm), fn.clip_by_global_norm(1.0), fn.adam(1e-2))
    step = fn.train_step(net, loss, optimizer)
    state = step.init(params)
    for epoch in range(epochs):
        for batch in mpi.shards(data, 32, fn.fold_in(key, epoch), comm):
            params, state, _ = step(params, state, *batch)
            yield params
"""


def launch(n: int, program: str, *, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    """The program on n ranks."""
    return started(n, ["-c", START + dedent(program)], timeout)


def started(n: int, arguments: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Python with these arguments on n ranks; a run that hangs fails."""
    if not there or MPIEXEC is None:
        pytest.skip("mpi4py or mpiexec is not installed")
    return subprocess.run(
        [MPIEXEC, "-n", str(n), sys.executable, "-W", "error", *arguments],
        env={**os.environ, **SETTINGS, "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT))},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


LOSSES: dict[str, tuple[Callable[[], fn.Layer[Any, Any]], str, list[str]]] = {
    "mean": (fn.mse, "fn.mse()", ["target"]),
    "sum": (lambda: fn.mse(reduction="sum"), "fn.mse(reduction='sum')", ["target"]),
    "weighted": (lambda: fn.mse(weighted=True), "fn.mse(weighted=True)", ["target", "weights"]),
    "ignored": (
        lambda: fn.softmax_cross_entropy(ignore_label=1),
        "fn.softmax_cross_entropy(ignore_label=1)",
        ["labels"],
    ),
}


def alone(loss: fn.Layer[Any, Any], names: list[str]) -> list[float]:
    """The losses over all rows after each step of one process."""
    space: dict[str, Any] = {}
    exec(START.replace("from mpi4py import MPI", "").replace("from funcnet import mpi,", "from funcnet import")
         .replace("comm = MPI.COMM_WORLD", ""), space)  # fmt: skip
    net, params = space["net"], space["params"]
    data = (space["x"], *(space[name] for name in names))
    step = fn.train_step(net, loss, fn.chain(fn.clip_by_global_norm(1.0), fn.adam(1e-2)))
    state = step.init(params)
    found: list[float] = []
    for epoch in range(3):
        for batch in fn.minibatches(data, 32, fn.fold_in(fn.key(1), epoch)):
            params, state, _ = step(params, state, *batch)
            found.append(float(fn.evaluate(net, loss, params, data)))
    return found


@pytest.mark.slow
@ranks
@pytest.mark.parametrize("kind", LOSSES)
def test_training_is_that_of_one_process(n: int, kind: str) -> None:
    make, text, names = LOSSES[kind]
    done = launch(
        n,
        f"""
        found, data = [], (x, {", ".join(names)})
        with mpi.abort_on_error(comm):
            for params in train({text}, *data):
                mpi.check_same(comm, "params", params)
                found.append(float(fn.evaluate(net, {text}, params, data)))
        if comm.rank == 0:
            print(json.dumps(found))
        """,
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout), alone(make(), names), rtol=1e-6)


FAILURES: dict[str, tuple[str, str]] = {
    "a rank raises": (
        """
        with mpi.abort_on_error(comm):
            for i, params in enumerate(train(fn.mse(), x, target)):
                if i == 5 and comm.rank == comm.size - 1:
                    raise ValueError("on this rank alone")
        """,
        "ValueError: on this rank alone",
    ),
    "a rank is killed": (
        """
        with mpi.abort_on_error(comm):
            for i, params in enumerate(train(fn.mse(), x, target)):
                if i == 5 and comm.rank == comm.size - 1:
                    os.kill(os.getpid(), 9)
        """,
        "",
    ),
    "params differ": (
        """
        params, _ = net.init(fn.key(comm.rank), (4,))
        with mpi.abort_on_error(comm):
            mpi.check_same(comm, "params", params)
        """,
        "ParamsError: params: rank",
    ),
    "keys differ": (
        """
        with mpi.abort_on_error(comm):
            for params in train(fn.mse(), x, target, key=fn.key(comm.rank)):
                pass
        """,
        "ParamsError: shards: the key, ",
    ),
    "the number of rows differs": (
        """
        with mpi.abort_on_error(comm):
            for params in train(fn.mse(), x[comm.rank :], target[comm.rank :]):
                pass
        """,
        "ParamsError: shards: the key, ",
    ),
    "a rank breaks off": (
        """
        with mpi.abort_on_error(comm, timeout=1.0):
            for i, params in enumerate(train(fn.mse(), x, target)):
                if i == 5 and comm.rank == comm.size - 1:
                    break
        """,
        "came to the end, but 1 s later not all others had",
    ),
    "a rank exits": (
        """
        with mpi.abort_on_error(comm):
            for i, params in enumerate(train(fn.mse(), x, target)):
                if i == 5 and comm.rank == comm.size - 1:
                    sys.exit(0)
        """,
        "SystemExit",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("kind", FAILURES)
def test_every_failure_ends_all_ranks(n: int, kind: str) -> None:
    program, message = FAILURES[kind]
    done = launch(n, program)
    assert done.returncode != 0
    assert message in done.stderr


@pytest.mark.slow
def test_the_example_prints_a_row_for_each_network() -> None:
    done = started(2, [str(ROOT / "examples" / "data_parallel.py"), "--rounds", "2"], timeout=120.0)
    assert done.returncode == 0, done.stderr
    title, _, _, *rows = done.stdout.splitlines()
    assert title == "2 ranks"
    assert [row.split(" | ")[0] for row in rows] == ["| 64-128-10", "| 784-128-10", "| 784-512-512-10"]


class Ranks:
    """A communicator whose ranks are threads, for what needs no processes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.given: list[Any] = [None] * size
        self.barrier = threading.Barrier(size, timeout=30.0)

    def run(self, function: Callable[[Any], Any]) -> list[Any]:
        """What the function returns on each rank."""
        with ThreadPoolExecutor(self.size) as pool:
            return [*pool.map(function, [Rank(self, rank) for rank in range(self.size)])]


class Rank:
    """One of them."""

    def __init__(self, all_ranks: Ranks, rank: int) -> None:
        self.all, self.rank, self.size = all_ranks, rank, all_ranks.size

    def allgather(self, value: Any) -> list[Any]:
        self.all.given[self.rank] = value
        self.all.barrier.wait()
        found = [*self.all.given]
        self.all.barrier.wait()
        return found

    def Allreduce(self, mine: Any, out: Any) -> None:  # noqa: N802
        out[...] = sum(self.allgather(mine.copy()))


@needs_mpi4py
@settings(max_examples=examples(30))
@given(st.integers(1, 5), st.integers(1, 40), st.integers(1, 40), st.booleans(), st.booleans())
def test_the_parts_of_a_batch_make_the_batch(size: int, rows: int, batch: int, drop: bool, drawn: bool) -> None:
    x, key = np.arange(rows)[:, None], fn.key(3) if drawn else None

    def of(comm: Any) -> Any:
        try:
            return [part[0].ravel() for part in mpi.shards((x,), batch, key, comm, drop_last=drop)]
        except fn.OptionError as error:
            return str(error)

    found = Ranks(size).run(of)
    if isinstance(found[0], str):
        assert found == [found[0]] * size
        least = batch if drop else rows % batch or batch
        assert least < size or rows < batch
        return
    whole = [b[0].ravel() for b in fn.minibatches((x,), batch, key, drop_last=drop)]
    assert [np.concatenate(parts).tolist() for parts in zip(*found, strict=True)] == [b.tolist() for b in whole]
    sizes = [[len(part) for part in parts] for parts in zip(*found, strict=True)]
    assert all(max(s) - min(s) <= 1 and min(s) > 0 for s in sizes)


@needs_mpi4py
@pytest.mark.parametrize("weights", [[1.0, 3.0, 2.0], [0.0, 5.0, 0.0], [0.0, 0.0, 0.0], [None, None, None]])
@pytest.mark.parametrize("form", ["vector", "tree", "matrix"])
def test_total_is_the_weighted_mean_or_the_sum(weights: list[float | None], form: str) -> None:
    u = np.random.default_rng(0).normal(size=(3, 4))
    shapes: dict[str, Any] = {
        "vector": lambda v: v,
        "tree": lambda v: {1: v[:1], 2: (v[1:],)},
        "matrix": lambda v: v.reshape(2, 2),
    }

    def of(comm: Any) -> Any:
        optimizer = mpi.total(comm)
        given = shapes[form](u[comm.rank])
        updates, _ = optimizer.update(given, optimizer.init(given), None, weight=weights[comm.rank])
        return updates

    found = Ranks(3).run(of)
    w = np.array([1.0 if weight is None else weight for weight in weights])
    expected = (w[:, None] * u).sum(axis=0) / (w.sum() or 1.0 if weights[0] is not None else 1.0)
    for updates in found:
        assert tree.structure(updates) == tree.structure(shapes[form](expected))
        for a, b in zip(tree.leaves(updates), tree.leaves(shapes[form](expected)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-15, atol=1e-16)


@needs_mpi4py
def test_check_same_names_the_ranks_that_differ_on_all() -> None:
    values = [{1: np.zeros(3)}, {1: np.zeros(3)}, {1: np.zeros((3, 1))}, {2: np.zeros(3)}, {1: np.zeros(3, np.float32)}]

    def of(comm: Any) -> str:
        mpi.check_same(comm, "params", {1: np.zeros(3)})
        with pytest.raises(fn.ParamsError) as caught:
            mpi.check_same(comm, "params", values[comm.rank])
        return str(caught.value)

    (told,) = set(Ranks(5).run(of))
    assert told.startswith("params: ranks 2, 3, 4 of 5 hold other values than rank 0: ")


@needs_mpi4py
def test_bad_options_are_refused() -> None:
    comm: Any = Rank(Ranks(1), 0)
    with pytest.raises(fn.OptionError, match="not batches"):
        mpi.shards([(np.ones((2, 1)),)], 2, None, comm)
    with pytest.raises(fn.OptionError, match="shards: batch_size"):
        mpi.shards((np.ones((2, 1)),), 0, None, comm)
    with pytest.raises(fn.OptionError, match="total: weight"):
        mpi.total(comm).update(np.ones(2), (), None, weight=-1.0)
    with pytest.raises(fn.OptionError, match="abort_on_error: timeout"), mpi.abort_on_error(comm, timeout=0.0):
        pass


def test_without_mpi4py_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "mpi4py" else find_spec(name, *rest)
    )
    for name in [name for name in sys.modules if name.startswith("funcnet.mpi")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(fn.MissingPackageError, match=r"the package mpi4py: pip install 'funcnet\[mpi\]'"):
        importlib.import_module("funcnet.mpi")
