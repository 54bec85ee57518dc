"""The calls of convolutions and pools, for arrays and for values, which record them.

An image is (rows, height, width, channels), a kernel (height, width, channels of a group, features).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from funcnet.arrays import Shape
from funcnet.tracing import kernels, windows
from funcnet.tracing.eager import call
from funcnet.tracing.forms import Attributes
from funcnet.tracing.primitive import COPY, Primitive
from funcnet.tracing.shapes import Slice
from funcnet.tracing.trace import Value
from funcnet.tracing.windows import Window

IMAGE = (3, 1, 2, 0)
"""The axes of an image in the order of memory, the outermost first."""
LIFT = (slice(None), None)
"""The index that makes an image of height 1 of a sequence."""


def convolve_cost(operands: Sequence[Shape], output: Shape, attributes: Attributes) -> int:
    """Each element of the output takes a product with the kernel of one feature."""
    return prod(operands[1][:3]) * prod(output)


def kernel_grad_cost(operands: Sequence[Shape], output: Shape, attributes: Attributes) -> int:
    """The cost of the convolution itself."""
    return prod(output[:3]) * prod(operands[1])


def spread_cost(operands: Sequence[Shape], output: Shape, attributes: Attributes) -> int:
    """Each element of the image, times each element that its channel meets in the kernel."""
    image, kernel = operands
    return prod(kernel[:3]) * prod(image)


LOWER = Primitive("lower", windows.lower)
CONVOLVE = Primitive("convolve", windows.product, multiply_adds=convolve_cost)
KERNEL_GRAD = Primitive("kernel_grad", kernels.weight_grad, sums_rows=True, multiply_adds=kernel_grad_cost)
SPREAD = Primitive("spread", windows.spread, multiply_adds=spread_cost)
SCATTER = Primitive("scatter", windows.scatter)
WINDOW_MAX = Primitive("window_max", windows.maximum)
WINDOW_MAX_GRAD = Primitive("window_max_grad", windows.maximum_grad)
WINDOW_SUM = Primitive("window_sum", windows.total)
WINDOW_SUM_GRAD = Primitive("window_sum_grad", windows.total_grad)


def image(x: Any) -> Any:
    """The image, stored with its rows innermost: a copy where it is not."""
    if isinstance(x, Value):
        base = x.base if isinstance(x.view, Slice) and x.view.index == LIFT else x
        if base is not None and base.order is not None:
            return x
        copy = x.trace.emit(COPY, (x,), x.shape, x.dtype, 0)
        copy.order = IMAGE
        return copy
    return np.ascontiguousarray(x.transpose(IMAGE)).transpose(IMAGE)


def lower(x: Any, window: Window, groups: int) -> Any:
    """The lowered image L: (rows, groups, lowered rows, kernel width, channels of a group, output width)."""
    n, height, width, channels = x.shape
    count = window.output_length(0, height)
    shape = (n, groups, window.lowered_rows(count), window.size[1], channels // groups, window.output_length(1, width))
    return made(LOWER, (x,), shape, (1, 2, 3, 4, 5, 0), window=window)


def convolve(lowered: Any, weight: Any, window: Window, height: int) -> Any:
    """y = sum over each window of x W, from L; height is that of the output."""
    shape = (lowered.shape[0], height, lowered.shape[5], weight.shape[3])
    return made(CONVOLVE, (lowered, weight), shape, IMAGE, window=window)


def kernel_grad(lowered: Any, g: Any, window: Window, like: Any) -> Any:
    """dW = sum over all windows of x^T g, from L, in the shape of the kernel `like`."""
    return made(KERNEL_GRAD, (lowered, g), like.shape, None, window=window)


def spread(g: Any, weight: Any, groups: int) -> Any:
    """D (rows, groups, height, kernel height, kernel width, channels, width): g W^T, for each element of the window."""
    n, height, width, _ = g.shape
    shape = (n, groups, height, *weight.shape[:3], width)
    return made(SPREAD, (g, weight), shape, (1, 2, 3, 4, 5, 6, 0))


def scatter(spreaded: Any, window: Window, height: int, width: int) -> Any:
    """D added up where the windows lie in an image of that height and width."""
    n, groups, *_, channels, _ = spreaded.shape
    return made(SCATTER, (spreaded,), (n, height, width, groups * channels), IMAGE, window=window)


def window_max(x: Any, window: Window) -> Any:
    """The largest element of each window, without padding."""
    return made(WINDOW_MAX, (x,), pooled(x.shape, window), IMAGE, window=window)


def window_max_grad(x: Any, y: Any, g: Any, window: Window) -> Any:
    """g, shared among the largest elements of its window."""
    return made(WINDOW_MAX_GRAD, (x, y, g), x.shape, IMAGE, window=window)


def window_sum(x: Any, window: Window, *, mean: bool) -> Any:
    """The sum, or the mean, of each window, without padding."""
    return made(WINDOW_SUM, (x,), pooled(x.shape, window), IMAGE, window=window, mean=mean)


def window_sum_grad(g: Any, window: Window, height: int, width: int, *, mean: bool) -> Any:
    """g, or its share, added to all elements of its window in an image of that height and width."""
    shape = (g.shape[0], height, width, g.shape[3])
    return made(WINDOW_SUM_GRAD, (g,), shape, IMAGE, window=window, mean=mean)


def pooled(shape: Shape, window: Window) -> Shape:
    """The shape of an array with one element for each window and channel."""
    return shape[0], window.output_length(0, shape[1]), window.output_length(1, shape[2]), shape[3]


def made(
    primitive: Primitive, operands: tuple[Any, ...], shape: Shape, order: tuple[int, ...] | None, **attributes: Any
) -> Any:
    """The output of the call. order: of its axes in memory, the outermost first; None for a kernel."""
    dtype = np.result_type(*(x.dtype for x in operands))
    return call(primitive, operands, shape, dtype, None if order is None else 0, order=order, **attributes)
