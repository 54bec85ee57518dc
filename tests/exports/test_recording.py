"""What is recorded of a network for batches of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet.exports.onnx.recording import OfRows, record, subsets

FLOAT = np.dtype(np.float32)


def numbers(net: fn.Layer[Any, Any], *shapes: fn.Shape) -> list[Any]:
    """The numbers that the calls read."""
    recorded = record(net, net.init(fn.key(0), *shapes)[0], shapes, FLOAT)
    return [x for call in recorded.calls for x in call.inputs if isinstance(x, (int, float, OfRows))]


def times_size(x: Any) -> Any:
    return x * float(x.size), lambda g: g


def test_numbers_that_depend_on_the_rows_are_reported() -> None:
    assert numbers(fn.mse(), (3,), (3,)) == [OfRows(1 / 3, True)]
    assert numbers(fn.mse(reduction="none"), (3,), (3,)) == [1 / 3]
    assert numbers(fn.mse(), (1,), (1,)) == [OfRows(1.0, True)]
    assert numbers(fn.elementwise(times_size), (3,)) == [OfRows(3.0, False)]


@pytest.mark.parametrize(
    ("net", "shapes", "kinds"),
    [
        (fn.linear(2), [(3,)], "f"),
        (fn.identity(), [(3,)], "f"),
        (fn.embedding(4, 2), [(3,)], "i"),
        (fn.softmax_cross_entropy(), [(3,), ()], "fi"),
        (fn.softmax_cross_entropy(), [(5, 3), (5,)], "fi"),
        (fn.softmax_cross_entropy(), [(3,), (3,)], "ff"),
        (fn.softmax_cross_entropy(weighted=True), [(3,), (), ()], "fif"),
    ],
)
def test_labels_are_integers_where_nothing_else_will_do(net: Any, shapes: list[fn.Shape], kinds: str) -> None:
    params, _ = net.init(fn.key(0), *shapes)
    assert "".join(x.dtype.kind for x in record(net, params, shapes, FLOAT).inputs) == kinds


def test_subsets() -> None:
    assert [*subsets([])] == [set()]
    assert [*subsets([1])] == [set(), {1}]
    assert [*subsets([0, 2, 5])] == [set(), {0, 2, 5}, {0}, {2}, {5}, {0, 2}, {0, 5}, {2, 5}]


def test_an_error_is_that_of_labels() -> None:
    net = fn.softmax_cross_entropy()
    with pytest.raises(fn.ShapeError, match=r"logits \(2, 4\) must be rows of classes, and targets \(2, 3\)"):
        record(net, (), [(4,), (3,)], FLOAT)
    table = fn.Table(np.ones(4, np.float32))
    with pytest.raises(fn.ParamsError, match="its table is"):
        record(fn.embedding(4, 2), table, [()], FLOAT)
