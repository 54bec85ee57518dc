"""An interrupt at any line of a call, signal handlers that call, and forks: the closure works on, and nothing waits."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from tests.compiler.test_held import held
from tests.support.blocks import run_in_small_blocks

PACKAGE = str(Path(fn.__file__).parent)
X = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
T = X[:, :1].copy()


def identity(params: tuple[()], x: Any) -> Any:
    return x * 1, lambda g: ((), (g * 1,))


def kept(key: Any, shape: Any, dtype: Any = np.float32) -> Any:
    return (), shape


NET = fn.network(
    {1: fn.linear(3), 2: fn.tanh(), "own": fn.custom_layer(kept, identity), 3: fn.linear(1)},
    {1: [2], 2: ["own"], "own": [3]},
)
PARAMS = NET.init(fn.key(0), (4,))[0]


def applied() -> tuple[Any, Callable[..., Any]]:
    net = fn.serial(NET)
    return net.apply, lambda: net.apply((PARAMS,), X)


def scanned() -> tuple[Any, Callable[..., Any]]:
    step = fn.sgd_step(NET, fn.mse(), learning_rate=0.1)
    return step, lambda: fn.scan(step, PARAMS, np.stack([X, X + 1]), np.stack([T, T]))


def scanned_with_state() -> tuple[Any, Callable[..., Any]]:
    step = fn.train_step(NET, fn.mse(), fn.adam(0.1))
    state = step.init(PARAMS)
    return step, lambda: fn.scan(step, PARAMS, state, np.stack([X, X + 1]), np.stack([T, T]))


def stepped() -> tuple[Any, Callable[..., Any]]:
    step = fn.sgd_step(NET, fn.mse(), learning_rate=0.1)
    return step, lambda: step(PARAMS, X, T)


def trained() -> tuple[Any, Callable[..., Any]]:
    step = fn.train_step(NET, fn.mse(), fn.adam(0.1))
    state = step.init(PARAMS)
    return step, lambda: step(PARAMS, state, X, T)


def bits(found: Any) -> list[bytes]:
    return [np.asarray(a).tobytes() for a in tree.leaves(found)]


def interrupted_at(line: int, call: Callable[..., Any]) -> bool:
    """Call, with an interrupt before the line of that number of all lines of funcnet that run; whether it came."""
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            count += 1
            if count == line:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def lines(call: Callable[..., Any]) -> Iterator[int]:
    """Numbers of lines: all of the first hundred, then some, until the call ends before the line comes."""
    line = 1
    while interrupted_at(line, call):
        yield line
        line += 1 if line < 100 else 1 + line // 40


@pytest.fixture(params=["whole", "in blocks"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "in blocks":
        run_in_small_blocks(monkeypatch)
    return str(request.param)


@pytest.mark.parametrize(
    "kind", [applied, stepped, trained, scanned, scanned_with_state], ids=lambda kind: kind.__name__
)
@pytest.mark.parametrize("warm", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_an_interrupt_at_any_line_leaves_the_closure_usable(kind: Any, warm: bool, where: str) -> None:
    expected = bits(kind()[1]())
    closure, call = kind()
    call()

    def attempt() -> None:
        if not warm:
            closure.forget()
        call()

    number = 0
    for number in lines(attempt):  # noqa: B007
        assert held(closure, X, T) == []
        assert gc.isenabled()
        assert bits(call()) == expected
        assert bits(call()) == expected
    assert number > (10 if warm else 200)


def test_a_signal_handler_may_call_the_network_that_it_interrupts() -> None:
    net: Any = fn.serial(fn.linear(1))
    params, _ = net.init(fn.key(0), (1,))
    x, calls = np.ones((9000, 1), np.float32), 0

    def handler(*_: Any) -> None:
        nonlocal calls
        calls += 1
        net.apply(params, x[: 5000 + calls % 4000])
        net.apply.forget()

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        for n in range(1, 10_000):
            assert net.apply(params, x[:n]).shape == (n, 1) or calls < 0
            if calls > 200:
                break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert calls > 20


class Finalized:
    """Calls when it is collected, wherever that is."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call
        self.cycle = self

    def __del__(self) -> None:
        self.call()


def test_a_finalizer_may_call_the_network_that_is_being_compiled() -> None:
    closure, call = stepped()
    expected, found = bits(call()), list[Any]()
    for _ in range(20):
        for _ in range(5):
            Finalized(lambda: found.append(bits(call())))
        closure.forget()
        assert bits(call()) == expected
    gc.collect()
    assert len(found) == 100
    assert all(one == expected for one in found)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_forked_while_another_thread_compiles_works() -> None:
    closure, call = stepped()
    expected, stop = bits(call()), threading.Event()

    def compile_again() -> None:
        while not stop.is_set():
            closure.forget()
            call()

    thread = threading.Thread(target=compile_again)
    thread.start()
    try:
        for _ in range(30):
            time.sleep(0.002)
            child = os.fork()
            if not child:
                signal.alarm(20)  # a child that waits for ever is killed
                os._exit(0 if gc.isenabled() and bits(call()) == expected else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        thread.join()


def test_threads_that_compile_at_once_plan_twice_at_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    from funcnet.compiler import program_cache

    monkeypatch.setattr(program_cache, "MAX_PROGRAMS", 3)
    step = fn.sgd_step(NET, fn.mse(), learning_rate=0.1)
    expected = [bits(stepped_alone(n)) for n in range(1, 10)]
    wrong = list[int]()

    def work(seed: int) -> None:
        for n in np.random.default_rng(seed).integers(1, 10, size=60):
            if bits(step(PARAMS, X[:n], T[:n])) != expected[n - 1]:
                wrong.append(int(n))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert wrong == []
    assert len(step._programs.by_signature) <= 3 + len(threads)


def stepped_alone(rows: int) -> Any:
    with warnings.catch_warnings():
        return fn.sgd_step(NET, fn.mse(), learning_rate=0.1)(PARAMS, X[:rows], T[:rows])
