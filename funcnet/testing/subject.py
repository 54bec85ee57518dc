"""A layer on trial: the points at which its laws look, and the comparison that reports the place and both numbers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from typing_extensions import TypeVar

from funcnet import random, tree
from funcnet.arrays import Array, DType, Shape, is_array
from funcnet.core import Layer, Pullback
from funcnet.errors import FuncnetError
from funcnet.random import Key

Y = TypeVar("Y")


class LawError(FuncnetError, AssertionError):
    """A law that a layer breaks: which one, where, and both numbers."""


class Point(NamedTuple):
    """Where a layer is looked at; all arrays are read-only."""

    params: Any
    inputs: tuple[Array, ...]

    def floating(self) -> list[tuple[str, Array]]:
        """(name, array) of all that has a cotangent: params and floating inputs."""
        named = [(f"params{path}", p) for path, p in tree.leaves_with_path(self.params)]
        return [*named, *((f"input {i}", x) for i, x in enumerate(self.inputs) if is_floating(x))]

    def copied(self, how: Callable[[Array], Array]) -> Point:
        """The point with every array changed, labels and all."""
        return Point(*each(how, tuple(self)))


class Subject(NamedTuple):
    """A layer and the facts that its laws need; the fields are described in `check_layer`."""

    layer: Layer[Any, Any]
    shapes: tuple[Shape, ...]
    batch: int
    holomorphic: bool
    rowwise: bool
    labels: Mapping[int, int]
    masks: Collection[int]
    domain: Callable[[Array], Array] | None
    extreme: float
    seed: int
    key: Key | None = None
    """With which a random layer draws; None is evaluation."""

    def point(self, dtype: DType = np.float64, batch: int | None = None) -> Point:
        """Random params and inputs. Biases begin at zero, which hides mistakes, so params are moved from there."""
        key = random.key(self.seed)
        params, _ = self.layer.init(key, *self.shapes, dtype=np.float64)
        draw = random.generator(random.fold_in(key, "point"))

        def move(p: Array) -> Array:
            return p + 0.1 * np.asarray(draw.normal(size=p.shape), p.dtype)

        return self.typed(each(move, params), self.inputs(draw.normal, self.batch if batch is None else batch), dtype)

    def inputs(self, draw: Callable[..., Any], batch: int) -> tuple[Array, ...]:
        """One batch: `draw(size=shape)` taken into the domain; or labels, or a mask."""
        arrays: list[Array] = []
        for i, shape in enumerate(self.shapes):
            x: Any = np.asarray(draw(size=(batch, *shape)))
            if i in self.labels:
                x = (np.abs(x) * 7).astype(np.intp) % self.labels[i]
            elif i in self.masks:
                x = (np.abs(x) * 7).astype(np.intp) % 2 == 0
                x.reshape(batch, prod(shape))[:, :1] = True  # else a row alone would be False everywhere
            elif self.domain is not None:
                x = self.domain(x)
            arrays.append(x)
        return tuple(arrays)

    def typed(self, params: Any, inputs: tuple[Array, ...], dtype: DType) -> Point:
        """The point in that dtype, read-only."""
        return Point(params, inputs).copied(lambda a: frozen(a.astype(dtype) if is_floating(a) else a.copy()))

    def vjp(self, point: Point) -> tuple[Any, Pullback[Any]]:
        """(output, pullback)."""
        return self.layer.apply.vjp(point.params, *point.inputs, key=self.key)

    def compute(self, params: Any, inputs: Iterable[Any]) -> tuple[Any, Pullback[Any]]:
        """(output, pullback) of the function itself, unchecked."""
        return self.layer.apply.compute(params, *inputs, key=self.key)

    def apply(self, point: Point) -> Any:
        """The output."""
        return self.layer.apply(point.params, *point.inputs, key=self.key)

    def cotangent(self, output: Any, name: str = "cotangent") -> Any:
        """A random cotangent of the output, read-only; another for each name."""
        draw = random.generator(random.fold_in(random.key(self.seed), name))
        return each(lambda y: frozen(np.asarray(draw.normal(size=np.shape(y)), y.dtype)), output)


Law: TypeAlias = Callable[[Subject], None]
"""Raises LawError where the subject breaks it; its name says what it demands."""


def hold(laws: Iterable[Law], subject: Subject) -> None:
    """Raise for the first law that the subject breaks, or that it does not live to see the end of."""
    subject.point()  # shapes that do not fit are the caller's mistake, and no law's
    for law in laws:
        where = f"{subject.layer.apply.kind} breaks the law {law.__name__.replace('_', ' ')!r}"
        try:
            law(subject)
        except LawError as broken:
            raise LawError(f"{where}: {broken}") from None
        except Exception as error:  # any error of a layer breaks the law
            raise LawError(f"{where}: it raised {type(error).__name__}: {error}") from error


def hold_with_and_without_key(laws: Iterable[Law], subject: Subject) -> None:
    """`hold`, and for a random layer once more with a key; its draws for a row then depend on the place of the row."""
    hold(laws, subject)
    if subject.layer.apply.random:
        hold(laws, subject._replace(key=random.key(subject.seed), rowwise=False))


def agree(name: str, found: Any, expected: Any, tolerance: float, source: str) -> None:
    """Demand the same shape, and elements that differ by no more than tolerance times the largest, which is at least 1.

    source: who says what is expected, with its verb, for instance "differences of the function give".
    """
    if np.shape(found) != np.shape(expected):
        raise LawError(f"{name} has shape {np.shape(found)}, {source} {np.shape(expected)}")
    a, b = np.asarray(found), np.asarray(expected)
    largest = max(1.0, np.abs(b).max(initial=0.0))
    wrong = np.argwhere(~(np.abs(a - b) <= tolerance * largest))
    if len(wrong):
        at = tuple(map(int, wrong[0]))
        count = f"{len(wrong)} of {a.size} elements are wrong"
        raise LawError(f"{name} at {at} is {a[at].item()!r}, {source} {b[at].item()!r} ({count})")


def agree_all(names: Iterable[str], found: Any, expected: Any, tolerance: float, source: str) -> None:
    """Demand it of every array in two trees."""
    for name, a, b in zip(names, tree.leaves(found), tree.leaves(expected), strict=True):
        agree(name, a, b, tolerance, source)


def outputs_of(output: Any) -> list[str]:
    """The names of the arrays in an output."""
    return [f"the output{path}" for path, _ in tree.leaves_with_path(output)]


def cotangents_at(point: Point) -> list[str]:
    """The names of the cotangents at a point."""
    return [f"the cotangent of {name}" for name, _ in point.floating()]


def has_rows(output: Any) -> bool:
    """Whether every array of the output has a batch axis; one number for the whole batch has none."""
    return all(np.ndim(y) for y in tree.leaves(output))


def each(function: Callable[[Array], Any], arrays: Y) -> Y:
    """The tree with every array changed."""
    return tree.map(function, arrays)


def both(function: Callable[[Array, Array], Any], a: Y, b: Y) -> Y:
    """Two trees made one, array by array."""
    return tree.map(function, a, b)


def is_floating(x: Any) -> bool:
    """Whether an array has a cotangent; labels have none."""
    return is_array(x) and x.dtype.kind == "f"


def frozen(x: Array) -> Array:
    """The array, read-only."""
    x.flags.writeable = False
    return x
