"""Slices, as views of arrays and of values that are not there yet."""

from __future__ import annotations

from typing import Any


class Slice:
    """The view `array[index]`."""

    index: slice | int | None | tuple[Any, ...]

    def __init__(self, index: Any) -> None:
        self.index = index

    @property
    def steps(self) -> tuple[Any, ...]:
        """The index, axis by axis."""
        return self.index if isinstance(self.index, tuple) else (self.index,)

    def __call__(self, array: Any) -> Any:
        """Slice the array."""
        return array[self.index]


def sliced_axis(index: tuple[Any, ...], ndim: int, axis: int) -> int:
    """Where an axis that is kept whole comes to stand."""
    rest = [slice(None)] * (ndim - sum(step is not None and step is not Ellipsis for step in index))
    at = next((i for i, step in enumerate(index) if step is Ellipsis), len(index))
    source = place = 0
    for step in (*index[:at], *rest, *index[at + 1 :]):
        if source == axis and step is not None:
            if step != slice(None):
                raise TypeError("rows cannot be sliced where calls are recorded: a layer treats them all alike")
            break
        source += step is not None
        place += step is None or isinstance(step, slice)
    return place
