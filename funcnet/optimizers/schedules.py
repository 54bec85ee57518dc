"""Schedules: a learning rate, or any other number, as a function of the number of updates so far.

A schedule is a function `(count) -> float`, of a user's own too. Those made here pickle, and the functions that make
them raise OptionError for an option out of range: lengths and boundaries are ints, all other options finite numbers.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from operator import mul
from typing import TypeAlias, cast

import numpy as np

from funcnet.calling import check_takes
from funcnet.display import call_forgotten, shows_call
from funcnet.errors import OptionError
from funcnet.options import count, finite, flag, fraction, natural, not_negative, positive

Schedule: TypeAlias = Callable[[int], float]
"""The number of updates so far -> the number to use in the next one."""
LARGEST = 700.0  # beyond whose exponential Python raises OverflowError


def check_schedule(name: str, schedule: object) -> None:
    """Refuse anything but a function of a count."""
    if not callable(schedule):
        raise OptionError(
            f"{name}: a schedule is a function of the count, such as fn.linear_schedule(...), not {schedule!r:.60}"
        )
    if hint := call_forgotten(schedule):
        raise OptionError(f"{name} must be a schedule, not the function that makes one{hint}")
    check_takes(name, schedule, "count")


def value_at(schedule: Schedule, t: int) -> float:
    """s(t), which must be a number, also of a user's own schedule."""
    return finite("the number that a schedule returns", schedule(t))


@shows_call
def constant_schedule(value: float) -> Schedule:
    """A learning rate that does not change.

    s(t) = value        (Optax: constant_schedule)

    Raises OptionError for a value that is not finite.
    """
    return partial(_constant, finite("value", value))


def _constant(value: float, t: int) -> float:
    return value


@shows_call
def linear_schedule(init_value: float, end_value: float, transition_steps: int, transition_begin: int = 0) -> Schedule:
    """A straight line from one value to another.

    s(t) = a + (b - a) u,  u = (t - transition_begin) / transition_steps cut to [0, 1]

    a = init_value, b = end_value; a warm-up is a line from 0. (Optax: linear_schedule)
    Raises OptionError for values that are not finite, transition_steps below 1, a negative transition_begin.
    Example: `fn.sgd(fn.linear_schedule(0.1, 0.01, 1000))`.
    """
    a, b = finite("init_value", init_value), finite("end_value", end_value)
    return partial(
        _linear, a, b, count("transition_steps", transition_steps), natural("transition_begin", transition_begin)
    )


def _linear(a: float, b: float, steps: int, begin: int, t: int) -> float:
    return a + (b - a) * min(max(t - begin, 0), steps) / steps


@shows_call
def exponential_decay(
    init_value: float,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    *,
    staircase: bool = False,
    end_value: float | None = None,
) -> Schedule:
    """Exponential decay, smooth or in stairs.

    s(t) = init_value decay_rate^u,  u = max(t - transition_begin, 0) / transition_steps

    staircase: u is cut to an integer.     end_value: where the decay, or the growth for a rate above 1, stops.
    (Optax: exponential_decay)
    Raises OptionError for values that are not finite, a decay_rate not above 0, transition_steps below 1.
    """
    a, rate = finite("init_value", init_value), positive("decay_rate", decay_rate)
    steps, begin = count("transition_steps", transition_steps), natural("transition_begin", transition_begin)
    end = None if end_value is None else finite("end_value", end_value)
    return partial(_exponential, a, steps, rate, begin, flag("staircase", staircase), end)


def _exponential(a: float, steps: int, rate: float, begin: int, staircase: bool, end: float | None, t: int) -> float:
    u = max(t - begin, 0) / steps
    u = math.floor(u) if staircase else u
    value = a * (math.pow(rate, u) if u * math.log(rate) < LARGEST else math.inf)
    if end is None:
        return value
    return max(value, end) if rate < 1 else min(value, end)


@shows_call
def cosine_decay_schedule(init_value: float, decay_steps: int, alpha: float = 0.0, exponent: float = 1.0) -> Schedule:
    """Half a cosine down from the first value, over a number of steps.

    s(t) = init_value ((1 - alpha) c^exponent + alpha),  c = (1 + cos(pi min(t / decay_steps, 1))) / 2

    alpha: the fraction of init_value at the end. (Loshchilov and Hutter 2017; Optax: cosine_decay_schedule)
    Raises OptionError for values that are not finite, decay_steps below 1, an exponent not above 0.
    Example: `fn.adam(fn.cosine_decay_schedule(1e-3, 1000))`.
    """
    a, end = finite("init_value", init_value), finite("alpha", alpha)
    return partial(_cosine, a, count("decay_steps", decay_steps), end, positive("exponent", exponent))


def _cosine(a: float, steps: int, alpha: float, exponent: float, t: int) -> float:
    c = 0.5 * (1.0 + math.cos(math.pi * min(t, steps) / steps))
    return a * ((1.0 - alpha) * math.pow(c, exponent) + alpha)


@shows_call
def piecewise_constant_schedule(init_value: float, boundaries_and_scales: Mapping[int, float]) -> Schedule:
    """Stairs: constant between boundaries, scaled at each.

    s(t) = init_value times the scales of all boundaries b <= t        (Optax: piecewise_constant_schedule)

    boundaries_and_scales: {boundary: scale}, for instance {1000: 0.1, 2000: 0.1}.
    Raises OptionError for anything but a dict, for negative boundaries or scales.
    """
    if not isinstance(cast("object", boundaries_and_scales), Mapping):
        raise OptionError(
            f"boundaries_and_scales must be a dict, such as {{1000: 0.1}}, not {boundaries_and_scales!r:.60}"
        )
    boundaries = sorted(natural("a boundary", b) for b in boundaries_and_scales)
    scales = [not_negative(f"the scale at {b}", boundaries_and_scales[b]) for b in boundaries]
    values = tuple(accumulate(scales, mul, initial=finite("init_value", init_value)))
    return partial(_piecewise, tuple(boundaries), values)


def _piecewise(boundaries: tuple[int, ...], values: tuple[float, ...], t: int) -> float:
    return values[bisect_right(boundaries, t)]


@shows_call
def join_schedules(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """Several schedules one after another.

    s(t) = s_i(t - b_i) from boundary b_i on, where the next schedule begins        (Optax: join_schedules)

    boundaries: one fewer than the schedules, in rising order; the first schedule begins at 0.
    Raises OptionError for another number of boundaries, and for boundaries that do not rise.
    """
    for name, given in (("schedules", schedules), ("boundaries", boundaries)):
        if not isinstance(cast("object", given), (Sequence, np.ndarray)):
            raise OptionError(f"join_schedules: {name} must be a list, not {given!r:.60}")
    for schedule in schedules:
        check_schedule("join_schedules", schedule)
    starts = [0, *(natural("a boundary", b) for b in boundaries)]
    if not len(schedules) or len(starts) != len(schedules):
        raise OptionError(
            f"join_schedules: {len(schedules)} schedules need {max(len(schedules) - 1, 0)} boundaries between them, "
            f"not {len(starts) - 1}"
        )
    if starts != sorted(starts):
        raise OptionError(f"join_schedules: boundaries must rise, not {list(boundaries)}: sort them")
    return partial(_joined, tuple(schedules), tuple(starts))


def _joined(schedules: tuple[Schedule, ...], starts: tuple[int, ...], t: int) -> float:
    i = bisect_right(starts, t) - 1
    return schedules[i](t - starts[i])


@shows_call
def warmup_cosine_decay_schedule(
    init_value: float,
    peak_value: float,
    warmup_steps: int,
    decay_steps: int,
    end_value: float = 0.0,
    exponent: float = 1.0,
) -> Schedule:
    """A line from init_value to peak_value over warmup_steps, then a cosine down to end_value at decay_steps.

    s(t) = init_value + (peak_value - init_value) t / warmup_steps while t < warmup_steps; then `cosine_decay_schedule`

    decay_steps counts from the very first step, so it is above warmup_steps. (Optax: warmup_cosine_decay_schedule)
    Raises OptionError for a decay_steps not above warmup_steps, a peak_value not above 0.
    """
    peak, steps = positive("peak_value", peak_value), count("warmup_steps", warmup_steps)
    whole = count("decay_steps", decay_steps)
    if whole <= steps:
        raise OptionError(f"decay_steps includes the warm-up, so it must be above warmup_steps {steps}: not {whole}")
    decay = cosine_decay_schedule(peak, whole - steps, finite("end_value", end_value) / peak, exponent)
    return join_schedules([linear_schedule(init_value, peak, steps), decay], [steps])


@shows_call
def onecycle_schedule(
    transition_steps: int,
    peak_value: float,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    """Half a cosine up from peak_value / div_factor to peak_value, then half a cosine down to the end.

    s(t) = a + (b - a) (1 - cos(pi u)) / 2, from a to b as u goes from 0 to 1

    The way up takes the fraction pct_start of all steps; the end is peak_value / (div_factor final_div_factor).
    (Smith and Topin 2018; Optax: cosine_onecycle_schedule, PyTorch: OneCycleLR)
    Raises OptionError for a pct_start outside [0, 1), and for a peak_value or factor not above 0.
    """
    steps, peak = count("transition_steps", transition_steps), positive("peak_value", peak_value)
    up = int(fraction("pct_start", pct_start) * steps)
    low = peak / positive("div_factor", div_factor)
    return partial(_onecycle, low, peak, low / positive("final_div_factor", final_div_factor), up, steps)


def _onecycle(low: float, peak: float, end: float, up: int, steps: int, t: int) -> float:
    if t < up:
        return _half_cosine(low, peak, t / up)
    return _half_cosine(peak, end, min((t - up) / (steps - up), 1.0))


def _half_cosine(start: float, end: float, u: float) -> float:
    """From start at u = 0 to end at u = 1, level at both."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * u))
