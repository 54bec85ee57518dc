"""Keys: every random operator draws from its own, and a recorded program draws what the pure function does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet.core import Result, layer
from funcnet.random import generator
from funcnet.tracing.forms import plain
from funcnet.tracing.primitive import Primitive
from funcnet.tracing.trace import Value
from tests.support.blocks import run_in_small_blocks


def draw_into(key: Any, out: Any) -> None:
    out[...] = generator(key).normal(size=out.shape)


DRAW = Primitive("draw", plain(draw_into))


def noisy(params: tuple[()], x: Any, key: Any = None) -> Result[tuple[()]]:
    """x, and random numbers where there is a key."""
    if key is None:
        return x, lambda g: ((), (g,))
    if isinstance(x, Value):
        noise: Any = x.trace.emit(DRAW, (key,), x.shape, x.dtype, 0)
    else:
        noise = np.empty_like(x)
        draw_into(key, noise)
    return x + noise, lambda g: ((), (g,))


def noise() -> fn.Layer[tuple[()]]:
    return layer("noise", noisy, random=True)


NETWORKS: dict[str, Callable[[], fn.Layer[Any, Any]]] = {
    "network": lambda: fn.network({1: fn.linear(3), 2: noise(), 3: fn.linear(3)}, {1: [2], 2: [3]}),
    "list": lambda: fn.network({1: [fn.linear(3), noise(), fn.tanh()], 2: fn.linear(3)}, {1: [2]}),
    "serial": lambda: fn.serial(fn.linear(3), noise(), noise()),
    "parallel": lambda: fn.parallel(noise(), fn.serial(noise(), fn.linear(3))),
    "residual": lambda: fn.residual(fn.linear(3), noise()),
    "nested": lambda: fn.network({1: fn.network({1: noise(), 2: noise()}, {1: [2]}), 2: fn.linear(3)}, {1: [2]}),
    "shared": lambda: fn.network({1: noise(), 2: fn.shared(1), 3: fn.linear(3)}, {1: [2], 2: [3]}),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def drawn(name: str, rows: int = 5) -> tuple[fn.Layer[Any, Any], Any, fn.Array]:
    net = NETWORKS[name]()
    return net, net.init(fn.key(0), (3,))[0], np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)


@every_network
def test_a_program_draws_what_the_pure_function_does(name: str) -> None:
    net, params, x = drawn(name)
    for seed in (1, 2):
        expected, _ = net.apply.vjp(params, x, key=fn.key(seed))
        np.testing.assert_allclose(net.apply(params, x, key=fn.key(seed)), expected, rtol=1e-5, atol=1e-6)


@every_network
def test_another_key_gives_other_numbers_and_no_key_none(name: str) -> None:
    net, params, x = drawn(name)
    one, again, other = (net.apply(params, x, key=fn.key(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.any(one == other)
    assert np.array_equal(net.apply(params, x), net.apply(params, x))
    assert not np.any(net.apply(params, x) == one)


@every_network
def test_steps_and_gradients_take_keys(name: str) -> None:
    net, params, x = drawn(name)
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    gradient = fn.value_and_grad(net, fn.mse())
    losses = [step(params, x, x, key=key)[1] for key in (fn.key(1), fn.key(1), fn.key(2), None, None)]
    assert losses[0] == losses[1] != losses[2]
    assert losses[3] == losses[4] != losses[0]
    assert gradient(params, x, x, key=fn.key(1))[0] == losses[0]


def test_each_operator_draws_from_the_child_of_its_own_key() -> None:
    net = fn.network({"a": fn.identity(), 1: noise(), 2: noise()}, {"a": [1, 2]}, output=[1, 2])
    x = np.zeros((4, 2))
    first, second = net.apply({}, x, key=fn.key(3))
    expected = generator(fn.fold_in(fn.key(3), 1)).normal(size=(4, 2))
    assert np.array_equal(first, expected)
    assert not np.any(first == second)


def test_shared_operators_draw_apart() -> None:
    net = fn.network({1: noise(), 2: fn.shared(1)}, {}, output=[1, 2])
    a, b = net.apply({}, np.zeros((4, 2)), np.zeros((4, 2)), key=fn.key(3))
    assert not np.any(a == b)


def test_a_random_program_runs_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    run_in_small_blocks(monkeypatch)
    net, params, x = drawn("network", rows=9)
    expected, _ = net.apply.vjp(params, x, key=fn.key(1))
    np.testing.assert_allclose(net.apply(params, x, key=fn.key(1)), expected, rtol=1e-5, atol=1e-6)
    assert "blocks" not in str(net.apply)
    net.apply(params, x)
    assert "blocks" in str(net.apply)


def test_trace_takes_a_key() -> None:
    net, params, x = drawn("network")
    values = fn.trace(net, params, x, key=fn.key(1))
    np.testing.assert_allclose(values[3], net.apply(params, x, key=fn.key(1)), rtol=1e-5)


@every_network
def test_what_is_no_key_is_refused(name: str) -> None:
    net, params, x = drawn(name)
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    for call in (lambda key: net.apply(params, x, key=key), lambda key: step(params, x, x, key=key)):
        with pytest.raises(fn.KeyTypeError, match=r"the int 7\. Make a key of this seed with fn\.key\(7\)"):
            call(7)


def test_a_key_changes_nothing_where_nothing_is_random() -> None:
    net = fn.serial(fn.linear(3), fn.tanh())
    params, _ = net.init(fn.key(0), (3,))
    x = np.ones((2, 3), np.float32)
    assert np.array_equal(net.apply(params, x, key=fn.key(1)), net.apply(params, x))
    assert str(net.apply).count("inputs: x0 (2, 3) in memory 1\n") == 1
