"""`jit`: the same function, run as native code."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Generic, Never, TypeVar, cast, overload

import numpy as np

from funcnet.arrays import Array, Labels
from funcnet.calling import refuse_options
from funcnet.compiler.blocking import alike, separable
from funcnet.compiler.params_cache import ParamsCache
from funcnet.compiler.plan import Plan
from funcnet.compiler.program_cache import Program
from funcnet.compiler.programs import Compiled, CompiledFunction
from funcnet.compiler.workspace import Workspace
from funcnet.core import Function, Layer, Pullback
from funcnet.display import first_line, one_line, shows_call
from funcnet.errors import ExportError, OptionError
from funcnet.native.program import NativeProgram, NativeWorkspace
from funcnet.native.scanning import scanned, update_text
from funcnet.native.source import emitted
from funcnet.native.states import Written
from funcnet.native.updates import Update
from funcnet.optimizers.base import Elementwise, apply_updates
from funcnet.random import Key
from funcnet.training.flat_states import Kept, vector_of, with_trees
from funcnet.training.gradients import SGDStep, Step, ValueAndGrad
from funcnet.training.steps import TrainStep

P = TypeVar("P")
Y = TypeVar("Y")
F = TypeVar("F")
PASSES = frozenset({"fold_bias"})  # fusion and memory are decided when the plan is written as C
FEWEST, CACHE, ROUND = 256, 1 << 18, 64  # rows of a batch that is cut; bytes of a block; rows that blocks are cut to


class Native(Compiled[P]):
    """The methods of a compiled function whose programs are native code."""

    passes: Collection[str] = PASSES

    def _make(self, params_cache: ParamsCache[P], arrays: tuple[Array, ...], keyed: bool) -> NativeProgram[P]:
        """Plan the whole batch, or blocks of it, and compile the plan."""
        rows = len(arrays[0])
        whole = self._plan(params_cache.layout, arrays, keyed, rows, rows)
        ending = *self.after_program(params_cache.layout.dtype)[:2], getattr(self, "check_finite", False)
        for cuts in blocks(whole, rows):
            lengths = {stop - start for start, stop in cuts}
            plans = {n: self._plan(params_cache.layout, arrays, keyed, n, rows) for n in lengths}
            if all(alike(whole, plan) and in_one_stretch(plan, n) for n, plan in plans.items()):
                return NativeProgram(plans, cuts, params_cache, *ending)
        return NativeProgram({rows: whole}, [(0, rows)], params_cache, *ending)

    def acquire(self, params: Any, given: tuple[Any, ...], key: Key | None) -> tuple[Workspace[P], Any]:
        """The same, in C where arrays fit the latest program and the params are those of the last call."""
        latest, _, with_key = self._programs.latest
        if key is None and latest is not None and not with_key:
            space = latest.take()
            seen, accept = space.params_cache.last, space.accept
            if accept is not None and seen is not None and accept(seen, params, given):
                vector = seen.vector
                if vector is None:
                    space.read(seen.leaves)
                elif space.copies or vector is not space.source():
                    space.take(vector)
                return space, vector
            latest.pool.append(space)
        return super().acquire(params, given, key)

    def after_program(self, dtype: Any) -> tuple[Update | None, Any, str]:
        """(the update as text, the optimizer's first state for a number, the reason why NumPy makes the update)."""
        return None, (), ""

    def text(self, program: Program[P]) -> str:
        """The C of a program, and the calls of NumPy between its functions and after them."""
        code = cast("NativeProgram[P]", program).shared_library.code
        calls = [f"NumPy, after function {i}: {name}" for i, name in enumerate(numpy_calls(code))]
        *_, reason = self.after_program(code.plan.dtype)
        calls += [f"NumPy, after the last function: {one_line(reason)}"] * bool(reason)
        return "\n".join([f"/* {self.kind}, written by funcnet */", *(f"/* {line} */" for line in calls), code.source])


def numpy_calls(code: Any) -> list[Any]:
    """The calls that NumPy makes, by name."""
    return [call.attributes.get("name", call.primitive.name) for call in code.first.numpy_calls]


def in_one_stretch(plan: Plan, rows: int) -> bool:
    """Whether NumPy makes none of the calls, so that C can run one block after another."""
    return not emitted(plan, rows).numpy_calls


def blocks(plan: Plan, rows: int) -> list[list[tuple[int, int]]]:
    """The blocks of a batch that stay in the cache, at most one way to cut."""
    if rows < 2 * FEWEST or not separable(plan):
        return []
    per_row = sum(y.elements for call in plan.calls for y in call.outputs if y.batch_axis is not None) // rows + 1
    most = max(ROUND, CACHE // (per_row * plan.dtype.itemsize) // ROUND * ROUND)
    count = -(-rows // most)
    length = -(-rows // count // ROUND) * ROUND if count > 1 else rows
    return [[(start, min(start + length, rows)) for start in range(0, rows, length)]] if count > 1 else []


class NativeValueAndGrad(Native[P], ValueAndGrad[P]):
    """See `jit`."""


class NativeStep(Native[P], Step[P]):
    """Base of steps whose program and update are native code."""

    scans: bool = True

    def flat_state(self, space: Workspace[P], state: Any) -> Any:
        """The state as C takes it, where it can."""
        flat, states = super().flat_state(space, state), cast("NativeWorkspace[P]", space).shared_library.states
        if states is None or isinstance(flat, Written):
            return flat
        written = states.written(flat)
        return flat if written is None else written

    def scanned(self, params: P, state: Any, arrays: tuple[Any, ...], key: Key | None) -> tuple[P, Any, Array] | None:
        """All steps in one call of native code, where its program allows it."""
        return None if key is not None and self.random else scanned(self, params, state, arrays)


class NativeTrainStep(NativeStep[P], TrainStep[P, Any], Generic[P]):
    """See `jit`."""

    def after_program(self, dtype: Any) -> tuple[Update | None, Any, str]:
        """The optimizer."""
        try:
            return update_text(self, dtype), self.optimizer.init(np.zeros((), dtype)), ""
        except ExportError as error:
            return None, (), str(error)

    def updated(self, space: Workspace[P], before: Any, flat: Any, arrays: Any, into: Any = None) -> tuple[Any, Any]:
        """Program and update in native code, where the update is written and the state is one for it."""
        if not isinstance(flat, Written):
            takes_vectors = isinstance(self.optimizer.update, Elementwise) or not self.flat
            update = super().updated if takes_vectors else self._updated_by_trees
            return update(space, before, flat, arrays, into)
        native: Any = space
        new, vectors = native.updated(flat, into)
        return new, native.shared_library.states.after(flat, vectors)

    def with_trees(self, space: Workspace[P], flat: Any) -> Kept:
        """The same of what C has made."""
        native: Any = space
        return (
            native.shared_library.states.with_trees(space.layout, flat)
            if isinstance(flat, Written)
            else super().with_trees(space, flat)
        )

    def _updated_by_trees(
        self, space: Workspace[P], before: Any, flat: Any, arrays: Any, into: Any = None
    ) -> tuple[Any, Any]:
        """The same by the optimizer's own update of trees."""
        for f, args in space.program:
            f(*args)
        layout = space.layout
        params, state = layout.tree(before.copy()), with_trees(layout, flat).state
        updates, state = self.update_of(arrays)(layout.tree(space.gradient.copy()), state, params)
        new = np.empty_like(before) if into is None else into
        new[...] = vector_of(layout, apply_updates(params, updates))
        return new, self.flat_state(space, state)


class NativeSGDStep(NativeStep[P], SGDStep[P]):
    """See `jit`."""

    def __call__(
        self, params: P, *arrays: Array | Labels, key: Key | None = None, **unknown: Never
    ) -> tuple[P, np.floating[Any]]:
        """Return (new params, loss); C writes the new params."""
        if unknown:
            refuse_options(self.kind, "step(params, *inputs, *targets, key=None)", unknown)
        space: Any = self.acquire(params, arrays, key)[0]
        vector = space.descended()
        loss = space.fresh[0]()
        return self.finish(space, vector, loss, params, arrays, key), loss

    def after_program(self, dtype: Any) -> tuple[Update | None, Any, str]:
        """The new params."""
        return update_text(self, dtype), (), ""


class NativeFunction(Native[P], CompiledFunction[P, Y]):
    """A layer's function that runs as native code; its VJP is that of the layer."""

    def __init__(self, inner: Function[P, Y]) -> None:
        self.__dict__.update({name: fact for name, fact in vars(inner).items() if name != "_programs"})
        self.inner = inner

    def run(self, params: P, inputs: tuple[Array, ...], key: Key | None = None) -> tuple[Y, Pullback[P]]:
        """Run the layer's own function."""
        return self.inner.run(params, inputs, key)


KINDS: dict[type[Any], type[Any]] = {
    SGDStep: NativeSGDStep,
    TrainStep: NativeTrainStep,
    ValueAndGrad: NativeValueAndGrad,
}


@overload
def jit(function: Layer[P, Y]) -> Layer[P, Y]: ...
@overload
def jit(function: F) -> F: ...
@shows_call
def jit(function: Any) -> Any:
    """The same function, compiled by a C compiler: a step, a gradient, or a layer, whose `apply` then runs natively.

        step = fn.jit(fn.sgd_step(net, fn.mse(), learning_rate=0.05))
        params, loss = step(params, x, target)

    It takes the same arguments, checks them in the same way, raises the same errors, changes nothing that it was given,
    and gives the same results to rounding; a layer's VJP is as before. For each new shape of arrays its program is
    written as C, compiled, which takes from 0.2 seconds to a few, and kept in the user's cache folder. `fn.scan` makes
    all its steps in one call of native code, with schedules, metrics and check_finite too. After the first call
    `str(step)` is the C, with the names of all calls that NumPy still makes: custom layers, random numbers, large
    matrix products, those of wide convolutions among them, and the updates of an optimizer that is a function of your
    own or has masks or accumulated gradients.
    The compiler is the one that the environment variable FUNCNET_CC names, else `cc`, else that of the package ziglang
    (`pip install "funcnet[native]"`).
    Raises OptionError for anything else, MissingPackageError where there is no compiler, and CompilerError, at the
    first call, with the compiler's own message. (JAX: jax.jit)
    """
    if is_a_layer(function):
        return function if is_native(function.apply) else Layer(function.init, NativeFunction(function.apply))
    if is_native(function):
        return function
    kind: Any = KINDS.get(cast("Any", type(function)))
    if isinstance(function, Function):
        raise OptionError("jit: this is the apply of a layer: give the layer, net = fn.jit(net), and call net.apply")
    if kind is None:
        raise OptionError(
            f"jit: the function is {first_line(function):.60}: give a step of fn.sgd_step or fn.train_step, a "
            "gradient of fn.value_and_grad, or a layer"
        )
    made = kind.__new__(kind)
    made.__dict__.update(function.__getstate__())
    if kind is NativeTrainStep:  # an update in C has flat vectors, whatever it takes in Python
        made.flat = made.flat or made.after_program(np.dtype(np.float32))[0] is not None
    return made


def is_native(function: object) -> bool:
    """Whether its programs are native code already."""
    return isinstance(function, Native)


def is_a_layer(function: object) -> bool:
    """Whether it is a pair of init and apply."""
    return isinstance(function, Layer)
