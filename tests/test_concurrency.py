"""What docs/guarantees.md promises: threads, processes, copies, errors in the middle, memory, and the same bits."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree

ROOT = Path(__file__).parents[1]
THREADS, CALLS = 8, 1000
SIZES = (1, 2, 7, 40, 600)


def network() -> fn.Layer[Any, Any]:
    """The example of the README, with a layer that draws random numbers."""
    operators = {1: fn.linear(5), 2: fn.tanh(), 3: fn.linear(5), 4: fn.sigmoid(), 5: fn.add(), 6: fn.linear(2)}
    return fn.network(operators, {1: [2], 2: [3, 5], 3: [4], 4: [5], 5: [6]})


def made() -> tuple[Any, Any]:
    """(step, params)."""
    net = network()
    return fn.sgd_step(net, fn.mse(), learning_rate=0.05), net.init(fn.key(0), (2,))[0]


def batch(rows: int, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng((rows, seed))
    return rng.normal(size=(rows, 2)).astype(np.float32), rng.normal(size=(rows, 2)).astype(np.float32)


def bits(*trees: Any) -> bytes:
    return b"".join(np.asarray(a).tobytes() for a in tree.leaves(trees))


def trained(step: Any, params: Any, seed: int, calls: int) -> bytes:
    """The bits of so many steps over batches of mixed sizes."""
    batches = [batch(SIZES[(seed + i) % len(SIZES)], seed) for i in range(len(SIZES))]
    for i in range(calls):
        params, loss = step(params, *batches[i % len(batches)])
    return bits(params, loss)


def test_eight_threads_share_one_step() -> None:
    step, params = made()
    serial = [trained(made()[0], params, seed, CALLS) for seed in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as threads:
        shared = list(threads.map(lambda seed: trained(step, params, seed, CALLS), range(THREADS)))
    assert shared == serial


def in_another_process(step: Any, params: Any, seed: int) -> bytes:
    return trained(step, params, seed, 20)


def test_a_step_goes_to_spawned_processes() -> None:
    step, params = made()
    step(params, *batch(7))  # a step that has programs travels too
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        found = list(processes.map(in_another_process, [step] * 2, [params] * 2, range(2)))
    assert found == [trained(made()[0], params, seed, 20) for seed in range(2)]


@pytest.mark.parametrize("again", [copy.deepcopy, copy.copy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_give_the_same_bits(again: Callable[[Any], Any]) -> None:
    step, params = made()
    step(params, *batch(7))
    assert trained(again(step), again(params), 1, 10) == trained(made()[0], params, 1, 10)


def interrupted(params: tuple[()], x: Any) -> Any:
    """The identity, which the user interrupts at one number, and at another on the way back."""
    if x[0, 0] == 666:
        raise KeyboardInterrupt

    def pullback(g: Any) -> Any:
        if x[0, 0] == 667:
            raise KeyboardInterrupt
        return (), (g,)

    return x, pullback


def kept(key: Any, shape: Any, dtype: Any = np.float32) -> Any:
    return (), shape


@pytest.mark.parametrize("number", [666, 667])
@pytest.mark.parametrize("first", [True, False])
def test_an_interrupt_in_the_middle_leaves_the_step_usable(number: float, first: bool) -> None:
    net = fn.network(
        {"own": fn.custom_layer(kept, interrupted), 2: fn.linear(2), "t": fn.tanh()}, {"own": [2], 2: ["t"]}
    )
    guarded = fn.network({0: fn.linear(2), "net": net}, {0: ["net"]})
    identity: Any = fn.Affine(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))
    params: Any = {0: identity, "net": {2: identity}}
    step, fresh = (fn.sgd_step(guarded, fn.mse(), learning_rate=0.1) for _ in range(2))
    x, target = batch(7)
    bad = x.copy()
    bad[0, 0] = number
    if not first:
        step(params, x, target)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            step(params, bad, target)
        assert bits(step(params, x, target)) == bits(fresh(params, x, target))


def test_a_failed_check_leaves_the_step_usable_in_all_threads() -> None:
    net = network()
    params, _ = net.init(fn.key(0), (2,))
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.05, check_finite=True)
    x, target = batch(7)
    expected = bits(step(params, x, target))

    def call(i: int) -> bool:
        if i % 3:
            return bits(step(params, x, target)) == expected
        with pytest.raises(fn.NonFiniteError, match="input 0"):
            step(params, x * np.float32(np.nan), target)
        return True

    with ThreadPoolExecutor(THREADS) as threads, np.errstate(all="ignore"):
        assert all(threads.map(call, range(200)))


def resident() -> int:
    """Bytes of memory that the process holds."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell")
@pytest.mark.slow
def test_memory_does_not_grow_over_a_hundred_thousand_steps() -> None:
    step, params = made()
    batches = [batch(rows) for rows in (1, 7, 40)]

    def run(count: int) -> None:
        own = params
        for i in range(count):
            own, _ = step(own, *batches[i % 3])

    run(1000)
    gc.collect()
    before = resident()
    run(100_000)
    gc.collect()
    assert resident() - before < 1 << 20
    tracemalloc.start()
    try:
        run(100)
        gc.collect()
        traced = tracemalloc.get_traced_memory()[0]
        run(2000)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - traced < 16 << 10
    finally:
        tracemalloc.stop()


PROGRAM = """
import hashlib, numpy as np, funcnet as fn
operators = {"a": fn.linear(5), "b": fn.tanh(), "c": fn.linear(5), 4: fn.sigmoid(), "sum": fn.add(), 9: fn.linear(2)}
edges = {"a": ["b"], "b": ["c", "sum"], "c": [4], 4: ["sum"], "sum": [9]}
net = fn.network(operators, edges)
params, _ = net.init(fn.key(0), (2,))
step = fn.sgd_step(net, fn.mse(), learning_rate=0.05)
x = np.random.default_rng(0).normal(size=(700, 2)).astype(np.float32)
for _ in range(3):
    params, loss = step(params, x, x)
data = b"".join(a.tobytes() for a in fn.tree.leaves((params, loss))) + str(step).encode() + repr(list(params)).encode()
print(hashlib.sha256(data).hexdigest())
"""


@pytest.mark.slow
def test_results_do_not_depend_on_the_seed_of_hashes() -> None:
    found = set()
    for seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment, cwd=ROOT
        )
        found.add(done.stdout)
    assert len(found) == 1
