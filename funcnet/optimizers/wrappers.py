"""Optimizers around optimizers: over the mean of several gradients, for some of the params; an average of params."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np

from funcnet import tree
from funcnet.arrays import Array, copied, params_dtype
from funcnet.calling import checks_call
from funcnet.core import OperatorKey
from funcnet.display import shows_call
from funcnet.errors import OptionError, ParamsError
from funcnet.optimizers.base import (
    Elementwise,
    Optimizer,
    P,
    S,
    check_optimizer,
    each,
    expect,
    found_in,
    full_like,
    joint,
    number,
    stateless,
    takes_weight,
    whole,
    with_weight,
)
from funcnet.options import count, fraction, is_key, listed, named, not_negative

Mask: TypeAlias = "OperatorKey | Collection[OperatorKey] | Callable[[str], bool]"
"""Which params: those of an operator (its key, or its position in a serial), those of several operators, or those whose
path, such as "[3].weight", a function returns True for."""
Chosen: TypeAlias = "frozenset[OperatorKey] | Callable[[str], bool]"


class AccumulateState(NamedTuple):
    """mini_step: how many gradients the mean holds.     weight: the sum of their weights.

    inner: the optimizer's own state.     mean: of gradients, by their weights.
    """

    mini_step: int
    weight: float
    inner: Any
    mean: Any


@shows_call
def accumulate(optimizer: Optimizer, k: int) -> Optimizer:
    """Accumulate gradients: the optimizer, given the mean of k gradients at every k-th call; other updates are zeros.

    mean = sum_i w_i g_i / sum_i w_i, w_i the batch's weight: its rows, or the sum of its weights for a weighted loss

    k batches of any sizes then make one large batch, without its memory, for a loss with reduction "mean": `train_step`
    passes w_i. A loop of your own passes it as `update(gradient, state, params, weight=w)`; without it all w_i are 1.
    A loss with reduction "sum", or one of your own, has no such weight in `train_step`, so all w_i are 1: the
    gradient is then 1 / k of that of the large batch for "sum", and exact for a mean of your own where batches are of
    equal size. A batch of weight 0 counts as one of the k and adds nothing. (Optax: MultiSteps)
    Raises OptionError where k is not a positive int, and in update for a negative weight.
    Example: `fn.train_step(net, fn.mse(), fn.accumulate(fn.adam(1e-3), 4))`.
    """
    check_optimizer("accumulate: argument 0", optimizer)
    k, inner_takes = count("k", k), takes_weight(optimizer)
    update = joint((optimizer,))(_accumulate, optimizer, k, inner_takes)
    return Optimizer(partial(_init_accumulate, optimizer), update)


def _init_accumulate(optimizer: Optimizer, params: Any) -> AccumulateState:
    return AccumulateState(0, 0.0, optimizer.init(params), full_like(params, 0.0))


def _accumulate(
    optimizer: Optimizer,
    k: int,
    inner_takes: bool,
    updates: P,
    state: AccumulateState,
    params: P | None = None,
    *,
    weight: float | None = None,
) -> tuple[P, AccumulateState]:
    n = whole(expect(AccumulateState, state).mini_step) + 1
    own = 1.0 if weight is None else not_negative("accumulate: weight", weight)
    total = number(state.weight) + own
    mean = each(lambda u, m: m + (u - m) / (total / own) if own else m.copy(), updates, state.mean)
    if n < k:
        inner = copied(state.inner)
        return each(np.zeros_like, updates), AccumulateState(n, total, inner, mean)
    weighted = with_weight(optimizer, None if weight is None else total) if inner_takes else optimizer
    new, inner = weighted.update(mean, state.inner, params)
    return new, AccumulateState(0, 0.0, inner, each(np.zeros_like, mean))


@shows_call
def masked(optimizer: Optimizer, where: Mask) -> Optimizer:
    """Apply an optimizer to chosen params; the updates of all others pass through unchanged.

    where: an operator's key, the position of a layer in a `serial`, a collection of either, or a predicate on a path
    such as "[3].weight":
    `fn.masked(fn.add_decayed_weights(1e-4), lambda path: path.endswith(".weight"))`.
    State: the optimizer's own, with None in place of the params that are not chosen. (Optax: masked)
    Raises OptionError for any other `where`; ParamsError in init for a key without params.
    """
    check_optimizer("masked: argument 0", optimizer)
    keep = where if callable(where) else operator_keys(where)
    update = partial(_weighed_masked if takes_weight(optimizer) else _masked, optimizer, keep)
    return Optimizer(partial(_init_masked, optimizer, keep), update)


def operator_keys(where: Any) -> frozenset[OperatorKey]:
    """One key, or several, as a set."""
    given: Any = listed(where)
    keys: list[Any] = [*given] if isinstance(given, Collection) and not isinstance(given, str) else [given]
    for key in keys:
        if not is_key(key):
            raise OptionError(
                f"masked: params are chosen by an operator's key, int or str, several, or a predicate, not {key!r:.60}"
            )
    return frozenset(map(named, keys))


def _init_masked(optimizer: Optimizer, where: Chosen, params: Any) -> Any:
    return optimizer.init(_without(params, chosen(where, params)))


def _masked(optimizer: Optimizer, where: Chosen, updates: P, state: S, params: P | None = None) -> tuple[P, S]:
    mask = chosen(where, updates)
    own = None if params is None else _without(params, mask)
    inner, new = optimizer.update(_without(updates, mask), state, own)
    changed = iter(tree.leaves(inner))

    def pick(u: Array, yes: bool) -> Array:
        return next(changed) if yes else u

    return tree.map(pick, updates, mask), new


def _weighed_masked(
    optimizer: Optimizer,
    where: Chosen,
    updates: P,
    state: S,
    params: P | None = None,
    *,
    weight: float | None = None,
) -> tuple[P, S]:
    return _masked(with_weight(optimizer, weight), where, updates, state, params)


def _without(params: Any, mask: Any) -> Any:
    """The tree with None where the mask says no."""

    def keep(p: Array, yes: bool) -> Array | None:
        return p if yes else None

    return tree.map(keep, params, mask)


def chosen(where: Chosen, params: P) -> P:
    """A tree of bools: which params are chosen."""
    if callable(where):
        return tree.unflatten(tree.structure(params), [bool(where(path)) for path, _ in tree.leaves_with_path(params)])
    parts = by_key(params)
    unknown: Iterable[Any] = where - parts.keys()
    if unknown:
        what = "operator with params has the key" if isinstance(params, dict) else "layer has the position"
        raise ParamsError(f"no {what} {', '.join(map(repr, unknown))}; there are {[*parts]}")
    places = [key in where for key, own in parts.items() for _ in tree.leaves(own)]
    return tree.unflatten(tree.structure(params), places)


def by_key(params: Any) -> dict[Any, Any]:
    """The params of each operator of a network by its key, or of each layer of a serial by its position."""
    kind, parts = cast("Any", type(params)), cast("Iterable[Any]", params)
    if kind is tuple or kind is list:
        return dict(enumerate(parts))
    if kind is not dict:
        raise ParamsError(
            "params are chosen by operator key in a network's dict, by position in the tuple of a serial; elsewhere by "
            "a predicate on the path"
        )
    return cast("dict[Any, Any]", params)


@shows_call
def freeze(where: Mask) -> Optimizer:
    """Keep chosen params as they are.

    u' = 0 for the params that are chosen as in `fn.masked`: they keep their values. (Optax: freeze)

    Put it last: `fn.chain(fn.adamw(1e-3), fn.freeze([1, 2]))`. Raises the errors of `masked`.
    """
    return masked(stateless(_zeros), where)


def _zeros(updates: P, params: P | None) -> P:
    return each(np.zeros_like, updates)


class EmaParamsState(NamedTuple):
    """average: of the params."""

    average: Any


@checks_call
def ema_params(decay: float) -> Optimizer:
    """Keep a moving average of the params beside the optimizer's state.

    a' = decay a + (1 - decay) (params + u)        u' = u

    A moving average of the params, which often predict better than the last ones; at first a is the first params.
    Put it last: `fn.chain(fn.adam(1e-3), fn.ema_params(0.999))`; `fn.averaged_params(state)` reads it. In `fit` it
    lives in the state, so it is saved and resumed; a callback returns it as the params:
    `callbacks=[lambda fitted: fitted._replace(params=fn.averaged_params(fitted.state))]`.
    (Polyak and Juditsky 1992; Optax: incremental_update; PyTorch: AveragedModel)
    Raises OptionError for a decay outside [0, 1), ParamsError where update is given no params.
    """
    return Optimizer(_init_ema_params, Elementwise(_ema_params, fraction("ema_params: decay", decay)))


def _init_ema_params(params: Any) -> EmaParamsState:
    params_dtype(params, tree.leaves(params))
    return EmaParamsState(each(np.copy, params))


def _ema_params(decay: float, updates: P, state: EmaParamsState, params: P | None = None) -> tuple[P, EmaParamsState]:
    if params is None:
        raise ParamsError("ema_params averages the params: give them, update(updates, state, params)")

    def average(u: Any, p: Any, a: Any) -> Any:
        return decay * a + (1.0 - decay) * (p + u)

    return updates, EmaParamsState(each(average, updates, params, expect(EmaParamsState, state).average))


@checks_call
def averaged_params(state: object) -> Any:
    """A copy of the average that `ema_params` keeps, read from an optimizer's state.

    Raises ParamsError where there is none.
    """
    found = found_in(state, EmaParamsState)
    if found is None:
        raise ParamsError("there is no average of params in this state: put fn.ema_params(...) last in the optimizer")
    return copied(found.average)
