"""Large batches in blocks of rows: the same numbers as the whole batch, where rows do not depend on each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funcnet as fn
from funcnet import tree
from funcnet.compiler import blocking
from funcnet.compiler.blocking import LINE, even, separable, spans
from funcnet.compiler.plan import Plan
from funcnet.compiler.planning import make_plan
from funcnet.core import layer
from funcnet.tracing.forms import plain
from funcnet.tracing.primitive import Primitive
from funcnet.tracing.primitives import dropout_mask, inner
from funcnet.tracing.trace import Trace
from tests.compiler.test_plan import planned
from tests.support.battery import subject_of
from tests.support.budget import examples
from tests.support.cases import CASES, Case
from tests.support.recurrences import with_recurrence
from tests.support.strategies import Problem, problems, with_images

BATCHES = [600, 1001, 5003]
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}

both_dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: dtype.__name__)


@contextmanager
def limits(fewest: int, cache: int = blocking.CACHE) -> Generator[None]:
    """Blocks of at least so many rows, whose rows take so many bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocking, "FEWEST", fewest)
        patch.setattr(blocking, "CACHE", cache)
        patch.setattr(blocking, "LINE", 2 - fewest % 2)  # for as few rows as that
        yield


def whole() -> Any:
    """No batch is large."""
    return limits(1 << 40)


def block_count(compiled: Any) -> int:
    """In how many blocks the program last made runs."""
    found = re.search(r"in (\d+) blocks of rows", str(compiled).splitlines()[0])
    return int(found[1]) if found else 1


def assert_close(found: Any, expected: Any, tolerance: float) -> None:
    """Equal relative to the largest element of each array."""
    assert tree.structure(found) == tree.structure(expected)
    for a, b in zip(tree.leaves(found), tree.leaves(expected), strict=True):
        scale = float(np.max(np.abs(b), initial=1e-3))
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale, strict=True)


# --- where to cut


@given(
    rows=st.integers(0, 20_000), width=st.integers(1, 300), fewest=st.integers(1, 400), cache=st.integers(1, 1 << 22)
)
def test_spans_cover_the_batch_in_blocks_of_one_length_but_the_last(
    rows: int, width: int, fewest: int, cache: int
) -> None:
    plan = planned(lambda W, b, x: np.tanh(x @ W + b), (width,), params=[(width, 3), (3,)], rows=rows)
    with limits(fewest, cache):
        cuts = spans(plan, rows)
    assert (cuts[0][0], cuts[-1][1]) == (0, rows)
    assert all(stop == start for (_, stop), (start, _) in pairwise(cuts))
    *lengths, last = [stop - start for start, stop in cuts]
    assert len({*lengths}) <= 1
    assert not lengths or 0 < last <= lengths[0]


@pytest.mark.parametrize("rows", [0, 1, 2 * blocking.FEWEST - 1])
def test_a_small_batch_runs_whole(rows: int) -> None:
    plan = planned(lambda x: np.tanh(np.exp(x) * x), (4000,), rows=rows)
    assert spans(plan, rows) == [(0, rows)]


def test_rows_that_fit_the_cache_run_whole() -> None:
    assert spans(planned(lambda x: np.tanh(x), (2,), rows=4000), 4000) == [(0, 4000)]


def test_a_block_fits_the_cache() -> None:
    plan = planned(lambda x: np.tanh(x), (64,), rows=40_000)
    longest = max(stop - start for start, stop in spans(plan, 40_000))
    assert blocking.CACHE / 2 < longest * 64 * 4 <= blocking.CACHE


def test_a_block_is_not_short_however_wide_its_rows() -> None:
    plan = planned(lambda x: np.tanh(x), (40_000,), rows=1000)
    assert min(stop - start for start, stop in spans(plan, 1000)[:-1]) >= blocking.FEWEST


def test_a_batch_of_two_short_blocks_is_cut() -> None:
    rows = 2 * blocking.FEWEST
    assert len(spans(planned(lambda x: np.tanh(x), (40_000,), rows=rows), rows)) == 2


@given(rows=st.integers(1, 200_000), most=st.integers(LINE, 5000))
def test_features_of_a_block_do_not_share_their_places_in_the_cache(rows: int, most: int) -> None:
    length = even(rows, most)
    assert 0 < length <= most
    assert length % LINE == 0
    assert length % (16 * LINE)


@pytest.mark.parametrize(
    ("rows", "most", "length"), [(2048, 1538, 1040), (64_000, 1538, 1504), (1000, 100, 80), (100, 47, 16)]
)
def test_the_length_of_blocks(rows: int, most: int, length: int) -> None:
    assert even(rows, most) == length


def test_rows_of_no_features_have_one_block_or_more() -> None:
    assert spans(planned(lambda x: x.sum(), (0,), rows=4000), 4000) == [(0, 4000)]


def test_a_block_keeps_products_small() -> None:
    plan = planned(lambda W, x: x @ W, (50,), params=[(50, 50)], rows=2000)
    assert max(stop - start for start, stop in spans(plan, 2000)) * 2500 <= blocking.SMALL_PRODUCT


# --- which programs allow it


def several(*outputs: tuple[tuple[int, ...], int | None], read: int, sums: bool = False) -> Callable[..., Any]:
    """One of the outputs, each of (shape, batch axis), of a call of x."""
    primitive = Primitive("several", plain(print), sums_rows=sums, multi_output=True)

    def function(W: Any, b: Any, x: Any) -> Any:
        return x.trace.emit_all(primitive, (x,), [(shape, x.dtype, axis) for shape, axis in outputs])[read]

    return function


ROWS_AND_SUM = ((4, 2), 0), ((), None)
SEPARABLE: dict[str, Callable[..., Any]] = {
    "elementwise": lambda W, b, x: np.tanh(x) * 2.0,
    "product and bias": lambda W, b, x: x @ W + b,
    "a product with what was computed of params": lambda W, b, x: x @ np.tanh(W),
    "over features": lambda W, b, x: x / x.sum(axis=-1, keepdims=True) - x.max(axis=-1, keepdims=True),
    "an input": lambda W, b, x: x,
    "a slice of features": lambda W, b, x: x[:, ::-1] * 2.0,
    "a sum over all": lambda W, b, x: x.sum() * 3.0,
    "an inner product": lambda W, b, x: inner(x, x),
    "a sum of sums": lambda W, b, x: x.sum() + inner(x, x) - (-x.sum()),
    "rows and a sum": lambda W, b, x: (np.tanh(x), x.sum()),
    "a mean": lambda W, b, x: x.sum() * (1.0 / x.size),
    "an array for each feature": lambda W, b, x: x * np.ones(3, x.dtype),
    "an array for each feature of rows that lie along the second axis": lambda W, b, x: (
        (x.T * np.ones((3, 1), x.dtype)).T
    ),
    "params by a 0-d array": lambda W, b, x: x @ (W * np.array(2.0, x.dtype)),
    "rows of a call of several outputs": several(*ROWS_AND_SUM, read=0),
    "a sum of a call of several outputs": several(*ROWS_AND_SUM, read=1, sums=True),
}
MIXED: dict[str, Callable[..., Any]] = {
    "rows less their mean": lambda W, b, x: x - x.sum(axis=0) * (1.0 / len(x.shape)),
    "rows less the sum of all": lambda W, b, x: x - x.sum(),
    "the largest of the rows": lambda W, b, x: x.max(axis=0) * 1.0,
    "the largest of all": lambda W, b, x: x.max() * 1.0,
    "an inner product of sums": lambda W, b, x: inner(s := x.sum(axis=0), s),
    "random rows": lambda W, b, x: x * dropout_mask(x.trace.key(), 0.5, x),
    "a product of sums": lambda W, b, x: x.sum() * inner(x, x),
    "a square of a sum": lambda W, b, x: (s := x.sum()) * s,
    "a function of a sum": lambda W, b, x: np.exp(x.sum()),
    "a sum and a number": lambda W, b, x: x.sum() + 1.0,
    "a number less a sum": lambda W, b, x: 1.0 - x.sum(),
    "a sum and a param": lambda W, b, x: x.sum() + b.sum(),
    "a penalty": lambda W, b, x: inner(x, x) + inner(W, W),
    "params alone": lambda W, b, x: inner(W, W),
    "a param itself": lambda W, b, x: W,
    "a product of a gradient": lambda W, b, x: (x.T @ x) @ W,
    "a number that is no sum, of a call of several outputs": several(*ROWS_AND_SUM, read=1),
    "an array for each row": lambda W, b, x: x * np.ones((x.shape[0], 1), x.dtype),
    "an array for each row along the second axis": lambda W, b, x: (x.T * np.ones((1, x.shape[0]), x.dtype)).T,
    "an array that may have rows beside params": lambda W, b, x: x @ (W * np.ones((3, 3), x.dtype)),
}


@pytest.mark.parametrize("name", SEPARABLE)
def test_programs_that_may_run_in_blocks(name: str) -> None:
    assert separable(planned(SEPARABLE[name], (3,), params=[(3, 3), (3,)]))


@pytest.mark.parametrize("name", MIXED)
def test_programs_that_may_not(name: str) -> None:
    assert not separable(planned(MIXED[name], (3,), params=[(3, 3), (3,)]))


def gradient_plan(gradient: Callable[[Any, Any], Any]) -> Plan:
    trace = Trace(np.dtype(np.float32), 4)
    W, x = trace.parameter((3, 3)), trace.input((4, 3), trace.dtype)
    y = x @ W
    return make_plan(trace, (inner(y, y),), (gradient(W, x),))


def test_a_gradient_over_rows_may_run_in_blocks() -> None:
    assert separable(gradient_plan(lambda W, x: x.T @ (x * 2.0)))
    assert separable(gradient_plan(lambda W, x: x.T @ x + x.T @ np.tanh(x)))


def test_a_gradient_that_does_not_depend_on_rows_may_not() -> None:
    assert not separable(gradient_plan(lambda W, x: W * 2.0))
    assert not separable(gradient_plan(lambda W, x: x.T @ x + W))


# --- the same numbers

CHAIN: list[fn.Layer[Any, Any]] = [fn.linear(25), fn.tanh(), fn.linear(25), fn.sigmoid(), fn.linear(2)]


def skip() -> fn.Layer[Any, Any]:
    operators = {1: fn.linear(25), 2: fn.tanh(), 3: fn.linear(25), 4: fn.sigmoid(), 5: fn.add(), 6: fn.linear(2)}
    return fn.network(operators, {1: [2], 2: [3, 5], 3: [4], 4: [5], 5: [6], 6: []})


def merges() -> fn.Layer[Any, Any]:
    operators = {0: fn.linear(8), "a": fn.relu(), "b": fn.gelu(), "c": fn.elu(), "m": fn.maximum(), "p": fn.multiply(),
                 "v": fn.average(), "j": fn.concatenate(), "s": fn.shared("l"), "l": [fn.linear(24)]}  # fmt: skip
    feeds = {0: ["a", "b", "c"], "a": ["m", "p", "v"], "b": ["m", "p", "v"], "c": ["v"], "m": ["j"], "p": ["j"],
             "v": ["j"], "j": ["l"], "l": ["s"]}  # fmt: skip
    return fn.network(operators, feeds)


NETWORKS: dict[str, tuple[Callable[[], fn.Layer[Any, Any]], tuple[int, ...]]] = {
    "a chain": (lambda: fn.serial(*CHAIN), (2,)),
    "a wide chain": (lambda: fn.serial(fn.linear(90), fn.relu(), fn.linear(3)), (30,)),
    "a skip": (skip, (2,)),
    "merges": (merges, (5,)),
    "softmax": (lambda: fn.serial(fn.linear(9), fn.softmax(), fn.linear(7), fn.log_softmax()), (8,)),
    "fused": (lambda: fn.parallel(fn.linear(9), fn.linear(7), fn.identity(), merge=fn.concatenate()), (8,)),
    "sequences": (lambda: fn.serial(fn.linear(8), fn.tanh(), fn.linear(3), fn.softmax()), (4, 6)),
    "reshaped": (lambda: fn.serial(fn.linear(8), fn.reshape(2, -1), fn.linear(3), fn.flatten()), (4, 6)),
    "residuals": (lambda: fn.residual(fn.residual(fn.linear(9), fn.silu()), fn.linear(9)), (9,)),
}

every_network = pytest.mark.parametrize("name", NETWORKS)
batches = pytest.mark.parametrize("rows", BATCHES)


class Drawn:
    """A network with params, a batch, and targets."""

    def __init__(self, name: str, rows: int, dtype: Any) -> None:
        make, shape = NETWORKS[name]
        self.net = make()
        self.params, out = self.net.init(fn.key(0), shape, dtype=dtype)
        rng = np.random.default_rng(rows)
        self.x, self.target = (rng.normal(size=(rows, *s)).astype(dtype) for s in (shape, out))


@both_dtypes
@batches
@every_network
def test_values_in_blocks_are_those_of_the_whole_batch(name: str, rows: int, dtype: Any) -> None:
    case = Drawn(name, rows, dtype)
    with limits(100, 1 << 14):
        found = case.net.apply(case.params, case.x)
        assert block_count(case.net.apply) > 1
    with whole():
        expected = NETWORKS[name][0]().apply(case.params, case.x)
    assert_close(found, expected, TOLERANCE[dtype])


@both_dtypes
@batches
@every_network
def test_losses_and_gradients_in_blocks_are_those_of_the_whole_batch(name: str, rows: int, dtype: Any) -> None:
    case = Drawn(name, rows, dtype)
    compiled = fn.value_and_grad(case.net, fn.mse())
    with limits(100, 1 << 14):
        found = compiled(case.params, case.x, case.target)
        assert block_count(compiled) > 1
    with whole():
        expected = fn.value_and_grad(case.net, fn.mse())(case.params, case.x, case.target)
    assert_close(found, expected, TOLERANCE[dtype])


@both_dtypes
@batches
@pytest.mark.parametrize("name", ["a chain", "a skip", "sequences"])
def test_steps_in_blocks_are_those_of_the_whole_batch(name: str, rows: int, dtype: Any) -> None:
    case = Drawn(name, rows, dtype)
    step, slow = (fn.sgd_step(case.net, fn.mse(), learning_rate=0.3) for _ in range(2))
    found = expected = case.params
    for _ in range(3):
        with limits(100, 1 << 14):
            found, _ = step(found, case.x, case.target)
        with whole():
            expected, _ = slow(expected, case.x, case.target)
    assert block_count(step) > block_count(slow) == 1
    assert_close(found, expected, 10 * TOLERANCE[dtype])


@both_dtypes
@pytest.mark.parametrize("labelled", [False, True])
def test_cross_entropy_in_blocks_is_that_of_the_whole_batch(labelled: bool, dtype: Any) -> None:
    case = Drawn("a wide chain", 1001, dtype)
    target = case.target.argmax(axis=1) if labelled else np.abs(case.target)
    compiled, slow = (fn.value_and_grad(case.net, fn.softmax_cross_entropy()) for _ in range(2))
    with limits(100, 1 << 14):
        found = compiled(case.params, case.x, target)
    with whole():
        expected = slow(case.params, case.x, target)
    assert block_count(compiled) > block_count(slow) == 1
    assert_close(found, expected, TOLERANCE[dtype])


@pytest.mark.parametrize("name", ["a chain", "a wide chain"])
def test_large_batches_run_in_blocks_by_default(name: str) -> None:
    case = Drawn(name, 20_000, np.float32)
    case.net.apply(case.params, case.x)
    assert block_count(case.net.apply) > 1


@given(problem=problems() | problems(size=6).flatmap(with_images) | problems(size=6).flatmap(with_recurrence))
@settings(max_examples=examples(60))
def test_random_networks_give_the_same_in_blocks(problem: Problem) -> None:
    net, params, inputs = problem.made()
    again, _, _ = problem.made()
    with np.errstate(all="ignore"):
        with limits(1, 1):
            found = net.apply(params, *inputs)
        with whole():
            expected = again.apply(params, *inputs)
        assert_close(found, expected, 10 * TOLERANCE[problem.dtype])


@given(
    problem=problems(single=True)
    | problems(single=True, size=6).flatmap(with_images)
    | problems(single=True, size=6).flatmap(with_recurrence)
)
@settings(max_examples=examples(60))
def test_gradients_of_random_networks_are_the_same_in_blocks(problem: Problem) -> None:
    net, params, inputs = problem.made()
    targets = [np.ones((problem.batch, width), problem.dtype) for width in problem.outputs]
    with np.errstate(all="ignore"):
        with limits(1, 1):
            found = fn.value_and_grad(net, fn.mse())(params, *inputs, *targets)
        with whole():
            expected = fn.value_and_grad(net, fn.mse())(params, *inputs, *targets)
    scale = max(1.0, *(float(np.abs(leaf).max(initial=0)) for leaf in tree.leaves(expected)))
    if np.isfinite(scale):
        assert_close(found, expected, 100 * TOLERANCE[problem.dtype] * scale)


def test_several_outputs_in_blocks() -> None:
    net = fn.network({1: fn.linear(3), 2: fn.tanh(), 3: fn.identity(), 4: fn.mse()},
                     {1: [2], 2: [4], 3: [4]}, output=[2, 4, 1])  # fmt: skip
    params, _ = net.init(fn.key(0), (2,), (3,), dtype=np.float64)
    x, t = np.random.default_rng(0).normal(size=(2, 1001, 3))
    with limits(10, 1):
        y, loss, z = net.apply(params, x[:, :2], t)
        assert block_count(net.apply) > 1
    assert_close(z, x[:, :2] @ params[1].weight + params[1].bias, 1e-12)
    assert_close(y, np.tanh(z), 1e-12)
    assert_close(loss, ((y - t) ** 2).mean(), 1e-12)


def one_number(params: Any, x: Any) -> Any:
    """A sum over the rows, a vector."""
    return x.sum(axis=0), lambda g: ((), (x * 0.0 + g,))


def none(key: Any, *shapes: Any, dtype: Any) -> Any:
    return ()


def test_a_vector_summed_over_rows_is_that_of_the_whole_batch() -> None:
    net = fn.network({1: layer("total", one_number, none)}, {})
    x = np.random.default_rng(0).normal(size=(1000, 3))
    with limits(10, 1):
        np.testing.assert_allclose(net.apply({}, x), x.sum(axis=0), strict=True)


# --- rows that depend on each other


def centred(x: Any) -> Any:
    return x - x.sum(axis=0) * (1.0 / x.shape[0]), lambda g: g - g.sum(axis=0) * (1.0 / x.shape[0])


def centred_by_hand(params: Any, x: Any) -> Any:
    return x - x.mean(axis=0), lambda g: ((), (g - g.mean(axis=0),))


def same_shape(key: Any, shape: Any, dtype: Any = np.float32) -> Any:
    return (), shape


def test_rows_less_their_mean_run_whole() -> None:
    net = fn.network({1: fn.linear(3), 2: fn.elementwise(centred)}, {1: [2]})
    params, _ = net.init(fn.key(0), (3,), dtype=np.float64)
    x = np.random.default_rng(0).normal(size=(5003, 3)) + 7
    with limits(10, 1):
        y = net.apply(params, x)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-12)


def test_a_custom_layer_sees_the_whole_batch() -> None:
    net = fn.serial(fn.linear(3), fn.custom_layer(same_shape, centred_by_hand))
    params, _ = net.init(fn.key(0), (3,), dtype=np.float64)
    x = np.random.default_rng(0).normal(size=(5003, 3)) + 7
    with limits(10, 1):
        y = net.apply(params, x)
        step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
        step(params, x, x)
        assert (block_count(net.apply), block_count(step)) == (1, 1)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-12)


ACROSS_ROWS: dict[str, Callable[[Any], Any]] = {
    "less the first row": lambda x: x - x[0],
    "turned round": lambda x: x[::-1] * 1.0,
    "without the first row": lambda x: x[1:] * 1.0,
    "a product of rows with rows": lambda x: (x @ x.T) @ x,
    "a number for each row": lambda x: x * np.arange(x.shape[0], dtype=x.dtype)[:, None],
    "fused row to row": lambda x: np.concatenate([x, x], axis=0),
    "less the largest row": lambda x: x - x.max(axis=0),
    "the transposed fused": lambda x: np.concatenate([x.T, x.T], axis=-1),
}


@pytest.mark.parametrize("name", ACROSS_ROWS)
def test_what_mixes_rows_runs_whole_or_is_refused(name: str) -> None:
    across = ACROSS_ROWS[name]
    net = fn.network({1: fn.elementwise(lambda x: (across(x), lambda g: g))}, {})
    x = np.random.default_rng(0).normal(size=(1000, 3))
    with limits(10, 1):
        try:
            found = net.apply({}, x)
        except TypeError:
            return
    np.testing.assert_allclose(found, across(x), strict=True)


# --- from call to call


def test_results_of_blocks_are_fresh() -> None:
    case = Drawn("a chain", 5003, np.float32)
    gradient = fn.value_and_grad(case.net, fn.mse())
    step = fn.sgd_step(case.net, fn.mse(), learning_rate=0.1)
    results = [
        *(case.net.apply(case.params, case.x) for _ in range(2)),
        *(gradient(case.params, case.x, case.target) for _ in range(2)),
        *(step(case.params, case.x, case.target) for _ in range(2)),
    ]
    held = [case.x, case.target, *tree.leaves(case.params)]
    for result, *others in (results[i:] for i in range(len(results))):
        for array in tree.leaves(result):
            assert not any(np.shares_memory(array, other) for other in (*held, *tree.leaves(others)))


def test_a_result_stays_as_it_is_in_later_calls() -> None:
    case = Drawn("a chain", 5003, np.float32)
    with limits(10, 1 << 14):
        y = case.net.apply(case.params, case.x)
        before = y.copy()
        case.net.apply(case.params, -case.x)
    np.testing.assert_array_equal(y, before)


def test_small_and_large_batches_take_turns() -> None:
    case = Drawn("a skip", 5003, np.float64)
    step = fn.sgd_step(case.net, fn.mse(), learning_rate=0.3)
    slow = fn.sgd_step(case.net, fn.mse(), learning_rate=0.3)
    found = expected = case.params
    for rows in (5003, 40, 5003, 40, 600, 5003, 1, 5003, 600):
        found, loss = step(found, case.x[:rows], case.target[:rows])
        with whole():
            expected, slow_loss = slow(expected, case.x[:rows], case.target[:rows])
        assert_close(loss, slow_loss, 1e-12)
    assert_close(found, expected, 1e-11)


def test_params_from_elsewhere_reach_all_blocks() -> None:
    case = Drawn("a chain", 1001, np.float64)
    gradient = fn.value_and_grad(case.net, fn.mse())
    with limits(10, 1):
        gradient(case.params, case.x, case.target)
        other = tree.map(lambda p: p + 0.5, case.params)
        found = gradient(other, case.x, case.target)
    with whole():
        assert_close(found, fn.value_and_grad(case.net, fn.mse())(other, case.x, case.target), 1e-12)


def test_the_same_bits_every_time() -> None:
    case = Drawn("a chain", 5003, np.float32)
    gradient = fn.value_and_grad(case.net, fn.mse())
    first, second = (gradient(case.params, case.x, case.target) for _ in range(2))
    assert [np.asarray(a).tobytes() for a in tree.leaves(first)] == [
        np.asarray(a).tobytes() for a in tree.leaves(second)
    ]


def test_nan_in_one_row_stays_in_its_row() -> None:
    case = Drawn("a chain", 1001, np.float32)
    case.x[500] = np.nan
    with limits(10, 1):
        y = case.net.apply(case.params, case.x)
    assert np.flatnonzero(np.isnan(y).any(axis=1)).tolist() == [500]


def test_a_number_that_depends_on_the_rows_is_that_of_the_whole_batch() -> None:
    layer = fn.elementwise(lambda x: (x / x.shape[0], lambda g: g / x.shape[0]), "share")
    x = np.ones((2000, 2))
    with limits(10, 1):
        np.testing.assert_allclose(fn.network({1: layer}, {}).apply({}, x), layer.apply((), x))


def test_an_array_that_a_layer_makes_anew_for_each_plan_is_the_same_number() -> None:
    twice = fn.elementwise(lambda x: (x * np.full(2, 2.0, x.dtype), lambda g: g * 2.0), "twice")
    net, x = fn.network({1: twice}, {}), np.ones((1001, 2))
    with limits(10, 1):
        np.testing.assert_array_equal(net.apply({}, x), 2 * x)
    assert block_count(net.apply) > 1


def test_a_sum_whose_factor_depends_on_the_rows_is_that_of_the_whole_batch() -> None:
    def mean(params: Any, x: Any) -> Any:
        share = 1.0 / x.shape[0]
        return x.sum() * share, lambda g: ((), (g * share + x * 0.0,))

    net = fn.network({1: layer("mean", mean, none)}, {})
    x = np.random.default_rng(0).normal(size=(1000, 3)) + 1.0
    with limits(10, 1):
        np.testing.assert_allclose(net.apply({}, x), x.sum() / 1000)


ALONE = [case for case in CASES if case.name != "network of two outputs"]
IN_ONE = r"^\w+ of weighted (rows|elements|sequences|labels)$|of labels but one|batch_norm|custom_layer|mask$"
"""Those of which every row depends on all, as where no row may be all hidden, and the one that nobody can look into."""


@pytest.mark.parametrize("case", ALONE, ids=lambda case: case.name)
def test_every_operator_of_the_table_gives_the_same_in_blocks(case: Case) -> None:
    own, params, inputs = subject_of(case)
    places = list(range(len(inputs)))
    operators: dict[Any, Any] = {**dict.fromkeys(places, fn.identity()), "f": own}
    edges: dict[Any, Any] = dict.fromkeys(places, ["f"])
    net = fn.network(operators, edges, inputs=places)
    held: Any = {"f": params} if tree.leaves(params) else {}
    output = own.apply(params, *inputs)
    targets = [np.ones_like(output)] if np.ndim(output) else []
    gradient: Any = fn.value_and_grad(net, fn.mse() if targets else None)
    apply: Any = net.apply
    with whole():
        expected = apply(held, *inputs), gradient(held, *inputs, *targets)
    for compiled in (apply, gradient):
        compiled.forget()
    with limits(fewest=15, cache=1):
        assert_close((apply(held, *inputs), gradient(held, *inputs, *targets)), expected, 1e-12)
    if not re.search(IN_ONE, case.name):
        assert block_count(gradient) > 1
