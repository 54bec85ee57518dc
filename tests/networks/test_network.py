"""Networks: what the compiled graph computes is what a naive reading of the two dicts computes."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import combinations, product
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pytest
from hypothesis import assume, currently_in_test_context, given, settings
from hypothesis import strategies as st

import funcnet as fn
from funcnet import tree
from funcnet.compiler import blocking, workspace
from tests.support.budget import examples
from tests.support.naive import Evaluation, Key, Net, Op, Watch
from tests.support.recurrences import with_recurrence
from tests.support.strategies import BATCHES, PATTERNS, Problem, linear, network_of, op, pattern, problems, with_images

Check: TypeAlias = Callable[[Problem], None]

EPSILON = {np.float32: 1e-4, np.float64: 1e-10}
LARGEST = 1e3  # numbers beyond which float32 has too few digits left


class Solved(NamedTuple):
    """A problem, and what the naive interpreter makes of it in float64."""

    network: Any
    params: Any
    inputs: tuple[Any, ...]
    evaluation: Evaluation
    cotangents: tuple[Any, ...]
    of_params: Any
    of_inputs: list[Any]
    tolerance: float


def solved(problem: Problem) -> Solved:
    """Solve a problem naively."""
    network, params, inputs = problem.made()
    watch = Watch()
    evaluation = Evaluation(problem.net, tree.map(wide, params), tuple(map(wide, inputs)), watch)
    random = np.random.default_rng(problem.seed + 1)
    with np.errstate(all="ignore"):
        outputs = evaluation.outputs()
        cotangents = tuple(random.normal(size=np.shape(y)).astype(problem.dtype) for y in outputs)
        of_params, of_inputs = evaluation.gradients([*map(wide, cotangents)])
    epsilon = EPSILON[problem.dtype]
    well_posed(watch, epsilon)
    return Solved(network, params, inputs, evaluation, cotangents, of_params, of_inputs, epsilon * watch.largest)


def well_posed(watch: Watch, epsilon: float) -> None:
    """Refuse a random problem where numbers are too large, or where rounding decides on which side of a kink one is."""
    good = watch.largest < LARGEST and watch.distance > 0.03 * epsilon * watch.largest
    if currently_in_test_context():
        assume(good)
    else:
        assert good, "choose another seed for this pattern"


def wide(x: Any) -> Any:
    return np.asarray(x, np.float64)


def close(found: Any, expected: Any, tolerance: float, dtype: Any) -> None:
    """The same structure and numbers, in the dtype that is wanted."""
    assert tree.structure(found) == tree.structure(expected)
    for a, b in zip(tree.leaves(found), tree.leaves(expected), strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)
        assert np.shape(a) == np.shape(b)


def with_losses(net: Net) -> Net:
    """The network with a target and a mean squared error for each output, and their sum as its only output."""
    targets: list[Key] = [f"target {i}" for i, _ in enumerate(net.sinks())]
    operators, connectivity = dict(net.operators), {k: list(v) for k, v in net.connectivity.items()}
    for i, (key, target) in enumerate(zip(net.sinks(), targets, strict=True)):
        operators |= {target: Op("identity"), f"loss {i}": Op("mse")}
        connectivity[key] = [*connectivity.get(key, []), f"loss {i}"]
        connectivity |= {target: [f"loss {i}"], f"loss {i}": ["total"]}
    return Net(operators | {"total": Op("add")}, connectivity, [*net.sources(), *targets], "total")


def with_targets(problem: Problem) -> Problem:
    """The problem with its losses in the dict."""
    return problem._replace(net=with_losses(problem.net), widths=(*problem.widths, *problem.outputs), outputs=())


def output_of(problem: Problem, values: Any) -> Any:
    """One array, or a tuple where a list of outputs was named."""
    return tuple(values) if isinstance(problem.net.output, list) else values[0]


@contextmanager
def small_blocks() -> Generator[None]:
    """Large batches begin at two rows, and run in blocks of no more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocking, "FEWEST", 2)
        patch.setattr(blocking, "CACHE", 1)
        patch.setattr(blocking, "LINE", 2)
        yield


@contextmanager
def params_where_they_are() -> Generator[None]:
    """Programs read params where they are, however few these are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workspace, "REBIND_COST", 0)
        yield


def check_apply(problem: Problem) -> None:
    s = solved(problem)
    expected = output_of(problem, s.evaluation.outputs())
    for _ in range(2):
        close(s.network.apply(s.params, *s.inputs), expected, s.tolerance, problem.dtype)


def check_vjp(problem: Problem) -> None:
    s = solved(problem)
    output, pullback = s.network.apply.vjp(s.params, *s.inputs)
    close(output, output_of(problem, s.evaluation.outputs()), s.tolerance, problem.dtype)
    for _ in range(2):
        of_params, of_inputs = pullback(output_of(problem, s.cotangents))
        close(of_params, s.of_params, s.tolerance, problem.dtype)
        close(list(of_inputs), s.of_inputs, s.tolerance, problem.dtype)


def check_trace(problem: Problem) -> None:
    s = solved(problem)
    found = fn.trace(s.network, s.params, *s.inputs)
    assert found.keys() == problem.net.operators.keys()
    close(found, {key: s.evaluation.value(key) for key in found}, s.tolerance, problem.dtype)


def check_shapes(problem: Problem) -> None:
    network, params, _ = problem.made()
    shapes = [(width,) for width in problem.widths]
    again, shape = network.init(fn.key(problem.seed), *shapes, dtype=problem.dtype)
    assert shape == output_of(problem, [(width,) for width in problem.outputs])
    assert tree.structure(again) == tree.structure(params)


def check_value_and_grad(problem: Problem) -> None:
    problem = with_targets(problem)
    s = solved(problem)
    of_params, _ = s.evaluation.gradients([1.0])
    compiled = fn.value_and_grad(s.network)
    for _ in range(2):
        loss, gradient = compiled(s.params, *s.inputs)
        close(loss, s.evaluation.outputs()[0], s.tolerance, problem.dtype)
        close(gradient, of_params, s.tolerance, problem.dtype)


def check_steps(problem: Problem) -> None:
    problem = with_targets(problem)
    s = solved(problem)
    step = fn.sgd_step(s.network, learning_rate=0.001)
    params, expected = s.params, tree.map(wide, s.params)
    for _ in range(3):
        evaluation = Evaluation(problem.net, expected, tuple(map(wide, s.inputs)))
        with np.errstate(all="ignore"):
            (expected_loss,), (gradient, _) = evaluation.outputs(), evaluation.gradients([1.0])
        well_posed(evaluation.watch, EPSILON[problem.dtype])
        expected = tree.map(lambda p, g: p - 0.001 * g, expected, gradient)
        params, loss = step(params, *s.inputs)
        close(loss, expected_loss, 10 * s.tolerance, problem.dtype)
        close(params, expected, 10 * s.tolerance, problem.dtype)


def check_values_in_blocks(problem: Problem) -> None:
    s = solved(problem)
    with small_blocks():
        found = s.network.apply(s.params, *s.inputs)
    close(found, output_of(problem, s.evaluation.outputs()), s.tolerance, problem.dtype)


def check_gradients_in_blocks(problem: Problem) -> None:
    with small_blocks():
        check_value_and_grad(problem)


def check_values_of_params_where_they_are(problem: Problem) -> None:
    with params_where_they_are():
        check_apply(problem)
        check_values_in_blocks(problem)


def check_steps_from_params_where_they_are(problem: Problem) -> None:
    with params_where_they_are():
        check_steps(problem)


CHECKS = [
    check_apply,
    check_vjp,
    check_trace,
    check_shapes,
    check_value_and_grad,
    check_steps,
    check_values_in_blocks,
    check_gradients_in_blocks,
    check_values_of_params_where_they_are,
    check_steps_from_params_where_they_are,
]
every_check = pytest.mark.parametrize("check", CHECKS)
every_pattern = pytest.mark.parametrize("name", PATTERNS)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@every_check
@given(problem=problems() | problems(size=6).flatmap(with_images) | problems(size=6).flatmap(with_recurrence))
def test_random_networks_agree_with_the_naive_interpreter(check: Check, problem: Problem) -> None:
    check(problem)


@every_check
@every_pattern
def test_patterns_agree_with_the_naive_interpreter(check: Check, name: str) -> None:
    for dtype, batch in product([np.float32, np.float64], BATCHES):
        check(pattern(name, dtype, batch))


@every_check
@pytest.mark.parametrize("batch", [65, 700, 1501])
def test_wide_networks_and_large_batches_agree_with_the_naive_interpreter(check: Check, batch: int) -> None:
    operators: dict[Key, Op] = {
        1: linear(64),
        2: op("tanh"),
        3: linear(64),
        4: op("add"),
        5: op("sigmoid"),
        6: linear(40, False),
    }
    net = Net(operators, {1: [2], 2: [3, 4], 3: [4], 4: [5, 6], 5: []}, None, [6, 5])
    for dtype in (np.float32, np.float64):
        check(Problem(net, (33,), (40, 64), dtype, batch, 1))


@pytest.mark.parametrize("last", ["identity", "tanh", "sigmoid", "relu"])
@pytest.mark.parametrize("merge", ["add", "subtract", "multiply", "average", "maximum"])
@both_dtypes
def test_losses_are_computed_with_like_any_value(merge: str, last: str, dtype: Any) -> None:
    operators: dict[Key, Op] = {1: linear(3), 2: op("tanh"), "t": op("identity"), "l": op("mse"), "m": op("mse")}
    edges: dict[Key, list[Key]] = {1: [2, "l"], 2: ["m"], "t": ["l", "m"], "l": ["+"], "m": ["+"], "+": ["."]}
    net = Net(operators | {"+": op(merge), ".": op(last)}, edges, [1, "t"], ".")
    s = solved(Problem(net, (2, 3), (), dtype, 7, 1))
    expected = s.evaluation.outputs()[0], s.evaluation.gradients([1.0])[0]
    compiled = fn.value_and_grad(s.network)
    close(compiled(s.params, *s.inputs), expected, s.tolerance, dtype)
    with small_blocks():
        close(fn.value_and_grad(s.network)(s.params, *s.inputs), expected, s.tolerance, dtype)


@given(problems(single=True))
def test_a_loss_beside_the_network_is_a_loss_in_the_dict(problem: Problem) -> None:
    s = solved(with_targets(problem))
    of_params, _ = s.evaluation.gradients([1.0])
    loss, gradient = fn.value_and_grad(network_of(problem.net), fn.mse())(s.params, *s.inputs)
    close(loss, s.evaluation.outputs()[0], s.tolerance, problem.dtype)
    close(gradient, of_params, s.tolerance, problem.dtype)


def test_one_output_in_a_list_has_a_loss_too() -> None:
    network, params, (x,) = pattern("one output in a list").made()
    alone = fn.network({1: fn.linear(2)}, {})
    assert bits(fn.value_and_grad(network, fn.mse())(params, x, x)) == bits(
        fn.value_and_grad(alone, fn.mse())(params, x, x)
    )


def bits(*trees: Any) -> list[Any]:
    """Every array with its dtype and shape."""
    return [(np.asarray(a).dtype, np.shape(a), np.asarray(a).tobytes()) for a in tree.leaves(trees)]


class Trained(NamedTuple):
    """A step with params and a batch for it."""

    step: Any
    params: Any
    batch: tuple[Any, ...]


def trained(name: str, dtype: Any = np.float32, batch: int = 7, seed: int = 1) -> Trained:
    network, params, inputs = with_targets(pattern(name, dtype, batch, seed)).made()
    return Trained(fn.sgd_step(network, learning_rate=0.005), params, inputs)


def copied(params: Any) -> Any:
    """The same params in arrays of their own, which may be written to."""
    return tree.map(np.array, params)


@every_pattern
def test_calling_twice_gives_the_same_bits(name: str) -> None:
    network, params, inputs = pattern(name).made()
    step, _, batch = trained(name, np.float64)
    once, again = ((network.apply(params, *inputs), step(params, *batch)) for _ in range(2))
    assert bits(once) == bits(again)


@every_pattern
@both_dtypes
def test_arguments_are_untouched(name: str, dtype: Any) -> None:
    network, params, inputs = pattern(name, dtype).made()
    params, inputs = copied(params), copied(inputs)  # a write to what is read-only would be an error, not a difference
    before = bits(params, inputs)
    output, pullback = network.apply.vjp(params, *inputs)
    cotangent = tree.map(np.ones_like, output)
    held = bits(cotangent)
    pullback(cotangent)
    network.apply(params, *inputs)
    fn.trace(network, params, *inputs)
    assert (bits(params, inputs), bits(cotangent)) == (before, held)
    step, _, batch = trained(name, dtype)
    batch = copied(batch)
    before = bits(params, batch)
    step(step(params, *batch)[0], *batch)
    assert bits(params, batch) == before


@every_pattern
def test_results_share_no_memory_with_anything(name: str) -> None:
    network, params, inputs = pattern(name).made()
    step, _, batch = trained(name, np.float64)
    gradient = fn.value_and_grad(with_targets(pattern(name)).made()[0])
    output, pullback = network.apply.vjp(params, *inputs)
    cotangent = tree.map(np.ones_like, output)
    results = [
        *(network.apply(params, *inputs) for _ in range(2)),
        *(step(params, *batch) for _ in range(2)),
        *(gradient(params, *batch) for _ in range(2)),
        *(fn.trace(network, params, *inputs) for _ in range(2)),
        output,
        *(pullback(cotangent) for _ in range(2)),
    ]
    arrays = [a for a in tree.leaves([results, params, inputs, batch, cotangent]) if isinstance(a, np.ndarray)]
    given_twice = {id(a) for a in inputs}
    assert not any(
        np.shares_memory(a, b) for a, b in combinations(arrays, 2) if not {id(a), id(b)} <= given_twice and a is not b
    )


@every_pattern
def test_later_calls_leave_earlier_results_alone(name: str) -> None:
    network, params, inputs = pattern(name).made()
    step, _, batch = trained(name, np.float64)
    output, pullback = network.apply.vjp(params, *inputs)
    cotangent = tree.map(np.ones_like, output)
    results = [output, network.apply(params, *inputs), step(params, *batch), pullback(cotangent)]
    before = bits(results)
    others = tree.map(lambda a: a + 1, inputs)
    pullback(tree.map(lambda g: g * 2, cotangent))
    network.apply.vjp(params, *others)
    network.apply(params, *others)
    step(step(params, *tree.map(lambda a: a + 1, batch))[0], *batch)
    assert bits(results) == before


@every_pattern
def test_a_pullback_outlives_what_the_caller_does_to_the_output(name: str) -> None:
    network, params, inputs = pattern(name).made()
    output, pullback = network.apply.vjp(params, *inputs)
    cotangent = tree.map(np.ones_like, output)
    before = bits(pullback(cotangent))
    for y in tree.leaves(output):
        y[...] = 0
    assert bits(pullback(cotangent)) == before


@every_pattern
def test_one_step_takes_batches_of_alternating_sizes(name: str) -> None:
    step, params, _ = trained(name)
    batches = [trained(name, batch=size).batch for size in BATCHES]
    for batch in [*batches, *batches[::-1], *batches]:
        assert bits(step(params, *batch)) == bits(trained(name).step(params, *batch))
        params, _ = step(params, *batch)


def test_one_step_takes_more_sizes_of_batch_than_it_keeps_programs() -> None:
    step, params, _ = trained("the example")
    for size in [*range(1, 41), *range(40, 0, -1)]:
        batch = trained("the example", batch=size).batch
        assert bits(step(params, *batch)) == bits(trained("the example").step(params, *batch))


@every_pattern
def test_one_step_takes_alternating_params(name: str) -> None:
    step, _, batch = trained(name)
    several = [trained(name, seed=seed).params for seed in (1, 2, 3)]
    for turn in range(9):
        i = turn % 3
        assert bits(step(several[i], *batch)) == bits(trained(name).step(several[i], *batch))
        several[i], _ = step(several[i], *batch)


@every_pattern
@pytest.mark.parametrize("own", [False, True])
def test_params_changed_in_place_between_calls_are_honoured(name: str, own: bool) -> None:
    step, params, batch = trained(name)
    params = copied(params)
    for _ in range(3):
        params, _ = step(params, *batch)
        params = copied(params) if own else params
        step(params, *batch)
        for leaf in tree.leaves(params):
            leaf *= 0.5
        assert bits(step(params, *batch)) == bits(trained(name).step(copied(params), *batch))


@every_pattern
def test_entries_of_params_exchanged_between_calls_are_honoured(name: str) -> None:
    step, first, batch = trained(name)
    for key in first:
        params, _ = step(first, *batch)
        step(params, *batch)
        params[key] = tree.map(lambda p: p * np.float32(0.5), params[key])
        assert bits(step(params, *batch)) == bits(trained(name).step(copied(params), *batch))


def test_entries_of_params_exchanged_for_one_another_are_honoured() -> None:
    net = fn.network({1: fn.linear(2), 2: fn.tanh(), 3: fn.linear(2)}, {1: [2], 2: [3]})
    params, _ = net.init(fn.key(0), (2,))
    x = np.ones((5, 2), np.float32)
    step, fresh = (fn.sgd_step(net, fn.mse(), learning_rate=0.1) for _ in range(2))
    for _ in range(3):
        params, _ = step(params, x, x)
        params[1], params[3] = params[3], params[1]
        assert bits(step(params, x, x)) == bits(fresh(copied(params), x, x))


@settings(max_examples=examples(80))
@given(st.sampled_from(["the example", "networks in networks", "a network shared"]), st.data())
def test_no_history_of_calls_changes_what_a_step_computes(name: str, data: st.DataObject) -> None:
    """Batches, params, changes in place, exchanged entries and errors by turns: as if every step were the first."""
    step = trained(name).step
    several = [copied(trained(name, seed=seed).params) for seed in (1, 2)]
    batches = [trained(name, batch=size).batch for size in (1, 2, 7)]
    actions = ["step", "keep", "write", "exchange", "fail", "own", "turn"]
    for action in data.draw(st.lists(st.sampled_from(actions), max_size=12)):
        i, batch = data.draw(st.integers(0, 1)), batches[data.draw(st.integers(0, 2))]
        if action == "write":
            tree.leaves(several[i])[-1][...] += 0.5
        elif action == "exchange":
            key = data.draw(st.sampled_from(list(several[i])))
            several[i][key] = tree.map(lambda p: p * np.float32(0.5), several[i][key])
        elif action == "own":
            several[i] = copied(several[i])
        elif action == "turn":
            several[i][1] = several[i].pop(1)
        elif action == "fail":
            with pytest.raises(fn.FuncnetError):
                step(several[i], *(x[:, :1] for x in batch))
        else:
            found = step(several[i], *batch)
            assert bits(found) == bits(trained(name).step(copied(several[i]), *batch))
            if action == "keep":
                several[i] = found[0]


def test_an_inner_entry_of_params_exchanged_between_calls_is_honoured() -> None:
    step, params, batch = trained("networks in networks")
    for _ in range(2):
        params, _ = step(params, *batch)
        step(params, *batch)
        inner = params[1]["deep"]
        inner[1] = tree.map(lambda p: p * np.float32(0.5), inner[1])
        assert bits(step(params, *batch)) == bits(trained("networks in networks").step(copied(params), *batch))


def test_params_of_another_order_are_the_same_params() -> None:
    step, params, batch = trained("the example")
    new, loss = step(params, *batch)
    turned, same_loss = step(dict(reversed(params.items())), *batch)
    assert list(turned) == list(params)[::-1]
    np.testing.assert_allclose(loss, same_loss, rtol=1e-6)
    for key in params:
        close(turned[key], new[key], 1e-6, np.float32)


@every_pattern
@pytest.mark.parametrize("again", [copy.deepcopy, lambda step: pickle.loads(pickle.dumps(step))])
def test_a_copy_of_a_step_trains_on(name: str, again: Callable[[Any], Any]) -> None:
    step, params, batch = trained(name)
    params, _ = again(step)(params, *batch)
    params, _ = step(params, *batch)
    stored = again((step, params))
    assert bits(stored[0](stored[1], *batch)) == bits(step(params, *batch))


def test_a_copy_of_a_network_is_the_same_function() -> None:
    network, params, inputs = pattern("networks in networks").made()
    for again in (pickle.loads(pickle.dumps(network)), copy.deepcopy(network), copy.copy(network)):
        assert bits(again.apply(params, *inputs)) == bits(network.apply(params, *inputs))
        assert bits(again.init(fn.key(1), (2,))[0]) == bits(network.init(fn.key(1), (2,))[0])


def many_steps(step: Any, params: Any, batches: list[tuple[Any, ...]]) -> Any:
    losses = []
    for batch in batches * 10:
        params, loss = step(params, *batch)
        losses.append(loss)
    return bits(params, losses)


@pytest.fixture
def _restless() -> Iterator[None]:
    """Threads that take turns as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_restless")
def test_threads_share_one_step() -> None:
    step = trained("the example").step
    runs = [trained("the example", seed=seed) for seed in range(4)]
    batches = [[trained("the example", batch=size, seed=seed).batch for size in BATCHES] for seed in range(4)]
    serial = [many_steps(trained("the example").step, run.params, b) for run, b in zip(runs, batches, strict=True)]
    with ThreadPoolExecutor(4) as threads:
        parallel = list(threads.map(many_steps, [step] * 4, [run.params for run in runs], batches))
    assert parallel == serial


@pytest.mark.usefixtures("_restless")
def test_threads_share_one_network() -> None:
    network, params, _ = pattern("the example").made()
    inputs = [pattern("the example", seed=seed, batch=300).made()[2][0] for seed in range(4)]
    expected = [bits(network.apply(params, x)) for x in inputs]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda x: [bits(network.apply(params, x)) for _ in range(100)], inputs))
    assert found == [[each] * 100 for each in expected]


def fragile(params: tuple[()], x: Any) -> Any:
    """The identity, which fails for large numbers."""
    if np.max(x) > 1e3:
        raise ArithmeticError("too large")

    def pullback(g: Any) -> Any:
        if np.max(x) > 1e2:
            raise ArithmeticError("too large to go back")
        return (), (g,)

    return x, pullback


def shape_kept(key: fn.Key, shape: fn.Shape, dtype: Any = np.float32) -> Any:
    return (), shape


@pytest.mark.parametrize("factor", [1e2, 1e4])
def test_an_error_in_the_middle_leaves_the_step_usable(factor: float) -> None:
    operators = {1: fn.linear(2), 2: fn.custom_layer(shape_kept, fragile), 3: fn.linear(2)}
    net = fn.network(operators, {1: [2], 2: [3]})
    params, _ = net.init(fn.key(0), (2,))
    x = np.ones((5, 2), np.float32)
    step, fresh = (fn.sgd_step(net, fn.mse(), learning_rate=0.1) for _ in range(2))
    params, _ = step(params, x, x)
    for _ in range(3):
        with pytest.raises(ArithmeticError, match="too large"):
            step(params, x * np.float32(factor) * 5, x)
        assert bits(step(params, x, x)) == bits(fresh(copied(params), x, x))


def test_a_floating_point_error_leaves_the_step_usable() -> None:
    net = fn.network({1: fn.linear(2), 2: fn.exp()}, {1: [2]})
    params, _ = net.init(fn.key(0), (2,))
    x = np.ones((5, 2), np.float32)
    step, fresh = (fn.sgd_step(net, fn.mse(), learning_rate=0.1) for _ in range(2))
    params, _ = step(params, x, x)
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        step(params, x * np.float32(1e9), x)
    assert bits(step(params, x, x)) == bits(fresh(copied(params), x, x))


@every_pattern
@pytest.mark.parametrize(
    "layout",
    [np.asfortranarray, lambda a: np.repeat(a, 3, axis=0)[::3], lambda a: a[::-1].copy()[::-1], np.ndarray.tolist],
)
def test_memory_layout_of_the_batch_changes_nothing(name: str, layout: Callable[[Any], Any]) -> None:
    step, params, batch = trained(name)
    odd = [np.asarray(layout(x), np.float32) for x in batch]
    for _ in range(2):
        assert bits(step(params, *odd)) == bits(step(params, *batch))


@every_pattern
def test_float64_batches_are_cast_to_the_dtype_of_the_params(name: str) -> None:
    step, params, batch = trained(name)
    if not params:
        return  # the batch decides
    wider = [x.astype(np.float64) for x in batch]
    for _ in range(2):
        assert bits(step(params, *wider)) == bits(step(params, *batch))


def test_the_same_batch_in_both_dtypes_by_turns() -> None:
    network, params, (x,) = pattern("no params", np.float64).made()
    for dtype in (np.float32, np.float64, np.float32):
        assert network.apply(params, x.astype(dtype)).dtype == dtype


@both_dtypes
@pytest.mark.parametrize("batch", [1, 3, 64, 1000])
def test_minus_zero_is_zero_to_relu(dtype: Any, batch: int) -> None:
    net = fn.network(
        {"a": fn.linear(2), "b": fn.identity(), 1: fn.multiply(), 2: fn.relu()}, {"a": [1], "b": [1], 1: [2]}
    )
    params: Any = {"a": fn.Affine(np.eye(2, dtype=dtype), np.zeros(2, dtype))}
    zero, minus = np.zeros((batch, 2), dtype), np.full((batch, 2), -1, dtype)
    _, gradient = fn.value_and_grad(net, fn.mse())(params, zero, minus, minus)
    _, pullback = net.apply.vjp(params, zero, minus)
    for of_params in (gradient, pullback(minus)[0]):
        assert not any(np.any(leaf) for leaf in tree.leaves(of_params))


def test_an_empty_batch_has_an_empty_output_and_no_gradient() -> None:
    network, params, _ = pattern("the example").made()
    x = np.zeros((0, 2))
    output, pullback = network.apply.vjp(params, x)
    assert network.apply(params, x).shape == output.shape == (0, 2)
    of_params, (dx,) = pullback(output)
    assert dx.shape == (0, 2)
    assert not any(np.any(leaf) for leaf in tree.leaves(of_params))


@pytest.mark.parametrize("calls", [1, 2])
def test_no_params_at_all_are_refused(calls: int) -> None:
    for name in ("no params", "the example"):
        network, params, inputs = pattern(name).made()
        network.apply(copied(params), *inputs)
        for _ in range(calls):
            with pytest.raises(fn.ParamsError, match="not a NoneType"):
                network.apply(None, *inputs)


def test_another_operator_leaves_the_initial_weights_of_the_rest() -> None:
    small, _ = fn.network({1: fn.linear(3), "out": fn.linear(2)}, {1: ["out"]}).init(fn.key(7), (2,))
    layers = {0: fn.linear(3), 1: fn.linear(3), "more": fn.linear(3), "out": fn.linear(2), 5: fn.add()}
    large, _ = fn.network(layers, {0: [5], 1: [5], 5: ["more"], "more": ["out"]}).init(fn.key(7), (2,), (2,))
    assert list(large) == [0, 1, "more", "out"]
    assert all(bits(small[key]) == bits(large[key]) for key in small)
    assert bits(large[0]) != bits(large[1])


def test_a_chain_of_ten_thousand_operators_compiles_and_trains() -> None:
    count = 10_000
    operators = {i: fn.linear(1) if i % 100 == 0 else fn.tanh() if i % 2 else fn.identity() for i in range(count)}
    net = fn.network(operators, {i: [i + 1] for i in range(count - 1)})
    params, shape = net.init(fn.key(0), (1,))
    assert shape == (1,)
    x = np.ones((3, 1), np.float32)
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    new, loss = step(params, x, x)
    again, lower = pickle.loads(pickle.dumps(step))(new, x, x)
    assert list(again) == list(params)
    assert lower < loss


def test_a_dense_graph_of_three_hundred_operators_compiles() -> None:
    count = 300
    operators = {i: fn.average() for i in range(count)}
    net = fn.network(operators, {i: list(range(i + 1, count)) for i in range(count)})
    x = np.ones((2, 3))
    np.testing.assert_allclose(net.apply({}, x), x)
    _, pullback = net.apply.vjp({}, x)
    np.testing.assert_allclose(pullback(x)[1][0], x)
