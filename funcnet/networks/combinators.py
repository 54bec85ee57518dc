"""Ways to compose layers without writing dicts. Each returns a layer like any other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Never, TypeAlias, TypeVar, cast, overload

import numpy as np
from typing_extensions import TypeIs

from funcnet.arrays import Array, DType, Shape
from funcnet.calling import checks_call
from funcnet.compiler.programs import CompiledFunction
from funcnet.core import Function, Layer, NoParams, Pullback, Result, Y, has_no_params
from funcnet.display import Written, described, how_to_make
from funcnet.errors import FuncnetError, GraphError, ParamsError, ShapeError, located
from funcnet.layers.merge import add
from funcnet.networks.nesting import nested, scoped
from funcnet.random import Key, fold_in

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
AnyLayer: TypeAlias = Layer[Any, Any]
AnyFunction: TypeAlias = Function[Any, Any]


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
    Raises GraphError for no layers, anything but layers, and a later layer of several inputs.
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
            y, pull = compute_at(
                f"layer {i} of the series ({apply.kind})", apply, apply.key_under(key, i), own, *values
            )
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
        own, shape = layer.init(fold_in(key, i), *shapes, dtype=dtype, **unknown)
        params.append(own)
        shapes = (shape,)
    return tuple(params), shapes[0]


@checks_call
def parallel(*layers: Layer[Any], merge: Layer[NoParams, Y] | None = None) -> Layer[tuple[Any, ...], Y]:
    """Layers side by side on the same input, their outputs merged.

    y = merge(f_1(x), ..., f_n(x))        dx = sum of the branches' dx

    Every layer reads the same inputs; merge, by default `add()`, joins their outputs and has no params.
    Params: the tuple of the layers' own.
    Raises GraphError for no layers, anything but layers, layers of different numbers of inputs, a merge with params.
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
    branches = [layer.init(fold_in(key, i), *shapes, dtype=dtype, **unknown) for i, layer in enumerate(layers)]
    _, shape = merge.init(key, *(shape for _, shape in branches), dtype=dtype)
    return tuple(params for params, _ in branches), shape


@checks_call
def residual(*layers: Layer[Any]) -> Layer[tuple[Any, ...]]:
    """Layers with a skip connection around them.

    y = x + f(x), f the layers in series        dx = g + f's dx        (He et al. 2016)

    Params: those of `serial(*layers)`. f must keep the shape of x.
    Raises GraphError as `serial` does, ShapeError where f changes the shape.
    Example: `fn.residual(fn.linear(2), fn.tanh())`.
    """
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
        raise ShapeError(f"residual: x has shape {shape} and f(x) {output}; they are added, so they must be equal")


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
        shapes = ", ".join(str(x.shape) for x in inputs)
        raise located(error, f"{where}: given shape{'s' * (len(inputs) > 1)} {shapes}", outermost=True) from None


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
