"""What the classifier and the regressor have in common: `fit` and `partial_fit` as calls of `funcnet.fit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.validation import check_is_fitted, validate_data

from funcnet.arrays import Array
from funcnet.calling import checks_call
from funcnet.core import Layer
from funcnet.errors import ShapeError
from funcnet.native.jit import jit
from funcnet.optimizers.algorithms import adam
from funcnet.optimizers.base import Optimizer
from funcnet.random import fold_in, key
from funcnet.sklearn.accepting import Options, check_weights, held_out, loss_of, optimizer_of, options_of, weights_of
from funcnet.sklearn.bases import BaseEstimator
from funcnet.sklearn.builder import AnyLayer, as_layer, first_params
from funcnet.training.fit import fit
from funcnet.training.fit_result import Fit
from funcnet.training.steps import train_step

Weights = npt.NDArray[np.float64]
FEATURES: dict[str, Any] = {"accept_sparse": "csr", "dtype": (np.float64, np.float32)}  # any other X becomes the first


class Estimator(BaseEstimator):
    """The options, and how they become one call of `funcnet.fit`."""

    network_: AnyLayer
    params_: Any
    history_: dict[str, npt.NDArray[Any]]
    n_iter_: int
    _numeric: bool
    """Whether targets are numbers, and not classes."""

    @checks_call
    def __init__(
        self,
        network: Any = None,
        *,
        loss: Callable[..., Layer[Any, Any]] | None = None,
        optimizer: Callable[..., Optimizer] | Optimizer = adam,
        learning_rate: float | Callable[[Any], Any] = 1e-3,
        max_iter: int = 200,
        batch_size: int | str = "auto",
        tol: float = 1e-4,
        n_iter_no_change: int | None = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        callbacks: Sequence[Callable[[Fit[Any]], object]] = (),
        random_state: Any = None,
        verbose: bool = False,
        jit: bool = False,
    ) -> None:
        self.network = network
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose
        self.jit = jit

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn may give it: sparse rows too, which become dense batch by batch."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for `max_iter` epochs, or until it stops early; with `warm_start`, continue from the trained params.

        X: (n, features), may be sparse.     y: (n,), or (n, outputs).
        sample_weight: (n,), none below 0; rows of weight 0 are left out.
        """
        return self._advance(X, y, sample_weight, is_part=False)

    def _advance(self, X: Any, y: Any, sample_weight: Any, *, is_part: bool, classes: Any = None) -> Self:
        """Draw the params if there are none to go on from, then train: for one epoch if this is a part of a fit."""
        options = options_of(self)
        begins = not (hasattr(self, "params_") and (is_part or self.warm_start))
        refuse_images(X)
        checks = {**FEATURES, "multi_output": True, "y_numeric": self._numeric}
        x, y = validate_data(self, X, y, reset=begins, **checks)
        y = dense(y)
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        weights = weights_of(sample_weight, x)
        n_outputs = self._learn_kind(y, classes) if begins else 0
        targets = self._targets(y)
        weights = check_weights("sample_weight times class_weight", self._weighed(y, weights))
        if begins:
            self._begin(x, n_outputs, options)
        self._train(options, x, targets, weights, 1 if is_part else options.epochs, stops=not is_part)
        return self

    def _begin(self, x: Any, n_outputs: int, options: Options) -> None:
        """Make the network and the steps, and draw the first params."""
        self._key = key(int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max)))
        self._dtype = x.dtype
        self.network_ = as_layer(self.network, x.shape[1], n_outputs)
        params = first_params(self.network_, fold_in(self._key, "init"), x.shape[1], n_outputs, x.dtype)
        optimizer = optimizer_of(self.optimizer, self.learning_rate)
        plain, weighted = (loss_of(self.loss or self._usual_loss(), weighted) for weighted in (False, True))
        steps = tuple(train_step(self.network_, loss, optimizer) for loss in (plain, weighted))
        self._steps = tuple(map(jit, steps)) if options.jit else steps
        self._fitted = Fit(params, optimizer.init(params), {}, params)
        self.n_iter_ = 0

    def _train(self, options: Options, x: Any, targets: Any, weights: Weights, epochs: int, *, stops: bool) -> None:
        """So many epochs more. The history goes on, unless there is validation now or there was before."""
        targets = targets.astype(self._dtype, copy=False) if targets.dtype.kind == "f" else targets
        rows = weights > 0  # without the others, batches are those of the data without them
        data: tuple[Any, ...] = (x[rows].astype(self._dtype, copy=False), targets[rows])
        is_weighted = bool((weights[rows] != 1).any())
        data = (*data, weights[rows].astype(self._dtype)) if is_weighted else data  # the plain loss takes less time
        validation = None
        if stops and options.holds_out is not None:
            data, validation = held_out(data, options.holds_out, self._key)
        before = self._fitted
        goes_on = validation is None and "validation_loss" not in before.history
        start = before if goes_on else before._replace(history={})
        callbacks = [*options.callbacks]
        if validation is None and options.patience is not None:
            callbacks.append(partial(is_stalled, start.epochs, options.tol, options.patience))
        fitted = fit(
            self._steps[is_weighted],
            start,
            data,
            start.epochs + epochs,
            min(options.batch_size, len(data[1])),
            self._key if goes_on else fold_in(self._key, self.n_iter_),  # which the epochs of a history count from 0
            validation=validation,
            patience=None if validation is None else options.patience,
            min_delta=options.tol,
            callbacks=callbacks,
            verbose=options.verbose,
        )
        self._fitted = fitted
        self.params_, self.history_ = fitted.params, fitted.history
        self.n_iter_ += fitted.epochs - start.epochs

    def _outputs(self, X: Any) -> Array:
        """The network's outputs, a row each."""
        check_is_fitted(self, "params_")
        refuse_images(X)
        x: Any = validate_data(self, X, reset=False, **FEATURES)
        outputs: Array = self.network_.apply(self.params_, dense(x).astype(self._dtype, copy=False))
        return outputs

    # What the classifier and the regressor each say

    def _learn_kind(self, y: Any, classes: Any) -> int:
        """Keep the form of the targets for later calls; return the number of outputs of the network."""
        raise NotImplementedError

    def _targets(self, y: Any) -> Any:
        """The targets that the loss takes: labels (n,), or numbers (n, outputs)."""
        raise NotImplementedError

    def _weighed(self, y: Any, weights: Weights) -> Weights:
        """The weights of the rows, times those of their classes."""
        return weights

    def _usual_loss(self) -> Callable[..., Layer[Any, Any]]:
        """The loss where none is given."""
        raise NotImplementedError


def refuse_images(X: Any) -> None:
    """Refuse anything but a table of rows, with the fix for networks of images or sequences."""
    shape: Any = np.shape(X) if hasattr(X, "shape") else ()
    if len(shape) > 2:
        axes = ", ".join(map(str, shape[1:]))
        raise ShapeError(
            f"X has shape {shape}, but an estimator takes rows of features, (n, features): give "
            f"X.reshape({shape[0]}, -1), and begin the network with fn.reshape({axes})"
        )


def dense(x: Any) -> Any:
    """A sparse matrix as an array."""
    return x.toarray() if hasattr(x, "toarray") else x


def is_stalled(first: int, tol: float, patience: int, fitted: Fit[Any]) -> bool:
    """Whether the last epochs, so many, all had a loss that was not smaller by tol than the best before them."""
    losses = fitted.history["loss"][first:]
    best = 0
    for epoch, loss in enumerate(losses):
        if loss < losses[best] - tol:
            best = epoch
    return len(losses) - 1 - best >= patience
