"""The table of operators: a row for each, over which every law runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

import funcnet as fn
from funcnet.testing import check_layer


class Case(NamedTuple):
    """One operator: how a user makes it, and the shapes of its inputs without the batch axis."""

    name: str
    make: Callable[[], fn.Layer[Any, Any]]
    shapes: tuple[tuple[int, ...], ...]
    holomorphic: bool = True
    """Whether its function can be given complex numbers."""
    options: Mapping[str, Any] = MappingProxyType({})
    """What else `check_layer` is told: rowwise, labels, domain, extreme."""

    def check(self) -> None:
        """Run every law."""
        check_layer(self.make(), *self.shapes, holomorphic=self.holomorphic, **self.options)


def square(x: fn.Array) -> tuple[fn.Array, Callable[[fn.Array], fn.Array]]:
    return x * x, lambda g: g * (2.0 * x)


def init_scale(key: fn.Key, *shapes: fn.Shape, dtype: Any = np.float32) -> tuple[fn.Weight, fn.Shape]:
    return fn.Weight(np.ones(shapes[0][-1:], dtype)), shapes[0]


def scale(params: fn.Weight, x: fn.Array) -> tuple[fn.Array, fn.Pullback[fn.Weight]]:
    return x * params.weight, lambda g: (fn.Weight((x * g).sum(axis=0)), (g * params.weight,))


CASES = [
    Case("linear", lambda: fn.linear(3), ((4,),)),
    Case("linear without bias", lambda: fn.linear(3, use_bias=False), ((4,),)),
    Case("linear of one unit", lambda: fn.linear(1), ((1,),)),
    Case("linear over sequences", lambda: fn.linear(3), ((5, 4),)),
    Case("linear without bias over sequences", lambda: fn.linear(2, use_bias=False), ((3, 5, 4),)),
    Case("identity", fn.identity, ((4,),)),
    Case("tanh", fn.tanh, ((4,),)),
    Case("sigmoid", fn.sigmoid, ((4,),)),
    Case("relu", fn.relu, ((4,),), False),
    Case("leaky_relu", lambda: fn.leaky_relu(0.1), ((4,),), False),
    Case("elu", lambda: fn.elu(0.7), ((4,),), False),
    Case("selu", fn.selu, ((2, 3),), False),
    Case("gelu", fn.gelu, ((4,),), False),
    Case("gelu by tanh", lambda: fn.gelu(approximate=True), ((4,),)),
    Case("silu", fn.silu, ((4,),)),
    Case("softplus", fn.softplus, ((4,),), False),
    Case("exp", fn.exp, ((4,),), options={"extreme": 80.0}),
    Case("elementwise", lambda: fn.elementwise(square), ((4,),)),
    Case("custom_layer", lambda: fn.custom_layer(init_scale, scale), ((4,),)),
    Case("softmax", fn.softmax, ((4,),)),
    Case("softmax over sequences", fn.softmax, ((2, 4),)),
    Case("log_softmax", fn.log_softmax, ((4,),)),
    Case("add", fn.add, ((4,), (4,), (4,))),
    Case("add of one", fn.add, ((4,),)),
    Case("subtract", fn.subtract, ((4,), (4,))),
    Case("multiply", fn.multiply, ((4,), (4,), (4,))),
    Case("multiply of one", fn.multiply, ((4,),)),
    Case("average", fn.average, ((2, 3), (2, 3), (2, 3))),
    Case("average of one", fn.average, ((4,),)),
    Case("maximum", fn.maximum, ((4,), (4,), (4,)), False),
    Case("concatenate", fn.concatenate, ((2,), (3,), (1,))),
    Case("concatenate sequences", fn.concatenate, ((5, 2), (5, 3))),
    Case("flatten", fn.flatten, ((2, 3),)),
    Case("reshape", lambda: fn.reshape(3, -1), ((2, 6),)),
    Case("reshape of rows", lambda: fn.reshape(6, 2), ((2, 3, 2),)),
    Case("mse", fn.mse, ((4,), (4,))),
    Case("mse over sequences", fn.mse, ((2, 3), (2, 3))),
    Case("softmax_cross_entropy", fn.softmax_cross_entropy, ((4,), (4,))),
    Case("softmax_cross_entropy of labels", fn.softmax_cross_entropy, ((4,), ()), options={"labels": {1: 4}}),
    Case("serial", lambda: fn.serial(fn.linear(3), fn.tanh(), fn.linear(2)), ((4,),)),
    Case("parallel", lambda: fn.parallel(fn.linear(3), fn.serial(fn.linear(3), fn.sigmoid())), ((4,),)),
    Case("parallel with merge", lambda: fn.parallel(fn.linear(3), fn.linear(2), merge=fn.concatenate()), ((4,),)),
    Case("residual", lambda: fn.residual(fn.linear(4), fn.tanh()), ((4,),)),
    Case("network", lambda: fn.network({1: fn.linear(3), 2: fn.tanh(), 3: fn.add()}, {1: [2, 3], 2: [3]}), ((4,),)),
    Case(
        "network of two outputs", lambda: fn.network({1: fn.linear(3), 2: fn.tanh()}, {1: [2]}, output=[1, 2]), ((4,),)
    ),
]
