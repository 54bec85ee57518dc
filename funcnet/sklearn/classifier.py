"""The classifier: logits, trained by cross-entropy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.utils import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from funcnet.arrays import Array
from funcnet.calling import checks_call
from funcnet.core import Layer
from funcnet.errors import LabelError, OptionError
from funcnet.layers.activations import sigmoid
from funcnet.layers.softmax import log_softmax, softmax
from funcnet.losses.classification import sigmoid_cross_entropy, softmax_cross_entropy
from funcnet.optimizers.algorithms import adam
from funcnet.optimizers.base import Optimizer
from funcnet.sklearn.base import Estimator, Weights
from funcnet.sklearn.bases import ClassifierMixin
from funcnet.training.fit_result import Fit


class FuncnetClassifier(ClassifierMixin, Estimator):
    """A network as a classifier: one logit a class, or for a multilabel indicator one logit a label.

    network: a layer, the two dicts `(operators, connectivity)`, or a function `(n_features, n_outputs) -> layer` such
    as `MLP((50,))`. None: `MLP()`. It is given rows of features and gives logits, without a softmax.
    loss: a function that makes a loss of (logits, labels), or with `weighted=True` of weights too. None:
    `fn.softmax_cross_entropy`, for a multilabel indicator `fn.sigmoid_cross_entropy`. Options by `functools.partial`.
    optimizer, learning_rate: a function of the rate, which may be a schedule; or an optimizer, which has its own.
    max_iter, batch_size: epochs, and rows of a batch; "auto" is 200, or all rows if there are fewer.
    tol, n_iter_no_change: stop after so many epochs without a loss smaller by tol than the best; None: never.
    early_stopping, validation_fraction: hold out a part of the rows, go by its loss, and keep the best params.
    warm_start: `fit` continues from the trained params, with the same bits as one longer `fit`.
    class_weight: a dict, class -> factor of its rows' weights, "balanced" for factors that give all classes the same
    weight in all, or for a multilabel indicator a list of dicts.
    callbacks, verbose: as `fn.fit` takes them.
    jit: train by native code, as `fn.jit` makes it; it needs a C compiler, and gives the same results to rounding.
    random_state: an int, a RandomState or None, from which first params, order of rows and dropout follow.

    After fit: `classes_`, `network_` (the layer), `params_`, `history_` ("loss", and with early stopping
    "validation_loss", an element an epoch), `n_iter_` (epochs since the params were drawn), `n_features_in_`.
    The params have the dtype of X if it is float32, else float64.
    Raises OptionError for an option out of range, ShapeError for a network that does not fit, LabelError for labels
    that are no classes, and what scikit-learn raises for X and y.

    Example: `FuncnetClassifier(MLP((50,)), random_state=0).fit(X, y).predict_proba(X)`.
    """

    _numeric = False

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
        class_weight: Mapping[Any, float] | Sequence[Mapping[Any, float]] | str | None = None,
        callbacks: Sequence[Callable[[Fit[Any]], object]] = (),
        random_state: Any = None,
        verbose: bool = False,
        jit: bool = False,
    ) -> None:
        super().__init__(
            network,
            loss=loss,
            optimizer=optimizer,
            learning_rate=learning_rate,
            max_iter=max_iter,
            batch_size=batch_size,
            tol=tol,
            n_iter_no_change=n_iter_no_change,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            warm_start=warm_start,
            callbacks=callbacks,
            random_state=random_state,
            verbose=verbose,
            jit=jit,
        )
        self.class_weight = class_weight

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn may give it."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """One epoch over these rows; k calls over the same rows give the same bits as one `fit` of k epochs.

        classes: all that there will be, needed by the first call.
        """
        known = hasattr(self, "params_")
        if not known and classes is None:
            raise OptionError("classes must be passed on the first call to partial_fit: all that there will be")
        if known and classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
            raise OptionError(f"classes={classes!r:.60} is not the same as on the first call, {self.classes_!r:.60}")
        if isinstance(self.class_weight, str):
            raise OptionError(f"class_weight={self.class_weight!r} needs all rows at once: give partial_fit a dict")
        return self._advance(X, y, sample_weight, is_part=True, classes=classes)

    def predict(self, X: Any) -> Any:
        """The class of the largest logit, (n,); of a multilabel indicator 1 where a logit is above 0, (n, labels)."""
        logits = self._outputs(X)
        return (logits > 0).astype(np.intp) if self._is_multilabel else self.classes_[logits.argmax(axis=1)]

    def predict_proba(self, X: Any) -> Array:
        """The softmax of the logits, (n, classes); of a multilabel indicator their sigmoid, (n, labels)."""
        logits = self._outputs(X)
        return (sigmoid() if self._is_multilabel else softmax()).apply((), logits)

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of `predict_proba`, exact also where that is 0."""
        logits = self._outputs(X)
        return -np.logaddexp(0, -logits) if self._is_multilabel else log_softmax().apply((), logits)

    def decision_function(self, X: Any) -> Array:
        """The logits; of two classes, how far the second logit is above the first, (n,)."""
        logits = self._outputs(X)
        two = logits.shape[1] == 2 and not self._is_multilabel
        return logits[:, 1] - logits[:, 0] if two else logits

    def _learn_kind(self, y: Any, classes: Any) -> int:
        check_classification_targets(y)
        self._is_multilabel = type_of_target(y) == "multilabel-indicator"
        self.classes_: Any = unique_labels(y if classes is None else classes)
        return len(self.classes_)

    def _targets(self, y: Any) -> Any:
        check_classification_targets(y)
        if type_of_target(y) == "multiclass-multioutput":
            raise LabelError("y has several columns of classes: give one column, or a multilabel indicator of 0 and 1")
        if self._is_multilabel:
            if y.shape[1:] != self.classes_.shape:
                raise LabelError(f"y has shape {y.shape}, but is one column for each of {len(self.classes_)} labels")
            return y.astype(np.float64)
        unknown = np.setdiff1d(y, self.classes_)
        if unknown.size:
            raise LabelError(f"y has {unknown.tolist()!r:.60}, which are none of classes_, {self.classes_!r:.60}")
        return np.searchsorted(self.classes_, y)

    def _weighed(self, y: Any, weights: Weights) -> Weights:
        """Balanced: the weight of all rows, divided by the number of classes, for the rows of each class."""
        if self.class_weight is None:
            return weights
        if self._is_multilabel:
            factors: Weights = compute_sample_weight(self.class_weight, y)
            return weights * factors
        factors = np.ones(len(self.classes_))
        if isinstance(self.class_weight, Mapping):
            given = self.class_weight
            unknown = [label for label in given if label not in self.classes_.tolist()]
            if unknown:
                raise OptionError(f"class_weight: {unknown!r:.60} are none of classes_, {self.classes_!r:.60}")
            factors = np.array([given.get(label, 1.0) for label in self.classes_.tolist()], np.float64)
        elif self.class_weight == "balanced":
            of_class = np.bincount(self._targets(y), weights, len(self.classes_))
            there = of_class > 0
            factors[there] = weights.sum() / (np.count_nonzero(there) * of_class[there])
        else:
            raise OptionError(f"class_weight must be a dict, 'balanced' or None, not {self.class_weight!r:.60}")
        of_rows: Weights = factors[self._targets(y)]
        return weights * of_rows

    def _usual_loss(self) -> Callable[..., Layer[Any, Any]]:
        return sigmoid_cross_entropy if self._is_multilabel else softmax_cross_entropy
