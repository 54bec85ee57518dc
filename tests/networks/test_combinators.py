"""Compositions: the dicts that they stand for, at no cost, and their mistakes."""

from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree

X = np.linspace(-1, 1, 12).reshape(6, 2)
MSE: Any = fn.mse()
L2, L3, T, A = fn.linear(2), fn.linear(3), fn.tanh(), fn.add()


def made(layer: Any, *arrays: Any) -> Any:
    """Params of a layer for these arrays, with biases that are not zero."""
    params, _ = layer.init(fn.key(3), *(x.shape[1:] for x in arrays), dtype=np.float64)
    random = np.random.default_rng(0)
    return tree.map(lambda p: p + 0.1 * random.normal(size=p.shape), params)


def everything(layer: Any, params: Any, *arrays: Any) -> list[Any]:
    """Value, VJP, loss and gradient, as flat lists of arrays."""
    output, pullback = layer.apply.vjp(params, *arrays)
    of_params, of_inputs = pullback(np.cos(output))
    loss, gradient = fn.value_and_grad(layer, fn.mse())(params, *arrays, np.sin(output))
    return tree.leaves([layer.apply(params, *arrays), output, of_params, of_inputs, loss, gradient])


def same(a: tuple[Any, Any], b: tuple[Any, Any], *arrays: Any) -> None:
    for x, y in zip(everything(*a, *arrays), everything(*b, *arrays), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-13, atol=1e-14)


def calls(layer: Any, params: Any, *arrays: Any) -> int:
    """How many calls there are in the program of a step."""
    step = fn.value_and_grad(layer, fn.mse())
    step(params, *arrays, np.ones_like(layer.apply(params, *arrays)))
    found = re.match(r"value_and_grad: (\d+) calls", str(step))
    assert found
    return int(found[1])


def test_a_series_is_a_chain_of_operators() -> None:
    chain = fn.serial(L3, T, L2)
    params = made(chain, X)
    net = fn.network({1: L3, 2: T, 3: L2}, {1: [2], 2: [3]})
    flat = {1: params[0], 3: params[2]}
    same((chain, params), (net, flat), X)
    assert calls(chain, params, X) == calls(net, flat, X)


def test_a_list_is_a_series() -> None:
    chain = fn.serial(L3, T)
    params = made(chain, X)
    as_list, as_serial = fn.network({"a": [L3, T]}, {}), fn.network({"a": chain}, {})
    same((as_list, {"a": params}), (as_serial, {"a": params}), X)
    for net in (as_list, as_serial):
        drawn, shape = net.init(fn.key(0), (2,))
        assert (tree.structure(drawn["a"]), shape) == (tree.structure(params), (3,))


def test_a_list_of_one_is_that_layer() -> None:
    params, shape = fn.network({1: [fn.linear(25)]}, {}).init(fn.key(0), (2,))
    assert (type(params[1]), shape) == (fn.Affine, (25,))


def test_the_first_of_a_series_may_take_several_inputs() -> None:
    chain = fn.serial(fn.subtract(), L2)
    params = made(chain, X, X)
    net = fn.network({1: chain, "a": fn.identity(), "b": fn.identity()}, {"b": [1], "a": [1]}, inputs=["a", "b"])
    found = chain.apply.vjp(params, X, X + 1)[1](X)[1]
    expected = net.apply.vjp({1: params}, X + 1, X)[1](X)[1][::-1]
    np.testing.assert_allclose(found, expected)


def test_parallel_is_a_fan_out_and_a_merge() -> None:
    both = fn.parallel(L3, fn.serial(L3, T), L3, merge=fn.multiply())
    params = made(both, X)
    net = fn.network(
        {0: fn.identity(), 1: L3, 2: L3, 3: T, 4: L3, 5: fn.multiply()}, {0: [1, 2, 4], 1: [5], 2: [3], 3: [5], 4: [5]}
    )
    flat = {1: params[0], 2: params[1][0], 4: params[2]}
    same((both, params), (net, flat), X)
    assert calls(both, params, X) == calls(net, flat, X)


def test_parallel_adds_unless_told_otherwise() -> None:
    plain, adding = fn.parallel(L2, T), fn.parallel(L2, T, merge=fn.add())
    params = made(plain, X)
    same((plain, params), (adding, params), X)


def test_parallel_branches_may_read_several_inputs() -> None:
    both = fn.parallel(fn.subtract(), fn.multiply(), merge=fn.concatenate())
    output, pullback = both.apply.vjp((), X, X + 2)
    np.testing.assert_allclose(output, np.hstack([X - (X + 2), X * (X + 2)]))
    da, db = pullback(np.ones_like(output))[1]
    np.testing.assert_allclose(da, 1 + X + 2)
    np.testing.assert_allclose(db, -1 + X)


def test_a_residual_is_an_edge_past_the_layers() -> None:
    past = fn.residual(L3, T, L2)
    params = made(past, X)
    net = fn.network({0: fn.identity(), 1: L3, 2: T, 3: L2, 4: A}, {0: [4, 1], 1: [2], 2: [3], 3: [4]})
    flat = {1: params[0], 3: params[2]}
    same((past, params), (net, flat), X)
    assert calls(past, params, X) == calls(net, flat, X)


def test_nesting_costs_no_calls() -> None:
    flat = fn.network({1: L3, 2: T, 3: L2, 4: A, 5: L2}, {1: [2], 2: [3], 3: [4, 5], 5: [4]})
    params = made(flat, X)
    inner = fn.network({1: L3, 2: T, 3: L2}, {1: [2], 2: [3]})
    tail = fn.residual(L2)
    nested = fn.network({"net": fn.network({"deep": fn.serial(fn.serial(inner))}, {}), "tail": tail}, {"net": ["tail"]})
    own = {"net": {"deep": (({1: params[1], 3: params[3]},),)}, "tail": (params[5],)}
    same((nested, own), (flat, params), X)
    assert calls(nested, own, X) == calls(flat, params, X)


def test_operators_of_one_input_that_do_nothing_cost_no_calls() -> None:
    plain = fn.network({1: L3}, {})
    padded = fn.network({0: fn.identity(), 1: L3, 2: fn.add(), 3: fn.identity()}, {0: [1], 1: [2], 2: [3]})
    params = made(plain, X)
    assert calls(padded, params, X) == calls(plain, params, X)


def test_a_composition_is_a_layer_like_any_other() -> None:
    layer = fn.residual(fn.parallel(fn.serial(L3, L2), fn.residual(T)), fn.network({1: L2}, {}))
    params, shape = layer.init(fn.key(0), (2,), dtype=np.float64)
    assert shape == (2,)
    again = pickle.loads(pickle.dumps(layer))
    np.testing.assert_array_equal(again.apply(params, X), layer.apply(params, X))
    fn_shapes = [leaf.dtype for leaf in tree.leaves(params)]
    assert set(fn_shapes) == {np.dtype(np.float64)}


def test_layers_of_one_series_are_drawn_apart() -> None:
    params, _ = fn.serial(L2, L2).init(fn.key(0), (2,))
    assert not np.array_equal(params[0].weight, params[1].weight)
    longer, _ = fn.serial(L2, L2, L3).init(fn.key(0), (2,))
    np.testing.assert_array_equal(params[1].weight, longer[1].weight)


@pytest.mark.parametrize("layer", [fn.serial(T, T), fn.parallel(T, T), fn.residual(T, T)])
def test_params_of_what_has_none_may_be_left_out(layer: Any) -> None:
    params, _ = layer.init(fn.key(0), (2,))
    np.testing.assert_array_equal(layer.apply((), X), layer.apply(params, X))
    np.testing.assert_array_equal(layer.apply.vjp((), X)[1](X)[1][0], layer.apply.vjp(params, X)[1](X)[1][0])


@pytest.mark.parametrize("make", [fn.serial, fn.parallel, fn.residual])
def test_what_is_no_layer_is_refused(make: Any) -> None:
    cases: list[tuple[tuple[Any, ...], str]] = [
        ((), "needs at least one layer"),
        ((fn.relu,), r"argument 0 is .*not a layer: call it, fn\.relu\(\.\.\.\)"),
        ((T, 25), "argument 1 is 25 and not a layer"),
        ((T, [T]), "argument 1 is .* and not a layer"),
        ((T, fn.shared(1)), "argument 1 is .* and not a layer"),
        ((fn.network({1: T}, {}, output=[1]), T), "several outputs"),
    ]
    for layers, words in cases:
        with pytest.raises(fn.GraphError, match=words):
            make(*layers)


@pytest.mark.parametrize("make", [fn.serial, fn.residual])
def test_only_the_first_of_a_series_may_take_two_inputs(make: Any) -> None:
    with pytest.raises(
        fn.GraphError, match="subtract takes 2 inputs, but in a series each layer is fed by the one before"
    ):
        make(T, fn.subtract())


def test_a_residual_of_two_inputs_is_refused() -> None:
    with pytest.raises(fn.GraphError, match="subtract takes 2 inputs"):
        fn.residual(fn.subtract())


def test_a_merge_that_is_no_layer_is_refused() -> None:
    with pytest.raises(fn.GraphError, match=r"merge is .*not a layer: call it, fn\.add\(\.\.\.\)"):
        fn.parallel(T, merge=fn.add)  # type: ignore[arg-type]


def test_a_merge_with_params_is_refused() -> None:
    with pytest.raises(fn.GraphError, match=r"merge.*params"):
        fn.parallel(T, merge=L2)  # type: ignore[arg-type]


def test_a_merge_of_the_wrong_number_of_inputs_is_refused() -> None:
    with pytest.raises(fn.GraphError, match="subtract takes 2 inputs, but there are 3 branches"):
        fn.parallel(T, T, T, merge=fn.subtract())


def test_branches_of_different_numbers_of_inputs_are_refused() -> None:
    with pytest.raises(fn.GraphError, match="branch"):
        fn.parallel(fn.subtract(), T)


def test_parallel_takes_as_many_inputs_as_any_of_its_branches() -> None:
    with pytest.raises(fn.ShapeError, match="parallel takes 1 input, but was given 2"):
        fn.parallel(fn.add(), T).apply((), X, X)
    with pytest.raises(fn.GraphError, match=r"operator 2 \(parallel\) takes 1 input, but is fed by {0, 1}"):
        fn.network({0: T, 1: T, 2: fn.parallel(fn.add(), T)}, {0: [2], 1: [2]})


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (fn.residual(L3), r"residual: x has shape \(2,\) and f\(x\) \(3,\)"),
        (fn.parallel(L3, L2), r"\(3,\).*\(2,\)"),
        (fn.serial(T, fn.parallel(L3, L2)), r"\(3,\).*\(2,\)"),
        (fn.serial(MSE, L2), "linear"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_by_init(layer: Any, words: str) -> None:
    shapes = [(2,)] * (layer.apply.arity or 1)
    with pytest.raises(fn.ShapeError, match=words):
        layer.init(fn.key(0), *shapes)


@pytest.mark.parametrize(
    ("layer", "params", "words"),
    [
        (
            fn.serial(L2, T),
            ((), ()),
            r"layer 0 of the series \(linear\): given shape \(6, 2\); its params must be Affine",
        ),
        (fn.serial(L2, T), (), "layer 0 of the series"),
        (fn.serial(L2, T), ((),), "a tuple of 2, one for each layer"),
        (fn.serial(L2, T), [(), ()], "a tuple of 2, one for each layer"),
        (fn.parallel(T, L2), ((), (), ()), "a tuple of 2, one for each layer"),
        (fn.parallel(T, L2), ((), ()), r"branch 1: given shape \(6, 2\); its params must be Affine"),
        (fn.residual(L2), ((),), r"layer 0 of the series \(linear\)"),
        (fn.serial(T), None, "a tuple of 1, one for each layer"),
    ],
)
def test_wrong_params_are_refused(layer: Any, params: Any, words: str) -> None:
    for call in (layer.apply, layer.apply.vjp):
        with pytest.raises(fn.ParamsError, match=words):
            call(params, X)


def test_an_error_inside_a_composition_tells_the_way_to_it() -> None:
    inner = fn.serial(T, fn.network({"deep": L2}, {}))
    net = fn.network({"outer": inner}, {})
    params: Any = {"outer": ((), {"deep": fn.Affine(np.ones((5, 2)), np.ones(2))})}
    for call in (net.apply, net.apply.vjp):
        with pytest.raises(fn.ShapeError) as error:
            call(params, X)
        message = str(error.value)
        places = ["operator 'outer' (serial)", "layer 1 of the series (network)", "operator 'deep' (linear)", "(5, 2)"]
        assert sorted(places, key=message.index) == places
