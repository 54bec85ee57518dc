"""The structure of a network: every operator in its place, down to single layers, without params or shapes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias, cast

from funcnet.core import Layer, OperatorKey
from funcnet.display import key_name
from funcnet.layers.merge import add
from funcnet.networks.network import Network
from funcnet.networks.sharing import Shared

Path: TypeAlias = tuple[OperatorKey, ...]
"""The keys that lead to an operator: its own, and before it those of the operators that it stands in."""
Source: TypeAlias = Path | int
"""A source of an operator: another operator, or an input of the network by its place."""


class Place(NamedTuple):
    """One operator of a network in its place.

    owner: the path of the operator whose params it uses: its own, unless it shares them.
    shares: the key of that operator, where it is another one.
    inputs: its sources.
    children: its parts, in forward order.      results: the paths of those that give its output.
    """

    path: Path
    owner: Path
    layer: Layer[Any, Any]
    shares: OperatorKey | None
    inputs: tuple[Source, ...]
    children: tuple[Place, ...]
    results: tuple[Path, ...]

    def walk(self) -> Iterator[Place]:
        """The operator, and all in it, depth first."""
        yield self
        for child in self.children:
            yield from child.walk()


def structure(
    layer: Layer[Any, Any],
    inputs: tuple[Source, ...],
    path: Path = (),
    owner: Path = (),
    shares: OperatorKey | None = None,
) -> Place:
    """A layer in its place, with all its parts."""
    children = tuple(_children(layer, inputs, path, owner))
    function, results = layer.apply.function, tuple(child.path for child in children[-1:])
    if isinstance(function, Network):
        results = tuple((*path, key) for key in function.graph.outputs)
    return Place(path, owner, layer, shares, inputs, children, results)


def _children(layer: Layer[Any, Any], inputs: tuple[Source, ...], path: Path, owner: Path) -> Iterator[Place]:
    function, layers, kind = layer.apply.function, layer.apply.parts, layer.apply.kind

    def child(key: OperatorKey, each: Layer[Any, Any], fed_by: tuple[Source, ...]) -> Place:
        return structure(each, fed_by, (*path, key), (*owner, key))

    if isinstance(function, Network):
        yield from _operators(function, inputs, path, owner)
    elif layers and kind == "parallel":
        *branches, merge = layers
        yield from (child(i, branch, inputs) for i, branch in enumerate(branches))
        yield child("merge", merge, tuple((*path, i) for i in range(len(branches))))
    elif layers:
        passed = inputs
        for i, each in enumerate(layers):
            yield child(i, each, passed)
            passed = ((*path, i),)
        if kind == "residual":
            yield child("add", add(), (*inputs, *passed))


def _operators(net: Network, inputs: tuple[Source, ...], path: Path, owner: Path) -> Iterator[Place]:
    outside = dict(zip(net.graph.inputs, inputs, strict=True))
    for key in net.graph.order:
        operator = net.layers[key]
        shares = operator.key if isinstance(operator, Shared) else None
        fed_by = tuple((*path, j) for j in net.graph.predecessors[key]) or (outside[key],)
        yield structure(net.layer(key), fed_by, (*path, key), (*owner, key if shares is None else shares), shares)


def params_at(params: Any, owner: Path) -> Any:
    """The params of an operator, among those of the whole network."""
    for key in owner:
        kind = cast("Any", type(params))
        if kind is dict:
            params = params.get(key, ())
        elif isinstance(key, str) or params == ():
            return ()
        else:
            params = params[key]
    return params


def path_name(path: Path) -> str:
    """The keys of a path."""
    return "/".join(map(key_name, path))


def source_name(source: Source, alone: bool) -> str:
    """An operator, or an input: x where it is alone, else x0, x1, ..."""
    if isinstance(source, int):
        return "x" if alone else f"x{source}"
    return path_name(source)
