"""What `print` shows of a program, word for word, without the legend and the calls left out."""

# ruff: noqa: E501
from __future__ import annotations

import re
from typing import Any

import numpy as np

import funcnet as fn


def numbers(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def shown(compiled: Any, params: Any, *arrays: Any) -> str:
    """The inputs, calls and outputs of the program that runs."""
    compiled(params, *arrays)
    _, *lines = str(compiled).split("\n  not run")[0].split("\n  x: inputs")[0].splitlines()
    return "\n".join(lines)


def of_function(f: Any, *shape: int) -> str:
    """The calls of a function of one array."""
    return shown(fn.serial(fn.elementwise(lambda x: (f(x), lambda g: g), "f")).apply, ((),), numbers(*shape))


def test_a_step_from_its_inputs_to_the_update() -> None:
    net = fn.serial(fn.linear(3, use_bias=False), fn.linear(2))
    params, _ = net.init(fn.key(0), (4,))
    step = fn.sgd_step(net, fn.mse(), learning_rate=1 / 3)
    expected = """\
  inputs: x0 (5, 4) in memory 1, x1 (5, 2) in memory 2
  0 linear           v1 (5, 3)                          = matmul(x0, params[0].weight)              memory 3
  1 linear           v2 (5, 2)                          = matmul([v1 1], [params[1].weight; bias])  memory 4
  loss mse           v3 (5, 2)                          = subtract(v2, x1)                          memory 4, in place of v2
  loss mse           v4 ()                              = inner(v3, v3)                             memory 5
  loss mse backward  g5 (5, 2)                          = multiply(v3, 0.0666667)                   memory 4, in place of v3
  1 linear backward  g6 (5, 3)                          = matmul(g5, params[1].weight.T)            memory 2
  1 linear backward  d [params[1].weight; bias] (4, 2)  = matmul([v1 1].T, g5)                      the gradient
  0 linear backward  d params[0].weight (4, 3)          = matmul(x0.T, g6)                          the gradient
  outputs: v4 () times 0.1
  then: new params = params - d params; the learning rate is in the cotangent of the loss"""
    assert shown(step, params, numbers(5, 4), numbers(5, 2)) == expected


def test_calls_of_several_outputs_and_views_of_params() -> None:
    net = fn.serial(fn.rnn(3))
    params, _ = net.init(fn.key(0), (5, 2))
    found = shown(fn.value_and_grad(net, fn.mse()), params, numbers(4, 5, 2), numbers(4, 3))
    assert [re.sub("  +", "  ", line.strip()) for line in found.splitlines()] == [
        "inputs: x0 (4, 5, 2) in memory 1, x1 (4, 3) in memory 2",
        "0 rnn  v1 (6, 3)  = concatenate(params[0].recurrent_weight, params[0].bias[None], params[0].weight, axis=0)  "
        "memory 3",
        "0 rnn  v2.0 (4, 3), v2.1 (6, 4, 6)  = rnn(x0, v1)  memory 4; memory 5",
        "loss mse  v3 (4, 3)  = subtract(v2.0, x1)  memory 4, in place of v2.0",
        "loss mse  v4 ()  = inner(v3, v3)  memory 6",
        "loss mse backward  g5 (4, 3)  = multiply(v3, 0.166667)  memory 4, in place of v3",
        "0 rnn backward  g6.0 (3, 4, 5)  = rnn backward(g5, v1, v2.1)  memory 1",
        "0 rnn backward  g7 (6, 3)  = time_product(v2.1, g6.0)  memory 3",
        "d params[0].weight (2, 3)  = positive(g7[4:])  the gradient",
        "d params[0].recurrent_weight (3, 3)  = positive(g7[:3])  the gradient",
        "d params[0].bias (3,)  = positive(g7[3])  the gradient",
        "outputs: v4 () times 0.0833333",
    ]


def test_values_side_by_side_in_memory_are_read_by_one_call() -> None:
    def f(x: Any) -> Any:
        a = x + 1.5
        b = a * 3
        return a * a + b * b

    expected = """\
  inputs: x0 (4, 2) in memory 3
  0 f  v1 (4, 2)  = add(x0, 1.5)                memory 1
  0 f  v2 (4, 2)  = multiply(v1, 3)             memory 1
  0 f  v3 (24,)   = multiply([v1 v2], [v1 v2])  memory 2
  0 f  v4 (4, 2)  = add(v3.0, v3.1)             memory 3
  outputs: v4 (4, 2)"""
    assert of_function(f, 4, 2) == expected


def test_slices_are_written_as_in_python() -> None:
    expected = """\
  inputs: x0 (4, 2) in memory 1
  0 f  v1 (4, 2)  = add(x0, x0[:, ::-1])            memory 2
  0 f  v2 (4, 2)  = add(v1, x0[:, 1:2])             memory 2, in place of v1
  0 f  v3 (4, 2)  = add(v2, x0[:, :-1])             memory 2, in place of v2
  0 f  v4 (4, 2)  = add(v3, x0[..., None][..., 0])  memory 2, in place of v3
  outputs: v4 (4, 2)"""
    assert of_function(lambda x: x + x[:, ::-1] + x[:, 1:2:1] + x[:, :-1] + x[..., None][..., 0], 4, 2) == expected


def test_axes_in_another_order_are_no_reshape() -> None:
    net = fn.serial(fn.permute(2, 1), fn.linear(2))
    params, _ = net.init(fn.key(0), (3, 2))
    expected = """\
  inputs: x0 (4, 3, 2) in memory 1
  0 permute  v1 (4, 2, 3)  = positive(x0.transpose(0, 2, 1))           memory 2
  1 linear   v2 (8, 2)     = matmul([v1 1], [params[1].weight; bias])  memory 1
  outputs: v2 as (4, 2, 2) (4, 2, 2)"""
    assert shown(net.apply, params, numbers(4, 3, 2)) == expected


def test_numbers_are_shortened_and_of_arrays_the_shape_is_told() -> None:
    array = np.arange(2, dtype=np.float32)
    expected = """\
  inputs: x0 (4, 2) in memory 1
  0 f  v1 (4, 2)  = multiply(x0, 0.333333)  memory 1, in place of x0
  0 f  v2 (4, 2)  = subtract(v1, 0.666667)  memory 1, in place of v1
  0 f  v3 (4, 2)  = divide(v2, 1234567)     memory 1, in place of v2
  0 f  v4 (4, 2)  = add(v3, constant (2,))  memory 1, in place of v3
  outputs: v4 (4, 2)"""
    assert of_function(lambda x: (x * (1 / 3) - np.float32(2 / 3)) / 1234567 + array, 4, 2) == expected


def test_options_of_calls_are_told_and_a_key_among_them_forges_no_line() -> None:
    forged = "a\nb linear"
    net = fn.network({forged: fn.dropout(0.25), 2: fn.dropout(0.5)}, {forged: [2]})
    compiled = fn.value_and_grad(net, fn.mse())
    compiled({}, numbers(4, 2), numbers(4, 2), key=fn.key(0))
    calls = [line.split(" = ")[1] for line in str(compiled).splitlines() if " dropout  " in line]
    assert [call.split("  ")[0] for call in calls] == [
        r"fold_in(x2, data='a\nb linear')",
        "dropout_mask(v1, rate=0.25)",
        "multiply(x0, v2)",
        "fold_in(x2, data=2)",
        "dropout_mask(v4, rate=0.5)",
        "multiply(v3, v5)",
    ]
