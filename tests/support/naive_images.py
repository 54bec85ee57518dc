"""Convolutions and pools for the naive interpreter, window by window; of sequences as of images of height 1."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tests.support import images
from tests.support.images import Kernel, lifted, places

KINDS = ("conv", "conv_transpose", "max_pool", "avg_pool", "upsample")


def value(op: Any, params: Any, x: Any, watch: Any) -> Any:
    """What an operator makes of images."""
    if op.kind == "upsample":
        return enlarged(op.of[0], x)
    size, k = op.of[:2]
    if op.kind == "max_pool":
        watch_windows(k, two(size), x[:, None] if k.sequences else x, watch)
    formulas: Any = {
        "conv": partial(images.convolved, k),
        "conv_transpose": partial(images.transposed, k),
        "max_pool": partial(images.largest, k, two(size)),
        "avg_pool": partial(images.averaged, k, two(size)),
    }
    return lifted(k, formulas[op.kind])(params, x)


def derivative(op: Any, params: Any, x: Any, g: Any) -> tuple[Any, Any]:
    """(cotangent of the params, cotangent of x)."""
    if op.kind == "upsample":
        for axis, factor in enumerate(op.of[0], 1):
            g = g.reshape(*g.shape[:axis], -1, factor, *g.shape[axis + 1 :]).sum(axis=axis + 1)
        return params, g
    size, k = op.of[:2]
    if k.sequences:
        x, g = x[:, None], g[:, None]
    if op.kind in ("max_pool", "avg_pool"):
        dx = pooled(op.kind, k, two(size), x, g)
        return params, dx[:, 0] if k.sequences else dx
    W = params[0][None] if k.sequences else params[0]
    dW, dx = (convolved if op.kind == "conv" else transposed)(k, W, x, g)
    parts = [dW[0] if k.sequences else dW, g.sum(axis=(0, 1, 2))][: len(params)]
    return type(params)(*parts), dx[:, 0] if k.sequences else dx


def two(size: tuple[int, ...]) -> tuple[int, int]:
    """The size of a window over two axes."""
    return (1, *size)[-2:]  # type: ignore[return-value]


def enlarged(factor: tuple[int, ...], x: Any) -> Any:
    """Each element repeated."""
    for axis, times in enumerate(factor, 1):
        x = x.repeat(times, axis)
    return x


def watch_windows(k: Kernel, size: tuple[int, int], x: Any, watch: Any) -> None:
    """Note how near the elements of a window come to its largest."""
    for _, _, window in places(k, size, *x.shape[1:3]):
        elements = np.stack([x[:, r, c] for _, _, r, c in window])
        watch.kink(elements.max(axis=0) - elements)


def convolved(k: Kernel, W: Any, x: Any, g: Any) -> tuple[Any, Any]:
    """dW and dx of y = sum_k S_k x W_k."""
    dW, dx = np.zeros(W.shape), np.zeros(x.shape)
    n, m = W.shape[2], W.shape[3] // k.groups
    for o, q, window in places(k, W.shape[:2], *x.shape[1:3]):
        for i, j, r, c in window:
            for group in range(k.groups):
                read, made = slice(group * n, (group + 1) * n), slice(group * m, (group + 1) * m)
                dW[i, j, :, made] += x[:, r, c, read].T @ g[:, o, q, made]
                dx[:, r, c, read] += g[:, o, q, made] @ W[i, j, :, made].T
    return dW, dx


def transposed(k: Kernel, W: Any, x: Any, g: Any) -> tuple[Any, Any]:
    """dW and dx of y = sum_k S_k^T x W_k^T."""
    dW, dx = np.zeros(W.shape), np.zeros(x.shape)
    for o, q, window in places(k, W.shape[:2], *g.shape[1:3]):
        for i, j, r, c in window:
            dW[i, j] += g[:, r, c].T @ x[:, o, q]
            dx[:, o, q] += g[:, r, c] @ W[i, j]
    return dW, dx


def pooled(kind: str, k: Kernel, size: tuple[int, int], x: Any, g: Any) -> Any:
    """dx: an equal share for all elements of a window, or for its largest."""
    dx = np.zeros(x.shape)
    for o, q, window in places(k, size, *x.shape[1:3]):
        elements = np.stack([x[:, r, c] for _, _, r, c in window])
        takes = np.ones(elements.shape) if kind == "avg_pool" else 1.0 * (elements == elements.max(axis=0))
        for (_, _, r, c), share in zip(window, takes / takes.sum(axis=0), strict=True):
            dx[:, r, c] += share * g[:, o, q]
    return dx
