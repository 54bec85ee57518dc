"""`fit` by native code: many steps in one call, with the bits of the loop of steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcnet as fn
from tests.exports.running import needs_compiler
from tests.native.test_jit import NET, batch
from tests.native.test_scanning import CLASSES, bits

pytestmark = needs_compiler

ROWS = 23
KEY = fn.key(3)


def loop(step: Any, params: Any, data: Any, epochs: int, size: int) -> tuple[Any, Any, list[list[Any]]]:
    """(params, state, losses of each epoch) by one call a step."""
    state, losses = step.init(params), list[list[Any]]()
    for epoch in range(epochs):
        losses.append([])
        for given in fn.minibatches(data, size, fn.fold_in(fn.fold_in(KEY, epoch), "shuffle")):
            params, state, loss = step(params, state, *given)
            losses[-1].append((loss, len(given[0])))
    return params, state, losses


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many steps each call of native code went through."""
    found: list[int] = []
    step: Any = type(fn.jit(fn.train_step(NET, fn.mse(), fn.sgd(0.1))))
    scanned: Any = step.scanned

    def count(self: Any, params: Any, state: Any, arrays: Any, key: Any) -> Any:
        found.append(len(arrays[0]))
        return scanned(self, params, state, arrays, key)

    monkeypatch.setattr(step, "scanned", count)
    return found


@pytest.mark.parametrize("group_bytes", [1 << 22, 200], ids=["an epoch in one call", "in several"])
def test_the_bits_of_the_loop_of_steps(group_bytes: int, calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("funcnet.training.epoch.GROUP_BYTES", group_bytes)
    params, _ = NET.init(fn.key(0), (2,))
    data, step = batch(ROWS), fn.jit(fn.train_step(NET, fn.mse(), fn.adam(0.01)))
    fitted = fn.fit(step, params, data, 3, 4, KEY)
    assert sum(calls) == 3 * 6
    assert len(calls) == (3 * 2 if group_bytes > 200 else 3 * 3)  # a batch has 64 bytes, the last one 48
    new, state, losses = loop(step, params, data, 3, 4)
    assert bits((fitted.params, fitted.state)) == bits((new, state))
    means = [sum(loss * n for loss, n in epoch) / ROWS for epoch in losses]
    np.testing.assert_allclose(fitted.history["loss"], means, rtol=1e-6)


def test_plain_descent_and_batches_of_all_shapes(calls: list[int]) -> None:
    params, _ = NET.init(fn.key(0), (2,))
    x, target = batch(12)
    batches = [(x[rows], target[rows]) for rows in (slice(0, 3), slice(3, 6), slice(6, 10), slice(10, 12))]
    step = fn.jit(fn.sgd_step(NET, fn.mse(), learning_rate=0.1))
    fitted = fn.fit(step, params, batches, 2)
    for given in batches * 2:
        params, _ = step(params, *given)
    assert bits(fitted.params) == bits(params)
    assert not calls  # those of train_step


def test_weights_are_weighed() -> None:
    params, _ = NET.init(fn.key(0), (2,))
    x, target = batch(ROWS)
    data = x, target, np.linspace(0.5, 2, ROWS, dtype=np.float32)
    step = fn.train_step(NET, fn.mse(weighted=True), fn.sgd(0.1))
    found, right = (fn.fit(each, params, data, 2, 4, KEY).history["loss"] for each in (fn.jit(step), step))
    np.testing.assert_allclose(found, right, rtol=1e-5)


def test_metrics_are_of_the_whole_epoch(calls: list[int]) -> None:
    params, _ = CLASSES.init(fn.key(0), (2,))
    data = batch(ROWS)[0], np.arange(ROWS) % 3
    step = fn.train_step(CLASSES, fn.softmax_cross_entropy(), fn.adam(0.01), metrics={"accuracy": fn.accuracy})
    found, right = (fn.fit(each, params, data, 2, 4, KEY).history for each in (fn.jit(step), step))
    assert not calls
    np.testing.assert_allclose(found["accuracy"], right["accuracy"])
    np.testing.assert_allclose(found["loss"], right["loss"], rtol=1e-5)
    none = fn.train_step(CLASSES, fn.softmax_cross_entropy(), fn.adam(0.01), metrics={})
    np.testing.assert_array_equal(fn.fit(fn.jit(none), params, data, 2, 4, KEY).history["loss"], found["loss"])
    assert calls


@pytest.mark.parametrize("native", [False, True])
def test_an_error_is_that_of_the_step(native: bool) -> None:
    params, _ = CLASSES.init(fn.key(0), (2,))
    step = fn.train_step(CLASSES, fn.softmax_cross_entropy(), fn.adam(0.01))
    labels = np.arange(ROWS) % 3
    labels[9] = 5
    with pytest.raises(fn.LabelError, match=r"label 5 is none of the 3 classes") as caught:
        fn.fit(fn.jit(step) if native else step, params, (batch(ROWS)[0], labels), 2, 4)
    assert "scan" not in str(caught.value)


def test_it_resumes_to_the_same_bits() -> None:
    params, _ = NET.init(fn.key(0), (2,))
    step = fn.jit(fn.train_step(NET, fn.mse(), fn.adam(fn.cosine_decay_schedule(0.1, 20))))
    whole = fn.fit(step, params, batch(ROWS), 4, 4, KEY)
    half = fn.fit(step, params, batch(ROWS), 2, 4, KEY)
    assert bits(fn.fit(step, half, batch(ROWS), 4, 4, KEY)) == bits(whole)


def test_dropout_draws_a_mask_at_each_step(calls: list[int]) -> None:
    net = fn.serial(fn.linear(8), fn.dropout(0.5), fn.linear(2))
    params, _ = net.init(fn.key(0), (2,))
    step = fn.train_step(net, fn.mse(), fn.adam(0.01))
    found, right = (fn.fit(each, params, batch(ROWS), 2, 4, KEY).history["loss"] for each in (fn.jit(step), step))
    assert not calls
    np.testing.assert_allclose(found, right, rtol=1e-4)
