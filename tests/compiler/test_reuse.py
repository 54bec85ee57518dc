"""Each thing that a plan does to save time or memory is seen in a network that allows it, and changes no bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.compiler.plan import Plan
from funcnet.compiler.program_cache import Program
from funcnet.tracing.trace import Call

CHAIN = {1: fn.linear(3), 2: fn.tanh(), 3: fn.linear(3), 4: fn.sigmoid(), 5: fn.linear(2)}
BRANCHES = {"x": fn.linear(3), "a": fn.tanh(), "b": fn.tanh(), "y": fn.add()}
TWINS = {"a": fn.linear(3), "b": fn.shared("a"), "y": fn.subtract()}
NETWORKS: dict[str, Any] = {
    "chain": fn.network(CHAIN, {1: [2], 2: [3], 3: [4], 4: [5]}),
    "branches": fn.network(BRANCHES, {"x": ["a", "b"], "a": ["y"], "b": ["y"]}),
    "twins": fn.network(TWINS, {"a": ["y"], "b": ["y"]}),
}


def program_of(name: str, rows: int = 4, passes: frozenset[str] | None = None) -> tuple[Program[Any], list[Any]]:
    """The program of the loss and the gradient of a network, and what it gives."""
    net, inputs = NETWORKS[name], 1 + (name == "twins")
    rng = np.random.default_rng(0)
    params, (features,) = net.init(fn.key(0), *[(3,)] * inputs, dtype=np.float64)
    arrays = [rng.normal(size=(rows, width)) for width in (*[3] * inputs, features)]
    compiled = fn.value_and_grad(net, fn.mse())
    if passes is not None:
        compiled.passes = passes
    found = compiled(params, *arrays)
    (program,) = compiled._programs.by_signature.values()
    return program, tree.leaves(found)


def backward(call: Call) -> bool:
    return call.scope.endswith("backward")


def in_place(call: Call) -> bool:
    return call.primitive.elementwise and any(v.root.buffer is call.output.buffer for v in call.operands)


def reads_ones(call: Call) -> bool:
    bases = [value for x in call.operands for value in (x, x.base) if value is not None]
    return any(value.base is not None and value.view is None for value in bases)


def lives_after_another(plan: Plan) -> bool:
    """Whether a value that overwrites none of its own inputs lives where another one lived."""
    buffers = [value.buffer for value in plan.inputs]
    buffers += [call.output.buffer for call in plan.calls if not in_place(call) and not plan.is_gradient(call.output)]
    return len({*map(id, buffers)}) < len(buffers)


def any_call(condition: Callable[[Plan, Call], bool]) -> Callable[[Plan], bool]:
    return lambda plan: any(condition(plan, call) for call in plan.calls)


def is_add(call: Call) -> bool:
    return call.primitive.name == "add"


def is_square(call: Call) -> bool:
    return call.primitive.name == "multiply" and len(call.inputs) == 2 and call.inputs[0] is call.inputs[1]


USES: dict[str, tuple[str, Callable[[Plan], bool]]] = {
    "a value overwrites what it is made of": ("chain", any_call(lambda _, call: in_place(call) and not backward(call))),
    "a cotangent overwrites what it is made of": ("chain", any_call(lambda _, call: in_place(call) and backward(call))),
    "a value lives where another has lived": ("chain", lives_after_another),
    "a bias rides in a product": ("chain", any_call(lambda _, call: reads_ones(call) and not backward(call))),
    "the gradient of a bias rides in a product": (
        "chain",
        any_call(lambda _, call: reads_ones(call) and backward(call)),
    ),
    "the gradient lies over the params": ("chain", lambda plan: plan.over_params),
    "cotangents of inputs are left out": (
        "chain",
        lambda plan: any(call.primitive.name == "matmul" and backward(call) for call in plan.left_out),
    ),
    "a value is squared in one call": ("chain", any_call(lambda _, call: is_square(call))),
    "cotangents are added where they meet": (
        "branches",
        any_call(lambda plan, call: is_add(call) and backward(call) and not plan.is_gradient(call.output)),
    ),
    "calls that do the same are fused": ("branches", lambda plan: bool(plan.parts)),
    "fused calls are followed by fused ones": ("branches", lambda plan: len(plan.parts) > 2),
    "gradients of shared params are added": (
        "twins",
        any_call(lambda plan, call: is_add(call) and plan.is_gradient(call.output)),
    ),
}


@pytest.mark.parametrize("name", USES)
def test_a_plan_does_what_it_can(name: str) -> None:
    network, used = USES[name]
    program, _ = program_of(network)
    (plan,) = program.plans.values()
    assert used(plan)


@pytest.mark.parametrize("name", NETWORKS)
def test_memory_used_again_and_calls_fused_change_no_bit(name: str) -> None:
    _, found = program_of(name)
    _, expected = program_of(name, passes=frozenset({"fold_bias"}))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize(("rows", "blocks", "lengths"), [(4000, 1, 1), (12_000, 2, 1), (20_000, 3, 2)])
def test_rows_run_in_blocks_of_one_length_or_two(rows: int, blocks: int, lengths: int) -> None:
    program, _ = program_of("chain", rows)
    assert (len(program.spans), len(program.plans)) == (blocks, lengths)
