"""Params and arrays that came last are recognised in C where Python would recognise them, and nowhere else."""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Callable
from importlib.util import find_spec
from os import environ
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.compiler.layout import Layout
from funcnet.compiler.params_cache import ParamsCache
from funcnet.compiler.programs import Compiled
from funcnet.native import entry
from tests.compiler.test_warm import IN_PLACE, KEYS, LEAF, NODE, F, Machine, network, outcome, replaced

pytestmark = pytest.mark.skipif(
    not (environ.get("FUNCNET_CC") or shutil.which("cc") or find_spec("ziglang")), reason="there is no C compiler"
)
FORMS = ["dict", "nested", "serial"]


def cache_of(form: str) -> tuple[ParamsCache[Any], Any]:
    """(a cache, params that came last to it)."""
    leaves, structure = tree.flatten(network(form).init(fn.key(0), (F,))[0])
    params_cache = ParamsCache[Any](Layout(structure, [x.shape for x in leaves], np.dtype(np.float32)))
    return params_cache, params_cache.made(np.ones(params_cache.layout.count, np.float32))


def recognised(params_cache: ParamsCache[Any], params: Any) -> bool:
    """Whether the params are those that came last, as Python sees it."""
    last = params_cache.last
    try:
        params_cache.recognise(params)
    except (LookupError, TypeError, fn.FuncnetError):
        return False
    return params_cache.last is last


def of_leaf(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same change, of the first leaf, or of the first node."""
    return lambda params: replaced(params, 0, change)


def node(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same change of the first node of a dict."""
    return lambda params: {**params, 1: change(params[1])} if type(params) is dict else params


def of_vector(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same change of the flat vector, if there is one."""
    return lambda params: (tree.leaves(params)[0].base is not None and change(tree.leaves(params)[0].base), params)[1]


def in_place(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same change of the last leaf, where it is."""
    return lambda params: (change(tree.leaves(params)[-1]), params)[1]


def of_dict(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same change, where the params are a dict."""
    return lambda params: change(params) if type(params) is dict else params


CHANGES: dict[str, Callable[[Any], Any]] = {
    "none": lambda params: params,
    **{f"{name} in place": in_place(change) for name, change in IN_PLACE.items()},
    **{f"{name} of the vector": of_vector(change) for name, change in IN_PLACE.items()},
    **{f"{name} of a leaf": of_leaf(change) for name, change in LEAF.items()},
    **{f"{name} of a node": node(change) for name, change in NODE.items()},
    **{f"keys: {name}": of_dict(change) for name, change in KEYS.items()},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("change", sorted(CHANGES))
@pytest.mark.parametrize("apart", [False, True], ids=["views of a vector", "arrays apart"])
def test_what_python_notices_is_noticed(apart: bool, form: str, change: str) -> None:
    params_cache, params = cache_of(form)
    if apart:
        params = tree.map(np.copy, params)
        params_cache.remember(params, tree.leaves(params), None)
    x, inside = np.ones((3, F), np.float32), np.zeros((3, F), np.float32)
    accept: Any = entry.acceptor([inside], params_cache.layout)
    assert accept(params_cache.last, params, (x,))
    changed = CHANGES[change](params)
    assert accept(params_cache.last, changed, (x,)) == recognised(params_cache, changed)
    assert change != "none" or (inside == x).all()


@pytest.mark.parametrize("form", ["dict", "nested"])
@pytest.mark.parametrize("vector", [True, False])
@pytest.mark.parametrize("how", ["integers", "strides", "turned strides", "value"])
def test_a_jitted_step_that_was_used_is_as_a_new_one(form: str, vector: bool, how: str) -> None:
    machine = Machine()
    machine.start(form, 1 << 15, jitted=True)
    machine.train()
    if vector:
        machine.change_the_vector(how=how)
    else:
        machine.change_in_place(place=0, how=how)
    machine.warm_is_cold()
    machine.replace_a_node(place=0, how="same again")
    machine.warm_is_cold()
    machine.teardown()


def batches(rows: int) -> tuple[Any, Any]:
    draw = np.random.default_rng(rows)
    return draw.normal(size=(rows, F)).astype(np.float32), draw.normal(size=(rows, 1)).astype(np.float32)


@pytest.mark.parametrize("form", FORMS)
def test_what_came_last_is_not_checked_in_python(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, (x, target) = network(form), batches(3)
    step, native = fn.jit(fn.sgd_step(net, fn.mse(), learning_rate=0.1)), fn.jit(net)
    params, _ = step(net.init(fn.key(0), (F,))[0], x, target)
    first = params
    native.apply(first, x)

    def refuse(*_: Any) -> None:
        raise AssertionError("the arrays were checked in Python")

    monkeypatch.setattr(Compiled, "acquire", refuse)
    for _ in range(3):
        native.apply(first, x)
        params, _ = step(params, x, target)
    with pytest.raises(AssertionError):
        step(params, x[:2], target[:2])


@pytest.mark.parametrize("form", FORMS)
def test_params_of_arrays_apart_are_not_checked_in_python(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, (x, _) = network(form), batches(3)
    native = fn.jit(net)
    params = tree.map(np.copy, net.init(fn.key(0), (F,))[0])
    native.apply(params, x)
    right = [net.apply(tree.map(lambda p, i=i: p + i, params), x) for i in range(3)]

    def refuse(*_: Any) -> None:
        raise AssertionError("the params were checked in Python")

    monkeypatch.setattr(Compiled, "acquire", refuse)
    for expected in right:
        np.testing.assert_allclose(native.apply(params, x), expected, rtol=1e-5, atol=1e-6)
        for leaf in tree.leaves(params):
            leaf += 1


def test_after_a_short_batch_the_long_ones_are_not_checked_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    net, (x, target) = network("dict"), batches(3)
    step, params = fn.jit(fn.sgd_step(net, fn.mse(), learning_rate=0.1)), net.init(fn.key(0), (F,))[0]
    for rows in (3, 2, 3):
        params, _ = step(params, x[:rows], target[:rows])
    monkeypatch.delattr(Compiled, "acquire")
    step(params, x, target)


def test_a_key_goes_by_its_name_after_calls_with_one_too() -> None:
    net, key = fn.serial(fn.linear(3), fn.dropout(0.5)), fn.key(1)
    x, params = np.ones((5, 2), np.float32), net.init(fn.key(0), (2,))[0]
    used: Any = fn.jit(net).apply
    plain, dropped = used(params, x), used(params, x, key=key)
    for _ in range(2):
        assert np.array_equal(used(params, x, key=key), dropped)
        with pytest.raises(fn.DTypeError, match="is a random key: pass it by its name"):
            used(params, x, key)
        assert np.array_equal(used(params, x), plain)


OTHERS: dict[str, Callable[[Any], Any]] = {
    "columns": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=0)[::2],
    "backwards": lambda x: x[::-1].copy()[::-1],
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "float64": lambda x: x.astype(np.float64),
    "big endian": lambda x: x.astype(x.dtype.newbyteorder()),
    "list": lambda x: x.tolist(),
    "matrix": lambda x: x.view(np.matrix),
    "fewer rows": lambda x: x[:-1],
    "one more axis": lambda x: x[None],
    "no axes": lambda x: x[0, 0],
    "none": lambda x: None,
}


@pytest.mark.parametrize("rows", [3, 5000])
@pytest.mark.parametrize("how", sorted(OTHERS))
def test_arrays_of_every_kind_between_others(how: str, rows: int) -> None:
    net, (x, target) = network("dict"), batches(rows)
    gradient = fn.value_and_grad(net, fn.mse())
    used, params = fn.jit(gradient), net.init(fn.key(0), (F,))[0]
    used(params, x, target)
    changed = OTHERS[how](x)
    expected = [outcome(fn.jit(gradient), params, a, target) for a in (x, changed)]
    for _ in range(2):
        assert [outcome(used, params, a, target) for a in (x, changed)] == expected


def test_without_the_lock_of_the_interpreter_python_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    net, (x, target) = network("dict"), batches(3)
    params = net.init(fn.key(0), (F,))[0]

    def trained() -> Any:
        step: Any = fn.jit(fn.sgd_step(net, fn.mse(), learning_rate=0.1))
        new, _ = step(params, x, target)
        return step(new, x, target)

    expected = outcome(trained)
    monkeypatch.setattr(sysconfig, "get_config_var", {"Py_GIL_DISABLED": 1}.get)
    monkeypatch.setattr(entry, "methods", entry.methods.__wrapped__)
    assert entry.methods() is None
    assert outcome(trained) == expected


@pytest.mark.parametrize("answer", [True, False])
def test_a_check_that_errs_is_found(answer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "accepting", lambda *_: lambda *_: answer)
    with pytest.raises(fn.CompilerError, match="this Python is another one"):
        entry.methods.__wrapped__()
