"""The program: each form in which a call is bound gives what the plain call gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet.compiler.binding import Binding, aligned
from funcnet.compiler.planning import make_plan
from funcnet.tracing.cells import RNN
from funcnet.tracing.forms import ROW, Instruction, is_dense, short_of_kernels, unbuffered
from funcnet.tracing.images import image, window_sum_grad
from funcnet.tracing.primitives import inner, relu_grad
from funcnet.tracing.recurrence import run as run_recurrence
from funcnet.tracing.trace import Trace
from funcnet.tracing.windows import Window

DTYPES = [np.float32, np.float64]
ROWS = [0, 1, 2, 7]

both_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
some_rows = pytest.mark.parametrize("rows", ROWS)


def bound(function: Callable[..., Any], arrays: Sequence[Any], params: Sequence[Any] = ()) -> Binding:
    """The workspace of a function of (*params, *batches), filled with these numbers."""
    trace = Trace(arrays[0].dtype, len(arrays[0]))
    symbols = [trace.parameter(p.shape) for p in params]
    outputs = function(*symbols, *(trace.input(x.shape, x.dtype) for x in arrays))
    space = Binding(make_plan(trace, outputs if isinstance(outputs, tuple) else (outputs,)))
    if params:
        space.params[...] = np.concatenate([p.ravel() for p in params])
    for place, x in zip(space.inputs, arrays, strict=True):
        place[...] = x
    return space


def program(function: Callable[..., Any], arrays: Sequence[Any], params: Sequence[Any] = ()) -> list[Instruction]:
    return bound(function, arrays, params).program


def run(function: Callable[..., Any], arrays: Sequence[Any], params: Sequence[Any] = ()) -> Any:
    """What the program of a function gives."""
    space = bound(function, arrays, params)
    for f, args in space.program:
        f(*args)
    results = [np.array(y) for y in space.outputs]
    return results[0] if len(results) == 1 else results


def plain(function: Callable[..., Any], arrays: Sequence[Any], params: Sequence[Any] = ()) -> Any:
    """What NumPy itself gives."""
    with np.errstate(all="ignore"):
        return function(*params, *arrays)


def numbers(*shape: int, dtype: Any = np.float32, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def whole(*shape: int, dtype: Any = np.float32, seed: int = 0) -> Any:
    """Small whole numbers, whose sums and products have no rounding."""
    return np.random.default_rng(seed).integers(-8, 9, size=shape).astype(dtype)


def same_bits(a: Any, b: Any) -> bool:
    return (a.shape, a.dtype, a.tobytes()) == (b.shape, b.dtype, b.tobytes())


# --- products

PRODUCTS: dict[str, Callable[..., Any]] = {
    "x W": lambda W, V, x, s: x @ W,
    "x W of a slice": lambda W, V, x, s: x[:, ::2] @ W[::2],
    "g V^T": lambda W, V, x, s: x @ V.T,
    "x^T g": lambda W, V, x, s: x.T @ (x * 2.0),
    "x^T g of slices": lambda W, V, x, s: x[:, 1:].T @ x[:, :2],
    "params alone": lambda W, V, x, s: W @ V,
    "params transposed": lambda W, V, x, s: V.T @ W.T,
    "transposed twice": lambda W, V, x, s: (x.T.T @ W).T,
    "one column": lambda W, V, x, s: x @ W[:, :1],
    "one feature": lambda W, V, x, s: x[:, :1] @ W[:1],
    "rows of sequences": lambda W, V, x, s: s.reshape(-1, 4) @ W,
    "gradient over sequences": lambda W, V, x, s: s.reshape(-1, 4).T @ (s * 3.0).reshape(-1, 4),
    "sequences": lambda W, V, x, s: s @ W,
    "of what was computed": lambda W, V, x, s: np.abs(x) @ np.abs(W),
}


@both_dtypes
@some_rows
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_in_every_layout(name: str, rows: int, dtype: Any) -> None:
    arrays = [whole(rows, 4, dtype=dtype), whole(rows, 3, 4, dtype=dtype, seed=1)]
    params = [whole(4, 5, dtype=dtype, seed=2), whole(5, 4, dtype=dtype, seed=3)]
    found, expected = (call(PRODUCTS[name], arrays, params) for call in (run, plain))
    np.testing.assert_array_equal(found, expected, strict=True)


CONTRACTIONS = {  # features, units, rows, and the instructions where BLAS lacks a fast kernel for many results
    "few results": (20, 13, 256, 1),
    "short rows, g turned first": (65, 64, 64, 2),
    "long rows, some results at a time": (65, 64, 128, 4),
    "long rows, the last part shorter": (129, 13, 256, 2),
    "short rows, too many results to turn": (200, 100, 64, 1),
    "too many units": (40, 151, 256, 1),
}


@both_dtypes
@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize("name", CONTRACTIONS)
def test_a_sum_along_rows_in_each_of_its_forms(
    name: str, short: bool, dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, units, rows, instructions = CONTRACTIONS[name]
    monkeypatch.setattr("funcnet.tracing.forms.short_of_kernels", lambda: short)
    arrays = [whole(rows, features, dtype=dtype), whole(rows, units, dtype=dtype, seed=1)]

    def product(x: Any, g: Any) -> Any:
        return x.T @ g

    assert len(program(product, arrays)) == (instructions if short else 1)
    np.testing.assert_array_equal(run(product, arrays), plain(product, arrays), strict=True)


def test_which_kernels_there_are_can_be_told() -> None:
    assert short_of_kernels() in (True, False)


@pytest.mark.parametrize(("core", "short"), [("Haswell", False), ("ZEN", False), ("SkylakeX", True), ("", True)])
def test_kernels_of_another_cpu_may_have_been_asked_for(
    core: str, short: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = {"SIMD Extensions": {"found": ["X86_V4"]}, "Build Dependencies": {"blas": {"name": "scipy-openblas"}}}
    monkeypatch.setattr(np, "show_config", lambda mode: wide)
    monkeypatch.setenv("OPENBLAS_CORETYPE", core)
    assert short_of_kernels.__wrapped__() is short


def test_a_bias_rides_in_a_product_with_a_row_of_ones() -> None:
    arrays, params = [whole(7, 4)], [whole(4, 5, seed=1), whole(5, seed=2)]

    def affine(W: Any, b: Any, x: Any) -> Any:
        return (x * 2.0) @ W + b

    assert len(program(affine, arrays, params)) == 2
    np.testing.assert_array_equal(run(affine, arrays, params), plain(affine, arrays, params), strict=True)


@pytest.mark.parametrize("shape", [(7, 3, 4), (2, 1, 4), (1, 5, 4), (3, 2, 2, 4)])
def test_a_bias_rides_where_times_are_rows_too(shape: tuple[int, ...]) -> None:
    params = [whole(4, 5, seed=1), whole(5, seed=2)]

    def affine(W: Any, b: Any, x: Any) -> Any:
        y = x * 2.0
        return (y.reshape(-1, 4) @ W + b).reshape(*shape[:-1], 5) + y.sum(axis=-1)[..., None]

    found, expected = run(affine, [whole(*shape)], params), plain(affine, [whole(*shape)], params)
    np.testing.assert_array_equal(found, expected, strict=True)
    names = [f.__name__ for f, _ in program(affine, [whole(*shape)], params)]
    assert names.count("add") == 1  # of the two sums, none of the bias


def test_rows_of_ones_stay_from_run_to_run() -> None:
    space = bound(lambda W, b, x: np.tanh(np.tanh(x) @ W + b), [whole(7, 4)], [whole(4, 4, seed=1), whole(4, seed=2)])
    found = []
    for _ in range(3):
        space.inputs[0][...] = whole(7, 4)
        for f, args in space.program:
            f(*args)
        found.append(space.outputs[0].copy())
    assert same_bits(found[0], found[1])
    assert same_bits(found[0], found[2])


# --- sums

SUMS: dict[str, Callable[..., Any]] = {
    "over rows": lambda x, s: x.sum(axis=0),
    "over rows, axis kept": lambda x, s: x.sum(axis=0, keepdims=True),
    "over rows of a slice": lambda x, s: x[:, ::2].sum(axis=0),
    "over rows of one feature": lambda x, s: x[:, :1].sum(axis=0),
    "over rows of sequences": lambda x, s: s.sum(axis=0),
    "over rows and places of sequences": lambda x, s: s.reshape(-1, 3).sum(axis=0),
    "over places": lambda x, s: s.sum(axis=1),
    "over rows and places": lambda x, s: s.sum(axis=(0, 1)),
    "over rows and places of a slice": lambda x, s: s[:, ::2].sum(axis=(0, 1)),
    "over rows and places of the transposed": lambda x, s: s.transpose((1, 0, 2)).sum(axis=(0, 1)),
    "over features": lambda x, s: x.sum(axis=-1),
    "over features of sequences": lambda x, s: s.sum(axis=-1, keepdims=True),
    "over the second of the transposed": lambda x, s: x.T.sum(axis=1),
    "over all": lambda x, s: x.sum(),
    "over all of sequences": lambda x, s: s.sum(),
    "inner": lambda x, s: inner(x, x * 2.0),
    "inner of slices": lambda x, s: inner(x[:, 1:], x[:, :-1]),
    "inner with the reversed": lambda x, s: inner(x, x[:, ::-1]),
    "inner of sequences": lambda x, s: inner(s, s),
    "inner of one axis": lambda x, s: inner(x[:, 0], x[:, 1]),
}


@both_dtypes
@some_rows
@pytest.mark.parametrize("name", SUMS)
def test_sums_in_every_layout(name: str, rows: int, dtype: Any) -> None:
    arrays = [whole(rows, 4, dtype=dtype), whole(rows, 2, 3, dtype=dtype, seed=1)]
    found, expected = run(SUMS[name], arrays), np.asarray(plain(SUMS[name], arrays))
    np.testing.assert_array_equal(found, expected, strict=True)


def test_a_sum_over_rows_is_a_product_with_ones() -> None:
    ((f, (ones, _)),) = program(lambda x: x.sum(axis=0), [whole(7, 4)])
    assert f.__name__ == "dot"
    np.testing.assert_array_equal(ones, np.ones(7, np.float32), strict=True)


def test_a_sum_over_rows_and_places_of_sequences_is_a_product_with_ones() -> None:
    (f, (ones, sums)), (reduce, _) = program(lambda x: x.sum(axis=(0, 1)), [whole(7, 5, 3)])
    assert (f.__name__, reduce.__name__, sums.shape) == ("dot", "reduce", (3 * 7,))
    np.testing.assert_array_equal(ones, np.ones(5, np.float32), strict=True)


@both_dtypes
def test_a_mask_is_summed_over_rows(dtype: Any) -> None:
    x = whole(7, 4, dtype=dtype)
    np.testing.assert_array_equal(run(lambda x: (x > 0.0).sum(axis=0) * 1.0, [x]), (x > 0).sum(axis=0))


@some_rows
def test_the_largest_over_features(rows: int) -> None:
    x = numbers(rows, 4)
    np.testing.assert_array_equal(run(lambda x: x.max(axis=-1), [x]), x.max(axis=-1), strict=True)


# --- elementwise calls

ODD = [0.0, -0.0, 1.5, -1.5, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3e38]
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "maximum with a number": lambda x, y: np.maximum(x, 1.0),
    "maximum with a number before it": lambda x, y: np.maximum(-2.0, x),
    "minimum with a number": lambda x, y: np.minimum(x, 1.0),
    "maximum of two": lambda x, y: np.maximum(x, y),
    "minimum of two": lambda x, y: np.minimum(x, y),
    "maximum with one column": lambda x, y: np.maximum(x, y[:, :1]),
    "maximum with an array": lambda x, y: np.maximum(x, np.arange(x.shape[-1], dtype=x.dtype)),
    "maximum of the reversed": lambda x, y: np.maximum(x[:, ::-1], 0.5),
    "a constant before": lambda x, y: 2.0 - x,
    "an integer": lambda x, y: x * 3,
    "a constant of numpy's": lambda x, y: x * x.dtype.type(3),
    "two inputs": lambda x, y: x * y,
    "a column": lambda x, y: x * y[:, :1],
    "the reversed": lambda x, y: x + y[:, ::-1],
    "a slice in place": lambda x, y: np.abs(np.abs(x)[:, 1:]),
    "a mask": lambda x, y: x * (y > 0.0),
    "masks": lambda x, y: x * ((y > 0.0) & ~(x > 0.0)),
    "transposed": lambda x, y: (x * 2.0).T * 3.0,
    "sequences": lambda x, y: np.abs(x.reshape(*x.shape[:1], 5, 2)) * 2.0,
    "fused": lambda x, y: np.concatenate([x, y * 2.0, x[:, :1]], axis=-1),
    "reshaped": lambda x, y: (x * 2.0).reshape(-1, 5) * 2.0,
}


@both_dtypes
@some_rows
@pytest.mark.parametrize("name", FUNCTIONS)
def test_elementwise_calls(name: str, rows: int, dtype: Any) -> None:
    x = np.resize(np.array(ODD, dtype), (rows, 10))
    y = np.resize(np.array(ODD[::-1] + [2.0], dtype), (rows, 10))
    with np.errstate(all="ignore"):
        found, expected = run(FUNCTIONS[name], [x, y]), FUNCTIONS[name](x, y)
    np.testing.assert_array_equal(found, expected, strict=True)
    assert np.array_equal(np.signbit(found)[expected != 0], np.signbit(expected)[expected != 0])


def test_zero_and_minus_zero_are_two_constants() -> None:
    x = numbers(5, 3)
    found = run(lambda x: (np.copysign(x, 0.0), np.copysign(x, -0.0)), [x])
    np.testing.assert_array_equal(found[0], np.abs(x))
    np.testing.assert_array_equal(found[1], -np.abs(x))


def test_a_constant_is_rounded_to_the_dtype_once() -> None:
    x = numbers(5, 3)
    assert same_bits(run(lambda x: x * 0.1, [x]), x * np.float32(0.1))


def test_maximum_runs_against_a_whole_array() -> None:
    ((f, _),) = program(lambda x: np.maximum(x, 0.5), [numbers(5, 3)])
    np.testing.assert_array_equal(f.args[1], np.full(15, 0.5, np.float32), strict=True)  # type: ignore[attr-defined]


def test_contiguous_arrays_are_given_as_vectors() -> None:
    ((_, args),) = program(lambda x: np.tanh(x), [numbers(5, 3)])
    assert [a.shape for a in args] == [(15,), (15,)]


@both_dtypes
def test_in_place_is_one_and_the_same_array(dtype: Any) -> None:
    arrays, params = [numbers(5, 4, dtype=dtype)], [numbers(4, 4, dtype=dtype)]
    calls = program(lambda W, x: np.tanh(np.exp(np.sin(x) * 2.0) @ W * 0.5), arrays, params)
    in_place = [args for f, args in calls if isinstance(f, np.ufunc)]
    assert [args[0] is args[-1] for args in in_place] == [True] * 5


def test_a_value_times_itself_is_squared_in_place() -> None:
    ((_, _), (f, args)) = program(lambda x: (e := np.exp(x)) * e, [numbers(5, 3)])
    assert f is np.square
    assert args[0] is args[1]


@pytest.mark.parametrize("rows", [2, 7])
def test_relu_in_place_is_one_and_the_same_array(rows: int) -> None:
    *_, (f, _) = program(lambda x: np.maximum(np.sin(x), 0.0), [numbers(rows, 3)])
    assert f.args[0] is f.keywords["out"]  # type: ignore[attr-defined]


# --- gates

NOWHERE_NEGATIVE = [0.0, 1e-45, 1.5, 3e38, np.inf, np.nan]


@both_dtypes
@some_rows
@pytest.mark.parametrize("g", [1.5, -1.5, 1e-45, 3e38])
def test_a_gate_on_bits_is_a_product_with_a_mask(g: float, rows: int, dtype: Any) -> None:
    y = np.resize(np.array(NOWHERE_NEGATIVE, dtype), (rows, 6))
    gs = np.full_like(y, g)
    np.testing.assert_array_equal(run(lambda g, y: relu_grad(g, y), [gs, y]), plain(relu_grad, [gs, y]), strict=True)


@pytest.mark.parametrize("g", [np.inf, -np.inf, np.nan])
def test_a_closed_gate_lets_nothing_through(g: float) -> None:
    gs, y = np.full((2, 2), g, np.float32), np.array([[0.0, 1.0], [2.0, 0.0]], np.float32)
    expected = np.array([[0.0, g], [g, 0.0]], np.float32)
    np.testing.assert_array_equal(run(lambda g, y: relu_grad(g, y), [gs, y]), expected)
    np.testing.assert_array_equal(plain(relu_grad, [gs, y]), expected)


def test_a_gate_over_a_slice_and_sequences() -> None:
    g, y = numbers(5, 6), np.abs(numbers(5, 6, seed=1)) * (numbers(5, 6, seed=2) > 0)
    functions: list[Callable[..., Any]] = [
        lambda g, y: relu_grad(g[:, 1:], y[:, 1:]),
        lambda g, y: relu_grad(g[:, ::-1], y),
    ]
    for function in functions:
        np.testing.assert_array_equal(run(function, [g, y]), function(g, y), strict=True)
    g3, y3 = g.reshape(5, 2, 3), y.reshape(5, 2, 3)
    np.testing.assert_array_equal(run(lambda g, y: relu_grad(g, y), [g3, y3]), relu_grad(g3, y3), strict=True)


def relu_gradient(x: Any) -> Any:
    """The gradient of relu at x in a program: that of the bias x of a linear layer of weight 0 before it."""
    net = fn.serial(fn.linear(x.shape[1]), fn.relu())
    params = (fn.Affine(np.zeros((1, x.shape[1]), x.dtype), x[0]), ())
    loss = fn.serial(fn.multiply(), fn.custom_layer(total_shape, total))
    _, gradient = fn.value_and_grad(net, loss)(params, np.zeros((1, 1), x.dtype), np.ones_like(x))
    return gradient[0].bias[None]


def total_shape(key: Any, *shapes: Any, dtype: Any = np.float32) -> Any:
    return (), ()


def total(params: Any, x: Any) -> Any:
    return x.sum(), lambda g: ((), (np.full_like(x, g),))


@both_dtypes
@pytest.mark.parametrize(("x", "slope"), [(0.0, 0), (-0.0, 0), (-1.0, 0), (1e-45, 1), (2.0, 1), (-1e-45, 0)])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 7, 8, 16, 33])
def test_the_slope_of_relu_in_a_program(x: float, slope: int, width: int, dtype: Any) -> None:
    at = np.full((1, width), x, dtype) if dtype is np.float64 or abs(x) != 1e-45 else np.full((1, width), x * 10, dtype)
    np.testing.assert_array_equal(relu_gradient(at), np.full((1, width), slope, dtype))


@both_dtypes
@pytest.mark.parametrize("width", [1, 2, 3, 4, 7, 8, 16, 33])
def test_the_slope_of_relu_at_nan_is_that_of_the_pure_function(width: int, dtype: Any) -> None:
    at = np.full((1, width), np.nan, dtype)
    _, pullback = fn.relu().apply.vjp((), at)
    np.testing.assert_array_equal(relu_gradient(at), pullback(np.ones_like(at))[1][0])


# --- long rows


def wide(rows: int) -> list[Instruction]:
    """The program that enlarges images to twice the height, to rows with gaps between them."""
    window = Window((2, 1), (2, 1), (1, 1), ((0, 0), (0, 0)))
    return program(lambda x: window_sum_grad(image(x), window, 8, 4, mean=False), [numbers(rows, 4, 4, 2)])


def test_rows_of_256_numbers_are_read_where_they_lie() -> None:
    assert [f.__name__ for f, _ in wide(63)][-2:] == ["add", "add"]
    *_, (f, instructions) = wide(64)
    assert f is unbuffered
    assert [add for add, _ in instructions] == [np.add, np.add]


@both_dtypes
@pytest.mark.parametrize(
    ("rows", "shape"), [(0, (2, 2, 1)), (1, (3, 4, 2)), (5, (3, 4, 2)), (3, (16, 16, 2)), (40, (32, 32, 1))]
)
def test_a_copy_to_another_order(rows: int, shape: tuple[int, ...], dtype: Any) -> None:
    """By assignment, by way of the buffer, or as vectors, by how far apart the rows are and how many there are."""
    x = numbers(rows, *shape, dtype=dtype)
    (call,) = program(image, [x])
    assert (call[0] is unbuffered) == (rows == 40)
    np.testing.assert_array_equal(run(image, [x]), x, strict=True)


@both_dtypes
@pytest.mark.parametrize(("rows", "calls"), [(3, 2), (5, 3)])
def test_values_in_two_orders_are_brought_into_one(rows: int, calls: int, dtype: Any) -> None:
    """Where they are more than 4,096 numbers; the second call is the copy, and the last one runs over vectors."""
    x = numbers(rows, 30, 15, 2, dtype=dtype)
    for function in (lambda x: np.subtract(image(x), x), lambda x: np.subtract(x, image(x))):
        found = program(function, [x])
        assert (len(found), {a.ndim for a in found[-1][1]}) == (calls, {1 if calls == 3 else 4})
        np.testing.assert_array_equal(run(function, [x]), np.zeros_like(x), strict=True)


def test_one_row_lies_the_same_in_every_order_of_the_batch() -> None:
    ((f, (x, y)),) = program(image, [numbers(1, 3, 4, 2)])
    assert (f, x.ndim, y.ndim) == (np.positive, 1, 1)


@pytest.mark.parametrize("size", [8192, 1024])
def test_the_buffer_of_numpy_is_the_callers_again(size: int) -> None:
    sizes: list[int] = []

    def fail() -> None:
        raise ZeroDivisionError

    with np.errstate():
        np.setbufsize(size)
        unbuffered((lambda: sizes.append(np.getbufsize()), ()))
        with pytest.raises(ZeroDivisionError):
            unbuffered((fail, ()))
        assert np.getbufsize() == size
    assert sizes == [ROW]


# --- memory


def test_memory_begins_at_a_cache_line() -> None:
    assert {aligned(n).ctypes.data % 64 for n in range(1, 2000, 37)} == {0}


def test_a_workspace_has_the_memory_that_the_plan_asks_for() -> None:
    space = bound(lambda W, x: np.tanh(x @ W), [numbers(5, 3)], [numbers(3, 2)])
    assert space.memory.nbytes >= sum(a.nbytes for a in (space.params, *space.inputs, *space.outputs))
    assert all(np.shares_memory(space.memory, a) for a in (space.params, *space.inputs, *space.outputs))


def test_two_workspaces_share_nothing() -> None:
    trace = Trace(np.dtype(np.float32), 5)
    plan = make_plan(trace, (np.tanh(trace.input((5, 3), trace.dtype)),))
    assert not np.shares_memory(Binding(plan).memory, Binding(plan).memory)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_arrays_without_gaps_are_dense_in_whatever_order_of_axes(order: tuple[int, ...]) -> None:
    a = np.empty((2, 3, 4)).transpose(order)
    assert is_dense(a)
    assert np.shares_memory(a.ravel("K"), a)
    assert not is_dense(np.empty((4, 6, 8))[::2, ::2, ::2].transpose(order))


# --- params elsewhere


def affine(W: Any, b: Any, x: Any) -> tuple[Any, Any]:
    """A call that reads params alone, one of params and values, and one of values alone."""
    y = x @ (W * 2.0) + b
    return y, np.tanh(y) * y


def test_params_are_read_where_they_are_and_in_place_again() -> None:
    arrays, params = [whole(7, 4)], [whole(4, 5, seed=1), whole(5, seed=2)]
    space = bound(affine, arrays, params)
    assert space.can_move
    before, lent = [args for _, args in space.program], space.params.copy()
    moved = [whole(4, 5, seed=3), whole(5, seed=4)]
    vector = np.concatenate([p.ravel() for p in moved])
    for source, expected in ((vector, moved), (lent, params)):
        space.read_from(source)
        space.inputs[0][...] = arrays[0]  # whose memory the last run has used
        for f, args in space.program:
            f(*args)
        for found, right in zip(space.outputs, plain(affine, arrays, expected), strict=True):
            np.testing.assert_array_equal(found, right, strict=True)
    space.read_from(space.params)
    for old, (_, new) in zip(before, space.program, strict=True):
        for x, y in zip(old, new, strict=True):
            if isinstance(x, np.ndarray) and np.may_share_memory(x, space.memory):
                assert x.__array_interface__ == y.__array_interface__, "a value has moved"


def test_params_that_go_out_cannot_be_elsewhere() -> None:
    assert not bound(lambda W, x: (x @ W, W), [whole(7, 4)], [whole(4, 5)]).can_move
    assert not bound(lambda W, x: (x @ W, W.T), [whole(7, 4)], [whole(4, 5)]).can_move
    assert bound(lambda W, x: (x @ W, W * 1.5), [whole(7, 4)], [whole(4, 5)]).can_move


def test_a_program_runs_in_the_memory_given() -> None:
    trace = Trace(np.dtype(np.float32), 7)
    x = trace.input((7, 4), np.dtype(np.float32))
    plan = make_plan(trace, (np.tanh(x),))
    memory = aligned(plan.size + 64)
    space = Binding(plan, memory)
    assert space.memory is memory
    assert np.may_share_memory(space.inputs[0], memory)
    assert space.offset(space.inputs[0]) == plan.places[id(plan.inputs[0])].start


# --- the forms that a memory gives to arrays


def space() -> Binding:
    return bound(np.tanh, [whole(7, 4)])


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_arrays_that_lie_alike_are_given_as_vectors(order: tuple[int, ...]) -> None:
    one, two = (whole(2, 3, 4, seed=seed).transpose(order) for seed in (0, 1))
    number = np.array(1.5, np.float32)
    x, n, y = space().in_line(one, number, two)
    assert n is number
    for vector, array in ((x, one), (y, two)):
        assert vector.shape == (24,)
        assert vector.__array_interface__["data"] == array.__array_interface__["data"]
    assert space().in_line(number, one)[1].shape == (24,)


DENSE = whole(4, 6)


@pytest.mark.parametrize(
    "arrays",
    [
        pytest.param((DENSE, whole(6, 4).T), id="of other strides"),
        pytest.param((DENSE, whole(6, 4)), id="of other shapes"),
        pytest.param((DENSE[:, :3], DENSE[:, 3:]), id="with gaps"),
        pytest.param((DENSE[0], DENSE[1]), id="vectors"),
        pytest.param((np.array(1.0), np.array(2.0)), id="numbers"),
    ],
)
def test_other_arrays_are_given_as_they_are(arrays: tuple[Any, ...]) -> None:
    assert [*map(id, space().in_line(*arrays))] == [*map(id, arrays)]


def test_an_output_that_nothing_reads_has_no_array() -> None:
    trace = Trace(np.dtype(np.float32), 5)
    M, x = trace.parameter((6, 2)), trace.input((5, 4, 3), trace.dtype)
    specs: list[Any] = [((5, 2), trace.dtype, 0), ((6, 5, 5), trace.dtype, 1)]
    y, states = run_recurrence(RNN, (x, M), specs, given=(), where="")
    made = Binding(make_plan(trace, (y,)))
    (call,) = made.plan.calls
    assert id(call.outputs[1]) not in made.plan.places, f"{states.shape} would be kept"
    made.params[...] = 0.0
    for f, args in made.program:
        f(*args)
    np.testing.assert_array_equal(made.outputs[0], np.zeros((5, 2), np.float32))


def test_memory_that_is_lent_has_the_form_asked_for() -> None:
    memory = space()
    one, two = (memory.empty((2, 3), np.dtype(np.int8)) for _ in range(2))
    assert (one.shape, one.dtype) == ((2, 3), np.int8)
    assert not np.may_share_memory(one, two)
    assert memory.scratch((3, 2)).dtype == np.float32
