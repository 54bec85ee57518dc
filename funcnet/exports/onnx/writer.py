"""An ONNX graph while it is written: its nodes, its constants and the names of its values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcnet.exports.onnx.protobuf import ELEMENT_TYPES, Attribute, graph, node, tensor, value_info
from funcnet.exports.onnx.recording import OfRows
from funcnet.tracing.shapes import BOOL, Slice, Transpose
from funcnet.tracing.trace import Value

INDEX = np.dtype(np.int64)


class Writer:
    """Writes nodes in order.

    dtype: of all floating values.
    scope: the operator that the nodes come from; their names begin with it.
    """

    def __init__(self, opset: int, dtype: np.dtype[Any]) -> None:
        self.opset = opset
        self.dtype = dtype
        self.scope = ""
        self.nodes: list[bytes] = []
        self.constants: list[bytes] = []
        self._values: dict[int, tuple[Value, str]] = {}  # the value too: an id is that of a living one
        self._constants: dict[Any, str] = {}
        self._cast: dict[tuple[str, np.dtype[Any]], str] = {}
        self._used: dict[str, int] = {}
        self._of_batch: dict[OfRows, str] = {}
        self._batch = ""

    def begin(self, inputs: Sequence[Value], names: Sequence[str], outputs: Sequence[str]) -> None:
        """Name the inputs, and keep the names of the outputs free for them."""
        for value, name in zip(inputs, names, strict=True):
            self.name(value, name)
        self._used.update(dict.fromkeys((*names, *outputs), 1))
        self._batch = names[0]

    def name(self, value: Value, name: str) -> None:
        """Tell the name of a value."""
        self._values[id(value)] = value, name

    def node(self, kind: str, *inputs: str, **attributes: Attribute) -> str:
        """Write a node; return the name of its output."""
        return self.multi_output(kind, 1, *inputs, **attributes)[0]

    def multi_output(self, kind: str, outputs: int, *inputs: str, **attributes: Attribute) -> list[str]:
        """Write a node of so many outputs; return their names."""
        found = [self.within(kind) for _ in range(outputs)]
        self.nodes.append(node(kind, inputs, found, attributes))
        return found

    def body(
        self,
        kinds: Sequence[tuple[np.dtype[Any], int]],
        outputs: Sequence[tuple[np.dtype[Any], int]],
        write: Callable[..., Sequence[str]],
    ) -> bytes:
        """A graph inside the graph, which reads values of these dtypes and ranks and what is outside it.

        write: names of its inputs -> names of its outputs.
        """
        names, outside = [self.within("given") for _ in kinds], self.nodes
        self.nodes = []
        found = [self.node("Identity", name) for name in write(*names)]  # each with a name of its own
        inside, self.nodes = self.nodes, outside
        read, given = (
            [value_info(name, dtype, [None] * rank) for name, (dtype, rank) in zip(of, each, strict=True)]
            for of, each in ((names, kinds), (found, outputs))
        )
        return graph(inside, [], read, given)

    def within(self, base: str) -> str:
        """A name that nothing else has, which begins with the operator."""
        return self.unique(f"{self.scope}/{base}" if self.scope else base)

    def output(self, name: str, value: Value) -> None:
        """Write the node that gives an output its name."""
        self.nodes.append(node("Identity", [self.read(value)], [name], {}))

    def unique(self, base: str) -> str:
        """A name that nothing else has."""
        count = self._used[base] = self._used.get(base, 0) + 1
        return base if count == 1 else self.unique(f"{base}_{count}")

    def parameter(self, name: str, value: Value, array: Any) -> None:
        """Write a constant that has a name."""
        known = self.unique(name)
        self.name(value, known)
        self.constants.append(tensor(known, array))

    def constant(self, array: Any) -> str:
        """The name of a constant array; equal ones are one."""
        key = (array.dtype, array.shape, array.tobytes())
        found = self._constants.get(key)
        if found is None:
            found = self._constants[key] = self.unique("constant")
            self.constants.append(tensor(found, array))
        return found

    def number(self, x: float) -> str:
        """A number in the dtype of the floating values."""
        return self.constant(np.asarray(x, self.dtype))

    def integers(self, *numbers: int) -> str:
        """A vector of integers."""
        return self.constant(np.asarray(numbers, INDEX))

    def read(self, x: Any) -> str:
        """The name of an operand: a value, a view of one, an array, or a number."""
        if isinstance(x, OfRows):
            return self._of_rows(x)
        if not isinstance(x, Value):
            return self.constant(np.asarray(x, BOOL if getattr(x, "dtype", None) == BOOL else self.dtype))
        if id(x) not in self._values:
            assert x.base is not None, "calls are written in order"
            self.name(x, self._view(x, x.base, self.read(x.base)))
        return self._values[id(x)][1]

    def floating(self, x: Any) -> str:
        """What a call reads, as numbers: true is 1."""
        return self.cast(self.read(x), self.dtype) if getattr(x, "dtype", None) == BOOL else self.read(x)

    def boolean(self, x: Any) -> str:
        """What a call reads, as a mask: all but 0 is true."""
        return self.read(x) if getattr(x, "dtype", None) == BOOL else self.cast(self.read(x), BOOL)

    def cast(self, name: str, dtype: np.dtype[Any]) -> str:
        """A value in another dtype, cast once."""
        key = (name, dtype)
        if key not in self._cast:
            self._cast[key] = self.node("Cast", name, to=ELEMENT_TYPES[dtype])
        return self._cast[key]

    def _of_rows(self, x: OfRows) -> str:
        """A number that depends on the number of rows, which is read off the first input."""
        if x not in self._of_batch:
            rows = self.node("Gather", self.node("Shape", self._batch), self.constant(np.asarray(0, INDEX)))
            kind = "Div" if x.divided else "Mul"
            self._of_batch[x] = self.node(kind, self.number(x.factor), self.cast(rows, self.dtype))
        return self._of_batch[x]

    def _view(self, value: Value, base: Value, name: str) -> str:
        """A view of a value, of which the name is known."""
        view: Any = value.view
        if isinstance(view, Slice):
            return self._slice(view.steps, base, name)
        if isinstance(view, Transpose):
            return self.node("Transpose", name, perm=view.axes)
        return self.reshape(value, base, name)

    def reshape(self, value: Value, base: Value, name: str) -> str:
        """The elements in row-major order in the shape of another value."""
        lengths = [*value.shape]
        if value.batch_axis is not None:
            lengths[0] = 0 if value.shape[0] == base.shape[0] else -1  # 0: as it is
        return self.node("Reshape", name, self.integers(*lengths))

    def _slice(self, steps: Sequence[Any], base: Value, name: str) -> str:
        """A basic slice: parts of axes, then the axes that one element is taken of, then new axes."""
        at = next((i for i, step in enumerate(steps) if step is Ellipsis), len(steps))
        missing = base.ndim - sum(step is not None and step is not Ellipsis for step in steps)
        whole = [*steps[:at], *[slice(None)] * missing, *steps[at + 1 :]]
        old = [step for step in whole if step is not None]
        parts = [(i, part(step, base.shape[i])) for i, step in enumerate(old) if step != slice(None)]
        if parts:
            axes, ranges = zip(*parts, strict=True)
            starts, stops, strides = zip(*ranges, strict=True)
            name = self.node("Slice", name, *(self.integers(*n) for n in (starts, stops, axes, strides)))
        gone = [i for i, step in enumerate(old) if not isinstance(step, slice)]
        if gone:
            name = self.node("Squeeze", name, self.integers(*gone))
        kept: list[Any] = [step for step in whole if step is None or isinstance(step, slice)]
        new = [i for i, step in enumerate(kept) if step is None]
        return self.node("Unsqueeze", name, self.integers(*new)) if new else name


def part(step: Any, length: int) -> tuple[int, int, int]:
    """(start, stop, stride) of a slice, or of one element, of an axis of that length."""
    if not isinstance(step, slice):
        start = int(step) % length
        return start, start + 1, 1
    start, stop, stride = step.indices(length)
    return start, stop if stop >= 0 else -length - 1, stride  # a stop below 0 counts from the end
