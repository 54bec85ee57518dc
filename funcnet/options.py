"""Checks of options and operator keys. NumPy's numbers are accepted like Python's, and converted to them."""

from __future__ import annotations

import operator
from numbers import Real
from typing import Any

import numpy as np
from typing_extensions import TypeIs, TypeVar

from funcnet.errors import OptionError

T = TypeVar("T")


def as_int(value: Any) -> int | None:
    """A Python or NumPy integer as an int; None for anything else. A bool is no integer here."""
    if type(value) is int:
        return value
    if isinstance(value, (bool, np.bool_)):  # NumPy 2.0 takes its bools for indices, with a warning
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def as_float(value: Any) -> float | None:
    """A Python or NumPy number, or an array of rank 0 that holds one, as a float; None for anything else."""
    given: object = value
    number: Any = value[()] if isinstance(given, np.ndarray) else value  # an array of higher rank is no Real
    if isinstance(number, (bool, np.bool_)) or not isinstance(number, Real):
        return None
    try:
        return float(number)
    except OverflowError:  # an int beyond the largest float
        return None


def as_key(value: Any) -> int | str | None:
    """An operator's key as a Python int or str; None for anything else."""
    return str.__str__(value) if isinstance(value, str) else as_int(value)


def is_key(key: Any) -> bool:
    """Whether this can be an operator's key: int or str, and no bool."""
    return as_key(key) is not None


def named(key: Any) -> Any:
    """A key as a Python int or str; anything else as it is."""
    found = as_key(key)
    return key if found is None else found


def listed(keys: Any) -> Any:
    """An array of keys as a list."""
    return keys.tolist() if isinstance(keys, np.ndarray) else keys


def brief(value: object) -> str:
    """A short description: of an array dtype and shape, of anything else the beginning of its repr."""
    if _is_array(value) and value.ndim:
        return f"an array of {value.dtype} of shape {value.shape}"
    return " ".join(f"{value!r:.60}".split())


def _is_array(value: object) -> TypeIs[np.ndarray[Any, Any]]:
    return isinstance(value, np.ndarray)


def positive(name: str, value: object) -> float:
    """A finite number above zero, as a Python float."""
    number = as_float(value)
    if number is None or not 0 < number < np.inf:
        raise OptionError(f"{name} must be a finite number above 0, not {brief(value)}")
    return number


def fraction(name: str, value: object) -> float:
    """A number from 0 up to, but not, 1, as a Python float."""
    number = as_float(value)
    if number is None or not 0 <= number < 1:
        raise OptionError(f"{name} must be in [0, 1), not {brief(value)}")
    return number


def title(name: str, value: object, default: str) -> str:
    """A str; the default for None and for an empty one."""
    if value is not None and not isinstance(value, str):
        raise OptionError(f"{name} must be a str, not {brief(value)}")
    return value or default


def count(name: str, value: object) -> int:
    """An int of at least 1."""
    return _at_least(1, name, value)


def integer(name: str, value: Any) -> int:
    """An int of either sign."""
    number = as_int(value)
    if number is None:
        raise OptionError(f"{name} must be an int, not {brief(value)}")
    return number


def natural(name: str, value: object) -> int:
    """An int of at least 0."""
    return _at_least(0, name, value)


def _at_least(least: int, name: str, value: object) -> int:
    number = as_int(value)
    if number is None or number < least:
        raise OptionError(f"{name} must be an int of at least {least}, not {brief(value)}")
    return number


def choice(name: str, value: T, options: tuple[T, ...]) -> T:
    """One of the options."""
    if not isinstance(value, type(options[0])) or value not in options:
        raise OptionError(f"{name} must be {', '.join(map(repr, options[:-1]))} or {options[-1]!r}, not {brief(value)}")
    return value


def flag(name: str, value: object) -> bool:
    """True or False, Python's or NumPy's; no other value."""
    if type(value) not in (bool, np.bool_):
        raise OptionError(f"{name} must be True or False, not {brief(value)}")
    return bool(value)


def finite(name: str, value: object) -> float:
    """A finite number, as a Python float."""
    number = as_float(value)
    if number is None or not -np.inf < number < np.inf:
        raise OptionError(f"{name} must be a finite number, not {brief(value)}")
    return number


def not_negative(name: str, value: object) -> float:
    """A finite number of at least 0, as a Python float."""
    number = finite(name, value)
    if number < 0:
        raise OptionError(f"{name} must be at least 0, not {brief(value)}")
    return number
