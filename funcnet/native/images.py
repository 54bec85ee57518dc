"""Convolutions and pools as C: windows that slide over images, stored with their rows innermost."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from math import prod
from typing import Any

from funcnet.native.writing import Writer
from funcnet.tracing.images import (
    CONVOLVE,
    KERNEL_GRAD,
    LOWER,
    SCATTER,
    SPREAD,
    WINDOW_MAX,
    WINDOW_MAX_GRAD,
    WINDOW_SUM,
    WINDOW_SUM_GRAD,
)
from funcnet.tracing.trace import Value
from funcnet.tracing.windows import Window

IMAGES_H = files("funcnet.native").joinpath("images.h").read_text(encoding="utf-8")
WIDEST = 32  # features and elements of a window up to which products in C are faster
LONGEST = 256  # numbers of either operand then


def image(e: Writer, value: Value) -> str:
    """An image: its address, lengths and strides."""
    address, (_, *strides) = e.pointer(value)
    return f"(fn_image){{{address}, {', '.join(map(str, (*value.shape, *strides)))}}}"


def window(given: Window) -> str:
    """A window."""
    pairs = (given.size, given.strides, given.dilation, tuple(before for before, _ in given.padding))
    return f"(fn_window){{{', '.join(f'{{{a}, {b}}}' for a, b in pairs)}}}"


def are_faster(e: Writer, call: Any) -> bool:
    """Whether these loops take less time than NumPy's calls: products only where they are small."""
    values: list[Value] = [*call.operands, call.output]
    images, kernels = ([v for v in values if v.ndim == 4 and v.batch_axis == axis] for axis in (0, None))
    groups = [v.shape[1] for v in values if v.ndim > 4]
    return (
        all(v.elements for v in values)
        and all(is_stored_by_rows(e, v) for v in images)
        and all(is_small(v, n) for v in kernels for n in groups)
    )


def is_stored_by_rows(e: Writer, value: Value) -> bool:
    """Whether an image is stored with its rows innermost, whole rows of windows in one piece."""
    rows, _, width, _ = value.shape
    by_row, _, across, _ = e.strides(value)
    return (by_row == 1 or rows == 1) and (across == rows or width == 1) and value.dtype == e.plan.dtype


def is_apart(given: Window, image_shape: tuple[int, ...], windows_shape: tuple[int, ...]) -> int:
    """1 where each element of the image is in one window, else 0."""
    fits = all(windows_shape[1 + i] * given.size[i] == image_shape[1 + i] for i in (0, 1))
    return int(fits and given.size == given.strides and given.dilation == (1, 1) and not any(map(any, given.padding)))


def pool(e: Writer, call: Any) -> None:
    """The largest element, or the sum, of each window."""
    (x,), y = call.inputs, call.output
    more = "" if call.primitive is WINDOW_MAX else f", {int(call.attributes['mean'])}"
    e.put(f"fn_{call.primitive}({image(e, x)}, {image(e, y)}, {window(call.attributes['window'])}{more});")


def max_grad(e: Writer, call: Any) -> None:
    """The cotangent of the largest elements."""
    x, y, _ = call.inputs
    (share,) = e.scratch(2 * x.shape[0])
    given = call.attributes["window"]
    images = ", ".join(image(e, value) for value in (*call.inputs, call.output))
    e.put(f"fn_window_max_grad({images}, {window(given)}, {is_apart(given, x.shape, y.shape)}, {share});")


def sum_grad(e: Writer, call: Any) -> None:
    """The cotangent of a sum over windows."""
    (g,), d = call.inputs, call.output
    given = call.attributes["window"]
    options = f"{int(call.attributes['mean'])}, {is_apart(given, d.shape, g.shape)}"
    e.put(f"fn_window_sum_grad({image(e, g)}, {image(e, d)}, {window(given)}, {options});")


def lower(e: Writer, call: Any) -> None:
    """The matrices of a convolution."""
    (x,), L = call.inputs, call.output
    given = call.attributes["window"]
    _, groups, rows, _, _, across = L.shape
    sizes = f"{groups}, {rows}, {across}, {int(given.rows_overlap)}"
    e.put(f"fn_lower({image(e, x)}, {e.pointer(L)[0]}, {window(given)}, {sizes});")


def scatter(e: Writer, call: Any) -> None:
    """The cotangents of the windows, added to the image."""
    (D,), x = call.inputs, call.output
    _, groups, down, *_, across = D.shape
    sizes = f"{groups}, {down}, {across}"
    e.put(f"fn_scatter({e.pointer(D)[0]}, {image(e, x)}, {window(call.attributes['window'])}, {sizes});")


def convolve(e: Writer, call: Any) -> None:
    """The products of a convolution."""
    (L, weight), y = call.inputs, call.output
    sizes = steps(L, call.attributes["window"], weight)
    e.put(f"fn_convolve({e.pointer(L)[0]}, {e.pointer(weight)[0]}, {image(e, y)}, {sizes});")


def kernel_grad(e: Writer, call: Any) -> None:
    """The gradient of a kernel."""
    (L, g), weight = call.inputs, call.output
    elements, features, columns = prod(weight.shape[:3]), g.shape[3] // L.shape[1], g.shape[2] * g.shape[0]
    (turned,) = e.scratch(-(-features // 16) * 16 * columns + elements * features)
    sizes = steps(L, call.attributes["window"], weight)
    e.put(f"fn_kernel_grad({e.pointer(L)[0]}, {image(e, g)}, {e.pointer(weight)[0]}, {turned}, {sizes});")


def spread(e: Writer, call: Any) -> None:
    """The products of the backward pass of a convolution."""
    (g, weight), D = call.inputs, call.output
    sizes = f"{D.shape[1]}, {prod(weight.shape[:3])}"
    e.put(f"fn_spread({image(e, g)}, {e.pointer(weight)[0]}, {e.pointer(D)[0]}, {sizes});")


def steps(L: Value, given: Window, weight: Value) -> str:
    """Groups, elements of a window, and the steps in L from one row of windows, and one group, to the next."""
    rows, groups, lowered_rows, *inner = L.shape
    row = rows * prod(inner)
    return f"{groups}, {prod(weight.shape[:3])}, {given.lowered_step * row}, {lowered_rows * row}"


def is_small(weight: Value, groups: int) -> bool:
    """Whether a product with this kernel is no faster in a BLAS."""
    fewest, most = sorted((prod(weight.shape[:3]), weight.shape[3] // groups))
    return 0 < fewest < WIDEST and most <= LONGEST


FORMS: dict[str, Callable[[Writer, Any], None]] = {
    LOWER.name: lower,
    CONVOLVE.name: convolve,
    KERNEL_GRAD.name: kernel_grad,
    SPREAD.name: spread,
    SCATTER.name: scatter,
    WINDOW_MAX.name: pool,
    WINDOW_MAX_GRAD.name: max_grad,
    WINDOW_SUM.name: pool,
    WINDOW_SUM_GRAD.name: sum_grad,
}
