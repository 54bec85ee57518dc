"""Text for display: layers, optimizers and steps as the call that made them, keys, columns of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial, wraps
from types import FunctionType
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from funcnet.calling import refused
from funcnet.options import brief

F = TypeVar("F", bound=Callable[..., Any])
LEVELS = 6  # of calls in calls that a repr shows
SHOWN = 20  # arguments of a call that a repr shows
DOCUMENTED: dict[str, str] = {}
"""The docstring of every function whose result shows the call that made it, by the function's name."""
INPUTS = frozenset("xy")  # how inputs and outputs are called in tables and diagrams, alone or with a number


class Written(NamedTuple):
    """The call that made something: its function's name, and the arguments."""

    name: str
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()


def shows_call(make: F) -> F:
    """A function whose result shows the call that made it: a layer, an optimizer, a step or a partial."""
    DOCUMENTED[make.__name__] = make.__doc__ or ""

    @wraps(make)
    def made(*args: Any, **kwargs: Any) -> Any:
        try:
            result = make(*args, **kwargs)
        except TypeError as error:
            raise refused(make, args, kwargs, error) from None
        options = tuple((name, plain(value)) for name, value in kwargs.items())
        bearer(result).written = Written(make.__name__, tuple(map(plain, args)), options)
        return result

    return cast(F, made)


def call_forgotten(x: Any) -> str:
    """A hint to call a function of funcnet that was given in place of its result; "" for anything else."""
    ours = str(getattr(x, "__module__", "")).startswith("funcnet.") and getattr(x, "__name__", "") in DOCUMENTED
    return f": call it, fn.{x.__name__}(...)" if callable(x) and ours else ""


def described(x: Any) -> str:
    """A value in a message that refuses it: a function by its name, without its address."""
    return f"the function {x.__name__}" if isinstance(x, (FunctionType, np.ufunc)) else brief(x)


def how_to_make(given: object, name: str = "serial") -> str:
    """A hint to make a layer where something else was given. name: of a function that takes layers one by one."""
    name_of = str(getattr(given, "__name__", given)) if isinstance(given, (str, np.ufunc)) else ""
    if name_of in DOCUMENTED:
        return f": give the layer, fn.{name_of}()"
    if hasattr(given, "vjp"):
        return ": give the layer, not its apply alone"
    if isinstance(given, (list, Iterator)):
        return f": pass the layers one by one, {name}(*layers)"
    if hasattr(given, "net") and hasattr(given, "loss"):
        return ": give the network that it was made of"
    if hasattr(given, "init") and hasattr(given, "update"):
        return ": an optimizer is the last argument of fn.train_step(net, loss, optimizer)"
    if hasattr(given, "key") and hasattr(given, "transposed"):
        return ": give it a key of its own in fn.network(operators, connectivity)"
    if callable(given) and not isinstance(given, type):
        return call_forgotten(given) or ": fn.elementwise or fn.custom_layer makes a layer of a function"
    return ": a function such as fn.linear(25) makes one"


def plain(x: Any) -> Any:
    """A NumPy number as Python's, a copy of a list or a dict, which may be changed later; anything else as it is."""
    kind = cast("Any", type(x))
    if issubclass(kind, np.generic) or (issubclass(kind, np.ndarray) and not x.ndim):
        return x.item()
    return x.copy() if kind in (list, dict) else x


def bearer(x: Any) -> Any:
    """The object that holds the call that made x: a layer's apply, an optimizer's update, or x itself."""
    parts = ("apply", "update") if hasattr(x, "_fields") else ()
    return next((getattr(x, part) for part in parts if hasattr(x, part)), x)


def shown(x: Any, levels: int = LEVELS) -> str:
    """The call that made x, in one line; a name for functions, and for anything else its repr."""
    carrier = bearer(x)
    written: Written | None = getattr(carrier, "written", None)
    if written is not None:
        if not levels:
            return f"{written.name}(...)"
        args = [shown(arg, levels - 1) for arg in written.args]
        args += [f"{name}={shown(value, levels - 1)}" for name, value in written.kwargs]
        more = [f"... {len(args) - SHOWN} more"] * (len(args) > SHOWN)
        return f"{written.name}({', '.join([*args[:SHOWN], *more])})"
    kind = cast("Any", type(x))
    if kind in (list, tuple):
        items = ", ".join(shown(item, levels - 1) for item in x) if levels else "..."
        return f"[{items}]" if kind is list else f"({items}{',' * (len(x) == 1)})"
    if kind is dict:
        items = ", ".join(f"{key!r}: {shown(value, levels - 1)}" for key, value in x.items()) if levels else "..."
        return f"{{{items}}}"
    if carrier is not x:
        return f"<{getattr(carrier, 'kind', getattr(carrier, '__name__', type(carrier).__name__))}>"
    if isinstance(x, partial):
        return shown(x.func, levels)
    if callable(x) and hasattr(x, "__name__"):
        return str(x.__name__)
    if kind.__repr__ is object.__repr__:  # it would be an address
        return f"a {kind.__name__}"
    return repr(plain(x))


def key_name(key: Any) -> str:
    """An operator's key as text: a string without quotes, but with them where it would look like something else.

    That is an integer, several keys, the name of an input or an output, or a text that cannot be printed.
    """
    if not isinstance(key, str):
        return repr(key)
    number = key.lstrip("-").isdecimal() or (key[:1] in INPUTS and key[1:].isdecimal())
    strange = not key.isprintable() or key != key.strip() or not key or "/" in key or key[0] in "'\""
    return repr(key) if number or key in INPUTS or strange else key


def numbered(letter: str, count: int) -> list[str]:
    """The letter, with a number where there are several: x, or x0, x1, ..."""
    return [letter] if count == 1 else [f"{letter}{i}" for i in range(count)]


def one_line(text: str) -> str:
    """The text, with what cannot be printed written as Python does."""
    return text if text.isprintable() else repr(text)[1:-1]


def printable(text: str) -> str:
    """The text without invisible characters and those not allowed in a comment."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def first_line(x: Any) -> str:
    """The first line of the text of x."""
    return shown(x).partition("\n")[0]


def aligned(rows: Sequence[Sequence[str]], numbers: int = 0) -> str:
    """Columns under their heads: the last ones, of numbers, aligned right, the others left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if place >= len(row) - numbers else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (rows[0], ["-" * width for width in widths], *rows[1:])
    ]
    return "\n".join(lines)
