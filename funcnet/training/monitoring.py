"""The best epoch, for early stopping and for the params that `fit` returns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from funcnet.errors import OptionError
from funcnet.options import brief, not_negative

History = dict[str, npt.NDArray[Any]]
SMALL, LARGE = ("loss",), ("accuracy", "r2")  # endings of the names of numbers to minimize, or maximize


class Monitor(NamedTuple):
    """name: in the history.     sign: 1 where small is good, else -1.     min_delta: the least improvement."""

    name: str
    sign: float
    min_delta: float

    def best_epoch(self, history: History) -> int:
        """The last epoch that was better than the best before it by more than min_delta; NaN is never better."""
        best = 0
        values = self.values(history)
        for epoch, value in enumerate(values):
            if value < values[best] - self.min_delta or (np.isnan(values[best]) and not np.isnan(value)):
                best = epoch
        return best

    def values(self, history: History) -> npt.NDArray[Any]:
        """One number an epoch; the smallest is the best."""
        if self.name not in history:
            raise OptionError(
                f"fit: the history so far has no {self.name} to go by, but {', '.join(history)}: give validation "
                "data from the first epoch on, or another monitor"
            )
        if history[self.name].ndim != 1:
            raise OptionError(f"fit: {self.name} is no single number an epoch, and so none is the best")
        return self.sign * history[self.name]


def sign_of(where: str, name: object, mode: object) -> float:
    """1 where small is good, -1 where large is: by the mode, else by the name."""
    if not isinstance(name, str):
        raise OptionError(f"{where}: monitor must be a name in the history, not {brief(name)}")
    if mode is None:
        if name.endswith(SMALL):
            return 1.0
        if name.endswith(LARGE):
            return -1.0
        raise OptionError(f'{where}: whether {name} should be small or large cannot be known: give mode="min" or "max"')
    if not isinstance(mode, str) or mode not in ("min", "max"):
        raise OptionError(f'{where}: mode must be "min", "max" or None, not {mode!r:.60}')
    return 1.0 if mode == "min" else -1.0


def monitor_of(name: Any, mode: object, min_delta: object, names: Iterable[str], needed: bool) -> Monitor | None:
    """The monitor of a history with these names; None without validation, where no other name was asked for."""
    known = [*names]
    if not isinstance(name, str):
        raise OptionError(f"fit: monitor must be a name in the history, of {', '.join(known)}, not {name!r:.60}")
    least = not_negative("fit: min_delta", min_delta)
    if name not in known:
        if name == "validation_loss":
            if needed:
                raise OptionError("fit: patience waits for a smaller validation loss: give validation data")
            return None
        fix = "" if "metrics" in name else ": fn.train_step takes metrics, and fit validation data"
        raise OptionError(f"fit: monitor must be one of {', '.join(known)}, not {name!r}{fix}")
    return Monitor(name, sign_of("fit: monitor", name, mode), least)
