"""Models run by ONNX Runtime, and compared with what the network itself gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcnet as fn

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def session(model: bytes) -> Any:
    """The model, checked in full, in a session of one thread."""
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def newest_opset() -> int:
    """The newest opset that is written, and that the packages here take."""
    for opset in range(28, 23, -1):
        try:
            session(fn.to_onnx(fn.tanh(), (), (1,), opset=opset))
        except Exception as error:
            if "opset" not in str(error).lower():
                raise
        else:
            return opset
    return 23


def outputs(running: Any, *inputs: Any) -> list[Any]:
    """What the session gives."""
    told = running.get_inputs()
    kinds = {"tensor(float)": np.float32, "tensor(double)": np.float64}  # a mask may be integers here
    given = {one.name: x.astype(kinds.get(one.type, x.dtype)) for one, x in zip(told, inputs, strict=True)}
    found: list[Any] = running.run(None, given)
    return found


def assert_gives(running: Any, net: fn.Layer[Any, Any], params: Any, *inputs: Any, ulps: float = 16.0) -> None:
    """The session gives what the network gives, to some units in the last place of 1 or of the larger value."""
    expected: Any = net.apply(params, *inputs)
    found = outputs(running, *inputs)
    for y, want in zip(found, expected if isinstance(expected, tuple) else (expected,), strict=True):
        want = np.asarray(want)
        assert (y.shape, y.dtype) == (want.shape, want.dtype)
        tolerance = ulps * float(np.finfo(want.dtype).eps)
        np.testing.assert_allclose(y, want, rtol=tolerance, atol=tolerance)
