"""Layers of a user's own: they compute what built-in ones do, and what they may not do is named."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.testing import LawError, check_vjp

# --- layers as a user writes them


class Dense(NamedTuple):
    W: Any
    b: Any


def dense_init(key: Any, shape: Any, dtype: Any = np.float32) -> Any:
    W = fn.glorot_uniform()(key, (shape[-1], 4), dtype)
    return Dense(W, np.full(4, 0.5, dtype)), (4,)


def dense(params: Any, x: Any) -> Any:
    W, b = params
    return x @ W + b, lambda g: (Dense(x.T @ g, g.sum(axis=0)), (g @ W.T,))


def same_init(key: Any, shape: Any, *others: Any, dtype: Any = np.float32) -> Any:
    return (), shape


def hyperbolic(params: Any, x: Any) -> Any:
    y = np.tanh(x)
    return y, lambda g: ((), (g * (1 - y**2),))


def second_less_first(params: Any, a: Any, b: Any) -> Any:
    return b - a, lambda g: ((), (-g, g))


def times(params: Any, a: Any, b: Any) -> Any:
    return a * b, lambda g: ((), (g * b, g * a))


def scalar_init(key: Any, *shapes: Any, dtype: Any = np.float32) -> Any:
    return (), ()


def squares(params: Any, y: Any, t: Any) -> Any:
    d = y - t
    return (d**2).mean(), lambda g: ((), (g * 2 * d / d.size, -g * 2 * d / d.size))


def joined_init(key: Any, *shapes: Any, dtype: Any = np.float32) -> Any:
    return (), (sum(shape[0] for shape in shapes),)


def joined(params: Any, *xs: Any) -> Any:
    cuts = np.cumsum([x.shape[1] for x in xs])[:-1]
    return np.concatenate(xs, axis=1), lambda g: ((), tuple(np.split(g, cuts, axis=1)))


def scale_init(key: Any, shape: Any, dtype: Any = np.float32) -> Any:
    return {"scale": np.full(shape, 2.0, dtype), "shift": [np.ones(shape, dtype), None]}, shape


def scale(params: Any, x: Any) -> Any:
    s = params["scale"]
    return x * s + params["shift"][0], lambda g: (
        {"scale": (g * x).sum(axis=0), "shift": [g.sum(axis=0), None]},
        (g * s,),
    )


def own(function: Any, init: Any = same_init, **options: Any) -> fn.Layer[Any, Any]:
    return fn.custom_layer(init, function, **options)


class Pair(NamedTuple):
    """A layer of one's own, what is built in, and the shapes of the inputs."""

    own: Callable[[], fn.Layer[Any, Any]]
    built_in: Callable[[], fn.Layer[Any, Any]]
    shapes: tuple[tuple[int, ...], ...]


PAIRS = {
    "linear": Pair(lambda: own(dense, dense_init), lambda: fn.linear(4), ((3,),)),
    "tanh": Pair(lambda: own(hyperbolic), fn.tanh, ((3,),)),
    "tanh of sequences": Pair(lambda: own(hyperbolic), fn.tanh, ((2, 3),)),
    "multiply": Pair(lambda: own(times, inputs=2), fn.multiply, ((3,), (3,))),
    "concatenate": Pair(lambda: own(joined, joined_init, inputs=None), fn.concatenate, ((3,), (1,), (2,))),
    "mse": Pair(lambda: own(squares, scalar_init, inputs=2), fn.mse, ((3,), (3,))),
}
every_pair = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)


def between(middle: fn.Layer[Any, Any], shapes: Any) -> fn.Layer[Any, Any]:
    """A network in which linear layers stand before and, where it gives no loss, after a layer."""
    inputs: list[fn.OperatorKey] = [f"x{i}" for i in range(len(shapes))]
    operators = {**{x: fn.linear(shape[-1]) for x, shape in zip(inputs, shapes, strict=True)}, "f": middle}
    return fn.network(operators, {x: ["f"] for x in inputs}, inputs=inputs)


def problem(pair: Pair, dtype: Any) -> Any:
    """(network of one's own, network of what is built in, params, inputs, target)."""
    mine, theirs = between(pair.own(), pair.shapes), between(pair.built_in(), pair.shapes)
    params, shape = theirs.init(fn.key(0), *pair.shapes, dtype=dtype)
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(5, *s)).astype(dtype) for s in pair.shapes]
    target = [] if shape == () else [rng.normal(size=(5, *shape)).astype(dtype)]
    return mine, theirs, params, arrays, target


def as_dense(params: Any) -> Any:
    """The params of the built-in network for one's own."""
    return {**params, "f": Dense(*params["f"])} if "f" in params else params


def assert_close(a: Any, b: Any, dtype: Any) -> None:
    for x, y in zip(tree.leaves(a), tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5 if dtype is np.float32 else 1e-13, atol=1e-6, strict=True)


@every_pair
@both_dtypes
def test_values_are_those_of_the_built_in_layer(pair: Pair, dtype: Any) -> None:
    mine, theirs, params, arrays, _ = problem(pair, dtype)
    for _ in range(2):
        assert_close(mine.apply(as_dense(params), *arrays), theirs.apply(params, *arrays), dtype)


@every_pair
@both_dtypes
def test_gradients_are_those_of_the_built_in_layer(pair: Pair, dtype: Any) -> None:
    mine, theirs, params, arrays, target = problem(pair, dtype)
    loss = [fn.mse()] if target else []
    compiled, expected = fn.value_and_grad(mine, *loss), fn.value_and_grad(theirs, *loss)(params, *arrays, *target)
    for _ in range(2):
        assert_close(compiled(as_dense(params), *arrays, *target), expected, dtype)


@every_pair
@both_dtypes
def test_steps_are_those_of_the_built_in_layer(pair: Pair, dtype: Any) -> None:
    mine, theirs, params, arrays, target = problem(pair, dtype)
    loss = [fn.mse()] if target else []
    step, slow = (fn.sgd_step(net, *loss, learning_rate=0.1) for net in (mine, theirs))
    found = as_dense(params)
    for _ in range(3):
        found, _ = step(found, *arrays, *target)
        params, _ = slow(params, *arrays, *target)
    assert_close(found, as_dense(params), dtype)


@every_pair
def test_the_pure_function_gives_the_same(pair: Pair) -> None:
    mine, _, params, arrays, _ = problem(pair, np.float64)
    y, pullback = mine.apply.vjp(as_dense(params), *arrays)
    assert_close(y, mine.apply(as_dense(params), *arrays), np.float64)
    assert [x.shape for x in pullback(np.ones_like(y))[1]] == [x.shape for x in arrays]


@every_pair
def test_they_pass_the_check(pair: Pair) -> None:
    check_vjp(pair.own(), *pair.shapes)


@every_pair
def test_they_pickle(pair: Pair) -> None:
    mine, _, params, arrays, target = problem(pair, np.float64)
    loss = [fn.mse()] if target else []
    compiled = fn.value_and_grad(mine, *loss)
    expected = compiled(as_dense(params), *arrays, *target)
    again = pickle.loads(pickle.dumps(compiled))
    assert_close(again(as_dense(params), *arrays, *target), expected, np.float64)


def test_a_pickle_does_not_grow_with_the_batches() -> None:
    layer = own(hyperbolic)
    net = fn.serial(layer)
    layer.apply((), np.ones((1, 3)))
    before = len(pickle.dumps((layer, net)))
    for rows in range(2, 30):
        layer.apply((), np.ones((rows, 3)))
        net.apply(((),), np.ones((rows, 3)))
    assert len(pickle.dumps((layer, net))) == before


def test_a_wrong_pullback_does_not_pass_the_check() -> None:
    with pytest.raises(LawError, match="input 0"):
        check_vjp(own(lambda params, x: (x**3, lambda g: ((), (2 * g * x**2,)))), (3,))


# --- cotangents that share memory


ALIASES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "minus g and g": (second_less_first, lambda a, b: b - a),
    "g twice": (lambda params, a, b: (a + b, lambda g: ((), (g, g))), lambda a, b: a + b),
    "g and minus g": (lambda params, a, b: (a - b, lambda g: ((), (g, -g))), lambda a, b: a - b),
    "an input as its cotangent": (
        lambda params, a, b: (a * b, lambda g: ((), (g * b, np.multiply(g, a)))),
        lambda a, b: a * b,
    ),
}


@pytest.mark.parametrize("name", ALIASES)
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_cotangents_may_be_the_cotangent_itself(name: str, rows: int) -> None:
    function, plain = ALIASES[name]
    net = between(own(function, inputs=2), ((3,), (3,)))
    params, _ = net.init(fn.key(0), (3,), (3,), dtype=np.float64)
    a, b, target = np.random.default_rng(0).normal(size=(3, rows, 3))
    y, pullback = net.apply.vjp(params, a, b)
    expected, _ = pullback(2 * (y - target) / y.size)
    _, gradient = fn.value_and_grad(net, fn.mse())(params, a, b, target)
    assert_close(gradient, expected, np.float64)
    assert_close(net.apply(params, a, b), plain(a @ params["x0"].weight, b @ params["x1"].weight), np.float64)


def inner(params: Any, a: Any, b: Any) -> Any:
    return np.vdot(a, b), lambda g: ((), (b, a))


def half_squares(params: Any, a: Any, b: Any) -> Any:
    return (np.vdot(a, a) + np.vdot(b, b)) / 2, lambda g: ((), (a, b))


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("loss", [inner, half_squares])
def test_cotangents_may_be_views_of_inputs(loss: Any, rows: int) -> None:
    net = between(own(loss, scalar_init, inputs=2), ((3,), (3,)))
    params, _ = net.init(fn.key(0), (3,), (3,), dtype=np.float64)
    a, b = np.random.default_rng(0).normal(size=(2, rows, 3))
    _, gradient = fn.value_and_grad(net)(params, a, b)
    u, v = a @ params["x0"].weight, b @ params["x1"].weight
    da, db = loss((), u, v)[1](1.0)[1]
    np.testing.assert_allclose(gradient["x0"].weight, a.T @ da)
    np.testing.assert_allclose(gradient["x1"].weight, b.T @ db)


def test_an_output_may_be_a_view_of_an_input() -> None:
    net = fn.serial(fn.linear(3), own(lambda params, x: (x[:, ::-1], lambda g: ((), (g[:, ::-1],)))), fn.linear(3))
    params, _ = net.init(fn.key(0), (3,), dtype=np.float64)
    x = np.random.default_rng(0).normal(size=(5, 3))
    expected = (x @ params[0].weight)[:, ::-1] @ params[2].weight
    np.testing.assert_allclose(net.apply(params, x), expected)
    y, pullback = net.apply.vjp(params, x)
    _, gradient = fn.value_and_grad(net, fn.mse())(params, x, 0 * x)
    assert_close(gradient, pullback(2 * y / y.size)[0], np.float64)


# --- params of any structure, many places


def test_params_may_be_any_tree() -> None:
    layer = own(scale, scale_init)
    check_vjp(layer, (3,))
    net = fn.serial(layer, fn.tanh())
    params, _ = net.init(fn.key(0), (3,))
    x = np.ones((2, 3), np.float32)
    new, _ = fn.sgd_step(net, fn.mse(), learning_rate=0.1)(params, x, x)
    assert tree.structure(new) == tree.structure(params)
    np.testing.assert_allclose(net.apply(params, x), np.tanh(np.full((2, 3), 3.0)), rtol=1e-6)


def test_one_layer_may_stand_in_many_places() -> None:
    layer = own(hyperbolic)
    mine, theirs = (fn.serial(f, fn.linear(3), f, f) for f in (layer, fn.tanh()))
    params, _ = mine.init(fn.key(0), (3,), dtype=np.float64)
    x, t = np.random.default_rng(0).normal(size=(2, 5, 3))
    found, expected = (fn.value_and_grad(net, fn.mse())(params, x, t) for net in (mine, theirs))
    assert_close(found, expected, np.float64)


def test_a_shared_layer_of_ones_own_adds_its_gradients() -> None:
    operators = {0: fn.identity(), 1: own(dense, dense_init), 2: fn.shared(1), 3: fn.subtract(), 4: fn.tanh()}
    net = fn.network(operators, {0: [1, 4], 4: [2], 1: [3], 2: [3]})
    check_vjp(net, (3,))
    params, _ = net.init(fn.key(0), (3,), dtype=np.float64)
    x, t = np.random.default_rng(0).normal(size=(5, 3)), np.ones((5, 4))
    y, pullback = net.apply.vjp(params, x)
    _, gradient = fn.value_and_grad(net, fn.mse())(params, x, t)
    assert_close(gradient, pullback(2 * (y - t) / y.size)[0], np.float64)


@pytest.mark.parametrize("batch", [0, 1])
def test_small_batches(batch: int) -> None:
    net = fn.serial(own(dense, dense_init), own(hyperbolic))
    params, _ = net.init(fn.key(0), (3,))
    assert net.apply(params, np.ones((batch, 3), np.float32)).shape == (batch, 4)


# --- what is refused


def named_init(key: Any, shape: Any, dtype: Any = np.float32) -> Any:
    return {"scale": np.full(shape, 2.0, dtype), "shift": np.ones(shape, dtype)}, shape


def scaled_and_shifted(params: Any, x: Any) -> Any:
    return x * params["scale"] + params["shift"], lambda g: (
        {"shift": g.sum(axis=0), "scale": (g * x).sum(axis=0)},
        (g * params["scale"],),
    )


def test_cotangents_of_params_are_matched_by_key() -> None:
    layer = own(scaled_and_shifted, named_init)
    params, _ = layer.init(fn.key(0), (3,), dtype=np.float64)
    x, t = np.random.default_rng(0).normal(size=(2, 5, 3))
    _, gradient = fn.value_and_grad(fn.serial(layer), fn.mse())((params,), x, t)
    np.testing.assert_allclose(gradient[0]["shift"], 2 * (2 * x + 1 - t).sum(axis=0) / x.size)
    check_vjp(layer, (3,))


def writes_into_its_input(params: Any, x: Any) -> Any:
    x *= 2
    return x, lambda g: ((), (g,))


def writes_into_its_params(params: Any, x: Any) -> Any:
    params.b[...] = 0
    return x @ params.W, lambda g: (params, (g,))


def writes_into_its_cotangent(params: Any, x: Any) -> Any:
    def pullback(g: Any) -> Any:
        g *= 2
        return (), (g,)

    return x * 2, pullback


@pytest.mark.parametrize("wrapped", [False, True], ids=["pure", "compiled"])
@pytest.mark.parametrize("function", [writes_into_its_input, writes_into_its_params])
def test_arguments_are_read_only(function: Any, wrapped: bool) -> None:
    layer = own(function, dense_init)
    params, _ = layer.init(fn.key(0), (4,))
    x = np.ones((5, 4), np.float32)
    with pytest.raises(ValueError, match="read-only"):
        fn.serial(layer).apply((params,), x) if wrapped else layer.apply(params, x)
    assert (x == 1).all()
    assert (params.b == 0.5).all()


def test_the_cotangent_is_read_only() -> None:
    layer = own(writes_into_its_cotangent)
    x, g = np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)
    _, pullback = layer.apply.vjp((), x)
    with pytest.raises(ValueError, match="read-only"):
        pullback(g)
    net = fn.serial(fn.linear(3), layer)
    with pytest.raises(ValueError, match="read-only"):
        fn.value_and_grad(net, fn.mse())(net.init(fn.key(0), (3,))[0], x, x)
    assert (g == 1).all()


def transposed_output(params: Any, x: Any) -> Any:
    return x.T, lambda g: ((), (g,))


def double_output(params: Any, x: Any) -> Any:
    return np.float64(x), lambda g: ((), (g,))


def short_cotangent(params: Any, x: Any) -> Any:
    return x * 1, lambda g: ((), (g[:1],))


def double_cotangent(params: Any, x: Any) -> Any:
    return x * 1, lambda g: ((), (np.float64(g),))


def summed_params(params: Any, x: Any) -> Any:
    return x @ params.W, lambda g: (Dense(x.T @ g, g), (g @ params.W.T,))


def no_input_cotangent(params: Any, x: Any) -> Any:
    return x * 1, lambda g: ((), ())


def two_input_cotangents(params: Any, x: Any) -> Any:
    return x * 1, lambda g: ((), (g, g))


def one_param_cotangent(params: Any, x: Any) -> Any:
    return x @ params.W + params.b, lambda g: ((x.T @ g,), (g @ params.W.T,))


WRONG = {
    "too many cotangents": (two_input_cotangents, same_init, fn.ShapeError, "cotangent"),
    "too few cotangents of params": (one_param_cotangent, dense_init, fn.FuncnetError, "cotangent"),
    "the shape of its output": (transposed_output, same_init, fn.ShapeError, "output"),
    "the dtype of its output": (double_output, same_init, fn.DTypeError, "output.*float64"),
    "the shape of a cotangent": (short_cotangent, same_init, fn.ShapeError, "cotangent"),
    "the dtype of a cotangent": (double_cotangent, same_init, fn.DTypeError, "cotangent.*float64"),
    "the shape of a cotangent of params": (summed_params, dense_init, fn.ShapeError, "cotangent"),
    "the number of cotangents": (no_input_cotangent, same_init, fn.ShapeError, "cotangent"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("wrapped", [False, True], ids=["pure", "compiled"])
def test_what_comes_back_wrong_is_named(name: str, wrapped: bool) -> None:
    function, init, error, words = WRONG[name]
    layer = own(function, init, name="mine")
    net = fn.serial(fn.linear(3), layer)
    params, shape = net.init(fn.key(0), (3,))
    x = np.ones((5, 3), np.float32)

    def compiled() -> Any:
        return fn.value_and_grad(net, fn.mse())(params, x, np.ones((5, *shape), np.float32))

    def pure() -> Any:
        y, pullback = layer.apply.vjp(params[1], x)
        return pullback(np.ones_like(y))

    with pytest.raises(error, match=f"mine.*{words}"):
        (compiled if wrapped else pure)()


@pytest.mark.parametrize("count", [1, 3])
def test_a_wrong_number_of_inputs_is_refused(count: int) -> None:
    layer = own(times, inputs=2, name="times")
    with pytest.raises(fn.ShapeError, match=f"times takes 2 inputs, but was given {count}"):
        layer.apply((), *[np.ones((2, 3))] * count)


@pytest.mark.parametrize("name", [3, np.ones(2)])
def test_a_name_is_a_str(name: Any) -> None:
    with pytest.raises(fn.OptionError, match="custom_layer: name must be a str, not "):
        own(dense, dense_init, name=name)


def test_it_is_called_by_the_name_of_its_function() -> None:
    assert (own(dense, dense_init).apply.kind, own(dense, dense_init, name="D").apply.kind) == ("dense", "D")


# --- elementwise


def cube(x: Any) -> Any:
    return x * x * x, lambda g: g * (x * x * 3.0)


def with_numpys_number(x: Any) -> Any:
    return x * np.sqrt(2.0), lambda g: g * np.sqrt(2.0)


def test_an_elementwise_of_ones_own() -> None:
    layer = fn.elementwise(cube)
    check_vjp(layer, (3,), holomorphic=True)
    assert layer.apply.kind == "cube"
    x = np.array([[2.0, -3.0]])
    np.testing.assert_array_equal(fn.serial(layer).apply(((),), x), [[8.0, -27.0]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_elementwise_says_that_numpys_numbers_change_the_dtype(dtype: Any) -> None:
    pure, net = fn.elementwise(with_numpys_number), fn.serial(fn.elementwise(with_numpys_number))
    x = np.ones((2, 3), dtype)
    for apply in (partial(pure.apply, ()), partial(net.apply, ((),))):
        if dtype is np.float64:
            assert apply(x).dtype == dtype
        else:
            with pytest.raises(fn.DTypeError, match=r"float\(c\)"):
                apply(x)
