"""What is said of params of many members, and of a layer of sequences that is given none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import funcnet as fn
from tests.support.cases import CASES


def stacked(params: Any) -> Any:
    return fn.tree.map(lambda leaf: np.stack([leaf] * 3), params)


OF_PARAMS = [
    case
    for case in CASES
    if case.name != "custom_layer" and fn.tree.leaves(case.make().init(fn.key(0), *case.shapes)[0])
]


@pytest.mark.parametrize("case", OF_PARAMS, ids=lambda case: case.name)
def test_params_of_many_members_are_sent_to_vmap(case: Any) -> None:
    layer = case.make()
    params, _ = layer.init(fn.key(0), *case.shapes)
    inputs = case.inputs(np.random.default_rng(0).normal, 5, np.float32)
    with pytest.raises(
        fn.ParamsError, match=r"; a stack of 3 members is for fn\.vmap, such as fn\.vmap\(net\.apply\)$"
    ):
        layer.apply(stacked(params), *inputs)
    with pytest.raises(fn.ParamsError) as caught:
        layer.apply(stacked(stacked(params)), *inputs)
    assert "fn.vmap" not in str(caught.value)


def test_a_step_sends_params_of_many_members_to_vmap() -> None:
    net = fn.serial(fn.linear(4), fn.tanh(), fn.linear(1))
    params, _ = net.init(fn.key(0), (2,))
    x, t = np.ones((3, 2)), np.ones((3, 1))
    members: Any = stacked(params)
    step: Any = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    for call in (step, fn.value_and_grad(net, fn.mse())):
        with pytest.raises(fn.ParamsError, match=r"layer 0 of the series \(linear\).*fn\.vmap"):
            call(members, x, t)
    fn.vmap(step, in_axes=(0, None, None))(members, x, t)


OF_SEQUENCES: dict[str, Any] = {
    "rnn": fn.rnn(4),
    "lstm": fn.lstm(4),
    "gru": fn.gru(4),
    "both ways": fn.bidirectional(fn.gru(4)),
    "attention": fn.attention(2),
    "conv": fn.conv(3, 3),
    "conv_transpose": fn.conv_transpose(3, 3),
    "max_pool": fn.max_pool(2),
    "avg_pool": fn.avg_pool(2),
    "upsample": fn.upsample(2),
    "positional_embedding": fn.positional_embedding(),
    "sinusoidal": fn.sinusoidal(),
}


@pytest.mark.parametrize("layer", OF_SEQUENCES.values(), ids=OF_SEQUENCES)
def test_sequences_behind_a_recurrent_layer_that_gives_its_last_output(layer: Any) -> None:
    words = "a recurrent layer before it gives a sequence with return_sequences=True"
    recurrent: Any = (fn.rnn, fn.lstm, fn.gru)
    for before in recurrent:
        with pytest.raises(fn.ShapeError, match=words):
            fn.serial(before(4), layer).init(fn.key(0), (5, 3))
        fn.serial(before(4, return_sequences=True), layer).init(fn.key(0), (5, 3))
        with pytest.raises(fn.ShapeError, match=words):
            fn.network({1: before(4), 2: layer}, {1: [2]}).init(fn.key(0), (5, 3))
        with pytest.raises(fn.ShapeError) as caught:
            layer.init(fn.key(0), (6, 5, 4, 4))
        assert words not in str(caught.value)


def test_the_last_output_goes_into_no_image() -> None:
    with pytest.raises(fn.ShapeError) as caught:
        fn.serial(fn.lstm(4), fn.conv(2, (3, 3))).init(fn.key(0), (5, 3))
    assert "return_sequences" not in str(caught.value)
