"""Summaries: what stands in a network, its shapes, its params and its cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from tests.support.cases import CASES, Case

OPERATORS = {1: fn.linear(25), 2: fn.tanh(), 3: fn.linear(25), 4: fn.sigmoid(), 5: fn.add(), 6: fn.linear(2)}
NET = fn.network(OPERATORS, {1: [2], 2: [3, 5], 3: [4], 4: [5], 5: [6], 6: []}, inputs=[1], output=6)

TABLE = """\
operator  kind     inputs  output  parameters  multiply-adds
--------  -------  ------  ------  ----------  -------------
x         input            (2,)
1         linear   x       (25,)           75             50
2         tanh     1       (25,)            0              0
3         linear   2       (25,)          650            625
4         sigmoid  3       (25,)            0              0
5         add      2, 4    (25,)            0              0
6         linear   5       (2,)            52             50
total                      (2,)           777            725"""


def nested() -> fn.Layer[Any, Any]:
    """Every kind of composition, two inputs, two outputs."""
    chain = fn.residual(fn.linear(3), fn.tanh())
    inner = fn.network({"a": fn.linear(3), "b": fn.relu()}, {"a": ["b"]})
    branches = fn.parallel(fn.linear(3), fn.serial(fn.linear(4), fn.linear(5)), merge=fn.concatenate())
    operators: dict[str, Any] = {
        "left": [fn.linear(8), fn.relu()],
        "right": fn.shared("left"),
        "d": fn.subtract(),
        "in": inner,
        "r": chain,
        "p": branches,
    }
    connectivity = {"left": ["d"], "right": ["d"], "d": ["in"], "in": ["r"], "r": ["p"]}
    return fn.network(operators, connectivity, inputs=["left", "right"], output=["p", "d"])


def test_the_table() -> None:
    assert str(fn.summary(NET, (2,))) == TABLE


def test_rows_and_totals_are_typed() -> None:
    found = fn.summary(NET, (2,))
    assert (found.inputs, found.output, found.parameters, found.multiply_adds) == (((2,),), (2,), 777, 725)
    assert [row.path for row in found.rows] == [(key,) for key in OPERATORS]
    assert found.rows[4].inputs == ((2,), (4,))
    assert found.rows[0].inputs == (0,)
    assert found.rows[2].output == (25,)


def test_what_an_operator_is_made_of_comes_right_after_it() -> None:
    found = fn.summary(nested(), (2,), (2,))
    assert ["/".join(map(str, row.path)) for row in found.rows] == [
        *("left", "left/0", "left/1", "right", "right/0", "right/1", "d", "in", "in/a", "in/b"),
        *("r", "r/0", "r/1", "r/add", "p", "p/0", "p/1", "p/1/0", "p/1/1", "p/merge"),
    ]
    by_path = {row.path: row for row in found.rows}
    assert by_path["in", "a"].inputs == (("d",),)
    assert by_path["r", "add"].inputs == (("in",), ("r", 1))
    assert by_path["p", "merge"].inputs == (("p", 0), ("p", 1))
    assert by_path["p",].results == (("p", "merge"),)
    assert by_path["in",].results == (("in", "b"),)
    assert (by_path["p", 1, 0].output, found.output) == ((4,), ((8,), (8,)))
    assert "\n    p/1/0  linear" in str(found)


def test_shared_params_are_counted_once() -> None:
    net = nested()
    params, _ = net.init(fn.key(0), (2,), (2,))
    found = fn.summary(net, (2,), (2,))
    assert found.parameters == sum(leaf.size for leaf in tree.leaves(params))
    assert found.parameters == sum(row.parameters for row in found.rows if len(row.path) == 1)
    assert {row.parameters for row in found.rows if row.path[0] == "right"} == {0}
    assert found.multiply_adds == 2 * 16 + 24 + 9 + 9 + 12 + 20
    assert "right      serial, params of left  x1" in str(found)


def test_what_stands_in_a_shared_network_is_counted_once() -> None:
    inner = fn.network({"a": fn.serial(fn.linear(2), fn.tanh())}, {})
    found = fn.summary(fn.network({1: inner, 2: fn.shared(1)}, {1: [2]}), (2,))
    assert [row.parameters for row in found.rows] == [6, 6, 6, 0, 0, 0, 0, 0]
    assert [row.multiply_adds for row in found.rows] == [4, 4, 4, 0, 4, 4, 4, 0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_operator_has_a_summary(case: Case) -> None:
    layer = case.make()
    params, shape = layer.init(fn.key(0), *case.shapes)
    found = fn.summary(layer, *case.shapes)
    assert (found.output, found.inputs) == (shape, case.shapes)
    assert found.parameters == sum(leaf.size for leaf in tree.leaves(params))
    assert str(found).splitlines()[-1].startswith("total")


@pytest.mark.parametrize(
    ("layer", "shape", "count"),
    [
        (fn.linear(3), (4,), 12),
        (fn.linear(3, use_bias=False), (5, 4), 60),
        (fn.tanh(), (4,), 0),
        (fn.serial(fn.linear(3), fn.linear(2)), (4,), 18),
    ],
)
def test_the_products_of_one_row_are_counted(layer: Any, shape: Any, count: int) -> None:
    assert fn.summary(layer, shape).multiply_adds == count
    assert fn.summary(layer, shape, dtype=np.float64).multiply_adds == count


def test_a_layer_alone_is_its_only_row() -> None:
    found = fn.summary(fn.linear(3), (2,))
    assert found.rows == ((*found.rows[0][:3], (0,), (3,), 9, 6, (), ()),)


def test_keys_that_cannot_be_printed_keep_the_table_in_shape() -> None:
    net = fn.network({"a\nb": fn.tanh(), "": fn.tanh()}, {"a\nb": [""]})
    assert len(str(fn.summary(net, (2,))).splitlines()) == 6
    assert "'a\\nb'" in str(fn.summary(net, (2,)))


def test_what_does_not_fit_is_reported_as_init_tells_it() -> None:
    with pytest.raises(fn.ShapeError, match="the network has 1 input, but init was given 2 shapes"):
        fn.summary(NET, (2,), (2,))
    with pytest.raises(fn.GraphError, match=r"summary: .* call it, fn\.linear"):
        fn.summary(fn.linear, (2,))  # type: ignore[arg-type]


def test_many_operators_are_one_walk() -> None:
    net = fn.network(dict.fromkeys(range(3_000), fn.tanh()), {i: [i + 1] for i in range(2_999)})
    assert len(fn.summary(net, (2,)).rows) == 3_000
