"""Transforms of gradients: clipping, weight decay, schedules, moving averages."""

from __future__ import annotations

from functools import partial
from math import sqrt
from typing import Any, NamedTuple

import numpy as np

from funcnet import tree
from funcnet.arrays import Array, params_dtype
from funcnet.display import shows_call
from funcnet.errors import ParamsError
from funcnet.optimizers.base import (
    Elementwise,
    Optimizer,
    P,
    each,
    expect,
    full_like,
    no_state,
    number,
    run_stateless,
    stateless,
    whole,
)
from funcnet.optimizers.schedules import Schedule, check_schedule, value_at
from funcnet.optimizers.wrappers import Mask, masked
from funcnet.options import flag, fraction, not_negative, positive


@shows_call
def clip(max_delta: float) -> Optimizer:
    """Clip every element of the updates.

    u' = min(max(u, -max_delta), max_delta), element by element        (Optax: clip)

    Raises OptionError for a max_delta not above 0.
    """
    return stateless(partial(_clip, positive("max_delta", max_delta)))


def _clip(most: float, updates: P, params: P | None) -> P:
    return each(lambda u: np.clip(u, -most, most), updates)


@shows_call
def clip_by_norm(max_norm: float) -> Optimizer:
    """Scale each array of updates down where its norm is too large.

    u' = u min(1, max_norm / |u|) for each array u of the tree        (Keras: clipnorm)

    Raises OptionError for a max_norm not above 0.
    """
    most = positive("max_norm", max_norm)
    return Optimizer(no_state, partial(run_stateless, partial(_clip_by_norm, most)))


def _clip_by_norm(most: float, updates: P, params: P | None) -> P:
    return each(lambda u: u * _shrink(most, norm(u)), updates)


@shows_call
def clip_by_global_norm(max_norm: float) -> Optimizer:
    """Scale all updates down together where their common norm is too large.

    u' = u min(1, max_norm / |u|), |u| over all arrays together        (Pascanu et al. 2013; Optax)

    Raises OptionError for a max_norm not above 0.
    Example: `fn.chain(fn.clip_by_global_norm(1.0), fn.adam(1e-3))`.
    """
    return stateless(partial(_clip_by_global_norm, positive("max_norm", max_norm)))


def _clip_by_global_norm(most: float, updates: P, params: P | None) -> P:
    factor = _shrink(most, norm(updates))
    return updates if factor == 1.0 else each(lambda u: u * factor, updates)


def _shrink(most: float, length: float) -> float:
    return most / length if length >= most else 1.0


def norm(updates: Any) -> float:
    """The root of the sum of the squares of all elements."""
    leaves: list[Array] = tree.leaves(updates)
    try:
        return sqrt(sum(float(np.vdot(u, u)) for u in leaves))
    except (AttributeError, TypeError, ValueError):
        params_dtype(updates, leaves)  # names the leaf that is no array
        raise


@shows_call
def add_decayed_weights(weight_decay: float, mask: Mask | None = None) -> Optimizer:
    """Weight decay: add a part of the params to their updates.

    u' = u + weight_decay p        (Optax: add_decayed_weights)

    mask: which params decay, as `fn.masked` takes it; by default all.
    Raises OptionError for a negative weight_decay, ParamsError where update is given no params.
    """
    decay = stateless(partial(_decay, not_negative("weight_decay", weight_decay)))
    return decay if mask is None else masked(decay, mask)


def _decay(rate: float, updates: P, params: P | None) -> P:
    if params is None:
        raise ParamsError("weight decay needs the params: call update(gradient, state, params)")
    return each(lambda u, p: u + rate * p, updates, params)


class ScheduleState(NamedTuple):
    """steps: how many updates there were.     value: the number that multiplies the next one."""

    steps: int
    value: float


@shows_call
def scale_by_schedule(schedule: Schedule) -> Optimizer:
    """Multiply the updates by a schedule.

    u' = s(t) u, t the number of updates before        (Optax: scale_by_schedule)

    Raises OptionError for anything but a schedule.
    """
    check_schedule("scale_by_schedule", schedule)
    return Optimizer(partial(_init_schedule, schedule), Elementwise(_scale_by_schedule, schedule))


def _init_schedule(schedule: Schedule, params: Any) -> ScheduleState:
    return ScheduleState(0, value_at(schedule, 0))


def _scale_by_schedule(
    schedule: Schedule, updates: P, state: ScheduleState, params: P | None = None
) -> tuple[P, ScheduleState]:
    value, t = number(expect(ScheduleState, state).value), whole(state.steps) + 1
    return each(lambda u: value * u, updates), ScheduleState(t, value_at(schedule, t))


class EmaState(NamedTuple):
    """steps: how many updates there were.     ema: their moving average."""

    steps: int
    ema: Any


@shows_call
def ema(decay: float, *, debias: bool = True) -> Optimizer:
    """Replace the updates by their moving average.

    m' = decay m + (1 - decay) u        u' = m' / (1 - decay^t), t counting from 1        (Optax: ema)

    debias: divide by 1 - decay^t, the weight of the updates in the average, which began with zeros.
    Raises OptionError for a decay outside [0, 1).
    """
    return Optimizer(_init_ema, Elementwise(_ema, fraction("decay", decay), flag("debias", debias)))


def _init_ema(params: Any) -> EmaState:
    return EmaState(0, full_like(params, 0.0))


def _ema(decay: float, debias: bool, updates: P, state: EmaState, params: P | None = None) -> tuple[P, EmaState]:
    t = whole(expect(EmaState, state).steps) + 1
    m = each(partial(moment, decay), updates, state.ema)
    part = 1.0 - decay**t
    return (each(lambda x: x / part, m) if debias else m), EmaState(t, m)


def moment(decay: float, u: Array, m: Array) -> Array:
    """(1 - decay) u + decay m"""
    y = (1.0 - decay) * u
    y += decay * m
    return y


def moment_of_squares(decay: float, u: Array, m: Array) -> Array:
    """(1 - decay) u^2 + decay m"""
    y = u * u
    y *= 1.0 - decay
    y += decay * m
    return y
