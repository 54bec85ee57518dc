"""The check of derivatives: it passes right layers, catches wrong ones, and says where."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import core, testing
from funcnet.testing import LawError, check_layer, check_vjp
from funcnet.testing.subject import Subject, hold
from funcnet.tracing.trace import Value


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
    "nothing at all": ({"db": lambda x, d, W, g: np.zeros_like(W[0])}, "params.bias"),
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
    with pytest.raises(
        LawError, match=rf"branch breaks the law 'vjp equals differences': the cotangent of {place} at \(\d"
    ):
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


def test_both_numbers_are_reported() -> None:
    wrong, _ = MISTAKES["a factor of 2"]
    with pytest.raises(LawError) as caught:
        check_vjp(layer(**wrong), (4,))
    numbers = re.search(r"is (?:np.float64\()?([-\de.]+)\)?, .* give (?:np.float64\()?([-\de.]+)", str(caught.value))
    assert numbers is not None
    found, expected = map(float, numbers.groups())
    assert found == pytest.approx(2 * expected, rel=1e-6)


def test_the_number_of_wrong_elements_is_reported() -> None:
    wrong, _ = MISTAKES["one element"]
    with pytest.raises(LawError, match=r"at \(1, 1\).*\(1 of 16 elements are wrong\)"):
        check_vjp(layer(**wrong), (4,))


def square_off(power: int) -> Any:
    def function(x: Any) -> Any:
        return x * x, lambda g: g * x * (2 + 10.0**-power)

    return fn.elementwise(function, "square")


def test_a_complex_step_sees_more_digits() -> None:
    check_vjp(square_off(10), (3,))
    with pytest.raises(LawError, match="square"):
        check_vjp(square_off(10), (3,), holomorphic=True)


def test_a_complex_step_passes_what_is_right() -> None:
    check_vjp(fn.serial(fn.linear(4), fn.tanh(), fn.linear(2), fn.sigmoid()), (3,), holomorphic=True)


def second_wrong(params: Any, a: Any, b: Any) -> Any:
    return a * b, lambda g: ((), (g * b, g * b))


def of_two(key: Any, a: Any, b: Any, dtype: Any = np.float32) -> Any:
    return (), a


def test_the_second_input_is_looked_at_too() -> None:
    with pytest.raises(LawError, match=r"the cotangent of input 1 at \(0, 0\)"):
        check_vjp(fn.custom_layer(of_two, second_wrong, inputs=2), (3,), (3,))


def test_a_layer_inside_a_network_is_named_by_its_key() -> None:
    wrong, _ = MISTAKES["the mean over the batch"]
    net = fn.network({"in": fn.linear(4), 7: layer(**wrong)}, {"in": [7]})
    with pytest.raises(LawError, match=r"params\[7\]\.bias"):
        check_vjp(net, (3,))


def wrong_loss(params: Any, y: Any, t: Any) -> Any:
    d = y - t
    return (d * d).mean(), lambda g: ((), (g * d / d.size, -g * d / d.size))


def scalar_of_two(key: Any, a: Any, b: Any, dtype: Any = np.float32) -> Any:
    return (), ()


def test_a_wrong_loss_is_caught() -> None:
    with pytest.raises(LawError, match="wrong_loss breaks the law .*: the cotangent of input 0"):
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

    with pytest.raises(LawError, match=r"params\[0\]"):
        check_vjp(fn.custom_layer(start, function), (3,))


def test_it_draws_the_same_each_time_and_other_numbers_from_another_seed() -> None:
    wrong, _ = MISTAKES["the sign"]
    messages = []
    for seed in (0, 0, 1):
        with pytest.raises(LawError) as caught:
            check_vjp(layer(**wrong), (4,), seed=seed)
        messages.append(str(caught.value))
    assert messages[0] == messages[1] != messages[2]


def test_an_error_is_an_assertion() -> None:
    assert issubclass(LawError, AssertionError)
    assert issubclass(LawError, fn.FuncnetError)


def test_its_public_names() -> None:
    assert testing.__all__ == sorted(testing.__all__) == ["LawError", "check_layer", "check_vjp"]


def one(pull: Any) -> Any:
    """The pullback of one input, from that of a scalar function."""
    return lambda g: ((), (pull(g),))


def kept(key: Any, *shapes: Any, dtype: Any = np.float32) -> Any:
    return (), shapes[0]


def unchecked(function: Any, init: Any = kept) -> fn.Layer[Any]:
    """A layer of which nobody checks what it gives."""
    return core.Layer(init, core.Function("wrong", function))


def forgetful(x: Any) -> Any:
    """A pullback that works once."""
    left = [2.0]
    return x * 2.0, lambda g: g * (left.pop() if left else 1.0)


def by_memory(x: Any) -> Any:
    return x.ravel(order="K").reshape(x.shape)


def writes(params: Any, x: Any) -> Any:
    np.add(x, 1.0, out=x)
    return x * 1.0, one(lambda g: g * 1.0)


class Leaky(core.Function[Any, Any]):
    """Its output is its input."""

    def __call__(self, params: Any, *inputs: Any, key: Any = None, **unknown: Any) -> Any:
        return inputs[0]


def in_order_of_memory(params: Any, x: Any) -> Any:
    return x * 2.0, one(lambda g: by_memory(g) * 2.0)


class Unprepared(core.Function[Any, Any]):
    """It is given arrays as they lie in memory."""

    def vjp(self, params: Any, *inputs: Any, key: Any = None, **unknown: Any) -> Any:
        return self.function(params, *inputs)


def init_float32(key: Any, shape: Any, dtype: Any = np.float32) -> Any:
    return fn.Weight(np.ones(shape, np.float32)), shape


def weighted(params: Any, x: Any) -> Any:
    return x * params.weight, lambda g: (fn.Weight((g * x).sum(axis=0)), (g * params.weight,))


def scalar(function: Any, pull: Any) -> fn.Layer[Any]:
    return unchecked(lambda params, x: (function(x), one(lambda g: pull(x, g))))


SEEDED: dict[str, fn.Layer[Any]] = {
    "cotangents fit the primals": scalar(lambda x: x * 2.0, lambda x, g: g.astype(np.float64) * 2.0),
    "vjp equals differences": scalar(lambda x: x * x, lambda x, g: g * x),
    "vjp is adjoint to the derivative": scalar(lambda x: x * x, lambda x, g: g * x * (2 + 1e-11)),
    "pullback is linear": scalar(lambda x: x * 2.0, lambda x, g: np.clip(g * 2.0, -1e3, 1e3)),
    "zero cotangent gives exact zeros": scalar(lambda x: x * 2.0, lambda x, g: g * 2.0 + 1e-30),
    "init tells the output": unchecked(weighted, init_float32),
    "arguments are left alone": unchecked(writes),
    "results are fresh": core.Layer(kept, Leaky("wrong", lambda params, x: (x, one(lambda g: g)))),
    "pullback can be called again": unchecked(lambda params, x: (forgetful(x)[0], one(forgetful(x)[1]))),
    "memory layout changes nothing": core.Layer(kept, Unprepared("wrong", in_order_of_memory)),
    "empty batch is empty": scalar(lambda x: x * 2.0, lambda x, g: g * 2.0 * (len(g) // len(g))),
    "rows are independent": unchecked(lambda params, x: (x - x.sum(axis=0), one(lambda g: g - g.sum(axis=0)))),
    "extremes stay finite": scalar(lambda x: np.exp(x) / (1 + np.exp(x)), lambda x, g: g * x),
    "nan stays nan": scalar(np.nan_to_num, lambda x, g: g),
    "float32 is nearly float64": scalar(lambda x: x * (1 + 1e-4 * (x.dtype == np.float32)), lambda x, g: g),
    "program equals the function": scalar(lambda x: x * 3.0 if isinstance(x, Value) else x * 2.0, lambda x, g: g * 2.0),
    "it pickles": scalar(lambda x: x * 2.0, lambda x, g: g * 2.0),
}  # fmt: skip
ALL_LAWS = {law.__name__.replace("_", " "): law for law in testing.LAWS}


def test_every_law_has_a_seeded_mistake() -> None:
    assert ALL_LAWS.keys() == SEEDED.keys()


@pytest.mark.parametrize("law", SEEDED)
def test_every_law_catches_its_mistake_and_is_named(law: str) -> None:
    subject = Subject(SEEDED[law], ((4,),), 3, law.startswith("vjp is"), True, {}, (), None, 800.0, 0)
    with pytest.raises(LawError, match=f"^wrong breaks the law '{law}': "):
        hold([ALL_LAWS[law]], subject)


def test_the_whole_battery_stops_at_the_first_law_that_is_broken() -> None:
    with pytest.raises(LawError, match="'cotangents fit the primals'"):
        check_layer(SEEDED["cotangents fit the primals"], (4,))
    with pytest.raises(LawError, match="'pullback is linear'"):
        check_layer(SEEDED["pullback is linear"], (4,))


def test_shapes_that_do_not_fit_are_the_callers_mistake() -> None:
    with pytest.raises(fn.ShapeError, match="takes 1 input, but was given 2"):
        check_layer(fn.tanh(), (4,), (4,))


def logarithm(params: Any, x: Any) -> Any:
    return np.log(x), one(lambda g: g / x)


def test_a_domain_keeps_the_inputs_where_the_function_is_defined() -> None:
    check_vjp(unchecked(logarithm), (4,), holomorphic=True, domain=np.exp)
    with pytest.raises(LawError, match="invalid value"), np.errstate(invalid="raise"):
        check_vjp(unchecked(logarithm), (4,), holomorphic=True)


def test_labels_are_below_their_number() -> None:
    check_layer(fn.softmax_cross_entropy(), (3,), (), labels={1: 3})
    with pytest.raises(LawError, match="is none of the 3 classes"):
        check_vjp(fn.softmax_cross_entropy(), (3,), (), labels={1: 100})


def centred(params: Any, x: Any) -> Any:
    """Each feature less its mean over the batch."""
    if not len(x):
        raise fn.ShapeError("the batch is empty, and has no mean")
    return x - x.sum(axis=0) * (1.0 / len(x)), one(lambda g: g - g.sum(axis=0) * (1.0 / len(x)))


def test_what_looks_at_the_whole_batch_says_so() -> None:
    layer = fn.custom_layer(kept, centred)
    check_layer(layer, (4,), rowwise=False)
    with pytest.raises(LawError, match="'empty batch is empty'"):
        check_layer(layer, (4,))
