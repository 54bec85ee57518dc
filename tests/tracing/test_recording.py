"""The whole surface of recording: whatever is recorded has the shape, and the numbers, that NumPy gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from funcnet.compiler.binding import Binding
from funcnet.compiler.planning import make_plan
from funcnet.errors import TracingError
from funcnet.tracing.primitives import inner
from funcnet.tracing.trace import Trace

ROWS, LENGTHS = 6, st.sampled_from([1, 2, 3])
F64 = np.dtype(np.float64)
Function = Callable[..., Any]


def whole(*shape: int, seed: int = 0) -> Any:
    """Small whole numbers, whose sums and products have no rounding."""
    return np.random.default_rng(seed).integers(-3, 4, size=shape).astype(F64)


def recorded(function: Function, batches: list[Any], params: list[Any]) -> Any:
    """(the shape recorded, what its program gives) of a function of (*params, *batches)."""
    trace = Trace(F64, len(batches[0]))
    symbols = [*(trace.parameter(p.shape) for p in params), *(trace.input(x.shape, F64) for x in batches)]
    value = function(*symbols) * 1.0 + 0.0  # what goes out is a call's own result, never a view of what came in
    space = Binding(make_plan(trace, [value]))
    if params:
        space.params[...] = np.concatenate([p.ravel() for p in params])
    for place, x in zip(space.inputs, batches, strict=True):
        place[...] = x
    for f, arguments in space.program:
        f(*arguments)
    return value.shape, np.array(space.outputs[0])


def agree(function: Function, batches: list[Any], params: list[Any]) -> None:
    expected = np.asarray(function(*params, *batches) * 1.0 + 0.0)
    shape, found = recorded(function, batches, params)
    assert shape == expected.shape
    np.testing.assert_array_equal(found, expected, strict=True)


# --- products, of every pair of ranks, each operand a batch or not, transposed or not


@st.composite
def operands(draw: st.DrawFn) -> tuple[Any, Any, bool, bool]:
    """(a, b, whether a and whether b is a batch) of shapes that NumPy multiplies."""
    rows = {"a": draw(st.booleans()), "b": draw(st.booleans())}
    n, k, m = draw(LENGTHS), draw(LENGTHS), draw(LENGTHS)
    stack = draw(st.lists(LENGTHS, max_size=2))
    a, b = [*stack, n, k], [*stack[draw(st.integers(0, len(stack))) :], k, m]
    if rows["a"]:
        a[0 if len(a) > 2 or draw(st.booleans()) else 0] = ROWS
    if rows["b"] and len(b) == len(a) > 2:
        b[0] = ROWS
    rows["b"] = rows["b"] and len(b) == len(a) > 2
    return whole(*a), whole(*b, seed=1), rows["a"], rows["b"]


@given(operands())
@example((whole(8, 2, 5)[:6, None], whole(2, 5, 4), True, False))
@example((whole(6, 1, 2, 5), whole(3, 5, 4), True, False))
def test_products(drawn: tuple[Any, Any, bool, bool]) -> None:
    a, b, a_rows, b_rows = drawn
    batches = [x for x, rows in ((a, a_rows), (b, b_rows)) if rows]
    if not batches:
        batches = [whole(ROWS, 1)]
    params = [x for x, rows in ((a, a_rows), (b, b_rows)) if not rows]
    fits = True
    try:
        a @ b
    except ValueError:
        fits = False

    def function(*given: Any) -> Any:
        *own, last = given
        if a_rows and b_rows:
            return own[0] @ last
        if a_rows or b_rows:
            return last @ own[0] if a_rows else own[0] @ last
        return own[0] @ own[1] + last.sum()

    if fits:
        agree(function, batches, params)
    else:
        with pytest.raises(ValueError, match=r"fit|broadcast"):
            recorded(function, batches, params)


TRANSPOSED: dict[str, tuple[Function, list[tuple[int, ...]], list[tuple[int, ...]]]] = {
    "W^T x^T": (lambda W, x: W.T @ x.T, [(4, 5)], [(4,)]),
    "a stack of weights, one batch": (lambda W, x: x[:, None] @ W, [(2, 5, 4)], [(3, 5)]),
    "a stack before the rows": (lambda W, x: x @ W, [(2, 4, 5)], [(4,)]),
    "two batches": (lambda x, y: x @ y, [], [(2, 3), (3, 4)]),
    "two batches, one transposed": (lambda x, y: x @ y.transpose((0, 2, 1)), [], [(2, 3), (5, 3)]),
    "heads": (lambda x, y: x @ y, [], [(2, 3, 4), (2, 4, 1)]),
    "one head for all": (lambda x, y: x @ y[:, :1], [], [(2, 3, 4), (2, 4, 1)]),
    "W x, rows in the stack": (lambda W, x: W @ x, [(4, 2)], [(2, 3)]),
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_products_of_views(name: str) -> None:
    function, params, batches = TRANSPOSED[name]
    agree(function, [whole(ROWS, *s, seed=2 + i) for i, s in enumerate(batches)], [whole(*s) for s in params])


@pytest.mark.parametrize(
    "mixing",
    [
        lambda W, x, s: x @ x.T,
        lambda W, x, s: x.T @ W,
        lambda W, x, s: s @ s.reshape(ROWS * 2, 3).T,
        lambda W, x, s: x.reshape(2, 12),
        lambda W, x, s: x.T.reshape(ROWS, 4),
        lambda W, x, s: x + x.T,
        lambda W, x, s: x[:3],
        lambda W, x, s: np.concatenate([x, x]),
        lambda W, x, s: x @ W[0],
    ],
)
def test_what_mixes_rows_is_refused(mixing: Function) -> None:
    trace = Trace(F64, ROWS)
    with pytest.raises((TracingError, ValueError)):
        mixing(trace.parameter((4, 4)), trace.input((ROWS, 4), F64), trace.input((ROWS, 2, 3), F64))


# --- masks: what NumPy makes of them alone is a mask too, or is refused


UFUNCS = {f.__name__: f for f in vars(np).values() if isinstance(f, np.ufunc) and (f.nout, f.signature) == (1, None)}
OF_MASKS: dict[str, Function] = {
    "sum": lambda p, q: p + q + p,
    "sum of sums": lambda p, q: (p + q) + (p + q),
    "product": lambda p, q: p * q + p * q,
    "larger": lambda p, q: np.maximum(p, q) + p,
    "smaller": lambda p, q: np.minimum(p, q) + p,
    "with a constant": lambda p, q: p * np.array([True, False, True, True]) + q,
    "with a number": lambda p, q: (p + 1) * (q * 2.0) - p,
    "joined": lambda p, q: np.concatenate([p, q], axis=-1) + np.concatenate([q, p], axis=-1),
    "joined to numbers": lambda p, q: np.concatenate([p, q * 0.5], axis=-1),
    "numbers joined to it": lambda p, q: np.concatenate([p * 0.5, q], axis=-1),
    "counted": lambda p, q: (p * q).sum(axis=-1),
    "counted over rows": lambda p, q: (p + q).sum(axis=0),
    "product with numbers": lambda p, q: p.T @ (q * 0.5),
    "either of a mask and numbers": lambda p, q: np.where(p, q, 0.5),
}
REFUSED: dict[str, Function] = {
    "product of matrices": lambda p, q: p.T @ q,
    "product of stacks": lambda p, q: p[:, None] @ q[..., None],
    "difference": lambda p, q: p - q,
    "negative": lambda p, q: -p,
    "positive": lambda p, q: +p,
    "quotient": lambda p, q: p / q,
    "power": lambda p, q: p**q,
    "half precision": lambda p, q: np.exp(p),
    "largest": lambda p, q: p.max(axis=-1),
    "either of two masks": lambda p, q: np.where(p, q, p),
}


def of_masks(function: Function) -> Function:
    return lambda x: function(x > 0.0, x < 2.0)


@pytest.mark.parametrize("name", OF_MASKS)
def test_masks_are_those_of_numpy(name: str) -> None:
    agree(of_masks(OF_MASKS[name]), [whole(ROWS, 4)], [])


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_mask_of_masks_is_refused(name: str) -> None:
    with pytest.raises(TracingError, match=r"nothing but masks .* mask \* x.dtype.type\(1\), or combine them by &"):
        recorded(of_masks(REFUSED[name]), [whole(ROWS, 4)], [])


def test_a_mask_is_made_numbers_by_a_number_of_the_dtype() -> None:
    agree(lambda x: (x > 0.0).T @ ((x > 0.0) * x.dtype.type(1)), [whole(ROWS, 4)], [])


@pytest.mark.parametrize("name", UFUNCS)
def test_every_ufunc_of_masks_alone_is_numpys_or_refused(name: str) -> None:
    ufunc = UFUNCS[name]

    def function(*masks: Any) -> Any:
        return ufunc(*masks[: ufunc.nin])

    try:
        recorded(of_masks(function), [whole(ROWS, 4)], [])
    except TracingError as error:
        assert "nothing but masks" in str(error)  # noqa: PT017
    else:
        agree(of_masks(lambda *masks: function(*masks) + masks[0]), [whole(ROWS, 4)], [])


@pytest.mark.parametrize("ufunc", [np.bitwise_and, np.bitwise_or, np.bitwise_xor])
def test_bits_of_numbers_are_refused(ufunc: Any) -> None:
    with pytest.raises(TracingError, match="of numbers, not masks"):
        recorded(lambda x: ufunc(x > 0.0, 1), [whole(ROWS, 4)], [])


# --- everything else, one after the other

Step = tuple[str, Callable[[Any], Any]]


@st.composite
def steps(draw: st.DrawFn) -> Step:
    """An operation on one array, with options that fit some shapes and not others."""
    axis = draw(st.sampled_from([1, 2, 3, -1, -2, (1, -1), (1, 2)]))
    keepdims, number = draw(st.booleans()), draw(st.sampled_from([2, 2.0, -1.0, 0.5]))
    order = draw(st.permutations([1, 2, 3]).map(lambda p: p[: draw(st.integers(1, 3))]))
    start, stop, jump = (draw(st.sampled_from(ends)) for ends in ([None, 0, 1, -1], [None, 2, -1], [None, 2, -1]))
    part = slice(start, stop, jump)
    operations: dict[str, Callable[[Any], Any]] = {
        f"sum {axis} {keepdims}": lambda x: x.sum(axis=axis, keepdims=keepdims),
        f"max {axis} {keepdims}": lambda x: x.max(axis=axis, keepdims=keepdims),
        f"times {number}": lambda x: x * number,
        "reversed subtraction": lambda x: number - x,
        "squared": lambda x: x * x,
        "absolute": np.abs,
        "largest": lambda x: np.maximum(x, number),
        "mask": lambda x: x * (x > 0.0),
        f"part {part}": lambda x: x[:, part],
        f"last part {part}": lambda x: x[..., part] if x.ndim > 1 else x,
        "new axis": lambda x: x[:, None],
        "last axis new": lambda x: x[..., None],
        "one of the first": lambda x: x[:, 0],
        f"axes {order}": lambda x: x.transpose((0, *order)),
        "flat": lambda x: x.reshape(len_of(x), -1),
        "cut": lambda x: x.reshape(len_of(x), -1, 2),
        "joined": lambda x: np.concatenate([x, x * 2.0], axis=-1) if x.ndim > 1 else x,
        "broadcast": lambda x: np.broadcast_to(x, (*x.shape[:-1], 3)),
        "minus its mean": lambda x: x - x.sum(axis=-1, keepdims=True) * 0.5,
    }
    chosen: Step = draw(st.sampled_from([*operations.items()]))
    return chosen


def len_of(x: Any) -> int:
    return int(x.shape[0])


@given(st.lists(LENGTHS, max_size=3), st.lists(steps(), max_size=5))
def test_expressions(features: list[int], chosen: list[Step]) -> None:
    def function(x: Any) -> Any:
        for _, step in chosen:
            x = step(x) if x.ndim else x  # NumPy lets numbers pass for arrays of one axis
        return x

    x = whole(ROWS, *features)
    try:
        function(x)
    except (ValueError, IndexError):
        with pytest.raises((ValueError, IndexError, TypeError)):
            recorded(function, [x], [])
    else:
        agree(function, [x], [])


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_inner_products(shape: tuple[int, ...]) -> None:
    agree(lambda x, y: inner(x, y), [whole(ROWS, *shape), whole(ROWS, *shape, seed=1)], [])
