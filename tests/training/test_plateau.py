"""Learning rates set in a state and reduced on a plateau; the average of params: against PyTorch, Optax and by hand."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funcnet as fn
from funcnet import tree
from tests.support.budget import examples
from tests.training.test_fit import KEY, LABELS, NET, ONE, PARAMS, STEPS, ZERO, X, bits, losses_then

STEP = STEPS["adam"](NET)


def rates(values: list[float], start: float = 1.0, **options: Any) -> list[float]:
    """The learning rate after each epoch, where the validation loss takes these values."""
    options = {"monitor": "v", "mode": "min", **options}
    callback = fn.reduce_on_plateau(**options)
    state, found = fn.sgd(start).init(np.zeros(1)), []
    for i in range(len(values)):
        fit = fn.Fit((), state, {"v": np.array(values[: i + 1])}, ())
        state = (callback(fit) or fit).state
        found.append(fn.learning_rate(state))
    return found


GOLDEN: list[tuple[list[float], dict[str, Any], list[float]]] = [
    ([3, 2, 1, 0.5], {"patience": 1}, [1, 1, 1, 1]),
    ([1, 1, 1, 1, 1], {"patience": 2}, [1, 1, 0.1, 0.1, 0.01]),
    ([1, 1, 1, 1, 1, 1], {"patience": 1, "cooldown": 2, "factor": 0.5}, [1, 0.5, 0.5, 0.5, 0.25, 0.25]),
    ([1, 2, 3, 4], {"patience": 1, "factor": 0.5, "min_rate": 0.2}, [1, 0.5, 0.25, 0.2]),
    ([1, 0.95, 0.5], {"patience": 1, "rtol": 0.1, "factor": 0.5}, [1, 0.5, 0.5]),
    ([1, 0.95, 0.5], {"patience": 1, "rtol": 0.0, "atol": 0.1, "factor": 0.5}, [1, 0.5, 0.5]),
    ([0.5, 0.6, 0.6], {"patience": 1, "mode": "max", "factor": 0.5}, [1, 1, 0.5]),
    ([np.nan, np.nan, 1.0], {"patience": 2, "factor": 0.5}, [1, 0.5, 0.5]),
]


@pytest.mark.parametrize(("values", "options", "expected"), GOLDEN)
def test_the_rate_by_hand(values: list[float], options: dict[str, Any], expected: list[float]) -> None:
    np.testing.assert_allclose(rates(values, **options), expected, rtol=1e-12)


VALUES = st.lists(st.integers(1, 12).map(lambda n: n / 8), min_size=1, max_size=15)


@settings(max_examples=examples(50), deadline=None)
@given(VALUES, st.integers(1, 4), st.integers(0, 3), st.sampled_from(["min", "max"]))
def test_pytorch_agrees(values: list[float], patience: int, cooldown: int, mode: Any) -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode, factor=0.5, patience=patience - 1, cooldown=cooldown, min_lr=0.01, eps=0.0
    )
    expected: list[float] = []
    for value in values:
        scheduler.step(value)
        expected.append(optimizer.param_groups[0]["lr"])
    mine = rates(values, factor=0.5, patience=patience, cooldown=cooldown, mode=mode, min_rate=0.01)
    np.testing.assert_allclose(mine, expected, rtol=1e-12)


@settings(max_examples=examples(30), deadline=None)
@given(VALUES, st.integers(1, 4), st.integers(0, 3))
def test_optax_agrees(values: list[float], patience: int, cooldown: int) -> None:
    optax = pytest.importorskip("optax")
    transform = optax.contrib.reduce_on_plateau(0.5, patience, 1e-4, 0.0, cooldown, min_scale=0.01)
    state, expected = transform.init(np.zeros(1, np.float32)), []
    for value in values:
        _, state = transform.update(np.ones(1, np.float32), state, value=value)
        expected.append(float(state.scale))
    mine = rates(values, factor=0.5, patience=patience, cooldown=cooldown, min_rate=0.01)
    np.testing.assert_allclose(mine, expected, rtol=1e-6)


def test_it_acts_in_fit_and_resumes_to_the_same_bits() -> None:
    step, params = losses_then([5, 5, 5, 4, 4, 4])
    step = fn.train_step(
        fn.network({1: fn.linear(1, use_bias=False)}, {}), fn.mse(), fn.chain(fn.sgd(0.5), step.optimizer)
    )
    options: dict[str, Any] = {"validation": (ONE, ZERO), "callbacks": [fn.reduce_on_plateau(0.5, 2)]}
    fitted = fn.fit(step, params, (ONE, ZERO), 6, 1, **options)
    assert fn.learning_rate(fitted.state) == 0.125
    parts = params
    for epochs in range(1, 7):
        parts = pickle.loads(pickle.dumps(fn.fit(step, parts, (ONE, ZERO), epochs, 1, **options)))
    assert bits(parts) == bits(fitted)


def test_a_rate_is_set_for_good_in_every_part_of_a_state() -> None:
    optimizer = fn.chain(fn.masked(fn.adam(0.1), lambda path: "weight" in path), fn.sgd(0.2))
    state = optimizer.init(PARAMS)
    new = fn.set_learning_rate(state, 0.03)
    assert (fn.learning_rate(state), fn.learning_rate(new)) == (0.1, 0.03)
    assert [s.learning_rate for s in (new[0][1], new[1][0])] == [0.03, 0.03]
    assert tree.structure(new) == tree.structure(state)
    step = fn.train_step(NET, fn.softmax_cross_entropy(), fn.sgd(0.5))
    slow = fn.train_step(NET, fn.softmax_cross_entropy(), fn.sgd(0.25))
    a, b = PARAMS, PARAMS
    s, t = fn.set_learning_rate(step.init(a), 0.25), slow.init(b)
    for _ in range(3):
        a, s, _ = step(a, s, X, LABELS)
        b, t, _ = slow(b, t, X, LABELS)
    assert bits(a, s) == bits(b, t)


def test_mistakes_of_rates_are_reported() -> None:
    state = fn.adam(0.1).init(PARAMS)
    wrong: list[tuple[Any, str]] = [
        (lambda: fn.set_learning_rate(state, 0), "rate must be a finite number above 0"),
        (lambda: fn.reduce_on_plateau(0.0), "factor must be above 0"),
        (lambda: fn.reduce_on_plateau(1.0), r"factor must be in \[0, 1\)"),
        (lambda: fn.reduce_on_plateau(patience=0), "patience must be an int of at least 1"),
        (lambda: fn.reduce_on_plateau(monitor="m"), "whether m should be small or large cannot be known"),
        (lambda: fn.reduce_on_plateau(monitor=None), "monitor must be a name in the history, not None"),  # type: ignore[arg-type]
        (lambda: fn.reduce_on_plateau(mode="low"), "mode must be"),
        (lambda: fn.reduce_on_plateau(mode=np.ones(2)), "mode must be"),  # type: ignore[arg-type]
        (
            lambda: fn.fit(STEP, PARAMS, (X, LABELS), 1, 5, KEY, callbacks=[fn.reduce_on_plateau()]),
            "the history so far has no validation_loss to go by, but loss",
        ),
    ]
    for call, words in wrong:
        with pytest.raises(fn.OptionError, match=words):
            call()
    with pytest.raises(fn.ParamsError, match="no learning rate in this state"):
        fn.set_learning_rate(fn.ema(0.9).init(PARAMS), 0.1)


# --- the average of params

STARTS = [np.array([1.0, -2.0]), np.array([0.5, 4.0])]


def averages(decay: float, updates: list[Any]) -> tuple[list[Any], list[Any]]:
    """(params, average) after each update."""
    transform = fn.ema_params(decay)
    p, state = STARTS[0], transform.init(STARTS[0])
    params, average = [], []
    for u in updates:
        same, state = transform.update(u, state, p)
        assert same is u
        p = p + u
        params.append(p)
        average.append(fn.averaged_params(state))
    return params, average


UPDATES = [np.array([0.1, 0.2]), np.array([-1.0, 0.5]), np.array([3.0, -3.0])]


def test_the_average_by_hand() -> None:
    _, found = averages(0.5, [np.array([1.0, 0.0]), np.array([2.0, 2.0])])
    np.testing.assert_allclose(found, [[1.5, -2.0], [2.75, -1.0]], rtol=1e-15)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_optax_averages_the_same(decay: float) -> None:
    optax = pytest.importorskip("optax")
    params, found = averages(decay, UPDATES)
    expected = STARTS[0].astype(np.float32)
    for p, a in zip(params, found, strict=True):
        expected = optax.incremental_update(p.astype(np.float32), expected, 1 - decay)
        np.testing.assert_allclose(a, expected, rtol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_pytorch_averages_the_same(decay: float) -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(1, 2, bias=False).double()
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(decay), use_buffers=False
    )
    params, found = averages(decay, UPDATES)
    for p, expected in zip([STARTS[0], *params], [STARTS[0], *found], strict=True):
        with torch.no_grad():
            model.weight.copy_(torch.as_tensor(p)[:, None])
        average.update_parameters(model)
        np.testing.assert_allclose(average.module.weight.detach().numpy()[:, 0], expected, rtol=1e-12)


def test_a_training_keeps_the_average_in_its_state() -> None:
    decay = 0.8
    step = fn.train_step(NET, fn.softmax_cross_entropy(), fn.chain(fn.adam(0.05), fn.ema_params(decay)))
    plain = fn.train_step(NET, fn.softmax_cross_entropy(), fn.adam(0.05))
    params, state = PARAMS, step.init(PARAMS)
    expected, other, own = PARAMS, PARAMS, plain.init(PARAMS)
    for _ in range(4):
        params, state, _ = step(params, state, X, LABELS)
        other, own, _ = plain(other, own, X, LABELS)
        expected = tree.map(lambda a, p: decay * a + (1 - decay) * p, expected, other)
    assert bits(params) == bits(other)
    found = fn.averaged_params(state)
    for a, b in zip(tree.leaves(found), tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
        assert not any(np.shares_memory(a, s) for s in tree.leaves(state) if isinstance(s, np.ndarray))


def average_of(fitted: fn.Fit[Any]) -> fn.Fit[Any]:
    return fitted._replace(params=fn.averaged_params(fitted.state))


def test_fit_returns_the_average_and_resumes_it() -> None:
    step = fn.train_step(NET, fn.softmax_cross_entropy(), fn.chain(fn.adam(0.05), fn.ema_params(0.9)))
    fitted = fn.fit(step, PARAMS, (X, LABELS), 4, 5, KEY, callbacks=[average_of])
    assert bits(fitted.params) == bits(fn.averaged_params(fitted.state))
    half = fn.fit(step, PARAMS, (X, LABELS), 2, 5, KEY, callbacks=[average_of])
    assert bits(fn.fit(step, half, (X, LABELS), 4, 5, KEY, callbacks=[average_of])) == bits(fitted)


def test_the_average_of_a_network_with_batch_norm_is_calibrated() -> None:
    net = fn.serial(fn.linear(4), fn.batch_norm(), fn.linear(2))
    params, _ = net.init(fn.key(0), (2,))
    step = fn.train_step(net, fn.softmax_cross_entropy(), fn.chain(fn.adam(0.05), fn.ema_params(0.9)))
    fitted = fn.fit(step, params, (X, LABELS), 2, 11, KEY, callbacks=[average_of])
    assert bits(fitted.params) == bits(fn.calibrate(net, fn.averaged_params(fitted.state), (X, LABELS), 11))


def test_a_step_without_a_state_has_no_rate_to_reduce() -> None:
    step = fn.sgd_step(NET, fn.softmax_cross_entropy(), learning_rate=0.1)
    plateau = fn.reduce_on_plateau(0.5, 1, rtol=0.9, monitor="loss")
    with pytest.raises(fn.OptionError, match="sgd_step has no state.*fn.train_step"):
        fn.fit(step, PARAMS, (X, LABELS), 5, 5, KEY, callbacks=[plateau])


def test_mistakes_of_averages_are_reported() -> None:
    with pytest.raises(fn.OptionError, match=r"ema_params: decay must be in \[0, 1\)"):
        fn.ema_params(1.0)
    with pytest.raises(fn.ParamsError, match="ema_params averages the params: give them"):
        fn.ema_params(0.5).update(PARAMS, fn.ema_params(0.5).init(PARAMS))
    with pytest.raises(fn.ParamsError, match="no average of params in this state"):
        fn.averaged_params(fn.adam(0.1).init(PARAMS))
