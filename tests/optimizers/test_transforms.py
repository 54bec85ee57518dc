"""Transforms of gradients: clipping, decay, schedules, averages. Optax's are met in test_optimizers.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcnet as fn

U = {1: np.array([3.0, -4.0]), 2: np.array([[0.5], [12.0]])}


def updates_of(transform: fn.Optimizer, updates: Any, params: Any = None) -> Any:
    return transform.update(updates, transform.init(updates), params)[0]


def test_clip_cuts_each_element() -> None:
    new = updates_of(fn.clip(2.0), U)
    np.testing.assert_array_equal(new[1], [2.0, -2.0])
    np.testing.assert_array_equal(new[2], [[0.5], [2.0]])


def test_clip_by_norm_shrinks_each_array_by_itself() -> None:
    new = updates_of(fn.clip_by_norm(1.0), U)
    np.testing.assert_allclose(new[1], [0.6, -0.8])
    assert np.linalg.norm(new[2]) == pytest.approx(1.0)
    assert updates_of(fn.clip_by_norm(5.0), U)[1].tolist() == [3.0, -4.0]


def test_clip_by_norm_of_each_array_is_a_global_norm_of_it_alone() -> None:
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    with jax.enable_x64(True):
        for key, u in U.items():
            theirs, _ = optax.clip_by_global_norm(2.5).update(u, optax.EmptyState())
            np.testing.assert_allclose(updates_of(fn.clip_by_norm(2.5), U)[key], theirs, rtol=1e-14)


def test_clip_by_global_norm_shrinks_all_alike() -> None:
    length = np.sqrt(9 + 16 + 0.25 + 144)
    new = updates_of(fn.clip_by_global_norm(1.0), U)
    for key, u in U.items():
        np.testing.assert_allclose(new[key], u / length, rtol=1e-14)
    for most in (length, 1e3):
        same = updates_of(fn.clip_by_global_norm(most), U)
        np.testing.assert_array_equal(same[2], U[2])


def test_a_gradient_of_zeros_is_not_divided_by_its_length() -> None:
    zero = {1: np.zeros(3)}
    for transform in (fn.clip_by_norm(1.0), fn.clip_by_global_norm(1.0)):
        np.testing.assert_array_equal(updates_of(transform, zero)[1], np.zeros(3))


def test_decay_needs_the_params() -> None:
    u = np.array([1.0])
    np.testing.assert_allclose(updates_of(fn.add_decayed_weights(0.1), u, np.array([5.0])), [1.5])
    with pytest.raises(fn.ParamsError, match=r"call update\(gradient, state, params\)"):
        updates_of(fn.add_decayed_weights(0.1), u)


def test_decay_of_some() -> None:
    params = {1: fn.Affine(np.ones((1, 1)), np.ones(1)), 2: fn.Weight(np.ones((1, 1)))}
    zero = {1: fn.Affine(np.zeros((1, 1)), np.zeros(1)), 2: fn.Weight(np.zeros((1, 1)))}
    new = updates_of(fn.add_decayed_weights(0.1, lambda path: path.endswith(".weight")), zero, params)
    assert (new[1].weight.item(), new[1].bias.item(), new[2].weight.item()) == (0.1, 0.0, 0.1)
    new = updates_of(fn.add_decayed_weights(0.1, 2), zero, params)
    assert (new[1].weight.item(), new[2].weight.item()) == (0.0, 0.1)


def test_a_schedule_scales_by_the_number_of_updates_before() -> None:
    transform = fn.scale_by_schedule(lambda t: float(t + 1))
    u, found = np.array([2.0]), []
    state = transform.init(u)
    for _ in range(3):
        new, state = transform.update(u, state)
        found.append(new.item())
    assert found == [2.0, 4.0, 6.0]
    assert state == (3, 4.0)


def test_an_average_of_equal_updates_is_that_update() -> None:
    u = np.array([2.0])
    transform, biased = fn.ema(0.9), fn.ema(0.9, debias=False)
    a, b = transform.init(u), biased.init(u)
    for t in range(1, 5):
        new, a = transform.update(u, a)
        raw, b = biased.update(u, b)
        np.testing.assert_allclose(new, u)
        np.testing.assert_allclose(raw, u * (1 - 0.9**t))


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: fn.clip(0.0), "max_delta must be a finite number above 0, not 0.0"),
    (lambda: fn.clip_by_norm(-1.0), "max_norm must be a finite number above 0, not -1.0"),
    (lambda: fn.clip_by_global_norm(float("inf")), "max_norm must be a finite number above 0, not inf"),
    (lambda: fn.add_decayed_weights(-0.1), "weight_decay must be at least 0, not -0.1"),
    (lambda: fn.ema(1.0), r"decay must be in \[0, 1\), not 1\.0"),
    (lambda: fn.scale_by_schedule(0.1), "a schedule is a function of the count, such as"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("make", "words"), WRONG)
def test_bad_options_are_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(fn.OptionError, match=words):
        make()
