"""JAX: one jitted step. Arrays are on the device beforehand, and the loss is read only at the end of a block.

Steps may therefore be dispatched ahead of their results, which favours JAX on small networks.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from bench.case import Case, Linears, inference_case, training_case
from bench.workloads import Data, Workload

_LENGTHS = tuple(8**k for k in range(5, -1, -1))  # of the scans compiled beforehand, of which any number is made
_jax: Any = None


def load() -> bool:
    """Import JAX; False where it is not installed."""
    global _jax
    try:
        import jax
        import jax.numpy  # pyright: ignore[reportUnusedImport]
    except ImportError:
        return False
    _jax = jax
    return True


def build(workload: Workload, data: Data) -> Case:
    """``jax.jit`` of the gradient and the update."""
    _jax.config.update("jax_enable_x64", data.start[0][0].dtype == np.float64)
    arrays = device_arrays(data)

    def begin() -> Any:
        return [tuple(_jax.numpy.asarray(part) for part in layer) for layer in data.start]

    if workload.infer:
        return waiting(inference_case(_jax.jit(_forward), begin, arrays, np.asarray))

    step = step_of(workload)
    return waiting(training_case(_jax.jit(step), begin, _linears, arrays))


def build_scan(workload: Workload, data: Data) -> Case:
    """All steps in one call, ``jax.jit(lax.scan(step))``."""
    case = build(workload, data)
    return in_one_call(case, step_of(workload), device_arrays(data))


def device_arrays(data: Data) -> tuple[Any, ...]:
    """The arrays as JAX's own."""
    return tuple(_jax.numpy.asarray(a, np.int32 if a.dtype.kind == "i" else a.dtype) for a in data.arrays)


def in_one_call(case: Case, step: Callable[..., tuple[Any, Any]], arrays: tuple[Any, ...]) -> Case:
    """The case, whose run scans ``state, loss = step(state, *arrays)``."""

    def scan(state: Any, arrays: Any, steps: int) -> tuple[Any, Any]:
        state, losses = _jax.lax.scan(lambda state, _: step(state, *arrays), state, None, length=steps)
        return state, losses[-1]

    lowered = {n: _jax.jit(partial(scan, steps=n)).lower(case.begin(), arrays) for n in _LENGTHS}
    compiled = {n: one.compile() for n, one in lowered.items()}

    def run(state: Any, steps: int) -> tuple[Any, Any]:
        loss = None
        for length, call in compiled.items():
            for _ in range(steps // length):
                state, loss = call(state, arrays)
            steps %= length
        return state, loss

    return waiting(case._replace(run=run))


def build_adam(workload: Workload, data: Data, make: Callable[[Any], Any], *, scanned: bool = False) -> Case:
    """A step with an optimizer of Optax, which ``make`` makes of that module; alone, or all of them in one call."""
    optax: Any = import_module("optax")

    _jax.config.update("jax_enable_x64", data.start[0][0].dtype == np.float64)
    optimizer, loss_of, arrays = make(optax), _FAMILIES[workload.family], device_arrays(data)

    def step(state: Any, *arrays: Any) -> tuple[Any, Any]:
        params, moments = state
        loss, gradients = _jax.value_and_grad(loss_of)(params, *arrays)
        updates, moments = optimizer.update(gradients, moments, params)
        return (_jax.tree.map(lambda p, u: p + u, params, updates), moments), loss

    def begin() -> Any:
        params = [tuple(_jax.numpy.asarray(part) for part in layer) for layer in data.start]
        return params, optimizer.init(params)

    case = training_case(_jax.jit(step), begin, lambda state: _linears(state[0]), arrays)
    return in_one_call(case, step, arrays) if scanned else waiting(case)


def step_of(workload: Workload) -> Callable[..., tuple[Any, Any]]:
    """The gradient and the update."""
    loss_of, rate = _FAMILIES[workload.family], workload.rate

    def step(params: Any, *arrays: Any) -> tuple[Any, Any]:
        loss, gradients = _jax.value_and_grad(loss_of)(params, *arrays)
        return _jax.tree.map(lambda p, g: p - rate * g, params, gradients), loss

    return step


def waiting(case: Case) -> Case:
    """The case, whose run ends when its results are there."""

    def run(state: Any, steps: int) -> tuple[Any, Any]:
        ended: tuple[Any, Any] = _jax.block_until_ready(case.run(state, steps))
        return ended

    return case._replace(run=run)


def _linears(params: Any) -> Linears:
    return [(np.asarray(weight), np.asarray(bias)) for weight, bias in params]


def _linear(layer: Any, x: Any) -> Any:
    weight, bias = layer
    return x @ weight + bias


def _mse(y: Any, target: Any) -> Any:
    return _jax.numpy.mean((y - target) ** 2)


def _forward(params: Any, x: Any, *, last: bool = False, activation: str = "tanh") -> Any:
    for place, layer in enumerate(params):
        x = _linear(layer, x)
        if last or place + 1 < len(params):
            x = getattr(_jax.nn, activation)(x)
    return x


def _chain(params: Any, x: Any, target: Any) -> Any:
    return _mse(_forward(params, x), target)


def _deep(params: Any, x: Any, target: Any) -> Any:
    return _mse(_forward(params, x, last=True), target)


def _classifier(params: Any, x: Any, labels: Any) -> Any:
    logits = _jax.nn.log_softmax(_forward(params, x, activation="relu"))
    return -_jax.numpy.mean(_jax.numpy.take_along_axis(logits, labels[:, None], axis=1))


def _dag(params: Any, x: Any, target: Any) -> Any:
    first, left, right, final = params
    h = _jax.nn.relu(_linear(first, x))
    return _mse(_linear(final, _jax.numpy.tanh(_linear(left, h)) + _jax.nn.relu(_linear(right, h)) + h), target)


def _siamese(params: Any, u: Any, v: Any, target: Any) -> Any:
    difference = _forward(params[:2], u, last=True) - _forward(params[:2], v, last=True)
    return _mse(_linear(params[2], difference * difference), target)


def _heads(params: Any, x: Any, one: Any, other: Any) -> Any:
    top = _forward(params[:2], x, last=True)
    return _mse(_linear(params[2], top), one) + _mse(_linear(params[3], top), other)


_FAMILIES: dict[str, Callable[..., Any]] = {
    "chain": _chain,
    "deep": _deep,
    "classifier": _classifier,
    "dag": _dag,
    "siamese": _siamese,
    "heads": _heads,
}
