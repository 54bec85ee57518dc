"""Recurrent layers: the weights of PyTorch's and Keras's, unequal lengths, no times, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funcnet as fn
from funcnet import tree
from tests.support.budget import examples

LAYERS: dict[str, Callable[..., fn.Layer[Any]]] = {"rnn": fn.rnn, "lstm": fn.lstm, "gru": fn.gru}
TIMES, INPUTS, UNITS = 6, 3, 4
every_layer = pytest.mark.parametrize("name", LAYERS)


def problem(name: str, rows: int = 4, times: int = TIMES, **options: Any) -> tuple[fn.Layer[Any], Any, Any]:
    """(a layer, params of which none is zero, an input)."""
    layer, rng = LAYERS[name](UNITS, **options), np.random.default_rng(0)
    lengths = [()] if options.get("lengths") else []
    params, _ = layer.init(fn.key(0), (times, INPUTS), *lengths, dtype=np.float64)
    params = tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape), params)
    return layer, params, rng.normal(size=(rows, times, INPUTS))


def in_network(layer: fn.Layer[Any], inputs: int) -> fn.Layer[Any]:
    """The layer in a network that is compiled."""
    keys: list[fn.OperatorKey] = [f"x{i}" for i in range(inputs)]
    operators = {**dict.fromkeys(keys, fn.identity()), "f": layer}
    return fn.network(operators, {key: ["f"] for key in keys}, inputs=keys)


# --- initial params


@every_layer
def test_the_recurrent_weight_of_each_gate_is_orthogonal(name: str) -> None:
    params, _ = LAYERS[name](UNITS).init(fn.key(0), (TIMES, INPUTS), dtype=np.float64)
    blocks = np.split(params.recurrent_weight, params.recurrent_weight.shape[1] // UNITS, axis=1)
    assert len(blocks) == {"rnn": 1, "lstm": 4, "gru": 3}[name]
    for block in blocks:
        np.testing.assert_allclose(block.T @ block, np.eye(UNITS), atol=1e-12)
    assert len({block.tobytes() for block in blocks}) == len(blocks)


def test_the_bias_of_the_forget_gate_is_one() -> None:
    params, _ = fn.lstm(2).init(fn.key(0), (TIMES, INPUTS))
    np.testing.assert_array_equal(params.bias, [0, 0, 1, 1, 0, 0, 0, 0])
    assert not fn.gru(2).init(fn.key(0), (TIMES, INPUTS))[0].bias.any()


# --- lengths


@every_layer
@pytest.mark.parametrize("sequences", [False, True])
@given(data=st.data())
@settings(max_examples=examples(20))
def test_a_padded_sequence_is_the_sequence_alone(name: str, sequences: bool, data: st.DataObject) -> None:
    n = np.array(data.draw(st.lists(st.integers(0, TIMES), min_size=4, max_size=4)))
    layer, params, x = problem(name, return_sequences=sequences, lengths=True)
    alone = LAYERS[name](UNITS, return_sequences=sequences)
    padded = x.copy()
    padded[np.arange(TIMES) >= n[:, None]] = np.nan  # the padding is not read
    compiled = in_network(layer, 2)
    given_g = np.random.default_rng(1).normal(size=(4, TIMES, UNITS) if sequences else (4, UNITS))
    y, pullback = layer.apply.vjp(params, padded, n)
    of_params, of_inputs = pullback(given_g)
    dx, of_lengths = of_inputs[0], of_inputs[1:]
    assert [*map(type, of_lengths)] == [type(None)]
    np.testing.assert_allclose(compiled.apply({"f": params}, padded, n), y, rtol=1e-12)
    total = tree.map(np.zeros_like, params)
    for i, length in enumerate(n):
        row, pull = alone.apply.vjp(params, x[i : i + 1, :length])
        of_row, (dx_row,) = pull(given_g[i : i + 1, :length] if sequences else given_g[i : i + 1])
        total = tree.map(np.add, total, of_row)
        np.testing.assert_allclose(y[i, :length] if sequences else y[i], row[0], rtol=1e-12)
        np.testing.assert_allclose(dx[i, :length], dx_row[0], rtol=1e-10, atol=1e-14)
        assert not dx[i, length:].any()
        assert not sequences or not y[i, length:].any()
    for found, expected in zip(tree.leaves(of_params), tree.leaves(total), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@every_layer
@pytest.mark.parametrize("kind", [np.int64, np.int8, np.uint8, ">i4"])
def test_lengths_are_integers_of_any_kind(name: str, kind: Any) -> None:
    layer, params, x = problem(name, lengths=True)
    n = np.array([6, 0, 3, 1])
    np.testing.assert_array_equal(layer.apply(params, x, n.astype(kind)), layer.apply(params, x, n))


@every_layer
@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize(("rows", "times"), [(0, 3), (2, 0), (0, 0), (1, 1)])
def test_no_rows_and_no_times(name: str, lengths: bool, rows: int, times: int) -> None:
    layer, params, x = problem(name, rows, times, lengths=lengths)
    arrays = (x, np.zeros(rows, int))[: 1 + lengths]
    net: Any = fn.serial(layer) if not lengths else in_network(layer, 2)
    own: Any = {"f": params} if lengths else (params,)
    y = net.apply(own, *arrays)
    assert y.shape == (rows, UNITS)
    assert times == 1 and not lengths or not y.any()
    if rows:
        _, gradient = fn.value_and_grad(net, fn.mse())(own, *arrays, np.ones((rows, UNITS)))
        assert all(np.isfinite(leaf).all() for leaf in tree.leaves(gradient))


# --- programs


@every_layer
@pytest.mark.parametrize("sequences", [False, True])
def test_many_steps_are_those_of_the_pure_function(name: str, sequences: bool) -> None:
    layer, params, x = problem(name, return_sequences=sequences)
    net = fn.serial(layer, fn.linear(2))
    _, shape = net.init(fn.key(0), (TIMES, INPUTS))
    params = (params, fn.linear(2).init(fn.key(1), (UNITS,), dtype=np.float64)[0])
    step, target, expected = fn.sgd_step(net, fn.mse(), learning_rate=0.1), np.ones((4, *shape)), params
    for _ in range(3):  # the memory of a step is that of the one before
        params, _ = step(params, x, target)
        y, pullback = net.apply.vjp(expected, x)
        gradient, _ = pullback(2 * (y - target) / y.size)
        expected = tree.map(lambda p, g: p - 0.1 * g, expected, gradient)
    for found, leaf in zip(tree.leaves(params), tree.leaves(expected), strict=True):
        np.testing.assert_allclose(found, leaf, rtol=1e-10)


@every_layer
def test_the_listing_of_a_step_does_not_grow_with_time(name: str) -> None:
    counts: list[str] = []
    for times in (2, 50):
        layer, params, x = problem(name, times=times)
        compiled = fn.value_and_grad(fn.serial(layer), fn.mse())
        compiled((params,), x, np.ones((4, UNITS)))
        counts.append(str(compiled).split(" calls")[0])
    assert counts[0] == counts[1]


@every_layer
def test_the_multiply_adds_of_all_times_are_counted(name: str) -> None:
    gates = {"rnn": 1, "lstm": 4, "gru": 3}[name]
    summary = fn.summary(LAYERS[name](UNITS), (TIMES, INPUTS))
    assert summary.multiply_adds == TIMES * gates * UNITS * (INPUTS + UNITS)
    biases = gates * UNITS + (UNITS if name == "gru" else 0)
    assert summary.parameters == gates * UNITS * (INPUTS + UNITS) + biases


# --- what is refused


@every_layer
def test_lengths_out_of_range_are_named(name: str) -> None:
    layer, params, x = problem(name, lengths=True)
    for wrong in (-1, TIMES + 1):
        n = np.array([1, wrong, 2, 3])
        with pytest.raises(fn.LabelError, match=f"length {wrong} is none of 0 to {TIMES}"):
            layer.apply(params, x, n)
        with pytest.raises(fn.LabelError, match=f"f {name}: length {wrong} is none of 0 to {TIMES}"):
            in_network(layer, 2).apply({"f": params}, x, n)


@every_layer
def test_what_does_not_fit_is_refused(name: str) -> None:
    layer, params, x = problem(name, lengths=True)
    n = np.array([1, 1, 2, 3])
    for arrays, message in (
        ((x[:, 0], n), r"One sequence is x\[None\]"),
        ((x[..., :2], n), r"rows of sequences \(time, 3\)"),
        ((x, n[:, None]), "must be one integer a sequence"),
    ):
        with pytest.raises(fn.ShapeError, match=message):
            layer.apply(params, *arrays)
    with pytest.raises(fn.DTypeError, match="its lengths have dtype float64, but must be integers"):
        layer.apply(params, x, n.astype(float))
    with pytest.raises(fn.ParamsError, match="weight, recurrent_weight and bias are"):
        layer.apply(params._replace(bias=params.bias[1:]), x, n)
    for shapes in (((TIMES, INPUTS),), ((INPUTS,), ()), ((TIMES, INPUTS), (1,))):
        with pytest.raises(fn.ShapeError, match=name):
            layer.init(fn.key(0), *shapes)
    with pytest.raises(fn.OptionError, match=f"{name}: units"):
        LAYERS[name](0)


def test_the_recurrent_bias_of_a_gru_is_one_number_a_unit() -> None:
    layer, params, x = problem("gru")
    with pytest.raises(fn.ParamsError, match="recurrent_bias"):
        layer.apply(params._replace(recurrent_bias=params.bias), x)


# --- PyTorch's weights


@every_layer
def test_the_weights_of_pytorch_give_the_same(name: str) -> None:
    torch: Any = pytest.importorskip("torch")
    layer, params, x = problem(name, return_sequences=True)
    theirs = getattr(torch.nn, name.upper())(INPUTS, UNITS, batch_first=True).double()
    W, R, b, c = (
        getattr(theirs, f"{kind}_l0").detach().numpy() for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    if name == "gru":  # its second bias of n is multiplied by r
        b, of_n = b + np.concatenate([c[: 2 * UNITS], np.zeros(UNITS)]), c[2 * UNITS :]
        params = fn.GatedRecurrent(W.T, R.T, b, of_n)
    else:
        params = fn.Recurrent(W.T, R.T, b + c)
    z = torch.tensor(x, requires_grad=True)
    g = np.random.default_rng(1).normal(size=(4, TIMES, UNITS))
    y = theirs(z)[0]
    y.backward(torch.tensor(g))
    found, pullback = layer.apply.vjp(params, x)
    of_params, (dx,) = pullback(g)
    np.testing.assert_allclose(found, y.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(dx, z.grad.numpy(), rtol=1e-10)
    np.testing.assert_allclose(of_params.weight.T, theirs.weight_ih_l0.grad.numpy(), rtol=1e-10)
    np.testing.assert_allclose(of_params.recurrent_weight.T, theirs.weight_hh_l0.grad.numpy(), rtol=1e-10)
    np.testing.assert_allclose(of_params.bias, theirs.bias_ih_l0.grad.numpy(), rtol=1e-10)
