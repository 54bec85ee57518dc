"""ONNX models: what ONNX Runtime makes of them is what the network gives."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import funcnet as fn
from funcnet import tree
from funcnet.core import Function
from funcnet.tracing.recurrence import reverse
from tests.exports.runtime import assert_gives, newest_opset, onnx, outputs, session
from tests.support.cases import CASES, Case
from tests.support.strategies import Problem, problems

NEWEST = newest_opset()
EXPORTED = [case for case in CASES if case.name != "custom_layer"]
DTYPES: list[Any] = [np.float32, np.float64]
OPSETS = (17, 20, NEWEST)
OTHERS = [opset for opset in range(18, NEWEST) if opset not in OPSETS]
SINGLE = ("conv", "avg_pool")  # what ONNX Runtime has in float32 alone


def arrays(case: Case, rows: int, dtype: Any) -> list[Any]:
    """Inputs of a case."""
    return case.inputs(np.random.default_rng(rows).normal, rows, dtype)


def made(case: Case, dtype: Any) -> tuple[fn.Layer[Any, Any], Any]:
    """The layer of a case and its params, calibrated."""
    net = case.make()
    params, _ = net.init(fn.key(0), *case.shapes, dtype=dtype)
    whole_batch = not case.options.get("rowwise", True)
    return net, fn.calibrate(net, params, tuple(arrays(case, 16, dtype))) if whole_batch else params


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("case", EXPORTED, ids=lambda case: case.name)
@pytest.mark.parametrize("opsets", [OPSETS, pytest.param(OTHERS, marks=pytest.mark.slow)], ids=["some", "others"])
def test_every_operator_gives_what_it_gives_here(case: Case, dtype: Any, opsets: Iterable[int]) -> None:
    net, params = made(case, dtype)
    if dtype is np.float64 and case.name.startswith(SINGLE):
        with pytest.raises(fn.ExportError, match="float32"):
            fn.to_onnx(net, params, *case.shapes, dtype=dtype)
        return
    for opset in opsets:
        running = session(fn.to_onnx(net, params, *case.shapes, opset=opset, dtype=dtype))
        assert_gives(running, net, params, *arrays(case, 1, dtype))
        assert_gives(running, net, params, *arrays(case, 5, dtype))
        with suppress(fn.ShapeError):  # a mean over no rows
            assert_gives(running, net, params, *arrays(case, 0, dtype))


@pytest.mark.parametrize("opset", range(17, NEWEST + 1))
def test_every_opset_is_declared_and_runs(opset: int) -> None:
    net = fn.serial(fn.linear(3), fn.gelu(), fn.max(1, keepdims=True), fn.layer_norm(), fn.softplus(), fn.sum(-1))
    params, _ = net.init(fn.key(0), (4, 5))
    model = fn.to_onnx(net, params, (4, 5), opset=opset)
    assert [(i.domain, i.version) for i in onnx.load_from_string(model).opset_import] == [("", opset)]
    assert_gives(session(model), net, params, np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32))


@given(problem=problems())
def test_random_networks(problem: Problem) -> None:
    net, params, inputs = problem._replace(dtype=np.float64).made()
    running = session(fn.to_onnx(net, params, *(x.shape[1:] for x in inputs), dtype=np.float64))
    assert_gives(running, net, params, *inputs, ulps=1e5)  # they multiply what they compute, time and again


def told(values: Any) -> list[tuple[str, int, list[int | str]]]:
    """The names, element types and shapes of inputs or outputs."""
    tensors = [(v.name, v.type.tensor_type) for v in values]
    return [(name, t.elem_type, [d.dim_param or d.dim_value for d in t.shape.dim]) for name, t in tensors]


def test_inputs_and_outputs_have_names_dtypes_and_a_free_batch() -> None:
    net = fn.network(
        {"text": fn.embedding(5, 3), "x": fn.linear(3), "sum": fn.add(), "loss": fn.mse()},
        {"text": ["sum", "loss"], "x": ["sum"], "sum": ["loss"]},
        output=["sum", "loss"],
    )
    params, _ = net.init(fn.key(0), (), (2,))
    graph = onnx.load_from_string(fn.to_onnx(net, params, (), (2,))).graph
    assert told(graph.input) == [
        ("x0", onnx.TensorProto.INT64, ["batch"]),
        ("x1", onnx.TensorProto.FLOAT, ["batch", 2]),
    ]
    assert told(graph.output) == [("y0", onnx.TensorProto.FLOAT, ["batch", 3]), ("y1", onnx.TensorProto.FLOAT, [])]


def test_a_single_input_and_output_have_no_numbers_and_nodes_have_the_operators_keys() -> None:
    net = fn.network({"in": fn.linear(2), 7: [fn.tanh(), fn.network({"inner": fn.relu()}, {})]}, {"in": [7]})
    params, _ = net.init(fn.key(0), (3,), dtype=np.float64)
    graph = onnx.load_from_string(fn.to_onnx(net, params, (3,))).graph
    assert [told(graph.input), told(graph.output)] == [[("x", 11, ["batch", 3])], [("y", 11, ["batch", 2])]]
    assert {node.name.split("/")[0] for node in graph.node} == {"in linear", "7 serial", "y"}
    assert {"7 serial/0 tanh/Tanh", "7 serial/1 network/inner relu/Relu"} <= {node.output[0] for node in graph.node}
    assert {i.name for i in graph.initializer} >= {"params['in'].weight", "params['in'].bias"}


@pytest.mark.parametrize(
    ("make", "kind", "single"),
    [
        (lambda: fn.linear(3), "Gemm", False),
        (lambda: fn.linear(3, use_bias=False), "MatMul", False),
        (fn.sigmoid, "Sigmoid", True),
        (fn.softmax, "Softmax", False),
        (fn.log_softmax, "LogSoftmax", False),
        (fn.tanh, "Tanh", False),
        (fn.relu, "Relu", False),
        (fn.softplus, "Softplus", True),
        (fn.gelu, "Gelu", True),
    ],
)
def test_operators_that_onnx_has_are_one_node(make: Callable[[], fn.Layer[Any]], kind: str, single: bool) -> None:
    net = make()
    for dtype in DTYPES:
        params, _ = net.init(fn.key(0), (4,), dtype=dtype)
        nodes = onnx.load_from_string(fn.to_onnx(net, params, (4,), dtype=dtype)).graph.node
        assert ([node.op_type for node in nodes] == [kind, "Identity"]) is (dtype == np.float32 or not single)
    older = onnx.load_from_string(fn.to_onnx(fn.gelu(), (), (4,), opset=19)).graph.node
    assert "Erf" in {node.op_type for node in older}


@pytest.mark.parametrize("make", [fn.rnn, fn.lstm, fn.gru])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_recurrence_is_one_operator_and_does_not_read_past_the_end(make: Any, dtype: Any) -> None:
    net = make(4, lengths=True, return_sequences=True)
    params, _ = net.init(fn.key(0), (6, 3), (), dtype=dtype)
    params = tree.map(lambda p: p + dtype(0.1), params)  # biases too, of which each gate has another
    params = tree.map(lambda p: p * np.linspace(1, 2, p.shape[-1], dtype=dtype), params)
    model = fn.to_onnx(net, params, (6, 3), ())
    kinds = [node.op_type for node in onnx.load_from_string(model).graph.node]
    assert kinds.count(make.__name__.upper() if dtype is np.float32 else "Scan") == 1
    x, lengths = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(dtype), np.array([0, 6, 1, 4])
    x[np.arange(6) >= lengths[:, None]] = np.nan
    assert_gives(session(model), net, params, x, lengths)
    last = make(4, lengths=True, initial_state=True)
    states = (8,) if make is fn.lstm else (4,)
    first = np.random.default_rng(1).normal(size=(4, *states)).astype(dtype)
    assert_gives(session(fn.to_onnx(last, params, (6, 3), (), states)), last, params, x, lengths, first)


def reversed_times(_: Any, x: Any, lengths: Any) -> Any:
    if lengths.dtype.kind == "f":
        raise fn.DTypeError("lengths are integers")
    return reverse(x, lengths), lambda g: ((), (g, None))


def test_a_reversed_sequence_is_zero_past_its_end() -> None:
    net = fn.Layer(fn.add().init, Function("reversed", reversed_times, 2, integer_inputs=[1]))
    x, lengths = np.arange(24, dtype=np.float32).reshape(4, 3, 2), np.array([0, 3, 1, 2])
    assert_gives(session(fn.to_onnx(net, (), (3, 2), ())), net, (), x, lengths)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("opset", range(17, NEWEST + 1))
def test_recurrent_layers_of_one_another(opset: int, dtype: Any) -> None:
    net = fn.serial(fn.lstm(4, return_sequences=True), fn.linear(3), fn.gru(2, return_sequences=True), fn.rnn(3))
    params, _ = net.init(fn.key(0), (5, 2), dtype=dtype)
    running = session(fn.to_onnx(net, params, (5, 2), opset=opset))
    for rows in (0, 1, 5):
        assert_gives(running, net, params, np.random.default_rng(0).normal(size=(rows, 5, 2)).astype(dtype))


def nearly(x: Any) -> Any:
    e = np.exp(np.minimum(x, 41.0))
    return e / (e + 1.0) + np.exp(np.minimum(x, 40.0)) / (np.exp(np.minimum(x * 2.0, 40.0)) + 1.0), lambda g: g


def nearly_softmax(x: Any) -> Any:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True), lambda g: g


def over_rows(x: Any) -> Any:
    e = np.exp(x - x.max(axis=1)[..., None])
    return e / e.sum(axis=1)[..., None], lambda g: g


def turned(x: Any) -> Any:
    e = np.exp(x - x.max(axis=-1)[:, ::-1, None])
    return e / e.sum(axis=-1)[:, ::-1, None], lambda g: g


def of_matrices(x: Any) -> Any:
    return x @ x + x, lambda g: g


@pytest.mark.parametrize("function", [nearly, nearly_softmax, over_rows, turned, of_matrices])
def test_what_is_nearly_an_operator_of_onnx_is_not_taken_for_it(function: Any) -> None:
    net = fn.elementwise(function)
    model = fn.to_onnx(net, (), (3, 3))
    assert {"Gemm", "Sigmoid", "Softmax"}.isdisjoint(node.op_type for node in onnx.load_from_string(model).graph.node)
    assert_gives(session(model), net, (), np.random.default_rng(0).normal(size=(2, 3, 3)).astype(np.float32))


def test_params_that_operators_share_are_written_once() -> None:
    operators = {"a": fn.linear(4), "b": fn.shared("a"), "c": fn.shared("a", transposed=True)}
    net = fn.network(operators, {"a": ["b"], "b": ["c"]})
    params, _ = net.init(fn.key(0), (4,))
    model = fn.to_onnx(net, params, (4,))
    names = sorted(i.name for i in onnx.load_from_string(model).graph.initializer)
    assert names == ["params['a'].bias", "params['a'].weight"]
    assert_gives(session(model), net, params, np.ones((2, 4), np.float32))


def test_outputs_that_are_inputs_or_views_have_names_of_their_own() -> None:
    net = fn.network({1: fn.identity(), 2: fn.flatten()}, {1: [2]}, output=[1, 2])
    running = session(fn.to_onnx(net, {}, (2, 3)))
    assert_gives(running, net, {}, np.arange(12, dtype=np.float32).reshape(2, 2, 3))


def test_dropout_is_the_identity() -> None:
    net = fn.serial(fn.linear(3), fn.dropout(0.5))
    params, _ = net.init(fn.key(0), (3,))
    assert_gives(session(fn.to_onnx(net, params, (3,))), net, params, np.ones((2, 3), np.float32))


def test_distributions_and_labels_are_told_apart_by_what_the_operators_take() -> None:
    net = fn.network(
        {"t": fn.identity(), "i": fn.embedding(5, 3), "loss": fn.softmax_cross_entropy()},
        {"i": ["loss"], "t": ["loss"]},
        inputs=["i", "t"],
    )
    params, _ = net.init(fn.key(0), (), (3,))
    kinds = [kind for _, kind, _ in told(onnx.load_from_string(fn.to_onnx(net, params, (), (3,))).graph.input)]
    assert kinds == [onnx.TensorProto.INT64, onnx.TensorProto.FLOAT]


def test_weights_of_0_and_labels_of_no_class_add_nothing() -> None:
    net = fn.softmax_cross_entropy(weighted=True, ignore_label=-100)
    running = session(fn.to_onnx(net, (), (4,), (), ()))
    z = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    z[2] = np.nan
    w = np.array([1, 1, 0, 2], np.float32)
    assert_gives(running, net, (), z, np.array([1, -100, 9, 3]), w)
    assert_gives(running, net, (), z, np.array([1, -100, 9, 3]), w * 0)
    with pytest.raises(Exception, match="GatherElements"):
        outputs(running, z, np.array([1, 9, 0, 3]), w)


VALUES = [0.0, 1e-30, 1e-12, 1e-5, 0.01, 0.5, 1.0, 3.0, 8.0, 17.0, 40.0, 80.0, 1e4, 1e30]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("make", [fn.softplus, fn.selu, fn.gelu, fn.silu, fn.sigmoid, fn.tanh, fn.relu, fn.elu])
def test_scalar_functions_at_extremes(make: Callable[[], fn.Layer[Any]], dtype: Any) -> None:
    x = np.array([[*VALUES, *(-v for v in VALUES)]], dtype)
    with np.errstate(over="ignore", under="ignore"):
        assert_gives(session(fn.to_onnx(make(), (), x.shape[1:], dtype=dtype)), make(), (), x)


def test_log1p_and_expm1_keep_their_digits() -> None:
    x = np.array([[*VALUES[:10], *(-v for v in VALUES[:5])]])
    for ufunc in (np.log1p, np.expm1):
        running = session(fn.to_onnx(of_ufunc(ufunc), (), x.shape[1:], dtype=np.float64))
        np.testing.assert_allclose(outputs(running, x)[0], x * ufunc(x), rtol=1e-15)
    ends = np.array([[np.inf, 1e300, 800.0, 0.0]])
    running = session(fn.to_onnx(of_ufunc(np.log1p), (), (4,), dtype=np.float64))
    np.testing.assert_allclose(outputs(running, ends)[0], ends * np.log1p(ends), rtol=1e-15)
    running = session(fn.to_onnx(of_ufunc(np.expm1), (), (4,), dtype=np.float64))
    np.testing.assert_allclose(outputs(running, -ends)[0], -ends * np.expm1(-ends), rtol=1e-15)


def of_ufunc(ufunc: Any) -> fn.Layer[Any]:
    """A layer of x times one ufunc, of x alone or of x and 1 - x; a mask counts as numbers."""

    def function(x: Any) -> Any:
        y = ufunc(x) if ufunc.nin == 1 else ufunc(x, 1.0 - x)
        return y * x, lambda g: g

    return fn.elementwise(function, "ufunc")


@pytest.mark.parametrize(
    "ufunc",
    [
        *(np.add, np.subtract, np.multiply, np.divide, np.power, np.negative, np.positive, np.exp, np.exp2, np.log),
        *(np.log2, np.log10, np.log1p, np.expm1, np.sqrt, np.square, np.reciprocal, np.maximum, np.minimum),
        *(np.absolute, np.fabs, np.sign, np.floor, np.ceil, np.rint, np.sin, np.cos, np.tan, np.arcsin, np.arccos),
        *(np.arctan, np.sinh, np.cosh, np.tanh, np.arcsinh, np.arctanh, np.isnan, np.isinf, np.isfinite),
        *(np.equal, np.not_equal, np.greater, np.greater_equal, np.less, np.less_equal),
        *(np.logical_and, np.logical_or, np.logical_xor, np.logical_not),
    ],
    ids=lambda ufunc: ufunc.__name__,
)
def test_ufuncs_of_a_function_of_ones_own(ufunc: Any) -> None:
    net = of_ufunc(ufunc)
    x = np.array([[0.1, 0.25, 0.5, 0.75, 0.9]], np.float32)
    assert_gives(session(fn.to_onnx(net, (), (5,))), net, (), x)


def masks(x: Any) -> Any:
    inside = (x > -1.0) & (x < 1.0)
    edge = ~inside | (x == 0.5) | np.broadcast_to(inside[:, :1], x.shape)
    return (inside ^ edge) * x + inside * (x + 2.0), lambda g: g


def test_masks_of_a_function_of_ones_own() -> None:
    net = fn.elementwise(masks)
    x = np.array([[-2.0, -0.5, 0.0, 0.5, 2.0]], np.float32)
    assert_gives(session(fn.to_onnx(net, (), (5,))), net, (), x)


def shapes(x: Any) -> Any:
    turned = x.transpose((0, 2, 1))[:, ::-1, None, 1:]
    first = turned[..., 0, -1]
    wide = np.broadcast_to(x[:, :1, :], x.shape)
    return wide * x.max(axis=()) + (first.sum(axis=-1) / x.size)[:, None, None], lambda g: g


@pytest.mark.parametrize("opset", [17, 20])
def test_views_copies_and_sizes_of_a_function_of_ones_own(opset: int) -> None:
    net = fn.elementwise(shapes)
    running = session(fn.to_onnx(net, (), (3, 4), opset=opset))
    for rows in (1, 2, 3, 5):
        assert_gives(running, net, (), np.random.default_rng(0).normal(size=(rows, 3, 4)).astype(np.float32))


def test_infinities_and_nans_go_through() -> None:
    x = np.array([[np.inf, -np.inf, np.nan, 1.0]], np.float32)
    for net in (fn.tanh(), fn.identity(), fn.serial(fn.sum(1))):
        params, _ = net.init(fn.key(0), (4,))
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            assert_gives(session(fn.to_onnx(net, params, (4,))), net, params, x)
