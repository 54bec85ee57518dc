"""Many steps in one call of native code: the bits of the loop of steps, also where something is asked between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.native.scanning import CHUNK
from tests.exports.running import needs_compiler
from tests.native.test_jit import NET, OPTIMIZERS, assert_close, batch

pytestmark = needs_compiler

IN_C = [name for name in OPTIMIZERS if name != "masked"]
CLASSES: Any = fn.serial(fn.linear(8), fn.tanh(), fn.linear(3))


@pytest.fixture
def in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """No step may be a call of its own."""

    def refuse(*given: Any) -> None:
        raise AssertionError("each step is a call of its own")

    monkeypatch.setattr("funcnet.training.scan.Run", refuse)


def bits(given: Any) -> list[bytes]:
    return [np.asarray(a).tobytes() for a in tree.leaves(given)]


def steps_of(count: int, dtype: Any = np.float32) -> tuple[Any, Any]:
    x, target = batch(5 * count, dtype)
    return x.reshape(count, 5, 2), target.reshape(count, 5, 2)


def loop(step: Any, params: Any, state: Any, *arrays: Any) -> tuple[Any, Any, Any]:
    losses: list[Any] = []
    for given in zip(*arrays, strict=True):
        params, state, loss = step(params, state, *given)
        losses.append(loss)
    stacked: Any = (
        {name: np.array([loss[name] for loss in losses]) for name in losses[0]}
        if isinstance(losses[0], dict)
        else np.array(losses)
    )
    return params, state, stacked


@pytest.mark.usefixtures("in_one_call")
@pytest.mark.parametrize("name", IN_C)
def test_the_bits_of_the_loop_with_every_optimizer(name: str) -> None:
    params, _ = NET.init(fn.key(0), (2,))
    native = fn.jit(fn.train_step(NET, fn.mse(), OPTIMIZERS[name]))
    found = fn.scan(native, params, native.init(params), *steps_of(7))
    right = loop(native, params, native.init(params), *steps_of(7))
    assert tree.structure(found) == tree.structure(right)
    assert bits(found) == bits(right)
    assert [type(x) for x in tree.leaves(found[1])] == [type(x) for x in tree.leaves(right[1])]


@pytest.mark.usefixtures("in_one_call")
def test_a_schedule_goes_on_from_the_state_and_across_calls() -> None:
    params, _ = NET.init(fn.key(0), (2,))
    rates: list[int] = []

    def schedule(count: int) -> float:
        rates.append(count)
        return 0.1 / (1 + count)

    native = fn.jit(fn.train_step(NET, fn.mse(), fn.chain(fn.adam(schedule))))
    arrays = steps_of(2 * CHUNK + 3)
    start = fn.set_learning_rate(native.init(params), 0.05)
    first = fn.scan(native, params, start, *(a[:9] for a in arrays))
    found = fn.scan(native, *first[:2], *(a[9:] for a in arrays))
    assert rates[-1] == 2 * CHUNK + 3
    assert fn.learning_rate(found[1]) == 0.1 / (1 + 2 * CHUNK + 3)
    assert bits(found[:2]) == bits(loop(native, params, start, *arrays)[:2])


@pytest.mark.usefixtures("in_one_call")
def test_arrays_are_read_where_they_lie() -> None:
    params, _ = NET.init(fn.key(0), (2,))
    native: Any = fn.jit(fn.sgd_step(NET, fn.mse(), learning_rate=0.05))
    x, target = steps_of(2 * CHUNK + 3)
    turned = np.ascontiguousarray(x.transpose(0, 2, 1)).transpose(0, 2, 1)
    for given in (
        (np.broadcast_to(x[0], x.shape), np.broadcast_to(target[0], target.shape)),
        (x[::-1], target[::-1]),
        (x[1::2], target[::2][: len(x[1::2])]),
        (turned, target.astype(np.float64).astype(np.float32)),
        (np.lib.stride_tricks.sliding_window_view(x[:, 0], 5, axis=0).transpose(0, 2, 1), target[4:]),
    ):
        copied = [np.ascontiguousarray(a) for a in given]
        assert bits(fn.scan(native, params, *given)) == bits(fn.scan(native, params, *copied))


def test_no_moment_stays_subnormal_where_the_gradient_is_0() -> None:
    params, _ = NET.init(fn.key(0), (2,))
    x, target = steps_of(1500)
    x[1:] = 0
    step = fn.train_step(NET, fn.mse(), fn.adam(0.01))
    for given, subnormal in ((step, True), (fn.jit(step), False)):
        state = fn.scan(given, params, given.init(params), x, target)[1]
        moment = np.abs(state[0].mu[1].weight)
        assert ((moment > 0) & (moment < np.finfo(np.float32).tiny)).any() == subnormal
        assert moment.max() < np.finfo(np.float32).tiny


def test_a_schedule_that_raises_does_so_at_its_step() -> None:
    params, _ = NET.init(fn.key(0), (2,))
    native = fn.jit(fn.train_step(NET, fn.mse(), fn.sgd(lambda count: np.nan if count == 3 else 0.1)))
    with pytest.raises(fn.OptionError, match="scan: step 2; the number that a schedule returns"):
        fn.scan(native, params, native.init(params), *steps_of(6))


@pytest.mark.usefixtures("in_one_call")
@pytest.mark.parametrize("metrics", [{}, {"accuracy": fn.accuracy, "first": lambda y, t: y[0, 0]}], ids=["none", "two"])
@pytest.mark.parametrize("rows", [6, 1500], ids=["whole", "in blocks"])
def test_metrics(metrics: Any, rows: int) -> None:
    params, _ = CLASSES.init(fn.key(0), (2,))
    step = fn.train_step(CLASSES, fn.softmax_cross_entropy(), fn.adam(0.01), metrics=metrics)
    native: Any = fn.jit(step)
    x, labels = batch(4 * rows)[0].reshape(4, rows, 2), np.arange(4 * rows).reshape(4, rows) % 3
    found = fn.scan(native, params, native.init(params), x, labels)
    assert found[2].keys() == {"loss", *metrics}
    assert bits(found) == bits(loop(native, params, native.init(params), x, labels))
    assert_close(found[2]["loss"], loop(step, params, step.init(params), x, labels)[2]["loss"], np.float32)


def test_a_metric_that_raises_does_so_at_its_step() -> None:
    def third(y: Any, t: Any) -> float:
        if t[0] == 2:
            raise fn.LabelError("a metric: 2")
        return 0.0

    params, _ = CLASSES.init(fn.key(0), (2,))
    native = fn.jit(fn.train_step(CLASSES, fn.softmax_cross_entropy(), fn.sgd(0.1), metrics={"third": third}))
    labels = np.repeat(np.arange(3), 6).reshape(3, 6)
    with pytest.raises(fn.LabelError, match="scan: step 2.*a metric: 2"):
        fn.scan(native, params, native.init(params), batch(18)[0].reshape(3, 6, 2), labels)


def checked(rate: float, with_state: bool) -> Any:
    if with_state:
        return fn.train_step(NET, fn.mse(), fn.sgd(rate), check_finite=True)
    return fn.sgd_step(NET, fn.mse(), learning_rate=rate, check_finite=True)


@pytest.mark.usefixtures("in_one_call")
@pytest.mark.parametrize("with_state", [False, True])
def test_a_step_that_checks_its_results(with_state: bool) -> None:
    params, _ = NET.init(fn.key(0), (2,))
    native: Any = fn.jit(checked(0.05, with_state))
    found = fn.scan(native, params, *(native.init(params),) if with_state else (), *steps_of(4))
    plain: Any = fn.jit(fn.sgd_step(NET, fn.mse(), learning_rate=0.05))
    right = fn.scan(plain, params, *steps_of(4))
    assert_close((found[0], found[-1]), right, np.float32)


@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("what", ["input", "rate"])
def test_what_is_not_finite_is_named_as_by_the_loop(what: str, with_state: bool) -> None:
    params, _ = NET.init(fn.key(0), (2,))
    step = checked(0.05 if what == "input" else 1e30, with_state)
    native, state = fn.jit(step), (step.init(params),) if with_state else ()
    x, target = (a.copy() for a in steps_of(4))
    if what == "input":
        x[2, 1, 1] = np.inf
    before = bits((params, state))
    messages: list[str] = []
    steps: list[Any] = [step, native]
    for function in steps:
        with np.errstate(all="ignore"), pytest.raises(fn.NonFiniteError) as raised:
            fn.scan(function, params, *state, x, target)
        messages.append(str(raised.value))
    assert messages[0] == messages[1]
    assert bits((params, state)) == before


def test_what_stays_with_numpy_is_named() -> None:
    params, _ = NET.init(fn.key(0), (2,))
    x, target = batch(5)
    for optimizer, named in (
        (OPTIMIZERS["masked"], "the optimizer has a part that is not written as source: masked"),
        (fn.accumulate(fn.sgd(0.1), 2), "accumulate"),
        (fn.Optimizer(lambda p: (), lambda u, s, p=None: (u, s)), "<lambda>"),
    ):
        native: Any = fn.jit(fn.train_step(NET, fn.mse(), optimizer))
        native(params, native.init(params), x, target)
        (line,) = [line for line in str(native).splitlines() if line.startswith("/* NumPy, after the last function")]
        assert named in line
    native = fn.jit(fn.train_step(NET, fn.mse(), fn.adam(0.1)))
    native(params, native.init(params), x, target)
    assert "NumPy, after" not in str(native)


def test_a_state_of_two_counts_is_left_to_the_optimizer() -> None:
    parts = fn.clip_by_norm(0.05), fn.adam(0.01), fn.scale_by_schedule(fn.linear_schedule(1.0, 0.1, 9))
    step = fn.train_step(NET, fn.mse(), fn.chain(*parts))
    params, _ = NET.init(fn.key(0), (2,))
    x, target = (a.reshape(4, 5, 2) for a in batch(20))
    clipped, adam, scaled = step.init(params)
    state: Any = clipped, adam, scaled._replace(steps=scaled.steps + 3)
    native = fn.jit(step)
    for scan in (native, fn.jit(step)):
        found: Any = fn.scan(scan, params, state, x, target)
        assert_close(found, fn.scan(step, params, state, x, target), np.float32)
    one: Any = params, state
    for i in range(4):
        *one, _ = native(*one, x[i], target[i])
    assert bits(one) == bits(found[:2])
    members: list[Any] = [tree.map(lambda a: np.stack([a, a]), tree_of) for tree_of in (params, state)]
    axes = 0, 0, None, None
    found, right = (fn.vmap(f, in_axes=axes)(*members, x[0], target[0]) for f in (native, step))
    assert_close(found, right, np.float32)


OTHER_NUMBERS: dict[str, Any] = {  # as files and users give them
    "arrays": np.asarray,
    "scalars": lambda x: np.float32(x) if isinstance(x, float) else np.int32(x),
    "ints": lambda x: 2 if isinstance(x, float) else x,
    "floats": lambda x: x + 0.5,
}


@pytest.mark.parametrize("name", OTHER_NUMBERS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "scaled"])
def test_a_state_with_numbers_of_other_types(optimizer: str, name: str) -> None:
    step = fn.train_step(NET, fn.mse(), OPTIMIZERS[optimizer])
    native = fn.jit(step)
    params, _ = NET.init(fn.key(0), (2,))
    state = tree.map(lambda x: x if np.ndim(x) else OTHER_NUMBERS[name](x), step.init(params))
    x, target = batch(5)
    (_, right, _), (_, found, _) = (f(params, state, x, target) for f in (step, native))
    assert tree.structure(found) == tree.structure(right)
    numbers = [[float(x) for x in tree.leaves(given) if not np.ndim(x)] for given in (found, right)]
    assert numbers[0] == numbers[1]


@pytest.mark.usefixtures("in_one_call")
@pytest.mark.parametrize("name", OTHER_NUMBERS)
def test_other_types_go_to_c(name: str) -> None:
    native = fn.jit(fn.train_step(NET, fn.mse(), fn.adam(0.01)))
    params, _ = NET.init(fn.key(0), (2,))
    state = tree.map(lambda x: x if np.ndim(x) else OTHER_NUMBERS[name](x), native.init(params))
    assert fn.scan(native, params, state, *steps_of(3))[1][0].steps == 3


@pytest.mark.parametrize("wrong", [None, {}, (), "0.1", {"a": 1.0, "b": 2}])
def test_a_state_without_a_number_raises_the_optimizers_error(wrong: Any) -> None:
    step = fn.train_step(NET, fn.mse(), OPTIMIZERS["adam"])
    params, _ = NET.init(fn.key(0), (2,))
    moments, rate = step.init(params)
    for state in ((moments._replace(steps=wrong), rate), (moments, rate._replace(learning_rate=wrong))):
        messages: list[str] = []
        steps: list[Any] = [step, fn.jit(step)]
        for function in steps:
            with pytest.raises(fn.ParamsError) as raised:
                function(params, state, *batch(5))
            messages.append(str(raised.value))
        assert messages[0] == messages[1]
