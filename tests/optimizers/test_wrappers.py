"""Optimizers around optimizers: accumulated gradients, masked and frozen params."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.optimizers.base import Elementwise

PARAMS: Any = {
    1: fn.Affine(np.ones((2, 3)), np.ones(3)),
    "head": (fn.Affine(np.ones((3, 1)), np.ones(1)), ()),
}
ONES: Any = tree.map(np.ones_like, PARAMS)


def sums(updates: Any) -> list[float]:
    return [float(np.sum(u)) for u in tree.leaves(updates)]


def test_k_gradients_are_one_of_their_mean() -> None:
    rng = np.random.default_rng(0)
    gs = [rng.normal(size=4) for _ in range(12)]
    slow, fast = fn.accumulate(fn.adam(0.1), 3), fn.adam(0.1)
    p = q = np.zeros(4)
    a, b = slow.init(p), fast.init(q)
    for i, g in enumerate(gs):
        u, a = slow.update(g, a, p)
        p = fn.apply_updates(p, u)
        if i % 3 < 2:
            np.testing.assert_array_equal(u, np.zeros(4))
            continue
        np.testing.assert_array_equal(a.mean, np.zeros(4))
        u, b = fast.update(np.mean(gs[i - 2 : i + 1], axis=0), b, q)
        q = fn.apply_updates(q, u)
        np.testing.assert_allclose(p, q, rtol=1e-12)


def test_a_state_between_two_updates_is_the_callers_own() -> None:
    net = fn.linear(2)
    params, _ = net.init(fn.key(0), (2,))
    x = np.ones((3, 2), np.float32)
    step = fn.train_step(net, fn.mse(), fn.accumulate(fn.adam(0.1), 3))
    _, first, _ = step(params, step.init(params), x, x)
    _, second, _ = step(params, first, x, x)
    kept = [np.shares_memory(a, b) for a, b in zip(tree.leaves(first), tree.leaves(second), strict=True)]
    assert len(kept) > 8
    assert not any(kept)


def test_accumulating_one_is_the_optimizer_itself() -> None:
    g = np.array([1.0, 2.0])
    u, _ = fn.accumulate(fn.sgd(0.1, 0.9), 1).update(g, fn.accumulate(fn.sgd(0.1, 0.9), 1).init(g), g)
    np.testing.assert_array_equal(u, -0.1 * g)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, None])
def test_a_number_of_gradients_is_an_int_of_at_least_one(k: Any) -> None:
    with pytest.raises(fn.OptionError, match="k must be an int of at least 1"):
        fn.accumulate(fn.adam(0.1), k)


def test_accumulation_is_uniform_where_its_optimizer_is() -> None:
    assert isinstance(fn.accumulate(fn.adam(0.1), 2).update, Elementwise)
    assert not isinstance(fn.accumulate(fn.freeze(1), 2).update, Elementwise)


WHERE: list[tuple[Any, list[float]]] = [
    (1, [0, 0, 3, 1]),
    ("head", [6, 3, 0, 0]),
    ([1, "head"], [0, 0, 0, 0]),
    ({"head"}, [6, 3, 0, 0]),
    ((), [6, 3, 3, 1]),
    (lambda path: path.endswith(".bias"), [6, 0, 3, 0]),
    (lambda path: path.startswith("['head'][0]"), [6, 3, 0, 0]),
]


@pytest.mark.parametrize(("where", "expected"), WHERE)
def test_frozen_params_get_updates_of_zero(where: Any, expected: list[float]) -> None:
    transform = fn.freeze(where)
    updates, _ = transform.update(ONES, transform.init(PARAMS), PARAMS)
    assert sums(updates) == expected
    assert tree.structure(updates) == tree.structure(PARAMS)


@pytest.mark.parametrize(("where", "expected"), WHERE)
def test_masked_is_for_the_chosen_and_the_others_pass(where: Any, expected: list[float]) -> None:
    transform = fn.masked(fn.sgd(1.0), where)
    updates, _ = transform.update(ONES, transform.init(PARAMS), PARAMS)
    whole = [6.0, 3.0, 3.0, 1.0]
    assert sums(updates) == [passed - (total - passed) for passed, total in zip(expected, whole, strict=True)]


def test_what_is_masked_sees_the_chosen_params() -> None:
    transform = fn.masked(fn.add_decayed_weights(0.5), "head")
    updates, _ = transform.update(ONES, transform.init(PARAMS), tree.map(lambda p: 4 * p, PARAMS))
    assert sums(updates) == [6, 3, 9, 3]


def test_a_masked_state_holds_the_chosen_alone() -> None:
    state, _ = fn.masked(fn.adam(0.1), lambda path: path.endswith(".weight")).init(PARAMS)
    assert [x.shape for x in tree.leaves(state.mu)] == [(2, 3), (3, 1)]
    assert state.mu[1].bias is None


def test_a_frozen_layer_keeps_its_bits_in_training() -> None:
    net = fn.network({1: fn.linear(3), 2: fn.tanh(), 3: fn.linear(1)}, {1: [2], 2: [3]})
    first, _ = net.init(fn.key(0), (2,))
    x, t = np.ones((4, 2), np.float32), np.zeros((4, 1), np.float32)
    step = fn.train_step(net, fn.mse(), fn.chain(fn.adamw(0.01), fn.freeze(1)))
    params, state = first, step.init(first)
    for _ in range(5):
        params, state, _ = step(params, state, x, t)
    np.testing.assert_array_equal(params[1].weight, first[1].weight)
    assert not np.array_equal(params[3].weight, first[3].weight)


def test_masks_nest_and_pickle() -> None:
    transform = pickle.loads(pickle.dumps(fn.masked(fn.masked(fn.sgd(1.0), ["head"]), {"head", 1})))
    updates, _ = transform.update(ONES, transform.init(PARAMS), PARAMS)
    assert sums(updates) == [6, 3, -3, -1]


def test_a_key_that_is_not_there_is_reported_with_those_that_are() -> None:
    for transform in (fn.freeze("haed"), fn.freeze([1, 2]), fn.masked(fn.adam(0.1), 2)):
        with pytest.raises(fn.ParamsError, match=r"no operator with params has the key .*; there are \[1, 'head'\]"):
            transform.init(PARAMS)


def test_keys_choose_in_a_dict_only() -> None:
    transform = fn.freeze(1)
    with pytest.raises(fn.ParamsError, match="by a predicate on the path"):
        transform.init(PARAMS[1])
    by_path = fn.freeze(lambda path: path == ".bias")
    assert sums(by_path.update(ONES[1], by_path.init(PARAMS[1]), None)[0]) == [6, 0]


@pytest.mark.parametrize("where", [None, 1.5, True, [1, None], [[1]]])
def test_what_is_no_key_is_reported(where: Any) -> None:
    for make in (fn.freeze, lambda where: fn.masked(fn.sgd(0.1), where)):
        with pytest.raises(fn.OptionError, match="masked: params are chosen by an operator's key"):
            make(where)


def test_what_is_wrapped_is_an_optimizer() -> None:
    adam: Any = fn.adam
    with pytest.raises(fn.OptionError, match=r"accumulate: argument 0 is .* and not an optimizer"):
        fn.accumulate(adam, 2)
    with pytest.raises(fn.OptionError, match=r"masked: argument 0 is .* and not an optimizer"):
        fn.masked(adam, 1)
