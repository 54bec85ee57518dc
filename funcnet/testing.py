"""Prove a layer's derivatives: the vector-Jacobian product against differences of the function itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnet import random, tree
from funcnet.arrays import Array, Shape
from funcnet.core import Layer
from funcnet.errors import FuncnetError

COMPLEX_STEP, COMPLEX_TOLERANCE = 1e-30, 1e-12
CENTRAL_STEP, CENTRAL_TOLERANCE = 6e-6, 1e-8


class VJPError(FuncnetError, AssertionError):
    """A vector-Jacobian product that does not agree with the function."""


def check_vjp(
    layer: Layer[Any, Any], *input_shapes: Shape, batch: int = 3, holomorphic: bool = False, seed: int = 0
) -> None:
    """Compare a layer's VJP with differences of its function, in float64, for a random cotangent.

    Every element of params and inputs is moved in turn: dL / dx_i for L = <g, f(params, inputs)>, g random.
    holomorphic: the function may be given complex numbers; then Im f(x + ih) / h at h = 1e-30 is exact to rounding, and
    1e-12 is demanded (Squire and Trapp 1998); else central differences at 6e-6, and 1e-8. Both relative to the largest.
    Shapes leave out the batch axis. Raises VJPError, which names the place and both numbers.
    """
    key = random.key(seed)
    params, _ = layer.init(key, *input_shapes, dtype=np.float64)
    draw = random.generator(random.fold_in(key, "inputs"))
    inputs = tuple(draw.normal(size=(batch, *shape)) for shape in input_shapes)

    def normal(like: Array) -> Array:
        drawn: Array = draw.normal(size=np.shape(like))
        return drawn

    def near(p: Array) -> Array:
        return p + 0.1 * normal(p)

    params = tree.map(near, params)  # biases begin at zero, which hides mistakes
    output, pullback = layer.apply.vjp(params, *inputs)
    cotangent = tree.map(normal, output)
    found = pullback(cotangent)
    point = (params, inputs)
    for (path, x), dx in zip(tree.leaves_with_path(point), tree.leaves(found), strict=True):
        place = f"params{path[3:]}" if path.startswith("[0]") else f"input {path[4:-1]}"
        if np.shape(dx) != x.shape:
            raise VJPError(
                f"{layer.apply.kind}: the cotangent of {place} has shape {np.shape(dx)}, {place} has {x.shape}"
            )
        expected = _differences(layer, point, x, cotangent, holomorphic)
        largest = max(1.0, np.abs(expected).max(initial=0.0))
        tolerance = COMPLEX_TOLERANCE if holomorphic else CENTRAL_TOLERANCE
        wrong = np.argwhere(~(np.abs(dx - expected) <= tolerance * largest))
        if len(wrong):
            at = tuple(map(int, wrong[0]))
            given, right = float(dx[at]), float(expected[at])
            raise VJPError(
                f"{layer.apply.kind}: the cotangent of {place} at {at} is {given!r}, differences of the function give "
                f"{right!r} ({len(wrong)} of {dx.size} elements are wrong)"
            )


def _differences(layer: Layer[Any, Any], point: Any, x: Array, cotangent: Any, holomorphic: bool) -> Array:
    """d <cotangent, f> / dx_i for every element of x, one of the arrays of the point (params, inputs)."""
    step: complex = 1j * COMPLEX_STEP if holomorphic else CENTRAL_STEP
    expected = np.empty_like(x)
    for at in np.ndindex(x.shape):
        if holomorphic:
            expected[at] = _moved(layer, point, x, at, step, cotangent).imag / COMPLEX_STEP
        else:
            ahead, behind = (_moved(layer, point, x, at, h, cotangent) for h in (step, -step))
            expected[at] = (ahead - behind).real / (2 * CENTRAL_STEP)
    return expected


def _moved(layer: Layer[Any, Any], point: Any, x: Array, at: tuple[int, ...], step: complex, cotangent: Any) -> complex:
    """<cotangent, f> with one element of one array moved."""

    def move(a: Array) -> Array:
        moved = a.astype(np.result_type(a, step))
        if a is x:
            moved[at] += step
        return moved

    params, inputs = tree.map(move, point)
    output, _ = layer.apply.function(params, *inputs)
    products: list[complex] = [np.vdot(g, y) for g, y in zip(tree.leaves(cotangent), tree.leaves(output), strict=True)]
    return sum(products)


__all__ = ["VJPError", "check_vjp"]
