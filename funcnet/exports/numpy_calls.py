"""Calls as lines of NumPy: the instructions of each call's own form, with names in place of arrays."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcnet.arrays import is_array, is_tuple
from funcnet.errors import ExportError
from funcnet.exports.described import Names, located
from funcnet.tracing import forms, products
from funcnet.tracing.shapes import Slice, Transpose
from funcnet.tracing.trace import Call, Value


class Recorder:
    """What a form asks for memory, so that its instructions can be written with names.

    lines: of the body.      functions: those of funcnet that the lines call.
    """

    def __init__(self, names: Names, dtype: np.dtype[Any]) -> None:
        self.names = names
        self.dtype = dtype
        self.lines: list[str] = []
        self.functions: dict[str, Any] = {}
        self.state: dict[int, Any] = {}
        self._texts: dict[int, tuple[str, Any]] = {}
        self._numbers: dict[int, str] = {}
        self._arrays: dict[int, Any] = {}

    def register(self, array: Any, text: str) -> Any:
        """Have an array written so."""
        self._texts[id(array)] = text, array
        return array

    def full(self, number: float, like: Any) -> Any:
        """A whole array of one number, which an elementwise function takes as a number."""
        array = np.full_like(like, number)
        self._numbers[id(array)] = number_text(number)
        kind = f"np.full({like.shape}, {number_text(number)}, np.{like.dtype})"
        return self.register(
            array, kind if like.ndim < 2 else f"np.full_like({self.text(like)}, {number_text(number)})"
        )

    def constant(self, number: float) -> Any:
        """The number itself."""
        return self.register(np.array(number, self.dtype), number_text(number))

    def scratch(self, shape: tuple[int, ...]) -> Any:
        """An array with a name of its own."""
        name = self.names.fresh("turned")
        self.lines.append(f"{name} = np.empty({shape}, np.{self.dtype})")
        return self.register(np.empty(shape, self.dtype), name)

    def in_line(self, *arrays: Any) -> tuple[Any, ...]:
        """The arrays as they are."""
        return arrays

    def bits(self, array: Any) -> Any:
        """The bits of an array of numbers as unsigned integers."""
        kind = f"u{array.dtype.itemsize}"
        same = array.view(kind)
        return array if array.dtype == same.dtype else self.register(same, f'{self.text(array)}.view("{kind}")')

    def value(self, value: Value) -> Any:
        """The array of a value, made where a root is met first."""
        found = self._arrays.get(id(value))
        if found is None:
            assert value.base is not None
            base = self.value(value.base)
            found = base if value.view is None else value.view(base)
            if value.view is not None:
                self.register(found, view_text(value, self.text(base)))
            self._arrays[id(value)] = found
        return found

    def place(self, root: Value, name: str) -> None:
        """Give a root an array that is laid out as the compiled closure lays it out."""
        kind = f"np.{root.dtype}"
        if root.ones is not None:
            ones = self.names.fresh(f"{name}_1")
            whole = np.ones(root.ones.shape[::-1], root.dtype).T
            rows = f".reshape({root.shape})" * (root.ndim > 2)
            self.lines += [f"{ones} = features_first(np.ones, {whole.shape}, {kind})", f"{name} = {ones}[:, :-1]{rows}"]
            self.set(root.ones, whole, ones)
            array = whole[:, :-1].reshape(root.shape)
        elif root.batch_axis is not None and root.ndim > 1:
            shape = (root.shape[-1], *root.shape[:-1])
            array = np.empty(shape, root.dtype).transpose(*range(1, root.ndim), 0)
            self.lines.append(f"{name} = features_first(np.empty, {root.shape}, {kind})")
        else:
            array = np.empty(root.shape, root.dtype)
            self.lines.append(f"{name} = np.empty({root.shape}, {kind})")
        self.set(root, array, name)

    def set(self, value: Value, array: Any, text: str) -> None:
        """Have a value be that array."""
        self._arrays[id(value)] = self.register(array, text)

    def has(self, value: Value) -> bool:
        """Whether the root has an array."""
        return id(value) in self._arrays

    def text(self, array: Any) -> str:
        """How an array, or a view that a form has made of one, is written."""
        found = self._texts.get(id(array))
        if found is not None:
            return found[0]
        here = place_of(array)
        for text, other in self._texts.values():
            if other.dtype != array.dtype or not other.size:
                continue
            if place_of(other) == here:
                return text
            if place_of(other.T) == here:
                return f"{text}.T"
            if (
                array.ndim == 1
                and array.size == other.size
                and array.base is not None
                and place_of(other)[0] == here[0]
            ):
                return f'{text}.ravel("K")'
            if other.ndim == array.ndim and other.shape[1:] == array.shape[1:] and other.strides == array.strides:
                start, rest = divmod(here[0] - place_of(other)[0], other.strides[0])
                if not rest and start >= 0 and start + len(array) <= len(other):
                    return f"{text}[{start}:{start + len(array)}]"
        for text, other in self._texts.values():
            if other.dtype == array.dtype and other.size == array.size and place_of(other)[0] == here[0]:
                return f"np.lib.stride_tricks.as_strided({text}, {array.shape}, {array.strides})"
        raise AssertionError("a form uses an array that nobody has named")

    def write(self, call: Call) -> None:
        """The lines of one call."""
        operands = tuple(self.value(x) if isinstance(x, Value) else self._constants(x) for x in call.inputs)
        form: Any = call.primitive.form
        if form.__module__ not in (forms.__name__, products.__name__):
            what = call.attributes.get("name", call.primitive.name)
            raise ExportError(f"to_numpy: {located(call)}{what} is not written in NumPy")
        for f, args in form(self, call.attributes, operands, self.value(call.output)):
            self.lines.append(self._instruction(f, args))

    def _constants(self, x: Any) -> Any:
        """An array of constants, written out; anything else as it is."""
        if not is_array(x) or id(x) in self._texts:
            return x
        numbers = str(x.tolist()).replace("inf", "np.inf").replace("nan", "np.nan")
        return self.register(x, f"np.array({numbers}, np.{x.dtype})")

    def _instruction(self, f: Any, args: Sequence[Any]) -> str:
        options: dict[str, Any] = getattr(f, "keywords", {})
        function: Any = getattr(f, "func", f)
        owner: Any = getattr(function, "__self__", None)
        if isinstance(function, np.ufunc):
            given, out = (f.args, options["out"]) if options else (args[:-1], args[-1])
            return self._called(f"np.{function.__name__}", given, out)
        if isinstance(owner, np.ufunc):
            x, axes, _, out = args
            return f"np.{owner.__name__}.reduce({self.text(x)}, axis={axes}, out={self.text(out)})"
        if function.__name__ == "dot":
            return f"np.dot({self.text(owner)}, {self.text(args[0])}, out={self.text(args[1])})"
        if function.__name__ == "__setitem__":
            return f"{self.text(owner)}[...] = {self.text(args[1])}"
        self.functions[function.__name__] = function
        given = [*map(self.text, args), *(f"{name}={value!r}" for name, value in options.items())]
        return f"{function.__name__}({', '.join(given)})"

    def _called(self, name: str, args: Sequence[Any], out: Any) -> str:
        given = [self._numbers.get(id(x)) or self.text(x) for x in args]
        return f"{name}({', '.join(given)}, out={self.text(out)})"


def number_text(number: float) -> str:
    """A number as Python reads it."""
    return repr(float(number)) if np.isfinite(number) else f"np.{number}"


def place_of(array: Any) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Where an array begins, and how it lies."""
    return array.__array_interface__["data"][0], array.shape, array.strides


def view_text(value: Value, base: str) -> str:
    """A view of what is written so."""
    view: Any = value.view
    if isinstance(view, Transpose):
        return f"{base}.T" if view.reverses else f"{base}.transpose({view.axes})"
    if isinstance(view, Slice):
        return f"{base}[{index_text(view.index)}]"
    return f"{base}.reshape({value.shape})"


def index_text(index: Any) -> str:
    """An index as one writes it."""
    steps: tuple[Any, ...] = index if is_tuple(index) else (index,)
    return ", ".join(map(step_text, steps))


def step_text(step: Any) -> str:
    """A part of an index as one writes it."""
    if not hasattr(step, "step"):
        return "..." if step is Ellipsis else repr(step)
    ends = ["" if end is None else str(end) for end in (step.start, step.stop)]
    return ":".join(ends if step.step is None else [*ends, str(step.step)])


def sources(functions: dict[str, Any]) -> list[str]:
    """The text of functions of funcnet, and of all in funcnet that they use."""
    found: dict[str, str] = {}
    for name, thing in functions.items():
        _add_source(name, thing, found)
    return [*found.values()]


def _add_source(name: str, thing: Any, found: dict[str, str]) -> None:
    """Add the text of a function after that of what it uses."""
    if name in found or inspect.ismodule(thing):
        return
    if inspect.isfunction(thing) and thing.__module__.startswith("funcnet"):
        for used in sorted({*thing.__code__.co_names} & thing.__globals__.keys()):
            _add_source(used, thing.__globals__[used], found)
        found[name] = inspect.getsource(thing)
    elif inspect.isclass(thing) and issubclass(thing, Exception):
        found[name] = f'class {name}({thing.__bases__[-1].__name__}):\n    """{thing.__doc__}"""\n'
    elif isinstance(thing, (int, float, tuple)):
        found[name] = f"{name} = {thing!r}\n"
    else:
        raise ExportError(f"to_numpy: {name} is not written in NumPy")
