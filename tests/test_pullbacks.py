"""A pullback works on copies, and equal arrays give the same bits in any memory layout, for every row of the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funcnet as fn
from funcnet import core, tree
from funcnet.testing.subject import Point
from tests.support.budget import examples
from tests.support.cases import CASES, Case


def unaligned(a: Any) -> Any:
    """The array in memory that begins at an odd byte."""
    memory = np.zeros(a.nbytes + 1, np.uint8)[1:]
    made = memory.view(a.dtype) if a.nbytes else np.empty(0, a.dtype)
    made = made.reshape(a.shape)
    made[...] = a
    return made


LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "C": lambda a: np.array(a, order="C"),
    "Fortran": lambda a: np.array(a, order="F"),
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a,
    "backwards": lambda a: np.flip(np.flip(a).copy()),
    "shifted": lambda a: np.concatenate([a.ravel()[:1], a.ravel()])[1:].reshape(a.shape) if a.size else a,
    "unaligned": unaligned,
    "broadcast": lambda a: np.broadcast_to(a, (2, *a.shape))[1],
}
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def point_of(case: Case, dtype: Any = np.float32) -> tuple[fn.Layer[Any, Any], Point]:
    subject = case.subject(5)
    return subject.layer, subject.point(dtype).copied(np.array)


def uncompiled(layer: fn.Layer[Any, Any]) -> Any:
    """The plain function of a layer, run on arrays."""
    apply = layer.apply
    kinds: Any = {"integer_inputs": apply.integer_inputs, "mask_inputs": apply.mask_inputs}
    return core.Function(apply.kind, apply.function, apply.arity, random=apply.random, **kinds)


def bits(found: Any) -> list[bytes]:
    return [np.asarray(a).tobytes() for a in tree.leaves(found)]


def ones_of(output: Any) -> Any:
    """A cotangent, of numbers that differ."""
    return tree.map(lambda y: np.cos(np.arange(np.size(y), dtype=y.dtype)).reshape(np.shape(y)), output)


@every_case
@given(data=st.data())
@settings(max_examples=examples(8))
def test_equal_arrays_give_the_same_bits_in_any_layout(case: Case, data: st.DataObject) -> None:
    layer, point = point_of(case, data.draw(st.sampled_from([np.float32, np.float64])))
    key = fn.key(1) if layer.apply.random else None
    odd = point.copied(lambda a: LAYOUTS[data.draw(st.sampled_from(sorted(LAYOUTS)))](a))
    g_layout = LAYOUTS[data.draw(st.sampled_from(sorted(LAYOUTS)))]
    apply = uncompiled(layer)
    y, pull = apply.vjp(point.params, *point.inputs, key=key)
    g = ones_of(y)
    odd_y, odd_pull = apply.vjp(odd.params, *odd.inputs, key=key)
    assert bits(odd_y) == bits(y)
    assert bits(apply(odd.params, *odd.inputs, key=key)) == bits(apply(point.params, *point.inputs, key=key))
    assert bits(odd_pull(tree.map(g_layout, g))) == bits(pull(g))


def scribble(tree_of_arrays: Any) -> None:
    """Write into every array."""
    for a in tree.leaves(tree_of_arrays):
        if isinstance(a, np.ndarray):
            a[...] = a.dtype.type(1)


@every_case
def test_a_pullback_sees_no_later_writes(case: Case) -> None:
    layer, point = point_of(case)
    key = fn.key(1).copy() if layer.apply.random else None
    y, pull = layer.apply.vjp(point.params, *point.inputs, key=key)
    g = ones_of(y)
    expected = bits(pull(g))
    for written in (y, point.params, point.inputs, key, pull(g)):
        scribble(written)
        assert bits(pull(g)) == expected
    scribble(g)
    assert bits(pull(ones_of(y))) == expected


@pytest.mark.parametrize("form", ["network", "nested", "serial", "custom", "outputs"])
def test_a_pullback_of_what_is_composed_sees_no_later_writes(form: str) -> None:
    table = fn.network({"e": fn.embedding(7, 3), "m": fn.mean(axis=1), 2: fn.linear(2)}, {"e": ["m"], "m": [2]})
    net: Any = {
        "network": table,
        "nested": fn.network({1: table, 2: fn.tanh(), "d": fn.dropout(0.5)}, {1: [2], 2: ["d"]}),
        "serial": fn.serial(table, fn.tanh(), fn.linear(2)),
        "custom": fn.serial(table, fn.custom_layer(kept, remembering)),
        "outputs": fn.network({1: table, 2: fn.tanh(), 3: fn.exp()}, {1: [2, 3]}, output=[2, 3]),
    }[form]
    labels, key = np.arange(12).reshape(4, 3) % 7, fn.key(3).copy()
    params, _ = net.init(fn.key(0), (3,))
    y, pull = net.apply.vjp(params, labels, key=key)
    g = ones_of(y)
    expected = bits(pull(g))
    for written in (y, params, labels, key, pull(g)):
        scribble(written)
        assert bits(pull(g)) == expected


def kept(key: Any, shape: Any, dtype: Any = np.float32) -> Any:
    return (), shape


def remembering(params: tuple[()], x: Any) -> Any:
    """A layer whose pullback hands out an array that it keeps."""
    slope = np.full_like(x, 2.0)
    return x * 2.0, lambda g: ((), (slope,))
