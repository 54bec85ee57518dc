"""Which arrays of a batch are inputs of the network: the one rule for training, evaluation and calibration."""

from __future__ import annotations

from typing import Any

from funcnet.core import Function
from funcnet.errors import OptionError, ShapeError


def inputs_taken(kind: str, net: Function[Any, Any], given: int, loss: Function[Any, Any] | None = None) -> int:
    """How many of a batch's arrays, from the first on, are inputs of the network; the others are the targets.

    A network of any number of inputs takes all but those that the loss takes beside its output. Where no loss says how
    many, it takes one of (input, target); with more arrays the split is ambiguous, which is an error.
    """
    if net.arity is not None:
        return net.arity
    if loss is None or loss.arity is None:
        if given > 2:
            raise OptionError(
                f"{kind}: this {net.kind} takes any number of inputs, so which of the {given} arrays of a batch are "
                "inputs cannot be known: make it an operator of a network, fn.network(..., inputs=[...])"
            )
        return 1
    taken = given - (loss.arity - 1)
    if taken < 1:
        raise ShapeError(
            f"{kind}: the loss ({loss.kind}) takes {loss.arity} inputs, the network's output and {loss.arity - 1} "
            f"more, but {given} arrays were given and none is left for the network"
        )
    return taken


def check_taken(kind: str, loss: Function[Any, Any], outputs: int, others: int) -> None:
    """Refuse a loss that takes more or fewer arrays than the network's outputs and the others, its targets, are."""
    given = outputs + others
    if loss.arity in (given, None):
        return
    fix = (
        "targets come after the inputs, and weights after the targets; the data of fit are a tuple such as (x, target)"
    )
    if given > loss.arity:
        fix = "a loss made with weighted=True takes weights, too"
        if outputs > 1:
            fix = "make the losses of several outputs operators of the network, and train it with the loss None"
    raise ShapeError(
        f"{kind}: the loss ({loss.kind}) takes {loss.arity} inputs, the network's outputs and the targets, but {given} "
        f"arrive: {fix}"
    )
