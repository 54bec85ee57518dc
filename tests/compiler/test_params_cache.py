"""Params that come again are recognised; any others, and any change of these, are noticed; the rest is let go of."""

from __future__ import annotations

import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.compiler import params_cache
from funcnet.compiler.layout import Layout
from funcnet.compiler.params_cache import RECENT, ParamsCache


def affine(seed: int) -> fn.Affine:
    return fn.Affine(np.full((2, 3), seed, np.float32), np.full(3, seed, np.float32))


TREES: dict[str, Callable[[int], Any]] = {
    "dict": lambda seed: {1: affine(seed), "b": affine(seed + 1)},
    "tuple": lambda seed: (affine(seed), affine(seed + 1)),
    "nested": lambda seed: {1: {"a": affine(seed)}, 2: [affine(seed + 1), None]},
}
COUNT = 18  # numbers in each
every_tree = pytest.mark.parametrize("form", TREES)
every_size = pytest.mark.parametrize("small", [True, False], ids=["small", "large"], indirect=True)


def cache_of(params: Any) -> ParamsCache[Any]:
    """A cache for params such as these."""
    leaves, structure = tree.flatten(params)
    return ParamsCache(Layout(structure, [leaf.shape for leaf in leaves], np.dtype(np.float32)))


def given(cache: ParamsCache[Any], params: Any, kept: Any = None) -> Any:
    """The params, once they were given to a program."""
    leaves = tree.leaves(params)
    cache.remember(params, leaves, cache.layout.source(leaves), kept)
    return params


def known(cache: ParamsCache[Any], params: Any) -> bool:
    """Whether they are recognised, by the very arrays, and the vector that they are views of."""
    try:
        vector, arrays = cache.recognise(params)
    except (LookupError, TypeError, AttributeError):  # which all send a call back to the checks
        return False
    leaves = tree.leaves(params)
    assert [*map(id, arrays)] == [*map(id, leaves)]
    assert vector is cache.layout.source(leaves)
    return True


@pytest.fixture
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(params_cache, "MAX_HELD_BYTES", 4 * COUNT if request.param else 4 * COUNT - 1)
    return bool(request.param)


@pytest.fixture(params=["given", "made", "made, then others"])
def seen(request: pytest.FixtureRequest, form: str, small: bool) -> Iterator[tuple[ParamsCache[Any], Any]]:
    """A cache, and params that it knows: arrays of the user's own, or views of a vector that a step made."""
    cache = cache_of(TREES[form](0))
    params = given(cache, TREES[form](0)) if request.param == "given" else cache.made(np.ones(COUNT, np.float32))
    others = given(cache, TREES[form](5)) if "others" in request.param else None
    yield cache, params
    assert others is None or known(cache, others)


@every_size
def test_params_are_small_up_to_a_number_of_bytes(small: bool) -> None:
    assert cache_of(TREES["dict"](0)).small == small


@every_tree
@every_size
def test_params_are_recognised_again_and_again(seen: Any, small: bool) -> None:
    cache, params = seen
    assert all(known(cache, params) for _ in range(3))
    assert (cache.last is not None) == small


@every_tree
@every_size
def test_new_dicts_and_tuples_of_the_same_arrays_are_the_same_params(form: str, small: bool) -> None:
    cache = cache_of(TREES[form](0))
    params = given(cache, TREES[form](0))
    assert known(cache, tree.map(lambda leaf: leaf, params))


@every_size
def test_a_dict_of_what_a_step_made_is_the_same_params(small: bool) -> None:
    cache = cache_of(TREES["dict"](0))
    params = cache.made(np.ones(COUNT, np.float32))
    assert known(cache, dict(params))


def first_leaf(params: Any) -> Any:
    return tree.leaves(params)[0]


def with_leaf(params: Any, place: int, leaf: Any) -> Any:
    leaves, structure = tree.flatten(params)
    leaves[place] = leaf
    return tree.unflatten(structure, leaves)


def assigned(name: str, value: Any, of: Callable[[Any], Any] = first_leaf) -> Callable[[Any], Any]:
    """The same params, an array of which has got another shape, dtype or strides."""

    def change(params: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # NumPy means to give such assignments up
            setattr(of(params), name, value)
        return params

    return change


def vector_of(params: Any) -> Any:
    return first_leaf(params).base


OTHERS: dict[str, Callable[[Any], Any]] = {
    "copies": lambda params: tree.map(np.array, params),
    "one copy": lambda params: with_leaf(params, 0, first_leaf(params).copy()),
    "the last one a copy": lambda params: with_leaf(params, -1, tree.leaves(params)[-1].copy()),
    "a view": lambda params: with_leaf(params, 0, first_leaf(params)[:]),
    "a list": lambda params: with_leaf(params, 0, first_leaf(params).tolist()),
    "nothing": lambda params: {},
    "none": lambda params: None,
    "one array": first_leaf,
    "another shape": assigned("shape", (3, 2)),
    "another dtype": assigned("dtype", np.int32),
    "other strides": assigned("strides", (0, 4)),
}
OF_VECTORS: dict[str, Callable[[Any], Any]] = {
    "another dtype": assigned("dtype", np.int32, vector_of),
    "other strides": assigned("strides", (0,), vector_of),
}
OF_DICTS: dict[str, Callable[[Any], Any]] = {
    "one fewer": lambda params: {1: params[1]},
    "one more": lambda params: {**params, 3: affine(9)},
    "another order": lambda params: dict(reversed(params.items())),
    "exchanged": lambda params: dict(zip(params, reversed(params.values()), strict=True)),
    "another key": lambda params: {"a" if key == "b" else key: x for key, x in params.items()},
    "an equal key": lambda params: {True if key == 1 else key: x for key, x in params.items()},
    "another class": OrderedDict,
    "a tuple for a named one": lambda params: {**params, "b": tuple(params["b"])},
}


def put(params: Any, *path: Any, value: Any) -> Any:
    """The same params, with something else put into a dict or a list of them."""
    node = params
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    return params


IN_NODES: dict[str, Callable[[Any], Any]] = {
    "a layer in the dict": lambda params: put(params, 2, value=[affine(9), None]),
    "a layer in a dict": lambda params: put(params, 1, "a", value=affine(9)),
    "a layer in a list": lambda params: put(params, 2, 0, value=affine(9)),
    "one more in a list": lambda params: put(params, 2, slice(2, 2), value=[affine(9)]),
    "one more in a dict": lambda params: put(params, 1, "z", value=affine(9)),
    "fewer in a list": lambda params: put(params, 2, slice(1, 2), value=[]),
}


@every_tree
@every_size
@pytest.mark.parametrize("change", OTHERS)
def test_other_arrays_are_noticed(seen: Any, small: bool, change: str) -> None:
    cache, params = seen
    assert not known(cache, OTHERS[change](params))


@every_tree
@every_size
@pytest.mark.parametrize("change", OF_VECTORS)
def test_a_vector_that_was_assigned_to_is_noticed(form: str, small: bool, change: str) -> None:
    cache = cache_of(TREES[form](0))
    params = cache.made(np.ones(COUNT, np.float32))
    OF_VECTORS[change](params)
    with pytest.raises(LookupError):
        cache.recognise(params)


@pytest.mark.parametrize("form", ["dict"])
@every_size
@pytest.mark.parametrize("change", OF_DICTS)
def test_another_dict_is_noticed(seen: Any, small: bool, change: str) -> None:
    cache, params = seen
    assert not known(cache, OF_DICTS[change](params))
    assert known(cache, params)


@pytest.mark.parametrize("form", ["nested"])
@every_size
@pytest.mark.parametrize("change", IN_NODES)
def test_what_is_put_into_a_dict_or_a_list_is_noticed(seen: Any, small: bool, change: str) -> None:
    cache, params = seen
    assert not known(cache, IN_NODES[change](params))


@every_tree
@every_size
def test_values_may_change_in_place(seen: Any, small: bool) -> None:
    cache, params = seen
    first_leaf(params)[...] = 7
    assert known(cache, params)
    vector, leaves = cache.recognise(params)
    assert (leaves[0] == 7).all()
    assert vector is None or (vector[:6] == 7).all()


@pytest.mark.parametrize("empty", [{}, (), None])
def test_params_without_arrays_are_known_by_their_structure(empty: Any) -> None:
    cache = cache_of(empty)
    assert not known(cache, empty)
    given(cache, empty)
    assert known(cache, empty)
    assert not known(cache, {1: affine(0)})


@every_size
def test_so_many_are_recognised_and_those_that_came_first_no_longer(small: bool) -> None:
    cache = cache_of(TREES["dict"](0))
    sets = [given(cache, TREES["dict"](seed)) for seed in range(RECENT + 2)]
    with pytest.raises(LookupError):
        cache.recognise(sets[0])
    assert not known(cache, sets[1])
    assert all(known(cache, params) for params in sets[2:])


def test_small_params_that_come_again_are_remembered_longest() -> None:
    cache = cache_of(TREES["dict"](0))
    first, second, *others = [given(cache, TREES["dict"](seed)) for seed in range(RECENT)]
    assert known(cache, first)
    newer = given(cache, TREES["dict"](RECENT))
    assert not known(cache, second)
    assert all(known(cache, params) for params in (first, *others, newer))


@every_size
def test_params_that_come_often_take_the_place_of_no_others(small: bool) -> None:
    cache = cache_of(TREES["dict"](0))
    other, often = (given(cache, TREES["dict"](seed)) for seed in (0, 1))
    for _ in range(RECENT + 1):
        given(cache, often)
    assert known(cache, other)


@every_size
def test_a_set_that_was_given_with_other_forms_is_known_by_those_of_now(small: bool) -> None:
    cache = cache_of(TREES["dict"](0))
    params = given(cache, TREES["dict"](0))
    assert not known(cache, assigned("strides", (4, 8))(params))
    given(cache, params)
    assert known(cache, params)


@every_size
@pytest.mark.parametrize("last", [False, True])
def test_large_params_are_not_held(small: bool, last: bool) -> None:
    cache = cache_of(TREES["dict"](0))
    params = given(cache, TREES["dict"](0)) if last else cache.made(np.ones(COUNT, np.float32))
    gone = weakref.ref(first_leaf(params))
    del params
    assert (gone() is None) != small
    given(cache, TREES["dict"](1))
    assert gone() is None


class State:
    """What is kept with params."""


def test_what_is_kept_goes_with_its_params_and_comes_back_with_them() -> None:
    cache = cache_of(TREES["dict"](0))
    first, states = cache.made(np.ones(COUNT, np.float32)), [State(), State()]
    cache.kept = states[0]
    second = given(cache, TREES["dict"](1))
    assert cache.kept is None
    cache.kept = states[1]
    for _ in range(2):
        assert known(cache, first)
        assert cache.kept is states[0]
        assert known(cache, second)
        assert cache.kept is states[1]


@pytest.mark.parametrize("place", [0, 1, -1])
def test_what_is_kept_is_let_go_once_any_of_its_arrays_is_gone(place: int) -> None:
    cache = cache_of(TREES["dict"](0))
    params = given(cache, TREES["dict"](0))
    cache.kept = State()
    kept = weakref.ref(cache.kept)
    held = tree.leaves(params)
    given(cache, TREES["dict"](1))
    assert kept() is not None
    del params, held[place]
    given(cache, TREES["dict"](2))
    assert kept() is None


@every_size
def test_arrays_where_others_were_that_are_gone_are_not_taken_for_them(small: bool) -> None:
    cache, places = cache_of(TREES["dict"](0)), list[int]()
    for _ in range(20):
        params = TREES["dict"](0)
        assert not known(cache, params)
        places.append(id(first_leaf(given(cache, params))))
        given(cache, TREES["dict"](1))
        del params
    assert len({*places}) < len(places)
