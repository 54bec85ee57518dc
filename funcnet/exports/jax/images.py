"""What the primitives of images are in JAX.

A convolution is two calls, of which the first hands its operands on to the second: XLA has its own form of the product.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from funcnet.tracing import images
from funcnet.tracing.primitive import Primitive
from funcnet.tracing.trace import Call, Value
from funcnet.tracing.windows import Window, share_of_each

Rule: TypeAlias = Callable[..., Any]

jax: Any = importlib.import_module("jax")
jnp: Any = importlib.import_module("jax.numpy")
lax: Any = importlib.import_module("jax.lax")


def _lower(call: Call, x: Any) -> Any:
    return x


def _spread(call: Call, g: Any, W: Any) -> Any:
    return g, W


def _convolution(window: Window, groups: int, x: Any, W: Any) -> Any:
    """The convolution itself, in the dtype of its kernel."""
    return lax.conv_general_dilated(
        x,
        W,
        window.strides,
        window.padding,
        rhs_dilation=window.dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _convolve(call: Call, x: Any, W: Any) -> Any:
    return _convolution(call.attributes["window"], call.operands[0].shape[1], x, W)


def _kernel_grad(call: Call, x: Any, g: Any) -> Any:
    window, groups = call.attributes["window"], call.operands[0].shape[1]

    def of_kernel(W: Any) -> Any:
        return _convolution(window, groups, x, W)

    _, pull = jax.vjp(of_kernel, jnp.zeros(call.output.shape, g.dtype))
    return pull(g)[0]


def _scatter(call: Call, spread: Any) -> Any:
    (g, W), window, groups = spread, call.attributes["window"], call.operands[0].shape[1]

    def of_input(x: Any) -> Any:
        return _convolution(window, groups, x, W)

    _, pull = jax.vjp(of_input, jnp.zeros(call.output.shape, g.dtype))
    return pull(g)[0]


def _reduced(window: Window, x: Any, start: float, function: Any) -> Any:
    """Each window made one number."""
    pads = ((0, 0), *window.padding, (0, 0))
    return lax.reduce_window(x, start, function, (1, *window.size, 1), (1, *window.strides, 1), pads)


def _window_max(call: Call, x: Any) -> Any:
    return _reduced(call.attributes["window"], x, -np.inf, lax.max)


def _window_max_grad(call: Call, x: Any, y: Any, g: Any) -> Any:
    places = [(part, read) for _, _, part, read in call.attributes["window"].places(x, y)]
    largest = [(x[read] == y[part]) | (jnp.isnan(x[read]) & jnp.isnan(y[part])) for part, read in places]
    count = jnp.zeros_like(y)
    for (part, _), marks in zip(places, largest, strict=True):
        count = count.at[part].add(marks)
    share, dx = g / count, jnp.zeros_like(x)
    for (part, read), marks in zip(places, largest, strict=True):
        dx = dx.at[read].add(jnp.where(marks, share[part], 0))
    return dx


def _share(call: Call, image: Value, output: Value) -> Any:
    """What each element of a window counts for."""
    arrays = (np.broadcast_to(np.zeros((), v.dtype), v.shape) for v in (image, output))
    return share_of_each(call.attributes["window"], *arrays) if call.attributes["mean"] else 1


def _window_sum(call: Call, x: Any) -> Any:
    return _reduced(call.attributes["window"], x, 0.0, lax.add) * _share(call, call.operands[0], call.output)


def _window_sum_grad(call: Call, g: Any) -> Any:
    like = jnp.zeros(call.output.shape, g.dtype)

    def sums(x: Any) -> Any:
        return _reduced(call.attributes["window"], x, 0.0, lax.add)

    _, pull = jax.vjp(sums, like)
    return pull(g * _share(call, call.output, call.operands[0]))[0]


RULES: dict[Primitive, Rule] = {
    images.LOWER: _lower,
    images.CONVOLVE: _convolve,
    images.KERNEL_GRAD: _kernel_grad,
    images.SPREAD: _spread,
    images.SCATTER: _scatter,
    images.WINDOW_MAX: _window_max,
    images.WINDOW_MAX_GRAD: _window_max_grad,
    images.WINDOW_SUM: _window_sum,
    images.WINDOW_SUM_GRAD: _window_sum_grad,
}
"""The rules of all primitives of images; a kernel of one axis and an image of height 1 are views."""
