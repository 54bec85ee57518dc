"""All errors of funcnet. Every message names the fault, its place and the fix."""

from __future__ import annotations

from collections.abc import Sequence


class FuncnetError(Exception):
    """Base class of every error that funcnet raises."""

    detail: str = ""
    """The message without the place where it happened, so that a caller who knows the place better can add it."""


def located(error: FuncnetError, where: str, *, outermost: bool = False) -> FuncnetError:
    """The same error with the place where it happened; an inner place is replaced by an outer one."""
    detail = getattr(error, "detail", None) or str(error)
    located = type(error)(f"{where}; {detail}")
    if not outermost:
        located.detail = detail
    return located


class GraphError(FuncnetError, ValueError):
    """The two dicts do not describe a network. `problems` lists everything that is wrong with them."""

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        count = len(self.problems)
        heading = f"{count} problem{'s' if count > 1 else ''} in the graph"
        super().__init__("\n  ".join((heading, *self.problems)))

    def __reduce__(self) -> tuple[type[GraphError], tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)


class ShapeError(FuncnetError, ValueError):
    """Arrays whose shapes do not fit together."""


class DTypeError(FuncnetError, TypeError):
    """An array of a dtype that a network does not compute with, or a value that is no array."""


class ParamsError(FuncnetError, ValueError):
    """A params pytree that does not belong to this layer or network."""


class LabelError(FuncnetError, ValueError):
    """A class label that is none of the classes, or an index that is none of a table's rows."""


class MaskError(FuncnetError, ValueError):
    """A mask that is False everywhere, so that nothing may be seen: most likely the wrong way round."""


class WeightError(FuncnetError, ValueError):
    """Weights that have no mean: some are negative and they add up to 0; or, of a metric, all are 0."""


class CallError(FuncnetError, TypeError):
    """A call with arguments that the function does not take, or of an object that is no function."""


class AbsentError(FuncnetError, AttributeError):
    """A method that networks or optimizers have in other libraries."""


class TracingError(FuncnetError, TypeError):
    """NumPy code of a layer that cannot be recorded."""


class KeyTypeError(FuncnetError, TypeError):
    """A random key was expected, and something else was given."""


class OptionError(FuncnetError, ValueError):
    """A hyperparameter outside its range."""


class CheckpointError(FuncnetError, ValueError):
    """A file that is no checkpoint, is damaged or holds something else than was asked for; or what cannot be saved."""


class ExportError(FuncnetError, ValueError):
    """A network that cannot be written in another form."""


class CompilerError(FuncnetError, RuntimeError):
    """A C compiler that fails, or a folder in which a compiled library cannot be kept safely."""


class NonFiniteError(FuncnetError, FloatingPointError):
    """NaN or infinity where `check_finite=True` was asked for."""


class MissingPackageError(FuncnetError, ModuleNotFoundError):
    """An optional package that is not installed."""
