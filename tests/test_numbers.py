"""NumPy's numbers are taken wherever Python's are: every int, float and flag that a public function takes."""

from __future__ import annotations

import inspect
import pickle
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import funcnet as fn

untyped: Any = fn
X, T = np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)
NET = fn.linear(2)
PARAMS, _ = NET.init(fn.key(0), (3,))
STEP = fn.sgd_step(NET, fn.mse(), learning_rate=0.5)

# A call of every public function that takes a number. Floats are powers of two, so that float32 holds them.
CALLS: dict[str, tuple[Any, ...] | dict[str, Any]] = {
    "accumulate": {"optimizer": fn.sgd(0.5), "k": 2},
    "adagrad": {"learning_rate": 0.5, "initial_accumulator_value": 0.25, "eps": 0.125},
    "adam": {"learning_rate": 0.5, "b1": 0.5, "b2": 0.25, "eps": 0.125, "eps_root": 0.0, "nesterov": True},
    "adamw": {
        "learning_rate": 0.5,
        "b1": 0.5,
        "b2": 0.25,
        "eps": 0.125,
        "eps_root": 0.0,
        "weight_decay": 0.5,
        "nesterov": True,
    },
    "attention": {"heads": 2, "cross": True, "causal": True, "masked": True, "dropout": 0.5},
    "add_decayed_weights": {"weight_decay": 0.5},
    "batch_norm": {"epsilon": 0.5},
    "avg_pool": {"kernel_size": 3, "strides": 2, "padding": ((2, 1),)},
    "binary_accuracy": {"prediction": X, "target": np.ones_like(X), "threshold": 0.5},
    "calibrate": {"net": NET, "params": PARAMS, "data": (X, T), "batch_size": 2},
    "clip": {"max_delta": 0.5},
    "clip_by_global_norm": {"max_norm": 0.5},
    "clip_by_norm": {"max_norm": 0.5},
    "constant": {"value": 0.5},
    "constant_schedule": {"value": 0.5},
    "conv": {
        "features": 4,
        "kernel_size": 3,
        "strides": 2,
        "padding": ((2, 1),),
        "dilation": 2,
        "groups": 2,
        "use_bias": True,
    },
    "conv_transpose": {
        "features": 4,
        "kernel_size": 3,
        "strides": 2,
        "padding": ((2, 1),),
        "dilation": 2,
        "use_bias": True,
    },
    "cosine_decay_schedule": {"init_value": 0.5, "decay_steps": 8, "alpha": 0.25, "exponent": 2.0},
    "custom_layer": {"init": NET.init, "function": NET.apply.function, "inputs": 1},
    "dot_product_attention": {"heads": 2, "causal": True, "masked": True},
    "dropout": {"rate": 0.5},
    "elu": {"alpha": 0.5},
    "ema": {"decay": 0.5, "debias": False},
    "ema_params": {"decay": 0.5},
    "embedding": {"vocabulary": 7, "features": 3},
    "bidirectional": {"layer": fn.gru(3)},
    "gru": {"units": 3, "return_sequences": True, "lengths": False, "initial_state": False},
    "lstm": {"units": 3, "return_sequences": True, "lengths": False, "initial_state": False, "return_state": True},
    "rnn": {"units": 3, "return_sequences": True, "lengths": False, "initial_state": False},
    "evaluate": {"net": NET, "metrics": fn.mse(), "params": PARAMS, "data": (X, T), "batch_size": 2},
    "exponential_decay": {
        "init_value": 0.5,
        "transition_steps": 8,
        "decay_rate": 0.5,
        "transition_begin": 2,
        "staircase": True,
        "end_value": 0.25,
    },
    "fit": {
        "step": STEP,
        "params": PARAMS,
        "data": (X, T),
        "epochs": 2,
        "batch_size": 2,
        "min_delta": 0.5,
        "verbose": False,
    },
    "fold_in": {"key": fn.key(0), "data": 3},
    "gaussian_nll": {"epsilon": 0.5, "weighted": True},
    "gelu": {"approximate": True},
    "group_norm": {"groups": 2, "epsilon": 0.5},
    "hinge": {"weighted": True},
    "huber": {"delta": 0.5, "weighted": True},
    "instance_norm": {"epsilon": 0.5},
    "key": {"seed": 3},
    "kl_divergence": {"weighted": True},
    "layer_norm": {"epsilon": 0.5},
    "leaky_relu": {"slope": 0.5},
    "linear": {"units": 4, "use_bias": False},
    "linear_schedule": {"init_value": 0.5, "end_value": 0.25, "transition_steps": 8, "transition_begin": 2},
    "lion": {"learning_rate": 0.5, "b1": 0.5, "b2": 0.25, "weight_decay": 0.5},
    "log_cosh": {"weighted": True},
    "mae": {"weighted": True},
    "masked_mean": {"axis": 1, "keepdims": True},
    "masked_sum": {"axis": 1, "keepdims": True},
    "max_pool": {"kernel_size": 3, "strides": 2, "padding": ((2, 1),)},
    "max": {"axis": 1, "keepdims": True},
    "mean": {"axis": 1, "keepdims": True},
    "minibatches": {"data": (X, T), "batch_size": 3, "drop_last": True},
    "mse": {"weighted": True},
    "normal": {"stddev": 0.5},
    "onecycle_schedule": {
        "transition_steps": 8,
        "peak_value": 0.5,
        "pct_start": 0.25,
        "div_factor": 4.0,
        "final_div_factor": 8.0,
    },
    "orthogonal": {"scale": 0.5},
    "permute": (2, 1),
    "piecewise_constant_schedule": {"init_value": 0.5, "boundaries_and_scales": {2: 0.5, 4: 0.25}},
    "pinball": {"quantile": 0.25, "weighted": True},
    "poisson_nll": {"weighted": True},
    "reduce_on_plateau": {
        "factor": 0.5,
        "patience": 2,
        "rtol": 0.25,
        "atol": 0.5,
        "cooldown": 2,
        "min_rate": 0.125,
    },
    "reshape": (3, -1),
    "rms_norm": {"epsilon": 0.5},
    "rmsprop": {
        "learning_rate": 0.5,
        "decay": 0.5,
        "eps": 0.125,
        "initial_scale": 0.25,
        "eps_in_sqrt": True,
        "centered": True,
        "momentum": 0.5,
        "nesterov": True,
    },
    "set_learning_rate": {"state": fn.sgd(0.5).init(PARAMS), "rate": 0.25},
    "sgd": {"learning_rate": 0.5, "momentum": 0.5, "nesterov": True},
    "sgd_step": {"net": NET, "loss": fn.mse(), "learning_rate": 0.5, "check_finite": True},
    "shared": {"key": 3, "transposed": True},
    "sigmoid_cross_entropy": {"weighted": True},
    "slice": {"start": 0, "stop": 4, "step": 2, "axis": 1},
    "softmax_cross_entropy": {"label_smoothing": 0.5, "ignore_label": -100, "weighted": True},
    "split": {"key": fn.key(0), "n": 3},
    "sum": {"axis": 1, "keepdims": True},
    "train_step": {"net": NET, "loss": fn.mse(), "optimizer": fn.sgd(0.5), "check_finite": True},
    "top_k_accuracy": {"prediction": X, "target": np.array([0, 1, 2, 0]), "k": 2},
    "uniform": {"scale": 0.5},
    "jit": {"function": STEP},
    "vmap": {"function": STEP, "in_axes": 0},
    "upsample": {"factor": (2, 3)},
    "value_and_grad": {"net": NET, "loss": fn.mse(), "check_finite": True},
    "warmup_cosine_decay_schedule": {
        "init_value": 0.5,
        "peak_value": 1.0,
        "warmup_steps": 2,
        "decay_steps": 8,
        "end_value": 0.25,
        "exponent": 2.0,
    },
}
ELSEWHERE = {
    "join_schedules": "boundaries",
    "network": "keys",
    "masked": "keys",
    "freeze": "keys",
    "parallel": "none",
    "load": "file",
    "to_c": "flag",
    "to_onnx": "shapes",
}
NUMBER = re.compile(r"\b(int|float|bool|Axes|Shape|OperatorKey|Mask)\b")

INTS: list[Callable[[int], Any]] = [np.int64, np.int32, np.int8, np.array]
FLOATS: list[Callable[[float], Any]] = [np.float64, np.float32, np.float16, np.array]


class Place(NamedTuple):
    """One number in one call."""

    function: str
    name: Any
    value: Any

    def __str__(self) -> str:
        """The name of a test."""
        return f"{self.function}-{self.name}"

    def call(self, value: Any) -> bytes:
        """What the function makes with this value in the place, to the last bit."""
        options = CALLS[self.function]
        make = getattr(untyped, self.function)
        if isinstance(options, tuple):
            made = make(*(value if i == self.name else option for i, option in enumerate(options)))
        else:
            made = make(**{**options, self.name: value})
        return pickle.dumps([*made] if isinstance(made, Iterator) else made)


def places(kind: type) -> list[Place]:
    """Every number of this type in the table."""
    found = []
    for function, options in CALLS.items():
        items = enumerate(options) if isinstance(options, tuple) else options.items()
        found += [Place(function, name, value) for name, value in items if type(value) is kind]
    return found


def test_every_public_function_that_takes_numbers_is_in_the_table() -> None:
    for name in fn.__all__:
        function = getattr(fn, name)
        if not inspect.isfunction(function) or name in ELSEWHERE:
            continue
        numbers = {
            p.name for p in inspect.signature(function).parameters.values() if NUMBER.search(str(p.annotation))
        } - {"mask", "input_shapes", "patience", "progress", "optimizer", "callbacks", "prediction", "drop_last"}
        options = CALLS.get(name, {})
        assert isinstance(options, tuple) or numbers <= options.keys(), name


@pytest.mark.parametrize("make", INTS)
@pytest.mark.parametrize("place", places(int), ids=str)
def test_integers(place: Place, make: Callable[[int], Any]) -> None:
    assert place.call(make(place.value)) == place.call(place.value)


@pytest.mark.parametrize("make", FLOATS)
@pytest.mark.parametrize("place", places(float), ids=str)
def test_floats(place: Place, make: Callable[[float], Any]) -> None:
    assert place.call(make(place.value)) == place.call(place.value)


@pytest.mark.parametrize("place", places(bool), ids=str)
def test_flags(place: Place) -> None:
    assert place.call(np.bool_(place.value)) == place.call(place.value)


@pytest.mark.parametrize("value", [True, np.True_, 1.0, np.float64(1.0), "1", np.array([1, 2])], ids=repr)
@pytest.mark.parametrize("place", places(int), ids=str)
def test_what_is_no_integer_is_refused(place: Place, value: Any) -> None:
    if isinstance(value, str) and place.function in ("fold_in", "shared"):
        return
    if place.function == "shared":
        with pytest.raises(fn.FuncnetError, match="keys are int or str"):
            fn.network({1: NET, 2: untyped.shared(value)}, {1: [2]})
        return
    with pytest.raises(fn.FuncnetError):
        place.call(value)


@pytest.mark.parametrize("value", [True, np.True_, "1", 10**400, np.array([0.5, 0.5]), 1j], ids=lambda v: f"{v!r:.20}")
@pytest.mark.parametrize("place", places(float), ids=str)
def test_what_is_no_number_is_refused(place: Place, value: Any) -> None:
    with pytest.raises(fn.FuncnetError):
        place.call(value)


@pytest.mark.parametrize("value", [1, "yes", None, np.array(True)], ids=repr)
@pytest.mark.parametrize("place", places(bool), ids=str)
def test_what_is_no_flag_is_refused(place: Place, value: Any) -> None:
    with pytest.raises(fn.FuncnetError):
        place.call(value)


# --- shapes, axes, boundaries


def test_shapes_are_stored_as_ints() -> None:
    shape = tuple(np.array([3, 5]))
    params, output = fn.linear(2).init(fn.key(0), shape)
    assert output == (3, 2)
    assert [type(n) for n in output] == [int, int]
    assert params.weight.shape == (5, 2)
    assert fn.normal(0.5)(fn.key(0), shape).shape == (3, 5)
    for init in (fn.zeros(), fn.glorot_normal(), fn.orthogonal()):
        assert init(fn.key(0), tuple(np.array([3, 5]))).shape == (3, 5)


@pytest.mark.parametrize("shape", [(True,), (2.0,), (-1,), (np.True_,), "2", 2, None], ids=repr)
def test_what_is_no_shape_is_refused(shape: Any) -> None:
    with pytest.raises(fn.ShapeError, match="a tuple of"):
        NET.init(fn.key(0), shape)
    with pytest.raises(fn.ShapeError, match="a shape is a tuple of ints"):
        fn.zeros()(fn.key(0), shape)


@pytest.mark.parametrize("make", [fn.mean, fn.sum, fn.max])
def test_axes_are_stored_as_ints(make: Any) -> None:
    assert pickle.dumps(make((np.int64(1), np.int8(-1))).init.apply.function) == pickle.dumps(
        make((1, -1)).init.apply.function
    )


def test_boundaries_may_be_an_array() -> None:
    parts = [fn.constant_schedule(0.5), fn.constant_schedule(0.25)]
    joined = untyped.join_schedules(parts, np.array([3]))
    assert [joined(t) for t in range(5)] == [0.5, 0.5, 0.5, 0.25, 0.25]
    piecewise = untyped.piecewise_constant_schedule(1.0, {np.int64(2): np.float32(0.5)})
    assert [piecewise(np.int64(t)) for t in range(3)] == [1.0, 1.0, 0.5]


# --- operator keys


@given(keys=st.lists(st.integers(-5, 100), min_size=3, max_size=3, unique=True), kind=st.sampled_from(INTS[:2]))
def test_numpy_keys_are_the_keys_of_python(keys: list[int], kind: Callable[[int], Any]) -> None:
    a, b, c = keys
    plain = fn.network({a: fn.linear(3), b: fn.tanh(), c: fn.shared(a)}, {a: [b], b: [c]}, inputs=[a], output=c)
    other = untyped.network(
        {kind(a): fn.linear(3), kind(b): fn.tanh(), kind(c): fn.shared(kind(a))},
        {kind(a): np.array([b]), kind(b): [kind(c)]},
        inputs=np.array([a]),
        output=kind(c),
    )
    params, _ = plain.init(fn.key(0), (3,))
    again, _ = other.init(fn.key(0), (3,))
    assert [(type(key), key) for key in again] == [(int, a)]
    assert np.array_equal(again[a].weight, params[a].weight)
    assert pickle.dumps(plain) == pickle.dumps(other)
    given_back = other.apply({kind(a): params[a]}, X)
    assert np.array_equal(given_back, plain.apply(params, X))
    step = fn.train_step(other, fn.mse(), fn.chain(fn.sgd(0.5), fn.freeze(np.array([a]))))
    new, *_ = step(params, step.init(params), X, X)
    assert np.array_equal(new[a].weight, params[a].weight)


def test_numpy_strings_are_keys() -> None:
    net = untyped.network({np.str_("a"): fn.linear(2), "b": fn.tanh()}, {"a": [np.str_("b")]}, output=np.str_("b"))
    params, _ = net.init(fn.key(0), (3,))
    assert [type(key) for key in params] == [str]


def test_several_outputs_named_by_an_array() -> None:
    net: Any = untyped.network({1: fn.linear(2), 2: fn.tanh()}, {1: [2]}, output=np.array([1, 2]))
    params, shapes = net.init(fn.key(0), (3,))
    assert shapes == ((2,), (2,))
    assert len(net.apply(params, X)) == 2


def test_a_path_shows_a_numpy_key_as_an_integer() -> None:
    ((path, _),) = fn.tree.leaves_with_path({np.int64(1): [X]})
    assert path == "[1][0]"


# --- positions in a serial


@pytest.mark.parametrize("where", [0, [0], np.array([0]), np.int64(0), {0}], ids=repr)
def test_freeze_takes_positions_of_a_serial(where: Any) -> None:
    net = fn.serial(fn.linear(4), fn.tanh(), fn.linear(2))
    params, _ = net.init(fn.key(0), (3,))
    step = fn.train_step(net, fn.mse(), fn.chain(fn.sgd(0.5), fn.freeze(where)))
    new, *_ = step(params, step.init(params), X, T)
    assert np.array_equal(new[0].weight, params[0].weight)
    assert np.array_equal(new[0].bias, params[0].bias)
    assert not np.array_equal(new[2].weight, params[2].weight)


def test_masked_takes_positions_of_a_serial() -> None:
    params: Any = ({"a": X}, [T])
    optimizer = fn.masked(fn.sgd(0.5), [1])
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert np.array_equal(updates[0]["a"], X)
    assert np.array_equal(updates[1][0], -0.5 * T)


@pytest.mark.parametrize("where", [2, -1, "a"])
def test_a_position_that_is_not_there_is_refused(where: Any) -> None:
    with pytest.raises(fn.ParamsError, match=rf"no layer has the position {where!r}; there are \[0, 1\]"):
        fn.freeze(where).init((X, T))
    with pytest.raises(fn.ParamsError, match="by position in the tuple of a serial"):
        fn.freeze(0).init(PARAMS)
