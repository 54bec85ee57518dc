"""The types, and the Layer: a pair of pure functions (init, apply).

`apply` is a differentiable function: calling it computes the output, and `apply.vjp` computes the output together with
its pullback. Both run one plain NumPy function, written once for each kind of layer:

    function(params, *inputs) -> (output, pullback)        pullback(cotangent) -> (params_cotangent, input_cotangents)

Given arrays it computes; given the symbolic values of `funcnet.tracing` it records the NumPy calls it would have made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, cast

import numpy as np
from typing_extensions import TypeVar

from funcnet import tree
from funcnet.errors import DTypeError, FuncnetError, OptionError, ParamsError, ShapeError, located
from funcnet.random import Key, check_key
from funcnet.tracing import Trace

Array: TypeAlias = np.ndarray[Any, np.dtype[np.floating[Any]]]
"""A floating NumPy array, batch-first."""
Shape: TypeAlias = tuple[int, ...]
"""The lengths of an array's axes; the shapes that `init` takes and returns leave out the batch axis."""
DType: TypeAlias = "type[np.floating[Any]] | np.dtype[np.floating[Any]]"
OperatorKey: TypeAlias = int | str
"""What names an operator in the two dicts."""
NoParams: TypeAlias = tuple[()]
"""The params of a layer that has none: `()`."""

P = TypeVar("P", default=Any)
P_co = TypeVar("P_co", covariant=True, default=Any)
Y = TypeVar("Y", default=Array)
T = TypeVar("T")

Pullback: TypeAlias = Callable[[Any], tuple[P, tuple[Array, ...]]]
"""cotangent of the output -> (cotangent of the params, cotangents of the inputs)."""
Result: TypeAlias = tuple[Array, Callable[[Array], tuple[P, tuple[Array, ...]]]]
"""What a layer's function returns: the output and its pullback."""

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


class Init(Protocol[P_co]):
    """Draws a layer's params: `init(key, *input_shapes, dtype=np.float32) -> (params, output_shape)`."""

    def __call__(self, key: Key, *input_shapes: Shape, dtype: DType = np.float32) -> tuple[P_co, Shape]:
        """Return the params and the shape of the output; shapes leave out the batch axis."""
        ...


class Function(Generic[P, Y]):
    """A differentiable function `apply(params, *inputs, key=None) -> output`, with its VJP.

    kind: what error messages and listings call it, for instance "linear".
    function: `(params, *inputs) -> (output, pullback)`, pure, on arrays and on symbolic values alike.
    arity: how many inputs it takes; None means one or more.
    """

    def __init__(self, kind: str, function: Callable[..., tuple[Y, Pullback[P]]], arity: int | None = 1) -> None:
        self.kind = kind
        self.function = function
        self.arity = arity

    def __repr__(self) -> str:
        """The kind of layer."""
        return f"<{self.kind}>"

    def __call__(self, params: P, *inputs: Array, key: Key | None = None) -> Y:
        """Compute the output. Floating inputs are cast to the dtype of the params; the output is a fresh array."""
        arrays = self.accept(params, inputs, key)
        output, _ = self.run(params, arrays)
        return fresh(output, arrays)

    def vjp(self, params: P, *inputs: Array, key: Key | None = None) -> tuple[Y, Pullback[P]]:
        """Compute the output and its pullback: cotangent -> (params_cotangent, input_cotangents).

        The pullback may be called any number of times; whatever it returns is fresh.
        """
        arrays = self.accept(params, inputs, key)
        output, pull = self.run(params, arrays)
        dtype = arrays[0].dtype

        def pullback(cotangent: Any) -> tuple[P, tuple[Array, ...]]:
            given = accept_cotangent(self.kind, cotangent, output, dtype)
            return fresh(pull(given), (*arrays, *tree.leaves(given)))

        return fresh(output, arrays), pullback

    def run(self, params: P, inputs: tuple[Array, ...]) -> tuple[Y, Pullback[P]]:
        """Run the function itself; an error tells the kind of layer and the shapes it was given."""
        try:
            return self.function(params, *inputs)
        except FuncnetError as error:
            raise located(error, f"{self.kind}: {listed_shapes(x.shape for x in inputs)}") from None

    def check_count(self, given: int) -> None:
        """Refuse a wrong number of inputs."""
        if not given or (self.arity is not None and given != self.arity):
            takes = f"{self.arity or 'one or more'} input{'s' * (self.arity != 1)}"
            raise ShapeError(f"{self.kind} takes {takes}, but was given {given}")

    def accept(self, params: P, inputs: tuple[Any, ...], key: Key | None) -> tuple[Array, ...]:
        """Check what the outside hands in, and cast it once to the dtype of the params."""
        if key is not None:
            check_key(key)
        self.check_count(len(inputs))
        arrays = tuple(accept_array(f"{self.kind}: input {i}", x) for i, x in enumerate(inputs))
        return cast_inputs(self.kind, params_dtype(params) or common_dtype(self.kind, arrays), arrays)


class Layer(NamedTuple, Generic[P, Y]):
    """A pair of pure functions: `init, apply = fn.linear(25)`.

    init: `(key, *input_shapes, dtype=np.float32) -> (params, output_shape)`; shapes leave out the batch axis.
    apply: `(params, *inputs, key=None) -> output`, and `apply.vjp(...) -> (output, pullback)`; arrays are batch-first.
    """

    init: Init[P]
    apply: Function[P, Y]


class LayerInit(Generic[P]):
    """`init` of a layer: its params drawn by `draw(key, *input_shapes, dtype)`, its output's shape read off its function."""

    def __init__(self, apply: Function[P, Any], draw: Callable[..., P]) -> None:
        self.apply = apply
        self.draw = draw

    def __call__(self, key: Key, *input_shapes: Shape, dtype: DType = np.float32) -> tuple[P, Shape]:
        """Draw the params, and trace the layer's function to learn the shape of its output."""
        check_key(key)
        apply, shapes = self.apply, tuple(accept_shape(self.apply.kind, s) for s in input_shapes)
        apply.check_count(len(shapes))
        try:
            params = self.draw(key, *shapes, dtype=accept_dtype(dtype))
            return params, output_shape(apply, params, shapes, dtype)
        except FuncnetError as error:
            raise located(error, f"{apply.kind}: {listed_shapes(shapes)}") from None


def listed_shapes(shapes: Iterable[Shape]) -> str:
    """The shapes of some inputs, for a message."""
    names = [str(shape) for shape in shapes]
    return f"input shape{'s' if len(names) > 1 else ''} {', '.join(names)}"


def unpack(kind: type[P], params: Any) -> P:
    """Params of that NamedTuple, or an error that tells what was given instead."""
    if type(params) is not kind:
        raise ParamsError(f"its params must be {kind.__name__}({', '.join(kind._fields)}), not {params!r:.60}")  # type: ignore[attr-defined]
    return params


def no_params(key: Key, *input_shapes: Shape, dtype: DType) -> NoParams:
    """Params of a layer that has none."""
    return ()


def layer(
    kind: str, function: Callable[..., tuple[Y, Pullback[P]]], draw: Callable[..., P], arity: int | None = 1
) -> Layer[P, Y]:
    """Make the pair from the function and from what draws its params. Both must be picklable."""
    apply = Function(kind, function, arity)
    return Layer(LayerInit(apply, draw), apply)


def output_shape(apply: Function[P, Any], params: P, shapes: tuple[Shape, ...], dtype: DType) -> Shape:
    """The shape that `function` gives, learnt by tracing it on a batch of one."""
    trace = Trace(np.dtype(dtype), rows=1)
    symbols = tree.map(lambda leaf: trace.parameter(leaf.shape), params)
    output, _ = apply.function(symbols, *(trace.input((1, *shape), trace.dtype) for shape in shapes))
    return cast(Shape, output.shape if output.batch_axis is None else output.shape[1:])


def accept_shape(kind: str, shape: Any) -> Shape:
    """A shape as a tuple of lengths, none negative."""
    if not isinstance(shape, (tuple, list)) or not all(isinstance(n, (int, np.integer)) and n >= 0 for n in shape):
        raise ShapeError(
            f"{kind}: an input shape is a tuple of lengths without the batch axis, such as (2,), not {shape!r}"
        )
    return tuple(int(n) for n in shape)


def accept_dtype(dtype: DType) -> np.dtype[np.floating[Any]]:
    """float32 or float64, as a dtype."""
    found = np.dtype(dtype)
    if found not in DTYPES:
        raise DTypeError(f"dtype {found} is not supported: use np.float32 or np.float64")
    return found


def accept_array(name: str, x: Any) -> Array:
    """A floating ndarray made of what the caller gave, or an error that says how to mend it."""
    if isinstance(x, np.ma.MaskedArray):
        raise DTypeError(f"{name} is a masked array, whose mask would be lost: fill it first, x.filled(...)")
    if isinstance(x, np.matrix):
        raise DTypeError(f"{name} is an np.matrix: pass np.asarray(x)")
    try:
        array = np.asarray(x)
    except ValueError:
        raise DTypeError(f"{name} is ragged, its rows differ in length: pad or cut them to one length") from None
    if array.dtype.kind != "f":
        raise DTypeError(
            f"{name} has dtype {array.dtype}, not a floating one: cast it, for instance x.astype(np.float32)"
        )
    return array


def params_dtype(params: Any) -> np.dtype[np.floating[Any]] | None:
    """The one dtype of all arrays in params; None where there are no arrays."""
    found = None
    for path, leaf in tree.leaves_with_path(params):
        if not isinstance(leaf, np.ndarray) or leaf.dtype not in DTYPES:
            what = f"has dtype {leaf.dtype}" if isinstance(leaf, np.ndarray) else f"is {leaf!r}"
            raise ParamsError(
                f"params{path} {what}: params hold float32 or float64 arrays, as init returns them{_pair(params)}"
            )
        if found is not None and leaf.dtype != found:
            raise ParamsError(f"params{path} is {leaf.dtype}, the params before it are {found}: cast all to one dtype")
        found = leaf.dtype
    return found


def _pair(params: Any) -> str:
    """Whether someone passed all that init returned."""
    is_pair = type(params) is tuple and len(params) == 2 and type(params[1]) is tuple
    return (
        "; this is the pair (params, shape) that init returns: unpack it, params, shape = init(...)" if is_pair else ""
    )


def common_dtype(kind: str, arrays: tuple[Array, ...]) -> np.dtype[np.floating[Any]]:
    """The one dtype of all inputs of a layer without params."""
    dtypes = {x.dtype for x in arrays}
    if len(dtypes) > 1:
        raise DTypeError(f"{kind}: inputs of dtypes {', '.join(sorted(map(str, dtypes)))}: cast them to one dtype")
    return accept_dtype(dtypes.pop())


def cast_inputs(kind: str, dtype: np.dtype[np.floating[Any]], arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    """All inputs in one dtype, after checking that they agree on the batch."""
    for i, x in enumerate(arrays):
        if x.ndim == 0:
            raise ShapeError(
                f"{kind}: input {i} is a scalar; arrays are batch-first, so one row of features is x[None]"
            )
        if x.shape[0] != arrays[0].shape[0]:
            sizes = ", ".join(str(a.shape[0]) for a in arrays)
            raise ShapeError(
                f"{kind}: inputs with different batch sizes {sizes}; axis 0 is the batch, the same for all"
            )
    return tuple(x.astype(dtype, copy=False) for x in arrays)


def accept_cotangent(kind: str, cotangent: Any, output: Any, dtype: np.dtype[np.floating[Any]]) -> Any:
    """The cotangent cast to the dtype of the output, whose structure and shape it must have."""

    def accept(y: Any, g: Any) -> Array:
        array = accept_array(f"{kind}: the cotangent", g)
        if array.shape != np.shape(y):
            raise ShapeError(
                f"{kind}: the cotangent has shape {array.shape}, the output {np.shape(y)}: they must be equal"
            )
        return array.astype(dtype, copy=False)

    return tree.map(accept, output, cotangent)


def fresh(result: T, held: tuple[Array, ...]) -> T:
    """The result, copied wherever it shares memory with an array that somebody else holds, or twice with itself."""
    seen = {id(x) for x in held}

    def own(y: Any) -> Any:
        if isinstance(y, np.ndarray) and (y.base is not None or id(y) in seen):
            return y.copy()
        seen.add(id(y))
        return y

    return tree.map(own, result)


def positive(name: str, value: float) -> float:
    """A finite number above zero, as a Python float."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float, np.floating, np.integer))
        or not 0 < value < np.inf
    ):
        raise OptionError(f"{name} must be a finite number above 0, not {value!r}")
    return float(value)


__all__ = [
    "Array",
    "DType",
    "Function",
    "FuncnetError",
    "Init",
    "Layer",
    "NoParams",
    "OperatorKey",
    "Pullback",
    "Shape",
]
