"""Before anything is timed: every implementation must compute the same loss and the same params.

The judge is the textbook step in float64, on the same numbers, after 1 and after 3 steps. Compared are, each by its
largest error relative to its largest value: the loss (or what was inferred), every weight and bias, and how far every
weight and bias has moved, for a wrong gradient hides behind a small learning rate.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench import naive
from bench.case import Array, Case, Linears
from bench.workloads import Data, Workload

STEPS = (1, 3)


@dataclass(frozen=True)
class Tolerance:
    """The largest relative errors that are accepted: of the loss and the params, and of their movement."""

    value: float
    movement: float


TOLERANCES = {np.dtype(np.float32): Tolerance(1e-5, 1e-3), np.dtype(np.float64): Tolerance(1e-10, 1e-8)}


class Disagreement(Exception):
    """An implementation computes something else than the textbook step."""


class Judge:
    """The textbook results of one workload in float64."""

    def __init__(self, workload: Workload, data: Data, build: Callable[[Workload, Data], Case] = naive.build) -> None:
        self.workload, self.start = workload, data.start
        self.dtype = data.start[0][0].dtype
        self.tolerance = TOLERANCES[self.dtype]
        case = build(workload, _in_float64(data))
        self.expected = {steps: case.read(*case.run(case.begin(), steps)) for steps in STEPS}

    def check(self, name: str, case: Case) -> None:
        """Raise Disagreement where the case leaves the tolerance."""
        for steps, (linears, result) in self.expected.items():
            got_linears, got = case.read(*case.run(case.begin(), steps))
            where = f"{self.workload.name}: {name} after {steps} step{'s' * (steps > 1)}"
            self._compare(f"{where}: the result", got, result, self.tolerance.value)
            start = self.start if linears else []  # inference has no params to compare
            for place, layers in enumerate(zip(got_linears, linears, start, strict=True)):
                self._check_layer(f"{where}: linear layer {place}", layers, steps)

    def _check_layer(self, where: str, layers: tuple[Any, Any, Any], steps: int) -> None:
        for part, got, expected, start in zip(("weight", "bias"), *layers, strict=True):
            self._compare(f"{where}: the {part}", got, expected, self.tolerance.value)
            rounding = 2 * steps * float(np.finfo(self.dtype).eps) * float(np.abs(start).max())
            moved, should = got.astype(np.float64) - start, expected - start
            self._compare(f"{where}: how far the {part} moved", moved, should, self.tolerance.movement, rounding)

    def _compare(self, what: str, got: Array, expected: Array, tolerance: float, slack: float = 0.0) -> None:
        if got.shape != expected.shape:
            raise Disagreement(f"{what} has shape {got.shape}, but the textbook step gives {expected.shape}")
        error, size = float(np.abs(got - expected).max()), float(np.abs(expected).max())
        if not error <= tolerance * size + slack:
            raise Disagreement(f"{what} is off by {error:.3g}, where {tolerance:g} of {size:.3g} is accepted")


def _in_float64(data: Data) -> Data:
    def widen(array: Array) -> Array:
        return array if array.dtype.kind == "i" else array.astype(np.float64)

    linears: Linears = [(widen(weight), widen(bias)) for weight, bias in data.start]
    return Data(tuple(map(widen, data.inputs)), tuple(map(widen, data.targets)), linears)
