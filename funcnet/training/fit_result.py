"""What `fit` returns: params, optimizer state and history, from which it can go on."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, cast

import numpy.typing as npt
from typing_extensions import TypeVar

P = TypeVar("P", default=Any)


class Fit(NamedTuple, Generic[P]):
    """The result of `fit`, from which it can resume: a pytree, which can be saved as one.

    params: the best where there was validation, else the last; every batch_norm calibrated.
    state: the optimizer's, after the last epoch; None for `sgd_step`.
    history: name -> an array, an element an epoch: "loss" and the metrics, and "validation_loss" and so on.
    last: the params after the last epoch, from which training resumes. No two of these share memory.
    """

    params: P
    state: Any
    history: dict[str, npt.NDArray[Any]]
    last: P

    @property
    def epochs(self) -> int:
        """How many epochs there were."""
        return len(next(iter(self.history.values()), ()))

    def __repr__(self) -> str:
        """The number of epochs, and the last numbers of the history; the params would fill the screen."""
        numbers = {name: values[-1] for name, values in self.history.items() if len(values) and values.ndim == 1}
        return f"Fit({', '.join([f'epochs={self.epochs}', *(f'{name}={x:.4g}' for name, x in numbers.items())])})"


def params_of(params: Any) -> Any:
    """The params of a `Fit`; anything else is itself."""
    return cast("Any", params).params if isinstance(params, Fit) else params
