"""Contractions: what NumPy gives for the same letters, in calls whose loops run along memory."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from funcnet.tracing.products import calls, contract, parsed

LENGTHS = {"n": 2, "q": 3, "k": 5, "h": 4, "c": 6, "v": 7}
ROWS: dict[str, tuple[str, str, str, str, bool]] = {
    # subscripts: letters of the left operand alone, of the right one alone, summed, shared; is it a matrix product
    "nk(hc),nq(hc)->nkqh": ("k", "q", "c", "nh", True),
    "nkqh,nk(hv)->nq(hv)": ("q", "v", "k", "nh", True),
    "nq(hv),nq(hv)->nqh": ("", "", "v", "nqh", False),
    "nqh,nq(hv)->n(hv)": ("", "v", "q", "nh", False),
    "nq,nqkh->nk": ("", "kh", "hq", "n", False),
    "nkqh,nqh->nkqh": ("k", "", "", "nqh", False),
    "nqhv,nkh->nh": ("qv", "k", "kqv", "nh", False),
}
every_row = pytest.mark.parametrize("subscripts", ROWS)


def arrays(subscripts: str, order: int = 0) -> list[Any]:
    """Two operands and an output whose axes lie in memory in the order of that number."""
    made: list[Any] = []
    spec = parsed(subscripts)
    for term in (spec.left, spec.right, spec.output):
        lengths = term.shape(LENGTHS)
        orders = [*permutations(range(len(lengths)))]
        axes = orders[order % len(orders)]
        x = np.random.default_rng(len(made)).integers(-8, 9, [lengths[axis] for axis in axes]).astype(np.float64)
        made.append(x.transpose(np.argsort(axes)))
    return made


@every_row
def test_the_letters_are_known_by_their_use(subscripts: str) -> None:
    spec = parsed(subscripts)
    found = (*("".join(sorted(x)) for x in (spec.rows, spec.columns, spec.summed)), spec.shared, spec.is_product)
    rows, columns, summed, shared, is_product = ROWS[subscripts]
    assert found == ("".join(sorted(rows)), "".join(sorted(columns)), summed, shared, is_product)


@every_row
@pytest.mark.parametrize("order", range(0, 24, 5))
def test_a_contraction_is_that_of_einsum_however_arrays_lie(subscripts: str, order: int) -> None:
    a, b, out = arrays(subscripts, order)
    spec = parsed(subscripts)
    letters = [
        x.reshape([LENGTHS[letter] for letter in term.letters])
        for x, term in zip((a, b), (spec.left, spec.right), strict=True)
    ]
    expected = np.einsum(spec.plain, *letters).reshape(out.shape)
    for f, args in calls(spec, LENGTHS["h"], a, b, out, np.empty):
        f(*args)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(contract(subscripts, a, b, heads=LENGTHS["h"]), expected)


@every_row
@pytest.mark.parametrize("order", range(24))
def test_loops_run_along_memory(subscripts: str, order: int) -> None:
    """Of a product the output; of a sum of products the operand that has all axes, or, of each axis, the first."""
    spec = parsed(subscripts)
    a, b, out = arrays(subscripts, order)
    f, args = calls(spec, LENGTHS["h"], a, b, out, np.empty)[0]
    if f is np.matmul:
        *stack, row, column = args[2].strides
        assert stack == sorted(stack, reverse=True)
        assert row > column
    elif spec.summed:
        strides = [x or y for x, y in zip(args[0].strides, args[1].strides, strict=True)]
        assert strides == sorted(strides, reverse=True)
        assert args[2].flags.c_contiguous
