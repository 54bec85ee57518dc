"""What optimizers are made of: chains, updates of trees and of bare arrays, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.optimizers.base import Elementwise, each

P: Any = {1: fn.Affine(np.ones((2, 3), np.float32), np.zeros(3, np.float32)), "out": (np.ones(1, np.float32), None)}


def test_updates_are_added_to_params() -> None:
    new = fn.apply_updates(P, tree.map(lambda p: 2 * p + 1, P))
    np.testing.assert_array_equal(new[1].weight, np.full((2, 3), 4.0))
    np.testing.assert_array_equal(new[1].bias, np.ones(3))
    assert list(new) == [1, "out"]
    assert new[1].weight.dtype == np.float32


def test_dicts_match_by_key_whatever_their_order() -> None:
    a, b = np.ones(2), np.full(2, 5.0)
    new = fn.apply_updates({1: a, 2: b}, {2: -b, 1: a})
    np.testing.assert_array_equal(new[1], [2.0, 2.0])
    np.testing.assert_array_equal(new[2], [0.0, 0.0])
    assert list(new) == [1, 2]


def test_a_scalar_param_stays_an_array() -> None:
    new = each(lambda x: x * 2.0, {1: np.array(1.5)})
    assert type(new[1]) is np.ndarray
    assert new[1] == 3.0


@pytest.mark.parametrize("other", [np.ones(1, np.float32), np.ones((3, 1), np.float32), np.ones(3, np.float64)])
def test_nothing_is_broadcast_or_promoted(other: Any) -> None:
    x = np.ones(3, np.float32)
    for a, b in ((x, other), ({1: x}, {1: other})):
        with pytest.raises(fn.ShapeError, match=r"float32 \(3,\) meets .*make the state anew"):
            fn.apply_updates(a, b)
        with pytest.raises(fn.ShapeError, match="must have the same shapes and dtypes"):
            fn.adam(1e-3).update(a, fn.adam(1e-3).init(b), None)


def test_a_state_of_other_params_is_refused() -> None:
    optimizer = fn.adam(1e-3)
    with pytest.raises(fn.ParamsError, match=r"params lacks 'out'"):
        optimizer.update(P, optimizer.init({1: P[1]}), P)


@pytest.mark.parametrize("params", [{1: np.ones(3, int)}, {1: 2.0}, {1: np.ones(2, np.float32), 2: np.ones(2)}])
def test_init_takes_params_only(params: Any) -> None:
    with pytest.raises(fn.ParamsError, match=r"params\["):
        fn.adam(1e-3).init(params)


def test_a_chain_feeds_each_part_the_updates_of_the_one_before() -> None:
    u = np.array([3.0, -4.0])
    for parts, expected in [
        ((fn.clip(1.0), fn.sgd(0.5)), [-0.5, 0.5]),
        ((fn.sgd(0.5), fn.clip(1.0)), [-1.0, 1.0]),
        ((), [3.0, -4.0]),
        ((fn.chain(fn.chain(fn.clip(2.0)), fn.sgd(1.0)), fn.clip_by_global_norm(1.0)), [-(0.5**0.5), 0.5**0.5]),
    ]:
        chain = fn.chain(*parts)
        state = chain.init(u)
        updates, after = chain.update(u, state, u)
        np.testing.assert_allclose(updates, expected)
        assert len(state) == len(after) == len(parts)


def test_a_chain_is_uniform_if_all_its_parts_are() -> None:
    assert isinstance(fn.chain(fn.clip(1.0), fn.clip_by_global_norm(1.0), fn.adamw(1e-3)).update, Elementwise)
    for part in (fn.clip_by_norm(1.0), fn.freeze(1), fn.adamw(1e-3, mask=1), fn.chain(fn.freeze(1))):
        assert not isinstance(fn.chain(fn.clip(1.0), part).update, Elementwise)


def test_a_chain_refuses_what_is_no_optimizer() -> None:
    with pytest.raises(fn.OptionError, match=r"chain: argument 1 is .*call it, fn\.adam\(\.\.\.\)"):
        fn.chain(fn.clip(1.0), fn.adam)  # type: ignore[arg-type]
    with pytest.raises(fn.OptionError, match="chain: argument 0 is 0.1 and not an optimizer"):
        fn.chain(0.1)  # type: ignore[arg-type]


def test_a_chain_refuses_the_state_of_another() -> None:
    u = np.ones(2)
    with pytest.raises(fn.ParamsError, match="state of a chain of 2 is a tuple of 2"):
        fn.adam(1e-3).update(u, fn.sgd(1e-3).init(u), u)
