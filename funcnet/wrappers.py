"""Optimizers around optimizers: over the mean of several gradients, or for some of the params only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np

from funcnet import tree
from funcnet.arrays import Array, count, is_array
from funcnet.core import OperatorKey
from funcnet.errors import OptionError, ParamsError
from funcnet.updates import Optimizer, P, S, check_optimizer, each, expect, full_like, joint, stateless, whole

Where: TypeAlias = "OperatorKey | Collection[OperatorKey] | Callable[[str], bool]"
"""Which params: those of an operator, of several, or those whose path, such as "[3].weight", a function says yes to."""
Chosen: TypeAlias = "frozenset[OperatorKey] | Callable[[str], bool]"


class AccumulateState(NamedTuple):
    """mini_step: how many gradients the mean holds.     inner: the optimizer's own state.     mean: of gradients."""

    mini_step: int
    inner: Any
    mean: Any


def accumulate(optimizer: Optimizer, k: int) -> Optimizer:
    """The optimizer, given the mean of k gradients at every k-th call; the updates between are zeros.

    k batches then make one, k times as large, without its memory. (Optax: MultiSteps)
    """
    check_optimizer("accumulate: argument 0", optimizer)
    return Optimizer(partial(_init_accumulate, optimizer), joint((optimizer,))(_accumulate, optimizer, count("k", k)))


def _init_accumulate(optimizer: Optimizer, params: Any) -> AccumulateState:
    return AccumulateState(0, optimizer.init(params), full_like(params, 0.0))


def _accumulate(
    optimizer: Optimizer, k: int, updates: P, state: AccumulateState, params: P | None = None
) -> tuple[P, AccumulateState]:
    n = whole(expect(AccumulateState, state).mini_step) + 1
    mean = each(lambda u, m: m + (u - m) / n, updates, state.mean)
    if n < k:
        inner = tree.map(copied, state.inner)
        return each(np.zeros_like, updates), AccumulateState(n, inner, mean)
    new, inner = optimizer.update(mean, state.inner, params)
    return new, AccumulateState(0, inner, each(np.zeros_like, mean))


def copied(x: Any) -> Any:
    """The array as the caller's own; a number is itself."""
    return x.copy() if is_array(x) else x


def masked(optimizer: Optimizer, where: Where) -> Optimizer:
    """The optimizer for the params that are chosen; the updates of all others pass through as they came.

    where: an operator's key, a collection of keys, or a predicate on a path such as "[3].weight":
    `fn.masked(fn.add_decayed_weights(1e-4), lambda path: path.endswith(".weight"))`.
    State: the optimizer's own, with None in place of the params that are not chosen. (Optax: masked)
    """
    check_optimizer("masked: argument 0", optimizer)
    keep = where if callable(where) else operator_keys(where)
    return Optimizer(partial(_init_masked, optimizer, keep), partial(_masked, optimizer, keep))


def operator_keys(where: Any) -> frozenset[OperatorKey]:
    """One key, or several, as a set."""
    keys: list[Any] = [*where] if isinstance(where, Collection) and not isinstance(where, str) else [where]
    for key in keys:
        if not isinstance(key, (int, str)) or isinstance(key, bool):
            raise OptionError(
                f"masked: params are chosen by an operator's key, int or str, several, or a predicate, not {key!r:.60}"
            )
    return frozenset(keys)


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


def _without(params: Any, mask: Any) -> Any:
    """The tree with None where the mask says no."""

    def keep(p: Array, yes: bool) -> Array | None:
        return p if yes else None

    return tree.map(keep, params, mask)


def chosen(where: Chosen, params: P) -> P:
    """A tree of bools: which params are chosen."""
    if callable(where):
        return tree.unflatten(tree.structure(params), [bool(where(path)) for path, _ in tree.leaves_with_path(params)])
    if not isinstance(params, dict):
        raise ParamsError("params are chosen by operator key in a network's dict; elsewhere by a predicate on the path")
    keys = cast("dict[Any, Any]", params)
    unknown: Iterable[Any] = where - keys.keys()
    if unknown:
        raise ParamsError(f"no operator with params has the key {', '.join(map(repr, unknown))}; there are {[*keys]}")
    places = [key in where for key, own in keys.items() for _ in tree.leaves(own)]
    return tree.unflatten(tree.structure(cast(P, params)), places)


def freeze(where: Where) -> Optimizer:
    """u' = 0 for the params that are chosen as in `fn.masked`: they keep their values. (Optax: freeze)

    It stands last: `fn.chain(fn.adamw(1e-3), fn.freeze([1, 2]))`.
    """
    return masked(stateless(_zeros), where)


def _zeros(updates: P, params: P | None) -> P:
    return each(np.zeros_like, updates)
