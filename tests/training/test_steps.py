"""Training steps with an optimizer: equal to the loop that a user would write, pure, and what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.optimizers.base import Elementwise, takes_weight

X = np.linspace(-1, 1, 10, dtype=np.float32).reshape(5, 2)
T = np.sin(3 * X)
NET = fn.network({1: fn.linear(3), 2: fn.tanh(), "out": fn.linear(2)}, {1: [2], 2: ["out"]})
PARAMS, _ = NET.init(fn.key(0), (2,))

OPTIMIZERS: dict[str, Callable[[], fn.Optimizer]] = {
    "sgd": lambda: fn.sgd(0.1),
    "momentum": lambda: fn.sgd(0.1, 0.9, nesterov=True),
    "adam": lambda: fn.adam(fn.linear_schedule(0.1, 0.01, 20)),
    "rmsprop, centered": lambda: fn.rmsprop(0.01, centered=True),
    "adamw, clipped, every second": lambda: fn.accumulate(fn.chain(fn.clip_by_global_norm(0.5), fn.adamw(0.1)), 2),
    "clipped one by one": lambda: fn.chain(fn.clip_by_norm(0.1), fn.adam(0.1)),
    "frozen": lambda: fn.chain(fn.adam(0.1), fn.freeze("out")),
    "nothing": fn.chain,
}
each_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


def bits(*trees: Any) -> list[Any]:
    return [(np.asarray(a).dtype, np.shape(a), np.asarray(a).tobytes()) for a in tree.leaves(trees)]


def by_hand(net: Any, loss: Any, optimizer: fn.Optimizer, params: Any, batches: Any) -> Any:
    """The loop of a user of Optax."""
    gradient_of, state = fn.value_and_grad(net, loss), optimizer.init(params)
    for batch in batches:
        number, gradient = gradient_of(params, *batch)
        weight = {"weight": float(len(batch[0]))} if takes_weight(optimizer) else {}
        updates, state = cast(Any, optimizer.update)(gradient, state, params, **weight)
        params = fn.apply_updates(params, updates)
    return params, state, number


def by_step(step: Any, params: Any, batches: Any) -> Any:
    state = step.init(params)
    for batch in batches:
        params, state, number = step(params, state, *batch)
    return params, state, number


@each_optimizer
def test_a_step_is_the_gradient_and_then_the_update(make: Any) -> None:
    batches = [(X, T), (X[:3], T[:3]), (X, T), (X, T), (X[:3], T[:3])]
    mine = by_step(fn.train_step(NET, fn.mse(), make()), PARAMS, batches)
    theirs = by_hand(NET, fn.mse(), make(), PARAMS, batches)
    assert tree.structure(mine) == tree.structure(theirs)
    for a, b in zip(tree.leaves(mine), tree.leaves(theirs), strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@each_optimizer
def test_the_same_call_gives_the_same_bits_and_writes_into_nothing(make: Any) -> None:
    step = fn.train_step(NET, fn.mse(), make())
    params, state = PARAMS, step.init(PARAMS)
    for _ in range(3):
        before = pickle.dumps((params, state, X, T))
        first = step(params, state, X, T)
        assert bits(step(params, state, X, T)) == bits(first)
        assert pickle.dumps((params, state, X, T)) == before
        assert bits(pickle.loads(pickle.dumps(step))(*pickle.loads(pickle.dumps((params, state))), X, T)) == bits(first)
        params, state, _ = first


@each_optimizer
def test_what_a_step_returned_is_never_written_into_later(make: Any) -> None:
    step = fn.train_step(NET, fn.mse(), make())
    params, state, kept = PARAMS, step.init(PARAMS), []
    for _ in range(4):
        params, state, loss = step(params, state, X, T)
        kept.append(((params, state, loss), bits(params, state, loss)))
    assert [bits(*result) for result, _ in kept] == [then for _, then in kept]


@each_optimizer
def test_a_state_changed_by_hand_is_honoured(make: Any) -> None:
    """Arrays changed in place, items replaced in a dict, and a part replaced: as if the state had come from outside."""
    step, fresh = (fn.train_step(NET, fn.mse(), make()) for _ in range(2))
    for change in (in_place, an_item):
        params, state = PARAMS, step.init(PARAMS)
        for _ in range(3):
            params, state, _ = step(params, state, X, T)
        change(state)
        copied = pickle.loads(pickle.dumps((params, state)))
        assert bits(step(params, state, X, T)) == bits(fresh(*copied, X, T))


def arrays_of(state: Any) -> list[Any]:
    """The dicts in a state."""
    if isinstance(state, dict):
        return [state]
    return [found for part in state for found in arrays_of(part)] if isinstance(state, tuple) else []


def in_place(state: Any) -> None:
    for leaf in tree.leaves(arrays_of(state)):
        leaf[...] = 0.25


def an_item(state: Any) -> None:
    for node in arrays_of(state):
        node[1] = tree.map(lambda x: x + 1, node[1])


@pytest.mark.parametrize("uniform", [True, False])
def test_arrays_of_params_may_be_in_any_order_and_memory(uniform: bool) -> None:
    optimizer = fn.adam(0.1) if uniform else fn.chain(fn.clip_by_norm(9.0), fn.adam(0.1))
    assert isinstance(optimizer.update, Elementwise) == uniform
    step = fn.train_step(NET, fn.mse(), optimizer)
    params, state = PARAMS, step.init(PARAMS)
    for _ in range(2):
        params, state, _ = step(params, state, X, T)
    expected = step(params, state, X, T)
    apart = tree.map(np.copy, state)
    turned = tree.map(np.asfortranarray, params)
    assert bits(step(turned, apart, X, T)) == bits(expected)
    swap: Any = {"out": params["out"], 1: params[1]}
    new, after, loss = step(swap, state, X, T)
    assert list(new) == ["out", 1]
    assert bits({1: new[1], "out": new["out"]}, loss) == bits(expected[0], expected[2])
    back: Any = {1: new[1], "out": new["out"]}
    assert bits(step(back, after, X, T)[0]) == bits(step(expected[0], expected[1], X, T)[0])


def test_an_optimizer_of_ones_own_may_keep_what_it_is_given() -> None:
    def update(gradient: Any, state: Any, params: Any = None) -> Any:
        """The last gradient and the one before it."""
        return tree.map(lambda g, last: -0.1 * (g + last), gradient, state), gradient

    optimizer = fn.Optimizer(lambda params: tree.map(np.zeros_like, params), update)
    step = fn.train_step(NET, fn.mse(), optimizer)
    params, state, gradients = PARAMS, step.init(PARAMS), []
    for _ in range(4):
        gradients.append(fn.value_and_grad(NET, fn.mse())(params, X, T)[1])
        params, state, _ = step(params, state, X, T)
        kept = bits(state)
        step(params, state, X, T)
        assert bits(state) == kept == bits(gradients[-1])
    assert bits(params) == bits(by_hand(NET, fn.mse(), optimizer, PARAMS, [(X, T)] * 4)[0])


def test_a_step_runs_in_many_threads_at_once() -> None:
    step = fn.train_step(NET, fn.mse(), fn.adam(0.1))

    def work(seed: int) -> Any:
        params, _ = NET.init(fn.key(seed), (2,))
        return bits(by_step(step, params, [(X, T)] * 60))

    alone = [work(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert [*pool.map(work, range(8))] == alone


def test_the_loss_falls() -> None:
    step, params = fn.train_step(NET, fn.mse(), fn.adam(0.05)), PARAMS
    state, losses = step.init(params), []
    for _ in range(200):
        params, state, loss = step(params, state, X, T)
        losses.append(loss)
    assert losses[-1] < 0.05 * losses[0]


def test_metrics_are_those_of_the_params_given() -> None:
    labels = np.array([0, 1, 1, 0, 1])
    metrics = {"accuracy": fn.accuracy, "matrix": fn.confusion_matrix}
    step = fn.train_step(NET, fn.softmax_cross_entropy(), fn.sgd(0.5), metrics=metrics)
    plain = fn.train_step(NET, fn.softmax_cross_entropy(), fn.sgd(0.5))
    params, state = PARAMS, step.init(PARAMS)
    for _ in range(3):
        new, after, found = step(params, state, X, labels)
        same, _, loss = plain(params, state, X, labels)
        assert bits(new) == bits(same)
        assert [*found] == ["loss", "accuracy", "matrix"]
        assert found["loss"] == loss
        assert found["accuracy"] == fn.accuracy(NET.apply(params, X), labels)
        np.testing.assert_array_equal(found["matrix"], fn.confusion_matrix(NET.apply(params, X), labels))
        params, state = new, after
    nothing = fn.train_step(NET, fn.mse(), fn.sgd(0.5), metrics={})
    assert [*nothing(PARAMS, nothing.init(PARAMS), X, T)[2]] == ["loss"]


def test_metrics_take_the_weights_of_a_weighted_loss() -> None:
    labels, w = np.array([0, 1, 1, 0, 1]), np.array([1, 2, 0, 0, 3], np.float32)
    loss = fn.softmax_cross_entropy(weighted=True)
    step = fn.train_step(NET, loss, fn.sgd(0.5), metrics={"accuracy": fn.accuracy})
    _, _, found = step(PARAMS, step.init(PARAMS), X, labels, w)
    assert found["accuracy"] == fn.accuracy(NET.apply(PARAMS, X), labels, w)
    fitted = fn.fit(step, PARAMS, (X, labels, w), 1, 5, validation=(X, labels, w))
    scores = fn.evaluate(NET, {"loss": loss, "accuracy": fn.accuracy}, fitted.params, (X, labels, w))
    assert fitted.history["validation_loss"] == pytest.approx([scores["loss"]], rel=1e-6)


def test_metrics_of_a_large_batch_that_runs_in_blocks() -> None:
    x = np.random.default_rng(0).normal(size=(60_000, 2)).astype(np.float32)
    metrics = {"outputs": lambda y, t: y, "targets": lambda y, t: t}
    step = fn.train_step(NET, fn.mse(), fn.sgd(0.5), metrics=metrics)
    _, _, found = step(PARAMS, step.init(PARAMS), x, x)
    assert "blocks of rows" in str(step)
    np.testing.assert_allclose(found["outputs"], NET.apply(PARAMS, x), rtol=1e-5, atol=1e-6)
    assert found["targets"] is x


def test_metrics_of_several_inputs_and_outputs_take_all_that_the_loss_takes() -> None:
    two = fn.network(
        {1: fn.linear(2), 2: fn.linear(2), 3: fn.add(), 4: fn.tanh()}, {1: [3], 2: [3], 3: [4]}, output=[3, 4]
    )
    loss = fn.network(
        {**dict.fromkeys("abcd", fn.identity()), "l": fn.mse(), "m": fn.mse(), "+": fn.average()},
        {"a": ["l"], "c": ["l"], "b": ["m"], "d": ["m"], "l": ["+"], "m": ["+"]},
        inputs=[*"abcd"],
    )
    params, _ = two.init(fn.key(0), (2,), (2,))
    step = fn.train_step(two, loss, fn.sgd(0.1), metrics={"all": lambda *arrays: arrays})
    _, _, found = step(params, step.init(params), X, X[::-1], T, T + 1)
    for a, b in zip(found["all"], (*two.apply(params, X, X[::-1]), T, T + 1), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_loss_in_the_dict_needs_no_other() -> None:
    operators = {1: fn.linear(3), 2: fn.tanh(), "out": fn.linear(2), "target": fn.identity(), "loss": fn.mse()}
    connectivity = {1: [2], 2: ["out"], "out": ["loss"], "target": ["loss"]}
    inside = fn.network(operators, connectivity, inputs=[1, "target"], output="loss")
    mine = by_step(fn.train_step(inside, None, fn.adam(0.1)), PARAMS, [(X, T)] * 3)
    assert bits(mine) == bits(by_step(fn.train_step(NET, fn.mse(), fn.adam(0.1)), PARAMS, [(X, T)] * 3))
    with pytest.raises(fn.OptionError, match="give the loss beside the network"):
        fn.train_step(inside, None, fn.adam(0.1), metrics={"r2": fn.r2})


def test_other_kinds_of_params() -> None:
    layer, chain = fn.linear(2), fn.serial(fn.linear(3), fn.tanh(), fn.linear(2))
    nets: list[Any] = [layer, chain, fn.network({1: fn.tanh()}, {}), fn.network({1: chain}, {})]
    for net in nets:
        params, _ = net.init(fn.key(0), (2,))
        step = fn.train_step(net, fn.mse(), fn.adam(0.1))  # pyright: ignore[reportArgumentType]
        new, state, _ = by_step(step, params, [(X, T)] * 3)
        assert tree.structure(new) == tree.structure(params)
        assert tree.structure(state[0].mu) == tree.structure(params)


def test_float64_stays_float64() -> None:
    params = tree.map(lambda p: p.astype(np.float64), PARAMS)
    new, state, loss = by_step(fn.train_step(NET, fn.mse(), fn.adam(0.1)), params, [(X, T)] * 2)
    assert {x.dtype for x in tree.leaves((new, state[0].mu, state[0].nu))} == {loss.dtype} == {np.dtype(np.float64)}


def test_a_step_prints_its_program() -> None:
    step = fn.train_step(NET, fn.mse(), fn.adam(0.1))
    assert "no program yet" in str(step)
    step(PARAMS, step.init(PARAMS), X, T)
    assert str(step).startswith("train_step: ")
    assert "then: updates, state = optimizer.update(gradient, state, params); new params = params + updates" in str(
        step
    )


ADAM = fn.adam(0.1)
STATE = ADAM.init(PARAMS)
OTHER = fn.network({1: fn.linear(4), "out": fn.linear(2)}, {1: ["out"]}).init(fn.key(0), (2,))[0]
WRONG: list[tuple[Any, type[Exception], str]] = [
    (None, fn.ParamsError, r"the state has a NoneType where .* tuple of 2: step\.init\(params\) gives the first one"),
    ((), fn.ParamsError, "the state has a tuple of 0 where this optimizer keeps a tuple of 2"),
    (fn.sgd(0.1).init(PARAMS), fn.ParamsError, "keeps a tuple of 2"),
    (
        fn.sgd(0.1, 0.9).init(PARAMS),
        fn.ParamsError,
        "the state has a TraceState where this optimizer keeps a AdamState",
    ),
    (ADAM.init(OTHER), fn.ShapeError, r"the state does not fit the params.*\(2, 4\) stands where .* \(2, 3\)"),
    (ADAM.init({1: PARAMS[1]}), fn.ParamsError, "the state does not fit the params.*lacks 'out'"),
    (ADAM.init(tree.map(lambda p: p.astype(np.float64), PARAMS)), fn.ShapeError, "float64 .* stands where .* float32"),
    ((STATE[0]._replace(mu={1: PARAMS[1], "out": (0.0, 1.0)}), STATE[1]), fn.ParamsError, "does not fit the params"),
    ((STATE[0]._replace(nu=tree.map(lambda p: 0.0, PARAMS)), STATE[1]), fn.ShapeError, "0.0 stands where the params"),
    (ADAM, fn.ParamsError, "the state has a Optimizer"),
]


@pytest.mark.parametrize(("state", "error", "words"), WRONG)
def test_the_state_of_another_is_refused(state: Any, error: type[Exception], words: str) -> None:
    step = fn.train_step(NET, fn.mse(), ADAM)
    expected = bits(step(PARAMS, STATE, X, T))
    for _ in range(2):
        with pytest.raises(error, match=f"(?s){words}"):
            step(PARAMS, state, X, T)
        assert bits(step(PARAMS, STATE, X, T)) == expected


@pytest.mark.parametrize("arrays", [(X, T), (X,)])
def test_a_state_left_out_is_reported(arrays: Any) -> None:
    step = fn.train_step(NET, fn.mse(), ADAM)
    with pytest.raises(fn.ParamsError, match=r"where the state belongs: step\(params, state, .* step\.init\(params\)"):
        step(PARAMS, *arrays)


def test_a_state_that_is_an_array_is_not_taken_for_an_input() -> None:
    def update(g: Any, state: Any, params: Any = None) -> Any:
        return tree.map(lambda x: x * x.dtype.type(-0.1), g), state + 1

    step = fn.train_step(NET, fn.mse(), fn.Optimizer(lambda params: np.zeros(2), update))
    state = step(PARAMS, step.init(PARAMS), X, T)[1]
    assert state.tolist() == [1, 1]
    with pytest.raises(fn.ShapeError, match="mse: input shapes .* must have the same shape"):
        step(PARAMS, state, X, T[:, :1])


def test_what_is_no_optimizer_or_metric_or_key_is_refused() -> None:
    mistakes: list[tuple[Any, Any, str]] = [
        (
            fn.adam,
            None,
            r"train_step: argument 2 is the function adam and not an optimizer: call it, fn\.adam\(\.\.\.\)",
        ),
        (0.1, None, "train_step: argument 2 is 0.1 and not an optimizer"),
        (ADAM, {"accuracy": "accuracy"}, "the metric 'accuracy' is 'accuracy' and not a function"),
        (ADAM, fn.accuracy, "train_step: metrics are a dict, such as"),
        (ADAM, {"loss": fn.accuracy}, "'loss' names the loss itself"),
    ]
    for optimizer, metrics, words in mistakes:
        with pytest.raises(fn.OptionError, match=words):
            fn.train_step(NET, fn.mse(), optimizer, metrics=metrics)
    with pytest.raises(fn.OptionError, match="train_step: check_finite must be True or False, not 'yes'"):
        fn.train_step(NET, fn.mse(), ADAM, check_finite="yes")  # type: ignore[call-overload]
    unpaired: Any = lambda g, state, params: g  # noqa: E731
    alone = fn.train_step(NET, fn.mse(), fn.Optimizer(fn.sgd(0.1).init, unpaired))
    with pytest.raises(fn.OptionError, match=r"the optimizer's update must return \(updates, state\)"):
        alone(PARAMS, alone.init(PARAMS), X, T)
    step = fn.train_step(NET, fn.mse(), ADAM)
    with pytest.raises(fn.KeyTypeError):
        step(PARAMS, STATE, X, T, key=0)  # type: ignore[arg-type]
    assert bits(step(PARAMS, STATE, X, T, key=fn.key(0))) == bits(step(PARAMS, STATE, X, T))


def test_what_is_not_finite_is_reported_where_it_is_asked_for() -> None:
    bad = X.copy()
    bad[3, 1] = np.nan
    for make in (fn.adam, fn.sgd, lambda rate: fn.chain(fn.clip_by_norm(1.0), fn.adam(rate))):
        checked, plain = (fn.train_step(NET, fn.mse(), make(0.1), check_finite=check) for check in (True, False))
        state = checked.init(PARAMS)
        assert bits(checked(PARAMS, state, X, T)) == bits(plain(PARAMS, state, X, T))
        with pytest.raises(fn.NonFiniteError, match=r"train_step: input 0 has 1 NaN of 10 elements"):
            checked(PARAMS, state, bad, T)
        assert bits(checked(PARAMS, state, X, T)) == bits(plain(PARAMS, state, X, T))
        assert np.isnan(plain(PARAMS, state, bad, T)[2])
    huge = fn.train_step(NET, fn.mse(), fn.sgd(3e38), check_finite=True)
    with np.errstate(over="ignore"), pytest.raises(fn.NonFiniteError, match="the new params are not finite"):
        huge(PARAMS, huge.init(PARAMS), X, T + 1e4)
