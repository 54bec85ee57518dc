"""Calls that a type checker must refuse: each line names the error of mypy and that of pyright, and both are demanded.

An ignore that is not needed is itself an error, under either. Nothing here is run.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import funcnet as fn

X = np.ones((3, 2), np.float32)
KEY = fn.key(0)


def names() -> None:
    fn.adamm(1e-3)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def options() -> None:
    fn.linear("25")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    fn.linear(25, bias=False)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    fn.linear(25, use_bias=False, bias_init=fn.zeros())  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    fn.leaky_relu(slope="0.1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fn.reshape("2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fn.sgd_step(fn.linear(2), fn.mse())  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    fn.sgd_step(fn.linear(2), fn.mse(), learning_rate="0.1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fn.sgd_step(fn.linear(2), fn.mse(), 0.1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    fn.network({1: fn.linear(2)}, {}, outputs=[1])  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


def what_is_no_layer() -> None:
    fn.network({1: fn.relu}, {})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    fn.network({1: fn.linear(4), 2: fn.relu}, {1: [2]})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    fn.network({1: 5}, {})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    fn.network({1: [5]}, {})  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    uncalled = {1: fn.relu}
    fn.network(uncalled, {})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fn.serial(fn.linear(4), fn.relu)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    fn.residual(fn.relu)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fn.sgd_step(fn.linear(2), fn.mse, learning_rate=0.1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def edges() -> None:
    fn.network({1: fn.relu(), 2: fn.relu()}, {1: 2})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    halves = {1: [2.5]}
    fn.network({1: fn.relu(), 2: fn.relu()}, halves)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fn.network({1: fn.relu()}, {}, inputs=1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    fn.shared(1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def keys_and_shapes() -> None:
    fn.linear(4).init(0, (2,))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fn.linear(4).init(KEY, 2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fn.linear(4).init(KEY, (2,), dtype=np.int64)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fn.tanh().apply((), X, key=0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def arrays() -> None:
    params, _ = fn.linear(4).init(KEY, (2,))
    fn.linear(4).apply(params, [[1.0, 2.0]])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fn.Affine(np.ones(2, np.float32), np.ones(3, np.float32))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def params_of_another_layer() -> None:
    net = fn.serial(fn.linear(4), fn.tanh())
    params, _ = net.init(KEY, (2,))
    weight, _ = fn.linear(4, use_bias=False).init(KEY, (2,))
    fn.linear(4).apply(weight, X)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    net.apply(params[0], X)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    net.apply.vjp((weight, ()), X)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    step(weight, X, X)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    step(net.init(KEY, (2,)), X, X)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    _a, _b, _c = params  # type: ignore[misc]  # pyright: ignore[reportAssignmentType, reportUnknownVariableType]
    _ = params[1].weight  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
    _ = params[0].weights  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]


def results() -> None:
    net = fn.linear(4)
    params, _ = net.init(KEY, (2,))
    _, gradient = fn.value_and_grad(net, fn.mse())(params, X, X)
    _wrong: fn.Weight = gradient  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    _new: fn.Affine = step(params, X, X)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    _, pullback = net.apply.vjp(params, X)
    _ = pullback(X)[1].shape  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
    several = fn.network({1: fn.linear(4), 2: fn.relu()}, {1: [2]}, output=[1, 2])
    _ = several.apply({}, X).shape  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]


def layers_of_ones_own() -> None:
    def square(x: fn.Array) -> fn.Array:
        return x * x

    def init(key: fn.Key, shape: fn.Shape) -> tuple[fn.Weight, fn.Shape]:
        return fn.Weight(np.ones(shape, np.float32)), shape

    def draw(key: fn.Key, *shapes: fn.Shape, dtype: Any = np.float32) -> tuple[fn.Weight, fn.Shape]:
        return fn.Weight(np.ones(shapes[0], dtype)), shapes[0]

    fn.elementwise(square)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fn.custom_layer(init, square)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fn.custom_layer(draw, square)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fn.parallel(fn.tanh(), fn.exp(), merge=fn.linear(2))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
