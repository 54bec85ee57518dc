"""How the params of a network are drawn: operator by operator, each with a key folded from its own operator key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Never, TypeAlias

import numpy as np

from funcnet import tree
from funcnet.arrays import DType, Shape, accept_dtype, accept_shape
from funcnet.calling import INIT, refuse_options
from funcnet.compiler.layout import contiguous
from funcnet.core import Layer, OperatorKey, listed_shapes, output_shape
from funcnet.errors import FuncnetError, ShapeError, located
from funcnet.networks.graph import Graph
from funcnet.networks.sharing import Shared
from funcnet.random import Key, check_key, fold_in

NetworkParams: TypeAlias = "dict[OperatorKey, Any]"
"""Params of a network: operator key -> params, for the operators that have any, in forward order."""


class Step(NamedTuple):
    """One operator in its place in the forward pass."""

    key: OperatorKey
    source: OperatorKey
    """Whose params it uses: its own key, or that of the operator it shares."""
    layer: Layer[Any, Any]
    fed_by: tuple[OperatorKey, ...]


class NetworkInit:
    """`init` of a network: each operator's, with a key folded from its own operator key."""

    def __init__(self, graph: Graph, steps: Sequence[Step]) -> None:
        self.graph = graph
        self.steps: tuple[Step, ...] = tuple(steps)

    def __call__(
        self, key: Key, *input_shapes: Shape, dtype: DType = np.float32, **options: Never
    ) -> tuple[NetworkParams, Any]:
        """Draw the params of all operators; an error lists every operator whose inputs do not fit."""
        if options:
            refuse_options("network", INIT, options)
        check_key(key)
        graph, draws = self.graph, accept_dtype(dtype)
        given = [accept_shape("network", shape) for shape in input_shapes]
        if len(given) != len(graph.inputs):
            takes = f"{len(graph.inputs)} input{'s' * (len(graph.inputs) != 1)}"
            raise ShapeError(f"the network has {takes}, but init was given {len(given)} shape{'s' * (len(given) != 1)}")
        drawn = Drawn(graph, dict(zip(graph.inputs, given, strict=True)), key, draws)
        waiting = self.steps
        while waiting:
            left = tuple(step for step in waiting if not drawn.add(step))
            if len(left) == len(waiting):
                drawn.problems += [unknown(step) for step in left if drawn.transposes(step)]
                break
            waiting = left
        if drawn.problems:
            raise ShapeError("\n  ".join(drawn.problems))
        held = {k: drawn.params[k] for k in graph.order if k in drawn.params and tree.leaves(drawn.params[k])}
        output = tuple(drawn.shapes[k] for k in graph.outputs)
        return contiguous(held, draws), output[0] if graph.single else output


class Drawn:
    """Params, shapes of outputs (None where there was a problem) and problems of the operators seen so far."""

    def __init__(self, graph: Graph, outside: dict[OperatorKey, Shape], key: Key, dtype: np.dtype[Any]) -> None:
        self.graph = graph
        self.outside = outside
        self.key = key
        self.dtype = dtype
        self.params: NetworkParams = {}
        self.shapes: dict[OperatorKey, Any] = {}
        self.problems: list[str] = []

    def transposes(self, step: Step) -> bool:
        """Whether the operator uses the weight of another one transposed, which has to be drawn first."""
        operator = self.graph.operators[step.key]
        return isinstance(operator, Shared) and operator.transposed

    def add(self, step: Step) -> bool:
        """Draw the params of an operator and learn the shape of its output; False where it has to wait for others."""
        k, source, layer, fed_by = step
        transposes = self.transposes(step)
        needs = (*fed_by, source) if transposes and source not in self.params else fed_by
        if any(j not in self.shapes for j in needs):
            return False
        self.shapes[k] = None
        arriving = [self.shapes[j] for j in fed_by] if fed_by else [self.outside[k]]
        if None in arriving or (transposes and source not in self.params):
            return True  # the cause is among the problems already
        try:
            if transposes:
                self.shapes[k] = self._transposed(layer, self.params[source], arriving)
                return True
            own, self.shapes[k] = layer.init(fold_in(self.key, source), *arriving, dtype=self.dtype)
            expected = self.params.setdefault(source, own)
            if source != k and [x.shape for x in tree.leaves(expected)] != [x.shape for x in tree.leaves(own)]:
                raise ShapeError(f"it shares the params of operator {source!r}, whose inputs have another shape")
        except FuncnetError as error:
            problem = located(error, described(k, layer.apply.kind, fed_by, arriving), outermost=True)
            self.problems.append(str(problem))
        return True

    def _transposed(self, layer: Layer[Any, Any], params: Any, arriving: list[Shape]) -> Shape:
        """The shape of the output of an operator that draws nothing."""
        try:
            return output_shape(layer.apply, params, tuple(arriving), self.dtype)
        except FuncnetError as error:
            raise located(error, f"{layer.apply.kind}: {listed_shapes(arriving)}") from None


def unknown(step: Step) -> str:
    """Why an operator that transposes can never be drawn."""
    what = f"operator {step.key!r} transposes the weight of operator {step.source!r}"
    return f"{what}, whose shape depends on its output: feed {step.source!r} from elsewhere"


def described(key: OperatorKey, kind: str, fed_by: Sequence[OperatorKey], shapes: Sequence[Any]) -> str:
    """An operator, and every predecessor with its shape."""
    names = [f"operator {j!r}" for j in fed_by] or ["the input"]
    return f"operator {key!r} ({kind}): fed by " + ", ".join(
        f"{n} with shape {s}" for n, s in zip(names, shapes, strict=True)
    )
