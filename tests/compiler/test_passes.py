"""The passes of a plan: none changes the trace, and each may be left out."""

from __future__ import annotations

import re
from itertools import product
from operator import attrgetter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from funcnet import tree
from funcnet.compiler.binding import Binding
from funcnet.compiler.listing import listing
from funcnet.compiler.plan import Plan
from funcnet.compiler.planning import PASSES, make_plan
from funcnet.tracing.primitive import Primitive
from funcnet.tracing.trace import Trace, Value
from tests.support.recurrences import with_recurrence
from tests.support.strategies import Problem, partly_opaque, problems, with_images

F64 = np.dtype(np.float64)
WITHOUT = {
    "all passes": PASSES,
    **{f"without {name}": PASSES - {name} for name in sorted(PASSES)},
    "no pass": frozenset(),
}


def traced(problem: Problem) -> tuple[Trace, list[Value], list[Value], list[Any]]:
    """(the trace of a network, its outputs, the cotangents of its params, the numbers of params and inputs)."""
    net, params, arrays = problem.made()
    trace = Trace(F64, len(arrays[0]))
    symbols = tree.map(lambda p: trace.parameter(p.shape), params)
    output, pullback = net.apply.function(symbols, *(trace.input(x.shape, F64) for x in arrays))
    of_params, _ = pullback(tree.map(lambda y: np.tanh(y), output))
    return trace, tree.leaves(output), tree.leaves(of_params), [*tree.leaves(params), *arrays]


def run(plan: Plan, numbers: list[Any]) -> list[Any]:
    """The outputs and the gradient that the program of a plan gives."""
    space, count = Binding(plan), len(plan.parameters)
    space.params[...] = np.concatenate([np.empty(0), *(p.ravel() for p in numbers[:count])])
    for place, x in zip(space.inputs, numbers[count:], strict=True):
        place[...] = x
    with np.errstate(all="ignore"):
        for f, arguments in space.program:
            f(*arguments)
    outputs = [np.array(y) * factor for y, factor in zip(space.outputs, plan.factors, strict=True)]
    return [*outputs, np.array(space.gradient)]


def told(trace: Trace) -> list[Any]:
    """Everything about the calls of a trace, and where each value stands."""
    slots = attrgetter("base", "view", "call", "offset", "buffer", "ones", "use_count", "last")
    return [
        (call.primitive, call.inputs, dict(call.attributes), call.scope, *map(slots, (*call.operands, *call.outputs)))
        for call in trace.calls
    ]


@given(
    problems()
    | problems().flatmap(partly_opaque)
    | problems(size=6).flatmap(with_images)
    | problems(size=6).flatmap(with_recurrence)
)
def test_planning_leaves_the_trace_alone(problem: Problem) -> None:
    trace, outputs, gradient, _ = traced(problem)
    before = told(trace)
    make_plan(trace, outputs, gradient)
    after = told(trace)
    assert len(before) == len(after)
    assert all(a is b or a == b for old, new in zip(before, after, strict=True) for a, b in zip(old, new, strict=True))


@given(problems() | problems(size=6).flatmap(with_images) | problems(size=6).flatmap(with_recurrence))
def test_each_pass_may_be_left_out(problem: Problem) -> None:
    trace, outputs, gradient, numbers = traced(problem)
    expected, *others = (run(make_plan(trace, outputs, gradient, passes), numbers) for passes in WITHOUT.values())
    for found in others:
        for a, b in zip(expected, found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@given(problems(), st.data())
def test_calls_of_several_outputs_give_the_same_with_each_pass_left_out(problem: Problem, data: st.DataObject) -> None:
    plain = run(make_plan(*traced(problem)[:3]), traced(problem)[3])
    trace, outputs, gradient, numbers = traced(data.draw(partly_opaque(problem)))
    for passes in WITHOUT.values():
        found = run(make_plan(trace, outputs, gradient, passes), numbers)
        for a, b in zip(plain, found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def two_of_three(read: int) -> tuple[Trace, list[Value], Value]:
    """(a trace, the outputs of its call of three outputs, the sum of that one and of the call's input)."""
    trace = Trace(F64, 4)
    x, W = trace.input((4, 3), F64), trace.parameter((2, 3))
    like = [((4, 3), F64, 0), ((2, 3), F64, None), ((), F64, None)]
    outputs = trace.emit_all(POWERS, (x, W), like, power=3)
    return trace, [*outputs], outputs[read] + x if read == 0 else outputs[read] * 2.0


def powers(memory: Any, attributes: Any, operands: Any, outputs: Any) -> Any:
    """x^k, W^k and the sum of both, of those outputs that are read."""
    (x, W), k = operands, attributes["power"]
    results = (lambda: x**k, lambda: W**k, lambda: (x**k).sum() + (W**k).sum())
    return [(write, (y, result)) for y, result in zip(outputs, results, strict=True) if y is not None]


def write(y: Any, result: Any) -> None:
    y[...] = result()


POWERS = Primitive("powers", powers, multi_output=True)


@pytest.mark.parametrize("read", [0, 1, 2])
def test_an_output_that_nothing_reads_has_no_memory_and_is_not_written(read: int) -> None:
    trace, _, y = two_of_three(read)
    plan = make_plan(trace, [y])
    (call, *_) = plan.calls
    assert [value.buffer is not None for value in call.outputs] == [i == read for i in range(3)]
    assert len(Binding(plan).program) == len(plan.calls)
    assert re.search(rf"v1\.{read} \(.*= powers\(x0, params\.W\)", listing("f", plan, [".W"]))
    assert f"v1.{(read + 1) % 3}" not in listing("f", plan, [".W"])


@pytest.mark.parametrize("passes", WITHOUT.values(), ids=WITHOUT)
def test_a_cotangent_is_written_in_its_place_by_a_call_of_several_outputs(passes: frozenset[str]) -> None:
    trace, (dx, dW, total), _ = two_of_three(0)
    plan = make_plan(trace, [dx, total], [dW], passes)
    (call,) = plan.calls
    assert call.outputs[1].buffer is plan.gradient_buffer
    assert not plan.over_params  # the call still reads W where it writes its cotangent
    x, W = np.arange(12.0).reshape(4, 3), np.arange(6.0).reshape(2, 3)
    for found, expected in zip(run(plan, [W, x]), [x**3, (x**3).sum() + (W**3).sum(), (W**3).ravel()], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_call_of_several_outputs_is_dropped_where_none_is_read() -> None:
    trace, outputs, _ = two_of_three(0)
    assert [call.primitive.name for call in make_plan(trace, [trace.inputs[0] * 2.0]).calls] == ["multiply"]
    assert f"powers {', '.join(str(y.shape) for y in outputs)}" in listing("f", make_plan(trace, []), [".W"])


@pytest.mark.parametrize("names", [*product(["dW", "db", "dV", "dc", "x"], repeat=3)], ids="-".join)
def test_cotangents_are_written_where_their_params_are_in_any_order(names: tuple[str, ...]) -> None:
    trace, rng = Trace(F64, 4), np.random.default_rng(0)
    numbers = [rng.normal(size=shape) for shape in ((4, 3), (4, 2), (4, 2))]
    symbols = [trace.input(x.shape, F64) for x in numbers]

    def cotangents(x: Any, g: Any, h: Any) -> dict[str, Any]:
        """Those of two weights and their biases, and an array that comes from outside."""
        return {"dW": x.T @ g, "db": g.sum(axis=0), "dV": x.T @ h, "dc": h.sum(axis=0), "x": x}

    given, expected = (cotangents(*arrays) for arrays in (symbols, numbers))
    params = [trace.parameter(expected[name].shape) for name in names]
    for passes in WITHOUT.values():
        plan = make_plan(trace, [symbols[0].sum()], [given[name] for name in names], passes)
        *_, gradient = run(plan, [*(np.zeros(p.shape) for p in params), *numbers])
        np.testing.assert_allclose(gradient, np.concatenate([expected[name].ravel() for name in names]), rtol=1e-12)


def test_nothing_is_packed_without_fusion() -> None:
    trace = Trace(F64, 4)
    x, y = (np.tanh(trace.input((4, 3), F64)) for _ in range(2))
    plans = {name: make_plan(trace, [x * x, y * y], (), passes) for name, passes in WITHOUT.items()}
    packed = {name for name, plan in plans.items() if plan.packed_buffers}
    assert packed == {"all passes", "without fold_bias", "without in_place"}


def test_passes_make_fewer_calls_and_buffers() -> None:
    trace = Trace(F64, 4)
    x, W, b = trace.input((4, 3), F64), trace.parameter((3, 3)), trace.parameter((3,))
    y = np.exp(np.tanh(x @ W + b))
    plans = {name: make_plan(trace, [y], (), passes) for name, passes in WITHOUT.items()}
    assert len(plans["without fold_bias"].calls) == len(plans["all passes"].calls) + 1
    in_place = {
        name: sum(c.output.buffer is c.operands[0].root.buffer for c in plan.calls) for name, plan in plans.items()
    }
    assert in_place == {
        "all passes": 2,
        "without fold_bias": 3,
        "without fusion": 2,
        "without in_place": 0,
        "no pass": 0,
    }


@pytest.mark.parametrize("name", WITHOUT)
def test_a_trace_is_planned_as_often_as_one_likes(name: str) -> None:
    trace = Trace(F64, 4)
    x, W = trace.input((4, 3), F64), trace.parameter((3, 3))
    y = np.tanh(x @ W)
    first, second = (make_plan(trace, [y], [x.T @ (y * y)], WITHOUT[name]) for _ in range(2))
    assert [call.primitive for call in first.calls] == [call.primitive for call in second.calls]
    assert (first.size, first.over_params) == (second.size, second.over_params)
