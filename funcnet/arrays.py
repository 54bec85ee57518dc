"""Arrays of the user: their types, and the checks that refuse arrays funcnet cannot compute with."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from typing_extensions import TypeIs, TypeVar

from funcnet import tree
from funcnet.advice import advice, dense
from funcnet.errors import DTypeError, ParamsError, ShapeError
from funcnet.options import as_int
from funcnet.structures import is_masked

Array: TypeAlias = np.ndarray[Any, np.dtype[np.floating[Any]]]
"""A floating NumPy array, batch-first."""
Vector: TypeAlias = np.ndarray[tuple[int], np.dtype[np.floating[Any]]]
"""A floating array of one axis."""
Matrix: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.floating[Any]]]
"""A floating array of two axes."""
Labels: TypeAlias = np.ndarray[Any, np.dtype[np.integer[Any]]] | np.ndarray[Any, np.dtype[np.bool_]]
"""An array of integers, classes, or of bools, a mask, batch-first: it has no cotangent."""
Shape: TypeAlias = tuple[int, ...]
"""The lengths of an array's axes; the shapes that `init` takes and returns leave out the batch axis."""
DType: TypeAlias = "type[np.floating[Any]] | np.dtype[np.floating[Any]]"

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
Y = TypeVar("Y")


def as_shape(shape: Any) -> Shape | None:
    """A tuple or list of ints of at least 0 as a tuple of ints; None for anything else."""
    lengths = [as_int(n) for n in cast("list[Any]", shape)] if isinstance(shape, (tuple, list)) else [None]
    found = tuple(n for n in lengths if n is not None and n >= 0)
    return found if len(found) == len(lengths) else None


def accept_shape(kind: str, shape: Sequence[Any]) -> Shape:
    """A shape as a tuple of lengths, none negative."""
    found = as_shape(shape)
    if found is None:
        hint = ": pass a dtype by its name, dtype=np.float64" * isinstance(shape, type)
        raise ShapeError(
            f"{kind}: an input shape is a tuple of lengths without the batch axis, such as (2,), not "
            f"{shape!r:.60}{hint}"
        )
    return found


def accept_dtype(dtype: npt.DTypeLike | None) -> np.dtype[np.floating[Any]]:
    """float32 or float64, as a dtype."""
    found: np.dtype[Any] | None = None
    with suppress(TypeError):
        found = None if dtype is None else np.dtype(dtype)  # NumPy takes None for float64
    if found is None:
        raise DTypeError(f"{dtype!r} is no dtype: use np.float32 or np.float64")
    if found not in DTYPES:
        raise DTypeError(f"dtype {found} is not supported: use np.float32 or np.float64")
    return found


def accept_array(name: str, x: Any, kinds: str = "f") -> Array:
    """An ndarray made of what the caller gave, or an error that says how to mend it.

    kinds: those of dtype, each a letter as NumPy has them: floating numbers, integers (labels), bools (masks).
    """
    refuse_mask(name, x)
    x = dense(x)
    if isinstance(x, np.matrix):
        raise DTypeError(f"{name} is an np.matrix: pass np.asarray(x)")
    try:
        array = np.asarray(x)
    except ValueError:
        if holds_params(x):
            raise DTypeError(
                f"{name} is a tree of params or a state, not an array: params come first, then the state of a "
                "train_step, then the inputs"
            ) from None
        if is_tuple(x) and any(map(is_array, x)):
            raise DTypeError(f"{name} is a tuple of {len(x)} arrays: pass them one by one") from None
        raise DTypeError(f"{name} is ragged, its rows differ in length: pad or cut them to one length") from None
    if array.dtype.kind not in kinds:
        raise DTypeError(f"{name} {advice(x, array, kinds, 'y' if 'target' in name else 'x')}")
    return array


def holds_params(x: Any) -> bool:
    """Whether this is a tree, such as params or the state of an optimizer, rather than rows of numbers."""
    return is_tuple(x) and any(hasattr(part, "_fields") or part == () for part in (x, *x) if not is_array(part))


def refuse_misplaced(kind: str, params: object, inputs: tuple[Any, ...]) -> None:
    """Refuse a random key among the inputs, and params behind an input."""
    for i, x in enumerate(inputs):
        if is_array(x) and x.dtype == np.uint64 and x.shape == (2,):
            raise DTypeError(f"{kind}: input {i} is a random key: pass it by its name, key=key")
        if is_array(params) and (isinstance(x, dict) or holds_params(x)):
            what = f"input {i} is a {type(cast(object, x)).__name__} of params, and the params are an array"
            raise DTypeError(f"{kind}: {what}: params come first")


def refuse_mask(name: str, x: object) -> None:
    """Refuse an array some of whose elements are masked out."""
    if is_masked(x):
        raise DTypeError(f"{name} is a masked array, whose mask would be lost: fill it first, x.filled(...)")


def params_dtype(params: Any, leaves: Sequence[Any]) -> np.dtype[np.floating[Any]] | None:
    """The one dtype of all arrays in params, whose leaves they are; None where there are no arrays."""
    if getattr(params, "_fields", ())[:2] == ("params", "state"):
        raise ParamsError(f"this is a {type(params).__name__}, which holds params: pass its .params")
    if getattr(params, "_fields", ()) == ("init", "apply"):
        raise ParamsError("this is a layer, which holds no params: params, shape = layer.init(fn.key(0), input_shape)")
    dtypes = {leaf.dtype for leaf in leaves if is_array(leaf)}
    plain = all(type(leaf) is np.ndarray or (is_array(leaf) and not _subclass(leaf)) for leaf in leaves)
    if not plain or len(dtypes) > 1 or not dtypes.issubset(DTYPES):
        raise ParamsError(_params_problem(params))
    return dtypes.pop() if dtypes else None


def _subclass(leaf: object) -> str:
    """Why an array of this class does not compute as others do, and what to do; "" for any other."""
    if isinstance(leaf, np.matrix):
        return "an np.matrix: pass np.asarray(p)"
    if is_masked(leaf):
        return "a masked array, whose mask would be lost: fill it first, p.filled(...)"
    return ""


def _params_problem(params: Any) -> str:
    """Which of the params is not as it should be."""
    found: np.dtype[Any] | None = None
    for path, leaf in tree.leaves_with_path(params):
        if subclass := _subclass(leaf):
            return f"params{path} is {subclass}"
        if not is_array(leaf) or leaf.dtype not in DTYPES:
            what = f"has dtype {leaf.dtype}" if is_array(leaf) else f"is {leaf!r}"
            return f"params{path} {what}: params hold float32 or float64 arrays, as init returns them{_pair(params)}"
        if found is not None and leaf.dtype != found:
            return f"params{path} is {leaf.dtype}, the params before it are {found}: cast all to one dtype"
        found = leaf.dtype
    raise AssertionError("there is a problem")


def stray(labels: Any, count: int) -> Any:
    """The first of these integers that is none of 0 .. count - 1, if there is any."""
    codes = labels.view(labels.dtype.str.replace("i", "u"))  # of which those of negative integers are the largest
    if not labels.size or 0 <= labels.flat[codes.argmax()] < count:  # argmax takes an eighth of the time of max
        return None
    return labels[(labels < 0) | (labels >= count)][0]


def is_array(x: object) -> TypeIs[np.ndarray[Any, np.dtype[Any]]]:
    """Whether this is an ndarray, of any dtype."""
    return isinstance(x, np.ndarray)


def copied(values: Y) -> Y:
    """The tree with its arrays copied, row by row: they are the caller's own, and lie in memory in one way."""
    return tree.map(_copied_array, values)


def _copied_array(x: Any) -> Any:
    return np.array(x, order="C") if is_array(x) else x


def contiguous(x: Any) -> Any:
    """The array, or a copy that lies in memory row by row: results are then the same bits for every memory layout."""
    return np.require(x, requirements=("C", "A"))


def is_tuple(x: object) -> TypeIs[tuple[Any, ...]]:
    """Whether this is a tuple, named or not."""
    return isinstance(x, tuple)


def _pair(params: Any) -> str:
    """Whether someone passed all that init returned."""
    kind = cast("Any", type(params))
    if kind is tuple and len(params) == 2 and type(params[1]) is tuple:
        return "; this is the pair (params, shape) that init returns: unpack it, params, shape = init(...)"
    return ""


def common_dtype(kind: str, arrays: tuple[Array, ...]) -> np.dtype[np.floating[Any]]:
    """The one dtype of all inputs of a layer without params."""
    dtypes = {x.dtype for x in arrays if x.dtype.kind == "f"}
    if len(dtypes) != 1:
        raise DTypeError(f"{kind}: inputs of dtypes {', '.join(sorted(map(str, dtypes)))}: cast them to one dtype")
    dtype = dtypes.pop()
    if dtype not in DTYPES:
        raise DTypeError(f"{kind}: inputs of dtype {dtype}: cast them, for instance x.astype(np.float32)")
    return dtype


def cast_inputs(kind: str, dtype: np.dtype[np.floating[Any]], arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    """All inputs in one dtype, after checking that they agree on the batch."""
    for i, x in enumerate(arrays):
        if x.ndim == 0:
            raise ShapeError(
                f"{kind}: input {i} is a scalar; arrays are batch-first, so one row of features is x[None]"
            )
        if x.shape[0] != arrays[0].shape[0]:
            sizes = ", ".join(str(a.shape[0]) for a in arrays)
            row = "; one row of features is x[None]" * any(a.ndim == 1 and a.dtype.kind == "f" for a in arrays)
            raise ShapeError(
                f"{kind}: inputs with different batch sizes {sizes}; axis 0 is the batch, the same for all{row}"
            )
    kinds = [{"f": dtype, "b": x.dtype}.get(x.dtype.kind, np.dtype(np.intp)) for x in arrays]
    return tuple(cast("Array", x.astype(kind, copy=False)) for x, kind in zip(arrays, kinds, strict=True))


def accept_cotangent(kind: str, cotangent: object, output: Y, dtype: np.dtype[np.floating[Any]]) -> Y:
    """The cotangent cast to the dtype of the output, whose structure and shape it must have."""
    given, wanted = tree.structure(cotangent), tree.structure(output)
    if given != wanted:
        form = f"a tuple of {wanted.size} arrays, one for each output" if wanted.children else "one array"
        what = "one array" if given.kind is object else f"{given.kind.__name__} of {given.size}"
        raise ShapeError(f"{kind}: the cotangent must be {form}, not {what}")

    def accept(y: Array, g: object) -> Array:
        array = accept_array(f"{kind}: the cotangent", g)
        if array.shape != np.shape(y):
            raise ShapeError(
                f"{kind}: the cotangent has shape {array.shape}, the output {np.shape(y)}: they must be equal"
            )
        return array.astype(dtype, copy=False)

    return tree.map(accept, output, cotangent)
