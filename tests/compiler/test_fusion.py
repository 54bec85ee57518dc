"""Calls that do the same to several small values are made once, and give the same bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funcnet as fn
from funcnet.compiler import fusion
from funcnet.compiler.binding import Binding
from funcnet.compiler.fusion import SMALL
from funcnet.compiler.plan import Plan
from funcnet.compiler.planning import PASSES, make_plan
from funcnet.compiler.programs import Compiled
from funcnet.tracing.primitives import relu_grad
from funcnet.tracing.trace import Call, Trace
from tests.compiler.test_plan import assert_no_clobber, assert_same_as_numpy, functions, planned
from tests.support.budget import examples

ROWS, WIDTH = 4, 3


def squares(*values: Any) -> Any:
    """y^2 of several values, and all of it added up."""
    return sum((y * y).sum() for y in values)


def joined_calls(found: Plan) -> list[Call]:
    return [call for call in found.calls if id(call.output) in found.parts]


def count(found: Plan) -> int:
    """How many calls are fused ones."""
    return len(joined_calls(found))


def values_of(function: Callable[..., Any], rows: int = ROWS) -> Plan:
    """The plan of a function of tanh and exp of two inputs."""
    return planned(lambda a, b: function(np.tanh(a), np.exp(b)), (WIDTH,), (WIDTH,), rows=rows)


# --- what is fused


def test_two_squares_are_one_call() -> None:
    found = values_of(lambda a, b: (a * a).sum() + (b * b).sum())
    (call,) = joined_calls(found)
    assert call.primitive.name == "multiply"
    assert functions(found.calls).count("multiply") == 1
    assert [part.shape for part in found.parts[id(call.output)]] == [(ROWS, WIDTH)] * 2


def test_what_follows_is_joined_too() -> None:
    found = values_of(lambda a, b: (1.0 - a * a).sum() + (1.0 - b * b).sum())
    assert [call.primitive.name for call in joined_calls(found)] == ["multiply", "subtract"]


def test_values_of_several_widths_are_joined() -> None:
    found = planned(lambda a, b: squares(np.tanh(a), np.tanh(b)), (2,), (5,))
    assert count(found) == 1


def test_masks_are_joined() -> None:
    net = fn.serial(fn.linear(8), fn.relu(), fn.linear(8), fn.relu(), fn.linear(1))
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    params, _ = net.init(fn.key(0), (2,))
    step(params, np.ones((ROWS, 2), np.float32), np.ones((ROWS, 1), np.float32))
    (program,) = step._programs.by_signature.values()
    (found,) = program.plans.values()
    assert [call.primitive.name for call in joined_calls(found)] == ["nonzero"]


def test_what_a_value_is_made_of_stands_in_its_place_already() -> None:
    found = values_of(lambda a, b: squares(np.tanh(a), np.tanh(b)))
    shared = found.packed_buffers[0]
    written = [call.output for call in found.calls if call.output.buffer is shared]
    assert len(written) == 4
    assert len({value.offset for value in written}) == 2


# --- what is not


def test_one_call_is_left_alone() -> None:
    assert not values_of(lambda a, b: (a * a).sum() + b.sum()).parts


def test_one_value_read_twice_is_no_two_values() -> None:
    assert not values_of(lambda a, b: (a * a).sum() + (a * a).max()).parts


def test_a_value_that_is_made_too_late_is_left_alone() -> None:
    found = planned(lambda x: (lambda y: (y * y).sum() + squares(np.tanh(y * y + 1.0)))(np.tanh(x)), (WIDTH,))
    assert not found.parts


def test_calls_with_other_numbers_are_not_the_same() -> None:
    assert not values_of(lambda a, b: (a * 2.0).sum() + (b * 3.0).sum()).parts
    assert not values_of(lambda a, b: (a * 0.0).sum() + (b * -0.0).sum()).parts


def test_a_number_before_is_not_a_number_behind() -> None:
    assert not values_of(lambda a, b: (a - 1.0).sum() + (1.0 - b).sum()).parts


def test_calls_with_arrays_beside_are_left_alone() -> None:
    beside = np.full(WIDTH, 2.0, np.float32)
    assert not values_of(lambda a, b: (a * beside).sum() + (b * beside).sum()).parts


def test_results_behind_which_a_row_of_ones_stands_are_left_alone() -> None:
    def function(W: Any, b: Any, x: Any, z: Any) -> Any:
        y, e = np.tanh(x), np.exp(z)
        return ((y * 2.0) @ W + b).sum() + (e * 2.0).sum()

    found = planned(function, (WIDTH,), (WIDTH,), params=[(WIDTH, 2), (2,)])
    assert any(value.ones is not None for value in (call.output for call in found.calls))
    assert not found.parts
    assert_no_clobber(found)


def test_functions_whose_bits_depend_on_the_place_are_left_alone() -> None:
    assert not values_of(lambda a, b: np.sin(a).sum() + np.sin(b).sum()).parts


def test_inputs_and_params_are_left_where_they_are() -> None:
    assert not planned(squares, (WIDTH,), (WIDTH,)).parts
    assert not planned(lambda W, V, x: squares(W, V) + x.sum(), (WIDTH,), params=[(2, 3), (2, 3)]).parts


def test_what_somebody_else_reads_is_not_written_over() -> None:
    found = values_of(lambda a, b: ((s := a * a) + (1.0 - s)).sum() + (1.0 - b * b).sum())
    assert [call.primitive.name for call in joined_calls(found)] == ["multiply"]


def test_what_is_read_before_it_would_be_written_over_is_left_alone() -> None:
    found = values_of(lambda a, b: sum(((s := x * x).sum() + (1.0 - s).sum()) for x in (a, b)))
    assert [call.primitive.name for call in joined_calls(found)] == ["multiply"]
    assert_no_clobber(found)


def test_cotangents_of_params_stay_where_they_belong() -> None:
    trace = Trace(np.dtype(np.float32), ROWS)
    params, x = [trace.parameter((2, 3)) for _ in range(2)], trace.input((ROWS, 2), trace.dtype)
    values: list[Any] = [np.tanh(p) for p in params]
    found = make_plan(trace, [x.sum()], [1.0 - y * y for y in values])
    assert [call.primitive.name for call in joined_calls(found)] == ["multiply"]
    assert_no_clobber(found)
    found = make_plan(trace, [x.sum()], [y * 2.0 for y in values])
    assert not found.parts
    assert_no_clobber(found)


def test_cotangents_of_params_that_calls_read_stay_where_they_belong() -> None:
    trace = Trace(np.dtype(np.float32), ROWS)
    params, x = [trace.parameter((2, 3)) for _ in range(2)], trace.input((ROWS, 2), trace.dtype)
    values: list[Any] = [np.tanh(p) for p in params]
    found = make_plan(trace, [x.sum(), *(y * 2.0 for y in values)], values)
    assert not found.parts
    assert_no_clobber(found)


def test_a_row_of_ones_behind_sequences_has_room_too() -> None:
    def function(W: Any, b: Any, x: Any, z: Any) -> Any:
        y, e = np.tanh(x), np.exp(z)
        return (y.reshape(-1, 2) @ W + b).sum() + squares(y, e)

    found = planned(function, (5, 2), (5, 2), params=[(2, 2), (2,)])
    assert (len(found.ones), count(found)) == (1, 1)
    assert_no_clobber(found)


def test_what_is_broadcast_is_not_made_in_the_place_of_the_whole() -> None:
    found = planned(lambda a, b, c: squares(np.tanh(c) + np.tanh(a), np.exp(b)), (WIDTH,), (WIDTH,), (1,))
    assert count(found) == 1
    assert_no_clobber(found)


def test_what_has_its_place_already_is_not_moved() -> None:
    def function(a: Any, b: Any) -> Any:
        first, second = (y * 2.0 for y in [np.abs(a), np.abs(b)])
        return squares(first * 3.0, second * 5.0)

    found = planned(function, (WIDTH,), (WIDTH,))
    assert [call.primitive.name for call in joined_calls(found)] == ["multiply", "multiply"]
    assert_no_clobber(found)
    assert_same_as_numpy(function, found)


def test_different_calls_that_follow_are_left_alone() -> None:
    found = values_of(lambda a, b: (1.0 - a * a).sum() + (2.0 - b * b).sum())
    assert [call.primitive.name for call in joined_calls(found)] == ["multiply"]
    assert_no_clobber(found)


def test_what_a_product_reads_is_not_where_the_product_goes() -> None:
    found = planned(lambda W, a, b: squares(np.tanh(a) @ W, np.exp(b)), (WIDTH,), (WIDTH,), params=[(WIDTH, WIDTH)])
    assert count(found) == 1
    assert_no_clobber(found)


@pytest.mark.parametrize("width", [1, 3])
def test_a_row_of_ones_has_room_behind_what_is_joined(width: int) -> None:
    def function(W: Any, b: Any, x: Any, z: Any) -> Any:
        y, e = np.tanh(x), np.exp(z)
        return (y @ W + b).sum() + squares(y, e)

    found = planned(function, (width,), (width,), params=[(width, 2), (2,)])
    assert (len(found.ones), count(found)) == (1, 1)
    assert_no_clobber(found)


def test_single_numbers_vectors_and_masks_are_left_alone() -> None:
    def twice(s: Any, t: Any) -> Any:
        return (s * 2.0).sum() + (t * 2.0).sum()

    assert values_of(twice).parts
    assert not values_of(lambda a, b: twice(a.sum(), b.sum())).parts
    assert not values_of(lambda a, b: twice(a.sum(axis=0), b.sum(axis=0))).parts
    assert not values_of(lambda a, b: twice(a > 0.5, b > 0.5)).parts  # whose bools take less memory than the results


def test_joined_calls_stand_where_the_first_of_them_stood() -> None:
    def function(a: Any, b: Any) -> Any:
        y, z = np.tanh(a), np.exp(b)
        first = np.sin(y * y)
        return (first * z).sum() + (z * z).sum() + np.cos(y * y).sum()

    found = planned(function, (WIDTH,), (WIDTH,))
    (call,) = joined_calls(found)
    assert functions(found.calls).index(call.primitive.name) < functions(found.calls).index("sin")
    assert_no_clobber(found)


def test_results_that_go_out_are_not_written_over() -> None:
    found = values_of(lambda a, b: (a * a, b * b, (1.0 - a * a).sum()))
    assert_no_clobber(found)


@pytest.mark.parametrize(("rows", "joins"), [(SMALL // (2 * 4 * 4), 1), (SMALL // (2 * 4 * 4) + 1, 0)])
def test_large_values_are_left_alone(rows: int, joins: int) -> None:
    assert count(planned(lambda a, b: squares(np.tanh(a), np.exp(b)), (4,), (4,), rows=rows)) == joins


def test_a_block_is_joined_where_the_whole_batch_would_be() -> None:
    for total, joins in ((ROWS, 1), (SMALL, 0)):
        trace = Trace(np.dtype(np.float32), ROWS, total)
        a, b = (np.tanh(trace.input((ROWS, WIDTH), trace.dtype)) for _ in range(2))
        assert count(make_plan(trace, [squares(a, b)])) == joins


# --- the numbers


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_the_same_bits_as_one_by_one(rows: int, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    net = fn.serial(fn.linear(5), fn.tanh(), fn.linear(4), fn.relu(), fn.linear(3), fn.tanh(), fn.linear(2), fn.relu())
    params, _ = net.init(fn.key(0), (2,), dtype=dtype)
    rng = np.random.default_rng(0)
    x, target = (rng.normal(size=(rows, 2)).astype(dtype) for _ in range(2))
    made = fn.value_and_grad(net, fn.mse(reduction="sum"))
    loss, gradient = made(params, x, target)
    assert "v2]" in str(made)
    monkeypatch.setattr(Compiled, "passes", PASSES - {"fusion"})
    again = fn.value_and_grad(net, fn.mse(reduction="sum"))
    expected = again(params, x, target)
    assert "v2]" not in str(again)
    for found, wanted in zip(fn.tree.leaves((loss, gradient)), fn.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(found, wanted, strict=True)


STEPS: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "tanh": lambda x, y, W, b: np.tanh(x),
    "square": lambda x, y, W, b: x * x,
    "double": lambda x, y, W, b: x * 2.0,
    "complement": lambda x, y, W, b: 1.0 - x,
    "negative": lambda x, y, W, b: -x,
    "sum": lambda x, y, W, b: x + y,
    "product": lambda x, y, W, b: x * y,
    "affine": lambda x, y, W, b: np.tanh(x @ W + b),
    "relu_grad": lambda x, y, W, b: relu_grad(x, np.maximum(y, 0.0)),
}


def written(steps: list[tuple[str, int, int]]) -> Callable[..., Any]:
    """A function of (W, b, x, z) that takes these steps, each from two of the values before it."""

    def function(W: Any, b: Any, *inputs: Any) -> Any:
        values = list(inputs)
        for name, i, j in steps:
            values.append(STEPS[name](values[i % len(values)], values[j % len(values)], W, b))
        return (*values[-3:], *(value.sum() for value in values[2::2]))

    return function


@given(
    steps=st.lists(
        st.tuples(st.sampled_from([*STEPS]), st.integers(0, 30), st.integers(0, 30)), min_size=3, max_size=20
    ),
    rows=st.integers(1, 3),
)
@settings(max_examples=examples(600))
def test_any_calls_give_the_same_bits_joined_or_not(steps: list[tuple[str, int, int]], rows: int) -> None:
    numbers = np.random.default_rng(0)
    shapes = [(WIDTH, WIDTH), (WIDTH,), (rows, WIDTH), (rows, WIDTH)]
    W, b, *inputs = (numbers.normal(size=shape).astype(np.float32) for shape in shapes)

    def results(fused: bool) -> list[Any]:
        params, passes = [(WIDTH, WIDTH), (WIDTH,)], PASSES if fused else PASSES - {"fusion"}
        found = planned(written(steps), (WIDTH,), (WIDTH,), params=params, rows=rows, passes=passes)
        assert_no_clobber(found)
        space = Binding(found)
        for _ in range(2):
            space.params[...] = np.concatenate([W.ravel(), b])
            for place, x in zip(space.inputs, inputs, strict=True):
                place[...] = x
            with np.errstate(all="ignore"):
                for f, args in space.program:
                    f(*args)
        return [np.array(y) for y in space.outputs]

    for a, c in zip(results(fused=True), results(fused=False), strict=True):
        np.testing.assert_array_equal(a, c, strict=True)


def test_gaps_on_a_shelf_hold_numbers_that_no_call_complains_of() -> None:
    found = values_of(lambda a, b: (1.0 - a * a).sum() + (1.0 - b * b).sum())
    space = Binding(found)
    for x in space.inputs:
        x[...] = 1.0
    with np.errstate(all="raise"):
        for _ in range(3):
            for f, args in space.program:
                f(*args)


def test_a_step_whose_memory_is_small_needs_little_more() -> None:
    def size(limit: int) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fusion, "SMALL", limit)
            return values_of(squares, rows=64).size

    assert size(0) < size(SMALL) <= size(0) + SMALL
