"""Warnings of losses that raise no error but are hardly ever meant."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnet.arrays import Array
from funcnet.calling import warn
from funcnet.core import Function
from funcnet.errors import OptionError
from funcnet.networks.network import Network

TWICE = {"softmax_cross_entropy": "softmax", "sigmoid_cross_entropy": "sigmoid"}
"""Losses of logits, and the activation that each contains."""
NO_LOGARITHMS = {"linear", "softmax"}
"""Layers whose outputs are no logarithms of probabilities."""
TOLERANCE = 0.01  # of the sum of a row of probabilities


def refuse_swapped(kind: str, net: Function[Any, Any], loss: Function[Any, Any] | None) -> None:
    """Refuse a loss in the place of the network, beside no other loss."""
    if loss is not None and net.total_weight is not None and loss.total_weight is None:
        raise OptionError(f"{kind}: the network, its first argument, is the loss {net.kind}: {kind}(net, loss, ...)")


def warn_of_activation(kind: str, net: Function[Any, Any], loss: Function[Any, Any] | None) -> None:
    """Warn of a last activation that the loss applies again."""
    last = None if loss is None else TWICE.get(loss.kind)
    if loss is not None and last is not None and last in last_kinds(net):
        advice = f"logits, to which it applies {last} itself: leave fn.{last}() out of the network, and apply it to the"
        warn(f"{kind}: the network ends in {last}, and {loss.kind} takes {advice} predictions afterwards")
    if loss is not None and loss.kind == "kl_divergence" and (found := last_kinds(net) & NO_LOGARITHMS):
        advice = "takes logarithms of probabilities: end in fn.log_softmax()"
        warn(f"{kind}: the network ends in {found.pop()}, and kl_divergence {advice}")


def last_kinds(net: Function[Any, Any]) -> set[str]:
    """The kinds of the layers whose outputs the network returns."""
    function = net.function
    if isinstance(function, Network):
        return {kind for key in function.graph.outputs for kind in last_kinds(function.layer(key).apply)}
    if net.kind == "serial" and net.parts:
        return last_kinds(net.parts[-1].apply)
    return {net.kind}


def warn_of_targets(kind: str, loss: Function[Any, Any], target: Array) -> None:
    """Warn of targets in another coding than the loss expects. A NaN is a missing target."""
    if loss.kind == "softmax_cross_entropy" and target.dtype.kind == "f" and target.ndim > 1:
        sums = target.sum(axis=-1)
        wrong = np.flatnonzero(np.abs(sums - 1) > TOLERANCE)
        if wrong.size:
            told = f"row {wrong[0]} of the target sums to {sums.ravel()[wrong[0]]:.4g}, not to 1"
            advice = "softmax_cross_entropy takes probabilities, target / target.sum(-1, keepdims=True)"
            warn(f"{kind}: {told}: {advice}")
    if loss.kind == "hinge" and not np.isnan(target).any() and np.isin(target, (0, 1)).all():
        warn(f"{kind}: the targets are 0 and 1: hinge takes -1 and 1, 2 * target - 1")
    if loss.kind == "sigmoid_cross_entropy" and ((target < 0) | (target > 1)).any():
        outside = target[(target < 0) | (target > 1)][0]
        coding = ", (target + 1) / 2 where they are -1 and 1" * bool(outside == -1)
        warn(f"{kind}: a target is {outside:g}: sigmoid_cross_entropy takes probabilities from 0 to 1{coding}")
