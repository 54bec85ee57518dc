"""Recurrent layers in both directions: beside two layers by hand, with lengths, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree

TIMES, INPUTS, UNITS = 5, 3, 2


def problem(layer: fn.Layer[Any], *further: fn.Shape) -> tuple[Any, Any]:
    """(params, an input)."""
    params, _ = fn.bidirectional(layer).init(fn.key(0), (TIMES, INPUTS), *further, dtype=np.float64)
    rng = np.random.default_rng(0)
    return tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape), params), rng.normal(size=(4, TIMES, INPUTS))


@pytest.mark.parametrize("make", [fn.rnn, fn.lstm, fn.gru])
def test_it_is_two_layers_of_which_one_reads_backward(make: Any) -> None:
    layer = make(UNITS, return_sequences=True)
    params, x = problem(layer)
    forward, backward = layer.apply(params.forward, x), layer.apply(params.backward, x[:, ::-1])[:, ::-1]
    expected = np.concatenate([forward, backward], axis=2)
    np.testing.assert_array_equal(fn.bidirectional(layer).apply(params, x), expected)
    last = fn.bidirectional(make(UNITS)).apply(params, x)
    np.testing.assert_array_equal(last, np.concatenate([forward[:, -1], backward[:, 0]], axis=1))


def test_the_directions_have_other_params() -> None:
    params, shape = fn.bidirectional(fn.gru(UNITS)).init(fn.key(0), (TIMES, INPUTS))
    assert shape == (2 * UNITS,)
    assert not np.array_equal(params.forward.weight, params.backward.weight)
    again, _ = fn.bidirectional(fn.gru(UNITS)).init(fn.key(0), (TIMES, INPUTS))
    np.testing.assert_array_equal(again.backward.weight, params.backward.weight)


@pytest.mark.parametrize("make", [fn.rnn, fn.lstm, fn.gru])
@pytest.mark.parametrize("sequences", [False, True])
def test_reading_backward_begins_at_the_last_time_of_each_sequence(make: Any, sequences: bool) -> None:
    alone = fn.bidirectional(make(UNITS, return_sequences=sequences))
    layer = fn.bidirectional(make(UNITS, return_sequences=sequences, lengths=True))
    params, x = problem(make(UNITS))
    n = np.array([5, 0, 2, 1])
    x[np.arange(TIMES) >= n[:, None]] = np.nan  # the padding is not read
    y, pullback = layer.apply.vjp(params, x, n)
    _, (dx, _) = pullback(np.ones_like(y))
    for i, length in enumerate(n):
        row, pull = alone.apply.vjp(params, x[i : i + 1, :length])
        _, (dx_row,) = pull(np.ones_like(row))
        np.testing.assert_allclose(y[i, :length] if sequences else y[i], row[0], rtol=1e-12)
        np.testing.assert_allclose(dx[i, :length], dx_row[0], rtol=1e-10, atol=1e-14)
        assert not dx[i, length:].any()
        assert not sequences or not y[i, length:].any()


@pytest.mark.parametrize("kind", [np.uint8, np.int64, ">i4"])
def test_lengths_are_integers_of_any_kind(kind: Any) -> None:
    layer = fn.bidirectional(fn.gru(UNITS, lengths=True, return_sequences=True))
    params, x = problem(fn.gru(UNITS))
    n = np.array([5, 0, 2, 1])
    np.testing.assert_array_equal(layer.apply(params, x, n.astype(kind)), layer.apply(params, x, n))


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize(("rows", "times"), [(0, 3), (2, 0), (0, 0)])
def test_no_rows_and_no_times(lengths: bool, rows: int, times: int) -> None:
    layer = fn.bidirectional(fn.lstm(UNITS, return_sequences=True, lengths=lengths))
    params, _ = problem(fn.lstm(UNITS))
    inputs = (np.zeros((rows, times, INPUTS)), *(np.zeros(rows, int),) * lengths)
    y, pullback = layer.apply.vjp(params, *inputs)
    assert y.shape == (rows, times, 2 * UNITS)
    assert pullback(y)[1][0].shape == (rows, times, INPUTS)


def test_what_is_refused() -> None:
    wrong_layers: list[Any] = [fn.linear(3), fn.serial(fn.gru(3)), fn.bidirectional(fn.gru(3)), fn.gru, 3]
    for wrong in wrong_layers:
        with pytest.raises(fn.GraphError, match="bidirectional takes an rnn, lstm or gru layer, not"):
            fn.bidirectional(wrong)
    layer = fn.bidirectional(fn.gru(UNITS, lengths=True, initial_state=True))
    params, x = problem(fn.gru(UNITS))
    n, state = np.array([5, 0, 2, 1]), np.zeros((4, 2 * UNITS))
    with pytest.raises(
        fn.ParamsError, match=r"its params must be Bidirectional\(forward, backward\), not GatedRecurrent"
    ):
        layer.apply(params.forward, x, n, state)
    for wrong_state in (np.zeros((4, UNITS)), np.zeros((4, 2 * UNITS + 1)), np.zeros(4)):
        with pytest.raises(fn.ShapeError, match=r"bidirectional: .*its initial state has shape"):
            layer.apply(params, x, n, wrong_state)
    for wrong_length in (-1, TIMES + 1):
        with pytest.raises(fn.LabelError, match=f"length {wrong_length} is none of 0 to {TIMES}"):
            layer.apply(params, x, np.array([0, 1, wrong_length, 2]), state)
    for shape in ((3 * UNITS,), (0, 3 * UNITS), (0, 0)):
        broken = params._replace(forward=params.forward._replace(recurrent_weight=np.zeros(shape)))
        with pytest.raises(fn.ParamsError, match="its weight, recurrent_weight and bias are"):
            layer.apply(broken, x, n, state)
    x_and_n: list[fn.Shape] = [(TIMES, INPUTS), ()]
    for state_shapes, words in (
        ([], "takes 3 inputs|3 inputs"),
        ([(UNITS,)], "state of shape"),
        ([(2 * UNITS + 1,)], "twice the numbers of one direction"),
        ([(2 * UNITS, 1)], "twice the numbers of one direction"),
    ):
        with pytest.raises(fn.ShapeError, match=words):
            layer.init(fn.key(0), *x_and_n, *state_shapes)
