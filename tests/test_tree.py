"""Pytrees: what is taken apart comes together again, and what does not match is named."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from typing import Any, NamedTuple, assert_type

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from funcnet import tree
from funcnet.errors import DTypeError, ParamsError, ShapeError


class Affine(NamedTuple):
    """A node with named fields."""

    weight: Any
    bias: Any


KEYS = st.one_of(st.integers(), st.text())
LEAVES = st.one_of(st.integers(), st.text())


def nodes(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Every kind of node over these children."""
    lists = st.lists(children, max_size=4)
    dicts = st.dictionaries(KEYS, children, max_size=4)
    return st.one_of(lists, lists.map(tuple), dicts, st.builds(Affine, children, children), st.none())


TREES = st.recursive(LEAVES, nodes, max_leaves=20)


def identity(x: object) -> object:
    """The leaf itself."""
    return x


def length(x: object) -> int:
    """A composition of repr and len."""
    return len(repr(x))


def row(*xs: object) -> tuple[object, ...]:
    """The leaves at one place."""
    return xs


def params() -> dict[int | str, Any]:
    """A params pytree of every kind of node."""
    w, b = np.arange(6.0, dtype=np.float32).reshape(3, 2), np.ones(2, np.float32)
    return {3: Affine(w, b), "out": [b, (w, None)], 1: (), "empty": np.zeros((0, 2), np.float32)}


@given(TREES)
def test_unflatten_inverts_flatten(t: Any) -> None:
    leaves, s = tree.flatten(t)
    again = tree.unflatten(s, leaves)
    assert again == t
    assert repr(again) == repr(t)  # the types and the order of keys too, which == overlooks


@given(TREES)
def test_leaves_structure_and_paths_agree_with_flatten(t: Any) -> None:
    leaves, s = tree.flatten(t)
    assert tree.leaves(t) == leaves
    assert tree.structure(t) == s
    assert [leaf for _, leaf in tree.leaves_with_path(t)] == leaves
    assert s.size == len(leaves)


@given(TREES)
def test_a_path_leads_to_its_leaf(t: Any) -> None:
    assert all(eval(f"t{path}", {"t": t}) is leaf for path, leaf in tree.leaves_with_path(t))


def test_paths_read_as_python_does() -> None:
    t = {3: Affine(0, 1), "out": [2, (3,)], "none": None}
    assert [path for path, _ in tree.leaves_with_path(t)] == ["[3].weight", "[3].bias", "['out'][0]", "['out'][1][0]"]
    assert tree.leaves_with_path(7) == [("", 7)]


@given(TREES)
def test_map_of_the_identity_is_the_identity(t: Any) -> None:
    assert tree.map(identity, t) == t


@given(TREES)
def test_map_composes(t: Any) -> None:
    assert tree.map(len, tree.map(repr, t)) == tree.map(length, t)


@given(TREES)
def test_map_goes_place_by_place(t: Any) -> None:
    columns = tree.leaves(tree.map(row, t, tree.map(repr, t), t))
    assert columns == [value for x in tree.leaves(t) for value in (x, repr(x), x)]


@given(st.data(), st.dictionaries(KEYS, LEAVES))
def test_map_matches_dicts_by_key_and_keeps_the_first_order(data: st.DataObject, t: dict[int | str, Any]) -> None:
    other = {key: repr(t[key]) for key in data.draw(st.permutations(list(t)))}
    mapped = tree.map(row, [{"inner": t}], [{"inner": other}])
    assert list(mapped[0]["inner"].items()) == [(key, (x, repr(x))) for key, x in t.items()]


def test_map_keeps_what_it_was_given() -> None:
    t = params()
    before = pickle.dumps(t)
    tree.map(np.add, t, t)
    assert pickle.dumps(t) == before


def test_types_are_kept() -> None:
    t = {1: Affine(np.ones(2), np.ones(1))}
    leaves, s = tree.flatten(t)
    vector, unravel = tree.ravel(t)
    assert_type(tree.map(np.negative, t), dict[int, Affine])
    assert_type(tree.unflatten(s, leaves), dict[int, Affine])
    assert_type(unravel(vector), dict[int, Affine])


def test_structures_are_values() -> None:
    s = tree.structure(params())
    assert s == tree.structure(params())
    assert hash(s) == hash(tree.structure(params()))
    assert pickle.loads(pickle.dumps(s)) == s


@pytest.mark.parametrize("other", [[1, 2], (1, 2, 3), (1, None), (1, (2,)), Affine(1, 2), {0: 1, 1: 2}, None, 1])
def test_different_trees_have_different_structures(other: object) -> None:
    assert tree.structure(other) != tree.structure((1, 2))


def test_the_order_of_keys_is_part_of_a_structure() -> None:
    assert tree.structure({1: 0, "a": 0}) != tree.structure({"a": 0, 1: 0})


@pytest.mark.parametrize("leaf", [1, "text", np.ones(2), OrderedDict[str, int](a=1), {1, 2}, range(3), object()])
def test_a_leaf_is_all_that_is_no_node(leaf: object) -> None:
    (found,) = tree.leaves(leaf)
    assert found is leaf


@pytest.mark.parametrize("count", [0, 1, 3])
def test_unflatten_wants_a_leaf_for_each_place(count: int) -> None:
    with pytest.raises(ParamsError, match=f"2 leaves cannot hold {count}"):
        tree.unflatten(tree.structure((1, 2)), range(count))


@pytest.mark.parametrize(
    ("first", "other", "message"),
    [
        ({3: Affine(1, 2)}, {3: Affine([1], 2)}, "params[3].weight is list; expected a leaf."),
        ({3: Affine(1, 2)}, {3: Affine(None, 2)}, "params[3].weight is None; expected a leaf."),
        ({3: Affine(1, 2)}, {3: (1, 2)}, "params[3] is tuple; expected Affine."),
        ({3: Affine(1, 2)}, {3: 1.5}, "params[3] is a leaf (float); expected Affine."),
        ({3: None}, {3: ()}, "params[3] is tuple; expected None."),
        ({"out": [1, 2]}, {"out": [1]}, "params['out'] has 1 entries; expected 2."),
        ({1: 0, 2: 0}, {1: 0, 3: 0}, "params lacks 2 and has the unknown 3."),
        ({1: {"a": 0}}, {1: {"a": 0, "b": 0}}, "params[1] has the unknown 'b'."),
        ({1: 0}, {"1": 0}, "params lacks 1 and has the unknown '1'."),
    ],
)
def test_map_names_what_differs_and_where(first: object, other: object, message: str) -> None:
    with pytest.raises(ParamsError) as error:
        tree.map(row, first, first, other)
    assert str(error.value) == f"tree 3 differs from the first\n  {message}"


def test_map_names_all_that_differs() -> None:
    with pytest.raises(ParamsError, match=r"params\[1\] is list.*\n.*params\['a'\]\[1\] is None"):
        tree.map(min, {1: 0, "a": [1, 2]}, {"a": [1, None], 1: []})


def test_a_long_list_of_differences_is_cut() -> None:
    with pytest.raises(ParamsError, match="and 9,990 more") as error:
        tree.map(min, dict.fromkeys(range(10_000), 0), dict.fromkeys(range(10_000)))
    assert len(str(error.value)) < 1000


def test_unravel_inverts_ravel() -> None:
    vector, unravel = tree.ravel(params())
    assert vector.shape == (16,)
    assert vector.dtype == np.float32
    again = unravel(vector)
    assert tree.structure(again) == tree.structure(params())
    for x, y in zip(tree.leaves(again), tree.leaves(params()), strict=True):
        np.testing.assert_array_equal(x, y, strict=True)


@given(st.lists(st.lists(st.integers(0, 3), max_size=3).map(tuple), max_size=5))
def test_ravel_lays_leaf_after_leaf(shapes: list[tuple[int, ...]]) -> None:
    arrays = [np.random.default_rng(0).normal(size=shape) for shape in shapes]
    vector, _ = tree.ravel(arrays)
    assert vector.tolist() == [v for array in arrays for v in np.ravel(array).tolist()]


def test_ravel_and_unravel_share_no_memory() -> None:
    w = np.ones(3)
    vector, unravel = tree.ravel((w,))
    (again,) = unravel(vector)
    assert not np.shares_memory(vector, w)
    assert not np.shares_memory(vector, again)
    assert again.flags.owndata


def test_ravel_reads_any_layout() -> None:
    w = np.arange(6.0).reshape(2, 3)
    vector, unravel = tree.ravel([w.T, np.float64(7)])
    assert vector.tolist() == [0, 3, 1, 4, 2, 5, 7]
    np.testing.assert_array_equal(unravel(vector)[0], w.T)


@pytest.mark.parametrize("empty", [(), {}, [], None, {1: (), 2: None}])
def test_an_empty_tree_is_an_empty_vector(empty: object) -> None:
    vector, unravel = tree.ravel(empty)
    assert vector.shape == (0,)
    assert unravel(vector) == empty


def test_ravel_never_promotes() -> None:
    message = r"(?s)float32: params\[1\].weight\n.*float64: params\[1\].bias\n.*float: params\[2\]$"
    with pytest.raises(DTypeError, match=message):
        tree.ravel({1: Affine(np.ones(1, np.float32), np.ones(1)), 2: 1.0})


@pytest.mark.parametrize("dtypes", [("f4", "f8"), ("f8", "f4"), ("f4", "i4"), ("f4", ">f4")])
def test_ravel_takes_one_dtype(dtypes: tuple[str, str]) -> None:
    with pytest.raises(DTypeError, match="Cast these to one with map"):
        tree.ravel([np.ones(1, dtype) for dtype in dtypes])


@pytest.mark.parametrize("leaf", [1.0, "text", np.arange(3), np.array([None]), np.ones(1, complex)])
def test_ravel_takes_floating_arrays_alone(leaf: object) -> None:
    with pytest.raises(DTypeError, match=r"params\[0\]"):
        tree.ravel([leaf])


@pytest.mark.parametrize("shape", [(), (15,), (17,), (16, 1), (1, 16)])
def test_unravel_checks_the_length(shape: tuple[int, ...]) -> None:
    _, unravel = tree.ravel(params())
    with pytest.raises(ShapeError, match=r"shape \(16,\)"):
        unravel(np.zeros(shape, np.float32))


def test_unravel_never_casts() -> None:
    _, unravel = tree.ravel(params())
    with pytest.raises(DTypeError, match=r"astype\('float32'\)"):
        unravel(np.zeros(16))


def test_unravel_pickles() -> None:
    vector, unravel = tree.ravel(params())
    again = pickle.loads(pickle.dumps(unravel))(vector)
    np.testing.assert_array_equal(again[3].weight, params()[3].weight)


class Counted(int):
    """A key that counts how often a dict looks for it."""

    lookups = 0

    def __hash__(self) -> int:
        Counted.lookups += 1
        return int(self)


def test_map_looks_for_each_key_a_few_times_only() -> None:
    t = {Counted(i): Affine(1, 2) for i in range(1000)}
    other = dict(reversed(t.items()))
    Counted.lookups = 0
    tree.map(max, t, other)
    assert Counted.lookups <= 10 * 1000  # by pairs it would be a million


ARRAYS: st.SearchStrategy[Any] = st.sampled_from([np.float32, np.float64, np.int64, np.bool_]).flatmap(
    lambda dtype: st.lists(st.integers(0, 3), max_size=3).map(lambda shape: np.ones(shape, dtype))
)
TREES_OF_ARRAYS: st.SearchStrategy[Any] = st.recursive(ARRAYS, nodes, max_leaves=20)


def alike(a: Any, b: Any) -> bool:
    return bool(a.dtype == b.dtype and a.shape == b.shape and (a == b).all())


@given(TREES_OF_ARRAYS)
def test_named_and_unnamed_are_inverse(t: Any) -> None:
    arrays = tree.named(t)
    assert len(arrays) == tree.structure(t).size
    again = tree.unnamed(t, {name: arrays[name] for name in sorted(arrays)})
    assert tree.structure(again) == tree.structure(t)
    assert all(map(alike, tree.leaves(again), tree.leaves(t)))


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, ARRAYS, max_size=4), max_size=4))
def test_keys_that_differ_never_have_one_name(t: Any) -> None:
    for key in [k for k in t if type(k) is int]:
        t[str(key)] = t[key]
        t[f"{key}.weight"] = t[key]
    assert len(tree.named(t)) == tree.structure(t).size


def test_names_are_those_of_the_docs() -> None:
    x = np.ones(2)
    names = {1: Affine(x, x), "1": x, "out": [x, (x,)], "a.b": x, "": x, "'": x, -1: x, "-1": x, np.int64(7): x}
    expected = ["1.weight", "1.bias", "'1'", "out.0", "out.1.0", "'a.b'", "''", '"\'"', "-1", "'-1'", "7"]
    assert [*tree.named(names)] == expected
    assert [*tree.named(x)] == [""]


def test_named_arrays_lie_row_by_row_and_are_copied_only_if_need_be() -> None:
    x = np.arange(6.0).reshape(2, 3)
    arrays = tree.named({1: x, 2: x.T, 3: x[:, ::2], 4: np.float32(2.0), 5: 3})
    assert all(array.flags.c_contiguous for array in arrays.values())
    assert arrays["1"] is x
    assert (arrays["2"] == x.T).all()
    assert arrays["4"].shape == arrays["5"].shape == ()


def test_unnamed_arrays_are_the_callers_own() -> None:
    x = np.arange(6.0).reshape(2, 3)
    found = tree.unnamed({1: np.zeros((3, 2))}, {"1": x.T})[1]
    assert found.flags.c_contiguous
    assert found.flags.owndata
    assert not np.shares_memory(found, x)


def test_unnamed_names_every_problem() -> None:
    like = {1: Affine(np.zeros((2, 3), np.float32), np.zeros(3, np.float32)), "out": np.zeros(1, np.float32)}
    given_arrays = {"1.weight": np.zeros((3, 2), np.float32), "1.bias": np.zeros(3), "5.bias": np.zeros(1)}
    with pytest.raises(ParamsError) as told:
        tree.unnamed(like, given_arrays)
    assert str(told.value).splitlines() == [
        "the arrays are not those of the tree",
        "  out is missing",
        "  5.bias is unknown",
        "  1.weight is float32 (3, 2); expected float32 (2, 3)",
        "  1.bias is float64 (3,); expected float32 (3,)",
    ]


def test_named_refuses_leaves_that_are_no_arrays_of_numbers() -> None:
    with pytest.raises(ParamsError, match=r"\n  1\.a is 'text'\n  2 is <object"):
        tree.named({1: {"a": "text"}, 2: object(), 3: np.ones(1)})


def test_a_key_of_another_kind_that_prints_as_another_is_reported() -> None:
    with pytest.raises(ParamsError, match="True is the name of 2 leaves"):
        tree.named({True: np.ones(1), "True": np.ones(1)})


class Tensor:
    """An array of another library, which has to be asked before NumPy may read it."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise RuntimeError("use detach()")


@pytest.mark.parametrize(
    ("leaf", "text"),
    [
        (np.ma.masked_array([1.0, 2.0], [False, True]), "1 is a masked array, .* x.filled"),
        (Tensor(), r"1 is a Tensor and no array: use detach\(\)"),
        ("ab", "1 is 'ab'"),
        (np.array(["ab"]), r"1 is array\(\['ab'\]"),
    ],
)
def test_leaves_that_are_no_arrays_have_no_name_and_none_has_them(leaf: Any, text: str) -> None:
    with pytest.raises(ParamsError, match=text):
        tree.named({1: leaf})
    with pytest.raises(ParamsError, match=rf"{text}.*; expected float64 \(2,\)"):
        tree.unnamed({1: np.zeros(2)}, {"1": leaf})


def test_unnamed_takes_a_dict_of_arrays() -> None:
    with pytest.raises(ParamsError, match="1 is a list and no array: .*inhomogeneous.*expected"):
        tree.unnamed({1: np.zeros(2)}, {"1": [[1.0], [1.0, 2.0]]})
    wrong: Any
    for wrong in (None, 3, [("1", np.zeros(2))], np.zeros(2)):
        with pytest.raises(ParamsError, match="unnamed takes a dict of names and arrays, not "):
            tree.unnamed({1: np.zeros(2)}, wrong)
