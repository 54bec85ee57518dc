"""Batched products: a sum of products over named axes, `contract`, and its fastest NumPy calls.

    contract("nk(hc),nq(hc)->nkqh", k, q, heads=4)        y[n, k, q, h] = sum_c k[n, k, h, c] q[n, q, h, c]

A letter is an axis; letters in brackets are axes joined in one, of which h has the length `heads`. The axis n is the
batch, which every operand and the output have. A letter that the output lacks is summed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from funcnet.tracing.forms import Instruction, Memory, Operands
from funcnet.tracing.primitive import Primitive
from funcnet.tracing.trace import Value

Shape: TypeAlias = tuple[int, ...]


class Term(NamedTuple):
    """The axes of one array: for each axis its letters."""

    axes: tuple[str, ...]

    @property
    def letters(self) -> str:
        """All letters in order."""
        return "".join(self.axes)

    def lengths(self, shape: Shape, heads: int) -> dict[str, int]:
        """The length of each letter."""
        found: dict[str, int] = {}
        for letters, length in zip(self.axes, shape, strict=True):
            if len(letters) > 1:
                found |= {letters[0]: heads, letters[1]: length // heads}
            else:
                found[letters] = length
        return found

    def shape(self, lengths: Mapping[str, int]) -> Shape:
        """The shape of the array."""
        return tuple(prod(lengths[letter] for letter in letters) for letters in self.axes)


class Spec(NamedTuple):
    """The terms of a product, and its letters by their use."""

    left: Term
    right: Term
    output: Term

    @property
    def summed(self) -> str:
        """The letters that the output lacks."""
        return "".join(sorted({*self.left.letters, *self.right.letters} - {*self.output.letters}))

    @property
    def shared(self) -> str:
        """The letters of the output that both operands have."""
        return "".join(q for q in self.output.letters if q in self.left.letters and q in self.right.letters)

    @property
    def rows(self) -> str:
        """The letters that only the left operand has."""
        return "".join(q for q in self.left.letters if q not in self.right.letters)

    @property
    def columns(self) -> str:
        """The letters that only the right operand has."""
        return "".join(q for q in self.right.letters if q not in self.left.letters)

    @property
    def is_product(self) -> bool:
        """Whether it is a matrix product at each index of the shared axes."""
        return len(self.rows) == len(self.columns) == len(self.summed) == 1

    def lengths(self, left: Shape, right: Shape, heads: int) -> dict[str, int]:
        """The length of each letter."""
        return self.left.lengths(left, heads) | self.right.lengths(right, heads)

    @property
    def plain(self) -> str:
        """The same with every letter an axis of its own, as `einsum` takes it."""
        return f"{self.left.letters},{self.right.letters}->{self.output.letters}"


@cache
def parsed(subscripts: str) -> Spec:
    """The terms that the subscripts name."""
    terms = re.split(",|->", subscripts)
    left, right, output = (Term(tuple(re.findall(r"\w(?!\w*\))|\w+(?=\))", term))) for term in terms)
    return Spec(left, right, output)


def contract(subscripts: str, a: Any, b: Any, *, heads: int = 1) -> Any:
    """The sum of products that the subscripts name, for arrays and for values; their lengths must fit."""
    spec = parsed(subscripts)
    shape = spec.output.shape(spec.lengths(a.shape, b.shape, heads))
    if isinstance(a, Value):
        batch = spec.output.axes.index("n")
        return a.trace.emit(CONTRACT, (a, b), shape, a.dtype, batch, subscripts=subscripts, heads=heads)
    out = np.moveaxis(np.empty((shape[-1], *shape[:-1]), np.result_type(a, b)), 0, -1)
    for f, args in calls(spec, heads, a, b, out, lambda lengths: np.empty(lengths, out.dtype)):
        f(*args)
    return out


def calls(spec: Spec, heads: int, a: Any, b: Any, out: Any, scratch: Callable[[Shape], Any]) -> list[Instruction]:
    """The NumPy calls that write a contraction into `out`.

    One batched product where each operand has an axis of its own and one is summed over; else a product of elements,
    and the sum of these.
    """
    lengths = spec.lengths(a.shape, b.shape, heads)
    (x, y, z), summed = _apart(spec, lengths, (a, b, out)), spec.summed
    if not summed:
        to = spec.output.letters
        return [(np.multiply, (_aligned(x, spec.left.letters, to), _aligned(y, spec.right.letters, to), z))]
    left, right = spec.left.letters, spec.right.letters
    if spec.is_product:
        r, c, k, at = spec.rows, spec.columns, summed, spec.output.letters.index
        if abs(z.strides[at(c)]) > abs(z.strides[at(r)]):  # the rows of the product are to be those of memory
            x, y, left, right, r, c = y, x, right, left, c, r
        stack = sorted(spec.shared, key=lambda letter: -abs(z.strides[at(letter)]))
        terms = ((x, left, [*stack, r, k]), (y, right, [*stack, k, c]), (z, spec.output.letters, [*stack, r, c]))
        return [(np.matmul, tuple(array.transpose([own.index(q) for q in to]) for array, own, to in terms))]
    together = "".join(sorted({*left, *right}, key=lambda letter: _stride(letter, x, left, y, right)))
    products = scratch(tuple(lengths[letter] for letter in together))
    order = [letter for letter in together if letter not in summed]
    total = z.transpose([spec.output.letters.index(letter) for letter in order])
    axes = tuple(i for i, letter in enumerate(together) if letter in summed)
    return [
        (np.multiply, (_aligned(x, left, together), _aligned(y, right, together), products)),
        (np.add.reduce, (products, axes, None, total)),
    ]


def _apart(spec: Spec, lengths: Mapping[str, int], arrays: Operands) -> Operands:
    """The arrays with an axis for each letter, all views."""
    terms = (spec.left, spec.right, spec.output)
    return tuple(
        array.reshape([lengths[letter] for letter in term.letters]) for array, term in zip(arrays, terms, strict=True)
    )


def _aligned(array: Any, letters: str, to: str) -> Any:
    """The array with the axes `to`, of length 1 where it lacks one."""
    there = [letters.index(letter) for letter in to if letter in letters]
    return array.transpose(there)[tuple(slice(None) if letter in letters else None for letter in to)]


def _stride(letter: str, x: Any, left: str, y: Any, right: str) -> int:
    """Minus the stride along an axis, in bytes."""
    array, own = (x, left) if letter in left else (y, right)
    return -abs(int(array.strides[own.index(letter)]))


def form(memory: Memory, attributes: Mapping[str, Any], operands: Operands, out: Any) -> list[Instruction]:
    """The contraction bound to arrays."""
    a, b = operands
    return calls(parsed(attributes["subscripts"]), attributes["heads"], a, b, out, memory.scratch)


def cost(operands: Sequence[Shape], output: Shape, attributes: Mapping[str, Any]) -> int:
    """One multiply-add for each combination of indices, where an axis is summed."""
    spec = parsed(attributes["subscripts"])
    left, right = operands
    return prod(spec.lengths(left, right, attributes["heads"]).values()) if spec.summed else 0


CONTRACT = Primitive("contract", form, multiply_adds=cost)
