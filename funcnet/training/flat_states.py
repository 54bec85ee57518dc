"""The state of an optimizer as flat vectors, and as the trees of views that a step takes and returns."""

from __future__ import annotations

from typing import Any, NamedTuple

from funcnet import tree
from funcnet.arrays import Array, is_array, is_tuple
from funcnet.compiler.layout import FORM, Layout, Node, are_as_they_were
from funcnet.errors import ParamsError, ShapeError, located


class Kept(NamedTuple):
    """A state that a step returned, its flat form with a vector for each tree, and the parts of both.

    nodes: the dicts and lists of the trees.     arrays: each vector and its views, as `layout` makes them.
    """

    state: Any
    flat: Any
    nodes: list[Node]
    arrays: list[Array]

    def is_as_it_was(self, layout: Layout[Any]) -> bool:
        """Whether no part was replaced, and no shape, strides or dtype was assigned."""
        forms = [layout.form, *layout.forms]
        count = len(self.arrays) // len(forms)
        return are_as_they_were(self.nodes) and [*map(FORM, self.arrays)] == forms * count


def vector_of(layout: Layout[Any], candidate: Any) -> Array:
    """The leaves of a tree shaped as the params in one vector: that of which they are views, else a new one."""
    leaves, structure = tree.flatten(candidate)
    if structure != layout.structure:
        places = tree.unflatten(layout.structure, range(layout.structure.size))
        leaves = tree.leaves(tree.map(second, places, candidate))
    for x, shape in zip(leaves, layout.shapes, strict=True):
        if not is_array(x) or x.shape != shape or x.dtype != layout.dtype:
            what = f"{x.dtype} {x.shape}" if is_array(x) else f"{x!r:.60}"
            raise ShapeError(
                f"{what} stands where the params have {layout.dtype} {shape}: make the state from them, init(params)"
            )
    source: Array | None = layout.source(leaves)
    return layout.joined(leaves) if source is None else source


def second(place: int, x: Any) -> Any:
    """x"""
    return x


def flat_state(layout: Layout[Any], like: Any, state: Any) -> Any:
    """The state with a vector in place of each tree that is shaped as the params; `like` has one there."""
    if is_tuple(like):
        if type(state) is not type(like) or len(state) != len(like):
            raise ParamsError(
                f"train_step: the state has a {type(state).__name__}{length_of(state)} where this optimizer keeps a "
                f"{type(like).__name__}{length_of(like)}: step.init(params) gives the first one"
            )
        return tree.new_tuple(type(like), [flat_state(layout, a, b) for a, b in zip(like, state, strict=True)])
    if not is_array(like):
        if is_array(state) and state.ndim:
            raise ParamsError(f"train_step: the state has {state!r:.60} where this optimizer keeps {like!r:.60}")
        return state
    try:
        return vector_of(layout, state)
    except (ParamsError, ShapeError) as error:
        raise located(error, "train_step: the state does not fit the params") from None


def length_of(state: Any) -> str:
    """How many items a plain tuple has, for an error."""
    return f" of {len(state)}" if is_tuple(state) and type(state) is tuple else ""


def with_trees(layout: Layout[Any], flat: Any) -> Kept:
    """The state with trees of views in place of vectors."""
    nodes, arrays = list[Node](), list[Array]()
    return Kept(_with_trees(layout, flat, nodes, arrays), flat, nodes, arrays)


def _with_trees(layout: Layout[Any], flat: Any, nodes: list[Node], arrays: list[Array]) -> Any:
    if is_tuple(flat):
        return tree.new_tuple(type(flat), [_with_trees(layout, part, nodes, arrays) for part in flat])
    if not is_array(flat) or not flat.ndim:  # a number may be an array of no axes, as files give them
        return flat
    return tree_of(layout, flat, nodes, arrays)


def tree_of(layout: Layout[Any], vector: Array, nodes: list[Node], arrays: list[Array]) -> Any:
    """The tree of views of a vector; its parts are added to `nodes` and `arrays`."""
    leaves = layout.views(vector)
    made = layout.build(leaves)
    nodes += layout.nodes(made)
    arrays += [vector, *leaves]
    return made
