"""The plan: which calls run, what rides in what, and where every value lives."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import funcnet as fn
from funcnet import tree
from funcnet.compiler.binding import Binding
from funcnet.compiler.buffers import ALIGNMENT
from funcnet.compiler.plan import Plan
from funcnet.compiler.planning import PASSES, make_plan
from funcnet.tracing.primitives import zeros_like
from funcnet.tracing.trace import Call, Trace, Value
from tests.support.budget import examples
from tests.support.cases import CASES, Case
from tests.support.recurrences import with_recurrence
from tests.support.strategies import PATTERNS, Problem, partly_opaque, pattern, problems, with_images

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
EMPTY, ONES, PARAMS = -1, -2, -3

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def planned(
    function: Callable[..., Any],
    *inputs: tuple[int, ...],
    params: Sequence[tuple[int, ...]] = (),
    rows: int = 4,
    dtype: np.dtype[Any] = F32,
    passes: Collection[str] = PASSES,
) -> Plan:
    """The plan of a function of (*params, *inputs), all values."""
    trace = Trace(dtype, rows)
    symbols = [trace.parameter(shape) for shape in params]
    outputs = function(*symbols, *(trace.input((rows, *shape), dtype) for shape in inputs))
    return make_plan(trace, outputs if isinstance(outputs, tuple) else (outputs,), (), passes)


def plan_of(
    compiled: Any,
    params: Any,
    *inputs: tuple[int, ...],
    rows: int = 4,
    total: int | None = None,
    dtypes: Sequence[Any] = (),
) -> Plan:
    """The plan that a compiled function or step makes for inputs of these shapes, without the batch axis."""
    arrays = tree.leaves(params)
    trace = Trace(arrays[0].dtype if arrays else F32, rows, total)
    symbols = tree.map(lambda leaf: trace.parameter(leaf.shape), params)
    kinds = [dtype or trace.dtype for dtype in (*dtypes, *[None] * (len(inputs) - len(dtypes)))]
    given = tuple(trace.input((rows, *shape), kind) for shape, kind in zip(inputs, kinds, strict=True))
    plan: Plan = compiled.record(trace, symbols, given)
    return plan


def step_plan(net: fn.Layer[Any, Any], shape: tuple[int, ...], rows: int = 4, dtype: Any = np.float32) -> Plan:
    """The plan of a training step with the mean squared error."""
    params, output = net.init(fn.key(0), shape, dtype=dtype)
    return plan_of(fn.sgd_step(net, fn.mse(), learning_rate=0.1), params, shape, output, rows=rows)


def apply_plan(net: fn.Layer[Any, Any], shape: tuple[int, ...], rows: int = 4) -> Plan:
    """The plan of a forward pass."""
    return plan_of(net.apply, net.init(fn.key(0), shape)[0], shape, rows=rows)


def functions(calls: Sequence[Call]) -> list[Any]:
    return [call.primitive.name for call in calls]


def scopes(calls: Sequence[Call]) -> set[str]:
    return {call.scope for call in calls}


# --- an independent check of memory: no call writes over what a later call reads


def nbytes(value: Value) -> int:
    return int(np.prod(value.shape, dtype=np.int64)) * value.dtype.itemsize


def has_ones(value: Value) -> bool:
    """Whether the value is [x 1], or a view of it."""
    return value.base is not None and (value.view is None or has_ones(value.base))


class Walk:
    """Memory in which each byte knows the value last written there."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.owner = np.full(plan.size, EMPTY)
        self.numbers: dict[int, int] = {}
        for call in plan.calls:  # written once, when a workspace is made
            for value in call.operands:
                if has_ones(value):
                    place, buffer = self.row_of_ones(value.root), plan.places[id(value.root)].buffer
                    assert place.stop <= buffer.start + buffer.size + buffer.row, "a row of ones leaves its buffer"
                    self.owner[place] = ONES

    def span(self, value: Value) -> slice:
        """The bytes of a value that is no view."""
        start = self.plan.places[id(value)].start
        return slice(start, start + nbytes(value))

    def row_of_ones(self, value: Value) -> slice:
        """The bytes behind a value x that [x 1] needs."""
        end = self.span(value).stop
        return slice(end, end + nbytes(value) // value.shape[-1])

    def form(self, value: Value) -> tuple[Any, ...]:
        place = self.plan.places[id(value)]
        return place.start, place.shape, place.strides, value.dtype.itemsize, value.batch_axis

    def number(self, value: Value) -> int:
        return self.numbers.setdefault(id(value), len(self.numbers))

    def parts(self, value: Value) -> Sequence[Value]:
        """The values that stand on a packed buffer, where this is the whole of one."""
        parts, whole = self.plan.parts.get(id(value), [value]), self.span(value.root)
        assert all(
            whole.start <= (place := self.span(part.root)).start <= place.stop <= whole.stop for part in parts
        ), "a part of a packed buffer stands elsewhere"
        return parts

    def write(self, value: Value) -> None:
        place, buffer = self.span(value), self.plan.places[id(value)].buffer
        assert buffer.start <= place.start
        assert place.stop <= buffer.start + buffer.size, "a value leaves its buffer"
        end = place.stop if value.ones is None else self.row_of_ones(value).stop
        assert end <= buffer.start + buffer.size + buffer.row, "a row of ones leaves its buffer"
        self.owner[place] = self.number(value)

    def read(self, value: Value) -> None:
        root = value.root
        if self.plan.is_param(root):
            assert (self.owner[self.span(root)] == PARAMS).all(), (
                "a parameter is read that a cotangent was written over"
            )
            return
        assert (self.owner[self.span(root)] == self.number(root)).all(), "a value is read that is not there (any more)"
        assert not has_ones(value) or (self.owner[self.row_of_ones(root)] == ONES).all(), (
            "a row of ones was overwritten"
        )

    def call(self, call: Call) -> None:
        for value in call.operands:
            for part in self.parts(value):
                self.read(part)
        outputs = [output for output in call.outputs if id(output) in self.plan.places]
        assert outputs, "a call runs that nothing needs"
        for output in outputs:
            assert not self.plan.is_param(output), "the params are written to"
            for value in call.operands:
                if overlap(self.span(output), self.span(value.root)):
                    assert is_elementwise(call), "a call overwrites what it still reads"
                    assert value.base is None, "a call overwrites the base of a view that it reads"
                    assert self.form(value) == self.form(output), "a call overwrites a value of another form"
            assert not any(overlap(self.span(output), self.span(y)) for y in outputs if y is not output), (
                "outputs overlap"
            )
            self.write(output)
            for part in self.parts(output):
                self.write(part)

    def run(self) -> None:
        params, gradient = (slice(buffer.start, buffer.start + buffer.size) for buffer in self.plan.buffers[:2])
        self.owner[gradient] = EMPTY
        self.owner[params] = PARAMS  # copied in anew for each run
        for value in self.plan.inputs:
            self.write(value)
        for call in self.plan.calls:
            self.call(call)
        for value in self.plan.outputs:
            self.read(value)
        assert (self.owner[gradient] >= 0).all(), "a part of the gradient is never written"


def overlap(ours: slice, theirs: slice) -> bool:
    return bool(max(ours.start, theirs.start) < min(ours.stop, theirs.stop))


def is_elementwise(call: Call) -> bool:
    """Whether it is a NumPy ufunc of scalars, a choice, or one of two calls on bits, said apart from primitives."""
    ufunc = getattr(np, call.primitive.name, None)
    others = ("nonzero", "relu_grad", "where")
    return (isinstance(ufunc, np.ufunc) and ufunc.signature is None) or call.primitive.name in others


def assert_no_clobber(plan: Plan) -> None:
    """No call writes over a value that a later call, the caller, or the next run reads."""
    walk = Walk(plan)
    for _ in range(2):
        walk.run()


def assert_buffers_are_apart(plan: Plan) -> None:
    """No two buffers, each with its row of ones, overlap, but for params and gradient; all begin at a cache line."""
    buffers = [buffer for buffer in plan.buffers if not (plan.over_params and buffer is plan.gradient_buffer)]
    ends = [(buffer.start, buffer.start + buffer.size + buffer.row) for buffer in buffers]
    assert all(start % ALIGNMENT == 0 for start, _ in ends)
    assert all(end <= start for (_, end), (start, _) in pairwise(sorted(ends)))
    assert max(end for _, end in ends) <= plan.size


def in_a_network(case: Case) -> fn.Layer[Any, Any]:
    """The operator between identities and a product, so that what it reads and writes has neighbours."""
    inputs: list[fn.OperatorKey] = [f"x{i}" for i in range(len(case.shapes))]
    operators = {**dict.fromkeys(inputs, fn.identity()), "f": case.make()}
    return fn.network(operators, {x: ["f"] for x in inputs}, inputs=inputs, output="f")


def plans_of_case(case: Case, rows: int) -> list[Plan]:
    """The operator's forward pass, and a training step of it with the mean squared error."""
    net = in_a_network(case) if case.name != "network of two outputs" else case.make()
    params, shape = net.init(fn.key(0), *case.shapes, dtype=np.float64)
    dtypes = case.dtypes(None)
    forward = plan_of(net.apply, params, *case.shapes, rows=rows, dtypes=dtypes)
    if case.name == "network of two outputs":
        return [forward]
    targets = [shape] if forward.outputs[0].shape else []
    step = fn.value_and_grad(net, fn.mse() if targets else None)
    return [forward, plan_of(step, params, *case.shapes, *targets, rows=rows, dtypes=dtypes)]


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("rows", [1, 3, 5])
def test_labels_are_not_written_over(rows: int, dtype: np.dtype[Any]) -> None:
    net = fn.serial(fn.linear(4), fn.relu(), fn.linear(3))
    trace = Trace(dtype, rows)
    params = tree.map(lambda p: trace.parameter(p.shape), net.init(fn.key(0), (2,))[0])
    arrays = (trace.input((rows, 2), dtype), trace.input((rows,), np.dtype(np.intp)))
    plan = fn.sgd_step(net, fn.softmax_cross_entropy(), learning_rate=0.1).record(trace, params, arrays)
    assert_no_clobber(plan)
    assert_buffers_are_apart(plan)


def moved(plan: Plan, value: Value, where: Value) -> Plan:
    """The plan, but one value is put where another one is."""
    return replace(plan, places={**plan.places, id(value): plan.places[id(where)]})


def two_values_at_once() -> Plan:
    return planned(lambda x: np.tanh(x) * np.exp(x) + np.sin(x), (3,))


def test_the_check_sees_a_value_that_is_overwritten() -> None:
    plan = two_values_at_once()
    first, second, *_ = plan.calls
    with pytest.raises(AssertionError, match="not there"):
        assert_no_clobber(moved(plan, second.output, first.output))


def test_the_check_sees_a_product_in_place() -> None:
    plan = planned(lambda x: x.T @ x, (4,))
    with pytest.raises(AssertionError, match="overwrites"):
        assert_no_clobber(moved(plan, plan.calls[0].output, plan.inputs[0]))


def test_the_check_sees_a_lost_row_of_ones() -> None:
    plan = planned(lambda W, b, x: np.tanh(x) @ W + b, (3,), params=[(3, 5), (5,)])
    (ones,) = [value for call in plan.calls for value in call.operands if has_ones(value)]
    plan.places[id(ones.root)].buffer.size += ones.root.shape[0] * ones.dtype.itemsize
    intruder = Value(ones.trace, (4, 4), F32, 0)
    invaded = moved(replace(plan, inputs=(intruder, *plan.inputs)), intruder, ones.root)
    with pytest.raises(AssertionError, match="a row of ones"):
        assert_no_clobber(invaded)


# --- dead calls

CHAIN: list[fn.Layer[Any, Any]] = [fn.linear(5), fn.tanh(), fn.linear(6), fn.relu(), fn.linear(2)]


def test_the_first_layer_does_not_pass_its_cotangent_on() -> None:
    plan = step_plan(fn.serial(*CHAIN), (7,), rows=3)
    assert [call.output.shape for call in plan.calls if call.output.shape == (3, 7)] == []
    assert functions(plan.calls).count("matmul") == 3 + 3 + 2  # forward, cotangents of weights, those passed on


def test_what_is_left_out_is_reported() -> None:
    plan = step_plan(fn.serial(*CHAIN), (7,), rows=3)
    assert [call.primitive.name for call in plan.left_out if call.output.shape == (3, 7)] == ["matmul"]


def test_what_is_left_out_has_no_place() -> None:
    plan = planned(lambda W, x: ((x @ W).sum(), np.exp(x))[0], (2,), params=[(2, 3)])
    (call,) = plan.left_out
    assert not plan.is_param(call.output)
    assert not plan.is_gradient(call.output)


def test_a_prefix_without_params_is_not_gone_back_through() -> None:
    net = fn.network({1: fn.tanh(), 2: fn.sigmoid(), 3: fn.linear(2)}, {1: [2], 2: [3]})
    plan = step_plan(net, (3,))
    assert {"1 tanh", "2 sigmoid", "3 linear backward"} <= scopes(plan.calls)
    assert {"1 tanh backward", "2 sigmoid backward"}.isdisjoint(scopes(plan.calls))


def test_a_branch_without_params_is_not_gone_back_through() -> None:
    net = fn.network({0: fn.identity(), 1: fn.linear(3), 2: fn.exp(), 3: fn.multiply()}, {0: [1, 2], 1: [3], 2: [3]})
    assert "2 exp backward" not in scopes(step_plan(net, (3,)).calls)


def test_the_cotangent_of_the_target_is_not_computed() -> None:
    plan = step_plan(fn.serial(*CHAIN), (7,))
    assert "negative" in functions(plan.left_out)
    assert "negative" not in functions(plan.calls)


def test_a_forward_pass_keeps_no_backward_call() -> None:
    assert not any("backward" in scope for scope in scopes(apply_plan(fn.serial(*CHAIN), (7,)).calls))


def test_an_operator_that_reaches_no_result_does_not_run() -> None:
    plan = planned(lambda x: (np.exp(x), np.tanh(x))[1], (3,))
    assert functions(plan.calls) == ["tanh"]
    assert functions(plan.left_out) == ["exp"]


def test_a_call_that_only_a_dead_call_reads_is_dead_too() -> None:
    assert functions(planned(lambda x: (np.exp(np.sin(x)), np.tanh(x))[1], (3,)).calls) == ["tanh"]


def test_every_recorded_call_runs_or_is_left_out() -> None:
    trace = Trace(F32, 4)
    x, W, b = trace.input((4, 3), F32), trace.parameter((3, 2)), trace.parameter((2,))
    y = np.tanh(x @ W + b)
    np.exp(y)
    plan = make_plan(trace, (y,))
    assert len(plan.calls) + len(plan.left_out) == len(trace.calls)


# --- biases


def test_a_bias_rides_in_the_product() -> None:
    plan = planned(lambda W, b, x: x @ W + b, (3,), params=[(3, 2), (2,)])
    ((product,),) = [plan.calls]
    x1, stack = product.inputs
    assert (product.primitive.name, x1.shape, stack.shape) == ("matmul", (4, 4), (4, 2))


def assert_same_as_numpy(function: Callable[..., Any], plan: Plan) -> None:
    """The plan gives what the function gives of whole numbers, which add up exactly."""
    rng = np.random.default_rng(0)
    program = Binding(plan)
    params = [rng.integers(-8, 9, value.shape).astype(plan.dtype) for value in plan.parameters]
    inputs = [rng.integers(-8, 9, value.shape).astype(plan.dtype) for value in plan.inputs]
    program.params[...] = np.concatenate([np.empty(0), *(array.ravel() for array in params)])
    for place, x in zip(program.inputs, inputs, strict=True):
        place[...] = x
    for f, args in program.program:
        f(*args)
    expected = function(*params, *inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for y, factor, wanted in zip(program.outputs, plan.factors, expected, strict=True):
        np.testing.assert_array_equal(y * factor, wanted)


NEIGHBOURS_OF_NOBODY: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]]]] = {
    "the bias first": (lambda b, W, x: x @ W + b, [(2,), (3, 2)]),
    "another between": (lambda W, c, b, x: x @ W + b, [(3, 2), (1,), (2,)]),
    "the bias of another": (lambda W, b, c, x: x @ W + c, [(3, 2), (2,), (2,)]),
    "a bias that is computed": (lambda W, b, x: x @ W + b * 2.0, [(3, 2), (2,)]),
    "a bias that is computed, of no features": (lambda W, b, x: (x[:, :0] * 2.0) @ W + b * 2.0, [(0, 2), (2,)]),
    "weight and bias that are computed": (lambda W, b, x: (x[:, :0] * 2.0) @ (W * 2.0) + b * 2.0, [(0, 2), (2,)]),
    "a weight that is computed": (lambda W, b, x: x @ (W * 2.0) + b, [(3, 2), (2,)]),
    "a weight that is transposed": (lambda W, b, x: x @ W.T + b, [(2, 3), (2,)]),
    "a bias that is a part": (lambda W, b, x: x @ W + b[:2], [(3, 2), (3,)]),
    "a product that is read twice": (lambda W, b, x: ((p := x @ W) + b) * p, [(3, 2), (2,)]),
    "a number": (lambda W, x: x @ W + 1.0, [(3, 2)]),
    "an array": (lambda W, x: x @ W + np.ones(2, np.float32), [(3, 2)]),
    "features that are a part": (lambda W, b, x: x[:, :2] @ W + b, [(2, 2), (2,)]),
    "features in another order": (lambda W, b, x: x[:, ::-1] @ W + b, [(3, 2), (2,)]),
    "features over times": (lambda W, b, x: x.reshape(-1, 1, 3) @ W + b, [(3, 2), (2,)]),
    "params instead of features": (lambda V, W, b, x: V @ W + b, [(5, 3), (3, 2), (2,)]),
    "a stack of weights": (lambda W, b, x: x @ W + b, [(5, 3, 2), (2,)]),
    "a stack of weights, each with its bias": (lambda W, b, x: x.reshape(-1, 1) @ W + b, [(5, 1, 2), (1, 2)]),
    "a bias for all features": (lambda W, b, c, x: x @ W + b, [(3, 2), (1,), (1,)]),
    "a bias that is a number": (lambda W, b, x: x @ W + b, [(3, 2), ()]),
    "a bias for each row": (lambda W, b, x: x @ W + b, [(3, 2), (4, 2)]),
    "a bias that is wider": (lambda W, b, x: x @ W + b, [(3, 1), (5,)]),
}


@pytest.mark.parametrize("name", NEIGHBOURS_OF_NOBODY)
def test_a_bias_elsewhere_is_added_on_its_own(name: str) -> None:
    function, params = NEIGHBOURS_OF_NOBODY[name]
    plan = planned(function, (3,), params=params)
    assert functions(plan.calls).count("matmul") == 1
    assert "add" in functions(plan.calls)
    assert_no_clobber(plan)
    assert_same_as_numpy(function, plan)


SUMS_OF_ANOTHER: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]]]] = {
    "over the features": (lambda W, x: (x.T @ (g := x @ W), g.sum(axis=1)), [(3, 2)]),
    "over all": (lambda W, x: (x.T @ (g := x @ W), g.sum()), [(3, 2)]),
    "of what is multiplied": (lambda W, x: (x.T @ (x @ W), x.sum(axis=0)), [(3, 2)]),
    "beside features that are a part": (lambda W, x: (x[:, :2].T @ (g := x @ W), g.sum(axis=0)), [(3, 2)]),
    "beside a product with what is not transposed": (
        lambda W, x: (x.transpose((0, 1)) @ W, W.sum(axis=0)),
        [(3, 2)],
    ),
    "over a stack": (lambda W, x: (x.T @ (g := x @ W), g.sum(axis=0)), [(5, 3, 2)]),
}


@pytest.mark.parametrize("name", SUMS_OF_ANOTHER)
def test_what_is_no_gradient_of_a_bias_is_summed_on_its_own(name: str) -> None:
    function, params = SUMS_OF_ANOTHER[name]
    plan = planned(function, (3,), params=params)
    assert functions(plan.calls).count("add.reduce") == 1
    assert_no_clobber(plan)
    assert_same_as_numpy(function, plan)


def test_the_gradient_of_a_bias_rides_in_that_of_its_weight() -> None:
    plan = step_plan(fn.linear(2), (3,))
    (product,) = [call for call in plan.calls if call.output.buffer is plan.gradient_buffer]
    assert product.output.shape == (4, 2)
    assert "add.reduce" not in functions(plan.calls)


def test_the_gradient_of_a_weight_alone_is_one_product() -> None:
    plan = step_plan(fn.linear(2, use_bias=False), (3,))
    (product,) = [call for call in plan.calls if call.output.buffer is plan.gradient_buffer]
    assert (product.primitive.name, product.output.shape) == ("matmul", (3, 2))


def test_params_that_nothing_reads_have_a_gradient_of_their_own() -> None:
    trace = Trace(F32, 4)
    x, W, b = trace.input((4, 3), F32), trace.parameter((3, 2)), trace.parameter((2,))
    y = x @ W
    plan = make_plan(trace, (y.sum(),), (x.T @ (y * 2.0), b * 0.0))
    placed = [call.output.offset for call in plan.calls if call.output.buffer is plan.gradient_buffer]
    assert {*placed} == {W.offset, b.offset}
    assert_no_clobber(plan)


def test_the_gradient_of_a_bias_is_written_though_that_of_its_weight_is_computed_further() -> None:
    trace = Trace(F32, 4)
    W, b, x = trace.parameter((3, 2)), trace.parameter((2,)), trace.input((4, 3), F32)
    y = np.tanh(x @ W + b)
    assert_no_clobber(make_plan(trace, (y.sum(),), ((x.T @ y) * 2.0, y.sum(axis=0))))


def test_biases_that_stand_behind_the_weights_of_others_have_their_own_gradients() -> None:
    trace = Trace(F32, 4)
    V, _, W, _ = map(trace.parameter, [(3, 2), (2,), (3, 2), (2,)])
    x = trace.input((4, 3), F32)
    g, h = x @ W, x @ V
    products = [x.T @ h, x.T @ g]
    plan = make_plan(trace, (), [products[0], g.sum(axis=0), products[1], h.sum(axis=0)])
    assert_no_clobber(plan)
    program = Binding(plan)
    rng = np.random.default_rng(0)
    program.params[...] = rng.integers(-8, 9, 16)
    program.inputs[0][...] = numbers = rng.integers(-8, 9, (4, 3)).astype(F32)
    h, g = (numbers @ program.params[start : start + 6].reshape(3, 2) for start in (0, 8))
    for f, args in program.program:
        f(*args)
    expected = [numbers.T @ h, g.sum(axis=0), numbers.T @ g, h.sum(axis=0)]
    assert np.array_equal(program.gradient, np.concatenate([part.ravel() for part in expected]))


# --- how many calls


@pytest.mark.parametrize(
    ("function", "factors", "calls"),
    [
        pytest.param(lambda x: x.sum() * 0.5, [0.5], 1, id="a number is scaled as it goes out"),
        pytest.param(lambda x: 0.5 * x.sum(), [1.0], 2, id="the number first"),
        pytest.param(lambda x: x.sum(axis=1) * 0.5, [1.0], 2, id="an array is not"),
        pytest.param(lambda x: ((s := x.sum()), s * 0.5), [1.0, 0.5], 1, id="one that goes out itself, too"),
        pytest.param(lambda x: ((s := x.sum() * 0.5), s + 1.0), [0.5, 1.0], 3, id="one that is read, too"),
        pytest.param(lambda x: x.sum() * x.max(), [1.0], 3, id="a number that is not known"),
        pytest.param(lambda x: np.isnan(x.sum()) * 2.0, [1.0], 3, id="a mask"),
    ],
)
def test_a_last_factor_is_left_to_whoever_takes_the_number(
    function: Callable[..., Any], factors: list[float], calls: int
) -> None:
    plan = planned(function, (3,))
    assert (plan.factors, len(plan.calls)) == ((*factors,), calls)
    assert_no_clobber(plan)


def test_the_calls_of_a_known_network() -> None:
    operators = {1: fn.linear(25), 2: fn.tanh(), 3: fn.linear(25), 4: fn.sigmoid(), 5: fn.add(), 6: fn.linear(2)}
    net = fn.network(operators, {1: [2], 2: [3, 5], 3: [4], 4: [5], 5: [6], 6: []}, inputs=[1], output=6)
    plan = step_plan(net, (2,), rows=40)
    count = {scope: sum(call.scope == scope for call in plan.calls) for scope in scopes(plan.calls)}
    assert count == {
        "1 linear": 1,  # [x 1] [W; b]
        "2 tanh": 1,
        "3 linear": 1,
        "4 sigmoid": 4,  # min(x, 40), e^x, 1 + e^x, their quotient
        "5 add": 1,
        "6 linear": 1,
        "loss mse": 2,  # y - t, the inner product with itself
        "loss mse backward": 1,
        "6 linear backward": 2,  # [x 1]^T g, g W^T
        "4 sigmoid backward": 3,  # y^2 of both activations, y - y^2, the product with g
        "3 linear backward": 3,  # and the sum with what the skip passes back
        "2 tanh backward": 2,
        "1 linear backward": 1,
    }


def test_identities_cost_no_call() -> None:
    plain = step_plan(fn.serial(*CHAIN), (7,))
    padded: list[fn.Layer[Any, Any]] = [layer for part in CHAIN for layer in (fn.identity(), part, fn.identity())]
    assert functions(step_plan(fn.serial(*padded), (7,)).calls) == functions(plain.calls)


def test_nesting_costs_no_call() -> None:
    inner = fn.network(dict(enumerate(CHAIN[2:])), {0: [1], 1: [2]})
    nested = fn.serial(fn.network({"a": fn.serial(*CHAIN[:2]), "b": inner}, {"a": ["b"]}))
    flat, plan = step_plan(fn.serial(*CHAIN), (7,)), step_plan(nested, (7,))
    assert functions(plan.calls) == functions(flat.calls)
    assert plan.size == flat.size


def test_merges_of_one_cost_no_call() -> None:
    net = fn.serial(fn.add(), fn.multiply(), fn.maximum(), fn.linear(2))
    assert functions(apply_plan(net, (3,)).calls) == ["matmul"]


# --- in place


def in_place(plan: Plan) -> list[Any]:
    """The functions of the calls that overwrite one of their inputs."""
    return [
        call.primitive.name
        for call in plan.calls
        if call.output.buffer in [value.root.buffer for value in call.operands]
    ]


def test_what_nobody_reads_any_more_is_overwritten() -> None:
    assert in_place(planned(lambda W, x: np.tanh(x @ W), (3,), params=[(3, 2)])) == ["tanh"]


def test_a_value_may_be_overwritten_by_its_product_with_itself() -> None:
    assert in_place(planned(lambda x: (e := np.exp(x)) * e, (3,))) == ["exp", "multiply"]


def test_the_second_input_is_overwritten_where_the_first_must_stay() -> None:
    assert in_place(planned(lambda x: x * np.exp(x) + x, (3,))) == ["multiply", "add"]


NOT_IN_PLACE: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "read by the next call": (lambda x: np.tanh(x) * x, (3,)),
    "read by a view in the next call": (lambda x: x.T @ np.sin(x), (3,)),
    "read by a view in the same call": (lambda x: np.add(x, x[:, ::-1]), (4,)),
    "an output": (lambda x: (np.tanh(x), x), (3,)),
    "an output by a view": (lambda x: (np.tanh(x), x.T), (3,)),
    "a slice": (lambda x: np.tanh(x[:, 1:]), (3,)),
    "a slice of the same shape": (lambda x: np.tanh(x[:, ::-1]), (3,)),
    "reshaped": (lambda x: np.tanh(x.reshape(8, 3)), (2, 3)),
    "numbers by a mask": (lambda x: x > 0.0, (3,)),
    "fewer elements": (lambda x: x * np.ones((1, 3), np.float32), (1,)),
    "a sum": (lambda x: x.sum(axis=-1), (1,)),
    "a fused value": (lambda x: np.concatenate([x], axis=-1), (3,)),
    "a product": (lambda x: x.T @ x, (4,)),
}


@pytest.mark.parametrize("name", NOT_IN_PLACE)
def test_nothing_is_overwritten_that_is_still_read_or_of_another_form(name: str) -> None:
    function, shape = NOT_IN_PLACE[name]
    plan = planned(function, shape)
    assert plan.calls[0].output.buffer is not plan.inputs[0].buffer
    assert_no_clobber(plan)


def test_a_matrix_without_batch_is_not_overwritten_by_a_batch_of_its_shape() -> None:
    plan = planned(lambda x: ((x.T @ x) * x, x), (4,), rows=4)
    assert in_place(plan) == []


def test_two_elements_are_overwritten() -> None:
    assert in_place(planned(lambda x: np.tanh(x), (2,), rows=1)) == ["tanh"]


def test_one_element_is_not_overwritten() -> None:
    assert in_place(planned(lambda x: np.tanh(x), (1,), rows=1)) == []
    assert in_place(planned(lambda x: np.tanh(x.sum()) * 2.0, (3,))) == []


def test_params_are_not_overwritten() -> None:
    assert in_place(planned(lambda W, x: x @ np.tanh(W), (3,), params=[(3, 2)])) == []


def test_a_value_that_goes_out_twice_is_not_overwritten() -> None:
    plan = planned(lambda x: ((e := np.exp(x)), np.tanh(e), e), (3,))
    assert in_place(plan) == ["exp"]
    assert plan.outputs[0] is plan.outputs[2]


# --- memory


def wide_narrow_wide(W: Any, b: Any, V: Any, x: Any) -> tuple[Any, ...]:
    """Memory of a wide value comes free before a narrow one with a row of ones needs some, and is needed after it."""
    before = (x @ V).sum(axis=-1)
    y = np.sin(x) @ W + b
    return before, y, (x @ V).max(axis=-1), x


def test_a_row_of_ones_lives_where_no_wider_value_will() -> None:
    assert_no_clobber(planned(wide_narrow_wide, (3,), params=[(3, 2), (2,), (3, 64)]))


def shorter_and_longer_rows(W: Any, b: Any, V: Any, c: Any, x: Any) -> Any:
    """Two values with a row of ones live in the same memory: of twice the rows, and then of the rows of the batch."""
    y = np.tanh(np.tanh(x.reshape(2 * x.shape[0], 3)) @ V + c)
    return np.tanh(np.cos(np.sin(y).reshape(x.shape[0], 6) * 1.5) @ W + b)


def test_memory_has_room_for_the_longest_row_of_ones_that_lives_there() -> None:
    plan = planned(shorter_and_longer_rows, (6,), params=[(6, 6), (6,), (3, 3), (3,)], rows=64)
    first, second = (plan.places[id(value)] for value in plan.ones)
    assert first.buffer is second.buffer
    assert first.buffer.row == 2 * 64 * 4
    assert_no_clobber(plan)


def test_a_row_of_ones_is_not_put_in_place_into_the_memory_of_a_wider_value() -> None:
    def narrow_in_wide(V: Any, W: Any, b: Any, Q: Any, x: Any, z: Any) -> tuple[Any, ...]:
        before = x.sum(axis=-1)
        return before, (np.tanh(z @ V) @ W + b) @ Q

    plan = planned(narrow_in_wide, (6,), (3,), params=[(3, 3), (3, 6), (6,), (6, 6)])
    assert_no_clobber(plan)


def test_memory_that_one_call_reads_twice_comes_free_once() -> None:
    def twice(x: Any) -> tuple[Any, ...]:
        joined = np.concatenate([e := np.exp(x), e], axis=-1)
        return joined, np.sin(x), np.cos(x), x

    assert_no_clobber(planned(twice, (3,)))


def hidden(depth: int, *between: fn.Layer[Any, Any], width: int = 32) -> fn.Layer[Any, Any]:
    """Linear layers of one width, each followed by the layers between."""
    layers: list[fn.Layer[Any, Any]] = [layer for _ in range(depth) for layer in (fn.linear(width), *between)]
    return fn.serial(*layers)  # type: ignore[no-any-return]


def values(plan: Plan, width: int, rows: int) -> float:
    """The memory besides params and gradient, in values of this width with their row of ones."""
    own = plan.size - plan.params_buffer.size - (0 if plan.over_params else plan.gradient_buffer.size)
    return own / (rows * (width + 1) * plan.dtype.itemsize)


BETWEEN: dict[str, tuple[list[fn.Layer[Any, Any]], int]] = {
    "tanh": ([fn.tanh()], 2),
    "relu": ([fn.relu()], 2),
    "sigmoid and tanh": ([fn.sigmoid(), fn.tanh()], 2),
    "softmax": ([fn.softmax()], 2),
    "gelu": ([fn.gelu()], 3),
}


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("depth", [3, 30])
def test_a_chain_needs_memory_for_a_few_values_whatever_its_depth(depth: int, between: str) -> None:
    layers, few = BETWEEN[between]
    assert values(apply_plan(hidden(depth, *layers), (32,), rows=64), 32, 64) <= few


def test_residuals_need_memory_for_no_more() -> None:
    layers: list[fn.Layer[Any, Any]] = [fn.residual(fn.linear(32), fn.tanh()) for _ in range(20)]
    assert values(apply_plan(fn.serial(*layers), (32,), rows=64), 32, 64) <= 2


def test_a_skip_over_all_needs_one_value_more() -> None:
    net = fn.residual(*[layer for _ in range(20) for layer in (fn.linear(32), fn.tanh())])
    assert values(apply_plan(net, (32,), rows=64), 32, 64) <= 3


@pytest.mark.parametrize("depth", [3, 30])
def test_a_training_step_needs_memory_for_the_activations_and_a_few_values(depth: int) -> None:
    assert values(step_plan(hidden(depth, fn.tanh()), (32,), rows=512), 32, 512) <= depth + 2


def test_a_loss_does_not_take_the_memory_of_an_array() -> None:
    plan = planned(lambda x: (np.exp(np.sin(np.tanh(x)).sum(axis=1)), (np.cos(np.exp(x)) * 2.0).max()), (32,), rows=64)
    (loss,) = [y for y in plan.outputs if not y.shape]
    assert loss.buffer.size == 4


def test_the_memory_of_params_and_gradient_is_theirs() -> None:
    plan = step_plan(hidden(3, fn.tanh()), (32,))
    assert [buffer.size for buffer in (plan.params_buffer, plan.gradient_buffer)] == [3 * 33 * 32 * 4] * 2


def test_the_gradient_is_written_over_params_that_nobody_reads_any_more() -> None:
    plan = step_plan(hidden(3, fn.tanh()), (32,))
    assert plan.over_params
    assert plan.gradient_buffer.start == plan.params_buffer.start


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda W, x: (x.T @ (x @ W), (W * 2.0).sum()), id="later"),
        pytest.param(lambda W, x: ((x @ W).sum(), W * 2.0)[::-1], id="in the same call, the last one"),
        pytest.param(lambda W, x: (x.T @ (x @ W), W), id="by the caller"),
    ],
)
def test_the_gradient_stays_apart_from_params_that_are_still_read(function: Callable[..., Any]) -> None:
    trace = Trace(F32, 4)
    gradient, output = function(trace.parameter((3, 2)), trace.input((4, 3), F32))
    plan = make_plan(trace, [output], [gradient])
    assert not plan.over_params
    assert_no_clobber(plan)
    assert_buffers_are_apart(plan)


def test_the_gradient_is_written_over_params_that_no_call_reads() -> None:
    trace = Trace(F32, 4)
    x, W = trace.input((4, 3), F32), trace.parameter((3, 2))
    assert make_plan(trace, [x.sum()], [zeros_like(W)]).over_params


def test_a_forward_pass_has_no_memory_for_a_gradient() -> None:
    plan = apply_plan(fn.serial(fn.linear(3)), (2,))
    assert plan.gradient_buffer.size == 0
    assert not plan.has_gradient
    assert not plan.over_params


def test_a_step_has_memory_for_the_gradient_of_one_number() -> None:
    assert step_plan(fn.serial(fn.linear(1, use_bias=False)), (1,)).has_gradient


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [0, 1, 3, 17])
def test_buffers_are_apart_and_aligned(rows: int, dtype: Any) -> None:
    net = fn.network({1: CHAIN, 2: fn.linear(5), 3: fn.concatenate(), 4: fn.linear(1)}, {1: [3, 2], 2: [3], 3: [4]})
    params, shape = net.init(fn.key(0), (7,), dtype=dtype)
    assert_buffers_are_apart(plan_of(net.apply, params, (7,), rows=rows))
    if rows:
        assert_buffers_are_apart(plan_of(fn.sgd_step(net, fn.mse(), learning_rate=1.0), params, (7,), shape, rows=rows))


def test_a_plan_is_the_same_each_time() -> None:
    a, b = (step_plan(hidden(4, fn.tanh()), (5,)) for _ in range(2))
    assert functions(a.calls) == functions(b.calls)
    assert [buffer.start for buffer in a.buffers] == [buffer.start for buffer in b.buffers]


# --- no call writes over what a later call reads: networks of every kind, last because they take longest


def plans_of_problem(problem: Problem) -> list[Plan]:
    """The forward pass of a DAG, and the gradient of its squared error."""
    net, params, inputs = problem.made()
    shapes = [x.shape[1:] for x in inputs]
    plans = [plan_of(net.apply, params, *shapes, rows=problem.batch)]
    if not isinstance(problem.net.output, list):
        targets = [(width,) for width in problem.outputs]
        step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
        plans.append(plan_of(step, params, *shapes, *targets, rows=problem.batch))
    return plans


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("rows", [1, 5])
def test_no_fan_out_writes_over_what_is_read_later(name: str, rows: int) -> None:
    for plan in plans_of_problem(pattern(name, batch=rows)):
        assert_no_clobber(plan)
        assert_buffers_are_apart(plan)


@given(
    problem=problems()
    | problems().flatmap(partly_opaque)
    | problems(size=6).flatmap(with_images)
    | problems(size=6).flatmap(with_recurrence)
)
@settings(max_examples=examples(60))
def test_no_random_network_writes_over_what_is_read_later(problem: Problem) -> None:
    for plan in plans_of_problem(problem):
        assert_no_clobber(plan)
        assert_buffers_are_apart(plan)


def test_a_free_buffer_grows_for_a_larger_value() -> None:
    """x is read no more when the wider value is made, so that this lies in its memory too."""
    plan = planned(lambda W, V, x: np.exp(np.exp(x @ W) @ V), (3,), params=[(3, 2), (2, 8)], passes=())
    sizes = sorted(buffer.size for buffer in plan.working_buffers if buffer.size)
    assert sum(sizes) < 4 * 4 * (3 + 2 + 2 + 8 + 8)
    assert 4 * 4 * 3 not in sizes


def test_a_small_value_leaves_a_large_buffer_to_a_large_one() -> None:
    """The mean of each row would fit where x was, which the last value then could not have."""

    def function(W: Any, x: Any) -> Any:
        y = np.exp(x).sum(axis=1, keepdims=True)
        return np.tanh(y) @ W + y

    plan = planned(function, (999,), params=[(1, 999)], passes=())
    sizes = sorted(buffer.size for buffer in plan.working_buffers if buffer.size > 4 * 4)
    assert sizes == [4 * 4 * 999] * 2


@every_case
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_no_operator_writes_over_what_is_read_later(case: Case, rows: int) -> None:
    if case.name == "batch_norm" and rows == 1:
        pytest.skip("a single row has no statistics")
    for plan in plans_of_case(case, rows):
        assert_no_clobber(plan)
        assert_buffers_are_apart(plan)
