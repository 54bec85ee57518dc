"""The weight of a batch in a mean over batches, so that such a mean equals the mean over all rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from funcnet.core import Function
from funcnet.networks.network import Network

Weigh: TypeAlias = Callable[[tuple[Any, ...]], "float | None"]
"""The arrays of a batch -> its weight in the mean; None where the losses of batches add up."""


def weigher(net: Function[Any, Any], loss: Function[Any, Any] | None, taken: Callable[[int], int]) -> Weigh:
    """How the batches of this network and loss are weighed.

    With a loss beside the network, the loss says: rows, or the sum of weights; with reduction "sum" losses add up; for
    a loss of the user's own, rows. For a network that is the loss itself its output operator says, where that is a loss
    fed by a prediction and, through `identity`, by inputs of the network; otherwise rows count.
    """
    if loss is not None:
        if loss.total_weight is not None:
            return partial(_by_loss, loss, taken)
        return _adds_up if loss.adds_up else _by_rows
    found = _loss_inside(net)
    return _by_rows if found is None else _adds_up if found[0].adds_up else partial(_by_loss_inside, *found)


def _by_rows(arrays: tuple[Any, ...]) -> float:
    return float(len(arrays[0]))


def _adds_up(arrays: tuple[Any, ...]) -> None:
    return None


def _by_loss(loss: Function[Any, Any], taken: Callable[[int], int], arrays: tuple[Any, ...]) -> float:
    targets = arrays[taken(len(arrays)) :]
    return _weight(loss, targets)


def _weight(loss: Function[Any, Any], targets: tuple[Any, ...]) -> float:
    """The total weight. The first target replaces the outputs, of which only the leading axes matter."""
    assert loss.total_weight is not None
    if not targets:
        return 1.0
    given = [np.asarray(x) for x in targets]
    first = given[0]
    like = first if first.dtype.kind == "f" and first.ndim > 1 else first[..., None]
    return float(loss.total_weight(*[like] * ((loss.arity or 0) - len(given)), *given))


def _loss_inside(net: Function[Any, Any]) -> tuple[Function[Any, Any], list[int]] | None:
    """The loss that is a network's output, and the inputs of the network that feed it behind its predictions."""
    function = net.function
    if not isinstance(function, Network) or not function.graph.single:
        return None
    (output,), steps = function.graph.outputs, {step.key: step for step in function.steps}
    loss, sources = steps[output].layer.apply, steps[output].fed_by
    if loss.total_weight is None and not loss.adds_up:
        return None
    outside = [k for k in function.graph.inputs if steps[k].layer.apply.is_identity]
    targets = [k for k in sources if k in outside]
    if not targets or [*sources[-len(targets) :]] != targets:
        return None
    return loss, [function.graph.inputs.index(k) for k in targets]


def _by_loss_inside(loss: Function[Any, Any], places: list[int], arrays: tuple[Any, ...]) -> float:
    return _weight(loss, tuple(arrays[i] for i in places))
