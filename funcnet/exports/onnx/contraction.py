"""A sum of products over named axes in ONNX: MatMul, or Mul and ReduceSum. (ONNX Runtime's Einsum dies of no rows.)"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from funcnet.exports.onnx.writer import Writer
from funcnet.tracing.products import parsed
from funcnet.tracing.trace import Call


def contraction(w: Writer, call: Call) -> str:
    """The nodes of a contraction, in which each letter is an axis of its own."""
    spec, heads = parsed(call.attributes["subscripts"]), call.attributes["heads"]
    a, b = call.operands
    lengths = spec.lengths(a.shape, b.shape, heads)

    def shaped(name: str, old: Sequence[str], new: Sequence[str]) -> str:
        if len(old) == len(new):
            return name
        shape = (prod(lengths[letter] for letter in letters) for letters in new)
        return w.node("Reshape", name, w.integers(*(0 if i == 0 else n for i, n in enumerate(shape))))

    x, y = (shaped(w.floating(v), t.axes, t.letters) for v, t in ((a, spec.left), (b, spec.right)))
    left, right, to = spec.left.letters, spec.right.letters, spec.output.letters
    if spec.is_product:
        stack, rows, columns = spec.shared, spec.rows, spec.columns
        x = ordered(w, x, left, stack + rows + spec.summed)
        y = ordered(w, y, right, stack + spec.summed + columns)
        found = ordered(w, w.node("MatMul", x, y), stack + rows + columns, to)
    else:
        together = to + spec.summed
        found = w.node("Mul", aligned(w, x, left, together), aligned(w, y, right, together))
        if spec.summed:
            found = w.node("ReduceSum", found, w.integers(*range(len(to), len(together))), keepdims=0)
    return shaped(found, to, spec.output.axes)


def ordered(w: Writer, name: str, letters: str, to: str) -> str:
    """The axes in another order."""
    return name if letters == to else w.node("Transpose", name, perm=[letters.index(letter) for letter in to])


def aligned(w: Writer, name: str, letters: str, to: str) -> str:
    """The axes `to`, of length 1 where there is none."""
    name = ordered(w, name, letters, "".join(letter for letter in to if letter in letters))
    new = [i for i, letter in enumerate(to) if letter not in letters]
    return w.node("Unsqueeze", name, w.integers(*new)) if new else name
