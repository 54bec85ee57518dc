"""Files of NumPy: they need nothing else, and give the very bits that the closure gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import funcnet as fn
from funcnet.exports.numpy.lines import broken, rolled
from tests.exports.test_c_source import CUSTOM, HOSTILE, NET, OPTIMIZERS, ROWS, hostile, inputs_of, problem, trained
from tests.support.budget import examples
from tests.support.cases import CASES, Case
from tests.support.recurrences import with_recurrence
from tests.support.strategies import Problem, problems, with_images


def run(function: Any, params: Any, *arrays: Any) -> dict[str, Any]:
    """The names of the file, run as a module."""
    names: dict[str, Any] = {"__name__": "written"}
    exec(fn.to_numpy(function, params, *arrays), names)
    return names


def same(found: Any, right: Any) -> None:
    """The very bits."""
    for a, b in zip(fn.tree.leaves(found), fn.tree.leaves(right), strict=True):
        assert (np.asarray(a).dtype, np.shape(a)) == (np.asarray(b).dtype, np.shape(b))
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def compiled(case: Case) -> Any:
    """The layer in a network that feeds it all its inputs."""
    net: Any = case.make()
    if getattr(net.apply, "multi_output", False):
        return net
    keys = [f"in {i}" for i in range(len(case.shapes))]
    operators = {key: fn.identity() for key in keys} | {"a b": net}
    return fn.network(operators, {key: ["a b"] for key in keys}, inputs=keys, output="a b")


WRITTEN = [case for case in CASES if case.name != "custom_layer"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("case", WRITTEN, ids=lambda case: case.name)
def test_every_operator_and_its_gradient(case: Case, dtype: Any) -> None:
    net = compiled(case)
    params, _ = net.init(fn.key(0), *case.shapes, dtype=dtype)
    x = inputs_of(case, dtype)
    if not case.options.get("rowwise", True):
        params = fn.calibrate(net, params, tuple(x))
    y: Any = net.apply(params, *x)
    same(run(net, params, *x)["apply"](params, *x), y)
    if isinstance(y, tuple):
        return
    gradient = fn.value_and_grad(net, fn.mse(reduction="sum") if y.ndim else None)
    arrays = [*x, np.full_like(y, 0.25)] if y.ndim else x
    same(run(gradient, params, *arrays)["value_and_grad"](params, *arrays), gradient(params, *arrays))


@settings(max_examples=examples(40))
@given(problem=problems(size=8) | problems(size=6).flatmap(with_images) | problems(size=6).flatmap(with_recurrence))
def test_random_networks(problem: Problem) -> None:
    net, params, inputs = problem.made()
    y = net.apply(params, *inputs)
    same(run(net, params, *inputs)["apply"](params, *inputs), y)
    if not isinstance(y, tuple):
        gradient, arrays = fn.value_and_grad(net, fn.mse()), (*inputs, np.zeros_like(y))
        same(run(gradient, params, *arrays)["value_and_grad"](params, *arrays), gradient(params, *arrays))


@pytest.mark.parametrize("key", HOSTILE)
def test_hostile_keys(key: str) -> None:
    gradient, params, x, t = hostile(key)
    same(run(gradient, params, x, t)["value_and_grad"](params, x, t), gradient(params, x, t))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)
def test_training_with_every_optimizer(name: str, dtype: Any) -> None:
    params, x, t = problem(dtype)
    step = trained(OPTIMIZERS[name])
    written = run(step, params, x, t)
    ours, theirs, state, other = params, params, step.init(params), written["init"]()
    for _ in range(4):
        ours, state, loss = step(ours, state, x, t)
        theirs, other, written_loss = written["step"](theirs, other, x, t)
        same((theirs, written_loss), (ours, loss))


@pytest.mark.parametrize("rows", [ROWS, 700, 2000], ids=["whole", "two blocks", "many blocks"])
def test_plain_steps_whole_and_in_blocks(rows: int) -> None:
    params, x, t = problem(np.float32)
    x, t = np.resize(x, (rows, 2)), np.resize(t, (rows, 3))
    step = fn.sgd_step(NET, fn.mse(), learning_rate=0.1)
    same(run(step, params, x, t)["step"](params, x, t), step(params, x, t))
    same(run(NET, params, x)["apply"](params, x), NET.apply(params, x))


def test_it_needs_numpy_alone_and_shows_the_users_keys(tmp_path: Path) -> None:
    params, x, t = problem(np.float32)
    step = fn.sgd_step(NET, fn.mse(), learning_rate=0.1)
    source = fn.to_numpy(step, params, x, t)
    (tmp_path / "written.py").write_text(source, encoding="utf-8")
    program = "import sys, written; print('funcnet' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env={}, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"], done.stderr
    for text in (
        "# a b linear\n",
        "np.tanh(linear_in, out=tanh_2)",
        "params['in'].weight: (2, 6)",
        "class Affine(NamedTuple)",
    ):
        assert text in source
    assert max(map(len, source.splitlines())) <= 120


def test_errors_of_labels_are_kept() -> None:
    net = fn.serial(fn.embedding(5, 3), fn.linear(3))
    params, _ = net.init(fn.key(0), ())
    step = fn.sgd_step(net, fn.softmax_cross_entropy(weighted=True), learning_rate=0.1)
    index, labels, w = np.arange(4), np.array([0, 1, 2, 0]), np.ones(4, np.float32)
    written = run(step, params, index, labels, w)
    same(written["step"](params, index, labels, w), step(params, index, labels, w))
    with pytest.raises(written["LabelError"], match="label 3 is none of the 3 classes"):
        written["step"](params, index, labels + 1, w)
    with pytest.raises(written["WeightError"], match="add up to 0"):
        written["step"](params, index, labels, np.array([1, -1, 1, -1], np.float32))


@pytest.mark.parametrize("rows", [ROWS, 2000], ids=["whole", "in blocks"])
def test_arrays_of_other_shapes_and_kinds_are_refused(rows: int) -> None:
    net = fn.serial(fn.linear(3), fn.tanh(), fn.linear(3))
    params, _ = net.init(fn.key(0), (3,))
    x, labels = np.ones((rows, 3), np.float32), np.zeros(rows, np.int64)
    step = run(fn.sgd_step(net, fn.softmax_cross_entropy(), learning_rate=0.1), params, x, labels)["step"]
    longer = np.ones((rows + 1, 3), np.float32)
    for wrong in (x[:1], x[:, :1], x[0], longer, x + 0j):
        with pytest.raises(ValueError, match=r"^x0 is \w+ \(.*; this file is for"):
            step(params, wrong, labels)
    for wrong in (labels[:1], labels[:, None], np.resize(labels, rows + 1), labels + 0.5):
        with pytest.raises(ValueError, match="^x1 is "):
            step(params, x, wrong)
    turned = fn.tree.map(lambda leaf: leaf[None], params)
    with pytest.raises(ValueError, match=r"^params\[0\].weight is float32 \(1, 3, 3\)"):
        step(turned, x, labels)


def test_what_is_refused() -> None:
    params, x, t = problem(np.float32)
    with pytest.raises(fn.ExportError, match="to_numpy: the function is tanh"):
        fn.to_numpy(np.tanh, params, x)
    with pytest.raises(fn.ExportError, match="linear alone is not compiled: give a network of it"):
        fn.to_numpy(fn.linear(3), params["in"], x)
    with pytest.raises(fn.ExportError, match="a schedule"):
        fn.to_numpy(trained(fn.sgd(fn.linear_schedule(1.0, 0.1, 9))), params, x, t)
    custom = fn.serial(CUSTOM)
    with pytest.raises(
        fn.ExportError, match="operator 0 scale: a custom layer .* not written in NumPy: make it of fn.elementwise"
    ):
        fn.to_numpy(custom, custom.init(fn.key(0), (2,))[0], x)


@pytest.mark.parametrize("layer", [fn.gru(4), fn.lstm(4), fn.rnn(4)], ids=lambda layer: layer.apply.kind)
@pytest.mark.parametrize("times", [0, 1, 3, 40])
def test_steps_over_time_become_a_loop(layer: fn.Layer[Any], times: int) -> None:
    net = fn.network({"in": fn.identity(), "cell": layer}, {"in": ["cell"]})
    params, _ = net.init(fn.key(0), (times, 3))
    x, t = np.random.default_rng(0).normal(size=(6, times, 3)).astype(np.float32), np.ones((6, 4), np.float32)
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    source = fn.to_numpy(step, params, x, t)
    assert source.count("for t in range(") == 2 * (times > 3) + (times == 3)
    assert len(source.splitlines()) < 200
    same(run(step, params, x, t)["step"](params, x, t), step(params, x, t))


def test_sequences_and_images_in_blocks_of_rows() -> None:
    rng = np.random.default_rng(0)
    cases: list[tuple[Any, fn.Shape]] = [
        (fn.serial(fn.lstm(8, return_sequences=True), fn.gru(3)), (9, 5)),
        (fn.serial(fn.conv(4, (3, 3)), fn.max_pool((2, 2)), fn.flatten(), fn.linear(3)), (10, 10, 3)),
    ]
    for net, shape in cases:
        x, t = rng.normal(size=(700, *shape)).astype(np.float32), rng.normal(size=(700, 3)).astype(np.float32)
        params, _ = net.init(fn.key(0), shape)
        step: Any = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
        same(run(step, params, x, t)["step"](params, x, t), step(params, x, t))


@pytest.mark.parametrize(
    ("lines", "loop"),
    [
        (["f(a[0], 7)", "f(a[1], 7)", "f(a[2], 7)"], ["for i in range(3):", "    f(a[i], 7)"]),
        (
            ["f(a[9], b[10:12])", "f(a[8], b[8:10])", "f(a[7], b[6:8])"],
            ["for i in range(9, 6, -1):", "    f(a[i], b[2 * i - 8:2 * i - 6])"],
        ),
        (
            ["g()", "f(3)", "h(6)", "f(5)", "h(3)", "f(7)", "h(0)", "g()"],
            ["g()", "for i in range(3):", "    f(2 * i + 3)", "    h(-3 * i + 6)", "g()"],
        ),
        (["f(0)", "f(1)"], ["f(0)", "f(1)"]),
        (["f(0)", "f(1)", "f(3)"], ["f(0)", "f(1)", "f(3)"]),
        (
            ["f(v_1)", "f(v_2)", "f(v_3)", "f(1.5)", "f(2.5)", "f(3.5)"],
            ["f(v_1)", "f(v_2)", "f(v_3)", "f(1.5)", "f(2.5)", "f(3.5)"],
        ),
    ],
)
def test_lines_become_loops(lines: list[str], loop: list[str]) -> None:
    assert rolled(lines, "i") == loop


def test_long_lines_are_broken_where_python_may() -> None:
    arguments = [f"'a, b ({i}'" for i in range(40)]
    line = f"    f({', '.join(arguments)})"
    parts = [*broken(line)]
    assert len(parts) > 3
    assert max(map(len, parts)) <= 110
    assert eval("".join(part.strip() for part in parts), {"f": lambda *given: [*given]}) == [*map(eval, arguments)]
