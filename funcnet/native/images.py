"""Convolutions and pools as C: windows that slide over images, whose rows are stored innermost."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from math import prod
from typing import Any

from funcnet.native.writing import Writer, tile_rows
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
from funcnet.tracing.trace import Call, Value
from funcnet.tracing.windows import Window

IMAGES_H = files("funcnet.native").joinpath("images.h").read_text(encoding="utf-8")
WIDEST = 32  # features and elements of a window up to which C's products are the faster ones
LONGEST = 256  # numbers that either of them may have then


def image(e: Writer, value: Value) -> str:
    """An image: its address, lengths and strides."""
    address, (_, *strides) = e.pointer(value)
    return f"(fn_image){{(T *)({address}), {', '.join(map(str, (*value.shape, *strides)))}}}"


def window(given: Window) -> str:
    """A window."""
    pairs = (given.size, given.strides, given.dilation, tuple(before for before, _ in given.padding))
    return f"(fn_window){{{', '.join(f'{{{a}, {b}}}' for a, b in pairs)}}}"


def are_images(e: Writer, *values: Value) -> bool:
    """Whether all are stored with their rows innermost, whole rows of windows in one piece."""
    for value in values:
        rows, _, width, _ = value.shape
        by_row, _, across, _ = e.pointer(value)[1]
        in_pieces = (by_row == 1 or rows == 1) and (across == rows or width == 1)
        if not value.elements or not in_pieces or value.dtype != e.plan.dtype:
            return False
    return True


def is_apart(given: Window, image_shape: tuple[int, ...], windows_shape: tuple[int, ...]) -> int:
    """1 where each element of the image is in one window, else 0."""
    fits = all(windows_shape[1 + i] * given.size[i] == image_shape[1 + i] for i in (0, 1))
    return int(fits and given.size == given.strides and given.dilation == (1, 1) and not any(map(any, given.padding)))


def pool(e: Writer, call: Any) -> bool:
    """The largest element, or the sum, of each window."""
    (x,), y = call.inputs, call.output
    if not are_images(e, x, y):
        return False
    e.scope(call)
    more = "" if call.primitive is WINDOW_MAX else f", {int(call.attributes['mean'])}"
    e.put(f"fn_{call.primitive}({image(e, x)}, {image(e, y)}, {window(call.attributes['window'])}{more});")
    return True


def max_grad(e: Writer, call: Any) -> bool:
    """The cotangent of the largest elements."""
    x, y, _ = call.inputs
    if not are_images(e, *call.inputs, call.output):
        return False
    e.turned = max(e.turned, 2 * x.shape[0])
    e.scope(call)
    given = call.attributes["window"]
    images = ", ".join(image(e, value) for value in (*call.inputs, call.output))
    e.put(f"fn_window_max_grad({images}, {window(given)}, {is_apart(given, x.shape, y.shape)}, fn_turned);")
    return True


def sum_grad(e: Writer, call: Any) -> bool:
    """The cotangent of a sum over windows."""
    (g,), d = call.inputs, call.output
    if not are_images(e, g, d):
        return False
    e.scope(call)
    given = call.attributes["window"]
    options = f"{int(call.attributes['mean'])}, {is_apart(given, d.shape, g.shape)}"
    e.put(f"fn_window_sum_grad({image(e, g)}, {image(e, d)}, {window(given)}, {options});")
    return True


def lower(e: Writer, call: Any) -> bool:
    """The matrices of a convolution."""
    (x,), L = call.inputs, call.output
    if not are_images(e, x) or not L.elements:
        return False
    e.scope(call)
    given = call.attributes["window"]
    _, groups, rows, _, _, across = L.shape
    sizes = f"{groups}, {rows}, {across}, {int(given.rows_overlap)}"
    e.put(f"fn_lower({image(e, x)}, {e.pointer(L)[0]}, {window(given)}, {sizes});")
    return True


def scatter(e: Writer, call: Any) -> bool:
    """What the windows add to the image."""
    (D,), x = call.inputs, call.output
    if not are_images(e, x) or not D.elements:
        return False
    e.scope(call)
    _, groups, down, *_, across = D.shape
    sizes = f"{groups}, {down}, {across}"
    e.put(f"fn_scatter({e.pointer(D)[0]}, {image(e, x)}, {window(call.attributes['window'])}, {sizes});")
    return True


def convolve(e: Writer, call: Any) -> bool:
    """The products of a convolution."""
    (L, weight), y = call.inputs, call.output
    if not are_images(e, y) or not is_small(weight, L.shape[1]):
        return False
    e.scope(call)
    sizes = f"{steps(L, call.attributes['window'], weight)}, {tile_rows(y.shape[3] // L.shape[1])}"
    e.put(f"fn_convolve({e.pointer(L)[0]}, {e.pointer(weight)[0]}, {image(e, y)}, {sizes});")
    return True


def kernel_grad(e: Writer, call: Any) -> bool:
    """The gradient of a kernel."""
    (L, g), weight = call.inputs, call.output
    if not are_images(e, g) or not is_small(weight, L.shape[1]):
        return False
    elements, features, columns = prod(weight.shape[:3]), g.shape[3] // L.shape[1], g.shape[2] * g.shape[0]
    e.turned = max(e.turned, -(-features // 16) * 16 * columns + elements * features)
    e.scope(call)
    sizes = f"{steps(L, call.attributes['window'], weight)}, {tile_rows(elements)}"
    e.put(f"fn_kernel_grad({e.pointer(L)[0]}, {image(e, g)}, {e.pointer(weight)[0]}, fn_turned, {sizes});")
    return True


def spread(e: Writer, call: Any) -> bool:
    """The products that go back through a convolution."""
    (g, weight), D = call.inputs, call.output
    if not are_images(e, g) or not is_small(weight, D.shape[1]):
        return False
    e.scope(call)
    elements = prod(weight.shape[:3])
    sizes = f"{D.shape[1]}, {elements}, {tile_rows(elements)}"
    e.put(f"fn_spread({image(e, g)}, {e.pointer(weight)[0]}, {e.pointer(D)[0]}, {sizes});")
    return True


def steps(L: Value, given: Window, weight: Value) -> str:
    """Groups, elements of a window, and the steps in L from one row of windows, and one group, to the next."""
    rows, groups, lowered_rows, *inner = L.shape
    row = rows * prod(inner)
    return f"{groups}, {prod(weight.shape[:3])}, {given.lowered_step * row}, {lowered_rows * row}"


def is_small(weight: Value, groups: int) -> bool:
    """Whether a product with this kernel is no faster in a large library."""
    fewest, most = sorted((prod(weight.shape[:3]), weight.shape[3] // groups))
    return 0 < fewest < WIDEST and most <= LONGEST


FORMS: dict[str, Callable[[Writer, Call], bool]] = {
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
