"""Native code gives what the list of NumPy calls gives, to rounding, for every row of the table."""

from __future__ import annotations

import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from os import environ
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.native.grouping import Grouping
from funcnet.native.scanning import CHUNK
from tests.support.cases import CASES, Case

pytestmark = pytest.mark.skipif(
    not (environ.get("FUNCNET_CC") or shutil.which("cc") or find_spec("ziglang")), reason="there is no C compiler"
)
TOLERANCE: dict[Any, float] = {np.float32: 2e-5, np.float64: 1e-12}
NET = fn.network(
    {1: fn.linear(25), 2: fn.tanh(), 3: fn.linear(25), 4: fn.sigmoid(), 5: fn.add(), 6: fn.linear(2)},
    {1: [2], 2: [3, 5], 3: [4], 4: [5], 5: [6]},
)
STEP = fn.sgd_step(NET, fn.mse(), learning_rate=0.05)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])


def batch(rows: int, dtype: Any = np.float32, seed: int = 0) -> tuple[Any, Any]:
    draw = np.random.default_rng(seed)
    return draw.normal(size=(rows, 2)).astype(dtype), draw.normal(size=(rows, 2)).astype(dtype)


def assert_close(found: Any, right: Any, dtype: Any) -> None:
    """Compare trees by the size of each array's largest element."""
    for a, b in zip(tree.leaves(found), tree.leaves(right), strict=True):
        assert (np.shape(a), np.asarray(a).dtype) == (np.shape(b), np.asarray(b).dtype)
        size = max(1.0, float(np.max(np.abs(b), initial=0.0)))
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[dtype] * size)


def arrays_of(case: Case, rows: int, dtype: Any) -> list[Any]:
    return case.inputs(lambda size: np.random.default_rng(1).uniform(0.1, 0.9, size), rows, dtype)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
def test_every_layer_and_loss(case: Case, dtype: Any) -> None:
    layer = case.make()
    params, _ = layer.init(fn.key(1), *case.shapes, dtype=dtype)
    arrays = arrays_of(case, 3, dtype)
    output = layer.apply(params, *arrays)
    assert_close(fn.jit(layer).apply(params, *arrays), output, dtype)
    if isinstance(output, tuple):
        return
    gradient = fn.value_and_grad(layer) if np.ndim(output) == 0 else fn.value_and_grad(layer, fn.mse())
    targets = () if np.ndim(output) == 0 else (np.zeros_like(output),)
    assert_close(fn.jit(gradient)(params, *arrays, *targets), gradient(params, *arrays, *targets), dtype)


@both_dtypes
@pytest.mark.parametrize("rows", [0, 1, 2, 5, 16, 17, 600, 1000])
def test_batches_of_any_size_and_in_blocks(rows: int, dtype: Any) -> None:
    params, _ = NET.init(fn.key(0), (2,), dtype=dtype)
    x, target = batch(rows, dtype)
    assert_close(fn.jit(NET).apply(params, x), NET.apply(params, x), dtype)
    if rows:
        assert_close(fn.jit(STEP)(params, x, target), STEP(params, x, target), dtype)


@pytest.mark.parametrize("rows", [1024, 1500])
def test_large_batches_of_labels(rows: int) -> None:
    net = fn.serial(fn.linear(50), fn.tanh(), fn.linear(3))
    params, _ = net.init(fn.key(0), (2,))
    x, labels = batch(rows)[0], np.arange(rows) % 3
    gradient = fn.value_and_grad(net, fn.softmax_cross_entropy())
    native = fn.jit(gradient)
    assert_close(native(params, x, labels), gradient(params, x, labels), np.float32)
    assert "NumPy, after function" not in str(native)
    with pytest.raises(fn.LabelError):
        native(params, x, labels + 1)


@pytest.mark.parametrize("rows", [33, 64])
def test_wide_products_stay_with_numpy(rows: int) -> None:
    net = fn.serial(fn.linear(160), fn.tanh(), fn.linear(160), fn.relu(), fn.linear(2))
    params, _ = net.init(fn.key(0), (150,))
    x = np.random.default_rng(0).normal(size=(rows, 150)).astype(np.float32)
    target = np.zeros((rows, 2), np.float32)
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.05)
    native = fn.jit(step)
    assert_close(native(params, x, target), step(params, x, target), np.float32)
    assert "NumPy, after function 0: matmul" in str(native)


def test_a_scan_is_the_loop_of_steps() -> None:
    params, _ = NET.init(fn.key(0), (2,))
    steps = CHUNK + 3
    x, target = (a.reshape(steps, 5, 2) for a in batch(5 * steps))
    native = fn.jit(STEP)
    found, losses = fn.scan(native, params, x, target)
    again, expected = params, list[Any]()
    for i in range(steps):
        again, loss = native(again, x[i], target[i])
        expected.append(loss)
    assert_close((found, losses), (again, np.array(expected)), np.float32)
    assert losses.tobytes() == np.array(expected).tobytes()
    assert losses[-1] < losses[0]


OPTIMIZERS = {
    "sgd": fn.sgd(0.05),
    "nesterov": fn.sgd(0.05, momentum=0.9, nesterov=True),
    "adam": fn.adam(0.01),
    "adamw": fn.adamw(0.01, weight_decay=0.1),
    "nadam": fn.adam(0.01, nesterov=True),
    "rmsprop": fn.rmsprop(0.01),
    "centered": fn.rmsprop(0.01, centered=True),
    "adagrad": fn.adagrad(0.05),
    "lion": fn.lion(0.001),
    "clipped": fn.chain(fn.clip(0.01), fn.adam(0.01)),
    "scheduled": fn.sgd(fn.cosine_decay_schedule(0.1, 10)),
    "by norm": fn.chain(fn.clip_by_global_norm(0.1), fn.adam(0.01)),
    "by norms": fn.chain(
        fn.clip(0.05), fn.ema(0.5), fn.clip_by_global_norm(0.1), fn.clip_by_global_norm(0.05), fn.sgd(0.1)
    ),
    "by a large norm": fn.chain(fn.clip_by_global_norm(1e6), fn.sgd(0.1)),
    "scaled": fn.chain(
        fn.scale_by_schedule(fn.linear_schedule(1.0, 0.1, 9)), fn.adam(fn.cosine_decay_schedule(0.1, 10))
    ),
    "averaged": fn.chain(fn.adamw(0.01), fn.ema_params(0.9)),
    "by own norms": fn.chain(fn.clip_by_norm(0.1), fn.sgd(0.1)),
    "by norms of all kinds": fn.chain(
        fn.clip_by_global_norm(0.5), fn.clip_by_norm(0.1), fn.adam(0.01), fn.clip_by_norm(0.05), fn.clip_by_norm(0.04)
    ),
    "masked": fn.adamw(0.01, mask=lambda path: path.endswith(".weight")),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@both_dtypes
def test_a_scan_with_an_optimizer(name: str, dtype: Any) -> None:
    params, _ = NET.init(fn.key(0), (2,), dtype=dtype)
    step = fn.train_step(NET, fn.mse(), OPTIMIZERS[name])
    native = fn.jit(step)
    x, target = (a.reshape(12, 5, 2) for a in batch(60, dtype))
    right = fn.scan(step, params, step.init(params), x, target)
    state = native.init(params)
    before = [np.asarray(a).tobytes() for a in tree.leaves((params, state))]
    found = fn.scan(native, params, state, x[:7], target[:7])
    assert [np.asarray(a).tobytes() for a in tree.leaves((params, state))] == before
    again = fn.scan(native, *found[:2], x[7:], target[7:])
    assert_close(again[:2], right[:2], dtype)
    assert_close(np.concatenate([found[2], again[2]]), right[2], dtype)
    one: Any = (params, state)
    for i in range(7):
        *one, _ = native(*one, x[i], target[i])
    assert [np.asarray(a).tobytes() for a in tree.leaves(one)] == [
        np.asarray(a).tobytes() for a in tree.leaves(found[:2])
    ]
    assert [np.asarray(a).tobytes() for a in tree.leaves((params, state))] == before
    program: Any = [*native._programs.by_signature.values()][-1]
    assert program.shared_library.code.scans is (name != "masked")


def test_a_scan_takes_the_learning_rate_from_the_state() -> None:
    params, _ = NET.init(fn.key(0), (2,))
    step = fn.train_step(NET, fn.mse(), fn.adam(0.01))
    state = fn.set_learning_rate(step.init(params), 0.1)
    x, target = (a.reshape(4, 5, 2) for a in batch(20))
    assert_close(fn.scan(fn.jit(step), params, state, x, target), fn.scan(step, params, state, x, target), np.float32)


def test_optimizers_and_dropout_and_labels() -> None:
    net = fn.serial(fn.linear(8), fn.relu(), fn.dropout(0.5), fn.linear(3))
    params, _ = net.init(fn.key(0), (2,))
    x, labels = batch(20)[0], np.arange(20) % 3
    step = fn.train_step(net, fn.softmax_cross_entropy(), fn.adam(0.01))
    native = fn.jit(step)
    assert_close(
        native(params, native.init(params), x, labels, key=fn.key(3)),
        step(params, step.init(params), x, labels, key=fn.key(3)),
        np.float32,
    )
    with pytest.raises(fn.LabelError) as right:
        step(params, step.init(params), x, labels + 1)
    with pytest.raises(fn.LabelError) as found:
        native(params, native.init(params), x, labels + 1)
    assert str(found.value) == str(right.value)


@pytest.mark.parametrize("rows", [6, 700])
def test_labels_and_weights_are_checked_in_native_code(rows: int) -> None:
    net = fn.serial(fn.linear(8), fn.tanh(), fn.linear(3))
    params, _ = net.init(fn.key(0), (2,))
    x, labels = batch(rows)[0], np.arange(rows) % 3
    weights = np.ones(rows, np.float32)
    step = fn.sgd_step(net, fn.softmax_cross_entropy(weighted=True), learning_rate=0.1)
    native: Any = fn.jit(step)
    assert_close(native(params, x, labels, weights), step(params, x, labels, weights), np.float32)
    code = [*native._programs.by_signature.values()][-1].shared_library.code
    assert not code.first.numpy_calls
    assert len(code.spans) == 1 + (rows > 600) or rows > 600
    wrong, zero = labels.copy(), weights.copy()
    wrong[-2], zero[1::2] = 7, -1.0
    for arrays in ((x, wrong, weights), (x, labels, zero)):
        with pytest.raises(fn.FuncnetError) as right:
            step(params, *arrays)
        for _ in range(2):
            with pytest.raises(type(right.value)) as found:
                native(params, *arrays)
            assert str(found.value) == str(right.value)
    steps: list[Any] = [np.stack([a, b, a]) for a, b in zip((x, labels, weights), (x, wrong, weights), strict=True)]
    with pytest.raises(fn.LabelError) as right:
        fn.scan(step, params, *steps)
    with pytest.raises(fn.LabelError) as found:
        fn.scan(native, params, *steps)
    assert str(found.value) == str(right.value)
    assert_close(native(params, x, labels, weights), step(params, x, labels, weights), np.float32)
    good: list[Any] = [np.stack([a, a, a]) for a in (x, labels, weights)]
    assert_close(fn.scan(native, params, *good), fn.scan(step, params, *good), np.float32)


def test_embeddings_are_native() -> None:
    net = fn.serial(fn.embedding(5, 4), fn.mean(axis=1), fn.linear(2))
    params, _ = net.init(fn.key(0), (3,))
    index = np.random.default_rng(0).integers(0, 5, (9, 3))
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    native: Any = fn.jit(step)
    target = np.zeros((9, 2), np.float32)
    assert_close(native(params, index, target), step(params, index, target), np.float32)
    with pytest.raises(fn.LabelError, match="index 6"):
        native(params, index + 2, target)


def test_errors_are_the_same_and_nothing_given_changes() -> None:
    params, _ = NET.init(fn.key(0), (2,))
    x, target = batch(4)
    before = [a.tobytes() for a in tree.leaves((params, x, target))]
    native = fn.jit(STEP)
    native(params, x, target)
    assert [a.tobytes() for a in tree.leaves((params, x, target))] == before
    for arrays in ((x,), (x[:, :1], target), (x, target[:, :1]), (x[:2], target)):
        with pytest.raises(fn.FuncnetError) as right:
            STEP(params, *arrays)
        with pytest.raises(type(right.value)) as found:
            native(params, *arrays)
        assert str(found.value) == str(right.value)
    with pytest.raises(fn.OptionError, match="jit: the function is sqrt"):
        fn.jit(np.sqrt)


def test_a_step_that_checks_its_results() -> None:
    params, _ = NET.init(fn.key(0), (2,))
    native = fn.jit(fn.sgd_step(NET, fn.mse(), learning_rate=0.05, check_finite=True))
    x, target = batch(4)
    native(params, x, target)
    with pytest.raises(fn.NonFiniteError):
        fn.scan(native, params, np.full((3, 4, 2), np.nan, np.float32), np.stack([target] * 3))


def test_pickled_it_keeps_its_options_alone() -> None:
    params, _ = NET.init(fn.key(0), (2,))
    x, target = batch(5)
    native = fn.jit(STEP)
    size = len(pickle.dumps(native))
    new, loss = native(params, x, target)
    data = pickle.dumps(native)
    assert len(data) == size
    again, other = pickle.loads(data)(params, x, target)
    assert_close(again, new, np.float32)
    assert loss == other
    layer = pickle.loads(pickle.dumps(fn.jit(NET)))
    assert_close(layer.apply(params, x), NET.apply(params, x), np.float32)


def test_what_is_compiled_says_so() -> None:
    native = fn.jit(STEP)
    assert repr(native).startswith("jit(sgd_step(")
    assert "no program yet" in str(native)
    params, _ = NET.init(fn.key(0), (2,))
    native(params, *batch(5))
    assert "_linear_6 = " in str(native)
    assert "fn_tanhf(" in str(native)
    assert fn.jit(native) is native
    layer = fn.jit(NET)
    assert fn.jit(layer) is layer
    output, pull = layer.apply.vjp(params, batch(3)[0])
    right, other = NET.apply.vjp(params, batch(3)[0])
    assert_close((output, pull(output)), (right, other(right)), np.float32)


def test_threads_share_a_step() -> None:
    params, _ = NET.init(fn.key(0), (2,))
    native = fn.jit(STEP)
    batches = [batch(20, seed=seed) for seed in range(8)]
    right = [native(params, *arrays) for arrays in batches]

    def run(i: int) -> bool:
        for _ in range(50):
            new, loss = native(params, *batches[i])
            same = all(
                a.tobytes() == b.tobytes() for a, b in zip(tree.leaves(new), tree.leaves(right[i][0]), strict=True)
            )
            if not same or loss != right[i][1]:
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(8)))


def test_a_single_use_value_is_made_with_its_reader() -> None:
    params, _ = NET.init(fn.key(0), (2,))
    native: Any = fn.jit(STEP)
    native(params, *batch(40))
    (program,) = native._programs.by_signature.values()
    grouping: Grouping = program.shared_library.code.first.grouping
    made = [call for group in grouping.groups for call in group.calls]
    squares = [call for call in made if call.primitive.name == "multiply" and call.inputs[0] is call.inputs[1]]
    slopes = [call for call in made if any(x is square.output for x in call.inputs for square in squares)]
    assert squares
    assert slopes
    assert not any(id(call.output) in grouping.stored for call in (*squares, *slopes))


def test_arrays_of_constants_are_in_the_text_unless_they_are_long() -> None:
    net: Any = fn.serial(fn.sinusoidal(), fn.tanh(), fn.flatten(), fn.linear(2))
    gradient = fn.value_and_grad(net, fn.mse())
    for times, calls in ((3, 0), (2000, 1)):
        params, _ = net.init(fn.key(0), (times, 4))
        arrays = np.ones((2, times, 4), np.float32), np.ones((2, 2), np.float32)
        native = fn.jit(gradient)
        assert_close(native(params, *arrays), gradient(params, *arrays), np.float32)
        assert str(native).count("NumPy, after function") == calls


@pytest.mark.parametrize("layer", [fn.mse(reduction="sum"), fn.dropout(0.5), fn.serial(fn.linear(2), fn.tanh())])
def test_a_jitted_layer_has_all_facts_of_the_layer(layer: Any) -> None:
    native, other = vars(fn.jit(layer).apply), ("_programs", "inner", "written")
    assert native["inner"] is layer.apply
    assert {k: native[k] for k in native if k not in other} == {
        k: v for k, v in vars(layer.apply).items() if k not in other
    }
