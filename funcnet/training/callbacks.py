"""The callbacks of `fit`, called after every epoch, and the display of its progress."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import numpy as np

from funcnet import tree
from funcnet.arrays import copied, is_array
from funcnet.calling import check_takes, warn
from funcnet.display import call_forgotten, described, first_line
from funcnet.errors import OptionError
from funcnet.options import flag
from funcnet.training.calibration import without_statistics
from funcnet.training.fit_result import Fit

BOOLS: tuple[Any, ...] = (bool, np.bool_)


class Listeners:
    """The callbacks of one `fit`."""

    def __init__(self, callbacks: Any) -> None:
        if not isinstance(callbacks, Iterable) or isinstance(callbacks, str):
            raise OptionError(
                f"fit: callbacks must be a list of functions of a Fit, callbacks=[f], not {first_line(callbacks):.60}"
            )
        self.functions: list[Any] = [*callbacks]
        self.warned: set[int] = set()
        for i, function in enumerate(self.functions):
            if not callable(function):
                raise OptionError(f"fit: callback {i} must be a function of a Fit, not {function!r:.60}")
            if forgotten := call_forgotten(function):
                raise OptionError(f"fit: callback {i} is {described(function)}{forgotten}")
            check_takes(f"fit: callback {i}", function, "fitted")

    def call(self, fitted: Fit[Any]) -> tuple[Fit[Any], bool]:
        """(the Fit to continue from, whether to stop); each callback sees the Fit that the one before it returned."""
        stops = False
        for i, function in enumerate(self.functions):
            result: Any = function(fitted)
            if isinstance(result, Fit):
                fitted = _replacement(i, cast("Any", result), fitted)
            elif type(result) in BOOLS:
                stops = stops or bool(result)
            elif result is not None and i not in self.warned:
                self.warned.add(i)
                warn(
                    f"fit: callback {i} returned {result!r:.60}, which is ignored: return True to stop, a Fit to "
                    "continue from it, or None"
                )
        return fitted, stops


class Display:
    """The progress of one `fit`: a bar around the epochs, a line for each, or neither."""

    def __init__(self, progress: Any, verbose: bool, epochs: int) -> None:
        if progress is not None and not callable(progress):
            what = "a function of the epochs, such as tqdm.tqdm"
            raise OptionError(f"fit: progress must be {what}, not {progress!r:.60}")
        self.progress: Any = progress
        self.verbose: bool = flag("fit: verbose", verbose)
        self.epochs = epochs
        self.bar: Any = None

    def epochs_from(self, first: int) -> Iterable[int]:
        """The numbers of the epochs to come, in the bar where there is one."""
        left = range(first, self.epochs)
        self.bar = left if self.progress is None else self.progress(left)
        return cast("Iterable[int]", self.bar)

    def show(self, fitted: Fit[Any]) -> None:
        """Show the numbers of the last epoch."""
        shown = numbers(fitted.history)
        if hasattr(self.bar, "set_postfix"):
            self.bar.set_postfix(shown)
        if self.verbose:
            line = "  ".join(f"{name} {value}" for name, value in shown.items())
            print(f"epoch {fitted.epochs}/{self.epochs}  {line}", flush=True)


def _replacement(i: int, given: Fit[Any], before: Fit[Any]) -> Fit[Any]:
    """A copy of the Fit that a callback returned, after checking that training can continue from it."""
    where = f"fit: callback {i} returned a Fit whose"
    for name in ("last", "params", "state"):
        new, old = (without_statistics(getattr(fitted, name)) for fitted in (given, before))
        if tree.structure(new) != tree.structure(old) or list(map(_spec, tree.leaves(new))) != list(
            map(_spec, tree.leaves(old))
        ):
            raise OptionError(f"{where} {name} has another structure, shape or dtype: use fitted._replace(...)")
    if {k: np.shape(v) for k, v in given.history.items()} != {k: v.shape for k, v in before.history.items()}:
        raise OptionError(f"{where} history has other names or epochs: leave it as it is")
    return copied(given)


def _spec(x: Any) -> tuple[Any, ...]:
    """Shape and dtype of an array; any number is like any other."""
    return (x.shape, x.dtype) if is_array(x) and x.ndim else ()


def numbers(history: dict[str, Any]) -> dict[str, str]:
    """The numbers of the last epoch, as text."""
    return {name: f"{values[-1]:.4g}" for name, values in history.items() if np.ndim(values) == 1}
