"""Advice for arrays that are refused: the reason, and the code that converts them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

ENCODE = "classes, y = np.unique(y, return_inverse=True)"
SHOWN = 5  # names of columns that a message lists
ALL_TIMES = "a recurrent layer before it gives a sequence with return_sequences=True"


def of_members(shape: tuple[int, ...], axes: int) -> str:
    """What takes the params of many members, where a param has one axis more than a layer reads."""
    if len(shape) != axes + 1:
        return ""
    return f"; a stack of {shape[0]} members is for fn.vmap, such as fn.vmap(net.apply)"


def advice(x: Any, array: np.ndarray[Any, Any], kinds: str, variable: str = "x") -> str:
    """The reason why this is refused, and the fix.

    kinds: the kinds of dtype that are accepted.      variable: the name in the code that casts numbers to floats.
    """
    kind, dtype, labels = array.dtype.kind, array.dtype, "i" in kinds
    if kind == "O" and not array.ndim:
        name = type(x).__name__
        return f"is a {name}, not an array{': params come first, then the inputs' * (name == 'dict')}"
    if dtype == np.uint64 and array.shape == (2,):
        return "is a random key: pass it by its name, key=key"
    if hasattr(x, "dtypes") and hasattr(x, "columns"):
        return _frame(x)
    if kind == "c":
        return f"has dtype {dtype}, not a floating one: take its parts, x.real and x.imag"
    if kind in "Mm":
        return _times(dtype)
    if kind in "USO":
        return _objects(x, array, labels, variable)
    if kind not in "biu":
        return f"has dtype {dtype}, which holds no numbers: give a floating array"
    if labels:
        of_mask = "; lengths of a mask are mask.sum(axis=1)" if dtype.kind == "b" and np.ndim(x) == 2 else ""
        return f"has dtype {dtype}: labels are integers, {_cast(x, 'y', 'int')}{of_mask}"
    if "b" in kinds:
        return f"has dtype {dtype}: a mask is bools, True for elements that may be seen, {_cast(x, 'mask', 'bool')}"
    return f"has dtype {dtype}, not a floating one: {_to_float(x, array, variable)}"


def _to_float(x: Any, array: np.ndarray[Any, Any], variable: str) -> str:
    """How to cast numbers; a target for a network with one output is a column."""
    column = f", or {_cast(x, 'y', 'np.float32')}[:, None] for the target of a network with one output"
    return f"cast it, for instance {_cast(x, variable, 'np.float32')}{column * (array.ndim == 1)}"


def _cast(x: Any, name: str, dtype: str) -> str:
    """The code that makes an array of this dtype."""
    return f"{name}.astype({dtype})" if isinstance(x, np.ndarray) else f"np.asarray({name}, {dtype})"


def _times(dtype: np.dtype[Any]) -> str:
    """Dates are differences from one of them, and differences are numbers in some unit."""
    since = "(x - x.min())" if dtype.kind == "M" else "x"
    return f"has dtype {dtype}: make it a number, such as days, {since} / np.timedelta64(1, 'D')"


def _objects(x: Any, array: np.ndarray[Any, Any], labels: bool, variable: str) -> str:
    """Strings, or Python objects of any kind."""
    has, values = f"has dtype {array.dtype} and holds", array.ravel().tolist()
    missing = [i for i, value in enumerate(values) if is_missing(value)]
    if missing:
        return f"{has} missing values, {values[missing[0]]!r} first at {missing[0]}: fill them or leave out their rows"
    numbers = _are_numbers(array)
    if all(isinstance(value, (str, bytes)) for value in values):
        if numbers and not labels:
            return f"{has} numbers as strings: {_to_float(x, array, variable)}"
        rest = "" if labels else "; where a floating array is wanted, cast those, y.astype(np.float32)"
        return f"{has} strings: encode them as integers, {ENCODE}{rest}"
    if not numbers:
        kinds = ", ".join(sorted({type(value).__name__ for value in values}))
        return f"{has} Python objects of type {kinds}: make them numbers of one kind"
    if labels and all(is_integer(value) for value in values):
        return f"{has} Python objects: labels are integers, {_cast(x, 'y', 'int')}"
    return f"{has} Python objects: {_to_float(x, array, variable)}"


def is_integer(value: Any) -> bool:
    """Whether this is an integer or a bool."""
    return isinstance(value, (int, np.integer, np.bool_))


def _frame(frame: Any) -> str:
    """A table of columns, such as a pandas DataFrame."""
    columns = [(name, dtype, _column_kind(dtype)) for name, dtype in zip(frame.columns, frame.dtypes, strict=True)]
    strange = [(name, dtype) for name, dtype, kind in columns if kind not in "fiub"]
    if strange:
        names = [name for name, _ in strange]
        listed = ", ".join(f"{name!r} ({dtype})" for name, dtype in strange[:SHOWN]) + ", ..." * (len(strange) > SHOWN)
        listed = f"{names!r}" if len(names) <= SHOWN else "[...]"
        encode = f'pd.get_dummies(df, columns={listed}).astype("float32")'
        remove = f"df.drop(columns={listed})"
        return f"has columns that are not numbers, {listed}: encode them, {encode}, or leave them out, {remove}"
    empty = [name for i, (name, _, _) in enumerate(columns) if any(map(is_missing, _objects_in(frame.iloc[:, i])))]
    if empty:
        named = ", ".join(map(repr, empty[:SHOWN])) + ", ..." * (len(empty) > SHOWN)
        fill = 'df.astype("float32").fillna(0)'
        return f"has missing values in the columns {named}: fill them, {fill}, or leave out their rows"
    return 'has columns that are not all floating: cast them, df.astype("float32")'


def _column_kind(dtype: Any) -> str:
    """The kind of a column's dtype, "O" where it has none."""
    return str(getattr(dtype, "kind", "O"))


def _objects_in(column: Any) -> Iterable[Any]:
    """The values of a column that may hold objects; a NumPy column has no missing value but NaN, which is a float."""
    return [] if isinstance(column.dtype, np.dtype) else column.tolist()


def is_missing(value: Any) -> bool:
    """Whether this marks a missing value: None, or pandas' NA and NaT. NaN is a number."""
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _are_numbers(array: np.ndarray[Any, Any]) -> bool:
    """Whether each element can be made a float."""
    try:
        array.astype(np.float64)
    except (TypeError, ValueError):
        return False
    return True


def dense(x: Any) -> Any:
    """A sparse matrix of numbers, SciPy's or one like it, as a dense floating array; anything else as it is."""
    if type(x) is np.ndarray or not (hasattr(x, "toarray") and hasattr(x, "nnz")):
        return x
    array = x.toarray()
    return array.astype(np.float64) if array.dtype.kind in "biu" else array
