"""From a network and a loss to gradients and to training steps, each one compiled program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any, Never, cast

import numpy as np
from typing_extensions import TypeVar

from funcnet import tree
from funcnet.arrays import Array, Labels
from funcnet.calling import checks_call, refuse_options
from funcnet.compiler.programs import Compiled
from funcnet.compiler.workspace import Workspace
from funcnet.core import Function, Layer, Pullback
from funcnet.display import Written, shown, shows_call
from funcnet.errors import DTypeError, NonFiniteError, OptionError, ShapeError
from funcnet.networks.parts import check
from funcnet.options import as_float, brief, flag, positive
from funcnet.random import Key
from funcnet.tracing.forms import Instruction
from funcnet.tracing.trace import Trace, Value
from funcnet.training.mistakes import refuse_swapped, warn_of_activation, warn_of_targets
from funcnet.training.nonfinite import all_finite, not_finite, values
from funcnet.training.splitting import check_taken, inputs_taken

P = TypeVar("P", default=Any)
Y = TypeVar("Y", default=Array)


@checks_call
def vjp(layer: Layer[P, Y], params: P, *inputs: Array | Labels, key: Key | None = None) -> tuple[Y, Pullback[P]]:
    """A layer's output together with the function that pulls cotangents back (the vector-Jacobian product).

    (output, pullback) at these params and inputs; pullback(cotangent) -> (params_cotangent, input_cotangents).

    As `layer.apply.vjp(params, *inputs, key=key)`; raises its errors. Example: `y, pullback = fn.vjp(net, params, x)`.
    """
    check("vjp", (layer,), multi_output=True)
    return layer.apply.vjp(params, *inputs, key=key)


class CompiledGradient(Compiled[P]):
    """Base of steps and gradients: a loss and its gradient in one program. `scale` is the cotangent of the loss."""

    scale: float = 1.0
    written: Written | None = None
    """The call that made it."""
    shows_outputs: bool = False
    """Whether the program returns the network's outputs, behind the loss."""

    def __init__(self, net: Layer[P, Any], loss: Layer[Any, Any] | None, check_finite: bool) -> None:
        self.check_finite: bool = flag(f"{self.kind}: check_finite", check_finite)
        check(self.kind, (net,) if loss is None else (net, loss), multi_output=True)
        self.net: Function[P, Any] = net.apply
        self.loss: Function[Any, Any] | None = None if loss is None else loss.apply
        self.random: bool = net.apply.random
        refuse_swapped(self.kind, self.net, self.loss)
        warn_of_activation(self.kind, self.net, self.loss)

    def __repr__(self) -> str:
        """The call that made it."""
        return shown(self)

    def kinds(self, place: int) -> str:
        """The kinds of dtype that the array in that place may have: an input of the network, or a target."""
        loss, arity = self.loss, self.net.arity
        if loss is None or (arity is not None and place < arity):
            return self.net.kinds(place)
        return ("" if arity is not None else self.net.kinds(place)) + "f" + "iu" * bool(loss.integer_inputs)

    def name_of(self, place: int) -> str:
        """An input of the network, or a target."""
        taken = self.net.arity
        return f"input {place}" if self.loss is None or taken is None or place < taken else f"target {place - taken}"

    def looks_at(self, arrays: tuple[Array, ...]) -> None:
        """Warn of targets of another coding than that of the loss."""
        taken = self.taken(len(arrays))
        if self.loss is not None and len(arrays) == taken + 1:
            warn_of_targets(self.kind, self.loss, arrays[taken])

    def taken(self, given: int) -> int:
        """The number of arrays, from the first on, that are inputs of the network, where so many are given."""
        return given if self.loss is None else inputs_taken(self.kind, self.net, given, self.loss)

    def not_finite(
        self, space: Workspace[P], params: P, arrays: tuple[Any, ...], key: Key | None, loss: Any
    ) -> NonFiniteError:
        """The error for a run in this workspace, with these params."""
        gradient = tree.leaves_with_path(space.layout.tree(space.gradient / self.scale))
        named = chain(
            values(self.net, self.taken(len(arrays)), params, arrays, key),
            [("the loss", loss), *((f"the gradient of params{path}", g) for path, g in gradient)],
        )
        return not_finite(self.kind, named)

    def results(
        self, trace: Trace, params: P, inputs: tuple[Value, ...], key: Any
    ) -> tuple[Sequence[Value], Sequence[Value]]:
        """The loss, perhaps the outputs behind it, and the gradient of the params."""
        arrays = cast("tuple[Array, ...]", inputs)
        if self.loss is None:
            self.net.check_count(len(arrays))
            loss, pull = self.net.compute(params, *arrays, key=key)
            check_scalar(self.kind, loss)
            of_params, _ = pull(self.scale)
            return [loss], tree.leaves(of_params)
        loss, outputs, of_params = self._record_loss(trace, params, arrays, self.loss, key)
        return [loss, *outputs] if self.shows_outputs else [loss], tree.leaves(of_params)

    def _record_loss(
        self, trace: Trace, params: P, arrays: tuple[Array, ...], loss: Function[Any, Any], key: Any
    ) -> tuple[Any, list[Any], P]:
        """The network, then the loss of its outputs and the remaining arrays; back through both."""
        taken = self.taken(len(arrays))
        if len(arrays) < taken:
            raise ShapeError(f"{self.kind}: the network takes {taken} inputs, but only {len(arrays)} arrays were given")
        for i, x in enumerate(arrays[:taken]):
            if x.dtype.kind not in self.net.kinds(i):
                raise DTypeError(f"{self.kind}: input {i} has dtype {x.dtype}, not a floating one: cast it")
        output, pull = self.net.compute(params, *arrays[:taken], key=key)
        outputs = tree.leaves(output)
        given = (*outputs, *arrays[taken:])
        check_taken(self.kind, loss, len(outputs), len(given) - len(outputs))
        trace.scope = f"loss {loss.kind}"
        number, loss_pull = loss.run((), given)
        check_scalar(self.kind, number)
        trace.scope += " backward"
        _, cotangents = loss_pull(self.scale)
        trace.scope = ""
        of_params, _ = pull(cotangents[: len(outputs)] if self.net.multi_output else cotangents[0])
        return number, outputs, of_params


def check_scalar(kind: str, loss: Any) -> None:
    """A loss is one number for the whole batch."""
    shape = getattr(loss, "shape", None)
    if shape != ():
        what = "several outputs" if shape is None else f"the shape {shape}"
        raise ShapeError(
            f"{kind}: the loss has {what}, but must be one number for the whole batch, such as fn.mse() gives"
        )


class ValueAndGrad(CompiledGradient[P]):
    """See `value_and_grad`."""

    kind = "value_and_grad"

    def __call__(
        self, params: P, *arrays: Array | Labels, key: Key | None = None, **unknown: Never
    ) -> tuple[np.floating[Any], P]:
        """Return (loss, gradient); the gradient has the structure, shapes and dtype of params."""
        if unknown:
            refuse_options(self.kind, "value_and_grad(net, loss)(params, *inputs, *targets, key=None)", unknown)
        space, _ = self.acquire(params, arrays, key)
        for f, args in space.program:
            f(*args)
        loss, gradient = space.fresh[0](), space.layout.tree(space.gradient.copy())
        if self.check_finite and not all_finite(loss, space.gradient):
            raise self.not_finite(space, params, arrays, key, loss)
        space.release()
        return loss, gradient


@shows_call
def value_and_grad(
    net: Layer[P, Any], loss: Layer[Any, Any] | None = None, *, check_finite: bool = False
) -> ValueAndGrad[P]:
    """The loss and its gradient, as one compiled program.

    (params, *inputs, *targets) -> (loss, gradient)

    L = loss(net(params, *inputs), *targets)        gradient = dL / dparams
    loss: takes the network's outputs and then the targets; leave it out where the network's output is the loss itself.
    check_finite: raise NonFiniteError where the loss or the gradient is NaN or infinite, with the first operator whose
    output was. Raises GraphError for anything but layers, OptionError for bad options; each call those of both layers.
    Example: `loss, gradient = fn.value_and_grad(net, fn.mse())(params, x, target)`.
    """
    return ValueAndGrad(net, loss, check_finite)


class Step(CompiledGradient[P]):
    """Base of training steps: the compiled gradient, then an update of the params.

    metrics: functions of outputs and targets.      returns_metrics: whether the loss is in a dict with the metrics.
    flat: whether the update runs over flat vectors, not over trees.      scans: whether many steps are one call.
    """

    flat: bool = True
    metrics: Mapping[str, Callable[..., Any]] = MappingProxyType({})
    returns_metrics: bool = False
    scans: bool = False

    def acquire_with_state(
        self, params: P, state: Any, arrays: tuple[Array | Labels, ...], key: Key | None
    ) -> tuple[Workspace[P], Any]:
        """A workspace with all arguments copied in, and the flat vector of which the params are views, else None."""
        return self.acquire(params, arrays, key)

    def flat_state(self, space: Workspace[P], state: Any) -> Any:
        """The state with a vector in place of each tree."""
        return ()

    def state_of(self, space: Workspace[P], flat: Any) -> Any:
        """The state whose trees are views of these vectors; None where there is none."""
        return None

    def updated(self, space: Workspace[P], before: Any, flat: Any, arrays: Any, into: Any = None) -> tuple[Any, Any]:
        """Run the program: (new params, new state) as flat vectors; the params in the vector `into`, if given."""
        raise NotImplementedError

    def with_metrics(self, loss: Any, outputs: list[Array], arrays: tuple[Array | Labels, ...]) -> Any:
        """The loss, or a dict of loss and metrics."""
        return loss

    def finish(
        self, space: Workspace[P], vector: Any, loss: Any, params: P, arrays: tuple[Any, ...], key: Key | None
    ) -> P:
        """The new params as views of this vector; the workspace goes back to its pool."""
        if self.check_finite and not all_finite(loss, vector):
            raise self.not_finite(space, params, arrays, key, loss)
        new: P = space.params_cache.made(vector)
        space.release()
        return new

    def update_in_place(self, vector: Any, gradient: Any) -> list[Instruction]:
        """Calls that write the new params over the old ones after a program; none where `updated` has to run."""
        return []

    def scanned(self, params: P, state: Any, arrays: tuple[Any, ...], key: Key | None) -> tuple[P, Any, Array] | None:
        """(new params, new state, losses) of all steps in one call; None where each step is a call."""
        return None


class SGDStep(Step[P]):
    """See `sgd_step`."""

    kind = "sgd_step"
    ending = "new params = params - d params; the learning rate is in the cotangent of the loss"

    def __init__(
        self, net: Layer[P, Any], loss: Layer[Any, Any] | None, learning_rate: float, check_finite: bool
    ) -> None:
        super().__init__(net, loss, check_finite)
        if as_float(learning_rate) is None:
            raise OptionError(
                f"sgd_step: learning_rate must be a finite number above 0, not {brief(learning_rate)}: "
                "fn.train_step takes an optimizer, such as fn.adam(1e-3), and those take schedules"
            )
        self.scale: float = positive("sgd_step: learning_rate", learning_rate)

    def __call__(
        self, params: P, *arrays: Array | Labels, key: Key | None = None, **unknown: Never
    ) -> tuple[P, np.floating[Any]]:
        """Return (new params, loss); the loss is that of the params given."""
        if unknown:
            refuse_options(self.kind, "step(params, *inputs, *targets, key=None)", unknown)
        space, vector = self.acquire(params, arrays, key)
        for f, args in space.program:
            f(*args)
        before = space.layout.joined(params) if vector is None else vector
        loss = space.fresh[0]()
        return self.finish(space, before - space.gradient, loss, params, arrays, key), loss

    def updated(self, space: Workspace[P], before: Any, flat: Any, arrays: Any, into: Any = None) -> tuple[Any, Any]:
        """The vector of params minus the gradient, which includes the learning rate."""
        for f, args in space.program:
            f(*args)
        return np.subtract(before, space.gradient, into), flat

    def update_in_place(self, vector: Any, gradient: Any) -> list[Instruction]:
        """The subtraction, unless the new params are checked first."""
        return [] if self.check_finite else [(np.subtract, (vector, gradient, vector))]


@shows_call
def sgd_step(
    net: Layer[P, Any], loss: Layer[Any, Any] | None = None, *, learning_rate: float, check_finite: bool = False
) -> SGDStep[P]:
    """A training step of plain gradient descent, as one compiled program.

    (params, *inputs, *targets) -> (new params, loss)

    params' = params - learning_rate dL / dparams        L = loss(net(params, *inputs), *targets)
    loss: takes the network's outputs and then the targets; leave it out where the network's output is the loss itself.
    The learning rate is the cotangent of the loss, so that the update is one subtraction.
    check_finite: raise NonFiniteError where the loss or the new params are NaN or infinite, as `value_and_grad` does.
    Raises GraphError for anything but layers, OptionError for bad options; each step those of the net and the loss.
    Example: `step = fn.sgd_step(net, fn.mse(), learning_rate=0.1); params, loss = step(params, x, target)`.
    """
    return SGDStep(net, loss, learning_rate, check_finite)
