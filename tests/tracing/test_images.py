"""What convolutions and pools record: how images lie, and what their calls cost."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet.tracing.images import IMAGE, LIFT, image
from funcnet.tracing.primitive import COPY
from funcnet.tracing.trace import Trace

F32 = np.dtype(np.float32)


def names(trace: Trace) -> list[str]:
    return [call.primitive.name for call in trace.calls]


def test_an_image_from_outside_is_copied_to_where_images_lie() -> None:
    trace = Trace(F32, 4)
    x = trace.input((4, 5, 6, 2), F32)
    copy = image(x)
    assert names(trace) == [COPY.name]
    assert (copy.order, copy.shape, copy.batch_axis) == (IMAGE, x.shape, 0)


def test_an_image_that_lies_as_images_do_is_left_there() -> None:
    trace = Trace(F32, 4)
    x = image(trace.input((4, 5, 6, 2), F32))
    assert image(x) is x
    one_row = image(trace.input((4, 6, 2), F32)[LIFT])
    lifted = one_row[:, 0][LIFT]
    assert names(trace) == [COPY.name, COPY.name]
    assert image(lifted) is not lifted, "it is a view of a view"


def test_a_sequence_that_lies_as_such_is_an_image_of_one_row() -> None:
    trace = Trace(F32, 4)
    x = trace.input((4, 6, 2), F32)
    sequence = trace.emit(COPY, (x,), x.shape, F32, 0)
    sequence.order = (2, 1, 0)
    lifted = sequence[LIFT]
    assert image(lifted) is lifted
    assert image(x[LIFT]).order == IMAGE


@pytest.mark.parametrize("place", [np.s_[:, 1:], np.s_[:, ::2], np.s_[:, :, :2], np.s_[..., :1]])
def test_a_part_of_an_image_is_copied(place: Any) -> None:
    trace = Trace(F32, 4)
    x = image(trace.input((4, 5, 6, 2), F32))
    part = image(x[place])
    assert names(trace) == [COPY.name, COPY.name]
    assert part.order == IMAGE


@pytest.mark.parametrize("groups", [1, 2])
def test_each_product_of_a_convolution_takes_as_many_multiplications(groups: int) -> None:
    """Forward, by the kernel and by the input: each element of the output meets each of its kernel."""
    net = fn.conv(6, (3, 2), groups=groups)
    params, output = net.init(fn.key(0), (7, 9, 4))
    trace = Trace(F32, 5)
    x, g = trace.input((5, 7, 9, 4), F32), trace.input((5, *output), F32)
    symbols = fn.tree.map(lambda leaf: trace.parameter(leaf.shape), params)
    given: Any = (x,)
    _, pullback = net.apply.run(symbols, given)
    pullback(g)
    found = {call.primitive.name: call.multiply_adds() for call in trace.calls}
    expected = 5 * prod(output) * 3 * 2 * 4 // groups
    assert {name: found[name] for name in ("convolve", "kernel_grad", "spread")} == dict.fromkeys(
        ("convolve", "kernel_grad", "spread"), expected
    )
    assert found["scatter"] == found["lower"] == 0
