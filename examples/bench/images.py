"""Networks of convolutions and pools, each a list of parts, in funcnet, PyTorch and JAX."""

from functools import partial, reduce
from math import prod
from typing import Any, NamedTuple

import numpy as np

from bench.case import Array
from bench.layers import Batch, Block, Peer

Shape = tuple[int, ...]


class Conv(NamedTuple):
    """A convolution: features, the length of both sides of its kernel, "valid" or "same"."""

    features: int
    side: int
    padding: str = "valid"


class Linear(NamedTuple):
    """A linear layer."""

    units: int


Part = Conv | Linear | str
"""A layer with params, or "relu", "max_pool" (2 x 2), "flatten"."""


def operators(parts: tuple[Part, ...], fn: Any) -> Any:
    """The network as funcnet has it."""
    layers: list[Any] = []
    for part in parts:
        if isinstance(part, Conv):
            layers.append(fn.conv(part.features, (part.side, part.side), padding=part.padding))
        elif isinstance(part, Linear):
            layers.append(fn.linear(part.units))
        else:
            layers.append(fn.max_pool((2, 2)) if part == "max_pool" else getattr(fn, part)())
    return fn.network(dict(enumerate(layers)), {i: [i + 1] for i in range(len(layers) - 1)})


def in_torch(parts: tuple[Part, ...], shape: Shape, torch: Any) -> Peer:
    """The same in PyTorch, where channels come before height and width, and features before what they read."""
    f: Any = torch.nn.functional

    def output(params: Any, x: Any) -> Any:
        own = iter(params)
        for part in parts:
            if isinstance(part, Conv):
                x = f.conv2d(x, next(own), next(own), padding=part.padding)
            elif isinstance(part, Linear):
                x = f.linear(x, next(own), next(own))
            else:
                x = {"relu": torch.relu, "max_pool": partial(f.max_pool2d, kernel_size=2), "flatten": flatten}[part](x)
        return x

    def flatten(x: Any) -> Any:
        return x.flatten(1)

    flat = flattened(parts, shape)

    def given(leaves: list[Array]) -> list[Array]:
        return [np.ascontiguousarray(turned(p)) for p in leaves]

    def turned(p: Array) -> Array:
        if p.ndim == 4:
            return p.transpose(3, 2, 0, 1)
        if p.ndim == 2:
            return in_other_order(p, flat, (2, 0, 1)).T if len(p) == prod(flat) else p.T
        return p

    def back(params: list[Array]) -> list[Array]:
        return [returned(p) for p in params]

    def returned(p: Array) -> Array:
        if p.ndim == 4:
            return p.transpose(2, 3, 1, 0)
        if p.ndim == 2:
            height, width, channels = flat
            turned = p.shape[1] == prod(flat)
            return in_other_order(p.T, (channels, height, width), (1, 2, 0)) if turned else p.T
        return p

    def arrays(batch: Batch) -> tuple[Array, ...]:
        images = (np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x for x in as_they_are(batch))
        return tuple(images)

    return Peer(given, back, arrays, output)


def flattened(parts: tuple[Part, ...], shape: Shape) -> Shape:
    """(height, width, channels) of the images that are flattened."""

    def after(found: Shape, part: Part) -> Shape:
        height, width, channels = found
        if isinstance(part, Conv):
            lost = 0 if part.padding == "same" else part.side - 1
            return height - lost, width - lost, part.features
        return (height // 2, width // 2, channels) if part == "max_pool" else found

    return reduce(after, parts, shape)


def in_other_order(weight: Array, shape: Shape, axes: Shape) -> Array:
    """The rows of a weight, one an element of an image of that shape, for images with their axes in that order."""
    found: Array = weight.reshape(*shape, -1).transpose(*axes, 3).reshape(weight.shape)
    return found


def in_jax(parts: tuple[Part, ...], jax: Any) -> Peer:
    """The same in JAX, whose images and kernels are those of funcnet."""
    lax, nn = jax.lax, jax.nn

    def output(params: Any, x: Any) -> Any:
        own = iter(params)
        for part in parts:
            if isinstance(part, Conv):
                layout = ("NHWC", "HWIO", "NHWC")
                x = lax.conv_general_dilated(x, next(own), (1, 1), part.padding.upper(), dimension_numbers=layout)
                x = x + next(own)
            elif isinstance(part, Linear):
                x = x @ next(own) + next(own)
            elif part == "max_pool":
                x = lax.reduce_window(x, -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
            else:
                x = nn.relu(x) if part == "relu" else x.reshape(len(x), -1)
        return x

    return Peer(_same, _same, as_they_are, output)


def _same(arrays: list[Array]) -> list[Array]:
    return arrays


def as_they_are(batch: Batch) -> tuple[Array, ...]:
    """The inputs and the target."""
    return *batch.inputs, batch.target


def labelled(shape: Shape, rows: int, rng: np.random.Generator, dtype: Any) -> Batch:
    """Images of noise, of ten classes."""
    return Batch((rng.normal(size=(rows, *shape)).astype(dtype),), rng.integers(0, 10, rows))


def block(name: str, title: str, parts: tuple[Part, ...], shape: Shape, rows: int) -> Block:
    """The network in all libraries."""
    return Block(
        name,
        title,
        partial(labelled, shape, rows),
        partial(operators, parts),
        partial(in_torch, parts, shape),
        partial(in_jax, parts),
    )


BLOCKS: tuple[Block, ...] = (
    block(
        "lenet",
        "LeNet: 28 x 28, two 5 x 5 convolutions and pools, 120-84-10, ReLU, batch 32",
        (
            *(Conv(6, 5, "same"), "relu", "max_pool", Conv(16, 5), "relu", "max_pool"),
            *("flatten", Linear(120), "relu", Linear(84), "relu", Linear(10)),
        ),
        (28, 28, 1),
        32,
    ),
    block(
        "digits-conv",
        "8 x 8, 3 x 3 convolutions of 8 and 16 features, pools, ReLU, batch 64",
        (*(Conv(8, 3, "same"), "relu", "max_pool", Conv(16, 3, "same"), "relu", "max_pool"), "flatten", Linear(10)),
        (8, 8, 1),
        64,
    ),
    block(
        "cifar-like",
        "32 x 32 x 3, 3 x 3 convolutions of 32 and 64 features, pools, ReLU, batch 32",
        (*(Conv(32, 3, "same"), "relu", "max_pool", Conv(64, 3, "same"), "relu", "max_pool"), "flatten", Linear(10)),
        (32, 32, 3),
        32,
    ),
    block(
        "max-pool",
        "32 x 32 x 1, 32 features of each pixel, a 2 x 2 max pool, 10 units, batch 32",
        (Conv(32, 1), "max_pool", "flatten", Linear(10)),
        (32, 32, 1),
        32,
    ),
)
