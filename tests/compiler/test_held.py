"""What a used closure refers to: nothing that it was given, however the call ended, but the small params last seen."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funcnet as fn
from funcnet import tree
from funcnet.compiler import params_cache, workspace
from tests.support.blocks import run_in_small_blocks
from tests.support.budget import examples

FEATURES = 4


def reachable(start: object) -> list[Any]:
    """All objects that can be reached from one by references, but for modules, types and functions of modules."""
    found, waiting = dict[int, Any](), [start]
    while waiting:
        x = waiting.pop()
        if id(x) in found or isinstance(x, (ModuleType, type, FunctionType)):
            continue
        found[id(x)] = x
        waiting += gc.get_referents(x)
        if isinstance(x, np.ndarray) and x.base is not None:
            waiting.append(x.base)
    return [*found.values()]


def held(closure: object, *given: Any) -> list[Any]:
    """The arrays reachable from a closure that share memory with some of those given."""
    arrays = [a for a in reachable(closure) if isinstance(a, np.ndarray)]
    return [a for a in arrays if any(np.shares_memory(a, b) for b in tree.leaves(given))]


def boom(params: tuple[()], x: Any) -> Any:
    """The identity, which fails where it is asked to."""
    fail("forward")

    def pullback(g: Any) -> Any:
        fail("backward")
        return (), (g,)

    return x, pullback


FAILURES: dict[str, type[BaseException]] = {}


def fail(where: str) -> None:
    if where in FAILURES:
        raise FAILURES[where]


def kept(key: Any, shape: Any, dtype: Any = np.float32) -> Any:
    return (), shape


def network(custom: bool) -> fn.Layer[Any, Any]:
    if custom:
        return fn.network({2: fn.linear(3), "own": fn.custom_layer(kept, boom), 3: fn.tanh()}, {2: ["own"], "own": [3]})
    return fn.network({2: fn.linear(3), 3: fn.tanh()}, {2: [3]})


def closures(custom: bool) -> dict[str, tuple[Any, Callable[..., Any]]]:
    """(closure, call) by name: apply, the gradient, and steps with and without an optimizer."""
    net = network(custom)
    step, train = fn.sgd_step(net, fn.mse(), learning_rate=0.1), fn.train_step(net, fn.mse(), fn.adam(0.1))
    gradient = fn.value_and_grad(net, fn.mse())
    return {
        "apply": (net.apply, lambda p, x, t: net.apply(p, x)),
        "gradient": (gradient, gradient),
        "step": (step, step),
        "train": (train, lambda p, x, t: train(p, train.init(p), x, t)),
    }


def batch(rows: int) -> tuple[Any, Any]:
    x = np.random.default_rng(rows).normal(size=(rows, FEATURES + 3)).astype(np.float32)
    return x[:, :FEATURES].copy(), x[:, FEATURES:].copy()


def drawn(custom: bool) -> Any:
    """Params that are views of no flat vector of funcnet's."""
    return tree.map(np.array, network(custom).init(fn.key(0), (FEATURES,))[0])


@pytest.fixture(params=["whole", "in blocks"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Batches run whole or in blocks of two rows and more."""
    if request.param == "in blocks":
        run_in_small_blocks(monkeypatch)
    return str(request.param)


NAMES = ["apply", "gradient", "step", "train"]
every_closure = pytest.mark.parametrize("name", NAMES)


@every_closure
@pytest.mark.parametrize("worth", [0, 1 << 17])
def test_no_batch_is_held_after_a_call(name: str, worth: int, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "REBIND_COST", worth)
    closure, call = closures(custom=False)[name]
    params = drawn(custom=False)
    for rows in (9, 9, 8, 9):
        x, target = batch(rows)
        call(params, x, target)
        assert held(closure, x, target) == []


@every_closure
@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("worth", [0, 1 << 17])
def test_no_large_params_are_held(
    name: str, worth: int, flat: bool, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "REBIND_COST", worth)
    monkeypatch.setattr(params_cache, "MAX_HELD_BYTES", 0)
    _, call = closures(custom=False)[name]
    params = network(custom=False).init(fn.key(0), (FEATURES,))[0] if flat else drawn(custom=False)
    seen = list[Any]()
    for rows in (9, 9, 8, 9):
        results = call(params, *batch(rows))
        seen += [weakref.ref(a) for a in tree.leaves((params, results)) if isinstance(a, np.ndarray)]
    del params, results
    assert all(array() is None for array in seen)
    call(drawn(custom=False), *batch(9))


def test_small_params_are_held_until_others_come() -> None:
    closure, call = closures(custom=False)["apply"]
    params = drawn(custom=False)
    call(params, *batch(3))
    vector = weakref.ref(params[2].weight)
    assert held(closure, params) != []
    call(drawn(custom=False), *batch(3))
    del params
    assert vector() is None


def test_states_of_params_that_take_turns_go_with_their_params() -> None:
    step = fn.train_step(network(custom=False), fn.mse(), fn.adam(0.1))
    sets: list[Any] = [(drawn(custom=False),) * 2 for _ in range(3)]
    sets = [(params, step.init(params)) for params, _ in sets]

    def turn() -> None:
        for i, (params, state) in enumerate(sets):
            sets[i] = step(params, state, *batch(3))[:2]

    turn()
    turn()
    gone = weakref.ref(sets.pop(0)[1][0].mu[2].weight)
    turn()
    assert gone() is None


@every_closure
@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("stage", ["forward", "backward"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_no_batch_is_held_after_an_error_in_a_layer(
    name: str, stage: str, error: type[BaseException], warm: bool, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closure, call = closures(custom=True)[name]
    params = drawn(custom=True)
    if warm:
        call(params, *batch(9))
    x, target = batch(9)
    with monkeypatch.context() as patch:
        patch.setitem(FAILURES, stage, error)
        with pytest.raises(error) if (name, stage) != ("apply", "backward") else nullcontext():
            call(params, x, target)
    assert held(closure, x, target) == []
    x, target = batch(9)
    other, again = closures(custom=True)[name]
    for a, b in zip(tree.leaves(call(params, x, target)), tree.leaves(again(params, x, target)), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
    assert held(closure, x, target) == held(other, x, target) == []


@every_closure
def test_no_batch_is_held_after_floating_point_errors(name: str, where: str) -> None:
    closure, call = closures(custom=False)[name]
    params = drawn(custom=False)
    call(params, *batch(9))
    x, target = batch(9)
    x[-1] = np.inf
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        call(tree.map(np.zeros_like, params), x, target)
    assert held(closure, x, target) == []


@every_closure
@pytest.mark.parametrize("wrong", ["target", "dtype", "rows", "params", "count"])
def test_no_batch_is_held_after_a_refusal(name: str, wrong: str, where: str) -> None:
    closure, call = closures(custom=False)[name]
    params = drawn(custom=False)
    call(params, *batch(9))
    x, target = batch(9)
    bad = target.astype(np.complex64) if wrong in ("dtype", "target") else target[:-1]
    if name == "apply" or wrong == "params":
        params = {**params, 2: None}
    with pytest.raises(fn.FuncnetError):
        call(params, x, target if wrong == "params" else bad)
    assert held(closure, x, target, bad) == []


def test_a_forward_pass_keeps_no_pullback_of_a_layer() -> None:
    closure, call = closures(custom=True)["apply"]
    call(drawn(custom=True), *batch(9))
    assert not [x for x in reachable(closure) if getattr(x, "pullback", None) is not None]


@given(sizes=st.lists(st.integers(1, 700), min_size=1, max_size=6), name=st.sampled_from(NAMES))
@settings(max_examples=examples(25))
def test_batches_of_any_sizes_are_let_go(sizes: list[int], name: str) -> None:
    closure, call = closures(custom=False)[name]
    params, seen = drawn(custom=False), list[Any]()
    for rows in sizes:
        arrays = batch(rows)
        call(params, *arrays)
        seen += map(weakref.ref, arrays)
        del arrays
    assert all(array() is None for array in seen)
    assert held(closure, params) != [] or name in ("step", "train")
