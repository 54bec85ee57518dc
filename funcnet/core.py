"""The types, and the Layer: a pair of pure functions (init, apply).

`apply` is a differentiable function: calling it computes the output, and `apply.vjp` computes the output together with
its pullback. Both run one plain NumPy function, written once for each kind of layer:

    function(params, *inputs) -> (output, pullback)        pullback(cotangent) -> (params_cotangent, input_cotangents)

Given arrays it computes; given the symbolic values of `funcnet.tracing` it records the NumPy calls it would have made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Never, Protocol, Self, TypeAlias, cast

import numpy as np
from typing_extensions import TypeVar

from funcnet import tree
from funcnet.arrays import (
    Array,
    DType,
    Labels,
    Shape,
    accept_array,
    accept_cotangent,
    accept_dtype,
    accept_shape,
    cast_inputs,
    common_dtype,
    contiguous,
    copied,
    params_dtype,
    refuse_misplaced,
)
from funcnet.calling import APPLY, INIT, refuse_attribute, refuse_call, refuse_options
from funcnet.display import Written, shown
from funcnet.errors import FuncnetError, ParamsError, ShapeError, located
from funcnet.random import Key, check_key
from funcnet.tracing.primitives import folded
from funcnet.tracing.trace import Trace, Value

OperatorKey: TypeAlias = int | str
"""What names an operator in the two dicts."""
NoParams: TypeAlias = tuple[()]
"""The params of a layer that has none: `()`."""

P = TypeVar("P", default=Any)
P_co = TypeVar("P_co", covariant=True, default=Any)
Y = TypeVar("Y", default=Array)

Pullback: TypeAlias = Callable[[Any], tuple[P, tuple[Array, ...]]]
"""cotangent of the output -> (cotangent of the params, cotangents of the inputs)."""
Result: TypeAlias = tuple[Array, Callable[[Array], tuple[P, tuple[Array, ...]]]]
"""What a layer's function returns: the output and its pullback."""


class Init(Protocol[P_co]):
    """Draws a layer's params: `init(key, *input_shapes, dtype=np.float32) -> (params, output_shape)`."""

    def __call__(self, key: Key, *input_shapes: Shape, dtype: DType = np.float32) -> tuple[P_co, Shape]:
        """Return the params and the shape of the output; shapes leave out the batch axis."""
        ...


class Function(Generic[P, Y]):
    """A differentiable function `apply(params, *inputs, key=None) -> output`, with its VJP.

    kind: its name in error messages and listings, for instance "linear".
    function: `(params, *inputs) -> (output, pullback)`, pure, on arrays and on symbolic values alike.
    arity: the number of inputs; None means one or more.
    integer_inputs, mask_inputs: which of its inputs may be integers, and which bools, whose cotangent is None.
    random: whether `function` takes a key too, `function(params, *inputs, key=None)`; None means evaluation.
    total_weight: of a loss that is a mean, `(*inputs) -> float`, the weight of the batch in a mean over batches: its
        rows or labels, or the sum of their weights. None for any other function.
    adds_up: whether the losses of parts of a batch add up to its loss, as with reduction "sum".
    transposed: of a layer with one weight, the function of the same params that multiplies by the transposed weight.
    multi_output: whether the output is a tuple.      is_identity: whether the output is the input itself.
    parts: the layers of a serial, a parallel (the branches, then merge) or a residual.
    """

    is_identity: bool = False
    parts: tuple[Layer[Any, Any], ...] = ()

    def __init__(
        self,
        kind: str,
        function: Callable[..., tuple[Y, Pullback[P]]],
        arity: int | None = 1,
        *,
        integer_inputs: Iterable[int] = (),
        mask_inputs: Iterable[int] = (),
        random: bool = False,
        total_weight: Callable[..., float] | None = None,
        adds_up: bool = False,
        multi_output: bool = False,
        transposed: Function[P, Y] | None = None,
    ) -> None:
        self.kind = kind
        self.function = function
        self.arity = arity
        self.integer_inputs: frozenset[int] = frozenset(integer_inputs)
        self.mask_inputs: frozenset[int] = frozenset(mask_inputs)
        self.random: bool = random
        self.total_weight: Callable[..., float] | None = total_weight
        self.adds_up: bool = adds_up
        self.multi_output: bool = multi_output
        self.transposed: Function[P, Y] | None = transposed
        self.depth: int = 0
        """The number of layers around the innermost one."""
        self.written: Written | None = None
        """The call that made the layer."""

    def __repr__(self) -> str:
        """The kind of layer."""
        return f"<{self.kind}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy that shares its immutable parts: the function, and all nested layers."""
        return copy(self)

    def __call__(self, params: P, *inputs: Array | Labels, key: Key | None = None, **unknown: Never) -> Y:
        """Compute the output. Floating inputs are cast to the dtype of the params; the output is a fresh array."""
        if unknown:
            refuse_options(self.kind, APPLY, unknown)
        arrays = self.accept(params, inputs, key)
        return copied(self.run(tree.map(contiguous, params), tuple(map(contiguous, arrays)), key)[0])

    def vjp(
        self, params: P, *inputs: Array | Labels, key: Key | None = None, **unknown: Never
    ) -> tuple[Y, Pullback[P]]:
        """Compute the output and its pullback: cotangent -> (params_cotangent, input_cotangents).

        The pullback may be called any number of times, and returns fresh arrays. It works on copies of the params,
        the inputs and the key, so that later writes into them do not affect it.
        """
        if unknown:
            refuse_options(f"{self.kind}: vjp", "vjp(params, *inputs, key=None)", unknown)
        arrays = copied(self.accept(params, inputs, key))
        output, pull = self.run(copied(params), arrays, copied(key))

        def pullback(cotangent: Any) -> tuple[P, tuple[Array, ...]]:
            dtype = tree.leaves(output)[0].dtype  # inputs may be integers
            return copied(pull(copied(accept_cotangent(self.kind, cotangent, output, dtype))))

        return copied(output), pullback  # which may read the output itself

    def compute(self, params: P, *inputs: Array, key: Key | None = None) -> tuple[Y, Pullback[P]]:
        """Run the function, on arrays or values."""
        if self.random and key is not None:
            return self.function(params, *inputs, key=key)
        return self.function(params, *inputs)

    def key_under(self, key: Key | None, name: int | str) -> Key | None:
        """The key for this function under that name in an enclosing one; None where it needs none."""
        return folded(key, name) if self.random and key is not None else None

    def run(self, params: P, inputs: tuple[Array, ...], key: Key | None = None) -> tuple[Y, Pullback[P]]:
        """Run the function itself; an error names the kind of layer and the shapes it was given."""
        try:
            return self.compute(params, *inputs, key=key)
        except FuncnetError as error:
            raise located(error, f"{self.kind}: {listed_shapes(x.shape for x in inputs)}") from None

    def check_count(self, given: int, order: str = "apply(params, *inputs)") -> None:
        """Refuse a wrong number of inputs. order: how the call is written."""
        if not given or (self.arity is not None and given != self.arity):
            takes = f"{self.arity or 'one or more'} input{'s' * (self.arity != 1)}"
            raise ShapeError(f"{self.kind} takes {takes}, but was given {given}: {order}")

    def kinds(self, place: int) -> str:
        """The kinds of dtype, each a letter as NumPy has them, that the input in that place may have."""
        return "f" + "iu" * (place in self.integer_inputs) + "b" * (place in self.mask_inputs)

    def dtype(self, place: int, floating: np.dtype[Any], integers: Collection[int]) -> np.dtype[Any]:
        """That of an input that is only known by its shape; integers: which of them are labels."""
        if place in integers:
            return np.dtype(np.intp)
        return np.dtype(np.bool_) if self.kinds(place) == "fb" else floating

    def accept(self, params: P, inputs: tuple[Any, ...], key: Key | None) -> tuple[Array, ...]:
        """Check params, inputs and key, and cast inputs once to the dtype of the params."""
        if key is not None:
            check_key(key)
        refuse_misplaced(self.kind, params, inputs)
        self.check_count(len(inputs))
        arrays = tuple(accept_array(f"{self.kind}: input {i}", x, self.kinds(i)) for i, x in enumerate(inputs))
        return cast_inputs(
            self.kind, params_dtype(params, tree.leaves(params)) or common_dtype(self.kind, arrays), arrays
        )


class Layer(NamedTuple, Generic[P, Y]):
    """A pair of pure functions: `init, apply = fn.linear(25)`.

    init: `(key, *input_shapes, dtype=np.float32) -> (params, output_shape)`; shapes leave out the batch axis.
    apply: `(params, *inputs, key=None) -> output`, and `apply.vjp(...) -> (output, pullback)`; arrays are batch-first.
    dtypes: params are all float32 or all float64, inputs are cast to theirs, and outputs have it; without params inputs
    have one dtype. Labels and indices are integers, masks bools.
    Raises in every layer CallError for other arguments, ParamsError for params of another layer, ShapeError for another
    number of inputs or different numbers of rows, DTypeError for other dtypes, KeyTypeError for anything but a key.
    """

    init: Init[P]
    apply: Function[P, Y]

    def __repr__(self) -> str:
        """The call that made it; of a network, the table of its operators."""
        table = getattr(self.apply.function, "table", None)
        return shown(self) if table is None else str(table())

    def _repr_svg_(self) -> str | None:
        """A network as a picture, for a notebook."""
        picture = getattr(self.apply.function, "picture", None)
        return None if picture is None else picture()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy that shares what never changes."""
        return self._replace(apply=copy(self.apply))


class LayerInit(Generic[P]):
    """`init` of a layer: params from `draw(key, *input_shapes, dtype)`, the output's shape read off the function.

    draw: None for a layer that has no params.
    """

    def __init__(self, apply: Function[P, Any], draw: Callable[..., P] | None) -> None:
        self.apply = apply
        self.draw: Callable[..., P] | None = draw

    def __call__(self, key: Key, *input_shapes: Shape, dtype: DType = np.float32, **unknown: Never) -> tuple[P, Shape]:
        """Draw the params, and trace the layer's function to learn the shape of its output."""
        if unknown:
            refuse_options(self.apply.kind, INIT, unknown)
        check_key(key)
        apply, shapes = self.apply, tuple(accept_shape(self.apply.kind, s) for s in input_shapes)
        apply.check_count(len(shapes), "init(key, *input_shapes)")
        try:
            floating = accept_dtype(dtype)
            params = cast(P, ()) if self.draw is None else self.draw(key, *shapes, dtype=floating)
            return params, output_shape(apply, params, shapes, dtype)
        except FuncnetError as error:
            raise located(error, f"{apply.kind}: {listed_shapes(shapes)}") from None


if not TYPE_CHECKING:  # type checkers refuse the call by themselves
    Layer.__call__, Layer.__getattr__ = refuse_call, refuse_attribute


def listed_shapes(shapes: Iterable[Shape]) -> str:
    """The shapes of some inputs, for a message."""
    names = [str(shape) for shape in shapes]
    return f"input shape{'s' if len(names) > 1 else ''} {', '.join(names)}"


def unpack(kind: type[P], params: Any) -> P:
    """Params of that NamedTuple, by name and fields; for any others an error that names them."""
    given = cast("Any", type(params))
    if not tree.same_kind(given, kind) or not all(hasattr(leaf, "shape") for leaf in params):
        found = given.__name__ if given is not tuple else f"a tuple of {len(params)}" if params else "()"
        raise ParamsError(f"its params must be {kind.__name__}({', '.join(kind.__annotations__)}), not {found}")
    return cast(P, params)


def has_no_params(layer: Layer[Any, Any]) -> bool:
    """Whether it is known to be without params."""
    return isinstance(layer.init, LayerInit) and layer.init.draw is None


def layer(
    kind: str,
    function: Callable[..., tuple[Y, Pullback[P]]],
    draw: Callable[..., P] | None = None,
    arity: int | None = 1,
    **facts: Any,
) -> Layer[P, Y]:
    """Make the pair from the function and from what draws its params, if any, both picklable; facts: of `Function`."""
    apply: Function[P, Y] = Function(kind, function, arity, **facts)
    return Layer(LayerInit(apply, draw), apply)


def output_shape(apply: Function[P, Any], params: P, shapes: tuple[Shape, ...], dtype: DType) -> Shape:
    """The shape that `function` gives, learnt by tracing it on one row."""
    rank = max(1, len(shapes[0]))  # labels have fewer axes than the logits before them
    integers = [i for i in apply.integer_inputs if i < len(shapes) and len(shapes[i]) < rank]
    return trace_one_row(apply, params, shapes, np.dtype(dtype), integers)[0]


def trace_one_row(
    apply: Function[P, Any], params: P, shapes: Sequence[Shape], dtype: np.dtype[Any], integers: Collection[int]
) -> tuple[Shape, Trace]:
    """(the shape of the output, the trace) of one row; integers: which of the inputs are labels."""
    trace = Trace(dtype, rows=1, total=2)  # of a batch, for what refuses a single row
    symbols = tree.unflatten(tree.structure(params), [trace.parameter(x.shape) for x in tree.leaves(params)])
    inputs = [trace.input((1, *s), apply.dtype(i, dtype, integers)) for i, s in enumerate(shapes)]
    output = cast(Value, apply.function(symbols, *inputs)[0])
    return output.shape if output.batch_axis is None else output.shape[1:], trace
