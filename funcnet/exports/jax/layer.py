"""A layer as a function for JAX: its recorded calls, made with JAX's arrays."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from functools import partial, reduce
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from funcnet import random, tree
from funcnet.calling import checks_call
from funcnet.core import Layer
from funcnet.errors import MissingPackageError
from funcnet.networks.parts import check
from funcnet.tracing.trace import Call, Trace, Value


@checks_call
def to_jax(layer: Layer[Any, Any]) -> Callable[..., Any]:
    """A layer or network as a function for JAX: `f(params, *inputs, key=None) -> output`, for jit, grad and vmap.

    The function computes with JAX's arrays. Its derivative is the layer's own pullback, by `jax.custom_vjp`: on a kink
    it is that of funcnet. `jax.grad` of it may be taken again; forward mode (`jax.jvp`, `jax.jacfwd`) may not, as of
    every `custom_vjp`. Values and gradients are those of `layer.apply` to rounding.

    params, inputs: as for `layer.apply`, arrays of NumPy or JAX; floating inputs are cast to the dtype of the params.
    float64 needs `jax.config.update("jax_enable_x64", True)`; without it JAX makes float32 of everything.
    key: a key of JAX's, `jax.random.key(0)`, which turns dropout on; the numbers drawn are JAX's, not funcnet's.
    A layer with a call that JAX has no counterpart for, such as `custom_layer`, runs in NumPy (`jax.pure_callback`).
    An index, a label or a length out of range, and a mask that is False everywhere, give NaN where `layer.apply` raises
    an error: compiled code raises none.
    Raises MissingPackageError without JAX, ShapeError and DTypeError as `layer.apply` does.

    Example: `jax.jit(jax.grad(lambda p: to_jax(net)(p, x).sum()))(params)`.
    """
    if find_spec("jax") is None:
        raise MissingPackageError("to_jax needs the package jax: pip install 'funcnet[jax]'")
    check("to_jax", (layer,), multi_output=True)
    return partial(_apply, layer)


def _apply(layer: Layer[Any, Any], params: Any, *inputs: Any, key: Any = None) -> Any:
    """Run the layer on JAX's arrays."""
    jax: Any = importlib.import_module("jax")
    params, arrays = tree.map(jax.numpy.asarray, params), [jax.numpy.asarray(x) for x in inputs]
    accepted = layer.apply.accept(tree.map(_like, params), tuple(map(_like, arrays)), None)
    recorded = _recorded(layer, tree.map(_like, params), accepted, key is not None)
    floats = [x.astype(a.dtype) for x, a in zip(arrays, accepted, strict=True) if a.dtype.kind == "f"]
    rest = [x for x, a in zip(arrays, accepted, strict=True) if a.dtype.kind != "f"]
    run, pull = _in_jax(recorded) or _on_host(layer, tree.structure(params), recorded)

    def output(floats: Any, rest: Any) -> Any:
        return run(floats, rest)[0]

    def backward(kept: Any, cotangents: Any) -> Any:
        return pull(kept, cotangents), None

    function = jax.custom_vjp(output)
    function.defvjp(run, backward)
    outputs = function([*tree.leaves(params), *floats], [*rest, *([] if recorded.key is None else [key])])
    return tree.unflatten(recorded.structure, outputs)


def _like(x: Any) -> Any:
    """An array of that shape and dtype, of zeros that take no memory."""
    return np.broadcast_to(np.zeros((), x.dtype), x.shape)


class _Recorded(NamedTuple):
    """The calls of a layer and of its pullback.

    floats, rest: the params and floating inputs; other inputs, and the key.
    integer: of each input, whether it is among the rest.
    cotangents, gradients: of the outputs; of `floats`.
    """

    forward: list[Call]
    backward: list[Call]
    floats: list[Value]
    rest: list[Value]
    integer: list[bool]
    key: Value | None
    outputs: list[Value]
    structure: tree.Structure[Any]
    cotangents: list[Value]
    gradients: list[Any]


def _recorded(layer: Layer[Any, Any], params: Any, inputs: tuple[Any, ...], keyed: bool) -> _Recorded:
    """Record the layer for params and inputs of these shapes and dtypes."""
    dtype = next(x.dtype for x in [*tree.leaves(params), *inputs] if x.dtype.kind == "f")
    trace = Trace(dtype, len(inputs[0]))
    leaves, form = tree.flatten(params)
    symbols = tree.unflatten(form, [trace.parameter(p.shape) for p in leaves])
    values: Any = [trace.input(x.shape, x.dtype) for x in inputs]
    key: Any = trace.key() if keyed and layer.apply.random else None
    output, pullback = layer.apply.run(symbols, tuple(values), key)
    outputs, structure = tree.flatten(output)
    count = len(trace.calls)
    cotangents = [Value(trace, y.shape, y.dtype, y.batch_axis) for y in outputs]
    of_params, of_inputs = pullback(tree.unflatten(structure, cotangents))
    integer = [x.dtype.kind != "f" for x in inputs]
    floating = [place for place, rest in enumerate(integer) if not rest]
    gradients = [*_in_order(symbols, of_params), *(of_inputs[i] for i in floating)]
    return _Recorded(
        trace.calls[:count],
        trace.calls[count:],
        [*tree.leaves(symbols), *(values[i] for i in floating)],
        [*(v for v, rest in zip(values, integer, strict=True) if rest), *([] if key is None else [key])],
        integer,
        key,
        outputs,
        structure,
        cotangents,
        gradients,
    )


def _in_order(params: Any, cotangents: Any) -> list[Any]:
    """The cotangents of params, in the order of the params."""
    return tree.leaves(tree.map(_second, params, cotangents))


def _second(_: Any, second: Any) -> Any:
    return second


def _in_jax(r: _Recorded) -> tuple[Callable[..., Any], Callable[..., Any]] | None:
    """(run, pull): the calls made with JAX's arrays; None where JAX has no counterpart for one of them."""
    rules: Any = importlib.import_module("funcnet.exports.jax.rules")
    if not all(rules.rule_of(call) for call in [*r.forward, *r.backward]):
        return None
    written = {id(y) for call in r.backward for y in call.outputs} | {id(g) for g in r.cotangents}
    read = [*(x.root for call in r.backward for x in call.operands), *(g.root for g in r.gradients)]
    residuals = [*{id(x): x for x in read if id(x) not in written}.values()]

    def run(floats: Any, rest: Any) -> Any:
        arrays = rules.computed(r.forward, [*r.floats, *r.rest], [*floats, *rest])
        return [rules.value(arrays, y) for y in r.outputs], [rules.value(arrays, x) for x in residuals]

    def pull(kept: Any, cotangents: Any) -> Any:
        arrays = rules.computed(r.backward, [*residuals, *r.cotangents], [*kept, *cotangents])
        return [rules.value(arrays, g) for g in r.gradients]

    return run, pull


def _on_host(
    layer: Layer[Any, Any], structure: tree.Structure[Any], r: _Recorded
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """(run, pull): the layer itself, which JAX calls with NumPy's arrays."""
    jax: Any = importlib.import_module("jax")

    def called(function: Callable[..., Any], like: Iterable[Value], *arguments: Any) -> Any:
        shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in like]
        return jax.pure_callback(function, shapes, *arguments, vmap_method="sequential")

    def given(floats: Any, rest: Any) -> tuple[Any, list[Any], Any]:
        leaves, others = ([np.asarray(x) for x in xs] for xs in (floats, rest))
        key = None if r.key is None else reduce(random.fold_in, others.pop().tolist(), random.key(0))
        params = tree.unflatten(structure, leaves[: structure.size])
        floating, integers = iter(leaves[structure.size :]), iter(others)
        return params, [next(integers if integer else floating) for integer in r.integer], key

    def forward(floats: Any, rest: Any) -> Any:
        params, inputs, key = given(floats, rest)
        return tree.leaves(layer.apply(params, *inputs, key=key))

    def backward(floats: Any, rest: Any, cotangents: Any) -> Any:
        params, inputs, key = given(floats, rest)
        _, pullback = layer.apply.vjp(params, *inputs, key=key)
        of_params, of_inputs = pullback(tree.unflatten(r.structure, [np.asarray(g) for g in cotangents]))
        floating = [g for g, integer in zip(of_inputs, r.integer, strict=True) if not integer]
        return [*_in_order(params, of_params), *floating]

    def run(floats: Any, rest: Any) -> Any:
        if r.key is not None:
            rest = [*rest[:-1], jax.random.key_data(rest[-1])]
        return called(forward, r.outputs, floats, rest), (floats, rest)

    def pull(kept: Any, cotangents: Any) -> Any:
        return called(backward, r.floats, *kept, cotangents)

    return run, pull
