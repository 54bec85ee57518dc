"""The array arguments of a C function, as a table of the array objects themselves.

C reads the address of an array's memory in the object; to ask NumPy for it takes longer than a small step. In NumPy's
binary interface, for which every extension module is compiled, this address is the first field behind the header of
all objects.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from funcnet.errors import CompilerError

HEAD = object.__basicsize__
"""The bytes that every object begins with."""
SLAB, PARAMS, NEW, STEPS, FIRST = range(5)
"""Places in the table: the slab, the params, the new params or the gradients, how many steps came before, and then the
first of all other arrays."""


class Table:
    """Array objects in memory, in the order of the places, all but the number of steps.

    address: of the first one.      slots: what each place holds; `slots[i] = id(array)` puts another array there.
    """

    def __init__(self, arrays: Sequence[Any]) -> None:
        check_arrays()
        self.held: list[Any] = [*arrays]
        places = [*map(id, arrays)]
        places.insert(STEPS, 0)
        objects = (ctypes.c_void_p * len(places))(*places)
        self.address: int = ctypes.addressof(objects)
        self.slots: Any = memoryview(objects).cast("B").cast("P")


def in_pieces(x: Any, dtype: np.dtype[Any]) -> Any:
    """The array itself if every x[i] is contiguous, as in a broadcast array, else a copy."""
    one: Any = x[0]
    fits = x.dtype == dtype and one.flags.c_contiguous and one.flags.aligned
    return x if fits else np.require(x, dtype, ["C", "A"])


@cache
def check_arrays() -> None:
    """Refuse a Python whose arrays are not as C expects them."""
    array = np.empty(1)
    if sys.implementation.name != "cpython" or pointer_in(array) != array.ctypes.data:
        raise CompilerError("native code reads NumPy's arrays where CPython has them, and this Python is another one")


def pointer_in(array: Any) -> int | None:
    """The address of the memory in an array object."""
    return ctypes.c_void_p.from_address(id(array) + HEAD).value
