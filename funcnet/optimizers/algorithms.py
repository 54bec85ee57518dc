"""Optimizers, as Optax has them: a transform of the gradient, then minus the learning rate.

g is the gradient, u the update, t counts updates from 1; params' = params + u. Every state is NamedTuples of numbers
and of trees with the shapes and dtypes of the params. The learning rate is a number or a schedule, and can be read from
the state. Every update raises ParamsError for a state of another optimizer, ShapeError for other shapes or dtypes.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from funcnet.display import shows_call
from funcnet.errors import OptionError
from funcnet.optimizers.base import Elementwise, Optimizer, P, chain, each, expect, full_like, whole
from funcnet.optimizers.learning_rate import by_learning_rate
from funcnet.optimizers.schedules import Schedule
from funcnet.optimizers.transforms import add_decayed_weights, moment, moment_of_squares
from funcnet.optimizers.wrappers import Mask
from funcnet.options import flag, fraction, not_negative


class TraceState(NamedTuple):
    """trace: the decaying sum of all updates."""

    trace: Any


def by_momentum(decay: float, nesterov: bool) -> Optimizer:
    """m' = u + decay m        u' = m', or u + decay m' by Nesterov"""
    return Optimizer(_init_trace, Elementwise(_by_momentum, fraction("momentum", decay), flag("nesterov", nesterov)))


def _init_trace(params: Any) -> TraceState:
    return TraceState(full_like(params, 0.0))


def _by_momentum(
    decay: float, nesterov: bool, updates: P, state: TraceState, params: P | None = None
) -> tuple[P, TraceState]:
    def add(u: Any, m: Any) -> Any:
        return u + decay * m

    m = each(add, updates, expect(TraceState, state).trace)
    return each(add, updates, m) if nesterov else m, TraceState(m)


@shows_call
def sgd(learning_rate: float | Schedule, momentum: float | None = None, *, nesterov: bool = False) -> Optimizer:
    """Stochastic gradient descent, with or without momentum.

    m' = g + momentum m        u = -learning_rate m', or -learning_rate (g + momentum m') by Nesterov

    Without momentum u = -learning_rate g, as `fn.sgd_step` does it. (Sutskever et al. 2013; Optax: sgd)
    Raises OptionError for a momentum outside [0, 1), a learning rate not above 0, Nesterov without momentum.
    """
    if momentum is None:
        if flag("nesterov", nesterov):
            raise OptionError("nesterov is a way to use momentum: give one, for instance momentum=0.9")
        return chain(by_learning_rate(learning_rate))
    return chain(by_momentum(momentum, nesterov), by_learning_rate(learning_rate))


class AdamState(NamedTuple):
    """steps: how many updates there were.     mu, nu: moving averages of g and of g^2."""

    steps: int
    mu: Any
    nu: Any


class AdamOptions(NamedTuple):
    """Checked options of `adam`."""

    b1: float
    b2: float
    eps: float
    eps_root: float
    nesterov: bool


def by_adam(b1: float, b2: float, eps: float, eps_root: float, nesterov: bool) -> Optimizer:
    """The direction of `adam`, without its learning rate."""
    eps, eps_root = not_negative("eps", eps), not_negative("eps_root", eps_root)
    options = AdamOptions(fraction("b1", b1), fraction("b2", b2), eps, eps_root, flag("nesterov", nesterov))
    return Optimizer(_init_adam, Elementwise(_by_adam, options))


def _init_adam(params: Any) -> AdamState:
    return AdamState(0, full_like(params, 0.0), full_like(params, 0.0))


def _by_adam(o: AdamOptions, updates: P, state: AdamState, params: P | None = None) -> tuple[P, AdamState]:
    t = whole(expect(AdamState, state).steps) + 1
    mu = each(partial(moment, o.b1), updates, state.mu)
    nu = each(partial(moment_of_squares, o.b2), updates, state.nu)
    part, part_2 = 1.0 - o.b1 ** (t + o.nesterov), 1.0 - o.b2**t

    def direction(m: Any, n: Any) -> Any:
        below = n / part_2
        below += o.eps_root
        below = np.sqrt(below)
        below += o.eps
        y = m / part
        y /= below
        return y

    if not o.nesterov:
        return each(direction, mu, nu), AdamState(t, mu, nu)
    own = (1.0 - o.b1) / (1.0 - o.b1**t) * part
    return each(lambda g, m, n: direction(o.b1 * m + own * g, n), updates, mu, nu), AdamState(t, mu, nu)


@shows_call
def adam(
    learning_rate: float | Schedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    *,
    nesterov: bool = False,
) -> Optimizer:
    """Adam: steps scaled by moving averages of the gradient and of its square.

    m' = b1 m + (1 - b1) g        v' = b2 v + (1 - b2) g^2        u = -learning_rate m^ / (sqrt(v^ + eps_root) + eps)

    m^ = m' / (1 - b1^t), v^ = v' / (1 - b2^t); by Nesterov m^ = b1 m' / (1 - b1^(t+1)) + (1 - b1) g / (1 - b1^t).
    (Kingma and Ba 2015; Dozat 2016; Optax: adam)
    Raises OptionError for b1 or b2 outside [0, 1), a negative eps, a learning rate not above 0.
    Example: `step = fn.train_step(net, fn.mse(), fn.adam(1e-3))`.
    """
    return chain(by_adam(b1, b2, eps, eps_root, nesterov), by_learning_rate(learning_rate))


@shows_call
def adamw(
    learning_rate: float | Schedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    weight_decay: float = 1e-4,
    mask: Mask | None = None,
    *,
    nesterov: bool = False,
) -> Optimizer:
    """AdamW: Adam with weight decay apart from the gradient.

    u = the update of `adam` - learning_rate weight_decay params        (Loshchilov and Hutter 2019; Optax: adamw)

    mask: which params decay, as `fn.masked` takes it; by default all.
    Raises OptionError as `adam` does, and for a negative weight_decay; ParamsError where update is given no params.
    """
    direction = by_adam(b1, b2, eps, eps_root, nesterov)
    return chain(direction, add_decayed_weights(weight_decay, mask), by_learning_rate(learning_rate))


class RmsState(NamedTuple):
    """nu, mu: moving averages of g^2 and, if centered, of g, else None."""

    nu: Any
    mu: Any


class RmsOptions(NamedTuple):
    """Checked options of `rmsprop`."""

    decay: float
    eps: float
    eps_in_sqrt: bool


@shows_call
def rmsprop(
    learning_rate: float | Schedule,
    decay: float = 0.9,
    eps: float = 1e-8,
    initial_scale: float = 0.0,
    *,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: float | None = None,
    nesterov: bool = False,
) -> Optimizer:
    """RMSprop: steps scaled by a moving average of squared gradients.

    v' = decay v + (1 - decay) g^2        u = -learning_rate g / sqrt(v' + eps)

    centered: v' - m'^2, at least 0, in place of v', m' = decay m + (1 - decay) g.     initial_scale: of v.
    eps_in_sqrt: False for sqrt(v') + eps, as PyTorch has it.     momentum: of u, after the learning rate.
    (Tieleman and Hinton 2012; Graves 2013; Optax: rmsprop)
    Raises OptionError for a decay or momentum outside [0, 1), a negative eps or initial_scale, a learning rate not
    above 0, Nesterov without momentum.
    """
    options = RmsOptions(fraction("decay", decay), not_negative("eps", eps), flag("eps_in_sqrt", eps_in_sqrt))
    scale = not_negative("initial_scale", initial_scale)
    direction = Optimizer(partial(_init_rms, scale, flag("centered", centered)), Elementwise(_by_rms, options))
    if flag("nesterov", nesterov) and momentum is None:
        raise OptionError("nesterov is a way to use momentum: give one, for instance momentum=0.9")
    inertia = () if momentum is None else (by_momentum(momentum, nesterov),)
    return chain(direction, by_learning_rate(learning_rate), *inertia)


def _init_rms(scale: float, centered: bool, params: Any) -> RmsState:
    return RmsState(full_like(params, scale), full_like(params, 0.0) if centered else None)


def _by_rms(o: RmsOptions, updates: P, state: RmsState, params: P | None = None) -> tuple[P, RmsState]:
    def divide(g: Any, n: Any) -> Any:
        return g / (np.sqrt(n + o.eps) if o.eps_in_sqrt else np.sqrt(n) + o.eps)

    nu = each(partial(moment_of_squares, o.decay), updates, expect(RmsState, state).nu)
    if state.mu is None:
        return each(divide, updates, nu), RmsState(nu, None)
    mu = each(partial(moment, o.decay), updates, state.mu)
    return each(lambda g, n, m: divide(g, np.maximum(n - m * m, 0.0)), updates, nu, mu), RmsState(nu, mu)


class AdagradState(NamedTuple):
    """sum_of_squares: of all gradients so far."""

    sum_of_squares: Any


@shows_call
def adagrad(learning_rate: float | Schedule, initial_accumulator_value: float = 0.1, eps: float = 1e-7) -> Optimizer:
    """Adagrad: steps that shrink with the sum of all squared gradients so far.

    v' = v + g^2        u = -learning_rate g / sqrt(v' + eps), 0 where v' is 0

    initial_accumulator_value: of v. (Duchi, Hazan and Singer 2011; Optax: adagrad)
    Raises OptionError for a negative initial_accumulator_value or eps, a learning rate not above 0.
    """
    start = not_negative("initial_accumulator_value", initial_accumulator_value)
    direction = Optimizer(partial(_init_adagrad, start), Elementwise(_by_adagrad, not_negative("eps", eps)))
    return chain(direction, by_learning_rate(learning_rate))


def _init_adagrad(start: float, params: Any) -> AdagradState:
    return AdagradState(full_like(params, start))


def _by_adagrad(eps: float, updates: P, state: AdagradState, params: P | None = None) -> tuple[P, AdagradState]:
    def divide(g: Any, v: Any) -> Any:
        return g / np.sqrt(np.where(v > 0, v + eps, 1.0))  # v = 0 only where g = 0

    total = each(lambda g, v: v + g * g, updates, expect(AdagradState, state).sum_of_squares)
    return each(divide, updates, total), AdagradState(total)


class LionState(NamedTuple):
    """mu: the moving average of g."""

    mu: Any


@shows_call
def lion(
    learning_rate: float | Schedule,
    b1: float = 0.9,
    b2: float = 0.99,
    weight_decay: float = 1e-3,
    mask: Mask | None = None,
) -> Optimizer:
    """Lion: steps of one size, in the direction of the sign of an average of gradients.

    u = -learning_rate (sign(b1 m + (1 - b1) g) + weight_decay params)        m' = b2 m + (1 - b2) g

    mask: which params decay, as `fn.masked` takes it; by default all. (Chen et al. 2023; Optax: lion)
    Raises OptionError for b1 or b2 outside [0, 1), a negative weight_decay, a learning rate not above 0; ParamsError
    where update is given no params.
    """
    direction = Optimizer(_init_lion, Elementwise(_by_lion, fraction("b1", b1), fraction("b2", b2)))
    return chain(direction, add_decayed_weights(weight_decay, mask), by_learning_rate(learning_rate))


def _init_lion(params: Any) -> LionState:
    return LionState(full_like(params, 0.0))


def _by_lion(b1: float, b2: float, updates: P, state: LionState, params: P | None = None) -> tuple[P, LionState]:
    signs = each(lambda g, m: np.sign(moment(b1, g, m)), updates, expect(LionState, state).mu)
    return signs, LionState(each(partial(moment, b2), updates, state.mu))
