"""Layers of a user's own: a plain function that returns (output, pullback), one opaque call in the program."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, NamedTuple, cast

import numpy as np
from typing_extensions import TypeVar

from funcnet import random, tree
from funcnet.arrays import Array, DType, Shape, accept_shape, is_array, is_tuple
from funcnet.calling import check_takes
from funcnet.core import Function, Init, Layer, Pullback
from funcnet.display import shows_call
from funcnet.errors import DTypeError, OptionError, ParamsError, ShapeError
from funcnet.layers.activations import pair
from funcnet.options import count, title
from funcnet.tracing.forms import Attributes, Instruction, Memory, Operands
from funcnet.tracing.primitive import Primitive
from funcnet.tracing.trace import Trace, Value

P = TypeVar("P", default=Any)


@shows_call
def custom_layer(
    init: Callable[..., tuple[P, Shape]],
    function: Callable[..., tuple[Array, Pullback[P]]],
    *,
    name: str | None = None,
    inputs: int | None = 1,
) -> Layer[P]:
    """A layer of your own from `init` and a plain function, which may use any library.

    init: `(key, *input_shapes, dtype=np.float32) -> (params, output_shape)`; shapes leave out the batch axis, and an
    output shape of () is one number for the whole batch.
    function: `(params, *inputs) -> (output, pullback)`, `pullback(cotangent) -> (params_cotangent, input_cotangents)`;
    it must not write into its arguments, which are read-only, nor keep them. Both must be picklable, so module-level.
    inputs: how many it takes; None for one or more.
    Shapes: those that init promises; output and cotangents have the dtype of the inputs.

    Write a scalar function of NumPy ufuncs with `elementwise` instead: its calls become part of the program.
    `funcnet.testing.check_layer` checks the pullback, and every other law of layers.
    Raises CallError for functions of other arguments, OptionError for bad options; and where the layer runs
    OptionError, ShapeError, DTypeError or ParamsError for results of another form, shape, dtype or structure.
    Example: `fn.custom_layer(init, function)`, both as in README's "A layer of your own".
    """
    kind = title("custom_layer: name", name, str(getattr(function, "__name__", "custom")))
    arity = None if inputs is None else count("custom_layer: inputs", inputs)
    given = ["*inputs"] if arity is None else [f"input {i}" for i in range(arity)]
    hint = "; a layer of two inputs, such as a loss, is custom_layer(init, function, inputs=2)" * (arity == 1)
    check_takes(f"{kind}: init", init, "key", *(f"shape of {x}" for x in given), dtype="np.float32", hint=hint)
    check_takes(f"{kind}: the function", function, "params", *given, hint=hint)
    checked: Init[P] = partial(run_init, kind, init)
    return Layer(checked, Function(kind, CustomCall(kind, checked, function), arity))


def run_init(
    kind: str, init: Callable[..., tuple[P, Shape]], key: random.Key, *shapes: Shape, dtype: DType = np.float32
) -> tuple[P, Shape]:
    """The result of init, checked to be (params, output_shape)."""
    made: Any = init(key, *shapes, dtype=dtype)
    if not is_tuple(made) or len(made) != 2:
        raise OptionError(f"{kind}: its init must return (params, output_shape), not {made!r:.60}")
    params, shape = made
    if not is_tuple(shape):
        raise OptionError(
            f"{kind}: its init must return (params, output_shape), output_shape a tuple, not {shape!r:.60}"
        )
    strange = [leaf for leaf in tree.leaves(params) if not is_array(leaf)]
    if strange:
        raise ParamsError(f"{kind}: its init must return params that hold arrays, not {strange[0]!r:.60}")
    return cast(P, params), accept_shape(kind, shape)


class CustomCall(Generic[P]):
    """The function of such a layer: on arrays it runs and checks the results; on values it records one call."""

    def __init__(
        self, kind: str, init: Callable[..., tuple[P, Shape]], function: Callable[..., tuple[Array, Pullback[P]]]
    ) -> None:
        self.kind = kind
        self.init = init
        self.function = function
        self._promised: dict[Any, Shape] = {}

    def __call__(self, params: P, *inputs: Any) -> tuple[Any, Pullback[P]]:
        """(output, pullback)."""
        if isinstance(inputs[0], Value):
            return self._record(inputs[0].trace, params, inputs)
        return self.run(params, inputs)

    def __getstate__(self) -> dict[str, Any]:
        """All but the shapes that init has promised."""
        return {**self.__dict__, "_promised": {}}

    def promised(self, shapes: tuple[Shape, ...], dtype: Any) -> Shape:
        """The shape of the output that init promises, asked once for each shape of the inputs."""
        asked = (tuple(shape[1:] for shape in shapes), dtype)
        if asked not in self._promised:
            _, self._promised[asked] = self.init(random.key(0), *asked[0], dtype=dtype)
        shape = self._promised[asked]
        return (shapes[0][0], *shape) if shape else ()

    def run(self, params: P, inputs: tuple[Array, ...]) -> tuple[Array, Pullback[P]]:
        """Run the function on arrays that it cannot write into, and check its results."""
        dtype = inputs[0].dtype
        y, pull = pair(self.function(tree.map(read_only, params), *map(read_only, inputs)))
        if not callable(pull):
            raise OptionError(
                f"{self.kind}: its function must return (output, pullback), not {pull!r:.60} for a pullback"
            )
        self._check("its output", y, self.promised(tuple(x.shape for x in inputs), dtype), dtype, "its init promises")

        def pullback(g: Any) -> tuple[P, tuple[Array, ...]]:
            of_params, of_inputs = self._cotangents(pull(read_only(np.asarray(g, dtype))))
            if len(of_inputs) != len(inputs):
                count = f"{len(of_inputs)} input cotangents, but it has {len(inputs)} inputs"
                raise ShapeError(f"{self.kind}: its pullback gives {count}")
            for i, (x, dx) in enumerate(zip(inputs, of_inputs, strict=True)):
                self._check(f"the cotangent of input {i}", dx, x.shape, dtype, "the input is")
            try:
                return tree.map(partial(self._check_param, dtype), params, of_params), tuple(of_inputs)
            except ParamsError as error:
                raise ParamsError(f"{self.kind}: the cotangent of its params: {error}") from None

        return y, pullback

    def _cotangents(self, result: Any) -> Any:
        """The result of a pullback, checked to be (params_cotangent, input_cotangents)."""
        if not is_tuple(result) or len(result) != 2 or not isinstance(result[1], (tuple, list)):
            raise OptionError(
                f"{self.kind}: its pullback must return (params_cotangent, input_cotangents), and the latter as a "
                f"tuple, not {result!r:.60}"
            )
        return result

    def _check_param(self, dtype: Any, leaf: Array, cotangent: Any) -> Any:
        self._check("a cotangent of its params", cotangent, leaf.shape, dtype, "the param is")
        return cotangent

    def _check(self, name: str, value: Any, shape: Shape, dtype: Any, promise: str) -> None:
        """Refuse a value that is no array of this shape and dtype."""
        if not is_array(value) and not isinstance(value, np.generic):
            raise DTypeError(f"{self.kind}: {name} is {value!r:.60}, not an array")
        if value.shape != shape:
            raise ShapeError(f"{self.kind}: {name} has shape {value.shape}, but {promise} {shape}")
        found = cast("Any", value).dtype
        if found != dtype:
            raise DTypeError(f"{self.kind}: {name} has dtype {found}, but its inputs are {dtype}: keep their dtype")

    def _record(self, trace: Trace, params: P, inputs: tuple[Value, ...]) -> tuple[Value, Pullback[P]]:
        leaves, structure = tree.flatten(params)
        whole = self.promised(tuple(x.shape for x in inputs), trace.dtype)
        axis = 0 if whole else None
        site, given = Site(self, structure, len(leaves)), (*leaves, *inputs)
        y = trace.emit(FORWARD, given, whole, trace.dtype, axis, site=site, name=f"{self.kind} forward")

        def pullback(g: Value) -> tuple[P, tuple[Any, ...]]:
            like, name = [(x.shape, x.dtype, x.batch_axis) for x in given], f"{self.kind} backward"
            cotangents = trace.emit_all(BACKWARD, (g, y, *given), like, site=site, name=name)
            return tree.unflatten(structure, cotangents[: len(leaves)]), cotangents[len(leaves) :]

        return y, pullback


class Site(NamedTuple):
    """One occurrence of an opaque layer in a program."""

    opaque: CustomCall[Any]
    structure: tree.Structure[Any]
    leaves: int


class Residuals:
    """The pullback of one opaque layer, kept from its forward to its backward call in one workspace.

    keeps: whether there is a backward call.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.keeps: bool = False
        self.pullback: Pullback[Any] | None = None

    def forward(self, *arrays: Array) -> None:
        """Run the function and keep its pullback."""
        *given, out = arrays
        opaque, structure, count = self.site
        y, pull = opaque.run(tree.unflatten(structure, given[:count]), tuple(given[count:]))
        self.pullback = pull if self.keeps else None
        out[...] = y

    def backward(self, g: Array, outputs: tuple[Array | None, ...]) -> None:
        """Run the pullback and write the cotangents that are read, those of params first."""
        pull, self.pullback = self.pullback, None
        assert pull is not None, "the forward call comes first"
        for cotangent, out in zip(tree.leaves(pull(g)), outputs, strict=True):
            if out is not None:
                out[...] = cotangent


def forward(memory: Memory, attributes: Attributes, operands: Operands, out: Any) -> list[Instruction]:
    """Run the function of the layer at this site."""
    return [(residuals_of(memory, attributes["site"]).forward, (*operands, out))]


def backward(memory: Memory, attributes: Attributes, operands: Operands, outputs: Any) -> list[Instruction]:
    """Run its pullback. Output, params and inputs are operands because the pullback may read them."""
    residuals = residuals_of(memory, attributes["site"])
    residuals.keeps = True
    return [(residuals.backward, (operands[0], outputs))]


def residuals_of(memory: Memory, site: Site) -> Residuals:
    """The residuals that the calls of one layer share in one workspace."""
    residuals: Residuals = memory.state.setdefault(id(site), Residuals(site))
    return residuals


FORWARD = Primitive("forward", forward, opaque=True)
BACKWARD = Primitive("backward", backward, opaque=True, multi_output=True)


def read_only(array: Array) -> Array:
    """A read-only view."""
    view = array.view()
    view.flags.writeable = False
    return view
