"""Operators with the params of another one: the same layer again, or its weight transposed."""

from __future__ import annotations

from typing import Any, NamedTuple

from funcnet.calling import checks_call
from funcnet.core import Function, Layer, OperatorKey
from funcnet.display import shown
from funcnet.errors import GraphError
from funcnet.options import flag, named


class Shared(NamedTuple):
    """Operator `key` again, with the same parameters; transposed: with its weight transposed."""

    key: OperatorKey
    transposed: bool = False

    def __repr__(self) -> str:
        """The call that makes it."""
        return f"shared({self.key!r}{', transposed=True' * self.transposed})"


@checks_call
def shared(key: OperatorKey, *, transposed: bool = False) -> Shared:
    """Use operator `key` once more in `operators`, with the same params; the gradients of all its uses add up.

    transposed: multiply by the transposed weight of that operator, y = x W^T, as `transposed` does: tied weights.
    Raises OptionError for another option; `network` raises GraphError where the key is no operator, or has no weight to
    transpose.

    operators = {"left": fn.linear(8), "right": fn.shared("left"), "join": fn.subtract()}
    operators = {"encode": fn.linear(8), "squash": fn.tanh(), "decode": fn.shared("encode", transposed=True)}
    """
    return Shared(named(key), flag("shared: transposed", transposed))


@checks_call
def transposed(layer: Layer[Any, Any]) -> Function[Any, Any]:
    """The function that multiplies by the transposed weight of a layer.

    y = x W^T        dW = g^T x        dx = g W        db = 0

    W: the weight of a `linear`, or the table of an `embedding`. The bias of a `linear` is not used: a bias of the
    output is an operator of its own. Shapes: (..., units) -> (..., inputs), or (..., features) -> (..., vocabulary).
    It has no params to draw, so it is a function and no layer: in a network write `shared(key, transposed=True)`, and
    call it with the params of the layer to run a decoder alone, `fn.transposed(encoder)(params["encode"], codes)`.
    Raises GraphError for any other layer. (Press and Wolf 2017)
    """
    found: Function[Any, Any] | None = getattr(getattr(layer, "apply", None), "transposed", None)
    if found is None:
        raise GraphError(
            f"transposed: {shown(layer):.60} has no weight to transpose: give a linear or an embedding layer"
        )
    return found
