"""The largest or the average element of windows over one axis or two, and the enlarging of images."""

from __future__ import annotations

from functools import partial

from funcnet.arrays import Array
from funcnet.core import Layer, NoParams, Result, layer
from funcnet.display import shows_call
from funcnet.errors import OptionError, ShapeError
from funcnet.layers.sliding import Padding, Size, Sliding, lifted, lowered_like, sliding
from funcnet.tracing.images import image, window_max, window_max_grad, window_sum, window_sum_grad


@shows_call
def max_pool(kernel_size: Size, *, strides: Size | None = None, padding: Padding = "valid") -> Layer[NoParams]:
    """The largest element of each window of a sequence or an image, channel by channel.

    y = max_k S_k x        dx = sum_k S_k^T [S_k x = y] g / m, m = sum_k [S_k x = y]

    S_k x is element k of each window; S_k^T adds its argument up at those places. Equal elements share the gradient;
    in PyTorch and JAX the first of them gets all of it. NaN counts as larger than any number: y of its window is NaN,
    and the gradient goes to it, as in PyTorch; several NaN share it.
    kernel_size: (height, width) for images, (length,) or one int for sequences. strides: kernel_size if None.
    padding: as in `conv`, but a padded element is never the largest.
    Shapes: (height, width, channels) -> (places down, places across, channels); (length, channels) likewise.
    Raises OptionError for bad options, ShapeError for an input with other axes or smaller than the window.
    """
    return layer("max_pool", partial(_max_pool, _pool("max_pool", kernel_size, strides, padding)))


@shows_call
def avg_pool(kernel_size: Size, *, strides: Size | None = None, padding: Padding = "valid") -> Layer[NoParams]:
    """The average of each window of a sequence or an image, channel by channel.

    y = sum_k S_k x / m        dx = sum_k S_k^T (g / m)

    m is the number of elements of a window without its padding; S_k: as in `max_pool`.
    Options: those of `max_pool`.
    Shapes: (height, width, channels) -> (places down, places across, channels); (length, channels) likewise.
    Raises OptionError and ShapeError as `max_pool` does.
    """
    return layer("avg_pool", partial(_avg_pool, _pool("avg_pool", kernel_size, strides, padding)))


@shows_call
def upsample(factor: Size) -> Layer[NoParams]:
    """A larger sequence or image, in which each element is repeated: its nearest neighbours.

    y = sum_k S_k^T x        dx = sum_k S_k g

    S_k: as in `max_pool`, of windows as large as factor, side by side.
    factor: (down, across) for images, (times,) or one int for sequences, each at least 1.
    Shapes: (height, width, channels) -> (height * down, width * across, channels); (length, channels) likewise.
    Raises OptionError for another factor, ShapeError for an input with other axes.
    """
    return layer("upsample", partial(_upsample, sliding("upsample", factor, 1, "valid", name="factor")))


def _pool(kind: str, kernel_size: Size, strides: Size | None, padding: Padding) -> Sliding:
    """The options, checked; a window must not lie in the padding alone."""
    options = sliding(kind, kernel_size, kernel_size if strides is None else strides, padding)
    for size, pair in zip(options.size, () if isinstance(options.padding, str) else options.padding, strict=False):
        if max(pair) >= size:
            raise OptionError(f"{kind}: padding {pair} must be smaller than the kernel_size {size}")
    return options


def _max_pool(options: Sliding, params: NoParams, x: Array) -> Result[NoParams]:
    window = options.over(x)
    source = image(lifted(x))
    y = window_max(source, window)

    def pullback(g: Array) -> tuple[NoParams, tuple[Array, ...]]:
        return (), (lowered_like(window_max_grad(source, y, lifted(g), window), x),)

    return lowered_like(y, x), pullback


def _avg_pool(options: Sliding, params: NoParams, x: Array) -> Result[NoParams]:
    window = options.over(x)
    source = image(lifted(x))
    _, height, width, _ = source.shape

    def pullback(g: Array) -> tuple[NoParams, tuple[Array, ...]]:
        return (), (lowered_like(window_sum_grad(lifted(g), window, height, width, mean=True), x),)

    return lowered_like(window_sum(source, window, mean=True), x), pullback


def _upsample(options: Sliding, params: NoParams, x: Array) -> Result[NoParams]:
    options.check_rank(x.ndim)
    if not min(x.shape[1:-1]):
        raise ShapeError(f"the input {x.shape} has an axis without elements")
    window = options._replace(strides=options.size).window(x.shape[1:-1])
    source = image(lifted(x))
    _, height, width, _ = source.shape
    y = window_sum_grad(source, window, height * window.size[0], width * window.size[1], mean=False)

    def pullback(g: Array) -> tuple[NoParams, tuple[Array, ...]]:
        return (), (lowered_like(window_sum(lifted(g), window, mean=False), x),)

    return lowered_like(y, x), pullback
