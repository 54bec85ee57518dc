"""Graphs written in another way are the same function; large ones are no worse."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import funcnet as fn
from funcnet import tree
from tests.support.budget import examples
from tests.support.naive import Net, Op
from tests.support.strategies import Problem, network_of, problems

few = settings(max_examples=examples(60))
large = settings(max_examples=examples(10))
LEAST, MOST = 40, 60


def close(problem: Problem, found: Any, expected: Any) -> None:
    tolerance = 1e-4 if problem.dtype is np.float32 else 1e-10
    with np.errstate(all="ignore"):
        for a, b in zip(tree.leaves(found), tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, np.abs(b).max(initial=0.0)))


def renamed(net: Net) -> tuple[Net, dict[Any, Any]]:
    """The network with other keys, and the key that each became."""
    names: dict[Any, Any] = {key: f"node {i}" for i, key in enumerate(net.operators)}
    operators = {
        names[k]: Op("shared", (names[op.of[0]],)) if op.kind == "shared" else op for k, op in net.operators.items()
    }
    connectivity = {names[k]: [names[j] for j in fed] for k, fed in net.connectivity.items()}
    output = [names[k] for k in net.output] if isinstance(net.output, list) else names.get(net.output)
    inputs = None if net.inputs is None else [names[k] for k in net.inputs]
    return Net(operators, connectivity, inputs, output), names


def results(network: Any, params: Any, inputs: Any) -> Any:
    """(outputs, cotangents of params and inputs)."""
    with np.errstate(all="ignore"):
        output, pullback = network.apply.vjp(params, *inputs)
        return network.apply(params, *inputs), *pullback(tree.map(np.ones_like, output))


def assert_same_bits(found: Any, expected: Any) -> None:
    assert all(
        np.array_equal(a, b, equal_nan=True) for a, b in zip(tree.leaves(found), tree.leaves(expected), strict=True)
    )


def check_other_keys(problem: Problem) -> None:
    network, params, inputs = problem.made()
    net, names = renamed(problem.net)
    y, dp, dx = results(network_of(net), {names[k]: p for k, p in params.items()}, inputs)
    assert_same_bits((y, {k: dp[names[k]] for k in params}, dx), results(network, params, inputs))


@few
@given(problems())
def test_other_keys_change_nothing(problem: Problem) -> None:
    check_other_keys(problem)


@large
@given(problems(size=MOST, least=LEAST))
def test_other_keys_change_nothing_in_a_large_graph(problem: Problem) -> None:
    assert len(problem.net.operators) >= LEAST
    check_other_keys(problem)


def reordered(net: Net, random: Random) -> Net:
    """The same edges, whose order is another except where it orders a fan-in: among the keys that feed one operator."""
    operators = {k: net.operators[k] for k in random.sample([*net.operators], len(net.operators))}
    edges = [(k, random.sample(fed, len(fed))) for k, fed in net.connectivity.items()]
    for _ in range(4 * len(edges)):
        i = random.randrange(max(1, len(edges) - 1))
        if len(edges) > 1 and not {*edges[i][1]} & {*edges[i + 1][1]}:
            edges[i : i + 2] = edges[i + 1], edges[i]
    return Net(operators, dict(edges), net.sources(), net.sinks())


def check_another_order(problem: Problem, random: Random) -> None:
    network, params, inputs = problem.made()
    net = reordered(problem.net, random)
    y, dp, dx = results(network_of(net), {k: params[k] for k in net.operators if k in params}, inputs)
    expected = results(network, params, inputs)
    assert_same_bits(y, expected[0])
    close(problem, ({k: dp[k] for k in params}, dx), expected[1:])  # a sum over a fan-out, taken in another order


@few
@given(problems(), st.randoms(use_true_random=False))
def test_another_order_of_the_dicts_changes_nothing(problem: Problem, random: Random) -> None:
    check_another_order(problem, random)


@large
@given(problems(size=MOST, least=LEAST), st.randoms(use_true_random=False))
def test_another_order_of_the_dicts_changes_nothing_in_a_large_graph(problem: Problem, random: Random) -> None:
    check_another_order(problem, random)


@few
@given(problems())
def test_an_identity_on_every_edge_changes_nothing(problem: Problem) -> None:
    network, params, inputs = problem.made()
    net, operators, connectivity = problem.net, dict(problem.net.operators), dict[Any, Any]()
    for k, fed in net.connectivity.items():
        connectivity[k] = [f"{k!r} to {j!r}" for j in fed]
        operators.update({f"{k!r} to {j!r}": Op("identity") for j in fed})
        connectivity.update({f"{k!r} to {j!r}": [j] for j in fed})
    longer = network_of(Net(operators, connectivity, net.sources(), net.output))
    close(problem, longer.apply(params, *inputs), network.apply(params, *inputs))
    output, pullback = network.apply.vjp(params, *inputs)
    cotangent = tree.map(np.ones_like, output)
    close(problem, longer.apply.vjp(params, *inputs)[1](cotangent), pullback(cotangent))


def test_a_series_is_its_dict() -> None:
    layers: list[Any] = [fn.linear(4), fn.tanh(), fn.linear(3), fn.softmax()]
    series, net = fn.serial(*layers), fn.network(dict(enumerate(layers)), {i: [i + 1] for i in range(3)})
    own, _ = series.init(fn.key(0), (2,))
    params: Any = {i: p for i, p in enumerate(own) if tree.leaves(p)}
    x = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
    assert np.array_equal(series.apply(own, x), net.apply(params, x))
    pairs: list[Any] = [(series, own), (net, params)]
    gradients = [fn.value_and_grad(f, fn.mse())(p, x, np.ones((7, 3), np.float32)) for f, p in pairs]
    assert all(np.array_equal(a, b) for a, b in zip(tree.leaves(gradients[0]), tree.leaves(gradients[1]), strict=True))


def test_a_value_that_feeds_a_thousand_gets_all_their_cotangents() -> None:
    count = 1000
    operators: dict[Any, Any] = {"x": fn.linear(2), **{i: fn.tanh() for i in range(count)}, "sum": fn.add()}
    edges: dict[Any, Any] = {"x": [*range(count)], **{i: ["sum"] for i in range(count)}}
    net = fn.network(operators, edges)
    one = fn.serial(fn.linear(2), fn.tanh())
    params, _ = net.init(fn.key(0), (2,), dtype=np.float64)
    x, target = np.random.default_rng(0).normal(size=(2, 7, 2))
    _, gradient = fn.value_and_grad(net, fn.mse())(params, x, target)
    y, pullback = one.apply.vjp((params["x"], ()), x)
    (expected, _), _ = pullback(count * 2 * (count * y - target) / y.size)
    for a, b in zip(gradient["x"], expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11)
