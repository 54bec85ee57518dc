"""Memory: params that a step has made are recognised, and whatever else comes in is honoured."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.compiler import workspace
from funcnet.compiler.binding import Binding
from funcnet.compiler.layout import Layout
from funcnet.compiler.programs import Compiled
from funcnet.core import layer
from tests.support.blocks import run_in_small_blocks

SQUARE = 4  # features everywhere, so that arrays can change places


def net() -> fn.Layer[Any, Any]:
    """Two linear layers of one shape, a network in the network, and a list in it."""
    inner = fn.network({1: fn.linear(SQUARE), 2: fn.linear(SQUARE), 3: fn.tanh()}, {1: [2], 2: [3]})
    listed = layer("listed", multiply_and_add, draw_list)
    operators = {1: fn.linear(SQUARE), 2: fn.tanh(), 3: fn.linear(SQUARE), "inner": inner, "list": listed}
    return fn.network(operators, {1: [2], 2: [3], 3: ["inner"], "inner": ["list"]})


def draw_list(key: Any, shape: Any, dtype: Any) -> Any:
    return [np.full(shape, 1.5, dtype), np.full(shape, 0.5, dtype)]


def multiply_and_add(params: Any, x: Any) -> Any:
    a, b = params
    return x * a + b, lambda g: ([(g * x).sum(axis=0), g.sum(axis=0)], (g * a,))


@pytest.fixture(params=["whole", "in blocks", "params where they are", "in blocks, params where they are"])
def rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The rows of a batch, which runs whole or in blocks, from copies of the params or from them as they are."""
    if "where they are" in request.param:
        monkeypatch.setattr(workspace, "REBIND_COST", 0)
    if "in blocks" in request.param:
        run_in_small_blocks(monkeypatch)
    return 9


class Drawn(NamedTuple):
    params: Any
    x: Any
    target: Any


def test_the_batches_of_these_tests_run_in_blocks_where_they_say_so(rows: int, request: pytest.FixtureRequest) -> None:
    step = new_step()
    step(*drawn(rows))
    assert ("blocks of rows" in str(step)) == ("in blocks" in request.node.name)


def drawn(rows: int, dtype: Any = np.float32) -> Drawn:
    params, _ = net().init(fn.key(0), (SQUARE,), dtype=dtype)
    params = tree.map(lambda p: p + p.dtype.type(0.25), params)
    x, target = np.random.default_rng(0).normal(size=(2, rows, SQUARE)).astype(dtype)
    return Drawn(params, x, target)


def new_step() -> Any:
    return fn.sgd_step(net(), fn.mse(), learning_rate=0.1)


def bits(t: Any) -> list[Any]:
    return [(np.asarray(a).dtype, np.shape(a), np.asarray(a).tobytes()) for a in tree.leaves(t)]


def copied(params: Any) -> Any:
    """The same params in arrays and dicts of their own."""
    return tree.map(np.array, params)


# --- what a caller may do with params between two steps; each returns what goes into the next one


def unchanged(params: Any) -> Any:
    return params


def in_another_dict(params: Any) -> Any:
    return dict(params)


def with_other_tuples(params: Any) -> Any:
    return {**params, 1: fn.Affine(*params[1])}


def in_arrays_of_their_own(params: Any) -> Any:
    return copied(params)


def scaled(params: Any) -> Any:
    return tree.map(lambda p: p * p.dtype.type(0.5), params)


def changed_in_place(params: Any) -> Any:
    params[1].weight[...] *= 0.5
    params["inner"][2].bias[1] = 3.0
    return params


def changed_alone(params: Any) -> Any:
    params[3].weight[...] *= 0.5
    return params


def exchanged(params: Any) -> Any:
    params[1], params[3] = params[3], params[1]
    return params


def exchanged_inside(params: Any) -> Any:
    inner = params["inner"]
    inner[1], inner[2] = inner[2], inner[1]
    return params


def exchanged_with_the_inside(params: Any) -> Any:
    params[1], params["inner"][2] = params["inner"][2], params[1]
    return params


def exchanged_in_the_list(params: Any) -> Any:
    params["list"].reverse()
    return params


def one_leaf_replaced(params: Any) -> Any:
    params[3] = params[3]._replace(bias=np.full(SQUARE, 2.0, params[3].bias.dtype))
    return params


def one_leaf_replaced_inside(params: Any) -> Any:
    params["inner"][1] = params["inner"][1]._replace(weight=-params["inner"][1].weight)
    return params


def one_item_of_the_list_replaced(params: Any) -> Any:
    params["list"][1] = -params["list"][1]
    return params


def transposed(params: Any) -> Any:
    params[1] = params[1]._replace(weight=params[1].weight.T)
    return params


def reversed_in_place(params: Any) -> Any:
    params[3] = params[3]._replace(bias=params[3].bias[::-1])
    return params


def one_leaf_twice(params: Any) -> Any:
    params[3] = params[1]
    return params


def in_another_order(params: Any) -> Any:
    return dict(reversed(params.items()))


def put_in_another_order(params: Any) -> Any:
    params[1] = params.pop(1)
    return params


def inside_put_in_another_order(params: Any) -> Any:
    params["inner"][1] = params["inner"].pop(1)
    return params


def inside_in_another_order(params: Any) -> Any:
    return {**params, "inner": dict(reversed(params["inner"].items()))}


def of_another_dtype(params: Any) -> Any:
    return tree.map(np.float64, params)


def read_only(params: Any) -> Any:
    for leaf in tree.leaves(params):
        leaf.flags.writeable = False
    return params


def not_contiguous(params: Any) -> Any:
    return tree.map(lambda p: np.repeat(p, 2, axis=0)[::2], params)


CHANGES = [
    unchanged,
    in_another_dict,
    with_other_tuples,
    in_arrays_of_their_own,
    scaled,
    changed_in_place,
    exchanged,
    exchanged_inside,
    exchanged_with_the_inside,
    exchanged_in_the_list,
    one_leaf_replaced,
    one_leaf_replaced_inside,
    one_item_of_the_list_replaced,
    transposed,
    reversed_in_place,
    one_leaf_twice,
    in_another_order,
    inside_in_another_order,
    put_in_another_order,
    inside_put_in_another_order,
    of_another_dtype,
    read_only,
    not_contiguous,
]

every_change = pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
Change = Callable[[Any], Any]


@every_change
def test_a_step_honours_its_own_params_changed(change: Change, rows: int) -> None:
    params, x, target = drawn(rows)
    step = new_step()
    params, _ = step(params, x, target)
    given = change(params)
    expected = new_step()(copied(given), x, target)
    assert bits(step(given, x, target)) == bits(expected)


@every_change
def test_a_step_honours_params_from_elsewhere_changed(change: Change, rows: int) -> None:
    params, x, target = drawn(rows)
    step, params = new_step(), copied(params)
    step(params, x, target)
    given = change(params)
    expected = new_step()(copied(given), x, target)
    assert bits(step(given, x, target)) == bits(expected)


@every_change
def test_a_forward_pass_honours_params_changed(change: Change, rows: int) -> None:
    params, x, _ = drawn(rows)
    layer = net()
    layer.apply(params, x)
    given = change(params)
    expected = net().apply(copied(given), x)
    assert bits(layer.apply(given, x)) == bits(expected)


@every_change
def test_a_gradient_honours_params_changed(change: Change, rows: int) -> None:
    params, x, target = drawn(rows)
    gradient = fn.value_and_grad(net(), fn.mse())
    gradient(params, x, target)
    given = change(params)
    expected = fn.value_and_grad(net(), fn.mse())(copied(given), x, target)
    assert bits(gradient(given, x, target)) == bits(expected)


@every_change
def test_the_params_that_a_step_returns_have_the_structure_of_those_given(change: Change, rows: int) -> None:
    params, x, target = drawn(rows)
    step = new_step()
    params, _ = step(params, x, target)
    given = change(params)
    assert tree.structure(step(given, x, target)[0]) == tree.structure(given)


def test_params_come_back_with_keys_of_the_types_given(rows: int) -> None:
    """1 and 1.0 are equal, and not the same key."""
    params, x, target = drawn(rows)
    step = new_step()
    for kind in (int, float, int, float):
        given = {kind(key) if key != "inner" and key != "list" else key: params[key] for key in params}
        for _ in range(2):
            params, *_ = step(given, x, target)
            assert [*map(type, params)] == [*map(type, given)]
            given = params


@every_change
def test_a_change_between_every_two_steps(change: Change, rows: int) -> None:
    params, x, target = drawn(rows)
    step, given, expected = new_step(), params, copied(params)
    for _ in range(3):
        given, _ = step(change(given), x, target)
        expected, _ = new_step()(change(expected), x, target)
    assert bits(given) == bits(expected)


@pytest.mark.parametrize(
    "change",
    [
        unchanged,
        changed_alone,
        exchanged,
        one_leaf_replaced,
        one_leaf_twice,
        with_other_tuples,
        transposed,
        read_only,
        in_another_order,
        put_in_another_order,
    ],
    ids=lambda change: change.__name__,
)
def test_one_dict_of_tuples_alone_is_looked_into(change: Change, rows: int) -> None:
    alone = fn.network({1: fn.linear(SQUARE), 2: fn.tanh(), 3: fn.linear(SQUARE)}, {1: [2], 2: [3]})
    step, slow = (fn.sgd_step(alone, fn.mse(), learning_rate=0.1) for _ in range(2))
    _, x, target = drawn(rows)
    params, _ = step(alone.init(fn.key(0), (SQUARE,))[0], x, target)
    given = change(params)
    expected = slow(copied(given), x, target)
    assert bits(step(given, x, target)) == bits(expected)


def test_a_dict_in_a_tuple_is_looked_into(rows: int) -> None:
    inner = fn.network({1: fn.linear(SQUARE), 2: fn.linear(SQUARE)}, {1: [2]})
    step, slow = (fn.sgd_step(fn.serial(inner, fn.tanh()), fn.mse(), learning_rate=0.1) for _ in range(2))
    _, x, target = drawn(rows)
    params, _ = step(fn.serial(inner, fn.tanh()).init(fn.key(0), (SQUARE,))[0], x, target)
    params[0][1], params[0][2] = params[0][2], params[0][1]
    expected = slow(copied(params), x, target)
    assert bits(step(params, x, target)) == bits(expected)


# --- recognition


def layout(params: Any) -> Layout[Any]:
    leaves, structure = tree.flatten(params)
    return Layout(structure, [leaf.shape for leaf in leaves], leaves[0].dtype)


def flat(params: Any) -> bool:
    """Whether one copy brings them in."""
    return type(layout(params).source(tree.leaves(params))) is np.ndarray


def test_init_gives_flat_params() -> None:
    assert flat(net().init(fn.key(0), (SQUARE,))[0])


def test_a_step_gives_flat_params(rows: int) -> None:
    assert flat(new_step()(*drawn(rows))[0])


def test_a_gradient_is_flat(rows: int) -> None:
    assert flat(fn.value_and_grad(net(), fn.mse())(*drawn(rows))[1])


@pytest.mark.parametrize(
    "change", [exchanged, transposed, reversed_in_place, one_leaf_twice, one_leaf_replaced, in_arrays_of_their_own]
)
def test_what_stands_elsewhere_is_not_flat(change: Change) -> None:
    params, _ = net().init(fn.key(0), (SQUARE,))
    assert not flat(change(params))


def test_views_of_a_vector_that_is_not_all_of_it_are_not_flat() -> None:
    params, _ = net().init(fn.key(0), (SQUARE,))
    longer = np.zeros(tree.ravel(params)[0].size + 1, np.float32)
    ends = accumulate((leaf.size for leaf in tree.leaves(params)), initial=0)
    places = iter(pairwise(ends))
    assert not flat(tree.map(lambda leaf: longer[slice(*next(places))].reshape(leaf.shape), params))


def times_admitted(step: Any, params: Any, batches: list[Any], monkeypatch: pytest.MonkeyPatch) -> int:
    """How many of some steps had to look at their params leaf by leaf."""
    admitted = 0
    original = Compiled._acquire_checked

    def counted(self: Any, *arguments: Any) -> Any:
        nonlocal admitted
        admitted += 1
        return original(self, *arguments)

    monkeypatch.setattr(Compiled, "_acquire_checked", counted)
    for batch in batches:
        params, *_ = step(params, *batch)
    return admitted


def test_params_made_by_a_step_are_recognised(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    params, *batch = drawn(rows)
    assert times_admitted(new_step(), params, [batch] * 5, monkeypatch) == 1


def test_params_made_by_a_step_of_another_batch_size_are_recognised(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    params, x, target = drawn(rows)
    sizes = [rows, rows - 1, rows, rows - 1, rows - 1, rows]
    assert times_admitted(new_step(), params, [(x[:n], target[:n]) for n in sizes], monkeypatch) == 2


def test_what_was_let_go_is_not_held(rows: int) -> None:
    params, x, target = drawn(rows)
    step = new_step()
    for n in (rows, rows - 1):
        params, _ = step(params, x[:n], target[:n])
    vector = weakref.ref(params[1].weight.base)
    params, _ = step(params, x, target)
    assert vector() is None


# --- params that are read where they are


def plain() -> fn.Layer[Any, Any]:
    return fn.network({1: fn.linear(SQUARE), 2: fn.tanh(), 3: fn.linear(SQUARE)}, {1: [2], 2: [3]})


def reads_where_they_are(net: fn.Layer[Any, Any], params: Any) -> bool:
    compiled: Any = net.apply
    ((space,),) = (program.pool for program in compiled._programs.by_signature.values())
    return space.source() is params[1].weight.base


def test_params_that_come_again_and_again_are_read_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "REBIND_COST", 200)
    net, x = plain(), drawn(9).x
    params, _ = net.init(fn.key(0), (SQUARE,))
    found = []
    for _ in range(5):
        expected = bits(plain().apply(copied(params), x))
        assert bits(net.apply(params, x)) == expected
        found.append(reads_where_they_are(net, params))
        params[3].bias[1] += 0.5
    assert found == [False, False, True, True, True]


@pytest.mark.parametrize(
    ("worth", "order", "expected"),
    [(200, "aaaaaaaabccc", 2), (0, "aaaabbbba", 3), (10_000, "aaaaaaaabb", 0)],
    ids=["in the end", "at once", "never"],
)
def test_a_program_is_bound_anew_only_where_it_must(
    worth: int, order: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "REBIND_COST", worth)
    bound = list[Any]()
    read_from = Binding.read_from

    def counted(space: Binding, vector: Any) -> None:
        bound.append(vector)
        read_from(space, vector)

    monkeypatch.setattr(Binding, "read_from", counted)
    net = plain()
    given = {name: net.init(fn.key(i), (SQUARE,))[0] for i, name in enumerate("abc")}
    given["c"] = copied(given["c"])
    for name in order:
        net.apply(given[name], drawn(9).x)
    assert len(bound) == expected


@pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")
def test_a_flat_vector_that_is_flat_no_more_is_not_read(rows: int) -> None:
    params, x, target = drawn(rows)
    step = new_step()
    for _ in range(2):
        params, _ = step(params, x, target)
    expected = bits(new_step()(copied(params), x, target))
    params[1].weight.base.shape = (-1, 1)
    assert bits(step(params, x, target)) == expected


def test_few_params_that_come_once_are_copied() -> None:
    net, x = plain(), drawn(9).x
    params, _ = net.init(fn.key(0), (SQUARE,))
    net.apply(params, x)
    assert not reads_where_they_are(net, params)


@pytest.mark.parametrize("worth", [0, 100, 200, 10_000])
@pytest.mark.parametrize("kind", ["apply", "gradient", "step"])
def test_params_from_anywhere_in_any_order(kind: str, worth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """a and b are flat, c is not; the same ones come a few times, and then others."""
    monkeypatch.setattr(workspace, "REBIND_COST", worth)
    _, x, target = drawn(9)
    given = {"a": plain().init(fn.key(0), (SQUARE,))[0], "b": plain().init(fn.key(1), (SQUARE,))[0]}
    given["c"] = copied(plain().init(fn.key(2), (SQUARE,))[0])
    before = bits(given)

    def new() -> Callable[[Any], Any]:
        if kind == "apply":
            layer = plain()
            return lambda params: layer.apply(params, x)
        compiled: Any = fn.value_and_grad(plain(), fn.mse())
        if kind == "step":
            compiled = fn.sgd_step(plain(), fn.mse(), learning_rate=0.1)
        return lambda params: compiled(params, x, target)

    expected = {name: bits(new()(copied(params))) for name, params in given.items()}
    call = new()
    for name in "aaaabbaacccaaaaabcbcbbbbbca":
        assert bits(call(given[name])) == expected[name]
    assert bits(given) == before


def test_params_that_go_out_as_they_are_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """y = p, whatever x is."""
    monkeypatch.setattr(workspace, "REBIND_COST", 0)
    own = layer(
        "own", lambda p, x: (p, lambda g: (p * 0.0 + g, (x * 0.0,))), lambda key, shape, dtype: np.zeros((), dtype)
    )
    params, _ = fn.network({"own": own}, {}).init(fn.key(0), (SQUARE,))
    gradient = fn.value_and_grad(fn.network({"own": own}, {}))
    for value in (1.0, 2.0, 2.0, 3.0):
        params["own"][...] = value
        loss, found = gradient(params, drawn(9).x)
        assert [loss, found["own"]] == [value, 1.0]


def test_closures_of_two_threads_hand_each_other_no_params(rows: int) -> None:
    step = new_step()
    starts = [drawn(rows).params, tree.map(lambda p: p * p.dtype.type(0.5), drawn(rows).params)]
    _, x, target = drawn(rows)

    def train(params: Any) -> Any:
        for i in range(100):
            params, _ = step(params, x[: rows - i % 2], target[: rows - i % 2])
        return bits(params)

    expected = [train(params) for params in starts]
    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(train, starts * 4)] == expected * 4


# --- what comes back


def test_older_params_may_come_again(rows: int) -> None:
    params, x, target = drawn(rows)
    step = new_step()
    first, _ = step(params, x, target)
    second, _ = step(first, x, target)
    assert bits(step(params, x, target)[0]) == bits(first)
    assert bits(step(first, x, target)[0]) == bits(second)


def test_two_trainings_by_one_step_do_not_touch(rows: int) -> None:
    params, x, target = drawn(rows)
    step, a, b = new_step(), params, scaled(params)
    alone = b
    for _ in range(3):
        a, _ = step(a, x, target)
        b, _ = step(b, x, target)
        alone, _ = new_step()(alone, x, target)
    assert bits(b) == bits(alone)


def test_new_params_may_be_written_to(rows: int) -> None:
    params, x, target = drawn(rows)
    before = bits(params)
    new, _ = new_step()(params, x, target)
    for leaf in tree.leaves(new):
        leaf[...] = 0
    assert bits(params) == before


def test_the_params_given_stay_as_they_are(rows: int) -> None:
    params, x, target = drawn(rows)
    before = bits(params)
    step = new_step()
    step(step(params, x, target)[0], x, target)
    assert bits(params) == before


# --- what is refused, though most of it was seen before


def one_leaf_of_another_dtype(params: Any) -> Any:
    params[3] = params[3]._replace(bias=np.float64(params[3].bias))
    return params


def one_leaf_of_another_shape(params: Any) -> Any:
    params[3] = params[3]._replace(bias=params[3].bias[:, None])
    return params


def one_leaf_a_list(params: Any) -> Any:
    params[3] = params[3]._replace(bias=params[3].bias.tolist())
    return params


def one_operator_missing(params: Any) -> Any:
    del params[3]
    return params


def one_operator_too_many(params: Any) -> Any:
    params[7] = params[3]
    return params


def a_tuple_for_a_named_one(params: Any) -> Any:
    params[3] = tuple(params[3])
    return params


REFUSED: dict[Change, str] = {
    one_leaf_of_another_dtype: r"params\[3\]\.bias",
    one_leaf_of_another_shape: "operator 3",
    one_leaf_a_list: r"params\[3\]\.bias",
    one_operator_missing: "operator 3",
    one_operator_too_many: "7",
    a_tuple_for_a_named_one: "operator 3",
}


@pytest.mark.parametrize("change", REFUSED, ids=lambda change: change.__name__)
def test_params_that_do_not_fit_are_refused_by_name(change: Change, rows: int) -> None:
    params, x, target = drawn(rows)
    step = new_step()
    params, _ = step(params, x, target)
    with pytest.raises(fn.FuncnetError, match=REFUSED[change]):
        step(change(params), x, target)


@pytest.mark.parametrize(
    "bias",
    [np.zeros(1), np.zeros((1, 1), np.float32), 0.0, [0.0], np.float32(0.0)],
    ids=["float64", "a matrix", "a number", "a list", "a scalar"],
)
def test_one_element_is_refused_as_many_are(bias: Any) -> None:
    net = fn.network(
        {"wide": fn.linear(3), "one": fn.linear(1), "again": fn.linear(3)}, {"wide": ["one"], "one": ["again"]}
    )
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    x = np.zeros((3, 3), np.float32)
    params, _ = step(net.init(fn.key(0), (3,))[0], x, x)
    assert params["one"].bias == 0
    params["one"] = params["one"]._replace(bias=bias)
    with pytest.raises(fn.FuncnetError):
        step(params, x, x)


def test_one_element_replaced_by_another_of_its_value_is_taken_at_its_word() -> None:
    step = fn.sgd_step(fn.network({1: fn.linear(1)}, {}), fn.mse(), learning_rate=0.1)
    x, bias = np.ones((3, 2), np.float32), np.zeros(1, np.float32)
    params, _ = step({1: fn.Affine(np.ones((2, 1), np.float32), bias)}, x, x[:, :1])
    params[1] = params[1]._replace(bias=params[1].bias.copy())
    step(params, x, x[:, :1])
    params[1].bias[...] = 5.0
    expected = fn.sgd_step(fn.network({1: fn.linear(1)}, {}), fn.mse(), learning_rate=0.1)(copied(params), x, x[:, :1])
    assert bits(step(params, x, x[:, :1])) == bits(expected)
