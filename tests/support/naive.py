"""A naive interpreter of the two dicts: textbook NumPy, recursion, and nothing of funcnet's.

Values are found by recursion over predecessors, gradients by recursion over successors; every formula, forward and
derivative, stands here a second time. Params come and go in the form in which funcnet has them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from tests.support import naive_images, naive_recurrence

Key: TypeAlias = int | str
Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class Op(NamedTuple):
    """An operator: its kind, and what it is made of: (units, bias), layers, a Net, a shape, or the key it shares."""

    kind: str
    of: tuple[Any, ...] = ()


class Net(NamedTuple):
    """The two dicts and the two options of a network."""

    operators: dict[Key, Op]
    connectivity: dict[Key, list[Key]]
    inputs: list[Key] | None = None
    output: Key | list[Key] | None = None

    def predecessors(self, key: Key) -> list[Key]:
        """Who feeds an operator, in the order of the edges."""
        return [j for j, successors in self.connectivity.items() for s in successors if s == key]

    def sources(self) -> list[Key]:
        """The operators that read the outside."""
        return self.inputs or [key for key in self.operators if not self.predecessors(key)]

    def sinks(self) -> list[Key]:
        """The operators whose values go out."""
        if self.output is None:
            return [key for key in self.operators if not self.connectivity.get(key)]
        return self.output if isinstance(self.output, list) else [self.output]


class Watch:
    """How near a value came to a kink without standing on it, and the largest number seen."""

    def __init__(self) -> None:
        self.distance = np.inf
        self.largest = 1.0

    def kink(self, distances: Array) -> None:
        """Note the distances of some values from a kink."""
        off = np.abs(distances[distances != 0])
        self.distance = min(self.distance, float(off.min(initial=np.inf)))

    def size(self, x: Array) -> Array:
        """Note how large a value is."""
        self.largest = max(self.largest, float(np.abs(x).max(initial=0)))
        return x


class Evaluation:
    """A network's values at some inputs, each found when it is asked for."""

    def __init__(self, net: Net, params: Any, inputs: tuple[Array, ...], watch: Watch | None = None) -> None:
        self.net = net
        self.params = params
        self.outside = dict(zip(net.sources(), inputs, strict=True))
        self.watch = watch or Watch()
        self.known: dict[Key, Array] = {}

    def operator(self, key: Key) -> tuple[Op, Any]:
        """An operator and its params, which may be those of another."""
        op = self.net.operators[key]
        source = op.of[0] if op.kind == "shared" else key
        return self.net.operators[source], self.params.get(source, ())

    def arriving(self, key: Key) -> list[Array]:
        """The inputs of an operator."""
        fed_by = self.net.predecessors(key)
        return [self.value(j) for j in fed_by] if fed_by else [self.outside[key]]

    def value(self, key: Key) -> Array:
        """The value of an operator: by recursion over those that feed it."""
        if key not in self.known:
            self.known[key] = value(*self.operator(key), self.arriving(key), self.watch)
        return self.known[key]

    def outputs(self) -> list[Array]:
        """The values that go out."""
        return [self.value(key) for key in self.net.sinks()]

    def gradients(self, cotangents: list[Any]) -> tuple[Any, list[Array]]:
        """(of the params, of the inputs), given the cotangents of the outputs."""
        given = dict(zip(self.net.sinks(), cotangents, strict=True))
        pulled: dict[Key, tuple[Any, list[Array]]] = {}

        def pull(key: Key) -> tuple[Any, list[Array]]:
            """The cotangents of an operator's params and inputs: by recursion over those that it feeds."""
            if key not in pulled:
                parts = [given[key]] if key in given else []
                for successor in self.net.connectivity.get(key, []):
                    parts.append(pull(successor)[1][self.net.predecessors(successor).index(key)])
                g = self.watch.size(np.asarray(sum(parts[1:], parts[0])))
                pulled[key] = derivative(*self.operator(key), self.arriving(key), g, self.watch)
            return pulled[key]

        of_params = {
            source: reduce(plus, [pull(key)[0] for key in self.net.operators if source in self.users(key)])
            for source in self.params
        }
        return of_params, [pull(key)[1][0] for key in self.net.sources()]

    def users(self, key: Key) -> tuple[Key, ...]:
        """Whose params an operator uses."""
        op = self.net.operators[key]
        return (op.of[0],) if op.kind == "shared" else (key,)


def plus(a: Any, b: Any) -> Any:
    """The sum of two trees."""
    if isinstance(a, dict):
        return {key: plus(a[key], b[key]) for key in a}
    if isinstance(a, tuple):
        parts = [plus(x, y) for x, y in zip(a, b, strict=True)]
        return type(a)(*parts) if hasattr(a, "_fields") else tuple(parts)
    return a + b


def value(op: Op, params: Any, xs: list[Array], watch: Watch) -> Array:
    """What an operator makes of its inputs."""
    if op.kind == "list" and len(op.of) == 1:
        return value(op.of[0], params, xs, watch)
    x = xs[0]
    if op.kind == "relu":
        watch.kink(x)
    if op.kind == "maximum":
        for i in range(1, len(xs)):
            watch.kink(reduce(np.maximum, xs[:i]) - xs[i])
    if op.kind == "reshape":
        return x.reshape(len(x), *op.of)
    if op.kind in naive_images.KINDS:
        return watch.size(naive_images.value(op, params, x, watch))
    if op.kind in naive_recurrence.KINDS:
        return watch.size(naive_recurrence.value(op, params, xs))
    if op.kind == "network":
        return Evaluation(op.of[0], params or {}, tuple(xs), watch).outputs()[0]
    if op.kind in ("serial", "list"):
        y = first(op, params, xs, watch)
        for layer, own in steps(op.of[1:], params, 1):
            y = value(layer, own, [y], watch)
        return y
    if op.kind == "residual":
        return watch.size(x + value(Op("serial", op.of), params, xs, watch))
    if op.kind == "parallel":
        merge, *branches = op.of
        return value(merge, (), [value(*step, xs, watch) for step in steps(branches, params)], watch)
    return watch.size(VALUES[op.kind](params, xs))


def derivative(op: Op, params: Any, xs: list[Array], g: Array, watch: Watch) -> tuple[Any, list[Array]]:
    """(cotangent of the params, cotangents of the inputs) of an operator whose output has the cotangent g."""
    if op.kind == "list" and len(op.of) == 1:
        return derivative(op.of[0], params, xs, g, watch)
    if op.kind == "network":
        of_params, of_inputs = Evaluation(op.of[0], params or {}, tuple(xs), watch).gradients([g])
        return of_params if params else params, of_inputs
    if op.kind in ("serial", "list"):
        if len(op.of) == 1:
            of_first, of_inputs = derivative(op.of[0], params[0] if params else (), xs, g, watch)
            return (of_first,) if params else (), of_inputs
        y = first(op, params, xs, watch)
        of_rest, (dy,) = derivative(Op("serial", op.of[1:]), params[1:], [y], g, watch)
        of_first, of_inputs = derivative(op.of[0], params[0] if params else (), xs, dy, watch)
        return (of_first, *of_rest) if params else (), of_inputs
    if op.kind == "residual":
        of_params, (dx,) = derivative(Op("serial", op.of), params, xs, g, watch)
        return of_params, [g + dx]
    if op.kind == "parallel":
        merge, *branches = op.of
        ys = [value(*step, xs, watch) for step in steps(branches, params)]
        _, dys = derivative(merge, (), ys, g, watch)
        parts = [derivative(*step, xs, dy, watch) for step, dy in zip(steps(branches, params), dys, strict=True)]
        dxs: list[Any] = [sum(dx[1:], dx[0]) for dx in zip(*(of_inputs for _, of_inputs in parts), strict=True)]
        return tuple(of_params for of_params, _ in parts) if params else (), dxs
    if op.kind in naive_images.KINDS:
        of_params, dx = naive_images.derivative(op, params, xs[0], g)
        return of_params, [watch.size(dx)]
    if op.kind in naive_recurrence.KINDS:
        of_params, dxs = naive_recurrence.derivative(op, params, xs, g)
        return of_params, [watch.size(dx) for dx in dxs]
    of_params, dxs = DERIVATIVES["flatten" if op.kind == "reshape" else op.kind](params, xs, g)
    return of_params, [watch.size(dx) for dx in dxs]


def steps(ops: Any, params: Any, start: int = 0) -> list[tuple[Op, Any]]:
    """Layers with their params, which are () for all where there are none."""
    return [(op, params[i] if params else ()) for i, op in enumerate(ops, start)]


def first(op: Op, params: Any, xs: list[Array], watch: Watch) -> Array:
    """The value of the first layer of a series."""
    return value(op.of[0], params[0] if params else (), xs, watch)


def softmax(x: Array) -> Array:
    """exp x / sum exp x, over the last axis."""
    y: Array = np.exp(x) / np.exp(x).sum(axis=-1)[..., None]
    return y


def product(xs: list[Array]) -> Array:
    """x_1 x_2 ... x_n, and 1 for none."""
    return np.prod(np.stack(xs), axis=0) if xs else np.ones(())


VALUES: dict[str, Callable[[Any, list[Array]], Any]] = {
    "linear": lambda p, xs: xs[0] @ p[0] + (p[1] if len(p) == 2 else 0),
    "identity": lambda p, xs: xs[0],
    "tanh": lambda p, xs: np.sinh(xs[0]) / np.cosh(xs[0]),
    "sigmoid": lambda p, xs: 1 / (1 + np.exp(-xs[0])),
    "relu": lambda p, xs: np.where(xs[0] > 0, xs[0], 0),
    "softmax": lambda p, xs: softmax(xs[0]),
    "add": lambda p, xs: reduce(np.add, xs),
    "subtract": lambda p, xs: xs[0] - xs[1],
    "multiply": lambda p, xs: product(xs),
    "average": lambda p, xs: np.mean(np.stack(xs), axis=0),
    "maximum": lambda p, xs: reduce(np.maximum, xs),
    "concatenate": lambda p, xs: np.concatenate(xs, axis=-1),
    "flatten": lambda p, xs: xs[0].reshape(len(xs[0]), -1),
    "mse": lambda p, xs: np.mean((xs[0] - xs[1]) ** 2),
}


def linear_derivative(p: Any, xs: list[Array], g: Array) -> tuple[Any, list[Array]]:
    """dW_ij = sum_n x_ni g_nj        db_j = sum_n g_nj        dx_ni = sum_j W_ij g_nj        n: every row"""
    rows = tuple(range(g.ndim - 1))
    parts = [np.tensordot(xs[0], g, (rows, rows)), g.sum(axis=rows)][: len(p)]
    return type(p)(*parts), [np.einsum("ij,...j->...i", p[0], g)]


def maximum_derivative(xs: list[Array], g: Array) -> list[Array]:
    """All of g to the larger one, half to each of two that are equal; the last against the maximum of the rest."""
    if len(xs) == 1:
        return [g]
    rest, last = reduce(np.maximum, xs[:-1]), xs[-1]
    share = np.where(rest > last, 1.0, np.where(rest == last, 0.5, 0.0))
    return [*maximum_derivative(xs[:-1], g * share), g * (1 - share)]


def softmax_derivative(y: Array, g: Array) -> Array:
    """dx = J^T g        J_ij = y_i ([i = j] - y_j)"""
    J = np.einsum("...i,ij->...ij", y, np.eye(y.shape[-1])) - np.einsum("...i,...j->...ij", y, y)
    return np.asarray(np.einsum("...ij,...i->...j", J, g))


def mse_derivative(y: Array, t: Array, g: Array) -> list[Array]:
    """dy = 2 g (y - t) / N        dt = -dy"""
    return [2 * g * (y - t) / y.size, -2 * g * (y - t) / y.size]


DERIVATIVES: dict[str, Callable[[Any, list[Array], Array], tuple[Any, list[Array]]]] = {
    "linear": linear_derivative,
    "identity": lambda p, xs, g: (p, [g]),
    "tanh": lambda p, xs, g: (p, [g / np.cosh(xs[0]) / np.cosh(xs[0])]),  # whose square overflows sooner
    "sigmoid": lambda p, xs, g: (p, [g * np.exp(-xs[0]) / (1 + np.exp(-xs[0])) ** 2]),
    "relu": lambda p, xs, g: (p, [np.where(xs[0] > 0, g, 0)]),
    "softmax": lambda p, xs, g: (p, [softmax_derivative(softmax(xs[0]), g)]),
    "add": lambda p, xs, g: (p, [g for _ in xs]),
    "subtract": lambda p, xs, g: (p, [g, -g]),
    "multiply": lambda p, xs, g: (p, [g * product(xs[:i] + xs[i + 1 :]) for i in range(len(xs))]),
    "average": lambda p, xs, g: (p, [g / len(xs) for _ in xs]),
    "maximum": lambda p, xs, g: (p, maximum_derivative(xs, g)),
    "concatenate": lambda p, xs, g: (p, np.split(g, np.cumsum([x.shape[-1] for x in xs])[:-1], axis=-1)),
    "flatten": lambda p, xs, g: (p, [g.reshape(xs[0].shape)]),
    "mse": lambda p, xs, g: (p, mse_derivative(xs[0], xs[1], g)),
}
