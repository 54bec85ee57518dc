"""More mistakes: unknown keywords where arrays go in, arguments in another order, files, exports, estimators."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet.calling import NAMES
from funcnet.testing import check_vjp
from tests.test_mistakes import Mistake, net, params, state, step, untyped, x

labels = (x[:, 0] > 0).astype(int)
descent: Any = fn.sgd_step(net, fn.softmax_cross_entropy(), learning_rate=0.1)
typeless: Any = net
call: Any = step
gradient: Any = fn.value_and_grad(net, fn.mse())
attend: Any = fn.attention(2)
series = np.zeros((4, 5, 8), np.float32)
seen, _ = attend.init(fn.key(0), (5, 8))
padded: Any = fn.lstm(4, lengths=True)
untyped_check: Any = check_vjp
members: Any = fn.vmap(step, in_axes=(0, 0, None, None))
pairs = fn.tree.map(lambda leaf: np.stack([leaf, leaf]), params)


def fitted(**options: Any) -> Any:
    return fn.fit(step, params, (x, labels), 1, 4, **options)


pair: Any = fn.network({1: fn.linear(2), 2: fn.linear(2), 3: fn.linear(2)}, {1: [2, 3]}, output=[2, 3])


def made(layer: Any) -> Any:
    return layer.init(fn.key(0), (2,))[0]


def init_of_two(key: Any, y: Any, t: Any, dtype: Any = np.float32) -> Any:
    return (), ()


def loss_of_two(params: Any, y: Any, t: Any) -> Any:
    d = y - t
    return (d * d).mean(), lambda g: ((), (2 * g * d / d.size, -2 * g * d / d.size))


TRAINING = ("training", "apply(params, x, key=key)")
APPLY = "it is apply(params, *inputs, key=None)"
MISTAKES: dict[str, Mistake] = {
    "apply(training=)": Mistake(
        lambda: typeless.apply(params, x, training=True), TypeError, ("serial: ", APPLY, *TRAINING)
    ),
    "apply(train=)": Mistake(lambda: typeless.apply(params, x, train=True), TypeError, ("train", TRAINING[1])),
    "apply(rng=)": Mistake(lambda: typeless.apply(params, x, rng=None), TypeError, ("did you mean key?", APPLY)),
    "apply(mask=)": Mistake(lambda: attend.apply(seen, series, mask=None), TypeError, ("attention: ", "masked=True")),
    "vjp(training=)": Mistake(
        lambda: typeless.apply.vjp(params, x, training=True), TypeError, ("vjp(params", *TRAINING)
    ),
    "step(training=)": Mistake(
        lambda: call(params, state, x, labels, training=True), TypeError, ("step(params, state, *inputs", *TRAINING)
    ),
    "step(lr=)": Mistake(lambda: descent(params, x, labels, lr=0.1), TypeError, ("lr", "step(params, *inputs", "rate")),
    "value_and_grad()(x=)": Mistake(
        lambda: gradient(params, x=x), TypeError, ("argument x", "value_and_grad(net, loss)")
    ),
    "init(seed=)": Mistake(
        lambda: typeless.init(fn.key(0), (2,), seed=1), TypeError, ("linear: ", "did you mean key?")
    ),
    "init(input_shape=)": Mistake(
        lambda: typeless.init(fn.key(0), input_shape=(2,)), TypeError, ("input_shape", "init(key, *input_shapes")
    ),
    "init(rngs=) of dicts": Mistake(
        lambda: untyped.network({1: net}, {1: []}).init(fn.key(0), (2,), rngs=1), TypeError, ("network: ", "key?")
    ),
    "step.init()": Mistake(lambda: call.init(), TypeError, ("'params'", "it is init(params)")),
    "step.init(net)": Mistake(lambda: call.init(net), ValueError, ("a layer", "params, shape = layer.init")),
    "fit(monitor='accuracy')": Mistake(
        lambda: untyped.fit(step, params, (x, labels), 1, 4, monitor="accuracy"), ValueError, ("loss", "metrics")
    ),
    "scan without a state": Mistake(
        lambda: untyped.scan(step, params, x[None], labels[None]), ValueError, ("step.init(params), *arrays",)
    ),
    "jit(net.apply)": Mistake(lambda: fn.jit(net.apply), ValueError, ("net = fn.jit(net)",)),
    "calibrate(net, data, params)": Mistake(
        lambda: untyped.calibrate(net, (x, labels), params), ValueError, ("calibrate(net, params, data)",)
    ),
    "tree.map(params, f)": Mistake(lambda: untyped.tree.map(params, abs), ValueError, ("map(function, tree)",)),
    "fold_in(data, key)": Mistake(lambda: untyped.fold_in(3, fn.key(0)), TypeError, ("fold_in(key, data)",)),
    "to_c of a shape": Mistake(
        lambda: untyped.to_c(net, params, (2,)), TypeError, ("(2,)", "np.zeros((1, 2), np.float32)")
    ),
    "to_c of nothing": Mistake(lambda: untyped.to_c(net, params), ValueError, ("to_c(function, params, *arrays)",)),
    "to_numpy of a shape": Mistake(
        lambda: untyped.to_numpy(net, params, (2,)), TypeError, ("array 0", "np.zeros((1, 2)")
    ),
    "to_onnx of a step": Mistake(lambda: untyped.to_onnx(step, params, (2,)), ValueError, ("the network that it was",)),
    "save a network": Mistake(
        lambda: untyped.save("unwritten.npz", net), ValueError, ("params", "functions that compute")
    ),
    "lengths without a shape": Mistake(
        lambda: padded.init(fn.key(0), (5, 2)), ValueError, ("takes 2 inputs", "given 1 shape:", "lengths of shape ()")
    ),
    "lengths in a series": Mistake(
        lambda: untyped.serial(fn.linear(2), padded), ValueError, ("lstm takes 2 inputs", "fn.network(operators, con")
    ),
    "shared in a series": Mistake(
        lambda: untyped.serial(fn.linear(2), fn.shared(0)), ValueError, ("shared(0)", "a key of its own in fn.network")
    ),
    "inputs within inputs": Mistake(
        lambda: untyped.fit(step, params, ((x, x), labels), 1, 4), ValueError, ("(x, lengths, target)",)
    ),
    "one state for all members": Mistake(
        lambda: members(pairs, state, x, labels), ValueError, ("state", "fn.vmap(step).init(params)")
    ),
    "members and a wrong batch": Mistake(
        lambda: members(pairs, members.init(pairs), x[:, :1], labels), ValueError, ("member 0", f"{x[:, :1].shape}")
    ),
    "fit(step, params, x, y) by place": Mistake(
        lambda: untyped.fit(step, params, x, labels, 2, 4), ValueError, ("epochs is an array", "the tuple (x, target)")
    ),
    "fit without a target": Mistake(
        lambda: untyped.fit(step, params, x, 1, 4), ValueError, ("but 1 arrive", "a tuple such as (x, target)")
    ),
    "validation without a target": Mistake(lambda: fitted(validation=x), ValueError, ("fit: the validation data;",)),
    "string labels in validation": Mistake(
        lambda: fitted(validation=(x, labels.astype(str))), TypeError, ("fit: the validation data;", "np.unique")
    ),
    "fit(params, step)": Mistake(
        lambda: untyped.fit(params, step, (x, labels), 1, 4), ValueError, ("the step comes first, fit(step, params,",)
    ),
    "fit of a mapped step": Mistake(
        lambda: untyped.fit(members, pairs, (x, labels), 1, 4), ValueError, ("vmap(", "a loop of your own")
    ),
    "a callback not called": Mistake(
        lambda: fitted(callbacks=[fn.reduce_on_plateau]), ValueError, ("callback 0", "call it, fn.reduce_on_plateau")
    ),
    "a callback alone": Mistake(
        lambda: fitted(callbacks=fn.reduce_on_plateau(0.5)), ValueError, ("callbacks=[f]", "not reduce_on_plateau(0.5)")
    ),
    "a plateau without validation": Mistake(
        lambda: fitted(callbacks=[fn.reduce_on_plateau()]), ValueError, ("validation_loss", "give validation data")
    ),
    "train_step(net, optimizer, loss)": Mistake(
        lambda: untyped.train_step(net, fn.adam(0.1), fn.mse()), ValueError, ("argument 1 is adam(0.1)", "(net, loss,")
    ),
    "a layer not called": Mistake(
        lambda: untyped.serial(fn.linear(2), fn.relu), ValueError, ("argument 1 is the function relu and", "fn.relu(")
    ),
    "a function of NumPy": Mistake(
        lambda: untyped.serial(np.tanh), ValueError, ("argument 0 is the function tanh and", "fn.tanh()")
    ),
    "operators in a list": Mistake(
        lambda: untyped.network([fn.linear(2)], {}), ValueError, ("operators is [", "a list: give a dict")
    ),
    "a loss of one input": Mistake(
        lambda: fn.custom_layer(init_of_two, loss_of_two), TypeError, ("loss_of_two", "inputs=2")
    ),
    "members in a list": Mistake(
        lambda: untyped.vmap(net.apply)([params, params], x), ValueError, ("one tree of a list of members",)
    ),
    "an array for all members": Mistake(
        lambda: untyped.vmap(net.apply)(pairs, x), ValueError, ("array 0", "has None in in_axes")
    ),
    "to_c with a state": Mistake(
        lambda: untyped.to_c(step, params, state, x, labels), TypeError, ("array 0", "without params and state")
    ),
    "integers for a target": Mistake(
        lambda: untyped.sgd_step(net, fn.mse(), learning_rate=0.1)(params, x, np.eye(2, dtype=int)[labels]),
        TypeError,
        ("target 0 has dtype int64", "for instance y.astype(np.float32)"),
    ),
    "targets for two outputs": Mistake(
        lambda: untyped.sgd_step(pair, fn.mse(), learning_rate=0.1)(made(pair), x, x, x),
        ValueError,
        ("4 arrive", "operators of the network", "the loss None"),
    ),
    "weights for a loss without": Mistake(
        lambda: untyped.sgd_step(net, fn.mse(), learning_rate=0.1)(params, x, x, x[:, 0]),
        ValueError,
        ("3 arrive", "weighted=True"),
    ),
    "no weights for a weighted loss": Mistake(
        lambda: untyped.sgd_step(net, fn.mse(weighted=True), learning_rate=0.1)(params, x, x),
        ValueError,
        ("2 arrive", "weights after the targets"),
    ),
    "evaluate without a target": Mistake(
        lambda: untyped.evaluate(net, fn.mse(), params, x), ValueError, ("evaluate: the loss (mse)", "targets come")
    ),
    "summary without a shape": Mistake(lambda: fn.summary(net), ValueError, ("summary(net, (2,))",)),
    "to_mermaid without a shape": Mistake(lambda: fn.to_mermaid(net), ValueError, ("to_mermaid(net, (2,))",)),
    "to_dot of params": Mistake(lambda: untyped.to_dot(params, (2,)), ValueError, ("to_dot: argument 0",)),
    "r2 of a flat target": Mistake(lambda: fn.r2(x[:, :1], x[:, 0]), ValueError, ("(8, 1)", "t[:, None]")),
    "a series of recurrent layers": Mistake(
        lambda: fn.serial(fn.lstm(4), fn.lstm(4)).init(fn.key(0), (5, 2)),
        ValueError,
        ("layer 1 of the series (lstm): given shape (4,); ",),
    ),
    "a branch that does not fit": Mistake(
        lambda: fn.parallel(fn.linear(2), fn.reshape(3, 3)).init(fn.key(0), (8,)),
        ValueError,
        ("branch 1: given shape (8,); ", "(3, 3)"),
    ),
    "branches that do not fit": Mistake(
        lambda: fn.parallel(fn.linear(2), fn.linear(3)).init(fn.key(0), (8,)),
        ValueError,
        ("merge: given shapes (2,), (3,); ",),
    ),
    "a wrong shape in a series": Mistake(
        lambda: untyped.serial(fn.linear(2)).init(fn.key(0), x), ValueError, ("linear: an input shape is a tuple",)
    ),
    "a residual of another shape": Mistake(
        lambda: fn.residual(fn.linear(3)).init(fn.key(0), (8,)), ValueError, ("(8,) and f(x) (3,)", "let the last")
    ),
    "residual([a])": Mistake(
        lambda: untyped.residual([fn.linear(2)]), ValueError, ("residual: argument 0", "residual(*layers)")
    ),
    "a dtype for a shape": Mistake(
        lambda: untyped.linear(2).init(fn.key(0), (2,), np.float64), ValueError, ("by its name, dtype=np.float64",)
    ),
    "keys of JSON": Mistake(
        lambda: untyped.network({1: net, 2: fn.shared(1)}, {1: [2]}).apply({"1": params}, x),
        ValueError,
        ("params name '1'", "did you mean 1?"),
    ),
    "check_vjp of a function": Mistake(lambda: untyped_check(np.sin, (4,)), ValueError, ("check_vjp: argument 0",)),
    "load(like, path)": Mistake(lambda: untyped.load(params, "a.npz"), ValueError, ("tuple", "load(path, like)")),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_answer_names_the_fix(name: str) -> None:
    mistaken, error, words = MISTAKES[name]
    with pytest.raises(error) as caught:
        mistaken()
    assert isinstance(caught.value, fn.FuncnetError)
    assert [word for word in words if word not in str(caught.value)] == []


def test_the_learning_rate_is_not_explained_to_a_function_that_takes_it() -> None:
    with pytest.raises(fn.CallError) as caught:
        untyped.adam(lr=0.1)
    assert str(caught.value).startswith("adam: there is no argument lr, did you mean learning_rate?; it is adam(")
    assert "fn.adam(learning_rate)" not in str(caught.value)


ELSEWHERE = {"Dense": "linear", "Conv2d": "conv", "CrossEntropyLoss": "softmax_cross_entropy", "Sequential": "serial"}
SPELT = {"Linear": "linear", "LayerNorm": "layer_norm", "LeakyReLU": "leaky_relu", "trainstep": "train_step"}


@pytest.mark.parametrize("name", [*ELSEWHERE, *SPELT])
def test_a_name_of_other_libraries_is_answered_by_the_name_here(name: str) -> None:
    own = {**ELSEWHERE, **SPELT}[name]
    with pytest.raises(fn.AbsentError, match=f"funcnet has no {name}: it is called fn.{own} here"):
        getattr(fn, name)


def test_every_name_of_other_libraries_stands_for_a_public_one() -> None:
    assert {*NAMES.values()} <= {*fn.__all__}
    assert {*NAMES}.isdisjoint(name.replace("_", "").lower() for name in fn.__all__)


def interrupt(fitted: Any) -> None:
    raise KeyboardInterrupt


WARNED: dict[str, Callable[[Path], Any]] = {
    "an activation too many": lambda folder: fn.train_step(
        fn.serial(net, fn.softmax()), fn.softmax_cross_entropy(), fn.adam(0.1)
    ),
    "a callback's result": lambda folder: fitted(callbacks=[lambda fitted: "on"]),
    "an interrupt": lambda folder: fitted(callbacks=[interrupt]),
    "targets of a step": lambda folder: hinge(params, x, np.zeros((8, 2), np.float32)),
    "targets of fit": lambda folder: fn.fit(hinge, params, (x, np.zeros((8, 2), np.float32)), 1, 4),
    "keys that are left out": lambda folder: (
        fn.save(folder / "two.npz", {1: x, 2: x}),
        fn.load(folder / "two.npz", {1: x}),
    ),
}
hinge: Any = fn.sgd_step(net, fn.hinge(), learning_rate=0.1)


@pytest.mark.parametrize("name", WARNED)
def test_a_warning_shows_the_line_of_the_user(name: str, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=": ") as warned:
        WARNED[name](tmp_path)
    assert {warning.filename for warning in warned} == {__file__}


def test_any_other_name_is_answered_as_by_every_module() -> None:
    assert not hasattr(fn, "__path__x")
    with pytest.raises(AttributeError, match="module 'funcnet' has no attribute 'frobnicate'"):
        getattr(fn, "frobnicate")  # noqa: B009


def make_saved(folder: Path) -> None:
    fn.save(folder / "model.npz", params)
    (folder / "inner").mkdir()


FILES: dict[str, tuple[str, type[OSError], int, tuple[str, ...]]] = {
    "load a name that is near": ("load:modle.npz", FileNotFoundError, errno.ENOENT, ("did you mean", "model.npz'?")),
    "load another name": ("load:zzz", FileNotFoundError, errno.ENOENT, ("there is no such file in", "save was given")),
    "load from no folder": ("load:none/m.npz", FileNotFoundError, errno.ENOENT, ("there is no folder", "none'")),
    "load a folder": ("load:inner", IsADirectoryError, errno.EISDIR, ("this is a folder", "inner/model.npz")),
    "save into no folder": ("save:none/m.npz", FileNotFoundError, errno.ENOENT, ("make it first, os.makedirs(",)),
    "save over a folder": ("save:inner", IsADirectoryError, errno.EISDIR, ("this is a folder", "inner/model.npz")),
}


@pytest.mark.parametrize("name", FILES)
def test_an_error_of_the_system_says_what_to_do(name: str, tmp_path: Path) -> None:
    make_saved(tmp_path)
    (function, _, given), error, number, words = FILES[name][0].partition(":"), *FILES[name][1:]
    with pytest.raises(error) as caught:
        getattr(untyped, function)(tmp_path / given, params)
    assert caught.value.errno == number
    assert caught.value.filename == str(tmp_path / given)
    assert [word for word in (f"{function}: ", *words) if word not in str(caught.value)] == []


def test_an_empty_path() -> None:
    with pytest.raises(FileNotFoundError, match="load: the path is empty: give the name of a file"):
        fn.load("", params)


def test_a_file_of_numpy_is_sent_to_numpy(tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", x=x)
    with pytest.raises(fn.CheckpointError, match="no checkpoint of fn.save.*np.load reads other npz"):
        fn.load(tmp_path / "plain.npz", params)


def test_an_estimator_answers_the_options_of_others() -> None:
    pytest.importorskip("sklearn")
    from funcnet.sklearn import FuncnetClassifier, FuncnetRegressor

    classifier: Any = FuncnetClassifier
    for option, near in {"hidden_layer_sizes": "network", "epochs": "max_iter", "solver": "optimizer"}.items():
        with pytest.raises(fn.CallError, match=rf"^FuncnetClassifier: .*{option}, did you mean {near}\?"):
            classifier(**{option: 1})
    images = np.zeros((4, 8, 8, 3), np.float32)
    for estimator in (classifier(), FuncnetRegressor()):
        with pytest.raises(fn.ShapeError, match=r"X.reshape\(4, -1\).*fn.reshape\(8, 8, 3\)"):
            estimator.fit(images, np.arange(4))
