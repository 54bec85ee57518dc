"""The law of the program: the compiled program computes the same as the layer's function."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from funcnet import tree
from funcnet.arrays import Array, DType, Shape
from funcnet.core import Layer, OperatorKey, Pullback, layer
from funcnet.layers.activations import identity
from funcnet.losses.regression import mse
from funcnet.networks.network import NetworkParams, network
from funcnet.random import Key
from funcnet.testing.conduct import DTYPES, FLOAT32_TOLERANCE, TOLERANCE
from funcnet.testing.subject import Point, Subject, agree, agree_all, cotangents_at, is_floating, outputs_of
from funcnet.training.gradients import value_and_grad

BATCHES = (1, 3, 600)  # the last in blocks of rows
WHOLE_BATCHES = (2, 3, 600)  # what looks at the whole batch may refuse a single row, as batch_norm does


def program_equals_the_function(subject: Subject) -> None:
    """The compiled program gives the outputs and all cotangents of the function, for several batches, twice."""
    for dtype in DTYPES:
        for batch in BATCHES if subject.rowwise else WHOLE_BATCHES:
            point = subject.point(dtype, batch)
            output, _ = subject.compute(*point)
            tolerance = FLOAT32_TOLERANCE if dtype is np.float32 else TOLERANCE
            for _ in range(2):
                found = subject.apply(point)
                agree_all(outputs_of(output), found, output, tolerance, "the function itself gives")
            if not isinstance(output, tuple):  # which no operator inside a network can be
                inside = subject._replace(key=subject.layer.apply.key_under(subject.key, "layer"))
                _differentiates(inside, subject.key, point, 10 * tolerance)


def _differentiates(subject: Subject, key: Key | None, point: Point, tolerance: float) -> None:
    """The gradient of a program in which each input is shifted by params: theirs are the inputs' cotangents, summed.

    key: that of the program, from which the layer's own is folded.
    """
    output, pullback = subject.compute(*point)
    net, params = _shifted(subject, point)
    found = net.apply(params, *point.inputs, key=key)
    agree("the output in a network", found, output, tolerance, "the function itself gives")
    cotangent = subject.cotangent(output) if np.ndim(output) else np.asarray(1.0, output.dtype)
    if np.ndim(output):  # d mse / d output is the cotangent for this target
        target = output - cotangent * (output.size / 2)
        _, gradient = value_and_grad(net, mse())(params, *point.inputs, target, key=key)
    else:
        _, gradient = value_and_grad(net)(params, *point.inputs, key=key)
    of_params, of_inputs = cast("tuple[Any, tuple[Array | None, ...]]", pullback(cotangent))
    names_of_params = cotangents_at(Point(point.params, ()))
    agree_all(names_of_params, gradient.get("layer", ()), of_params, tolerance, "the pullback gives")
    for i, dx in enumerate(of_inputs):
        if dx is not None:
            where = f"the cotangent of input {i}, summed over the batch,"
            agree(where, gradient[i][0], dx.sum(axis=0), tolerance, "the pullback gives")


def _shifted(subject: Subject, point: Point) -> tuple[Layer[NetworkParams], NetworkParams]:
    """A network in which each floating input is shifted by params of its own, zero, before it comes to the layer."""
    params: NetworkParams = {i: (np.zeros_like(x[0]),) for i, x in enumerate(point.inputs) if is_floating(x)}
    places = range(len(point.inputs))
    operators: dict[OperatorKey, Layer[Any, Any]] = {i: shift() if i in params else identity() for i in places}
    operators["layer"] = subject.layer
    if tree.leaves(point.params):
        params["layer"] = point.params
    return network(operators, {i: ["layer"] for i in places}, inputs=[*places]), params


def shift() -> Layer[tuple[Array]]:
    """y = x + b        db = sum_n g_n        dx = g"""
    return layer("shift", _shift, _draw_shift)


def _shift(params: tuple[Array], x: Array) -> tuple[Array, Pullback[tuple[Array]]]:
    return x + params[0], lambda g: ((g.sum(axis=0),), (g,))


def _draw_shift(key: Key, shape: Shape, dtype: DType) -> tuple[Array]:
    return (np.zeros(shape, dtype),)
