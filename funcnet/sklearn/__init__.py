"""Networks as scikit-learn estimators: for pipelines, grid searches, calibration and other tools that take one.

    FuncnetClassifier(network).fit(X, y).predict(X)        FuncnetRegressor(network).fit(X, y).predict(X)

It needs scikit-learn, the extra `sklearn`, and nothing else in funcnet imports it. Imports native and all below it.
"""

from __future__ import annotations

from importlib.util import find_spec

from funcnet.errors import MissingPackageError

if find_spec("sklearn") is None:
    raise MissingPackageError("funcnet.sklearn needs the package scikit-learn: pip install 'funcnet[sklearn]'")

from funcnet.sklearn.builder import MLP
from funcnet.sklearn.classifier import FuncnetClassifier
from funcnet.sklearn.regressor import FuncnetRegressor

__all__ = ["MLP", "FuncnetClassifier", "FuncnetRegressor"]
