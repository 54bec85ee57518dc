"""A network as an ONNX model, for ONNX Runtime and other readers of that format."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnet import tree
from funcnet.arrays import DType, Shape, accept_dtype, accept_shape, params_dtype
from funcnet.calling import checks_call
from funcnet.core import Layer
from funcnet.errors import DTypeError, ExportError, OptionError
from funcnet.exports.onnx.operators import write_call
from funcnet.exports.onnx.patterns import needed, recognised
from funcnet.exports.onnx.protobuf import dimensions, graph, model, value_info
from funcnet.exports.onnx.recording import ROWS, Recorded, record
from funcnet.exports.onnx.writer import Writer
from funcnet.layers.norm import BatchNorm
from funcnet.networks.parts import check
from funcnet.options import as_int

OPSETS = range(17, 29)
IR_VERSION = 8  # of the format, which has all that is used here; older runtimes refuse newer ones
LARGEST = (1 << 31) - 1  # bytes that a message of protocol buffers may have
OVERHEAD = 1 << 20  # bytes kept free for all but the params


@checks_call
def to_onnx(
    net: Layer[Any, Any], params: Any, *input_shapes: Shape, opset: int = 20, dtype: DType | None = None
) -> bytes:
    """The forward pass of a network, with its params, as an ONNX model.

    model = fn.to_onnx(net, params, (2,))
    Path("net.onnx").write_bytes(model)

    The model computes `net.apply(params, *inputs)` without a key, so dropout is the identity, for any number of rows.
    Every layer and loss is written, and the function of an `elementwise`, in standard operators; params that operators
    share are written once. Inputs and outputs have the dtype of the params, labels int64. An input is named x; several
    are x0, x1, ...; outputs likewise y, or y0, y1, ...; the names of nodes and params begin with the operators' keys.
    The model raises no errors of its own: not for weights that add up to 0, not for a mean over no rows, which is NaN.
    input_shapes: without the batch axis, as for `init`.      opset: the version of ONNX's operators, from 17 to 28.
    dtype: of a network without params, by default float32; any other network has that of its params.
    Raises ExportError for a custom layer, for a batch_norm that is not calibrated, for a NumPy function that ONNX
    lacks, and for params of 2 GB; OptionError for another opset, DTypeError for another dtype than that of the params;
    GraphError for anything but a layer; and the errors of `net.apply`.
    (https://onnx.ai/onnx/repo-docs/IR.html)
    """
    check("to_onnx", (net,), multi_output=True)
    version = as_int(opset)
    if version is None or version not in OPSETS:
        raise OptionError(f"to_onnx: opset must be an int from {OPSETS[0]} to {OPSETS[-1]}, not {opset!r}")
    shapes = [accept_shape("to_onnx", shape) for shape in input_shapes]
    net.apply.check_count(len(shapes), "to_onnx(net, params, *input_shapes)")
    kind = _dtype(params, dtype)
    _check_params(params)
    recorded = record(net, params, shapes, kind)
    return model(_graph(recorded, params, version, kind), version, IR_VERSION)


def _dtype(params: Any, dtype: DType | None) -> np.dtype[Any]:
    """The dtype of the params; without any the one asked for, or float32."""
    own = params_dtype(params, tree.leaves(params))
    asked = None if dtype is None else accept_dtype(dtype)
    if own is not None and asked is not None and own != asked:
        raise DTypeError(
            f"to_onnx: the params are {own}, and dtype is {asked}: "
            f"cast them, fn.tree.map(lambda p: p.astype(np.{asked}), params)"
        )
    return own or asked or np.dtype(np.float32)


def _check_params(params: Any) -> None:
    """Refuse a batch_norm that is not calibrated, and what does not fit into a file."""
    for path, node in tree.walk(tree.structure(params)):
        if node.kind is BatchNorm and node.children[2].kind is type(None):
            raise ExportError(
                f"to_onnx: params{path} is of a batch_norm that holds no statistics of the population: "
                "params = fn.calibrate(net, params, data)"
            )
    size = sum(leaf.nbytes for leaf in tree.leaves(params))
    if size > LARGEST - OVERHEAD:
        raise ExportError(
            f"to_onnx: the params have {size:,} bytes, but a model of ONNX in one piece less than 2 GB: "
            "cast them to float32, or export parts of the network"
        )


def _graph(recorded: Recorded, params: Any, opset: int, dtype: np.dtype[Any]) -> bytes:
    """The graph of the recorded calls."""
    calls, parameters, inputs, outputs = recorded
    names_in, names_out = _numbered("x", len(inputs)), _numbered("y", len(outputs))
    w = Writer(opset, dtype)
    w.begin(inputs, names_in, names_out)
    for value, (path, leaf) in zip(parameters, tree.leaves_with_path(params), strict=True):
        w.parameter(f"params{path}", value, leaf)
    for call in needed([recognised(call, opset, dtype) for call in calls], outputs):
        write_call(w, call)
    for name, value in zip(names_out, outputs, strict=True):
        w.output(name, value)
    infos = [
        [
            value_info(name, x.dtype, dimensions(x.shape, x.batch_axis, ROWS))
            for name, x in zip(names, values, strict=True)
        ]
        for names, values in ((names_in, inputs), (names_out, outputs))
    ]
    return graph(w.nodes, w.constants, *infos)


def _numbered(name: str, count: int) -> list[str]:
    """The name alone, or with numbers where there are several."""
    return [name] if count == 1 else [f"{name}{i}" for i in range(count)]
