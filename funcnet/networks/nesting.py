"""Layers made of others: how deep they may be nested, and which of them a recorded call comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from funcnet.compiler.programs import CompiledFunction
from funcnet.core import Function, Layer, P, Y
from funcnet.display import Written
from funcnet.errors import GraphError
from funcnet.tracing.trace import Trace, Value

DEEPEST = 50  # layers in layers: Python runs out of stack, first where they are pickled, at about 80


def nested(
    made: Layer[P, Y],
    applies: Iterable[Function[Any, Any]],
    written: Written,
    parts: tuple[Layer[Any, Any], ...] = (),
) -> Layer[P, Y]:
    """The layer made of others; one that is nested too deep for Python's stack refuses all that is asked of it."""
    made.apply.parts = parts
    made.apply.depth = 1 + max(apply.depth for apply in applies)
    made.apply.written = written
    if made.apply.depth <= DEEPEST:
        return made
    refuse = partial(too_deep, made.apply.kind)
    apply: CompiledFunction[P, Y] = CompiledFunction(made.apply.kind, refuse, made.apply.arity)
    apply.depth = made.apply.depth
    return Layer(refuse, apply)


def too_deep(kind: str, *_: Any, **__: Any) -> Any:
    """Raise the error."""
    raise GraphError(f"{kind}: layers are nested more than {DEEPEST} deep: put them side by side, fn.serial(*layers)")


class scoped:
    """Sets the scope of a recorder, if there is one: the operator that the next calls belong to."""

    def __init__(self, example: object) -> None:
        self.trace: Trace | None = example.trace if isinstance(example, Value) else None

    def __enter__(self) -> Callable[[str], None]:
        """Begin; call the returned function to set the scope."""
        self.outer: str = self.trace.scope if self.trace else ""
        return self._set

    def _set(self, scope: str) -> None:
        if self.trace:
            self.trace.scope = f"{self.outer} / {scope}" if self.outer else scope

    def __exit__(self, *_: object) -> None:
        """Back to the outer scope."""
        if self.trace:
            self.trace.scope = self.outer
