"""Networks: two dicts compiled into one differentiable function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast, overload

import numpy as np
from typing_extensions import TypeVar

from funcnet import tree
from funcnet.arrays import Array
from funcnet.calling import checks_call
from funcnet.compiler.programs import CompiledFunction
from funcnet.core import Layer, OperatorKey, Pullback, has_no_params
from funcnet.display import Written, key_name
from funcnet.errors import FuncnetError, ParamsError, ShapeError, located
from funcnet.networks.combinators import serial
from funcnet.networks.drawing import NetworkInit, Step, described
from funcnet.networks.drawing import NetworkParams as NetworkParams
from funcnet.networks.graph import Graph, is_series, nearest
from funcnet.networks.nesting import nested, scoped
from funcnet.networks.parts import any_random, check
from funcnet.networks.sharing import Shared, transposed
from funcnet.networks.sketch import table
from funcnet.random import Key

Operators: TypeAlias = "Mapping[Any, Layer[Any, Any] | Shared | Sequence[Layer[Any, Any]]]"
Connectivity: TypeAlias = "Mapping[Any, Sequence[OperatorKey]]"

# What mypy makes of such a dict in a variable without an annotation: where the layers differ in their params, or the
# keys are of two kinds, it knows no closer type for all than `object`, `tuple`, `list` or `Sequence`.
InferredOperators = TypeVar(
    "InferredOperators",
    bound="Mapping[Any, tuple[Any, ...] | Sequence[tuple[Any, Any]]] | dict[Any, Sequence[Any]] | dict[Any, object]",
    default=Operators,
)
InferredConnectivity = TypeVar(
    "InferredConnectivity",
    bound="Connectivity | dict[Any, list[object]] | dict[Any, Sequence[object]] | dict[Any, object]",
    default=Connectivity,
)


@overload
def network(
    operators: Operators | InferredOperators,
    connectivity: Connectivity | InferredConnectivity,
    *,
    inputs: Sequence[OperatorKey] | None = None,
    output: OperatorKey | None = None,
) -> Layer[NetworkParams]: ...
@overload
def network(
    operators: Operators | InferredOperators,
    connectivity: Connectivity | InferredConnectivity,
    *,
    inputs: Sequence[OperatorKey] | None = None,
    output: list[Any] | tuple[OperatorKey, ...],
) -> Layer[NetworkParams, tuple[Array, ...]]: ...
@checks_call
def network(
    operators: Mapping[Any, Any],
    connectivity: Mapping[Any, Any],
    *,
    inputs: Sequence[OperatorKey] | None = None,
    output: OperatorKey | Sequence[OperatorKey] | None = None,
) -> Layer[NetworkParams, Any]:
    """Compile two dicts into one layer.

    operators: key -> layer, list of layers in series (a list of one is that layer), or `shared(key)`.
    connectivity: key -> the keys that it feeds; the order of the edges is the order of an operator's inputs.
    inputs: the operators that read the outside, in the order of `apply`'s arguments; by default all that nothing feeds.
    output: one key, or a list of keys (`apply` then returns a tuple); by default the only operator that feeds nothing.

    y_k = f_k(params_k, y_j for j in predecessors[k])        dy_j = sum of the cotangents from all that j feeds
    Raises GraphError, which lists every problem of the dicts; in use the errors of the layers, with the operator's key.
    Example: `net = fn.network({1: fn.linear(25), 2: fn.tanh(), 3: fn.linear(2)}, {1: [2], 2: [3], 3: []})`.
    """
    graph = Graph(operators, connectivity, inputs, output)
    layers = {key: in_series(op) if is_series(op) else op for key, op in graph.operators.items()}
    function = Network(graph, layers)
    apply: CompiledFunction[NetworkParams, Any] = CompiledFunction(
        "network",
        function,
        len(graph.inputs),
        multi_output=not graph.single,
        integer_inputs=function.inputs_that_go_to("integer_inputs"),
        mask_inputs=function.inputs_that_go_to("mask_inputs"),
        random=function.random,
    )
    applies = [step.layer.apply for step in function.steps]
    written = Written("network", (graph,))
    return nested(Layer(NetworkInit(graph, function.steps), apply), applies, written)


def in_series(layers: Sequence[Layer[Any, Any]]) -> Layer[Any, Any]:
    """The layers as one; a single one is itself."""
    return serial(*layers) if len(layers) > 1 else layers[0]


class Network:
    """The function of a network: forward through the operators in order, and back through their pullbacks."""

    def __init__(self, graph: Graph, layers: Mapping[OperatorKey, Any]) -> None:
        self.graph = graph
        self.layers: dict[OperatorKey, Any] = dict(layers)
        self.steps: list[Step] = [self._step(key) for key in graph.order]
        self.random: bool = any_random(step.layer.apply for step in self.steps)
        self.without_params: set[OperatorKey] = {
            k for k, op in self.layers.items() if not isinstance(op, Shared) and has_no_params(op)
        }

    def _step(self, key: OperatorKey) -> Step:
        operator = self.layers[key]
        source = operator.key if isinstance(operator, Shared) else key
        return Step(key, source, self.layer(key), self.graph.predecessors[key])

    def layer(self, key: OperatorKey) -> Layer[Any, Any]:
        """The layer of an operator; for `shared`, the layer that it shares, transposed where asked for."""
        operator: Layer[Any, Any] | Shared = self.layers[key]
        if not isinstance(operator, Shared):
            return operator
        source: Layer[Any, Any] = self.layers[operator.key]
        return Layer(source.init, transposed(source)) if operator.transposed else source

    def table(self) -> str:
        """The operators, a line each."""
        return table(self.graph, self.layers)

    def picture(self) -> str | None:
        """The operators as a picture in SVG."""
        from funcnet.networks.gallery import picture  # only where one is drawn: networks start sooner without it

        return picture(self.graph, self.layers)

    def inputs_that_go_to(self, kind: str) -> list[int]:
        """Which inputs may be integers, or masks: those that go, perhaps through identities, nowhere but to such."""
        return [place for place, key in enumerate(self.graph.inputs) if self._goes_to(kind, key)]

    def _goes_to(self, kind: str, key: OperatorKey) -> bool:
        """Whether an operator, and all that an identity feeds, takes this kind from its first input on."""
        waiting, applies = [(key, 0)], {step.key: step.layer.apply for step in self.steps}
        for k, place in waiting:
            if place not in getattr(applies[k], kind):
                return False
            if applies[k].is_identity:
                waiting += [(j, self.graph.predecessors[j].index(k)) for j in self.graph.connectivity[k]]
        return True

    def __call__(
        self, params: NetworkParams, *inputs: Array, key: Key | None = None
    ) -> tuple[Any, Pullback[NetworkParams]]:
        """(output, pullback)."""
        values, pullbacks = self.forward(params, inputs, key)
        outputs = tuple(values[key] for key in self.graph.outputs)

        def pullback(cotangent: Any) -> tuple[NetworkParams, tuple[Array, ...]]:
            given = (cotangent,) if self.graph.single else cotangent
            return self.backward(params, pullbacks, dict(zip(self.graph.outputs, given, strict=True)), inputs[0])

        return outputs[0] if self.graph.single else outputs, pullback

    def forward(
        self, params: NetworkParams, inputs: tuple[Array, ...], key: Key | None
    ) -> tuple[dict[OperatorKey, Array], dict[OperatorKey, Pullback[Any]]]:
        """Every operator's value and pullback."""
        own = self._check(params)
        values: dict[OperatorKey, Array] = {}
        pullbacks: dict[OperatorKey, Pullback[Any]] = {}
        outside = dict(zip(self.graph.inputs, inputs, strict=True))
        with scoped(inputs[0]) as scope:
            for k, source, (_, apply), fed_by in self.steps:
                scope(f"{key_name(k)} {apply.kind}")
                xs = [values[j] for j in fed_by] if fed_by else [outside[k]]
                try:
                    values[k], pullbacks[k] = apply.compute(own.get(source, ()), *xs, key=apply.key_under(key, k))
                except FuncnetError as error:
                    raise located(
                        error, described(k, apply.kind, fed_by, [x.shape for x in xs]), outermost=True
                    ) from None
        return values, pullbacks

    def backward(
        self,
        params: NetworkParams,
        pullbacks: dict[OperatorKey, Pullback[Any]],
        cotangents: dict[OperatorKey, Array],
        example: Array,
    ) -> tuple[NetworkParams, tuple[Array, ...]]:
        """The cotangents of params and inputs, in reverse order; cotangents that arrive at one value add up."""
        found: dict[OperatorKey, Any] = {}
        outside: dict[OperatorKey, Any] = {}
        with scoped(example) as scope:
            for key, source, (_, apply), fed_by in reversed(self.steps):
                scope(f"{key_name(key)} {apply.kind} backward")
                if key not in cotangents:  # its value went nowhere but to labels
                    outside.setdefault(key, None)
                    continue
                of_params, of_inputs = pullbacks[key](cotangents.pop(key))
                found[source] = tree.map(np.add, found[source], of_params) if source in found else of_params
                for j, dx in zip(fed_by, cast("tuple[Array | None, ...]", of_inputs), strict=False):
                    if dx is not None:
                        cotangents[j] = cotangents[j] + dx if j in cotangents else dx
                if not fed_by:
                    (outside[key],) = of_inputs
        # what goes to labels alone has no arrays in its params
        of_params = {key: found.get(key, own) for key, own in params.items()} if params else params
        return of_params, tuple(outside[key] for key in self.graph.inputs)

    def _check(self, params: Any) -> NetworkParams:
        """Refuse anything but a dict of params by operator key; () will do where no operator has any."""
        kind = cast("Any", type(params))
        if kind is not dict and not (kind is tuple and not params):
            pair = kind is tuple and len(params) == 2 and type(params[0]) is dict
            hint = " This is the pair that init returns: params, shape = net.init(...)" if pair else ""
            raise ParamsError(f"params of a network are a dict, operator key -> params, not a {kind.__name__}.{hint}")
        unknown = [key for key in params if key not in self.layers or isinstance(self.layers[key], Shared)]
        if unknown:
            without = {*self.without_params, *params}
            held = [key for key, own in self.layers.items() if key not in without and not isinstance(own, Shared)]
            near = nearest(unknown[0], held)
            raise ParamsError(
                f"params name {unknown[0]!r}, which is no operator with params of its own in this network"
                f"{'' if near is None else f': did you mean {near!r}?'}"
            )
        idle = [key for key in params if key in self.without_params and tree.leaves(params[key])]
        if idle:
            raise ParamsError(
                f"params[{idle[0]!r}]: operator {idle[0]!r} ({self.layers[idle[0]].apply.kind}) has no params"
            )
        return params or {}


@checks_call
def trace(
    net: Layer[NetworkParams, Any], params: NetworkParams, *inputs: Array, key: Key | None = None
) -> dict[OperatorKey, Array]:
    """Every operator's output by its key, in forward order: for a look inside.

    Shapes: each operator's, batch-first. Raises ShapeError for a layer without operators, GraphError for anything but a
    layer, and the errors of `net.apply`.
    Example: `fn.trace(net, params, x)[2]` is the output of operator 2.
    """
    check("trace", (net,), multi_output=True)
    function = net.apply.function
    if not isinstance(function, Network):
        raise ShapeError(
            f"trace looks into the operators of a network; a {net.apply.kind} has none: name them, "
            "fn.network(operators, connectivity)"
        )
    values, _ = function.forward(params, net.apply.accept(params, inputs, key), key)
    return {k: np.array(value) for k, value in values.items()}
