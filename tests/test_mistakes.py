"""Typical mistakes of a first hour: each is answered by the operator or argument, the value and the fix."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import funcnet as fn

x = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
column = (x[:, :1] > 0).astype(np.float32)
labels = (x[:, 0] > 0).astype(int)
net = fn.serial(fn.linear(4), fn.tanh(), fn.linear(2))
one = fn.linear(1)
params, _ = net.init(fn.key(0), (2,))
of_one, _ = one.init(fn.key(0), (2,))
step = fn.train_step(net, fn.softmax_cross_entropy(), fn.adam(1e-3))
state = step.init(params)
sgd_step: Any = fn.sgd_step
untyped: Any = fn  # so that mistakes pass the type checkers
strings = np.array(list("abababab"))


class Mistake(NamedTuple):
    """A call, the built-in error that one would catch, and words of the message."""

    call: Callable[[], Any]
    error: type[Exception]
    words: tuple[str, ...]


def sgd(net: Any = net, loss: Any = None) -> Any:
    return sgd_step(net, loss or fn.softmax_cross_entropy(), learning_rate=0.1)


data = (x, labels)
ARGUMENTS = "fit(step, params, data, epochs, batch_size, key)"
MISTAKES: dict[str, Mistake] = {
    "string labels": Mistake(
        lambda: step(params, state, x, strings), TypeError, ("target 0", "strings", "np.unique(y, return_inverse=True)")
    ),
    "a network called": Mistake(lambda: net(params, x), TypeError, ("serial", "layer.apply(params, *inputs)")),
    "a loss called": Mistake(lambda: fn.mse()(x, x), TypeError, ("mse", "layer.apply(params, *inputs)")),
    "apply(x, params)": Mistake(
        lambda: untyped.serial(*[net]).apply(x, params), TypeError, ("input 0", "tree of params", "params come first")
    ),
    "serial([a, b])": Mistake(lambda: untyped.serial([one, one]), ValueError, ("serial(*layers)",)),
    "parallel([a, b])": Mistake(lambda: untyped.parallel([one, one]), ValueError, ("parallel(*layers)",)),
    "step(state, params)": Mistake(
        lambda: step(state, params, x, labels), ValueError, ("in each other's place", "step(params, state, *inputs")
    ),
    "no state": Mistake(
        lambda: untyped.train_step(net, fn.mse(), fn.adam(1.0))(params, x, x), ValueError, ("step.init",)
    ),
    "a state for sgd_step": Mistake(
        lambda: sgd()(params, state, x, labels), TypeError, ("input 0", "state", "train_step")
    ),
    "a column of labels": Mistake(lambda: step(params, state, x, labels[:, None]), ValueError, ("(8, 1)", "y[..., 0]")),
    "integer targets": Mistake(
        lambda: sgd(one, fn.mse())(of_one, x, labels[:, None]), TypeError, ("target 0", "int64", "astype(np.float32)")
    ),
    "fit(step, data, params)": Mistake(
        lambda: untyped.fit(step, data, params, 1, 4, fn.key(0)), ValueError, ("tuple of arrays", ARGUMENTS)
    ),
    "fit(step, params, x, y)": Mistake(
        lambda: untyped.fit(step, params, x, labels, epochs=1), TypeError, ("'epochs'", "the tuple (x, target)")
    ),
    "linear(4, 8)": Mistake(lambda: untyped.linear(4, 8), TypeError, ("linear(units, *, use_bias=True", "from init")),
    "an activation": Mistake(
        lambda: untyped.linear(4, activation="relu"), TypeError, ("activation", "fn.serial(fn.linear(8), fn.relu())")
    ),
    "bias=False": Mistake(lambda: untyped.linear(4, bias=False), TypeError, ("did you mean use_bias?",)),
    "dropout(p=)": Mistake(lambda: untyped.dropout(p=0.5), TypeError, ("did you mean rate?", "dropout(rate)")),
    "adam(lr=)": Mistake(lambda: untyped.adam(lr=0.1), TypeError, ("did you mean learning_rate?",)),
    "a misspelt option": Mistake(
        lambda: untyped.adam(learning_rat=0.1), TypeError, ("no argument learning_rat", "learning_rate?")
    ),
    "an unknown option": Mistake(lambda: untyped.tanh(zzz=1), TypeError, ("no argument zzz; it is tanh()",)),
    "one dict": Mistake(lambda: untyped.network({1: one}), TypeError, ("'connectivity'", "network(operators, connect")),
    "evaluate(net, params, metric)": Mistake(
        lambda: untyped.evaluate(net, params, fn.accuracy, data), ValueError, ("evaluate(net, metrics, params, data)",)
    ),
    "evaluate(net, metric, data)": Mistake(
        lambda: untyped.evaluate(net, fn.accuracy, data, params), ValueError, ("evaluate(net, metrics, params, data)",)
    ),
    "sgd_step(loss, net)": Mistake(lambda: sgd(fn.mse(), net), ValueError, ("loss mse", "sgd_step(net, loss")),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_answer_names_the_fix(name: str) -> None:
    call, error, words = MISTAKES[name]
    with pytest.raises(error) as caught:
        call()
    assert isinstance(caught.value, fn.FuncnetError)
    assert [word for word in words if word not in str(caught.value)] == []


def test_an_error_inside_a_constructor_stays_as_it_is() -> None:
    def fails(*_: object) -> Any:
        raise TypeError("of the caller's own")

    with pytest.raises(TypeError, match="^of the caller's own$"):
        fn.evaluate(one, fails, of_one, (x, column))


in_dicts = fn.network({"logits": fn.linear(2), "end": [fn.tanh(), fn.softmax()]}, {"logits": ["end"], "end": []})
WARNED: dict[str, tuple[fn.Layer[Any], fn.Layer[Any, Any]]] = {
    "softmax": (fn.serial(fn.linear(2), fn.softmax()), fn.softmax_cross_entropy()),
    "softmax in a dict": (in_dicts, fn.softmax_cross_entropy()),
    "sigmoid": (fn.serial(fn.linear(1), fn.sigmoid()), fn.sigmoid_cross_entropy()),
}


@pytest.mark.parametrize("name", WARNED)
def test_an_activation_that_the_loss_applies_too_is_warned_of(name: str) -> None:
    of, loss = WARNED[name]
    with pytest.warns(UserWarning, match="takes logits.* leave fn.s[a-z]+\\(\\) out of the network") as caught:
        fn.sgd_step(of, loss, learning_rate=0.1)
    assert caught[0].filename == __file__


def test_other_ends_are_not_warned_of() -> None:
    fn.sgd_step(fn.serial(fn.softmax(), fn.linear(2)), fn.softmax_cross_entropy(), learning_rate=0.1)
    fn.sgd_step(fn.serial(fn.linear(2), fn.sigmoid()), fn.mse(), learning_rate=0.1)
    fn.train_step(fn.serial(fn.linear(2), fn.log_softmax()), fn.kl_divergence(), fn.adam(0.1))


def test_probabilities_that_do_not_sum_to_1_are_warned_of_once_a_shape() -> None:
    of = sgd()
    with pytest.warns(UserWarning, match=re.escape("row 3 of the target sums to 3, not to 1")) as caught:
        of(params, x, np.where(np.arange(8)[:, None] < 3, np.float32(0.5), np.float32(1.5)) * np.ones((8, 2), "f4"))
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        of(params, x, np.full((8, 2), 1.5, np.float32))
        sgd()(params, x, np.full((8, 2), 0.5, np.float32))


def test_zeros_and_ones_for_hinge_are_warned_of() -> None:
    of = sgd(one, fn.hinge())
    with pytest.warns(UserWarning, match=re.escape("hinge takes -1 and 1, 2 * target - 1")):
        of(of_one, x, column)
    sgd(one, fn.hinge())(of_one, x, 2 * column - 1)
