"""One function of params for many members: arrays with a leading axis of members in, the same out.

The members run one after another in one workspace, which is acquired once; arguments are checked once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, Generic, TypeAlias, cast

import numpy as np
from typing_extensions import ParamSpec

from funcnet import tree
from funcnet.arrays import accept_array, is_array
from funcnet.compiler.layout import Layout
from funcnet.compiler.programs import CompiledFunction
from funcnet.compiler.workspace import Workspace
from funcnet.core import Function
from funcnet.display import Written, first_line, shown, shows_call
from funcnet.errors import FuncnetError, OptionError, ParamsError, ShapeError, located
from funcnet.options import as_int
from funcnet.random import Key, check_key, fold_in
from funcnet.training.gradients import Step, ValueAndGrad
from funcnet.training.nonfinite import all_finite
from funcnet.training.scan import Run, has_state

Q = ParamSpec("Q")
Axes: TypeAlias = "int | None | Sequence[int | None]"
FUNCTIONS = (Step, ValueAndGrad, Function)
FIX = "a step, a gradient, or net.apply of a layer (init gives the params of one member at a time)"


class VMap(Generic[Q]):
    """See `vmap`."""

    written: Written | None = None
    """The call that made it."""

    def __init__(self, function: Callable[Q, Any], in_axes: Axes) -> None:
        self.function: Any = function
        self.in_axes: int | None | tuple[int | None, ...] = accept_axes(in_axes)

    def __repr__(self) -> str:
        """The call that made it."""
        return shown(self)

    def init(self, params: Any) -> Any:
        """The optimizer's first state of every member, for a step of `fn.train_step`."""
        if not has_state(self.function):
            raise OptionError("vmap: only a step of fn.train_step has a state")
        states = [self.function.init(member(params, i)) for i in range(member_count("vmap", {"params": params}))]
        return stacked(states)

    def __call__(self, *args: Q.args, **options: Q.kwargs) -> Any:
        """The results of the function for each member, stacked along a leading axis."""
        key = cast("Key | None", options.pop("key", None))
        if options:
            raise OptionError(f"vmap: there is no option {next(iter(options))!r}; the function takes key alone")
        if key is not None:
            check_key(key)
        members = Members(self.function, self.in_axes, args, key)
        try:
            return members.run()
        except FuncnetError as error:
            raise located(error, f"vmap: member {members.place}") from None


class Members:
    """The arguments of a function for every member.

    count: how many members there are.      place: which of them is at work.
    """

    def __init__(self, function: Any, in_axes: int | None | tuple[int | None, ...], args: Any, key: Key | None) -> None:
        self.function = function
        self.first: int = 2 if has_state(function) else 1  # of the arrays among the arguments
        names = ["params", "state"][: self.first] + [f"array {i}" for i in range(len(args) - self.first)]
        if len(args) <= self.first:
            takes = " and ".join(["params", "a state"][: self.first])
            raise OptionError(f"vmap: the function takes {takes} and then arrays, but was given {len(args)} arguments")
        given = in_axes if isinstance(in_axes, tuple) else (in_axes,) * len(args)
        if len(given) != len(args):
            raise OptionError(f"vmap: in_axes has {len(given)} entries, but there are {len(args)} arguments: {names}")
        self.args: list[Any] = [*args[: self.first], *self._arrays(args[self.first :])]
        self.mapped: list[bool] = [axis is not None for axis in given]
        named = {name: x for name, x, mapped in zip(names, self.args, self.mapped, strict=True) if mapped}
        self.count: int = member_count("vmap", named)
        self.key = key
        self.place: int = 0

    def _arrays(self, given: Iterable[Any]) -> list[Any]:
        return [accept_array(f"vmap: array {i}", x, self.function.kinds(i)) for i, x in enumerate(given)]

    def of(self, argument: int) -> Any:
        """An argument of the member at work."""
        given = self.args[argument]
        return member(given, self.place) if self.mapped[argument] else given

    def state(self) -> Any:
        """The state of the member at work; None where there is none."""
        return self.of(1) if self.first == 2 else None

    def arrays(self) -> tuple[Any, ...]:
        """The arrays of the member at work."""
        return tuple(self.of(i) for i in range(self.first, len(self.args)))

    def own_key(self) -> Key | None:
        """The key of the member at work."""
        return fold_in(self.key, self.place) if self.key is not None and self.function.random else None

    def vectors(self, layout: Layout[Any]) -> Any:
        """The params of each member as a row."""
        rows = np.empty((self.count, layout.count), layout.dtype)
        for view, leaf in zip(columns(layout, rows), tree.leaves(self.args[0]), strict=True):
            view[...] = leaf
        return rows

    def run(self) -> Any:
        """The results of all members, stacked."""
        function = self.function
        if isinstance(function, Step) and function.flat:
            return self._run_steps()
        if isinstance(function, (ValueAndGrad, CompiledFunction)):
            return self._run_program()
        alone = cast("Any", function)
        results: list[Any] = []
        for place in range(self.count):
            self.place = place
            before = [self.of(i) for i in range(self.first)]
            results.append(alone(*before, *self.arrays(), key=self.own_key()))
        return stacked(results)

    def _run_steps(self) -> tuple[Any, ...]:
        step = self.function
        run: Run[Any] = Run(step, self.of(0), self.state(), self.arrays(), self.own_key(), self.count)
        space = run.space
        rows, states, losses = self.vectors(space.layout), list[Any](), list[Any]()
        found = None if has_state(step) else self._together(space, rows)
        if found is not None:
            space.release()
            (together,), gradients = found
            return tree.unflatten(space.layout.structure, columns(space.layout, rows - gradients)), together
        for self.place, row in enumerate(rows):
            arrays = self.arrays()
            run.vector[...] = row
            run.state = step.flat_state(space, self.state())
            loss, outputs = run.advance(arrays, self.own_key())
            row[...] = run.vector
            states.append(step.state_of(space, run.state))
            losses.append(step.with_metrics(loss, outputs, arrays))
        space.release()
        params = tree.unflatten(space.layout.structure, columns(space.layout, rows))
        return (params, stacked(states), stacked(losses)) if has_state(step) else (params, stacked(losses))

    def _together(self, space: Workspace[Any], rows: Any) -> tuple[list[Any], Any] | None:
        """(outputs, gradients) of all members in one call of native code; None where each takes a call of its own."""
        function = self.function
        if getattr(function, "check_finite", False) or (function.random and self.key is not None):
            return None
        return space.members(rows, self.args[self.first :], self.mapped[self.first :])

    def _run_program(self) -> Any:
        space, _ = self.function.acquire(self.of(0), self.arrays(), self.own_key())
        rows = self.vectors(space.layout)
        outputs, gradients = self._together(space, rows) or self._one_by_one(space, rows)
        space.release()
        if is_gradient(self.function):
            return outputs[0], tree.unflatten(space.layout.structure, columns(space.layout, gradients))
        return tuple(outputs) if self.function.multi_output else outputs[0]

    def _one_by_one(self, space: Workspace[Any], rows: Any) -> tuple[Any, Any]:
        """(outputs, gradients), each member by a run of the program."""
        function, results, vector = self.function, list[Any](), rows[0].copy()
        copies = space.follow(vector, self.count)
        for self.place, row in enumerate(rows):
            key = self.own_key()
            arrays = self.arrays() if key is None else (*self.arrays(), key)
            vector[...] = row
            if copies:
                space.own[...] = vector
            for inside, x in zip(space.inside, arrays, strict=True):
                inside[...] = x
            for f, args in space.program:
                f(*args)
            results.append(tuple([take() for take in space.fresh]))
            if is_gradient(function):
                if function.check_finite and not all_finite(results[-1][0], space.gradient):
                    raise function.not_finite(space, self.of(0), self.arrays(), key, results[-1][0])
                row[...] = space.gradient
        return stacked(results), rows


@shows_call
def vmap(function: Callable[Q, Any], in_axes: Axes = 0) -> VMap[Q]:
    """The function for many members at once: networks of one kind, each with params, and perhaps data, of its own.

        vmap(step)(params, *arrays) -> (new params, losses)                        step of `fn.sgd_step`
        vmap(step)(params, state, *arrays) -> (new params, new state, losses)      step of `fn.train_step`
        vmap(gradient)(params, *arrays) -> (losses, gradients)                     of `fn.value_and_grad`
        vmap(net.apply)(params, *inputs) -> outputs

    in_axes: for each argument 0, where it has a leading axis of members, or None, where all members share it; one
    entry alone is that of all arguments. Params and states are trees whose every leaf has that axis:
    `fn.tree.map(lambda *leaves: np.stack(leaves), *members)` makes one of many, `fn.tree.map(lambda leaf: leaf[3],
    params)` takes member 3 out of it, and `vmap(step).init(params)` gives the first states.
    key: member i takes `fn.fold_in(key, i)`.
    The results have the leading axis. The results of each member have the bits of a call for it alone; the
    members run one after another, in one call for `fn.jit` of a step without an optimizer, a gradient or a network.
    No argument is written into. An error names the first member that raises it.
    Raises OptionError for a function of another kind and for axes that are neither 0 nor None or do not fit the
    arguments, ShapeError for leading axes of different lengths or none, and the errors of the function. (JAX: jax.vmap)

    Example: `params, losses = fn.vmap(step, in_axes=(0, None, None))(params, x, target)`, an ensemble on one batch.
    """
    check_function(function)
    return VMap(function, in_axes)


def check_function(function: object) -> None:
    """Refuse anything but a function of params and then arrays."""
    if not isinstance(function, FUNCTIONS):
        fix = "net.apply of a layer" if hasattr(function, "apply") else FIX
        raise OptionError(f"vmap: the function is {first_line(function):.60}: give {fix}")


def is_gradient(function: object) -> bool:
    """Whether it returns a loss and a gradient."""
    return isinstance(function, ValueAndGrad)


def accept_axes(in_axes: Any) -> int | None | tuple[int | None, ...]:
    """0 or None, or a tuple of them, at least one of them 0."""
    several = isinstance(in_axes, (tuple, list))
    entries: list[Any] = [*cast("Any", in_axes)] if several else [in_axes]
    found = tuple(None if axis is None else as_int(axis) for axis in entries)
    if any(axis is not None and own != 0 for axis, own in zip(entries, found, strict=True)) or 0 not in found:
        raise OptionError(
            f"vmap: in_axes must be 0 or None for each argument, and 0 for at least one, not {in_axes!r:.60}; "
            "move another axis to the front, np.moveaxis(x, axis, 0)"
        )
    return found if several else found[0]


def member_count(where: str, trees: dict[str, Any]) -> int:
    """The length of the leading axes, which is the same for all leaves."""
    lengths: dict[int, str] = {}
    for name, given in trees.items():
        for path, leaf in tree.leaves_with_path(given):
            if not is_array(leaf):
                fix = ": fn.vmap(step).init(params) makes the states of all members" * (name == "state")
                raise ParamsError(
                    f"{where}: {name}{path} is {leaf!r:.60} and not an array with an axis of members{fix}"
                )
            if not leaf.ndim:
                raise ShapeError(f"{where}: {name}{path} has no axes; axis 0 is the members")
            lengths.setdefault(len(leaf), f"{name}{path} of shape {leaf.shape}")
    if len(lengths) != 1 or 0 in lengths:
        found = " and ".join(lengths.values()) or "no arrays"
        fix = "an argument that all members share has None in in_axes"
        if isinstance(trees.get("params"), list):
            fix = "params = fn.tree.map(lambda *leaves: np.stack(leaves), *members) makes one tree of a list of members"
        raise ShapeError(f"{where}: {found}: axis 0 is the members, at least one and the same number for all; {fix}")
    return next(iter(lengths))


def member(given: Any, place: int) -> Any:
    """The leaves of one member."""
    return tree.map(itemgetter((place, ...)), given)  # an array also where it has no axes


def stacked(results: list[Any]) -> Any:
    """Trees as one whose leaves have a leading axis."""
    return tree.map(lambda *leaves: np.array(leaves), *results)


def columns(layout: Layout[Any], rows: Any) -> list[Any]:
    """The leaves of every member, as views of rows of flat vectors."""
    ends = np.cumsum([0, *(int(np.prod(shape)) for shape in layout.shapes)])
    return [
        rows[:, start:stop].reshape(len(rows), *shape)
        for start, stop, shape in zip(ends[:-1], ends[1:], layout.shapes, strict=True)
    ]
