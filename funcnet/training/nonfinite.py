"""The source of NaN and infinity, searched for only once a result is not finite."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from funcnet import tree
from funcnet.arrays import Array
from funcnet.core import Function
from funcnet.errors import NonFiniteError
from funcnet.networks.network import Network
from funcnet.random import Key


def all_finite(*arrays: Any) -> bool:
    """Whether there is neither NaN nor infinity."""
    return all(bool(np.isfinite(x).all()) for x in arrays)


def not_finite(kind: str, named: Iterable[tuple[str, Any]]) -> NonFiniteError:
    """The error that names the first array, in the order of computing, with NaN or infinity, and counts them."""
    with np.errstate(all="ignore"):
        for name, x in named:
            if not all_finite(x):
                return NonFiniteError(f"{kind}: {name} has {_count(np.asarray(x))}, the first that is not finite")
    return NonFiniteError(f"{kind}: the new params are not finite, though the gradient is: lower the learning rate")


def values(
    net: Function[Any, Any], inputs: int, params: Any, arrays: tuple[Any, ...], key: Key | None
) -> Iterator[tuple[str, Any]]:
    """The arrays and the output of every operator, by name. inputs: how many of the arrays the network takes."""
    yield from ((f"params{path}", p) for path, p in tree.leaves_with_path(params))
    yield from ((f"input {i}", np.asarray(x)) for i, x in enumerate(arrays))
    given = net.accept(params, arrays[:inputs], key)
    if isinstance(net.function, Network):
        outputs, _ = net.function.forward(params, given, key)
        kinds = {step.key: step.layer.apply.kind for step in net.function.steps}
        yield from ((f"the output of operator {k!r} ({kinds[k]})", y) for k, y in outputs.items())
    else:
        yield f"the output of {net.kind}", net.compute(params, *given, key=key)[0]


def _count(x: Array) -> str:
    """How many elements are NaN or infinite."""
    counts = {"NaN": int(np.isnan(x).sum()), "infinite": int(np.isinf(x).sum())}
    return f"{' and '.join(f'{n} {what}' for what, n in counts.items() if n)} of {x.size} elements"
