"""Weights of losses: one a row or one a place, missing values, ignored labels, sequences of labels."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funcnet as fn
from funcnet import tree
from tests.support.budget import examples

pytestmark = pytest.mark.filterwarnings("ignore:.*kl_divergence takes logarithms")  # of any numbers here
DTYPES = [np.float32, np.float64]
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}
GARBAGE = [np.nan, np.inf, -np.inf, 1e30, -1e30]
ELEMENTWISE = [
    fn.mse,
    fn.mae,
    fn.huber,
    fn.log_cosh,
    fn.pinball,
    fn.poisson_nll,
    fn.gaussian_nll,
    fn.sigmoid_cross_entropy,
    fn.hinge,
]
ALL = [*ELEMENTWISE, fn.kl_divergence, fn.softmax_cross_entropy]
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_reduction = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])


def inputs_of(make: Any, shape: tuple[int, ...], dtype: Any, seed: int) -> list[Any]:
    """A prediction, and what else the loss takes but weights."""
    rng = np.random.default_rng(seed)
    y, t = rng.normal(size=(2, *shape))
    others = {
        fn.gaussian_nll: [abs(t) + 0.5, t[::-1]],
        fn.kl_divergence: [abs(t) + 0.1],
        fn.sigmoid_cross_entropy: [t > 0],
        fn.hinge: [np.sign(t)],
    }.get(make, [t])
    return [np.array(x, dtype) for x in (y, *others)]


def eager(loss: Any, inputs: list[Any]) -> tuple[Any, Any]:
    """(loss, cotangents of the inputs)."""
    value, pullback = loss.apply.vjp((), *inputs)
    return value, pullback(np.ones_like(value))[1]


def close(found: Any, expected: Any, dtype: Any) -> None:
    for a, b in zip(tree.leaves(found), tree.leaves(expected), strict=True):
        assert np.asarray(a).dtype == dtype
        np.testing.assert_allclose(a, b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@st.composite
def zeros(draw: st.DrawFn, shape: tuple[int, ...], dtype: Any) -> Any:
    """Weights, some of which are 0, or -0."""
    kinds = st.sampled_from([0.0, -0.0, 0.5, 1.0, 3.0])
    return np.array(draw(st.lists(kinds, min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))), dtype).reshape(
        shape
    )


@pytest.mark.parametrize("make", ALL)
@each_dtype
@each_reduction
@settings(max_examples=examples(15))
@given(data=st.data())
def test_a_weight_of_zero_beats_everything(make: Any, dtype: Any, reduction: Any, data: st.DataObject) -> None:
    shape = (4, 3)
    of_rows = make in (fn.kl_divergence, fn.softmax_cross_entropy) or data.draw(st.booleans())
    w = data.draw(zeros(shape[:1] if of_rows else shape, dtype))
    inputs = inputs_of(make, shape, dtype, data.draw(st.integers(0, 9)))
    missing = np.broadcast_to((w == 0) if not of_rows else (w == 0)[:, None], shape)
    broken = [np.where(missing, np.array(data.draw(st.sampled_from(GARBAGE)), dtype), x) for x in inputs]
    loss = make(reduction=reduction, weighted=True)
    value, cotangents = eager(loss, [*broken, w])
    expected, others = eager(loss, [*(np.where(missing, np.array(0.5, dtype), x) for x in inputs), w])
    close((value, cotangents[:-1]), (expected, others[:-1]), dtype)
    assert all(not dx[missing].any() for dx in cotangents[:-1])
    assert np.isfinite(cotangents[-1]).all()


@pytest.mark.parametrize("make", ALL)
@each_dtype
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("rows", [4, 1500])
def test_a_weight_of_zero_beats_everything_in_a_program(make: Any, dtype: Any, reduction: Any, rows: int) -> None:
    rng = np.random.default_rng(rows)
    inputs = inputs_of(make, (rows, 3), dtype, 0)
    of_elements = make in ELEMENTWISE
    w = (rng.random((rows, 3) if of_elements else rows) < 0.6).astype(dtype)
    missing = np.broadcast_to((w == 0) if of_elements else (w == 0)[:, None], (rows, 3))
    broken = [np.where(missing, rng.choice(np.array(GARBAGE, dtype), missing.shape), x) for x in inputs]
    net: Any = fn.linear(3, use_bias=False)
    if make is fn.gaussian_nll:
        net = fn.network({1: net, 2: fn.identity()}, {}, inputs=[1, 2], output=[1, 2])
    params: Any = (
        fn.Weight(np.eye(3, dtype=dtype)) if make is not fn.gaussian_nll else {1: fn.Weight(np.eye(3, dtype=dtype))}
    )
    loss = make(reduction=reduction, weighted=True)
    y, *others = inputs
    gradient = fn.value_and_grad(net, loss)
    found = gradient(params, y, *broken[1:], w)  # the prediction is computed, what is compared with it is missing
    expected = gradient(params, y, *(np.where(missing, np.array(0.5, dtype), x) for x in others), w)
    assert np.isfinite(found[0])
    for a, b in zip(tree.leaves(found), tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3 if dtype is np.float32 else 1e-11)
    value, _ = eager(loss, [*broken, w]) if make is not fn.poisson_nll else (found[0], None)
    np.testing.assert_allclose(found[0], value, rtol=1e-3 if dtype is np.float32 else 1e-11)


@pytest.mark.parametrize("make", ELEMENTWISE)
@each_reduction
@each_dtype
def test_a_weight_a_row_is_that_weight_at_each_element(make: Any, reduction: Any, dtype: Any) -> None:
    inputs, w = inputs_of(make, (5, 2, 3), dtype, 3), np.array([1, 0, 2, 0.5, 3], dtype)
    loss = make(reduction=reduction, weighted=True)
    value, (*cotangents, dw) = eager(loss, [*inputs, w])
    spread = np.broadcast_to(w[:, None, None], (5, 2, 3))
    again, (*same, each) = eager(loss, [*inputs, spread])
    close((value, cotangents, dw), (again, same, each.sum(axis=(1, 2))), dtype)


@pytest.mark.parametrize("make", ELEMENTWISE)
def test_the_mean_is_over_the_weights_of_all_elements(make: Any) -> None:
    inputs = inputs_of(make, (5, 3), np.float64, 1)
    w = np.random.default_rng(0).integers(0, 3, (5, 3)).astype(float)
    each = make(reduction="none").apply((), *(x.reshape(15) for x in inputs))
    found = make(weighted=True).apply((), *inputs, w)
    np.testing.assert_allclose(found, np.average(each, weights=w.ravel()), rtol=1e-13)
    rows = make(reduction="none", weighted=True).apply((), *inputs, w)
    np.testing.assert_allclose(rows, (each.reshape(5, 3) * w).mean(axis=1), rtol=1e-13)
    np.testing.assert_allclose(make(reduction="sum", weighted=True).apply((), *inputs, w), rows.sum(), rtol=1e-13)


@pytest.mark.parametrize("make", ALL)
@each_dtype
def test_where_all_weights_are_zero_so_are_the_loss_and_its_gradients(make: Any, dtype: Any) -> None:
    inputs = [np.full_like(x, np.nan) for x in inputs_of(make, (4, 3), dtype, 0)]
    for shape in ((4,), (4, 3)) if make in ELEMENTWISE else ((4,),):
        loss, w = make(weighted=True), np.zeros(shape, dtype)
        value, cotangents = eager(loss, [*inputs, w])
        assert value == 0
        assert all(not dx.any() for dx in cotangents)
        assert loss.apply.total_weight(*inputs, w) == 0.0
        assert fn.network({i: fn.identity() for i in range(len(inputs) + 1)} | {"loss": loss},
                          dict.fromkeys(range(len(inputs) + 1), ["loss"]),
                          inputs=[*range(len(inputs) + 1)]).apply({}, *inputs, w) == 0  # fmt: skip


def test_a_step_of_all_weights_zero_leaves_the_params() -> None:
    net, x = fn.linear(2), np.ones((3, 4), np.float32)
    params, _ = net.init(fn.key(0), (4,))
    step = fn.sgd_step(net, fn.mse(weighted=True), learning_rate=0.1)
    new, loss = step(params, x, np.full((3, 2), np.nan, np.float32), np.zeros((3, 2), np.float32))
    assert loss == 0
    assert all(np.array_equal(a, b) for a, b in zip(tree.leaves(new), tree.leaves(params), strict=True))


@pytest.mark.parametrize("make", ALL)
def test_slopes_by_weights_of_zero_are_those_of_the_loss(make: Any) -> None:
    inputs, w = inputs_of(make, (4, 3), np.float64, 2), np.array([0.0, 1.0, 0.0, 2.0])
    loss = make(weighted=True)
    _, (*_, dw) = eager(loss, [*inputs, w])
    for i in range(4):
        near = w + 1e-6 * (np.arange(4) == i)
        slope = (loss.apply((), *inputs, near) - loss.apply((), *inputs, w)) / 1e-6
        np.testing.assert_allclose(dw[i], slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", ALL)
@each_reduction
def test_slopes_by_weights_below_zero_are_the_losses(make: Any, reduction: Any) -> None:
    inputs, w = inputs_of(make, (4, 3), np.float64, 2), np.array([-1.0, 0.0, 4.0, -0.5])
    each = make(reduction="none").apply((), *inputs)
    value, (*_, dw) = eager(make(reduction=reduction, weighted=True), [*inputs, w])
    slope = (each - value) / w.sum() if reduction == "mean" else each
    np.testing.assert_allclose(dw, slope, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("make", ALL)
@each_reduction
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_only_a_weight_of_zero_hides_what_is_not_finite(make: Any, reduction: Any, bad: float) -> None:
    inputs, w = inputs_of(make, (3, 3), np.float64, 2), np.array([1.0, 0.0, -2.0])
    inputs[1][1:] = bad
    with np.errstate(invalid="ignore"):
        value, (*_, dw) = eager(make(reduction=reduction, weighted=True), [*inputs, w])
    assert not np.isfinite(value).all()
    assert not np.isfinite(dw[2])


def test_of_weights_and_a_target_in_other_shapes_the_target_is_named() -> None:
    y, t = np.ones((5, 3)), np.ones((5, 4))
    for w in (np.ones(5), np.ones((5, 3))):
        with pytest.raises(fn.ShapeError, match=r"prediction \(5, 3\) and target \(5, 4\) must have the same shape"):
            fn.mse(weighted=True).apply((), y, t, w)


def test_weights_in_another_shape_are_told_both_that_fit() -> None:
    y, labels = np.ones((5, 3)), np.zeros((5, 2), int)
    with pytest.raises(fn.ShapeError, match=r"weights \(5, 2\).* one number a row, \(5,\), or of shape \(5, 3\)$"):
        fn.mse(weighted=True).apply((), y, y, np.ones((5, 2)))
    with pytest.raises(fn.ShapeError, match=r"weights \(5, 3\).* one number a row, \(5,\), or of shape \(5, 2\)$"):
        fn.softmax_cross_entropy(weighted=True).apply((), np.ones((5, 2, 4)), labels, y)
    with pytest.raises(fn.ShapeError, match=r"weights \(5, 2\) must be one number a row, \(5,\)$"):
        fn.mse(weighted=True).apply((), y[:, 0], y[:, 0], np.ones((5, 2)))


def labelled(rng: Any, dtype: Any, ignored: int) -> tuple[Any, Any, Any]:
    """Logits and labels of sequences, some of which are to be ignored, and weights."""
    z = rng.normal(size=(3, 4, 5)).astype(dtype)
    t = rng.integers(0, 5, (3, 4))
    t[rng.random((3, 4)) < 0.4] = ignored
    t[0, 0] = 1
    return z, t, rng.uniform(0.5, 2, (3, 4)).astype(dtype)


@each_dtype
@each_reduction
@settings(max_examples=examples(20))
@given(
    seed=st.integers(0, 1000), ignored=st.sampled_from([-100, -1, 0, 3, 5, 2**40]), smoothing=st.sampled_from([0, 0.2])
)
def test_ignored_labels_count_as_not_there(
    dtype: Any, reduction: Any, seed: int, ignored: int, smoothing: float
) -> None:
    rng = np.random.default_rng(seed)
    z, t, w = labelled(rng, dtype, ignored)
    there = t != ignored
    bad = np.where(there[..., None], z, np.array(rng.choice(GARBAGE), dtype))
    options: Any = {"reduction": reduction, "label_smoothing": smoothing}
    for weighted in (False, True):
        loss = fn.softmax_cross_entropy(ignore_label=ignored, weighted=weighted, **options)
        plain = fn.softmax_cross_entropy(weighted=weighted, **options)
        value, (dz, *dw) = eager(loss, [bad, t, *([w] if weighted else [])])
        expected, (own, _, *slope) = eager(plain, [z[there], t[there], *([w[there]] if weighted else [])])
        where = there if reduction == "none" else ...
        close((value[where], dz[there]), (expected, own), dtype)
        assert not dz[~there].any()
        if weighted:
            close(dw[1][there], slope[0], dtype)
            assert not dw[1][~there].any()
        if reduction == "none":
            assert not value[~there].any()
        else:
            total = loss.apply.total_weight
            assert total is None if reduction == "sum" else total is not None
            if total is not None:
                assert total(z, t, *([w] if weighted else [])) == pytest.approx(
                    w[there].sum() if weighted else there.sum()
                )


def test_the_weight_of_ignored_labels_and_of_rows_may_be_anything() -> None:
    z, t = np.random.default_rng(0).normal(size=(2, 3, 4)), np.array([[0, -100, 2], [-100, -100, 3]])
    loss = fn.softmax_cross_entropy(ignore_label=-100, weighted=True)
    w = np.where(t == -100, np.nan, 2.0)
    value, (dz, _, dw) = eager(loss, [z, t, w])
    expected, _ = eager(fn.softmax_cross_entropy(), [z[t >= 0], t[t >= 0]])
    close(value, expected, np.float64)
    assert np.isfinite(dz).all()
    assert np.isfinite(dw).all()
    rows, (_, _, dw) = eager(loss, [z, t, np.array([1.0, 0.0])])
    close(rows, eager(fn.softmax_cross_entropy(), [z[0, [0, 2]], t[0, [0, 2]]])[0], np.float64)
    assert dw.shape == (2,)


def test_labels_of_weight_zero_may_be_no_classes() -> None:
    z, t = np.random.default_rng(0).normal(size=(4, 3)), np.array([0, -7, 2, 99])
    w = np.array([1.0, 0.0, 2.0, 0.0])
    loss = fn.softmax_cross_entropy(weighted=True)
    value, _ = eager(loss, [z, t, w])
    close(value, eager(loss, [z[::2], t[::2], w[::2]])[0], np.float64)
    with pytest.raises(fn.LabelError, match="label 99 is none of the 3 classes"):
        loss.apply((), z, t, np.array([1.0, 0.0, 2.0, 1.0]))


@pytest.mark.parametrize("wrong", [-1, 3, 5, 99])
def test_labels_of_weight_zero_in_sequences_may_be_no_classes(wrong: int) -> None:
    z, t = np.random.default_rng(0).normal(size=(2, 7, 3)), np.arange(14).reshape(2, 7) % 3
    w = (np.arange(14).reshape(2, 7) != 3).astype(float)
    loss = fn.softmax_cross_entropy(weighted=True)
    close(eager(loss, [z, np.where(w == 0, wrong, t), w]), eager(loss, [z, t, w]), np.float64)


def test_no_label_but_ignored_ones() -> None:
    z, t = np.full((2, 3), np.nan), np.array([-100, -100])
    loss = fn.softmax_cross_entropy(ignore_label=-100)
    value, (dz, _) = eager(loss, [z, t])
    assert value == 0
    assert not dz.any()
    assert loss.apply.total_weight is not None
    assert loss.apply.total_weight(z, t) == 0.0


def test_ignored_labels_train() -> None:
    rng = np.random.default_rng(0)
    net = fn.serial(fn.embedding(9, 8), fn.linear(5))
    params, _ = net.init(fn.key(0), (7,))
    ids, t = rng.integers(0, 9, (600, 7)), rng.integers(0, 5, (600, 7))
    padded = np.where(rng.random((600, 7)) < 0.5, -100, t)
    loss = fn.softmax_cross_entropy(ignore_label=-100)
    value, gradient = fn.value_and_grad(net, loss)(params, ids, padded)
    w = (padded != -100).astype(np.float32)
    same, expected = fn.value_and_grad(net, fn.softmax_cross_entropy(weighted=True))(params, ids, t, w)
    close((value, gradient), (same, expected), np.float32)
    y = net.apply(params, ids)
    close(value, eager(fn.softmax_cross_entropy(), [y[padded >= 0], t[padded >= 0]])[0], np.float32)
    new, found = fn.sgd_step(net, loss, learning_rate=0.5)(params, ids, padded)
    assert found == value
    assert fn.value_and_grad(net, loss)(new, ids, padded)[0] < value


@pytest.mark.parametrize("wrong", [1.5, True, "a", np.array([1, 2]), np.float32(2)])
def test_a_label_to_be_ignored_is_an_int(wrong: Any) -> None:
    with pytest.raises(fn.OptionError, match="softmax_cross_entropy: ignore_label must be an int, not"):
        fn.softmax_cross_entropy(ignore_label=wrong)
    assert fn.softmax_cross_entropy(ignore_label=cast("int", np.int64(-1))).apply(
        (), np.zeros((2, 3)), np.array([0, -1])
    ) == pytest.approx(np.log(3))


def test_ignoring_is_of_labels() -> None:
    loss = fn.softmax_cross_entropy(ignore_label=-100)
    with pytest.raises(fn.ShapeError, match="ignore_label is for integer labels, but the targets"):
        loss.apply((), np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(fn.ShapeError, match=r"logits \(2, 3\) must be rows of classes, and targets \(2, 1\)"):
        loss.apply((), np.zeros((2, 3)), np.zeros((2, 1), int))


@each_dtype
@each_reduction
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("weights", [None, (3, 2, 4), (3,)])
def test_sequences_are_all_their_labels(dtype: Any, reduction: Any, soft: bool, weights: Any) -> None:
    rng = np.random.default_rng(5)
    z, t = rng.normal(size=(3, 2, 4, 5)).astype(dtype), rng.integers(0, 5, (3, 2, 4))
    target: Any = (abs(rng.normal(size=z.shape)) if soft else t).astype(dtype if soft else np.int32)
    w = [] if weights is None else [rng.uniform(0.5, 2, weights).astype(dtype)]
    spread = [np.broadcast_to(x.reshape(*x.shape, *[1] * (3 - x.ndim)), (3, 2, 4)).reshape(24) for x in w]
    loss = fn.softmax_cross_entropy(reduction=reduction, weighted=bool(w))
    value, (dz, *_) = eager(loss, [z, target, *w])
    flat, (own, *_) = eager(loss, [z.reshape(24, 5), target.reshape(24, 5) if soft else target.reshape(24), *spread])
    assert np.shape(value) == ((3, 2, 4) if reduction == "none" else ())
    close((value, dz), (flat.reshape(np.shape(value)), own.reshape(z.shape)), dtype)
    if reduction == "mean":
        total: Any = loss.apply.total_weight
        assert total(z, target, *w) == pytest.approx(spread[0].sum() if w else 24.0)


def test_a_network_with_a_loss_of_sequences_inside() -> None:
    net: Any = fn.network(
        {"ids": fn.serial(fn.embedding(9, 8), fn.linear(5)), "t": fn.identity(), "ce": fn.softmax_cross_entropy()},
        {"ids": ["ce"], "t": ["ce"]},
        inputs=["ids", "t"],
    )
    params, shape = net.init(fn.key(0), (7,), (7,))
    assert shape == ()
    ids = np.random.default_rng(0).integers(0, 5, (4, 7))
    assert net.apply(params, ids, ids) == pytest.approx(
        fn.softmax_cross_entropy().apply((), fn.serial(fn.embedding(9, 8), fn.linear(5)).apply(params["ids"], ids), ids)
    )


@pytest.mark.parametrize("make", ALL)
@settings(max_examples=examples(10))
@given(cut=st.integers(1, 5), seed=st.integers(0, 9))
def test_means_of_batches_add_up_by_their_weights(make: Any, cut: int, seed: int) -> None:
    inputs = inputs_of(make, (6, 3), np.float64, seed)
    shapes: list[Any] = [None, (6,), *([(6, 3)] if make in ELEMENTWISE else [])]
    for shape in shapes:
        w = [] if shape is None else [np.random.default_rng(seed).integers(0, 3, shape).astype(float) + 0.5]
        loss = make(weighted=bool(w))
        total = loss.apply.total_weight
        parts = [[x[:cut] for x in (*inputs, *w)], [x[cut:] for x in (*inputs, *w)]]
        sums = [total(*part) * loss.apply((), *part) for part in parts]
        whole = loss.apply((), *inputs, *w)
        np.testing.assert_allclose(sum(sums) / sum(total(*part) for part in parts), whole, rtol=1e-12)
