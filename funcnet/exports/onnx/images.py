"""What the primitives of images are in ONNX, where channels come before height and width.

A convolution is two calls, of which the first names its input and the second writes the node. ONNX Runtime has none of
these operators in float64, but for the largest of a window.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from funcnet.errors import ExportError
from funcnet.exports.onnx.recording import located
from funcnet.exports.onnx.writer import Writer
from funcnet.tracing import images
from funcnet.tracing.primitive import Primitive
from funcnet.tracing.trace import Call
from funcnet.tracing.windows import Window

Rule: TypeAlias = Callable[[Writer, Call], str]


def channels_first(w: Writer, call: Call) -> str:
    """The image with its channels before height and width."""
    if w.dtype != np.float32 and call.primitive is not images.WINDOW_MAX:
        raise ExportError(
            f"{located(call.scope)}ONNX Runtime has no convolutions and no average pools in {w.dtype}: give params in "
            "float32, fn.tree.map(lambda p: p.astype('float32'), params)"
        )
    return w.node("Transpose", w.floating(call.inputs[0]), perm=[0, 3, 1, 2])


def channels_last(w: Writer, name: str) -> str:
    """The image as funcnet has it."""
    return w.node("Transpose", name, perm=[0, 2, 3, 1])


def sliding(window: Window) -> dict[str, tuple[int, ...]]:
    """The attributes of a window."""
    (top, bottom), (left, right) = window.padding
    return {"kernel_shape": window.size, "strides": window.strides, "pads": (top, left, bottom, right)}


def convolve(w: Writer, call: Call) -> str:
    """Conv, whose kernel is (features, channels of a group, height, width)."""
    lowered, weight = call.operands
    window = call.attributes["window"]
    kernel = w.node("Transpose", w.read(weight), perm=[3, 2, 0, 1])
    attributes = {**sliding(window), "dilations": window.dilation, "group": lowered.shape[1]}
    return channels_last(w, w.node("Conv", w.read(lowered), kernel, **attributes))


def scatter(w: Writer, call: Call) -> str:
    """ConvTranspose, whose kernel is (channels, features, height, width)."""
    (spread,) = call.operands
    made_by = spread.call
    assert made_by is not None
    window: Window = call.attributes["window"]
    kernel = w.node("Transpose", w.read(made_by.operands[1]), perm=[3, 2, 0, 1])
    places = (spread.shape[2], spread.shape[6])
    more = [
        call.output.shape[1 + axis] + sum(window.padding[axis]) - (places[axis] - 1) * step - window.extent(axis)
        for axis, step in enumerate(window.strides)
    ]
    attributes = {**sliding(window), "dilations": window.dilation, "output_padding": more}
    return channels_last(w, w.node("ConvTranspose", w.read(spread), kernel, **attributes))


def pool(kind: str) -> Rule:
    """MaxPool or AveragePool, whose padding does not count."""

    def rule(w: Writer, call: Call) -> str:
        return channels_last(w, w.node(kind, channels_first(w, call), **sliding(call.attributes["window"])))

    return rule


def repeat(w: Writer, call: Call) -> str:
    """Each element as often as its window is large: in new axes, which are then joined to their neighbours."""
    (x,), (down, across) = call.operands, call.attributes["window"].size
    _, height, width, channels = x.shape
    apart = w.node("Reshape", w.floating(x), w.integers(0, height, 1, width, 1, channels))
    copies = w.node("Expand", apart, w.integers(1, 1, down, 1, across, 1))
    return w.node("Reshape", copies, w.integers(0, height * down, width * across, channels))


RULES: dict[Primitive, Rule] = {
    images.LOWER: channels_first,
    images.CONVOLVE: convolve,
    images.SPREAD: channels_first,
    images.SCATTER: scatter,
    images.WINDOW_MAX: pool("MaxPool"),
    images.WINDOW_SUM: pool("AveragePool"),
    images.WINDOW_SUM_GRAD: repeat,
}
"""The rules of what a forward pass records: a sum of windows is a mean there, its gradient an enlarged image."""
