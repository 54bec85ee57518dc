"""What layers call beyond NumPy's ufuncs, where the layers that call it do not show it."""

from __future__ import annotations

import numpy as np
import pytest

import funcnet as fn
from funcnet.calls import one_hot, prefix
from funcnet.tracing import Trace


def test_no_labels_make_no_rows() -> None:
    assert one_hot(np.zeros(0, int), np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize(
    ("label", "kind", "classes"),
    [(-1, "i8", 3), (3, "i8", 3), (3, ">i4", 3), (-128, "i1", 300), (-1, "i2", 300), (200, "u1", 200), (7, ">u2", 6)],
)
def test_a_label_that_is_no_class_is_named(label: int, kind: str, classes: int) -> None:
    with pytest.raises(fn.LabelError, match=f"label {label} is none of the {classes} classes"):
        one_hot(np.array([0, label, 1], kind), np.zeros((3, classes)))


@pytest.mark.parametrize(("kind", "classes"), [("i1", 127), ("u1", 255), ("i1", 300), (">i4", 3), ("<u8", 2)])
def test_labels_of_any_kind_of_integer_find_their_columns(kind: str, classes: int) -> None:
    labels = np.array([0, 1, min(classes, np.iinfo(kind).max) - 1, 0], kind)[::-1]
    found = one_hot(labels, np.zeros((4, classes)))
    np.testing.assert_array_equal(found.argmax(axis=1), labels)
    assert found.sum() == 4


def test_an_error_in_a_program_names_the_operator_where_it_is_known() -> None:
    trace = Trace(np.dtype(np.float32), 1)
    assert (prefix(trace), prefix(trace, "embedding")) == ("", "embedding: ")
    trace.scope = "1 linear"
    assert prefix(trace, "embedding") == "1 linear: "
