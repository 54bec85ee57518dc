"""Random networks over sequences: attention, masks, positions, recurrence, biases over times, compiled in every way."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings

import funcnet as fn
from funcnet import tree
from funcnet.compiler.binding import Binding
from funcnet.compiler.planning import PASSES, make_plan
from funcnet.tracing.trace import Trace
from tests.exports.running import needs_compiler
from tests.support.sequences import Problem, problems

WITHOUT = [PASSES, *(PASSES - {name} for name in sorted(PASSES)), frozenset[str]()]
TOLERANCE: dict[Any, float] = {np.float64: 1e-11, np.float32: 2e-4}


def close(problem: Problem, found: Any, expected: Any) -> None:
    for a, b in zip(tree.leaves(found), tree.leaves(expected), strict=True):
        size = max(1.0, float(np.abs(b).max(initial=0.0)))
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[problem.dtype] * size)


def by_hand(problem: Problem) -> tuple[Any, Any, Any, Any, Any]:
    """(params, arrays with a target, the output, the loss, its gradient), by the function itself on arrays."""
    params, inputs = problem.made()
    y, pull = problem.net.apply.vjp(params, *inputs)
    target = np.random.default_rng(problem.seed).normal(size=y.shape).astype(problem.dtype)
    cotangents: Any
    of_params, cotangents = pull(2.0 * (y - target) / y.size)
    assert [*cotangents[1:]] == [None] * (len(inputs) - 1)
    return params, (*inputs, target), y, np.mean((y - target) ** 2), of_params


@given(problems())
def test_the_closure_is_the_function(problem: Problem) -> None:
    params, arrays, y, loss, of_params = by_hand(problem)
    close(problem, problem.net.apply(params, *arrays[:-1]), y)
    close(problem, fn.value_and_grad(problem.net, fn.mse())(params, *arrays), (loss, of_params))


@given(problems())
def test_each_pass_may_be_left_out(problem: Problem) -> None:
    params, arrays, _, _, of_params = by_hand(problem)
    trace = Trace(np.dtype(problem.dtype), problem.rows)
    symbols = tree.map(lambda p: trace.parameter(p.shape), params)
    inputs: Any = [trace.input(a.shape, a.dtype) for a in arrays]
    output, pull = problem.net.apply.function(symbols, *inputs[:-1])
    gradient, _ = pull((output - inputs[-1]) * (2.0 / output.size))
    flat = np.concatenate([leaf.ravel() for leaf in tree.leaves(of_params)])
    for passes in WITHOUT:
        space = Binding(make_plan(trace, [output], tree.leaves(gradient), passes))
        space.params[...] = np.concatenate([leaf.ravel() for leaf in tree.leaves(params)])
        for place, given_ in zip(space.inputs, arrays, strict=True):
            place[...] = given_
        for f, args in space.program:
            f(*args)
        close(problem, np.array(space.gradient), flat)


@needs_compiler
@settings(max_examples=8)
@given(problems())
def test_native_code_is_the_function(problem: Problem) -> None:
    params, arrays, _, loss, of_params = by_hand(problem)
    gradient = fn.jit(fn.value_and_grad(problem.net, fn.mse()))
    close(problem, gradient(params, *arrays), (loss, of_params))


@settings(max_examples=20)
@given(problems())
def test_a_scan_gives_the_bits_of_its_steps(problem: Problem) -> None:
    params, arrays, _, _, _ = by_hand(problem)
    step = fn.sgd_step(problem.net, fn.mse(), learning_rate=0.01)
    new, losses = params, list[Any]()
    for _ in range(3):
        new, loss = step(new, *arrays)
        losses.append(loss)
    found = fn.scan(step, params, *(np.stack([a] * 3) for a in arrays))
    for a, b in zip(tree.leaves(found), tree.leaves((new, np.array(losses))), strict=True):
        np.testing.assert_array_equal(a, b)


@settings(max_examples=20)
@given(problems(recurrent=False))
def test_the_file_of_numpy_gives_the_same_bits(problem: Problem) -> None:
    params, arrays, _, _, _ = by_hand(problem)
    gradient, module = fn.value_and_grad(problem.net, fn.mse()), dict[str, Any]()
    exec(fn.to_numpy(gradient, params, *arrays), module)  # noqa: S102
    for a, b in zip(
        tree.leaves(module["value_and_grad"](params, *arrays)), tree.leaves(gradient(params, *arrays)), strict=True
    ):
        np.testing.assert_array_equal(a, b)
