"""What layers call beyond NumPy's ufuncs, where the layers that call it do not show it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet.tracing.eager import prefix
from funcnet.tracing.primitives import keep, known_labels, one_hot, pick
from funcnet.tracing.trace import Trace


def test_no_labels_pick_nothing() -> None:
    z, labels = np.zeros((0, 3)), np.zeros(0, int)
    assert pick(z, labels).shape == (0,)
    assert one_hot(labels, z).shape == (0, 3)


@pytest.mark.parametrize(
    ("label", "kind", "classes"),
    [(-1, "i8", 3), (3, "i8", 3), (3, ">i4", 3), (-128, "i1", 300), (-1, "i2", 300), (200, "u1", 200), (7, ">u2", 6)],
)
def test_a_label_that_is_no_class_is_named(label: int, kind: str, classes: int) -> None:
    with pytest.raises(fn.LabelError, match=f"label {label} is none of the {classes} classes"):
        pick(np.zeros((3, classes)), np.array([0, label, 1], kind))


@pytest.mark.parametrize(("kind", "classes"), [("i1", 127), ("u1", 255), ("i1", 300), (">i4", 3), ("<u8", 2)])
def test_labels_of_any_kind_of_integer_find_their_columns(kind: str, classes: int) -> None:
    labels = np.array([0, 1, min(classes, np.iinfo(kind).max) - 1, 0], kind)[::-1]
    found = one_hot(labels, np.zeros((4, classes)))
    np.testing.assert_array_equal(found.argmax(axis=1), labels)
    assert found.sum() == 4
    np.testing.assert_array_equal(pick(found, labels), [1, 1, 1, 1])


def test_labels_of_sequences_pick_along_the_last_axis() -> None:
    x, labels = np.arange(24.0).reshape(2, 3, 4), np.array([[0, 3, 1], [2, 2, 0]])
    expected = np.take_along_axis(x, labels[..., None], -1)
    np.testing.assert_array_equal(pick(x, labels), expected[..., 0])
    np.testing.assert_array_equal(one_hot(labels, x), np.eye(4)[labels])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_is_kept_where_the_weight_is_zero_of_either_sign(dtype: type[np.floating]) -> None:
    x = np.array([[np.nan, 1, np.inf], [2, -np.inf, np.nan]], dtype)
    w = np.array([[0, -1, -0.0], [np.nan, 1e-40, 1]], dtype)
    np.testing.assert_array_equal(keep(x, w), np.array([[0, 1, 0], [2, -np.inf, np.nan]], dtype))
    np.testing.assert_array_equal(keep(x, w[:, :1]), np.array([[0, 0, 0], [2, -np.inf, np.nan]], dtype))


def test_a_label_of_weight_zero_that_is_no_class_becomes_the_first() -> None:
    labels, w = np.array([-100, 7, 2, 5, 0]), np.array([0.0, 0.0, 0.0, 1.0, 0.0])
    np.testing.assert_array_equal(known_labels(labels, w, 3), [0, 0, 2, 5, 0])
    np.testing.assert_array_equal(known_labels(np.array([[-1], [1]]), w[:2, None], 1), [[0], [0]])


def test_known_labels_are_rows_of_the_batch_as_the_labels_are() -> None:
    trace = Trace(np.dtype(np.float32), 4)
    labels, w = trace.input((4, 2), np.dtype(np.intp)), trace.input((4, 1), np.dtype(np.float32))
    assert known_labels(labels, w, 3).batch_axis == labels.batch_axis == 0


def test_joined_and_broadcast_values_keep_the_axis_of_their_rows() -> None:
    trace = Trace(np.dtype(np.float32), 4)
    x: Any = trace.input((4, 2), np.dtype(np.float32))
    weight: Any = trace.parameter((2, 2))
    square: Any = trace.input((4, 4), np.dtype(np.float32))
    joined: Any = np.concatenate([x, x], axis=-1)
    assert (joined.shape, joined.batch_axis) == ((4, 4), 0)
    assert np.concatenate([weight, weight]).shape == (4, 2)
    for values, axis in (([x, x], 0), ([x.T, x.T], 1), ([x, weight], 0), ([weight, x], 0)):
        with pytest.raises(fn.FuncnetError, match="joining rows to rows"):
            np.concatenate(values, axis=axis)
    tall: Any = trace.parameter((4, 2))
    with pytest.raises(fn.FuncnetError, match="joining rows to rows"):
        np.concatenate([square, tall], axis=1)
    wide: Any = np.broadcast_to(x, (3, 4, 2))
    copied: Any = np.broadcast_to(weight, (3, 2, 2))
    assert (wide.shape, wide.batch_axis) == ((3, 4, 2), 1)
    turned: Any = np.broadcast_to(x.T, (3, 2, 4))
    assert turned.batch_axis == 2
    assert np.concatenate([x], axis=1).shape == (4, 2)
    assert (copied.shape, copied.batch_axis) == ((3, 2, 2), None)
    with pytest.raises(fn.ShapeError, match=r"broadcast_to: \(4, 2\) does not broadcast to \(4, 1\)"):
        np.broadcast_to(x, (4, 1))


def test_masks_are_joined_to_masks_as_masks_and_to_numbers_as_numbers() -> None:
    trace = Trace(np.dtype(np.float64), 4)
    x: Any = trace.input((4, 2), np.dtype(np.float64))
    mask: Any = x > 0.0
    of_masks: Any = np.concatenate([mask, mask], axis=1)
    assert (of_masks.dtype, len(trace.calls)) == (bool, 2)
    for pair in ([mask, x], [x, mask]):
        before = len(trace.calls)
        joined: Any = np.concatenate(pair, axis=1)
        times, join = trace.calls[before:]
        assert (times.primitive.name, times.inputs) == ("multiply", (mask, 1.0))
        assert (join.outputs, joined.dtype) == ((joined,), x.dtype)
        assert {id(v) for v in join.inputs} == {id(x), id(times.output)}


def test_an_error_in_a_program_names_the_operator_where_it_is_known() -> None:
    trace = Trace(np.dtype(np.float32), 1)
    x = trace.input((1, 2), trace.dtype)
    assert (prefix(x), prefix(x, "embedding"), prefix(np.ones(2), "embedding")) == ("", "embedding: ", "")
    trace.scope = "1 linear"
    assert prefix(x, "embedding") == "1 linear: "


def test_where_records_a_choice_by_a_mask_alone() -> None:
    trace = Trace(np.dtype(np.float32), 4)
    x: Any = trace.input((4, 2), np.dtype(np.float32))
    y: Any = np.where(x > 0, x, 0.0)
    assert (y.shape, y.dtype, y.batch_axis) == ((4, 2), np.float32, 0)
    mask: Any = trace.input((4, 1), np.dtype(np.bool_))
    assert np.where(mask, 0.0, x).shape == (4, 2)
    for given, words in (((x, x, 0.0), "a mask of bools"), ((x > 0, 1.0, 0.0), "two numbers")):
        with pytest.raises(fn.TracingError, match=words):
            np.where(*given)
    with pytest.raises(fn.DTypeError, match="float64 meets float32"):
        np.where(x > 0, x, np.ones(2))
