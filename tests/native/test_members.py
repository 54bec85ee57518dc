"""Many members in one call of native code: each has the bits of the member alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet.native.members import run_members
from funcnet.training.vmap import member
from tests.exports.running import needs_compiler

pytestmark = needs_compiler

COUNT = 300  # more than one call makes
NET = fn.network({1: fn.linear(5), 2: fn.tanh(), 3: fn.linear(2)}, {1: [2], 2: [3]}, output=[2, 3])
ONE: Any = fn.serial(fn.linear(5), fn.tanh(), fn.linear(2))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many members each call of native code has."""
    found: list[int] = []

    def counted(space: Any, rows: Any, *given: Any) -> Any:
        found.append(len(rows))
        return run_members(space, rows, *given)

    monkeypatch.setattr("funcnet.native.program.run_members", counted)
    return found


def drawn(net: Any, rows: int = 7) -> tuple[list[Any], Any, Any, Any]:
    members = [net.init(key, (3,))[0] for key in fn.split(fn.key(0), COUNT)]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(COUNT, rows, 3)).astype(np.float32)
    t = rng.normal(size=(COUNT, rows, 2)).astype(np.float32)
    return members, fn.tree.map(lambda *leaves: np.array(leaves), *members), x, t


def same(a: Any, b: Any) -> None:
    for x, y in zip(fn.tree.leaves(a), fn.tree.leaves(b), strict=True):
        assert np.asarray(x).dtype == np.asarray(y).dtype
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("rows", [7, 1200], ids=["whole", "in blocks"])
def test_steps_and_gradients(calls: list[int], rows: int) -> None:
    members, params, x, t = drawn(ONE, rows)
    step = fn.jit(fn.sgd_step(ONE, fn.mse(), learning_rate=0.1))
    gradient = fn.jit(fn.value_and_grad(ONE, fn.mse()))
    before = params[0].weight.copy()
    new, losses = fn.vmap(step)(params, x, t)
    shared, shared_losses = fn.vmap(step, in_axes=(0, None, 0))(params, x[0], t)
    found, slopes = fn.vmap(gradient)(params, x, t)
    assert calls == [COUNT] * 3
    for i in (0, 1, 255, 256, COUNT - 1):
        same((member(new, i), losses[i]), step(members[i], x[i], t[i]))
        same((member(shared, i), shared_losses[i]), step(members[i], x[0], t[i]))
        same((found[i], member(slopes, i)), gradient(members[i], x[i], t[i]))
    np.testing.assert_array_equal(params[0].weight, before)


def test_outputs(calls: list[int]) -> None:
    members, params, x, _ = drawn(NET)
    net = fn.jit(NET)
    y, z = fn.vmap(net.apply)(params, x)
    assert calls == [COUNT]
    for i in (0, 3, COUNT - 1):
        same((y[i], z[i]), net.apply(members[i], x[i]))


def test_one_net_on_many_batches_in_float64_arrays(calls: list[int]) -> None:
    members, _, x, t = drawn(ONE)
    step = fn.jit(fn.sgd_step(ONE, fn.mse(), learning_rate=0.1))
    new, losses = fn.vmap(step, in_axes=(None, 0, None))(members[0], x.astype(np.float64)[:, ::-1], t[1])
    assert calls == [COUNT]
    for i in (0, COUNT - 1):
        same((member(new, i), losses[i]), step(members[0], x[i, ::-1], t[1]))


def test_what_takes_a_call_a_member(calls: list[int]) -> None:
    members, params, x, t = drawn(ONE)
    checked = fn.jit(fn.sgd_step(ONE, fn.mse(), learning_rate=0.1, check_finite=True))
    with_state = fn.jit(fn.train_step(ONE, fn.mse(), fn.adam(0.1)))
    new, _ = fn.vmap(checked)(params, x, t)
    every = fn.vmap(with_state)
    trained, _, _ = every(params, every.init(params), x, t)
    assert calls == []
    same(member(new, 3), checked(members[3], x[3], t[3])[0])
    same(member(trained, 3), with_state(members[3], with_state.init(members[3]), x[3], t[3])[0])
    x[4, 0, 0] = np.nan
    with pytest.raises(fn.NonFiniteError, match="member 4"):
        fn.vmap(checked)(params, x, t)
