"""The two dicts: every mistake is told in the user's own words, all of them at once; what follows from the dicts."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funcnet as fn
from tests.support.budget import examples
from tests.support.naive import Net
from tests.support.strategies import layer_of, nets

L, T, S, A, I = fn.linear(3), fn.tanh(), fn.subtract(), fn.add(), fn.identity()  # noqa: E741


def double(x: fn.Array) -> fn.Array:
    return x


class Mistake(NamedTuple):
    """Two dicts and options with one thing wrong, and the whole message."""

    name: str
    operators: Any
    connectivity: Any
    message: str
    inputs: Any = None
    output: Any = None


GIVE = ": give a layer such as fn.linear(25), or a list of layers"
KEYS = ": keys are int or str"
ONE = ": give a dict of one or more layers, such as {1: fn.linear(2)}"
MERGE = ". Merge them first, for instance with fn.add()"
FEED = ". Feed it by 2; an input gets its own fn.identity()"

MISTAKES = [
    # what operators hold
    Mistake("no operators", {}, {}, "operators is {}, a dict" + ONE),
    Mistake("no dict of operators", [1, 2], {1: [2]}, "operators is [1, 2], a list" + ONE),
    Mistake("no dict at all", None, None, "operators is None, a NoneType" + ONE),
    Mistake(
        "a layer's constructor",
        {1: fn.relu},
        {},
        "operators[1] is the function relu and not a layer: call it, fn.relu(...)",
    ),
    Mistake(
        "a layer's constructor in a list",
        {"a": [L, fn.linear]},
        {},
        "operators['a'][1] is the function linear and not a layer: call it, fn.linear(...)",
    ),
    Mistake(
        "a user's constructor",
        {1: double},
        {},
        "operators[1] is the function double and not a layer: "
        "fn.elementwise or fn.custom_layer makes a layer of a function",
    ),
    Mistake("a number", {1: 25}, {}, "operators[1] is 25, an int" + GIVE),
    Mistake("a name", {1: "relu"}, {}, "operators[1] is 'relu', a str and not a layer: give the layer, fn.relu()"),
    Mistake(
        "only the function of a layer",
        {1: T.apply},
        {},
        "operators[1] is <tanh>, a Function and not a layer: give the layer, not its apply alone",
    ),
    Mistake("nothing", {1: None}, {}, "operators[1] is None, a NoneType" + GIVE),
    Mistake("an empty list", {1: []}, {}, "operators[1] is an empty list: give at least one layer, or fn.identity()"),
    Mistake(
        "a list in a list",
        {1: [["deep"]]},
        {},
        "operators[1][0] is ['deep'], a list" + GIVE,
    ),
    Mistake(
        "shared in a list",
        {1: [fn.shared(2)], 2: T},
        {1: [2]},
        "operators[1][0] is shared(2), a Shared" + GIVE,
    ),
    Mistake(
        "a layer of two inputs in a list",
        {1: [L, S]},
        {},
        "operators[1][1] (subtract) takes 2 inputs, but in a list each layer is fed by the one before it: "
        "give it its own key",
    ),
    Mistake(
        "a network of several outputs",
        {"inner": fn.network({1: T, 2: I}, {1: [2]}, output=[1, 2]), 2: T},
        {"inner": [2]},
        "operators['inner'] is a network of several outputs, but an operator has one: join them inside it",
    ),
    Mistake(
        "a network of several outputs in a list",
        {1: [L, fn.network({1: T}, {}, output=[1])]},
        {},
        "operators[1][1] is a network of several outputs, but an operator has one: join them inside it",
    ),
    # keys
    Mistake("a bool as key", {True: L}, {}, "operators has the key True, a bool" + KEYS),
    Mistake("a float as key", {1.5: L}, {}, "operators has the key 1.5, a float" + KEYS),
    Mistake("None as key", {None: L}, {}, "operators has the key None, a NoneType" + KEYS),
    Mistake("a tuple as key", {(1, 2): L}, {}, "operators has the key (1, 2), a tuple" + KEYS),
    Mistake(
        "a NumPy bool as successor", {0: L, 1: T}, {0: [np.True_]}, "connectivity[0] names np.True_, a bool" + KEYS
    ),
    Mistake("a bool as successor", {0: L, 1: T}, {0: [True]}, "connectivity[0] names True, a bool" + KEYS),
    Mistake("a bool as feeder", {0: L, 1: T}, {False: [1]}, "connectivity has the key False, a bool" + KEYS),
    Mistake("a float as successor", {1: L, 2: T}, {1: [2.0]}, "connectivity[1] names 2.0, a float" + KEYS),
    Mistake("a list as successor", {1: L, 2: T}, {1: [[2]]}, "connectivity[1] names [2], a list" + KEYS),
    # connectivity
    Mistake(
        "no dict of edges",
        {1: L},
        [(1, 2)],
        "connectivity is [(1, 2)], a list: give a dict, key -> list of the keys it feeds",
    ),
    Mistake(
        "a bare int of successors",
        {1: L, 2: T},
        {1: 2},
        "connectivity[1] is 2, an int: write a list of keys, such as [2]",
    ),
    Mistake(
        "a bare str of successors",
        {"a": L, "b": T},
        {"a": "b"},
        "connectivity['a'] is 'b', a str: write a list of keys, such as ['b']",
    ),
    Mistake(
        "a bare str that is nearly a key",
        {"start": L, "stop": T},
        {"start": "stopp"},
        "connectivity['start'] is 'stopp', a str: write a list of keys, such as ['stop']",
    ),
    Mistake(
        "None as successors", {1: L}, {1: None}, "connectivity[1] is None, a NoneType: write a list of keys, such as []"
    ),
    Mistake(
        "a set of successors, which has no order",
        {1: L, 2: T},
        {1: {2}},
        "connectivity[1] is {2}, a set: write a list of keys, such as [2]",
    ),
    Mistake(
        "a dict of successors",
        {1: L, 2: T},
        {1: {2: []}},
        "connectivity[1] is {2: []}, a dict: write a list of keys, such as []",
    ),
    Mistake(
        "an unknown int",
        {1: L, 2: T, 3: T},
        {1: [2], 2: [7]},
        "connectivity[2] names 7, which is not in operators {1, 2, 3}. Did you mean 3?",
    ),
    Mistake(
        "an unknown str",
        {"left": L, "right": T},
        {"left": ["rihgt"]},
        "connectivity['left'] names 'rihgt', which is not in operators {'left', 'right'}. Did you mean 'right'?",
    ),
    Mistake(
        "a str that looks like no key",
        {"left": L, "right": T},
        {"left": ["xyz"]},
        "connectivity['left'] names 'xyz', which is not in operators {'left', 'right'}.",
    ),
    Mistake(
        "a str for an int",
        {1: L, 2: T},
        {1: ["2"]},
        "connectivity[1] names '2', which is not in operators {1, 2}. Did you mean 2?",
    ),
    Mistake(
        "an int for a str",
        {"1": L, "2": T, 9: T},
        {"1": [2], "2": [9]},
        "connectivity['1'] names 2, which is not in operators {'1', '2', 9}. Did you mean '2'?",
    ),
    Mistake(
        "an unknown key among many",
        dict.fromkeys(range(15), T),
        {i: [i + 1] for i in range(15)},
        "connectivity[14] names 15, which is not in operators {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ... (3 more)}. "
        "Did you mean 14?",
    ),
    Mistake(
        "an unknown feeder",
        {1: L, 2: T, 3: T},
        {1: [2], 22: [3]},
        "connectivity has the key 22, which is not in operators {1, 2, 3}. Did you mean 3?",
    ),
    Mistake(
        "one edge twice",
        {1: L, 2: S},
        {1: [2, 2]},
        "connectivity[1] names 2 2 times: name it once. To feed a value twice, put an fn.identity() between",
    ),
    # cycles
    Mistake(
        "a cycle",
        {1: L, 2: A, 3: T, 5: T, 6: T},
        {1: [2], 2: [3], 3: [5, 6], 5: [2]},
        "2 -> 3 -> 5 -> 2 is a cycle. Remove one of its edges, for example 2 from connectivity[5].",
    ),
    Mistake(
        "a self loop",
        {1: L, 2: A, 3: T},
        {1: [2], 2: [2, 3]},
        "2 -> 2 is a cycle. Remove one of its edges, for example 2 from connectivity[2].",
    ),
    Mistake(
        "nothing but a cycle",
        {"b": T, "a": T},
        {"a": ["b"], "b": ["a"]},
        "'b' -> 'a' -> 'b' is a cycle. Remove one of its edges, for example 'b' from connectivity['a'].",
    ),
    # inputs and outputs
    Mistake(
        "an operator that no input reaches",
        {1: L, 2: T, 3: A},
        {1: [3], 2: [3]},
        "no input reaches operator 2: name it in inputs, feed it, or remove it",
        [1],
    ),
    Mistake(
        "an operator that reaches no output",
        {1: L, 2: T, 3: T},
        {1: [2, 3]},
        "operator 3 reaches no output: connect it, name it in output, or remove it",
        None,
        2,
    ),
    Mistake(
        "several sinks",
        {1: L, 2: T, "c": T},
        {1: [2, "c"]},
        "2 operators feed nothing: {2, 'c'}. Name the output, for example output='c', or several, output=[2, 'c']",
    ),
    Mistake(
        "an input that is fed",
        {1: L, 2: A, 3: T},
        {1: [2], 2: [3]},
        "operator 2 is named in inputs, but {1} feeds it too. "
        "Give the input an operator of its own: an fn.identity() that feeds it",
        [1, 2],
    ),
    Mistake(
        "an unknown input",
        {1: L, 2: T},
        {1: [2]},
        "inputs names 3, which is not in operators {1, 2}. Did you mean 2?",
        [3],
    ),
    Mistake("an input twice", {1: L, 2: T}, {1: [2]}, "inputs names 1 2 times: name it once", [1, 1]),
    Mistake("a bare input", {1: L, 2: T}, {1: [2]}, "inputs is 1, an int: write a list of keys, such as [1]", 1),
    Mistake("a bare str of an input", {"x": L}, {}, "inputs is 'x', a str: write a list of keys, such as ['x']", "x"),
    Mistake("no inputs", {1: L, 2: T}, {1: [2]}, "inputs is [], a list: write a list of keys, such as [1]", []),
    Mistake("a set of inputs", {1: L}, {}, "inputs is {1}, a set: write a list of keys, such as [1]", {1}),
    Mistake("a bool as input", {1: L}, {}, "inputs names True, a bool" + KEYS, [True]),
    Mistake(
        "an unknown output",
        {1: L, 2: T},
        {1: [2]},
        "output names 'y', which is not in operators {1, 2}.",
        None,
        "y",
    ),
    Mistake("an output twice", {1: L, 2: T}, {1: [2]}, "output names 2 2 times: name it once", None, [2, 2]),
    Mistake("no outputs", {1: L, 2: T}, {1: [2]}, "output is [], a list: write a list of keys, such as [1]", None, []),
    Mistake("a float as output", {1: L}, {}, "output names 1.0, a float" + KEYS, None, 1.0),
    # how many inputs an operator takes
    Mistake(
        "too many inputs",
        {1: L, 2: L, 3: T},
        {1: [3], 2: [3]},
        "operator 3 (tanh) takes 1 input, but is fed by {1, 2}" + MERGE,
    ),
    Mistake(
        "too many inputs of two",
        {1: L, 2: L, 3: L, 4: S},
        {3: [4], 1: [4], 2: [4]},
        "operator 4 (subtract) takes 2 inputs, but is fed by {3, 1, 2}" + MERGE,
    ),
    Mistake(
        "too few inputs",
        {1: L, 2: S},
        {1: [2]},
        "operator 2 (subtract) takes 2 inputs, but is fed by {1} alone" + FEED,
    ),
    Mistake(
        "an input operator of two inputs",
        {1: fn.mse()},
        {},
        "operator 1 (mse) takes 2 inputs, but is an input operator, which reads one array. " + FEED[2:],
    ),
    Mistake(
        "too many inputs of a list",
        {1: L, 2: L, 3: [T, L]},
        {1: [3], 2: [3]},
        "operator 3 (tanh, linear) takes 1 input, but is fed by {1, 2}" + MERGE,
    ),
    Mistake(
        "too few inputs of a list",
        {1: L, 2: [S, L]},
        {1: [2]},
        "operator 2 (subtract, linear) takes 2 inputs, but is fed by {1} alone. " + FEED[2:],
    ),
    Mistake(
        "too many inputs of what is shared",
        {1: L, 2: T, 3: fn.shared(1)},
        {1: [2, 3], 2: [3]},
        "operator 3 (linear) takes 1 input, but is fed by {1, 2}" + MERGE,
    ),
    Mistake(
        "too many inputs of a network",
        {1: L, 2: T, 3: fn.network({1: L}, {})},
        {1: [2, 3], 2: [3]},
        "operator 3 (network) takes 1 input, but is fed by {1, 2}" + MERGE,
    ),
    # shared
    Mistake(
        "shared of an unknown operator",
        {1: L, 2: fn.shared(3)},
        {1: [2]},
        "operators[2] shares 3, which is not in operators {1, 2}. Did you mean 2?",
    ),
    Mistake(
        "shared of shared",
        {1: L, 2: fn.shared(1), 3: fn.shared(2)},
        {1: [2], 2: [3]},
        "operators[3] shares 2, which is itself shared. Name the operator that it shares",
    ),
    Mistake(
        "shared of itself",
        {1: fn.shared(1)},
        {},
        "operators[1] shares 1, which is itself shared. Name the operator that it shares",
    ),
    Mistake("shared of a bool", {1: L, 2: fn.shared(True)}, {1: [2]}, "operators[2] shares True, a bool" + KEYS),
    Mistake(
        "shared of what is no key",
        {1: L, 2: fn.shared([1])},  # type: ignore[arg-type]
        {1: [2]},
        "operators[2] shares [1], a list" + KEYS,
    ),
]


@pytest.mark.parametrize("make", [fn.network, fn.Graph])
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.name)
def test_a_mistake_is_reported_once_with_its_remedy(mistake: Mistake, make: Callable[..., Any]) -> None:
    _, operators, connectivity, message, inputs, output = mistake
    with pytest.raises(fn.GraphError) as error:
        make(operators, connectivity, inputs=inputs, output=output)
    assert str(error.value) == f"1 problem in the graph\n  {message}"
    assert error.value.problems == (message,)


def problems_of(operators: Any, connectivity: Any, **options: Any) -> tuple[str, ...]:
    with pytest.raises(fn.GraphError) as error:
        fn.Graph(operators, connectivity, **options)
    return error.value.problems


def test_all_problems_are_reported_in_one_error() -> None:
    operators = {1: fn.linear(2), 2: fn.add(), 3: fn.tanh(), 4: fn.sigmoid(), 5: fn.tanh()}
    with pytest.raises(fn.GraphError) as error:
        fn.network(operators, {1: [2], 2: [3, 4], 3: [5], 4: [7], 5: [2]})
    assert str(error.value) == (
        "2 problems in the graph\n"
        "  connectivity[4] names 7, which is not in operators {1, 2, 3, 4, 5}. Did you mean 5?\n"
        "  2 -> 3 -> 5 -> 2 is a cycle. Remove one of its edges, for example 2 from connectivity[5]."
    )


def test_mistakes_of_every_kind_are_reported_together() -> None:
    operators = {1: fn.relu, 2: [], 3: fn.shared(9), 4: fn.mse(), 5: L, 6: A, 7: A}
    connectivity: Any = {1: [2], 2: [3, 3], 5: [4, "x"], 3: [6], 6: [6, 7], 8: [1], 4: 5}
    problems = problems_of(operators, connectivity, inputs=[1, 2], output=[6, 6])
    words = [
        "operators[1] is the function relu",
        "operators[2] is an empty list",
        "operators[3] shares 9",
        "connectivity[2] names 3 2 times",
        "connectivity[5] names 'x'",
        "connectivity has the key 8",
        "connectivity[4] is 5, an int",
        "6 -> 6 is a cycle",
        "operator 2 is named in inputs",
        "output names 6 2 times",
    ]
    assert len(problems) == len(words)
    assert all(word in problem for word, problem in zip(words, problems, strict=True))


def test_every_cycle_is_reported() -> None:
    connectivity: Any = {0: [1, 3], 1: [2], 2: [1, 5], 3: [4], 4: [3, 5], 5: [5, 6]}
    assert problems_of(dict.fromkeys(range(7), A), connectivity) == tuple(
        f"{cycle} is a cycle. Remove one of its edges, for example {first} from connectivity[{last}]."
        for cycle, first, last in [("1 -> 2 -> 1", 1, 2), ("3 -> 4 -> 3", 3, 4), ("5 -> 5", 5, 5)]
    )


def test_cycles_that_share_an_edge_are_both_reported() -> None:
    problems = problems_of(dict.fromkeys(range(5), A), {0: [1], 1: [2], 2: [1, 3], 3: [1, 4]})
    assert [problem.split(" is a cycle")[0] for problem in problems] == ["1 -> 2 -> 1", "1 -> 2 -> 3 -> 1"]


def test_what_an_unknown_key_may_have_meant_is_no_problem_of_its_own() -> None:
    """The edge from 2 was meant for 3: that 2 reaches no output and no input 3 is one mistake, not three."""
    assert len(problems_of({1: L, 2: T, 3: S}, {1: [2], 2: [33]}, inputs=[1], output=3)) == 1
    assert len(problems_of({1: L, 2: T, 3: T}, {1: [2], 22: [3]}, inputs=[1], output=3)) == 1
    assert len(problems_of({1: L, 2: T, 3: T}, {1: [2], 2: 3}, inputs=[1], output=3)) == 1


def test_what_another_edge_cannot_mend_is_reported_beside_an_unknown_key() -> None:
    problems = problems_of({1: L, 2: T, 3: A, 4: T}, {1: [2, 3], 2: [33], 3: [4], 4: [2]}, output=3)
    assert ["fed by {1, 4}" in problem for problem in problems] == [False, True]


def test_a_detached_cycle_is_reported_with_all_that_it_entails() -> None:
    problems = problems_of({1: L, 2: T, 3: T}, {2: [3], 3: [2]}, output=1)
    assert [problem.split(":")[0] for problem in problems[1:]] == [
        "no input reaches operator 2",
        "no input reaches operator 3",
        "operator 2 reaches no output",
        "operator 3 reaches no output",
    ]


def test_a_graph_error_is_a_value_error_and_pickles() -> None:
    assert issubclass(fn.GraphError, ValueError)
    with pytest.raises(fn.GraphError, match="1 problem in the graph") as error:
        fn.network({}, {})
    again = pickle.loads(pickle.dumps(error.value))
    assert (str(again), again.problems) == (str(error.value), error.value.problems)


def test_predecessors_stand_in_the_order_of_the_edges_in_connectivity() -> None:
    operators = {1: A, "2": T, 3: T, "four": T, 5: A}
    connectivity: Any = {"four": [5], 1: [5, "2", "four", 3], "2": [5], 3: [5]}
    graph = fn.Graph(operators, connectivity)
    assert graph.predecessors == {1: (), "2": (1,), 3: (1,), "four": (1,), 5: ("four", 1, "2", 3)}
    assert list(graph.predecessors) == list(operators)
    assert graph.connectivity == {"four": (5,), 1: (5, "2", "four", 3), "2": (5,), 3: (5,), 5: ()}
    assert (graph.inputs, graph.outputs, graph.single) == ((1,), (5,), True)


def test_order_begins_with_what_nothing_feeds_and_takes_each_as_soon_as_it_can() -> None:
    operators = {6: T, "in": T, 5: A, 3: T, 1: T, 2: A}
    graph = fn.Graph(operators, {1: [3], "in": [2, 5], 3: [5, 2], 2: [6]}, output=[6, 5])
    assert graph.order == {"in": 0, 1: 1, 3: 2, 5: 3, 2: 4, 6: 5}
    assert list(graph.order) == sorted(graph.order, key=lambda key: graph.order[key])
    assert (graph.inputs, graph.outputs, graph.single) == (("in", 1), (6, 5), False)


@given(nets())
def test_order_puts_feeders_first(made: tuple[Net, Any, Any]) -> None:
    net, *_ = made
    operators = {key: layer_of(op) for key, op in net.operators.items()}
    graph = fn.Graph(operators, net.connectivity, inputs=net.inputs, output=net.output)
    assert graph.order.keys() == graph.operators.keys() == graph.connectivity.keys() == operators.keys()
    assert sorted(graph.order.values()) == list(range(len(operators)))
    assert all(graph.order[j] < graph.order[k] for k, fed_by in graph.predecessors.items() for j in fed_by)
    assert graph.predecessors == {key: tuple(net.predecessors(key)) for key in operators}


def cycles_told(operators: Any, connectivity: Any) -> list[list[int]]:
    """The cycles that an error names."""
    try:
        fn.Graph(operators, connectivity)
    except fn.GraphError as error:
        ways = [problem.split(" is a cycle")[0] for problem in error.problems if " is a cycle" in problem]
        return [[int(key) for key in way.split(" -> ")] for way in ways]
    return []


@given(st.data())
def test_cutting_one_edge_of_each_cycle_told_leaves_none(data: st.DataObject) -> None:
    keys = range(data.draw(st.integers(1, 8)))
    successors = st.lists(st.sampled_from(keys), unique=True, max_size=4)
    connectivity: Any = {key: data.draw(successors) for key in keys}
    operators = dict.fromkeys(keys, fn.add())
    ways = cycles_told(operators, connectivity)
    assert all(b in connectivity[a] for way in ways for a, b in pairwise(way))
    cut = {(way[-2], way[-1]) for way in ways}
    left = {a: [b for b in successors if (a, b) not in cut] for a, successors in connectivity.items()}
    assert not cycles_told(operators, left)


def test_default_inputs_stand_as_operators_do() -> None:
    graph = fn.Graph({"b": L, "+": A, "a": L}, {"a": ["+"], "b": ["+"]})
    assert graph.inputs == ("b", "a")
    assert graph.predecessors["+"] == ("a", "b")


def test_any_mapping_and_any_ordered_list_of_keys_will_do() -> None:
    operators = MappingProxyType({1: (L, T), 2: [T], 3: T})
    connectivity: Any = MappingProxyType({1: (2, 3), 2: deque(), 3: iter([])})
    graph = fn.Graph(operators, connectivity, inputs=(1,), output=(2, 3))
    assert (graph.connectivity, graph.single) == ({1: (2, 3), 2: (), 3: ()}, False)


def test_int_and_str_keys_that_look_alike_are_two() -> None:
    net = fn.network({1: L, "1": fn.linear(2)}, {1: ["1"]})
    params, _ = net.init(fn.key(0), (4,))
    assert [(key, affine.weight.shape) for key, affine in params.items()] == [(1, (4, 3)), ("1", (3, 2))]


def test_dicts_changed_after_compiling_change_nothing() -> None:
    series, successors, inputs, output = [fn.linear(2), fn.tanh()], [2], [1], [2]
    operators: dict[Any, Any] = {1: series, 2: fn.sigmoid()}
    connectivity: dict[Any, Any] = {1: successors, 2: []}
    net = fn.network(operators, connectivity, inputs=inputs, output=output)
    params, _ = net.init(fn.key(0), (2,))
    x = np.ones((3, 2), np.float32)
    before = net.apply(params, x)[0]
    graph = fn.Graph(operators, connectivity)
    series.append(fn.relu())
    successors.clear()
    inputs.append(2)
    output.append(1)
    operators[2] = operators[3] = fn.exp()
    connectivity.clear()
    np.testing.assert_array_equal(net.apply(params, x)[0], before)
    np.testing.assert_array_equal(net.apply(net.init(fn.key(0), (2,))[0], x)[0], before)
    assert (graph.predecessors, graph.order, len(graph.operators[1])) == ({1: (), 2: (1,)}, {1: 0, 2: 1}, 2)


def test_the_dicts_given_are_untouched() -> None:
    operators: dict[Any, Any] = {1: [L, T], 2: S, "c": fn.shared(1)}
    connectivity: dict[Any, Any] = {1: [2, "c"], "c": [2]}
    fn.network(operators, connectivity)
    assert operators == {1: [L, T], 2: S, "c": fn.shared(1)}
    assert connectivity == {1: [2, "c"], "c": [2]}


def mismatched() -> Any:
    operators = {"in": I, 2: fn.linear(3), 3: fn.linear(4), 4: S, 5: T, 6: fn.linear(2), 7: A}
    return operators, {"in": [2, 3], 2: [4], 3: [4], 4: [5, 7], 5: [6], 6: [7]}


def test_a_shape_mismatch_at_init_names_every_predecessor_with_its_shape() -> None:
    with pytest.raises(fn.ShapeError) as error:
        fn.network(*mismatched()).init(fn.key(0), (2,))
    assert str(error.value) == (
        "operator 4 (subtract): fed by operator 2 with shape (3,), operator 3 with shape (4,); "
        "its inputs must all have the same shape; nothing is broadcast"
    )


def test_every_shape_mismatch_is_reported_at_init() -> None:
    operators = {1: fn.linear(3), 2: fn.linear(4), 3: A, "+": A, 4: fn.maximum(), 5: fn.concatenate()}
    connectivity = {1: [3, 4, "+"], 2: [3, 4], 3: [5], 4: [5], "+": [5]}
    with pytest.raises(fn.ShapeError) as error:
        fn.network(operators, connectivity).init(fn.key(0), (2,), (5,))
    first, second = str(error.value).split("\n  ")
    for told, name in ((first, "operator 3 (add)"), (second, "operator 4 (maximum)")):
        assert told.startswith(
            f"{name}: fed by operator 1 with shape (3,), operator 2 with shape (4,); its inputs must"
        )


def test_a_shape_mismatch_at_apply_names_every_predecessor_with_its_shape() -> None:
    operators, connectivity = mismatched()
    good = fn.network(operators | {3: fn.linear(3), 6: fn.linear(3)}, connectivity)
    params, _ = good.init(fn.key(0), (2,))
    wrong = params | {3: fn.linear(4).init(fn.key(0), (2,))[0]}
    x = np.ones((32, 2), np.float32)
    calls: list[Callable[[], Any]] = [
        lambda: good.apply(wrong, x),
        lambda: good.apply.vjp(wrong, x),
        lambda: fn.trace(good, wrong, x),
        lambda: fn.value_and_grad(good, fn.mse())(wrong, x, x),
        lambda: fn.sgd_step(good, fn.mse(), learning_rate=1)(wrong, x, x),
    ]
    for call in calls:
        with pytest.raises(fn.ShapeError) as error:
            call()
        assert "operator 4 (subtract): fed by operator 2 with shape (32, 3), operator 3 with shape (32, 4)" in str(
            error.value
        )


def test_an_input_that_does_not_fit_is_named() -> None:
    net = fn.network({1: fn.linear(2), 2: T}, {1: [2]})
    params, _ = net.init(fn.key(0), (3,))
    with pytest.raises(fn.ShapeError) as error:
        net.apply(params, np.ones((5, 4), np.float32))
    assert "operator 1 (linear): fed by the input with shape (5, 4); its weight is (3, 2)" in str(error.value)


def test_what_shares_params_needs_inputs_of_the_same_shape() -> None:
    net = fn.network({1: fn.linear(3), 2: fn.shared(1)}, {1: [2]})
    with pytest.raises(
        fn.ShapeError, match=r"operator 2 \(linear\): fed by operator 1 with shape \(3,\); .*operator 1"
    ):
        net.init(fn.key(0), (2,))


@pytest.mark.parametrize("shapes", [(), ((2,), (2,))])
def test_init_needs_one_shape_for_each_input(shapes: Any) -> None:
    with pytest.raises(fn.ShapeError, match=f"the network has 1 input.*{len(shapes)} shapes"):
        fn.network({1: L}, {}).init(fn.key(0), *shapes)


@pytest.mark.parametrize("count", [0, 2])
def test_apply_needs_one_array_for_each_input(count: int) -> None:
    net = fn.network({1: L}, {})
    params, _ = net.init(fn.key(0), (2,))
    xs = [np.ones((4, 2), np.float32)] * count
    for call in (net.apply, net.apply.vjp):
        with pytest.raises(fn.ShapeError, match=f"network takes 1 input, but was given {count}"):
            call(params, *xs)


HASHABLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(0, 4),
    st.floats(0, 4),
    st.sampled_from(["", "a", "1"]),
    st.tuples(st.integers()),
)
JUNK = st.recursive(
    HASHABLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.sets(HASHABLE, max_size=2),
        st.dictionaries(HASHABLE, inner, max_size=3),
        st.builds(fn.shared, inner),
    ),
    max_leaves=6,
)
OPERATOR = st.one_of(st.sampled_from([L, T, S, A, fn.relu, T.apply, [L, T], [S], (A, T), fn.shared(1)]), JUNK)
SUCCESSORS = st.one_of(st.lists(HASHABLE, max_size=4), JUNK)


@settings(max_examples=examples(500))
@given(
    st.one_of(st.dictionaries(HASHABLE, OPERATOR, max_size=5), JUNK),
    st.one_of(st.dictionaries(HASHABLE, SUCCESSORS, max_size=5), JUNK),
    st.one_of(st.none(), SUCCESSORS),
    st.one_of(st.none(), SUCCESSORS),
)
def test_whatever_is_given_is_a_graph_or_a_graph_error(
    operators: Any, connectivity: Any, inputs: Any, output: Any
) -> None:
    try:
        graph = fn.Graph(operators, connectivity, inputs=inputs, output=output)
    except fn.GraphError as error:
        problems = error.problems
        assert problems
        assert len(set(problems)) == len(problems)
    else:
        assert graph.order.keys() == operators.keys()
        assert graph.inputs
        assert graph.outputs
