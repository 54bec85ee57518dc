"""Recurrence in C: what it gives, and when NumPy makes it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.native.recurrence import LARGEST
from tests.native.test_jit import pytestmark as needs_compiler

pytestmark = needs_compiler
SIZES = {"rnn": 1, "lstm": 2, "gru": 1}  # the parts of a state


class Sizes(NamedTuple):
    """Of an example."""

    rows: int
    times: int
    inputs: int
    units: int


def problem(layer: fn.Layer[Any], shapes: list[fn.Shape], dtype: Any, rows: int) -> tuple[Any, Any, list[Any]]:
    """(a network in which all inputs have cotangents, its params, inputs and a target)."""
    keys: list[fn.OperatorKey] = [f"x{i}" for i in range(len(shapes))]
    linear = {key: fn.linear(shape[-1]) for key, shape in zip(keys, shapes, strict=True)}
    net = fn.network({**linear, "f": layer}, {key: ["f"] for key in keys}, inputs=keys)
    params, shape = net.init(fn.key(0), *shapes, dtype=dtype)
    rng = np.random.default_rng(0)
    params = tree.map(lambda p: p + rng.normal(0, 0.1, p.shape).astype(dtype), params)
    return net, params, [rng.normal(size=(rows, *s)).astype(dtype) for s in (*shapes, shape)]


BY_NUMPY = "NumPy, after function"


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("sizes", [Sizes(40, 14, 5, 24), Sizes(3, 1, 1, 5)], ids=str)
def test_all_options_give_what_numpy_gives(kind: str, dtype: Any, sizes: Sizes) -> None:
    many = sizes.times > 1
    options: dict[str, Any] = {"return_sequences": many, **({"return_state": True} if kind == "lstm" else {})}
    layer = getattr(fn, kind)(sizes.units, initial_state=True, **options)
    shapes = [(sizes.times, sizes.inputs), (SIZES[kind] * sizes.units,)]
    net, params, (*inputs, target) = problem(layer, shapes, dtype, sizes.rows)
    plain = fn.value_and_grad(net, fn.mse())
    compiled = fn.jit(plain)
    expected, found = plain(params, *inputs, target), compiled(params, *inputs, target)
    close(found, expected, dtype)
    close(compiled(params, *inputs, target), found, 0)  # in the memory of the run before
    assert BY_NUMPY not in str(compiled)


@pytest.mark.parametrize("kind", SIZES)
def test_without_gradient_and_without_an_initial_state(kind: str) -> None:
    for sequences in (False, True):
        layer = getattr(fn, kind)(5, return_sequences=sequences)
        net, params, (x, target) = problem(layer, [(4, 3)], np.float32, 9)
        close(fn.jit(net).apply(params, x), net.apply(params, x), np.float32)
        plain = fn.value_and_grad(net, fn.mse())
        close(fn.jit(plain)(params, x, target), plain(params, x, target), np.float32)


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("both", [False, True], ids=["forward", "bidirectional"])
def test_unequal_lengths(kind: str, sequences: bool, both: bool) -> None:
    options: dict[str, Any] = {"return_state": True} if kind == "lstm" else {}
    layer = getattr(fn, kind)(4, lengths=True, initial_state=True, return_sequences=sequences, **options)
    size = (1 + both) * SIZES[kind] * 4
    operators: dict[fn.OperatorKey, Any] = {"x": fn.linear(3), "n": fn.identity(), "h": fn.linear(size)}
    operators["f"] = fn.bidirectional(layer) if both else layer
    net = fn.network(operators, {"x": ["f"], "n": ["f"], "h": ["f"]}, inputs=["x", "n", "h"])
    params, shape = net.init(fn.key(0), (5, 2), (), (2,))
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(4, *s)).astype(np.float32) for s in ((5, 2), (2,), shape)]
    for lengths in (np.array([5, 0, 2, 1]), np.array([0, 0, 0, 0], np.uint8), np.array([3, 5, 5, 5], np.int32)):
        given = arrays[0], lengths, *arrays[1:]
        plain = fn.value_and_grad(net, fn.mse())
        compiled = fn.jit(plain)
        close(compiled(params, *given), plain(params, *given), np.float32)
        assert BY_NUMPY not in str(compiled)
        for wrong in (lengths.dtype.type(6), lengths.dtype.type(200)):
            with pytest.raises(fn.LabelError, match=f"length {wrong} is none of 0 to 5"):
                compiled(params, given[0], np.where(lengths == lengths.max(), wrong, lengths), *given[2:])
        close(compiled(params, *given), plain(params, *given), np.float32)


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("both", [False, True], ids=["alone", "beside another reader"])
def test_an_input_is_read_where_the_caller_has_it(kind: str, both: bool) -> None:
    layer = getattr(fn, kind)(5, return_sequences=True)
    operators: dict[fn.OperatorKey, Any] = {"x": fn.identity(), "f": layer, "y": fn.add()}
    net = fn.network(operators, {"x": ["f", "y"], "f": ["y"]}) if both else layer
    params, _ = net.init(fn.key(0), (6, 5))
    rng = np.random.default_rng(0)
    x, target = (rng.normal(size=(9, 6, 5)).astype(np.float32) for _ in range(2))
    plain = fn.value_and_grad(net, fn.mse())
    compiled = fn.jit(plain)
    close(compiled(params, x, target), plain(params, x, target), np.float32)
    close(compiled(params, x[:, ::-1], target), plain(params, x[:, ::-1], target), np.float32)
    text = str(compiled)
    assert "(fn_given){fn_x0, 30, 5, 1}" in text
    assert (text.count("fn_x0[") > 0) == both


def test_many_units_are_left_to_numpy() -> None:
    layer = fn.rnn(LARGEST + 1)
    net, params, (x, _) = problem(layer, [(2, 3)], np.float32, 2)
    native = fn.jit(net)
    close(native.apply(params, x), net.apply(params, x), np.float32)
    assert BY_NUMPY in str(native.apply)


def close(found: Any, expected: Any, dtype: Any) -> None:
    """As the rounding of the dtype allows; 0: the very bits."""
    for a, b in zip(tree.leaves(found), tree.leaves(expected), strict=True):
        size = np.abs(b).max(initial=1e-3)
        np.testing.assert_allclose(a, b, rtol=0, atol=0 if dtype == 0 else 50 * np.finfo(dtype).eps * size)
