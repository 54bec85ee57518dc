"""The operators of the table in JAX and in PyTorch, which differentiate them by themselves.

In JAX a row without a function of its own is the book's formula (tests/battery.py) with jax.numpy for NumPy.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from functools import cache, reduce
from typing import Any

import numpy as np

from funcnet import tree

from . import battery, naive
from .cases import Case

Function = Callable[..., Any]


@cache
def in_jax(name: str) -> Any:
    """The module of that name, of NumPy formulas, loaded once more with jax.numpy for NumPy."""
    import jax.numpy as jnp

    spec: Any = importlib.util.spec_from_file_location(f"{name}_in_jax", str(sys.modules[name].__file__))
    again = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = again
    spec.loader.exec_module(again)
    again.__dict__["np"] = jnp
    return again


def jax_functions() -> dict[str, Function]:
    """What JAX has of its own."""
    import jax

    nn = jax.nn
    return {
        "tanh": lambda p, x: jax.numpy.tanh(x),
        "sigmoid": lambda p, x: nn.sigmoid(x),
        "relu": lambda p, x: nn.relu(x),
        "leaky_relu": lambda p, x: nn.leaky_relu(x, 0.1),
        "elu": lambda p, x: nn.elu(x, 0.7),
        "selu": lambda p, x: nn.selu(x),
        "gelu": lambda p, x: nn.gelu(x, approximate=False),
        "gelu by tanh": lambda p, x: nn.gelu(x, approximate=True),
        "silu": lambda p, x: nn.silu(x),
        "softplus": lambda p, x: nn.softplus(x),
        "softmax": lambda p, x: nn.softmax(x),
        "log_softmax": lambda p, x: nn.log_softmax(x),
        "sigmoid_cross_entropy": lambda p, z, t: jax.numpy.mean(nn.softplus(z) - t * z),
        "sigmoid_cross_entropy of each row": lambda p, z, t: jax.numpy.mean(nn.softplus(z) - t * z, axis=1),
        "parallel": lambda p, x: x @ p[0][0] + p[0][1] + nn.sigmoid(x @ p[1][0][0] + p[1][0][1]),
    }


def torch_functions() -> dict[str, Function]:
    """What PyTorch has of its own; the rest of the losses and the norms are in tests/test_oracles.py."""
    import torch

    f: Any = torch.nn.functional

    def affine(p: Any, x: Any) -> Any:
        return f.linear(x, p[0].T, p[1] if len(p) == 2 else None)

    return {
        "linear": affine,
        "identity": lambda p, x: x * 1.0,
        "tanh": lambda p, x: torch.tanh(x),
        "sigmoid": lambda p, x: torch.sigmoid(x),
        "relu": lambda p, x: torch.relu(x),
        "leaky_relu": lambda p, x: f.leaky_relu(x, 0.1),
        "elu": lambda p, x: f.elu(x, 0.7),
        "selu": lambda p, x: torch.selu(x),
        "gelu": lambda p, x: f.gelu(x),
        "gelu by tanh": lambda p, x: f.gelu(x, approximate="tanh"),
        "silu": lambda p, x: f.silu(x),
        "softplus": lambda p, x: f.softplus(x),
        "exp": lambda p, x: torch.exp(x),
        "elementwise": lambda p, x: x**2,
        "custom_layer": lambda p, x: x * p[0],
        "scale": lambda p, x: x * p[0],
        "dropout": lambda p, x: f.dropout(x, training=False) * 1.0,
        "softmax": lambda p, x: torch.softmax(x, -1),
        "log_softmax": lambda p, x: torch.log_softmax(x, -1),
        "add": lambda p, *xs: reduce(torch.add, xs) * 1.0,
        "subtract": lambda p, a, b: a - b,
        "multiply": lambda p, *xs: torch.prod(torch.stack(xs), 0),
        "average": lambda p, *xs: torch.mean(torch.stack(xs), 0),
        "maximum": lambda p, *xs: torch.amax(torch.stack(xs), 0),
        "concatenate": lambda p, *xs: torch.cat(xs, -1),
        "flatten": lambda p, x: torch.flatten(x, 1),
        "reshape": lambda p, x: x.reshape(len(x), 3, 4),
        "reshape of rows": lambda p, x: x.reshape(len(x), 6, 2),
        "mse": lambda p, y, t: f.mse_loss(y, t),
        "mae": lambda p, y, t: f.l1_loss(y, t),
        "huber": lambda p, y, t: f.huber_loss(y, t, delta=0.7),
        "softmax_cross_entropy": lambda p, z, t: f.cross_entropy(z, t),
        "sigmoid_cross_entropy": lambda p, z, t: f.binary_cross_entropy_with_logits(z, t),
        "serial": lambda p, x: affine(p[2], torch.tanh(affine(p[0], x))),
        "parallel": lambda p, x: affine(p[0], x) + torch.sigmoid(affine(p[1][0], x)),
        "parallel with merge": lambda p, x: torch.cat([affine(p[0], x), affine(p[1], x)], -1),
        "residual": lambda p, x: x + torch.tanh(affine(p[0], x)),
        "network": lambda p, x: affine(p[1], x) + torch.tanh(affine(p[1], x)),
        "network of two outputs": lambda p, x: (affine(p[1], x), torch.tanh(affine(p[1], x))),
    }


def by_row(functions: dict[str, Function], case: Case) -> Function | None:
    """A row's own function; that of its first word only where the book's formula is that of its first word too."""
    first = case.name.split(" ")[0]
    return functions.get(case.name) or (None if case.name in battery.FORMULAS else functions.get(first))


def jax_function(case: Case) -> Function:
    """A row in JAX."""
    function: Function = by_row(jax_functions(), case) or in_jax(battery.__name__).formula_of(case)
    return function


def pulled_by_jax(function: Function, params: Any, inputs: list[Any], cotangent: Any) -> tuple[Any, list[Any]]:
    """(output, cotangents of all floating leaves), by jax.vjp."""
    import jax

    leaves, places = floating(params, inputs)

    def of_leaves(*values: Any) -> Any:
        return function(*placed(params, inputs, places, values))

    output, pull = jax.vjp(of_leaves, *map(jax.numpy.asarray, leaves))
    like = jax.tree.map(lambda y, g: jax.numpy.asarray(g, y.dtype).reshape(y.shape), output, cotangent)
    return tree.map(np.asarray, output), [np.asarray(dx) for dx in pull(like)]


def pulled_by_torch(function: Function, params: Any, inputs: list[Any], cotangent: Any) -> tuple[Any, list[Any]]:
    """(output, cotangents of all floating leaves), by torch.autograd."""
    import torch

    leaves, places = floating(params, inputs)
    values: list[Any] = [torch.tensor(x, requires_grad=True) for x in leaves]
    tensors = [x if x.dtype.kind == "f" else torch.tensor(x.astype(np.int64)) for x in inputs]
    output = function(*placed(params, tensors, places, values))
    outputs = output if isinstance(output, tuple) else (output,)
    pairs = zip(outputs, tree.leaves(cotangent), strict=True)
    total: Any = sum((y * torch.tensor(np.asarray(g))).sum() for y, g in pairs)
    total.backward()
    return tree.map(lambda y: y.detach().numpy(), output), [v.grad.numpy() for v in values]


def floating(params: Any, inputs: list[Any]) -> tuple[list[Any], list[int]]:
    """The leaves that have a cotangent, and their places among all leaves."""
    found = tree.leaves((params, list(inputs)))
    places = [i for i, x in enumerate(found) if x.dtype.kind == "f"]
    return [found[i] for i in places], places


def placed(params: Any, inputs: list[Any], places: list[int], values: Any) -> tuple[Any, ...]:
    """(params, *inputs) with other values in those places."""
    leaves = tree.leaves((params, list(inputs)))
    for i, value in zip(places, values, strict=True):
        leaves[i] = value
    again, arrays = tree.unflatten(tree.structure((params, list(inputs))), leaves)
    return (again, *arrays)


def disagreement(case: Case, pulled: Callable[..., Any], function: Function, dtype: Any) -> tuple[float, float]:
    """(worst error of the value, of a cotangent), in units of the largest element or of 1."""
    layer, params, inputs = battery.subject_of(case, dtype)
    output, pullback = layer.apply.vjp(params, *inputs)
    rng = np.random.default_rng(5)
    cotangent = tree.map(lambda y: np.asarray(rng.normal(size=np.shape(y)), dtype), output)
    found = tree.leaves(pullback(cotangent))
    theirs, expected = pulled(function, params, inputs, cotangent)
    return worst(tree.leaves(output), tree.leaves(theirs)), worst(found, expected)


def worst(found: Any, expected: Any) -> float:
    """The largest difference, in units of the largest element or of 1."""
    errors = [0.0]
    for a, b in zip(found, expected, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape
        errors.append(float(np.abs(a - b).max(initial=0.0) / max(1.0, np.abs(b).max(initial=0.0))))
    return max(errors)


class Blind:
    """Watches nothing: what the naive interpreter is given where JAX runs it."""

    def kink(self, distances: Any) -> None:
        """Nothing."""

    def size(self, x: Any) -> Any:
        """The value itself."""
        return x


def network_in_jax(net: Any) -> Function:
    """A network of the naive interpreter, whose values JAX computes."""
    again = in_jax(naive.__name__)

    def function(params: Any, *inputs: Any) -> Any:
        outputs = again.Evaluation(net, params, inputs, Blind()).outputs()
        return tuple(outputs) if isinstance(net.output, list) else outputs[0]

    return function
