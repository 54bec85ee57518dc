"""One mean over batches: history, evaluate, validation and accumulated gradients agree, weighted and uneven."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funcnet as fn
from funcnet import tree
from funcnet.training.evaluation import Mean
from tests.support.budget import examples

RNG = np.random.default_rng(3)
X = RNG.normal(size=(30, 4))
T = RNG.normal(size=(30, 3))
LABELS = RNG.integers(0, 3, 30)
W = RNG.uniform(0.1, 5, 30)
NET = fn.linear(3)
PARAMS, _ = NET.init(fn.key(0), (4,), dtype=np.float64)
STILL = fn.sgd(1e-30)

LOSSES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "mse": (fn.mse(), (X, T)),
    "mse weighted": (fn.mse(weighted=True), (X, T, W)),
    "mse sum": (fn.mse(reduction="sum"), (X, T)),
    "mae weighted sum": (fn.mae(reduction="sum", weighted=True), (X, T, W)),
    "labels": (fn.softmax_cross_entropy(), (X, LABELS)),
    "labels weighted": (fn.softmax_cross_entropy(weighted=True), (X, LABELS, W)),
    "distributions weighted": (fn.softmax_cross_entropy(weighted=True), (X, np.eye(3)[LABELS], W)),
}
each_loss = pytest.mark.parametrize("name", LOSSES)


def difference(a: Any, b: Any) -> float:
    return max(float(np.abs(x - y).max()) for x, y in zip(tree.leaves(a), tree.leaves(b), strict=True))


@each_loss
@pytest.mark.parametrize("size", [4, 7, 16, 30])
def test_history_is_the_loss_of_all_rows(name: str, size: int) -> None:
    loss, data = LOSSES[name]
    whole = fn.evaluate(NET, loss, PARAMS, data)
    for step in (fn.train_step(NET, loss, STILL), fn.sgd_step(NET, loss, learning_rate=1e-30)):
        fitted = fn.fit(step, PARAMS, data, 1, size, fn.key(1), validation=data)
        np.testing.assert_allclose(fitted.history["loss"], [whole], rtol=1e-12)
        np.testing.assert_allclose(fitted.history["validation_loss"], [whole], rtol=1e-12)


def inside(loss: Any, targets: int) -> Any:
    """The loss as the output of the network, fed by identities."""
    names = [f"t{i}" for i in range(targets)]
    operators: dict[Any, Any] = {1: fn.linear(3), "loss": loss}
    operators.update({n: fn.identity() for n in names})
    return fn.network(operators, {k: ["loss"] for k in (1, *names)}, inputs=[1, *names], output="loss")


@each_loss
def test_a_network_that_is_its_loss_agrees_too(name: str) -> None:
    loss, data = LOSSES[name]
    net = inside(loss, len(data) - 1)
    fitted = fn.fit(fn.train_step(net, None, STILL), {1: PARAMS}, data, 1, 7, fn.key(1), validation=data)
    whole = fn.evaluate(NET, loss, PARAMS, data)
    for found in (fitted.history["loss"][0], fitted.history["validation_loss"][0]):
        assert found == pytest.approx(whole, rel=1e-12)
    assert fn.evaluate(net, None, {1: PARAMS}, data, 11) == pytest.approx(whole, rel=1e-12)


def test_a_loss_of_ones_own_counts_rows() -> None:
    def half(params: Any, y: Any, t: Any) -> Any:
        d = y - t
        return (d * d).sum() * (0.5 / y.size), lambda g: ((), (g * d * (1.0 / y.size), -g * d * (1.0 / y.size)))

    loss = fn.custom_layer(lambda key, *shapes, dtype=np.float32: ((), ()), half, name="half", inputs=2)
    fitted = fn.fit(fn.train_step(NET, loss, STILL), PARAMS, (X, T), 1, 7, fn.key(0), validation=(X, T))
    np.testing.assert_allclose(fitted.history["loss"], fitted.history["validation_loss"], rtol=1e-12)


@settings(max_examples=examples(40), deadline=None)
@given(
    st.sampled_from(["mse", "mse weighted", "labels", "labels weighted", "distributions weighted"]),
    st.lists(st.integers(1, 6), min_size=1, max_size=5),
    st.integers(0, 2**32 - 1),
)
def test_accumulated_batches_are_one_large_batch(name: str, sizes: list[int], seed: int) -> None:
    loss, data = LOSSES[name]
    rows = np.random.default_rng(seed).permutation(30)[: sum(sizes)]
    given_rows = [x[rows] for x in data]
    small, large = fn.train_step(NET, loss, fn.accumulate(fn.sgd(1.0), len(sizes))), fn.train_step(NET, loss, fn.sgd(1))
    params, state, start = PARAMS, small.init(PARAMS), 0
    for size in sizes:
        params, state, _ = small(params, state, *[x[start : start + size] for x in given_rows])
        start += size
    whole, _, _ = large(PARAMS, large.init(PARAMS), *given_rows)
    assert difference(params, whole) < 1e-12
    assert state.mini_step == state.weight == 0


@pytest.mark.parametrize("wrap", ["chain", "masked", "accumulate", "masked in chain"])
def test_what_holds_an_accumulation_hands_the_weight_on(wrap: str) -> None:
    make: Any = {
        "chain": lambda inner: fn.chain(fn.clip(1e9), inner, fn.clip(1e9)),
        "masked": lambda inner: fn.masked(inner, lambda path: True),
        "accumulate": lambda inner: fn.accumulate(inner, 1),
        "masked in chain": lambda inner: fn.chain(fn.masked(inner, lambda path: True)),
    }[wrap]
    loss, data = LOSSES["labels weighted"]
    step = fn.train_step(NET, loss, make(fn.accumulate(fn.sgd(1.0), 2)))
    params, state = PARAMS, step.init(PARAMS)
    for part in (slice(0, 4), slice(4, 15)):
        params, state, _ = step(params, state, *[x[part] for x in data])
    large = fn.train_step(NET, loss, fn.sgd(1.0))
    whole, _, _ = large(PARAMS, large.init(PARAMS), *[x[:15] for x in data])
    assert difference(params, whole) < 1e-12


def test_sums_are_averaged_over_the_batches() -> None:
    loss, data = LOSSES["mse sum"]
    step, one = fn.train_step(NET, loss, fn.accumulate(fn.sgd(0.1), 2)), fn.train_step(NET, loss, fn.sgd(0.05))
    params, state = PARAMS, step.init(PARAMS)
    for part in (slice(0, 4), slice(4, 15)):
        params, state, _ = step(params, state, *[x[part] for x in data])
    whole, _, _ = one(PARAMS, one.init(PARAMS), *[x[:15] for x in data])
    assert difference(params, whole) < 1e-12


def test_an_optimizer_of_ones_own_may_take_the_weight() -> None:
    seen: list[Any] = []

    def update(updates: Any, state: Any, params: Any = None, *, weight: float | None = None) -> Any:
        seen.append(weight)
        return updates, state

    for name in ("labels", "labels weighted", "mse sum"):
        loss, data = LOSSES[name]
        step = fn.train_step(NET, loss, fn.chain(fn.Optimizer(lambda params: 0, update)))
        step(PARAMS, step.init(PARAMS), *[x[:7] for x in data])
    assert seen == [7.0, pytest.approx(W[:7].sum()), None]


def test_a_batch_of_weight_zero_has_no_share() -> None:
    accumulate = fn.accumulate(fn.sgd(1.0), 3)
    p = np.zeros(2)
    state = accumulate.init(p)
    update: Any = accumulate.update
    for g, w in ((1.0, 2.0), (np.nan, 0.0), (4.0, 1.0)):
        u, state = update(np.full(2, g), state, p, weight=w)
    np.testing.assert_allclose(u, [-2.0, -2.0], rtol=1e-15)
    with pytest.raises(fn.OptionError, match="accumulate: weight must be at least 0"):
        update(p, state, p, weight=-1.0)


def test_what_a_batch_of_weight_zero_holds_does_not_count() -> None:
    mean = Mean()
    for loss, weight in ((2.0, 3.0), (float("nan"), 0.0), (4.0, 1.0)):
        mean.add(loss, weight)
    assert (mean.value(), mean.batches) == (2.5, 3)
    empty = Mean()
    empty.add(float("nan"), 0.0)
    assert empty.value() == 0.0


@pytest.mark.parametrize("joins", [fn.add, fn.concatenate])
def test_a_network_of_any_number_of_inputs_takes_all_but_the_targets(joins: Any) -> None:
    net = fn.serial(joins(), fn.linear(2))
    params, _ = net.init(fn.key(0), (4,), (4,), dtype=np.float64)
    loss, target = fn.softmax_cross_entropy(weighted=True), RNG.integers(0, 2, 30)
    outputs = net.apply(params, X, 2 * X)
    expected = float(loss.apply((), outputs, target, W))
    data = (X, 2 * X, target, W)
    number, _ = fn.value_and_grad(net, loss)(params, *data)
    assert number == pytest.approx(expected, rel=1e-12)
    assert fn.evaluate(net, {"a": fn.accuracy, "l": loss}, params, data)["l"] == pytest.approx(expected, rel=1e-12)
    step = fn.train_step(net, loss, STILL, metrics={"accuracy": fn.accuracy}, check_finite=True)
    fitted = fn.fit(step, params, data, 1, 8, validation=data)
    np.testing.assert_allclose(fitted.history["loss"], [expected], rtol=1e-12)
    np.testing.assert_allclose(fitted.history["accuracy"], [fn.accuracy(outputs, target, W)], rtol=1e-12)
    with pytest.raises(fn.NonFiniteError, match="input 1 has 120 NaN"):
        step(params, step.init(params), X, X * np.nan, target, W)
    with pytest.raises(fn.DTypeError, match="input 1 has dtype int64, not a floating one"):
        step(params, step.init(params), X, np.ones((30, 4), int), target, W)
    with pytest.raises(fn.ShapeError, match="none is left for the network"):
        step(params, step.init(params), target, W)
