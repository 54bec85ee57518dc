"""Networks as scikit-learn estimators: its own checks in full, what takes estimators, weights, stops, and bits."""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree

base = pytest.importorskip("sklearn.base")
calibration = pytest.importorskip("sklearn.calibration")
datasets = pytest.importorskip("sklearn.datasets")
exceptions = pytest.importorskip("sklearn.exceptions")
feature_selection = pytest.importorskip("sklearn.feature_selection")
model_selection = pytest.importorskip("sklearn.model_selection")
pipeline = pytest.importorskip("sklearn.pipeline")
preprocessing = pytest.importorskip("sklearn.preprocessing")
utils = pytest.importorskip("sklearn.utils")

from funcnet.sklearn import MLP, FuncnetClassifier, FuncnetRegressor  # noqa: E402
from funcnet.sklearn.accepting import held_out  # noqa: E402
from tests.exports.running import needs_compiler  # noqa: E402

X, Y = datasets.make_classification(240, 8, n_informative=6, n_classes=3, random_state=0)
NAMES = np.array(["ant", "bee", "cat"])[Y]
XR, RAW = datasets.make_regression(200, 5, n_targets=2, noise=1.0, random_state=0)
YR = RAW / RAW.std(axis=0)
W = np.random.default_rng(0).uniform(0.5, 2, len(X))
SMALL = MLP((12,))
ALL_EPOCHS: dict[str, Any] = {"random_state": 0, "n_iter_no_change": None, "batch_size": 32}

CHECK = """
import warnings
from sklearn.utils.estimator_checks import check_estimator
from funcnet.sklearn import {0}
warnings.simplefilter("ignore")
found = check_estimator({0}(), on_fail=None, on_skip=None)
for f in found:
    if f["status"] != "passed" and "pandas is not installed" not in str(f["exception"]):
        print(f["status"], f["check_name"], repr(f["exception"])[:300])
print(len(found))
"""


def same_bits(a: Any, b: Any) -> bool:
    """Whether two estimators have the same params."""
    pairs = zip(tree.leaves(a.params_), tree.leaves(b.params_), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["FuncnetClassifier", "FuncnetRegressor"])
def test_scikit_learn_has_nothing_to_say_against_it(name: str) -> None:
    settings = {**os.environ, "SCIPY_ARRAY_API": "1"}  # without which some checks are skipped
    line = [sys.executable, "-c", CHECK.format(name)]
    done = subprocess.run(line, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *faults, count = done.stdout.splitlines()
    assert faults == []
    assert int(count) > 50


@pytest.mark.parametrize("rate", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, W])
def test_parts_and_warm_starts_are_one_fit_to_the_bit(rate: float, weights: Any) -> None:
    make = partial(FuncnetClassifier, MLP((12,), dropout=rate), **ALL_EPOCHS)
    one = make(max_iter=6).fit(X, NAMES, weights)
    parts, warm = make(), make(max_iter=2, warm_start=True)
    for _ in range(6):
        parts.partial_fit(X, NAMES, np.unique(NAMES), weights)
    for _ in range(3):
        warm.fit(X, NAMES, weights)
    assert one.n_iter_ == parts.n_iter_ == warm.n_iter_ == 6
    for other in (parts, warm):
        assert same_bits(one, other)
        np.testing.assert_array_equal(one.history_["loss"], other.history_["loss"])
    assert not same_bits(one, make(max_iter=5).fit(X, NAMES, weights))


def test_a_regressor_is_fitted_in_parts_to_the_same_bits() -> None:
    one = FuncnetRegressor(SMALL, max_iter=4, **ALL_EPOCHS).fit(XR, YR)
    parts = FuncnetRegressor(SMALL, **ALL_EPOCHS)
    for _ in range(4):
        parts.partial_fit(XR, YR)
    assert same_bits(one, parts)


@needs_compiler
def test_native_code_gives_the_same_to_rounding() -> None:
    make = partial(FuncnetClassifier, SMALL, **ALL_EPOCHS)
    plain, native, parts = make(max_iter=4), make(max_iter=4, jit=True), make(jit=True)
    for estimator in (plain, native):
        estimator.fit(X, NAMES, W)
    for _ in range(4):
        parts.partial_fit(X, NAMES, np.unique(NAMES), W)
    assert same_bits(native, parts)
    np.testing.assert_allclose(native.predict_proba(X), plain.predict_proba(X), rtol=1e-9)
    again = pickle.loads(pickle.dumps(native))
    np.testing.assert_array_equal(again.predict_proba(X), native.predict_proba(X))
    assert "written by funcnet" in str(native._steps[1])


def test_it_is_what_fit_gives() -> None:
    found = FuncnetRegressor(SMALL, max_iter=3, **ALL_EPOCHS).fit(XR, YR)
    net, key = SMALL(5, 2), found._key
    params, _ = net.init(fn.fold_in(key, "init"), (5,), dtype=np.float64)
    fitted = fn.fit(fn.train_step(net, fn.mse(), fn.adam(1e-3)), params, (XR, YR), 3, 32, key)
    for a, b in zip(tree.leaves(found.params_), tree.leaves(fitted.params), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(found.predict(XR), net.apply(fitted.params, XR))


def test_rows_of_weight_zero_are_as_if_they_were_not_there() -> None:
    make = partial(FuncnetClassifier, SMALL, max_iter=5, **ALL_EPOCHS)
    counts = (np.arange(len(X)) % 3 > 0).astype(float)
    assert same_bits(make().fit(X, Y, counts), make().fit(X[counts > 0], Y[counts > 0]))
    assert not same_bits(make().fit(X, Y), make().fit(X, Y, counts))
    assert same_bits(make().fit(X, Y, W * counts), make().fit(X[counts > 0], Y[counts > 0], W[counts > 0]))


def test_a_weight_of_two_is_the_row_twice() -> None:
    make = partial(FuncnetRegressor, SMALL, max_iter=20, random_state=0, batch_size=1000)
    weights = 1.0 + (np.arange(len(XR)) % 2)
    twice = np.repeat(np.arange(len(XR)), weights.astype(int))
    a, b = make().fit(XR, YR, weights), make().fit(XR[twice], YR[twice])
    np.testing.assert_allclose(a.predict(XR), b.predict(XR), rtol=1e-9, atol=1e-10)


def test_weights_of_classes_are_weights_of_their_rows() -> None:
    make = partial(FuncnetClassifier, SMALL, max_iter=5, **ALL_EPOCHS)
    rows = np.where(NAMES == "bee", 3.0, 1.0)
    assert same_bits(make(class_weight={"bee": 3.0}).fit(X, NAMES), make().fit(X, NAMES, rows))
    assert same_bits(make(class_weight={"bee": 3.0}).fit(X, NAMES, W), make().fit(X, NAMES, W * rows))


def test_balanced_classes_weigh_the_same_in_all() -> None:
    few = np.flatnonzero((Y != 1) | (np.arange(len(Y)) % 5 == 0))
    x, y, w = X[few], Y[few], W[few]
    loss = partial(fn.softmax_cross_entropy, reduction="sum")  # which shows the size of the weights
    make = partial(FuncnetClassifier, SMALL, loss=loss, max_iter=5, **ALL_EPOCHS)
    found = make(class_weight="balanced").fit(x, y, w)
    of_class = np.bincount(y, w)
    own = w * (w.sum() / (3 * of_class))[y]
    np.testing.assert_allclose(np.bincount(y, own), w.sum() / 3)
    by_hand = make().fit(x, y, own)
    np.testing.assert_allclose(found.predict_proba(x), by_hand.predict_proba(x), rtol=1e-12)
    np.testing.assert_allclose(found.history_["loss"], by_hand.history_["loss"], rtol=1e-12)


def test_early_stopping_keeps_the_best_params() -> None:
    options: dict[str, Any] = {"early_stopping": True, "n_iter_no_change": 4, "tol": 0.0, "learning_rate": 0.05}
    found = FuncnetClassifier(MLP((64,)), max_iter=200, batch_size=16, random_state=0, **options).fit(X, NAMES)
    losses = found.history_["validation_loss"]
    assert found.n_iter_ == len(losses) == losses.argmin() + 5 < 200
    _, validation = held_out((X, np.searchsorted(found.classes_, NAMES)), 0.1, found._key)
    kept = fn.evaluate(found.network_, fn.softmax_cross_entropy(), found.params_, validation)
    assert kept == pytest.approx(losses.min(), rel=1e-12)
    assert kept < losses[-1]
    assert base.clone(found).set_params(tol=1e9).fit(X, NAMES).n_iter_ == 5


def test_early_stopping_counts_anew_with_every_fit() -> None:
    options: dict[str, Any] = {"early_stopping": True, "n_iter_no_change": 3, "max_iter": 60, "learning_rate": 0.05}
    found = FuncnetClassifier(SMALL, warm_start=True, random_state=0, **options).fit(X, Y)
    before = found.n_iter_
    found.fit(X, Y)
    assert found.n_iter_ == before + len(found.history_["loss"])
    found.partial_fit(X, Y)
    assert list(found.history_) == ["loss"]


def test_early_stopping_goes_on_from_the_last_params_with_another_order_of_rows() -> None:
    options: dict[str, Any] = {"early_stopping": True, "max_iter": 30, "learning_rate": 0.05, "warm_start": True}
    found = FuncnetClassifier(SMALL, batch_size=16, n_iter_no_change=None, random_state=0, **options).fit(X, Y)
    first = found._fitted
    assert any(not np.array_equal(*pair) for pair in zip(*map(tree.leaves, (first.params, first.last)), strict=True))
    data, validation = held_out((X, Y), 0.1, found._key)
    step = fn.train_step(found.network_, fn.softmax_cross_entropy(), fn.adam(0.05))
    start, key = first._replace(params=first.last, history={}), fn.fold_in(found._key, 30)
    again = fn.fit(step, start, data, 30, 16, key, validation=validation, min_delta=1e-4)
    np.testing.assert_array_equal(found.fit(X, Y).history_["loss"], again.history["loss"])


def test_the_same_part_of_each_label_is_held_out_where_it_can_be() -> None:
    labels = np.repeat([0, 1], [90, 10])
    (x, t), (_, held) = held_out((np.arange(100.0), labels), 0.2, fn.key(0))
    assert np.bincount(held).tolist() == [18, 2]
    assert np.intersect1d(x, np.arange(100.0)).size == len(t) == 80
    rare = np.repeat([0, 1], [99, 1])
    _, (_, held) = held_out((np.arange(100.0), rare), 0.2, fn.key(0))
    assert len(held) == 20


def test_it_stops_when_the_loss_stands_still() -> None:
    slow: dict[str, Any] = {"learning_rate": 1e-9, "max_iter": 30, "random_state": 0}
    found = FuncnetRegressor(SMALL, n_iter_no_change=4, warm_start=True, **slow).fit(XR, YR)
    assert found.n_iter_ == 5
    assert found.fit(XR, YR).n_iter_ == 10
    assert FuncnetRegressor(SMALL, n_iter_no_change=None, **slow).fit(XR, YR).n_iter_ == 30


def test_a_pipeline_of_strings_in_a_grid_search_in_two_processes() -> None:
    pipe = pipeline.make_pipeline(
        preprocessing.StandardScaler(),
        feature_selection.SelectKBest(),
        FuncnetClassifier(MLP(), max_iter=60, random_state=0),
    )
    grid = {
        "selectkbest__k": [2, 6],
        "funcnetclassifier__network__hidden": [(), (32, 16)],
        "funcnetclassifier__optimizer": [partial(fn.adamw, weight_decay=1e-4)],
        "funcnetclassifier__learning_rate": [1e-2],
    }
    search = model_selection.GridSearchCV(pipe, grid, n_jobs=2, cv=2, error_score="raise").fit(X, NAMES)
    assert search.best_params_["funcnetclassifier__network__hidden"] == (32, 16)
    assert search.best_params_["selectkbest__k"] == 6
    assert set(search.predict(X)) == {"ant", "bee", "cat"}
    assert search.best_score_ > 0.7


def test_probabilities_are_calibrated() -> None:
    plain = FuncnetClassifier(SMALL, learning_rate=1e-2, random_state=0)
    found = calibration.CalibratedClassifierCV(plain, cv=2).fit(X, NAMES)
    np.testing.assert_allclose(found.predict_proba(X).sum(axis=1), 1, rtol=1e-12)
    assert found.score(X, NAMES) > 0.8


def test_several_labels_a_row() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 10))
    y = (x @ rng.normal(size=(10, 4)) > 0).astype(int)
    found = FuncnetClassifier(SMALL, learning_rate=1e-2, random_state=0).fit(x, y)
    assert found.predict_proba(x).shape == found.decision_function(x).shape == (300, 4)
    assert np.mean(found.predict(x) == y) > 0.97
    balanced = base.clone(found).set_params(class_weight="balanced").fit(x, y)
    by_hand = base.clone(found).fit(x, y, utils.compute_sample_weight("balanced", y))
    assert same_bits(balanced, by_hand)
    np.testing.assert_array_equal(found.predict(x), found.predict_proba(x) > 0.5)
    np.testing.assert_allclose(np.exp(found.predict_log_proba(x)), found.predict_proba(x))
    assert found.predict_log_proba(1e4 * x).min() < -1000
    parts = FuncnetClassifier(SMALL, learning_rate=1e-2, random_state=0).partial_fit(x, y, classes=range(4))
    assert parts.predict(x).shape == y.shape
    early = FuncnetClassifier(SMALL, random_state=0, early_stopping=True, max_iter=3).fit(x, y)
    assert len(early.history_["validation_loss"]) == 3
    with pytest.raises(fn.FuncnetError, match="one column for each of 4 labels"):
        parts.partial_fit(x, y[:, 0])


def test_several_targets_and_other_losses() -> None:
    found = FuncnetRegressor(SMALL, learning_rate=1e-2, random_state=0, max_iter=400).fit(XR, YR)
    assert found.predict(XR).shape == YR.shape
    assert found.score(XR, YR) > 0.98
    robust = FuncnetRegressor(SMALL, loss=partial(fn.huber, delta=0.5), learning_rate=1e-2, random_state=0)
    robust.fit(XR, YR[:, 0])
    assert robust.predict(XR).shape == (len(XR),)
    assert not same_bits(robust, base.clone(robust).set_params(loss=None).fit(XR, YR[:, 0]))
    with pytest.raises(fn.ShapeError, match="y has shape"):
        robust.partial_fit(XR, YR)


def test_scores_of_two_classes_go_with_what_is_predicted() -> None:
    y = NAMES == "bee"
    found = FuncnetClassifier(SMALL, learning_rate=1e-2, random_state=0).fit(X, y)
    score = found.decision_function(X)
    assert score.shape == (len(X),)
    np.testing.assert_array_equal(score > 0, found.predict(X))
    np.testing.assert_allclose(found.predict_proba(X)[:, 1], 1 / (1 + np.exp(-score)))
    far = found.predict_log_proba(1e4 * X)
    assert np.isfinite(far).all()
    assert far.min() < -1000


OPERATORS: dict[Any, Any] = {1: fn.linear(12), 2: fn.relu(), 3: fn.linear(3)}
CONNECTIVITY: dict[Any, Any] = {1: [2], 2: [3], 3: []}


@pytest.mark.parametrize(
    "network",
    [
        None,
        (OPERATORS, CONNECTIVITY),
        fn.network(OPERATORS, CONNECTIVITY),
        MLP((9, 9), fn.tanh, 0.1),
        lambda n, k: fn.serial(fn.reshape((2, n // 2)), fn.flatten(), fn.linear(k)),
    ],
    ids=["none", "two dicts", "layer", "MLP", "function"],
)
def test_a_network_is_given_in_any_form(network: Any) -> None:
    found = base.clone(base.clone(FuncnetClassifier(network, learning_rate=1e-2, random_state=0, max_iter=60))).fit(
        X, Y
    )
    assert found.score(X, Y) > 0.55
    assert isinstance(found.network_, fn.Layer)


def test_params_have_the_dtype_of_the_rows() -> None:
    for x, dtype in ((X, "f8"), (X.astype("f4"), "f4"), ((10 * X).astype(int), "f8")):
        found = FuncnetClassifier(SMALL, max_iter=2).fit(x, Y)
        assert {leaf.dtype for leaf in tree.leaves(found.params_)} == {np.dtype(dtype)}
        assert found.predict_proba(X).dtype == dtype


def test_sparse_rows_give_the_same_bits() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    x = np.where(np.abs(X) > 1, X, 0)
    dense = FuncnetClassifier(SMALL, max_iter=3, early_stopping=True, **ALL_EPOCHS).fit(x, Y, W)
    found = base.clone(dense).fit(sparse.csr_array(x), Y, W)
    assert same_bits(dense, found)
    np.testing.assert_array_equal(dense.predict_proba(x), found.predict_proba(sparse.csr_array(x)))


def test_it_comes_back_from_a_file_and_goes_on_with_the_same_bits() -> None:
    found = FuncnetClassifier(SMALL, max_iter=3, warm_start=True, **ALL_EPOCHS).fit(X, NAMES)
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(found.predict_proba(X), again.predict_proba(X))
    assert same_bits(found.fit(X, NAMES), again.fit(X, NAMES))


def test_callbacks_are_called_and_may_stop() -> None:
    seen: list[int] = []

    def third(fitted: fn.Fit[Any]) -> bool:
        seen.append(fitted.epochs)
        return fitted.epochs == 3

    assert FuncnetRegressor(SMALL, callbacks=[third]).fit(XR, YR).n_iter_ == 3
    assert seen == [1, 2, 3]


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"network": 3}, fn.OptionError, "network must be a layer, the two dicts"),
        ({"network": fn.linear(7)}, fn.ShapeError, r"linear\(7\) gives shape \(7,\) a row, but y needs \(3,\)"),
        ({"network": lambda n, k: n}, fn.OptionError, r"the function \(8, 3\) returned 8"),
        ({"network": (OPERATORS, {1: [9]})}, fn.GraphError, "names 9"),
        ({"network": MLP(5)}, fn.OptionError, r"hidden must be a tuple of ints"),  # type: ignore[arg-type]
        ({"network": MLP((0,))}, fn.OptionError, "hidden must be an int of at least 1"),
        ({"network": MLP(activation="relu")}, fn.OptionError, "activation must make a layer"),  # type: ignore[arg-type]
        ({"network": MLP(dropout=1.0)}, fn.OptionError, "dropout must be in"),
        ({"loss": fn.softmax_cross_entropy()}, fn.OptionError, "without parentheses"),
        ({"optimizer": "adam"}, fn.OptionError, "optimizer must be a function of the learning rate"),
        ({"learning_rate": "constant"}, fn.OptionError, "learning_rate must be a finite number above 0"),
        ({"max_iter": 0}, fn.OptionError, "max_iter must be an int of at least 1"),
        ({"batch_size": "all"}, fn.OptionError, "batch_size must be an int of at least 1"),
        ({"tol": -1.0}, fn.OptionError, "tol must be at least 0"),
        ({"n_iter_no_change": 0}, fn.OptionError, "n_iter_no_change must be an int"),
        ({"early_stopping": 1}, fn.OptionError, "early_stopping must be True or False"),
        ({"validation_fraction": 1.0}, fn.OptionError, "validation_fraction must be above 0 and below 1"),
        ({"warm_start": "yes"}, fn.OptionError, "warm_start must be True or False"),
        ({"callbacks": 3}, fn.OptionError, "callbacks must be a list"),
        ({"verbose": 2}, fn.OptionError, "verbose must be True or False"),
        ({"class_weight": "even"}, fn.OptionError, "class_weight must be a dict, 'balanced' or None"),
        ({"class_weight": {"dog": 2}}, fn.OptionError, r"class_weight: \['dog'\] are none of classes_"),
        ({"class_weight": {"ant": -2}}, fn.WeightError, "sample_weight times class_weight: -2"),
        ({"class_weight": {"ant": 0, "bee": 0, "cat": 0}}, fn.WeightError, "every weight is zero"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(options: Any, error: type[Exception], match: str) -> None:
    found = FuncnetClassifier(max_iter=1).set_params(**options)
    with pytest.raises(error, match=match):
        found.fit(X, NAMES)


@pytest.mark.parametrize(
    ("weights", "match"),
    [(-W, "must be a finite number of at least 0"), (0 * W, "every weight is zero"), (W[:, None], "one number a row")],
)
def test_weights_that_have_no_mean_are_refused(weights: Any, match: str) -> None:
    with pytest.raises(fn.WeightError, match=match):
        FuncnetRegressor(SMALL).fit(X, Y, weights)


def test_parts_need_all_classes_first() -> None:
    found = FuncnetClassifier(SMALL)
    with pytest.raises(exceptions.NotFittedError):
        found.predict(X)
    with pytest.raises(fn.OptionError, match="classes must be passed on the first call"):
        found.partial_fit(X, NAMES)
    with pytest.raises(fn.LabelError, match="'cat'"):
        found.partial_fit(X, NAMES, classes=["ant", "bee"])
    found.partial_fit(X[NAMES == "ant"], NAMES[NAMES == "ant"], classes=["ant", "bee", "cat"])
    with pytest.raises(fn.OptionError, match="not the same as on the first call"):
        found.partial_fit(X, NAMES, classes=["ant", "bee"])
    assert found.partial_fit(X, NAMES).predict_proba(X).shape == (len(X), 3)
    with pytest.raises(fn.OptionError, match="needs all rows at once"):
        FuncnetClassifier(SMALL, class_weight="balanced").partial_fit(X, NAMES, classes=["ant", "bee", "cat"])


def test_a_missing_scikit_learn_is_reported_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(sys.modules, "funcnet.sklearn")
    with pytest.raises(fn.MissingPackageError, match=r"scikit-learn: pip install 'funcnet\[sklearn\]'") as caught:
        importlib.import_module("funcnet.sklearn")
    assert isinstance(caught.value, ModuleNotFoundError)
