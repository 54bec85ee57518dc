"""The binary form of the messages, byte by byte; no package reads them here."""

from __future__ import annotations

import numpy as np
import pytest

from funcnet.exports.onnx.protobuf import attribute, dimensions, message, tensor, value_info, varint


@pytest.mark.parametrize(
    ("number", "written"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (-1, "ff" * 9 + "01"), (1 << 40, "808080808020")],
)
def test_integers(number: int, written: str) -> None:
    assert varint(number).hex() == written


def test_fields_of_each_kind() -> None:
    assert message([(1, 150), (2, "testing"), (16, b"\x00")]).hex() == "089601" + "1207" + b"testing".hex() + "82010100"
    assert message([(1, "é")]).hex() == "0a02c3a9"


def test_attributes() -> None:
    assert attribute("to", 1) == message([(1, "to"), (3, 1), (20, 2)])
    assert attribute("perm", (1, 0)) == message([(1, "perm"), (8, 1), (8, 0), (20, 7)])
    assert attribute("body", b"graph") == message([(1, "body"), (6, b"graph"), (20, 5)])


def test_arrays_are_little_endian_and_in_row_major_order() -> None:
    x = np.array([[1, 2], [3, 4]], np.int64)
    data = b"".join(n.to_bytes(8, "little") for n in (1, 3, 2, 4))
    assert tensor("x", x.T) == message([(1, 2), (1, 2), (2, 7), (8, "x"), (9, data)])
    assert tensor("x", x.astype(">i8").astype(np.int64)) == tensor("x", x)
    assert tensor("c", np.array(1.0, np.float32)) == message([(2, 1), (8, "c"), (9, b"\x00\x00\x80\x3f")])


def test_shapes_have_a_free_batch() -> None:
    assert dimensions((2, 3), 0, 2) == ["batch", 3]
    assert dimensions((6, 3), 0, 2) == [None, 3]
    assert dimensions((2, 3), None, 2) == [2, 3]
    shape = b"".join(b"\x0a" + bytes([len(d)]) + d for d in (b"\x12\x05batch", b"\x08\x03", b""))
    inner = message([(1, 11), (2, shape)])
    assert value_info("x", np.dtype(np.float64), ["batch", 3, None]) == message([(1, "x"), (2, message([(1, inner)]))])
