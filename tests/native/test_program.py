"""Native code reads params where they are, and writes into what is handed out alone."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.compiler.layout import contiguous
from funcnet.core import layer
from funcnet.native import table
from tests.exports.running import needs_compiler
from tests.native.test_jit import assert_close, batch

pytestmark = needs_compiler

SMALL = fn.serial(fn.linear(25), fn.tanh(), fn.linear(2))
WIDE = fn.serial(fn.linear(450), fn.tanh(), fn.linear(450), fn.relu(), fn.linear(2))
CUSTOM = fn.serial(fn.linear(8), fn.dropout(0.5), fn.linear(8), fn.rms_norm(), fn.linear(2))
OPTIMIZER = fn.adam(0.01, eps=0.01)  # well conditioned where a gradient is next to 0


def bits(given: Any) -> list[bytes]:
    return [np.asarray(a).tobytes() for a in tree.leaves(given)]


def space_of(native: Any) -> Any:
    return [*native._programs.by_signature.values()][-1].pool[-1]


@pytest.mark.parametrize("net", [SMALL, WIDE, CUSTOM], ids=["in C", "with NumPy's products", "with NumPy's masks"])
def test_params_are_read_where_they_are(net: Any) -> None:
    x, t = np.random.default_rng(0).normal(size=(2, 33, 2)).astype(np.float32)
    a, b = (contiguous(net.init(fn.key(i), (2,))[0], np.dtype(np.float32)) for i in (0, 1))
    key = fn.key(5)
    gradient = fn.value_and_grad(net, fn.mse())
    native = fn.jit(gradient)
    for _ in range(3):
        for params in (a, b, tree.map(np.copy, a)):
            assert_close(native(params, x, t, key=key), gradient(params, x, t, key=key), np.float32)
        a[0].weight[...] *= 1.5
    space = space_of(native)
    native(b, x, t, key=key)
    held = space.own.copy()
    native(a, x, t, key=key)
    if net is not CUSTOM:
        np.testing.assert_array_equal(space.own, held)  # nothing was copied in


@pytest.mark.parametrize("net", [SMALL, WIDE, CUSTOM], ids=["in C", "with NumPy's products", "with NumPy's masks"])
@pytest.mark.parametrize("check_finite", [False, True])
def test_steps_write_into_what_they_hand_out(net: Any, check_finite: bool) -> None:
    x, t = np.random.default_rng(0).normal(size=(2, 5, 33, 2)).astype(np.float32)
    params, _ = net.init(fn.key(0), (2,))
    step = fn.train_step(net, fn.mse(), OPTIMIZER, check_finite=check_finite)
    native = fn.jit(step)
    start = native.init(params)
    given = bits((params, start, x, t))
    found: Any = params, start, None
    right: Any = found
    kept: list[Any] = []
    for i in range(5):
        found, right = native(*found[:2], x[i], t[i], key=fn.key(i)), step(*right[:2], x[i], t[i], key=fn.key(i))
        kept.append((found, bits(found)))
    assert_close(found, right, np.float32)
    assert bits((params, start, x, t)) == given
    assert all(bits(result) == before for result, before in kept)
    scanned = fn.scan(native, params, start, x, t, key=fn.key(0))
    assert_close(scanned, fn.scan(step, params, start, x, t, key=fn.key(0)), np.float32)
    if not net.apply.random:
        assert bits(scanned[:2]) == bits(found[:2])
    sgd = fn.sgd_step(net, fn.mse(), learning_rate=0.1, check_finite=check_finite)
    assert_close(fn.jit(sgd)(params, x[0], t[0], key=fn.key(0)), sgd(params, x[0], t[0], key=fn.key(0)), np.float32)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_a_count_may_be_an_array_of_no_axes(dtype: Any) -> None:
    params, _ = SMALL.init(fn.key(0), (2,))
    step = fn.train_step(SMALL, fn.mse(), OPTIMIZER)
    native = fn.jit(step)
    params, state, _ = step(params, step.init(params), *batch(4))
    loaded = tree.map(lambda leaf: np.asarray(leaf, dtype) if type(leaf) is int else leaf, state)
    assert bits(native(params, loaded, *batch(4))[0]) == bits(native(params, state, *batch(4))[0])
    assert_close(native(params, loaded, *batch(4)), step(params, loaded, *batch(4)), np.float32)


def test_params_that_lie_askew_are_copied() -> None:
    params = contiguous(SMALL.init(fn.key(0), (2,))[0], np.dtype(np.float32))
    flat: Any = tree.leaves(params)[0].base
    memory = np.zeros(flat.nbytes + 1, np.uint8)
    askew: Any = np.ndarray(flat.shape, flat.dtype, memory, 1)
    askew[...] = flat
    starts = np.cumsum([0, *(leaf.size for leaf in tree.leaves(params))])
    leaves = [
        np.ndarray(leaf.shape, leaf.dtype, askew, 4 * start)
        for leaf, start in zip(tree.leaves(params), starts[:-1], strict=True)
    ]
    same = tree.unflatten(tree.structure(params), leaves)
    native = fn.jit(fn.sgd_step(SMALL, fn.mse(), learning_rate=0.1))
    assert bits(native(same, *batch(5))) == bits(native(params, *batch(5)))
    assert space_of(native).own[0] == flat[0]


BEHIND = """
import ctypes, mmap
import numpy as np
import funcnet as fn
from funcnet import tree

libc = ctypes.CDLL(None)
memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
pages = np.frombuffer(memory, np.uint8)
assert libc.mprotect(ctypes.c_void_p(pages.ctypes.data + mmap.PAGESIZE), mmap.PAGESIZE, 0) == 0
for widths in ((3,), (5, 1), (9, 2), (17, 3), (8, 8)):
    for dtype in (np.float32, np.float64):
        net = fn.serial(*(fn.linear(n) for n in widths))
        params, _ = net.init(fn.key(0), (2,), dtype=dtype)
        leaves = tree.leaves(params)
        flat = np.concatenate([leaf.ravel() for leaf in leaves])
        vector = np.ndarray(flat.shape, dtype, memory, mmap.PAGESIZE - flat.nbytes)
        vector[...] = flat
        starts = np.cumsum([0, *(leaf.nbytes for leaf in leaves)])
        views = [np.ndarray(a.shape, dtype, vector, s) for a, s in zip(leaves, starts)]
        last = tree.unflatten(tree.structure(params), views)
        step = fn.jit(fn.sgd_step(net, fn.mse(), learning_rate=0.1))
        for rows in (1, 2, 5, 8, 33):
            x, t = np.ones((rows, 2), dtype), np.ones((rows, widths[-1]), dtype)
            new, _ = step(last, x, t)
            right, _ = step(params, x, t)
            assert all(a.tobytes() == b.tobytes() for a, b in zip(tree.leaves(new), tree.leaves(right)))
            members = tree.map(lambda a: np.stack([a, a]), params)
            fn.vmap(step, in_axes=(0, None, None))(members, x, t)
print("all of it")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="pages are protected by Linux")
def test_nothing_behind_the_last_param_is_read() -> None:
    done = subprocess.run([sys.executable, "-c", BEHIND], capture_output=True, text=True)
    assert done.stdout == "all of it\n", done.stderr


def test_arrays_are_as_the_c_expects_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for shape in ((), (3,), (2, 4)):
        array = np.ones(shape)
        assert table.pointer_in(array) == array.ctypes.data
    table.check_arrays.cache_clear()
    monkeypatch.setattr(table, "HEAD", table.HEAD + 8)
    with pytest.raises(fn.CompilerError, match="this Python is another one"):
        fn.jit(SMALL).apply(SMALL.init(fn.key(0), (2,))[0], batch(3)[0])
    monkeypatch.undo()
    table.check_arrays.cache_clear()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("rows", "features"), [(8, 8), (19, 13), (600, 9)])
def test_tables_of_many_columns_are_turned_on_their_way_in_and_out(rows: int, features: int, dtype: Any) -> None:
    net = fn.serial(fn.linear(features + 2), fn.tanh())
    params, _ = net.init(fn.key(0), (features,), dtype=dtype)
    rng = np.random.default_rng(0)
    x, target = (rng.normal(size=(rows, n)).astype(dtype) for n in (features, features + 2))
    assert_close(fn.jit(net).apply(params, x), net.apply(params, x), dtype)
    function = fn.value_and_grad(net, fn.mse())
    assert_close(fn.jit(function)(params, x, target), function(params, x, target), dtype)


def reshaped(shape: tuple[int, ...], params: Any, x: Any) -> Any:
    return x.reshape(x.shape[0], *shape), lambda g: ((), (g.reshape(*x.shape),))  # pyright: ignore[reportUnknownLambdaType]


@pytest.mark.parametrize(
    ("before", "after"),
    [((4, 6), (6, 4)), ((2, 3, 4), (12, 2)), ((6, 4), (6, 2, 2)), ((1, 8), (2, 1, 4)), ((1,), (1, 1))],
)
def test_shapes_are_changed_in_row_major_order(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    change = layer("change", partial(reshaped, after))
    net: Any = fn.serial(fn.linear(before[-1]), fn.tanh(), change, fn.linear(3))
    params, shape = net.init(fn.key(0), before)
    rng = np.random.default_rng(0)
    x, target = (rng.normal(size=(9, *each)).astype(np.float32) for each in (before, shape))
    function = fn.value_and_grad(net, fn.mse())
    native = fn.jit(function)
    assert_close(native(params, x, target), function(params, x, target), np.float32)
    assert "NumPy, after function" not in str(native)
