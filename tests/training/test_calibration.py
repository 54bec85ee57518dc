"""The population's statistics: exact, layer by layer, wherever a batch_norm stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree

rng = np.random.default_rng(0)
BATCHES = [rng.normal(size=(rows, 2)) * 3 + 1 for rows in (5, 50, 1, 20)]
ALL = np.concatenate(BATCHES)

NESTED = fn.network({"a": fn.linear(3), "b": fn.batch_norm()}, {"a": ["b"]})
NETS: dict[str, fn.Layer[Any, Any]] = {
    "alone": fn.batch_norm(),
    "serial": fn.serial(fn.batch_norm(), fn.linear(3), fn.batch_norm(), fn.tanh(), fn.batch_norm()),
    "network": fn.network({1: fn.linear(3), 2: fn.batch_norm(), 3: [fn.relu(), fn.batch_norm()]}, {1: [2], 2: [3]}),
    "nested": fn.network({1: NESTED, 2: fn.relu(), 3: NESTED}, {1: [2], 2: [3]}),
    "parallel": fn.parallel(fn.serial(fn.batch_norm(), fn.linear(3)), fn.serial(fn.linear(3), fn.batch_norm())),
    "residual": fn.serial(fn.residual(fn.batch_norm(), fn.tanh(), fn.batch_norm()), fn.batch_norm()),
}
every_net = pytest.mark.parametrize("name", NETS)


def drawn(net: fn.Layer[Any, Any], dtype: Any = np.float64) -> Any:
    return net.init(fn.key(0), (2,), dtype=dtype)[0]


def norms(params: Any) -> list[fn.BatchNorm]:
    """Every BatchNorm in a tree."""
    if isinstance(params, fn.BatchNorm):
        return [params]
    children = params.values() if isinstance(params, dict) else params if isinstance(params, (tuple, list)) else ()
    return [norm for child in children for norm in norms(child)]


@every_net
def test_over_one_batch_it_gives_what_the_batch_gives(name: str) -> None:
    net = NETS[name]
    params = drawn(net)
    found = fn.calibrate(net, params, [ALL])
    assert all(norm.mean is not None and norm.var is not None for norm in norms(found))
    np.testing.assert_allclose(net.apply(found, ALL), net.apply(params, ALL), rtol=1e-10, atol=1e-12)


@every_net
def test_how_rows_are_cut_into_batches_changes_nothing(name: str) -> None:
    net = NETS[name]
    params = drawn(net)
    for a, b in zip(
        tree.leaves(fn.calibrate(net, params, BATCHES)), tree.leaves(fn.calibrate(net, params, [ALL])), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


def test_the_statistics_are_those_of_numpy() -> None:
    net = fn.serial(fn.batch_norm(), fn.tanh(), fn.batch_norm())
    found: Any = fn.calibrate(net, drawn(net), BATCHES)
    first, _, second = found
    np.testing.assert_allclose(first.mean, ALL.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(first.var, ALL.var(axis=0), rtol=1e-13)
    h = np.tanh((ALL - ALL.mean(axis=0)) / np.sqrt(ALL.var(axis=0) + 1e-5))  # of the calibrated one, not of batches
    np.testing.assert_allclose(second.mean, h.mean(axis=0), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(second.var, h.var(axis=0), rtol=1e-12)


def test_axes_between_batch_and_features_are_rows() -> None:
    x = rng.normal(size=(6, 5, 2))
    found: Any = fn.calibrate(fn.batch_norm(), drawn(fn.batch_norm()), [x[:4], x[4:]])
    np.testing.assert_allclose(found.mean, x.mean(axis=(0, 1)), rtol=1e-13)
    np.testing.assert_allclose(found.var, x.var(axis=(0, 1)), rtol=1e-13)


def test_means_are_taken_in_float64() -> None:
    x = (rng.normal(size=(10_000, 2)) + 1e4).astype(np.float32)
    found: Any = fn.calibrate(fn.batch_norm(), drawn(fn.batch_norm(), np.float32), np.split(x, 100))
    assert {leaf.dtype for leaf in found} == {np.dtype(np.float32)}
    np.testing.assert_allclose(found.mean, x.astype(np.float64).mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(found.var, x.astype(np.float64).var(axis=0), rtol=1e-6)


@every_net
def test_what_was_given_is_left_alone(name: str) -> None:
    net = NETS[name]
    params = drawn(net)
    before = tree.map(np.copy, params)
    found = fn.calibrate(net, params, BATCHES)
    assert tree.structure(params) == tree.structure(before)
    for a, b in zip(tree.leaves(params), tree.leaves(before), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not any(np.shares_memory(a, b) for a in tree.leaves(found) for b in tree.leaves(params))


def test_what_was_calibrated_before_is_forgotten() -> None:
    net = NETS["serial"]
    params = drawn(net)
    again = fn.calibrate(net, fn.calibrate(net, params, [ALL * 5]), BATCHES)
    for a, b in zip(tree.leaves(again), tree.leaves(fn.calibrate(net, params, BATCHES)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_network_without_batch_norm_keeps_its_params() -> None:
    net = fn.serial(fn.linear(3), fn.tanh())
    params = drawn(net)
    found = fn.calibrate(net, params, BATCHES)
    assert tree.structure(found) == tree.structure(params)
    np.testing.assert_array_equal(found[0].weight, params[0].weight)


def test_batches_may_be_tuples_with_targets_behind_the_inputs() -> None:
    net = fn.network({1: fn.linear(3), 2: fn.linear(3), 3: fn.add(), 4: fn.batch_norm()}, {1: [3], 2: [3], 3: [4]})
    params, _ = net.init(fn.key(0), (2,), (2,), dtype=np.float64)
    triples = [(x, 2 * x, x[:, 0]) for x in BATCHES]
    found = fn.calibrate(net, params, triples)
    sums = fn.trace(net, params, ALL, 2 * ALL)[3]
    np.testing.assert_allclose(found[4].mean, sums.mean(axis=0), rtol=1e-11, atol=1e-13)


def test_a_network_trains_with_batches_and_is_used_with_the_population() -> None:
    net = fn.network({1: fn.linear(8), 2: fn.batch_norm(), 3: fn.relu(), 4: fn.linear(1)}, {1: [2], 2: [3], 3: [4]})
    params = drawn(net)
    step = fn.sgd_step(net, fn.mse(), learning_rate=0.1)
    target = (ALL**2).sum(axis=1, keepdims=True) / 10
    for _ in range(300):
        params, loss = step(params, ALL, target)
    found = fn.calibrate(net, params, BATCHES)
    single = np.concatenate([net.apply(found, row[None]) for row in ALL])  # a row alone has no statistics of its own
    assert np.mean((single - target) ** 2) == pytest.approx(loss, rel=0.1)
    assert np.mean((single - target) ** 2) < 0.3 * np.var(target)


class OneAfterTheOther:
    """Batches that are read anew each time they are gone through."""

    def __iter__(self) -> Iterator[Any]:
        yield from BATCHES


def test_whatever_can_be_gone_through_again_will_do() -> None:
    net = NETS["serial"]
    params = drawn(net)
    for a, b in zip(
        tree.leaves(fn.calibrate(net, params, OneAfterTheOther())),
        tree.leaves(fn.calibrate(net, params, BATCHES)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_an_iterator_is_refused() -> None:
    with pytest.raises(
        fn.OptionError, match="is an iterator, which can be gone through but once: pass a list of batches"
    ):
        fn.calibrate(NETS["serial"], drawn(NETS["serial"]), iter(BATCHES))


FORMS: dict[str, tuple[Any, int | None]] = {
    "one array": (ALL, None),
    "arrays": ((ALL, ALL[:, 0]), None),
    "arrays, batch by batch": ((ALL, ALL[:, 0]), 7),
    "a list of arrays": ([ALL, ALL[:, 0]], 7),
    "batches": ([(ALL[:30], ALL[:30, 0]), [ALL[30:], ALL[30:, 0]]], None),
    "batches of inputs": ([ALL[:38], ALL[38:]], None),
    "plain lists": ((ALL.tolist(), ALL[:, 0].tolist()), 9),
}


@pytest.mark.parametrize("form", FORMS)
def test_data_come_in_the_forms_that_evaluate_takes(form: str) -> None:
    net, (data, size) = NETS["serial"], FORMS[form]
    params = drawn(net)
    expected = fn.calibrate(net, params, [(ALL,)])
    for a, b in zip(tree.leaves(fn.calibrate(net, params, data, size)), tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("net", [fn.serial(fn.add(), fn.batch_norm()), fn.serial(fn.concatenate(), fn.batch_norm())])
def test_a_target_is_no_input_of_a_network_of_any_number_of_inputs(net: Any) -> None:
    assert net.apply.arity is None
    params, _ = net.init(fn.key(0), (2,), dtype=np.float64)
    found = fn.calibrate(net, params, (ALL, 100 * ALL))
    np.testing.assert_allclose(found[1].mean, ALL.mean(axis=0), rtol=1e-12)
    with pytest.raises(fn.OptionError, match="calibrate: this .* takes any number of inputs.*make it an operator"):
        fn.calibrate(net, params, (ALL, ALL, ALL))


def test_params_may_be_those_of_a_fit() -> None:
    net = NETS["serial"]
    params = drawn(net)
    found = fn.calibrate(net, fn.Fit(params, None, {}, params), BATCHES)
    for a, b in zip(tree.leaves(found), tree.leaves(fn.calibrate(net, params, BATCHES)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_no_layer_or_holds_no_batches_is_refused() -> None:
    net = NETS["serial"]
    with pytest.raises(fn.GraphError, match="calibrate: argument 0 is .* and not a layer"):
        fn.calibrate(net.apply, drawn(net), BATCHES)  # type: ignore[arg-type]
    with pytest.raises(fn.OptionError, match="calibrate: data: a tuple of arrays .* not None"):
        fn.calibrate(net, drawn(net), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("batches", [[], [(np.ones((0, 2)),)], [np.ones((0, 2))]])
def test_no_rows_have_no_statistics(batches: Any) -> None:
    with pytest.raises(fn.ShapeError, match="there are no rows in the data"):
        fn.calibrate(NETS["serial"], drawn(NETS["serial"]), batches)


def test_an_empty_batch_among_others_counts_for_nothing() -> None:
    layer = fn.batch_norm()
    found = fn.calibrate(layer, drawn(layer), [np.ones((0, 2)), *BATCHES])
    np.testing.assert_array_equal(found.mean, fn.calibrate(layer, drawn(layer), BATCHES).mean)


def test_inputs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(fn.DTypeError, match="cast it"):
        fn.calibrate(NETS["serial"], drawn(NETS["serial"]), [np.ones((3, 2), int)])
    with pytest.raises(fn.ParamsError, match="one number a feature"):
        fn.calibrate(NETS["serial"], drawn(NETS["serial"]), [np.ones((3, 5))])
