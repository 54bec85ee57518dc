"""Laws of the derivative: the vector-Jacobian product is that of the function, and it is linear."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnet import tree
from funcnet.arrays import Array
from funcnet.testing.subject import LawError, Point, Subject, agree, agree_all, both, cotangents_at, each, is_floating

COMPLEX_STEP, COMPLEX_TOLERANCE, ADJOINT_TOLERANCE = 1e-30, 1e-12, 1e-13
CENTRAL_STEP, CENTRAL_TOLERANCE = 6e-6, 1e-8
SCALE = 1e4  # at which a pullback that clips is found out


def vjp_equals_differences(subject: Subject) -> None:
    """d <g, f> / dx_i by moving each element of params and inputs in turn, for a random g."""
    point = subject.point()
    output, pullback = subject.vjp(point)
    cotangent = subject.cotangent(output)
    found = tree.leaves(pullback(cotangent))
    tolerance = COMPLEX_TOLERANCE if subject.holomorphic else CENTRAL_TOLERANCE
    for name, (_, x), dx in zip(cotangents_at(point), point.floating(), found, strict=True):
        expected = np.empty_like(x)
        for at in np.ndindex(x.shape):
            unit = np.zeros_like(x)
            unit[at] = 1.0
            expected[at] = product(cotangent, slope(subject, point, {id(x): unit}))
        agree(name, dx, expected, tolerance, "differences of the function give")


def vjp_is_adjoint_to_the_derivative(subject: Subject) -> None:
    """<g, J v> = <J^T g, v> for a direction v that moves all params and inputs at once."""
    point = subject.point()
    output, pullback = subject.vjp(point)
    tolerance = ADJOINT_TOLERANCE if subject.holomorphic else CENTRAL_TOLERANCE
    for turn in range(3):
        cotangent = subject.cotangent(output, f"cotangent {turn}")
        arrays = [x for _, x in point.floating()]
        direction = subject.cotangent(arrays, f"direction {turn}")
        forward = slope(subject, point, dict(zip(map(id, arrays), direction, strict=True)))
        back = tree.leaves(pullback(cotangent))
        left, right = product(cotangent, forward), product(back, direction)
        size = product(each(np.abs, cotangent), each(np.abs, forward))
        if not abs(left - right) <= tolerance * max(1.0, size):
            raise LawError(f"<J^T g, v> is {right!r}, but <g, J v> is {left!r}, for random g and v")


def pullback_is_linear(subject: Subject) -> None:
    """pullback(s g + h) = s pullback(g) + pullback(h), s large."""
    point = subject.point()
    output, pullback = subject.vjp(point)
    g, h = (subject.cotangent(output, name) for name in "gh")
    together = pullback(both(lambda a, b: SCALE * a + b, g, h))
    apart = both(lambda a, b: SCALE * a + b, pullback(g), pullback(h))
    agree_all(cotangents_at(point), together, apart, COMPLEX_TOLERANCE, f"{SCALE:.0f} g and h pulled back apart give")


def zero_cotangent_gives_exact_zeros(subject: Subject) -> None:
    """pullback(0) = 0, not nearly so."""
    point = subject.point()
    output, pullback = subject.vjp(point)
    found = tree.leaves(pullback(each(np.zeros_like, output)))
    agree_all(
        cotangents_at(point), found, [np.zeros_like(x) for x in found], 0.0, "for a cotangent of zeros it must be"
    )


def slope(subject: Subject, point: Point, direction: dict[int, Array]) -> list[Array]:
    """J v, v by the identity of the arrays that it moves: Im f(x + i h v) / h, or the central difference."""
    if subject.holomorphic:
        return [np.imag(y) / COMPLEX_STEP for y in moved(subject, point, direction, 1j * COMPLEX_STEP)]
    ahead, behind = (moved(subject, point, direction, step) for step in (CENTRAL_STEP, -CENTRAL_STEP))
    return [(a - b) / (2 * CENTRAL_STEP) for a, b in zip(ahead, behind, strict=True)]


def moved(subject: Subject, point: Point, direction: dict[int, Array], step: complex) -> list[Any]:
    """The outputs of the plain function at the point moved by step v."""

    def move(x: Array) -> Array:
        if not is_floating(x):
            return x
        return x + step * direction[id(x)] if id(x) in direction else x.astype(np.result_type(x, step))

    params, inputs = each(move, tuple(point))
    return tree.leaves(subject.compute(params, inputs)[0])


def product(a: Any, b: Any) -> float:
    """The inner product of two trees, leaf by leaf."""
    products: list[float] = [np.vdot(x, y) for x, y in zip(tree.leaves(a), tree.leaves(b), strict=True)]
    return float(sum(products))


LAWS = (
    vjp_equals_differences,
    vjp_is_adjoint_to_the_derivative,
    pullback_is_linear,
    zero_cotangent_gives_exact_zeros,
)
