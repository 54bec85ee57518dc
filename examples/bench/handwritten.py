"""The bar: for each workload the best step that could be written by hand for exactly that network, with NumPy alone.

It is pure: params go in untouched and come out as fresh arrays. What it may keep are buffers, made once.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from bench import hand_apply, hand_chain, hand_joined, hand_wide
from bench.buffers import Layout, Params, linears, quickest
from bench.case import Case, Linears, inference_case, training_case
from bench.workloads import Data, Workload

_SIBLINGS = {"dag": 1, "heads": 2}
"""Where in a family's layers the first of two siblings stands."""

_BLOCKS = (500, 640, 800, 1000, 1280, 1600, 2000, 4000)


def build(workload: Workload, data: Data) -> Case:
    """The hand-written implementation of a workload."""
    dtype = data.start[0][0].dtype
    start = beside(data.start, workload)
    layout = Layout([weight.shape for weight, _ in start], dtype)
    if workload.infer:
        apply = _apply(workload, layout, layout.params(start), data)
        return inference_case(apply, lambda: layout.params(start), data.inputs, np.asarray)
    step = _FAMILIES[workload.family](workload, layout, layout.params(start), data)

    def read(params: Params) -> Linears:
        return apart(linears(params), workload)

    return training_case(step, lambda: layout.params(start), read, data.arrays)


def beside(layers: Linears, workload: Workload) -> Linears:
    """The layers with the siblings, those that read the same value, side by side as one layer."""
    if workload.family not in _SIBLINGS:
        return layers
    k = _SIBLINGS[workload.family]
    (w, b), (v, c) = layers[k : k + 2]
    return [*layers[:k], (np.hstack([w, v]), np.hstack([b, c])), *layers[k + 2 :]]


def apart(layers: Linears, workload: Workload) -> Linears:
    """The layers of the workload again: the siblings' weights and biases are views of their columns."""
    if workload.family not in _SIBLINGS:
        return layers
    k = _SIBLINGS[workload.family]
    (w, b), width = layers[k], workload.shapes[k][1]
    return [*layers[:k], (w[:, :width], b[:width]), (w[:, width:], b[width:]), *layers[k + 1 :]]


def _chain(workload: Workload, layout: Layout, params: Params, data: Data) -> Callable[..., Any]:
    if len(workload.sizes) == 3:
        return hand_chain.two_layers(workload, layout)
    whole = hand_chain.four_layers(workload, layout)
    steps = [whole, *(hand_chain.four_layers_in_blocks(workload, layout, rows) for rows in _blocks(workload))]
    return steps[quickest([partial(step, params, *data.arrays) for step in steps])] if len(steps) > 1 else whole


def _apply(workload: Workload, layout: Layout, params: Params, data: Data) -> Callable[..., Any]:
    if workload.batch == 1:
        return hand_apply.one_row(workload.sizes, layout.dtype)
    applies = [hand_apply.in_blocks(workload.sizes, rows, layout.dtype) for rows in _blocks(workload)]
    return applies[quickest([partial(apply, params, *data.inputs) for apply in applies])]


def _blocks(workload: Workload) -> list[int]:
    return [rows for rows in _BLOCKS if rows < workload.batch and workload.batch % rows == 0]


_FAMILIES: dict[str, Callable[[Workload, Layout, Params, Data], Callable[..., Any]]] = {
    "chain": _chain,
    "deep": lambda workload, layout, *_: hand_chain.many_layers(workload, layout),
    "classifier": lambda workload, layout, *_: hand_wide.classifier(workload, layout),
    "dag": lambda workload, layout, *_: hand_wide.dag(workload, layout),
    "siamese": lambda workload, layout, *_: hand_joined.siamese(workload, layout),
    "heads": lambda workload, layout, *_: hand_joined.heads(workload, layout),
}
