"""From the option `network` to a layer with the number of outputs that the targets need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

from funcnet.arrays import Array, DType, Shape
from funcnet.core import Layer
from funcnet.display import shown
from funcnet.errors import OptionError, ShapeError
from funcnet.layers.activations import relu
from funcnet.layers.dropout import dropout
from funcnet.layers.linear import linear
from funcnet.networks.combinators import serial
from funcnet.networks.network import network as compiled
from funcnet.options import count, fraction
from funcnet.random import Key
from funcnet.sklearn.bases import BaseEstimator

AnyLayer: TypeAlias = Layer[Any, Array]
FORMS = "a layer, the two dicts (operators, connectivity), a function (n_features, n_outputs) -> layer, or None"


class MLP(BaseEstimator):
    """A builder of multilayer perceptrons: `(n_features, n_outputs) -> layer`, whose options a grid search can set.

    hidden: the number of units of each hidden layer; () gives a linear model.
    activation: a function without arguments that makes the layer behind each hidden one, such as `fn.tanh`.
    dropout: the rate of a dropout behind each activation; 0 for none.
    Raises OptionError for an option out of range, when it is called.

    Example: `GridSearchCV(FuncnetClassifier(MLP()), {"network__hidden": [(50,), (50, 50)]})`.
    """

    def __init__(
        self, hidden: tuple[int, ...] = (100,), activation: Callable[[], AnyLayer] = relu, dropout: float = 0.0
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.dropout = dropout

    def __call__(self, n_features: int, n_outputs: int) -> AnyLayer:
        """The network for so many outputs; the number of features is left to its init."""
        hidden: Any = self.hidden
        if not isinstance(hidden, (list, tuple)):
            raise OptionError(f"MLP: hidden must be a tuple of ints, such as (100,), not {hidden!r:.60}")
        if not callable(self.activation):
            raise OptionError(f"MLP: activation must make a layer, such as fn.relu, not {self.activation!r:.60}")
        rate = fraction("MLP: dropout", self.dropout)
        layers: list[AnyLayer] = []
        for units in cast("tuple[int, ...]", hidden):
            layers += [linear(count("MLP: hidden", units)), self.activation()]
            layers += [dropout(rate)] if rate else []
        return serial(*layers, linear(n_outputs))


def as_layer(network: Any, n_features: int, n_outputs: int) -> AnyLayer:
    """The layer, the two dicts or the builder that is given, as a layer."""
    if network is None:
        network = MLP()
    if isinstance(network, Layer):
        return cast(AnyLayer, network)
    if isinstance(network, tuple):
        parts: Any = network
        if len(parts) == 2 and all(isinstance(part, Mapping) for part in parts):
            return compiled(*parts)
    elif callable(network):
        made = network(n_features, n_outputs)
        if isinstance(made, Layer):
            return cast(AnyLayer, made)
        raise OptionError(f"network: the function ({n_features}, {n_outputs}) returned {made!r:.60}, which is no layer")
    raise OptionError(f"network must be {FORMS}, not {network!r:.60}")


def first_params(layer: AnyLayer, key: Key, n_features: int, n_outputs: int, dtype: DType) -> Any:
    """The params drawn for so many features; the network must give one row of n_outputs numbers for each row."""
    shape: Shape
    params, shape = layer.init(key, (n_features,), dtype=dtype)
    if shape != (n_outputs,):
        raise ShapeError(
            f"network: {shown(layer):.80} gives shape {shape} a row, but y needs ({n_outputs},): end it with "
            f"fn.linear({n_outputs}), or give a function (n_features, n_outputs) -> layer"
        )
    return params
