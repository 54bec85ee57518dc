"""Ways to compose layers without writing dicts. Each returns a layer like any other."""

from __future__ import annotations

from functools import partial
from typing import Any, Never, TypeVar, overload

import numpy as np

from funcnet.arrays import Array, DType, Shape
from funcnet.calling import checks_call
from funcnet.compiler.programs import CompiledFunction
from funcnet.core import Layer, NoParams, Pullback, Result, Y, has_no_params
from funcnet.display import Written
from funcnet.errors import GraphError, ShapeError
from funcnet.layers.merge import add
from funcnet.networks.nesting import nested, scoped
from funcnet.networks.parts import (
    AnyFunction,
    AnyLayer,
    any_random,
    check,
    compute_at,
    init_at,
    kinds_of,
    matching,
    series,
)
from funcnet.random import Key, fold_in

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")


@overload
def serial(a: Layer[A, Y], /) -> Layer[tuple[A], Y]: ...
@overload
def serial(a: Layer[A], b: Layer[B, Y], /) -> Layer[tuple[A, B], Y]: ...
@overload
def serial(a: Layer[A], b: Layer[B], c: Layer[C, Y], /) -> Layer[tuple[A, B, C], Y]: ...
@overload
def serial(a: Layer[A], b: Layer[B], c: Layer[C], d: Layer[D, Y], /) -> Layer[tuple[A, B, C, D], Y]: ...
@overload
def serial(a: Layer[A], b: Layer[B], c: Layer[C], d: Layer[D], e: Layer[E, Y], /) -> Layer[tuple[A, B, C, D, E], Y]: ...
@overload
def serial(
    a: Layer[A], b: Layer[B], c: Layer[C], d: Layer[D], e: Layer[E], f: Layer[F, Y], /
) -> Layer[tuple[A, B, C, D, E, F], Y]: ...
@overload
def serial(
    a: AnyLayer, b: AnyLayer, c: AnyLayer, d: AnyLayer, e: AnyLayer, f: AnyLayer, g: AnyLayer, /, *more: AnyLayer
) -> Layer[tuple[Any, ...], Any] | Any: ...  # mypy then takes serial(*layers), which may be any of these, for Any
@checks_call
def serial(*layers: AnyLayer) -> Layer[Any, Any]:
    """Layers one after another.

    y = f_n(... f_2(f_1(x)))        dx = the cotangent passed back from f_n to f_1

    Params: the tuple of the layers' own. The first layer may take several inputs, every other takes one.
    Raises GraphError for no layers, anything but layers, and a later layer of several inputs; in use the errors of the
    layers, with the place of the one that raises.
    Example: `net = fn.serial(fn.linear(25), fn.tanh(), fn.linear(2))`.
    """
    check("serial", layers)
    applies = tuple(layer.apply for layer in layers)
    for later in applies[1:]:
        if later.arity not in (1, None):
            raise GraphError(
                f"{later.kind} takes {later.arity} inputs, but in a series each layer is fed by the one before it: "
                "write a network, fn.network(operators, connectivity)"
            )
    apply: CompiledFunction[Any, Any] = CompiledFunction(
        "serial",
        partial(_serial, applies),
        applies[0].arity,
        **kinds_of([next((a for a in applies if not a.is_identity), applies[0])]),
        random=any_random(applies),
    )
    return nested(Layer(partial(_init_serial, layers), apply), applies, Written("serial", layers), layers)


def _serial(
    applies: tuple[AnyFunction, ...], params: tuple[Any, ...], *inputs: Array, key: Key | None = None
) -> Result[tuple[Any, ...]]:
    values: tuple[Array, ...] = inputs
    pullbacks: list[Pullback[Any]] = []
    with scoped(inputs[0]) as scope:
        for i, (apply, own) in enumerate(zip(applies, matching(params, len(applies)), strict=True)):
            scope(f"{i} {apply.kind}")
            y, pull = compute_at(series(i, apply), apply, apply.key_under(key, i), own, *values)
            values = (y,)
            pullbacks.append(pull)

    def pullback(g: Array) -> tuple[tuple[Any, ...], tuple[Array, ...]]:
        cotangents: list[Any] = []
        passed: tuple[Array, ...] = (g,)
        with scoped(inputs[0]) as scope:
            for i, pull in reversed(list(enumerate(pullbacks))):
                scope(f"{i} {applies[i].kind} backward")
                of_params, passed = pull(*passed)
                cotangents.append(of_params)
        return tuple(reversed(cotangents)), passed

    return values[0], pullback


def _init_serial(
    layers: tuple[AnyLayer, ...], key: Key, *shapes: Shape, dtype: DType = np.float32, **unknown: Never
) -> tuple[tuple[Any, ...], Shape]:
    params: list[Any] = []
    for i, layer in enumerate(layers):
        own, shape = init_at(series(i, layer.apply), layer, fold_in(key, i), *shapes, dtype=dtype, **unknown)
        params.append(own)
        shapes = (shape,)
    return tuple(params), shapes[0]


@checks_call
def parallel(*layers: Layer[Any], merge: Layer[NoParams, Y] | None = None) -> Layer[tuple[Any, ...], Y]:
    """Layers side by side on the same input, their outputs merged.

    y = merge(f_1(x), ..., f_n(x))        dx = sum of the branches' dx

    Every layer reads the same inputs; merge, by default `add()`, joins their outputs and has no params.
    Params: the tuple of the layers' own.
    Raises GraphError for no layers, anything but layers, layers of different numbers of inputs, a merge with params;
    in use the errors of the layers, with the branch.
    Example: `fn.parallel(fn.linear(8), fn.linear(8), merge=fn.multiply())`.
    """
    check("parallel", layers)
    join: AnyLayer = add() if merge is None else merge
    check("parallel", (join,), named="merge is")
    if join.apply.arity not in (len(layers), None):
        raise GraphError(
            f"parallel: merge: {join.apply.kind} takes {join.apply.arity} inputs, but there are {len(layers)} branches"
        )
    if not has_no_params(join):
        raise GraphError(
            f"parallel: merge: {join.apply.kind} may have params, but takes none: use fn.add() or the like"
        )
    takes = {
        layer.apply.arity: f"branch {i} ({layer.apply.kind})" for i, layer in enumerate(layers) if layer.apply.arity
    }
    if len(takes) > 1:
        each = ", ".join(f"{branch} {arity}" for arity, branch in takes.items())
        raise GraphError(f"parallel: all branches read the same inputs, but they take different numbers: {each}")
    applies = tuple(layer.apply for layer in layers)
    apply: CompiledFunction[Any, Any] = CompiledFunction(
        "parallel",
        partial(_parallel, applies, join.apply),
        next(iter(takes), None),
        **kinds_of(applies),
        random=any_random((*applies, join.apply)),
    )
    written = Written("parallel", layers, () if merge is None else (("merge", merge),))
    return nested(Layer(partial(_init_parallel, layers, join), apply), applies, written, (*layers, join))


def _parallel(
    applies: tuple[AnyFunction, ...],
    merge: AnyFunction,
    params: tuple[Any, ...],
    *inputs: Array,
    key: Key | None = None,
) -> Result[tuple[Any, ...]]:
    owns = matching(params, len(applies))
    branches = [
        compute_at(f"branch {i}", f, f.key_under(key, i), own, *inputs)
        for i, (f, own) in enumerate(zip(applies, owns, strict=True))
    ]
    y, merge_pull = compute_at("merge", merge, merge.key_under(key, "merge"), (), *(value for value, _ in branches))

    def pullback(g: Array) -> tuple[tuple[Any, ...], tuple[Array, ...]]:
        _, cotangents = merge_pull(g)
        backs = [pull(c) for (_, pull), c in zip(branches, cotangents, strict=True)]
        total: tuple[Any, ...] = backs[0][1]
        for _, of_inputs in backs[1:]:
            pairs: Any = zip(total, of_inputs, strict=True)
            total = tuple(None if a is None else a + b for a, b in pairs)
        return tuple(of_params for of_params, _ in backs), total

    return y, pullback


def _init_parallel(
    layers: tuple[AnyLayer, ...], merge: AnyLayer, key: Key, *shapes: Shape, dtype: DType = np.float32, **unknown: Never
) -> tuple[tuple[Any, ...], Shape]:
    branches = [
        init_at(f"branch {i}", layer, fold_in(key, i), *shapes, dtype=dtype, **unknown)
        for i, layer in enumerate(layers)
    ]
    _, shape = init_at("merge", merge, key, *(shape for _, shape in branches), dtype=dtype)
    return tuple(params for params, _ in branches), shape


@checks_call
def residual(*layers: Layer[Any]) -> Layer[tuple[Any, ...]]:
    """Layers with a skip connection around them.

    y = x + f(x), f the layers in series        dx = g + f's dx        (He et al. 2016)

    Params: those of `serial(*layers)`. f must keep the shape of x.
    Raises GraphError as `serial` does, ShapeError where f changes the shape; in use the errors of the layers.
    Example: `fn.residual(fn.linear(2), fn.tanh())`.
    """
    check("residual", layers)
    chain = serial(*layers)
    if chain.apply.arity not in (1, None):
        raise GraphError(f"residual: {layers[0].apply.kind} takes {chain.apply.arity} inputs, but x is one")
    apply: CompiledFunction[Any, Any] = CompiledFunction(
        "residual", partial(_residual, chain.apply), 1, random=chain.apply.random
    )
    return nested(
        Layer(partial(_init_residual, chain), apply),
        [layer.apply for layer in layers],
        Written("residual", layers),
        layers,
    )


def _residual(
    chain: AnyFunction, params: tuple[Any, ...], x: Array, *, key: Key | None = None
) -> Result[tuple[Any, ...]]:
    y, pull = chain.compute(params, x, key=key)
    same(x.shape, y.shape)

    def pullback(g: Array) -> tuple[tuple[Any, ...], tuple[Array, ...]]:
        of_params, (dx,) = pull(g)
        return of_params, (g + dx,)

    return x + y, pullback


def _init_residual(
    chain: Layer[tuple[Any, ...], Any], key: Key, *shapes: Shape, dtype: DType = np.float32, **unknown: Never
) -> tuple[tuple[Any, ...], Shape]:
    if len(shapes) != 1:
        raise ShapeError(f"residual takes 1 input, but init was given {len(shapes)} shapes")
    (shape,) = shapes
    params, output = chain.init(key, shape, dtype=dtype, **unknown)
    same(shape, output)
    return params, output


def same(shape: Shape, output: Shape) -> None:
    """A residual needs a function that keeps the shape."""
    if tuple(shape) != tuple(output):
        raise ShapeError(
            f"residual: x has shape {shape} and f(x) {output}; they are added, so they must be equal: let the last "
            "layer give the shape of x, for instance a linear of as many units"
        )
