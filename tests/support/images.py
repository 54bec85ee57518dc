"""The rows of images and sequences by the book, element by element, and in PyTorch and JAX."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

Formula = Callable[..., Any]
Pairs = tuple[tuple[int, int], ...]


class Kernel(NamedTuple):
    """What a row of the table asks for, written out for two axes."""

    strides: tuple[int, int] = (1, 1)
    pads: Pairs = ((0, 0), (0, 0))
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    sequences: bool = False


CONVOLUTIONS = {
    "conv": Kernel(),
    "conv of sequences": Kernel(pads=((0, 0), (1, 1)), sequences=True),
    "conv without bias": Kernel(),
    "conv with strides": Kernel((2, 3), ((1, 1), (0, 1))),
    "conv of groups": Kernel(pads=((1, 0), (0, 1)), groups=2),
    "conv with dilation": Kernel(dilation=(2, 2)),
}
TRANSPOSED = {
    "conv_transpose": Kernel(),
    "conv_transpose with strides": Kernel((2, 2), ((0, 0), (0, 1))),
    "conv_transpose of sequences": Kernel((1, 2), sequences=True),
}
POOLS = {
    "max_pool": ((2, 2), Kernel((2, 2))),
    "max_pool of windows that overlap": ((3, 2), Kernel(pads=((1, 1), (0, 1)))),
    "max_pool of sequences": ((1, 2), Kernel((1, 2), sequences=True)),
    "avg_pool": ((2, 2), Kernel((2, 2))),
    "avg_pool with padding": ((3, 2), Kernel((2, 2), ((0, 1), (0, 1)))),
    "avg_pool of sequences": ((1, 3), Kernel(sequences=True)),
}


def lifted(k: Kernel, function: Formula) -> Formula:
    """The function of images for sequences too, as images of height 1."""

    def of_sequences(p: Any, x: Any) -> Any:
        return function((p[0][None], *p[1:]) if len(p) else p, x[:, None])[:, 0]

    return of_sequences if k.sequences else function


def places(k: Kernel, size: tuple[int, ...], height: int, width: int) -> list[tuple[int, int, list[tuple[int, ...]]]]:
    """Each place of the output, and (i, j, row, column) of the elements of its window that are no padding."""
    found: list[tuple[int, int, list[tuple[int, ...]]]] = []
    counts = [
        (n + sum(pad) - (s - 1) * d - 1) // step + 1
        for n, pad, s, d, step in zip((height, width), k.pads, size, k.dilation, k.strides, strict=True)
    ]
    for o in range(counts[0]):
        for q in range(counts[1]):
            window = [
                (
                    i,
                    j,
                    o * k.strides[0] + i * k.dilation[0] - k.pads[0][0],
                    q * k.strides[1] + j * k.dilation[1] - k.pads[1][0],
                )
                for i in range(size[0])
                for j in range(size[1])
            ]
            found.append((o, q, [e for e in window if 0 <= e[2] < height and 0 <= e[3] < width]))
    return found


def over_windows(k: Kernel, size: tuple[int, ...], x: Any, value: Callable[[list[tuple[int, ...]]], Any]) -> Any:
    """What each window of x gives, in an image."""
    found = places(k, size, *x.shape[1:3])
    rows = max(o for o, _, _ in found) + 1
    flat = np.stack([value(window) for _, _, window in found], axis=1)
    return flat.reshape(len(x), rows, len(found) // rows, flat.shape[-1])


def convolved(k: Kernel, p: Any, x: Any) -> Any:
    W: Any = p[0]
    n, m = W.shape[2], W.shape[3] // k.groups

    def value(window: list[tuple[int, ...]]) -> Any:
        return np.concatenate(
            [
                sum(
                    (x[:, r, c, g * n : (g + 1) * n] @ W[i, j, :, g * m : (g + 1) * m] for i, j, r, c in window),
                    np.zeros((len(x), m)),
                )
                for g in range(k.groups)
            ],
            axis=-1,
        )

    return over_windows(k, W.shape[:2], x, value) + sum(p[1:])


def transposed(k: Kernel, p: Any, x: Any) -> Any:
    W: Any = p[0]
    height, width = (
        (n - 1) * step + (s - 1) * d + 1 - sum(pad)
        for n, step, s, d, pad in zip(x.shape[1:3], k.strides, W.shape, k.dilation, k.pads, strict=False)
    )
    y = np.zeros((len(x), height, width, W.shape[2]), np.result_type(x, W))
    for o, q, window in places(k, W.shape[:2], height, width):
        for i, j, r, c in window:
            y[:, r, c] += x[:, o, q] @ W[i, j].T
    return y + sum(p[1:])


def largest(k: Kernel, size: tuple[int, int], p: Any, x: Any) -> Any:
    return over_windows(k, size, x, lambda window: np.max(np.stack([x[:, r, c] for _, _, r, c in window]), axis=0))


def averaged(k: Kernel, size: tuple[int, int], p: Any, x: Any) -> Any:
    return over_windows(k, size, x, lambda window: np.mean(np.stack([x[:, r, c] for _, _, r, c in window]), axis=0))


FORMULAS: dict[str, Formula] = {
    **{name: lifted(k, partial(convolved, k)) for name, k in CONVOLUTIONS.items()},
    **{name: lifted(k, partial(transposed, k)) for name, k in TRANSPOSED.items()},
    **{
        name: lifted(k, partial(largest if name.startswith("max") else averaged, k, size))
        for name, (size, k) in POOLS.items()
    },
    "upsample": lambda p, x: x.repeat(2, 1).repeat(3, 2),
    "upsample of sequences": lambda p, x: x.repeat(2, 1),
}


def in_torch() -> dict[str, Formula]:
    """PyTorch's functions: channels before height and width, kernels (features, channels, height, width)."""
    import torch

    f: Any = torch.nn.functional

    def padded(k: Kernel, x: Any, number: float) -> Any:
        return f.pad(x.movedim(-1, 1), (*k.pads[1], *k.pads[0]), value=number)

    def conv(k: Kernel, p: Any, x: Any) -> Any:
        W = p[0].permute(3, 2, 0, 1)
        y = f.conv2d(padded(k, x, 0.0), W, *p[1:], stride=k.strides, dilation=k.dilation, groups=k.groups)
        return y.movedim(1, -1)

    def conv_transpose(k: Kernel, p: Any, x: Any) -> Any:
        y = f.conv_transpose2d(x.movedim(-1, 1), p[0].permute(3, 2, 0, 1), *p[1:], stride=k.strides)
        return y[:, :, : y.shape[2] - k.pads[0][1], : y.shape[3] - k.pads[1][1]].movedim(1, -1)

    def max_pool(k: Kernel, size: Any, p: Any, x: Any) -> Any:
        return f.max_pool2d(padded(k, x, -np.inf), size, k.strides).movedim(1, -1)

    def avg_pool(k: Kernel, size: Any, p: Any, x: Any) -> Any:
        total, count = (f.avg_pool2d(padded(k, a, 0.0), size, k.strides) for a in (x, torch.ones_like(x)))
        return (total / count).movedim(1, -1)

    return {
        **{name: lifted(k, partial(conv, k)) for name, k in CONVOLUTIONS.items()},
        **{name: lifted(k, partial(conv_transpose, k)) for name, k in TRANSPOSED.items()},
        **{
            name: lifted(k, partial(max_pool if name.startswith("max") else avg_pool, k, size))
            for name, (size, k) in POOLS.items()
        },
        "upsample": lambda p, x: f.interpolate(x.movedim(-1, 1), scale_factor=(2, 3)).movedim(1, -1),
        "upsample of sequences": lambda p, x: f.interpolate(x.movedim(-1, 1), scale_factor=2).movedim(1, -1),
    }


def in_jax() -> dict[str, Formula]:
    """JAX's functions."""
    import jax

    lax, jnp = jax.lax, jax.numpy
    numbers = ("NHWC", "HWIO", "NHWC")

    def conv(k: Kernel, p: Any, x: Any) -> Any:
        W, b = (*p, 0)[:2]
        return b + lax.conv_general_dilated(
            x,
            W,
            k.strides,
            k.pads,
            rhs_dilation=k.dilation,
            dimension_numbers=numbers,
            feature_group_count=k.groups,
        )

    def conv_transpose(k: Kernel, p: Any, x: Any) -> Any:
        W, b = (*p, 0)[:2]
        padding = "SAME" if any(map(any, k.pads)) else "VALID"
        return b + lax.conv_transpose(x, W, k.strides, padding, dimension_numbers=numbers, transpose_kernel=True)

    def reduced(k: Kernel, size: Any, x: Any, start: float, function: Any) -> Any:
        pads = ((0, 0), *k.pads, (0, 0))
        return lax.reduce_window(x, start, function, (1, *size, 1), (1, *k.strides, 1), pads)

    def max_pool(k: Kernel, size: Any, p: Any, x: Any) -> Any:
        return reduced(k, size, x, -np.inf, lax.max)

    def avg_pool(k: Kernel, size: Any, p: Any, x: Any) -> Any:
        return reduced(k, size, x, 0.0, lax.add) / reduced(k, size, jnp.ones_like(x), 0.0, lax.add)

    return {
        **{name: lifted(k, partial(conv, k)) for name, k in CONVOLUTIONS.items()},
        **{name: lifted(k, partial(conv_transpose, k)) for name, k in TRANSPOSED.items()},
        **{
            name: lifted(k, partial(max_pool if name.startswith("max") else avg_pool, k, size))
            for name, (size, k) in POOLS.items()
        },
        "upsample": lambda p, x: jax.image.resize(x, (len(x), 4, 9, 2), "nearest"),
        "upsample of sequences": lambda p, x: jax.image.resize(x, (len(x), 6, 2), "nearest"),
    }
