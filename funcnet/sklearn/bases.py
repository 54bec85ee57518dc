"""scikit-learn's base classes, with the types that it does not say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

    class BaseEstimator:
        """Options that can be read and set by their names."""

        def get_params(self, deep: bool = True) -> dict[str, Any]:
            """The options; deep: those of options that have some too, as `network__hidden`."""
            ...

        def set_params(self, **params: Any) -> Self:
            """Set options."""
            ...

        def __sklearn_tags__(self) -> Any:
            """What scikit-learn may give it."""
            ...

    class _Scored:
        def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
            """The accuracy of a classifier, R^2 of a regressor."""
            ...

    class ClassifierMixin(_Scored):
        """A classifier."""

    class RegressorMixin(_Scored):
        """A regressor."""
else:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

__all__ = ["BaseEstimator", "ClassifierMixin", "RegressorMixin"]
