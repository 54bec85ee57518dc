"""Recurrent layers as programs: what each of their results is where nothing else is read, over few and many times."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.compiler.binding import Binding
from funcnet.compiler.planning import make_plan
from funcnet.tracing.cells import SPAN
from funcnet.tracing.trace import Trace

F64 = np.dtype(np.float64)
ROWS, FEATURES, UNITS = 3, 2, 2

KINDS: dict[str, Any] = {"rnn": fn.rnn, "lstm": fn.lstm, "gru": fn.gru}
OPTIONS: dict[str, dict[str, Any]] = {
    "the last state": {},
    "all states": {"return_sequences": True},
    "all states from one": {"initial_state": True, "return_sequences": True},
    "of unequal lengths": {"initial_state": True, "lengths": True},
}


def results(net: Any, params: Any, inputs: tuple[Any, ...], g: Any) -> list[Any]:
    """The output, and the cotangents of all params and inputs."""
    y, pullback = net.apply.run(params, inputs)
    of_params, of_inputs = pullback(g)
    return [y, *tree.leaves(of_params), *(d for d in of_inputs if d is not None)]


@pytest.mark.parametrize("times", [1, 2, SPAN + 3])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_result_alone_is_that_of_the_plain_call(kind: str, options: str, times: int) -> None:
    more = {"return_state": True} if kind == "lstm" and "initial_state" in OPTIONS[options] else {}  # h and c go out
    net, rng = KINDS[kind](UNITS, **OPTIONS[options], **more), np.random.default_rng(0)
    state = UNITS * (2 if kind == "lstm" else 1)
    shapes: list[fn.Shape] = [(times, FEATURES)]
    inputs = [rng.normal(size=(ROWS, times, FEATURES))]
    if "lengths" in OPTIONS[options]:
        shapes.append(())
        inputs.append(np.array([times, 0, times // 2]))
    if "initial_state" in OPTIONS[options]:
        shapes.append((state,))
        inputs.append(rng.normal(size=(ROWS, state)))
    params, output = net.init(fn.key(0), *shapes, dtype=F64)
    g = rng.normal(size=(ROWS, *output))
    expected = results(net, params, tuple(inputs), g)
    for place, right in enumerate(expected):
        trace = Trace(F64, ROWS)
        symbols = tree.map(lambda leaf, trace=trace: trace.parameter(leaf.shape), params)
        given = [trace.input(x.shape, x.dtype) for x in (*inputs, g)]
        found = results(net, symbols, tuple(given[:-1]), given[-1])
        space = Binding(make_plan(trace, (found[place],)))
        space.params[...] = np.concatenate([leaf.ravel() for leaf in tree.leaves(params)])
        for inside, x in zip(space.inputs, (*inputs, g), strict=True):
            inside[...] = x
        for f, args in space.program:
            f(*args)
        np.testing.assert_allclose(space.outputs[0], right, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("kind", "gates"), [("rnn", 1), ("lstm", 4), ("gru", 3)])
def test_each_pass_takes_as_many_multiplications_as_its_products(kind: str, gates: int) -> None:
    """At each time the input and the state meet the weights of each gate: forward, and back to both of them."""
    net, times = KINDS[kind](UNITS), 5
    params, output = net.init(fn.key(0), (times, FEATURES))
    trace = Trace(np.dtype(np.float32), ROWS)
    x, g = trace.input((ROWS, times, FEATURES), trace.dtype), trace.input((ROWS, *output), trace.dtype)
    results(net, tree.map(lambda leaf: trace.parameter(leaf.shape), params), (x,), g)
    found = {call.primitive.name: call.multiply_adds() for call in trace.calls}
    assert found[kind] == ROWS * times * gates * UNITS * (UNITS + FEATURES)
    back = gates + (kind == "gru")  # whose state has a product of its own for n
    assert found[f"{kind} backward"] == ROWS * times * back * UNITS * (UNITS + FEATURES)
