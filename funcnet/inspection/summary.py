"""A network as a table: its operators, their inputs, shapes, numbers of params and costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from funcnet import tree
from funcnet.arrays import DType, Shape
from funcnet.calling import checks_call
from funcnet.core import Function, Layer, OperatorKey, trace_one_row
from funcnet.display import aligned, key_name, one_line
from funcnet.errors import DTypeError, ShapeError
from funcnet.inspection.structure import Path, Place, Source, params_at, path_name, source_name, structure
from funcnet.networks.parts import check
from funcnet.random import key as random_key


class Operator(NamedTuple):
    """One operator of a network.

    shares: the operator whose params it uses, where they are not its own.
    inputs: the operators, or inputs of the network, that feed it.
    output: its shape; of several outputs, a tuple of shapes.
    parameters: the elements of its own params.
    multiply_adds: of its products, for one row of the batch, forward.
    children: its parts, in forward order.      results: the paths of those parts that give its output.
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
    """The result of `summary`; its text is a table.

    rows: every operator in forward order, each followed by its parts.
    inputs, output: the shapes of the network's inputs and output, without the batch axis.
    parameters, multiply_adds: of all operators; the products of a custom layer are unknown and not counted.
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


@checks_call
def summary(net: Layer[Any, Any], *input_shapes: Shape, dtype: DType = np.float32) -> Summary:
    """A table of a network: key, kind, inputs, output shape, parameters and multiply-adds of each operator, and totals.

    Shapes leave out the batch axis, as for `init`, which is called for the params. A nested network, `serial`,
    `parallel` or `residual` has a row, and so has each of its parts.
    Raises GraphError for anything but a layer, and the errors of `net.init`.
    Example: `print(fn.summary(net, (2,)))`.
    """
    whole = outline("summary", net, *input_shapes, dtype=dtype)
    rows = tuple(whole.walk())[bool(whole.children) :]
    return Summary(rows, tuple(input_shapes), whole.output, whole.parameters, whole.multiply_adds)


def outline(where: str, net: Layer[Any, Any], *input_shapes: Shape, dtype: DType = np.float32) -> Operator:
    """The network as one operator, with all that stands in it. where: the function that is called, for its errors."""
    check(where, (net,), multi_output=True)
    if not input_shapes:
        raise ShapeError(f"{where}: give the shape of each input without the batch axis, such as {where}(net, (2,))")
    params, _ = net.init(random_key(0), *input_shapes, dtype=dtype)
    return _Outline(params, input_shapes, dtype).operator(structure(net, tuple(range(len(input_shapes)))))


class _Outline:
    """Walks through a network in forward order. shapes: of what has been passed so far."""

    def __init__(self, params: Any, shapes: Sequence[Shape], dtype: DType) -> None:
        self.params: Any = params
        self.shapes: dict[Source, Any] = dict(enumerate(shapes))
        self.dtype = dtype

    def operator(self, place: Place) -> Operator:
        """A layer in its place as an operator. Shared params are counted once, where they are drawn."""
        path, apply, params = place.path, place.layer.apply, params_at(self.params, place.owner)
        children = tuple(map(self.operator, place.children))
        if children:
            shapes = tuple(self.shapes[result] for result in place.results)
            shape = shapes if apply.multi_output else shapes[0]
            cost = sum(child.multiply_adds for child in children)
        else:
            shape, cost = self._traced(apply, params, place.inputs)
        self.shapes[path] = shape
        count = sum(leaf.size for leaf in tree.leaves(params)) if place.owner == path else 0
        return Operator(path, apply.kind, place.shares, place.inputs, shape, count, cost, children, place.results)

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
        shape, trace = trace_one_row(apply, params, shapes, np.dtype(self.dtype), integers)
        return shape, sum(call.multiply_adds() for call in trace.calls)


def _cells(row: Operator, alone: bool) -> tuple[str, ...]:
    """An operator as a row of the table."""
    inward = "  " * (len(row.path) - 1)
    fed_by = ", ".join(source_name(source, alone) for source in row.inputs)
    counts = (f"{row.parameters:,}", f"{row.multiply_adds:,}")
    return (inward + path_name(row.path), row.label, fed_by, str(row.output), *counts)
