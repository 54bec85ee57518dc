"""Optimizers and transforms of gradients in Optax's shape: pairs of pure functions over pytrees.

    state = init(params)        updates, state = update(gradient, state, params)        params' = params + updates

A transform takes updates and gives updates; an optimizer is one whose last part multiplies by minus the learning rate.
A bare array is a pytree too. Most transforms give the same for all params in one flat vector as for the tree of them,
and are marked `Elementwise`: a training step runs those over its flat vectors, a few calls for any number of arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, cast, overload

import numpy as np

from funcnet import tree
from funcnet.arrays import Array, is_array, is_tuple, params_dtype
from funcnet.calling import checks_call, refuse_attribute
from funcnet.display import call_forgotten, described, shown, shows_call
from funcnet.errors import OptionError, ParamsError, ShapeError

P = TypeVar("P")
S = TypeVar("S")


class Update(Protocol):
    """`update(updates, state, params) -> (updates, state)`, pure."""

    def __call__(self, updates: P, state: S, params: P | None = None, /) -> tuple[P, S]:
        """Return the updates, which are added to the params, and the next state."""
        ...


class Optimizer(NamedTuple):
    """A pair of pure functions: `init, update = fn.adam(1e-3)`.

    init: `(params) -> state`; a state is NamedTuples of numbers and of trees shaped as the params.
    update: `(gradient, state, params) -> (updates, state)`; `fn.apply_updates(params, updates)` adds them. An update
        with a keyword `weight`, as that of `fn.accumulate`, also receives the batch's weight in a mean over batches.
    """

    init: Callable[[Any], Any]
    update: Update

    def __repr__(self) -> str:
        """The call that made it."""
        return shown(self)


if not TYPE_CHECKING:  # type checkers refuse the attribute by themselves
    Optimizer.__getattr__ = refuse_attribute


class Elementwise(partial[Any]):
    """An update that gives the same for one flat vector of all params as for the tree of them."""


@overload
def each(function: Callable[[Array], Array], first: P, /) -> P: ...
@overload
def each(function: Callable[[Array, Array], Array], first: P, second: object, /) -> P: ...
@overload
def each(function: Callable[[Array, Array, Array], Array], first: P, second: object, third: object, /) -> P: ...
def each(function: Callable[..., Array], first: P, /, *rest: Any) -> P:
    """function(x, *ys) for the arrays x of a tree and those at the same place in others; a bare array is a tree."""
    if is_array(first):
        return cast(P, matched(function, first, *rest))
    return tree.map(partial(matched, function), first, *rest)


def matched(function: Callable[..., Any], x: Any, *others: Any) -> Any:
    """function(x, *others), arrays of one shape and dtype: nothing is broadcast or promoted."""
    try:
        for y in others:
            if y.shape != x.shape or y.dtype != x.dtype:
                raise ShapeError(
                    f"updates, state and params must have the same shapes and dtypes, but {x.dtype} {x.shape} meets "
                    f"{y.dtype} {y.shape}: make the state anew, optimizer.init(params)"
                )
        return np.asarray(function(x, *others))
    except (AttributeError, TypeError):
        for y in (x, *others):
            if not is_array(y) or y.dtype.kind != "f":
                raise ParamsError(
                    f"updates, state and params hold floating arrays, not {cast('Any', y)!r:.60}: make the state anew, "
                    "optimizer.init(params)"
                ) from None
        raise


def full_like(params: P, number: float) -> P:
    """A tree of arrays all of one number, shaped as the params."""
    params_dtype(params, tree.leaves(params))
    return each(lambda p: np.full_like(p, number), params)


@checks_call
def apply_updates(params: P, updates: P) -> P:
    """Add updates to params.

    params' = params + updates        (Optax: apply_updates)

    Raises ShapeError for arrays of different shapes or dtypes, ParamsError for trees of different structures.
    Example: `params = fn.apply_updates(params, updates)`.
    """
    return each(np.add, params, updates)


@shows_call
def chain(*parts: Optimizer) -> Optimizer:
    """Apply several optimizers one after another: each takes the updates of the one before.

    u_i = f_i(u_{i-1}), u_0 the gradient

    State: the tuple of the parts' own. (Optax: chain)
    Raises OptionError for a part that is no optimizer, ParamsError in update for a state of another chain.
    Example: `fn.chain(fn.clip_by_global_norm(1.0), fn.adam(1e-3))`.
    """
    for i, part in enumerate(parts):
        check_optimizer(f"chain: argument {i}", part)
    taking = tuple(takes_weight(part) for part in parts)
    update = joint(parts)(_weighed_chain, parts, taking) if any(taking) else joint(parts)(_chain, parts)
    return Optimizer(partial(_init_chain, parts), update)


def takes_weight(optimizer: Optimizer) -> bool:
    """Whether its update has a keyword `weight`."""
    try:
        return "weight" in signature(optimizer.update).parameters
    except (TypeError, ValueError):  # a callable of which Python knows no signature
        return False


def with_weight(optimizer: Optimizer, weight: float | None) -> Optimizer:
    """The optimizer with this weight passed to its update."""
    return Optimizer(optimizer.init, partial(cast("Any", optimizer.update), weight=weight))


def joint(parts: tuple[Optimizer, ...]) -> Callable[..., Any]:
    """How to make an update out of those of the parts: it is elementwise if all of them are."""
    return Elementwise if all(isinstance(part.update, Elementwise) for part in parts) else partial


def check_optimizer(where: str, optimizer: object) -> None:
    """Refuse anything but a pair of init and update."""
    if not isinstance(optimizer, Optimizer):
        hint = call_forgotten(optimizer) or ": fn.adam(1e-3) makes one"
        hint = ": pass the parts one by one, fn.chain(*parts)" if isinstance(optimizer, list) else hint
        raise OptionError(f"{where} is {described(optimizer)} and not an optimizer{hint}")


def _init_chain(parts: tuple[Optimizer, ...], params: Any) -> tuple[Any, ...]:
    return tuple(part.init(params) for part in parts)


def _chain(
    parts: tuple[Optimizer, ...], updates: P, state: tuple[Any, ...], params: P | None = None
) -> tuple[P, tuple[Any, ...]]:
    if type(state) is not tuple or len(state) != len(parts):
        raise ParamsError(f"the state of a chain of {len(parts)} is a tuple of {len(parts)}, as init gives it")
    new: list[Any] = []
    for part, own in zip(parts, state, strict=True):
        updates, own = part.update(updates, own, params)
        new.append(own)
    return updates, tuple(new)


def _weighed_chain(
    parts: tuple[Optimizer, ...],
    taking: tuple[bool, ...],
    updates: P,
    state: tuple[Any, ...],
    params: P | None = None,
    *,
    weight: float | None = None,
) -> tuple[P, tuple[Any, ...]]:
    weighted = tuple(with_weight(part, weight) if takes else part for part, takes in zip(parts, taking, strict=True))
    return _chain(weighted, updates, state, params)


def expect(kind: type[S], state: object) -> S:
    """The state, after checking that it is of the kind that an optimizer keeps."""
    if type(state) is not kind:
        raise ParamsError(
            f"the state has a {type(state).__name__} where this optimizer keeps a {kind.__name__}: "
            "optimizer.init(params) gives the first one"
        )
    return state


def found_in(state: object, kind: type[S]) -> S | None:
    """The first part of a state that is of this kind; None where there is none."""
    if isinstance(state, kind):
        return state
    parts = state if is_tuple(state) else ()
    return next((found for part in parts if (found := found_in(part, kind)) is not None), None)


def number(value: Any) -> float:
    """A number that a state keeps, which may be an array of no axes, as files give them."""
    if isinstance(value, Real) or (is_array(value) and not value.ndim and value.dtype.kind in "iuf"):
        return float(cast("Any", value))
    raise ParamsError(f"the state has {value!r:.60} where this optimizer keeps a number: make it anew, init(params)")


def whole(value: Any) -> int:
    """The same of a count."""
    return int(number(value))


class EmptyState(NamedTuple):
    """The state of a transform that keeps none."""


def stateless(update: Callable[..., Any]) -> Optimizer:
    """A transform without a state, from its function `(updates, params) -> updates`, which is elementwise."""
    return Optimizer(no_state, Elementwise(run_stateless, update))


def no_state(params: Any) -> EmptyState:
    """Nothing to keep."""
    return EmptyState()


def run_stateless(function: Callable[..., Any], updates: P, state: S, params: P | None = None) -> tuple[P, S]:
    """The updates that the function gives, and the state as it was."""
    return function(updates, params), state
