"""PyTorch: eager with autograd and an in-place update, and torch.compile of one pure step.

Arrays are converted beforehand. The loss stays a tensor: it is never read inside the loop.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.case import Array, Case, Linears, inference_case, training_case
from bench.workloads import Data, Workload

_torch: Any = None


def load() -> bool:
    """Import PyTorch, held to the thread count of the process; False where it is not installed."""
    global _torch
    try:
        import torch
    except ImportError:
        return False
    _torch = torch
    _torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    return True


def build_eager(workload: Workload, data: Data) -> Case:
    """Eager mode. The update is in place, which favours it; ``begin`` copies the params."""
    arrays = tuple(_torch.from_numpy(array) for array in data.arrays)
    if workload.infer:
        return _inference(lambda leaves, x: _forward(leaves, x), data, arrays)
    loss_of, rate = _FAMILIES[workload.family], workload.rate

    def step(leaves: Any, *arrays: Any) -> tuple[Any, Any]:
        loss = loss_of(leaves, *arrays)
        gradients = _torch.autograd.grad(loss, leaves)
        with _torch.no_grad():
            _torch._foreach_add_(leaves, gradients, alpha=-rate)
        return leaves, loss

    def begin() -> list[Any]:
        return [leaf.requires_grad_() for leaf in _leaves(data)]

    case = training_case(step, begin, _linears, arrays)
    return case._replace(read=lambda leaves, loss: case.read(leaves, loss.detach()))


def build_compiled(workload: Workload, data: Data) -> Case:
    """torch.compile of the whole step, gradient and update in one graph. Fails where there is no C++ compiler."""
    arrays = tuple(_torch.from_numpy(array) for array in data.arrays)
    loss_of, rate = _FAMILIES[workload.family], workload.rate

    def step(leaves: Any, *arrays: Any) -> tuple[Any, Any]:
        gradients, loss = _torch.func.grad_and_value(loss_of)(leaves, *arrays)
        return [leaf - rate * gradient for leaf, gradient in zip(leaves, gradients, strict=True)], loss

    _torch._dynamo.reset()
    if workload.infer:
        return _inference(_torch.compile(lambda leaves, x: _forward(leaves, x), fullgraph=True), data, arrays)
    return training_case(_torch.compile(step, fullgraph=True), lambda: _leaves(data), _linears, arrays)


def _inference(apply: Callable[..., Any], data: Data, arrays: tuple[Any, ...]) -> Case:
    case = inference_case(apply, lambda: _leaves(data), arrays, np.asarray)

    def run(leaves: Any, steps: int) -> tuple[Any, Any]:
        with _torch.inference_mode():
            return case.run(leaves, steps)

    return case._replace(run=run)


def _leaves(data: Data) -> list[Any]:
    return [_torch.tensor(array) for layer in data.start for array in layer]


def _linears(leaves: Any) -> Linears:
    arrays: list[Array] = [leaf.detach().numpy() for leaf in leaves]
    return list(zip(arrays[::2], arrays[1::2], strict=True))


def _linear(leaves: Any, place: int, x: Any) -> Any:
    return _torch.addmm(leaves[2 * place + 1], x, leaves[2 * place])


def _mse(y: Any, target: Any) -> Any:
    return _torch.nn.functional.mse_loss(y, target)


def _forward(leaves: Any, x: Any, *, last: bool = False, activation: str = "tanh") -> Any:
    depth = len(leaves) // 2
    for place in range(depth):
        x = _linear(leaves, place, x)
        if last or place + 1 < depth:
            x = getattr(_torch, activation)(x)
    return x


def _chain(leaves: Any, x: Any, target: Any) -> Any:
    return _mse(_forward(leaves, x), target)


def _deep(leaves: Any, x: Any, target: Any) -> Any:
    return _mse(_forward(leaves, x, last=True), target)


def _classifier(leaves: Any, x: Any, labels: Any) -> Any:
    return _torch.nn.functional.cross_entropy(_forward(leaves, x, activation="relu"), labels)


def _dag(leaves: Any, x: Any, target: Any) -> Any:
    h = _torch.relu(_linear(leaves, 0, x))
    total = _torch.tanh(_linear(leaves, 1, h)) + _torch.relu(_linear(leaves, 2, h)) + h
    return _mse(_linear(leaves, 3, total), target)


def _siamese(leaves: Any, u: Any, v: Any, target: Any) -> Any:
    difference = _forward(leaves[:4], u, last=True) - _forward(leaves[:4], v, last=True)
    return _mse(_linear(leaves, 2, difference * difference), target)


def _heads(leaves: Any, x: Any, one: Any, other: Any) -> Any:
    top = _forward(leaves[:4], x, last=True)
    return _mse(_linear(leaves, 2, top), one) + _mse(_linear(leaves, 3, top), other)


_FAMILIES: dict[str, Callable[..., Any]] = {
    "chain": _chain,
    "deep": _deep,
    "classifier": _classifier,
    "dag": _dag,
    "siamese": _siamese,
    "heads": _heads,
}
