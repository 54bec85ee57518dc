"""Calls as lines of NumPy: the instructions of each call's own form, with names in place of arrays."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from funcnet import arrays, errors
from funcnet.arrays import is_array
from funcnet.compiler.plan import storage_order
from funcnet.errors import ExportError
from funcnet.exports.described import Names, refusal
from funcnet.exports.numpy.arrays import VECTORS, Named, named, number_text, unrolled
from funcnet.exports.numpy.lines import rolled
from funcnet.native.writing import wish_of
from funcnet.tracing import cells, forms, masks, primitives, products, recurrence, special, windows
from funcnet.tracing.trace import Call, Value

CONSTANT = "constant_"  # how the names of large constants begin
MODULES = (arrays, cells, errors, forms, masks, primitives, products, recurrence, special, windows)
TAKEN = frozenset({name for module in MODULES for name in vars(module)} | {"features_first", "in_order"})
"""Names that functions have which may stand in the file."""
FEW = 8  # numbers of a constant that is written where it is used


class Recorder:
    """What a form asks for memory, so that its instructions can be written with names.

    lines: of the body.
    functions: those of funcnet that the lines call.      constants: the names of large arrays, by their text.
    """

    def __init__(
        self, names: Names, dtype: np.dtype[Any], functions: dict[str, Any], constants: dict[str, str]
    ) -> None:
        self.names = names
        self.dtype = dtype
        self.functions = functions
        self.constants = constants
        self.lines: list[str] = []
        self.state: dict[int, Any] = {}
        self._arrays: dict[int, Any] = {}
        self._views: dict[str, str] = {}
        self._wish = ""

    def full(self, number: float, like: Any) -> Any:
        """A whole array of one number, which an elementwise function takes as a number."""
        text = number_text(number)
        whole = f"np.full({like.shape}, {text}, np.{like.dtype})"
        if like.ndim > 1:
            whole = f"np.full_like({self.text(like)}, {text})"
        return named(np.full_like(like, number, subok=False), whole, number=text)

    def constant(self, number: float) -> Any:
        """The number itself."""
        return np.array(number, self.dtype)

    def scratch(self, shape: tuple[int, ...]) -> Any:
        """An array with a name of its own."""
        return self.empty(shape, self.dtype)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """The same of a dtype."""
        name = self.names.fresh(f"{self._wish}_scratch")
        self.lines.append(f"{name} = np.empty({shape}, np.{dtype})")
        return named(np.empty(shape, dtype), name)

    def in_line(self, *arrays: Any) -> tuple[Any, ...]:
        """The arrays as they are."""
        return arrays

    def bits(self, array: Any) -> Any:
        """The bits of an array of numbers as unsigned integers."""
        kind = np.dtype(f"u{array.dtype.itemsize}")
        return array if array.dtype == kind else array.view(kind)

    def in_rows(self, program: list[forms.Instruction], length: int) -> list[forms.Instruction]:
        """The calls as they are."""
        return program

    def value(self, value: Value) -> Any:
        """The array of a value, made where a root is met first."""
        found = self._arrays.get(id(value))
        if found is None:
            assert value.base is not None
            base = self.value(value.base)
            found = self._arrays[id(value)] = base if value.view is None else value.view(base)
        return found

    def place(self, root: Value, name: str) -> None:
        """Give a root an array that is laid out as the compiled closure lays it out."""
        kind = f"np.{root.dtype}"
        if root.ones is not None:
            ones = self.names.fresh(f"{name}_1")
            self.functions[features_first.__name__] = features_first
            whole = named(features_first(np.ones, root.ones.shape, root.dtype), ones)
            self.set(root.ones, whole)
            array = whole[:, :-1] if root.ndim == 2 else whole[:, :-1].reshape(root.shape)
            self.lines.append(f"{ones} = features_first(np.ones, {root.ones.shape}, {kind})")
            self.lines.append(f"{name} = {self.text(array)}")
        else:
            array = self._laid_out(root, name, kind)
        self.set(root, named(array, name))

    def _laid_out(self, root: Value, name: str, kind: str) -> Any:
        order = storage_order(root)
        if order == (*range(root.ndim),):
            self.lines.append(f"{name} = np.empty({root.shape}, {kind})")
            return np.empty(root.shape, root.dtype)
        make, more = (features_first, ()) if root.order is None else (in_order, (order,))
        self.functions[make.__name__] = make
        arguments = ", ".join(map(str, ("np.empty", root.shape, kind, *more)))
        self.lines.append(f"{name} = {make.__name__}({arguments})")
        return make(np.empty, root.shape, root.dtype, *more)

    def set(self, value: Value, array: Any) -> None:
        """Have a value be that array."""
        self._arrays[id(value)] = array

    def has(self, value: Value) -> bool:
        """Whether the root has an array."""
        return id(value) in self._arrays

    def text(self, x: Any) -> str:
        """The text of an argument of a form: an array, a view of one, or plain data."""
        if isinstance(x, (list, tuple)):
            parts: list[str] = [*map(self.text, cast("Sequence[Any]", x))]
            return f"[{', '.join(parts)}]" if isinstance(x, list) else f"({', '.join(parts)}{',' * (len(parts) == 1)})"
        if isinstance(x, Named):
            return self._named(x)
        if is_array(x):
            return self._unnamed(x)
        return number_text(x) if isinstance(x, (float, np.floating)) else "..." if x is ... else repr(x)

    def _named(self, x: Named) -> str:
        """A view is written from the first place of an axis on, or by its last step; what is before gets a name."""
        path = x.path()
        last = len(path) - 1 - (path[-1].text in VECTORS and len(path) > 2)
        first = next((i for i, step in enumerate(path) if re.match(r"\[\d+[],]", step.text)), last)
        return "".join([self._view(path[:first]) if first else "", *(step.text for step in path[first:])])

    def _view(self, path: Sequence[Named]) -> str:
        """The name of a view, given where it is met first."""
        text = "".join(step.text for step in path)
        if len(path) == 1 or (len(path) == 2 and path[1].text == ".T"):
            return text
        if text not in self._views:
            self._views[text] = self.names.fresh(f"{path[0].text}_view")
            self.lines.append(f"{self._views[text]} = {text}")
        return self._views[text]

    def _unnamed(self, x: Any) -> str:
        """An array of constants, or one that a form has cut out of another by its strides."""
        if not x.ndim:
            return number_text(x[()])
        if not x.size:
            return f"np.empty({x.shape}, np.{x.dtype})"
        for whole in self._arrays.values():
            if np.may_share_memory(whole, x):
                assert whole.ctypes.data == x.ctypes.data
                return f"np.lib.stride_tricks.as_strided({self.text(whole)}, {x.shape}, {x.strides})"
        numbers = re.sub(r"\b(inf|nan)\b", r"np.\1", str(x.tolist()))
        text = f"np.array({numbers}, np.{x.dtype})"
        return text if x.size <= FEW else self.constants.setdefault(text, f"{CONSTANT}{len(self.constants) + 1}")

    def write(self, call: Call) -> None:
        """The lines of one call, its steps over time in a loop."""
        operands = tuple(self.value(x) if isinstance(x, Value) else x for x in call.inputs)
        form: Any = call.primitive.form
        if not form.__module__.startswith("funcnet.tracing."):
            raise refusal("to_numpy", call, "NumPy")
        outputs = tuple(self.value(y) if y.use_count else None for y in call.outputs)
        self._wish = wish_of(call)
        instructions = form(self, call.attributes, operands, outputs if call.primitive.multi_output else outputs[0])
        lines = [self._instruction(f, args) for f, args in instructions]
        self.lines += rolled(lines, "t" if call.primitive.multi_output else "k")

    def _instruction(self, f: Any, args: Sequence[Any]) -> str:
        options: dict[str, Any] = getattr(f, "keywords", {})
        function: Any = getattr(f, "func", f)
        owner: Any = getattr(function, "__self__", None)
        name: str = function.__name__
        if isinstance(function, np.ufunc):
            *given, out = unrolled([*f.args, options["out"]] if options else args)
            numbers = [x.number if isinstance(x, Named) and x.number else self.text(x) for x in given]
            return f"np.{name}({', '.join(numbers)}, out={self.text(out)})"
        if isinstance(owner, np.ufunc):
            x, axes, _, out = args
            return f"np.{owner.__name__}.reduce({self.text(x)}, axis={axes}, out={self.text(out)})"
        if name == "dot":
            return f"np.dot({self.text(owner)}, {self.text(args[0])}, out={self.text(args[1])})"
        if name in ("__setitem__", "fill"):
            to = self.text(owner)
            assert name == "fill" or args[0] is ...
            return f"{to if to.endswith(']') else f'{to}[...]'} = {self.text(args[-1])}"
        assert self.functions.setdefault(name, function) is function
        return f"{name}({', '.join([*map(self.text, args), *(f'{key}={self.text(x)}' for key, x in options.items())])})"


def features_first(make: Any, shape: Any, dtype: Any) -> Any:
    """An array of this shape, (rows, ..., features), each of whose features lies in one piece in memory."""
    axes = (*range(1, len(shape)), 0)
    return make((shape[-1], *shape[:-1]), dtype).transpose(axes)


def in_order(make: Any, shape: Any, dtype: Any, order: Any) -> Any:
    """An array of this shape whose axes lie in memory in this order, the outermost first."""
    return make([shape[axis] for axis in order], dtype).transpose(np.argsort(order))


def sources(functions: dict[str, Any]) -> list[str]:
    """The text of functions of funcnet, and of all in funcnet that they use."""
    found: dict[str, str] = {}
    for name, thing in functions.items():
        _add_source(name, thing, found)
    return [*found.values()]


def _add_source(name: str, thing: Any, found: dict[str, str]) -> None:
    """Add the text of a function after that of the functions it uses."""
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
