"""A network as an ONNX model, for ONNX Runtime and whatever else reads that format."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnet import tree
from funcnet.arrays import DType, Shape, accept_dtype, accept_shape, params_dtype
from funcnet.core import Layer
from funcnet.errors import DTypeError, ExportError, OptionError
from funcnet.exports.operators import write_call
from funcnet.exports.protobuf import dimensions, graph, model, value_info
from funcnet.exports.recording import ROWS, Recorded, record
from funcnet.exports.writer import Writer
from funcnet.layers.norm import BatchNorm
from funcnet.networks.combinators import check
from funcnet.options import as_int

IR_VERSIONS = {17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11, 24: 12, 25: 13, 26: 13, 27: 13, 28: 14}
LARGEST = (1 << 31) - 1  # bytes that a message of protocol buffers may have
OVERHEAD = 1 << 20  # bytes kept free for all but the params


def to_onnx(
    net: Layer[Any, Any], params: Any, *input_shapes: Shape, opset: int = 20, dtype: DType | None = None
) -> bytes:
    """The forward pass of a network, with its params, as an ONNX model.

    model = fn.to_onnx(net, params, (2,))
    Path("net.onnx").write_bytes(model)

    What it computes is `net.apply(params, *inputs)`, without a key: dropout is the identity. The number of rows is free;
    in the dtype of the params and of inputs and outputs. The inputs are named x, or x0, x1, ... where there are several,
    the outputs likewise y, or y0, y1, ...; nodes and params have the operators' keys in their names. Labels are int64.
    Every layer and loss goes out, and the function of an `elementwise`, in standard operators; params that operators
    share are written once. Errors that depend on values, of labels for instance, are ONNX Runtime's or none.
    input_shapes: without the batch axis, as for `init`.      opset: the version of ONNX's operators, from 17 to 26.
    dtype: of a network without params, by default float32; of any other it is the params'.
    Raises ExportError for a custom layer, for a batch_norm that is not calibrated, and for params of 2 GB or more;
    OptionError for another opset, DTypeError for a dtype that is not the params', and what `net.apply` would.
    (https://onnx.ai/onnx/repo-docs/IR.html)
    """
    check("to_onnx", (net,), several=True)
    version = _ir_version(opset)
    shapes = [accept_shape("to_onnx", shape) for shape in input_shapes]
    net.apply.check_count(len(shapes))
    kind = _dtype(params, dtype)
    _check_params(params)
    recorded = record(net, params, shapes, kind)
    return model(_graph(recorded, params, opset, kind), opset, version)


def _ir_version(opset: object) -> int:
    """The version of the format in which an opset came out."""
    version = IR_VERSIONS.get(as_int(opset) or 0)
    if version is None:
        raise OptionError(f"to_onnx: opset must be an int from {min(IR_VERSIONS)} to {max(IR_VERSIONS)}, not {opset!r}")
    return version


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
    """The graph of what was recorded."""
    calls, parameters, inputs, outputs = recorded
    names_in, names_out = _numbered("x", len(inputs)), _numbered("y", len(outputs))
    w = Writer(opset, dtype)
    w.begin(inputs, names_in, names_out)
    read = {id(x.root) for call in calls for x in call.operands} | {id(y.root) for y in outputs}
    for value, (path, leaf) in zip(parameters, tree.leaves_with_path(params), strict=True):
        if id(value) in read:
            w.parameter(f"params{path}", value, leaf)
    for call in calls:
        write_call(w, call)
    for name, value in zip(names_out, outputs, strict=True):
        w.output(name, value)
    infos = [
        [value_info(name, x.dtype, dimensions(x.shape, x.batch_axis, ROWS)) for name, x in zip(names, values, strict=True)]
        for names, values in ((names_in, inputs), (names_out, outputs))
    ]
    return graph(w.nodes, w.constants, *infos)


def _numbered(name: str, count: int) -> list[str]:
    """The name alone, or with numbers where there are several."""
    return [name] if count == 1 else [f"{name}{i}" for i in range(count)]
