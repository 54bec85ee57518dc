"""Typical mistakes of a first hour: each is answered by the operator or argument, the value and the fix."""

from __future__ import annotations

import copy
import pickle
import re
import warnings
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple, cast

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
    "a network called": Mistake(
        lambda: cast("Any", net)(params, x), TypeError, ("serial", "layer.apply(params, *inputs)")
    ),
    "a loss called": Mistake(lambda: cast("Any", fn.mse())(x, x), TypeError, ("mse", "layer.apply(params, *inputs)")),
    "apply(x, params)": Mistake(
        lambda: untyped.serial(*[net]).apply(x, params), TypeError, ("input 0", "tuple of params", "params come first")
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


def made(layer: Any, *shapes: Any) -> Any:
    return layer.init(fn.key(0), *shapes or [(2,)])


def run(callback: Any) -> Any:
    return fn.fit(step, params, data, 1, 4, callbacks=[callback])


def scheduled(schedule: Any) -> Any:
    return fn.train_step(net, fn.softmax_cross_entropy(), fn.adam(schedule))


OTHERS: dict[str, Mistake] = {  # habits from PyTorch, Keras, JAX and scikit-learn
    "relu(x)": Mistake(lambda: untyped.relu(x), TypeError, ("relu", "fn.relu().apply((), x)")),
    "softmax(dim=)": Mistake(lambda: untyped.softmax(dim=-1), TypeError, ("dim", "the last axis")),
    "linear(x)": Mistake(lambda: untyped.linear(x), ValueError, ("units", "float32 of shape (8, 2)")),
    "linear(out_features=)": Mistake(
        lambda: untyped.linear(in_features=2, out_features=4), TypeError, ("units?", "init")
    ),
    "linear(features=)": Mistake(lambda: untyped.linear(features=4), TypeError, ("features", "units?")),
    "conv(filters=)": Mistake(lambda: untyped.conv(filters=8, kernel_size=3), TypeError, ("filters", "features?")),
    "conv without a window": Mistake(
        lambda: untyped.conv(8), TypeError, ("'kernel_size'", "conv(features, kernel_size")
    ),
    "max_pool(pool_size=)": Mistake(lambda: untyped.max_pool(pool_size=2), TypeError, ("pool_size", "kernel_size?")),
    "lstm(hidden_size=)": Mistake(lambda: untyped.lstm(hidden_size=8), TypeError, ("hidden_size", "units?")),
    "lstm(num_layers=)": Mistake(lambda: untyped.lstm(8, num_layers=2), TypeError, ("num_layers", "fn.serial(fn.lstm")),
    "lstm(bidirectional=)": Mistake(
        lambda: untyped.lstm(8, bidirectional=True), TypeError, ("fn.bidirectional(fn.lstm(8))",)
    ),
    "attention(num_heads=)": Mistake(lambda: untyped.attention(num_heads=4), TypeError, ("num_heads", "heads?")),
    "embedding(num_embeddings=)": Mistake(
        lambda: untyped.embedding(num_embeddings=9, embedding_dim=4), TypeError, ("vocabulary?", "features?")
    ),
    "layer_norm(eps=)": Mistake(lambda: untyped.layer_norm(eps=1e-3), TypeError, ("eps", "epsilon?")),
    "leaky_relu(negative_slope=)": Mistake(lambda: untyped.leaky_relu(negative_slope=0.1), TypeError, ("slope?",)),
    "dropout(training=)": Mistake(lambda: untyped.dropout(0.5, training=True), TypeError, ("training", "key=key")),
    "dropout(50)": Mistake(lambda: fn.dropout(50), ValueError, ("rate", "[0, 1)", "50")),
    "concatenate(axis=)": Mistake(lambda: untyped.concatenate(axis=1), TypeError, ("axis", "the last axis")),
    "mean(0)": Mistake(lambda: fn.mean(0), ValueError, ("axis 0", "the batch")),
    "init(0, shape)": Mistake(lambda: made_with(0), TypeError, ("the int 0", "fn.key(0)")),
    "init without a shape": Mistake(lambda: one.init(fn.key(0)), ValueError, ("linear", "given 0", "*input_shapes")),
    "init(key, 2)": Mistake(lambda: made(one, 2), ValueError, ("such as (2,)", "not 2")),
    "init(key, (None, 2))": Mistake(lambda: made(one, (None, 2)), ValueError, ("without the batch axis", "(None, 2)")),
    "two keys as one": Mistake(lambda: made_with(fn.split(fn.key(0))), TypeError, ("(2, 2)", "keys[0]")),
    "key()": Mistake(lambda: untyped.key(), TypeError, ("'seed'", "key(seed)")),
    "apply(x)": Mistake(lambda: untyped.serial(one).apply(x), ValueError, ("serial", "apply(params, *inputs)")),
    "apply(None, x)": Mistake(lambda: untyped.serial(one).apply(None, x), ValueError, ("a tuple of 1", "NoneType")),
    "params of another net": Mistake(
        lambda: cast("Any", net).apply(of_one, x), ValueError, ("a tuple of 3", "not Affine of 2")
    ),
    "the pair of init": Mistake(lambda: untyped.serial(one).apply(made(one), x), ValueError, ("unpack it",)),
    "a Fit for params": Mistake(lambda: net.apply(fitted(), x), ValueError, ("Fit", ".params")),
    "a key behind the inputs": Mistake(
        lambda: sgd()(params, x, labels, fn.key(0)), TypeError, ("input 2 is a random key", "key=key")
    ),
    "a batch as one tuple": Mistake(lambda: sgd()(params, data), TypeError, ("a tuple of 2 arrays", "one by one")),
    "step(x, y, params)": Mistake(lambda: sgd()(x, labels, params), TypeError, ("input 1", "params come first")),
    "labels from 1": Mistake(lambda: sgd()(params, x, labels + 1), ValueError, ("label 2", "0 to 1")),
    "labels of floats": Mistake(lambda: sgd()(params, x, labels * 1.0), ValueError, ("labels", "t.astype(int)")),
    "bools for labels": Mistake(lambda: sgd()(params, x, labels > 0), TypeError, ("target 0", "y.astype(int)")),
    "one-hot integers": Mistake(
        lambda: sgd()(params, x, np.eye(2, dtype=int)[labels]), ValueError, ("make them floating",)
    ),
    "a flat target": Mistake(lambda: sgd(one, fn.mse())(of_one, x, column[:, 0]), ValueError, ("(8, 1)", "(8,)")),
    "None for a target": Mistake(lambda: sgd()(params, x, None), TypeError, ("target 0", "NoneType")),
    "one output for two classes": Mistake(
        lambda: sgd(one)(of_one, x, labels), ValueError, ("label 1", "1 class, ", "fn.sigmoid_cross_entropy()")
    ),
    "sgd_step(learning_rate=adam)": Mistake(
        lambda: sgd_step(net, fn.mse(), learning_rate=fn.adam(0.1)),
        ValueError,
        ("learning_rate", "not adam(0.1)", "train_step"),
    ),
    "a loss by its name": Mistake(lambda: sgd(net, "mse"), ValueError, ("sgd_step: argument 1", "'mse'", "fn.mse()")),
    "a loss not called": Mistake(lambda: sgd(net, fn.mse), ValueError, ("argument 1", "call it, fn.mse(...)")),
    "a function for a loss": Mistake(lambda: sgd(net, lambda y, t: y), ValueError, ("argument 1", "fn.custom_layer")),
    "the apply of a net": Mistake(lambda: sgd(net.apply), ValueError, ("argument 0", "not its apply alone")),
    "params for a net": Mistake(lambda: sgd(params), ValueError, ("argument 0", "fn.linear(25) makes one")),
    "an optimizer not called": Mistake(
        lambda: untyped.train_step(net, fn.mse(), fn.adam),
        ValueError,
        ("argument 2 is the function adam", "fn.adam(...)"),
    ),
    "an optimizer by its name": Mistake(
        lambda: untyped.train_step(net, fn.mse(), "adam"), ValueError, ("'adam'", "fn.adam(1e-3) makes one")
    ),
    "train_step(learning_rate=)": Mistake(
        lambda: untyped.train_step(net, fn.mse(), fn.adam(0.1), learning_rate=0.1),
        TypeError,
        ("option of the optimizer",),
    ),
    "metrics by name": Mistake(
        lambda: untyped.train_step(net, fn.mse(), fn.adam(0.1), metrics=["accuracy"]),
        ValueError,
        ("metrics", "fn.accuracy"),
    ),
    "a metric by its name": Mistake(
        lambda: untyped.train_step(net, fn.mse(), fn.adam(0.1), metrics={"a": "accuracy"}),
        ValueError,
        ("metric 'a'", "such as fn.accuracy"),
    ),
    "a metric not called": Mistake(
        lambda: untyped.evaluate(net, {"mse": fn.mse}, params, data), ValueError, ("'mse'", "call it, fn.mse(...)")
    ),
    "a metric called": Mistake(lambda: untyped.accuracy(), TypeError, ("accuracy(prediction, target",)),
    "adam(params)": Mistake(
        lambda: untyped.adam(params=params, lr=0.1), TypeError, ("step.init(params)", "learning_rate?")
    ),
    "adam(betas=)": Mistake(lambda: untyped.adam(0.1, betas=(0.9, 0.99)), TypeError, ("betas", "b1?")),
    "adam(weight_decay=)": Mistake(
        lambda: untyped.adam(0.1, weight_decay=0.1), TypeError, ("weight_decay", "fn.adamw")
    ),
    "chain([a, b])": Mistake(lambda: untyped.chain([fn.clip(1.0)]), ValueError, ("argument 0", "fn.chain(*parts)")),
    "a schedule not called": Mistake(
        lambda: scheduled(fn.cosine_decay_schedule), ValueError, ("schedule", "fn.cosine_decay_schedule(...)")
    ),
    "a schedule of two arguments": Mistake(
        lambda: scheduled(lambda epoch, lr: lr), TypeError, ("f(count)", "f(epoch, lr)")
    ),
    "cross_entropy(from_logits=)": Mistake(
        lambda: untyped.softmax_cross_entropy(from_logits=True), TypeError, ("from_logits", "it takes logits")
    ),
    "cross_entropy(weight=)": Mistake(
        lambda: untyped.softmax_cross_entropy(weight=[1, 2]), TypeError, ("weight", "weighted=True")
    ),
    "fit(shuffle=)": Mistake(
        lambda: untyped.fit(step, params, data, 1, 4, shuffle=True), TypeError, ("key=fn.key(0)",)
    ),
    "fit(validation_split=)": Mistake(
        lambda: untyped.fit(step, params, data, 1, 4, validation_split=0.1), TypeError, ("did you mean validation?",)
    ),
    "fit(net, ...)": Mistake(
        lambda: untyped.fit(net, params, data, 1, 4), ValueError, ("the step is", "fn.train_step")
    ),
    "fit of a dict": Mistake(lambda: untyped.fit(step, params, {"x": x}, 1, 4), ValueError, ("a dict", "a tuple")),
    "a callback without an argument": Mistake(lambda: run(lambda: None), TypeError, ("callback 0", "f(fitted)", "f()")),
    "a callback of Keras": Mistake(lambda: run(lambda epoch, logs: None), TypeError, ("callback 0", "f(epoch, logs)")),
    "minibatches(x, y, 32)": Mistake(
        lambda: untyped.minibatches(x, labels, 4), ValueError, ("batch_size", "(x, target)")
    ),
    "an initializer by its name": Mistake(
        lambda: untyped.linear(4, weight_init="he_normal"), ValueError, ("weight_init", "fn.he_normal()")
    ),
    "an initializer not called": Mistake(
        lambda: untyped.linear(4, weight_init=fn.he_normal), ValueError, ("weight_init", "call it, fn.he_normal(...)")
    ),
    "an initializer of a shape": Mistake(
        lambda: untyped.linear(4, weight_init=lambda shape: np.zeros(shape)),
        TypeError,
        ("linear: weight_init", "f(key, shape, dtype)", "f(shape)"),
    ),
    "an initializer that gives None": Mistake(
        lambda: made(untyped.linear(4, weight_init=lambda key, shape, dtype: None)), ValueError, ("linear", "gave None")
    ),
    "a custom layer of one argument": Mistake(
        lambda: fn.custom_layer(lambda key, shape, dtype: ((), shape), lambda x: x),
        TypeError,
        ("f(params, input 0)", "f(x)"),
    ),
    "elementwise of params too": Mistake(
        lambda: untyped.elementwise(lambda p, x: x), TypeError, ("elementwise", "f(x)", "f(p, x)")
    ),
    "an activation by its name": Mistake(
        lambda: untyped.serial(one, "relu"), ValueError, ("argument 1", "'relu'", "fn.relu()")
    ),
    "an activation of NumPy": Mistake(lambda: untyped.serial(one, np.tanh), ValueError, ("argument 1", "fn.tanh()")),
    "layers of a generator": Mistake(
        lambda: untyped.serial(one for _ in range(2)), ValueError, ("argument 0", "serial(*layers)")
    ),
    "an operator by its name": Mistake(
        lambda: untyped.network({1: one, 2: "tanh"}, {1: [2]}), ValueError, ("operators[2]", "'tanh'", "fn.tanh()")
    ),
    "trace of a series": Mistake(lambda: untyped.trace(net, params, x), ValueError, ("serial", "fn.network(operators")),
    "load without params": Mistake(lambda: untyped.load("a.npz"), TypeError, ("'like'", "load(path, like")),
    "save(params, path)": Mistake(
        lambda: untyped.save(params, "a.npz"), ValueError, ("a path", "tuple", "save(path, params")
    ),
    "explain(net, params)": Mistake(lambda: untyped.explain(net, params, x), ValueError, ("argument 1", "not a layer")),
}
MISTAKES.update(OTHERS)


def made_with(key: Any) -> Any:
    return one.init(key, (2,))


def fitted() -> Any:
    return fn.fit(step, params, data, 1, 4)


@pytest.mark.parametrize("name", MISTAKES)
def test_the_answer_names_the_fix(name: str) -> None:
    call, error, words = MISTAKES[name]
    with pytest.raises(error) as caught:
        call()
    assert isinstance(caught.value, fn.FuncnetError)
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize("name", [name for name in fn.__all__ if isinstance(getattr(fn, name), FunctionType)])
def test_every_function_names_the_argument_that_it_does_not_take(name: str) -> None:
    with pytest.raises(fn.CallError, match=f"^{name}: .*no argument unheard_of.*; it is {name}\\("):
        getattr(untyped, name)(unheard_of=1)


@pytest.mark.parametrize("name", ["fit", "predict", "forward", "parameters", "params", "summary", "train", "compile"])
def test_a_method_of_other_libraries_is_answered_by_what_stands_here_for_it(name: str) -> None:
    with pytest.raises(fn.AbsentError, match=rf"^a Layer has no {name}: .*(fn\.|layer\.|apply)") as caught:
        getattr(net, name)
    assert isinstance(caught.value, AttributeError)
    assert not hasattr(net, name)


def test_a_step_of_an_optimizer_is_that_of_train_step_and_other_attributes_are_as_ever() -> None:
    with pytest.raises(fn.AbsentError, match=r"^an? Optimizer has no step: .*fn.train_step"):
        cast("Any", fn.adam(0.1)).step()
    with pytest.raises(AttributeError, match="^'Layer' object has no attribute 'unheard_of'$"):
        cast("Any", net).unheard_of  # noqa: B018
    assert repr(copy.deepcopy(net)) == repr(pickle.loads(pickle.dumps(net))) == repr(net)


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
NO_LOGARITHMS = [fn.serial(fn.linear(2), fn.softmax()), fn.linear(2)]


@pytest.mark.parametrize("of", NO_LOGARITHMS, ids=repr)
def test_probabilities_and_logits_for_kl_divergence_are_warned_of(of: fn.Layer[Any]) -> None:
    with pytest.warns(UserWarning, match=r"kl_divergence takes logarithms .* end in fn.log_softmax\(\)") as caught:
        fn.sgd_step(of, fn.kl_divergence(), learning_rate=0.1)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("name", WARNED)
def test_an_activation_that_the_loss_applies_too_is_warned_of(name: str) -> None:
    of, loss = WARNED[name]
    with pytest.warns(UserWarning, match="takes logits.* leave fn.s[a-z]+\\(\\) out of the network") as caught:
        fn.sgd_step(of, loss, learning_rate=0.1)
    assert caught[0].filename == __file__


def test_layers_nested_too_deep_for_any_use_are_looked_at_without_harm() -> None:
    deep: Any = one
    for _ in range(60):
        deep = fn.serial(deep)
    for loss in (fn.softmax_cross_entropy(), fn.kl_divergence()):
        with pytest.raises(fn.GraphError, match="deep"):
            sgd(deep, loss)(of_one, x, column)


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


@pytest.mark.parametrize(
    ("target", "words"), [(2 * column - 1, "a target is -1.*(target + 1) / 2"), (3 * column, "is 3")]
)
def test_targets_that_are_no_probabilities_are_warned_of(target: Any, words: str) -> None:
    with pytest.warns(UserWarning, match=words.replace("(", "[(]").replace(")", "[)]").replace("+", "[+]")):
        sgd(one, fn.sigmoid_cross_entropy())(of_one, x, target)
    sgd(one, fn.sigmoid_cross_entropy())(of_one, x, np.where(column > 0, np.nan, column))


def test_a_function_of_a_users_own_may_have_the_name_of_ours() -> None:
    def mse(output: Any, target: Any) -> float:
        return float(((output - target) ** 2).mean())

    assert fn.evaluate(one, mse, of_one, (x, column)) >= 0
