"""One function for many members: each member's bits are those of the member alone."""

from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet.training.vmap import member

COUNT, ROWS = 5, 6
NET: fn.Layer[Any, Any] = fn.network(
    {"in": fn.linear(4), "wavy": fn.tanh(), "drop": fn.dropout(0.3), "out": fn.linear(2)},
    {"in": ["wavy"], "wavy": ["drop"], "drop": ["out"]},
)
OPTIMIZERS = {
    "adam": fn.adam(0.01),
    "momentum": fn.sgd(0.1, momentum=0.9),
    "scheduled": fn.sgd(fn.linear_schedule(0.1, 0.01, 10)),
    "with trees": fn.chain(fn.clip_by_global_norm(0.1), fn.adamw(0.01)),
    "accumulated": fn.accumulate(fn.adam(0.01), 2),
}
untyped: Any = fn


def stack(members: list[Any]) -> Any:
    return fn.tree.map(lambda *leaves: np.array(leaves), *members)


def take(stacked: Any, i: int) -> Any:
    return fn.tree.map(lambda leaf: leaf[i].item() if leaf.ndim == 1 else leaf[i], stacked)


def same(a: Any, b: Any) -> None:
    """The very bits, shapes and dtypes."""
    assert fn.tree.structure(a) == fn.tree.structure(b)
    for x, y in zip(fn.tree.leaves(a), fn.tree.leaves(b), strict=True):
        assert (np.asarray(x).dtype, np.shape(x)) == (np.asarray(y).dtype, np.shape(y))
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def drawn(dtype: Any = np.float32) -> tuple[list[Any], Any, Any]:
    """Params of every member, and their inputs and targets."""
    members = [NET.init(key, (3,), dtype=dtype)[0] for key in fn.split(fn.key(0), COUNT)]
    rng = np.random.default_rng(0)
    return members, rng.normal(size=(COUNT, ROWS, 3)).astype(dtype), rng.normal(size=(COUNT, ROWS, 2)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("key", [None, fn.key(3)], ids=["no key", "key"])
@pytest.mark.parametrize("rows", [ROWS, 1200], ids=["whole", "in blocks"])
def test_sgd_steps(dtype: Any, key: Any, rows: int) -> None:
    members, x, t = drawn(dtype)
    x, t = np.tile(x, (1, rows // ROWS, 1)), np.tile(t, (1, rows // ROWS, 1))
    step = fn.sgd_step(NET, fn.mse(), learning_rate=0.1)
    given = stack(members)
    before = given["in"].weight.copy()
    params, losses = fn.vmap(step)(given, x, t, key=key)
    params, losses = fn.vmap(step)(params, x, t, key=key)
    for i, own in enumerate(members):
        folded = None if key is None else fn.fold_in(key, i)
        own, _ = step(own, x[i], t[i], key=folded)
        own, loss = step(own, x[i], t[i], key=folded)
        same(member(params, i), own)
        same(losses[i], loss)
    np.testing.assert_array_equal(given["in"].weight, before)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("metrics", [None, {"r2": fn.r2}], ids=["loss", "metrics"])
def test_steps_with_optimizers(name: str, metrics: Any) -> None:
    members, x, t = drawn()
    step: Any = fn.train_step(NET, fn.mse(), OPTIMIZERS[name], metrics=metrics)
    every = fn.vmap(step)
    params: Any = stack(members)
    state = every.init(params)
    for _ in range(3):
        params, state, losses = every(params, state, x, t)
    for i, own in enumerate(members):
        own_state = step.init(own)
        for _ in range(3):
            own, own_state, loss = step(own, own_state, x[i], t[i])
        same(member(params, i), own)
        same(take(state, i), own_state)
        same(member(losses, i), fn.tree.map(np.asarray, loss))


def test_an_ensemble_on_one_batch_and_one_net_on_many() -> None:
    members, x, t = drawn()
    step = fn.sgd_step(NET, fn.mse(), learning_rate=0.1)
    params, losses = fn.vmap(step, in_axes=(0, None, None))(stack(members), x[0], t[0])
    others, other_losses = fn.vmap(step, in_axes=(None, 0, None))(members[1], x, t[0])
    for i, own in enumerate(members):
        new, loss = step(own, x[0], t[0])
        same((take(params, i), losses[i]), (new, loss))
        new, loss = step(members[1], x[i], t[0])
        same((take(others, i), other_losses[i]), (new, loss))


def test_a_sweep_over_learning_rates() -> None:
    members, x, t = drawn()
    step = fn.train_step(NET, fn.mse(), fn.adam(0.1))
    rates = [0.1, 0.01, 0.001]
    states = [fn.set_learning_rate(step.init(members[0]), rate) for rate in rates]
    params, state, losses = fn.vmap(step, in_axes=(None, 0, None, None))(members[0], stack(states), x[0], t[0])
    for i, own_state in enumerate(states):
        own, own_state, _ = step(members[0], own_state, x[0], t[0])
        same(member(params, i), own)
        same(take(state, i), own_state)
    assert losses.shape == (3,)
    assert fn.learning_rate(take(state, 2)) == 0.001


@pytest.mark.parametrize("key", [None, fn.key(3)], ids=["no key", "key"])
def test_gradients_and_outputs(key: Any) -> None:
    members, x, t = drawn()
    gradient = fn.value_and_grad(NET, fn.mse())
    losses, gradients = fn.vmap(gradient)(stack(members), x, t, key=key)
    outputs = fn.vmap(NET.apply)(stack(members), x, key=key)
    plain = fn.serial(fn.linear(2), fn.tanh())
    of_plain = fn.vmap(plain.apply, 0)(stack([(own["in"], ()) for own in members]), x)
    for i, own in enumerate(members):
        folded = None if key is None else fn.fold_in(key, i)
        loss, own_gradient = gradient(own, x[i], t[i], key=folded)
        same((losses[i], take(gradients, i)), (loss, own_gradient))
        same(outputs[i], NET.apply(own, x[i], key=folded))
        same(of_plain[i], plain.apply((own["in"], ()), x[i]))


def test_several_outputs_and_a_layer_that_is_not_compiled() -> None:
    two = fn.network({1: fn.linear(3), 2: fn.tanh(), 3: fn.exp()}, {1: [2, 3]}, output=[2, 3])
    members = [two.init(key, (3,))[0] for key in fn.split(fn.key(0), COUNT)]
    x = drawn()[1]
    a, b = fn.vmap(two.apply)(stack(members), x)
    c = fn.vmap(fn.linear(3).apply)(stack([own[1] for own in members]), x)
    for i, own in enumerate(members):
        same((a[i], b[i]), two.apply(own, x[i]))
        same(c[i], fn.linear(3).apply(own[1], x[i]))


def test_labels_and_large_params() -> None:
    net = fn.serial(fn.linear(300), fn.relu(), fn.linear(300), fn.relu(), fn.linear(4))
    step = fn.sgd_step(net, fn.softmax_cross_entropy(), learning_rate=0.1)
    members = [net.init(key, (30,))[0] for key in fn.split(fn.key(0), 3)]
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(3, 7, 30)).astype(np.float32), rng.integers(0, 4, (3, 7))
    params, losses = fn.vmap(step)(stack(members), x, labels)
    for i, own in enumerate(members):
        new, loss = step(own, x[i], labels[i])
        same((member(params, i), losses[i]), (new, loss))
    labels[2, 3] = 9
    with pytest.raises(fn.LabelError, match="vmap: member 2; .*label 9 is none of the 4 classes"):
        fn.vmap(step)(stack(members), x, labels)
    labels[2, 3] = 0
    same(fn.vmap(step)(stack(members), x, labels)[1][:2], losses[:2])


@pytest.mark.parametrize("kind", ["sgd_step", "value_and_grad"])
def test_numbers_that_are_not_finite_name_the_member(kind: str) -> None:
    members, x, t = drawn()
    x[3, 0, 0] = np.nan
    function: Any = (
        fn.sgd_step(NET, fn.mse(), learning_rate=0.1, check_finite=True)
        if kind == "sgd_step"
        else fn.value_and_grad(NET, fn.mse(), check_finite=True)
    )
    with pytest.raises(fn.NonFiniteError, match="vmap: member 3; .*in"):
        fn.vmap(function)(stack(members), x, t)


def test_it_pickles_and_shows_the_call() -> None:
    step = fn.sgd_step(NET, fn.mse(), learning_rate=0.1)
    every = fn.vmap(step, in_axes=(0, None, None))
    assert repr(every) == f"vmap({step!r}, in_axes=(0, None, None))"
    members, x, t = drawn()
    again = pickle.loads(pickle.dumps(every))
    same(again(stack(members), x[0], t[0]), every(stack(members), x[0], t[0]))
    assert np.asarray(untyped.vmap(step, np.int64(0))(stack(members), x, t)[1]).shape == (COUNT,)


STEP: Any = fn.sgd_step(NET, fn.mse(), learning_rate=0.1)
TRAIN: Any = fn.train_step(NET, fn.mse(), fn.adam(0.01))
MEMBERS, X, T = drawn()
PARAMS = stack(MEMBERS)
REFUSED: list[tuple[Any, type[Exception], str]] = [
    (
        lambda: untyped.vmap(np.tanh),
        fn.OptionError,
        "vmap: the function is tanh: give a step, a gradient, or net.apply",
    ),
    (lambda: untyped.vmap(NET), fn.OptionError, "give net.apply of a layer"),
    (
        lambda: untyped.vmap(NET.init),
        fn.OptionError,
        "NetworkInit: .*init gives the params of one member",
    ),
    (lambda: fn.vmap(STEP, in_axes=1), fn.OptionError, "in_axes must be 0 or None .* not 1; .*moveaxis"),
    (lambda: untyped.vmap(STEP, in_axes="x"), fn.OptionError, "in_axes must be 0 or None .* not 'x'"),
    (lambda: untyped.vmap(STEP, in_axes=False), fn.OptionError, "not False"),
    (lambda: fn.vmap(STEP, in_axes=(None, None)), fn.OptionError, r"0 for at least one, not \(None, None\)"),
    (lambda: fn.vmap(STEP, in_axes=(0, 0))(PARAMS, X, T), fn.OptionError, "in_axes has 2 entries, but .* 3 arguments"),
    (lambda: fn.vmap(STEP)(PARAMS), fn.OptionError, "takes params and then arrays, but was given 1"),
    (lambda: fn.vmap(TRAIN)(PARAMS, ()), fn.OptionError, "takes params and a state and then arrays"),
    (lambda: fn.vmap(STEP)(PARAMS, X, T, keys=1), fn.OptionError, "no option 'keys'"),
    (lambda: fn.vmap(STEP)(PARAMS, X, T, key=1), fn.KeyTypeError, "1"),
    (lambda: fn.vmap(STEP).init(PARAMS), fn.OptionError, "only a step of fn.train_step has a state"),
    (
        lambda: fn.vmap(STEP)(PARAMS, X[:3], T),
        fn.ShapeError,
        r"params\['in'\].weight of shape \(5, 3, 4\) and array 0 of shape \(3, 6, 3\): axis 0 is the members",
    ),
    (lambda: fn.vmap(STEP, (None, 0, 0))(MEMBERS[0], X[:0], T[:0]), fn.ShapeError, "at least one"),
    (lambda: fn.vmap(STEP, (0, None, None))((), X[0], T[0]), fn.ShapeError, "no arrays: axis 0 is the members"),
    (lambda: fn.vmap(STEP)(MEMBERS[0], X, T), fn.ShapeError, "axis 0 is the members"),
    (lambda: fn.vmap(STEP, (0, 0, None))(PARAMS, X, T), fn.ShapeError, "vmap: member 0; "),
    (lambda: fn.vmap(STEP)({1: 3.0}, X, T), fn.ParamsError, r"params\[1\] is 3.0 and not an array"),
    (lambda: fn.vmap(STEP)({1: np.array(3.0)}, X, T), fn.ShapeError, r"params\[1\] has no axes"),
    (lambda: fn.vmap(STEP)(PARAMS, [["a"]], T), fn.FuncnetError, "vmap: array 0"),
    (lambda: fn.vmap(TRAIN)(PARAMS, fn.vmap(STEP), X, T), fn.ParamsError, "state is .*not an array"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=lambda x: x if isinstance(x, str) else "")
def test_what_is_refused(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_messages_of_one_line() -> None:
    with pytest.raises(fn.OptionError) as caught:
        fn.vmap(STEP, in_axes=(0, 2))
    assert re.fullmatch(r"[^\n]*\(0, 2\)[^\n]*", str(caught.value))
