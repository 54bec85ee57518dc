"""Optimizers as lines of source: the update of one element, the same text for NumPy and for C."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np

from funcnet.errors import ExportError
from funcnet.optimizers.base import Optimizer
from funcnet.optimizers.schedules import Schedule


class Language(NamedTuple):
    """The form of numbers and functions in a language.

    number: a literal.      weights: 1 - decay^t, the sum of the weights of a moving average, for an expression t.
    functions: the beginning of a call by NumPy's name: sqrt, sign, maximum, minimum, where; and max, of two doubles.
    has_state: whether Python makes the state, with its numbers and first vectors.
    """

    number: Callable[[float], str]
    weights: Callable[[float, str], str]
    functions: dict[str, str]
    has_state: bool = False


class Update(NamedTuple):
    """An optimizer as text, in which u is the update so far, at first the gradient, p the param, t the count from 1.

    vectors: (name, first value) of each vector of the state.
    scalars: (name, expression of t), once for each step.      lines: (name, expression), for each element.
    norms: (number of the next line, expression): u is multiplied by this expression of `norm`, the norm of all u.
    own_norms: places in `norms` where `norm` is that of each array of params alone.
    numbers: (name, schedule) of the numbers in the state for the next step, in the order of the state.
    """

    vectors: dict[str, float]
    scalars: list[tuple[str, str]]
    lines: list[tuple[str, str]]
    norms: list[tuple[int, str]]
    numbers: list[tuple[str, Schedule | None]]
    own_norms: list[int]

    @property
    def counts(self) -> bool:
        """Whether the state counts steps."""
        return bool(self.scalars)

    def passes(self) -> list[tuple[list[tuple[str, str]], str]]:
        """The lines of each loop over all elements, and the factor of u in the next loop: "" behind the last."""
        places = [0, *(place for place, _ in self.norms), len(self.lines)]
        factors = [*(factor for _, factor in self.norms), ""]
        return [(self.lines[a:b], factor) for a, b, factor in zip(places, places[1:], factors, strict=False)]


def update_of(where: str, optimizer: Optimizer, dtype: np.dtype[Any], say: Language) -> Update:
    """The update as text. ExportError for an optimizer that has none here."""
    parts = [*_parts(optimizer.update)]
    for name, _, function in parts:
        if name not in RULES or (name == "_clip_by_norm" and not say.has_state):
            named = name.lstrip("_") or getattr(function, "__name__", type(function).__name__)
            raise ExportError(
                f"{where}: the optimizer has a part that is not written as source: {named}. "
                "These are: sgd, adam, adamw, rmsprop, adagrad, lion, clip, clip_by_global_norm, ema and "
                "add_decayed_weights, without masks"
            )
    update = Update({}, [], [], [], [], [])
    states = _states(optimizer.update, optimizer.init(np.zeros((), dtype)))
    for (name, options, _), state in zip(parts, states, strict=True):
        RULES[name](_Part(where, update, state, say), *options)
    return update


def _parts(function: Any) -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    """(the name of its function, its options, itself) for each transform of a chain."""
    name = function.func.__name__ if isinstance(function, partial) else ""
    if name == "_chain":
        for part in function.args[0]:
            yield from _parts(part.update)
    elif name == "run_stateless":
        inner = function.args[0]
        yield (inner.func.__name__, inner.args, function) if isinstance(inner, partial) else ("", (), function)
    else:
        yield name, function.args if name else (), function


def _states(function: Any, state: Any) -> Iterator[Any]:
    """The state of each of them."""
    if function.func.__name__ != "_chain":
        yield state
        return
    for part, own in zip(function.args[0], state, strict=True):
        yield from _states(part.update, own)


class _Part(NamedTuple):
    """Where a rule writes its lines."""

    where: str
    update: Update
    state: Any
    say: Language

    def call(self, function: str, *arguments: str) -> str:
        """A call of a function."""
        return f"{self.say.functions[function]}({', '.join(arguments)})"

    def vector(self, name: str, value: float) -> str:
        """A new vector of the state."""
        vectors = self.update.vectors
        name = name if name not in vectors else f"{name}{len(vectors)}"
        vectors[name] = float(value)
        return name

    def state_number(self, name: str, schedule: Schedule | None) -> str:
        """A new number that the state has."""
        numbers = self.update.numbers
        numbers.append((f"{name}_{len(numbers)}", schedule))
        return numbers[-1][0]

    def scalar(self, name: str, expression: str) -> str:
        """A new number that depends on the count."""
        scalars = self.update.scalars
        name = name if all(name != other for other, _ in scalars) else f"{name}{len(scalars)}"
        scalars.append((name, expression))
        return name

    def moment(self, decay: float, u: str, m: str) -> str:
        """(1 - decay) u + decay m"""
        return f"{self.say.number(1.0 - decay)} * {u} + {self.say.number(decay)} * {m}"

    def bias(self, decay: float, more: int = 0) -> str:
        """1 - decay^t"""
        return self.say.weights(decay, f"(t + {more})" if more else "t")

    def line(self, name: str, expression: str) -> None:
        """A new line."""
        self.update.lines.append((name, expression))


def _learning_rate(w: _Part, rate: Any) -> None:
    if w.say.has_state:
        schedule = cast("Schedule", rate) if callable(rate) else None
        w.line("u", f"-{w.state_number('rate', schedule)} * u")
        return
    if callable(rate):
        raise ExportError(
            f"{w.where}: the learning rate follows a schedule; source has one rate: give a number, and write the "
            "source anew for another one"
        )
    w.line("u", f"{w.say.number(-rate)} * u")


def _schedule(w: _Part, schedule: Any) -> None:
    if not w.say.has_state:
        raise ExportError(f"{w.where}: the updates follow a schedule; source has none: leave scale_by_schedule out")
    w.line("u", f"{w.state_number('value', schedule)} * u")


def _momentum(w: _Part, decay: float, nesterov: bool) -> None:
    m, d = w.vector("trace", 0.0), w.say.number(decay)
    w.line(m, f"u + {d} * {m}")
    w.line("u", f"u + {d} * {m}" if nesterov else m)


def _adam(w: _Part, o: Any) -> None:
    mu, nu, number = w.vector("mu", 0.0), w.vector("nu", 0.0), w.say.number
    part = w.scalar("part", w.bias(o.b1, int(o.nesterov)))
    part_2 = w.scalar("part_2", w.bias(o.b2))
    w.line(mu, w.moment(o.b1, "u", mu))
    w.line(nu, w.moment(o.b2, "(u * u)", nu))
    direction = mu
    if o.nesterov:
        own = w.scalar("own", f"{1.0 - o.b1!r} / ({w.bias(o.b1)}) * ({w.bias(o.b1, 1)})")
        direction = f"({number(o.b1)} * {mu} + {own} * u)"
    root = w.call("sqrt", f"{nu} / {part_2} + {number(o.eps_root)}")
    w.line("u", f"{direction} / {part} / ({root} + {number(o.eps)})")


def _rms(w: _Part, o: Any) -> None:
    nu, number = w.vector("nu", w.state.nu), w.say.number
    centered = w.state.mu is not None
    w.line(nu, w.moment(o.decay, "(u * u)", nu))
    variance = nu
    if centered:
        mu = w.vector("mu", 0.0)
        w.line(mu, w.moment(o.decay, "u", mu))
        variance = w.call("maximum", f"{nu} - {mu} * {mu}", number(0.0))
    eps = number(o.eps)
    root = w.call("sqrt", f"{variance} + {eps}") if o.eps_in_sqrt else f"({w.call('sqrt', variance)} + {eps})"
    w.line("u", f"u / {root}")


def _adagrad(w: _Part, eps: float) -> None:
    total, number = w.vector("sum_of_squares", w.state.sum_of_squares), w.say.number
    w.line(total, f"{total} + u * u")
    safe = w.call("where", f"{total} > {number(0.0)}", f"{total} + {number(eps)}", number(1.0))
    w.line("u", f"u / {w.call('sqrt', safe)}")


def _lion(w: _Part, b1: float, b2: float) -> None:
    mu = w.vector("mu", 0.0)
    w.line("sign", w.call("sign", w.moment(b1, "u", mu)))
    w.line(mu, w.moment(b2, "u", mu))
    w.line("u", "sign")


def _ema(w: _Part, decay: float, debias: bool) -> None:
    m = w.vector("ema", 0.0)
    w.line(m, w.moment(decay, "u", m))
    w.line("u", f"{m} / {w.scalar('part', w.bias(decay))}" if debias else m)


def _clip(w: _Part, most: float) -> None:
    w.line("u", w.call("minimum", w.call("maximum", "u", w.say.number(-most)), w.say.number(most)))


def _clip_by_global_norm(w: _Part, most: float) -> None:
    w.update.norms.append((len(w.update.lines), f"{most!r} / {w.call('max', repr(most), 'norm')}"))


def _clip_by_norm(w: _Part, most: float) -> None:
    w.update.own_norms.append(len(w.update.norms))
    _clip_by_global_norm(w, most)


def _ema_params(w: _Part, decay: float) -> None:
    if not w.say.has_state:
        raise ExportError(f"{w.where}: ema_params begins with the params, which source does not know: leave it out")
    average = w.vector("average", 0.0)
    w.line(average, f"{w.say.number(decay)} * {average} + {w.say.number(1.0 - decay)} * (p + u)")


def _decay(w: _Part, rate: float) -> None:
    w.line("u", f"u + {w.say.number(rate)} * p")


RULES: dict[str, Callable[..., None]] = {
    "_by_learning_rate": _learning_rate,
    "_by_momentum": _momentum,
    "_by_adam": _adam,
    "_by_rms": _rms,
    "_by_adagrad": _adagrad,
    "_by_lion": _lion,
    "_ema": _ema,
    "_clip": _clip,
    "_clip_by_global_norm": _clip_by_global_norm,
    "_clip_by_norm": _clip_by_norm,
    "_scale_by_schedule": _schedule,
    "_ema_params": _ema_params,
    "_decay": _decay,
}
"""By the name of the function that an update calls."""
