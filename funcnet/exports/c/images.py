"""Convolution and pooling as loops in C: one rule a `Primitive` of `tracing.images`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from funcnet.exports.c.writer import Writer
from funcnet.tracing.trace import Call, Value
from funcnet.tracing.windows import Window


def _over(w: Writer, lengths: Mapping[str, int], *lines: str) -> None:
    """Lines within a loop for each index."""
    w.put(*(f"for (int {index} = 0; {index} < {length}; {index}++) {{" for index, length in lengths.items()))
    w.put(*lines, *("}" for _ in lengths))


def _fill(w: Writer, value: Value) -> None:
    """Zeros."""
    indices = "nijklmo"[: value.ndim]
    _over(w, dict(zip(indices, value.shape, strict=True)), f"{w.element(value, indices)} = 0;")


def _image(value: Value, *but: str) -> dict[str, int]:
    """The indices of what has one element for each window and channel."""
    return {index: length for index, length in zip("nijf", value.shape, strict=True) if index not in but}


def _elements(window: Window) -> dict[str, int]:
    """The indices of the elements of a window."""
    return dict(zip("pq", window.size, strict=True))


def _place(window: Window, image: Value) -> list[str]:
    """Where in an image, at row r and column c, element (p, q) of window (i, j) lies, unless that is padding."""
    lines = [
        f"const int {at} = {i} * {window.strides[axis]} + {p} * {window.dilation[axis]} - {window.padding[axis][0]};"
        for axis, (at, i, p) in enumerate((("r", "i", "p"), ("c", "j", "q")))
    ]
    height, width = image.shape[1:3]
    return [*lines, f"if (r < 0 || r >= {height} || c < 0 || c >= {width}) continue;"]


def _lower(w: Writer, call: Call) -> None:
    """L: the image once for each column of the kernel; in its rows windows overlap as they do in the image's."""
    (x,), y, window = call.inputs, call.output, call.attributes["window"]
    row, size = "k", window.size[0]
    if not window.rows_overlap:
        row = f"k / {size} * {window.strides[0]} + k % {size} * {window.dilation[0]}"
    _over(
        w,
        dict(zip("ngkqej", y.shape, strict=True)),
        f"const int r = {row} - {window.padding[0][0]};",
        f"const int c = j * {window.strides[1]} + q * {window.dilation[1]} - {window.padding[1][0]};",
        f"const int inside = r >= 0 && r < {x.shape[1]} && c >= 0 && c < {x.shape[2]};",
        f"{w.element(y, 'ngkqej')} = inside ? {w.element(x, ['n', 'r', 'c', f'(g * {y.shape[4]} + e)'])} : 0;",
    )


def _kernel(lowered: Value, weight: Value, window: Window) -> tuple[dict[str, int], list[str], list[str], str]:
    """(the indices of the kernel and the groups, those into L and into the kernel, that of a feature)."""
    groups, each = lowered.shape[1], weight.shape[3] // lowered.shape[1]
    loops = {"g": groups, **dict(zip("pqef", (*weight.shape[:3], each), strict=True))}
    feature = f"(g * {each} + f)"
    return loops, ["n", "g", f"(i * {window.lowered_step} + p)", "q", "e", "j"], ["p", "q", "e", feature], feature


def _convolve(w: Writer, call: Call) -> None:
    """y += L W"""
    (lowered, weight), y = call.inputs, call.output
    loops, from_lowered, from_weight, feature = _kernel(lowered, weight, call.attributes["window"])
    _fill(w, y)
    product = f"{w.element(lowered, from_lowered)} * {w.element(weight, from_weight)}"
    _over(w, _image(y, "f") | loops, f"{w.element(y, ['n', 'i', 'j', feature])} += {product};")


def _kernel_grad(w: Writer, call: Call) -> None:
    """dW += L g"""
    (lowered, g), y = call.inputs, call.output
    loops, from_lowered, from_weight, feature = _kernel(lowered, y, call.attributes["window"])
    _fill(w, y)
    product = f"{w.element(lowered, from_lowered)} * {w.element(g, ['n', 'i', 'j', feature])}"
    _over(w, _image(g, "f") | loops, f"{w.element(y, from_weight)} += {product};")


def _spread(w: Writer, call: Call) -> None:
    """D = g W: what each element of the window is to add to the image."""
    (g, weight), y = call.inputs, call.output
    each = weight.shape[3] // y.shape[1]
    feature = f"(g * {each} + f)"
    line = f"s += {w.element(g, ['n', 'i', 'j', feature])} * {w.element(weight, ['p', 'q', 'e', feature])};"
    loop = f"for (int f = 0; f < {each}; f++) {line}"
    _over(w, dict(zip("ngipqej", y.shape, strict=True)), f"{w.T} s = 0;", loop, f"{w.element(y, 'ngipqej')} = s;")


def _scatter(w: Writer, call: Call) -> None:
    """Add D up where the windows read the image."""
    (x,), y, window = call.inputs, call.output, call.attributes["window"]
    _fill(w, y)
    line = f"{w.element(y, ['n', 'r', 'c', f'(g * {x.shape[5]} + e)'])} += {w.element(x, 'ngipqej')};"
    _over(w, dict(zip("ngipqej", x.shape, strict=True)), *_place(window, y), line)


def _over_windows(w: Writer, window: Window, image: Value, y: Value, before: list[str], line: str, *after: str) -> None:
    """Lines for each window and channel: before its elements, for each that is no padding, and after them."""
    elements = _elements(window)
    heads = [f"for (int {p} = 0; {p} < {length}; {p}++) {{" for p, length in elements.items()]
    _over(w, _image(y), *before, *heads, *_place(window, image), line, *("}" for _ in heads), *after)


def _window_max(w: Writer, call: Call) -> None:
    """The largest element of each window."""
    (x,), y = call.inputs, call.output
    line = f"s = {w.helper('maximum')}(s, {w.element(x, 'nrcf')});"
    _over_windows(w, call.attributes["window"], x, y, [f"{w.T} s = -INFINITY;"], line, f"{w.element(y, 'nijf')} = s;")


def _window_max_grad(w: Writer, call: Call) -> None:
    """Share g among the elements of its window that are the largest, or NaN."""
    (x, y, g), out, window = call.inputs, call.output, call.attributes["window"]
    element = w.element(x, "nrcf")
    equal = f"{element} == largest || ({element} != {element} && largest != largest)"
    _fill(w, out)
    _over_windows(
        w,
        window,
        x,
        y,
        [f"const {w.T} largest = {w.element(y, 'nijf')};", f"{w.T} count = 0;"],
        f"count += {equal};",
        *(f"for (int {p} = 0; {p} < {length}; {p}++) {{" for p, length in _elements(window).items()),
        *_place(window, x),
        f"if ({equal}) {w.element(out, 'nrcf')} += {w.element(g, 'nijf')} / count;",
        "}",
        "}",
    )


def _window_sum(w: Writer, call: Call) -> None:
    """The sum or the mean of each window, without its padding."""
    (x,), y, mean = call.inputs, call.output, call.attributes["mean"]
    before = [f"{w.T} s = 0;", *[f"{w.T} count = 0;"] * mean]
    line = f"s += {w.element(x, 'nrcf')};" + " count += 1;" * mean
    _over_windows(w, call.attributes["window"], x, y, before, line, f"{w.element(y, 'nijf')} = s{' / count' * mean};")


def _window_sum_grad(w: Writer, call: Call) -> None:
    """Add g, or its share, to all elements of its window."""
    (g,), out, window, mean = call.inputs, call.output, call.attributes["window"], call.attributes["mean"]
    _fill(w, out)
    loops = [f"for (int {p} = 0; {p} < {length}; {p}++) {{" for p, length in _elements(window).items()]
    count = [f"{w.T} count = 0;", *loops, *_place(window, out), "count += 1;", "}", "}"] if mean else []
    share = f"{w.element(g, 'nijf')}{' / count' * mean}"
    _over_windows(w, window, out, g, count, f"{w.element(out, 'nrcf')} += {share};")


RULES: dict[str, Callable[[Writer, Any], None]] = {
    "lower": _lower,
    "convolve": _convolve,
    "kernel_grad": _kernel_grad,
    "spread": _spread,
    "scatter": _scatter,
    "window_max": _window_max,
    "window_max_grad": _window_max_grad,
    "window_sum": _window_sum,
    "window_sum_grad": _window_sum_grad,
}
