"""What a user gets for sequences, lengths, states and masks that cannot be right: from a layer, a network, a step.

Each row is a layer, the shapes that it is drawn for, what it is given instead, the error, and words that it says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import funcnet as fn
from tests.exports.running import needs_compiler

T, F, U, ROWS = 4, 3, 2, 5
rng = np.random.default_rng(0)
untyped: Any = fn


def draw(*shape: int) -> Any:
    return rng.normal(size=shape).astype(np.float32)


X, N = draw(ROWS, T, F), np.array([4, 0, 1, 2, 3])


class Row(NamedTuple):
    """One mistake. checked: the layer itself finds it, so that the error names the operator."""

    layer: Any
    shapes: list[fn.Shape]
    given: tuple[Any, ...]
    error: type[Exception]
    words: str
    checked: bool = True


def of_sequences(x: Any, words: str, error: type[Exception] = fn.ShapeError) -> Row:
    return Row(fn.gru(U), [(T, F)], (x,), error, words, error is fn.ShapeError)


def of_lengths(layer: Any, n: Any, error: type[Exception], words: str, checked: bool = True) -> Row:
    return Row(layer, [(T, F), ()], (X, n), error, words, checked)


def of_state(layer: Any, state: int, s: Any, words: str, error: type[Exception] = fn.ShapeError) -> Row:
    return Row(layer, [(T, F), (state,)], (X, s), error, words, error is fn.ShapeError and len(s) == ROWS)


RECURRENT: dict[str, Row] = {
    "one sequence": of_sequences(X[0], r"time, 3\)\. One sequence is x\[None\]"),
    "one feature": of_sequences(X[..., 0], r"One feature is x\[\.\.\., None\]"),
    "sequences too wide": of_sequences(draw(ROWS, T, F + 1), r"its weight is \(3, 6\), so it takes rows of sequences"),
    "images": of_sequences(draw(ROWS, 2, T, F), r"takes rows of sequences \(time, 3\)\.$"),
    "integers": of_sequences(X.astype(int), "int64.*cast it", fn.DTypeError),
    **{
        f"{kind}, {name}": row
        for kind, layer in {
            "rnn": fn.rnn(U, lengths=True),
            "lstm": fn.lstm(U, lengths=True),
            "gru": fn.gru(U, lengths=True, return_sequences=True),
            "both ways": fn.bidirectional(fn.gru(U, lengths=True)),
        }.items()
        for name, row in {
            "a length below 0": of_lengths(layer, N - 1, fn.LabelError, "length -1 is none of 0 to 4, the number of"),
            "a length above": of_lengths(layer, N + 1, fn.LabelError, "length 5 is none of 0 to 4, the number of"),
            "floating lengths": of_lengths(
                layer, N.astype("f4"), fn.DTypeError, r"float32.*integers: cast.*astype\(int"
            ),
            "a mask for lengths": of_lengths(
                layer, np.arange(T) < N[:, None], fn.DTypeError, r"bool.*mask\.sum\(axis=1\)", checked=False
            ),
            "lengths of two axes": of_lengths(
                layer, N[:, None], fn.ShapeError, r"\(5, 1\).*one integer a sequence, \(5,"
            ),
            "lengths of other rows": of_lengths(layer, N[:3], fn.ShapeError, "batch sizes 5, 3", checked=False),
            "one length for all": of_lengths(layer, np.array(4), fn.ShapeError, "input 1 is a scalar", checked=False),
        }.items()
    },
    **{
        f"{kind}, {name}": row
        for kind, layer, state, words in [
            ("rnn", fn.rnn(U, initial_state=True), U, "one number a unit"),
            ("lstm", fn.lstm(U, initial_state=True), 2 * U, "h and c side by side"),
            ("gru", fn.gru(U, initial_state=True), U, "one number a unit"),
            ("both ways", fn.bidirectional(fn.gru(U, initial_state=True)), 2 * U, "each direction side by side"),
            ("lstm both ways", fn.bidirectional(fn.lstm(U, initial_state=True)), 4 * U, "each direction side by side"),
        ]
        for name, row in {
            "a state too narrow": of_state(layer, state, draw(ROWS, state - 1), rf"must be \(5, {state}\): .*{words}"),
            "half a state": of_state(
                layer, state, draw(ROWS, state // 2), rf"\(5, {state // 2}\).*be \(5, {state}\): "
            ),
            "a state of three axes": of_state(
                layer, state, draw(ROWS, 1, state), rf"must be \(5, {state}\): .*{words}"
            ),
            "a state of one row": of_state(layer, state, draw(1, state), "batch sizes 5, 1"),
            "a state of integers": of_state(
                layer, state, np.zeros((ROWS, state), int), "input 1 has dtype int64.*cast", fn.DTypeError
            ),
        }.items()
    },
}
Q, K, V = draw(2, 3, 4), draw(2, 5, 4), draw(2, 5, 6)


def of_attention(
    given: tuple[Any, ...], error: type[Exception], words: str, checked: bool = True, **options: Any
) -> Row:
    mask = [(5,)] if options.get("masked") else []
    queries = 5 if options.get("causal") else 3
    shapes: list[fn.Shape] = [(queries, 4), (5, 4), (5, 6), *mask]
    return Row(fn.dot_product_attention(**options), shapes, given, error, words, checked)


def of_mask(mask: Any, error: type[Exception], words: str, checked: bool = True) -> Row:
    return of_attention((Q, K, V, mask), error, words, checked, masked=True)


ATTENTION: dict[str, Row] = {
    "fewer values than keys": of_attention((Q, K, V[:, :4]), fn.ShapeError, "one value for each key"),
    "other features of keys": of_attention((Q, K[..., :2], V), fn.ShapeError, "equally many features"),
    "no keys": of_attention((Q, K[:, :0], V[:, :0]), fn.ShapeError, "there are no keys to attend to: give"),
    "causal, of other lengths": of_attention((Q, K, V), fn.ShapeError, "equally many where.*causal", causal=True),
    "keys of other rows": of_attention((Q, K[:1], V), fn.ShapeError, "batch sizes 2, 1, 2", checked=False),
    "a mask of queries": of_mask(np.ones((2, 3), bool), fn.ShapeError, r"its mask is \(2, 3\).*a key, \(2, 5\), or a"),
    "a mask of heads": of_mask(np.ones((2, 1, 3, 5), bool), fn.ShapeError, r"a query and key, \(2, 3, 5\)"),
    "a mask of integers": of_mask(
        np.ones((2, 5), int), fn.DTypeError, r"input 3.*bools, True for.*\(bool\)", checked=False
    ),
    "a mask that is added": of_mask(np.zeros((2, 3, 5), "f4"), fn.DTypeError, "added to scores, mask == 0"),
    "a mask the wrong way round": of_mask(np.zeros((2, 5), bool), fn.MaskError, r"\(2, 5\) is False everywhere.*~mask"),
    "one sequence": Row(fn.attention(2), [(3, 4)], (Q[0],), fn.ShapeError, r"sequence of features is x\[None\]"),
    "too many features": Row(fn.attention(2), [(3, 4)], (draw(2, 3, 6),), fn.ShapeError, "takes rows of 4 features"),
    "too long": Row(fn.positional_embedding(), [(4, 3)], (draw(5, 6, 3),), fn.ShapeError, "give init the longest"),
    "waves of one sequence": Row(
        fn.sinusoidal(), [(4, 3)], (draw(4, 3),), fn.ShapeError, r"\(batch, length, features\)"
    ),
}
ALL = {
    f"{table}: {name}": row
    for table, rows in {"recurrent": RECURRENT, "attention": ATTENTION}.items()
    for name, row in rows.items()
}


def in_network(row: Row) -> tuple[Any, Any, Any]:
    """(the layer as operator 'f' of a network, its params, a target)."""
    keys: list[fn.OperatorKey] = [f"x{i}" for i in range(len(row.shapes))]
    net = fn.network({**dict.fromkeys(keys, fn.identity()), "f": row.layer}, {k: ["f"] for k in keys}, inputs=keys)
    params, shape = net.init(fn.key(0), *row.shapes)
    return net, params, np.zeros((len(row.given[0]), *shape), np.float32)


@pytest.mark.parametrize("name", ALL)
def test_a_layer_its_network_and_a_step_name_what_is_wrong(name: str) -> None:
    row = ALL[name]
    params, _ = row.layer.init(fn.key(0), *row.shapes)
    with pytest.raises(row.error, match=row.words) as caught:
        row.layer.apply(params, *row.given)
    assert str(caught.value).startswith(f"{row.layer.apply.kind}: ")
    net, params, target = in_network(row)
    step: Any = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    calls: list[Callable[[], Any]] = [
        lambda: net.apply(params, *row.given),
        lambda: step(params, *row.given, target),
    ]
    for call in calls:
        with pytest.raises(row.error, match=row.words if row.checked else row.words.partition(", ")[0]) as caught:
            call()
        found = re.match(rf"operator 'f' \({row.layer.apply.kind}\): |f {row.layer.apply.kind}: ", str(caught.value))
        assert bool(found) == row.checked, str(caught.value)


@needs_compiler
@pytest.mark.parametrize("name", ["recurrent: lstm, a length above", "attention: a mask the wrong way round"])
def test_native_code_names_it_too_and_works_on(name: str) -> None:
    row = ALL[name]
    net, params, target = in_network(row)
    step = fn.jit(fn.sgd_step(net, fn.mse(), learning_rate=0.1))
    right = (*row.given[:-1], np.ones_like(row.given[-1]))
    _, before = step(params, *right, target)
    for _ in range(2):
        with pytest.raises(row.error, match=f"f {row.layer.apply.kind}: .*{row.words}"):
            step(params, *row.given, target)
    assert step(params, *right, target)[1] == before


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: untyped.rnn(4, return_state=True), fn.CallError, "return_state"),
        (lambda: untyped.gru(4, return_state=True), fn.CallError, "return_state"),
        (lambda: untyped.lstm(4, return_sequences=1), fn.OptionError, "lstm: return_sequences"),
        (lambda: untyped.lstm(4, lengths="yes"), fn.OptionError, "lstm: lengths"),
        (lambda: untyped.gru(2.5), fn.OptionError, "gru: units"),
        (lambda: untyped.bidirectional(fn.linear(4)), fn.GraphError, "takes an rnn, lstm or gru layer"),
        (lambda: untyped.bidirectional(fn.serial(fn.gru(4))), fn.GraphError, "takes an rnn, lstm or gru layer"),
        (lambda: untyped.attention(0), fn.OptionError, "attention: heads"),
        (lambda: untyped.attention(2, masked=1), fn.OptionError, "attention: masked"),
        (lambda: untyped.attention(2, dropout=1.0), fn.OptionError, "attention: dropout"),
        (lambda: untyped.attention(3).init(fn.key(0), (5, 4)), fn.ShapeError, "3 heads do not divide 4 features"),
    ],
)
def test_options_that_cannot_be_are_refused(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
