"""Laws of conduct: shapes and dtypes, purity, memory layout, rows, extremes."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from funcnet import random, tree
from funcnet.arrays import Array, DType, Shape
from funcnet.core import Layer
from funcnet.errors import ShapeError
from funcnet.testing.subject import (
    LawError,
    Point,
    Subject,
    agree_all,
    both,
    cotangents_at,
    each,
    frozen,
    has_rows,
    is_floating,
    outputs_of,
)

TOLERANCE, FLOAT32_TOLERANCE = 1e-13, 1e-5
DTYPES: tuple[type[np.floating[Any]], ...] = (np.float64, np.float32)
LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "in Fortran order": lambda a: np.array(a, order="F"),
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "reversed": lambda a: a[::-1].copy()[::-1],
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
}


def cotangents_fit_the_primals(subject: Subject) -> None:
    """The structure, shape and dtype of every cotangent are those of its primal; labels have none."""
    for dtype in DTYPES:
        point = subject.point(dtype)
        output, pullback = subject.vjp(point)
        of_params, of_inputs = cast("tuple[Any, tuple[Array | None, ...]]", pullback(subject.cotangent(output)))
        if tree.structure(of_params) != tree.structure(point.params):
            raise LawError(f"the cotangent of params is {of_params!r:.200}, params are {point.params!r:.200}")
        for name, y in zip(outputs_of(output), tree.leaves(output), strict=True):
            same_form(name, y, np.shape(y), dtype, "its params and inputs have")
        for i, (x, dx) in enumerate(zip(point.inputs, of_inputs, strict=True)):
            if (dx is None) == is_floating(x):
                raise LawError(f"the cotangent of input {i} is {dx!r:.60}, the input has dtype {x.dtype}")
        leaves = tree.leaves((of_params, of_inputs))
        for name, (_, x), dx in zip(cotangents_at(point), point.floating(), leaves, strict=True):
            same_form(name, dx, x.shape, dtype, "its primal has")


def same_form(name: str, x: Any, shape: Shape, dtype: DType, source: str) -> None:
    """Demand a shape and a dtype."""
    given = (np.shape(x), np.asarray(x).dtype)
    if given != (shape, dtype):
        raise LawError(f"{name} has shape {given[0]} and dtype {given[1]}, {source} {shape} and {np.dtype(dtype)}")


def init_tells_the_output(subject: Subject) -> None:
    """Init gives params of the dtype that was asked for, and the shape that the output has."""
    for dtype in DTYPES:
        params, promised = subject.layer.init(random.key(subject.seed), *subject.shapes, dtype=dtype)
        for path, p in tree.leaves_with_path(params):
            same_form(f"params{path}", p, np.shape(p), dtype, "init was asked for")
        output, _ = subject.vjp(subject.point(dtype))
        named = zip(outputs_of(output), tree.leaves(output), strict=True)
        shapes: list[Shape] = [*cast("Any", promised)] if isinstance(output, tuple) else [promised]
        for (name, y), shape in zip(named, shapes, strict=True):
            same_form(name, y, (subject.batch, *shape) if has_rows(y) else shape, dtype, "init returns")


def arguments_are_left_alone(subject: Subject) -> None:
    """Nothing is written into params, inputs or cotangent, though it could be."""
    point = subject.point().copied(np.copy)
    before = point.copied(np.copy)
    output, pullback = subject.compute(*point)
    cotangent = each(np.copy, subject.cotangent(output))
    given = each(np.copy, cotangent)
    pullback(cotangent)
    subject.apply(point)
    names = [*(name for name, _ in point.floating()), *outputs_of(output)]
    floating = [[x for _, x in p.floating()] for p in (point, before)]
    agree_all(names, [floating[0], cotangent], [floating[1], given], 0.0, "before the call it was")


def results_are_fresh(subject: Subject) -> None:
    """No result shares memory with an argument or with another result."""
    point = subject.point()
    output, pullback = subject.vjp(point)
    cotangent = subject.cotangent(output)
    held = [*tree.leaves(tuple(point)), *tree.leaves(cotangent)]
    again = subject.apply(point)
    results = [(name, y) for name, y in zip(outputs_of(output), tree.leaves(output), strict=True)]
    results += zip(outputs_of(again), tree.leaves(again), strict=True)
    results += zip(cotangents_at(point), tree.leaves(pullback(cotangent)), strict=True)
    for name, result in results:
        if any(np.shares_memory(result, other) for other in held):
            raise LawError(f"{name} shares memory with an argument or with another result")
        held.append(result)


def pullback_can_be_called_again(subject: Subject) -> None:
    """The same call gives the same bits, also after other pullbacks in between."""
    point = subject.point()
    output, pullback = subject.vjp(point)
    cotangent = subject.cotangent(output)
    first = each(np.copy, pullback(cotangent))
    pullback(each(lambda g: g * 2, cotangent))
    for again in (pullback(cotangent), subject.vjp(point)[1](cotangent)):
        agree_all(cotangents_at(point), again, first, 0.0, "the call before gave")


def memory_layout_changes_nothing(subject: Subject) -> None:
    """Params, inputs and cotangents that are no contiguous arrays count for what they hold."""
    for name, layout in LAYOUTS.items():

        def laid(a: Array, layout: Callable[[Array], Array] = layout) -> Array:
            return layout(a) if a.ndim else a

        odd = subject.point().copied(laid)
        plain = odd.copied(contiguous)
        output, pullback = subject.vjp(odd)
        expected, expected_pullback = subject.vjp(plain)
        cotangent = each(laid, subject.cotangent(output))
        source = f"contiguous arrays, not {name}, give"
        agree_all(outputs_of(output), output, expected, TOLERANCE, source)
        expected_cotangents = expected_pullback(each(contiguous, cotangent))
        agree_all(cotangents_at(odd), pullback(cotangent), expected_cotangents, TOLERANCE, source)
        agree_all(outputs_of(output), subject.apply(odd), expected, TOLERANCE, source)


def contiguous(a: Array) -> Array:
    """A copy that lies row after row."""
    return np.array(a, order="C")


def empty_batch_is_empty(subject: Subject) -> None:
    """No rows give no rows, and params cotangents of exact zeros; a mean over the batch may refuse them instead."""
    output, _ = subject.vjp(subject.point())
    point = subject.point(batch=0)
    try:
        with np.errstate(all="raise"):
            output, pullback = subject.vjp(point)
            found = pullback(subject.cotangent(output))
    except ShapeError as error:
        if (subject.rowwise and has_rows(output)) or "empty" not in str(error):
            raise
        return
    names = cotangents_at(point)
    zeros = [np.zeros_like(x) for _, x in point.floating()]
    agree_all(names, found, zeros, 0.0, "without rows it must be")
    again = subject.apply(point)
    agree_all(outputs_of(output), again, output, TOLERANCE, "its VJP gives")


def rows_are_independent(subject: Subject) -> None:
    """A batch is its rows, one at a time: outputs stand behind one another, cotangents of params add up."""
    point = subject.point()
    output, pullback = subject.vjp(point)
    if not subject.rowwise or not has_rows(output):
        return
    cotangent = subject.cotangent(output)
    of_params, of_inputs = pullback(cotangent)
    total = each(np.zeros_like, of_params)
    for n in range(subject.batch):
        y, pull = subject.vjp(Point(point.params, tuple(x[n : n + 1] for x in point.inputs)))
        row_of_params, row = pull(each(row_of(n), cotangent))
        total = both(np.add, total, row_of_params)
        whole = each(row_of(n), (output, of_inputs))
        names = [f"row {n} of {name}" for name in (*outputs_of(output), *cotangents_at(Point((), point.inputs)))]
        agree_all(names, whole, (y, row), TOLERANCE, "the row alone gives")
    agree_all(cotangents_at(Point(point.params, ())), of_params, total, TOLERANCE, "the rows one at a time add up to")


def row_of(n: int) -> Callable[[Array], Array]:
    """What takes the n-th row, as a batch."""
    return lambda a: a[n : n + 1]


def extremes_stay_finite(subject: Subject) -> None:
    """Inputs of +-1 and of +-`extreme`, in any combination, give finite outputs and cotangents."""
    draw = random.generator(random.fold_in(random.key(subject.seed), "extremes"))
    params, _ = subject.point()

    def far(size: Shape) -> Array:
        return np.asarray(draw.choice([-subject.extreme, -1.0, 1.0, subject.extreme], size=size))

    inputs = subject.inputs(far, 8)
    for dtype in DTYPES:
        point = subject.typed(params, inputs, dtype)
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            output, pullback = subject.vjp(point)
            found = pullback(subject.cotangent(output))
        for name, a in zip([*outputs_of(output), *cotangents_at(point)], tree.leaves((output, found)), strict=True):
            if not np.isfinite(a).all():
                raise LawError(f"{name} is {np.asarray(a)[~np.isfinite(a)][0]} for inputs of up to {subject.extreme:g}")


def nan_stays_nan(subject: Subject) -> None:
    """A NaN in an input shows in the output, in no row but its own, and one in the cotangent in every cotangent."""
    for i, (x, shape) in enumerate(zip(subject.point().inputs, subject.shapes, strict=True)):
        if not is_floating(x) or 0 in shape:
            continue
        point = subject.point()
        x = point.inputs[i].copy()
        x[(1, *(0 for _ in shape))] = np.nan
        output, _ = subject.vjp(Point(point.params, (*point.inputs[:i], frozen(x), *point.inputs[i + 1 :])))
        for name, y in zip(outputs_of(output), tree.leaves(output), strict=True):
            rows = {int(n) for n in np.argwhere(np.isnan(y))[:, 0]} if np.ndim(y) else {1} & {int(np.isnan(y))}
            if 1 not in rows or (subject.rowwise and rows != {1}):
                raise LawError(f"{name} has NaN in the rows {sorted(rows)}, input {i} in row 1 alone")
    point = subject.point()
    output, pullback = subject.vjp(point)
    found = tree.leaves(pullback(each(lambda y: np.full_like(y, np.nan), output)))
    for name, dx in zip(cotangents_at(point), found, strict=True):
        if dx.size and not np.isnan(dx).any():
            raise LawError(f"{name} is free of NaN, the cotangent of the output is nothing else")


def float32_is_nearly_float64(subject: Subject) -> None:
    """The same numbers in float32 give the same results, to its precision."""
    wide = subject.point().copied(lambda a: a.astype(np.float32).astype(a.dtype) if is_floating(a) else a)
    narrow = subject.typed(*wide, np.float32)
    (output, pullback), (expected, expected_pullback) = subject.vjp(narrow), subject.vjp(wide)
    cotangent = subject.cotangent(output)
    agree_all(outputs_of(output), output, expected, FLOAT32_TOLERANCE, "float64 gives")
    expected_cotangents = expected_pullback(each(lambda g: np.asarray(g, np.float64), cotangent))
    agree_all(cotangents_at(wide), pullback(cotangent), expected_cotangents, FLOAT32_TOLERANCE, "float64 gives")


def it_pickles(subject: Subject) -> None:
    """A layer out of a pickle is the same pair of functions."""
    point = subject.point()
    again: Layer[Any, Any] = pickle.loads(pickle.dumps(subject.layer))
    output = subject.apply(point)
    agree_all(
        outputs_of(output),
        again.apply(point.params, *point.inputs, key=subject.key),
        output,
        0.0,
        "before it was pickled it gave",
    )
    key = random.key(subject.seed)
    drawn, expected = (each.init(key, *subject.shapes, dtype=np.float64)[0] for each in (again, subject.layer))
    names = [f"params{path}" for path, _ in tree.leaves_with_path(expected)]
    agree_all(names, drawn, expected, 0.0, "before it was pickled it drew")


LAWS = (
    init_tells_the_output,
    arguments_are_left_alone,
    results_are_fresh,
    pullback_can_be_called_again,
    memory_layout_changes_nothing,
    empty_batch_is_empty,
    rows_are_independent,
    extremes_stay_finite,
    nan_stays_nan,
    float32_is_nearly_float64,
    it_pickles,
)
