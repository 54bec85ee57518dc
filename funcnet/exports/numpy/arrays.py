"""Arrays that know how they are written. A form is given them in place of real ones, and makes views of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from funcnet.arrays import is_tuple

VECTORS = frozenset({".reshape(-1)", '.ravel("K")'})


class Named(np.ndarray[Any, Any]):
    """An array of the file, or a view of one.

    text: its name or, of a view, the step that makes it, such as `.T`.      origin: what it is a view of.
    number: as which it is written where NumPy broadcasts, if all its elements are one number.
    """

    text: str
    origin: Named | None
    number: str

    def step(self, view: Any, text: str) -> Any:
        """A view of this array."""
        assert np.may_share_memory(view, self) or not view.size, "a view must not copy"
        return named(view, text, self)

    def path(self) -> list[Named]:
        """The array that has a name, and the views on the way to this one."""
        return [self] if self.origin is None else [*self.origin.path(), self]

    @property
    def T(self) -> Any:
        """The axes turned round."""
        return self.transpose()

    def transpose(self, *axes: Any) -> Any:
        """The axes in another order."""
        order = axes[0] if len(axes) == 1 else axes or None
        text = f".transpose({', '.join(map(str, order))})" if order else ".T"
        return self.step(super().transpose(order), text)

    def swapaxes(self, axis1: Any, axis2: Any, /) -> Any:
        """Two axes in each other's place."""
        return self.step(super().swapaxes(axis1, axis2), f".swapaxes({axis1}, {axis2})")

    def reshape(self, *shape: Any, **options: Any) -> Any:
        """The same elements under another shape."""
        lengths: Any = shape[0] if len(shape) == 1 else shape
        return self.step(super().reshape(lengths), f".reshape({str(lengths).strip('(,)') or '()'})")

    def ravel(self, order: Any = "C") -> Any:
        """A vector."""
        return self.step(super().ravel(order), f'.ravel("{order}")')

    def view(self, *kind: Any, **options: Any) -> Any:
        """The same bits under another dtype."""
        return self.step(super().view(*kind), f'.view("{np.dtype(kind[0])}")')

    def __getitem__(self, index: Any, /) -> Any:
        """A slice."""
        return self.step(super().__getitem__(index), f"[{index_text(index)}]")

    def __iter__(self) -> Iterator[Any]:
        """Its parts along the first axis."""
        return (self[i] for i in range(len(self)))


def named(array: Any, text: str, origin: Named | None = None, number: str = "") -> Any:
    """The array, written so."""
    found = np.ndarray.view(array, Named)
    found.text, found.origin, found.number = text, origin, number
    return found


def index_text(index: Any) -> str:
    """An index as one writes it."""
    steps: tuple[Any, ...] = index if is_tuple(index) else (index,)
    return ", ".join(map(step_text, steps))


def step_text(step: Any) -> str:
    """A part of an index as one writes it."""
    if not hasattr(step, "step"):
        return "..." if step is Ellipsis else repr(step)
    ends = ["" if end is None else str(end) for end in (step.start, step.stop)]
    return ":".join(ends if step.step in (None, 1) else [*ends, str(step.step)])


def number_text(number: Any) -> str:
    """A number as Python reads it."""
    return re.sub("inf|nan", r"np.\g<0>", repr(float(number)))


def unrolled(arrays: Sequence[Any]) -> Sequence[Any]:
    """The arrays themselves in place of vectors of all their elements, where an elementwise function takes these."""
    origins = [x.origin if isinstance(x, Named) and x.text in VECTORS else None for x in arrays if np.ndim(x)]
    if any(x is None for x in origins) or len({x.shape for x in origins if x is not None}) != 1:
        return arrays
    return [x.origin if np.ndim(x) else x for x in arrays]
