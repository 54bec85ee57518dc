"""Training steps with an optimizer: the compiled gradient, then the update, over flat vectors or over trees.

Params, gradients and the trees in a state are views of flat vectors. An `Elementwise` optimizer gives the same for
those vectors as for the trees, so it runs over them, in a few calls; any other runs over the trees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Generic, Never, TypeAlias, cast, overload

import numpy as np
from typing_extensions import TypeVar

from funcnet import tree
from funcnet.arrays import DTYPES, Array, Labels, is_array, is_tuple
from funcnet.calling import checks_call, refuse_options
from funcnet.compiler.workspace import Workspace
from funcnet.core import Layer
from funcnet.display import call_forgotten, shows_call
from funcnet.errors import FuncnetError, OptionError, ParamsError
from funcnet.optimizers.base import Elementwise, Optimizer, apply_updates, check_optimizer, takes_weight
from funcnet.options import brief
from funcnet.random import Key
from funcnet.training.flat_states import Kept, flat_state, vector_of, with_trees
from funcnet.training.gradients import Step
from funcnet.training.splitting import inputs_taken
from funcnet.training.weighing import Weigh, weigher

P = TypeVar("P", default=Any)
S = TypeVar("S", default=Any)
L = TypeVar("L", default="np.floating[Any]")
Metric: TypeAlias = Callable[..., Any]
"""`metric(*outputs, *targets) -> number`, on the very arrays that the loss is given."""
FORGOTTEN = (
    "train_step: an array stands where the state belongs: step(params, state, *inputs, *targets), and "
    "step.init(params) gives the first state"
)


class TrainStep(Step[P], Generic[P, L]):
    """See `train_step`."""

    kind = "train_step"
    ending = "updates, state = optimizer.update(gradient, state, params); new params = params + updates"

    def __init__(
        self,
        net: Layer[P, Any],
        loss: Layer[Any, Any] | None,
        optimizer: Optimizer,
        metrics: Mapping[str, Metric] | None,
        check_finite: bool,
    ) -> None:
        super().__init__(net, loss, check_finite)
        check_optimizer("train_step: argument 2", optimizer)
        self.optimizer: Optimizer = optimizer
        self.metrics: Mapping[str, Metric] = {} if metrics is None else check_metrics("train_step", metrics)
        self.returns_metrics: bool = metrics is not None
        self.shows_outputs: bool = bool(self.metrics)
        self.takes_weight: bool = takes_weight(optimizer)
        self.flat: bool = isinstance(optimizer.update, Elementwise)
        self.weigh: Weigh = weigher(self.net, self.loss, partial(inputs_taken, self.kind, self.net, loss=self.loss))
        if self.shows_outputs and loss is None:
            raise OptionError("train_step: metrics compare outputs with targets: give the loss beside the network")

    @checks_call
    def init(self, params: P) -> Any:
        """The optimizer's first state, the same as `optimizer.init(params)`."""
        return self.optimizer.init(params)

    def __call__(
        self, params: P, state: S, *arrays: Array | Labels, key: Key | None = None, **unknown: Never
    ) -> tuple[P, S, L]:
        """Return (new params, new state, loss); loss and metrics are those of the params given."""
        if unknown:
            refuse_options(self.kind, "step(params, state, *inputs, *targets, key=None)", unknown)
        space, vector = self.acquire_with_state(params, state, arrays, key)
        before, flat = space.layout.joined(params) if vector is None else vector, self.flat_state(space, state)
        vector, flat = self.updated(space, before, flat, arrays)
        state = self.state_of(space, flat)
        loss, *outputs = [take() for take in space.fresh]
        new = self.finish(space, vector, loss, params, arrays, key)
        return new, state, cast(L, self.with_metrics(loss, outputs, arrays))

    def acquire_with_state(
        self, params: P, state: Any, arrays: tuple[Array | Labels, ...], key: Key | None
    ) -> tuple[Workspace[P], Any]:
        """The same as `acquire`; the error says so where the state is missing or in the place of the params."""
        try:
            return self.acquire(params, arrays, key)
        except FuncnetError:
            if is_array(state) and not is_array(self.init(params)):
                raise ParamsError(FORGOTTEN) from None
            if self.are_swapped(params, state):
                raise ParamsError(
                    "train_step: params and state are in each other's place: step(params, state, *inputs, *targets)"
                ) from None
            raise

    def are_swapped(self, params: Any, state: Any) -> bool:
        """Whether the first is a state of this optimizer for the second, as params."""
        leaves = tree.leaves(state)
        dtypes = {leaf.dtype for leaf in leaves if is_array(leaf)}
        if not all(map(is_array, leaves)) or len(dtypes) != 1 or not dtypes.issubset(DTYPES):
            return False
        return tree.structure(self.init(state)) == tree.structure(params) != tree.structure(state)

    def update_of(self, arrays: tuple[Array | Labels, ...]) -> Any:
        """The optimizer's update for this batch, with its weight where the update takes one."""
        update = cast("Any", self.optimizer.update)
        return partial(update, weight=self.weigh(arrays)) if self.takes_weight else update

    def updated(self, space: Workspace[P], before: Any, flat: Any, arrays: Any, into: Any = None) -> tuple[Any, Any]:
        """The optimizer's update, over the flat vectors or over trees."""
        for f, args in space.program:
            f(*args)
        update, layout = self.update_of(arrays), space.layout
        if self.flat:
            updates, flat = update(space.gradient, flat, before)
            return np.add(before, updates, into), flat
        params = layout.tree(before)
        updates, state = two(update(layout.tree(space.gradient.copy()), flat, params))
        return vector_of(layout, apply_updates(params, updates)), state

    def flat_state(self, space: Workspace[P], state: Any) -> Any:
        """The state with a vector in place of each tree, if the optimizer takes these."""
        if not self.flat:
            return state
        layout, kept = space.layout, cast("Kept | None", space.params_cache.kept)
        if kept is not None and kept.state is state and kept.is_as_it_was(layout):
            return kept.flat
        return flat_state(layout, self.optimizer.init(np.zeros(layout.count, layout.dtype)), state)

    def state_of(self, space: Workspace[P], flat: Any) -> Any:
        """The state whose trees are views of these vectors; it is remembered, so that the next step recognises it."""
        if not self.flat:
            return flat
        kept = self.with_trees(space, flat)
        space.params_cache.kept = kept if space.params_cache.small else None
        return kept.state

    def with_trees(self, space: Workspace[P], flat: Any) -> Kept:
        """The state as it was and with trees, which is recognised when it comes again."""
        return with_trees(space.layout, flat)

    def with_metrics(self, loss: Any, outputs: list[Array], arrays: tuple[Array | Labels, ...]) -> Any:
        """A dict of loss and metrics, where metrics were given; else the loss."""
        if not self.returns_metrics:
            return loss
        compared = (*outputs, *arrays[self.taken(len(arrays)) :]) if self.metrics else ()
        return {"loss": loss, **{name: metric(*compared) for name, metric in self.metrics.items()}}


@overload
def train_step(
    net: Layer[P, Any],
    loss: Layer[Any, Any] | None,
    optimizer: Optimizer,
    *,
    metrics: None = None,
    check_finite: bool = False,
) -> TrainStep[P, np.floating[Any]]: ...
@overload
def train_step(
    net: Layer[P, Any],
    loss: Layer[Any, Any] | None,
    optimizer: Optimizer,
    *,
    metrics: Mapping[str, Metric],
    check_finite: bool = False,
) -> TrainStep[P, dict[str, Any]]: ...
@shows_call
def train_step(
    net: Layer[P, Any],
    loss: Layer[Any, Any] | None,
    optimizer: Optimizer,
    *,
    metrics: Mapping[str, Metric] | None = None,
    check_finite: bool = False,
) -> TrainStep[P, Any]:
    """A training step with any optimizer, compiled to one list of calls.

    (params, state, *inputs, *targets, key=None) -> (new params, new state, loss)

    g = dL / dparams, L = loss(net(params, *inputs), *targets)        u, state' = update(g, state, params)
    params' = params + u
    loss: takes the network's outputs and then the targets; None where the network's output is the loss itself.
    metrics: `{"accuracy": fn.accuracy}`: functions of the arrays that the loss is given, called on the outputs of the
    same forward pass; the third value is then a dict of "loss" and of theirs. `fit` computes them over whole epochs.
    check_finite: raise NonFiniteError where the loss or the new params are NaN or infinite, as `sgd_step` does.
    The first state is `step.init(params)`, the same as `optimizer.init(params)`. A key turns dropout on.
    An optimizer whose update has a keyword `weight`, such as `fn.accumulate`, is passed the batch's weight in a mean
    over batches: its rows, or the sum of its weights; None for a loss with reduction "sum".
    Raises GraphError for anything but layers, OptionError for bad options; in each step ParamsError for a state of
    another optimizer or of other params, and the errors of the net and the loss.
    Example: `step = fn.train_step(net, fn.mse(), fn.adam(1e-3));
    state = step.init(params);
    params, state, loss = step(params, state, x, target)`.
    """
    return TrainStep(net, loss, optimizer, metrics, check_finite)


def check_metrics(kind: str, metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """Refuse anything but functions of outputs and targets, and a metric called loss."""
    for name, metric in accept_metrics(kind, metrics).items():
        if not callable(metric) or call_forgotten(metric):
            what = f"{brief(metric)} and not a function (outputs, targets)"
            raise OptionError(f"{kind}: the metric {name!r} is {what}, such as fn.accuracy{call_forgotten(metric)}")
    if "loss" in metrics:
        raise OptionError(f"{kind}: 'loss' names the loss itself: give the metric another name")
    return dict(metrics)


def accept_metrics(kind: str, metrics: Any) -> Any:
    """Refuse anything but a dict."""
    if not isinstance(metrics, Mapping):
        raise OptionError(f'{kind}: metrics are a dict, such as {{"accuracy": fn.accuracy}}, not {metrics!r:.60}')
    return cast("Any", metrics)


def two(result: Any) -> Any:
    """The result of an update, checked to be a pair."""
    if not is_tuple(result) or len(result) != 2:
        raise OptionError(f"train_step: the optimizer's update must return (updates, state), not {result!r:.60}")
    return result
