"""Recurrent layers: the weights of PyTorch's and Keras's, unequal lengths, no times, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funcnet as fn
from funcnet import tree
from funcnet.testing import check_layer
from funcnet.tracing.forms import Instruction, unbuffered
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
@pytest.mark.parametrize("rows", [4, 40])  # 40 times the units are a row that is read where it lies
def test_many_steps_are_those_of_the_pure_function(name: str, sequences: bool, rows: int) -> None:
    layer, params, x = problem(name, rows, return_sequences=sequences)
    net = fn.serial(layer, fn.linear(2))
    _, shape = net.init(fn.key(0), (TIMES, INPUTS))
    params = (params, fn.linear(2).init(fn.key(1), (UNITS,), dtype=np.float64)[0])
    step, target, expected = fn.sgd_step(net, fn.mse(), learning_rate=0.1), np.ones((rows, *shape)), params
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


KEPT = {"rnn": (2, 1), "lstm": (8, 4), "gru": (7, 4)}  # [h x], gates, [c, tanh c]; cotangents of gates: times the units


def owner(array: Any) -> Any:
    """The array whose memory this one is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def all_instructions(program: Iterable[Instruction]) -> Iterator[Instruction]:
    """Those, too, that one of them makes."""
    for f, args in program:
        yield from all_instructions(args) if f is unbuffered else [(f, args)]


@every_layer
def test_memory_is_that_of_the_states_and_of_one_set_of_cotangents(name: str) -> None:
    rows, times, units = 32, 1000, 32
    net = fn.serial(LAYERS[name](units), fn.linear(1))
    params, _ = net.init(fn.key(0), (times, units))
    compiled: Any = fn.value_and_grad(net, fn.mse())
    compiled(params, np.zeros((rows, times, units), np.float32), np.zeros((rows, 1), np.float32))
    (program,) = compiled._programs.by_signature.values()
    arrays = [x for f, args in all_instructions(program.take().program) for x in (getattr(f, "__self__", None), *args)]
    owners = [owner(x) for x in arrays if isinstance(x, np.ndarray)]
    held = sum({id(x): x.nbytes for x in owners}.values())
    assert 1 < held / (4 * rows * times * units * sum(KEPT[name])) < 1.1


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
    W, R, b = params[:3]
    for changed in ({"bias": b[1:]}, {"weight": W[:, 1:]}, {"recurrent_weight": R[:, 1:]}, {"recurrent_weight": R[1:]}):
        with pytest.raises(fn.ParamsError, match="weight, recurrent_weight and bias are"):
            layer.apply(params._replace(**changed), x, n)
    for shapes in (((TIMES, INPUTS),), ((INPUTS,), ()), ((TIMES, INPUTS), (1,))):
        with pytest.raises(fn.ShapeError, match=name):
            layer.init(fn.key(0), *shapes)
    with pytest.raises(fn.OptionError, match=f"{name}: units"):
        LAYERS[name](0)


def test_the_recurrent_bias_of_a_gru_is_one_number_a_unit() -> None:
    layer, params, x = problem("gru")
    with pytest.raises(fn.ParamsError, match="recurrent_bias"):
        layer.apply(params._replace(recurrent_bias=params.bias), x)


# --- initial states


STATES = {"rnn": UNITS, "lstm": 2 * UNITS, "gru": UNITS}
WHOLE: dict[str, dict[str, bool]] = {"rnn": {}, "lstm": {"return_state": True}, "gru": {}}  # to give the whole state


@every_layer
@pytest.mark.parametrize("cut", [0, 1, 4, TIMES])
def test_a_sequence_in_two_parts_is_the_sequence_whole(name: str, cut: int) -> None:
    layer, params, x = problem(name, **WHOLE[name])
    continued = LAYERS[name](UNITS, initial_state=True, **WHOLE[name])
    zero = np.zeros((4, STATES[name]))
    whole, pull = layer.apply.vjp(params, x)
    middle, pull_first = continued.apply.vjp(params, x[:, :cut], zero)
    last, pull_second = continued.apply.vjp(params, x[:, cut:], middle)
    np.testing.assert_allclose(last, whole, rtol=1e-12)
    g = np.random.default_rng(1).normal(size=whole.shape)
    expected, (dx,) = pull(g)
    of_second, (dx_second, d_middle) = pull_second(g)
    of_first, (dx_first, d_zero) = pull_first(d_middle)
    assert d_zero.shape == zero.shape
    np.testing.assert_allclose(np.concatenate([dx_first, dx_second], axis=1), dx, rtol=1e-10)
    for found, leaf in zip(tree.leaves(tree.map(np.add, of_first, of_second)), tree.leaves(expected), strict=True):
        np.testing.assert_allclose(found, leaf, rtol=1e-10, atol=1e-14)


@every_layer
@pytest.mark.parametrize("rows", [3, 40])
def test_a_long_sequence_is_its_parts_one_after_another(name: str, rows: int) -> None:
    layer, params, x = problem(name, rows, 150, **WHOLE[name])
    continued = LAYERS[name](UNITS, initial_state=True, **WHOLE[name])
    state: Any = np.zeros((rows, STATES[name]))
    pulls: list[Any] = []
    for part in np.split(x, 6, axis=1):
        state, pull = continued.apply.vjp(params, part, state)
        pulls.append(pull)
    whole, pull = layer.apply.vjp(params, x)
    np.testing.assert_allclose(whole, state, rtol=1e-11)
    g: Any = np.random.default_rng(1).normal(size=whole.shape)
    total, parts = tree.map(np.zeros_like, params), list[Any]()
    expected, (dx,) = pull(g)
    for pull in reversed(pulls):
        of_params, (dx_part, g) = pull(g)
        total, parts = tree.map(np.add, total, of_params), [dx_part, *parts]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), dx, rtol=1e-9, atol=1e-15)
    for found, leaf in zip(tree.leaves(expected), tree.leaves(total), strict=True):
        np.testing.assert_allclose(found, leaf, rtol=1e-9, atol=1e-12)


@every_layer
@pytest.mark.parametrize("sequences", [False, True])
def test_a_sequence_of_length_0_gives_its_initial_state(name: str, sequences: bool) -> None:
    options = {"lengths": True, "initial_state": True, "return_sequences": sequences, **WHOLE[name]}
    layer = LAYERS[name](UNITS, **options)
    _, params, x = problem(name)
    n, h = np.array([0, 3, 0, 6]), np.random.default_rng(2).normal(size=(4, STATES[name]))
    empty = np.array([0, 2])
    y, pullback = layer.apply.vjp(params, x, n, h)
    g: Any = np.random.default_rng(1).normal(size=y.shape)
    dx, of_lengths, dh = (np.asarray(cotangent) for cotangent in pullback(g)[1])
    assert of_lengths.item() is None
    assert not dx[empty].any()
    np.testing.assert_array_equal(y[empty], 0 if sequences else h[empty])
    np.testing.assert_array_equal(dh[empty], 0 if sequences else g[empty])
    assert dh[[1, 3]].all()


@every_layer
@pytest.mark.parametrize("lengths", [False, True])
def test_no_times_give_the_initial_state(name: str, lengths: bool) -> None:
    layer = LAYERS[name](UNITS, initial_state=True, lengths=lengths, **WHOLE[name])
    _, params, x = problem(name, times=0)
    h = np.random.default_rng(2).normal(size=(4, STATES[name]))
    further = (np.zeros(4, int),) * lengths
    y, pullback = layer.apply.vjp(params, x, *further, h)
    np.testing.assert_array_equal(y, h)
    np.testing.assert_array_equal(in_network(layer, 2 + lengths).apply({"f": params}, x, *further, h), h)
    of_params, of_inputs = pullback(h)
    np.testing.assert_array_equal(of_inputs[-1], h)
    assert not any(leaf.any() for leaf in tree.leaves(of_params))


@every_layer
def test_a_state_goes_from_one_layer_to_another(name: str) -> None:
    encoder, decoder = LAYERS[name](UNITS, **WHOLE[name]), LAYERS[name](UNITS, initial_state=True)
    net = fn.network(
        {"x": fn.identity(), "z": fn.identity(), "encoder": encoder, "decoder": decoder},
        {"x": ["encoder"], "z": ["decoder"], "encoder": ["decoder"]},
        inputs=["x", "z"],
    )
    params, shape = net.init(fn.key(0), (TIMES, INPUTS), (2, INPUTS), dtype=np.float64)
    assert shape == (UNITS,)
    x, z = np.random.default_rng(0).normal(size=(2, 3, TIMES, INPUTS))
    z = z[:, :2]
    by_hand = decoder.apply(params["decoder"], z, encoder.apply(params["encoder"], x))
    np.testing.assert_allclose(net.apply(params, x, z), by_hand, rtol=1e-12)
    check_layer(net, (TIMES, INPUTS), (2, INPUTS), holomorphic=False)


@every_layer
def test_an_initial_state_that_does_not_fit_is_refused(name: str) -> None:
    layer = LAYERS[name](UNITS, initial_state=True)
    _, params, x = problem(name)
    state = STATES[name]
    for wrong in ((4, state + 1), (4, 1, state), (4,)):
        with pytest.raises(fn.ShapeError, match=rf"initial state has shape .*, but must be \(4, {state}\): "):
            layer.apply(params, x, np.zeros(wrong))
    with pytest.raises(fn.ShapeError, match=rf"state of shape \({state},\)"):
        layer.init(fn.key(0), (TIMES, INPUTS), (state + 1,))
    with pytest.raises(fn.ShapeError, match="takes 2 inputs"):
        layer.apply(params, x)
    with pytest.raises(fn.OptionError, match=f"{name}: initial_state"):
        LAYERS[name](UNITS, initial_state=1)


# --- PyTorch's weights, and Keras's


def of_torch(name: str, theirs: Any, suffix: str = "") -> Any:
    """The params of a layer of PyTorch."""
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    W, R, b, c = (getattr(theirs, f"{kind}_l0{suffix}").detach().numpy() for kind in kinds)
    if name == "gru":  # its second bias of n is multiplied by r
        b, of_n = b + np.concatenate([c[: 2 * UNITS], np.zeros(UNITS)]), c[2 * UNITS :]
        return fn.GatedRecurrent(W.T, R.T, b, of_n)
    return fn.Recurrent(W.T, R.T, b + c)


def assert_cotangents(name: str, of_params: Any, theirs: Any, suffix: str = "") -> None:
    """The gradients are those of PyTorch's params."""
    W, R, b, c = (
        getattr(theirs, f"{kind}_l0{suffix}").grad.numpy() for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    pairs = [(of_params.weight.T, W), (of_params.recurrent_weight.T, R), (of_params.bias, b)]
    pairs += [(of_params.recurrent_bias, c[2 * UNITS :])] if name == "gru" else []
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@every_layer
@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("state", [False, True])
def test_the_weights_of_pytorch_give_the_same(name: str, both_ways: bool, lengths: bool, state: bool) -> None:
    torch: Any = pytest.importorskip("torch")
    rng, ways = np.random.default_rng(1), 1 + both_ways
    theirs = getattr(torch.nn, name.upper())(INPUTS, UNITS, batch_first=True, bidirectional=both_ways).double()
    options: dict[str, Any] = {"lengths": lengths, "initial_state": state}
    all_times, last = (LAYERS[name](UNITS, **options, **more) for more in ({"return_sequences": True}, {**WHOLE[name]}))
    params = of_torch(name, theirs)
    if both_ways:
        all_times, last = fn.bidirectional(all_times), fn.bidirectional(last)
        params = fn.Bidirectional(params, of_torch(name, theirs, "_reverse"))
    x, n = rng.normal(size=(4, TIMES, INPUTS)), np.array([6, 1, 3, 5])
    h = rng.normal(size=(4, ways * STATES[name]))
    inputs = (x, *(n,) * lengths, *(h,) * state)
    z, s = torch.tensor(x, requires_grad=True), torch.tensor(h, requires_grad=True)
    given: Any = ()
    if state:
        parts = s.reshape(4, ways, STATES[name] // UNITS, UNITS).permute(2, 1, 0, 3).contiguous()
        given = (tuple(parts) if name == "lstm" else parts[0],)
    if lengths:
        packed = torch.nn.utils.rnn.pack_padded_sequence(z, torch.tensor(n), batch_first=True, enforce_sorted=False)
        y, final = theirs(packed, *given)
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True)
    else:
        y, final = theirs(z, *given)
    final = torch.stack(final if name == "lstm" else (final,), -2)  # (ways, rows, parts, units)
    final = final.permute(1, 0, 2, 3).reshape(4, -1)
    for layer, expected in ((all_times, y), (last, final)):
        found, pullback = layer.apply.vjp(params, *inputs)
        np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-10, atol=1e-14)
        g = rng.normal(size=found.shape)
        for leaf in (z, s, *theirs.parameters()):
            leaf.grad = None
        expected.backward(torch.tensor(g), retain_graph=True)
        of_params, of_inputs = pullback(g)
        np.testing.assert_allclose(of_inputs[0], z.grad.numpy(), rtol=1e-9, atol=1e-12)
        if state:
            np.testing.assert_allclose(of_inputs[-1], s.grad.numpy(), rtol=1e-9, atol=1e-12)
        for suffix, part in zip(("", "_reverse"), of_params if both_ways else (of_params,), strict=False):
            assert_cotangents(name, part, theirs, suffix)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def keras_step(name: str, weights: Any, x: Any, states: list[Any]) -> list[Any]:
    """The equations in Keras's reference: of the cells of SimpleRNN, LSTM, and GRU with reset_after."""
    kernel, recurrent_kernel, bias = weights
    h = states[0]
    if name == "rnn":
        return [np.tanh(x @ kernel + bias + h @ recurrent_kernel)]
    if name == "lstm":
        i, f, c, o = np.split(x @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
        carry = sigmoid(f) * states[1] + sigmoid(i) * np.tanh(c)
        return [sigmoid(o) * np.tanh(carry), carry]
    x_z, x_r, x_h = np.split(x @ kernel + bias[0], 3, axis=1)
    h_z, h_r, h_h = np.split(h @ recurrent_kernel + bias[1], 3, axis=1)
    z = sigmoid(x_z + h_z)
    return [z * h + (1 - z) * np.tanh(x_h + sigmoid(x_r + h_r) * h_h)]


@every_layer
def test_the_weights_of_keras_give_the_same(name: str) -> None:
    rng, gates = np.random.default_rng(3), {"rnn": 1, "lstm": 4, "gru": 3}[name]
    biases = (2, 3 * UNITS) if name == "gru" else (gates * UNITS,)
    shapes = ((INPUTS, gates * UNITS), (UNITS, gates * UNITS), biases)
    weights = [rng.normal(size=shape) for shape in shapes]
    if name == "gru":  # whose gates are z, r, h
        W, R, b, c = (
            np.concatenate(np.split(part, 3, axis=-1)[1::-1] + np.split(part, 3, axis=-1)[2:], axis=-1)
            for part in (*weights[:2], *weights[2])
        )
        c, of_n = np.concatenate([c[: 2 * UNITS], np.zeros(UNITS)]), c[2 * UNITS :]
        params: Any = fn.GatedRecurrent(W, R, b + c, of_n)
    else:
        params = fn.Recurrent(*weights)
    x, h = rng.normal(size=(4, TIMES, INPUTS)), rng.normal(size=(4, STATES[name]))
    states = np.split(h, STATES[name] // UNITS, axis=1)
    for t in range(TIMES):
        states = keras_step(name, weights, x[:, t], states)
    layer = LAYERS[name](UNITS, initial_state=True, **WHOLE[name])
    np.testing.assert_allclose(layer.apply(params, x, h), np.concatenate(states, axis=1), rtol=1e-10)
