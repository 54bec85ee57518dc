"""From a network and a loss to gradients and to training steps, each one compiled program."""

from __future__ import annotations

from typing import Any

import numpy as np
from typing_extensions import TypeVar

from funcnet import tree
from funcnet.compiled import Compiled
from funcnet.core import Array, Layer, Pullback, positive
from funcnet.errors import ShapeError
from funcnet.plan import Plan
from funcnet.random import Key
from funcnet.tracing import Trace, Value

P = TypeVar("P", default=Any)
Y = TypeVar("Y", default=Array)


def vjp(layer: Layer[P, Y], params: P, *inputs: Array, key: Key | None = None) -> tuple[Y, Pullback[P]]:
    """(output, pullback) at these params and inputs; pullback(cotangent) -> (params_cotangent, input_cotangents).

    The same as `layer.apply.vjp(params, *inputs, key=key)`.
    """
    return layer.apply.vjp(params, *inputs, key=key)


class Differentiated(Compiled[P]):
    """Base of what computes a loss and its gradient in one program. `scale` is the cotangent of the loss."""

    scale = 1.0

    def __init__(self, net: Layer[P, Any], loss: Layer[Any, Any] | None) -> None:
        super().__init__()
        self.net, self.loss = net.apply, None if loss is None else loss.apply

    def record(self, trace: Trace, params: P, inputs: tuple[Value, ...]) -> Plan:
        """Plan the loss and the gradient of the params."""
        taken = len(inputs) if self.loss is None else self.net.arity or 1
        if len(inputs) < taken:
            raise ShapeError(f"{self.kind}: the network takes {taken} inputs, but only {len(inputs)} arrays were given")
        loss, pull = self.net.function(params, *inputs[:taken])
        if self.loss is not None:
            outputs = loss if isinstance(loss, tuple) else (loss,)
            self._check_loss_inputs(len(outputs) + len(inputs) - taken)
            trace.scope = f"loss {self.loss.kind}"
            loss, loss_pull = self.loss.run((), (*outputs, *inputs[taken:]))
            check_scalar(loss)
            trace.scope = f"loss {self.loss.kind} backward"
            _, cotangents = loss_pull(self.scale)
            trace.scope = ""
            of_params, _ = pull(cotangents[: len(outputs)] if len(outputs) > 1 else cotangents[0])
        else:
            check_scalar(loss)
            of_params, _ = pull(self.scale)
        return Plan(trace, [loss], tree.leaves(of_params))

    def _check_loss_inputs(self, given: int) -> None:
        if self.loss is not None and self.loss.arity not in (given, None):
            raise ShapeError(
                f"{self.kind}: the loss ({self.loss.kind}) takes {self.loss.arity} inputs, the network's outputs and the "
                f"targets, but {given} arrive"
            )


def check_scalar(loss: Any) -> None:
    """A loss is one number for the whole batch."""
    if not isinstance(loss, Value) or loss.shape != ():
        shape = getattr(loss, "shape", [getattr(y, "shape", None) for y in loss] if isinstance(loss, tuple) else None)
        raise ShapeError(
            f"the loss has shape {shape}, but it must be one number for the whole batch, such as fn.mse() gives"
        )


class ValueAndGrad(Differentiated[P]):
    """See `value_and_grad`."""

    kind = "value_and_grad"

    def __call__(self, params: P, *arrays: Array) -> tuple[np.floating[Any], P]:
        """Return (loss, gradient); the gradient has the structure, shapes and dtype of params."""
        program, space = self.enter(params, arrays)
        for f, args in space.program:
            f(*args)
        loss, gradient = space.outputs[0][()], program.layout.tree(space.gradient.copy())
        program.pool.append(space)
        return loss, gradient


def value_and_grad(net: Layer[P, Any], loss: Layer[Any, Any] | None = None) -> ValueAndGrad[P]:
    """(params, *inputs, *targets) -> (loss, gradient), in one compiled program.

    L = loss(net(params, *inputs), *targets)        gradient = dL / dparams
    loss: takes the network's outputs and then the targets; leave it out where the network's output is the loss itself.
    """
    return ValueAndGrad(net, loss)


class SGDStep(Differentiated[P]):
    """See `sgd_step`."""

    kind = "sgd_step"

    def __init__(self, net: Layer[P, Any], loss: Layer[Any, Any] | None, learning_rate: float) -> None:
        super().__init__(net, loss)
        self.scale = positive("learning_rate", learning_rate)

    def __call__(self, params: P, *arrays: Array) -> tuple[P, np.floating[Any]]:
        """Return (new params, loss); the loss is that of the params given."""
        program, space = self.enter(params, arrays)
        for f, args in space.program:
            f(*args)
        vector = space.params - space.gradient
        loss, new = space.outputs[0][()], program.layout.tree(vector)
        space.remember(new, vector)
        program.pool.append(space)
        return new, loss


def sgd_step(net: Layer[P, Any], loss: Layer[Any, Any] | None = None, *, learning_rate: float) -> SGDStep[P]:
    """(params, *inputs, *targets) -> (new params, loss): one step of gradient descent, in one compiled program.

    params' = params - learning_rate dL / dparams        L = loss(net(params, *inputs), *targets)
    loss: takes the network's outputs and then the targets; leave it out where the network's output is the loss itself.
    The learning rate is the cotangent of the loss, so that the update is one subtraction.
    """
    return SGDStep(net, loss, learning_rate)
