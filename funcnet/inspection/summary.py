"""A network at a glance: its operators, what feeds them, their shapes, how many params they have, what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from funcnet import tree
from funcnet.arrays import DType, Shape
from funcnet.core import Function, Layer, OperatorKey
from funcnet.display import aligned, key_name, one_line
from funcnet.errors import DTypeError, ShapeError
from funcnet.layers.merge import add
from funcnet.networks.combinators import check, matching, parts
from funcnet.networks.network import Network
from funcnet.networks.sharing import Shared
from funcnet.random import key as random_key
from funcnet.tracing.trace import Trace

Path: TypeAlias = tuple[OperatorKey, ...]
"""The keys that lead to an operator: its own, and before it those of the operators that it stands in."""
Source: TypeAlias = Path | int
"""What feeds an operator: another one, or the input from outside in that place."""


class Operator(NamedTuple):
    """One operator of a network.

    shares: the operator whose params it uses, where they are not its own.
    inputs: what feeds it.      output: the shape of what it gives, or of each of several outputs.
    parameters: the elements of its own params.
    multiply_adds: those of its products for one row of the batch, forward.
    children: the operators that it is made of, in forward order.      results: those of them that give its output.
    """

    path: Path
    kind: str
    shares: OperatorKey | None
    inputs: tuple[Source, ...]
    output: Any
    parameters: int
    multiply_adds: int
    children: tuple[Operator, ...]
    results: tuple[Path, ...]

    @property
    def label(self) -> str:
        """Its kind, and whose params it uses where they are not its own."""
        kind = one_line(self.kind)
        return kind if self.shares is None else f"{kind}, params of {key_name(self.shares)}"

    def walk(self) -> Iterator[Operator]:
        """The operator, and all in it, depth first."""
        yield self
        for child in self.children:
            yield from child.walk()


class Summary(NamedTuple):
    """What `summary` gives; its text is a table.

    rows: every operator in forward order; what one is made of comes right after it.
    inputs, output: the shapes of what goes in and comes out, without the batch axis.
    parameters, multiply_adds: of all operators; those of a custom layer's products are not known and not counted.
    """

    rows: tuple[Operator, ...]
    inputs: tuple[Shape, ...]
    output: Any
    parameters: int
    multiply_adds: int

    def __str__(self) -> str:
        """The table: a line an input, a line an operator, the totals."""
        head = ("operator", "kind", "inputs", "output", "parameters", "multiply-adds")
        alone = len(self.inputs) == 1
        inputs = [(source_name(i, alone), "input", "", str(shape), "", "") for i, shape in enumerate(self.inputs)]
        total = ("total", "", "", str(self.output), f"{self.parameters:,}", f"{self.multiply_adds:,}")
        return aligned([head, *inputs, *(_cells(row, alone) for row in self.rows), total], numbers=2)


def summary(net: Layer[Any, Any], *input_shapes: Shape, dtype: DType = np.float32) -> Summary:
    """A row an operator: key, kind, inputs, output shape, parameters, multiply-adds; and the totals.

    Shapes leave out the batch axis, as for `init`, which is asked for the params. Networks inside the network, series,
    branches and residuals have a row, and what they are made of rows of its own. `print(fn.summary(net, (2,)))` shows
    the table. Raises what `net.init` would.
    """
    whole = outline(net, *input_shapes, dtype=dtype)
    rows = tuple(whole.walk())[bool(whole.children) :]
    return Summary(rows, tuple(input_shapes), whole.output, whole.parameters, whole.multiply_adds)


def outline(net: Layer[Any, Any], *input_shapes: Shape, dtype: DType = np.float32) -> Operator:
    """The network as one operator, with all that stands in it."""
    check("summary", (net,), multi_output=True)
    params, _ = net.init(random_key(0), *input_shapes, dtype=dtype)
    return _Outline(input_shapes, dtype).operator((), net, params, tuple(range(len(input_shapes))))


class _Outline:
    """Walks through a network in forward order. shapes: of what has been passed so far."""

    def __init__(self, shapes: Sequence[Shape], dtype: DType) -> None:
        self.shapes: dict[Source, Any] = dict(enumerate(shapes))
        self.dtype = dtype

    def operator(
        self,
        path: Path,
        layer: Layer[Any, Any],
        params: Any,
        inputs: tuple[Source, ...],
        *,
        shares: OperatorKey | None = None,
        owned: bool = True,
    ) -> Operator:
        """The operator that a layer is in its place. owned: whether its params are counted here and not elsewhere."""
        children = tuple(self._children(path, layer, params, inputs, owned))
        if children:
            results = _results(path, layer, children)
            shapes = tuple(self.shapes[result] for result in results)
            shape = shapes if layer.apply.multi_output else shapes[0]
            cost = sum(child.multiply_adds for child in children)
        else:
            results = ()
            shape, cost = self._traced(layer.apply, params, inputs)
        self.shapes[path] = shape
        count = sum(leaf.size for leaf in tree.leaves(params)) if owned else 0
        return Operator(path, layer.apply.kind, shares, inputs, shape, count, cost, children, results)

    def _children(
        self, path: Path, layer: Layer[Any, Any], params: Any, inputs: tuple[Source, ...], owned: bool
    ) -> Iterator[Operator]:
        function, layers = layer.apply.function, parts(layer)
        if isinstance(function, Network):
            yield from self._operators(path, function, params or {}, inputs, owned)
        elif layers and layer.apply.kind == "parallel":
            *branches, merge = layers
            for i, (branch, own) in enumerate(zip(branches, matching(params, len(branches)), strict=True)):
                yield self.operator((*path, i), branch, own, inputs, owned=owned)
            yield self.operator((*path, "merge"), merge, (), tuple((*path, i) for i in range(len(branches))))
        elif layers:
            passed = inputs
            for i, (each, own) in enumerate(zip(layers, matching(params, len(layers)), strict=True)):
                yield self.operator((*path, i), each, own, passed, owned=owned)
                passed = ((*path, i),)
            if layer.apply.kind == "residual":
                yield self.operator((*path, "add"), add(), (), (*inputs, *passed))

    def _operators(
        self, path: Path, net: Network, params: Any, inputs: tuple[Source, ...], owned: bool
    ) -> Iterator[Operator]:
        outside = dict(zip(net.graph.inputs, inputs, strict=True))
        for key in net.graph.order:
            operator = net.layers[key]
            shares = operator.key if isinstance(operator, Shared) else None
            source = key if shares is None else shares
            fed_by = tuple((*path, j) for j in net.graph.predecessors[key]) or (outside[key],)
            own = params.get(source, ())
            counted = owned and shares is None
            yield self.operator((*path, key), net.layer(key), own, fed_by, shares=shares, owned=counted)

    def _traced(self, apply: Function[Any, Any], params: Any, inputs: tuple[Source, ...]) -> tuple[Shape, int]:
        """The shape of the output, and the cost, both read off the calls for one row."""
        shapes = [self.shapes[source] for source in inputs]
        try:
            return self._recorded(apply, params, shapes, {place for place in apply.integer_inputs if not shapes[place]})
        except (DTypeError, ShapeError):  # labels of any shape, then
            return self._recorded(apply, params, shapes, apply.integer_inputs)

    def _recorded(
        self, apply: Function[Any, Any], params: Any, shapes: Sequence[Shape], integers: Set[int]
    ) -> tuple[Shape, int]:
        trace = Trace(np.dtype(self.dtype), rows=1, total=2)
        symbols = tree.unflatten(tree.structure(params), [trace.parameter(x.shape) for x in tree.leaves(params)])
        kinds = [np.dtype(np.intp) if i in integers else trace.dtype for i in range(len(shapes))]
        values = [trace.input((1, *shape), kind) for shape, kind in zip(shapes, kinds, strict=True)]
        output, _ = apply.function(symbols, *values)
        shape = output.shape if output.batch_axis is None else output.shape[1:]
        return shape, sum(call.multiply_adds() for call in trace.calls)


def _results(path: Path, layer: Layer[Any, Any], children: tuple[Operator, ...]) -> tuple[Path, ...]:
    """Which of the operators give the output."""
    function = layer.apply.function
    if isinstance(function, Network):
        return tuple((*path, key) for key in function.graph.outputs)
    return (children[-1].path,)


def path_name(path: Path) -> str:
    """The keys of a path."""
    return "/".join(map(key_name, path))


def source_name(source: Source, alone: bool) -> str:
    """An operator, or an input: x where it is alone, else x0, x1, ..."""
    if isinstance(source, int):
        return "x" if alone else f"x{source}"
    return path_name(source)


def _cells(row: Operator, alone: bool) -> tuple[str, ...]:
    """An operator as a row of the table."""
    inward = "  " * (len(row.path) - 1)
    fed_by = ", ".join(source_name(source, alone) for source in row.inputs)
    counts = (f"{row.parameters:,}", f"{row.multiply_adds:,}")
    return (inward + path_name(row.path), row.label, fed_by, str(row.output), *counts)
