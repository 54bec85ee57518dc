"""What does not go out as an ONNX model, and what the error says. No package is needed to be refused."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import funcnet as fn
import funcnet.exports.onnx.model as exports
from tests.support.cases import CASES, Case, init_scale, scale


def refused(error: type[Exception], message: str, *args: Any, **options: Any) -> None:
    """The export fails with that message, and the error is what a user would catch."""
    with pytest.raises(error, match=re.escape(message)) as caught:
        fn.to_onnx(*args, **options)
    assert isinstance(caught.value, fn.FuncnetError)


def made(net: fn.Layer[Any, Any], *shapes: fn.Shape) -> tuple[Any, ...]:
    """The network, its params and the shapes."""
    return net, net.init(fn.key(0), *shapes)[0], *shapes


def test_what_is_refused_of_all_operators() -> None:
    found = {case.name.split(" ")[0] for case in CASES if not goes_out(case)}
    assert found == {"custom_layer", "batch_norm"}


def goes_out(case: Case) -> bool:
    """Whether the operator becomes a model as init gives it."""
    try:
        return fn.to_onnx(*made(case.make(), *case.shapes)) != b""
    except fn.ExportError:
        return False


def test_a_custom_layer_is_named() -> None:
    net = fn.network({"in": fn.linear(3), "own": fn.custom_layer(init_scale, scale)}, {"in": ["own"]})
    refused(ValueError, "to_onnx: operator own scale: a custom layer", *made(net, (2,)))
    refused(fn.ExportError, "to_onnx: operator scale forward: a", *made(fn.custom_layer(init_scale, scale), (2,)))


def test_a_batch_norm_is_calibrated_first() -> None:
    net = fn.network({"in": fn.linear(3), "bn": [fn.tanh(), fn.batch_norm()]}, {"in": ["bn"]})
    refused(fn.ExportError, "to_onnx: params['bn'][1] is of a batch_norm", *made(net, (2,)))


def test_a_sequence_of_no_times_is_refused() -> None:
    net = fn.network({"in": fn.gru(3)}, {})
    refused(fn.ExportError, "to_onnx: operator in gru: a sequence of no times", *made(net, (0, 2)))


def hypotenuse(x: Any) -> Any:
    return np.hypot(x, 1.0), lambda g: g


def by_rows(x: Any) -> Any:
    return x * float(x.shape[0] ** 2), lambda g: g


def for_few_rows(x: Any) -> Any:
    return x * (1.0 if len(x.shape) > 1 and x.shape[0] < 3 else 2.0), lambda g: g


def other_for_few_rows(x: Any) -> Any:
    return np.tanh(x) if len(x.shape) > 1 and x.shape[0] < 3 else np.exp(x), lambda g: g


def test_functions_that_onnx_lacks_are_named() -> None:
    net = fn.network({"own": fn.elementwise(hypotenuse)}, {})
    refused(fn.ExportError, "to_onnx: operator own hypotenuse: np.hypot is not written as ONNX", *made(net, (2,)))


@pytest.mark.parametrize("function", [by_rows, for_few_rows, other_for_few_rows])
def test_functions_of_the_number_of_rows_are_refused(function: Any) -> None:
    net = fn.network({"own": fn.elementwise(function)}, {})
    refused(fn.ExportError, "to_onnx: operator own", *made(net, (2,)))


def test_params_larger_than_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    case = made(fn.linear(400), (700,))
    size = fn.to_onnx(*case)
    monkeypatch.setattr(exports, "LARGEST", len(size))
    refused(fn.ExportError, "to_onnx: the params have 1,121,600 bytes", *case)


@pytest.mark.parametrize("opset", [16, 29, 0, -17, 20.0, "20", None, True])
def test_opsets_out_of_range(opset: Any) -> None:
    refused(
        fn.OptionError,
        f"to_onnx: opset must be an int from 17 to 28, not {opset!r}",
        *made(fn.tanh(), (2,)),
        opset=opset,
    )


def test_dtypes() -> None:
    case = made(fn.linear(2), (2,))
    refused(TypeError, "to_onnx: the params are float32, and dtype is float64: cast them", *case, dtype=np.float64)
    refused(fn.DTypeError, "dtype float16 is not supported", *case, dtype=np.float16)
    assert fn.to_onnx(*case, dtype=np.float32) == fn.to_onnx(*case)


def test_what_fits_nowhere() -> None:
    net, params, _ = made(fn.linear(2), (2,))
    refused(fn.GraphError, "to_onnx: argument 0 is", fn.linear, params, (2,))
    refused(fn.ShapeError, "linear takes 1 input, but was given 0", net, params)
    refused(fn.ShapeError, "its weight is (2, 2)", net, params, (3,))
    refused(fn.ShapeError, "an input shape is a tuple", net, params, 2)
    refused(fn.ParamsError, "its params must be Affine", net, (), (2,))


def test_a_model_is_the_same_each_time_and_needs_no_package() -> None:
    program = (
        "import sys, hashlib, funcnet as fn; net = fn.serial(fn.linear(3), fn.softmax())\n"
        "print(hashlib.sha256(fn.to_onnx(net, net.init(fn.key(0), (2,))[0], (2,))).hexdigest(), *sys.modules)"
    )
    (first, *loaded), (second, *_) = (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)
    )
    assert first == second
    assert {"onnx", "google.protobuf"}.isdisjoint(loaded)
