"""A used closure takes and refuses exactly what a new one does, to the same bits and with the same messages."""

from __future__ import annotations

import gc
import pickle
import re
import warnings
from collections import OrderedDict
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import funcnet as fn
from funcnet import tree
from funcnet.compiler import params_cache, programs, workspace
from funcnet.compiler.params_cache import RECENT
from funcnet.training import steps
from tests.support.budget import examples

F = 4


class Swapped(NamedTuple):
    """The fields of Affine, and their names the other way round."""

    bias: Any
    weight: Any


class Wide(np.ndarray):
    """A class of arrays that computes as arrays do."""


def network(form: str) -> fn.Layer[Any, Any]:
    if form == "serial":
        return fn.serial(fn.linear(F), fn.tanh(), fn.linear(1))
    inner: Any = fn.serial(fn.linear(F), fn.tanh()) if form == "nested" else fn.linear(F)
    return fn.network({1: inner, 2: fn.tanh(), 3: fn.linear(1)}, {1: [2], 2: [3]})


def outcome(call: Any, *arguments: Any) -> Any:
    """The bits and the structure of what comes back, or the error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = call(*arguments)
    except Exception as error:
        return type(error), re.sub("0x[0-9a-f]+", "", str(error))
    leaves = tree.leaves(found)
    keys = [[*map(repr, node.keys)] for _, node in tree.walk(tree.structure(found))]
    return tree.structure(found), keys, [(np.asarray(a).dtype, np.shape(a), np.asarray(a).tobytes()) for a in leaves]


def new(closure: Any) -> Any:
    return pickle.loads(pickle.dumps(closure))


def as_it_is(closure: Any) -> Any:
    return closure


def set_quietly(array: Any, name: str, value: Any) -> None:
    """Assign to an attribute of an array, if NumPy lets it be done."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(AttributeError, TypeError, ValueError):
            setattr(array, name, value)


IN_PLACE: dict[str, Any] = {
    "shape": lambda a: set_quietly(a, "shape", a.shape[::-1] if a.ndim > 1 else (1, -1)),
    "flat": lambda a: set_quietly(a, "shape", (-1,)),
    "one more axis": lambda a: set_quietly(a, "shape", (*a.shape, 1)),
    "integers": lambda a: set_quietly(a, "dtype", np.int32),
    "other byte order": lambda a: set_quietly(a, "dtype", a.dtype.newbyteorder()),
    "float16": lambda a: set_quietly(a, "dtype", np.float16),
    "strides": lambda a: set_quietly(a, "strides", (0,) * a.ndim),
    "turned strides": lambda a: set_quietly(a, "strides", a.strides[::-1]),
    "read only": lambda a: a.setflags(write=False),
    "value": lambda a: np.copyto(a, -a) if a.flags.writeable and a.dtype.kind == "f" else None,
}
LEAF: dict[str, Any] = {
    "copy": np.array,
    "masked": lambda a: np.ma.masked_array(a, mask=True),
    "matrix": lambda a: np.atleast_2d(a).view(np.matrix),
    "subclass": lambda a: a.view(Wide),
    "big endian": lambda a: a.astype(a.dtype.newbyteorder()),
    "float64": lambda a: a.astype(np.float64),
    "Fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "backwards": lambda a: a[::-1].copy()[::-1],
    "list": lambda a: a.tolist(),
    "number": lambda a: a.flat[0],
    "none": lambda a: None,
    "no axes": lambda a: a.reshape(()) if a.size == 1 else a,
    "base": lambda a: a if a.base is None else a.base,
}
NODE: dict[str, Any] = {
    "tuple": tuple,
    "list": list,
    "other names": lambda n: Swapped(*n) if len(n) == 2 else n,
    "same again": lambda n: fn.Affine(*n) if type(n) is fn.Affine else n,
    "turned": lambda n: n[::-1],
    "none": lambda n: None,
}
KEYS: dict[str, Any] = {
    "true": lambda p: {True if k == 1 else k: v for k, v in p.items()},
    "floats": lambda p: {float(k): v for k, v in p.items()},
    "NumPy's": lambda p: {np.int64(k): v for k, v in p.items()},
    "strings": lambda p: {str(k): v for k, v in p.items()},
    "turned": lambda p: dict(reversed(p.items())),
    "exchanged": lambda p: dict(zip(p, reversed(p.values()), strict=True)),
    "missing": lambda p: dict([*p.items()][1:]),
    "one more": lambda p: {**p, 7: fn.Affine(np.ones((1, 1), np.float32), np.ones(1, np.float32))},
    "ordered": OrderedDict,
    "another dict": dict,
}


def replaced(params: Any, place: int, change: Any) -> Any:
    """The tree with one leaf changed; its dicts are the same objects, so that a change is seen in place too."""
    leaves, structure = tree.flatten(params)
    place %= len(leaves)
    made = tree.unflatten(structure, [change(x) if i == place else x for i, x in enumerate(leaves)])
    if type(params) is not dict:
        return made
    same = dict(zip(params, map(tree.leaves, params.values()), strict=True))
    changed = [k for k in params if [*map(id, tree.leaves(made[k]))] != [*map(id, same[k])]]
    params.update({k: made[k] for k in changed})
    return params


class Machine(RuleBasedStateMachine):
    """One set of params goes through used closures and through new ones."""

    @initialize(form=st.sampled_from(["dict", "nested", "serial"]), held=st.sampled_from([0, 1 << 15]))
    def start(self, form: str, held: int, jitted: bool = False) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(params_cache, "MAX_HELD_BYTES", held)
        self.patch.setattr(workspace, "REBIND_COST", 0 if held else 1 << 17)
        net, compiled = network(form), fn.jit if jitted else as_it_is
        self.step = compiled(fn.sgd_step(net, fn.mse(), learning_rate=0.1))
        self.trained = compiled(fn.train_step(net, fn.mse(), fn.adam(0.1)))
        self.net, self.form = compiled(net), form
        self.good = net.init(fn.key(0), (F,))[0]
        self.state = self.trained.init(self.good)
        self.x, self.t = np.ones((3, F), np.float32), np.zeros((3, 1), np.float32)
        self.params = self.good
        self.others: list[Any] = []

    @rule()
    def train(self) -> None:
        try:
            self.params, _ = self.step(self.params, self.x, self.t)
        except (fn.FuncnetError, ValueError, TypeError):
            self.reset()

    @rule()
    def train_with_state(self) -> None:
        try:
            self.params, self.state, _ = self.trained(self.params, self.state, self.x, self.t)
        except (fn.FuncnetError, ValueError, TypeError):
            self.reset()
            self.state = self.trained.init(self.params)

    @rule(place=st.integers(0, 9), how=st.sampled_from(sorted(IN_PLACE)), vector=st.booleans())
    def change_the_state(self, place: int, how: str, vector: bool) -> None:
        arrays = [a for a in tree.leaves(self.state) if isinstance(a, np.ndarray)]
        array = arrays[place % len(arrays)]
        IN_PLACE[how](array if array.base is None or not vector else array.base)

    @rule(rows=st.sampled_from([3, 5, 600]))
    def take_another_batch(self, rows: int) -> None:
        self.x, self.t = np.ones((rows, F), np.float32), np.zeros((rows, 1), np.float32)

    @rule()
    def forget(self) -> None:
        self.others.clear()
        gc.collect()

    @rule()
    def reset(self) -> None:
        self.params = tree.map(np.array, self.net.init(fn.key(1), (F,))[0])

    @rule()
    def init(self) -> None:
        self.params = self.net.init(fn.key(2), (F,))[0]

    @rule()
    def put_aside(self) -> None:
        self.others.append(self.params)

    @rule()
    def take_up(self) -> None:
        if self.others:
            self.others.append(self.params)
            self.params = self.others.pop(0)

    @rule(place=st.integers(0, 5), how=st.sampled_from(sorted(IN_PLACE)))
    def change_in_place(self, place: int, how: str) -> None:
        arrays = [a for a in tree.leaves(self.params) if isinstance(a, np.ndarray)]
        if arrays:
            IN_PLACE[how](arrays[place % len(arrays)])

    @rule(how=st.sampled_from(sorted(IN_PLACE)))
    def change_the_vector(self, how: str) -> None:
        for a in tree.leaves(self.params):
            if isinstance(a, np.ndarray) and a.base is not None:
                IN_PLACE[how](a.base)
                return

    @rule(place=st.integers(0, 5), how=st.sampled_from(sorted(LEAF)))
    def replace_a_leaf(self, place: int, how: str) -> None:
        if tree.leaves(self.params) and all(isinstance(a, np.ndarray) for a in tree.leaves(self.params)):
            self.params = replaced(self.params, place, LEAF[how])

    @rule(place=st.integers(0, 1), how=st.sampled_from(sorted(NODE)))
    def replace_a_node(self, place: int, how: str) -> None:
        if type(self.params) is dict and self.params:
            key = [*self.params][place % len(self.params)]
            if isinstance(self.params[key], tuple):
                self.params[key] = NODE[how](self.params[key])

    @rule(how=st.sampled_from(sorted(KEYS)))
    def change_keys(self, how: str) -> None:
        if type(self.params) is dict and all(isinstance(k, int) for k in self.params):
            self.params = KEYS[how](self.params)

    @invariant()
    def warm_is_cold(self) -> None:
        if hasattr(self, "params"):
            batch, state = (self.x, self.t), self.state
            for closure, arrays in (
                (self.net.apply, batch[:1]),
                (self.step, batch),
                (self.trained, (state, *batch)),
            ):
                expected = outcome(new(closure), self.params, *arrays)
                assert outcome(closure, self.params, *arrays) == expected
                assert outcome(closure, self.params, *arrays) == expected

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.patch.undo()


TestWarmIsCold = Machine.TestCase
TestWarmIsCold.settings = settings(max_examples=examples(60), stateful_step_count=12, deadline=None)


@pytest.mark.parametrize("how", sorted(IN_PLACE))
@pytest.mark.parametrize("form", ["dict", "nested", "serial"])
@pytest.mark.parametrize("held", [0, 1 << 15])
def test_arrays_changed_in_place_and_put_into_another_node(form: str, held: int, how: str) -> None:
    machine = Machine()
    machine.start(form, held)
    machine.warm_is_cold()
    machine.change_in_place(place=0, how=how)
    machine.warm_is_cold()
    machine.replace_a_node(place=0, how="same again")
    machine.warm_is_cold()
    machine.teardown()


@pytest.mark.parametrize("form", ["network", "serial", "nested"])
@pytest.mark.parametrize("count", [2, 5])
def test_sets_of_params_that_take_turns_are_recognised(form: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that hangs on them: after the first turn nothing is checked, and no state is taken apart, any more."""
    net = network(form)
    x, target = np.ones((3, F), np.float32), np.ones((3, 1), np.float32)
    step, train = fn.sgd_step(net, fn.mse(), learning_rate=0.1), fn.train_step(net, fn.mse(), fn.adam(0.1))
    drawn = [net.init(fn.key(seed), (F,))[0] for seed in range(count)]
    taken: list[Any] = [(params, params, train.init(params)) for params in drawn]
    calls: list[str] = []
    for owner, name in ((programs.Compiled, "_acquire_checked"), (steps, "flat_state")):
        monkeypatch.setattr(owner, name, counted(calls, name, getattr(owner, name)))

    def turn() -> None:
        for i, (plain, params, state) in enumerate(taken):
            net.apply(drawn[i], x)
            taken[i] = step(plain, x, target)[0], *train(params, state, x, target)[:2]

    turn()
    assert {*calls} == {"_acquire_checked", "flat_state"}
    calls.clear()
    turn()
    turn()
    assert calls == []
    for i, params in enumerate(drawn):
        alone: Any = (params, params, train.init(params))
        for _ in range(3):
            alone = new(step)(alone[0], x, target)[0], *new(train)(alone[1], alone[2], x, target)[:2]
        assert outcome(lambda i=i: taken[i]) == outcome(lambda alone=alone: alone)


@pytest.mark.parametrize("jitted", [False, True])
def test_the_same_params_are_recognised_by_every_step(jitted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after many more steps than there are params that are remembered."""
    net = network("network")
    x, target = np.ones((3, F), np.float32), np.ones((3, 1), np.float32)
    params, _ = net.init(fn.key(0), (F,))
    step: Any = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    step = fn.jit(step) if jitted else step
    expected = outcome(lambda: step(params, x, target))
    calls: list[str] = []
    checked = counted(calls, "_acquire_checked", programs.Compiled._acquire_checked)
    monkeypatch.setattr(programs.Compiled, "_acquire_checked", checked)
    for _ in range(3 * RECENT):
        assert outcome(lambda: step(params, x, target)) == expected
    assert calls == []


def counted(calls: list[str], name: str, function: Any) -> Any:
    """The function, which adds its name to the calls."""

    def call(*args: Any) -> Any:
        calls.append(name)
        return function(*args)

    return call


@pytest.mark.parametrize("how", sorted(IN_PLACE))
@pytest.mark.parametrize("form", ["dict", "nested", "serial"])
@pytest.mark.parametrize("held", [0, 1 << 15])
@pytest.mark.parametrize("others", [False, True])
def test_the_flat_vector_of_params_changed_in_place(form: str, held: int, how: str, others: bool) -> None:
    machine = Machine()
    machine.start(form, held)
    machine.train()
    if others:
        machine.put_aside()
        machine.init()
        machine.warm_is_cold()
        machine.take_up()
    machine.change_the_vector(how=how)
    machine.warm_is_cold()
    machine.teardown()


@pytest.mark.parametrize("how", sorted(IN_PLACE))
@pytest.mark.parametrize("form", ["dict", "nested", "serial"])
@pytest.mark.parametrize("vector", [False, True])
def test_the_state_of_an_optimizer_changed_in_place(form: str, vector: bool, how: str) -> None:
    machine = Machine()
    machine.start(form, 1 << 15)
    machine.train_with_state()
    machine.train_with_state()
    machine.change_the_state(place=0, how=how, vector=vector)
    machine.warm_is_cold()
    machine.teardown()
