"""What type checkers infer from the public signatures: mypy and pyright read the assertions, pytest runs the code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

import funcnet as fn
from funcnet.networks.network import NetworkParams

NoParams = tuple[()]
X = np.ones((3, 2), np.float32)
T = np.ones((3, 4), np.float32)


def test_layers() -> None:
    assert_type(fn.linear(4), fn.Layer[fn.Affine])
    assert_type(fn.linear(4, use_bias=False), fn.Layer[fn.Weight])
    assert_type(fn.relu(), fn.Layer[NoParams])
    assert_type(fn.add(), fn.Layer[NoParams])
    assert_type(fn.mse(), fn.Layer[NoParams, np.floating[Any]])


def test_a_layer_is_a_pair() -> None:
    init, apply = fn.linear(4)
    params, shape = init(fn.key(0), (2,))
    assert_type(params, fn.Affine)
    assert_type(params.weight, fn.Matrix)
    assert_type(params.bias, fn.Vector)
    assert_type(shape, fn.Shape)
    assert_type(apply(params, X), fn.Array)
    output, pullback = apply.vjp(params, X)
    assert_type(output, fn.Array)
    assert_type(pullback(output), tuple[fn.Affine, tuple[fn.Array, ...]])
    assert_type(fn.vjp(fn.linear(4), params, X), tuple[fn.Array, fn.Pullback[fn.Affine]])


def test_a_loss_of_each_row_is_an_array() -> None:
    assert_type(fn.mae(reduction="none"), fn.Layer[NoParams])
    assert_type(fn.huber(2.0, reduction="sum", weighted=True), fn.Layer[NoParams, np.floating[Any]])
    assert_type(fn.pinball(0.9, reduction="none"), fn.Layer[NoParams])
    assert_type(fn.log_cosh(), fn.Layer[NoParams, np.floating[Any]])
    assert_type(fn.softmax_cross_entropy(reduction="none").apply((), T, T), fn.Array)


def test_params_of_norms_and_tables() -> None:
    assert_type(fn.layer_norm(), fn.Layer[fn.Norm])
    assert_type(fn.rms_norm(), fn.Layer[fn.Scale])
    assert_type(fn.batch_norm(), fn.Layer[fn.BatchNorm])
    assert_type(fn.embedding(3, 4), fn.Layer[fn.Table])
    params, _ = fn.batch_norm().init(fn.key(0), (2,))
    assert_type(fn.calibrate(fn.batch_norm(), params, [X]), fn.BatchNorm)


def test_a_loss_is_a_number() -> None:
    assert_type(fn.mse().apply((), T, T), np.floating[Any])


def test_serial() -> None:
    assert_type(fn.serial(fn.linear(4)), fn.Layer[tuple[fn.Affine]])
    net = fn.serial(fn.linear(4), fn.tanh(), fn.linear(4, use_bias=False))
    assert_type(net, fn.Layer[tuple[fn.Affine, NoParams, fn.Weight]])
    params, _ = net.init(fn.key(0), (2,))
    assert_type(params[2].weight, fn.Array)
    a, b = fn.linear(4), fn.tanh()
    assert_type(
        fn.serial(a, b, b, a, a, b),
        fn.Layer[tuple[fn.Affine, NoParams, NoParams, fn.Affine, fn.Affine, NoParams]],
    )
    assert_type(fn.serial(a, fn.serial(b, a)), fn.Layer[tuple[fn.Affine, tuple[NoParams, fn.Affine]]])
    whole: fn.Layer[tuple[Any, ...]] = fn.serial(a, b, a, b, a, b, a)
    assert whole.apply.kind == "serial"


def test_serial_of_a_list() -> None:
    layers: list[fn.Layer[Any, Any]] = [fn.linear(4), fn.tanh()]
    net: fn.Layer[Any, Any] = fn.serial(*layers)
    same: fn.Layer[tuple[Any, ...]] = fn.serial(*[fn.linear(4) for _ in range(3)])
    assert net.apply.kind == same.apply.kind
    assert_type(fn.serial(layers[0], fn.linear(4)), fn.Layer[tuple[Any, fn.Affine]])


def test_parallel_and_residual() -> None:
    assert_type(fn.parallel(fn.linear(4), fn.tanh()), fn.Layer[tuple[Any, ...]])
    assert_type(fn.parallel(fn.tanh(), fn.exp(), merge=fn.mse()), fn.Layer[tuple[Any, ...], np.floating[Any]])
    assert_type(fn.residual(fn.linear(2), fn.tanh()), fn.Layer[tuple[Any, ...]])


def test_network_of_dicts_without_annotation() -> None:
    operators = {1: fn.linear(25), 2: fn.relu(), 3: [fn.tanh()]}
    net = fn.network(operators, {1: [2], 2: [3]})
    assert_type(net, fn.Layer[NetworkParams])
    assert_type(fn.network({1: fn.linear(4), 2: fn.relu()}, {1: [2]}), fn.Layer[NetworkParams])
    assert_type(fn.network({1: fn.linear(4), "out": [fn.relu()]}, {1: ["out"], "out": []}), fn.Layer[NetworkParams])
    assert_type(net.apply(net.init(fn.key(0), (2,))[0], X), fn.Array)


def test_network_takes_whatever_dict_a_checker_infers() -> None:
    a, b = fn.linear(4), fn.relu()
    two = {1: a, 2: b}
    lists = {1: [a], 2: [b]}
    chains = {1: [a, b], 2: [b, a]}
    tuples = {1: (a, b), 2: (b, a)}
    mixed = {1: a, 2: [b], "out": fn.shared(1)}
    again = {1: a, 2: fn.shared(1)}
    listed = {1: a, 2: [a]}
    many = dict.fromkeys((1, 2), a)
    merged = {**many, 2: b}
    edges = {1: [2], 2: ("out",), "out": ()}
    keys = {1: [2], 2: ["out"], "out": []}
    edge = {1: [2], 2: ["out"]}
    joined = {1: a, 2: [b], "out": fn.add()}
    fan = {1: [2, "out"], 2: ["out"]}
    for net in (
        fn.network(two, {1: [2]}),
        fn.network(lists, {1: [2]}),
        fn.network(chains, {1: (2,)}),
        fn.network(tuples, {1: [2]}),
        fn.network(mixed, keys),
        fn.network(mixed, edge),
        fn.network(mixed, edges),
        fn.network(joined, fan),
        fn.network(again, {1: [2]}),
        fn.network(listed, {1: [2]}),
        fn.network(many, {1: [2]}),
        fn.network(merged, {1: [2]}),
    ):
        assert_type(net, fn.Layer[NetworkParams])


def test_network_of_several_outputs() -> None:
    net = fn.network({1: fn.linear(4), 2: fn.relu()}, {1: [2]}, inputs=[1], output=[1, 2])
    assert_type(net, fn.Layer[NetworkParams, tuple[fn.Array, ...]])
    keys = [1, 2]
    same = fn.network({1: fn.linear(4), 2: fn.relu()}, {1: [2]}, output=keys)
    assert_type(same, fn.Layer[NetworkParams, tuple[fn.Array, ...]])


def test_training() -> None:
    net = fn.linear(4)
    params, _ = net.init(fn.key(0), (2,))
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    params, loss = step(params, X, T)
    assert_type(params, fn.Affine)
    assert_type(loss, np.floating[Any])
    loss, gradient = fn.value_and_grad(net, fn.mse())(params, X, T)
    assert_type(gradient, fn.Affine)


def test_labels() -> None:
    net = fn.linear(4)
    params, _ = net.init(fn.key(0), (2,))
    labels = np.array([0, 1, 3])
    assert_type(fn.softmax_cross_entropy().apply((), T, labels), np.floating[Any])
    step = fn.sgd_step(net, fn.softmax_cross_entropy(), learning_rate=0.1)
    assert_type(step(params, X, labels), tuple[fn.Affine, np.floating[Any]])
    assert_type(
        fn.value_and_grad(net, fn.softmax_cross_entropy())(params, X, labels), tuple[np.floating[Any], fn.Affine]
    )


def test_training_of_a_network() -> None:
    net = fn.network({1: fn.linear(4), 2: fn.relu()}, {1: [2]})
    params, _ = net.init(fn.key(0), (2,))
    assert_type(params, NetworkParams)
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    assert_type(step(params, X, T), tuple[NetworkParams, np.floating[Any]])
    assert_type(fn.trace(net, params, X), dict[fn.OperatorKey, fn.Array])


def test_optimizers() -> None:
    params, _ = fn.linear(4).init(fn.key(0), (2,))
    optimizer = fn.chain(fn.clip_by_global_norm(1.0), fn.adam(fn.cosine_decay_schedule(1e-3, 100)))
    assert_type(optimizer, fn.Optimizer)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert_type(updates, fn.Affine)
    assert_type(fn.apply_updates(params, updates), fn.Affine)
    assert_type(fn.learning_rate(optimizer.init(params)), float)
    assert_type(fn.constant_schedule(0.1), fn.Schedule)
    init, update = fn.sgd(0.1)
    assert_type(update(updates, init(params))[0], fn.Affine)


def test_training_with_an_optimizer() -> None:
    net = fn.linear(4)
    params, _ = net.init(fn.key(0), (2,))
    step = fn.train_step(net, fn.mse(), fn.adam(1e-3))
    new, _, loss = step(params, step.init(params), X, T)
    assert_type(new, fn.Affine)
    assert_type(loss, np.floating[Any])
    measured = fn.train_step(net, fn.mse(), fn.adam(1e-3), metrics={"r2": fn.r2})
    new, _, found = measured(params, measured.init(params), X, T, key=fn.key(0))
    assert_type(new, fn.Affine)
    assert_type(found, dict[str, Any])


def test_many_steps() -> None:
    net = fn.linear(4)
    params, _ = net.init(fn.key(0), (2,))
    xs, ts = np.stack([X, X]), np.stack([T, T])
    plain = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    assert_type(fn.scan(plain, params, xs, ts), tuple[fn.Affine, fn.Vector])
    step = fn.train_step(net, fn.mse(), fn.adam(1e-3))
    new, _, losses = fn.scan(step, params, step.init(params), xs, ts, key=fn.key(0))
    assert_type(new, fn.Affine)
    assert_type(losses, fn.Vector)
    measured = fn.train_step(net, fn.mse(), fn.adam(1e-3), metrics={"r2": fn.r2})
    new, _, found = fn.scan(measured, params, measured.init(params), xs, ts)
    assert_type(new, fn.Affine)
    assert_type(found, dict[str, Any])


def test_the_loop() -> None:
    net = fn.linear(4)
    params, _ = net.init(fn.key(0), (2,))
    plain = fn.fit(fn.sgd_step(net, fn.mse(), learning_rate=0.1), params, (X, T), 1, 2, fn.key(0))
    assert_type(plain, fn.Fit[fn.Affine])
    step = fn.train_step(net, fn.mse(), fn.adam(1e-3), metrics={"r2": fn.r2})
    fitted = fn.fit(step, params, [(X, T)], 1)
    assert_type(fitted.params, fn.Affine)
    assert_type(fn.fit(step, fitted, [(X, T)], 2), fn.Fit[fn.Affine])
    assert_type(fn.evaluate(net, fn.mse(), params, (X, T)), float)
    assert_type(fn.evaluate(net, {"loss": fn.mse(), "r2": fn.r2}, params, (X, T), 2), dict[str, Any])
    for batch in fn.minibatches((X, T), 2, fn.key(0)):
        assert_type(batch, tuple[npt.NDArray[Any], ...])
    assert_type(fn.accuracy(T, T / 4), float)


def test_layers_of_a_users_own() -> None:
    def cube(x: fn.Array) -> tuple[fn.Array, Callable[[fn.Array], fn.Array]]:
        return x * x * x, lambda g: g * (3.0 * x * x)

    def init(key: fn.Key, *shapes: fn.Shape, dtype: Any = np.float32) -> tuple[fn.Weight, fn.Shape]:
        return fn.Weight(np.ones(shapes[0], dtype)), shapes[0]

    def scale(params: fn.Weight, x: fn.Array) -> tuple[fn.Array, fn.Pullback[fn.Weight]]:
        return x * params.weight, lambda g: (fn.Weight((x * g).sum(axis=0)), (g * params.weight,))

    assert_type(fn.elementwise(cube), fn.Layer[NoParams])

    def init_of_one(key: fn.Key, shape: fn.Shape, dtype: Any = np.float32) -> tuple[fn.Weight, fn.Shape]:
        return init(key, shape, dtype=dtype)

    assert_type(fn.custom_layer(init, scale), fn.Layer[fn.Weight])
    assert_type(fn.custom_layer(init_of_one, scale), fn.Layer[fn.Weight])
