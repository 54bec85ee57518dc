"""Listings: what is printed is what runs."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import pytest

import funcnet as fn
from tests.support.blocks import run_in_small_blocks

OPERATORS = {1: fn.linear(25), 2: fn.tanh(), 3: fn.linear(25), 4: fn.sigmoid(), 5: fn.add(), 6: fn.linear(2)}
CONNECTIVITY = {1: [2], 2: [3, 5], 3: [4], 4: [5], 5: [6], 6: []}
NET = fn.network(OPERATORS, CONNECTIVITY, inputs=[1], output=6)


class Line(NamedTuple):
    """One call of a listing."""

    scope: str
    name: str
    shape: str
    call: str
    place: str


LINE = re.compile(r"  (\S.*?)  +(\S.*?) (\(\S*(?:, \S+)*\)) += (.*?\))  +(\S.*)")


def text(compiled: Any, params: Any, *arrays: Any) -> str:
    compiled(params, *arrays)
    return str(compiled)


def lines(listing: str) -> list[Line]:
    """The calls of a listing."""
    body = listing.split("\n  outputs:")[0].splitlines()[2:]
    found = [LINE.fullmatch(line) for line in body]
    assert None not in found, body
    return [Line(*match.groups()) for match in found if match]


def numbers(*shape: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


@pytest.fixture
def step() -> str:
    """The listing of a training step of the design page's network."""
    params, _ = NET.init(fn.key(0), (2,))
    return text(fn.sgd_step(NET, fn.mse(), learning_rate=0.05), params, numbers(40, 2), numbers(40, 2))


def test_there_is_a_line_for_each_call(step: str) -> None:
    assert len(lines(step)) == 23
    assert re.fullmatch(r"sgd_step: 23 calls, float32, [\d,]+ bytes of memory", step.splitlines()[0])


def test_the_lines_are_the_program_that_runs(step: str) -> None:
    params, _ = NET.init(fn.key(0), (2,))
    compiled = fn.sgd_step(NET, fn.mse(), learning_rate=0.05)
    compiled(params, numbers(40, 2), numbers(40, 2))
    (program,) = compiled._programs.by_signature.values()
    space: Any = program.pool[0]
    assert len(space.program) == len(lines(step))


def test_inputs_and_outputs_have_names_and_shapes(step: str) -> None:
    assert step.splitlines()[1] == "  inputs: x0 (40, 2) in memory 3, x1 (40, 2) in memory 4"
    assert "\n  outputs: v11 () times 0.0125\n" in step


def test_every_call_tells_its_operator(step: str) -> None:
    backward = ["loss mse backward", *(f"{key} backward" for key in ("6 linear", "4 sigmoid", "3 linear", "2 tanh"))]
    forward = ["1 linear", "2 tanh", "3 linear", "4 sigmoid", "5 add", "6 linear", "loss mse"]
    assert list(dict.fromkeys(line.scope for line in lines(step))) == [*forward, *backward, "1 linear backward"]


def test_params_go_by_their_paths(step: str) -> None:
    assert lines(step)[0].call == "matmul([x0 1], [params[1].weight; bias])"
    assert "matmul(g12, params[6].weight.T)" in [line.call for line in lines(step)]


def test_every_name_stands_left_before_it_stands_right(step: str) -> None:
    known = {"x0", "x1"}
    for line in lines(step):
        assert set(re.findall(r"\b[gvx]\d+\b", line.call)) <= known
        known.add(line.name)


def test_a_call_in_place_says_so(step: str) -> None:
    (tanh, *_) = [line for line in lines(step) if line.call == "tanh(v1)"]
    product = lines(step)[0]
    assert tanh.place == f"{product.place}, in place of v1"


def test_a_call_that_is_not_in_place_says_nothing(step: str) -> None:
    (product,) = [line for line in lines(step) if line.call == "add(v2, v7)"]
    assert re.fullmatch(r"memory \d+", product.place)


def test_joined_calls_tell_what_stands_on_a_shelf_and_results_which_part_they_are(step: str) -> None:
    (square,) = [line for line in lines(step) if line.call == "multiply([v7 v2], [v7 v2])"]
    assert square.shape == f"({2 * (25 + 1) * 40},)"
    assert f"subtract(v7, {square.name}.0)" in step
    assert f"subtract(1, {square.name}.1)" in step


def test_gradients_are_named_and_placed(step: str) -> None:
    found = [(line.name, line.shape) for line in lines(step) if line.place == "the gradient"]
    assert found == [
        ("d [params[6].weight; bias]", "(26, 2)"),
        ("d [params[3].weight; bias]", "(26, 25)"),
        ("d [params[1].weight; bias]", "(3, 25)"),
    ]


def test_what_is_left_out_stands_at_the_end(step: str) -> None:
    told = step.split("not run, because nothing needs them or another call includes them:\n")[1].splitlines()
    assert "    1 linear backward: matmul (40, 2)" in told
    assert "    loss mse backward: negative (40, 2)" in told
    assert len(told) == 10 + 2  # and the legend


def test_the_legend_explains_the_letters_that_are_used(step: str) -> None:
    assert step.endswith("  g: values of the backward pass; d p: the gradient of p")
    assert all(
        line.name[0] == ("g" if line.scope.endswith("backward") else "v") for line in lines(step) if line.name[0] != "d"
    )


def test_what_is_in_a_series_is_named() -> None:
    net = fn.network({1: [fn.linear(3), fn.tanh()], 2: fn.linear(1)}, {1: [2]})
    found = lines(text(fn.value_and_grad(net, fn.mse()), net.init(fn.key(0), (2,))[0], numbers(5, 2), numbers(5, 1)))
    assert [line.scope for line in found][:3] == ["1 serial / 0 linear", "1 serial / 1 tanh", "2 linear"]
    assert found[-1].scope == "1 serial backward / 0 linear backward"


def test_the_update_is_reported(step: str) -> None:
    assert "\n  then: new params = params - d params;" in step


def test_a_forward_pass_ends_with_its_outputs() -> None:
    params, _ = NET.init(fn.key(0), (2,))
    found = text(NET.apply, params, numbers(5, 2))
    assert found.startswith("network: 9 calls, float32,")
    assert "then:" not in found
    assert "backward" not in found


def test_without_anything_left_out_nothing_is_reported_of_it() -> None:
    net = fn.network({1: fn.tanh()}, {})
    assert "left out" not in text(net.apply, {}, numbers(5, 2))


def test_blocks_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    run_in_small_blocks(monkeypatch)
    params, _ = NET.init(fn.key(0), (2,))
    found = text(fn.serial(NET).apply, (params,), numbers(4, 2))
    assert found.startswith("serial, in 2 blocks of rows: 9 calls")
    assert "inputs: x0 (2, 2)" in found


def test_the_last_program_is_shown() -> None:
    compiled = fn.serial(fn.linear(2)).apply
    params = (fn.Affine(numbers(3, 2), numbers(2)),)
    compiled(params, numbers(5, 3))
    assert "x0 (7, 3)" in text(compiled, params, numbers(7, 3))


def test_doubles_are_reported() -> None:
    net = fn.network({1: fn.tanh()}, {})
    assert ", float64, " in text(net.apply, {}, numbers(5, 2, dtype=np.float64)).splitlines()[0]


def test_nested_operators_go_by_the_way_to_them() -> None:
    inner = fn.network({"a": fn.linear(3), "b": fn.relu()}, {"a": ["b"]})
    net = fn.network({0: inner, 1: fn.tanh()}, {0: [1]})
    params, _ = net.init(fn.key(0), (3,))
    found = lines(text(net.apply, params, numbers(4, 3)))
    assert [line.scope for line in found] == ["0 network / a linear", "0 network / b relu", "1 tanh"]
    assert "params[0]['a'].weight" in found[0].call


def test_a_shared_operator_reads_the_params_of_the_other() -> None:
    net = fn.network({"l": fn.linear(3), "r": fn.shared("l")}, {"l": ["r"]})
    params, _ = net.init(fn.key(0), (3,))
    found = lines(text(net.apply, params, numbers(4, 3)))
    assert [line.scope for line in found] == ["l linear", "r linear"]
    assert all("[params['l'].weight; bias]" in line.call for line in found)


def test_slices_are_told_apart() -> None:
    operators = {0: fn.identity(), 1: fn.linear(3), 2: fn.linear(3), 3: fn.concatenate()}
    net = fn.network(operators, {0: [1, 2], 1: [3], 2: [3]})
    params, _ = net.init(fn.key(0), (3,))
    found = lines(text(fn.value_and_grad(net, fn.mse()), params, numbers(4, 3), numbers(4, 6)))
    assert len({line.call for line in found if line.place == "the gradient"}) == 2


def doubled(params: Any, x: Any) -> Any:
    return x * 2, lambda g: ((), (g * 2,))


def same_shape(key: Any, shape: Any, dtype: Any = np.float32) -> Any:
    return (), shape


def test_a_custom_layer_goes_by_its_name() -> None:
    net = fn.serial(fn.linear(3), fn.custom_layer(same_shape, doubled))
    params, _ = net.init(fn.key(0), (3,))
    found = text(fn.value_and_grad(net, fn.mse()), params, numbers(4, 3), numbers(4, 3))
    assert "doubled forward(v1)" in found
    assert "doubled backward(" in found
    assert "value_and_grad: 7 calls" in found


@pytest.mark.parametrize("learning_rate", [0.05, 0.1])
def test_the_learning_rate_stands_in_the_cotangent_of_the_loss(learning_rate: float) -> None:
    net = fn.network({1: fn.linear(2)}, {})
    params, _ = net.init(fn.key(0), (2,))
    step = fn.sgd_step(net, fn.mse(), learning_rate=learning_rate)
    found = lines(text(step, params, numbers(5, 2), numbers(5, 2)))
    (seed,) = [line.call for line in found if line.scope == "loss mse backward"]
    assert float(seed.split(", ")[1].rstrip(")")) == pytest.approx(learning_rate * 2 / 10)
