"""The entry from Python into native code: functions that CPython calls as its own, faster than by ctypes.

They are C too, `entry.h`: a library that is compiled once for all programs. They read objects of CPython and of NumPy
under its lock; an interpreter without that lock uses ctypes, and the check of params in Python.
"""

from __future__ import annotations

import ctypes
import sysconfig
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.resources import files
from typing import Any

import numpy as np

from funcnet import tree
from funcnet.compiler.layout import Layout, items_of
from funcnet.compiler.params_cache import ParamsCache
from funcnet.errors import CompilerError
from funcnet.native.table import HEAD
from funcnet.native.toolchain import build

ENTRY_H = files("funcnet.native").joinpath("entry.h").read_text(encoding="utf-8")
INTERFACE = (
    *("PyDict_Next", "PyDict_Size", "PyList_Size", "PyTuple_Size", "PyList_GetItem", "PyTuple_GetItem"),
    *("PyLong_AsSsize_t", "PyBytes_AsString", "PyObject_SetItem", "PyBool_FromLong"),
    *("PyEval_SaveThread", "PyEval_RestoreThread"),
)
"""The functions of CPython's stable interface that the C calls, in the order of its table."""
OBJECTS = (dict, list, tuple, np.ndarray, None, ...)
FASTCALL = 0x80  # (self, arguments, their number)
Accept = Callable[[Any, Any, tuple[Any, ...]], bool]


class Method(ctypes.Structure):
    """The description of a function for CPython."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


@cache
def methods() -> tuple[Method, Method] | None:
    """`accept` and `call`, after a check that they work; None where the interpreter has no lock."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return None
    library = build(f"#define FN_HEAD {HEAD}\n{ENTRY_H}")
    given = [ctypes.cast(ctypes.pythonapi[name], ctypes.c_void_p).value for name in INTERFACE]
    given += map(id, OBJECTS)
    library.funcnet_bind((ctypes.c_void_p * len(given))(*given))
    accept, call = (
        Method(name.encode(), ctypes.cast(library[f"funcnet_{name}"], ctypes.c_void_p).value, FASTCALL, None)
        for name in ("accept", "call")
    )
    for method in (accept, call):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(method))  # functions freed at the end of Python still read it
    check(accept)
    return accept, call


def function_of(method: Method, own: Any) -> Callable[..., Any]:
    """A function with an object of its own, its first argument in C at every call."""
    new: Any = ctypes.pythonapi["PyCFunction_NewEx"]
    new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    return new(ctypes.addressof(method), own, None)  # type: ignore[no-any-return]


def acceptor(inside: Sequence[Any], layout: Layout[Any]) -> Accept | None:
    """A function that copies arrays in if they and the params are as before: (last params, params, arrays) -> bool."""
    found = methods()
    return None if found is None else accepting(found[0], inside, layout)


def accepting(method: Method, inside: Sequence[Any], layout: Layout[Any]) -> Accept:
    """The same, by this method."""
    return function_of(method, ((*inside,), tuple([x.nbytes for x in inside]), layout.form))


def caller(function: Any, address: int) -> Callable[[], Any]:
    """A function that calls this C function with this address, without the lock meanwhile."""
    found = methods()
    if found is None:
        return partial(function, address)
    pair = (ctypes.c_void_p * 2)(ctypes.cast(function, ctypes.c_void_p), address)
    return function_of(found[1], bytes(pair))


def check(accept: Method) -> None:
    """Refuse a Python whose objects differ from those of C: C must notice each change that `ParamsCache` notices."""
    layout: Layout[Any] = Layout(tree.structure({"w": (0, 1), "b": 2}), [(2, 3), (3,), ()], np.dtype(np.float32))
    cache_of = ParamsCache(layout)
    params = cache_of.made(np.zeros(10, np.float32))
    seen: Any = cache_of.last
    inside, x = np.zeros((2, 3), np.float32), np.arange(6, dtype=np.float32).reshape(2, 3)
    run = accepting(accept, [inside], layout)
    nodes = [(node, items_of(node)) for node in (params, [x, inside])]
    nested = seen._replace(items=None, nodes=nodes)
    (strides, dtype), *others = seen.forms
    apart = seen._replace(vector=None)
    known = [run(s, p, (x.T.copy().T,)) for s, p in ((seen, params), (apart, {**params}), (nested, params))]
    refused = [
        *(run(seen, params, (y,)) for y in (x[:1], x.ravel(), x.view(np.int32), x.view(np.recarray), 1.0)),
        *(run(seen, params, ()), run(seen, [params], (x,)), run(nested, {**params}, (x,))),
        *(run(seen._replace(items=[*seen.items[:i], x, *seen.items[i + 1 :]]), params, (x,)) for i in range(4)),
        *(run(seen._replace(items=seen.items[:-2]), params, (x,)), run(seen._replace(vector=x), params, (x,))),
        *(run(nested._replace(nodes=[(node, [*held[:-1], run])]), params, (x,)) for node, held in nodes),
        *(
            run(seen._replace(forms=[form, *others]), params, (x,))
            for form in ((strides[::-1], dtype), (strides[1:], dtype), (strides, np.dtype(np.int32)))
        ),
    ]
    if not all(known) or any(refused) or not np.array_equal(inside, x):
        raise CompilerError("native code reads Python's objects where CPython has them, and this Python is another one")
