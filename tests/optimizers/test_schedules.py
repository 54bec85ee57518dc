"""Schedules: their values at the corners, against Optax over the whole range, and what is refused."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcnet as fn

# name, ours, Optax's
PAIRS: list[tuple[str, Callable[[], fn.Schedule], Callable[[Any], Any]]] = [
    ("constant", lambda: fn.constant_schedule(0.3), lambda o: o.constant_schedule(0.3)),
    ("linear", lambda: fn.linear_schedule(0.1, 0.9, 20, 5), lambda o: o.linear_schedule(0.1, 0.9, 20, 5)),
    ("linear down", lambda: fn.linear_schedule(1.0, 0.0, 7), lambda o: o.linear_schedule(1.0, 0.0, 7)),
    ("exponential", lambda: fn.exponential_decay(0.5, 8, 0.7, 3), lambda o: o.exponential_decay(0.5, 8, 0.7, 3)),
    (
        "exponential staircase",
        lambda: fn.exponential_decay(0.5, 8, 0.7, staircase=True, end_value=0.1),
        lambda o: o.exponential_decay(0.5, 8, 0.7, staircase=True, end_value=0.1),
    ),
    (
        "exponential growth",
        lambda: fn.exponential_decay(0.1, 4, 1.5, end_value=1.1),
        lambda o: o.exponential_decay(0.1, 4, 1.5, end_value=1.1),
    ),
    ("cosine", lambda: fn.cosine_decay_schedule(0.4, 30), lambda o: o.cosine_decay_schedule(0.4, 30)),
    (
        "cosine with a floor",
        lambda: fn.cosine_decay_schedule(0.4, 30, 0.1, 2.0),
        lambda o: o.cosine_decay_schedule(0.4, 30, 0.1, 2.0),
    ),
    (
        "piecewise",
        lambda: fn.piecewise_constant_schedule(0.8, {20: 0.5, 5: 0.1, 30: 0.0}),
        lambda o: o.piecewise_constant_schedule(0.8, {20: 0.5, 5: 0.1, 30: 0.0}),
    ),
    (
        "warm-up and cosine",
        lambda: fn.warmup_cosine_decay_schedule(0.01, 0.5, 6, 40, 0.05, 1.5),
        lambda o: o.warmup_cosine_decay_schedule(0.01, 0.5, 6, 40, 0.05, 1.5),
    ),
    ("one cycle", lambda: fn.onecycle_schedule(40, 0.5), lambda o: o.cosine_onecycle_schedule(40, 0.5)),
    (
        "one cycle of other shape",
        lambda: fn.onecycle_schedule(37, 2.0, 0.45, 10.0, 100.0),
        lambda o: o.cosine_onecycle_schedule(37, 2.0, 0.45, 10.0, 100.0),
    ),
    (
        "joined",
        lambda: fn.join_schedules([fn.linear_schedule(0.0, 1.0, 5), fn.constant_schedule(0.5)], [10]),
        lambda o: o.join_schedules([o.linear_schedule(0.0, 1.0, 5), o.constant_schedule(0.5)], [10]),
    ),
]
each_pair = pytest.mark.parametrize(("make", "oracle"), [row[1:] for row in PAIRS], ids=[row[0] for row in PAIRS])


@each_pair
def test_it_is_optax_in_double_precision(make: Callable[[], fn.Schedule], oracle: Callable[[Any], Any]) -> None:
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    ours = make()
    with jax.enable_x64(True):
        theirs = oracle(optax)
        for t in range(50):
            assert ours(t) == pytest.approx(float(theirs(t)), rel=1e-13, abs=1e-16)


@each_pair
def test_it_gives_floats_and_pickles(make: Callable[[], fn.Schedule], oracle: Any) -> None:
    schedule = make()
    again = pickle.loads(pickle.dumps(schedule))
    for t in (0, 1, 5, 6, 40, 10**6):
        assert type(schedule(t)) is float
        assert schedule(t) == again(t)


def test_values_at_the_corners() -> None:
    linear = fn.linear_schedule(1.0, 0.0, 10, 5)
    assert [linear(t) for t in (0, 5, 10, 15, 99)] == [1.0, 1.0, 0.5, 0.0, 0.0]
    steps = fn.piecewise_constant_schedule(8.0, {2: 0.5, 4: 0.5})
    assert [steps(t) for t in range(6)] == [8.0, 8.0, 4.0, 4.0, 2.0, 2.0]
    cosine = fn.cosine_decay_schedule(2.0, 4)
    assert [cosine(t) for t in (0, 2, 4, 5)] == pytest.approx([2.0, 1.0, 0.0, 0.0])
    warm = fn.warmup_cosine_decay_schedule(0.0, 3.0, 3, 9, 1.0)
    assert [warm(t) for t in (0, 1, 3, 6, 9, 20)] == pytest.approx([0.0, 1.0, 3.0, 2.0, 1.0, 1.0])
    cycle = fn.onecycle_schedule(10, 1.0, 0.5, 4.0, 5.0)
    assert [cycle(t) for t in (0, 5, 10, 11)] == pytest.approx([0.25, 1.0, 0.05, 0.05])
    assert fn.exponential_decay(1.0, 2, 0.25)(1) == 0.5


def test_a_cycle_may_begin_at_its_peak() -> None:
    cycle = fn.onecycle_schedule(10, 1.0, 0.0)
    assert [cycle(0), cycle(10)] == pytest.approx([1.0, 1 / 25e4])


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: fn.constant_schedule(math.nan), "value must be a finite number"),
    (lambda: fn.linear_schedule(1.0, 0.0, 0), "transition_steps must be an int of at least 1, not 0"),
    (lambda: fn.linear_schedule(1.0, 0.0, -3), "transition_steps must be an int of at least 1, not -3"),
    (lambda: fn.linear_schedule(1.0, 0.0, 10.5), "transition_steps must be an int"),  # type: ignore[arg-type]
    (lambda: fn.linear_schedule(1.0, 0.0, 1, -1), "transition_begin must be an int of at least 0, not -1"),
    (lambda: fn.exponential_decay(1.0, 10, 0.0), "decay_rate must be a finite number above 0"),
    (lambda: fn.exponential_decay(1.0, 0, 0.5), "transition_steps must be"),
    (lambda: fn.cosine_decay_schedule(1.0, 0), "decay_steps must be an int of at least 1, not 0"),
    (lambda: fn.cosine_decay_schedule(1.0, 1, exponent=-1), "exponent must be"),
    (lambda: fn.piecewise_constant_schedule(1.0, {-1: 0.1}), "a boundary must be an int of at least 0, not -1"),
    (lambda: fn.piecewise_constant_schedule(1.0, {3: -0.1}), r"the scale at 3 must be at least 0, not -0\.1"),
    (lambda: fn.warmup_cosine_decay_schedule(0.0, 1.0, 10, 10), "must be above warmup_steps 10: not 10"),
    (lambda: fn.warmup_cosine_decay_schedule(0.0, 0.0, 10, 20), "peak_value must be"),
    (lambda: fn.onecycle_schedule(10, 1.0, 1.0), r"pct_start must be in \[0, 1\), not 1\.0"),
    (lambda: fn.onecycle_schedule(0, 1.0), "transition_steps must be"),
    (lambda: fn.onecycle_schedule(10, 1.0, div_factor=0), "div_factor must be"),
    (lambda: fn.piecewise_constant_schedule(1.0, None), "boundaries_and_scales must be a dict"),  # type: ignore[arg-type]
    (lambda: fn.join_schedules(fn.constant_schedule(1.0), [3]), "schedules must be a list"),  # type: ignore[arg-type]
    (lambda: fn.join_schedules([fn.constant_schedule(1.0)], 3), "boundaries must be a list, not 3"),  # type: ignore[arg-type]
    (lambda: fn.join_schedules([1.0, 2.0], [3]), r"join_schedules: a schedule is a function of the count.*not 1\.0"),  # type: ignore[list-item]
    (lambda: fn.join_schedules([], []), "0 schedules need 0 boundaries"),
    (lambda: fn.join_schedules([fn.constant_schedule(1.0)], [3]), "1 schedules need 0 boundaries between them, not 1"),
    (lambda: fn.join_schedules([fn.constant_schedule(1.0)] * 3, [5, 3]), r"boundaries must rise, not \[5, 3\]: sort"),
]


@pytest.mark.parametrize(("make", "words"), WRONG)
def test_bad_options_are_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(fn.OptionError, match=words):
        make()


@pytest.mark.parametrize("value", [None, "0.1", math.nan, math.inf, True])
def test_what_a_schedule_returns_is_checked(value: Any) -> None:
    for make in (fn.adam, fn.scale_by_schedule):
        with pytest.raises(fn.OptionError, match="the number that a schedule returns must be a finite number, not"):
            make(lambda t: value).init(np.zeros(2))
        later = make(lambda t: value if t else 0.1)
        with pytest.raises(fn.OptionError, match="the number that a schedule returns"):
            later.update(np.zeros(2), later.init(np.zeros(2)))
