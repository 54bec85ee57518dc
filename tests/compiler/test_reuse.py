"""Random graphs, drawn until a plan has done each thing that saves time or memory, give the right numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, settings

import funcnet as fn
from funcnet import tree
from funcnet.compiler import buffers, planning
from funcnet.compiler.fusion import Fused
from funcnet.compiler.plan import Plan
from funcnet.compiler.program_cache import Program
from funcnet.tracing.trace import Call, Value
from tests.networks.test_network import check_value_and_grad, small_blocks, solved, with_targets
from tests.support.strategies import Problem, problems

PATIENCE = settings(
    max_examples=3000,
    phases=[Phase.generate],
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]
)


def program_of(problem: Problem) -> Program[Any]:
    """The program that computes the loss and the gradient of a problem."""
    network, params, inputs = with_targets(problem).made()
    compiled = fn.value_and_grad(network)
    with np.errstate(all="ignore"):
        compiled(params, *inputs)
    (program,) = compiled._programs.by_signature.values()
    return program


def backward(call: Call) -> bool:
    return call.scope.endswith("backward")


def in_place(plan: Plan, call: Call) -> bool:
    return call.output.buffer not in (plan.params_buffer, plan.gradient_buffer) and any(
        v.root.buffer is call.output.buffer for v in call.operands
    )


def reads_ones(call: Call) -> bool:
    return any(v.base is not None and v.view is None for v in bases(call))


def bases(call: Call) -> list[Value]:
    """What a call reads, and whatever that is a view of."""
    found = call.operands
    for value in found:
        if value.base is not None:
            found.append(value.base)
    return found


def lives_after_another(plan: Plan) -> bool:
    """Whether a value that overwrites none of its own inputs lives where another one lived."""
    seen: list[Any] = [value.buffer for value in plan.inputs]
    for call in plan.calls:
        buffer = call.output.buffer
        if buffer in seen and buffer not in (plan.params_buffer, plan.gradient_buffer) and not in_place(plan, call):
            return True
        seen.append(buffer)
    return False


def is_add(call: Call) -> bool:
    return call.primitive.name == "add"


def any_call(condition: Callable[[Plan, Call], bool]) -> Callable[[Program[Any]], bool]:
    def holds(program: Program[Any]) -> bool:
        return any(condition(plan, call) for plan in program.plans.values() for call in plan.calls)

    return holds


def any_plan(condition: Callable[[Plan], bool]) -> Callable[[Program[Any]], bool]:
    return lambda program: any(map(condition, program.plans.values()))


def writes_gradient(plan: Plan, call: Call) -> bool:
    return call.output.buffer is plan.gradient_buffer


USES: dict[str, Callable[[Program[Any]], bool]] = {
    "a value overwrites what it is made of": any_call(lambda plan, call: in_place(plan, call) and not backward(call)),
    "a cotangent overwrites what it is made of": any_call(lambda plan, call: in_place(plan, call) and backward(call)),
    "a value lives where another has lived": any_plan(lives_after_another),
    "a bias rides in a product": any_call(lambda plan, call: reads_ones(call) and not backward(call)),
    "the gradient of a bias rides in a product": any_call(lambda plan, call: reads_ones(call) and backward(call)),
    "cotangents are added where they meet": any_call(
        lambda plan, call: is_add(call) and backward(call) and not writes_gradient(plan, call)
    ),
    "gradients of shared params are added": any_call(lambda plan, call: is_add(call) and writes_gradient(plan, call)),
    "the gradient lies over the params": any_plan(lambda plan: plan.over_params and plan.params_buffer.size > 0),
    "cotangents of inputs are left out": any_plan(
        lambda plan: any(call.primitive.name == "matmul" and backward(call) for call in plan.left_out)
    ),
    "calls that do the same are fused": any_plan(lambda plan: bool(plan.parts)),
    "fused calls are followed by fused ones": any_plan(lambda plan: len(plan.parts) > 2),
    "a value is squared in one call": any_call(
        lambda plan, call: (
            call.primitive.name == "multiply" and len(call.operands) == 2 and len({*map(id, call.operands)}) == 1
        )
    ),
}
IN_BLOCKS: dict[str, Callable[[Program[Any]], bool]] = {
    "rows run in blocks of one length": lambda program: len(program.spans) > 1 == len(program.plans),
    "rows run in blocks of two lengths": lambda program: len(program.plans) > 1,
}


@contextmanager
def no_reuse() -> Iterator[None]:
    """Every value has memory of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "fuse", lambda calls: Fused(list(calls), [], {}))
        patch.setattr(planning, "in_place_buffer", lambda call, number, fixed: None)
        patch.setattr(buffers.Free, "add", lambda free, buffer: None)
        patch.setattr(planning, "fits_over_params", lambda *facts: False)
        yield


@pytest.mark.parametrize("name", [*USES, *IN_BLOCKS])
@pytest.mark.parametrize("seed", range(3))
def test_graphs_are_drawn_until_the_plan_does_it_and_give_the_right_numbers(name: str, seed: int) -> None:
    used = (USES | IN_BLOCKS)[name]
    with small_blocks() if name in IN_BLOCKS else nullcontext():
        problem = find(
            problems(),
            lambda p: used(program_of(p)) and bool(solved(with_targets(p))),
            settings=PATIENCE,
            random=Random(seed),
        )
        network, params, inputs = with_targets(problem).made()
        with np.errstate(all="ignore"):
            found = fn.value_and_grad(network)(params, *inputs)
            with no_reuse():
                expected = fn.value_and_grad(network)(params, *inputs)
        for a, b in zip(tree.leaves(found), tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(a, b, strict=True)
        check_value_and_grad(problem)
