"""Recording: what a NumPy expression on values becomes, and what cannot be recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from funcnet import tree
from funcnet.errors import DTypeError
from funcnet.random import key
from funcnet.tracing.primitive import BITWISE, MASKS, of_ufunc
from funcnet.tracing.primitives import gather, inner, pad, relu_grad, scatter_add, total_weight, zeros_like
from funcnet.tracing.trace import Trace, Value
from tests.support.cases import CASES, Case

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
ROWS = 6


def batch(*features: int, rows: int = ROWS, total: int | None = None, dtype: Any = F32) -> Value:
    """A batched value of a new trace."""
    trace = Trace(np.dtype(dtype), rows, total)
    return trace.input((rows, *features), np.dtype(dtype))


def calls(value: Value) -> int:
    """How many calls its trace has recorded."""
    return len(value.trace.calls)


def test_a_ufunc_is_one_call() -> None:
    x = batch(3)
    y = np.tanh(x)
    (call,) = x.trace.calls
    assert (call.primitive, call.inputs, call.output) == (of_ufunc(np.tanh), (x,), y)
    assert (y.shape, y.dtype, y.batch_axis) == ((ROWS, 3), F32, 0)


@pytest.mark.parametrize("dtype", [F32, F64])
def test_values_have_the_dtype_of_the_trace(dtype: Any) -> None:
    x = batch(3, dtype=dtype)
    values = (x * 2.0, 2 - x, x.T @ x, x.sum(), x.max(axis=0), inner(x, x), np.exp(x), x[:, 1:], relu_grad(x, x))
    assert {value.dtype for value in values} == {dtype}


@pytest.mark.parametrize("ufunc", sorted(MASKS - BITWISE, key=str), ids=lambda ufunc: ufunc.__name__)
def test_comparisons_are_masks(ufunc: np.ufunc) -> None:
    assert ufunc(*(batch(3), 0.0)[: ufunc.nin]).dtype == bool


@pytest.mark.parametrize("reverse", [False, True])
def test_constants_are_read_where_they_stand(reverse: bool) -> None:
    x = batch(3)
    y = 2.0 - x if reverse else x - 2.0
    assert y.call is not None
    assert y.call.inputs == ((2.0, x) if reverse else (x, 2.0))


@pytest.mark.parametrize(("a", "b"), [((3,), ()), ((3,), (1,)), ((1,), (3,)), ((2, 1), (1, 5)), ((2, 3), (3,))])
def test_broadcasting_is_that_of_numpy(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    trace = Trace(F32, ROWS)
    x, y = trace.input((ROWS, *a), F32), trace.parameter(b)
    assert (x + y).shape == np.broadcast_shapes(x.shape, b)
    assert (y * x).shape == np.broadcast_shapes(x.shape, b)


def test_what_does_not_broadcast_is_refused() -> None:
    x = batch(3)
    with pytest.raises(ValueError, match="broadcast"):
        x + x[:, :2]


def test_arrays_among_the_inputs_broadcast_too() -> None:
    assert (batch(1) * np.ones(3, np.float32)).shape == (ROWS, 3)


def index(x: Value) -> Value:
    """Integers, one for each row of x."""
    return x.trace.input(x.shape[:1], np.dtype(np.intp))


# values made of a batch x and a weight W, and which of their axes is the batch
BATCH_AXES: dict[str, tuple[Callable[..., Any], int | None]] = {
    "elementwise": (lambda x, W: np.tanh(x), 0),
    "a weight's own": (lambda x, W: W * 2.0, None),
    "a weight and a batch": (lambda x, W: W[0] + x, 0),
    "product": (lambda x, W: x @ W, 0),
    "transposed": (lambda x, W: x.T, 1),
    "twice transposed": (lambda x, W: x.T.T, 0),
    "gradient of a weight": (lambda x, W: x.T @ x, None),
    "a weight transposed": (lambda x, W: W.T, None),
    "sum over features": (lambda x, W: x.sum(axis=-1), 0),
    "sum over rows": (lambda x, W: x.sum(axis=0), None),
    "sum over rows, axis kept": (lambda x, W: x.sum(axis=0, keepdims=True), None),
    "sum over all": (lambda x, W: x.sum(), None),
    "sum over the features of the transposed": (lambda x, W: x.T.sum(axis=0), 0),
    "maximum over features, axis kept": (lambda x, W: x.max(axis=-1, keepdims=True), 0),
    "slice of features": (lambda x, W: x[:, 1:], 0),
    "inner": (lambda x, W: inner(x, x), None),
    "relu_grad": (lambda x, W: relu_grad(x, x), 0),
    "joined": (lambda x, W: np.concatenate([x, x], axis=-1), 0),
    "reshaped": (lambda x, W: x.reshape(ROWS, 4, 1), 0),
    "sum over both axes": (lambda x, W: x.sum(axis=(0, 1)), None),
    "sum over the axes behind the batch": (lambda x, W: x.reshape(ROWS, 2, 2).sum(axis=(1, -1)), 0),
    "axes in another order": (lambda x, W: x.reshape(ROWS, 2, 2).transpose((1, 2, 0)), 2),
    "broadcast": (lambda x, W: np.broadcast_to(x[:, :1], (ROWS, 4)), 0),
    "rows of a table": (lambda x, W: gather(W, index(x)), 0),
    "rows put back": (lambda x, W: scatter_add(x, index(x), W), None),
    "padded": (lambda x, W: pad(x[:, 1:], (slice(None), slice(1, None)), x), 0),
    "zeros": (lambda x, W: zeros_like(W), None),
    "sum of weights": (lambda x, W: total_weight(x), None),
}


@pytest.mark.parametrize("name", BATCH_AXES)
def test_the_batch_axis_is_known(name: str) -> None:
    trace = Trace(F32, ROWS)
    function, expected = BATCH_AXES[name]
    assert function(trace.input((ROWS, 4), F32), trace.parameter((4, 4))).batch_axis == expected


VIEWS: dict[str, Callable[[Any], Any]] = {
    "transposed": lambda x: x.T,
    "slice": lambda x: x[:, 1:3],
    "last row of features": lambda x: x[..., -1],
    "new axis": lambda x: x[:, None],
    "rows of sequences": lambda x: x.reshape(-1, x.shape[-1]),
    "the same shape": lambda x: x.reshape(*x.shape),
    "slice of transposed": lambda x: x.T[1:],
    "axes in another order": lambda x: x.transpose((1, 0)),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_cost_no_call(name: str) -> None:
    x = batch(4)
    assert VIEWS[name](x).root is x
    assert calls(x) == 0


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_what_numpy_makes_of_it(name: str) -> None:
    x = batch(4)
    array = np.arange(ROWS * 4.0).reshape(ROWS, 4)
    value, expected = VIEWS[name](x), VIEWS[name](array)
    assert value.shape == expected.shape
    chain = []
    while value.base is not None:
        chain.append(value.view)
        value = value.base
    for view in reversed(chain):
        array = view(array)
    np.testing.assert_array_equal(array, expected)


def test_a_reshape_that_cuts_features_is_a_copy() -> None:
    x = batch(4)
    y = x.reshape(ROWS, 2, 2)
    assert y.base is None
    assert calls(x) == 1


def test_a_reshape_of_rows_alone_is_a_view() -> None:
    x = batch(5, 4)
    y = x.reshape(-1, 4)
    assert (y.shape, y.base, y.batch_axis, calls(x)) == ((ROWS * 5, 4), x, 0, 0)


@pytest.mark.parametrize("shape", [(-1,), (ROWS, -1), (ROWS, -1, 2), (-1, 1, 2)])
def test_one_length_may_be_left_to_reshape(shape: tuple[int, ...]) -> None:
    assert batch(4).reshape(*shape).shape == np.empty((ROWS, 4)).reshape(shape).shape


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1, -2, (0, 1), (-1, 1), ()])
@pytest.mark.parametrize("method", ["sum", "max"])
def test_reductions_have_the_shapes_of_numpys(method: str, axis: Any, keepdims: bool) -> None:
    x = batch(2, 3)
    value = getattr(x, method)(axis=axis, keepdims=keepdims)
    assert value.shape == np.empty(x.shape).sum(axis=axis, keepdims=keepdims).shape
    assert calls(x) == 1


def test_a_mask_is_summed_in_the_dtype_named() -> None:
    x = batch(3)
    y = (x > 0.0).sum(axis=-1, dtype=F32)
    assert (y.dtype, y.shape, x.trace.calls[-1].attributes) == (F32, (ROWS,), {"axes": (1,)})


@pytest.mark.parametrize("shape", [(ROWS, 4), (ROWS, 2, 4)])
def test_what_is_broadcast_is_copied_once(shape: tuple[int, ...]) -> None:
    x = batch(1, 1) if len(shape) == 3 else batch(1)
    y = np.broadcast_to(x, shape)  # type: ignore[call-overload]
    assert (y.shape, y.base, calls(x)) == (shape, None, 1)


def test_concatenate_adds_the_lengths() -> None:
    trace = Trace(F32, ROWS)
    values: list[Any] = [trace.input((ROWS, 5, n), F32) for n in (2, 3, 1)]
    assert np.concatenate(values, axis=-1).shape == (ROWS, 5, 6)


def test_parameters_lie_one_behind_the_other() -> None:
    trace = Trace(F32, ROWS)
    assert [trace.parameter(shape).offset for shape in ((4, 3), (3,), (), (0, 2), (5,))] == [0, 12, 15, 16, 16]


def traced(case: Case) -> Trace:
    """The calls of a layer, forward and backward."""
    layer = case.make()
    params, _ = layer.init(key(0), *case.shapes, dtype=np.float64)
    trace = Trace(F64, ROWS)
    symbols = tree.map(lambda p: trace.parameter(p.shape), params)
    inputs = [trace.input((ROWS, *shape), dtype) for shape, dtype in zip(case.shapes, case.dtypes(F64), strict=True)]
    output, pullback = layer.apply.function(symbols, *inputs)
    pullback(tree.map(lambda y: 1.0 if y.shape == () else trace.input(y.shape, F64), output))
    return trace


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_value_has_one_writer_before_its_readers(case: Case) -> None:
    trace = traced(case)
    written = {id(value) for value in (*trace.parameters, *trace.inputs)}
    for call in trace.calls:
        assert {id(value.root) for value in call.operands} <= written
        for output in call.outputs:
            assert id(output) not in written
            assert (output.call, output.base) == (call, None)
            written.add(id(output))


def test_calls_tell_where_they_come_from() -> None:
    x = batch(3)
    x.trace.scope = "7 tanh"
    np.tanh(x)
    assert x.trace.calls[0].scope == "7 tanh"


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (lambda x: x, 80),
        (lambda x: x.T, 80),
        (lambda x: x.sum(axis=-1), 20),
        (lambda x: x.sum(axis=0), 4),
        (lambda x: x.sum(), 1),
        (lambda x: x[:, 1:], 60),
    ],
)
def test_size_counts_the_whole_batch_in_a_block(value: Callable[[Any], Any], size: int) -> None:
    x = batch(4, rows=7, total=20)
    assert value(x).size == size
    assert x.elements == 28


def test_the_size_of_an_empty_batch_is_zero() -> None:
    assert batch(4, rows=0).size == 0


ALIVE: Any = np.ones((ROWS, 3), np.float32)
REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "where": (lambda x: np.where(x, 1.0, 0.0), "where of two numbers, .* cannot be recorded"),
    "clip": (lambda x: np.clip(x, 0.0, 1.0), "clip cannot be recorded"),
    "np.sum": (lambda x: np.sum(x), "sum cannot be recorded"),
    "accumulate": (lambda x: np.add.accumulate(x), "add.accumulate"),
    "ufunc.reduce": (lambda x: np.add.reduce(x), "add.reduce"),
    "outer": (lambda x: np.multiply.outer(x, x), "multiply.outer"),
    "at": (lambda x: np.add.at(x, 0, 1.0), "add.at"),
    "out": (lambda x: np.tanh(x, out=ALIVE), "out"),
    "in place": (lambda x: x.__iadd__(1.0), "out"),
    "into an array": (lambda x: ALIVE.__iadd__(x), "out"),
    "masked": (lambda x: np.exp(x, where=ALIVE > 0.0), "where"),
    "another dtype": (lambda x: np.add(x, 1.0, dtype=np.float64), "dtype"),
    "product into": (lambda x: np.matmul(x, ALIVE.T, out=ALIVE), "out"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_recorded_is_refused(name: str) -> None:
    call, named = REFUSED[name]
    x = batch(3)
    with pytest.raises(TypeError, match=named):
        call(x)
    assert calls(x) == 0


def test_ufuncs_of_two_outputs_are_refused() -> None:
    with pytest.raises(TypeError, match="modf"):
        np.modf(batch(3))


def test_branching_on_values_is_refused() -> None:
    with pytest.raises(TypeError, match="branch"):
        bool(batch(3).sum() > 0.0)


def test_rows_cannot_be_walked() -> None:
    x: Any = batch(3)
    with pytest.raises(TypeError):
        list(x)


@pytest.mark.parametrize("use", [lambda i: i * 2.0, lambda i: i.T @ i, lambda i: i.sum(), lambda i: i.max(axis=-1)])
def test_integers_are_refused(use: Callable[[Any], Any]) -> None:
    trace = Trace(F32, ROWS)
    with pytest.raises(DTypeError, match="int64 meets float32: cast it"):
        use(trace.input((ROWS, 3), np.dtype(np.int64)))


def test_values_cannot_be_written_to() -> None:
    x: Any = batch(3)
    with pytest.raises(TypeError, match="item assignment"):
        x[0] = 1.0
