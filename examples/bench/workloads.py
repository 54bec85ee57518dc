"""The networks that are measured, each defined once, and the data they are measured on.

A training step is: forward, loss, backward, plain SGD, new params. Mean squared error is the mean over all elements,
cross-entropy the mean over the batch. An inference step is the forward pass alone.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from bench.case import Array, Linears


@dataclass(frozen=True)
class Workload:
    """A network with its batch; ``family`` says how its linear layers are joined.

    - chain: ``sizes[0] -> ... -> sizes[-1]``, tanh between the linear layers; mean squared error.
    - deep: the same with tanh after the last linear layer too.
    - classifier: ``sizes[0] -> ... -> sizes[-1]``, ReLU between; softmax cross-entropy with integer labels.
    - dag: h = relu(linear x); y = linear(tanh(linear h) + relu(linear h) + h), each ``sizes[0]`` wide; mean squared
      error.
    - siamese: d = tower(u) - tower(v); y = linear(d * d). The tower, shared, is linear, tanh, linear, tanh.
    - heads: a trunk of linear, tanh, linear, tanh; two linear heads upon it; the sum of their mean squared errors.
    """

    name: str
    title: str
    family: str
    sizes: tuple[int, ...]
    batch: int
    rate: float = 0.1
    infer: bool = False

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """The (in, out) of each linear layer, in the order in which params are written down."""
        if self.family == "dag":
            return [(self.sizes[0], self.sizes[0])] * 4
        if self.family == "heads":
            first, hidden, trunk, one, other = self.sizes
            return [(first, hidden), (hidden, trunk), (trunk, one), (trunk, other)]
        return list(pairwise(self.sizes))


class Data(NamedTuple):
    """What a step is given: the arrays, batch first, and the linear layers to start from."""

    inputs: tuple[Array, ...]
    targets: tuple[Array, ...]
    start: Linears

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The arguments of a step after its params."""
        return self.inputs + self.targets


_DISK = (2, 25, 25, 25, 2)
_WIDE = (784, 512, 512, 512, 10)

WORKLOADS = (
    Workload("tiny", "2-8-1 tanh, batch 1", "chain", (2, 8, 1), 1),
    Workload("disk-1", "2-25-25-25-2 tanh, batch 1", "chain", _DISK, 1, 0.01),
    Workload("disk-5", "2-25-25-25-2 tanh, batch 5", "chain", _DISK, 5, 0.01),
    Workload("disk-mini", "2-25-25-25-2 tanh, batch 40", "chain", _DISK, 40),
    Workload("disk", "2-25-25-25-2 tanh, batch 1,000", "chain", _DISK, 1000),
    Workload("deep-8", "8 layers of 64 tanh, batch 64", "deep", (64,) * 9, 64, 1.0),
    Workload("deep-32", "32 layers of 64 tanh, batch 64", "deep", (64,) * 33, 64, 1.0),
    Workload("deep-128", "128 layers of 64 tanh, batch 64", "deep", (64,) * 129, 64, 1.0),
    Workload("dag", "fan-out, two branches, sum, skip, 256 wide, batch 256", "dag", (256,), 256),
    Workload("mnist-mlp", "784-512-512-10 ReLU, cross-entropy, batch 128", "classifier", (784, 512, 512, 10), 128),
    Workload(
        "siamese", "two inputs through one shared 64-128-64 tower, batch 256", "siamese", (64, 128, 64, 1), 256, 0.01
    ),
    Workload("two-output", "64-128-128 trunk, heads of 10 and 3, batch 256", "heads", (64, 128, 128, 10, 3), 256),
    Workload("large", "2-25-25-25-2 tanh, batch 64,000", "chain", _DISK, 64000),
    Workload("infer-1", "2-25-25-25-2 tanh, forward only, batch 1", "chain", _DISK, 1, infer=True),
    Workload("infer-wide", "784-512-512-512-10 tanh, forward only, batch 1", "chain", _WIDE, 1, infer=True),
    Workload("infer-100k", "2-25-25-25-2 tanh, forward only, batch 100,000", "chain", _DISK, 100_000, infer=True),
)


def make_data(workload: Workload, dtype: np.dtype[Any], seed: int = 0) -> Data:
    """The workload's data and first weights, the same numbers for every dtype."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int, scale: float = 1.0) -> Array:
        return (rng.standard_normal(shape) * scale).astype(dtype)

    start = [(draw(n, m, scale=n**-0.5), draw(m, scale=0.1)) for n, m in workload.shapes]
    batch, first, last = workload.batch, workload.sizes[0], workload.sizes[-1]
    inputs = tuple(draw(batch, first) for _ in range(2 if workload.family == "siamese" else 1))
    if workload.infer:
        return Data(inputs, (), start)
    if workload.family == "classifier":
        return Data(inputs, (rng.integers(0, last, batch),), start)
    if workload.family == "heads":
        return Data(inputs, tuple(draw(batch, size) for size in workload.sizes[-2:]), start)
    return Data(inputs, (draw(batch, last),), start)
