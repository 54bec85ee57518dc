"""The layout of a tree in one flat vector: trees of every kind go there and back, and only the very tree is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from funcnet import tree
from funcnet.compiler.layout import Layout, are_as_they_were, contiguous, key_types

F32 = np.dtype(np.float32)


class Weights(NamedTuple):
    weight: Any
    bias: Any


class Others(NamedTuple):
    weight: Any
    bias: Any


class Parts(NamedTuple):
    first: Any
    second: Any


def a(*shape: int) -> Any:
    return np.zeros(shape, F32)


MAKERS: dict[str, Callable[[], Any]] = {
    "dict of named tuples": lambda: {1: Weights(a(2, 3), a(3)), "x": Weights(a(1), a())},
    "dict of uneven tuples": lambda: {1: (a(2, 3),), "x": (a(3), a(1), a())},
    "dict of tuples, uneven otherwise": lambda: {1: (a(2, 3), a(3), a(1)), "x": (a(),)},
    "dict of other named tuples": lambda: {1: Others(a(2, 3), a(3)), "x": Weights(a(1), a())},
    "dict of the keys in another order": lambda: {"x": Weights(a(2, 3), a(3)), 1: Weights(a(1), a())},
    "dict with an equal key of another type": lambda: {True: Weights(a(2, 3), a(3)), "x": Weights(a(1), a())},
    "dict of other keys": lambda: {1: Weights(a(2, 3), a(3)), "y": Weights(a(1), a())},
    "dict of arrays": lambda: {"W": a(2, 3), "b": a(3)},
    "dict of one more tuple": lambda: {1: Weights(a(2, 3), a(3)), "x": Weights(a(1), a()), 2: ()},
    "dict in a dict": lambda: {1: {"W": a(2, 3), 2: a(3)}, 2: Weights(a(1), a())},
    "dict with an equal key of another type in a dict": lambda: {1: {"W": a(2, 3), 2.0: a(3)}, 2: Weights(a(1), a())},
    "dict in a named tuple": lambda: Parts(a(1), {1: a(2, 3), 2: a(3)}),
    "dict with None": lambda: {1: None, 2: (a(2, 3),)},
    "empty dict": dict,
    "list of tuples": lambda: [(a(2, 3), a(3)), (a(1), a())],
    "list in a tuple": lambda: ([a(2, 3), a(3)], (a(1), a())),
    "tuple of tuples": lambda: ((a(2, 3), a(3)), (a(1), a())),
    "named tuple of tuples": lambda: Parts((a(2, 3), a(3)), (a(1), a())),
    "tuple of arrays": lambda: (a(2, 3), a(3)),
    "named tuple of arrays": lambda: Weights(a(2, 3), a(3)),
    "array": lambda: a(2, 3),
    "None": lambda: None,
    "empty tuple": lambda: (),
}
every_tree = pytest.mark.parametrize("name", MAKERS)


def layout_of(params: Any) -> Layout[Any]:
    leaves, structure = tree.flatten(params)
    return Layout(structure, [leaf.shape for leaf in leaves], F32)


def kinds(params: Any) -> list[Any]:
    """The type of each node, with its keys and their types."""
    keys = [*params] if isinstance(params, dict) else []
    children = [*params.values()] if keys else [*params] if isinstance(params, (tuple, list)) else []
    return [type(params), [(type(key), key) for key in keys], *map(kinds, children)]


@every_tree
def test_a_tree_of_views_is_made_of_a_vector(name: str) -> None:
    params = MAKERS[name]()
    layout = layout_of(params)
    vector = np.arange(layout.count, dtype=F32)
    made = layout.tree(vector)
    assert kinds(made) == kinds(params)
    leaves = tree.leaves(made)
    assert [leaf.shape for leaf in leaves] == [leaf.shape for leaf in tree.leaves(params)]
    assert [*map(id, layout.exact_leaves(made))] == [*map(id, leaves)]
    assert np.array_equal(layout.joined(made), vector)
    assert layout.joined(made).dtype == F32
    assert [*map(id, tree.leaves(layout.build(tuple(leaves))))] == [*map(id, leaves)]
    assert all(np.array_equal(x, y) for x, y in zip(leaves, layout.views(vector), strict=True))
    assert all(np.may_share_memory(leaf, vector) for leaf in leaves)
    assert layout.source(leaves) is (vector if leaves else None)
    assert layout.paths() == [path for path, _ in tree.leaves_with_path(params)]


@every_tree
def test_no_other_tree_is_taken(name: str) -> None:
    layout = layout_of(MAKERS[name]())
    for other, make in MAKERS.items():
        if other != name:
            with pytest.raises(LookupError):
                layout.exact_leaves(make())


@every_tree
def test_the_leaves_of_a_tree_from_elsewhere_are_taken_in_their_order(name: str) -> None:
    params = MAKERS[name]()
    assert [*map(id, layout_of(params).exact_leaves(params))] == [*map(id, tree.leaves(params))]


@pytest.mark.parametrize("name", [name for name in MAKERS if "tuples" in name])
def test_trees_of_tuples_are_looked_through_without_being_flattened(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    params = MAKERS[name]()
    layout = layout_of(params)
    monkeypatch.delattr(tree, "flatten")
    assert layout.exact_leaves(params)


@every_tree
def test_only_a_dict_of_what_cannot_change_is_only_a_dict(name: str) -> None:
    layout = layout_of(MAKERS[name]())
    assert layout.only_dict == (name.startswith(("dict", "empty dict")) and " in a " not in name)


@pytest.mark.parametrize("name", [name for name in MAKERS if "dict" in name or "list" in name])
def test_a_change_of_any_dict_or_list_is_seen(name: str) -> None:
    params = MAKERS[name]()
    count = len(layout_of(params).nodes(params))
    assert count == 1 + (" in a dict" in name)
    for place in range(count):
        params = MAKERS[name]()
        nodes = layout_of(params).nodes(params)
        assert are_as_they_were(nodes)
        node = nodes[place][0]
        if isinstance(node, dict):
            node["new"] = a()
            assert not are_as_they_were(nodes)
            del node["new"]
        else:
            node.append(a())
            assert not are_as_they_were(nodes)
            node.pop()
        assert are_as_they_were(nodes)
        for key in node if isinstance(node, dict) else range(len(node)):
            old, node[key] = node[key], a()
            assert not are_as_they_were(nodes)
            node[key] = old
            assert are_as_they_were(nodes)


def test_keys_know_their_types_at_any_depth() -> None:
    keyed = {1: (a(), [{"x": a(), 2.0: a()}]), "y": a()}
    assert key_types(tree.structure(keyed)) == (int, str, str, float)


def leaves_of(vector: Any, layout: Layout[Any]) -> list[Any]:
    return [*layout.views(vector)]


def test_leaves_that_are_not_the_views_of_one_vector_in_their_order_have_no_source() -> None:
    layout = layout_of([a(3), a(3)])
    first, second = (leaves_of(np.zeros(6, F32), layout) for _ in range(2))
    assert layout.source(first) is first[0].base
    assert layout.source(first[::-1]) is None
    assert layout.source([first[0], second[1]]) is None
    assert layout.source([first[0], first[0]]) is None
    assert layout.source([first[0], a(3)]) is None
    assert layout.source([a(3), first[1]]) is None


@pytest.mark.parametrize(
    "vector",
    [
        pytest.param(np.zeros(7, F32), id="longer"),
        pytest.param(np.zeros((2, 3), F32), id="matrix"),
        pytest.param(np.zeros(6, np.int32), id="other dtype"),
    ],
)
def test_a_vector_of_another_form_is_no_source(vector: Any) -> None:
    layout = layout_of([a(3), a(3)])
    flat = vector.reshape(-1)
    leaves = [np.ndarray((3,), vector.dtype, vector, start * 4) for start in (0, 3)]
    assert leaves[0].base is vector
    assert layout.source(leaves) is None
    assert layout.source([flat[:3], flat[3:6]]) is None


@pytest.mark.parametrize(
    ("start", "step", "found"),
    [
        pytest.param(0, 4, True, id="plain"),
        pytest.param(0, 8, False, id="with gaps"),
        pytest.param(1, 4, False, id="not aligned"),
    ],
)
def test_a_vector_with_gaps_or_not_aligned_is_no_source(start: int, step: int, found: bool) -> None:
    vector = np.ndarray((6,), F32, bytearray(64), start, (step,))
    leaves = [vector[:3], vector[3:]]
    assert leaves[0].base is vector
    assert (vector.flags.aligned, vector.flags.c_contiguous) == (start == 0, step == 4)
    assert (layout_of([a(3), a(3)]).source(leaves) is vector) == found


def test_params_without_leaves_are_contiguous_as_they_are() -> None:
    params: dict[int, Any] = {1: None, 2: ()}
    assert contiguous(params, F32) is params


def test_params_made_contiguous_stand_in_a_vector_of_their_own() -> None:
    params = {1: Weights(np.arange(6, dtype=F32).reshape(2, 3).T, np.ones(2, F32))}
    made = contiguous(params, F32)
    assert layout_of(made).source(tree.leaves(made)) is not None
    assert all(np.array_equal(x, y) for x, y in zip(tree.leaves(made), tree.leaves(params), strict=True))
    assert not np.may_share_memory(made[1].weight, params[1].weight)
