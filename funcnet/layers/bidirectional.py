"""A recurrent layer that reads a sequence in both directions."""

from __future__ import annotations

from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar, cast

import numpy as np

from funcnet import tree
from funcnet.arrays import Array, DType, Shape, accept_shape
from funcnet.core import Function, Layer, Result
from funcnet.display import shows_call
from funcnet.errors import GraphError, ParamsError, ShapeError
from funcnet.layers.recurring import Options, options_of, state_size
from funcnet.random import Key, check_key, split
from funcnet.tracing.recurrence import reverse

P = TypeVar("P")


class Bidirectional(NamedTuple, Generic[P]):
    """Params of `bidirectional`: those of the layer that reads forward, and of the one that reads backward."""

    forward: P
    backward: P


@shows_call
def bidirectional(layer: Layer[P]) -> Layer[Bidirectional[P]]:
    """A recurrent layer that reads each sequence forward, and one like it that reads backward, side by side.

    y = [a, r(c)]        a = f(x; U)        c = f(r(x); V)
    da, r(dc) = g cut in two        dU = f's for da        dV = f's for dc        dx = f's for da + r(f's for dc)

    f is the layer, U and V are the params of the two directions. r reverses the times; with lengths those of each
    sequence alone, so that reading backward begins at its last time. Where the layer gives the last output only, c is
    that at the first time, and is not reversed.
    layer: an `rnn`, `lstm` or `gru`, whose options and inputs hold for both directions. Outputs and an initial state
    are those of the forward direction, and then those of the other.
    Shapes: (time, inputs) -> (2 units,) or (time, 2 units), twice that with return_state.
    Params: `Bidirectional(forward, backward)`, each drawn by the layer's own init.
    Raises GraphError for another layer, and the errors of the layer. (Schuster and Paliwal 1997)
    Example: `fn.serial(fn.bidirectional(fn.lstm(16)), fn.linear(1))`.
    """
    options = options_of(layer)
    if options is None:
        raise GraphError(f"bidirectional takes an rnn, lstm or gru layer, not {layer!r:.60}")
    function = Function(
        "bidirectional",
        partial(_bidirectional, layer.apply, options),
        layer.apply.arity,
        integer_inputs=layer.apply.integer_inputs,
    )
    return Layer(partial(_draw, layer, options), function)


def _draw(
    layer: Layer[P], options: Options, key: Key, *shapes: Shape, dtype: DType = np.float32
) -> tuple[Bidirectional[P], Shape]:
    """The params of both directions; the last shape, of an initial state, is that of two."""
    check_key(key)
    first, second = split(key)
    if options.initial_state and len(shapes) == layer.apply.arity:
        *others, state = (accept_shape("bidirectional", shape) for shape in shapes)
        if len(state) != 1 or state[0] % 2:
            raise ShapeError(
                f"bidirectional takes an initial state of twice the numbers of one direction, not of shape {state}"
            )
        shapes = (*others, (state[0] // 2,))
    forward, shape = layer.init(first, *shapes, dtype=dtype)
    backward, _ = layer.init(second, *shapes, dtype=dtype)
    return Bidirectional(forward, backward), (*shape[:-1], 2 * shape[-1])


def _unpack(params: Any) -> Bidirectional[Any]:
    """The params of both directions, checked."""
    if not tree.same_kind(type(params), Bidirectional):
        raise ParamsError(f"its params must be Bidirectional(forward, backward), not {type(params).__name__}")
    return cast("Bidirectional[Any]", params)


def _of_forward(of_forward: Any, x: Array, state: Array) -> int:
    """How many numbers of an initial state that fits are of the forward direction."""
    shape: Shape = getattr(getattr(of_forward, "recurrent_weight", None), "shape", ())
    if len(shape) != 2 or not shape[0]:
        return 0  # the layer refuses such params
    size = state_size(shape[1] // shape[0], shape[0])
    if state.shape != (wanted := (x.shape[0], 2 * size)):
        raise ShapeError(
            f"its initial state has shape {state.shape}, but must be {wanted}: that of each direction side by side"
        )
    return size


def _bidirectional(
    apply: Function[P, Any], options: Options, params: Bidirectional[P], x: Array, *others: Array
) -> Result[Bidirectional[P]]:
    of_forward, of_backward = _unpack(params)
    lengths, state = others[: options.lengths], others[options.lengths :]
    middle = _of_forward(of_forward, x, state[0]) if state else 0
    forward, pull_forward = apply.function(of_forward, x, *lengths, *(s[:, :middle] for s in state))
    turned = reverse(x, *lengths)
    backward, pull_backward = apply.function(of_backward, turned, *lengths, *(s[:, middle:] for s in state))
    size = forward.shape[-1]
    sequences = options.return_sequences
    y = np.concatenate([forward, reverse(backward, *lengths) if sequences else backward], axis=-1)

    def pullback(g: Array) -> tuple[Bidirectional[P], tuple[Any, ...]]:
        g_backward = g[..., size:]
        d_forward, from_forward = pull_forward(g[..., :size])
        d_backward, from_backward = pull_backward(reverse(g_backward, *lengths) if sequences else g_backward)
        dx = from_forward[0] + reverse(from_backward[0], *lengths)
        of_state = [np.concatenate([from_forward[-1], from_backward[-1]], axis=1) for _ in state]
        return Bidirectional(d_forward, d_backward), (dx, *(None for _ in lengths), *of_state)

    return y, pullback
