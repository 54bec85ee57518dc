"""The loop: equal to one by hand, stopped and resumed to the same bits, early stopping, and evaluation."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.training.monitoring import Monitor
from tests.test_keys import noise

RNG = np.random.default_rng(5)
X = RNG.normal(size=(22, 2)).astype(np.float32)
LABELS = (X[:, 0] * X[:, 1] > 0).astype(int)
T = np.eye(2, dtype=np.float32)[LABELS]
NET = fn.network({1: fn.linear(8), 2: fn.tanh(), 3: fn.linear(2)}, {1: [2], 2: [3]})
NOISY = fn.network({1: fn.linear(8), 2: noise(), 3: fn.linear(2)}, {1: [2], 2: [3]})
PARAMS, _ = NET.init(fn.key(0), (2,))
KEY = fn.key(9)

STEPS: dict[str, Any] = {
    "sgd_step": lambda net: fn.sgd_step(net, fn.softmax_cross_entropy(), learning_rate=0.1),
    "adam": lambda net: fn.train_step(net, fn.softmax_cross_entropy(), fn.adam(0.05)),
    "metrics": lambda net: fn.train_step(
        net, fn.softmax_cross_entropy(), fn.sgd(0.1, 0.9), metrics={"accuracy": fn.accuracy}
    ),
}
each_step = pytest.mark.parametrize("make", STEPS.values(), ids=STEPS)


def bits(*trees: Any) -> list[Any]:
    return [(np.asarray(a).dtype, np.shape(a), np.asarray(a).tobytes()) for a in tree.leaves(trees)]


@each_step
@pytest.mark.parametrize("net", [NET, NOISY])
def test_it_is_the_loop_that_one_would_write(make: Any, net: Any) -> None:
    fitted = fn.fit(make(net), PARAMS, (X, LABELS), 3, 5, KEY, drop_last=True)
    step, params, losses = make(net), PARAMS, []
    state = step.init(params) if hasattr(step, "init") else None
    for epoch in range(3):
        own, found = fn.fold_in(KEY, epoch), []
        for i, batch in enumerate(fn.minibatches((X, LABELS), 5, fn.fold_in(own, "shuffle"), drop_last=True)):
            key = fn.fold_in(own, i)
            if state is None:
                params, result = step(params, *batch, key=key)
            else:
                params, state, result = step(params, state, *batch, key=key)
            found.append(float(result["loss"] if isinstance(result, dict) else result))
        losses.append(np.mean(found))
    assert bits(fitted.params, fitted.last, fitted.state) == bits(params, params, state)
    np.testing.assert_allclose(fitted.history["loss"], losses, rtol=1e-12)
    assert fitted.epochs == 3


@each_step
@pytest.mark.parametrize("net", [NET, NOISY])
@pytest.mark.parametrize("best_is_last", [True, False])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_stopped_and_resumed_it_is_as_if_it_never_stopped(make: Any, net: Any, best_is_last: bool, at: int) -> None:
    """Also where the best params, which are returned, are not the last, from which it goes on."""
    labels = LABELS if best_is_last else 1 - LABELS
    options: dict[str, Any] = {"batch_size": 5, "key": KEY, "validation": (X[:7], labels[:7]), "patience": 5}
    whole = fn.fit(make(net), PARAMS, (X, LABELS), 5, **options)
    assert best_is_last or bits(whole.params) != bits(whole.last)
    first = fn.fit(make(net), PARAMS, (X, LABELS), at, **options)
    saved = pickle.loads(pickle.dumps(first))
    assert bits(fn.fit(make(net), saved, (X, LABELS), 5, **options)) == bits(whole)
    step = make(net)
    assert bits(fn.fit(step, fn.fit(step, PARAMS, (X, LABELS), at, **options), (X, LABELS), 5, **options)) == bits(
        whole
    )


def test_nothing_is_left_to_do() -> None:
    fitted = fn.fit(STEPS["adam"](NET), PARAMS, (X, LABELS), 2, 5, KEY)
    for epochs in (1, 2):
        assert bits(fn.fit(STEPS["adam"](NET), fitted, (X, LABELS), epochs, 5, KEY)) == bits(fitted)


@each_step
def test_it_is_pure(make: Any) -> None:
    before = pickle.dumps((PARAMS, X, LABELS))
    first, again = (fn.fit(make(NET), PARAMS, (X, LABELS), 2, 5, KEY) for _ in range(2))
    assert bits(first) == bits(again)
    assert pickle.dumps((PARAMS, X, LABELS)) == before
    assert bits(first.params) != bits(fn.fit(make(NET), PARAMS, (X, LABELS), 2, 5, fn.key(1)).params)


def test_without_a_key_rows_keep_their_order() -> None:
    step, params = STEPS["sgd_step"](NET), PARAMS
    fitted = fn.fit(step, PARAMS, (X, LABELS), 1, 11)
    for part in (slice(0, 11), slice(11, 22)):
        params, _ = step(params, X[part], LABELS[part])
    assert bits(fitted.params) == bits(params)


def test_means_are_over_rows_not_batches() -> None:
    """A batch of 20 rows and one of 2, at a rate so small that the params hardly move."""
    step = fn.train_step(NET, fn.mse(), fn.sgd(1e-9), metrics={"accuracy": fn.accuracy})
    history = fn.fit(step, PARAMS, (X, T), 1, 20).history
    y = NET.apply(PARAMS, X)
    np.testing.assert_allclose(history["loss"], [np.mean((y - T) ** 2)], rtol=1e-6)
    np.testing.assert_allclose(history["accuracy"], [fn.accuracy(y, T)], rtol=1e-12)


@each_step
def test_history_is_arrays_of_an_element_an_epoch(make: Any) -> None:
    history = fn.fit(make(NET), PARAMS, (X, LABELS), 4, 5, KEY, validation=(X, LABELS)).history
    names = ["loss", "accuracy"] if make is STEPS["metrics"] else ["loss"]
    assert [*history] == [*names, *(f"validation_{name}" for name in names)]
    assert {(v.shape, v.dtype) for v in history.values()} == {((4,), np.dtype(np.float64))}
    assert history["loss"][-1] < history["loss"][0]


def test_validation_is_that_of_the_params_after_the_epoch() -> None:
    step = STEPS["metrics"](NOISY)
    for validation in ((X[:7], LABELS[:7]), [(X[:3], LABELS[:3]), (X[3:7], LABELS[3:7])]):
        fitted = fn.fit(step, PARAMS, (X, LABELS), 2, 5, KEY, validation=validation)
        expected = fn.evaluate(
            NOISY, {"l": fn.softmax_cross_entropy(), "a": fn.accuracy}, fitted.last, (X[:7], LABELS[:7])
        )
        assert fitted.history["validation_loss"][-1] == pytest.approx(expected["l"], rel=1e-6)
        assert fitted.history["validation_accuracy"][-1] == expected["a"]


def losses_then(values: list[float]) -> Any:
    """A metric has no say in when to stop: a network whose validation loss takes these values, epoch by epoch."""
    net = fn.network({1: fn.linear(1, use_bias=False)}, {})
    params = {1: fn.Weight(np.ones((1, 1), np.float32))}

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        """Move the weight to where the squared error is the next value."""
        value = np.float32(values[state] ** 0.5)
        return tree.map(lambda p: value - p, params), state + 1

    return fn.train_step(net, fn.mse(), fn.Optimizer(lambda params: 0, update)), params


ONE, ZERO = np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32)
STOPS: list[tuple[list[float], int, int, int]] = [
    # the losses, patience, the epochs that are run, the best one
    ([5, 4, 3, 2, 1], 1, 5, 4),
    ([5, 4, 6, 7, 1], 2, 4, 1),
    ([5, 4, 6, 3, 4], 2, 5, 3),
    ([5, 5, 5, 5, 5], 2, 3, 0),
    ([1, 2, 3, 4, 5], 1, 2, 0),
]


@pytest.mark.parametrize(("values", "patience", "epochs", "best"), STOPS)
def test_early_stopping_returns_the_best_params(values: list[float], patience: int, epochs: int, best: int) -> None:
    step, params = losses_then(values)
    options: dict[str, Any] = {"batch_size": 1, "validation": (ONE, ZERO), "patience": patience}
    fitted = fn.fit(step, params, (ONE, ZERO), 5, **options)
    assert fitted.epochs == fitted.state == epochs
    np.testing.assert_allclose(fitted.params[1].weight ** 2, values[best], rtol=1e-6)
    np.testing.assert_allclose(fitted.last[1].weight ** 2, values[epochs - 1], rtol=1e-6)
    assert bits(fn.fit(step, fitted, (ONE, ZERO), 5, **options)) == bits(fitted)
    resumed = params
    for at in range(1, 6):
        resumed = fn.fit(step, resumed, (ONE, ZERO), at, **options)
    assert bits(resumed) == bits(fitted)


def test_a_loss_that_is_not_a_number_is_never_the_best() -> None:
    nan = float("nan")
    for losses, best in (([nan, 2.0, nan, 3.0], 1), ([2.0, nan], 0), ([nan, nan], 0)):
        assert Monitor("validation_loss", 1.0, 0.0).best_epoch({"validation_loss": np.array(losses)}) == best


def test_without_validation_the_last_params_are_returned_and_with_it_the_best() -> None:
    step, params = losses_then([2, 1, 3])
    last = fn.fit(step, params, (ONE, ZERO), 3, 1)
    assert bits(last.params) == bits(last.last)
    best = fn.fit(step, params, (ONE, ZERO), 3, 1, validation=(ONE, ZERO))
    assert best.params[1].weight.item() == 1
    assert best.last[1].weight.item() ** 2 == pytest.approx(3)


def test_callbacks_see_each_epoch_and_may_stop() -> None:
    seen: list[int] = []

    def note(fitted: fn.Fit[Any]) -> None:
        seen.append(fitted.epochs)

    def stop(fitted: fn.Fit[Any]) -> bool:
        return fitted.epochs == 2

    step = STEPS["adam"](NET)
    fitted = fn.fit(step, PARAMS, (X, LABELS), 5, 5, KEY, callbacks=[stop, note])
    assert seen == [1, 2]
    assert bits(fitted) == bits(fn.fit(step, PARAMS, (X, LABELS), 2, 5, KEY))


def test_progress_wraps_the_epochs_that_are_left() -> None:
    shown: list[int] = []

    def progress(epochs: Iterable[int]) -> Iterator[int]:
        for epoch in epochs:
            shown.append(epoch)
            yield epoch

    step = STEPS["adam"](NET)
    fitted = fn.fit(step, PARAMS, (X, LABELS), 2, 5, KEY, progress=progress)
    fn.fit(step, fitted, (X, LABELS), 4, 5, KEY, progress=progress)
    assert shown == [0, 1, 2, 3]


def test_tqdm_is_a_progress(capsys: Any) -> None:
    tqdm = pytest.importorskip("tqdm")
    fn.fit(STEPS["adam"](NET), PARAMS, (X, LABELS), 3, 5, KEY, progress=tqdm.tqdm)
    assert "3/3" in capsys.readouterr().err


class Batches:
    """Data that do not fit in memory, read anew in every epoch."""

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        yield from fn.minibatches((X, LABELS), 11)


def test_data_may_be_batches_or_files(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    on_disk: Any = np.load(tmp_path / "x.npy", mmap_mode="r")
    for make in STEPS.values():
        expected = bits(fn.fit(make(NET), PARAMS, (X, LABELS), 2, 11))
        for data in (Batches(), [*Batches()]):
            assert bits(fn.fit(make(NET), PARAMS, data, 2)) == expected
        shuffled = bits(fn.fit(make(NET), PARAMS, (X, LABELS), 2, 5, KEY))
        assert bits(fn.fit(make(NET), PARAMS, (on_disk, LABELS), 2, 5, KEY)) == shuffled


def test_a_loss_in_the_dict() -> None:
    operators = {1: fn.linear(8), 2: fn.tanh(), 3: fn.linear(2), "t": fn.identity(), "loss": fn.mse()}
    inside = fn.network(operators, {1: [2], 2: [3], 3: ["loss"], "t": ["loss"]}, inputs=[1, "t"], output="loss")
    outside = fn.fit(fn.train_step(NET, fn.mse(), fn.adam(0.1)), PARAMS, (X, T), 2, 4, KEY, validation=(X, T))
    fitted = fn.fit(fn.train_step(inside, None, fn.adam(0.1)), PARAMS, (X, T), 2, 4, KEY, validation=(X, T))
    assert bits(fitted.params) == bits(outside.params)
    np.testing.assert_allclose(fitted.history["validation_loss"], outside.history["validation_loss"], rtol=1e-6)
    assert fn.evaluate(inside, None, fitted.params, (X, T), 4) == fitted.history["validation_loss"][-1]


def test_mistakes_are_reported() -> None:
    step, iterator = STEPS["adam"](NET), iter([(X, LABELS)])
    fitted = fn.fit(step, PARAMS, (X, LABELS), 1, 5, KEY)
    calls: list[tuple[Any, str]] = [
        (lambda: fn.fit(NET, PARAMS, (X, LABELS), 1, 5), "fit: the step is .*make one with"),  # type: ignore[arg-type]
        (lambda: fn.fit(step, PARAMS, (X, LABELS), 0, 5), "epochs must be an int of at least 1, not 0"),
        (lambda: fn.fit(step, PARAMS, (X, LABELS), 1), "batch_size is needed"),
        (lambda: fn.fit(step, PARAMS, (X, LABELS), 1, 5, patience=2), "give validation data"),
        (
            lambda: fn.fit(step, PARAMS, (X, LABELS), 1, 5, patience=0, validation=(X, LABELS)),
            "patience must be an int of at least 1, not 0",
        ),
        (lambda: fn.fit(step, PARAMS, iterator, 2), "data is an iterator, which is used up after one epoch"),
        (
            lambda: fn.fit(step, PARAMS, (X, LABELS), 2, 5, validation=iterator),
            "validation is an iterator, which is used up",
        ),
        (lambda: fn.fit(step, PARAMS, [], 2), "the data are empty"),
        (
            lambda: fn.fit(step, fitted, (X, LABELS), 2, 5, validation=(X, LABELS)),
            "history so far has loss, this epoch loss, validation_loss: continue with the same",
        ),
        (
            lambda: fn.fit(step, fitted, (X, LABELS), 2, 5, validation=(X, LABELS), patience=2),
            "the history so far has no validation_loss to go by, but loss",
        ),
        (lambda: fn.fit(step, PARAMS, None, 2), "fit: data: a tuple of arrays .*not None"),  # type: ignore[arg-type]
        (lambda: fn.fit(step, PARAMS, (X, LABELS), 2, 5, validation=3), "fit: validation: a tuple"),  # type: ignore[arg-type]
        (lambda: fn.fit(step, PARAMS, (X, LABELS), 2, 5, drop_last=1), "drop_last must be True or False, not 1"),  # type: ignore[arg-type]
        (lambda: fn.fit(step, PARAMS, (X, LABELS), 2, 5, callbacks=print), "callbacks must be a list of"),  # type: ignore[arg-type]
        (lambda: fn.fit(step, PARAMS, (X, LABELS), 2, 5, callbacks=[None]), "callback 0 must be a function"),  # type: ignore[list-item]
        (lambda: fn.fit(step, PARAMS, (X, LABELS), 2, 5, progress=True), "progress must be a function of the epochs"),  # type: ignore[arg-type]
        (
            lambda: fn.evaluate(NET, "accuracy", PARAMS, (X, T)),  # type: ignore[call-overload]
            r"evaluate\(net, metrics, params, data\): metrics are a dict.*not 'accuracy'",
        ),
        (lambda: fn.evaluate(NET, fn.accuracy, PARAMS, []), "the data are empty"),
        (lambda: fn.evaluate(NET, {"a": 1}, PARAMS, (X, T)), "the metric 'a' is 1 and no loss"),  # type: ignore[dict-item]
    ]
    for call, words in calls:
        with pytest.raises(fn.OptionError, match=words):
            call()
    assert fn.fit(step, PARAMS, iterator, 1).epochs == 1
    with pytest.raises(fn.GraphError, match="evaluate: argument 0 is .* and not a layer"):
        fn.evaluate(NET.apply, fn.accuracy, PARAMS, (X, T))  # type: ignore[call-overload]
    with pytest.raises(fn.ShapeError, match=r"evaluate: the loss has the shape \(22, 2\)"):
        fn.evaluate(NET, None, PARAMS, (X,))


@pytest.mark.parametrize("size", [None, 1, 5, 22, 100])
def test_scores_are_those_of_all_rows_at_once(size: int | None) -> None:
    y = NET.apply(PARAMS, X)
    found = fn.evaluate(
        NET,
        {"loss": fn.mse(), "accuracy": fn.accuracy, "matrix": fn.confusion_matrix, "r2": fn.r2},
        PARAMS,
        (X, T.astype(np.float64)),
        size,
    )
    assert found["loss"] == pytest.approx(np.mean((y - T) ** 2), rel=1e-6)
    assert found["accuracy"] == fn.accuracy(y, T)
    np.testing.assert_array_equal(found["matrix"], fn.confusion_matrix(y, T))
    assert found["r2"] == pytest.approx(fn.r2(y, T), rel=1e-6)
    assert fn.evaluate(NET, fn.softmax_cross_entropy(), PARAMS, (X, LABELS), size) == pytest.approx(
        float(fn.softmax_cross_entropy().apply((), y, LABELS)), rel=1e-6
    )
    assert fn.evaluate(NET, fn.accuracy, PARAMS, [(X[:9], LABELS[:9]), (X[9:], LABELS[9:])]) == fn.accuracy(y, LABELS)


def test_scores_of_several_inputs_and_outputs() -> None:
    net = fn.network(
        {1: fn.linear(2), 2: fn.linear(2), 3: fn.add(), 4: fn.tanh()}, {1: [3], 2: [3], 3: [4]}, output=[3, 4]
    )
    params, _ = net.init(fn.key(0), (2,), (2,))
    found: Any = fn.evaluate(net, lambda *arrays: arrays, params, (X, T, LABELS), 6)
    for a, b in zip(found, (*net.apply(params, X, T), LABELS), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
