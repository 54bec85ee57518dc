"""What every implementation of a workload has to offer: a fresh state, n steps from it, and a way to read both."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Linears = list[tuple[Array, Array]]
"""The linear layers of a network in the order of its workload: (weight (in, out), bias (out,))."""


class Case(NamedTuple):
    """One implementation of one workload, bound to its data.

    ``begin()`` gives the state before the first step. ``run(state, n)`` takes n steps and returns the new state with
    the last result: a training step's loss, or what an inference step computed. ``read(state, result)`` brings both
    to ``(params, result)`` in NumPy: the linear layers of a workload, or all leaves.
    """

    begin: Callable[[], Any]
    run: Callable[[Any, int], tuple[Any, Any]]
    read: Callable[[Any, Any], tuple[Any, Array]]


def training_case(
    step: Callable[..., Any], begin: Callable[[], Any], numpy: Callable[[Any], Any], data: tuple[Any, ...]
) -> Case:
    """``params, loss = step(params, *data)``, over and over; numpy: brings params to NumPy."""

    def run_two(params: Any, steps: int) -> tuple[Any, Any]:
        x, target = data
        loss: Any = None
        for _ in range(steps):
            params, loss = step(params, x, target)
        return params, loss

    def run_three(params: Any, steps: int) -> tuple[Any, Any]:
        first, second, third = data
        loss: Any = None
        for _ in range(steps):
            params, loss = step(params, first, second, third)
        return params, loss

    def read(params: Any, loss: Any) -> tuple[Any, Array]:
        return numpy(params), np.asarray(float(loss))

    return Case(begin, run_two if len(data) == 2 else run_three, read)


def inference_case(
    apply: Callable[..., Any], begin: Callable[[], Any], data: tuple[Any, ...], numpy: Callable[[Any], Array]
) -> Case:
    """``y = apply(params, x)``, over and over, with the same params."""

    def run(params: Any, steps: int) -> tuple[Any, Any]:
        (x,) = data
        y: Any = None
        for _ in range(steps):
            y = apply(params, x)
        return params, y

    def read(params: Any, y: Any) -> tuple[Linears, Array]:
        return [], numpy(y)

    return Case(begin, run, read)


def scanned_case(
    scan: Callable[..., Any], begin: Callable[[], Any], linears: Callable[[Any], Linears], data: tuple[Any, ...]
) -> Case:
    """``params, losses = scan(params, *arrays)``, once, over arrays that hold the data once for each step."""

    def run(params: Any, steps: int) -> tuple[Any, Any]:
        params, losses = scan(params, *(np.broadcast_to(array, (steps, *array.shape)) for array in data))
        return params, losses[-1]

    def read(params: Any, loss: Any) -> tuple[Linears, Array]:
        return linears(params), np.asarray(float(loss))

    return Case(begin, run, read)
