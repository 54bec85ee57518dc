"""Layers of a user's own: a plain function that returns (output, pullback), one opaque call in the program."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from typing_extensions import TypeVar

from funcnet import random, tree
from funcnet.core import Array, Function, Init, Layer, Pullback
from funcnet.errors import DTypeError, ShapeError
from funcnet.tracing import Stateful, Trace, Value

P = TypeVar("P", default=Any)


def custom_layer(
    init: Init[P],
    function: Callable[..., tuple[Array, Pullback[P]]],
    *,
    name: str | None = None,
    inputs: int | None = 1,
) -> Layer[P]:
    """A layer of your own from `init` and a plain function that computes with whatever you like.

    init: `(key, *input_shapes, dtype=np.float32) -> (params, output_shape)`; shapes leave out the batch axis, and an
    output shape of () is one number for the whole batch.
    function: `(params, *inputs) -> (output, pullback)`, `pullback(cotangent) -> (params_cotangent, input_cotangents)`;
    it must not write into its arguments, which are read-only, nor keep them. Both must be picklable, so module-level.
    inputs: how many it takes; None for one or more.

    A scalar function written in NumPy ufuncs is better made with `elementwise`, which the plan can look into.
    `funcnet.testing.check_vjp` proves that the pullback is right.
    """
    kind = name or getattr(function, "__name__", "custom")
    return Layer(init, Function(kind, Opaque(kind, init, function), inputs))


class Opaque:
    """The function of such a layer: run on arrays it checks what comes back; on values it records one call."""

    def __init__(self, kind: str, init: Init[Any], function: Callable[..., Any]) -> None:
        self.kind = kind
        self.init = init
        self.function = function

    def __call__(self, params: Any, *inputs: Any) -> Any:
        """(output, pullback)."""
        if isinstance(inputs[0], Value):
            return self._record(inputs[0].trace, params, inputs)
        return self.function(params, *inputs)

    def _record(self, trace: Trace, params: Any, inputs: tuple[Value, ...]) -> Any:
        leaves, structure = tree.flatten(params)
        _, shape = self.init(random.key(0), *(x.shape[1:] for x in inputs), dtype=trace.dtype)
        whole, axis = ((), None) if tuple(shape) == () else ((trace.rows, *shape), 0)
        site, given = Site(self, structure, len(leaves)), (*leaves, *inputs)
        y = trace.emit(Part(site, Box.forward), given, whole, trace.dtype, axis)

        def pullback(g: Any) -> Any:
            done = trace.emit(Part(site, Box.backward), (g, y, *given), (), trace.dtype, None)
            cotangents = [
                trace.emit(Part(site, Box.cotangent, i), (done,), x.shape, x.dtype, x.batch_axis)
                for i, x in enumerate(given)
            ]
            return tree.unflatten(structure, cotangents[: len(leaves)]), tuple(cotangents[len(leaves) :])

        return y, pullback


class Site(NamedTuple):
    """One place where an opaque layer stands in a program."""

    opaque: Opaque
    structure: tree.Structure[Any]
    leaves: int


class Part(Stateful):
    """One of the calls of an opaque layer; in each workspace they share a box."""

    def __init__(self, site: Site, method: Callable[..., None], *arguments: Any) -> None:
        self.site, self.method, self.arguments = site, method, arguments
        self.__name__ = f"{site.opaque.kind} {method.__name__}"

    def bind(self, state: dict[int, Any]) -> Callable[..., None]:
        """The call, with the box of this workspace."""
        box = state.setdefault(id(self.site), Box(self.site))
        return partial(self.method, box, *self.arguments)


class Box:
    """What one opaque layer keeps between its forward and its backward call, in one workspace."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.pullback: Any = None
        self.cotangents: list[Any] = []

    def forward(self, *arrays: Any) -> None:
        """Run the function and keep its pullback."""
        *given, out = arrays
        opaque, structure, count = self.site
        y, self.pullback = opaque.function(
            tree.unflatten(structure, read_only(given[:count])), *read_only(given[count:])
        )
        put(f"{opaque.kind}: its output", y, out)

    def backward(self, g: Any, *_: Any) -> None:
        """Run the pullback and keep the cotangents."""
        of_params, of_inputs = self.pullback(*read_only([np.asarray(g)]))
        self.cotangents = [*tree.leaves(of_params), *of_inputs]

    def cotangent(self, which: int, done: Any, out: Any) -> None:
        """Hand out one of the cotangents."""
        put(
            f"{self.site.opaque.kind}: cotangent {which} (of params first, then of inputs)", self.cotangents[which], out
        )


def read_only(arrays: list[Any]) -> list[Any]:
    """Views that nobody can write through."""
    views = [array.view() for array in arrays]
    for view in views:
        view.flags.writeable = False
    return views


def put(name: str, value: Any, out: Any) -> None:
    """Copy what the user's function made to its place in the program, if it is what was promised."""
    if np.shape(value) != out.shape:
        raise ShapeError(f"{name} has shape {np.shape(value)}, but its init promises {out.shape}")
    if np.asarray(value).dtype != out.dtype:
        raise DTypeError(
            f"{name} has dtype {np.asarray(value).dtype}, but its inputs are {out.dtype}: keep their dtype"
        )
    out[...] = value
