"""Scalar functions: values and slopes against textbook formulas, at the kinks, far out, and where options are wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import funcnet as fn

ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def normal_distribution(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2


def normal_density(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def elu(x: float, alpha: float) -> float:
    return x if x > 0 else alpha * math.expm1(x)


def elu_slope(x: float, alpha: float) -> float:
    return 1 if x > 0 else alpha * math.exp(x)


def gelu_argument(x: float) -> float:
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)


def gelu_tanh(x: float) -> float:
    return x * (1 + math.tanh(gelu_argument(x))) / 2


def gelu_tanh_slope(x: float) -> float:
    t, du = math.tanh(gelu_argument(x)), math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
    return (1 + t) / 2 + x * (1 - t * t) / 2 * du


class Scalar(NamedTuple):
    """A layer, its function and its derivative, the left one at kinks."""

    layer: fn.Layer[Any]
    value: Callable[[float], float]
    slope: Callable[[float], float]


SCALARS = {
    "identity": Scalar(fn.identity(), lambda x: x, lambda x: 1),
    "tanh": Scalar(fn.tanh(), math.tanh, lambda x: 1 - math.tanh(x) ** 2),
    "sigmoid": Scalar(fn.sigmoid(), logistic, lambda x: logistic(x) * logistic(-x)),
    "relu": Scalar(fn.relu(), lambda x: max(x, 0.0), lambda x: float(x > 0)),
    "leaky_relu": Scalar(fn.leaky_relu(), lambda x: x if x > 0 else 0.01 * x, lambda x: 1 if x > 0 else 0.01),
    "leaky_relu 0.3": Scalar(fn.leaky_relu(0.3), lambda x: x if x > 0 else 0.3 * x, lambda x: 1 if x > 0 else 0.3),
    "leaky_relu 0": Scalar(fn.leaky_relu(0), lambda x: max(x, 0.0), lambda x: float(x > 0)),
    "elu": Scalar(fn.elu(), lambda x: elu(x, 1), lambda x: elu_slope(x, 1)),
    "elu 0.7": Scalar(fn.elu(0.7), lambda x: elu(x, 0.7), lambda x: elu_slope(x, 0.7)),
    "selu": Scalar(fn.selu(), lambda x: SCALE * elu(x, ALPHA), lambda x: SCALE * elu_slope(x, ALPHA)),
    "gelu": Scalar(
        fn.gelu(), lambda x: x * normal_distribution(x), lambda x: normal_distribution(x) + x * normal_density(x)
    ),
    "gelu by tanh": Scalar(fn.gelu(approximate=True), gelu_tanh, gelu_tanh_slope),
    "silu": Scalar(
        fn.silu(), lambda x: x * logistic(x), lambda x: logistic(x) * (1 + x * logistic(-x))
    ),
    "softplus": Scalar(fn.softplus(), lambda x: max(x, 0) + math.log1p(math.exp(-abs(x))), logistic),
    "exp": Scalar(fn.exp(), math.exp, math.exp),
}  # fmt: skip

FAR = [800.0, -800.0, 1e4, -1e4]
KINKS = {
    "relu": 0.0,
    "leaky_relu": 0.01,
    "leaky_relu 0.3": 0.3,
    "leaky_relu 0": 0.0,
    "elu": 1.0,
    "elu 0.7": 0.7,
    "selu": ALPHA * SCALE,
}

every_scalar = pytest.mark.parametrize("name", SCALARS)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)


def of_each(function: Callable[[float], float], x: Any) -> Any:
    return np.array([function(v) for v in x.ravel().tolist()]).reshape(x.shape)


def column(*numbers: float, dtype: Any = np.float64) -> Any:
    return np.array(numbers, dtype)[:, None]


def slopes(layer: fn.Layer[Any], x: Any) -> Any:
    y, pullback = layer.apply.vjp((), x)
    return pullback(np.ones_like(y))[1][0]


def assert_close(found: Any, expected: Any, x: Any) -> None:
    """To a few units of rounding, of the value or of what it is computed from."""
    eps = np.finfo(found.dtype).eps
    np.testing.assert_array_less(
        np.abs(found - expected), 8 * eps * np.maximum(1, np.maximum(np.abs(x), np.abs(expected)))
    )


@every_scalar
@both_dtypes
def test_values(name: str, dtype: Any) -> None:
    x = np.linspace(-30, 30, 1201).astype(dtype)[:, None]
    assert_close(SCALARS[name].layer.apply((), x), of_each(SCALARS[name].value, x), np.minimum(np.abs(x), 8))


@every_scalar
@both_dtypes
def test_slopes(name: str, dtype: Any) -> None:
    x = np.linspace(-30, 30, 1201).astype(dtype)[:, None]
    assert_close(slopes(SCALARS[name].layer, x), of_each(SCALARS[name].slope, x), np.minimum(np.abs(x), 8))


@pytest.mark.parametrize("name", ["identity", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu"])
@both_dtypes
def test_small_numbers_keep_their_digits(name: str, dtype: Any) -> None:
    x = column(*(s * 10.0**-k for k in range(4, 30) for s in (1, -1)), dtype=dtype)
    expected = of_each(SCALARS[name].value, x.astype(np.float64))
    np.testing.assert_allclose(SCALARS[name].layer.apply((), x), expected, rtol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("name", ["softplus", "exp", "sigmoid", "silu"])
@both_dtypes
def test_small_results_keep_their_digits(name: str, dtype: Any) -> None:
    x = np.linspace(-40, -5, 701).astype(dtype)[:, None]
    expected = of_each(SCALARS[name].value, x.astype(np.float64))
    np.testing.assert_allclose(SCALARS[name].layer.apply((), x), expected, rtol=8 * np.finfo(dtype).eps)
    expected = of_each(SCALARS[name].slope, x.astype(np.float64))
    np.testing.assert_allclose(slopes(SCALARS[name].layer, x), expected, rtol=8 * np.finfo(dtype).eps)


@every_scalar
@both_dtypes
def test_far_out_nothing_overflows(name: str, dtype: Any) -> None:
    x = column(*(v for v in FAR if not (name == "exp" and v > 0)), dtype=dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y, dx = SCALARS[name].layer.apply((), x), slopes(SCALARS[name].layer, x)
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()
    np.testing.assert_allclose(y, of_each(SCALARS[name].value, x), rtol=1e-6)
    np.testing.assert_allclose(dx, of_each(SCALARS[name].slope, x), rtol=1e-6)


@every_scalar
@both_dtypes
def test_far_out_nothing_overflows_in_a_program(name: str, dtype: Any) -> None:
    x = column(*(v for v in FAR if not (name == "exp" and v > 0)), dtype=dtype)
    net = fn.network({1: SCALARS[name].layer}, {})
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        np.testing.assert_array_equal(net.apply({}, x), SCALARS[name].layer.apply((), x))


@every_scalar
@both_dtypes
def test_nan_stays_nan(name: str, dtype: Any) -> None:
    x = column(1.0, np.nan, 2.0, dtype=dtype)
    for y in (SCALARS[name].layer.apply((), x), fn.network({1: SCALARS[name].layer}, {}).apply({}, x)):
        assert np.isnan(y).ravel().tolist() == [False, True, False]


@pytest.mark.parametrize("name", KINKS)
@pytest.mark.parametrize("zero", [0.0, -0.0])
@both_dtypes
def test_the_slope_at_a_kink_is_the_left_one(name: str, zero: float, dtype: Any) -> None:
    expected = np.full((5, 1), KINKS[name])
    np.testing.assert_allclose(slopes(SCALARS[name].layer, np.full((5, 1), zero, dtype)), expected, rtol=1e-6)


@pytest.mark.parametrize("name", KINKS)
@pytest.mark.parametrize("zero", [0.0, -0.0])
@both_dtypes
def test_the_slope_at_a_kink_is_the_left_one_in_a_program(name: str, zero: float, dtype: Any) -> None:
    net = fn.serial(fn.linear(5), SCALARS[name].layer)
    params = (fn.Affine(np.zeros((1, 5), dtype), np.full(5, zero, dtype)), ())
    x, target = np.zeros((1, 1), dtype), np.full((1, 5), -2.5, dtype)
    _, gradient = fn.value_and_grad(net, fn.mse())(params, x, target)
    np.testing.assert_allclose(gradient[0].bias, KINKS[name], rtol=1e-6)  # dL / dy = 2 (0 + 2.5) / 5 = 1


@pytest.mark.parametrize("slope", [0.0, 0.1])
@both_dtypes
def test_the_slopes_of_leaky_relu_reach_infinity(slope: float, dtype: Any) -> None:
    x = column(-np.inf, -1.0, 1.0, np.inf, dtype=dtype)
    with np.errstate(invalid="ignore"):  # 0 times infinity
        found = slopes(fn.leaky_relu(slope), x)
    np.testing.assert_allclose(found, column(slope, slope, 1.0, 1.0), rtol=1e-6)


def test_leaky_relu_of_slope_0_is_relu() -> None:
    x = column(-np.inf, -1.0, 0.0, 1.0, np.inf, dtype=np.float32)
    np.testing.assert_array_equal(fn.leaky_relu(0).apply((), x), fn.relu().apply((), x))
    assert fn.leaky_relu(0).apply((), x).tolist() == [[0.0], [0.0], [0.0], [1.0], [np.inf]]


def test_relu_is_never_below_zero_nor_minus_zero_where_it_is_above() -> None:
    y = fn.relu().apply((), np.linspace(-3, 3, 101)[:, None])
    assert (y >= 0).all()


@every_scalar
def test_any_shape(name: str) -> None:
    for shape in ((2,), (2, 3), (2, 3, 4)):
        assert SCALARS[name].layer.apply((), np.ones(shape)).shape == shape
        assert SCALARS[name].layer.init(fn.key(0), shape[1:]) == ((), shape[1:])


@pytest.mark.parametrize("slope", [-0.1, 1.0, 2, np.nan, np.inf, "0.1", None])
def test_a_slope_out_of_range_is_refused(slope: Any) -> None:
    with pytest.raises(fn.OptionError, match=r"leaky_relu: slope must be in \[0, 1\), not"):
        fn.leaky_relu(slope)


@pytest.mark.parametrize("alpha", [0, -1.0, np.nan, np.inf, "1", None, True])
def test_an_alpha_out_of_range_is_refused(alpha: Any) -> None:
    with pytest.raises(fn.OptionError, match="elu: alpha must be a finite number above 0, not"):
        fn.elu(alpha)


@pytest.mark.parametrize("number", [0.5, np.float32(0.5), np.float64(0.5)])
def test_options_may_be_numpys_numbers(number: Any) -> None:
    x = np.linspace(-3, 3, 7, dtype=np.float32)[:, None]
    for make in (fn.leaky_relu, fn.elu):
        y = make(number).apply((), x)
        np.testing.assert_array_equal(y, make(0.5).apply((), x), strict=True)


def test_a_function_is_called_by_its_name() -> None:
    kinds = [f().apply.kind for f in (fn.tanh, fn.leaky_relu, fn.elu, fn.selu, fn.gelu, fn.silu)]
    assert kinds == ["tanh", "leaky_relu", "elu", "selu", "gelu", "silu"]


@pytest.mark.parametrize("count", [0, 2])
def test_a_wrong_number_of_inputs_is_refused(count: int) -> None:
    with pytest.raises(fn.ShapeError, match=f"tanh takes 1 input, but was given {count}"):
        fn.tanh().apply((), *[np.ones((2, 3))] * count)


def that_raises(error: Exception) -> fn.Layer[Any]:
    def function(x: Any) -> Any:
        raise error

    return fn.elementwise(function, name="mine")


@pytest.mark.parametrize("kind", [TypeError, AttributeError, ValueError])
def test_errors_of_ones_own_function_are_its_own_where_it_computes(kind: type[Exception]) -> None:
    error = kind("x must be a temperature")
    with pytest.raises(kind, match="^x must be a temperature$") as caught:
        that_raises(error).apply((), np.ones((2, 3)))
    assert caught.value is error


@pytest.mark.parametrize("kind", [TypeError, AttributeError, ValueError])
def test_errors_of_ones_own_function_say_that_it_is_recorded(kind: type[Exception]) -> None:
    with pytest.raises(fn.TracingError, match=r"mine.*cannot be recorded: x must be a temperature: write it in NumPy"):
        fn.serial(that_raises(kind("x must be a temperature"))).apply(((),), np.ones((2, 3)))


RETURNED: dict[str, Callable[[Any, Any], Any]] = {
    "list": lambda x, pull: [x, pull],
    "NoneType": lambda x, pull: None,
    "function": lambda x, pull: pull,
    "ndarray": lambda x, pull: np.ones((2, 3)),
    "tuple": lambda x, pull: (x, pull, x),
}


@pytest.mark.parametrize("kind", RETURNED)
def test_a_function_that_returns_no_pair_is_refused(kind: str) -> None:
    layer = fn.elementwise(lambda x: RETURNED[kind](x, lambda g: g))
    calls: list[Callable[[Any], Any]] = [lambda x: layer.apply((), x), lambda x: fn.serial(layer).apply(((),), x)]
    for call in calls:
        with pytest.raises(fn.OptionError, match=rf"must return \(output, pullback\), not .*{kind}"):
            call(np.ones((2, 3)))


@pytest.mark.parametrize(
    ("given", "y"),
    [(r"\(\)", lambda x: x.sum()), (r"\(2,\)", lambda x: x[:, 0]), (r"\(\)", lambda x: 0.5), ("list", lambda x: [x])],
)
def test_an_output_of_another_shape_is_refused(given: str, y: Callable[[Any], Any]) -> None:
    def mine(x: Any) -> Any:
        return y(x), lambda g: g

    def pulled_back(x: Any) -> Any:
        return x * x, y

    x = np.ones((2, 3))
    calls: list[Callable[[Any], Any]] = [lambda f: f.apply((), x), lambda f: fn.serial(f).apply(((),), x)]
    for call in calls:
        with pytest.raises(fn.ShapeError, match=rf"mine.*the function gives {given} for \(2, 3\)"):
            call(fn.elementwise(mine))
    _, pullback = fn.vjp(fn.elementwise(pulled_back), (), x)
    with pytest.raises(fn.ShapeError, match=rf"the pullback of pulled_back gives {given} for \(2, 3\)"):
        pullback(x)


def test_a_loss_may_have_a_factor() -> None:
    mse: Any = fn.mse()
    halved = fn.serial(mse, fn.elementwise(lambda x: (0.5 * x, lambda g: 0.5 * g)))
    net, x, target = fn.linear(2), np.ones((3, 4)), np.zeros((3, 2))
    params, _ = net.init(fn.key(0), (4,), dtype=np.float64)
    loss, gradient = fn.value_and_grad(net, mse)(params, x, target)
    factored = fn.network({1: net, 2: fn.identity(), 3: halved}, {1: [3], 2: [3]})
    found, of_params = fn.value_and_grad(factored)({1: params, 3: ((), ())}, x, target)
    assert found == 0.5 * loss
    np.testing.assert_allclose(of_params[1].weight, 0.5 * gradient.weight, rtol=1e-14)


@pytest.mark.parametrize("name", [3, np.ones(2), fn.tanh])
def test_a_name_is_a_str(name: Any) -> None:
    with pytest.raises(fn.OptionError, match="elementwise: name must be a str, not "):
        fn.elementwise(lambda x: (x, lambda g: g), name)


def test_a_named_function_is_checked_too() -> None:
    nothing: Any = None
    with pytest.raises(fn.OptionError, match="elementwise takes a function"):
        fn.elementwise(nothing, "mine")


def test_a_mask_is_no_output() -> None:
    masks: list[Callable[[Any], Any]] = [lambda x: (x > 0.0, lambda g: g), lambda x: ((x > 0.0) * 1.0, lambda g: g)]
    for function in masks:
        with pytest.raises(fn.DTypeError, match=r"gives (bool|float64) for float32: .*mask \* x.dtype.type\(1\)"):
            fn.elementwise(function).apply((), np.ones((2, 3), np.float32))
    same = fn.elementwise(lambda x: ((x > 0.0) * x.dtype.type(1), lambda g: g * 0.0), name="step")
    x = np.array([[-1.0, 2.0]], np.float32)
    for y in (same.apply((), x), fn.serial(same).apply(((),), x)):
        np.testing.assert_array_equal(y, np.array([[0, 1]], np.float32), strict=True)
