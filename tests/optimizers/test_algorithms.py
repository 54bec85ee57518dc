"""Optimizers: against Optax over 200 steps, against their equations, and what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.optimizers.base import Elementwise
from funcnet.optimizers.learning_rate import LearningRateState

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
        g: Any = rng.normal(size=p.shape) / (1 + 0.05 * t)
        g.flat[0] *= t > 50
        shrunk: fn.Array = g.astype(p.dtype)
        return shrunk

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


@each_pair
def test_one_vector_of_all_params_gives_the_same_bits(name: str, make: Any, oracle: Any) -> None:
    """What a training step relies on, where it runs an optimizer over flat vectors."""
    optimizer = make()
    if not isinstance(optimizer.update, Elementwise):
        pytest.skip("runs over the trees")
    params = first_params(np.float32)
    gs = gradients(params)[:60]
    whole = run(optimizer, fn.apply_updates, tree.ravel(params)[0], [tree.ravel(g)[0] for g in gs])
    apart = tree.ravel(run(optimizer, fn.apply_updates, params, gs))[0]
    if name == "a chain":  # whose global norm is summed up in another order
        np.testing.assert_allclose(whole, apart, rtol=1e-5)
    else:
        np.testing.assert_array_equal(whole, apart)


@each_optimizer
def test_nothing_is_written_into(make: Any) -> None:
    optimizer, params = make(), first_params(np.float32)
    gs, state = gradients(params)[:4], optimizer.init(params)
    for g in gs:
        before = pickle.dumps((params, g, state))
        updates, after = optimizer.update(g, state, params)
        assert pickle.dumps((params, g, state)) == before
        assert tree.structure(updates) == tree.structure(params)
        assert tree.structure(after) == tree.structure(state)
        params, state = fn.apply_updates(params, updates), after


@pytest.mark.parametrize("make", [row[1] for row in PAIRS if row[0] != "decay of weights alone"])
def test_an_optimizer_pickles_and_its_state_does(make: Any) -> None:
    params = first_params(np.float32)
    gs = gradients(params)[:6]
    again = pickle.loads(pickle.dumps(make()))
    assert pickle.dumps(run(again, fn.apply_updates, params, gs)) == pickle.dumps(
        run(make(), fn.apply_updates, params, gs)
    )


def test_an_optimizer_is_a_pair() -> None:
    init, update = fn.adam(1e-3)
    params = first_params(np.float32)
    updates, state = update(params, init(params), params)
    assert [type(part).__name__ for part in state] == ["AdamState", "LearningRateState"]
    assert state[0].steps == 1
    assert updates[1].weight.shape == state[0].mu[1].weight.shape == (4, 3)


def test_the_first_step_of_adam_is_the_learning_rate_against_the_gradient() -> None:
    g = np.array([3.0, -1e-3, 0.0])
    updates, _ = fn.adam(0.01, eps=1e-30).update(g, fn.adam(0.01).init(g), None)
    np.testing.assert_allclose(updates, [-0.01, 0.01, 0.0], rtol=1e-12)


def test_weight_decay_of_adamw_does_not_pass_through_the_moments() -> None:
    p, g = np.array([2.0]), np.array([0.0])
    optimizer = fn.adamw(0.1, weight_decay=0.5)
    updates, state = optimizer.update(g, optimizer.init(p), p)
    np.testing.assert_allclose(updates, [-0.1 * 0.5 * 2.0])
    np.testing.assert_array_equal(state[0].mu, [0.0])


def test_float32_stays_float32_whatever_the_options_are() -> None:
    params = first_params(np.float32)
    for optimizer in (fn.adam(np.float64(1e-3)), fn.sgd(1, np.float64(0.9))):
        state = optimizer.init(params)
        for _ in range(2):
            updates, state = optimizer.update(params, state, params)
        assert {leaf.dtype for leaf in tree.leaves(updates)} == {np.dtype(np.float32)}


def test_a_state_read_back_with_arrays_for_numbers_goes_on_the_same() -> None:
    """A file may well give 0-d arrays for the numbers in a state."""
    p = np.ones(3, np.float32)
    optimizer = fn.adam(fn.linear_schedule(0.1, 0.2, 5))
    _, state = optimizer.update(p, optimizer.init(p), p)
    arrays = tree.map(np.asarray, state)
    np.testing.assert_array_equal(optimizer.update(p, arrays, p)[0], optimizer.update(p, state, p)[0])
    assert optimizer.update(p, arrays, p)[0].dtype == np.float32


def test_the_learning_rate_is_read_from_the_state() -> None:
    schedule = fn.linear_schedule(0.1, 0.2, 10)
    optimizer = fn.chain(fn.clip(1.0), fn.accumulate(fn.adamw(schedule), 2))
    p = np.ones(3)
    state = optimizer.init(p)
    rates = []
    for _ in range(5):
        rates.append(fn.learning_rate(state))
        _, state = optimizer.update(p, state, p)
    assert rates == [schedule(t) for t in (0, 0, 1, 1, 2)]
    assert fn.learning_rate(fn.sgd(0.3).init(p)) == 0.3


def test_the_rate_in_the_state_is_the_one_that_is_taken() -> None:
    p = np.ones(3)
    for rate in (0.5, fn.constant_schedule(0.5)):
        (state,) = fn.sgd(rate).init(p)
        updates, _ = fn.sgd(rate).update(p, (state._replace(learning_rate=0.25),), p)
        np.testing.assert_array_equal(updates, [-0.25] * 3)


def test_a_constant_rate_set_in_the_state_stays() -> None:
    p = np.ones(3)
    _, (state,) = fn.sgd(0.5).update(p, (LearningRateState(0, 0.25),), p)
    assert state == LearningRateState(1, 0.25)


@pytest.mark.parametrize("state", [(), None, fn.clip(1.0).init(None), {"learning_rate": 1.0}])
def test_a_state_without_a_learning_rate_is_reported(state: Any) -> None:
    with pytest.raises(fn.ParamsError, match="no learning rate in this state"):
        fn.learning_rate(state)


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: fn.sgd(0.0), "learning_rate must be a finite number above 0, not 0"),
    (lambda: fn.adam(-1e-3), "learning_rate must be"),
    (lambda: fn.adam("1e-3"), "learning_rate must be"),  # type: ignore[arg-type]
    (lambda: fn.sgd(0.1, 1.0), r"momentum must be in \[0, 1\), not 1\.0"),
    (lambda: fn.sgd(0.1, -0.1), "momentum must be in"),
    (lambda: fn.sgd(0.1, nesterov=True), "give one, for instance momentum=0.9"),
    (lambda: fn.rmsprop(0.1, nesterov=True), "give one, for instance momentum=0.9"),
    (lambda: fn.sgd(0.1, 0.9, nesterov=1), "nesterov must be True or False, not 1"),  # type: ignore[arg-type]
    (lambda: fn.sgd(0.1, nesterov=None), "nesterov must be True or False, not None"),  # type: ignore[arg-type]
    (lambda: fn.rmsprop(0.1, nesterov=np.ones(2)), "nesterov must be True or False"),  # type: ignore[arg-type]
    (lambda: fn.adam(0.1, nesterov="a"), "nesterov must be True or False"),  # type: ignore[arg-type]
    (lambda: fn.rmsprop(0.1, centered=0.9), "centered must be True or False"),  # type: ignore[arg-type]
    (lambda: fn.rmsprop(0.1, eps_in_sqrt=None), "eps_in_sqrt must be True or False"),  # type: ignore[arg-type]
    (lambda: fn.ema(0.9, debias=0), "debias must be True or False, not 0"),  # type: ignore[arg-type]
    (lambda: fn.adam(0.1, b1=1.0), r"b1 must be in \[0, 1\), not 1\.0"),
    (lambda: fn.adam(0.1, b2=-0.1), r"b2 must be in \[0, 1\), not -0\.1"),
    (lambda: fn.adam(0.1, eps=-1e-8), "eps must be at least 0, not -1e-08"),
    (lambda: fn.adam(0.1, eps_root=float("nan")), "eps_root must be a finite number"),
    (lambda: fn.adamw(0.1, weight_decay=-1), "weight_decay must be at least 0, not -1"),
    (lambda: fn.rmsprop(0.1, decay=1.5), r"decay must be in \[0, 1\), not 1\.5"),
    (lambda: fn.rmsprop(0.1, initial_scale=-1.0), "initial_scale must be at least 0"),
    (lambda: fn.adagrad(0.1, -1.0), "initial_accumulator_value must be at least 0"),
    (lambda: fn.lion(0.1, b1=2), r"b1 must be in \[0, 1\), not 2"),
    (lambda: fn.lion(0.1, b2=True), r"b2 must be in \[0, 1\), not True"),
]


@pytest.mark.parametrize(("make", "words"), WRONG)
def test_bad_options_are_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(fn.OptionError, match=words):
        make()


def test_a_centered_average_of_a_steady_gradient_stays_finite() -> None:
    """In float32 v' - m'^2 rounds to below 0 where all gradients are alike."""
    optimizer = fn.rmsprop(0.1, centered=True)
    gradient = np.linspace(3, 6, 100, dtype=np.float32)
    state = optimizer.init(gradient)
    for _ in range(200):
        updates, state = optimizer.update(gradient, state)
        assert np.isfinite(updates).all()


STATEFUL: list[fn.Optimizer] = [
    fn.sgd(0.1), fn.sgd(0.1, 0.9), fn.adam(0.1), fn.rmsprop(0.1), fn.adagrad(0.1), fn.lion(0.1), fn.ema(0.9),
    fn.scale_by_schedule(fn.constant_schedule(1.0)), fn.accumulate(fn.sgd(0.1), 2),
]  # fmt: skip


@pytest.mark.parametrize("optimizer", STATEFUL)
def test_the_state_of_another_optimizer_is_reported(optimizer: fn.Optimizer) -> None:
    g = np.zeros(2)
    state = optimizer.init(g)
    other = (fn.Norm(g, g), *state[1:]) if type(state) is tuple else fn.Norm(g, g)
    with pytest.raises(fn.ParamsError, match="the state has a Norm where this optimizer keeps a .*State"):
        optimizer.update(g, other)
