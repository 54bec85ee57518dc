"""What layers call beyond NumPy's ufuncs, where the layers that call it do not show it."""

from __future__ import annotations

import numpy as np
import pytest

import funcnet as fn
from funcnet.calls import one_hot, prefix
from funcnet.tracing import Trace


def test_no_labels_make_no_rows() -> None:
    assert one_hot(np.zeros(0, int), np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_is_named(label: int) -> None:
    with pytest.raises(fn.LabelError, match=f"label {label} is none of the 3 classes"):
        one_hot(np.array([0, label]), np.zeros((2, 3)))


def test_an_error_in_a_program_names_the_operator_where_it_is_known() -> None:
    trace = Trace(np.dtype(np.float32), 1)
    assert (prefix(trace), prefix(trace, "embedding")) == ("", "embedding: ")
    trace.scope = "1 linear"
    assert prefix(trace, "embedding") == "1 linear: "
