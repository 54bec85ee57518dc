"""Many steps in one call: the bits of the loop of steps for all that a step can be; purity, and what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import funcnet as fn
from funcnet import tree
from funcnet.compiler import workspace
from funcnet.training import scan as module
from funcnet.training.gradients import SGDStep
from funcnet.training.steps import TrainStep
from tests.support.blocks import run_in_small_blocks
from tests.support.recurrences import with_recurrence
from tests.support.strategies import Problem, problems
from tests.training.test_steps import NET, PARAMS, bits, each_optimizer

STEPS = 5
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(STEPS, 6, 2)).astype(np.float32)
T = np.sin(3 * X)


def loop(step: Any, params: Any, *arrays: Any, key: Any = None) -> Any:
    """The loop of steps that a user would write: (params, state, what each step returned last)."""
    state, found = getattr(step, "init", lambda params: None)(params), []
    for i, batch in enumerate(zip(*arrays, strict=True)):
        own = None if key is None else fn.fold_in(key, i)
        if state is None:
            params, loss = step(params, *batch, key=own)
        else:
            params, state, loss = step(params, state, *batch, key=own)
        found.append(loss)
    return params, state, found


def check(step: Any, params: Any, *arrays: Any, key: Any = None) -> Any:
    """A scan gives the bits of the loop, whether the params are copied for each step or read where they are."""
    expected = loop(step, params, *arrays, key=key)
    given = () if expected[1] is None else (step.init(params),)
    before = pickle.dumps((params, given, arrays))
    for name, cost in (("COPY_COST", workspace.COPY_COST), ("COPY_COST", 1 << 40), ("REBIND_COST", 0)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workspace, name, cost)
            fresh = copy(step)  # without its programs
            new, *state, losses = fn.scan(fresh, params, *given, *arrays, key=key)
            assert bits(new, *state) == bits(*expected[: 1 + len(given)])
            assert tree.structure((new, *state)) == tree.structure(expected[: 1 + len(given)])
            mine, theirs = (new, *state), expected[: 1 + len(given)]
            for _ in range(3):  # steps from there on, then one with the params of a stranger
                *mine, _ = fresh(*mine, *(x[0] for x in arrays), key=key)
                *theirs, _ = step(*theirs, *(x[0] for x in arrays), key=key)
                assert bits(*mine) == bits(*theirs)
            assert bits(fresh(params, *given, *(x[-1] for x in arrays), key=key)) == bits(
                step(params, *given, *(x[-1] for x in arrays), key=key)
            )
            assert bits(new, *state) == bits(*expected[: 1 + len(given)])
    assert pickle.dumps((params, given, arrays)) == before
    if isinstance(losses, dict):
        assert [*losses] == [*expected[2][0]]
        for name, stacked in losses.items():
            np.testing.assert_array_equal(stacked, [found[name] for found in expected[2]])
    else:
        assert bits(losses) == bits(np.array(expected[2]))
        assert losses.dtype == expected[2][0].dtype
    return expected


def test_sgd_steps() -> None:
    check(fn.sgd_step(NET, fn.mse(), learning_rate=0.1), PARAMS, X, T)
    check(fn.sgd_step(NET, fn.mse(), learning_rate=0.1, check_finite=True), PARAMS, X, T)


@each_optimizer
@pytest.mark.parametrize("check_finite", [False, True])
def test_every_optimizer(make: Callable[[], fn.Optimizer], check_finite: bool) -> None:
    check(fn.train_step(NET, fn.mse(), make(), check_finite=check_finite), PARAMS, X, T)


MORE: dict[str, Callable[[], fn.Optimizer]] = {
    "adagrad": lambda: fn.adagrad(0.1),
    "lion": lambda: fn.lion(0.01),
    "nadam": lambda: fn.adam(0.1, nesterov=True),
    "average of params": lambda: fn.chain(fn.adam(0.1), fn.ema_params(0.9)),
    "average of updates": lambda: fn.chain(fn.clip(0.1), fn.ema(0.9), fn.add_decayed_weights(0.1), fn.sgd(0.1)),
    "nothing but the gradient": lambda: fn.accumulate(fn.chain(), 2),
}


@pytest.mark.parametrize("make", MORE.values(), ids=MORE)
def test_more_optimizers(make: Callable[[], fn.Optimizer]) -> None:
    step = fn.train_step(NET, fn.mse(), make())
    check(step, PARAMS, X, T)
    params, state, _ = fn.scan(step, PARAMS, step.init(PARAMS), X, T)
    pairs = ((a, b) for a in tree.leaves(params) for b in tree.leaves(state) if isinstance(b, np.ndarray))
    assert not any(np.shares_memory(a, b) for a, b in pairs)


def test_a_state_of_ones_own_and_an_optimizer_of_ones_own() -> None:
    def update(gradient: Any, state: Any, params: Any = None) -> Any:
        return tree.map(lambda g, last: -0.1 * (g + last), gradient, state), gradient

    check(fn.train_step(NET, fn.mse(), fn.Optimizer(lambda p: tree.map(np.zeros_like, p), update)), PARAMS, X, T)


@pytest.mark.parametrize("check_finite", [False, True])
def test_an_optimizer_may_keep_the_params_that_it_is_given(check_finite: bool) -> None:
    def update(gradient: Any, state: Any, params: Any = None) -> Any:
        return tree.map(lambda g, p, first: 0.01 * (first - p) - 0.1 * g, gradient, params, state[0]), (*state, params)

    check(fn.train_step(NET, fn.mse(), fn.Optimizer(lambda p: (p,), update), check_finite=check_finite), PARAMS, X, T)


def test_metrics_become_arrays() -> None:
    labels = RANDOM.integers(0, 2, (STEPS, 6))
    metrics = {"accuracy": fn.accuracy, "matrix": fn.confusion_matrix}
    for optimizer in (fn.adam(0.1), fn.chain(fn.clip_by_norm(0.1), fn.sgd(0.5))):
        check(fn.train_step(NET, fn.softmax_cross_entropy(), optimizer, metrics=metrics), PARAMS, X, labels)
    step = fn.train_step(NET, fn.softmax_cross_entropy(), fn.adam(0.1), metrics=metrics)
    found = fn.scan(step, PARAMS, step.init(PARAMS), X, labels)[2]
    assert found["matrix"].shape == (STEPS, 2, 2)
    nothing = fn.train_step(NET, fn.mse(), fn.sgd(0.5), metrics={})
    assert fn.scan(nothing, PARAMS, nothing.init(PARAMS), X, T)[2]["loss"].shape == (STEPS,)


def test_weights_of_rows_reach_an_optimizer_that_takes_them() -> None:
    w = RANDOM.integers(0, 4, (STEPS, 6)).astype(np.float64)
    step = fn.train_step(NET, fn.mse(weighted=True), fn.accumulate(fn.adam(0.1), 2))
    check(step, PARAMS, X.astype(np.float64), T, w)


@pytest.mark.parametrize("optimizer", [None, fn.adam(0.1), fn.chain(fn.clip_by_norm(0.1), fn.sgd(0.5))])
def test_each_step_has_its_own_key(optimizer: Any) -> None:
    net = fn.serial(fn.linear(8), fn.dropout(0.5), fn.linear(2))
    params, _ = net.init(fn.key(1), (2,))
    step: Any = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    if optimizer is not None:
        step = fn.train_step(net, fn.mse(), optimizer)
    with_key = check(step, params, X, T, key=fn.key(3))
    assert bits(with_key[0]) != bits(check(step, params, X, T)[0])


def test_a_key_makes_no_difference_without_dropout() -> None:
    step = fn.sgd_step(NET, fn.mse(), learning_rate=0.1)
    assert bits(fn.scan(step, PARAMS, X, T, key=fn.key(0))) == bits(fn.scan(step, PARAMS, X, T))
    with pytest.raises(fn.KeyTypeError, match=r"fn\.key\(3\)"):
        fn.scan(step, PARAMS, X, T, key=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


@pytest.mark.parametrize("optimizer", [None, fn.adam(0.1)])
def test_batches_in_blocks_of_rows(optimizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run_in_small_blocks(monkeypatch)
    step: Any = fn.sgd_step(NET, fn.mse(), learning_rate=0.1)
    if optimizer is not None:
        step = fn.train_step(NET, fn.mse(), optimizer, metrics={"outputs": lambda y, t: y})
    check(step, PARAMS, X[:, :5], T[:, :5])
    assert "blocks of rows" in str(step)


def test_a_loss_inside_the_network() -> None:
    operators = {1: fn.linear(3), 2: fn.tanh(), "out": fn.linear(2), "target": fn.identity(), "loss": fn.mse()}
    connectivity = {1: [2], 2: ["out"], "out": ["loss"], "target": ["loss"]}
    inside = fn.network(operators, connectivity, inputs=[1, "target"], output="loss")
    check(fn.sgd_step(inside, learning_rate=0.1), PARAMS, X, T)
    check(fn.train_step(inside, None, fn.adam(0.1)), PARAMS, X, T)


def test_rows_of_a_table_are_integers() -> None:
    net = fn.serial(fn.embedding(7, 3), fn.flatten(), fn.linear(2))
    params, _ = net.init(fn.key(0), (4,))
    ids = RANDOM.integers(0, 7, (STEPS, 6, 4))
    check(fn.sgd_step(net, fn.mse(), learning_rate=0.1), params, ids, T)
    ids[3, 2, 1] = 7
    with pytest.raises(fn.LabelError, match="scan: step 3; "):
        fn.scan(fn.sgd_step(net, fn.mse(), learning_rate=0.1), params, ids, T)


def total(count: int) -> Any:
    """A loss of so many outputs and as many targets."""
    keys = [(f"y{i}", f"t{i}", f"l{i}") for i in range(count)]
    operators: Any = {"+": fn.add()}
    operators |= {key: fn.identity() for y, t, _ in keys for key in (y, t)} | {m: fn.mse() for _, _, m in keys}
    connectivity: Any = {y: [m] for y, _, m in keys} | {t: [m] for _, t, m in keys} | {m: ["+"] for _, _, m in keys}
    return fn.network(operators, connectivity, inputs=[y for y, _, _ in keys] + [t for _, t, _ in keys])


@given(problems() | problems(size=6).flatmap(with_recurrence), st.booleans())
def test_random_networks(problem: Problem, adam: bool) -> None:
    net, params, inputs = problem.made()
    random = np.random.default_rng(problem.seed)
    shapes = [x.shape for x in inputs] + [(problem.batch, width) for width in problem.outputs]
    arrays = [random.normal(size=(3, *shape)).astype(problem.dtype) for shape in shapes]
    loss = total(len(problem.outputs))
    step = fn.train_step(net, loss, fn.adam(0.01)) if adam else fn.sgd_step(net, loss, learning_rate=0.01)
    with np.errstate(all="ignore"):  # some diverge
        check(step, params, *arrays)


def test_what_is_given_may_lie_anywhere_in_memory() -> None:
    step = fn.sgd_step(NET, fn.mse(), learning_rate=0.1)
    expected = bits(fn.scan(step, PARAMS, X, T))
    turned = tree.map(np.asfortranarray, PARAMS)
    assert bits(fn.scan(step, turned, np.asfortranarray(X), T[:, ::-1][:, ::-1])) == expected
    same = fn.scan(step, PARAMS, np.broadcast_to(X[0], X.shape), np.broadcast_to(T[0], T.shape))
    assert bits(same[0]) == bits(loop(step, PARAMS, [X[0]] * STEPS, [T[0]] * STEPS)[0])
    lists: Any = X.tolist()
    assert bits(fn.scan(step, PARAMS, lists, T)) == expected


def test_a_network_without_params() -> None:
    net = fn.serial(fn.tanh())
    check(fn.sgd_step(net, fn.mse(), learning_rate=0.1), ((),), X, T)


def test_a_scan_goes_on_where_another_ended() -> None:
    step = fn.train_step(NET, fn.mse(), fn.adam(0.1))
    whole = fn.scan(step, PARAMS, step.init(PARAMS), X, T)
    params, state, first = fn.scan(step, PARAMS, step.init(PARAMS), X[:2], T[:2])
    kept = bits(params, state)
    params_2, state_2, last = fn.scan(step, params, state, X[2:], T[2:])
    assert bits(params_2, state_2, np.concatenate([first, last])) == bits(*whole)
    assert bits(params, state) == kept


@pytest.mark.parametrize("optimizer", [None, fn.sgd(1.0), fn.chain(fn.clip_by_norm(1e30), fn.sgd(1.0))])
def test_check_finite_names_the_step_and_the_operator(optimizer: Any) -> None:
    step: Any = fn.sgd_step(NET, fn.mse(), learning_rate=1.0, check_finite=True)
    if optimizer is not None:
        step = fn.train_step(NET, fn.mse(), optimizer, check_finite=True)
    x = X.copy()
    x[2, 0, 0] = np.nan
    given = () if optimizer is None else (step.init(PARAMS),)
    with pytest.raises(fn.NonFiniteError, match="scan: step 2; .*: input 0 has 1 NaN of 12"):
        fn.scan(step, PARAMS, *given, x, T)
    t = T.copy()
    t[3] = 1e30
    message = r"scan: step 3; .*: the loss has 1 infinite"
    with np.errstate(over="ignore"), pytest.raises(fn.NonFiniteError, match=message):
        fn.scan(step, PARAMS, *given, X, t)
    assert bits(fn.scan(step, PARAMS, *given, X, T)[0]) == bits(loop(step, PARAMS, X, T)[0])


def test_mistakes_are_reported() -> None:
    step, train = fn.sgd_step(NET, fn.mse(), learning_rate=0.1), fn.train_step(NET, fn.mse(), fn.adam(0.1))
    plain = fn.train_step(NET, fn.mse(), fn.chain(fn.clip_by_norm(0.1), fn.adam(0.1)))
    state = train.init(PARAMS)
    forgotten = r"scan: axis 0 of \(6, 2\), \(6, 2\) is the steps, so each step takes \(2,\), \(2,\); "
    mistakes: list[tuple[tuple[Any, ...], type[Exception], str]] = [
        ((step, PARAMS), fn.ShapeError, "scan: no arrays"),
        ((step, PARAMS, X, T[:3]), fn.ShapeError, r"\(5, 6, 2\), \(3, 6, 2\): axis 0 is the steps, at least one"),
        ((step, PARAMS, X[:0], T[:0]), fn.ShapeError, r"\(0, 6, 2\), .*at least one and the same number for all"),
        ((step, PARAMS, X[0], T[0]), fn.ShapeError, forgotten),
        ((train, PARAMS, state, X[0], T[0]), fn.ShapeError, forgotten),
        ((plain, PARAMS, plain.init(PARAMS), X[0], T[0]), fn.ShapeError, forgotten),
        ((step, PARAMS, X, T[:, 0, 0]), fn.ShapeError, r"each has an axis of steps and then one of the batch"),
        ((step, PARAMS, X, T[:, :, :1]), fn.ShapeError, "so each step takes .*must have the same shape"),
        ((step, PARAMS, X > 0, T), fn.DTypeError, "scan: array 0 "),
        ((step, {1: PARAMS[1]}, X, T), fn.ParamsError, "scan: step 0; "),
        ((train, PARAMS), fn.OptionError, r"takes a state: fn\.scan\(step, params, step\.init\(params\)"),
        ((train, PARAMS, X, T), fn.ParamsError, "an array stands where the state belongs"),
        ((train, PARAMS, (), X, T), fn.ParamsError, "scan: step 0; .*where this optimizer keeps a tuple of 2"),
        ((fn.sgd_step, PARAMS, X, T), fn.OptionError, r"scan: the step is .*make one with fn\.sgd_step or fn\.train_"),
        ((fn.value_and_grad(NET, fn.mse()), PARAMS, X, T), fn.OptionError, "scan: the step is value_and_grad"),
    ]
    for arguments, error, words in mistakes:
        with pytest.raises(error, match=words):
            fn.scan(*arguments)
    assert bits(fn.scan(step, PARAMS, X, T)[0]) == bits(loop(step, PARAMS, X, T)[0])


def test_batches_that_are_not_stacked_are_sent_to_stack() -> None:
    step: Any = fn.sgd_step(NET, fn.mse(), learning_rate=0.1)
    train: Any = fn.train_step(NET, fn.mse(), fn.adam(0.1))
    scan: Any = fn.scan
    wide = np.concatenate([T, T], axis=-1)
    pairs = list(zip(X, wide, strict=True))
    mapped = r"of batches: .*\*map\(np\.stack, zip\(\*batches\)\)"
    for batches in (
        pairs,
        tuple(pairs),
        [list(pair) for pair in pairs],
        iter(pairs),
        (pair for pair in pairs),
        zip(X, T, strict=True),
    ):
        with pytest.raises(fn.DTypeError, match=f"scan: array 0 is a {type(batches).__name__} {mapped}"):
            scan(step, PARAMS, batches)
    with pytest.raises(fn.DTypeError, match=mapped):
        scan(train, PARAMS, train.init(PARAMS), pairs)
    whole: Any = scan(step, PARAMS, *map(np.stack, zip(*zip(X, T, strict=True), strict=True)))
    assert bits(whole[0]) == bits(scan(step, PARAMS, X, T)[0])
    with pytest.raises(fn.DTypeError, match=r"array 0 is a list of batches: .*, np\.stack\(batches\)"):
        scan(step, PARAMS, [X[0], X[1, :3]], [T[0], T[1, :3]])
    others: list[tuple[Any, str]] = [
        ([[1.0, 2.0], [1.0]], "ragged"),
        ([X[0] > 0, X[1] > 0], "bool"),
        ([X, np.ones((6, 2, 3, 4))], "ragged"),
        ((X, T[:3]), "one by one"),
        ((PARAMS[1], ()), "a tree of params or a state"),
        (PARAMS, "dict"),
    ]
    for other, words in others:
        with pytest.raises(fn.DTypeError, match=words) as caught:
            scan(step, PARAMS, other)
        assert "of batches" not in str(caught.value)


def test_trees_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flat way is taken by every optimizer that allows it: no step makes a tree, or looks at one."""
    calls: list[str] = []
    step, train = fn.sgd_step(NET, fn.mse(), learning_rate=0.1), fn.train_step(NET, fn.mse(), fn.adam(0.1))
    monkeypatch.setattr(SGDStep, "__call__", lambda *given: calls.append("step"))
    monkeypatch.setattr(TrainStep, "__call__", lambda *given: calls.append("step"))
    finish = module.Run.finish

    def finished(run: Any) -> Any:
        calls.append("finish")
        return finish(run)

    monkeypatch.setattr(module.Run, "finish", finished)
    fn.scan(step, PARAMS, X, T)
    fn.scan(train, PARAMS, train.init(PARAMS), X, T)
    fn.fit(step, PARAMS, (X[0], T[0]), 1, 2)
    fn.fit(train, PARAMS, (X[0], T[0]), 1, 4)  # whose second batch is smaller
    assert calls == ["finish"] * 5
