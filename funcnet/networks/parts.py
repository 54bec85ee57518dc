"""The layers of a composition: checked, and called with an error that names their place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Never, TypeAlias, cast

import numpy as np
from typing_extensions import TypeIs

from funcnet.arrays import Array, DType, Shape, as_shape
from funcnet.core import Function, Layer, Pullback
from funcnet.display import described, how_to_make
from funcnet.errors import FuncnetError, GraphError, ParamsError, ShapeError, located
from funcnet.random import Key

AnyLayer: TypeAlias = Layer[Any, Any]
AnyFunction: TypeAlias = Function[Any, Any]


def matching(params: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    """The params of each layer; where no layer has any, () will do."""
    if params == ():
        return ((),) * count
    if type(params) is not tuple or len(params) != count:
        raise ParamsError(
            f"params must be a tuple of {count}, one for each layer, as init gives them, not {_form(params)}"
        )
    return params


def _form(params: object) -> str:
    """The type and length of params of another form, which may be symbolic."""
    name, found = type(params).__name__, cast("Any", params)
    return f"{name} of {len(found)}" if hasattr(found, "__len__") else name


def any_random(applies: Iterable[AnyFunction]) -> bool:
    """Whether any of them draws random numbers."""
    return any(apply.random for apply in applies)


def compute_at(
    where: str, apply: AnyFunction, key: Key | None, params: Any, *inputs: Array
) -> tuple[Any, Pullback[Any]]:
    """Call a layer's function; an error names the layer's place."""
    try:
        return apply.compute(params, *inputs, key=key)
    except FuncnetError as error:
        raise located(error, given(where, [x.shape for x in inputs]), outermost=True) from None


def series(place: int, apply: AnyFunction) -> str:
    """What to call a layer of a series in a message."""
    return f"layer {place} of the series ({apply.kind})"


def init_at(
    where: str, layer: AnyLayer, key: Key, *shapes: Shape, dtype: DType = np.float32, **unknown: Never
) -> tuple[Any, Shape]:
    """Draw a layer's params; an error about the shapes names the layer's place."""
    try:
        return layer.init(key, *shapes, dtype=dtype, **unknown)
    except ShapeError as error:
        if not shapes or None in map(as_shape, shapes):
            raise
        raise located(error, given(where, shapes), outermost=True) from None


def given(where: str, shapes: Sequence[Shape]) -> str:
    """A place, and the shapes that arrive there."""
    return f"{where}: given shape{'s' * (len(shapes) > 1)} {', '.join(map(str, shapes))}"


def check(name: str, layers: tuple[Any, ...], *, multi_output: bool = False, named: str = "argument {} is") -> None:
    """Refuse anything but layers."""
    if not layers:
        raise GraphError(f"{name} needs at least one layer")
    for i, layer in enumerate(layers):
        where = f"{name}: {named.format(i)}"
        if not is_layer(layer):
            raise GraphError(f"{where} {described(layer)} and not a layer{how_to_make(layer, name)}")
        if layer.apply.multi_output and not multi_output:
            raise GraphError(f"{where} a network of several outputs: join them inside it")


def kinds_of(applies: Sequence[AnyFunction]) -> dict[str, Any]:
    """The inputs that may be integers, or masks, for all of these; none with an identity, which would hand them on."""
    names = [] if any(apply.is_identity for apply in applies) else ["integer_inputs", "mask_inputs"]
    return {name: set[int].intersection(*({*getattr(f, name)} for f in applies)) for name in names}


def is_layer(x: object) -> TypeIs[AnyLayer]:
    """Whether this is a layer."""
    return isinstance(x, Layer)
