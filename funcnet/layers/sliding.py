"""The options of windows that slide over one axis or two, and the images that they fit."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias, cast

from funcnet.advice import ALL_TIMES
from funcnet.arrays import Array, Shape
from funcnet.errors import OptionError, ShapeError
from funcnet.options import as_int, count, listed, natural
from funcnet.tracing.images import LIFT
from funcnet.tracing.windows import Window

Size: TypeAlias = int | tuple[int, ...]
Padding: TypeAlias = str | tuple[tuple[int, int], ...]


class Sliding(NamedTuple):
    """A window over one axis or two, whose padding may depend on the input: one number, or pair, an axis."""

    size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: Padding

    def window(self, lengths: Shape) -> Window:
        """The window over an input, or, for a transposed convolution, an output of these lengths."""
        pads = self.padding
        if pads == "valid":
            pads = ((0, 0),) * len(self.size)
        elif isinstance(pads, str):
            pads = tuple(map(_same, lengths, self.size, self.strides, self.dilation))
        size, strides, dilation, padding = (
            cast("Any", option if len(option) == 2 else (of_one, *option))
            for option, of_one in ((self.size, 1), (self.strides, 1), (self.dilation, 1), (pads, (0, 0)))
        )
        return Window(size, strides, dilation, padding)

    def over(self, x: Array) -> Window:
        """The window over this input, after checking that it fits."""
        self.check_rank(x.ndim)
        window = self.window(x.shape[1:-1])
        image = lifted(x)
        for axis in (0, 1):
            length, pads = image.shape[1 + axis], window.padding[axis]
            if not window.output_length(axis, length):
                padded = f" and {sum(pads)} of padding" if sum(pads) else ""
                smaller = "kernel_size or dilation" if max(self.dilation) > 1 else "kernel_size"
                raise ShapeError(
                    f"its window reaches over {window.extent(axis)} elements, but the input {x.shape} has only "
                    f"{length}{padded} along that axis: take a smaller {smaller}, or padding='same'"
                )
        return window

    def lengths(self, lengths: Shape) -> Shape:
        """The lengths of the input of which windows at so many places read all: the output of a transposed one."""
        if self.padding == "same":
            return tuple(n * step for n, step in zip(lengths, self.strides, strict=True))
        cut = (0,) * len(lengths) if isinstance(self.padding, str) else tuple(map(sum, self.padding))
        found = tuple(
            (n - 1) * step + (size - 1) * dilation + 1 - out
            for n, step, size, dilation, out in zip(lengths, self.strides, self.size, self.dilation, cut, strict=True)
        )
        if min(lengths) < 1:
            raise ShapeError(f"an input with lengths {lengths} has no elements: give at least one along each axis")
        if min(found) < 1:
            raise ShapeError(f"of an input with lengths {lengths} nothing is left but {found}: take less padding")
        return found

    def check_rank(self, ndim: int) -> None:
        """Refuse an input that lacks the batch or the channels."""
        axes = len(self.size)
        if ndim != axes + 2:
            form = "(rows, length, channels)" if axes == 1 else "(rows, height, width, channels)"
            hints = {
                2: f"put a reshape before it, such as fn.reshape({'length, 1' if axes == 1 else 'height, width, 1'})",
                axes + 1: "one row alone is x[None], one channel alone x[..., None]",
                axes + 3: "shapes for init are those of one row",
            }
            if axes == 1:
                hints[2] += f", and {ALL_TIMES}"
            if axes == 1 and ndim == 4:
                hints[4] = "for images give a number for each of the two axes, such as (3, 3)"
            hint = f": {hints[ndim]}" if ndim in hints else ""
            raise ShapeError(
                f"it slides over {axes} {'axis' if axes == 1 else 'axes'}, so it takes {form}, not {ndim} axes{hint}"
            )


def _same(length: int, size: int, stride: int, dilation: int) -> tuple[int, int]:
    """The padding for ceil(length / stride) windows, an odd one at the end."""
    missing = max(0, (-(-length // stride) - 1) * stride + (size - 1) * dilation + 1 - length)
    return missing // 2, missing - missing // 2


def lifted(x: Any) -> Any:
    """The input as an image, of height 1 if it has one axis."""
    return x[LIFT] if x.ndim == 3 else x


def lowered_like(y: Any, x: Any) -> Any:
    """The image without the height of 1 that `lifted` gave x."""
    return y[:, 0] if x.ndim == 3 else y


def sliding(
    kind: str, kernel_size: Size, strides: Size, padding: Padding, dilation: Size = 1, *, name: str = "kernel_size"
) -> Sliding:
    """The options, checked; name: that of the size."""
    numbers: list[Any] = [kernel_size] if as_int(kernel_size) is not None else items(kernel_size)
    if len(numbers) not in (1, 2):
        raise OptionError(f"{kind}: {name} must be one int or two, one for each axis, not {kernel_size!r}")
    size = tuple(count(f"{kind}: {name}", n) for n in numbers)
    axes = len(size)
    return Sliding(
        size, each(kind, "strides", strides, axes), each(kind, "dilation", dilation, axes), pads(kind, padding, axes)
    )


def each(kind: str, name: str, value: Size, axes: int) -> tuple[int, ...]:
    """One int of at least 1 for each axis; one alone is that of all."""
    numbers: list[Any] = [value] * axes if as_int(value) is not None else items(value)
    if len(numbers) != axes:
        raise OptionError(f"{kind}: {name} must be an int, or one for each of the {axes} axes, not {value!r}")
    return tuple(count(f"{kind}: {name}", n) for n in numbers)


def pads(kind: str, padding: Padding, axes: int) -> Padding:
    """'valid', 'same' or a pair of ints for each axis."""
    if isinstance(padding, str) and padding in ("valid", "same"):
        return padding
    pairs = [items(pair) for pair in items(padding)]
    if len(pairs) != axes or any(len(pair) != 2 for pair in pairs):
        example = "((1, 1), (2, 0))" if axes == 2 else "((1, 0),)"
        raise OptionError(
            f"{kind}: padding must be 'valid', 'same' or a pair (before, after) for each axis, such as {example}, "
            f"not {padding!r}{_meant(padding, axes)}"
        )
    return tuple((natural(f"{kind}: padding", a), natural(f"{kind}: padding", b)) for a, b in pairs)


def _meant(padding: Any, axes: int) -> str:
    """What another library's padding is here: a name in capitals, one int, or one for each axis."""
    if isinstance(padding, str) and padding.lower() in ("valid", "same"):
        return f", did you mean {padding.lower()!r}?"
    numbers = [as_int(n) for n in (items(padding) or [padding] * axes)]
    if len(numbers) == axes and None not in numbers:
        return f", did you mean {tuple((n, n) for n in numbers)}?"
    return ""


def items(value: Any) -> list[Any]:
    """The items of a tuple, a list or an array; none of anything else."""
    found: Any = listed(value)
    return [*found] if isinstance(found, (tuple, list)) else []
