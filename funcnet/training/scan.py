"""Many training steps in one call: params and state stay flat vectors between them, and become trees once, at the end.

A run is one sequence of steps on batches of one shape and dtype. `fn.scan` and `fn.fit` are loops over it.
"""

from __future__ import annotations

from typing import Any, Generic, TypeAlias, cast, overload

import numpy as np
from typing_extensions import TypeIs, TypeVar

from funcnet.arrays import Array, Labels, Vector, accept_array, holds_params, is_array
from funcnet.calling import checks_call
from funcnet.compiler.program_cache import SPEC
from funcnet.compiler.workspace import Workspace
from funcnet.display import first_line
from funcnet.errors import DTypeError, FuncnetError, OptionError, ParamsError, ShapeError, located
from funcnet.random import Key, check_key, fold_in
from funcnet.tracing.forms import Instruction
from funcnet.training.gradients import SGDStep, Step
from funcnet.training.nonfinite import all_finite
from funcnet.training.steps import TrainStep

P = TypeVar("P", default=Any)
S = TypeVar("S", default=Any)
Arrays: TypeAlias = tuple[Any, ...]
WITH_STATE = "fn.scan(step, params, step.init(params), *arrays)"


def has_state(step: Any) -> TypeIs[TrainStep[Any, Any]]:
    """Whether the step has an optimizer, whose state it takes and returns."""
    return isinstance(step, TrainStep)


class Run(Generic[P]):
    """A sequence of steps in one workspace, on one vector of params, which belongs to the run and is written into.

    Like a call, a run that fails or is given up does not put its workspace back.

    All arguments are checked as in a first step on these arrays, but no step is taken yet.
    steps: about how many there will be; this affects the time only.
    """

    def __init__(self, step: Step[P], params: P, state: Any, arrays: Arrays, key: Key | None, steps: int = 1) -> None:
        self.step = step
        self.specs: list[Any] = [*map(SPEC, arrays)]
        space, vector = step.acquire_with_state(params, state, arrays, key)
        self.space: Workspace[P] = space
        self.state: Any = step.flat_state(space, state)
        self.vector: Any = space.layout.joined(params) if vector is None else vector.copy()
        self.copies: bool = space.follow(self.vector, steps if step.flat else 1)
        ending = step.update_in_place(self.vector, space.gradient)
        self.program: list[Instruction] = [*space.program, *ending]
        self.in_program: bool = bool(ending)
        self.keyed: bool = step.random and key is not None

    def takes(self, arrays: Arrays) -> bool:
        """Whether the batch has the types, shapes and dtypes of the first one."""
        return [*map(SPEC, arrays)] == self.specs

    def advance(self, arrays: Arrays, key: Key | None) -> tuple[Any, list[Array]]:
        """Take one step."""
        space, step = self.space, self.step
        for inside, x in zip(space.inside, (*arrays, key) if self.keyed else arrays, strict=True):
            inside[...] = x
        if self.copies:
            space.own[...] = self.vector
        if self.in_program:
            for f, args in self.program:
                f(*args)
            return space.fresh[0](), []
        into = None if step.check_finite or not step.flat else self.vector
        new, self.state = step.updated(space, self.vector, self.state, arrays, into)
        loss, *outputs = [take() for take in space.fresh]
        if step.check_finite and not all_finite(loss, new):
            raise step.not_finite(space, space.layout.tree(self.vector), arrays, key, loss)
        if not step.flat:  # the optimizer may keep the params before
            self.vector = new
            if not self.copies:
                space.read_from(new)
        elif into is None:
            self.vector[...] = new
        return loss, outputs

    def finish(self) -> tuple[P, Any]:
        """The params as views of the vector, in which nothing changes any more, and the state."""
        space = self.space
        state = self.step.state_of(space, self.state)
        params = space.params_cache.made(self.vector)
        space.release()
        return params, state


@overload
def scan(
    step: TrainStep[P, dict[str, Any]], params: P, state: S, /, *arrays: Array | Labels, key: Key | None = None
) -> tuple[P, S, dict[str, Any]]: ...
@overload
def scan(
    step: TrainStep[P, np.floating[Any]], params: P, state: S, /, *arrays: Array | Labels, key: Key | None = None
) -> tuple[P, S, Vector]: ...
@overload
def scan(step: SGDStep[P], params: P, /, *arrays: Array | Labels, key: Key | None = None) -> tuple[P, Vector]: ...
@checks_call
def scan(step: Any, params: Any, /, *given: Any, key: Key | None = None) -> tuple[Any, ...]:
    """Take a step on each of many batches, in one call: the same bits as the loop of steps, in less time.

        (params, *inputs, *targets) -> (new params, losses)                         step of `fn.sgd_step`
        (params, state, *inputs, *targets) -> (new params, new state, losses)       step of `fn.train_step`

    arrays: each with an axis of steps before the batch axis, (steps, n, ...); step i takes element i of each.
    key: step i takes `fn.fold_in(key, i)`.
    losses: an array of one loss a step, computed with the params before the step; for a step with metrics a dict of
    such arrays.
    Params and state stay flat vectors between the steps, and the arguments are checked once; only an optimizer that
    needs trees, such as a chain with `fn.clip_by_norm`, makes them for each step. No argument is written into, also
    where an interrupt or an error ends the scan; an error names its step.
    Raises OptionError for anything but such a step, ShapeError for arrays of different numbers of steps, or none, and
    the errors of the step. (JAX: lax.scan)

    Example: `params, losses = fn.scan(step, params, x.reshape(100, 32, 2), target.reshape(100, 32, 1))`.
    """
    if not isinstance(step, Step):
        raise OptionError(f"scan: the step is {first_line(step):.60}: make one with fn.sgd_step or fn.train_step")
    if key is not None:
        check_key(key)
    checked = cast("Any", step)
    if not has_state(checked):
        new, _, losses = run_all(checked, params, None, accept_steps(checked, given), key)
        return new, losses
    if not given:
        raise OptionError(f"scan: a train_step takes a state: {WITH_STATE}")
    if is_array(given[0]) and not is_array(checked.init(params)):
        raise ParamsError(f"scan: an array stands where the state belongs: {WITH_STATE}")
    return run_all(checked, params, given[0], accept_steps(checked, given[1:]), key)


def run_all(step: Any, params: Any, state: Any, arrays: Arrays, key: Key | None) -> tuple[Any, Any, Any]:
    """(params, state, losses) after all steps."""
    losses: list[Any] = []
    place = 0
    try:
        if (found := step.scanned(params, state, arrays, key)) is not None:
            return found  # type: ignore[no-any-return]
        first = tuple(x[0] for x in arrays)
        run = Run(step, params, state, first, folded(step, key, 0), len(arrays[0]))
        for place, batch in enumerate(zip(*arrays, strict=True)):
            loss, outputs = run.advance(batch, folded(step, key, place))
            losses.append(step.with_metrics(loss, outputs, batch))
    except FuncnetError as error:
        raise located(error, place_of(error, place, arrays)) from None
    return *run.finish(), losses_of(losses) if step.returns_metrics else np.array(losses)


def losses_of(dicts: list[dict[str, Any]]) -> dict[str, Any]:
    """The losses and metrics of steps as a dict of arrays."""
    return {name: np.array([losses[name] for losses in dicts]) for name in dicts[0]}


def accept_steps(step: Step[Any], given: Arrays) -> Arrays:
    """The arrays, which must agree on the number of steps."""
    if not given:
        raise ShapeError("scan: no arrays; it takes the inputs of the network and then the targets, of many steps")
    arrays = tuple(accept_batches(f"scan: array {i}", x, step.kinds(i)) for i, x in enumerate(given))
    shapes = ", ".join(str(x.shape) for x in arrays)
    if any(x.ndim < 2 for x in arrays):
        raise ShapeError(
            f"scan: arrays of shapes {shapes}: each has an axis of steps and then one of the batch, (steps, n, ...)"
        )
    counts = {len(x) for x in arrays}
    if len(counts) > 1 or 0 in counts:
        raise ShapeError(
            f"scan: arrays of shapes {shapes}: axis 0 is the steps, at least one and the same number for all"
        )
    return arrays


def accept_batches(name: str, x: Any, kinds: str) -> Array:
    """The array; of batches that are no array yet, an error that says how to stack them."""
    try:
        return accept_array(name, x, kinds)
    except DTypeError:
        if not (fix := _stacking(x)):
            raise
        raise DTypeError(
            f"{name} is a {type(x).__name__} of batches: stack those of one length along a new first axis, {fix}"
        ) from None


def _stacking(x: Any) -> str:
    """How to stack batches: tuples of arrays, or arrays of unequal lengths; "" for what is neither."""
    sequence = isinstance(x, (list, tuple)) and not holds_params(cast("Any", x))
    items: list[Any] = [*cast("Any", x)] if sequence else []
    if hasattr(cast("Any", x), "__next__") or any(type(b) in (list, tuple) and any(map(is_array, b)) for b in items):
        return "fn.scan(step, params, *map(np.stack, zip(*batches)))"
    if not isinstance(x, list) or not all(map(is_array, items)):
        return ""
    unequal = len({b.shape for b in items}) > len({b.shape[1:] for b in items}) == 1
    return "np.stack(batches)" if unequal else ""


def place_of(error: FuncnetError, place: int, arrays: Arrays) -> str:
    """The step for an error message; shapes that do not fit the first step lack, perhaps, the axis of steps."""
    if place or not isinstance(error, ShapeError):
        return f"scan: step {place}"
    shapes = ", ".join(str(x.shape) for x in arrays)
    return f"scan: axis 0 of {shapes} is the steps, so each step takes {', '.join(str(x.shape[1:]) for x in arrays)}"


def folded(step: Step[Any], key: Key | None, place: int) -> Key | None:
    """The key of one step, where it is used: to fold it takes as long as a short step."""
    return fold_in(key, place) if key is not None and step.random else None
