"""The messages of an ONNX model in the binary form of protocol buffers.

A message is a sequence of fields, each a number and a value; the numbers are those of onnx.proto. An integer is written
in groups of 7 bits, the lowest first, each in a byte whose highest bit says that another follows. Text, bytes and
messages come behind their length. (https://protobuf.dev/programming-guides/encoding, https://onnx.ai/onnx/repo-docs/IR)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from funcnet.arrays import Shape

Field: TypeAlias = tuple[int, int | str | bytes]
Dimension: TypeAlias = int | str | None
"""A length, the name of one that varies, or nothing where it varies without a name."""

ELEMENT_TYPES: dict[np.dtype[Any], int] = {
    np.dtype(np.float32): 1,
    np.dtype(np.int32): 6,
    np.dtype(np.int64): 7,
    np.dtype(np.bool_): 9,
    np.dtype(np.float64): 11,
}
INT, GRAPH, INTS = 2, 5, 7  # the types of attributes
Attribute: TypeAlias = int | Sequence[int] | bytes
"""The value of an attribute: an integer, several of them, or a graph as it is written."""


def varint(number: int) -> bytes:
    """An integer in groups of 7 bits, a negative one as its 64 bits."""
    number &= (1 << 64) - 1
    groups = bytearray()
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])


def message(fields: Iterable[Field]) -> bytes:
    """The fields one behind the other."""
    return b"".join([piece for number, value in fields for piece in _field(number, value)])


def _field(number: int, value: int | str | bytes) -> tuple[bytes, ...]:
    """Its number with the kind of what follows, 0 for an integer and 2 for what has a length, and the value."""
    if isinstance(value, int):
        return varint(number << 3), varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2), varint(len(data)), data


def tensor(name: str, array: Any) -> bytes:
    """A TensorProto: a constant array."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
    lengths: list[Field] = [(1, n) for n in array.shape]
    return message([*lengths, (2, ELEMENT_TYPES[array.dtype]), (8, name), (9, little.tobytes())])


def attribute(name: str, value: Attribute) -> bytes:
    """An AttributeProto of one integer, of several or of a graph."""
    if isinstance(value, int):
        return message([(1, name), (3, value), (20, INT)])
    if isinstance(value, bytes):
        return message([(1, name), (6, value), (20, GRAPH)])
    numbers: list[Field] = [(8, n) for n in value]
    return message([(1, name), *numbers, (20, INTS)])


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], attributes: dict[str, Attribute]) -> bytes:
    """A NodeProto: one call of an operator, named as its first output is."""
    read: list[Field] = [(1, name) for name in inputs]
    written: list[Field] = [(2, name) for name in outputs]
    options: list[Field] = [(5, attribute(name, value)) for name, value in attributes.items()]
    return message([*read, *written, (3, outputs[0]), (4, kind), *options])


def value_info(name: str, dtype: np.dtype[Any], dimensions: Sequence[Dimension]) -> bytes:
    """A ValueInfoProto: the name, dtype and shape of an input or an output."""
    lengths: list[Field] = [(1, _dimension(n)) for n in dimensions]
    whole = message([(1, ELEMENT_TYPES[dtype]), (2, message(lengths))])
    return message([(1, name), (2, message([(1, whole)]))])


def _dimension(n: Dimension) -> bytes:
    if n is None:
        return b""
    return message([(2, n) if isinstance(n, str) else (1, n)])


def graph(
    nodes: Sequence[bytes], constants: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes]
) -> bytes:
    """A GraphProto, which has to have a name."""
    parts = ((1, nodes), (2, ["funcnet"]), (5, constants), (11, inputs), (12, outputs))
    return message([(number, part) for number, of_kind in parts for part in of_kind])


def model(of_graph: bytes, opset: int, ir_version: int) -> bytes:
    """A ModelProto."""
    standard = message([(1, ""), (2, opset)])
    return message([(1, ir_version), (2, "funcnet"), (7, of_graph), (8, standard)])


def dimensions(shape: Shape, batch_axis: int | None, rows: int) -> list[Dimension]:
    """The lengths of an array whose rows vary in number; `rows` is how many it has here."""
    found: list[Dimension] = [*shape]
    if batch_axis is not None:
        found[batch_axis] = "batch" if shape[batch_axis] == rows else None
    return found
