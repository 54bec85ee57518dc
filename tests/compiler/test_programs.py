"""Compiled calls: programs for the shapes seen, what goes in, what is refused, and what is left after an error."""

from __future__ import annotations

import copy
import gc
import pickle
import re
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.compiler import program_cache
from funcnet.compiler.layout import Layout
from funcnet.compiler.program_cache import MAX_POOLED
from funcnet.compiler.programs import Compiled, traced
from tests.exports.running import needs_compiler


def net() -> fn.Layer[Any, Any]:
    """The design page's network."""
    operators = {1: fn.linear(25), 2: fn.tanh(), 3: fn.linear(25), 4: fn.sigmoid(), 5: fn.add(), 6: fn.linear(2)}
    return fn.network(operators, {1: [2], 2: [3, 5], 3: [4], 4: [5], 5: [6], 6: []}, inputs=[1], output=6)


def numbers(*shape: int, dtype: Any = np.float32, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def params_of(layer: fn.Layer[Any, Any], *shapes: tuple[int, ...], dtype: Any = np.float32) -> Any:
    return layer.init(fn.key(0), *shapes, dtype=dtype)[0]


def bits(t: Any) -> list[Any]:
    return [(np.asarray(a).dtype, np.shape(a), np.asarray(a).tobytes()) for a in tree.leaves(t)]


class Call(NamedTuple):
    """A compiled function with arguments for it."""

    compiled: Any
    params: Any
    arrays: tuple[Any, ...]

    def __call__(self) -> Any:
        return self.compiled(self.params, *self.arrays)


def applied(batch: int = 5, dtype: Any = np.float32) -> Call:
    layer = net()
    return Call(layer.apply, params_of(layer, (2,), dtype=dtype), (numbers(batch, 2, dtype=dtype),))


def stepped(batch: int = 5, dtype: Any = np.float32) -> Call:
    layer = net()
    arrays = numbers(batch, 2, dtype=dtype), numbers(batch, 2, dtype=dtype, seed=1)
    return Call(fn.sgd_step(layer, fn.mse(), learning_rate=0.1), params_of(layer, (2,), dtype=dtype), arrays)


def differentiated(batch: int = 5, dtype: Any = np.float32) -> Call:
    call = stepped(batch, dtype)
    return call._replace(compiled=fn.value_and_grad(net(), fn.mse()))


KINDS = [applied, stepped, differentiated]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
Kind = Callable[..., Call]


def programs(compiled: Any) -> list[Any]:
    return [*compiled._programs.by_signature.values()]


# --- programs


@every_kind
def test_a_stream_of_batch_sizes_keeps_few_programs_and_the_right_numbers(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program_cache, "MAX_PROGRAMS", 20)
    call = kind(200)
    sizes = np.random.default_rng(0).permutation(200) + 1
    found = [bits(call._replace(arrays=tuple(x[:n] for x in call.arrays))()) for n in sizes]
    assert len(programs(call.compiled)) <= 20
    assert len(call.compiled._programs.recent) <= 20
    for n, result in list(zip(sizes, found, strict=True))[::20]:
        fresh = kind(200)
        assert bits(fresh._replace(arrays=tuple(x[:n] for x in fresh.arrays))()) == result


@every_kind
def test_a_plan_is_made_with_the_passes_that_are_named(kind: Kind) -> None:
    call = kind()
    leaves, structure = tree.flatten(call.params)
    layout: Layout[Any] = Layout(structure, [leaf.shape for leaf in leaves], np.dtype(np.float32))

    def calls(**options: Any) -> int:
        return len(call.compiled.record(*traced(layout, call.arrays, 5, 5), **options).calls)

    assert calls(passes=()) > calls() == calls(passes=call.compiled.passes)


@every_kind
def test_one_shape_has_one_program(kind: Kind) -> None:
    call = kind()
    for _ in range(5):
        call()
    assert len(programs(call.compiled)) == 1


@every_kind
def test_the_program_made_first_is_let_go_first(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_cache, "MAX_PROGRAMS", 6)
    call, made = kind(10), []
    for n in range(1, 11):
        call._replace(arrays=tuple(x[:n] for x in call.arrays))()
        made.append(programs(call.compiled)[-1])
    assert programs(call.compiled) == made[-6:]


@every_kind
def test_programs_that_need_much_memory_are_let_go_sooner(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    call = kind(20)

    def run(rows: int) -> int:
        call._replace(arrays=tuple(x[:rows] for x in call.arrays))()
        return len(programs(call.compiled))

    run(17)
    monkeypatch.setattr(program_cache, "MAX_BYTES", 3 * programs(call.compiled)[0].size)
    assert [run(rows) for rows in (18, 19, 20)] == [2, 2, 2]
    monkeypatch.setattr(program_cache, "MAX_BYTES", 0)
    assert run(16) == 1


@every_kind
def test_a_program_that_is_let_go_frees_its_memory_at_once(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    call = kind(20)
    call._replace(arrays=tuple(x[:17] for x in call.arrays))()
    ((space,),) = (program.pool for program in programs(call.compiled))
    slab = weakref.ref(space.own)
    del space
    monkeypatch.setattr(program_cache, "MAX_PROGRAMS", 1)
    gc.disable()
    try:
        call()
        assert slab() is None
    finally:
        gc.enable()


def labelled(batch: int) -> Call:
    call, labels = stepped(batch), np.arange(batch) % 2
    compiled = fn.sgd_step(net(), fn.softmax_cross_entropy(), learning_rate=0.1)
    return call._replace(compiled=compiled, arrays=(call.arrays[0], labels))


def with_state(batch: int) -> Call:
    call, optimizer = stepped(batch), fn.adam(0.1)
    arrays = optimizer.init(call.params), *call.arrays
    return call._replace(compiled=fn.train_step(net(), fn.mse(), optimizer), arrays=arrays)


@pytest.mark.parametrize("rows", [5, 3000], ids=["whole", "in blocks"])
@pytest.mark.parametrize("make", [*KINDS, labelled, with_state], ids=lambda make: make.__name__)
@pytest.mark.parametrize("jitted", [False, pytest.param(True, marks=needs_compiler)], ids=["numpy", "jit"])
def test_a_function_that_is_gone_frees_its_memory_at_once(jitted: bool, make: Kind, rows: int) -> None:
    call = make(rows)
    if jitted:
        layer: Any = net()
        call = call._replace(compiled=fn.jit(layer).apply if make is applied else fn.jit(call.compiled))
        del layer
    gc.collect()
    gc.disable()
    try:
        call()
        ((space,),) = (program.pool for program in programs(call.compiled))
        gone = [weakref.ref(space), weakref.ref(space.own), weakref.ref(space.gradient)]
        del space, call
        assert [x() for x in gone] == [None] * 3
    finally:
        gc.enable()


@every_kind
def test_small_params_that_are_held_count_as_the_memory_of_a_program(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program_cache, "BYTES_PER_CALL", 0)
    call = kind()
    call()
    (program,) = programs(call.compiled)
    of_params = sum(p.nbytes for p in tree.leaves(call.params))
    assert program.size == of_params + sum(plan.size for plan in program.plans.values())


@every_kind
def test_results_stay_as_they_are_in_later_calls(kind: Kind) -> None:
    call = kind()
    result = call()
    before = bits(result)
    for _ in range(3):
        call._replace(arrays=tuple(-x for x in call.arrays))()
    assert bits(result) == before


@every_kind
def test_results_may_be_written_to(kind: Kind) -> None:
    call = kind()
    result = call()
    before = bits(result)
    for leaf in tree.leaves(result):
        if leaf.ndim:
            leaf[...] = 7
    assert bits(call()) == before


@every_kind
def test_a_program_is_made_anew_once_it_was_let_go(kind: Kind) -> None:
    call = kind(40)
    first = bits(call())
    for n in range(1, 40):
        call._replace(arrays=tuple(x[:n] for x in call.arrays))()
    assert bits(call()) == first


@every_kind
def test_both_dtypes_through_one_closure(kind: Kind) -> None:
    single, double = kind(dtype=np.float32), kind(dtype=np.float64)
    mixed = double._replace(compiled=single.compiled)
    first = bits(single())
    assert bits(mixed()) == bits(double())
    assert bits(single()) == first


@every_kind
def test_a_program_keeps_few_workspaces(kind: Kind) -> None:
    call = kind(500)
    with ThreadPoolExecutor(32) as threads:
        list(threads.map(lambda _: call(), range(200)))
    assert all(len(program.pool) <= MAX_POOLED for program in programs(call.compiled))


@every_kind
def test_many_threads_may_call_at_once(kind: Kind) -> None:
    call = kind(200)
    arguments = [tuple(x[:n] for x in call.arrays) for n in (3, 40, 200)]
    expected = [bits(call.compiled(call.params, *arrays)) for arrays in arguments]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda i: bits(call.compiled(call.params, *arguments[i % 3])), range(300)))
    assert all(result == expected[i % 3] for i, result in enumerate(found))


# --- which program a call finds


def dropping(name: str) -> Call:
    """A call that a key makes a difference to."""
    layer = fn.serial(fn.linear(3), fn.dropout(0.5))
    x, target = numbers(5, 2), numbers(5, 3)
    compiled: Any = {
        "apply": layer.apply,
        "gradient": fn.value_and_grad(layer, fn.mse()),
        "step": fn.sgd_step(layer, fn.mse(), learning_rate=0.1),
    }[name]
    return Call(compiled, params_of(layer, (2,)), (x,) if name == "apply" else (x, target))


@pytest.mark.parametrize("name", ["apply", "gradient", "step"])
def test_a_key_goes_by_its_name_after_calls_with_one_too(name: str) -> None:
    call, key = dropping(name), fn.key(1)
    plain, dropped = bits(call()), bits(call.compiled(call.params, *call.arrays, key=key))
    assert plain != dropped
    for _ in range(2):
        assert bits(call.compiled(call.params, *call.arrays, key=key)) == dropped
        assert "is a random key: pass it by its name" in refusal(call._replace(arrays=(*call.arrays, key)))
        assert bits(call()) == plain


class Checks:
    """How often a call had to be checked from the start."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        checked: Any = Compiled._acquire_checked  # pyright: ignore[reportPrivateUsage]

        def counted(*arguments: Any) -> Any:
            self.count += 1
            return checked(*arguments)

        monkeypatch.setattr(Compiled, "_acquire_checked", counted)


@every_kind
def test_batches_of_shapes_seen_before_are_checked_no_more(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    call, checks = kind(6), Checks(monkeypatch)
    for _ in range(3):
        for rows in (6, 3, 6, 6):
            call._replace(arrays=tuple(x[:rows] for x in call.arrays))()
    assert checks.count == 2


def test_params_that_a_step_has_made_are_known_for_batches_of_every_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    call, checks = stepped(6), Checks(monkeypatch)
    params = call.params
    for rows in (6, 3, 6, 3, 3, 6):
        params, _ = call.compiled(params, *(x[:rows] for x in call.arrays))
    assert checks.count == 2


@every_kind
def test_after_a_short_batch_the_long_ones_are_expected_again(kind: Kind) -> None:
    call = kind(6)
    short = call._replace(arrays=tuple(x[:3] for x in call.arrays))
    for one in (call, short, call):
        one()
    long, _ = programs(call.compiled)
    assert call.compiled._programs.latest[0] is long


@every_kind
def test_each_batch_from_another_process_is_checked_no_more(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    call, checks = kind(), Checks(monkeypatch)
    expected = bits(call())
    for _ in range(3):
        arrays = tuple(pickle.loads(pickle.dumps(x)) for x in call.arrays)
        assert all(x.dtype is not np.dtype(np.float32) for x in arrays)  # the same dtype, but another object
        assert bits(call._replace(arrays=arrays)()) == expected
    assert checks.count == 1


# --- text


@every_kind
def test_before_the_first_call_there_is_no_program_to_show(kind: Kind) -> None:
    call = kind()
    assert str(call.compiled) == f"{call.compiled.kind}: no program yet; the first call makes one"


@every_kind
def test_after_a_call_its_program_is_shown(kind: Kind) -> None:
    call = kind()
    call()
    assert str(call.compiled).startswith(f"{call.compiled.kind}: ")
    assert "float32" in str(call.compiled).splitlines()[0]


# --- copies


def pickled(compiled: Any) -> Any:
    return pickle.loads(pickle.dumps(compiled))


COPIES: list[Callable[[Any], Any]] = [pickled, copy.deepcopy, copy.copy]


@every_kind
@pytest.mark.parametrize("make", COPIES, ids=["pickle", "deepcopy", "copy"])
def test_a_copy_has_no_programs_and_gives_the_same(kind: Kind, make: Callable[[Any], Any]) -> None:
    call = kind()
    expected = bits(call())
    again = make(call.compiled)
    assert "no program yet" in str(again)
    assert bits(call._replace(compiled=again)()) == expected
    assert "no program yet" not in str(call.compiled)


@every_kind
def test_a_pickle_does_not_grow_with_the_calls(kind: Kind) -> None:
    call = kind(1000)
    before = len(pickle.dumps(call.compiled))
    call()
    assert len(pickle.dumps(call.compiled)) == before


def test_a_network_pickles_with_its_apply() -> None:
    layer = net()
    params, x = params_of(layer, (2,)), numbers(5, 2)
    expected = layer.apply(params, x)
    assert bits(pickled(layer).apply(params, x)) == bits(expected)


# --- inputs that are taken


def as_list(x: Any, folder: Path) -> Any:
    return x.tolist()


def as_tuples(x: Any, folder: Path) -> Any:
    return tuple(map(tuple, x.tolist()))


def as_memmap(x: Any, folder: Path) -> Any:
    mapped = np.memmap(folder / f"{id(x)}.bin", dtype=x.dtype, mode="w+", shape=x.shape)
    mapped[...] = x
    return mapped


def as_float16(x: Any, folder: Path) -> Any:
    return x.astype(np.float16)


def as_float64(x: Any, folder: Path) -> Any:
    return x.astype(np.float64)


def as_longdouble(x: Any, folder: Path) -> Any:
    return x.astype(np.longdouble)


def as_big_endian(x: Any, folder: Path) -> Any:
    return x.astype(x.dtype.newbyteorder(">"))


def as_fortran(x: Any, folder: Path) -> Any:
    return np.asfortranarray(x)


def as_strided(x: Any, folder: Path) -> Any:
    return np.repeat(x, 2, axis=0)[::2]


def as_read_only(x: Any, folder: Path) -> Any:
    y = x.copy()
    y.flags.writeable = False
    return y


class Labelled(np.ndarray[Any, np.dtype[Any]]):
    """A subclass of ndarray."""


def as_subclass(x: Any, folder: Path) -> Any:
    return x.view(Labelled)


class Convertible:
    """What NumPy can make an array of."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.x


def as_convertible(x: Any, folder: Path) -> Any:
    return Convertible(x)


TAKEN = [
    as_list,
    as_tuples,
    as_memmap,
    as_float16,
    as_float64,
    as_longdouble,
    as_big_endian,
    as_fortran,
    as_strided,
    as_read_only,
    as_subclass,
    as_convertible,
]


@every_kind
@pytest.mark.parametrize("form", TAKEN, ids=lambda form: form.__name__)
def test_floating_inputs_are_cast(kind: Kind, form: Callable[[Any, Path], Any], tmp_path: Path) -> None:
    call = kind()
    exact = tuple(x.astype(np.float16).astype(np.float32) for x in call.arrays)
    expected = bits(call._replace(arrays=exact)())
    given = call._replace(arrays=tuple(form(x, tmp_path) for x in exact))
    assert bits(given()) == expected
    assert bits(given()) == expected


@every_kind
def test_results_are_plain_arrays_whatever_went_in(kind: Kind, tmp_path: Path) -> None:
    call = kind()
    given = call._replace(arrays=tuple(as_subclass(x, tmp_path) for x in call.arrays))
    assert {type(leaf) for leaf in tree.leaves(given())} <= {np.ndarray, np.float32}


@every_kind
def test_inputs_changed_in_place_are_read_anew(kind: Kind) -> None:
    call = kind()
    first = bits(call())
    call.arrays[0][...] *= 2
    expected = bits(kind()._replace(arrays=call.arrays)())
    assert bits(call()) == expected != first


# --- inputs that are refused


def refusal(call: Any, error: type[Exception] = fn.FuncnetError) -> str:
    """The message of an error, whose traceback does not tell of what happened inside."""
    with pytest.raises(error) as caught:
        call()
    told = caught.value
    assert told.__cause__ is None
    assert told.__suppress_context__ or told.__context__ is None
    return str(told)


REFUSED: dict[str, tuple[Any, str]] = {
    "ints": (np.ones((5, 2), np.int64), "has dtype int64.*astype"),
    "a list of ints": ([[1, 2]] * 5, r"has dtype int64.*np\.asarray\([xy], np\.float32\)"),
    "bytes of a picture": (np.ones((5, 2), np.uint8), "has dtype uint8.*astype"),
    "a mask": (np.ones((5, 2), bool), "has dtype bool.*astype"),
    "complex numbers": (np.ones((5, 2), complex), "has dtype complex128"),
    "objects": (np.full((5, 2), None), "has dtype object"),
    "strings": (np.full((5, 2), "a"), "has dtype <U1"),
    "a string": ("abc", "has dtype <U3"),
    "nothing": (None, "is a NoneType, not an array"),
    "dates": (np.full((5, 2), np.datetime64("2000-01-01")), "has dtype datetime64"),
    "a masked array": (np.ma.masked_less(numbers(5, 2), 0.0), "masked array.*filled"),
    "a matrix": (numbers(5, 2).view(np.matrix), "np.matrix.*np.asarray"),
    "ragged": ([[1.0, 2.0], [3.0]], "ragged.*pad or cut"),
}


@every_kind
@pytest.mark.parametrize("seen", [False, True], ids=["first call", "later call"])
@pytest.mark.parametrize("name", REFUSED)
def test_other_inputs_are_refused_with_the_fix(kind: Kind, name: str, seen: bool) -> None:
    call = kind()
    if seen:
        call()
    x, words = REFUSED[name]
    place = len(call.arrays) - 1
    message = refusal(call._replace(arrays=(*call.arrays[:-1], x)), fn.DTypeError)
    own = call.compiled.kind
    assert message.startswith((f"{own}: input {place} ", f"{own}: target 0 "))
    assert re.search(words, message)


@every_kind
def test_a_scalar_is_refused(kind: Kind) -> None:
    call = kind()
    message = refusal(call._replace(arrays=(1.5, *call.arrays[1:])), fn.ShapeError)
    assert "input 0 is a scalar" in message


def test_one_row_is_refused_with_the_fix() -> None:
    call = applied()
    assert "x[None]" in refusal(call._replace(arrays=(call.arrays[0][0],)), fn.ShapeError)


def test_batches_of_different_lengths_are_refused() -> None:
    call = stepped()
    message = refusal(call._replace(arrays=(call.arrays[0], call.arrays[1][:3])), fn.ShapeError)
    assert "batch sizes 5, 3" in message


def test_rows_of_another_width_are_refused_by_operator() -> None:
    message = refusal(applied()._replace(arrays=(numbers(5, 3),)), fn.ShapeError)
    assert "operator 1 (linear)" in message
    assert "(5, 3)" in message


def test_targets_of_another_shape_are_refused() -> None:
    call = stepped()
    assert "(5, 2)" in refusal(call._replace(arrays=(call.arrays[0], numbers(5, 1))), fn.ShapeError)


@pytest.mark.parametrize("seen", [False, True], ids=["first call", "later call"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_wrong_number_of_arrays_is_refused(count: int, seen: bool) -> None:
    call = stepped()
    if seen:
        call()
    refusal(call._replace(arrays=(numbers(5, 2),) * count), fn.ShapeError)


@pytest.mark.parametrize("seen", [False, True], ids=["first call", "later call"])
@pytest.mark.parametrize("count", [0, 2])
def test_a_wrong_number_of_inputs_is_refused(count: int, seen: bool) -> None:
    call = applied()
    if seen:
        call()
    refusal(call._replace(arrays=(numbers(5, 2),) * count), fn.ShapeError)


PARAMS: dict[str, Callable[[Any], Any]] = {
    "the pair that init returns": lambda params: (params, (2,)),
    "none": lambda params: None,
    "a list": lambda params: [*params.values()],
    "one missing": lambda params: {1: params[1], 3: params[3]},
    "one too many": lambda params: {**params, 9: params[1]},
    "ints": lambda params: {**params, 1: tree.map(lambda p: p.astype(int), params[1])},
    "two dtypes": lambda params: {**params, 1: tree.map(np.float64, params[1])},
    "another shape": lambda params: {**params, 1: params[3]},
    "lists for arrays": lambda params: {**params, 1: fn.Affine(*(p.tolist() for p in params[1]))},
    "half precision": lambda params: tree.map(np.float16, params),
}


@every_kind
@pytest.mark.parametrize("seen", [False, True], ids=["first call", "later call"])
@pytest.mark.parametrize("name", PARAMS)
def test_params_that_are_none_of_the_network_are_refused(kind: Kind, name: str, seen: bool) -> None:
    call = kind()
    expected = bits(call()) if seen else None
    refusal(call._replace(params=PARAMS[name](call.params)), ValueError)
    assert not seen or bits(call()) == expected


@every_kind
@pytest.mark.parametrize("seen", [False, True], ids=["first call", "later call"])
def test_an_error_leaves_the_closure_as_it_was(kind: Kind, seen: bool) -> None:
    call = kind()
    if seen:
        call()
    refusal(call._replace(arrays=tuple(x[:, :1] for x in call.arrays)), fn.ShapeError)
    assert bits(call()) == bits(kind()())


def test_a_key_that_is_none_is_refused() -> None:
    call = applied()
    refusal(lambda: call.compiled(call.params, *call.arrays, key=7), fn.KeyTypeError)


# --- layers that fail


class Refusal(Exception):
    """What a layer of a user's own raises."""


def only_positive(params: Any, x: Any) -> Any:
    if (x < 0).any():
        raise Refusal

    def pullback(g: Any) -> Any:
        if (x > 99).any():
            raise Refusal
        return (), (g,)

    return x, pullback


def same_shape(key: Any, shape: Any, dtype: Any = np.float32) -> Any:
    return (), shape


def fragile() -> Call:
    layer = fn.serial(fn.custom_layer(same_shape, only_positive), fn.linear(2))
    x = np.abs(numbers(5, 2))
    step = fn.sgd_step(fn.serial(fn.linear(2), layer), fn.mse(), learning_rate=0.1)
    params = (fn.Affine(np.eye(2, dtype=np.float32), np.zeros(2, np.float32)), params_of(layer, (2,)))
    return Call(step, params, (x, x))


@pytest.mark.parametrize("factor", [-1.0, 1000.0], ids=["forward", "backward"])
@pytest.mark.parametrize("times", [1, 20])
def test_a_layer_that_fails_leaves_the_step_usable(factor: float, times: int) -> None:
    call = fragile()
    expected = bits(call())
    for _ in range(times):
        with pytest.raises(Refusal):
            call._replace(arrays=(call.arrays[0] * np.float32(factor), call.arrays[1]))()
    assert bits(call()) == expected
    assert len(programs(call.compiled)) == 1


def test_a_layer_that_fails_first_leaves_the_step_usable() -> None:
    call = fragile()
    with pytest.raises(Refusal):
        call._replace(arrays=(-call.arrays[0], call.arrays[1]))()
    assert bits(call()) == bits(fragile()())
