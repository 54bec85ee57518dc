"""A layer under JAX's jit, grad and vmap against the layer itself, over the whole table."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from tests.support.battery import subject_of
from tests.support.cases import CASES, Case, init_scale, scale
from tests.support.elsewhere import worst

jax: Any = importlib.import_module("jax") if importlib.util.find_spec("jax") else None
needs_jax = pytest.mark.skipif(jax is None, reason="jax is not installed")
TOLERANCE = {np.float64: 1e-14, np.float32: 5e-6}
IN_NUMPY = ("custom_layer",)  # how the names of rows begin that JAX has no counterpart for
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """Within a test float64 stays float64."""
    if jax is None:
        yield
    else:
        with jax.enable_x64(True):
            yield


def of_floats(function: Callable[..., Any], inputs: list[Any]) -> tuple[Callable[..., Any], list[Any]]:
    """A function of the params and the floating inputs alone; those inputs."""
    places = [i for i, x in enumerate(inputs) if x.dtype.kind == "f"]

    def of(params: Any, *floats: Any) -> Any:
        given = dict(zip(places, floats, strict=True))
        return function(params, *(given.get(i, x) for i, x in enumerate(inputs)))

    return of, [inputs[i] for i in places]


@needs_jax
@every_case
@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: dtype.__name__)
def test_values_and_gradients_under_jit_are_those_of_the_layer(case: Case, dtype: Any) -> None:
    layer, params, inputs = subject_of(case, dtype)
    expected, pullback = layer.apply.vjp(params, *inputs)
    rng = np.random.default_rng(5)
    cotangent = tree.map(lambda y: np.asarray(rng.normal(size=np.shape(y)), dtype), expected)
    of_params, of_inputs = pullback(cotangent)
    function, floats = of_floats(fn.to_jax(layer), inputs)

    @jax.jit  # type: ignore[untyped-decorator]
    def pulled(params: Any, floats: Any, cotangent: Any) -> Any:
        y, pull = jax.vjp(function, params, *floats)
        return y, pull(cotangent)

    y, found = pulled(params, floats, cotangent)
    assert worst(tree.leaves(y), tree.leaves(expected)) <= TOLERANCE[dtype]
    wanted = tree.leaves((of_params, of_inputs))
    assert worst(tree.leaves(found), wanted) <= TOLERANCE[dtype]


@needs_jax
@every_case
def test_vmap_over_params_and_inputs_is_a_loop(case: Case) -> None:
    layer, params, inputs = subject_of(case)
    both = [(params, inputs), (tree.map(lambda p: p * 0.5, params), [x[::-1] for x in inputs])]
    p, xs = jax.tree.map(lambda *leaves: np.stack(leaves), *both)
    function = fn.to_jax(layer)
    found = jax.vmap(function)(p, *xs)
    expected = tree.map(lambda *ys: np.stack(ys), *(layer.apply(p, *x) for p, x in both))
    assert worst(tree.leaves(found), tree.leaves(expected)) <= 1e-14
    if tree.leaves(params):

        def total(p: Any, *x: Any) -> Any:
            return sum(y.sum() for y in jax.tree.leaves(function(p, *x)))

        stacked = jax.vmap(jax.grad(total))(p, *xs)
        for i, (own, x) in enumerate(both):
            output, pullback = layer.apply.vjp(own, *x)
            gradient = tree.leaves(pullback(tree.map(np.ones_like, output))[0])
            assert worst([np.asarray(g[i]) for g in tree.leaves(stacked)], gradient) <= 1e-14


@needs_jax
def test_the_derivative_on_a_kink_is_that_of_funcnet() -> None:
    relu = fn.to_jax(fn.relu())
    gradient = jax.grad(lambda x: relu((), x).sum())(np.zeros((1, 1)))
    assert gradient == 0.0  # of jnp.maximum it is 0.5


@needs_jax
@pytest.mark.parametrize("strides", [1, 2])
def test_equal_elements_and_nan_share_the_gradient_of_a_max_pool_as_in_funcnet(strides: int) -> None:
    x = np.random.default_rng(0).integers(0, 3, size=(3, 6, 5, 2)).astype(float)
    x[0, 1::3, 2] = np.nan
    layer = fn.max_pool((3, 2), strides=strides, padding="same")
    y, pullback = layer.apply.vjp((), x)
    g = np.random.default_rng(1).normal(size=y.shape)
    found, pull = jax.vjp(lambda x: fn.to_jax(layer)((), x), x)
    np.testing.assert_array_equal(found, y)
    np.testing.assert_allclose(pull(g)[0], pullback(g)[1][0], rtol=1e-14, atol=1e-15)


@needs_jax
def test_a_gradient_of_convolutions_has_a_gradient() -> None:
    net = fn.serial(fn.conv(2, (2, 2)), fn.tanh(), fn.conv_transpose(1, (2, 2)), fn.tanh(), fn.sum((1, 2, 3)))
    params, _ = net.init(fn.key(0), (3, 3, 1), dtype=np.float64)
    x, v = np.random.default_rng(0).normal(size=(2, 1, 3, 3, 1))
    f = fn.to_jax(net)

    def slope(t: Any) -> Any:
        return jax.grad(lambda t: f(params, x + t * v).sum())(t)

    step = 1e-5
    np.testing.assert_allclose(jax.grad(slope)(0.0), (slope(step) - slope(-step)) / (2 * step), rtol=1e-6)


@needs_jax
def test_a_gradient_has_a_gradient() -> None:
    tanh = fn.to_jax(fn.tanh())
    second = jax.grad(lambda x: jax.grad(lambda x: tanh((), x).sum())(x).sum())(np.array([[0.3]]))
    y = np.tanh(0.3)
    np.testing.assert_allclose(second, -2 * y * (1 - y * y), rtol=1e-14)


@needs_jax
def test_a_key_of_jax_turns_dropout_on() -> None:
    net = fn.network({1: fn.dropout(0.25), "again": fn.dropout(0.25), 3: fn.add()}, {1: [3], "again": [3]})
    f = jax.jit(fn.to_jax(net))
    x = np.ones((400, 50))
    y = f({}, x, x, key=jax.random.key(0))
    assert set(np.unique(np.round(np.asarray(y), 9))) == {0.0, round(1 / 0.75, 9), round(2 / 0.75, 9)}
    assert abs(float(y.mean()) - 2.0) < 0.03
    assert (f({}, x, x, key=jax.random.key(0)) == y).all()
    assert (f({}, x, x, key=jax.random.key(1)) != y).any()
    assert (f({}, x, x) == 2.0).all()
    slope = jax.grad(lambda x: f({}, x, x, key=jax.random.key(0)).sum())(x)
    np.testing.assert_allclose(slope, y, rtol=1e-15)


def spacing(x: fn.Array) -> tuple[fn.Array, Callable[[fn.Array], fn.Array]]:
    """A function whose ufunc JAX lacks."""
    return np.spacing(x), lambda g: g * 0.0


@needs_jax
def test_what_jax_has_no_counterpart_for_runs_in_numpy() -> None:
    net = fn.serial(fn.elementwise(spacing), fn.dropout(0.5), fn.custom_layer(init_scale, scale), fn.linear(2))
    params, _ = net.init(fn.key(0), (3,), dtype=np.float64)
    x = np.random.default_rng(0).normal(size=(5, 3))
    f = jax.jit(fn.to_jax(net))
    assert worst([np.asarray(f(params, x))], [net.apply(params, x)]) == 0.0
    a, b = (f(params, x, key=jax.random.key(seed)) for seed in (0, 1))
    assert (np.asarray(a) != np.asarray(b)).any()
    gradient = jax.grad(lambda p: f(p, x, key=jax.random.key(0)).sum())(params)
    assert tree.structure(gradient) == tree.structure(params)


@needs_jax
def test_labels_out_of_range_give_nan() -> None:
    loss = fn.to_jax(fn.softmax_cross_entropy(reduction="none"))
    found = np.asarray(loss((), np.zeros((3, 2)), np.array([0, -1, 2])))
    assert np.isnan(found).tolist() == [False, True, True]
    table = fn.to_jax(fn.embedding(2, 1))
    assert np.isnan(np.asarray(table(fn.Table(np.zeros((2, 1))), np.array([1, 2, -1])))).ravel().tolist() == [
        False,
        True,
        True,
    ]
    params, _ = fn.gru(2, lengths=True).init(fn.key(0), (3, 1), ())
    for sequences in (False, True):
        net = fn.to_jax(fn.gru(2, lengths=True, return_sequences=sequences))
        y = np.asarray(net(params, np.ones((4, 3, 1)), np.array([0, 3, 4, -1])))
        assert np.isnan(y).reshape(4, -1).all(axis=1).tolist() == [False, False, True, True]
    total = fn.to_jax(fn.mse(weighted=True))
    x = np.ones((2, 1))
    assert np.isnan(total((), x, x, np.array([1.0, -1.0])))
    assert total((), x, x, np.zeros(2)) == 0.0


@needs_jax
def test_inputs_are_cast_and_checked_as_those_of_the_layer() -> None:
    net = fn.linear(2)
    params, _ = net.init(fn.key(0), (3,))
    f = fn.to_jax(net)
    assert f(params, np.ones((2, 3))).dtype == np.float32
    with pytest.raises(fn.ShapeError, match=r"linear: .*\(2, 4\)"):
        jax.jit(f)(params, np.ones((2, 4)))
    with pytest.raises(fn.ShapeError, match="1 input"):
        f(params, np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(fn.ParamsError):
        f(params._replace(bias=np.zeros(2)), np.ones((2, 3)))


@needs_jax
def test_it_pickles() -> None:
    f = pickle.loads(pickle.dumps(fn.to_jax(fn.tanh())))
    assert f((), np.zeros((1, 3))).tolist() == [[0.0, 0.0, 0.0]]


def test_what_is_no_layer_is_refused() -> None:
    pytest.importorskip("jax")
    with pytest.raises(fn.GraphError, match=r"to_jax: .*call it, fn.tanh\(...\)"):
        fn.to_jax(fn.tanh)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_without_jax_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("funcnet.exports.jax.layer.find_spec", lambda name: None)
    with pytest.raises(fn.MissingPackageError, match=r"the package jax: pip install 'funcnet\[jax\]'"):
        fn.to_jax(fn.tanh())


@needs_jax
@every_case
def test_only_these_run_in_numpy(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        pytest.fail("a call of this layer has no rule in exports/jax/rules.py")

    layer, params, inputs = subject_of(case)
    if not case.name.startswith(IN_NUMPY):
        monkeypatch.setattr("funcnet.exports.jax.layer._on_host", refuse)
    fn.to_jax(layer)(params, *inputs)
