"""Convolutions over one axis or two, and transposed ones."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, overload

import numpy as np

from funcnet.advice import of_members
from funcnet.arrays import Array, DType, Shape
from funcnet.core import Layer, Result, layer, unpack
from funcnet.display import shows_call
from funcnet.errors import OptionError, ParamsError, ShapeError
from funcnet.initializers import Initializer, accept_initializer, lecun_normal, zeros
from funcnet.layers.linear import Affine, Weight, drawn
from funcnet.layers.sliding import Padding, Size, Sliding, lifted, lowered_like, sliding
from funcnet.options import count, flag
from funcnet.random import Key, split
from funcnet.tracing.images import convolve, image, kernel_grad, lower, scatter, spread


@overload
def conv(
    features: int,
    kernel_size: Size,
    *,
    strides: Size = 1,
    padding: Padding = "valid",
    dilation: Size = 1,
    groups: int = 1,
    use_bias: Literal[True] = True,
    weight_init: Initializer | None = None,
    bias_init: Initializer | None = None,
) -> Layer[Affine]: ...
@overload
def conv(
    features: int,
    kernel_size: Size,
    *,
    strides: Size = 1,
    padding: Padding = "valid",
    dilation: Size = 1,
    groups: int = 1,
    use_bias: Literal[False],
    weight_init: Initializer | None = None,
) -> Layer[Weight]: ...
@shows_call
def conv(
    features: int,
    kernel_size: Size,
    *,
    strides: Size = 1,
    padding: Padding = "valid",
    dilation: Size = 1,
    groups: int = 1,
    use_bias: bool = True,
    weight_init: Initializer | None = None,
    bias_init: Initializer | None = None,
) -> Layer[Any]:
    """Convolution over one axis or two: the same linear map at every place of a sequence or an image.

    y = sum_k S_k x W_k + b        dW = (S_k x)^T g for each k        db = sum_n g_n
    dx = sum_k S_k^T g W_k^T

    W_k is the matrix (channels, features) of element k of the kernel. S_k x is the element of x that it meets at each
    place o of the output: o stride + k dilation, less the padding. S_k^T adds its argument up at those places.

    kernel_size: (height, width) for images, (length,) or one int for sequences. strides, dilation: ints, or one for
    each axis. padding: zeros around the input, "valid" (none), "same" (so many that ceil(length / stride) places are
    left, an odd one at the end) or a pair (before, after) for each axis.
    groups: the channels and the features are cut into so many parts, and each part of the features reads its own part
    of the channels; as many groups as channels are a depthwise convolution.
    Shapes: (height, width, channels) -> (places down, places across, features); (length, channels) -> (places,
    features). Params: Affine with weight (*kernel_size, channels / groups, features) and bias (features,).
    weight_init, bias_init: initializers, by default `lecun_normal()` and `zeros()`.
    Raises OptionError for bad options, ShapeError for an input with other axes or channels, or smaller than the kernel.
    (LeCun et al. 1989; as in most libraries it is a cross-correlation, which does not flip the kernel)
    """
    options = sliding("conv", kernel_size, strides, padding, dilation)
    features, groups = count("conv: features", features), count("conv: groups", groups)
    if features % groups:
        raise OptionError(f"conv: groups must divide the {features} features, and {groups} does not")
    return _layer("conv", partial(_conv, options, groups), features, options, groups, use_bias, weight_init, bias_init)


@overload
def conv_transpose(
    features: int,
    kernel_size: Size,
    *,
    strides: Size = 1,
    padding: Padding = "valid",
    dilation: Size = 1,
    use_bias: Literal[True] = True,
    weight_init: Initializer | None = None,
    bias_init: Initializer | None = None,
) -> Layer[Affine]: ...
@overload
def conv_transpose(
    features: int,
    kernel_size: Size,
    *,
    strides: Size = 1,
    padding: Padding = "valid",
    dilation: Size = 1,
    use_bias: Literal[False],
    weight_init: Initializer | None = None,
) -> Layer[Weight]: ...
@shows_call
def conv_transpose(
    features: int,
    kernel_size: Size,
    *,
    strides: Size = 1,
    padding: Padding = "valid",
    dilation: Size = 1,
    use_bias: bool = True,
    weight_init: Initializer | None = None,
    bias_init: Initializer | None = None,
) -> Layer[Any]:
    """Transposed convolution, for larger images from smaller ones: the gradient dx of `conv`, with x in place of g.

    y = sum_k S_k^T x W_k^T + b        dW = (S_k g)^T x for each k        db = sum_n g_n        dx = sum_k S_k g W_k

    S_k: as in `conv`.
    Options: those of `conv`; the padding is cut off the output.
    Shapes: (height, width, channels) -> (places down, places across, features); (length, channels) -> (places,
    features). Of n there come (n - 1) stride + (kernel_size - 1) dilation + 1 places, less the padding; n stride with
    "same".
    Params: Affine with weight (*kernel_size, features, channels), the kernel of that `conv`, and bias (features,).
    Raises OptionError for bad options, ShapeError for an input with other axes or channels, or where nothing is left.
    (Zeiler et al. 2010)
    """
    options = sliding("conv_transpose", kernel_size, strides, padding, dilation)
    features = count("conv_transpose: features", features)
    function = partial(_conv_transpose, options)
    return _layer("conv_transpose", function, features, options, None, use_bias, weight_init, bias_init)


def _layer(
    kind: str,
    function: Any,
    features: int,
    options: Sliding,
    groups: int | None,
    use_bias: bool,
    weight_init: Initializer | None,
    bias_init: Initializer | None,
) -> Layer[Any]:
    """The layer of a function and of the shape of its kernel; groups: None where it is that of a transposed one."""
    weights = lecun_normal() if weight_init is None else accept_initializer(f"{kind}: weight_init", weight_init)
    biases = zeros() if bias_init is None else accept_initializer(f"{kind}: bias_init", bias_init)
    params = Affine if flag(f"{kind}: use_bias", use_bias) else Weight
    return layer(kind, partial(function, params), partial(_draw, params, features, options, groups, weights, biases))


def _draw(
    kind: Any,
    features: int,
    options: Sliding,
    groups: int | None,
    weights: Initializer,
    biases: Initializer,
    key: Key,
    shape: Shape,
    dtype: DType,
) -> Any:
    options.check_rank(len(shape) + 1)
    if shape[-1] % (groups or 1):
        raise ShapeError(f"groups must divide the {shape[-1]} channels of the input, and {groups} does not")
    weight_key, bias_key = split(key)
    kernel = drawn(weights, weight_key, (*options.size, shape[-1] // (groups or 1), features), dtype)
    if groups is None:  # drawn as (inputs, outputs), of which initializers count the fans
        kernel = np.ascontiguousarray(kernel.swapaxes(-1, -2))
    return kind(kernel, drawn(biases, bias_key, (features,), dtype)) if kind is Affine else kind(kernel)


def _kernel(kind: Any, options: Sliding, outputs: int, params: Any) -> tuple[Array, Array | None]:
    """The kernel with two axes at least, and the bias, after checking that they fit; outputs: the axis of features."""
    given: Any = unpack(kind, params)
    W, b = given[0], given[1] if kind is Affine else None
    if W.shape[:-2] != options.size:
        form = (
            f"({', '.join(map(str, options.size))}, {'channels, features' if outputs == -1 else 'features, channels'})"
        )
        more = of_members(W.shape, len(options.size) + 2)
        raise ParamsError(f"its weight is {W.shape}, but must be {form}, the axes of the kernel first{more}")
    if b is not None and b.shape != (W.shape[outputs],):
        raise ParamsError(f"its weight is {W.shape} and its bias {b.shape}, but a bias is one number a feature")
    return W[None] if W.ndim == 3 else W, b


def _check_channels(params: Any, channels: int, x: Array) -> None:
    """Refuse an input of another number of channels, which may stand before the other axes."""
    if x.shape[-1] != channels:
        axes = (0, *range(2, x.ndim), 1)
        hint = f": channels come last, x.transpose({axes})" if x.shape[1] == channels else ""
        raise ShapeError(
            f"its weight {params[0].shape} takes {channels} channels, and its input has {x.shape[-1]}{hint}"
        )


def _conv(options: Sliding, groups: int, kind: Any, params: Any, x: Array) -> Result[Any]:
    options.check_rank(x.ndim)
    W, b = _kernel(kind, options, -1, params)
    if W.shape[3] % groups:
        raise ParamsError(
            f"its weight {params[0].shape} has {W.shape[3]} features, which {groups} groups do not divide"
        )
    _check_channels(params, W.shape[2] * groups, x)
    window = options.over(x)
    _, height, width, _ = lifted(x).shape
    lowered = lower(image(lifted(x)), window, groups)
    y = lowered_like(convolve(lowered, W, window, window.output_length(0, height)), x)

    def pullback(g: Array) -> tuple[Any, tuple[Array, ...]]:
        grad = image(lifted(g))
        dx = scatter(spread(grad, W, groups), window, height, width)
        dW = kernel_grad(lowered, grad, window, W)
        return _cotangent(kind, dW, params, g), (lowered_like(dx, x),)

    return y if b is None else y + b, pullback


def _conv_transpose(options: Sliding, kind: Any, params: Any, x: Array) -> Result[Any]:
    options.check_rank(x.ndim)
    W, b = _kernel(kind, options, -2, params)
    _check_channels(params, W.shape[3], x)
    lengths = options.lengths(x.shape[1:-1])
    window = options.window(lengths)
    source = image(lifted(x))
    height, width = (1, *lengths)[-2:]
    y = lowered_like(scatter(spread(source, W, 1), window, height, width), x)

    def pullback(g: Array) -> tuple[Any, tuple[Array, ...]]:
        lowered = lower(image(lifted(g)), window, 1)
        dx = convolve(lowered, W, window, source.shape[1])
        dW = kernel_grad(lowered, source, window, W)
        return _cotangent(kind, dW, params, g), (lowered_like(dx, x),)

    return y if b is None else y + b, pullback


def _cotangent(kind: Any, dW: Array, params: Any, g: Array) -> Any:
    """The cotangent of the params, that of the kernel with the axes it has there."""
    dW = dW if dW.ndim == params[0].ndim else dW[0]
    return kind(dW, g.sum(axis=tuple(range(g.ndim - 1)))) if kind is Affine else kind(dW)
