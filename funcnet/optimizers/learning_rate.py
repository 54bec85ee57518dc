"""The last part of every optimizer: a multiplication by minus the learning rate."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from funcnet.calling import checks_call
from funcnet.errors import ParamsError
from funcnet.optimizers.base import Elementwise, Optimizer, P, each, expect, found_in, number, whole
from funcnet.optimizers.schedules import Schedule, check_schedule, value_at
from funcnet.options import positive


class LearningRateState(NamedTuple):
    """steps: how many updates there were.     learning_rate: that of the next one."""

    steps: int
    learning_rate: float


def by_learning_rate(learning_rate: float | Schedule) -> Optimizer:
    """u' = -learning_rate u; the state holds the rate of the next update."""
    if callable(learning_rate):
        check_schedule("learning_rate", learning_rate)
    rate = learning_rate if callable(learning_rate) else positive("learning_rate", learning_rate)
    return Optimizer(partial(_init_rate, rate), Elementwise(_by_learning_rate, rate))


def _init_rate(rate: float | Schedule, params: Any) -> LearningRateState:
    return LearningRateState(0, value_at(rate, 0) if callable(rate) else rate)


def _by_learning_rate(
    rate: float | Schedule, updates: P, state: LearningRateState, params: P | None = None
) -> tuple[P, LearningRateState]:
    factor, t = -number(expect(LearningRateState, state).learning_rate), whole(state.steps) + 1
    after = value_at(rate, t) if callable(rate) else state.learning_rate
    return each(lambda u: factor * u, updates), LearningRateState(t, after)


@checks_call
def learning_rate(state: object) -> float:
    """The learning rate that the next update will take, read from an optimizer's state.

    Raises ParamsError where there is none. Example: `fn.learning_rate(fn.adam(1e-3).init(params))`.
    """
    found = found_in(state, LearningRateState)
    if found is None:
        raise ParamsError("there is no learning rate in this state: give a state of optimizer.init or of a step")
    return float(found.learning_rate)
