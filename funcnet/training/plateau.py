"""Learning rates that a callback of `fit` changes: set in a state, and reduced on a plateau."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from funcnet import tree
from funcnet.arrays import is_tuple
from funcnet.calling import checks_call
from funcnet.display import shows_call
from funcnet.errors import OptionError
from funcnet.optimizers.learning_rate import LearningRateState, learning_rate
from funcnet.options import count, fraction, natural, not_negative, positive
from funcnet.training.fit_result import Fit
from funcnet.training.monitoring import Monitor, sign_of

S = TypeVar("S")


@checks_call
def set_learning_rate(state: S, rate: float) -> S:
    """The state of an optimizer with another learning rate for the next update, and for all that follow.

    Where the optimizer has several rates, all are set. A schedule sets its own again after one update.
    Raises ParamsError where there is no learning rate in the state, OptionError for a rate not above 0.
    """
    number = positive("set_learning_rate: rate", rate)
    learning_rate(state)  # which raises where there is none
    return cast(S, _changed(state, lambda old: number))


def _changed(state: Any, change: Callable[[float], float]) -> Any:
    """The state with every learning rate changed."""
    if isinstance(state, LearningRateState):
        return state._replace(learning_rate=change(float(state.learning_rate)))
    if is_tuple(state):
        return tree.new_tuple(type(state), [_changed(part, change) for part in state])
    return state


class Plateau(NamedTuple):
    """Checked options of `reduce_on_plateau`."""

    factor: float
    patience: int
    rtol: float
    atol: float
    cooldown: int
    min_rate: float
    monitor: Monitor


@shows_call
def reduce_on_plateau(
    factor: float = 0.1,
    patience: int = 10,
    rtol: float = 1e-4,
    atol: float = 0.0,
    cooldown: int = 0,
    *,
    min_rate: float = 0.0,
    monitor: str = "validation_loss",
    mode: str | None = None,
) -> Callable[[Fit[Any]], Fit[Any] | None]:
    """A callback of `fit` that multiplies the learning rate by `factor` after `patience` epochs without improvement.

    v improves on the best b where v < (1 - rtol) b - atol, or v > (1 + rtol) b + atol where large is good.
    patience: epochs, as Optax counts them; PyTorch's patience is one less.     cooldown: epochs after a reduction that
    are not counted.     min_rate: no rate is made smaller than this.     monitor, mode: those of `fit`.

    It keeps nothing: it reads the history, so that a resumed training gives the same bits. The optimizer must have a
    constant learning rate, as a schedule sets its own after every update.
    (Optax: contrib.reduce_on_plateau; PyTorch: ReduceLROnPlateau)
    Raises OptionError for a factor or rtol outside (0, 1) and [0, 1), for other bad options, and, after an epoch, for a
    monitor that is not in the history.

    Example: `fn.fit(step, params, data, 100, 32, key, validation=held_out, callbacks=[fn.reduce_on_plateau(0.5, 5)])`.
    """
    where = "reduce_on_plateau"
    if not fraction(f"{where}: factor", factor):
        raise OptionError(f"{where}: factor must be above 0, not {factor!r}")
    options = Plateau(
        float(factor),
        count(f"{where}: patience", patience),
        fraction(f"{where}: rtol", rtol),
        not_negative(f"{where}: atol", atol),
        natural(f"{where}: cooldown", cooldown),
        not_negative(f"{where}: min_rate", min_rate),
        Monitor(monitor, sign_of(where, monitor, mode), 0.0),
    )
    return partial(_reduce, options)


def _reduce(options: Plateau, fitted: Fit[Any]) -> Fit[Any] | None:
    """The Fit with smaller rates, if the last epoch ended a plateau."""
    if not ends_plateau(options, [float(v) for v in options.monitor.values(fitted.history)]):
        return None
    if fitted.state is None:
        raise OptionError(
            "reduce_on_plateau: sgd_step has no state in which its learning rate could be changed: train with "
            "fn.train_step(net, loss, fn.sgd(...))"
        )
    learning_rate(fitted.state)  # which raises where there is none
    return fitted._replace(state=_changed(fitted.state, lambda r: min(r, max(r * options.factor, options.min_rate))))


def ends_plateau(options: Plateau, values: list[float]) -> bool:
    """Whether the rate is to be reduced after the last of these, of which small ones are good."""
    best, waited, resting, reduces = np.inf, 0, 0, False
    for value in values:
        improved = value < (1.0 - options.monitor.sign * options.rtol) * best - options.atol
        best, waited = (value, 0) if improved else (best, waited + 1)
        if resting:
            resting, waited = resting - 1, 0
        reduces = waited >= options.patience
        if reduces:
            waited, resting = 0, options.cooldown
    return reduces
