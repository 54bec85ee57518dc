"""The loop in practice: what it monitors, its callbacks, interrupts, batch_norm, metrics of an epoch, what it shows."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funcnet as fn
from funcnet import tree
from funcnet.training.monitoring import Monitor
from tests.support.budget import examples
from tests.training.test_fit import (
    KEY,
    LABELS,
    NET,
    NOISY,
    ONE,
    PARAMS,
    STEPS,
    ZERO,
    T,
    X,
    bits,
    each_step,
    losses_then,
)

NORMED = fn.serial(fn.linear(6), fn.batch_norm(), fn.relu(), fn.linear(2))
NORMED_PARAMS, _ = NORMED.init(fn.key(0), (2,))


def step_of(net: Any, **options: Any) -> Any:
    return fn.train_step(net, fn.softmax_cross_entropy(), fn.adam(0.05), **options)


def shared(*trees: Any) -> bool:
    """Whether any two of these trees, or two arrays of one of them, have memory in common."""
    leaves = [[x for x in tree.leaves(t) if isinstance(x, np.ndarray)] for t in trees]
    return any(
        np.shares_memory(a, b) for i, one in enumerate(leaves) for other in leaves[i + 1 :] for a in one for b in other
    )


# --- what is given and what comes back


@each_step
@pytest.mark.parametrize("epochs", [1, 3])
def test_what_comes_back_is_the_callers_own(make: Any, epochs: int) -> None:
    first = fn.fit(make(NET), PARAMS, (X, LABELS), epochs, 5, KEY, validation=(X, 1 - LABELS))
    assert not shared(first.params, first.last, first.state, first.history, PARAMS)
    again = fn.fit(make(NET), first, (X, LABELS), epochs, 5, KEY, validation=(X, 1 - LABELS))
    more = fn.fit(make(NET), first, (X, LABELS), epochs + 2, 5, KEY, validation=(X, 1 - LABELS))
    for other in (again, more):
        assert not shared(first, other)
        assert not shared(other.params, other.last, other.state)
    none = fn.fit(make(NET), PARAMS, (X, LABELS), 2, 5, KEY, progress=lambda epochs: [])
    assert none.epochs == 0
    assert bits(none.params, none.last) == bits(PARAMS, PARAMS)
    assert not shared(none.params, none.last, PARAMS)


def test_the_fit_of_a_callback_is_its_own_too() -> None:
    seen: list[fn.Fit[Any]] = []
    fn.fit(STEPS["adam"](NET), PARAMS, (X, LABELS), 3, 5, KEY, callbacks=[seen.append])
    assert not any(shared(f.params, f.last) for f in seen)
    copies = [pickle.dumps(f) for f in seen]
    for f in seen:
        for x in tree.leaves(f.params):
            x[...] = 0
    assert bits(fn.fit(STEPS["adam"](NET), PARAMS, (X, LABELS), 3, 5, KEY).last) == bits(pickle.loads(copies[-1]).last)


# --- which epoch was the best


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(st.one_of(st.integers(0, 6).map(float), st.just(float("nan"))), min_size=1, max_size=8),
       st.sampled_from(["min", "max"]), st.sampled_from([0.0, 0.5, 1.0, 2.0]))  # fmt: skip
def test_the_best_epoch_is_that_of_a_plain_loop(values: list[float], mode: str, min_delta: float) -> None:
    best, at = float("inf"), 0
    for i, value in enumerate(values):
        v = value if mode == "min" else -value
        if v < best - min_delta:
            best, at = v, i
    assert Monitor("n", 1.0 if mode == "min" else -1.0, min_delta).best_epoch({"n": np.array(values)}) == at


def scripted(values: list[float]) -> tuple[Any, Any]:
    """A training whose validation "accuracy" takes these values."""
    step, params = losses_then(values)
    return fn.train_step(step_net(), fn.mse(), step.optimizer, metrics={"accuracy": root, "other": root}), params


def step_net() -> Any:
    return fn.network({1: fn.linear(1, use_bias=False)}, {})


def root(y: Any, t: Any) -> float:
    return float(np.abs(y).sum()) ** 2


@pytest.mark.parametrize(
    ("options", "epochs", "best"),
    [
        ({}, 5, 0),
        ({"monitor": "validation_accuracy"}, 5, 3),
        ({"monitor": "validation_other", "mode": "max", "patience": 2}, 3, 0),
        ({"monitor": "validation_other", "mode": "min", "patience": 1}, 3, 1),
        ({"monitor": "validation_loss", "mode": "max"}, 5, 3),
        ({"monitor": "validation_accuracy", "min_delta": 5.0}, 5, 0),
        ({"monitor": "validation_accuracy", "min_delta": 0.5, "patience": 3}, 5, 3),
    ],
)
def test_any_name_in_the_history_can_be_monitored(options: dict[str, Any], epochs: int, best: int) -> None:
    values = [4.0, 3.0, 3.5, 5.0, 4.5]
    if not options:
        values = [1.0, 3.0, 3.5, 5.0, 4.5]
    step, params = scripted(values)
    fitted = fn.fit(step, params, (ONE, ZERO), 5, 1, validation=(ONE, ZERO), **options)
    assert fitted.epochs == epochs
    assert fitted.params[1].weight.item() ** 2 == pytest.approx(values[best])


def test_a_name_of_the_training_can_be_monitored() -> None:
    step, params = scripted([4.0, 1.0, 3.0])
    fitted = fn.fit(step, params, (ONE, ZERO), 3, 1, monitor="loss", patience=1)
    np.testing.assert_allclose(fitted.history["loss"], [1.0, 4.0], rtol=1e-6)  # each before its step
    assert fitted.epochs == 2


def test_mistakes_of_monitoring_are_reported() -> None:
    step = step_of(NET, metrics={"m": fn.accuracy, "matrix": fn.confusion_matrix})
    held: dict[str, Any] = {"validation": (X, LABELS)}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"monitor": "validation_m", **held}, 'whether validation_m should be small or large.*mode="min" or "max"'),
        ({"monitor": "m", "mode": "up", **held}, "mode must be"),
        ({"monitor": "m", "mode": np.array(["min", "max"]), **held}, "mode must be"),
        ({"monitor": "validation_m", "mode": "max"}, "monitor must be one of loss, m, matrix, not 'validation_m'"),
        ({"monitor": 3}, "monitor must be a name in the history"),
        ({"monitor": "matrix", "mode": "max"}, "matrix is no single number an epoch"),
        ({"min_delta": -1, **held}, "min_delta must be at least 0"),
        ({"verbose": 1}, "verbose must be True or False"),
    ]
    for options, words in wrong:
        with pytest.raises(fn.OptionError, match=words):
            fn.fit(step, PARAMS, (X, LABELS), 2, 5, KEY, **options)


def test_a_fit_is_printed_in_a_line() -> None:
    step = step_of(NET, metrics={"m": fn.accuracy, "matrix": fn.confusion_matrix})
    fitted = fn.fit(step, PARAMS, (X, LABELS), 2, 5, KEY)
    loss, m = fitted.history["loss"][-1], fitted.history["m"][-1]
    assert repr(fitted) == f"Fit(epochs=2, loss={loss:.4g}, m={m:.4g})"
    assert repr(fn.Fit(PARAMS, None, {}, PARAMS)) == "Fit(epochs=0)"


# --- callbacks


@pytest.mark.parametrize("value", [None, False, np.False_])
def test_what_says_nothing_lets_it_go_on(value: Any) -> None:
    assert fn.fit(STEPS["adam"](NET), PARAMS, (X, LABELS), 3, 5, KEY, callbacks=[lambda f: value]).epochs == 3


@pytest.mark.parametrize("value", [True, np.True_])
def test_true_alone_stops(value: Any) -> None:
    assert fn.fit(STEPS["adam"](NET), PARAMS, (X, LABELS), 3, 5, KEY, callbacks=[lambda f: value]).epochs == 1


def test_one_of_several_callbacks_is_enough_to_stop() -> None:
    callbacks: list[Any] = [lambda f: True, lambda f: False, lambda f: None]
    for order in (callbacks, callbacks[::-1]):
        assert fn.fit(STEPS["adam"](NET), PARAMS, (X, LABELS), 3, 5, KEY, callbacks=order).epochs == 1


@pytest.mark.parametrize("value", [1, 7, 0, "no", [1], np.ones(3), np.int64(1), 1.0, {}])
def test_anything_else_is_ignored_with_one_warning(value: Any) -> None:
    with pytest.warns(UserWarning, match=r"callback 1 returned .*, which is ignored: return True to stop") as caught:
        fitted = fn.fit(STEPS["adam"](NET), PARAMS, (X, LABELS), 3, 5, KEY, callbacks=[lambda f: None, lambda f: value])
    assert (fitted.epochs, len(caught)) == (3, 1)
    assert bits(fitted) == bits(fn.fit(STEPS["adam"](NET), PARAMS, (X, LABELS), 3, 5, KEY))


def halved(fitted: fn.Fit[Any]) -> fn.Fit[Any]:
    return fitted._replace(last=tree.map(lambda p: p / 2, fitted.last))


def test_the_loop_goes_on_from_the_fit_that_a_callback_returns() -> None:
    step, seen = STEPS["adam"](NET), list[Any]()
    fitted = fn.fit(step, PARAMS, (X, LABELS), 2, 5, KEY, callbacks=[halved, lambda f: seen.append(f.last)])
    hand = halved(fn.fit(step, PARAMS, (X, LABELS), 1, 5, KEY))
    hand = halved(fn.fit(step, hand, (X, LABELS), 2, 5, KEY))
    assert bits(fitted) == bits(hand)
    assert bits(seen[-1]) == bits(fitted.last)


WRONG_FITS: dict[str, Any] = {
    "last": lambda f: f._replace(last={}),
    "params": lambda f: f._replace(params=tree.map(lambda p: p[:1], f.params)),
    "state": lambda f: f._replace(state=None),
    "history": lambda f: f._replace(history={}),
}


@pytest.mark.parametrize("name", WRONG_FITS)
def test_a_fit_from_which_training_cannot_go_on_is_refused(name: str) -> None:
    with pytest.raises(fn.OptionError, match=f"callback 0 returned a Fit whose {name} has"):
        fn.fit(STEPS["adam"](NET), PARAMS, (X, LABELS), 3, 5, KEY, callbacks=[WRONG_FITS[name]])


# --- interrupts


def test_an_interrupt_returns_the_whole_epochs() -> None:
    calls = 0

    def metric(y: Any, t: Any) -> float:
        nonlocal calls
        calls += 1
        if calls == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return 0.0

    step = step_of(NET, metrics={"m": metric})
    with pytest.warns(UserWarning, match="interrupted; this returns the Fit after 2 whole epochs"):
        fitted = fn.fit(step, PARAMS, (X, LABELS), 10, 5, KEY)
    plain = step_of(NET, metrics={"m": lambda y, t: 0.0})
    assert bits(fitted) == bits(fn.fit(plain, PARAMS, (X, LABELS), 2, 5, KEY))
    assert bits(fn.fit(plain, fitted, (X, LABELS), 4, 5, KEY)) == bits(fn.fit(plain, PARAMS, (X, LABELS), 4, 5, KEY))


def interrupt(*args: Any) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize("place", ["callbacks", "progress"])
def test_an_interrupt_is_caught_wherever_it_comes(place: str) -> None:
    options: dict[str, Any] = {"callbacks": [interrupt]} if place == "callbacks" else {"progress": interrupt}
    with pytest.warns(UserWarning, match="interrupted"):
        fitted = fn.fit(STEPS["adam"](NET), PARAMS, (X, LABELS), 3, 5, KEY, **options)
    assert fitted.epochs == (place == "callbacks")
    assert not shared(fitted.params, fitted.last, PARAMS)


def test_a_second_interrupt_is_raised(monkeypatch: Any) -> None:
    def progress(epochs: Any) -> Iterator[int]:
        yield 0
        raise KeyboardInterrupt

    monkeypatch.setattr("funcnet.training.fit.calibrated", interrupt)  # what is still to do after the first
    with pytest.warns(UserWarning, match="interrupted"), pytest.raises(KeyboardInterrupt):
        fn.fit(step_of(NORMED), NORMED_PARAMS, (X, LABELS), 3, 5, KEY, drop_last=True, progress=progress)


# --- random layers and batch_norm


@pytest.mark.parametrize("net", [NOISY, fn.serial(fn.dropout(0.5), fn.linear(2))])
def test_a_random_layer_needs_a_key(net: Any) -> None:
    params, _ = net.init(fn.key(0), (2,))
    with pytest.raises(fn.OptionError, match=r"fit: the network has dropout.*key=fn\.key\(0\)\), or leave the layer"):
        fn.fit(step_of(net), params, (X, LABELS), 1, 5)
    assert fn.fit(step_of(net), params, (X, LABELS), 1, 5, KEY).epochs == 1


@pytest.mark.parametrize("options", [{}, {"validation": (X, LABELS)}, {"callbacks": [lambda f: None]}])
def test_what_fit_returns_is_calibrated_and_what_it_resumes_from_is_not(options: Any) -> None:
    step = step_of(NORMED)
    run: dict[str, Any] = {"batch_size": 5, "key": KEY, "drop_last": True, **options}
    fitted = fn.fit(step, NORMED_PARAMS, (X, LABELS), 4, **run)
    assert fitted.params[1].mean is not None
    assert fitted.last[1].mean is None
    if not options:
        expected = fn.calibrate(NORMED, fitted.last, (X, LABELS), 5)
        assert bits(fitted.params) == bits(expected)
    one_by_one = np.concatenate([NORMED.apply(fitted.params, row[None]) for row in X])
    np.testing.assert_allclose(one_by_one, NORMED.apply(fitted.params, X), rtol=1e-4, atol=1e-5)
    parts: Any = NORMED_PARAMS
    for epochs in range(1, 5):
        parts = fn.fit(step, parts, (X, LABELS), epochs, **run)
    assert bits(parts) == bits(fitted)


def test_validation_is_that_of_calibrated_params() -> None:
    row = (X[:1], LABELS[:1])
    fitted = fn.fit(step_of(NORMED), NORMED_PARAMS, (X, LABELS), 1, 11, KEY, validation=row)
    alone = fn.evaluate(NORMED, fn.softmax_cross_entropy(), fitted, row)
    np.testing.assert_allclose(fitted.history["validation_loss"], [alone], rtol=1e-6)


@pytest.mark.parametrize("make", [step_of, lambda net: fn.sgd_step(net, fn.softmax_cross_entropy(), learning_rate=0.1)])
def test_a_calibrated_fit_can_be_resumed(make: Any) -> None:
    step = make(NORMED)
    fitted = fn.fit(step, NORMED_PARAMS, (X, LABELS), 2, 11, KEY)
    again = fitted._replace(params=fn.calibrate(NORMED, fitted, (X, LABELS)))
    straight = fn.fit(step, NORMED_PARAMS, (X, LABELS), 3, 11, KEY)
    assert bits(fn.fit(step, again, (X, LABELS), 3, 11, KEY)) == bits(straight)
    if fitted.state is not None:
        both = again._replace(last=again.params)
        assert bits(fn.fit(step, both, (X, LABELS), 3, 11, KEY).state) == bits(
            fn.fit(step, fitted._replace(last=_plain(again.params)), (X, LABELS), 3, 11, KEY).state
        )


def _plain(params: Any) -> Any:
    first, norm, act, last = params
    return first, norm._replace(mean=None, var=None), act, last


def test_params_calibrated_from_the_start_train_with_their_statistics() -> None:
    start = fn.calibrate(NORMED, NORMED_PARAMS, X)
    fitted = fn.fit(step_of(NORMED), start, (X, LABELS), 2, 3, KEY)  # one row is left, which is fine
    np.testing.assert_array_equal(fitted.last[1].mean, start[1].mean)
    assert not np.array_equal(fitted.last[0].weight, start[0].weight)
    fn.fit(step_of(NORMED), fitted, (X, LABELS), 3, 3, KEY)


def test_a_last_batch_of_one_row_is_refused_with_the_fix() -> None:
    with pytest.raises(fn.ShapeError, match="a single row has no mean.*drop_last=True or another batch_size"):
        fn.fit(step_of(NORMED), NORMED_PARAMS, (X, LABELS), 1, 7, KEY)
    fn.fit(step_of(NORMED), NORMED_PARAMS, (X, LABELS), 1, 7, KEY, drop_last=True)
    with pytest.raises(fn.OptionError, match="a batch_norm needs them once more: give a list of batches"):
        fn.fit(step_of(NORMED), NORMED_PARAMS, iter([(X, LABELS)]), 1)


# --- metrics of an epoch


def auc(y: Any, t: Any) -> float:
    """The part of the pairs of a 1 and a 0 in the right order; it needs both."""
    score = y[:, 1] - y[:, 0]
    pairs = score[t == 1][:, None] - score[t == 0][None]
    assert pairs.size
    return float((pairs > 0).mean())


METRICS: dict[str, Any] = {"accuracy": fn.accuracy, "auc": auc, "matrix": fn.confusion_matrix}


@pytest.mark.parametrize("size", [1, 3, 5, 22])
def test_metrics_are_those_of_all_rows_of_the_epoch(size: int) -> None:
    step = fn.train_step(NET, fn.softmax_cross_entropy(), fn.sgd(1e-12), metrics=METRICS)
    fitted = fn.fit(step, PARAMS, (X, LABELS), 1, size, KEY, validation=(X, LABELS))
    for name, metric in METRICS.items():
        expected = metric(NET.apply(PARAMS, X), LABELS)
        np.testing.assert_allclose(fitted.history[name][0], expected, rtol=1e-12)
        np.testing.assert_allclose(fitted.history[f"validation_{name}"][0], expected, rtol=1e-12)
    loss = fn.train_step(NET, fn.mse(), fn.sgd(1e-12), metrics={"r2": fn.r2})
    r2 = fn.fit(loss, PARAMS, (X, T), 1, size, KEY).history["r2"]
    np.testing.assert_allclose(r2, [fn.r2(NET.apply(PARAMS, X), T)], rtol=1e-5)


def test_batches_whose_memory_is_used_again_give_the_same_metrics() -> None:
    def reused() -> Iterator[Any]:
        x, t = np.empty((11, 2), np.float32), np.empty(11, int)
        for start in (0, 11):
            x[...], t[...] = X[start : start + 11], LABELS[start : start + 11]
            yield x, t

    step = step_of(NET, metrics=METRICS)
    assert bits(fn.fit(step, PARAMS, reused(), 1)) == bits(fn.fit(step, PARAMS, (X, LABELS), 1, 11))


# --- what it shows, and where a Fit may stand


class Bar:
    """A progress bar, as tqdm's for terminals and notebooks."""

    def __init__(self, epochs: Any) -> None:
        self.epochs = epochs
        self.shown: list[dict[str, Any]] = []

    def __iter__(self) -> Iterator[int]:
        return iter(self.epochs)

    def set_postfix(self, numbers: dict[str, Any]) -> None:
        self.shown.append(numbers)


def test_a_progress_bar_shows_the_numbers_of_the_epoch() -> None:
    bars: list[Bar] = []

    def progress(epochs: Any) -> Any:
        bars.append(Bar(epochs))
        return bars[-1]

    step = step_of(NET, metrics={"matrix": fn.confusion_matrix})
    fitted = fn.fit(step, PARAMS, (X, LABELS), 2, 5, KEY, validation=(X, LABELS), progress=progress)
    assert [set(shown) for shown in bars[0].shown] == [{"loss", "validation_loss"}] * 2
    assert bars[0].shown[1]["loss"] == f"{fitted.history['loss'][1]:.4g}"


def test_verbose_prints_one_line_an_epoch(capsys: Any) -> None:
    fitted = fn.fit(STEPS["adam"](NET), PARAMS, (X, LABELS), 2, 5, KEY, validation=(X, LABELS), verbose=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    numbers = (f"{fitted.history[name][1]:.4g}" for name in ("loss", "validation_loss"))
    assert lines[1] == "epoch 2/2  loss {}  validation_loss {}".format(*numbers)


def test_a_fit_stands_for_its_params(tmp_path: Path) -> None:
    fitted = fn.fit(STEPS["adam"](NET), PARAMS, (X, LABELS), 2, 5, KEY)
    right = fn.evaluate(NET, fn.accuracy, fitted.params, (X, LABELS))
    assert fn.evaluate(NET, fn.accuracy, fitted, (X, LABELS)) == right
    fn.save(tmp_path / "fit.npz", fitted)
    wide_params = tree.map(lambda p: p.astype(np.float64), PARAMS)
    wide = fn.fit(fn.sgd_step(NET, fn.mse(), learning_rate=0.1), wide_params, (X, T), 1, 5)
    for wrong in (fitted, fitted._replace(state=None), wide):
        with pytest.raises(fn.ParamsError, match=r"this is a Fit, which holds params: pass its \.params"):
            NET.apply(wrong, X)  # type: ignore[arg-type]
