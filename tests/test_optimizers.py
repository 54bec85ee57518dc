"""Optimizers: against Optax over 200 steps, against their equations, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree

STEPS = 200
IN_SINGLE = {"a schedule", "an average of gradients"}  # whose schedules Optax computes in float32
# name, ours, Optax's
PAIRS: list[tuple[str, Callable[[], fn.Optimizer], Callable[[Any], Any]]] = [
    ("sgd", lambda: fn.sgd(1e-2), lambda o: o.sgd(1e-2)),
    ("sgd with momentum", lambda: fn.sgd(1e-3, 0.9), lambda o: o.sgd(1e-3, 0.9)),
    ("sgd by Nesterov", lambda: fn.sgd(1e-3, 0.8, nesterov=True), lambda o: o.sgd(1e-3, 0.8, nesterov=True)),
    ("adam", lambda: fn.adam(1e-3), lambda o: o.adam(1e-3)),
    (
        "adam with options",
        lambda: fn.adam(1e-3, 0.8, 0.99, 1e-4, 1e-3),
        lambda o: o.adam(1e-3, 0.8, 0.99, 1e-4, 1e-3),
    ),
    ("adam by Nesterov", lambda: fn.adam(1e-3, nesterov=True), lambda o: o.nadam(1e-3)),
    ("adamw", lambda: fn.adamw(1e-3, weight_decay=0.1), lambda o: o.adamw(1e-3, weight_decay=0.1)),
    (
        "adamw by Nesterov",
        lambda: fn.adamw(1e-3, weight_decay=0.1, nesterov=True),
        lambda o: o.nadamw(1e-3, weight_decay=0.1),
    ),
    ("rmsprop", lambda: fn.rmsprop(1e-3), lambda o: o.rmsprop(1e-3)),
    (
        "rmsprop of PyTorch",
        lambda: fn.rmsprop(1e-3, 0.99, 1e-3, 0.5, eps_in_sqrt=False),
        lambda o: o.rmsprop(1e-3, 0.99, 1e-3, 0.5, eps_in_sqrt=False),
    ),
    (
        "rmsprop, centered, with momentum",
        lambda: fn.rmsprop(1e-4, eps=1e-2, centered=True, momentum=0.9, nesterov=True),
        lambda o: o.rmsprop(1e-4, eps=1e-2, centered=True, momentum=0.9, nesterov=True),
    ),
    ("adagrad", lambda: fn.adagrad(1e-2), lambda o: o.adagrad(1e-2)),
    ("adagrad from nothing", lambda: fn.adagrad(1e-2, 0.0), lambda o: o.adagrad(1e-2, 0.0)),
    ("lion", lambda: fn.lion(1e-3, weight_decay=0.1), lambda o: o.lion(1e-3, weight_decay=0.1)),
    (
        "a schedule",
        lambda: fn.adam(fn.warmup_cosine_decay_schedule(0.0, 1e-3, 20, 150)),
        lambda o: o.adam(o.warmup_cosine_decay_schedule(0.0, 1e-3, 20, 150)),
    ),
    (
        "a chain",
        lambda: fn.chain(fn.clip(0.9), fn.clip_by_global_norm(1.0), fn.add_decayed_weights(0.01), fn.sgd(1e-2, 0.9)),
        lambda o: o.chain(o.clip(0.9), o.clip_by_global_norm(1.0), o.add_decayed_weights(0.01), o.sgd(1e-2, 0.9)),
    ),
    (
        "an average of gradients",
        lambda: fn.chain(fn.ema(0.8), fn.scale_by_schedule(fn.exponential_decay(0.5, 10, 0.9)), fn.sgd(1e-2)),
        lambda o: o.chain(o.ema(0.8), o.scale_by_schedule(o.exponential_decay(0.5, 10, 0.9)), o.sgd(1e-2)),
    ),
    (
        "an average that is biased",
        lambda: fn.chain(fn.ema(0.8, debias=False), fn.sgd(1e-2)),
        lambda o: o.chain(o.ema(0.8, debias=False), o.sgd(1e-2)),
    ),
    (
        "every third step",
        lambda: fn.accumulate(fn.adam(1e-3), 3),
        lambda o: o.MultiSteps(o.adam(1e-3), 3, accumulator_dtype=None),
    ),
    (
        "decay of weights alone",
        lambda: fn.adamw(1e-3, weight_decay=0.5, mask=lambda path: path.endswith(".weight")),
        lambda o: o.adamw(1e-3, weight_decay=0.5, mask=[(True, False), (True, False)]),
    ),
]
each_pair = pytest.mark.parametrize(("name", "make", "oracle"), PAIRS, ids=[row[0] for row in PAIRS])
each_optimizer = pytest.mark.parametrize("make", [row[1] for row in PAIRS], ids=[row[0] for row in PAIRS])


def first_params(dtype: Any) -> Any:
    net = fn.network({1: fn.linear(3), 2: fn.tanh(), "out": fn.linear(1)}, {1: [2], 2: ["out"]})
    return net.init(fn.key(1), (4,), dtype=dtype)[0]


def gradients(params: Any) -> list[Any]:
    """Gradients that shrink along the way, with a zero in them."""
    rng = np.random.default_rng(7)

    def draw(t: int, p: fn.Array) -> fn.Array:
        g = rng.normal(size=p.shape) / (1 + 0.05 * t)
        g.flat[0] *= t > 50
        return g.astype(p.dtype)

    return [tree.map(partial(draw, t), params) for t in range(STEPS)]


def run(optimizer: Any, apply_updates: Any, params: Any, gs: list[Any]) -> Any:
    state = optimizer.init(params)
    for g in gs:
        updates, state = optimizer.update(g, state, params)
        params = apply_updates(params, updates)
    return params


def plain(params: Any) -> Any:
    """Keys in the order in which JAX sorts them, and plain tuples, for an oracle that cannot sort ints and strings."""
    return [tuple(params[1]), tuple(params["out"])]


def run_optax(make: Any, params: Any, gs: list[Any], jax: Any) -> Any:
    """All steps in one compiled loop."""
    optax = pytest.importorskip("optax")
    optimizer = make(optax)

    def step(carry: Any, g: Any) -> tuple[Any, None]:
        updates, state = optimizer.update(g, carry[1], carry[0])
        return (optax.apply_updates(carry[0], updates), state), None

    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *gs)
    return jax.jit(lambda p, g: jax.lax.scan(step, (p, optimizer.init(p)), g)[0][0])(params, stacked)


@each_pair
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_two_hundred_steps_are_those_of_optax(name: str, make: Any, oracle: Any, dtype: Any) -> None:
    tolerance = 1e-6 if dtype == np.float32 or name in IN_SINGLE else 1e-12
    jax = pytest.importorskip("jax")
    params = first_params(dtype)
    gs = gradients(params)
    ours = run(make(), fn.apply_updates, params, gs)
    with jax.enable_x64(dtype == np.float64):
        theirs = run_optax(oracle, plain(params), [plain(g) for g in gs], jax)
        for a, b in zip(tree.leaves(ours), tree.leaves(theirs), strict=True):
            assert a.dtype == b.dtype == dtype
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)
