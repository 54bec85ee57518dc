"""The regressor: a network's outputs, trained by the mean squared error or another loss."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, Self

import numpy as np

from funcnet.arrays import Array
from funcnet.core import Layer
from funcnet.errors import ShapeError
from funcnet.losses.regression import mse
from funcnet.sklearn.base import Estimator
from funcnet.sklearn.bases import RegressorMixin


class FuncnetRegressor(RegressorMixin, Estimator):
    """A network as a regressor: one output a target.

    network: a layer, the two dicts `(operators, connectivity)`, or a function `(n_features, n_outputs) -> layer` such
    as `MLP((50,))`. None: `MLP()`.
    loss: a function that makes a loss of (outputs, targets), or with `weighted=True` of weights too. None: `fn.mse`.
    Options by `functools.partial`. `predict` returns the network's outputs: for `fn.poisson_nll` log rates.
    optimizer, learning_rate: a function of the rate, which may be a schedule; or an optimizer, which has its own.
    max_iter, batch_size: epochs, and rows of a batch; "auto" is 200, or all rows if there are fewer.
    tol, n_iter_no_change: stop after so many epochs without a loss smaller by tol than the best; None: never.
    early_stopping, validation_fraction: hold out a part of the rows, go by its loss, and keep the best params.
    warm_start: `fit` continues from the trained params, with the same bits as one longer `fit`.
    callbacks, verbose: as `fn.fit` takes them.
    jit: train by native code, as `fn.jit` makes it; it needs a C compiler, and gives the same results to rounding.
    random_state: an int, a RandomState or None, from which first params, order of rows and dropout follow.

    After fit: `network_` (the layer), `params_`, `history_` ("loss", and with early stopping "validation_loss", an
    element an epoch), `n_iter_` (epochs since the params were drawn), `n_features_in_`.
    The params have the dtype of X if it is float32, else float64. Scale X and y to about 1 first.
    Raises OptionError for an option out of range, ShapeError for a network or targets that do not fit, and what
    scikit-learn raises for X and y.

    Example: `FuncnetRegressor(MLP((50,)), loss=fn.huber, random_state=0).fit(X, y).predict(X)`.
    """

    _numeric = True

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn may give it."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """One epoch over these rows; k calls over the same rows give the same bits as one `fit` of k epochs."""
        return self._advance(X, y, sample_weight, is_part=True)

    def predict(self, X: Any) -> Array:
        """The network's outputs, of the shape of the targets: (n,), or (n, outputs)."""
        outputs = self._outputs(X)
        return outputs.reshape(len(outputs), *self._target_shape)

    def _learn_kind(self, y: Any, classes: Any) -> int:
        self._target_shape: tuple[int, ...] = y.shape[1:]
        return prod(self._target_shape)

    def _targets(self, y: Any) -> Any:
        if y.shape[1:] != self._target_shape:
            raise ShapeError(f"y has shape {y.shape}, but its rows had shape {self._target_shape} when training began")
        return y.reshape(len(y), -1).astype(np.float64, copy=False)

    def _usual_loss(self) -> Callable[..., Layer[Any, Any]]:
        return mse
