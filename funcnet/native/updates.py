"""Optimizers as lines of source: what each does to one element of the gradient, the same text for NumPy and for C."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from funcnet.errors import ExportError
from funcnet.optimizers.base import Optimizer


class Language(NamedTuple):
    """How numbers and functions are written.

    number: a literal.      power: x^y of two expressions.
    functions: by NumPy's name, how a call begins: sqrt, sign, maximum, minimum.
    """

    number: Callable[[float], str]
    power: Callable[[str, str], str]
    functions: dict[str, str]


class Update(NamedTuple):
    """An optimizer as text, in which u is the update so far, at first the gradient, p the param, t the count from 1.

    vectors: what the state has for each param, and what it begins with.
    scalars: (name, expression of t), once for each step.      lines: (name, expression), for each element.
    """

    vectors: dict[str, float]
    scalars: list[tuple[str, str]]
    lines: list[tuple[str, str]]

    @property
    def counts(self) -> bool:
        """Whether the state counts steps."""
        return bool(self.scalars)


def update_of(where: str, optimizer: Optimizer, state: Any, say: Language) -> Update:
    """The update as text. ExportError for an optimizer that has none here.

    state: the first one, for a single number as params.
    """
    update = Update({}, [], [])
    _add(where, update, optimizer.update, state, say)
    return update


def _add(where: str, update: Update, function: Any, state: Any, say: Language) -> None:
    """Add the lines of one transform of a chain."""
    name = function.func.__name__ if isinstance(function, partial) else ""
    if name == "_chain":
        for part, own in zip(function.args[0], state, strict=True):
            _add(where, update, part.update, own, say)
        return
    options: tuple[Any, ...] = function.args if isinstance(function, partial) else ()
    if name == "run_stateless":
        name, options = options[0].func.__name__, options[0].args
    rule = RULES.get(name)
    if rule is None:
        raise ExportError(
            f"{where}: the optimizer has a part that is not written as source: {name.lstrip('_') or function!r:.60}. "
            f"These are: sgd, adam, adamw, rmsprop, adagrad, lion, clip, ema and add_decayed_weights, without masks"
        )
    rule(_Part(where, update, state, say), *options)


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
        exponent = f"(t + {more})" if more else "t"
        return f"1.0 - {self.say.power(repr(decay), exponent)}"

    def line(self, name: str, expression: str) -> None:
        """A new line."""
        self.update.lines.append((name, expression))


def _learning_rate(w: _Part, rate: Any) -> None:
    if callable(rate):
        raise ExportError(
            f"{w.where}: the learning rate follows a schedule; source has one rate: give a number, and write the "
            "source anew for another one"
        )
    w.line("u", f"{w.say.number(-rate)} * u")


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
    "_decay": _decay,
}
"""By the name of the function that an update calls."""
