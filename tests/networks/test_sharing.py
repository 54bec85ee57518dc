"""Operators that share the params of another one: its weight transposed, and their gradients."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import funcnet as fn
from funcnet import tree
from funcnet.testing import check_layer, check_vjp

rng = np.random.default_rng(0)


def autoencoder(units: int = 3, use_bias: bool = True) -> Any:
    encode: Any = fn.linear(units) if use_bias else fn.linear(units, use_bias=False)
    operators = {"encode": encode, "squash": fn.tanh(), "decode": fn.shared("encode", transposed=True)}
    return fn.network(operators, {"encode": ["squash"], "squash": ["decode"]})


def language_model(vocabulary: int = 7, features: int = 4) -> Any:
    operators = {
        "embed": fn.embedding(vocabulary, features),
        "mean": fn.mean(1),
        "logits": fn.shared("embed", transposed=True),
    }
    return fn.network(operators, {"embed": ["mean"], "mean": ["logits"]})


@given(
    n=st.integers(1, 5),
    inputs=st.integers(1, 6),
    units=st.integers(1, 4),
    rows=st.sampled_from([(), (3,)]),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_tied_decoder_is_the_formula(
    n: int, inputs: int, units: int, rows: tuple[int, ...], bias: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    net = autoencoder(units, bias)
    params, shape = net.init(fn.key(seed), (*rows, inputs), dtype=np.float64)
    assert shape == (*rows, inputs)
    assert [*params] == ["encode"]
    x, g = random.normal(size=(2, n, *rows, inputs))
    W, b = params["encode"].weight, params["encode"].bias if bias else np.zeros(units)
    h = np.tanh(x @ W + b)
    output, pull = net.apply.vjp(params, x)
    of_params, (dx,) = pull(g)
    dz = (g @ W) * (1 - h * h)
    encoder = np.einsum("ni,nu->iu", x.reshape(-1, inputs), dz.reshape(-1, units))
    decoder = np.einsum("ni,nu->iu", g.reshape(-1, inputs), h.reshape(-1, units))
    np.testing.assert_allclose(output, h @ W.T, atol=1e-12)
    np.testing.assert_allclose(net.apply(params, x), h @ W.T, atol=1e-12)
    np.testing.assert_allclose(of_params["encode"].weight, encoder + decoder, atol=1e-12)
    np.testing.assert_allclose(dx, dz @ W.T, atol=1e-12)
    if bias:
        np.testing.assert_allclose(of_params["encode"].bias, dz.reshape(-1, units).sum(0), atol=1e-12)


def test_tied_logits_are_the_formula() -> None:
    net = language_model()
    params, shape = net.init(fn.key(0), (5,), dtype=np.float64)
    assert shape == (7,)
    i, g = rng.integers(0, 7, (6, 5)), rng.normal(size=(6, 7))
    E = params["embed"].table
    h = E[i].mean(1)
    output, pull = net.apply.vjp(params, i)
    np.testing.assert_allclose(output, h @ E.T, atol=1e-12)
    expected = g.T @ h
    np.add.at(expected, i, np.broadcast_to((g @ E)[:, None] / 5, (6, 5, 4)))
    np.testing.assert_allclose(pull(g)[0]["embed"].table, expected, atol=1e-12)


LABELS = {"labels": {0: 7}}
CASES: list[Any] = [
    pytest.param(autoencoder(), ((5,),), {}, id="linear"),
    pytest.param(autoencoder(use_bias=False), ((2, 5),), {}, id="linear without a bias, over sequences"),
    pytest.param(language_model(), ((5,),), LABELS, id="embedding"),
    pytest.param(fn.serial(autoencoder(), fn.linear(2)), ((5,),), {}, id="in a serial"),
    pytest.param(fn.network({1: autoencoder(), 2: fn.shared(1)}, {1: [2]}), ((5,),), {}, id="nested, and shared again"),
    pytest.param(
        fn.network(
            {1: [fn.linear(3)], 2: fn.shared(1, transposed=True), 3: fn.shared(1), 4: fn.shared(1, transposed=True)},
            {1: [2], 2: [3], 3: [4]},
        ),
        ((5,),),
        {},
        id="four times",
    ),
]


@pytest.mark.parametrize(("net", "shapes", "options"), CASES)
def test_it_keeps_every_law(net: Any, shapes: Any, options: Any) -> None:
    check_vjp(net, *shapes, **options)
    check_layer(net, *shapes, **options)


def test_a_compiled_step_and_gradient_agree_with_the_vjp() -> None:
    net = autoencoder()
    params, _ = net.init(fn.key(0), (5,))
    x = rng.normal(size=(6, 5)).astype(np.float32)
    loss, gradient = fn.value_and_grad(net, fn.mse())(params, x, x)
    y, pull = net.apply.vjp(params, x)
    value, of_loss = fn.mse().apply.vjp((), y, x)
    assert np.allclose(loss, value)
    expected = pull(of_loss(np.float32(1.0))[1][0])[0]
    tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), gradient, expected)
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    first = float(step(params, x, x)[1])
    for _ in range(50):
        params, loss = step(params, x, x)
    assert loss < first


def test_the_decoder_may_come_before_its_encoder() -> None:
    net: Any = fn.network(
        {"x": fn.identity(), "logits": fn.shared("embed", transposed=True), "embed": fn.embedding(7, 4)},
        {"x": ["logits"]},
        inputs=["x", "embed"],
        output=["logits", "embed"],
    )
    params, shapes = net.init(fn.key(0), (4,), ())
    assert shapes == ((7,), (4,))
    x = rng.normal(size=(3, 4)).astype(np.float32)
    logits, _ = net.apply(params, x, np.array([0, 1, 6]))
    np.testing.assert_allclose(logits, x @ params["embed"].table.T, rtol=1e-5)


def test_the_params_of_the_other_operators_stay_as_they_were() -> None:
    plain: Any = fn.network({"encode": fn.linear(3), "out": fn.linear(2)}, {"encode": ["out"]})
    operators = {"encode": fn.linear(3), "decode": fn.shared("encode", transposed=True), "out": fn.linear(2)}
    tied: Any = fn.network(operators, {"encode": ["decode"], "decode": ["out"]})
    a, b = plain.init(fn.key(0), (5,))[0], tied.init(fn.key(0), (5,))[0]
    assert np.array_equal(a["encode"].weight, b["encode"].weight)
    assert b["out"].weight.shape == (5, 2)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_copies_compute_the_same(again: Any) -> None:
    net = autoencoder()
    params, _ = net.init(fn.key(0), (5,))
    x = rng.normal(size=(6, 5)).astype(np.float32)
    assert np.array_equal(again(net).apply(params, x), net.apply(params, x))


def test_summary_and_diagrams_name_it() -> None:
    text = str(fn.summary(autoencoder(), (5,)))
    assert "linear transposed, params of encode" in text
    assert fn.summary(autoencoder(), (5,)).parameters == 18
    assert fn.summary(autoencoder(), (5,)).multiply_adds == 30
    assert "linear transposed, params of encode" in fn.to_mermaid(autoencoder(), (5,))
    assert repr(fn.shared("encode", transposed=True)) == "shared('encode', transposed=True)"
    assert repr(fn.shared(1)) == "shared(1)"


# --- transposed


def test_transposed_runs_a_decoder_alone() -> None:
    net = autoencoder()
    params, _ = net.init(fn.key(0), (5,))
    codes = rng.normal(size=(4, 3)).astype(np.float32)
    decode = fn.transposed(fn.linear(3))
    y, pull = decode.vjp(params["encode"], codes)
    np.testing.assert_allclose(decode(params["encode"], codes), codes @ params["encode"].weight.T, rtol=1e-5)
    of_params, (dx,) = pull(np.ones_like(y))
    assert not of_params.bias.any()
    np.testing.assert_allclose(dx, np.ones_like(y) @ params["encode"].weight, rtol=1e-5)


FUNCTION = pytest.param(fn.linear, id="a function")


@pytest.mark.parametrize("layer", [fn.tanh(), fn.serial(fn.linear(2)), fn.batch_norm(), None, 3, FUNCTION], ids=repr)
def test_another_layer_has_nothing_to_transpose(layer: Any) -> None:
    with pytest.raises(fn.GraphError, match="give a linear or an embedding layer"):
        fn.transposed(layer)


@pytest.mark.parametrize(
    "layer",
    [fn.tanh(), [fn.linear(2), fn.tanh()], fn.serial(fn.linear(2)), autoencoder(), fn.scale()],
    ids=["tanh", "list", "serial", "network", "scale"],
)
def test_sharing_it_transposed_is_a_problem_of_the_graph(layer: Any) -> None:
    with pytest.raises(fn.GraphError, match=r"operators\[2\] shares operator 1 .* transposed, but it has no weight"):
        fn.network({1: layer, 2: fn.shared(1, transposed=True)}, {1: [2]})


def test_a_shape_that_depends_on_itself_is_reported() -> None:
    net = fn.network({"dec": fn.shared("enc", transposed=True), "enc": fn.linear(3)}, {"dec": ["enc"]})
    with pytest.raises(fn.ShapeError, match="'dec' transposes the weight of operator 'enc', whose shape depends on"):
        net.init(fn.key(0), (3,))


def test_shapes_that_do_not_fit_are_reported() -> None:
    net = fn.network({"enc": fn.linear(3), "wide": fn.linear(4), "dec": fn.shared("enc", transposed=True)},
                     {"enc": ["wide"], "wide": ["dec"]})  # fmt: skip
    with pytest.raises(fn.ShapeError, match=r"operator 'dec' \(linear transposed\).*\(5, 3\).*rows of 3 features"):
        net.init(fn.key(0), (5,))
    with pytest.raises(fn.ShapeError, match="takes rows of 3 features"):
        fn.transposed(fn.linear(3))(fn.linear(3).init(fn.key(0), (5,))[0], np.ones((2, 5), np.float32))
    with pytest.raises(fn.ParamsError, match="must be a matrix"):
        fn.transposed(fn.embedding(3, 2))(fn.Table(np.ones(3, np.float32)), np.ones((2, 3), np.float32))


def test_only_the_cause_of_a_failure_is_reported() -> None:
    operators = {"a": fn.linear(3), "b": fn.reshape(7), "c": fn.linear(2), "d": fn.shared("c", transposed=True)}
    net = fn.network(operators, {"a": ["b"], "b": ["c"], "c": ["d"]})
    with pytest.raises(fn.ShapeError, match=r"operator 'b'") as caught:
        net.init(fn.key(0), (5,))
    assert "'d'" not in str(caught.value)
