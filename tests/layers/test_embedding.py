"""Embedding: rows of a table by integers, alone and wherever it may stand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcnet as fn

rng = np.random.default_rng(0)
every_integer = pytest.mark.parametrize("kind", [np.int64, np.int8, np.uint16])


def drawn(layer: fn.Layer[Any, Any], *shapes: fn.Shape, dtype: Any = np.float64) -> Any:
    return layer.init(fn.key(0), *shapes, dtype=dtype)[0]


@every_integer
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_it_takes_rows_of_its_table(shape: tuple[int, ...], kind: Any) -> None:
    layer: fn.Layer[Any, Any] = fn.embedding(5, 4)
    params, output = layer.init(fn.key(0), shape, dtype=np.float64)
    assert output == (*shape, 4)
    i = rng.integers(5, size=(7, *shape)).astype(kind)
    for y in (layer.apply(params, i), fn.serial(layer).apply((params,), i)):
        np.testing.assert_array_equal(y, params.table[i.astype(int)], strict=True)


@pytest.mark.parametrize("rows", [0, 1, 1200])
def test_cotangents_of_one_row_add_up(rows: int) -> None:
    layer: fn.Layer[Any, Any] = fn.embedding(5, 4)
    params = drawn(layer, ())
    i: Any = rng.integers(4, size=rows)
    g = rng.normal(size=(rows, 4))  # the last row is never taken
    _, pullback = layer.apply.vjp(params, i)
    of_params, of_inputs = pullback(g)
    expected = [g[i == row].sum(axis=0) for row in range(5)]
    np.testing.assert_allclose(of_params.table, expected, atol=1e-12)
    assert not of_params.table[4].any()
    assert [*of_inputs] == [None]


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_table_in_any_layout(order: Any) -> None:
    layer: fn.Layer[Any, Any] = fn.embedding(5, 4)
    params = fn.Table(np.array(drawn(layer, ()).table, order=order))
    _, pullback = layer.apply.vjp(params, np.array([3, 3]))
    assert pullback(np.ones((2, 4)))[0].table.sum() == 8


def tokens(rows: int) -> tuple[Any, Any]:
    return rng.integers(6, size=(rows, 3)), rng.normal(size=(rows, 2))


NETS: dict[str, fn.Layer[Any, Any]] = {
    "series": fn.serial(fn.embedding(6, 4), fn.linear(3), fn.mean(1), fn.linear(2)),
    "series behind an identity": fn.serial(fn.identity(), fn.embedding(6, 4), fn.mean(1), fn.linear(2)),
    "branches": fn.parallel(
        fn.serial(fn.embedding(6, 2), fn.mean(1)), fn.serial(fn.embedding(6, 4), fn.max(1), fn.linear(2))
    ),
    "network": fn.network(
        {"in": fn.identity(), "a": fn.embedding(6, 4), "b": fn.embedding(6, 4), "out": fn.multiply(),
         "y": [fn.flatten(), fn.linear(2)]},
        {"in": ["a", "b"], "a": ["out"], "b": ["out"], "out": ["y"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("rows", [1, 4, 2500])
def test_a_program_with_integers_gives_the_gradient_of_the_function(name: str, rows: int) -> None:
    net = NETS[name]
    i, target = tokens(rows)
    params = drawn(net, (3,))
    output, pullback = net.apply.vjp(params, i)
    np.testing.assert_allclose(net.apply(params, i), output, rtol=1e-12, atol=1e-13)
    loss, back = fn.mse().apply.vjp((), output, target)
    of_params, of_inputs = pullback(back(1.0)[1][0])
    assert [*of_inputs] == [None]
    found_loss, found = fn.value_and_grad(net, fn.mse())(params, i, target)
    np.testing.assert_allclose(found_loss, loss, rtol=1e-12)
    for a, b in zip(fn.tree.leaves(found), fn.tree.leaves(of_params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)


def test_an_operator_before_the_labels_may_have_an_entry_of_no_params() -> None:
    net, (i, target) = NETS["network"], tokens(4)
    params = drawn(net, (3,))
    found = fn.value_and_grad(net, fn.mse())({"in": (), **params}, i, target)[1]
    wanted = fn.value_and_grad(net, fn.mse())(params, i, target)[1]
    assert found.pop("in") == ()
    for a, b in zip(fn.tree.leaves(found), fn.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("wrong", [5, -1, 100])
def test_an_integer_out_of_range_is_named(wrong: int) -> None:
    layer: fn.Layer[Any, Any] = fn.embedding(5, 4)
    params = drawn(layer, ())
    words = f"index {wrong} is none of the 5 rows of the table, which are numbered 0 to 4"
    for apply, own in ((layer.apply, params), (fn.serial(layer).apply, (params,))):
        for i in ([0, wrong, 2], [wrong], [4, wrong, wrong, 1], [wrong, -2, 6]):
            with pytest.raises(fn.LabelError, match=words):
                apply(own, np.array(i))
        assert apply(own, np.array([0, 4, 2])).shape == (3, 4)


def test_floating_numbers_are_refused() -> None:
    layer: fn.Layer[Any, Any] = fn.embedding(5, 4)
    with pytest.raises(fn.DTypeError, match=r"its input has dtype float64, but must be integers: cast it, x\.astype"):
        layer.apply(drawn(layer, ()), np.zeros(3))


@pytest.mark.parametrize("net", [fn.serial(fn.identity(), fn.linear(2)), fn.parallel(fn.identity(), fn.linear(2))])
def test_integers_do_not_pass_through_an_identity_to_what_takes_none(net: fn.Layer[Any, Any]) -> None:
    with pytest.raises(fn.DTypeError, match="input 0 has dtype int64"):
        net.apply.vjp(drawn(net, (2,)), np.ones((3, 2), int))


@pytest.mark.parametrize("option", ["vocabulary", "features"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True, None])
def test_sizes_are_positive_ints(option: str, value: Any) -> None:
    sizes: dict[str, Any] = {"vocabulary": 5, "features": 4, option: value}
    with pytest.raises(fn.OptionError, match=f"embedding: {option} must be an int of at least 1, not"):
        fn.embedding(**sizes)


def test_its_initializer_can_be_chosen() -> None:
    layer = fn.embedding(5, 4, table_init=fn.constant(2.0))
    assert (drawn(layer, ()).table == 2).all()
    assert np.std(drawn(fn.embedding(100, 100), ()).table) == pytest.approx(1.0, rel=0.05)


def test_params_that_do_not_fit_are_refused() -> None:
    layer: fn.Layer[Any, Any] = fn.embedding(5, 4)
    with pytest.raises(fn.ParamsError, match=r"its table is \(4,\), but must be \(vocabulary, features\)"):
        layer.apply(fn.Table(np.ones(4)), np.array([0]))
    with pytest.raises(fn.ParamsError, match=r"its params must be Table\(table\)"):
        layer.apply(fn.Weight(np.ones((5, 4))), np.array([0]))


@pytest.mark.parametrize("shapes", [(), ((), ())])
def test_it_takes_one_shape(shapes: Any) -> None:
    with pytest.raises(fn.ShapeError, match=f"embedding takes 1 input, but init was given {len(shapes)} shapes"):
        fn.embedding(3, 2).init(fn.key(0), *shapes)
