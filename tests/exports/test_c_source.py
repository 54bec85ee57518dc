"""Files of C: they compile without a warning, run clean under sanitizers, and give what funcnet gives."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings

import funcnet as fn
from funcnet.core import layer
from funcnet.exports.c.names import TAKEN
from funcnet.native.toolchain import find_compiler
from funcnet.tracing.products import contract
from tests.exports.running import STRICT, Run, needs_compiler, program, run_all
from tests.support.budget import examples
from tests.support.cases import CASES, Case
from tests.support.recurrences import with_recurrence
from tests.support.strategies import Problem, problems, with_images

pytestmark = needs_compiler

ROWS = 5
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}
SANITIZED = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def flat(params: Any, dtype: Any) -> Any:
    return np.concatenate([np.empty(0, dtype), *(leaf.ravel() for leaf in fn.tree.leaves(params))])


def inputs_of(case: Case, dtype: Any) -> list[Any]:
    return case.inputs(np.random.default_rng(0).normal, ROWS, dtype)


def is_written(case: Case) -> bool:
    """Whether there is a rule for each of its calls, forward and back."""
    net = case.make()
    params, _ = net.init(fn.key(0), *case.shapes)
    x = inputs_of(case, np.float32)
    y: Any = net.apply(params, *x)
    try:
        fn.to_c(net, params, *x)
        if not isinstance(y, tuple) and y.ndim:
            fn.to_c(fn.value_and_grad(net, fn.mse(reduction="sum")), params, *x, np.zeros_like(y))
    except fn.ExportError as error:
        if "not written in C" not in str(error):
            raise
        return False
    return True


def runs_of(number: int, case: Case, dtype: Any) -> list[tuple[Run, list[Any]]]:
    """The layer, and the gradient of a sum over its outputs, each with what the arrays should be."""
    net = case.make()
    params, _ = net.init(fn.key(0), *case.shapes, dtype=dtype)
    x = inputs_of(case, dtype)
    if not case.options.get("rowwise", True):
        params = fn.calibrate(net, params, tuple(x))
    y: Any = net.apply(params, *x)
    outputs = [np.asarray(one) for one in (y if isinstance(y, tuple) else (y,))]
    vector = flat(params, dtype)
    given = [vector] * bool(vector.size)
    name = f"case_{number}"
    source = fn.to_c(net, params, *x, name=name)
    found = [(Run(source, name, (*given, *x, *map(np.zeros_like, outputs))), [*given, *floats(x), *outputs])]
    if isinstance(y, tuple):
        return found
    scalar = not y.ndim
    gradient = fn.value_and_grad(net, None if scalar else fn.mse(reduction="sum"))
    arrays = x if scalar else [*x, np.full_like(y, 0.25)]
    loss, of_params = gradient(params, *arrays)
    name = f"gradient_{number}"
    slope = flat(of_params, dtype)
    more = [slope] * bool(slope.size)
    results = [np.asarray(loss), *more]
    run = Run(fn.to_c(gradient, params, *arrays, name=name), name, (*given, *arrays, *map(np.zeros_like, results)))
    return [*found, (run, [*given, *floats(arrays), *results])]


def floats(arrays: list[Any]) -> list[Any]:
    return [x for x in arrays if x.dtype.kind == "f"]


def assert_close(found: list[Any], right: list[Any], dtype: Any, what: str) -> None:
    for a, b in zip(found, right, strict=True):
        scale = max(1.0, float(np.abs(np.where(np.isfinite(b), b, 0)).max(initial=0)))
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[dtype] * scale, err_msg=what)


@pytest.mark.parametrize(
    ("dtype", "flags"),
    [
        (np.float32, ("-O0",)),
        pytest.param(np.float64, ("-O2",), marks=pytest.mark.slow),
        pytest.param(np.float32, ("-O0", *SANITIZED), marks=pytest.mark.slow),
    ],
    ids=["float32", "float64", "sanitized"],
)
def test_every_operator_and_its_gradient(tmp_path: Path, dtype: Any, flags: tuple[str, ...]) -> None:
    pairs = pairs_of_all(dtype)
    found = run_all([run for (run, _), _ in pairs], tmp_path, *flags)
    for ((_, right), name), (status, arrays) in zip(pairs, found, strict=True):
        assert status == 0
        assert_close(arrays, right, dtype, name)


def pairs_of_all(dtype: Any) -> list[tuple[tuple[Run, list[Any]], str]]:
    """Those of every layer that can be written, with its name."""
    written = [case for case in CASES if is_written(case)]
    assert {case.name for case in CASES} - {case.name for case in written} == {"custom_layer"}
    pairs = [(pair, case.name) for i, case in enumerate(written) for pair in runs_of(i, case, dtype)]
    assert len(pairs) > 150
    return pairs


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ziglang") is None, reason="ziglang is not here")
def test_clang_has_nothing_to_say_either(tmp_path: Path) -> None:
    source = tmp_path / "program.c"
    source.write_text(program([run for (run, _), _ in pairs_of_all(np.float32)]), encoding="utf-8")
    command = [sys.executable, "-m", "ziglang", "cc", *STRICT, "-c", str(source), "-o", str(source.with_suffix(".o"))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


NET: Any = fn.network(
    {
        "in": fn.linear(6),
        2: fn.tanh(),
        "a b": fn.linear(5),
        4: fn.sigmoid(),
        "sum": fn.concatenate(),
        "*/ ??/": fn.linear(3),
    },
    {"in": [2], 2: ["a b", "sum"], "a b": [4], 4: ["sum"], "sum": ["*/ ??/"]},
)
OPTIMIZERS = {
    "sgd": fn.sgd(0.1),
    "momentum": fn.sgd(0.1, momentum=0.9),
    "nesterov": fn.sgd(0.1, momentum=0.9, nesterov=True),
    "adam": fn.adam(0.01, eps_root=1e-9),
    "nadam": fn.adam(0.01, nesterov=True),
    "adamw": fn.adamw(0.01),
    "rmsprop": fn.rmsprop(0.01, initial_scale=0.5),
    "rmsprop centered": fn.rmsprop(0.01, centered=True, momentum=0.5, eps_in_sqrt=False),
    "adagrad": fn.adagrad(0.1),
    "lion": fn.lion(0.01),
    "norms": fn.chain(fn.clip_by_global_norm(0.1), fn.ema(0.5), fn.clip_by_global_norm(0.05), fn.adam(0.01)),
    "chain": fn.chain(fn.clip(0.01), fn.add_decayed_weights(0.01), fn.ema(0.5), fn.ema(0.9, debias=False), fn.sgd(0.1)),
}


def problem(dtype: Any = np.float64) -> tuple[Any, Any, Any]:
    params, _ = NET.init(fn.key(0), (2,), dtype=dtype)
    rng = np.random.default_rng(0)
    return params, rng.normal(size=(ROWS, 2)).astype(dtype), rng.normal(size=(ROWS, 3)).astype(dtype)


def test_training_with_every_optimizer(tmp_path: Path) -> None:
    params, x, t = problem()
    runs, right = list[Run](), list[tuple[Any, Any]]()
    for i, optimizer in enumerate(OPTIMIZERS.values()):
        step: Any = fn.train_step(NET, fn.mse(), optimizer)
        source = fn.to_c(step, params, x, t, name=f"step_{i}")
        stateful = [None] * ("_state *state" in source)
        runs.append(Run(source, f"step_{i}", (flat(params, x.dtype), *stateful, x, t, np.zeros(())), steps=20))
        new, state, loss = params, step.init(params), None
        for _ in range(20):
            new, state, loss = step(new, state, x, t)
        right.append((new, loss))
    plain = fn.sgd_step(NET, fn.mse(), learning_rate=0.1)
    runs.append(Run(fn.to_c(plain, params, x, t), "net", (flat(params, x.dtype), x, t, np.zeros(())), steps=20))
    tiled: Any = [np.tile(a, (20, 1, 1)) for a in (x, t)]
    new, losses = fn.scan(plain, params, *tiled)
    right.append((new, losses[-1]))
    for (status, arrays), (new, loss), name in zip(run_all(runs, tmp_path), right, [*OPTIMIZERS, "plain"], strict=True):
        assert status == 0
        assert_close([arrays[0], arrays[-1]], [flat(new, x.dtype), loss], np.float64, name)


def test_params_as_constants(tmp_path: Path) -> None:
    params, x, _ = problem(np.float32)
    params["in"].weight[0, 0] = 1e-42
    params["in"].weight[1, 1] = -0.0
    source = fn.to_c(NET, params, x, name="embedded", embed=True)
    assert "params[" not in source.partition("*/")[2].partition("int embedded(")[2].partition(")")[0]
    ((status, (_, y)),) = run_all([Run(source, "embedded", (x, np.zeros((ROWS, 3), np.float32)))], tmp_path)
    assert status == 0
    assert_close([y], [NET.apply(params, x)], np.float32, "")


def test_a_mask_that_hides_everything_is_a_status_and_leaves_the_params_alone(tmp_path: Path) -> None:
    net = fn.attention(2, masked=True)
    params, _ = net.init(fn.key(0), (3, 4), (3,))
    x, mask = np.ones((2, 3, 4), np.float32), np.array([[False] * 3, [True, False, True]])
    source = fn.to_c(fn.sgd_step(net, fn.mse(), learning_rate=0.1), params, x, mask, x, name="masked")
    vector, loss = flat(params, np.float32), np.zeros(1, np.float32)
    runs = [Run(source, "masked", (vector, x, mask, x, loss))]
    hidden = source.replace("masked", "hidden")
    runs.append(Run(hidden, "hidden", (vector, x, np.zeros_like(mask), x, loss)))
    (seen, _), (status, (same, *_)) = run_all(runs, tmp_path)
    assert (seen, status) == (0, 3)
    np.testing.assert_array_equal(same, vector)
    assert "3 for a mask that is 0 everywhere" in source


def test_labels_and_weights_that_are_wrong_leave_the_params_alone(tmp_path: Path) -> None:
    net = fn.serial(fn.embedding(5, 3), fn.linear(3))
    params, _ = net.init(fn.key(0), ())
    step = fn.train_step(net, fn.softmax_cross_entropy(weighted=True), fn.adam(0.1))
    index, labels, w = np.arange(4), np.array([0, 1, 2, 0]), np.ones(4, np.float32)
    source = fn.to_c(step, params, index, labels, w, name="wt")
    before = flat(params, np.float32)
    given = [
        (index, labels, w),
        (index + 2, labels, w),
        (index - 1, labels, w),
        (index, labels + 1, w),
        (index, labels, w - 1),
    ]
    given.append((index, labels, np.array([1, -1, 1, -1], np.float32)))
    runs = [
        Run(
            source.replace("wt", f"wt{i}"),
            f"wt{i}",
            (before, None, *arrays, np.zeros((), np.float32)),
        )
        for i, arrays in enumerate(given)
    ]
    found = run_all(runs, tmp_path)
    assert [status for status, _ in found] == [0, 1, 1, 1, 0, 2]
    assert [bool((arrays[0] == before).all()) for _, arrays in found] == [False, True, True, True, True, True]


def test_lengths_out_of_range_are_a_status_and_nothing_is_read_past_the_end(tmp_path: Path) -> None:
    net = fn.bidirectional(fn.lstm(2, lengths=True, return_sequences=True))
    params, shape = net.init(fn.key(0), (3, 2), ())
    x, t = np.ones((4, 3, 2), np.float32), np.ones((4, *shape), np.float32)
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    vector, runs = flat(params, np.float32), list[Run]()
    for i, lengths in enumerate(([3, 0, 1, 2], [3, 0, -1, 4])):
        source = fn.to_c(step, params, x, np.array(lengths), t, name=f"case_{i}")
        runs.append(Run(source, f"case_{i}", (vector, x, np.array(lengths), t, np.zeros(1, np.float32))))
    found = run_all(runs, tmp_path, *SANITIZED)
    assert [status for status, _ in found] == [0, 1]
    assert [bool((arrays[0] == vector).all()) for _, arrays in found] == [False, True]
    assert_close(found[0][1][:1], [flat(step(params, x, np.array([3, 0, 1, 2]), t)[0], np.float32)], np.float32, "")


def test_sequences_of_no_times(tmp_path: Path) -> None:
    runs, right = list[Run](), list[Any]()
    for kind, sequences in product(["rnn", "lstm", "gru"], [False, True]):
        cell = getattr(fn, kind)(2, return_sequences=sequences, initial_state=True)
        end = fn.sum(1) if sequences else fn.identity()
        operators: Any = {"x": fn.identity(), "h": fn.identity(), "cell": cell, "end": end}
        net = fn.network(operators, {"x": ["cell"], "h": ["cell"], "cell": ["end"]}, inputs=["x", "h"])
        parts = 2 + 2 * (kind == "lstm")
        params, shape = net.init(fn.key(0), (0, 3), (parts,), dtype=np.float64)
        inputs = np.zeros((4, 0, 3)), np.ones((4, parts)), np.zeros((4, *shape))
        gradient = fn.value_and_grad(net, fn.mse(reduction="sum"))
        loss, of_params = gradient(params, *inputs)
        vector, slope = flat(params, np.float64), flat(of_params, np.float64)
        name = f"{kind}_{sequences}"
        source = fn.to_c(gradient, params, *inputs, name=name)
        runs.append(Run(source, name, (vector, *inputs, np.zeros(1), np.full_like(slope, 7))))
        right.append([np.reshape(loss, 1), slope])
    for (status, arrays), expected, run in zip(run_all(runs, tmp_path), right, runs, strict=True):
        assert status == 0
        assert_close(arrays[-2:], expected, np.float64, run.name)


def test_all_names_begin_with_the_name(tmp_path: Path) -> None:
    params, x, t = problem(np.float32)
    step = fn.train_step(NET, fn.mse(), fn.lion(0.1))
    files = [tmp_path / f"{name}.c" for name in ("one", "two")]
    for path in files:
        path.write_text(fn.to_c(step, params, x, t, name=path.stem), encoding="utf-8")
        subprocess.run(
            [*find_compiler().command, *STRICT, "-c", str(path), "-o", str(path.with_suffix(".o"))], check=True
        )
    both = tmp_path / "both.c"
    both.write_text("".join(f'#include "{path.name}"\n' for path in files), encoding="utf-8")
    subprocess.run([*find_compiler().command, *STRICT, "-c", str(both), "-o", str(tmp_path / "both.o")], check=True)


@pytest.mark.parametrize(
    ("subscripts", "heads", "shapes"),
    [
        ("nk(hc),nq(hc)->nkqh", 2, ((3, 6), (4, 6))),
        ("nk(hc),nq(hc)->nkqh", 1, ((3, 1), (4, 1))),
        ("nkqh,nk(hc)->nq(hc)", 3, ((2, 5, 3), (2, 6))),
        ("nk(hc),nk(hc)->nk(hc)", 2, ((3, 4), (3, 4))),
    ],
)
def test_batched_products(tmp_path: Path, subscripts: str, heads: int, shapes: Any) -> None:
    net: Any = layer("batched", partial(batched, subscripts, heads), arity=2)
    x = [np.random.default_rng(i).normal(size=(ROWS, *shape)) for i, shape in enumerate(shapes)]
    y = net.apply((), *x)
    ((_, arrays),) = run_all([Run(fn.to_c(net, (), *x), "net", (*x, np.zeros_like(y)))], tmp_path)
    assert_close(arrays[-1:], [y], np.float64, subscripts)


def batched(subscripts: str, heads: int, params: Any, a: Any, b: Any) -> Any:
    return contract(subscripts, a, b, heads=heads), None


def test_it_names_operators_by_their_keys() -> None:
    params, x, t = problem(np.float32)
    source = fn.to_c(fn.sgd_step(NET, fn.mse(), learning_rate=0.1), params, x, t, name="train")
    head, body = source.split("#include", 1)
    assert "int train(float params[89], const float x0[10], const float x1[15], float loss[1]);" in head
    assert "params['in'].weight, shape (2, 6)" in head
    for text in (
        "p_in_weight",
        "g_a_b_bias",
        "tanh_2",
        "d_linear_a_b",
        "/* a b linear: matmul */",
        "/* '* / ? ?/' linear",
    ):
        assert text in body
    assert "malloc" not in source


NAMES = [
    "free",
    "main",
    "exp",
    "double",
    "expf",
    "abs",
    "printf",
    "time",
    "read",
    "y0",
    "index",
    "linux",
    "bool",
    "class",
    "signbit",
    "NAN",
    "restrict",
    "tanhl",
    "remquo",
]
TAKEN_NAMES = [name for name in NAMES if name != "NAN"]


def test_keys_and_functions_called_like_words_of_c(tmp_path: Path) -> None:
    runs, right = list[Run](), list[Any]()
    x = np.random.default_rng(0).normal(size=(ROWS, 2)).astype(np.float32)
    for i, name in enumerate([*NAMES, *(f"case_{i}" for i in range(len(NAMES))), "loss", "memory", "maximum"]):
        word = called(name)
        empty: Any = {}
        net: Any = fn.network({name: word, "_": fn.maximum(), "net": called("net")}, {name: ["_", "net"], "net": ["_"]})
        for layer_named, kind in ((net, "in"), (fn.elementwise(word.apply.function.args[0]), "alone")):
            own = f"{kind}_{i}"
            y = layer_named.apply((), x) if kind == "alone" else layer_named.apply(empty, x)
            source = fn.to_c(layer_named, () if kind == "alone" else {}, x, name=own)
            runs.append(Run(source, own, (x, np.zeros_like(y))))
            right.append(y)
    for (status, arrays), y in zip(run_all(runs, tmp_path), right, strict=True):
        assert status == 0
        assert_close(arrays[1:], [y], np.float32, "")


def test_a_key_that_looks_like_an_element_of_another_value(tmp_path: Path) -> None:
    operators: Any = {"a": fn.tanh(), "a_i": fn.tanh(), "both": fn.concatenate()}
    net: Any = fn.network(operators, {"a": ["a_i", "both"], "a_i": ["both"]})
    x = np.ones((ROWS, 2))
    y = net.apply({}, x)
    ((_, found),) = run_all([Run(fn.to_c(net, {}, x), "net", (x, np.zeros_like(y)))], tmp_path)
    assert_close(found[1:], [y], np.float64, "")


def test_arrays_of_constants_keep_the_signs_of_their_zeros(tmp_path: Path) -> None:
    zeros = np.zeros(2)
    net: Any = fn.elementwise(lambda x: (np.arctan2(zeros, x) - np.arctan2(-zeros, x), lambda g: g))
    x = np.full((ROWS, 2), -1.0)
    y = net.apply((), x)
    assert (y > 6).all()
    ((_, found),) = run_all([Run(fn.to_c(net, (), x), "net", (x, np.zeros_like(y)))], tmp_path)
    assert_close(found[1:], [y], np.float64, "")


def called(name: str) -> Any:
    """A layer whose function has this name."""

    def function(x: Any) -> Any:
        return np.maximum(np.tanh(x), 0.1), lambda g: g

    function.__name__ = name
    return fn.elementwise(function)


HOSTILE = [
    '"""',
    "*/",
    "/*",
    "??/",
    "\\",
    "\n",
    "\u202e",
    "\0",
    "\ud800",
    "fn_states",
    "net_memory",
    "lambda",
    "np",
    "t",
]


def hostile(key: str) -> tuple[Any, Any, Any, Any]:
    """(a gradient of a network with such keys and functions, params, input, target)."""
    operators = {
        key: fn.lstm(3, return_sequences=True),
        1: called(key),
        2: fn.conv(2, 3),
        3: [fn.flatten(), called(key)],
    }
    net: Any = fn.network(operators, {key: [1], 1: [2], 2: [3]})
    params, shape = net.init(fn.key(0), (4, 2))
    x = np.random.default_rng(0).normal(size=(ROWS, 4, 2)).astype(np.float32)
    return fn.value_and_grad(net, fn.mse()), params, x, np.ones((ROWS, *shape), np.float32)


def test_hostile_keys(tmp_path: Path) -> None:
    runs, right = list[Run](), list[Any]()
    for i, key in enumerate(HOSTILE):
        gradient, params, x, t = hostile(key)
        loss, of_params = gradient(params, x, t)
        vector, slope = flat(params, np.float32), flat(of_params, np.float32)
        name = f"case_{i}" if key != "net_memory" else "net"
        source = fn.to_c(gradient, params, x, t, name=name)
        runs.append(Run(source, name, (vector, x, t, np.zeros(1, np.float32), np.zeros_like(slope))))
        right.append([np.reshape(loss, 1), slope])
    for (status, arrays), expected, key in zip(run_all(runs, tmp_path), right, HOSTILE, strict=True):
        assert status == 0
        assert_close(arrays[-2:], expected, np.float32, repr(key))


@settings(max_examples=examples(20), phases=[Phase.generate])
@given(problem=problems(size=6) | problems(size=6).flatmap(with_images) | problems(size=6).flatmap(with_recurrence))
def test_random_networks(tmp_path_factory: pytest.TempPathFactory, problem: Problem) -> None:
    net, params, inputs = problem.made()
    y = net.apply(params, *inputs)
    vector = flat(params, problem.dtype)
    outputs = [*y] if isinstance(y, tuple) else [y]
    given_params = [vector] * bool(vector.size)
    runs = [Run(fn.to_c(net, params, *inputs), "net", (*given_params, *inputs, *map(np.zeros_like, outputs)))]
    right = [outputs]
    if not isinstance(y, tuple):
        gradient, arrays = fn.value_and_grad(net, fn.mse()), (*inputs, np.zeros_like(y))
        loss, of_params = gradient(params, *arrays)
        results = [np.reshape(loss, 1), *[flat(of_params, problem.dtype)] * bool(vector.size)]
        source = fn.to_c(gradient, params, *arrays, name="slope")
        runs.append(Run(source, "slope", (*given_params, *arrays, *map(np.zeros_like, results))))
        right.append(results)
    for (status, found), expected in zip(run_all(runs, tmp_path_factory.mktemp("c")), right, strict=True):
        assert status == 0
        assert_close(found[-len(expected) :], expected, problem.dtype, repr(problem))


@pytest.mark.parametrize("name", TAKEN_NAMES)
def test_a_name_that_means_something_else_in_c_is_refused_and_the_fix_is_taken(name: str) -> None:
    params, x, _ = problem(np.float32)
    with pytest.raises(
        fn.ExportError, match=f"to_c: {name} means something else in C or its library: name='net_{name}'"
    ):
        fn.to_c(NET, params, x, name=name)
    assert f"int net_{name}(" in fn.to_c(NET, params, x, name=f"net_{name}")


def test_every_function_of_the_c_library_is_a_name_that_is_taken(tmp_path: Path) -> None:
    headers = (
        "assert complex ctype errno fenv float inttypes limits locale math setjmp signal stdarg stdio stdlib string"
    )
    path = tmp_path / "all.c"
    path.write_text("".join(f"#include <{h}.h>\n" for h in f"{headers} time wchar wctype".split()), encoding="utf-8")
    done = subprocess.run(
        [*find_compiler().command, "-std=c99", "-E", str(path)], capture_output=True, text=True, check=True
    )
    declared = {*re.findall(r"\b([a-z][a-z0-9]*) *\(", re.sub(r"(?m)^#.*", "", done.stdout))}
    assert len(declared) > 300
    assert declared <= TAKEN


GRADIENT: Any = fn.value_and_grad(NET, fn.mse())
CUSTOM: Any = next(case.make() for case in CASES if case.name == "custom_layer")
untyped: Any = fn


def odd(x: Any) -> Any:
    return np.spacing(x), lambda g: g


OWN: Any = fn.network({"own": CUSTOM}, {})
ODD: Any = fn.network({7: fn.elementwise(odd)}, {})


def own_params() -> list[Any]:
    return [OWN.init(fn.key(0), (2,))[0]]


REFUSED: list[tuple[Any, type[Exception], str]] = [
    (lambda p, x, t: fn.to_c(np.tanh, p, x), fn.ExportError, "to_c: the function is tanh: give a network"),
    (
        lambda p, x, t: fn.to_c(NET, p, x, name="params"),
        fn.ExportError,
        "params means something else in the file",
    ),
    (lambda p, x, t: fn.to_c(NET, p, x, name="1net"), fn.ExportError, "name must be a name of C.* not '1net'"),
    (lambda p, x, t: fn.to_c(NET, p, x, name="a b"), fn.ExportError, "not 'a b'"),
    (lambda p, x, t: fn.to_c(NET, p, x, name="_net"), fn.ExportError, "not '_net'"),
    (lambda p, x, t: untyped.to_c(NET, p, x, embed=3), fn.OptionError, "embed"),
    (lambda p, x, t: fn.to_c(GRADIENT, p, x, t, embed=True), fn.ExportError, "embed=True makes constants"),
    (lambda p, x, t: fn.to_c(NET, p, x, x), fn.ShapeError, "takes 1 input"),
    (lambda p, x, t: fn.to_c(NET, p, x[:, :1]), fn.ShapeError, "operator 'in'"),
    (lambda p, x, t: fn.to_c(trained(fn.sgd(fn.linear_schedule(1.0, 0.1, 9))), p, x, t), fn.ExportError, "a schedule"),
    (lambda p, x, t: fn.to_c(trained(fn.clip_by_norm(1.0)), p, x, t), fn.ExportError, "a part that .*clip_by_norm"),
    (lambda p, x, t: fn.to_c(trained(fn.accumulate(fn.sgd(1.0), 2)), p, x, t), fn.ExportError, "not written as source"),
    (lambda p, x, t: fn.to_c(fn.elementwise(odd), (), x), fn.ExportError, "np.spacing is not written in C"),
    (
        lambda p, x, t: fn.to_c(CUSTOM, CUSTOM.init(fn.key(0), (2,))[0], x),
        fn.ExportError,
        "to_c: scale: a custom layer .* not written in C: make it of fn.elementwise",
    ),
    (lambda p, x, t: fn.to_c(OWN, *own_params(), x), fn.ExportError, "to_c: operator own scale: a custom layer"),
    (lambda p, x, t: fn.to_c(ODD, {}, x), fn.ExportError, "to_c: operator 7 odd: np.spacing is not written in C: make"),
]


def trained(optimizer: fn.Optimizer) -> Any:
    return fn.train_step(NET, fn.mse(), optimizer)


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_what_is_refused(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call(*problem(np.float32))


def test_every_rule_for_an_optimizer_is_of_a_function_that_there_is() -> None:
    from funcnet.native.updates import RULES
    from funcnet.optimizers import algorithms, learning_rate, transforms, wrappers

    modules = algorithms, learning_rate, transforms, wrappers
    assert all(any(hasattr(module, name) for module in modules) for name in RULES)
