"""Calls with arguments that a function does not take: the error names the function, the argument and the fix."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import wraps
from inspect import Parameter, signature
from typing import Any, TypeVar, cast

from funcnet.errors import CallError

F = TypeVar("F", bound=Callable[..., Any])
ELSEWHERE = {  # what other libraries call an option
    "bias": "use_bias",
    "lr": "learning_rate",
    "momentum_decay": "momentum",
    "p": "rate",
    "kernel_initializer": "weight_init",
    "validation_data": "validation",
}
DATA = "the data are one argument, the tuple (x, target)"
NOTES = {
    "linear": [
        "the number of inputs is known from init",
        "an activation is a layer of its own: fn.serial(fn.linear(8), fn.relu())",
    ],
    "fit": [DATA],
    "evaluate": [DATA],
}


def checks_call(function: F) -> F:
    """The function, whose error for arguments that it does not take is a `CallError`."""

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            raise refused(function, args, kwargs, error) from None

    return cast(F, checked)


def refused(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], error: TypeError) -> TypeError:
    """The error for a call that Python refused; any other TypeError as it is."""
    found = signature(function)
    try:
        found.bind(*args, **kwargs)
    except TypeError as refusal:
        name, parameters = function.__name__, [*found.parameters]
        unknown = [_unknown(given, parameters) for given in kwargs if given not in parameters]
        plain = f"it is {name}({', '.join(_listed(found.parameters.values()))})"
        return CallError("; ".join([f"{name}: {', '.join(unknown) or refusal}", plain, *NOTES.get(name, [])]))
    return error


def _unknown(given: str, parameters: list[str]) -> str:
    """A keyword that is none of the parameters, and the one that was probably meant."""
    near = [ELSEWHERE[given]] if ELSEWHERE.get(given) in parameters else get_close_matches(given, parameters, 1)
    return f"there is no argument {given}{f', did you mean {near[0]}?' if near else ''}"


def _listed(parameters: Iterable[Parameter]) -> list[str]:
    """The parameters with their defaults, without their types."""
    listed: list[str] = []
    for parameter in parameters:
        star = "*" * (parameter.kind is Parameter.VAR_POSITIONAL) + "**" * (parameter.kind is Parameter.VAR_KEYWORD)
        if parameter.kind is Parameter.KEYWORD_ONLY and not any(name.startswith("*") for name in listed):
            listed.append("*")
        has_default = parameter.default is not Parameter.empty
        listed.append(f"{star}{parameter.name}{f'={parameter.default!r}' if has_default else ''}")
    return listed
