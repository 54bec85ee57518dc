"""funcnet: each workload as two dicts, and the compiled closure of ``sgd_step``.

The loss that a step returns is a number that has been read, as in the hand-written step.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from bench.case import Case, Linears, inference_case, scanned_case, training_case
from bench.workloads import Data, Workload

_fn: Any = None


class Model(NamedTuple):
    """A network, the loss of its step (None where the network computes it), and its linear operators in order."""

    net: Any
    loss: Any
    linears: tuple[Any, ...]


def load() -> bool:
    """Import funcnet; False where it is not installed."""
    global _fn
    try:
        import funcnet
    except ImportError:
        return False
    _fn = funcnet
    return True


class Compiled(NamedTuple):
    """A workload's compiled closure, the step or ``net.apply``; first params; a way to read the linear layers."""

    call: Any
    begin: Callable[[], Any]
    linears: Callable[[Any], Linears]


def build(workload: Workload, data: Data) -> Case:
    """The compiled step, or ``net.apply`` for inference."""
    call, begin, linears = compiled(workload, data)
    if workload.infer:
        return inference_case(call, begin, data.inputs, np.asarray)
    return training_case(call, begin, linears, data.arrays)


def build_scan(workload: Workload, data: Data) -> Case:
    """All steps in one call."""
    step, begin, linears = compiled(workload, data)
    return scanned_case(partial(_fn.scan, step), begin, linears, data.arrays)


def build_jit(workload: Workload, data: Data) -> Case:
    """The same as native code."""
    call, begin, linears = native(workload, data)
    if workload.infer:
        return inference_case(call, begin, data.inputs, np.asarray)
    return training_case(call, begin, linears, data.arrays)


def build_jit_scan(workload: Workload, data: Data) -> Case:
    """All steps in one call of native code."""
    step, begin, linears = native(workload, data)
    return scanned_case(partial(_fn.scan, step), begin, linears, data.arrays)


def build_adam(
    workload: Workload, data: Data, make: Callable[[Any], Any], *, scanned: bool = False, jit: bool = False
) -> Case:
    """A step with an optimizer, which ``make`` makes of the module; alone, or all of them in one call."""
    model, (_, first, linears) = _FAMILIES[workload.family](workload), compiled(workload, data)
    step = _fn.train_step(model.net, model.loss, make(_fn))
    step = _fn.jit(step) if jit else step

    def begin() -> Any:
        params = first()
        return params, step.init(params)

    def run(state: Any, steps: int) -> tuple[Any, Any]:
        (params, moments), loss = state, None
        x, target = data.arrays
        for _ in range(steps):
            params, moments, loss = step(params, moments, x, target)
        return (params, moments), loss

    def run_scan(state: Any, steps: int) -> tuple[Any, Any]:
        many = (np.broadcast_to(array, (steps, *array.shape)) for array in data.arrays)
        params, moments, losses = _fn.scan(step, *state, *many)
        return (params, moments), losses[-1]

    def read(state: Any, loss: Any) -> tuple[Linears, Any]:
        return linears(state[0]), np.asarray(float(loss))

    return Case(begin, run_scan if scanned else run, read)


def native(workload: Workload, data: Data) -> Compiled:
    """The closure as native code."""
    closure = compiled(workload, data)
    call = _fn.jit(network(workload)).apply if workload.infer else _fn.jit(closure.call)
    return closure._replace(call=call)


def network(workload: Workload) -> Any:
    """The network of a workload."""
    return _FAMILIES[workload.family](workload).net


def has_compiler() -> bool:
    """Whether there is a C compiler."""
    from funcnet.native.toolchain import find_compiler

    try:
        find_compiler()
    except _fn.FuncnetError:
        return False
    return True


def compiled(workload: Workload, data: Data) -> Compiled:
    """The closure alone, which has seen no batch yet."""
    model = _FAMILIES[workload.family](workload)
    shapes = [array.shape[1:] for array in (data.arrays if model.loss is None else data.inputs)]

    def begin() -> Any:
        params, _ = model.net.init(_fn.key(0), *shapes, dtype=data.start[0][0].dtype)
        for key, (weight, bias) in zip(model.linears, data.start, strict=True):
            params[key].weight[...], params[key].bias[...] = weight, bias
        return params

    def linears(params: Any) -> Linears:
        return [(params[key].weight, params[key].bias) for key in model.linears]

    step = _fn.sgd_step(model.net, model.loss, learning_rate=workload.rate)
    return Compiled(model.net.apply if workload.infer else step, begin, linears)


def _series(sizes: tuple[int, ...], activation: Callable[[], Any], *, last: bool = False) -> Any:
    """A chain of linear layers, numbered, with the activation between them (and after the last one too)."""
    operators: dict[int, Any] = {}
    for place, size in enumerate(sizes[1:], 1):
        operators[2 * place - 1] = _fn.linear(size)
        if last or place < len(sizes) - 1:
            operators[2 * place] = activation()
    connectivity = {key: [key + 1] for key in list(operators)[:-1]}
    return _fn.network(operators, connectivity), tuple(range(1, 2 * len(sizes) - 1, 2))


def _chain(workload: Workload) -> Model:
    net, linears = _series(workload.sizes, _fn.tanh)
    return Model(net, _fn.mse(), linears)


def _deep(workload: Workload) -> Model:
    net, linears = _series(workload.sizes, _fn.tanh, last=True)
    return Model(net, _fn.mse(), linears)


def _classifier(workload: Workload) -> Model:
    net, linears = _series(workload.sizes, _fn.relu)
    return Model(net, _fn.softmax_cross_entropy(), linears)


def _dag(workload: Workload) -> Model:
    (width,) = workload.sizes
    operators = {
        "in": _fn.linear(width),
        "relu": _fn.relu(),
        "left": _fn.linear(width),
        "tanh": _fn.tanh(),
        "right": _fn.linear(width),
        "right relu": _fn.relu(),
        "sum": _fn.add(),
        "out": _fn.linear(width),
    }
    connectivity = {
        "in": ["relu"],
        "relu": ["left", "right", "sum"],
        "left": ["tanh"],
        "tanh": ["sum"],
        "right": ["right relu"],
        "right relu": ["sum"],
        "sum": ["out"],
    }
    return Model(_fn.network(operators, connectivity), _fn.mse(), ("in", "left", "right", "out"))


def _siamese(workload: Workload) -> Model:
    _, wide, narrow, out = workload.sizes
    operators = {
        "wide": _fn.linear(wide),
        "wide tanh": _fn.tanh(),
        "narrow": _fn.linear(narrow),
        "narrow tanh": _fn.tanh(),
        "twin wide": _fn.shared("wide"),
        "twin wide tanh": _fn.tanh(),
        "twin narrow": _fn.shared("narrow"),
        "twin narrow tanh": _fn.tanh(),
        "difference": _fn.subtract(),
        "again": _fn.identity(),
        "square": _fn.multiply(),
        "out": _fn.linear(out),
    }
    connectivity = {
        "wide": ["wide tanh"],
        "wide tanh": ["narrow"],
        "narrow": ["narrow tanh"],
        "narrow tanh": ["difference"],
        "twin wide": ["twin wide tanh"],
        "twin wide tanh": ["twin narrow"],
        "twin narrow": ["twin narrow tanh"],
        "twin narrow tanh": ["difference"],
        "difference": ["square", "again"],
        "again": ["square"],
        "square": ["out"],
    }
    return Model(_fn.network(operators, connectivity), _fn.mse(), ("wide", "narrow", "out"))


def _heads(workload: Workload) -> Model:
    """The network holds its two losses and their sum, and reads the targets like any other input."""
    _, wide, trunk, one, other = workload.sizes
    operators = {
        "wide": _fn.linear(wide),
        "wide tanh": _fn.tanh(),
        "trunk": _fn.linear(trunk),
        "trunk tanh": _fn.tanh(),
        "one": _fn.linear(one),
        "other": _fn.linear(other),
        "one target": _fn.identity(),
        "other target": _fn.identity(),
        "one loss": _fn.mse(),
        "other loss": _fn.mse(),
        "loss": _fn.add(),
    }
    connectivity = {
        "wide": ["wide tanh"],
        "wide tanh": ["trunk"],
        "trunk": ["trunk tanh"],
        "trunk tanh": ["one", "other"],
        "one": ["one loss"],
        "one target": ["one loss"],
        "other": ["other loss"],
        "other target": ["other loss"],
        "one loss": ["loss"],
        "other loss": ["loss"],
    }
    net = _fn.network(operators, connectivity, inputs=["wide", "one target", "other target"], output="loss")
    return Model(net, None, ("wide", "trunk", "one", "other"))


_FAMILIES: dict[str, Callable[[Workload], Model]] = {
    "chain": _chain,
    "deep": _deep,
    "classifier": _classifier,
    "dag": _dag,
    "siamese": _siamese,
    "heads": _heads,
}
