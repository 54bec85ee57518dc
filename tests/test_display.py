"""How layers, networks, optimizers and steps show themselves; keys that would look alike; deep nesting."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import funcnet as fn
from funcnet.display import key_name
from funcnet.networks.nesting import DEEPEST
from tests.support.cases import CASES, Case

untyped: Any = fn
NET = fn.network({1: fn.linear(25), "b": [fn.tanh(), fn.dropout(0.5)], 3: fn.shared(1)}, {1: ["b"], "b": [3]})
X = np.ones((2, 25), np.float32)


@pytest.mark.parametrize(
    "code",
    [
        "linear(25)",
        "linear(25, use_bias=False, weight_init=he_normal())",
        "serial(linear(25), tanh())",
        "parallel(linear(2), serial(linear(2), relu()), merge=concatenate())",
        "residual(layer_norm(epsilon=0.01), gelu(approximate=True))",
        "slice(0, None, 2, axis=1)",
        "reshape((2, 3))",
        "mse(reduction='sum', weighted=True)",
        "softmax_cross_entropy(label_smoothing=0.1)",
        "adam(learning_rate=0.001, b1=0.8)",
        "chain(clip_by_global_norm(1.0), adamw(cosine_decay_schedule(0.1, 100), weight_decay=0.01), freeze([1, 'a']))",
        "accumulate(sgd(0.1, momentum=0.9, nesterov=True), 4)",
        "masked(lion(0.1), 'a')",
        "sgd_step(linear(2), mse(), learning_rate=0.05)",
        "train_step(serial(linear(2)), mse(), rmsprop(0.1), metrics={'r2': r2}, check_finite=True)",
        "value_and_grad(linear(2), mse())",
        "embedding(7, 3)",
    ],
)
def test_a_repr_is_the_call(code: str) -> None:
    assert repr(eval(code, vars(fn) | {name: getattr(fn, name) for name in fn.__all__})) == code


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_layer_tells_what_it_is(case: Case) -> None:
    layer = case.make()
    name = case.name.split(" ")[0]
    assert repr(layer).startswith(f"{name} of " if name == "network" else f"{name}(")
    assert "object at 0x" not in repr(layer)
    assert repr(pickle.loads(pickle.dumps(layer))) == repr(layer)


def test_numbers_of_numpy_are_shown_as_numbers() -> None:
    assert repr(untyped.linear(np.int64(3))) == "linear(3)"
    assert repr(fn.dropout(np.float64(0.5))) == "dropout(0.5)"


def test_a_network_is_the_table_of_its_operators() -> None:
    assert repr(NET).splitlines() == [
        "network of 3 operators, output 3",
        "operator  layer                         inputs",
        "--------  ----------------------------  ------",
        "1         linear(25)                    x",
        "b         serial(tanh(), dropout(0.5))  1",
        "3         shared(1)                     b",
    ]
    assert repr(fn.serial(NET, fn.tanh())) == "serial(network(3 operators), tanh())"
    assert repr(fn.sgd_step(NET, learning_rate=0.1)) == "sgd_step(network(3 operators), learning_rate=0.1)"
    several = fn.network({1: fn.add(), 2: fn.tanh()}, {1: [2]}, output=[1, 2])
    assert repr(several).startswith("network of 2 operators, outputs 1, 2\n")


def test_what_nobody_called_is_shown_by_its_name() -> None:
    assert repr(fn.Layer(NET.init, fn.Function("mine", untyped.add))) == "<mine>"
    assert repr(fn.Optimizer(untyped.add, untyped.add)) == "<add>"


def test_long_and_deep_calls_are_cut() -> None:
    layer: Any = fn.tanh()
    for _ in range(10):
        layer = fn.serial(layer)
    assert repr(layer) == "serial(" * 6 + "serial(...)" + ")" * 6
    assert repr(untyped.serial(*[fn.tanh()] * 25)) == f"serial({'tanh(), ' * 20}... 5 more)"


def test_a_notebook_draws_a_network_without_shapes() -> None:
    text: Any = NET._repr_svg_()
    found = [element.text for element in ElementTree.fromstring(text).iter() if element.tag.endswith("}text")]  # noqa: S314
    assert found == ["x", "1", "linear(25)", "b", "serial(tanh(), dropout(0.…", "3", "shared(1)", "y"]
    assert fn.linear(2)._repr_svg_() is None
    many = fn.network(dict.fromkeys(range(201), fn.tanh()), {key: [key + 1] for key in range(200)})
    assert many._repr_svg_() is None


# --- keys

KEYS = st.one_of(st.integers(-20, 20), st.text(max_size=4), st.sampled_from(["1", "-1", "x", "x0", "'1'", "a/b", "\n"]))


@given(keys=st.lists(KEYS, min_size=2, max_size=2, unique=True))
def test_two_keys_never_look_alike(keys: list[int | str]) -> None:
    a, b = map(key_name, keys)
    assert a != b
    assert a.isprintable()
    assert a.strip() == a != ""


@pytest.mark.parametrize(
    ("key", "text"),
    [(1, "1"), (-1, "-1"), ("1", "'1'"), ("left", "left"), ("a b", "a b"), ("x", "'x'"), ("x1", "'x1'"),
     ("a/b", "'a/b'"), ("", "''"), ("a\nb", r"'a\nb'"), (" a", "' a'"), ("x2y", "x2y"), ("é", "é"), ("'1'", '"\'1\'"')],
)  # fmt: skip
def test_keys_as_text(key: Any, text: str) -> None:
    assert key_name(key) == text


def test_tables_and_diagrams_tell_1_from_its_string() -> None:
    net = fn.network({1: fn.linear(2), "1": fn.tanh(), 2: fn.shared(1)}, {1: ["1"], "1": [2]})
    rows = [line.split()[0] for line in str(fn.summary(net, (2,))).splitlines()[3:6]]
    assert rows == ["1", "'1'", "2"]
    assert "1: linear" in fn.to_mermaid(net, (2,))
    assert "#39;1#39;: tanh" in fn.to_mermaid(net, (2,))
    assert ">&#x27;1&#x27;</text>" in fn.to_svg(net)
    assert "'1': tanh" in fn.to_dot(net, (2,))
    assert [line.split()[0] for line in repr(net).splitlines()[3:]] == ["1", "'1'", "2"]
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    x = np.ones((2, 2), np.float32)
    step(net.init(fn.key(0), (2,))[0], x, x)
    assert [line.split("  ")[1] for line in str(step).splitlines()[2:5]] == ["1 linear", "'1' tanh", "2 linear"]
    assert "  '1' tanh backward" in str(step)


def test_a_name_forges_no_line() -> None:
    forged = "a\n  b linear"
    net = fn.network({forged: fn.elementwise(square, "f\n  g"), 2: fn.linear(25)}, {forged: [2]})
    params, _ = net.init(fn.key(0), (25,))
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    step(params, X, X)
    plain = fn.network({"a": fn.elementwise(square, "f"), 2: fn.linear(25)}, {"a": [2]})
    other = fn.sgd_step(plain, fn.mse(), learning_rate=0.1)
    other(plain.init(fn.key(0), (25,))[0], X, X)
    for text, expected in (
        (str(step), str(other)),
        (str(fn.summary(net, (25,))), str(fn.summary(plain, (25,)))),
        (fn.to_mermaid(net, (25,)), fn.to_mermaid(plain, (25,))),
        (fn.to_dot(net, (25,)), fn.to_dot(plain, (25,))),
        (repr(net), repr(plain)),
        (fn.to_svg(net, (25,)), fn.to_svg(plain, (25,))),
        (net._repr_svg_() or "", plain._repr_svg_() or ""),
    ):
        assert len(text.splitlines()) == len(expected.splitlines())


def square(x: Any) -> Any:
    return x * x, lambda g: g * (2.0 * x)


# --- deep nesting

WRAPS: dict[str, Any] = {
    "serial": fn.serial,
    "residual": fn.residual,
    "parallel": lambda layer: fn.parallel(layer, layer),
    "network": lambda layer: fn.network({1: layer}, {}),
    "list": lambda layer: fn.network({1: [fn.tanh(), layer]}, {}),
}


def deep(wrap: Any, levels: int, layer: Any = None) -> Any:
    layer = layer or fn.tanh()
    for _ in range(levels):
        layer = wrap(layer)
    return layer


def used(layer: Any, path: Path) -> None:
    """Everything that one does with a layer."""
    params, _ = layer.init(fn.key(0), (3,))
    x = np.ones((2, 3), np.float32)
    y = layer.apply(params, x)
    _, pull = layer.apply.vjp(params, x)
    pull(y)
    step = fn.train_step(layer, fn.mse(), fn.adam(0.1))
    params, *_ = step(params, step.init(params), x, x)
    fn.summary(layer, (3,))
    fn.to_mermaid(layer, (3,))
    fn.to_dot(layer, (3,))
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), copy.deepcopy(step)):
        repr(again)
    fn.save(path, params)
    fn.load(path, like=params)


@pytest.mark.parametrize("wrap", ["serial", "residual", "network"])
def test_what_is_nested_as_deep_as_may_be_can_be_used(wrap: str, tmp_path: Path) -> None:
    used(deep(WRAPS[wrap], DEEPEST, fn.linear(3)), tmp_path / "params")


@pytest.mark.parametrize("levels", [DEEPEST + 1, 1000])
@pytest.mark.parametrize("wrap", WRAPS)
def test_what_is_nested_deeper_is_refused(wrap: str, levels: int) -> None:
    layer = deep(WRAPS[wrap], levels)
    x = np.ones((2, 3), np.float32)
    for call in (
        lambda: layer.init(fn.key(0), (3,)),
        lambda: layer.apply((), x),
        lambda: layer.apply.vjp((), x),
        lambda: fn.sgd_step(layer, fn.mse(), learning_rate=0.1)((), x, x),
        lambda: fn.summary(layer, (3,)),
        lambda: fn.to_mermaid(layer, (3,)),
        lambda: copy.deepcopy(layer).init(fn.key(0), (3,)),
        lambda: pickle.loads(pickle.dumps(layer)).init(fn.key(0), (3,)),
    ):
        with pytest.raises(fn.GraphError, match=f"nested more than {DEEPEST} deep"):
            call()
    repr(layer)


def test_a_long_serial_is_not_deep(tmp_path: Path) -> None:
    used(untyped.serial(*[fn.tanh()] * 1000, fn.linear(3)), tmp_path / "params")


def test_a_tree_that_is_too_deep_is_refused() -> None:
    nested: Any = X
    for _ in range(2000):
        nested = (nested,)
    for call in (fn.tree.flatten, fn.tree.leaves, lambda t: fn.tree.map(np.negative, t), fn.tree.structure):
        with pytest.raises(fn.ParamsError, match="nested too deep"):
            call(nested)


# --- a class defined again


def test_params_of_a_class_defined_again_are_accepted() -> None:
    class Affine(NamedTuple):
        weight: Any
        bias: Any

    class BatchNorm(NamedTuple):
        scale: Any
        bias: Any
        mean: Any
        var: Any

    net = fn.serial(fn.linear(3), fn.batch_norm(), fn.linear(2))
    params, _ = net.init(fn.key(0), (25,))
    others: Any = (Affine(*params[0]), BatchNorm(*params[1]), Affine(*params[2]))
    assert np.array_equal(net.apply(others, X), net.apply(params, X))
    step = fn.train_step(net, fn.mse(), fn.adam(0.1))
    new: Any
    new, _, loss = step(others, step.init(params), X, X[:, :2])
    expected, _, same = step(params, step.init(params), X, X[:, :2])
    assert type(new[0]) is Affine
    assert loss == same
    assert all(map(np.array_equal, fn.tree.leaves(new), fn.tree.leaves(expected)))
    gradient, _ = net.apply.vjp(others, X)[1](np.ones((2, 2), np.float32))
    fn.tree.map(np.add, others, gradient)
    fn.apply_updates(others, gradient)


def test_params_of_another_class_are_refused() -> None:
    class Affine(NamedTuple):
        weight: Any
        offset: Any

    class Other(NamedTuple):
        weight: Any
        bias: Any

    params, _ = fn.linear(2).init(fn.key(0), (25,))
    for kind in (Affine, Other):
        with pytest.raises(fn.ParamsError, match=r"must be Affine\(weight, bias\), not"):
            untyped.linear(2).apply(kind(*params), X)
        with pytest.raises(fn.ParamsError, match="expected Affine"):
            fn.tree.map(np.add, params, kind(*params))
