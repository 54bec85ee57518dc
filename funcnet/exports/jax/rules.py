"""What each primitive is in JAX: a rule (call, *operands) -> the array. Imported where JAX is installed.

A label or an index that is out of range, for which NumPy's program raises an error, gives NaN.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np

from funcnet.exports.jax import images, recurrence
from funcnet.tracing import primitive, primitives
from funcnet.tracing.masks import LIMITS, WHERE
from funcnet.tracing.primitive import Primitive, of_ufunc
from funcnet.tracing.products import CONTRACT, parsed
from funcnet.tracing.special import NORMAL_CDF
from funcnet.tracing.trace import Call, Value

Rule: TypeAlias = Callable[..., Any]

jax: Any = importlib.import_module("jax")
jnp: Any = importlib.import_module("jax.numpy")
ndtr: Any = importlib.import_module("jax.scipy.special").ndtr


def computed(calls: Iterable[Call], values: Iterable[Value], given: Iterable[Any]) -> dict[int, Any]:
    """The arrays of all values, by identity, from those that are given."""
    arrays = {id(v): x for v, x in zip(values, given, strict=True)}
    for call in calls:
        rule: Any = rule_of(call)
        found = rule(call, *(value(arrays, x) if isinstance(x, Value) else x for x in call.inputs))
        for output, y in zip(call.outputs, found if call.primitive.multi_output else (found,), strict=True):
            arrays[id(output)] = _as_recorded(output, y)
    return arrays


def _as_recorded(output: Value, y: Any) -> Any:
    """What a rule gives, in the dtype recorded; it may be several arrays, for the rule of another call."""
    dtype = output.dtype

    def cast_to_it(array: Any) -> Any:
        return array.astype(dtype)

    return jax.tree.map(cast_to_it, y) if dtype.kind == "f" else y


def value(arrays: dict[int, Any], x: Value) -> Any:
    """The array of a value, which may be a view of another."""
    return arrays[id(x)] if x.base is None or x.view is None else x.view(value(arrays, x.base))


def rule_of(call: Call) -> Rule | None:
    """The rule of a call; None where there is none."""
    found = RULES.get(call.primitive)
    return found or (_ufunc(call.primitive) if call.primitive.elementwise else None)


def _ufunc(p: Primitive) -> Rule | None:
    """JAX's function of the name of a ufunc of NumPy's."""
    ufunc, function = getattr(np, p.name, None), getattr(jnp, p.name, None)
    if function is None or not isinstance(ufunc, np.ufunc) or of_ufunc(ufunc) is not p:
        return None
    return _of_operands(function)


def _of_operands(function: Callable[..., Any]) -> Rule:
    """The rule of a call that its operands alone decide."""

    def rule(call: Call, *operands: Any) -> Any:
        return function(*operands)

    return rule


def _inner(a: Any, b: Any) -> Any:
    return jnp.sum(a * b)


def _nonzero(y: Any) -> Any:
    return y != 0


def _relu_grad(g: Any, mask: Any) -> Any:
    return jnp.where(mask, g, 0)


def _reshape(call: Call, x: Any) -> Any:
    return jnp.reshape(x, call.output.shape)


def _positive(call: Call, x: Any) -> Any:
    return jnp.broadcast_to(x, call.output.shape)


def _sum(call: Call, x: Any) -> Any:
    return jnp.sum(x, axis=call.attributes["axes"], dtype=call.output.dtype)


def _max(call: Call, x: Any) -> Any:
    return jnp.max(x, axis=call.attributes["axes"])


def _concatenate(call: Call, *parts: Any) -> Any:
    return jnp.concatenate(parts, axis=call.attributes["axis"])


def _contract(call: Call, a: Any, b: Any) -> Any:
    spec, heads = parsed(call.attributes["subscripts"]), call.attributes["heads"]
    lengths = spec.lengths(a.shape, b.shape, heads)
    apart = [
        x.reshape([lengths[letter] for letter in term.letters])
        for x, term in zip((a, b), (spec.left, spec.right), strict=True)
    ]
    return jnp.einsum(spec.plain, *apart).reshape(spec.output.shape(lengths))


def _total_weight(call: Call, w: Any) -> Any:
    total = jnp.sum(w)
    return jnp.where(total != 0, total, jnp.where(jnp.any(w != 0), jnp.nan, jnp.inf))


def _gather(call: Call, table: Any, index: Any) -> Any:
    known = (index >= 0) & (index < len(table))
    return jnp.where(known[..., None], table[jnp.where(known, index, 0)], jnp.nan)


def _scatter_add(call: Call, g: Any, index: Any) -> Any:
    return jnp.zeros(call.output.shape, g.dtype).at[index].add(g)


def _pad(call: Call, g: Any) -> Any:
    return jnp.zeros(call.output.shape, g.dtype).at[call.attributes["index"]].set(g)


def _zero(call: Call) -> Any:
    return jnp.zeros(call.output.shape, call.output.dtype)


def _pick(call: Call, x: Any, labels: Any) -> Any:
    known = (labels >= 0) & (labels < x.shape[-1])
    picked = jnp.take_along_axis(x, jnp.where(known, labels, 0)[..., None], axis=-1)[..., 0]
    return jnp.where(known, picked, jnp.nan)


def _one_hot(call: Call, labels: Any) -> Any:
    return jax.nn.one_hot(labels, call.output.shape[-1], dtype=call.output.dtype)


def _labelled(call: Call, labels: Any) -> Any:
    return (labels != call.attributes["ignored"]).astype(call.output.dtype)


def _where(call: Call, mask: Any, a: Any, b: Any) -> Any:
    return jnp.where(mask, a, b).astype(call.output.dtype)


def _limits(call: Call, mask: Any) -> Any:
    some = jnp.any(mask) if mask.size else True
    return jnp.where(some, jnp.where(mask, jnp.inf, -jnp.inf), jnp.nan).astype(call.output.dtype)


def _known_labels(call: Call, labels: Any, w: Any) -> Any:
    return jnp.where((w == 0) & ((labels < 0) | (labels >= call.attributes["classes"])), 0, labels)


def _fold_in(call: Call, key: Any) -> Any:
    return jax.random.fold_in(key, crc32(repr(call.attributes["data"]).encode()))


def _dropout_mask(call: Call, key: Any) -> Any:
    keep = 1.0 - call.attributes["rate"]
    return jax.random.bernoulli(key, keep, call.output.shape).astype(call.output.dtype) / keep


RULES: dict[Primitive, Rule] = {
    primitive.COPY: _positive,
    primitive.MATMUL: _of_operands(jnp.matmul),
    primitive.INNER: _of_operands(_inner),
    primitive.SUM: _sum,
    primitive.MAX: _max,
    primitive.CONCATENATE: _concatenate,
    primitive.RESHAPE: _reshape,
    primitives.NONZERO: _of_operands(_nonzero),
    primitives.RELU_GRAD: _of_operands(_relu_grad),
    CONTRACT: _contract,
    primitives.TOTAL_WEIGHT: _total_weight,
    primitives.GATHER: _gather,
    primitives.SCATTER_ADD: _scatter_add,
    primitives.PAD: _pad,
    primitives.ZERO: _zero,
    primitives.PICK: _pick,
    primitives.ONE_HOT: _one_hot,
    primitives.LABELLED: _labelled,
    WHERE: _where,
    LIMITS: _limits,
    primitives.KNOWN_LABELS: _known_labels,
    primitives.FOLD_IN: _fold_in,
    primitives.DROPOUT_MASK: _dropout_mask,
    NORMAL_CDF: _of_operands(ndtr),
    **images.RULES,
    **recurrence.RULES,
}
"""The rules of all primitives but NumPy's own ufuncs, which JAX has by the same names."""
