"""Random graphs, jitted: what the closure gives, at the tolerances of the guarantees, and the same bits every way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import funcnet as fn
from funcnet import tree
from tests.exports.running import needs_compiler
from tests.native.test_jit import assert_close
from tests.support.budget import examples
from tests.support.recurrences import with_recurrence
from tests.support.strategies import Problem, partly_opaque, problems

pytestmark = needs_compiler

# a graph takes a second to compile, so that to shrink one would take minutes
few, many = (settings(max_examples=examples(count), phases=[Phase.generate]) for count in (6, 80))


def assert_same_bits(found: Any, right: Any) -> None:
    for a, b in zip(tree.leaves(found), tree.leaves(right), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def check(problem: Problem) -> None:
    """The output; and, where there is one, the gradient, steps alone, in a scan and of several members."""
    net, params, inputs = problem.made()
    output = net.apply(params, *inputs)
    assert_close(fn.jit(net).apply(params, *inputs), output, problem.dtype)
    if isinstance(output, tuple):
        return
    arrays = (*inputs, np.zeros_like(output))
    gradient, step = fn.value_and_grad(net, fn.mse()), fn.sgd_step(net, fn.mse(), learning_rate=0.05)
    native = fn.jit(step)
    assert_close(fn.jit(gradient)(params, *arrays), gradient(params, *arrays), problem.dtype)
    new, loss = native(params, *arrays)
    assert_close((new, loss), step(params, *arrays), problem.dtype)
    other = [0.5 * x for x in arrays]
    again, last = native(new, *other)
    together = [np.stack(pair) for pair in zip(arrays, other, strict=True)]
    assert_same_bits(fn.scan(native, params, *together), (again, np.array([loss, last])))
    if tree.leaves(params):
        members = tree.map(lambda *leaves: np.stack(leaves), params, new)
        found = fn.vmap(native)(members, *together)
        alone = [(new, loss), native(new, *other)]
        assert_same_bits(found, tree.map(lambda *leaves: np.stack(leaves), *alone))


@few
@given(problems(single=True) | problems(single=True, size=6).flatmap(with_recurrence))
def test_random_graphs(problem: Problem) -> None:
    check(problem)


@pytest.mark.slow
@many
@given(st.data())
def test_more_random_graphs(data: st.DataObject) -> None:
    """Those of several outputs too; some operators are recurrent, or layers of a user's own, which NumPy calls."""
    problem = data.draw(problems(single=data.draw(st.booleans())))
    change = data.draw(st.sampled_from(["", "opaque", "recurrent"]))
    if change:
        problem = data.draw(partly_opaque(problem) if change == "opaque" else with_recurrence(problem))
    check(problem)
