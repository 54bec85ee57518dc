"""The textbook steps: batch first, a fresh array for every operation, the gradient towards the input included."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.case import Array, Case, Linears, inference_case, training_case
from bench.workloads import Data, Workload

Gradients = list[tuple[Array, Array]]


def build(workload: Workload, data: Data) -> Case:
    """The textbook implementation of a workload. Params are a list of (weight, bias)."""
    if workload.infer:
        return inference_case(lambda params, x: chain(params, x)[-1], lambda: data.start, data.inputs, np.asarray)
    loss_and_gradients = FAMILIES[workload.family]
    rate = data.start[0][0].dtype.type(workload.rate)

    def step(params: Linears, *arrays: Array) -> tuple[Linears, float]:
        loss, gradients = loss_and_gradients(params, *arrays)
        return [(w - rate * dw, b - rate * db) for (w, b), (dw, db) in zip(params, gradients, strict=True)], loss

    return training_case(step, lambda: data.start, lambda params: params, data.arrays)


def linear(layer: tuple[Array, Array], x: Array) -> Array:
    """y = x W + b."""
    weight, bias = layer
    return x @ weight + bias


def linear_backward(layer: tuple[Array, Array], x: Array, g: Array) -> tuple[tuple[Array, Array], Array]:
    """The gradients of a linear layer: dW = x^T g, db = the sum of g over the batch, dx = g W^T."""
    return (x.T @ g, g.sum(axis=0)), g @ layer[0].T


def tanh_backward(h: Array, g: Array) -> Array:
    """The gradient of tanh: dx = g (1 - h^2), where h = tanh x."""
    dx: Array = g * (1 - h**2)
    return dx


def relu(x: Array) -> Array:
    """y = max(x, 0)."""
    y: Array = np.maximum(x, 0)
    return y


def relu_backward(h: Array, g: Array) -> Array:
    """The gradient of ReLU: dx = g where h is positive, else 0."""
    return g * (h > 0)


def mse(y: Array, target: Array) -> tuple[float, Array]:
    """The mean of the squared errors over all elements, and its gradient."""
    error = y - target
    return float(np.mean(error**2)), 2 * error / error.size


def chain(params: Linears, x: Array, *, last: bool = False) -> list[Array]:
    """The input and every layer's output, tanh between the layers (and after the last one too)."""
    values = [x]
    for place, layer in enumerate(params):
        y = linear(layer, values[-1])
        values.append(np.tanh(y) if last or place + 1 < len(params) else y)
    return values


def _chain(params: Linears, x: Array, target: Array, *, last: bool = False) -> tuple[float, Gradients]:
    values = chain(params, x, last=last)
    loss, g = mse(values[-1], target)
    gradients: Gradients = []
    for place in reversed(range(len(params))):
        if last or place + 1 < len(params):
            g = tanh_backward(values[place + 1], g)
        gradient, g = linear_backward(params[place], values[place], g)
        gradients.insert(0, gradient)
    return loss, gradients


def _deep(params: Linears, x: Array, target: Array) -> tuple[float, Gradients]:
    return _chain(params, x, target, last=True)


def _classifier(params: Linears, x: Array, labels: Array) -> tuple[float, Gradients]:
    values = [x]
    for layer in params[:-1]:
        values.append(relu(linear(layer, values[-1])))
    logits = linear(params[-1], values[-1])
    shifted = logits - logits.max(axis=1, keepdims=True)
    total = np.exp(shifted).sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    loss = float(np.mean(np.log(total[:, 0]) - shifted[rows, labels]))
    g = np.exp(shifted) / total
    g[rows, labels] -= 1
    g = g / g.dtype.type(len(labels))
    gradients: Gradients = []
    for place in reversed(range(len(params))):
        gradient, g = linear_backward(params[place], values[place], g)
        gradients.insert(0, gradient)
        if place > 0:
            g = relu_backward(values[place], g)
    return loss, gradients


def _dag(params: Linears, x: Array, target: Array) -> tuple[float, Gradients]:
    first, left, right, final = params
    h = relu(linear(first, x))
    a = np.tanh(linear(left, h))
    b = relu(linear(right, h))
    total = a + b + h
    loss, g = mse(linear(final, total), target)
    d_final, g = linear_backward(final, total, g)
    d_left, g_left = linear_backward(left, h, tanh_backward(a, g))
    d_right, g_right = linear_backward(right, h, relu_backward(b, g))
    d_first, _ = linear_backward(first, x, relu_backward(h, g + g_left + g_right))
    return loss, [d_first, d_left, d_right, d_final]


def _siamese(params: Linears, u: Array, v: Array, target: Array) -> tuple[float, Gradients]:
    tower, head = params[:2], params[2]
    left, right = chain(tower, u, last=True), chain(tower, v, last=True)
    difference = left[-1] - right[-1]
    square = difference * difference
    loss, g = mse(linear(head, square), target)
    d_head, g = linear_backward(head, square, g)
    g = 2 * g * difference
    sides = [_tower_backward(tower, left, g), _tower_backward(tower, right, -g)]
    shared = [(dw + ew, db + eb) for (dw, db), (ew, eb) in zip(*sides, strict=True)]
    return loss, [*shared, d_head]


def _tower_backward(tower: Linears, values: list[Array], g: Array) -> Gradients:
    second, g = linear_backward(tower[1], values[1], tanh_backward(values[2], g))
    first, _ = linear_backward(tower[0], values[0], tanh_backward(values[1], g))
    return [first, second]


def _heads(params: Linears, x: Array, one: Array, other: Array) -> tuple[float, Gradients]:
    trunk, heads = params[:2], params[2:]
    values = chain(trunk, x, last=True)
    losses, gradients = zip(
        *(mse(linear(head, values[-1]), t) for head, t in zip(heads, (one, other), strict=True)), strict=True
    )
    (d_one, g_one), (d_other, g_other) = (
        linear_backward(head, values[-1], g) for head, g in zip(heads, gradients, strict=True)
    )
    return sum(losses), [*_tower_backward(trunk, values, g_one + g_other), d_one, d_other]


FAMILIES: dict[str, Callable[..., tuple[float, Any]]] = {
    "chain": _chain,
    "deep": _deep,
    "classifier": _classifier,
    "dag": _dag,
    "siamese": _siamese,
    "heads": _heads,
}
