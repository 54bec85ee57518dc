"""The check of derivatives: it passes right layers, catches wrong ones, and says where."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import core, testing
from funcnet.testing import VJPError, check_vjp


def init(key: Any, shape: Any, dtype: Any = np.float32) -> Any:
    """A square weight, so that its transposed fits, and a bias."""
    return fn.Affine(fn.normal(1.0)(key, (shape[0], shape[0]), dtype), np.zeros(shape[0], dtype)), shape


def branch(params: Any, x: Any, dW: Any = None, db: Any = None, dx: Any = None) -> Any:
    """y = x + tanh(x W + b), with some of its cotangents replaced: functions of (x, d, W, g)."""
    W, b = params
    t = np.tanh(x @ W + b)

    def pullback(g: Any) -> Any:
        d = g * (1 - t * t)
        right = {"dW": x.T @ d, "db": d.sum(axis=0), "dx": g + d @ W.T}
        wrong = {"dW": dW, "db": db, "dx": dx}
        found = [wrong[k](x, d, W, g) if wrong[k] else right[k] for k in right]
        return fn.Affine(found[0], found[1]), (found[2],)

    return x + t, pullback


def layer(**wrong: Any) -> fn.Layer[Any]:
    """The layer with such mistakes."""
    return fn.custom_layer(init, lambda params, x: branch(params, x, **wrong), name="branch")


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "the sign": ({"dx": lambda x, d, W, g: -(g + d @ W.T)}, "input 0"),
    "the sign of one term": ({"dx": lambda x, d, W, g: g - d @ W.T}, "input 0"),
    "a factor of 2": ({"dW": lambda x, d, W, g: 2 * (x.T @ d)}, "params.weight"),
    "no sum over the batch": ({"db": lambda x, d, W, g: d[0]}, "params.bias"),
    "the mean over the batch": ({"db": lambda x, d, W, g: d.mean(axis=0)}, "params.bias"),
    "the gradient of the transposed weight": ({"dW": lambda x, d, W, g: d.T @ x}, "params.weight"),
    "the weight not transposed": ({"dx": lambda x, d, W, g: g + d @ W}, "input 0"),
    "the skip left out": ({"dx": lambda x, d, W, g: d @ W.T}, "input 0"),
    "the branch left out": ({"dx": lambda x, d, W, g: g}, "input 0"),
    "the derivative of tanh left out": ({"dW": lambda x, d, W, g: x.T @ g}, "params.weight"),
    "nothing at all": ({"db": lambda x, d, W, g: np.zeros(W.shape[0])}, "params.bias"),
    "a part in a million": ({"dx": lambda x, d, W, g: (g + d @ W.T) * (1 + 1e-6)}, "input 0"),
    "not a number": ({"dx": lambda x, d, W, g: (g + d @ W.T) * np.nan}, "input 0"),
    "one element": ({"dW": lambda x, d, W, g: x.T @ d + np.outer(W[1] == W[1, 1], W[1] == W[1, 1])}, "params.weight"),
}  # fmt: skip
WRONG_FORM: dict[str, dict[str, Any]] = {
    "one row for all": {"dx": lambda x, d, W, g: (g + d @ W.T)[:1]},
    "the cotangent of each row": {"db": lambda x, d, W, g: d},
    "an axis too many": {"db": lambda x, d, W, g: d.sum(axis=0, keepdims=True)},
    "a number": {"db": lambda x, d, W, g: 0.0},
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_a_right_layer_passes(batch: int, seed: int) -> None:
    check_vjp(layer(), (4,), batch=batch, seed=seed)


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_mistake_is_caught_and_its_place_named(name: str, seed: int) -> None:
    wrong, place = MISTAKES[name]
    with pytest.raises(VJPError, match=rf"branch: the cotangent of {place} at \(\d"):
        check_vjp(layer(**wrong), (4,), seed=seed)


@pytest.mark.parametrize("name", WRONG_FORM)
def test_a_cotangent_of_another_shape_is_caught(name: str) -> None:
    with pytest.raises(fn.FuncnetError, match="cotangent"):
        check_vjp(layer(**WRONG_FORM[name]), (4,))


def draw(key: Any, shape: Any, dtype: Any) -> Any:
    return init(key, shape, dtype)[0]


@pytest.mark.parametrize("name", WRONG_FORM)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_cotangent_of_another_shape_is_caught_in_layers_that_nobody_checks(name: str, batch: int) -> None:
    unchecked = core.layer("branch", lambda params, x: branch(params, x, **WRONG_FORM[name]), draw)
    if name == "one row for all" and batch == 1:
        check_vjp(unchecked, (4,), batch=batch)  # where it is right
        return
    with pytest.raises(fn.FuncnetError, match="cotangent"):
        check_vjp(unchecked, (4,), batch=batch)


def test_both_numbers_are_told() -> None:
    wrong, _ = MISTAKES["a factor of 2"]
    with pytest.raises(VJPError) as caught:
        check_vjp(layer(**wrong), (4,))
    numbers = re.search(r"is (?:np.float64\()?([-\de.]+)\)?, .* give (?:np.float64\()?([-\de.]+)", str(caught.value))
    assert numbers is not None
    found, expected = map(float, numbers.groups())
    assert found == pytest.approx(2 * expected, rel=1e-6)


def test_the_number_of_wrong_elements_is_told() -> None:
    wrong, _ = MISTAKES["one element"]
    with pytest.raises(VJPError, match=r"at \(1, 1\).*\(1 of 16 elements are wrong\)"):
        check_vjp(layer(**wrong), (4,))


def square_off(power: int) -> Any:
    def function(x: Any) -> Any:
        return x * x, lambda g: g * x * (2 + 10.0**-power)

    return fn.elementwise(function, "square")


def test_a_complex_step_sees_more_digits() -> None:
    check_vjp(square_off(10), (3,))
    with pytest.raises(VJPError, match="square"):
        check_vjp(square_off(10), (3,), holomorphic=True)


def test_a_complex_step_passes_what_is_right() -> None:
    check_vjp(fn.serial(fn.linear(4), fn.tanh(), fn.linear(2), fn.sigmoid()), (3,), holomorphic=True)


def second_wrong(params: Any, a: Any, b: Any) -> Any:
    return a * b, lambda g: ((), (g * b, g * b))


def of_two(key: Any, a: Any, b: Any, dtype: Any = np.float32) -> Any:
    return (), a


def test_the_second_input_is_looked_at_too() -> None:
    with pytest.raises(VJPError, match=r"the cotangent of input 1 at \(0, 0\)"):
        check_vjp(fn.custom_layer(of_two, second_wrong, inputs=2), (3,), (3,))


def test_a_layer_inside_a_network_is_named_by_its_key() -> None:
    wrong, _ = MISTAKES["the mean over the batch"]
    net = fn.network({"in": fn.linear(4), 7: layer(**wrong)}, {"in": [7]})
    with pytest.raises(VJPError, match=r"params\[7\]\.bias"):
        check_vjp(net, (3,))


def wrong_loss(params: Any, y: Any, t: Any) -> Any:
    d = y - t
    return (d * d).mean(), lambda g: ((), (g * d / d.size, -g * d / d.size))


def scalar_of_two(key: Any, a: Any, b: Any, dtype: Any = np.float32) -> Any:
    return (), ()


def test_a_wrong_loss_is_caught() -> None:
    with pytest.raises(VJPError, match="wrong_loss: the cotangent of input 0"):
        check_vjp(fn.custom_layer(scalar_of_two, wrong_loss, inputs=2), (3,), (3,))


def few(params: Any, a: Any, b: Any) -> Any:
    return a * b, lambda g: ((), (g * b,))


def test_a_cotangent_too_few_is_caught() -> None:
    with pytest.raises(fn.FuncnetError, match="cotangent"):
        check_vjp(fn.custom_layer(of_two, few, inputs=2), (3,), (3,))


def test_biases_that_begin_at_zero_are_moved_from_there() -> None:
    """y = x + b^2, whose gradient is right at b = 0 even where it is forgotten."""

    def function(params: Any, x: Any) -> Any:
        (b,) = params
        return x + b * b, lambda g: ((np.zeros_like(b),), (g,))

    def start(key: Any, shape: Any, dtype: Any = np.float32) -> Any:
        return (np.zeros(shape, dtype),), shape

    with pytest.raises(VJPError, match=r"params\[0\]"):
        check_vjp(fn.custom_layer(start, function), (3,))


def test_it_draws_the_same_each_time_and_other_numbers_from_another_seed() -> None:
    wrong, _ = MISTAKES["the sign"]
    messages = []
    for seed in (0, 0, 1):
        with pytest.raises(VJPError) as caught:
            check_vjp(layer(**wrong), (4,), seed=seed)
        messages.append(str(caught.value))
    assert messages[0] == messages[1] != messages[2]


def test_an_error_is_an_assertion() -> None:
    assert issubclass(VJPError, AssertionError)
    assert issubclass(VJPError, fn.FuncnetError)


def test_its_public_names() -> None:
    assert testing.__all__ == sorted(testing.__all__) == ["VJPError", "check_vjp"]
