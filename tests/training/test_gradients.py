"""Gradients and steps: what a loss may be, what params must be, and what is said where they are not."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree

X = np.linspace(-1, 1, 10, dtype=np.float32).reshape(5, 2)
NET = fn.network({1: fn.linear(3), 2: fn.tanh(), "out": fn.linear(2)}, {1: [2], 2: ["out"]})
PARAMS, _ = NET.init(fn.key(0), (2,))
SHARED = fn.network({1: fn.linear(2), 2: fn.shared(1)}, {1: [2]})
TWO = fn.network({1: fn.linear(3), 2: fn.tanh(), 3: fn.linear(2)}, {1: [2, 3]}, output=[2, 3])

TWO_LOSSES = fn.network(
    {**dict.fromkeys(["y", "z", "t", "u"], fn.identity()), "l": fn.mse(), "m": fn.mse(), "+": fn.average()},
    {"u": ["m"], "y": ["l"], "t": ["l"], "z": ["m"], "l": ["+"], "m": ["+"]},
    inputs=["y", "z", "t", "u"],
)


def step_of(net: Any, loss: Any = None, rate: Any = 0.1) -> Any:
    return fn.sgd_step(net, loss, learning_rate=rate)


MAKERS: list[Callable[..., Any]] = [fn.value_and_grad, step_of]
each_maker = pytest.mark.parametrize("make", MAKERS)


def bits(*trees: Any) -> list[Any]:
    return [(np.asarray(a).dtype, np.shape(a), np.asarray(a).tobytes()) for a in tree.leaves(trees)]


def close(a: Any, b: Any, tolerance: float = 1e-6) -> None:
    for x, y in zip(tree.leaves(a), tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def test_a_step_is_params_less_learning_rate_times_gradient() -> None:
    loss, gradient = fn.value_and_grad(NET, fn.mse())(PARAMS, X, X)
    new, same_loss = fn.sgd_step(NET, fn.mse(), learning_rate=0.3)(PARAMS, X, X)
    assert loss == same_loss
    close(new, tree.map(lambda p, g: p - 0.3 * g, PARAMS, gradient))


def test_the_gradient_is_that_of_the_vjp() -> None:
    output, pullback = fn.vjp(NET, PARAMS, X)
    _, of_loss = fn.vjp(fn.mse(), (), output, X)
    close(fn.value_and_grad(NET, fn.mse())(PARAMS, X, X)[1], pullback(of_loss(np.float32(1))[1][0])[0])


def test_a_loss_in_the_dict_is_a_loss_beside_it() -> None:
    operators = {1: fn.linear(3), 2: fn.tanh(), "out": fn.linear(2), "target": fn.identity(), "loss": fn.mse()}
    connectivity = {1: [2], 2: ["out"], "out": ["loss"], "target": ["loss"]}
    inside = fn.network(operators, connectivity, inputs=[1, "target"], output="loss")
    assert bits(fn.value_and_grad(inside)(PARAMS, X, X + 1)) == bits(fn.value_and_grad(NET, fn.mse())(PARAMS, X, X + 1))
    assert bits(inside.apply(PARAMS, X, X + 1)) == bits(fn.value_and_grad(inside)(PARAMS, X, X + 1)[0])


def test_a_loss_takes_all_outputs_and_then_all_targets() -> None:
    params, _ = TWO.init(fn.key(0), (2,))
    t, u = np.ones((5, 3), np.float32), np.full((5, 2), 0.5, np.float32)
    loss, gradient = fn.value_and_grad(TWO, TWO_LOSSES)(params, X, t, u)
    outputs, pullback = TWO.apply.vjp(params, X)
    (first, of_first), (second, of_second) = (fn.vjp(fn.mse(), (), y, x) for y, x in zip(outputs, (t, u), strict=True))
    close(loss, (first + second) / 2)
    half = np.float32(0.5)
    close(gradient, pullback((of_first(half)[1][0], of_second(half)[1][0]))[0])


def test_a_loss_of_one_output_may_be_a_network() -> None:
    loss = fn.network({"y": fn.identity(), "t": fn.identity(), "l": fn.mse()}, {"y": ["l"], "t": ["l"]})
    assert bits(fn.value_and_grad(NET, loss)(PARAMS, X, X)) == bits(fn.value_and_grad(NET, fn.mse())(PARAMS, X, X))


def test_a_loss_may_be_a_series() -> None:
    mse: Any = fn.mse()
    loss = fn.serial(mse, fn.exp())
    plain, gradient = fn.value_and_grad(NET, fn.mse())(PARAMS, X, X)
    value, scaled = fn.value_and_grad(NET, loss)(PARAMS, X, X)
    close(value, np.exp(plain))
    close(scaled, tree.map(lambda g: g * np.exp(plain), gradient))


def test_two_inputs_come_before_the_target() -> None:
    net = fn.network({1: fn.linear(2), 2: fn.linear(2), 3: fn.subtract()}, {1: [3], 2: [3]}, inputs=[2, 1])
    params, _ = net.init(fn.key(0), (3,), (2,))
    z = np.ones((5, 3), np.float32)
    loss, _ = fn.value_and_grad(net, fn.mse())(params, z, X, X * 2)
    expected = X @ params[1].weight - z @ params[2].weight - X * 2
    close(loss, np.mean(expected**2))


@pytest.mark.parametrize("rate", [0.1, np.float64(0.1), np.float32(0.1), np.float16(0.1), 1, np.int64(1)])
def test_no_kind_of_learning_rate_changes_the_dtype(rate: Any) -> None:
    new, loss = step_of(NET, fn.mse(), rate)(PARAMS, X, X)
    assert {leaf.dtype for leaf in tree.leaves(new)} == {loss.dtype} == {np.dtype(np.float32)}
    close(new, step_of(NET, fn.mse(), float(rate))(PARAMS, X, X)[0])


def test_float64_params_stay_float64_with_float32_batches() -> None:
    params = tree.map(lambda p: p.astype(np.float64), PARAMS)
    new, loss = step_of(NET, fn.mse())(params, X, X)
    assert {leaf.dtype for leaf in tree.leaves(new)} == {loss.dtype} == {np.dtype(np.float64)}


def test_one_step_serves_both_dtypes_by_turns() -> None:
    step = step_of(NET, fn.mse())
    double = tree.map(lambda p: p.astype(np.float64), PARAMS)
    for _ in range(3):
        for params in (PARAMS, double):
            new, _ = step(params, X, X)
            assert {leaf.dtype for leaf in tree.leaves(new)} == {params[1].bias.dtype}


@pytest.mark.parametrize(
    "rate", [0, -1, 0.0, float("nan"), float("inf"), "0.1", None, True, 1j, [0.1], np.array([0.1, 1])]
)
def test_a_learning_rate_is_a_finite_number_above_zero(rate: Any) -> None:
    with pytest.raises(fn.OptionError, match="learning_rate must be a finite number above 0, not "):
        fn.sgd_step(NET, fn.mse(), learning_rate=rate)


def test_the_learning_rate_is_named() -> None:
    with pytest.raises(TypeError):
        fn.sgd_step(NET, fn.mse(), 0.1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        fn.sgd_step(NET, fn.mse())  # type: ignore[call-arg]


@each_maker
def test_a_loss_that_is_not_one_number_is_refused(make: Any) -> None:
    params, _ = TWO.init(fn.key(0), (2,))
    calls: list[tuple[Any, str]] = [
        (lambda: make(NET)(PARAMS, X), r"the loss has .*\(5, 2\).*one number"),
        (lambda: make(NET, fn.subtract())(PARAMS, X, X), r"the loss has .*\(5, 2\).*one number"),
        (lambda: make(TWO)(params, X), r"the loss has .*one number"),
    ]
    for call, words in calls:
        with pytest.raises(fn.ShapeError, match=words):
            call()


@each_maker
def test_a_row_of_losses_is_not_one_number(make: Any) -> None:
    net = fn.network({1: fn.linear(1)}, {})
    params, _ = net.init(fn.key(0), (2,))
    for rows in (5, 1):
        with pytest.raises(fn.ShapeError, match=rf"the loss has .*\({rows}, 1\).*one number"):
            make(net)(params, X[:rows])


@each_maker
def test_a_wrong_number_of_arrays_is_refused(make: Any) -> None:
    two = fn.network({1: fn.linear(2), 2: fn.linear(2), 3: fn.add()}, {1: [3], 2: [3]})
    params, _ = two.init(fn.key(0), (2,), (2,))
    calls: list[tuple[Any, str]] = [
        (lambda: make(NET, fn.mse())(PARAMS), "but "),
        (lambda: make(NET, fn.mse())(PARAMS, X), r"the loss \(mse\) takes 2 inputs.*but 1 arrive"),
        (lambda: make(NET, fn.mse())(PARAMS, X, X, X), r"the loss \(mse\) takes 2 inputs.*but 3 arrive"),
        (lambda: make(two, fn.mse())(params, X), "the network takes 2 inputs, but only 1 array"),
        (lambda: make(NET)(PARAMS, X, X), "takes 1 input"),
    ]
    for call, words in calls:
        for _ in range(2):
            with pytest.raises(fn.ShapeError, match=words):
                call()


@each_maker
def test_a_target_of_another_shape_is_refused_and_never_broadcast(make: Any) -> None:
    for target in (X[:, :1], X[:, 0], X[0]):
        with pytest.raises(fn.ShapeError):
            make(NET, fn.mse())(PARAMS, X, target)
    net = fn.network({1: fn.linear(1)}, {})
    params, _ = net.init(fn.key(0), (2,))
    with pytest.raises(fn.ShapeError, match=r"prediction \(5, 1\) and target \(5,\) must have the same shape"):
        make(net, fn.mse())(params, X, X[:, 0])


@each_maker
def test_batches_of_different_sizes_are_refused(make: Any) -> None:
    with pytest.raises(fn.ShapeError, match="different batch sizes 5, 4"):
        make(NET, fn.mse())(PARAMS, X, X[:4])


@each_maker
def test_an_empty_batch_has_no_mean(make: Any) -> None:
    with pytest.raises(fn.ShapeError, match="the batch is empty, and has no mean"):
        make(NET, fn.mse())(PARAMS, X[:0], X[:0])


@each_maker
@pytest.mark.parametrize("x", [X.astype(np.int64), X > 0, "text", np.array([None] * 5)])
def test_what_is_no_floating_array_is_refused_with_its_dtype(make: Any, x: Any) -> None:
    step = make(NET, fn.mse())
    step(PARAMS, X, X)
    with pytest.raises(fn.DTypeError, match="input 0 has dtype "):
        step(PARAMS, x, X)


OTHER, _ = fn.network({1: fn.linear(3), 5: fn.linear(2)}, {1: [5]}).init(fn.key(0), (2,))
AFFINE = PARAMS[1]

WRONG_PARAMS: list[tuple[str, Any, type[Exception], str]] = [
    ("of another network", OTHER, fn.ParamsError, "5, which is no operator"),
    ("a key is missing", {1: AFFINE}, fn.ParamsError, r"operator 'out' \(linear\).*Affine\(weight, bias\)"),
    ("a key too many", PARAMS | {7: AFFINE}, fn.ParamsError, "7, which is no operator"),
    ("params for an operator without any", PARAMS | {2: AFFINE}, fn.ParamsError, r"operator 2 \(tanh\) has no params"),
    ("a misspelt key", {1: AFFINE, "uot": PARAMS["out"]}, fn.ParamsError, "'uot', which is no operator"),
    ("the pair that init returns", (PARAMS, (2,)), fn.ParamsError, r"params, shape = .*init\("),
    ("nothing", None, fn.ParamsError, "not a NoneType"),
    ("a list", [AFFINE], fn.ParamsError, "params"),
    ("an array", np.ones((2, 3), np.float32), fn.ParamsError, "params"),
    ("the layer's pair", {**PARAMS, 1: (AFFINE, (3,))}, fn.ParamsError, "params"),
    ("a plain tuple", {**PARAMS, 1: (AFFINE.weight, AFFINE.bias)}, fn.ParamsError, r"Affine\(weight, bias\)"),
    (
        "no bias",
        {**PARAMS, 1: fn.Weight(AFFINE.weight)},
        fn.ParamsError,
        r"Affine\(weight, bias\), not Weight$",
    ),
    ("no arrays", {**PARAMS, 1: fn.Affine(AFFINE.weight, 0.0)}, fn.ParamsError, r"params\[1\]\.bias is 0\.0"),  # type: ignore[arg-type]
    ("lists", {**PARAMS, 1: fn.Affine([[1.0]], [1.0])}, fn.ParamsError, r"params\[1\]\.weight"),  # type: ignore[arg-type]
    ("None inside", {**PARAMS, 1: fn.Affine(AFFINE.weight, None)}, fn.ParamsError, "params|bias"),  # type: ignore[arg-type]
    (
        "mixed dtypes",
        {**PARAMS, "out": tree.map(lambda p: p.astype(np.float64), PARAMS["out"])},
        fn.ParamsError,
        r"params\['out'\]\.weight is float64, the params before it are float32",
    ),
    (
        "integers",
        {**PARAMS, 1: tree.map(lambda p: p.astype(np.int64), AFFINE)},
        fn.ParamsError,
        r"params\[1\]\.weight has dtype int64",
    ),
    (
        "half precision",
        tree.map(lambda p: p.astype(np.float16), PARAMS),
        fn.ParamsError,
        r"params\[1\]\.weight has dtype float16",
    ),
    (
        "a weight of another shape",
        {**PARAMS, "out": fn.Affine(np.ones((4, 2), np.float32), np.ones(2, np.float32))},
        fn.ShapeError,
        r"operator 'out' \(linear\): fed by operator 2 with shape \(5, 3\); .*\(4, 2\)",
    ),
    (
        "a bias of another length",
        {**PARAMS, 1: fn.Affine(AFFINE.weight, np.ones(2, np.float32))},
        fn.FuncnetError,
        r"operator 1 \(linear\).*\(2,\)",
    ),
    (
        "a bias that would be broadcast",
        {**PARAMS, 1: fn.Affine(AFFINE.weight, np.ones(1, np.float32))},
        fn.FuncnetError,
        r"operator 1 \(linear\).*\(1,\)",
    ),
    (
        "a bias for every row",
        {**PARAMS, 1: fn.Affine(AFFINE.weight, np.ones((5, 3), np.float32))},  # pyright: ignore[reportArgumentType]
        fn.FuncnetError,
        r"operator 1 \(linear\).*\(5, 3\)",
    ),
    (
        "a weight of three axes",
        {**PARAMS, 1: fn.Affine(np.ones((1, 2, 3), np.float32), AFFINE.bias)},  # pyright: ignore[reportArgumentType]
        fn.FuncnetError,
        r"operator 1 \(linear\).*\(1, 2, 3\)",
    ),
    (
        "a weight of one axis",
        {**PARAMS, 1: fn.Affine(np.ones(2, np.float32), np.zeros((), np.float32))},  # type: ignore[arg-type]
        fn.FuncnetError,
        r"operator 1 \(linear\).*\(2,\)",
    ),
]
each_wrong = pytest.mark.parametrize(
    ("params", "error", "words"), [row[1:] for row in WRONG_PARAMS], ids=[row[0] for row in WRONG_PARAMS]
)


@each_maker
@each_wrong
def test_wrong_params_are_refused_by_a_program(make: Any, params: Any, error: Any, words: str) -> None:
    step = make(NET, fn.mse())
    for _ in range(2):
        with pytest.raises(error, match=words):
            step(params, X, X)
        step(PARAMS, X, X)


@each_wrong
def test_wrong_params_are_refused_by_a_network(params: Any, error: Any, words: str) -> None:
    for call in (NET.apply, NET.apply.vjp, lambda *arguments: fn.trace(NET, *arguments)):
        with pytest.raises(error, match=words):
            call(params, X)


@each_wrong
def test_params_made_wrong_between_calls_are_refused(params: Any, error: Any, words: str) -> None:
    if type(params) is not dict:
        return
    step = step_of(NET, fn.mse())
    mine, _ = step(PARAMS, X, X)
    step(mine, X, X)
    mine.clear()
    mine.update(params)
    for _ in range(2):
        with pytest.raises(error, match=words):
            step(mine, X, X)


def test_one_element_made_wrong_between_calls_is_refused() -> None:
    net = fn.network({1: fn.linear(1)}, {})
    params, _ = net.init(fn.key(0), (1,))
    step, x = step_of(net, fn.mse()), X[:, :1]
    params, _ = step(params, x, x)
    step(params, x, x)
    weight, bias = params[1]
    for wrong in (
        fn.Affine(weight, bias[None]),
        fn.Affine(weight[0], bias),
        fn.Affine(weight, bias.astype(np.float64)),
    ):
        params[1] = wrong
        with pytest.raises(fn.FuncnetError):
            step(params, x, x)


def test_entries_without_params_may_stand_in_params() -> None:
    """A layer's own params are () where there are none, and a user may well write them all down."""
    full: Any = {1: PARAMS[1], 2: (), "out": PARAMS["out"]}
    step = step_of(NET, fn.mse())
    new, loss = step(full, X, X)
    assert list(new) == [1, 2, "out"]
    assert bits(new, loss) == bits(*step(PARAMS, X, X))
    np.testing.assert_array_equal(NET.apply(full, X), NET.apply(PARAMS, X))


def test_shared_params_stand_once_and_their_gradients_add_up() -> None:
    params, _ = SHARED.init(fn.key(0), (2,))
    assert list(params) == [1]
    twice = fn.network({1: fn.linear(2), 2: fn.linear(2)}, {1: [2]})
    _, apart = fn.value_and_grad(twice, fn.mse())({1: params[1], 2: params[1]}, X, X)
    _, together = fn.value_and_grad(SHARED, fn.mse())(params, X, X)
    close(together[1], tree.map(np.add, apart[1], apart[2]))
    with pytest.raises(fn.ParamsError, match="2, which is no operator with params of its own"):
        SHARED.apply(params | {2: params[1]}, X)


def test_a_network_without_params_can_be_stepped() -> None:
    net = fn.network({1: fn.tanh()}, {})
    for _ in range(2):
        new, loss = step_of(net, fn.mse())({}, X, X)
        assert new == {}
        close(loss, np.mean((np.tanh(X) - X) ** 2))


def test_a_single_layer_can_be_stepped() -> None:
    layer = fn.linear(2)
    params, _ = layer.init(fn.key(0), (2,))
    net = fn.network({1: layer}, {})
    new, loss = step_of(layer, fn.mse())(params, X, X)
    assert bits(new, loss) == bits(*step_of(net, fn.mse())({1: params}, X, X))
    assert isinstance(new, fn.Affine)


def test_a_series_can_be_stepped() -> None:
    chain = fn.serial(fn.linear(3), fn.tanh(), fn.linear(2))
    params = (PARAMS[1], (), PARAMS["out"])
    new, loss = step_of(chain, fn.mse())(params, X, X)
    assert bits(new, loss) == bits(*step_of(NET, fn.mse())(PARAMS, X, X))
    assert [type(p) for p in new] == [fn.Affine, tuple, fn.Affine]


def test_a_loss_is_a_scalar_of_the_dtype_of_the_params() -> None:
    for dtype in (np.float32, np.float64):
        params = tree.map(lambda p, to=dtype: p.astype(to), PARAMS)
        for loss in (fn.value_and_grad(NET, fn.mse())(params, X, X)[0], step_of(NET, fn.mse())(params, X, X)[1]):
            assert type(loss) is dtype
            assert loss.shape == ()


def test_the_loss_falls_over_a_hundred_steps() -> None:
    step, params = step_of(NET, fn.mse(), 0.5), PARAMS
    losses = []
    for _ in range(100):
        params, loss = step(params, X, np.sin(3 * X))
        losses.append(loss)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.2 * losses[0]


def test_a_step_prints_its_program_and_pickles_before_and_after_a_call() -> None:
    step = step_of(NET, fn.mse())
    assert "no program yet" in str(step)
    expected = bits(*step(PARAMS, X, X))
    assert "calls" in str(step)
    again = pickle.loads(pickle.dumps(step))
    assert "no program yet" in str(again)
    assert bits(*again(PARAMS, X, X)) == expected


def test_what_is_no_layer_is_refused_when_the_step_is_made() -> None:
    mistakes: list[tuple[Any, Any]] = [
        (NET.apply, fn.mse()),
        (fn.linear, fn.mse()),
        ({1: fn.linear(2)}, fn.mse()),
        (NET, fn.mse),
        (NET, "mse"),
    ]
    for net, loss in mistakes:
        for make in MAKERS:
            with pytest.raises(fn.FuncnetError, match="layer"):
                make(net, loss)


def test_what_nobody_needs_is_not_computed() -> None:
    """Neither the cotangent of the first linear's input, nor what stands before it, nor that of the target."""
    net = fn.network({0: fn.tanh(), 1: fn.linear(3), 2: fn.tanh(), 3: fn.linear(2)}, {0: [1], 1: [2], 2: [3]})
    params, _ = net.init(fn.key(0), (2,))
    gradient = fn.value_and_grad(net, fn.mse())
    gradient(params, X, X)
    program, _, left_out = str(gradient).partition("not run")
    assert (program.count("matmul("), program.count("negative(")) == (5, 0)
    assert "0 tanh backward" in left_out
    assert "0 tanh backward" not in program
