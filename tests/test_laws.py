"""Laws that hold for every operator in the table of cases."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.testing import check_vjp

from .cases import CASES, Case

DTYPES = (np.float32, np.float64)
NOT_OPERATORS = {
    "elementwise",
    "shared",
    "network",
    "vjp",
    "trace",
    "sgd_step",
    "value_and_grad",
    "key",
    "fold_in",
    "split",
}
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
both_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])


def drawn(case: Case, dtype: Any, batch: int = 3) -> tuple[fn.Layer[Any, Any], Any, list[fn.Array], Any]:
    """The layer, its params and its inputs, all read-only, and its output's shape."""
    layer = case.make()
    params, shape = layer.init(fn.key(1), *case.shapes, dtype=dtype)
    rng = np.random.default_rng(2)
    inputs = [rng.normal(size=(batch, *s)).astype(dtype) for s in case.shapes]
    for array in (*tree.leaves(params), *inputs):
        array.flags.writeable = False
    return layer, params, inputs, shape


def cotangent_of(output: Any) -> Any:
    rng = np.random.default_rng(3)

    def draw(y: Any) -> Any:
        g = rng.normal(size=np.shape(y)).astype(y.dtype)
        g.flags.writeable = False
        return g

    return tree.map(lambda y: draw(np.asarray(y)), output)


def as_network(case: Case) -> fn.Layer[Any, Any]:
    """The operator alone in a network, so that it runs as a program."""
    inputs = [f"x{i}" for i in range(len(case.shapes))]
    operators = {**dict.fromkeys(inputs, fn.identity()), "f": case.make()}
    return fn.network(operators, {x: ["f"] for x in inputs}, inputs=inputs)


def has_mean(case: Case) -> bool:
    return case.name.startswith(("mse", "softmax_cross"))


def test_every_public_operator_has_a_row() -> None:
    names = {case.name.split(" ")[0] for case in CASES}
    public = {name for name in fn.__all__ if name.islower() and callable(getattr(fn, name))}
    initializers = {name for name in public if isinstance(getattr(fn, name).__module__, str)
                    and getattr(fn, name).__module__ == "funcnet.initializers"}  # fmt: skip
    assert public - initializers - NOT_OPERATORS - names == set()


@every_case
def test_vjp_equals_differences(case: Case) -> None:
    check_vjp(case.make(), *case.shapes, holomorphic=case.holomorphic)


@every_case
def test_init_tells_the_shape_of_the_output(case: Case) -> None:
    layer, params, inputs, shape = drawn(case, np.float64, batch=5)
    output = layer.apply(params, *inputs)
    for y, s in zip(output, shape, strict=True) if isinstance(output, tuple) else [(output, shape)]:
        assert np.shape(y) in ((5, *s), s if s == () else None)


@every_case
@both_dtypes
def test_cotangents_are_shaped_and_typed_as_the_primals(case: Case, dtype: Any) -> None:
    layer, params, inputs, _ = drawn(case, dtype)
    output, pullback = layer.apply.vjp(params, *inputs)
    of_params, of_inputs = pullback(cotangent_of(output))
    assert tree.structure(of_params) == tree.structure(params)
    assert {y.dtype for y in tree.leaves(output)} == {np.dtype(dtype)}
    for c, x in zip((*tree.leaves(of_params), *of_inputs), (*tree.leaves(params), *inputs), strict=True):
        assert (c.shape, c.dtype) == (x.shape, np.dtype(dtype))


@every_case
def test_what_it_returns_is_fresh(case: Case) -> None:
    layer, params, inputs, _ = drawn(case, np.float64)
    output, pullback = layer.apply.vjp(params, *inputs)
    cotangent = cotangent_of(output)
    given = [*tree.leaves(params), *inputs, *tree.leaves(cotangent)]
    results = [*tree.leaves(output), *tree.leaves(pullback(cotangent)), *tree.leaves(layer.apply(params, *inputs))]
    for i, result in enumerate(results):
        assert not any(np.shares_memory(result, other) for other in (*given, *results[:i]))


@every_case
def test_pullback_can_be_called_again(case: Case) -> None:
    layer, params, inputs, _ = drawn(case, np.float64)
    output, pullback = layer.apply.vjp(params, *inputs)
    cotangent = cotangent_of(output)
    first = pullback(cotangent)
    pullback(tree.map(lambda g: g * 2, cotangent))
    assert same_bits(first, pullback(cotangent))


@every_case
def test_pullback_is_linear(case: Case) -> None:
    layer, params, inputs, _ = drawn(case, np.float64)
    output, pullback = layer.apply.vjp(params, *inputs)
    g = cotangent_of(output)
    h = tree.map(lambda a: a[::-1] if np.ndim(a) else a * 3.0, g)
    together = pullback(tree.map(lambda a, b: 1e4 * a + b, g, h))
    apart = tree.map(lambda a, b: 1e4 * a + b, pullback(g), pullback(h))
    for a, b in zip(tree.leaves(together), tree.leaves(apart), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-9)


@every_case
@both_dtypes
def test_program_equals_the_pure_function(case: Case, dtype: Any) -> None:
    if case.name == "network of two outputs":
        pytest.skip("an operator inside a network has one output")
    layer, params, inputs, _ = drawn(case, dtype)
    net = as_network(case)
    own = {"f": params} if tree.leaves(params) else {}
    tolerance = 1e-5 if dtype is np.float32 else 1e-13
    for _ in range(2):
        np.testing.assert_allclose(
            net.apply(own, *inputs), layer.apply(params, *inputs), rtol=tolerance, atol=tolerance, strict=True
        )


@every_case
@pytest.mark.parametrize("batch", [0, 1])
def test_small_batches(case: Case, batch: int) -> None:
    layer, params, inputs, _ = drawn(case, np.float64, batch)
    if has_mean(case) and not batch:
        with pytest.raises(fn.ShapeError, match="the batch is empty, and has no mean"):
            layer.apply(params, *inputs)
        return
    with np.errstate(all="raise"):
        output, pullback = layer.apply.vjp(params, *inputs)
        of_params, of_inputs = pullback(cotangent_of(output))
    assert all(c.shape == x.shape for c, x in zip(of_inputs, inputs, strict=True))
    if not batch:
        assert not any(np.any(c) for c in tree.leaves(of_params))
    if case.name != "network of two outputs":
        own = {"f": params} if tree.leaves(params) else {}
        np.testing.assert_allclose(as_network(case).apply(own, *inputs), output, rtol=1e-13, atol=1e-13)


LAYOUTS: dict[str, Callable[[fn.Array], fn.Array]] = {
    "fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "reversed": lambda a: a[::-1].copy()[::-1],
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
}


@every_case
@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layout_changes_nothing(case: Case, layout: str) -> None:
    layer, params, inputs, _ = drawn(case, np.float64)
    odd = [LAYOUTS[layout](x) for x in inputs]
    output, pullback = layer.apply.vjp(params, *odd)
    expected, expected_pullback = layer.apply.vjp(params, *(x.copy() for x in odd))
    close(output, expected)
    g = tree.map(lambda a: LAYOUTS[layout](a) if np.ndim(a) else a, cotangent_of(output))
    close(pullback(g), expected_pullback(tree.map(np.copy, g)))
    if case.name != "network of two outputs":
        own = {"f": params} if tree.leaves(params) else {}
        close(as_network(case).apply(own, *odd), expected)


@every_case
def test_it_pickles(case: Case) -> None:
    layer, params, inputs, _ = drawn(case, np.float64)
    again = pickle.loads(pickle.dumps(layer))
    assert same_bits(again.apply(params, *inputs), layer.apply(params, *inputs))
    assert same_bits(again.init(fn.key(1), *case.shapes, dtype=np.float64)[0], params)


def close(a: Any, b: Any) -> None:
    for x, y in zip(tree.leaves(a), tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-13, atol=1e-13, strict=True)


def same_bits(a: Any, b: Any) -> bool:
    pairs = zip(tree.leaves(a), tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)
