"""Ways to compose layers without writing dicts. What they return is a layer like any other."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from funcnet.compiled import CompiledFunction
from funcnet.core import Array, DType, Layer, Shape
from funcnet.errors import FuncnetError, GraphError, ShapeError, located
from funcnet.layers.merge import add
from funcnet.random import Key, fold_in


def serial(*layers: Layer[Any, Any]) -> Layer[Any, Any]:
    """y = f_n(... f_2(f_1(x)))        dx = the cotangent passed back from f_n to f_1

    Params: the tuple of the layers' own. The first layer may take several inputs, every other takes one.
    """
    check("serial", layers)
    functions = tuple(layer.apply.function for layer in layers)
    kinds = tuple(layer.apply.kind for layer in layers)
    for kind, layer in zip(kinds[1:], layers[1:], strict=True):
        if layer.apply.arity not in (1, None):
            raise GraphError(
                f"{kind} takes {layer.apply.arity} inputs, but in a series each layer is fed by the one before it"
            )
    apply: CompiledFunction[Any, Any] = CompiledFunction(
        "serial", partial(_serial, functions, kinds), layers[0].apply.arity
    )
    return Layer(partial(_init_serial, layers), apply)


def _serial(functions: tuple[Any, ...], kinds: tuple[str, ...], params: Any, *inputs: Array) -> Any:
    values, pullbacks = inputs, []
    for i, (function, own) in enumerate(zip(functions, matching(params, len(functions)), strict=True)):
        y, pull = at(f"layer {i} of the series ({kinds[i]})", function, own, *values)
        values = (y,)
        pullbacks.append(pull)

    def pullback(g: Any) -> Any:
        cotangents, passed = [], (g,)
        for pull in reversed(pullbacks):
            of_params, passed = pull(*passed)
            cotangents.append(of_params)
        return tuple(reversed(cotangents)), passed

    return values[0], pullback


def _init_serial(layers: tuple[Layer[Any, Any], ...], key: Key, *shapes: Shape, dtype: DType = np.float32) -> Any:
    params = []
    for i, layer in enumerate(layers):
        own, shape = layer.init(fold_in(key, i), *shapes, dtype=dtype)
        params.append(own)
        shapes = (shape,)
    return tuple(params), shapes[0]


def parallel(*layers: Layer[Any, Any], merge: Layer[Any, Any] | None = None) -> Layer[Any, Any]:
    """y = merge(f_1(x), ..., f_n(x))        dx = sum of the branches' dx

    Every layer reads the same inputs; merge, by default `add()`, makes one value of theirs and has no params.
    Params: the tuple of the layers' own.
    """
    check("parallel", layers)
    join = merge or add()
    functions = tuple(layer.apply.function for layer in layers)
    apply: CompiledFunction[Any, Any] = CompiledFunction(
        "parallel", partial(_parallel, functions, join.apply.function), layers[0].apply.arity
    )
    return Layer(partial(_init_parallel, layers, join), apply)


def _parallel(functions: tuple[Any, ...], merge: Any, params: Any, *inputs: Array) -> Any:
    owns = matching(params, len(functions))
    branches = [at(f"branch {i}", f, own, *inputs) for i, (f, own) in enumerate(zip(functions, owns, strict=True))]
    y, merge_pull = at("merge", merge, (), *(value for value, _ in branches))

    def pullback(g: Any) -> Any:
        _, cotangents = merge_pull(g)
        backs = [pull(c) for (_, pull), c in zip(branches, cotangents, strict=True)]
        total = backs[0][1]
        for _, of_inputs in backs[1:]:
            total = tuple(a + b for a, b in zip(total, of_inputs, strict=True))
        return tuple(of_params for of_params, _ in backs), total

    return y, pullback


def _init_parallel(
    layers: tuple[Layer[Any, Any], ...], merge: Layer[Any, Any], key: Key, *shapes: Shape, dtype: DType = np.float32
) -> Any:
    branches = [layer.init(fold_in(key, i), *shapes, dtype=dtype) for i, layer in enumerate(layers)]
    _, shape = merge.init(key, *(shape for _, shape in branches), dtype=dtype)
    return tuple(params for params, _ in branches), shape


def residual(*layers: Layer[Any, Any]) -> Layer[Any, Any]:
    """y = x + f(x), f the layers in series        dx = g + f's dx        (He et al. 2016)

    Params: those of `serial(*layers)`. f must keep the shape of x.
    """
    chain = serial(*layers)
    apply: CompiledFunction[Any, Any] = CompiledFunction("residual", partial(_residual, chain.apply.function), 1)
    return Layer(partial(_init_residual, chain), apply)


def _residual(function: Any, params: Any, x: Array) -> Any:
    y, pull = function(params, x)
    same(x.shape, y.shape)

    def pullback(g: Array) -> Any:
        of_params, (dx,) = pull(g)
        return of_params, (g + dx,)

    return x + y, pullback


def _init_residual(chain: Layer[Any, Any], key: Key, shape: Shape, dtype: DType = np.float32) -> Any:
    params, output = chain.init(key, shape, dtype=dtype)
    same(shape, output)
    return params, output


def same(shape: Shape, output: Shape) -> None:
    """A residual needs a function that keeps the shape."""
    if tuple(shape) != tuple(output):
        raise ShapeError(f"residual: x has shape {shape} and f(x) {output}; they are added, so they must be equal")


def matching(params: Any, count: int) -> tuple[Any, ...]:
    """The params of each layer; where no layer has any, () will do."""
    if params == ():
        return ((),) * count
    if type(params) is not tuple or len(params) != count:
        raise ShapeError(f"params must be a tuple of {count}, one for each layer, not {params!r:.60}")
    return params


def at(where: str, function: Any, params: Any, *inputs: Array) -> Any:
    """Call a layer's function; an error tells where it stands."""
    try:
        return function(params, *inputs)
    except FuncnetError as error:
        shapes = ", ".join(str(x.shape) for x in inputs)
        raise located(error, f"{where}: given shape{'s' * (len(inputs) > 1)} {shapes}", outermost=True) from None


def check(name: str, layers: tuple[Any, ...]) -> None:
    """Refuse what is not a layer."""
    if not layers:
        raise GraphError(f"{name} needs at least one layer")
    for i, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            hint = f": call it, fn.{layer.__name__}(...)" if callable(layer) and hasattr(layer, "__name__") else ""
            raise GraphError(f"{name}: argument {i} is {layer!r:.60} and not a layer{hint}")
